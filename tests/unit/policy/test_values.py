# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodrop.document.shape import UnreadableError
from geodrop.policy import values
from geodrop.policy.model import Verdict

PARSERS: list[Callable[[str], object]] = [
    values.parse_name,
    values.parse_prefix,
    values.parse_ports,
    values.parse_protocol,
    values.parse_verdict,
    values.parse_start,
    values.parse_duration,
    values.parse_percent,
    values.parse_file,
]


def refusal(parse: Callable[[str], object], text: str) -> str:
    """Return the message with which a text is refused."""
    with pytest.raises(UnreadableError) as refused:
        parse(text)
    return str(refused.value)


@pytest.mark.parametrize("text", ["a", "api", "a-b_c9", "a" * 32])
def test_names(text: str) -> None:
    """A name has 1 to 32 lowercase letters, digits, - and _, and begins with a letter."""
    assert values.parse_name(text) == text


@pytest.mark.parametrize(
    ("text", "better"),
    [
        ("API", "write api"),
        ("my list", "write my-list"),
        ("a.b", "write a-b"),
        ("9a", "write one such as web-2"),
        ("", "web-2"),
        ("a" * 33, "web-2"),
    ],
)
def test_bad_names(text: str, better: str) -> None:
    """The message states the rule, and a similar valid name if there is one."""
    message = refusal(values.parse_name, text)
    assert "a letter first" in message
    assert message.endswith(better)


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("198.51.100.0/24", "198.51.100.0/24"),
        ("8.8.8.8", "8.8.8.8/32"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("2001:DB8::/32", "2001:db8::/32"),
        ("::1", "::1/128"),
        ("::ffff:1.2.3.4", "::ffff:102:304/128"),
        ("::/0", "::/0"),
    ],
)
def test_prefixes(text: str, network: str) -> None:
    """Prefixes and addresses of both families are read, in any unambiguous spelling."""
    assert values.parse_prefix(text) == ip_network(network)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("198.51.100.7/24", "write 198.51.100.0/24, or 198.51.100.7 for that address alone"),
        ("2001:db8::1/32", "write 2001:db8::/32, or 2001:db8::1 for that address alone"),
        ("1.2.3.4/33", "'33' is not a valid netmask"),
        ("2001:db8::/129", "'129' is not a valid netmask"),
        ("1.2.3", "Expected 4 octets"),
        ("1.2.3.256", "not permitted"),
        ("010.0.0.0/8", "Leading zeros"),
        ("1.2.3.0/024", "is not a prefix or an address"),
        ("1.2.3.0/255.255.255.0", "is not a prefix or an address"),
        ("fe80::1%eth0", "is not a prefix or an address"),
        ("1.2.3.4 - 1.2.3.9", "ranges (a-b) can stand in list files only"),
        ("٨.8.8.8", "is not a prefix or an address"),
        ("", "is not a prefix or an address"),
    ],
)
def test_bad_prefixes(text: str, message: str) -> None:
    """For bits after the prefix length the message names the network; netmasks, zones and leading zeros are refused."""
    assert message in refusal(values.parse_prefix, text)


@given(st.one_of(st.ip_addresses(), st.tuples(st.ip_addresses(), st.integers(0, 128))))
def test_prefixes_are_those_of_ipaddress(made: object) -> None:
    """The fast parser with inet_pton agrees with `ipaddress`."""
    text = f"{made[0]}/{made[1]}" if isinstance(made, tuple) else str(made)
    try:
        expected = ip_network(text)
    except ValueError:
        with pytest.raises(UnreadableError):
            values.parse_prefix(text)
    else:
        assert values.parse_prefix(text) == expected


@pytest.mark.parametrize(
    ("text", "ports"), [("443", (443, 443)), ("8000-8099", (8000, 8099)), ("0-65535", (0, 65535)), ("7-7", (7, 7))]
)
def test_ports(text: str, ports: tuple[int, int]) -> None:
    """A single port is read as a range of one port."""
    assert values.parse_ports(text) == ports


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("http", "write a number such as 443"),
        ("0777", "is not a port"),
        ("8000:8099", "or a range such as 8000-8099"),
        ("1-", "is not a port"),
        ("-1", "is not a port"),
        ("65536", "ports end at 65535"),
        ("20-10", "write 10-20"),
    ],
)
def test_bad_ports(text: str, message: str) -> None:
    """Names, octal and other spellings of ranges are refused with what to write."""
    assert message in refusal(values.parse_ports, text)


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 40)), max_size=12))
def test_merged_ranges(made: list[tuple[int, int]]) -> None:
    """Merged ranges have the same ports, in order, with a gap between any two ranges."""
    ranges = [(low, low + more) for low, more in made]
    result = values.merged(ranges)
    assert {port for low, high in result for port in range(low, high + 1)} == {
        port for low, high in ranges for port in range(low, high + 1)
    }
    assert all(one[1] + 1 < other[0] for one, other in pairwise(result))


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("icmp", (1, 58)), ("icmpv6", (58,)), ("tcp", (6,)), ("sctp", (132,)), ("0", (0,)), ("255", (255,))],
)
def test_protocols(text: str, numbers: tuple[int, ...]) -> None:
    """Protocols are read by name or number; icmp means that of both families."""
    assert values.parse_protocol(text) == numbers


@pytest.mark.parametrize(
    ("text", "message"),
    [("TCP", "write tcp"), ("256", "from 0 to 255"), ("01", "from 0 to 255"), ("http", "one of icmp")],
)
def test_bad_protocols(text: str, message: str) -> None:
    """The message says what to write instead."""
    assert message in refusal(values.parse_protocol, text)


def test_verdicts() -> None:
    """Only allow and deny are verdicts; for words of other tools the message names the right one."""
    assert values.parse_verdict("allow") is Verdict.ACCEPT
    assert values.parse_verdict("deny") is Verdict.DROP
    assert refusal(values.parse_verdict, "drop").endswith("write deny")
    assert refusal(values.parse_verdict, "Allow").endswith("write allow")
    assert refusal(values.parse_verdict, "no").endswith("write allow or deny")


@pytest.mark.parametrize(
    "text",
    ["2024-07-09T00:00:00Z", "2024-07-09 02:00:00+02:00", "2024-07-08T19:00-05:00", "20240709T000000Z"],
)
def test_starts(text: str) -> None:
    """RFC 3339 and similar forms of ISO 8601 give the same moment, in UTC."""
    assert values.parse_start(text) == datetime(2024, 7, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2024-07-09", "write 2024-07-09T00:00:00Z"),
        ("2024-07-09T10:00", "write 2024-07-09T10:00:00Z"),
        ("tomorrow", "write one such as 2024-07-09T00:00:00Z"),
        ("2024-02-30T00:00:00Z", "is not a time"),
        ("1969-12-31T23:59:59Z", "lies before 1970"),
        ("2262-01-01T00:00:00Z", "after 2261"),
        ("0001-01-01T00:00:00+23:59", "lies before 1970"),
    ],
)
def test_bad_starts(text: str, message: str) -> None:
    """A time without a zone is refused: it would be another moment on another host."""
    assert message in refusal(values.parse_start, text)


def test_durations_and_shares() -> None:
    """A duration is a number with a unit, a share is a number with a percent sign."""
    assert values.parse_duration("45d") == timedelta(days=45)
    assert values.parse_duration("12h") == timedelta(hours=12)
    assert values.parse_percent("5%") == 0.05
    assert values.parse_percent("0.5 %") == 0.005
    assert "such as 45d" in refusal(values.parse_duration, "45")
    assert "such as 45d" in refusal(values.parse_duration, "0d")
    assert "such as 5%" in refusal(values.parse_percent, "5")
    assert "such as 5%" in refusal(values.parse_percent, "101%")


@pytest.mark.parametrize("text", ["scanners.txt", "lists/scanners.txt", "lists/..hidden", "a b.txt"])
def test_files(text: str) -> None:
    """Names of files inside the policy's folder are accepted."""
    assert values.parse_file(text) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("/etc/passwd", "is absolute"),
        ("../x", "leads out of"),
        ("lists/../../x", "leads out of"),
        ("./lists/x", "write lists/x"),
        ("lists//x", "write lists/x"),
        ("lists/", "write lists"),
        ("", "is not the name of a file"),
        ("a\0b", "is not the name of a file"),
        ("x" * 1025, "is not the name of a file"),
        ("\ud800", "is not the name of a file"),
    ],
)
def test_bad_files(text: str, message: str) -> None:
    """Absolute names, names that leave the folder, and impossible names are refused."""
    assert message in refusal(values.parse_file, text)


@given(st.sampled_from(PARSERS), st.text(max_size=30))
def test_any_text_is_read_or_refused(parse: Callable[[str], object], text: str) -> None:
    """Any text is parsed or refused with UnreadableError, and every message is one line for a terminal."""
    said = ""
    try:
        parse(text)
    except UnreadableError as refused:
        said = str(refused)
    assert said.isprintable()

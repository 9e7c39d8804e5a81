# SPDX-License-Identifier: Apache-2.0
from ipaddress import ip_address, ip_network, summarize_address_range

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodrop.policy import listfile
from geodrop.policy.listfile import read_list_file


def errors(data: bytes) -> list[str]:
    """Return the problems, as `line:column: message`."""
    return [f"{p.place.line}:{p.place.column}: {p.message}" for p in read_list_file(data, "l.txt").report.problems()]


def test_everything_a_list_file_may_hold() -> None:
    """Prefixes, addresses, ranges, comments, blank lines, indentation, Windows line ends and a BOM are accepted."""
    data = (
        b"\xef\xbb\xbf# head\r\n\r\n9.9.9.0/24 # why\r\n\t8.8.8.8\r\n1.1.1.1-1.1.1.4\r\n2a00:: - 2a00::1\r\n2a01::/16#x"
    )
    networks, lines, report = read_list_file(data, "l.txt")
    assert not report.problems()
    assert list(lines) == [3, 4, 5, 5, 5, 6, 7]
    texts = ["9.9.9.0/24", "8.8.8.8/32", "1.1.1.1/32", "1.1.1.2/31", "1.1.1.4/32", "2a00::/127", "2a01::/16"]
    assert [str(network) for network in networks] == texts


def test_comments_may_hold_any_bytes() -> None:
    """Only entries must be UTF-8: comments in published lists may have any encoding."""
    assert not errors(b"# caf\xe9 \x00\n9.9.9.9\n")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"9.9.9.9\n  8.8.8.8/24\n", "2:3: 8.8.8.8/24 has bits set after its prefix length; write 8.8.8.0/24"),
        (b"1.1.1.9-1.1.1.1\n", '1:1: "1.1.1.9-1.1.1.1" runs backwards; write 1.1.1.1-1.1.1.9'),
        (b"1.1.1.1-2a00::1\n", '1:1: "1.1.1.1-2a00::1" mixes IPv4 and IPv6'),
        (b"1.1.1.1-\n", '1:1: "1.1.1.1-" is not a range'),
        (b"fe80::1%eth0-fe80::2\n", '1:1: "fe80::1%eth0-fe80::2" is not a range'),
        (b"1.1.1.0/24-1.1.2.0/24\n", '1:1: "1.1.1.0/24-1.1.2.0/24" is not a range'),
        (b"what?\n", '1:1: "what?" is not a prefix or an address'),
        (b"404 \xff\n", '1:1: "404 \ufffd" is not a prefix or an address'),
        (b"", "1:1: the file is empty"),
        (b" \n\n", "1:1: the file is empty"),
    ],
)
def test_mistakes(data: bytes, message: str) -> None:
    """Each mistake is reported at its place; so is an empty file, as a failed download leaves it."""
    assert errors(data)[0].startswith(message)


def test_a_comment_makes_an_empty_list_deliberate() -> None:
    """A file with a comment and no prefix is accepted."""
    networks, _, report = read_list_file(b"# none at the moment\n", "l.txt")
    assert networks == ()
    assert not report.problems()


def test_every_mistake_is_reported() -> None:
    """Reading continues after a mistake, so that all are reported."""
    assert [error.split(":")[0] for error in errors(b"x\n9.9.9.9\ny\n\nz\n")] == ["1", "3", "5"]


def test_ranges_cannot_explode(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of prefixes is limited, because a short range can stand for many."""
    monkeypatch.setattr(listfile, "MAX_PREFIXES", 100)
    found = errors(b"::1-ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe\n" * 5)
    assert found == ["1:1: more than 100 prefixes; use a coarser list"]


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_ranges_are_their_prefixes(one: int, other: int) -> None:
    """A range counts as the fewest prefixes that make it up."""
    low, high = ip_address(min(one, other)), ip_address(max(one, other))
    networks, _, report = read_list_file(f"{low}-{high}".encode(), "l.txt")
    assert not report.problems()
    assert networks == tuple(summarize_address_range(low, high))


@given(st.one_of(st.binary(max_size=200), st.text(alphabet="0123456789./:-# \nabf", max_size=80).map(str.encode)))
def test_any_bytes_give_prefixes_or_errors_inside_the_file(data: bytes) -> None:
    """Any bytes are read without an exception, and every reported place is inside the file."""
    networks, _, report = read_list_file(data, "l.txt")
    assert all(network == ip_network(str(network)) for network in networks)
    lines = data.decode(errors="replace").split("\n")
    for problem in report.problems():
        assert 1 <= problem.place.line <= len(lines)
        assert 1 <= problem.place.column <= len(lines[problem.place.line - 1]) + 1

# SPDX-License-Identifier: Apache-2.0
"""One line of a log: the source and the hour, in every form that servers write."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from geodrop.simulate.lines import MAX_HOURS, Hours, LineReader, is_blank, packed

COMBINED = b'[09/Jul/2024:13:55:36 +0000] "GET /?a=[1] HTTP/1.1" 200 5 "-" "curl"'


def read(line: bytes, field: str | None = None) -> tuple[str, str] | None:
    """Return the address and hour of a line as text."""
    hours = Hours()
    found = LineReader(hours, field).read(line)
    return None if found is None else (str(ip_address(found.source)), hours[found.hour])


@pytest.mark.parametrize(
    ("line", "address"),
    [
        (b"1.2.3.4 - - " + COMBINED, "1.2.3.4"),
        (b"1.2.3.4 - a user [" + COMBINED, "1.2.3.4"),
        (b"2001:DB8::1 - - " + COMBINED, "2001:db8::1"),
        (b"::ffff:1.2.3.4 - - " + COMBINED, "1.2.3.4"),
        (b"example.com:443 1.2.3.4 - - " + COMBINED, "1.2.3.4"),
        (b"cafe.de 2001:db8::1 - - " + COMBINED, "2001:db8::1"),
        (b"1.2.3.4:50000 - - " + COMBINED, "1.2.3.4"),
        (b"[2001:db8::1]:50000 - - " + COMBINED, "2001:db8::1"),
        (b"2024-07-09T13:00:01Z 1.2.3.4 GET /", "1.2.3.4"),
        (b'{"remote_addr": "1.2.3.4", "time_local": "09/Jul/2024:13:55:36 +0000"}', "1.2.3.4"),
        (b'{"client_ip": "1.2.3.4", "@timestamp": "2024-07-09T13:55:36Z"}', "1.2.3.4"),
        (b'{"request": {"remote_ip": "1.2.3.4"}, "ts": 1720533336.5}', "1.2.3.4"),
        (b'{"ClientIP": "1.2.3.4", "ts": 1720533336500}', "1.2.3.4"),
    ],
)
def test_forms(line: bytes, address: str) -> None:
    """Each has its source, and the hour as it is written there."""
    assert read(line) == (address, "2024-07-09T13")


@pytest.mark.parametrize(
    "line", [b"1.2.3.4", b"1.2.3.4\r", b"1.2.3.4 - - [99/Jul/2024:13:00:00 +0000]", b"1.2.3.4 [x]"]
)
def test_no_time(line: bytes) -> None:
    """A line without a time, or with an impossible one, is a request all the same."""
    assert read(line) == ("1.2.3.4", "")


@pytest.mark.parametrize(
    "line",
    [
        *(
            b"host.example.com - - " + COMBINED,
            b"-",
            b" 12 1.2.3.4",
            b"1.2.3.4, 5.6.7.8 - - " + COMBINED,
            b"1.2.3.0/24",
        ),
        *(
            b"1.2.3.256",
            b"1.2.3",
            b"01.2.3.4",
            b"1.2.3.4\x00",
            b"\xff\xfe1\x00.\x002\x00",
            b"\x1b[2J1.2.3.4",
            b"x" * 200_000,
        ),
        *(b"{", b"{}", b'{"remote_addr": 7}', b'{"remote_addr": "\\"1.2.3.4"}', b'{"a": "{\\"ip\\": \\"1.2.3.4\\"}"}'),
        *(b"[" * 100_000, b'{"a":' * 100_000, b'{"user_agent": "x", "upstream": "1.2.3.4"}'),
    ],
)
def test_unreadable(line: bytes) -> None:
    """A line of every brokenness is no request, and raises nothing."""
    assert read(line) is None


def test_a_named_field_and_no_other() -> None:
    """--field decides, also inside an object; the first name that was found counts for the rest of the log."""
    line = b'{"remote_addr": "10.0.0.1", "xff": {"first": "1.2.3.4"}}'
    assert read(line, "xff.first") == ("1.2.3.4", "")
    assert read(line, "nothing") is None
    reader = LineReader(Hours())
    assert reader.read(b'{"ip": "1.2.3.4"}')
    assert reader.read(b'{"remote_addr": "1.2.3.4"}') is None


def test_blank() -> None:
    """Empty lines and comments are no lines of a log."""
    assert [is_blank(line) for line in (b"", b" \r", b"# 1.2.3.4", b"x")] == [True, True, True, False]


def test_hours_are_bounded() -> None:
    """A hostile log cannot fill the memory with hours: further ones count as none."""
    hours = Hours()
    numbers = [hours.number(str(number)) for number in range(MAX_HOURS + 5)]
    assert numbers[-5:] == [0] * 5
    assert hours.number("7") == 8


def test_packed_needs_one_address() -> None:
    """A prefix, even of one address, is none; the scope of a link-local address is left out."""
    assert packed(b"1.2.3.4/32") is None
    assert packed(b"fe80::1%eth0") == ip_address("fe80::1").packed

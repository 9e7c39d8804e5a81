# SPDX-License-Identifier: Apache-2.0
"""Thousands of lines at once give what the reader of single lines gives."""

from __future__ import annotations

from collections import Counter
from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from geodrop.simulate.cut import cut
from geodrop.simulate.lines import Hours, LineReader

WORDS = st.sampled_from(
    [
        *(
            "1.2.3.4",
            "255.255.255.255",
            "0.0.0.1",
            "1.2.3.256",
            "01.2.3.4",
            "1.2.3",
            "1.2.3.4.5",
            "1..3.4",
            "1.2.3.4444",
        ),
        *(
            "2001:db8::1",
            "::ffff:1.2.3.4",
            "1.2.3.4:5",
            "dead:beef",
            "fe80::1%e",
            "[::1]:5",
            "1.2.3.4,",
            "abc.de",
            "cafe",
        ),
        *("example.com", "www.example.com:443", "zz,", "-", "", "#", "#zz", "{zz", "\x00", "\x1b[31m", "é", "x" * 70),
        *(
            "[09/Jul/2024:13:55:36 +0000]",
            "[09/Jul/2024:14:00:00 +0000]",
            "[99/Jul/2024:13:55:36",
            "[09/Xyz/2024:13:55:36",
        ),
        *("[09/Jul/2024:13", "2024-07-09T15:00:00Z", "[", '"GET / HTTP/1.1"', "a", "1.2.3.40"),
    ]
)
LINES = st.lists(
    st.lists(WORDS, max_size=6).flatmap(
        lambda words: st.sampled_from([" ", " ", " ", "\t", "  ", "\r"]).map(lambda between: between.join(words))
    ),
    min_size=1,
    max_size=12,
)


def one_by_one(block: bytes) -> Counter[tuple[bytes, str]]:
    """Return the requests of a block by the reader of single lines."""
    hours = Hours()
    reader = LineReader(hours)
    requests = (reader.read(line) for line in block.split(b"\n"))
    return Counter((found.source, hours[found.hour]) for found in requests if found)


def at_once(block: bytes) -> tuple[Counter[tuple[bytes, str]], int]:
    """Return the requests of a block by both readers together, and how many lines were left to the slow one."""
    hours = Hours()
    reader = LineReader(hours)
    found = cut(block, hours)
    requests = Counter(
        (address.to_bytes(4, "big"), hours[hour])
        for address, hour in zip(found.ipv4.tolist(), found.ipv4_hours.tolist(), strict=True)
    )
    for (source, hour), count in found.others.items():
        requests[source, hours[hour]] += count
    for _, text in found.unread:
        if request := reader.read(text):
            requests[request.source, hours[request.hour]] += 1
    assert found.lines == block.count(b"\n")
    return requests, len(found.unread)


@given(LINES)
def test_both_readers_agree(lines: list[str]) -> None:
    """Whatever the words of a line, both readers find the same request, or none."""
    block = "".join(f"{line}\n" for line in lines).encode()
    assert at_once(block)[0] == one_by_one(block)


@given(st.lists(st.binary(max_size=90).map(lambda line: line.replace(b"\n", b"")), min_size=1, max_size=8))
def test_any_bytes(lines: list[bytes]) -> None:
    """Any bytes at all are read alike."""
    block = b"".join(line + b"\n" for line in lines)
    assert at_once(block)[0] == one_by_one(block)


@given(st.lists(st.ip_addresses(), min_size=1, max_size=30))
def test_common_forms_are_read_at_once(addresses: list[object]) -> None:
    """Each address in each common form, so that the speed is that of arrays; in hours that change."""
    stamps = [f"[{day:02}/Jul/2024:{day:02}:00:00 +0000]" for day in range(1, 20)]
    lines = []
    for number, address in enumerate(addresses):
        rest = f'- - {stamps[number % len(stamps)]} "GET / HTTP/1.1"'
        lines += [f"{address} {rest}", f"www.example.com:443 {address} {rest}", f"{address}", f"{address}\r"]
    block = "".join(f"{line}\n" for line in lines).encode()
    requests, unread = at_once(block)
    assert unread == 0
    assert requests == one_by_one(block)
    assert requests.total() == len(lines)


def test_many_hours_in_one_block() -> None:
    """More hours than are told apart at once are read one by one, and none is lost."""
    stamps = [(day, hour) for day in range(1, 6) for hour in range(24)]
    block = "".join(f"1.2.3.4 - - [{day:02}/Jul/2024:{hour:02}:00:00 +0000] x\n" for day, hour in stamps).encode()
    requests, unread = at_once(block)
    assert unread > 0
    assert len(requests) == len(stamps)


def test_line_numbers_of_what_is_left() -> None:
    """Lines that are left are named by their number, also one that only looked like an address."""
    found = cut(b"1.2.3.4\ndead:beef\n2001:db8::1\n\n", Hours())
    assert found.unread == [(1, b"dead:beef"), (3, b"")]
    assert found.others == {(ip_address("2001:db8::1").packed, 0): 1}

# SPDX-License-Identifier: Apache-2.0
import argparse
import io
import json

import pytest

from geodrop.cli import counters
from geodrop.cli.counters import label, show, show_rates
from geodrop.engine.api import Total
from geodrop.report.counters import as_object

COUNTS = [
    as_object(count)
    for count in (
        Total("api", "ipv4", None, accepted=(1000, 64000), never_drop=(2, 80)),
        Total("api", "ipv4", "CN", dropped=(3, 120), would_drop=(40, 1600)),
        Total("api", "ipv6", "list:partners"),
        Total("api", "ipv6", "2001:db8::/32", dropped=(1, 60)),
        Total("", "", None, dropped=(1, 50)),
    )
]


def test_label() -> None:
    """A person sees the names of the policy; `-` stands for a whole service and family."""
    assert [label(count) for count in COUNTS] == ["-", "CN", "list:partners", "2001:db8::/32", "unreadable"]


def test_table_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    """The busiest line is first, zeros are left out, and lines fit 80 columns."""
    show(COUNTS, as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines[1:]] == ["accepted", "drop", "dropped", "drop", "dropped", "dropped"]
    assert lines[-1].split()[:3] == ["-", "-", "unreadable"]
    assert "partners" not in "".join(lines)
    assert max(map(len, lines)) <= 80


def test_other_is_explained(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`other` is explained to people, and only if a line counts it."""
    other = as_object(Total("api", "ipv4", "other", dropped=(7, 280)))
    for counts, there in ((COUNTS, False), ([*COUNTS, other], True)):
        monkeypatch.setattr(counters, "read", lambda counts=counts: counts)
        for as_json in (False, True):
            assert counters.run(argparse.Namespace(json=as_json, watch=False)) == 0
            assert ("other: regions that nftables does not tell apart" in capsys.readouterr().out) is (
                there and not as_json
            )


def test_json_is_an_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Each line is an object."""
    show(COUNTS, as_json=True)
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == COUNTS


def test_rates_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    """Only what has changed, busiest first, each with its rate a second and the total; within 80 columns."""
    later = [
        as_object(Total("api", "ipv4", None, accepted=(1010, 65000), never_drop=(2, 80))),
        as_object(Total("api", "ipv4", "CN", dropped=(5003, 200120), would_drop=(40, 1600))),
        *COUNTS[2:],
    ]
    show_rates(COUNTS, later, 2.5, as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [
        ["api", "ipv4", "CN", "2,000", "80,000", "5,003", "dropped"],
        ["api", "ipv4", "-", "4", "400", "1,010", "accepted"],
        [],
    ]
    assert max(map(len, lines)) <= 80


def test_rates_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    """Objects are those without --watch, with rates; counters that started again have no rate below zero."""
    again = [as_object(Total("api", "ipv4", "CN", dropped=(1, 40)))]
    show_rates(COUNTS, again, 2.0, as_json=True)
    [found] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert found["region"] == "CN"
    assert found["dropped"] == {"packets": 1, "bytes": 40, "packets_per_second": 0, "bytes_per_second": 0}


def test_watching_has_one_header_and_flushes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Output piped into another program arrives as it happens, and there is only one header."""
    readings = iter([as_object(Total("api", "ipv4", "CN", dropped=(10 * number, 400 * number)))] for number in range(4))
    stream = Flushed()
    monkeypatch.setattr(counters, "read", lambda: next(readings))
    monkeypatch.setattr(counters, "WATCH_SECONDS", 0.0)
    monkeypatch.setattr("sys.stdout", stream)
    with pytest.raises(StopIteration):
        counters.run(argparse.Namespace(json=False, watch=True))
    written = stream.getvalue()
    assert (written.count("SERVICE"), written.count("dropped")) == (1, 3)
    assert stream.flushed == written


class Flushed(io.StringIO):
    """A stream that remembers what had been written at the last flush."""

    flushed = ""

    def flush(self) -> None:
        """Record what has been written."""
        self.flushed = self.getvalue()

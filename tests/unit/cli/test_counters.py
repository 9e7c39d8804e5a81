import argparse
import json

import pytest

from geodrop.cli import counters
from geodrop.cli.counters import label, show
from geodrop.dataplane.engine import Count
from geodrop.report.counters import as_object

COUNTS = [
    as_object(count)
    for count in (
        Count("api", "ipv4", None, accepted=(1000, 64000), never_drop=(2, 80)),
        Count("api", "ipv4", "CN", dropped=(3, 120), would_drop=(40, 1600)),
        Count("api", "ipv6", "list:partners"),
        Count("api", "ipv6", "2001:db8::/32", dropped=(1, 60)),
        Count("", "", None, dropped=(1, 50)),
    )
]


def test_label() -> None:
    """A person sees what the policy says; `-` stands for a whole service and family."""
    assert [label(count) for count in COUNTS] == ["-", "CN", "list:partners", "2001:db8::/32", "unreadable"]


def test_table_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    """Busiest first, nothing that never happened, within 80 columns."""
    show(COUNTS, as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines[1:]] == ["accepted", "drop", "dropped", "drop", "dropped", "dropped"]
    assert lines[-1].split()[:3] == ["-", "-", "unreadable"]
    assert "partners" not in "".join(lines)
    assert max(map(len, lines)) <= 80


def test_other_is_explained(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """To people, and only where it counts something apart from nothing."""
    other = as_object(Count("api", "ipv4", "other", dropped=(7, 280)))
    for counts, there in ((COUNTS, False), ([*COUNTS, other], True)):
        monkeypatch.setattr(counters, "read", lambda counts=counts: counts)
        for as_json in (False, True):
            assert counters.run(argparse.Namespace(json=as_json, watch=False)) == 0
            assert ("other: regions that nftables does not tell apart" in capsys.readouterr().out) is (
                there and not as_json
            )


def test_json_is_an_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Programs read line by line."""
    show(COUNTS, as_json=True)
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == COUNTS

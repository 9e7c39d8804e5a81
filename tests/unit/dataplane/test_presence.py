"""Which links the interfaces in force stand for."""

from __future__ import annotations

import pytest

from geodrop.dataplane import presence
from geodrop.dataplane.engine import Interface
from geodrop.dataplane.interfaces import Selection
from geodrop.dataplane.network import Link
from geodrop.dataplane.presence import links_of

THERE = [(1, "lo"), (2, "eth0"), (3, "eth1"), (4, "docker0")]


@pytest.fixture(autouse=True)
def links(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host with two uplinks; `*` means those."""
    meant = tuple(Link(number, name) for number, name in THERE[1:3])
    monkeypatch.setattr("socket.if_nameindex", lambda: THERE)
    monkeypatch.setattr(presence, "select", lambda _: Selection(("*",), (), meant))


@pytest.mark.parametrize(
    ("name", "exempt", "found"),
    [
        ("eth0", (), ("eth0",)),
        ("eth7", (), ()),
        ("eth0", (2,), ()),
        ("eth*", (), ("eth0", "eth1")),
        ("eth*", (3,), ("eth0",)),
        ("wan*", (), ()),
        ("*", (), ("eth0", "eth1")),
        ("*", (2, 3), ()),
    ],
)
def test_nftables_judges_what_is_there_and_not_left_to_xdp(
    name: str, exempt: tuple[int, ...], found: tuple[str, ...]
) -> None:
    """A name that no link has, and a link that nftables lets pass for xdp, are judged by none of its rules."""
    assert links_of([Interface(name, "nftables")], exempt) == [found]


def test_xdp_judges_where_it_was_seen() -> None:
    """What is observed there is a link that holds a program; the guard beside it stands for what is left."""
    both = [Interface("eth0", "xdp", "native"), Interface("eth*", "nftables")]
    assert links_of(both, (2,)) == [("eth0",), ("eth1",)]

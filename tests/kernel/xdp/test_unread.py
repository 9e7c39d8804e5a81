# SPDX-License-Identifier: Apache-2.0
"""The way back from xdp: a process without bpf(2) reports what is pinned, and releases it once nftables judges."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from geodrop.ruleset.model import Ruleset
from tests.support.bpffs import own_pins
from tests.support.engines import XdpEngine
from tests.support.namespaces import End, join, namespaces
from tests.support.traffic import Traffic
from tests.support.users import NOBODY, as_user
from tests.support.worlds import POLICY_CN, packed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from geodrop.xdp.pins import Pins

DENIED, ALLOWED = "1.1.1.1", "2.2.2.2"

CHILD = """
import json, sys
from tests.support.seccomp import forbid_bpf
if len(sys.argv) > 3:
    forbid_bpf()
from pathlib import Path
from geodrop.dataplane import transaction
from geodrop.dataplane.both import BothEngines
from geodrop.engine.interfaces import select
from geodrop.nftables.engine import NftablesEngine
from tests.support.engines import XdpEngine
from geodrop.xdp.pins import Pins
from geodrop.errors import GeodropError
from geodrop.ruleset.model import Ruleset

ruleset = Ruleset.unpack(bytes.fromhex(sys.stdin.read()), "test")
engines = BothEngines(NftablesEngine(), None, unread=XdpEngine(pins=Pins(Path(sys.argv[1]))).unread())
found = {"problem": engines.unread.problem if engines.unread else ""}
try:
    if sys.argv[2] == "load":
        found["note"] = transaction.apply(engines, ruleset, 2, select(["eth0"]), "nftables").note
        found["judged"] = [one.name for one in engines.observe().interfaces]
    elif sys.argv[2] == "unload":
        found["removed"] = engines.remove()
except GeodropError as error:
    found |= {"code": error.exit_code, "message": error.message, "next_step": error.next_step}
print(json.dumps(found))
"""
"""A program that examines the pins of a folder, does what it is told, and prints the result as a line of JSON."""


class Host:
    """A host judged by xdp, whose bpffs belongs to a user who has only the privileges for nftables."""

    def __init__(self, wire: tuple[End, End], pins: Pins, ruleset: bytes) -> None:
        self.wire, self.pins, self._ruleset = wire, pins, ruleset

    def child(self, what: str, *names: str) -> Any:  # noqa: ANN401 - what the child printed
        """Run the child as that user, with these capabilities and no others."""
        command = [*as_user(NOBODY, *names), sys.executable, "-c", CHILD]
        out = self.wire[1].namespace.run(
            *command, str(self.pins.folder), what, *([] if "bpf" in names else ["no bpf"]), stdin=self._ruleset.hex()
        )
        return json.loads(out.splitlines()[-1])

    def has_program(self) -> bool:
        """Tell whether an XDP program is attached."""
        return "prog/xdp" in self.wire[1].namespace.run("ip", "link", "show", "eth0")

    def wait_for_the_end_of_the_link(self) -> None:
        """Wait: the kernel removes a link whose pin is gone in a work queue."""
        deadline = time.monotonic() + 60
        while self.has_program():
            assert time.monotonic() < deadline, "the program is still attached"
            time.sleep(0.05)


@pytest.fixture
def host(kernel: None, tmp_path: Path) -> Iterator[Host]:
    """Yield a host on which root has loaded a ruleset with xdp into the bpffs of the daemon's user."""
    del kernel
    ruleset = packed(POLICY_CN, tmp_path)
    with namespaces("far", "host") as [far, near], own_pins() as pins:
        wire = End(far, "far0"), End(near, "eth0")
        join(*wire)
        os.chown(pins.folder.parent, NOBODY, NOBODY)
        with near.entered():
            XdpEngine(pins=pins).apply(Ruleset.unpack(ruleset, "test"), 1, ["eth0"])
        yield Host(wire, pins, ruleset)
        with near.entered():
            XdpEngine(pins=pins).remove()


def test_what_can_be_read_is_no_problem(host: Host) -> None:
    """With the right to bpf(2), or without pins, nothing is unread."""
    assert host.child("look", "net_admin", "bpf", "perfmon") == {"problem": ""}
    with host.wire[1].namespace.entered():
        XdpEngine(pins=host.pins).remove()
    assert host.child("look", "net_admin") == {"problem": ""}


def test_it_is_named_and_let_go_once_nftables_judges(host: Host) -> None:
    """No packet passes unjudged meanwhile, the counters stay for a process that can read them, the links
    are removed.
    """
    found = host.child("look", "net_admin")
    assert found["problem"].startswith("what xdp does on eth0 cannot be read (CAP_BPF is missing)")
    assert f"rm -r {host.pins.folder}" in found["problem"]
    with Traffic(*host.wire, [DENIED, ALLOWED]) as traffic:
        done = host.child("load", "net_admin")
        assert (done["judged"], done["note"]) == (["eth0"], "")
        host.wait_for_the_end_of_the_link()
    assert traffic.tallies[DENIED].passed == 0
    # Packets are counted behind xdp, so only those that it accepts can be counted.
    assert traffic.tallies[ALLOWED].passed == traffic.tallies[ALLOWED].reached > 0
    assert host.pins.sets()
    assert host.child("look", "net_admin")["problem"].startswith("what xdp has counted cannot be read")
    with host.wire[1].namespace.entered():
        assert any(one.dropped[0] for one in XdpEngine(pins=host.pins).counters())


@pytest.mark.parametrize(
    ("mode", "problem", "note"),
    [
        (0o755, "what xdp does on eth0 cannot be read (CAP_BPF is missing)", "xdp goes on judging on eth0"),
        (0o700, "what xdp does on unknown interfaces cannot be read", "xdp may go on judging"),
    ],
)
def test_what_may_not_be_removed_is_said(host: Host, mode: int, problem: str, note: str) -> None:
    """In a folder of root's, nftables judges and xdp does too, and status reports it."""
    os.chown(host.pins.links, 0, 0)
    host.pins.links.chmod(mode)
    done = host.child("load", "net_admin")
    assert done["problem"].startswith(problem)
    assert note in done["note"]
    assert done["judged"] == ["eth0"]
    assert host.has_program()
    refused = host.child("unload", "net_admin")
    assert refused["code"] == 77
    assert "rm -r" in refused["next_step"]


def test_unload_takes_it_away_unread(host: Host) -> None:
    """`unload` removes what is ours, whichever user calls it."""
    assert host.child("unload", "net_admin")["removed"]
    host.wait_for_the_end_of_the_link()
    assert not host.pins.sets()

"""What interfaces are, told without attaching to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop.dataplane.doctor import interfaces
from geodrop.dataplane.doctor.finding import MISSING, NOTE, OK
from geodrop.dataplane.xdp.engine import XdpEngine
from tests.bpffs import own_pins
from tests.worlds import POLICY_CN, compiled

if TYPE_CHECKING:
    from pathlib import Path

    from tests.namespaces import Namespace


def test_driver_mtu_and_whose_program(netns: Namespace, tmp_path: Path) -> None:
    """A veth names its driver; a program that is not ours is named by its number, and is no obstacle to auto."""
    assert [finding.status for finding in interfaces.findings([])] == [MISSING]
    netns.run("ip", "link", "add", "eth0", "mtu", "9000", "type", "veth", "peer", "name", "far0")
    assert interfaces.driver("eth0") == "veth"
    assert interfaces.driver("lo") == ""
    found, coming = sorted(interfaces.findings(["eth0", "eth9"]), key=lambda one: one.name)
    assert (found.status, found.found) == (OK, "driver veth, MTU 9000, native xdp likely, with xdp.frags")
    assert (coming.name, coming.status) == ("interface eth9", NOTE)
    with own_pins() as others:
        theirs = XdpEngine(pins=others)
        theirs.apply(compiled(POLICY_CN, tmp_path), 1, ["eth0"])
        [found] = interfaces.findings(["eth0"])
        assert found.status == NOTE
        assert "is somebody else's" in found.found
        assert found.stops == ()
        theirs.remove()

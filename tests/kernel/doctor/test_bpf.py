# SPDX-License-Identifier: Apache-2.0
"""What doctor reports about BPF is true, and what is missing is named with its cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop.doctor import bpf
from geodrop.doctor.finding import MISSING, NOTE, OK
from geodrop.errors import UnavailableError
from geodrop.linux import libbpf
from geodrop.xdp.pins import Pins
from tests.support.bpffs import own_pins

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.support.namespaces import Namespace


def test_here_everything_is_there(netns: Namespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """This kernel has everything; nothing is pinned, and no program is left on any interface."""
    on = tmp_path / "jit"  # only the machine's own namespace has the file
    on.write_text("1\n")
    with own_pins() as pins:
        monkeypatch.setattr(Pins, "default", lambda: pins)
        monkeypatch.setattr(bpf, "JIT", on)
        findings = list(bpf.findings())
        assert {finding.name: finding.status for finding in findings if finding.status != OK} == {}
        assert len(findings) == 10
        assert not pins.folder.exists()
    assert "xdp" not in netns.run("ip", "link")


def test_what_is_missing(netns: Namespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A missing bpffs stops the engine; missing frags, clock or JIT only cost something."""
    del netns
    real = libbpf.call

    def without_frags(name: str, *arguments: object) -> int:
        if name == "bpf_prog_load" and arguments[-1]._obj.prog_flags:  # type: ignore[attr-defined]  # a byref
            raise OSError(22, "Invalid argument")
        return real(name, *arguments)

    jit = tmp_path / "jit"
    jit.write_text("0\n")
    monkeypatch.setattr(bpf, "JIT", jit)
    monkeypatch.setattr(libbpf, "call", without_frags)
    monkeypatch.setattr(libbpf, "has_tai_clock", lambda: False)
    monkeypatch.setattr(Pins, "default", lambda: Pins(tmp_path / "geodrop"))
    found = {finding.name: finding for finding in bpf.findings() if finding.status != OK}
    assert {name: (one.status, one.stops) for name, one in found.items()} == {
        "xdp: bpffs": (MISSING, ("xdp",)),
        "xdp: jumbo frames (frags)": (MISSING, ()),
        "xdp: clock (tai)": (NOTE, ()),
        "xdp: JIT": (NOTE, ()),
    }
    assert found["xdp: jumbo frames (frags)"].found == "Invalid argument"
    assert all(one.cost and one.next_step for one in found.values())


def test_without_libbpf_nothing_more_is_asked(netns: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing libbpf is reported, with how to install it."""
    del netns

    def gone() -> None:
        raise UnavailableError("libbpf 1.x cannot be loaded", "install it (Debian: libbpf1)")

    monkeypatch.setattr(libbpf, "library", gone)
    last = list(bpf.findings())[-1]
    assert (last.name, last.status, last.stops) == ("xdp: libbpf", MISSING, ("xdp",))

# SPDX-License-Identifier: Apache-2.0
"""Run packets through the attached program as test runs of the kernel: nothing is sent, nothing is counted.

The program is found by the number that the interface reports, whatever our link says. A foreign program is not run: it
might do more than judge, and its effects are not known.
"""

from __future__ import annotations

from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from geodrop.linux import libbpf
from geodrop.xdp import layout as lay
from geodrop.xdp import links
from geodrop.xdp.pins import version_of
from geodrop.xdp.program_set import ProgramSet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geodrop.engine.probes import Probe
    from geodrop.xdp.pins import Pins

UNKNOWN = "unknown"
VERDICTS = {1: "drop", 2: "accept"}
"""XDP_DROP and XDP_PASS of enum xdp_action; our program returns no other."""

_MARK = lay.PROBE_MARK.to_bytes(4, "little")
_ETHERNET = {4: bytes(12) + b"\x08\x00", 6: bytes(12) + b"\x86\xdd"}
_SHORTEST = 60


def trace(pins: Pins, probes: Sequence[Probe], layout: str) -> dict[str, list[str]]:
    """Return each packet's verdict, by the name of the interface it arrives on.

    Left out are interfaces with a program of ours that has another layout: it would count the packets.
    """
    found: dict[str, list[str]] = {}
    with ExitStack() as stack:
        ours = {}
        for folder in pins.sets():
            with suppress(FileNotFoundError):  # a killed load leaves an incomplete set
                programs = stack.enter_context(ProgramSet.open(folder))
                ours[libbpf.program_info(programs.fds["geodrop"]).id] = programs
        known: dict[int, list[str]] = {}
        for link in links.observe(pins):
            number = links.program_on(link.ifindex)
            programs_there = ours.get(number)
            if programs_there is None:
                found[link.name] = [UNKNOWN] * len(probes)
            elif version_of(programs_there.folder).startswith(layout):
                if number not in known:
                    known[number] = [_run(programs_there, probe) for probe in probes]
                found[link.name] = known[number]
    return found


def _run(programs: ProgramSet, probe: Probe) -> str:
    frame = (_ETHERNET[probe.source.version] + probe.packet).ljust(_SHORTEST, b"\0")
    verdict = libbpf.run_with_metadata(programs.fds["geodrop"], _MARK, frame)
    return VERDICTS.get(verdict, f"action {verdict}")

# SPDX-License-Identifier: Apache-2.0
"""Probe the kernel's BPF: maps and programs that are never pinned, and a link in a new network namespace."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import TYPE_CHECKING

from geodrop.doctor.finding import MISSING, NOTE, OK, Finding, asked
from geodrop.errors import PrivilegeError, UnavailableError
from geodrop.linux import capabilities, libbpf
from geodrop.linux.namespace import in_new_namespace
from geodrop.xdp.pins import Pins

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STOPS = ("xdp",)
UNUSABLE = "the xdp engine cannot be used"
LOOPBACK = 1
JIT = Path("/proc/sys/net/core/bpf_jit_enable")
BTF = Path("/sys/kernel/btf/vmlinux")
PASS = bytes.fromhex("b7000000020000009500000000000000")  # r0 = XDP_PASS; exit: two struct bpf_insn


def findings() -> Iterator[Finding]:
    """Yield what the xdp engine needs, in the order in which a load needs it, then what is optional."""
    yield _capabilities()
    try:
        version = libbpf.library().libbpf_version_string
    except UnavailableError as error:
        yield Finding("xdp: libbpf", MISSING, error.message, UNUSABLE, error.next_step, STOPS)
        return
    version.restype = ctypes.c_char_p
    yield Finding("xdp: libbpf", OK, version().decode())
    yield asked("xdp: bpffs", f"pins go to {Pins.default().folder}", Pins.default().check, UNUSABLE, STOPS)
    for name, probe, cost, stops in (
        ("xdp: maps in memory", _array, UNUSABLE, STOPS),
        ("xdp: programs", lambda: os.close(_program(0)), UNUSABLE, STOPS),
        (
            "xdp: jumbo frames (frags)",
            lambda: os.close(_program(libbpf.HAS_FRAGS)),
            "interfaces with a large MTU take generic xdp",
            (),
        ),
        ("xdp: links", lambda: in_new_namespace(_link), UNUSABLE, STOPS),
    ):
        yield _tried(name, probe, cost, stops)
    if libbpf.has_tai_clock():
        yield Finding("xdp: clock (tai)", OK, "programs can tell the time")
    else:
        cost = "auto takes nftables for a policy whose `starts` lies ahead; a large MTU takes generic xdp"
        yield Finding("xdp: clock (tai)", NOTE, "programs cannot tell the time", cost, "Linux 6.1 has it")
    yield _jit()
    yield Finding("xdp: BTF", OK if BTF.exists() else NOTE, str(BTF) if BTF.exists() else "none; not needed")


def _capabilities() -> Finding:
    lacking = capabilities.missing(capabilities.XDP)
    if not lacking:
        return Finding("xdp: capabilities", OK, " ".join(capabilities.XDP))
    cost = "; ".join(f"{name}: {capabilities.COSTS[name]}" for name in lacking)
    step = f"run as root, or AmbientCapabilities={' '.join(lacking)} in the unit"
    return Finding("xdp: capabilities", MISSING, " ".join(lacking), cost, step, STOPS)


def _tried(name: str, probe: Callable[[], object], cost: str, stops: tuple[str, ...]) -> Finding:
    try:
        probe()
    except PrivilegeError as error:
        return Finding(name, NOTE, f"not tried: {error.message}", "", error.next_step)
    except UnavailableError as error:
        return Finding(name, MISSING, error.message, cost, "use --engine nftables, or a newer kernel", stops)
    except OSError as error:
        found = error.strerror or str(error)
        return Finding(name, MISSING, found, cost, "use --engine nftables, or a newer kernel", stops)
    return Finding(name, OK, "tried")


def _jit() -> Finding:
    try:
        on = JIT.read_text(encoding="ascii").strip() != "0"
    except OSError as error:
        return Finding("xdp: JIT", NOTE, f"not known ({error.strerror})")
    if on:
        return Finding("xdp: JIT", OK, "on")
    return Finding("xdp: JIT", NOTE, "off", "each packet costs many times as much", "sysctl net.core.bpf_jit_enable=1")


def _array() -> None:
    os.close(libbpf.create_array("geodrop_doctor", 8, 1))


def _program(flags: int) -> int:
    """Load a program that passes every packet and return its descriptor; it is attached to nothing."""
    return libbpf.load_program("geodrop_doctor", PASS, flags=flags, log=[])


def _link() -> None:
    os.close(libbpf.create_link(_program(0), LOOPBACK, libbpf.GENERIC))

# SPDX-License-Identifier: Apache-2.0
"""Take bpf(2) from this process and its children, as SystemCallFilter= does in a unit without the drop-in for xdp."""

from __future__ import annotations

import ctypes
import platform
import struct

PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2  # linux/prctl.h, linux/seccomp.h
BPF = {"x86_64": 321, "aarch64": 280}
"""The number of bpf(2), in asm/unistd.h."""


def forbid_bpf() -> None:
    """Let bpf(2) fail with EPERM, whatever the kernel allows users without privileges. Raises OSError."""
    load, equal, answer = 0x20, 0x15, 0x06
    allow, refuse = 0x7FFF0000, 0x50001
    rules = (load, 0, 0, 0, equal, 0, 1, BPF[platform.machine()], answer, 0, 0, refuse, answer, 0, 0, allow)
    code = ctypes.create_string_buffer(struct.pack("=" + "HBBI" * 4, *rules))
    program = ctypes.create_string_buffer(struct.pack("@HP", 4, ctypes.addressof(code)))
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_SECCOMP)")

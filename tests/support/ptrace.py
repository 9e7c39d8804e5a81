# SPDX-License-Identifier: Apache-2.0
"""Kill a child before a chosen system call, without the child's help: ptrace through ctypes.

Source: ptrace(2), struct ptrace_syscall_info in linux/ptrace.h.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import traceback
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

TRACEME, SYSCALL, SET_OPTIONS, GET_SYSCALL_INFO = 0, 24, 0x4200, 0x420E
OPTION_MARK_SYSCALLS, OPTION_TRACE_CLONE, OPTION_KILL_ON_EXIT = 1, 1 << 3, 1 << 20
WAIT_ALL = 0x4000_0000  # __WALL of linux/wait.h: threads too
SYSCALL_STOP = signal.SIGTRAP | 0x80
AT_ENTRY = 1

CALLS = {
    "x86_64": {321: "bpf", 9: "mmap", 83: "mkdir", 84: "rmdir", 87: "unlink", 263: "unlinkat",
               258: "mkdirat", 324: "membarrier"},
    "aarch64": {280: "bpf", 222: "mmap", 34: "mkdirat", 35: "unlinkat", 283: "membarrier"},
}[os.uname().machine]  # fmt: skip
"""System calls by which a load waits or changes something that others can see; writes to mapped memory lie between."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)


class Call(NamedTuple):
    """A system call that is about to be made."""

    name: str
    arguments: tuple[int, ...]


def killed_before(step: int, wanted: Callable[[Call], bool], action: Callable[[], object]) -> Call | None:
    """Run `action` in a child that is killed before its `step`th wanted call (from 1).

    Calls of all its threads count, in the order in which they are made. Returns the call that was never made, or None
    if the child ran to its end: then it must have succeeded. What the child does between two calls leaves no trace once
    it is dead, so a kill before each call in turn covers every point that matters. No other child of this process may
    end meanwhile.
    """
    child = os.fork()
    if child == 0:
        _child(action)
    try:
        os.waitpid(child, 0)
        _ptrace(SET_OPTIONS, child, OPTION_MARK_SYSCALLS | OPTION_TRACE_CLONE | OPTION_KILL_ON_EXIT)
        _ptrace(SYSCALL, child, 0)
        done = 0
        while True:
            thread, status = os.waitpid(-1, WAIT_ALL)
            if os.WIFSTOPPED(status):
                call = _entered(thread) if os.WSTOPSIG(status) == SYSCALL_STOP else None
                if call and wanted(call):
                    done += 1
                    if done == step:
                        return call
                _ptrace(SYSCALL, thread, 0)
            elif thread == child:
                child = 0
                assert status == 0, "the child failed before it could be killed"
                return None
    finally:
        if child:
            os.kill(child, signal.SIGKILL)
            # The child is not gone until the last of its threads has been waited for.
            ended = 0
            while ended != child:
                thread, status = os.waitpid(-1, WAIT_ALL)
                ended = 0 if os.WIFSTOPPED(status) else thread


def _child(action: Callable[[], object]) -> None:
    code = 1
    try:
        _ptrace(TRACEME, 0, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
        action()
        code = 0
    finally:
        if code:
            traceback.print_exc()
        os._exit(code)


def _entered(thread: int) -> Call | None:
    """Return the call that a stopped thread is about to make; None if it has just returned, or is none of CALLS."""
    info = ctypes.create_string_buffer(88)
    _libc.ptrace(GET_SYSCALL_INFO, thread, len(info), ctypes.addressof(info))
    operation, number, *arguments = struct.unpack_from("=B23xQ6Q", info)
    if operation != AT_ENTRY or number not in CALLS:
        return None
    return Call(CALLS[number], tuple(arguments))


def _ptrace(request: int, thread: int, data: int) -> None:
    if _libc.ptrace(request, thread, None, data) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "ptrace")

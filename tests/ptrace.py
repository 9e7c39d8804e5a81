"""Killing a child before a system call of one's choice, with no help from what runs in it: ptrace through ctypes.

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
OPTION_MARK_SYSCALLS, OPTION_KILL_ON_EXIT = 1, 1 << 20
SYSCALL_STOP = signal.SIGTRAP | 0x80
AT_ENTRY = 1

CALLS = {
    "x86_64": {321: "bpf", 9: "mmap", 11: "munmap", 83: "mkdir", 84: "rmdir", 87: "unlink", 263: "unlinkat",
               258: "mkdirat", 324: "membarrier"},
    "aarch64": {280: "bpf", 222: "mmap", 215: "munmap", 34: "mkdirat", 35: "unlinkat", 283: "membarrier"},
}[os.uname().machine]  # fmt: skip
"""System calls by which a load changes anything that others can see, or waits; writes to mapped memory lie between."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)


class Call(NamedTuple):
    """A system call that is about to be made."""

    name: str
    arguments: tuple[int, ...]


def killed_before(step: int, wanted: Callable[[Call], bool], action: Callable[[], object]) -> Call | None:
    """Run `action` in a child that is killed before its `step`th call that is wanted (from 1).

    Gives back the call that was never made, or None when the child came to its end: then it must have succeeded. What
    the child does after a call and before its next is also seen by nobody once it is dead, so that to be killed before
    each call in turn is to be killed at every point that matters.
    """
    child = os.fork()
    if child == 0:
        _child(action)
    try:
        os.waitpid(child, 0)
        _ptrace(SET_OPTIONS, child, OPTION_MARK_SYSCALLS | OPTION_KILL_ON_EXIT)
        done = 0
        while True:
            _ptrace(SYSCALL, child, 0)
            status = os.waitpid(child, 0)[1]
            if os.WIFEXITED(status):
                code = os.WEXITSTATUS(status)
                child = 0
                assert code == 0, "the child failed before it could be killed"
                return None
            assert os.WIFSTOPPED(status), status
            call = _entered(child) if os.WSTOPSIG(status) == SYSCALL_STOP else None
            if call and wanted(call):
                done += 1
                if done == step:
                    return call
    finally:
        if child:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


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


def _entered(child: int) -> Call | None:
    """The call that a stopped child is about to make; None if it has just made it, or it is none of CALLS."""
    info = ctypes.create_string_buffer(88)
    _libc.ptrace(GET_SYSCALL_INFO, child, len(info), ctypes.addressof(info))
    operation, number, *arguments = struct.unpack_from("=B23xQ6Q", info)
    if operation != AT_ENTRY or number not in CALLS:
        return None
    return Call(CALLS[number], tuple(arguments))


def _ptrace(request: int, child: int, data: int) -> None:
    if _libc.ptrace(request, child, None, data) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "ptrace")

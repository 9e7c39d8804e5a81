# SPDX-License-Identifier: Apache-2.0
"""The system calls that the compile child may still make, as a filter that the kernel keeps for the rest of its life.

By then the child has imported everything and needs little: to read what it was given, to write its result, and memory.
A call that is not listed fails with EPERM: no file is opened, no socket made, nothing run, forked, signalled or traced,
and no page becomes executable. A call with another architecture's numbering, where a number means another call, kills
the child.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import platform
import struct
from typing import NamedTuple

from geodrop.linux.libc import LIBC

# linux/prctl.h, linux/seccomp.h, linux/audit.h
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2
KILL, ERRNO, ALLOW = 0x8000_0000, 0x0005_0000, 0x7FFF_0000
X32 = 0x4000_0000
"""Set in the system call numbers of the x32 ABI of x86-64."""

# linux/bpf_common.h: load a word of struct seccomp_data; conditional jumps; return.
LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16

FCNTL = (0, 1, 2, 3, 1030, 1034)
"""F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC, F_GET_SEALS: none of them makes the kernel send a signal."""


class Machine(NamedTuple):
    """An architecture: its number in linux/audit.h, and its system calls (asm/unistd.h)."""

    audit: int
    calls: dict[str, int]


MACHINES = {
    "x86_64": Machine(
        0xC000_003E,
        {
            "read": 0,
            "write": 1,
            "close": 3,
            "fstat": 5,
            "poll": 7,
            "lseek": 8,
            "mmap": 9,
            "mprotect": 10,
            "munmap": 11,
            "brk": 12,
            "rt_sigaction": 13,
            "rt_sigprocmask": 14,
            "rt_sigreturn": 15,
            "ioctl": 16,
            "pread64": 17,
            "readv": 19,
            "writev": 20,
            "sched_yield": 24,
            "mremap": 25,
            "madvise": 28,
            "dup": 32,
            "dup2": 33,
            "nanosleep": 35,
            "getpid": 39,
            "recvfrom": 45,
            "sendmsg": 46,
            "recvmsg": 47,
            "exit": 60,
            "fcntl": 72,
            "gettimeofday": 96,
            "getrusage": 98,
            "sigaltstack": 131,
            "gettid": 186,
            "futex": 202,
            "restart_syscall": 219,
            "clock_gettime": 228,
            "clock_nanosleep": 230,
            "exit_group": 231,
            "newfstatat": 262,
            "ppoll": 271,
            "dup3": 292,
            "prlimit64": 302,
            "getrandom": 318,
            "statx": 332,
            "open": 2,
            "openat": 257,
        },
    ),
    "aarch64": Machine(
        0xC000_00B7,
        {
            "dup": 23,
            "dup3": 24,
            "fcntl": 25,
            "ioctl": 29,
            "close": 57,
            "lseek": 62,
            "read": 63,
            "write": 64,
            "readv": 65,
            "writev": 66,
            "pread64": 67,
            "ppoll": 73,
            "newfstatat": 79,
            "fstat": 80,
            "exit": 93,
            "exit_group": 94,
            "futex": 98,
            "nanosleep": 101,
            "clock_gettime": 113,
            "clock_nanosleep": 115,
            "sched_yield": 124,
            "restart_syscall": 128,
            "sigaltstack": 132,
            "rt_sigaction": 134,
            "rt_sigprocmask": 135,
            "rt_sigreturn": 139,
            "getrusage": 165,
            "gettimeofday": 169,
            "getpid": 172,
            "gettid": 178,
            "recvfrom": 207,
            "sendmsg": 211,
            "recvmsg": 212,
            "brk": 214,
            "munmap": 215,
            "mremap": 216,
            "mmap": 222,
            "mprotect": 226,
            "madvise": 233,
            "prlimit64": 261,
            "getrandom": 278,
            "statx": 291,
            "openat": 56,
        },
    ),
}

REFUSED = {"open": errno.EACCES, "openat": errno.EACCES, "ioctl": errno.ENOTTY}
"""Calls that fail with an error that callers expect: a file that may not be opened, a stream that is no terminal."""


class _Program(ctypes.Structure):
    """`struct sock_fprog` of linux/filter.h."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def install() -> None:
    """Install the filter in this process, which must have set no_new_privs already. Raises OSError."""
    name = platform.machine()
    if name not in MACHINES:
        raise OSError(errno.ENOSYS, f"no system call filter is known for {name}")
    code = assemble(MACHINES[name])
    program = _Program(len(code) // 8, code)
    if LIBC.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program)) != 0:
        failure = ctypes.get_errno()
        raise OSError(failure, f"the kernel refused the system call filter: {os.strerror(failure)}")


def assemble(machine: Machine) -> bytes:
    """Return the filter as the kernel takes it: classic BPF, 8 bytes an instruction (struct sock_filter)."""
    code = [
        _instruction(LOAD, ARCHITECTURE),
        _instruction(EQUAL, machine.audit, 1, 0),
        _instruction(RETURN, KILL),
        _instruction(LOAD, NUMBER),
        _instruction(AT_LEAST, X32, 0, 1),
        _instruction(RETURN, KILL),
    ]
    for name, number in machine.calls.items():
        verdict = _verdict(name)
        # Another call jumps over the verdict; its number is still loaded then.
        code += [_instruction(EQUAL, number, 0, len(verdict)), *verdict]
    return b"".join([*code, _instruction(RETURN, ERRNO | errno.EPERM)])


def _verdict(name: str) -> list[bytes]:
    """Return the instructions for a system call whose number has matched; every path through them ends in a return."""
    allow, refuse = _instruction(RETURN, ALLOW), _instruction(RETURN, ERRNO | errno.EPERM)
    if name in REFUSED:
        return [_instruction(RETURN, ERRNO | REFUSED[name])]
    if name in ("mmap", "mprotect"):
        return [_argument(2), _instruction(ANY_BIT, mmap.PROT_EXEC, 1, 0), allow, refuse]
    if name == "prlimit64":  # its own limits only
        return [_argument(0), _instruction(EQUAL, 0, 0, 1), allow, refuse]
    if name == "fcntl":
        tests = [_instruction(EQUAL, command, len(FCNTL) - at, 0) for at, command in enumerate(FCNTL)]
        return [_argument(1), *tests, refuse, allow]
    return [allow]


def _argument(number: int) -> bytes:
    """Return the instruction that loads the lower 32 bits of an argument; both architectures are little-endian."""
    return _instruction(LOAD, ARGUMENTS + 8 * number)


def _instruction(code: int, operand: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, operand)

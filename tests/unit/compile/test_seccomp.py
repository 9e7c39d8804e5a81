# SPDX-License-Identifier: Apache-2.0
"""The seccomp filter: in the kernel for this architecture, and simulated for both architectures."""

import errno
import json
import mmap
import os
import platform
import re
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from geodrop.compile import seccomp

if TYPE_CHECKING:
    from collections.abc import Callable

HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}

CAGED = """
import ctypes, errno, fcntl, json, mmap, os, resource, signal, socket, sys
from geodrop.compile import privileges, seccomp
libc = ctypes.CDLL(None, use_errno=True)
pipe = os.pipe()
parent = os.getppid()
def call(number, *arguments):
    ctypes.set_errno(0)
    return (libc.syscall(number, *map(ctypes.c_long, arguments)), ctypes.get_errno())
attempts = {
    "read a file": lambda: open("/etc/hostname").close(),
    "write a file": lambda: open("/dev/null", "w").close(),
    "terminal": lambda: os.open("/dev/tty", os.O_RDWR),
    "push a key": lambda: fcntl.ioctl(0, 0x5412, b"x"),
    "socket": lambda: socket.socket(socket.AF_UNIX, socket.SOCK_STREAM),
    "network": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
    "netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
    "socketpair": lambda: socket.socketpair(),
    "fork": lambda: os.fork(),
    "run": lambda: os.execv("/bin/true", ["true"]),
    "kill": lambda: os.kill(parent, 0),
    "kill a group": lambda: os.killpg(os.getpgid(0), 0),
    "signal by pidfd": lambda: os.pidfd_open(parent),
    "signal by fcntl": lambda: fcntl.fcntl(pipe[0], fcntl.F_SETOWN, parent),
    "limits of another": lambda: resource.prlimit(parent, resource.RLIMIT_NOFILE),
    "code": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC),
    "remove": lambda: os.unlink("/tmp/nothing"),
    "list": lambda: os.listdir("/"),
    "session": lambda: os.setsid(),
    "memory": lambda: os.memfd_create("x"),
}
# PTRACE_SEIZE, which unlike PTRACE_ATTACH does not stop the process.
attempts["ptrace"] = lambda: os.strerror(0) if libc.ptrace(0x4206, parent, 0, 0) == 0 else _raise()
def _raise():
    raise OSError(ctypes.get_errno(), "refused")
if sys.argv[1] == "caged":
    privileges._prctl(privileges.PR_SET_NO_NEW_PRIVS, 1)
    seccomp.install()
found = {}
for name, attempt in attempts.items():
    if sys.argv[1] != "caged" and name in ("fork", "run", "session"):
        continue
    try:
        attempt()
        found[name] = 0
    except OSError as failure:
        found[name] = failure.errno
work = bytearray(1 << 24)
os.write(pipe[1], b"x")
found["works"] = os.read(pipe[0], 1) == b"x" and len(work) > 0 and os.fstat(0).st_mode > 0
print(json.dumps(found))
"""


def attempted(how: str) -> dict[str, Any]:
    """Return the result of each attempt of a process: 0, or the error's number."""
    done = subprocess.run([sys.executable, "-c", CAGED, how], check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    assert found.pop("works")
    return found


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="what root may do is what the filter takes away")
def test_nothing_but_what_it_was_handed() -> None:
    """Even root with every capability can no longer open, create, run, signal or trace anything."""
    free, caged = attempted("free"), attempted("caged")
    assert {name for name, code in free.items() if code == 0} >= {
        *("read a file", "socket", "netlink", "kill", "signal by pidfd", "signal by fcntl", "code", "memory", "list")
    }, "the test tests something"
    files = {"read a file", "write a file", "terminal", "list"}
    expected = {name: errno.EACCES if name in files else errno.EPERM for name in caged}
    assert caged == expected | {"push a key": errno.ENOTTY}


def run(code: bytes, machine: seccomp.Machine, number: int, *arguments: int, audit: int | None = None) -> int:
    """Run the filter in a small interpreter for classic BPF; return its answer."""
    data = struct.pack("<iIQ6Q", number, audit or machine.audit, 0, *arguments, *[0] * (6 - len(arguments)))
    program = list(struct.iter_unpack("<HBBI", code))
    at = value = 0
    while True:
        operation, if_true, if_false, operand = program[at]
        at += 1
        if operation == seccomp.RETURN:
            return int(operand)
        if operation == seccomp.LOAD:
            [value] = struct.unpack_from("<I", data, operand)
            continue
        test: Callable[[int, int], bool] = {
            seccomp.EQUAL: int.__eq__,
            seccomp.AT_LEAST: int.__ge__,
            seccomp.ANY_BIT: lambda one, other: bool(one & other),
        }[operation]
        at += if_true if test(value, operand) else if_false


@pytest.mark.parametrize("name", seccomp.MACHINES)
def test_each_architecture(name: str) -> None:
    """Listed calls pass, all others are refused, and a call of another architecture kills."""
    machine = seccomp.MACHINES[name]
    code = seccomp.assemble(machine)
    listed = {number: call for call, number in machine.calls.items()}
    assert len(listed) == len(machine.calls)
    refused = seccomp.ERRNO | errno.EPERM
    for number in range(600):
        expected = {None: refused, "open": seccomp.ERRNO | errno.EACCES, "openat": seccomp.ERRNO | errno.EACCES}
        call = listed.get(number)
        verdict = expected.get(call, seccomp.ERRNO | errno.ENOTTY if call == "ioctl" else seccomp.ALLOW)
        assert run(code, machine, number) == verdict, call
    for call in ("mmap", "mprotect"):
        assert run(code, machine, machine.calls[call], 0, 0, mmap.PROT_READ | mmap.PROT_WRITE) == seccomp.ALLOW
        assert run(code, machine, machine.calls[call], 0, 0, mmap.PROT_READ | mmap.PROT_EXEC) == refused
    assert run(code, machine, machine.calls["prlimit64"], 1) == refused
    for command in range(2000):
        expected_one = seccomp.ALLOW if command in seccomp.FCNTL else refused
        assert run(code, machine, machine.calls["fcntl"], 3, command) == expected_one
    others = [one.audit for one in seccomp.MACHINES.values() if one != machine]
    for audit in (*others, 0x4000_0003):
        assert run(code, machine, machine.calls["read"], audit=audit) == seccomp.KILL
    assert run(code, machine, seccomp.X32 | machine.calls["read"]) == seccomp.KILL
    assert run(code, machine, -1) == seccomp.KILL


@pytest.mark.parametrize("name", seccomp.MACHINES)
def test_numbers_are_those_of_the_kernel(name: str) -> None:
    """The system call numbers are those of the kernel headers, where these are installed."""
    if not HEADERS[name].exists():
        pytest.skip(f"no {HEADERS[name]}")
    found = re.findall(r"^#define __NR(?:3264)?_(\w+)\s+(\d+)$", HEADERS[name].read_text(), re.MULTILINE)
    names = {"fstatat": "newfstatat"} if name == "aarch64" else {}
    numbers = {names.get(call, call): int(number) for call, number in found}
    assert {call: numbers[call] for call in seccomp.MACHINES[name].calls} == seccomp.MACHINES[name].calls


def test_an_architecture_that_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """On an unknown architecture the child refuses to run, because it has no filter."""
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(OSError, match="riscv64"):
        seccomp.install()

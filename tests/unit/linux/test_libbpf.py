# SPDX-License-Identifier: Apache-2.0
"""Calls of libbpf raise the kernel's own error, and libbpf's output can be collected."""

from __future__ import annotations

import ctypes
import errno

import pytest

from geodrop.linux import libbpf
from tests.support.descriptors import left_open, open_descriptors


def test_a_failure_is_an_oserror_with_the_kernels_number() -> None:
    """The error has the kernel's errno, whichever convention libbpf uses."""
    with pytest.raises(OSError, match="bpf_obj_get") as caught:
        libbpf.get("/nowhere/at/all")
    assert caught.value.errno == errno.ENOENT


def test_what_libbpf_prints_is_kept() -> None:
    """Libbpf's output is collected and does not reach the operator's terminal."""
    with libbpf.Log() as log:
        assert not libbpf.library().bpf_object__open_file(b"/nowhere/at/all.o", None)
    assert "/nowhere/at/all.o" in "\n".join(log.lines)


def test_a_long_line_is_kept_to_its_end() -> None:
    """A verifier's log is one long line, and the reason for the refusal stands at its end."""
    path = b"/nowhere" * 100_000
    with libbpf.Log() as log:
        assert not libbpf.library().bpf_object__open_file(path, None)
    assert path.decode() in "\n".join(log.lines)


def test_waiting_for_readers_returns() -> None:
    """The kernel has the call on every architecture in MEMBARRIER."""
    libbpf.wait_for_readers()
    assert libbpf.possible_cpus() >= 1


class NoBarrier:
    """A C library on a kernel that refuses membarrier's global form; `refused` counts the refusals."""

    def __init__(self, number: int) -> None:
        self.refused = 0
        self._number = number

    def syscall(self, *_: object) -> int:
        """Answer as a kernel booted with nohz_full= or a system call filter does."""
        self.refused += 1
        ctypes.set_errno(self._number)
        return -1


@pytest.mark.root
@pytest.mark.parametrize("number", [errno.EINVAL, errno.EPERM, errno.ENOSYS], ids=errno.errorcode.get)
def test_waiting_for_readers_without_membarrier(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """The fallback writes a map of maps by system call, which waits for a grace period; both maps are closed."""
    written, real = [], libbpf.write_element

    def write(fd: int, key: int, value: bytes) -> None:
        written.append(fd)
        real(fd, key, value)

    monkeypatch.setattr(libbpf, "LIBC", libc := NoBarrier(number))
    monkeypatch.setattr(libbpf, "write_element", write)
    before = open_descriptors()
    try:
        libbpf.wait_for_readers()
    except PermissionError:
        pytest.skip("making maps needs privileges")
    assert libc.refused == len(written) == 1
    assert not left_open(before)

"""Calls of libbpf give the kernel's own error, and what libbpf says can be kept."""

from __future__ import annotations

import ctypes
import errno
import os

import pytest

from geodrop.linux import libbpf


def test_a_failure_is_an_oserror_with_the_kernels_number() -> None:
    """Whatever libbpf's own convention."""
    with pytest.raises(OSError, match="bpf_obj_get") as caught:
        libbpf.get("/nowhere/at/all")
    assert caught.value.errno == errno.ENOENT


def test_what_libbpf_prints_is_kept() -> None:
    """Instead of going to the operator's terminal."""
    with libbpf.Log() as log:
        assert not libbpf.library().bpf_object__open_file(b"/nowhere/at/all.o", None)
    assert "/nowhere/at/all.o" in "\n".join(log.lines)


def test_a_long_line_is_kept_to_its_end() -> None:
    """The verifier's log is one, and why it refused stands at its end."""
    path = b"/nowhere" * 100_000
    with libbpf.Log() as log:
        assert not libbpf.library().bpf_object__open_file(path, None)
    assert path.decode() in "\n".join(log.lines)


def test_waiting_for_readers_returns() -> None:
    """The kernel has the call on every architecture we name."""
    libbpf.wait_for_readers()
    assert libbpf.possible_cpus() >= 1


class NoBarrier:
    """The C library of a kernel that refuses membarrier's global form; `refused` counts."""

    def __init__(self, number: int) -> None:
        self.refused = 0
        self._number = number

    def syscall(self, *_: object) -> int:
        """As a kernel booted with nohz_full= or a filter of system calls answers."""
        self.refused += 1
        ctypes.set_errno(self._number)
        return -1


@pytest.mark.root
@pytest.mark.parametrize("number", [errno.EINVAL, errno.EPERM, errno.ENOSYS], ids=errno.errorcode.get)
def test_waiting_for_readers_without_membarrier(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Another grace period is waited for: a map of maps is written by system call, and nothing is left of it."""
    written, real = [], libbpf.write_element

    def write(fd: int, key: int, value: bytes) -> None:
        written.append(fd)
        real(fd, key, value)

    monkeypatch.setattr(libbpf, "LIBC", libc := NoBarrier(number))
    monkeypatch.setattr(libbpf, "write_element", write)
    before = len(os.listdir("/proc/self/fd"))
    try:
        libbpf.wait_for_readers()
    except PermissionError:
        pytest.skip("making maps needs privileges")
    assert libc.refused == len(written) == 1
    assert len(os.listdir("/proc/self/fd")) == before

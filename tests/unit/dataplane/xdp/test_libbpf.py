"""Calls of libbpf give the kernel's own error, and what libbpf says can be kept."""

from __future__ import annotations

import errno

import pytest

from geodrop.dataplane.xdp import libbpf


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

# SPDX-License-Identifier: Apache-2.0
"""Size classes, the flag that older kernels lack, and errors for the kernel's refusals."""

from __future__ import annotations

import errno
import os

import pytest

from geodrop.errors import ApplyError, GeodropError, PrivilegeError, UnavailableError
from geodrop.linux import libbpf
from geodrop.xdp.loader import LOG_LINES, Sizes, explained, with_frags_first


def test_a_size_class_has_room_and_holds_what_it_was_made_for() -> None:
    """A little growth needs no new program."""
    need = Sizes(segments=6, elements=2, pairs=300)
    made = need.rounded()
    assert made == Sizes(8, 2, 1024)
    assert made.holds(need)
    assert made.holds(Sizes(8, 2, 1024))
    assert not made.holds(Sizes(9, 2, 1))


def test_memory_counts_every_cpu() -> None:
    """The sum counts tables, policy, and 64 bytes for each counter pair and CPU."""
    one, two = (Sizes(8, 2, 1024).memory(cpus) for cpus in (1, 2))
    assert one == 8 * (4 << 20) + 2 * (256 << 10) + 1024 * 64
    assert two - one == 1024 * 64


@pytest.mark.parametrize(
    ("refused", "tried"),
    [
        (None, [libbpf.HAS_FRAGS]),
        (errno.EINVAL, [libbpf.HAS_FRAGS, 0]),
        (errno.EPERM, [libbpf.HAS_FRAGS]),
        (errno.ENOMEM, [libbpf.HAS_FRAGS]),
    ],
)
def test_a_kernel_without_frags_gets_a_second_chance(refused: int | None, tried: list[int]) -> None:
    """It does not if it has no memory or refuses for lack of privilege."""
    flags = []

    def load(flag: int) -> None:
        flags.append(flag)
        if flag and refused:
            raise OSError(refused, os.strerror(refused))

    if refused in (errno.EPERM, errno.ENOMEM):
        with pytest.raises(OSError, match=os.strerror(refused)):
            with_frags_first(load, readable=True)
    else:
        with_frags_first(load, readable=True)
    assert flags == tried


def test_a_program_that_cannot_read_several_buffers_is_given_none() -> None:
    """The kernel must not give it frames that it could only pass without reading."""
    flags: list[int] = []
    with_frags_first(flags.append, readable=False)
    assert flags == [0]


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (errno.EPERM, PrivilegeError, "CAP_BPF"),
        (errno.ENOMEM, ApplyError, "no memory"),
        (errno.EACCES, UnavailableError, "line 99"),
    ],
)
def test_a_refusal_says_what_to_do(number: int, kind: type[GeodropError], words: str) -> None:
    """If the verifier refused, the error ends with the end of its log."""
    log = [f"line {at}" for at in range(100)]
    with pytest.raises(kind, match=words) as caught, explained(log):
        raise OSError(number, os.strerror(number))
    assert caught.value.next_step
    assert f"line {100 - LOG_LINES - 1}\n" not in str(caught.value)

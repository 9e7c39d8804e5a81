# SPDX-License-Identifier: Apache-2.0
"""What the compile child gives up before it reads a byte: root, capabilities and unlimited resources."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal

from geodrop.linux.libc import LIBC

NOBODY = 65534
CPU_SECONDS = 300
"""Limit of processor time, counted from the first message on: a child may wait for that as long as it likes."""

LIMITS = {
    resource.RLIMIT_AS: 6 << 30,
    resource.RLIMIT_FSIZE: 1 << 30,
    resource.RLIMIT_NOFILE: 64,
    resource.RLIMIT_NPROC: 0,
    resource.RLIMIT_CORE: 0,
}

# linux/prctl.h
PR_SET_PDEATHSIG = 1
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4

CAPABILITY_VERSION_3 = 0x20080522  # linux/capability.h
CAPABILITIES = 64


def drop_privileges() -> None:
    """Become user nobody if root, drop every capability in every set for good, and apply `LIMITS`. Raises OSError.

    A daemon that is not root but holds CAP_NET_ADMIN as an ambient capability passes it to its children, so an
    unprivileged user alone is not enough.
    """
    for limit, value in LIMITS.items():
        _bound(limit, value)
    _prctl(PR_SET_NO_NEW_PRIVS, 1)
    for capability in range(CAPABILITIES):
        # EINVAL: the kernel has no such capability. EPERM: without CAP_SETPCAP it stays in the bounding set, which is
        # harmless: with no_new_privs, no execve brings it back.
        _prctl(PR_CAPBSET_DROP, capability, accepted=(errno.EINVAL, errno.EPERM))
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    # Only now, because a change of user clears it. The parent may die with its terminal or be killed.
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    # struct __user_cap_header_struct {version, pid}; twice {effective, permitted, inheritable}, 32 bits each.
    header, sets = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0), (ctypes.c_uint32 * 6)()
    if LIBC.capget(header, sets) != 0:
        raise OSError(ctypes.get_errno(), "capget")
    # Call capset only if there is a capability left: a unit without any may forbid the call.
    if any(sets) and LIBC.capset(header, (ctypes.c_uint32 * 6)()) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def limit_time() -> None:
    """Limit the processor time from now on. Raises OSError."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _bound(resource.RLIMIT_CPU, CPU_SECONDS + int(usage.ru_utime + usage.ru_stime))


def _bound(limit: int, value: int) -> None:
    """Lower a limit, soft and hard."""
    hard = resource.getrlimit(limit)[1]
    bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(limit, (bound, bound))


def _prctl(option: int, argument: int, accepted: tuple[int, ...] = ()) -> None:
    # prctl is variadic and takes longs: passed as ints, the unused arguments might not be the zeroes the kernel needs.
    if LIBC.prctl(option, *map(ctypes.c_ulong, (argument, 0, 0, 0))) != 0 and ctypes.get_errno() not in accepted:
        raise OSError(ctypes.get_errno(), f"prctl({option}, {argument})")

# SPDX-License-Identifier: Apache-2.0
"""Facts that concern no single engine: kernel version, clock, files and folders, and the limits of what doctor sees."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import TYPE_CHECKING

from geodrop.dataplane.both import BothEngines
from geodrop.doctor.finding import MISSING, NOTE, OK, Finding
from geodrop.errors import PrivilegeError, UnavailableError
from geodrop.linux.libc import LIBC
from geodrop.state.service_user import service_user

if TYPE_CHECKING:
    from collections.abc import Iterator

    from geodrop.config import Config

TIME_ERROR = 5  # linux/timex.h: the clock is not synchronised
BCC = Path("/usr/lib/python3/dist-packages/bcc/__init__.py")
"""Where Debian's python3-bpfcc installs bcc, for the system's Python."""


def findings(config: Config) -> Iterator[Finding]:
    """Yield the facts of the host and of agent.yaml."""
    system = os.uname()
    version = f"{system.sysname} {system.release} {system.machine}"
    yield Finding("kernel", OK, f"{version}; its features are tried below, not guessed from the version")
    yield _in_force()
    yield _clock()
    yield from _places(config)
    found = "importable by the system's Python" if BCC.exists() else "not installed; only needed to build on this host"
    yield Finding("bcc", OK if BCC.exists() else NOTE, found)
    yield Finding(
        "clients",
        NOTE,
        "packets are judged by the source address that they carry",
        "behind a CDN, a proxy or a load balancer that is its address, not the client's; this cannot be seen from here",
        "see where connections come from: ss -tn",
    )


def _in_force() -> Finding:
    try:
        observed = BothEngines.here().observe()
    except (PrivilegeError, UnavailableError) as error:
        return Finding("in force", NOTE, f"cannot be read: {error.message}", "", error.next_step)
    if not observed.generation:
        return Finding("in force", OK, "nothing; the place is free")
    return Finding("in force", OK, f"generation {observed.generation}, ruleset {observed.digest[:12]}")


def _clock() -> Finding:
    """Read the state of the clock by adjtimex(2). A mode of 0, the first field of struct timex, changes nothing."""
    state = LIBC.adjtimex(ctypes.create_string_buffer(512))
    if state == TIME_ERROR:
        cost = "`starts` comes when the kernel's clock says so, which may be wrong"
        return Finding("clock", NOTE, "not synchronised", cost, "run an NTP client: systemd-timesyncd, chrony")
    return Finding("clock", OK, "synchronised") if state >= 0 else Finding("clock", NOTE, "not known")


def _places(config: Config) -> Iterator[Finding]:
    """Yield whether the daemon's user may write the state directory and read the source files."""
    user = service_user(config.state)
    source = config.source
    files = [one for one in (source.policy, source.ruleset, *source.databases) if one] if source else []
    there = next(folder for folder in (config.state, *config.state.parents) if folder.exists())
    with user.acting():
        writable = os.access(there, os.W_OK | os.X_OK, effective_ids=True)
        readable = {name: os.access(name, os.R_OK, effective_ids=True) for name in files}
    yield Finding("user", OK, f"{user.name}, as which the daemon runs; the checks below are for this user")
    if writable or there != config.state:
        # A state directory that does not exist yet is made by systemd, or by a command that root runs.
        yield Finding("state", OK, str(config.state))
    else:
        step = f"give it to that user (chown {user.name} {there}), or name another `state` in agent.yaml"
        cost = "no ruleset can be kept, so none is loaded"
        found = f"user {user.name} may not write {there}"
        yield Finding("state", MISSING, found, cost, step, ("nftables", "xdp"))
    for name, good in readable.items():
        if good:
            yield Finding("source", OK, name)
            continue
        there_is = os.path.exists(name)
        found = f"user {user.name} may not read {name}" if there_is else f"{name} is not there"
        step = f"see which right is missing: namei -l {name}" if there_is else "put it there"
        yield Finding("source", MISSING, found, "a reload fails; what is in force stays", step)
    if not files:
        yield Finding("source", NOTE, "none in agent.yaml", "`run` and `reload` need one", "name it as `source`")

"""From `source` in agent.yaml to a ruleset that nobody can change any more."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING

from geodrop.compile import sandbox
from geodrop.dataplane.load import make_engine
from geodrop.errors import ConfigError, PrivilegeError, UnavailableError, failure_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from geodrop.config import Config, Source

SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
MAX_MESSAGES = 64 << 10
"""Bytes of what the compile child says that are passed on."""


def source_of(config: Config) -> Source:
    """Raises ConfigError if agent.yaml names none."""
    if config.source is None:
        raise ConfigError(
            "agent.yaml has no `source`, so there is nothing to enforce",
            "write  source: {policy: policy.yaml, databases: [/var/lib/GeoIP/GeoLite2-Country.mmdb]}",
        )
    return config.source


@contextlib.contextmanager
def ruleset_file(config: Config) -> Iterator[tuple[str, str]]:
    """The path of a ruleset file, made if it has to be, and the compiler's warnings; there until the body ends.

    Raises ConfigError, and whatever the compile child reports, printed lines included.
    """
    source = source_of(config)
    if source.ruleset is not None:
        yield source.ruleset, ""
        return
    # In memory, and sealed: the child writes it, and could otherwise go on writing after its digest was checked.
    output = os.memfd_create("ruleset", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    said = os.memfd_create("messages", os.MFD_CLOEXEC)
    try:
        options = {"xdp": wants_xdp(config)}
        code = sandbox.run("compile", source.policy, source.databases, output=output, options=options, stderr=said)
        text = os.pread(said, MAX_MESSAGES, 0).decode(errors="replace").rstrip()
        if code:
            raise failure_of(code, _reason(text), printed=text)
        fcntl.fcntl(output, fcntl.F_ADD_SEALS, SEALS)
        yield f"/proc/self/fd/{output}", text
    finally:
        os.close(output)
        os.close(said)


def wants_xdp(config: Config) -> bool:
    """Whether the tables of the xdp engine are worth their time: it is asked for, or can work here."""
    if config.engine != "auto":
        return config.engine == "xdp"
    try:
        make_engine("xdp").probe()
    except (UnavailableError, PrivilegeError):
        return False
    return True


def _reason(text: str) -> str:
    """The first error among the lines of the child, without what it begins with on a terminal."""
    lines = text.splitlines() or ["the compile process said nothing"]
    found = next((line for line in lines if "error:" in line), lines[0])
    return found.removeprefix("geodrop: error: ")

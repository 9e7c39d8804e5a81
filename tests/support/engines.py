"""Engines that take a ruleset by one call, for suites that judge each engine by itself."""

from __future__ import annotations

import fnmatch
import socket
from typing import TYPE_CHECKING, Protocol

from geodrop.engine.api import ApplyReport, Engine
from geodrop.errors import ApplyError
from geodrop.linux import capabilities
from geodrop.xdp import engine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geodrop.ruleset.model import Ruleset


class ApplyingEngine(Engine, Protocol):
    """An engine that can be given a ruleset without the other engine."""

    def apply(self, ruleset: Ruleset, generation: int, interfaces: Sequence[str]) -> ApplyReport:
        """Make the kernel match, atomically, verify by reading back, then remove the previous generation.

        Raises ApplyError with the previous generation still in force. Interface names may end in `*`.
        """


class XdpEngine(engine.XdpEngine):
    """The xdp engine on all interfaces that match, or on none. geodrop itself goes by dataplane.transaction."""

    def apply(self, ruleset: Ruleset, generation: int, interfaces: Sequence[str]) -> ApplyReport:
        """Make the kernel match, atomically; what was in force stays so until the last step, and if any step fails."""
        capabilities.require(capabilities.XDP)
        names = _existing(interfaces)
        with self.staged(ruleset, generation) as staged:
            for refusal in staged.attach(names).values():
                raise refusal
            staged.switch(names)
        return ApplyReport(generation, staged.seconds, staged.note)


def _existing(patterns: Sequence[str]) -> list[str]:
    """Names of interfaces that match."""
    there = [name for _, name in socket.if_nameindex()]
    names = [name for name in there if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]
    if not names:
        raise ApplyError(f"no interface matches {', '.join(patterns)}", "name another with --interface")
    return names

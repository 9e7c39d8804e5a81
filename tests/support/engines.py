# SPDX-License-Identifier: Apache-2.0
"""Engines that load a ruleset by one call, for tests of a single engine."""

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

    from geodrop.engine.exempt import ExemptSource
    from geodrop.ruleset.model import Ruleset


class ApplyingEngine(Engine, Protocol):
    """An engine that can load a ruleset without the other engine. What it makes lets the sources in `exempt` pass."""

    exempt: Sequence[ExemptSource]

    def apply(self, ruleset: Ruleset, generation: int, interfaces: Sequence[str]) -> ApplyReport:
        """Load a ruleset atomically, verify it by reading back, then remove the previous generation.

        On ApplyError the previous generation is still in force. Interface names may end in `*`.
        """


class XdpEngine(engine.XdpEngine):
    """The xdp engine on all matching interfaces, or on none. geodrop itself uses dataplane.transaction."""

    def apply(self, ruleset: Ruleset, generation: int, interfaces: Sequence[str]) -> ApplyReport:
        """Load a ruleset atomically; the previous one stays in force until the last step, and if any step fails."""
        capabilities.require(capabilities.XDP)
        names = _existing(interfaces)
        with self.staged(ruleset, generation) as staged:
            for refusal in staged.attach(names).values():
                raise refusal
            staged.switch(names)
        return ApplyReport(generation, staged.seconds, staged.note)


def _existing(patterns: Sequence[str]) -> list[str]:
    """Return the names of the matching interfaces."""
    there = [name for _, name in socket.if_nameindex()]
    names = [name for name in there if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]
    if not names:
        raise ApplyError(f"no interface matches {', '.join(patterns)}", "name another with --interface")
    return names

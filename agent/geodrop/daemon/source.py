"""Make a ruleset, in memory that no process can change any more, from `source` in agent.yaml."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from geodrop.compile.sandbox import Child, Job
from geodrop.errors import ConfigError, DataError, UnavailableError, failure_of
from geodrop.ruleset.model import Ruleset
from geodrop.ruleset.sealed import seal
from geodrop.state.places import compile_socket
from geodrop.state.store import Store

if TYPE_CHECKING:
    from geodrop.config import Config, Source
    from geodrop.ruleset.container import Container


class Made(NamedTuple):
    """A ruleset to load, the warnings of the compiler, and what the ruleset changes (compile.change), if known."""

    ruleset: Ruleset
    warnings: str = ""
    change: dict[str, Any] | None = None


def source_of(config: Config) -> Source:
    """Return the source. Raises ConfigError if agent.yaml names none."""
    if config.source is None:
        raise ConfigError(
            "agent.yaml has no `source`, so there is nothing to enforce",
            "write  source: {policy: policy.yaml, databases: [/var/lib/GeoIP/GeoLite2-Country.mmdb]}",
        )
    return config.source


class Maker:
    """Makes ruleset files from sources. A compile child waits with its imports done; each child serves one request."""

    def __init__(self) -> None:
        self._waiting: Child | None = None

    def make(self, config: Config) -> Made:
        """Return the ruleset, read once and checked, in sealed memory.

        Raises ConfigError, DataError, UnavailableError, and what the compile child reports, with its lines.
        """
        source, rulesets = source_of(config), Store(config.state).rulesets
        previous, warnings = _previous(config)
        if source.ruleset is not None:
            ruleset = Ruleset.open(source.ruleset, rulesets)
            return Made(ruleset, warnings, self._compare(ruleset, previous))
        # The output is sealed memory: otherwise the child could go on writing after the digest was checked.
        output = os.memfd_create("ruleset", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            job = Job("compile", source.policy, source.databases, output, previous=descriptors(previous))
            answer = self._child(job).run(job)
            text = warnings + answer.text.rstrip()
            if answer.exit:
                raise failure_of(answer.exit, _reason(text), printed=text)
            try:
                seal(output)
            except OSError as error:
                raise DataError("the compile process did not release its output", "try again") from error
            return Made(Ruleset.open(f"/proc/self/fd/{output}", rulesets), text, answer.change)
        finally:
            os.close(output)

    def wait(self, config: Config) -> None:
        """Start a child for the next request and let it read its inputs; a failure here is ignored: the request reports
        it.
        """
        source = config.source
        if source is None or (self._waiting and self._waiting.is_fit(source.databases)):
            return
        self.close()
        previous, _ = _previous(config)
        with contextlib.suppress(UnavailableError, DataError):
            self._waiting = _start()
            self._waiting.prepare(source.databases, descriptors(previous))

    def _compare(self, ruleset: Ruleset, previous: Container | None) -> dict[str, Any] | None:
        """Return what a prebuilt ruleset changes; None if that is unknown, which does not prevent the load."""
        if previous is None:
            return None
        with contextlib.suppress(DataError, UnavailableError):
            job = Job("compare", ruleset=descriptors(ruleset.file), previous=descriptors(previous))
            return self._child(job).run(job).change
        return None

    def close(self) -> None:
        """End the waiting child."""
        if self._waiting:
            self._waiting.close()

    def _child(self, job: Job) -> Child:
        child, self._waiting = self._waiting, None
        if child and not child.is_fit(job.databases):
            child.close()
            child = None
        return child or _start()


def _previous(config: Config) -> tuple[Container | None, str]:
    """Return the ruleset asked for last, if there is one, to compare with, and a warning if it is damaged."""
    try:
        return Store(config.state).asked_for(), ""
    except DataError as failure:
        return None, f"geodrop: warning: what changes cannot be said: {failure.message}\n"


def descriptors(file: Container | None) -> list[int]:
    """Return the descriptors that hold a ruleset, for a child: its own memory, and that of its base for an overlay."""
    return [memory.descriptor for memory in file.memories()] if file else []


def _start() -> Child:
    # If systemd offers the compile unit, use only that: our own child would start with our privileges.
    path = compile_socket()
    if path.exists():
        return Child.connect(str(path))
    if os.geteuid() != 0:
        # Our own child would run as our user, which owns the state directory and may read our memory.
        raise UnavailableError(
            f"there is no {path}, and a daemon that is not root can compile only through it",
            "start it with: systemctl start geodrop-compile.socket, or name a compiled file:  source: {ruleset: FILE}",
        )
    return Child.start()


def _reason(text: str) -> str:
    """Return the first error among the child's lines, without the prefix for terminals."""
    lines = text.splitlines() or ["the compile process said nothing"]
    found = next((line for line in lines if "error:" in line), lines[0])
    return found.removeprefix("geodrop: error: ")

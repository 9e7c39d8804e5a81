# SPDX-License-Identifier: Apache-2.0
"""Make a ruleset, in memory that no process can change any more, from `source` in agent.yaml."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, NamedTuple

from geodrop.compile.sandbox import Child, Job
from geodrop.errors import ConfigError, DataError, UnavailableError, failure_of
from geodrop.ruleset.model import Ruleset
from geodrop.ruleset.sealed import seal
from geodrop.state.places import compile_socket
from geodrop.state.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from geodrop.config import Config, Source
    from geodrop.ruleset.container import Container
    from geodrop.ruleset.difference import RulesetDiff


class Made(NamedTuple):
    """A ruleset to load, the warnings of the compiler, and what the ruleset changes against another, if known.

    `against` is the digest of that other one, None if the change is not known.
    """

    ruleset: Ruleset
    warnings: str = ""
    change: RulesetDiff | None = None
    against: str | None = None


def source_of(config: Config) -> Source:
    """Return the source. Raises ConfigError if agent.yaml names none."""
    if config.source is None:
        raise ConfigError(
            "agent.yaml has no `source`, so there is nothing to enforce",
            "write  source: {policy: policy.yaml, databases: [/var/lib/GeoIP/GeoLite2-Country.mmdb]}",
        )
    return config.source


def make_apart(source: Source, config: Config, previous: Ruleset | None, child: Child) -> tuple[Made, RulesetDiff]:
    """Make a ruleset in a child of this command, as `Maker.make` does; return it with what differs from `previous`.

    None stands for nothing. The child has been started before, since its imports take a quarter of a second.
    Raises as `Maker.make`.
    """
    made = _made(source, config, previous.file if previous else None, lambda _: child)
    if made.change is not None:
        return made, made.change
    return made, compare(made.ruleset, previous, child if source.ruleset is not None else Child.start())


def _made(source: Source, config: Config, previous: Container | None, child: Callable[[Job], Child]) -> Made:
    rulesets = Store(config.state).rulesets
    if source.ruleset is not None:
        return Made(Ruleset.open(source.ruleset, rulesets))
    # The output is sealed memory: otherwise the child could go on writing after the digest was checked.
    output = os.memfd_create("ruleset", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        job = Job("compile", source.policy, source.databases, output, previous=descriptors(previous))
        answer = child(job).run(job)
        text = answer.text.rstrip()
        if answer.exit:
            raise failure_of(answer.exit, _reason(text), printed=text)
        try:
            seal(output)
        except OSError as error:
            raise DataError("the compile process did not release its output", "try again") from error
        ruleset = Ruleset.open(f"/proc/self/fd/{output}", rulesets)
        return Made(ruleset, text, answer.change, previous.digest if previous and answer.change else None)
    finally:
        os.close(output)


def compare(ruleset: Ruleset, previous: Ruleset | None, child: Child) -> RulesetDiff:
    """Have a child find what a ruleset changes against another one, None for nothing in force.

    Raises DataError, UnavailableError.
    """
    job = Job("compare", ruleset=descriptors(ruleset.file), previous=descriptors(previous.file if previous else None))
    answer = child.run(job)
    if answer.change is None:
        raise failure_of(answer.exit or DataError.exit_code, _reason(answer.text), printed=answer.text)
    return answer.change


class Maker:
    """Makes ruleset files from sources. A compile child waits with its imports done; each child serves one request."""

    def __init__(self) -> None:
        self._waiting: Child | None = None

    def make(self, config: Config) -> Made:
        """Return the ruleset, read once and checked, in sealed memory, and what it changes against the one asked for
        last.

        Raises ConfigError, DataError, UnavailableError, and what the compile child reports, with its lines.
        """
        source = source_of(config)
        previous, warnings = _previous(config)
        made = _made(source, config, previous, self._child)
        made = made._replace(warnings=(warnings + made.warnings).rstrip())
        if source.ruleset is None or previous is None:
            return made
        # What a prebuilt ruleset changes may stay unknown: that does not prevent the load.
        with contextlib.suppress(DataError, UnavailableError):
            before = Ruleset.of(previous, "the ruleset asked for last")
            return made._replace(change=self.compare(made.ruleset, before), against=before.digest)
        return made

    def compare(self, ruleset: Ruleset, previous: Ruleset | None) -> RulesetDiff:
        """Return what a ruleset changes against another one, None for nothing. Raises DataError, UnavailableError."""
        return compare(ruleset, previous, self._child(Job("compare")))

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
        return None, f"geodrop: warning: the change against the previous ruleset is unknown: {failure.message}\n"


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

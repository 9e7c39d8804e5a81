"""From `source` in agent.yaml to a ruleset that nobody can change any more."""

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
    """A ruleset to load, what the compiler warned of, and what it changes (compile.change), if that is known."""

    ruleset: Ruleset
    warnings: str = ""
    change: dict[str, Any] | None = None


def source_of(config: Config) -> Source:
    """Raises ConfigError if agent.yaml names none."""
    if config.source is None:
        raise ConfigError(
            "agent.yaml has no `source`, so there is nothing to enforce",
            "write  source: {policy: policy.yaml, databases: [/var/lib/GeoIP/GeoLite2-Country.mmdb]}",
        )
    return config.source


class Maker:
    """Makes ruleset files of sources. A compile child waits with its imports done; each serves one request."""

    def __init__(self) -> None:
        self._waiting: Child | None = None

    def make(self, config: Config) -> Made:
        """The ruleset, read once and checked, in memory that nobody can change any more.

        Raises ConfigError, DataError, UnavailableError, and whatever the compile child reports, with its lines.
        """
        source, rulesets = source_of(config), Store(config.state).rulesets
        previous, warnings = _previous(config)
        if source.ruleset is not None:
            ruleset = Ruleset.open(source.ruleset, rulesets)
            return Made(ruleset, warnings, self._compare(ruleset, previous))
        # In memory, and sealed: the child writes it, and could go on writing after its digest was checked.
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
                raise DataError("the compile process would not let go of what it wrote", "try again") from error
            return Made(Ruleset.open(f"/proc/self/fd/{output}", rulesets), text, answer.change)
        finally:
            os.close(output)

    def wait(self, config: Config) -> None:
        """Have a child ready for the next request, its inputs read; if it cannot be, that shows then."""
        source = config.source
        if source is None or (self._waiting and self._waiting.is_fit(source.databases)):
            return
        self.close()
        previous, _ = _previous(config)
        with contextlib.suppress(UnavailableError, DataError):
            self._waiting = _start()
            self._waiting.prepare(source.databases, descriptors(previous))

    def _compare(self, ruleset: Ruleset, previous: Container | None) -> dict[str, Any] | None:
        """What a prebuilt ruleset changes; it is loaded even where that cannot be said."""
        if previous is None:
            return None
        with contextlib.suppress(DataError, UnavailableError):
            job = Job("compare", ruleset=descriptors(ruleset.file), previous=descriptors(previous))
            return self._child(job).run(job).change
        return None

    def close(self) -> None:
        """End the child that waits."""
        if self._waiting:
            self._waiting.close()

    def _child(self, job: Job) -> Child:
        child, self._waiting = self._waiting, None
        if child and not child.is_fit(job.databases):
            child.close()
            child = None
        return child or _start()


def _previous(config: Config) -> tuple[Container | None, str]:
    """The ruleset that was asked for last, to compare with, where there is one; and a warning where it is damaged."""
    try:
        return Store(config.state).asked_for(), ""
    except DataError as failure:
        return None, f"geodrop: warning: the change against the previous ruleset is unknown: {failure.message}\n"


def descriptors(file: Container | None) -> list[int]:
    """What holds a ruleset, for a child: its file's memory, and its base's where it is thin."""
    return [memory.descriptor for memory in file.memories()] if file else []


def _start() -> Child:
    # Where systemd offers its unit, nothing but that will do: a child of ours would have our privileges to lose.
    path = compile_socket()
    if path.exists():
        return Child.connect(str(path))
    if os.geteuid() != 0:
        # It would have our user, who owns the state directory and may read what we hold in memory.
        raise UnavailableError(
            f"there is no {path}, and a daemon that is not root compiles nowhere else",
            "start it with: systemctl start geodrop-compile.socket, or name a compiled file:  source: {ruleset: FILE}",
        )
    return Child.start()


def _reason(text: str) -> str:
    """The first error among the lines of the child, without what it begins with on a terminal."""
    lines = text.splitlines() or ["the compile process said nothing"]
    found = next((line for line in lines if "error:" in line), lines[0])
    return found.removeprefix("geodrop: error: ")

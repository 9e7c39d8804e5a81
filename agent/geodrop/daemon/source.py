"""From `source` in agent.yaml to a ruleset that nobody can change any more."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from geodrop.compile.sandbox import Child, Job
from geodrop.errors import ConfigError, DataError, UnavailableError, failure_of
from geodrop.inputs import open_regular
from geodrop.ruleset.container import base_path
from geodrop.state.places import compile_socket
from geodrop.state.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from geodrop.config import Config, Source

SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class Made(NamedTuple):
    """A ruleset file to load, what the compiler warned of, and what it changes (compile.change), if that is known."""

    path: str
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

    @contextlib.contextmanager
    def ruleset_file(self, config: Config) -> Iterator[Made]:
        """The file, which is there until the body ends.

        Raises ConfigError, DataError, UnavailableError, and whatever the compile child reports, with its lines.
        """
        source = source_of(config)
        with contextlib.ExitStack() as stack:
            previous = _previous(config, stack)
            if source.ruleset is not None:
                yield Made(source.ruleset, change=self._compare(source.ruleset, previous, Store(config.state)))
                return
            # In memory, and sealed: the child writes it, and could go on writing after its digest was checked.
            output = os.memfd_create("ruleset", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            stack.callback(os.close, output)
            job = Job("compile", source.policy, source.databases, output, previous=previous)
            answer = self._child(job).run(job)
            text = answer.text.rstrip()
            if answer.exit:
                raise failure_of(answer.exit, _reason(text), printed=text)
            fcntl.fcntl(output, fcntl.F_ADD_SEALS, SEALS)
            yield Made(f"/proc/self/fd/{output}", text, answer.change)

    def wait(self, config: Config) -> None:
        """Have a child ready for the next request, its inputs read; if it cannot be, that shows then."""
        source = config.source
        if source is None or (self._waiting and self._waiting.is_fit(source.databases)):
            return
        self.close()
        with contextlib.ExitStack() as stack, contextlib.suppress(UnavailableError, DataError):
            self._waiting = _start()
            self._waiting.prepare(source.databases, _previous(config, stack))

    def _compare(self, path: str, previous: list[int], store: Store) -> dict[str, Any] | None:
        """What a prebuilt ruleset changes; it is loaded even where that cannot be said."""
        if not previous:
            return None
        with contextlib.suppress(OSError, DataError), contextlib.ExitStack() as stack:
            ruleset = [_opened(file, stack) for file in (path, base_path(path, store.rulesets)) if file]
            job = Job("compare", ruleset=ruleset, previous=previous)
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


def _previous(config: Config, stack: contextlib.ExitStack) -> list[int]:
    """The ruleset that was asked for last, and its base if it is thin, open until the stack is closed; or nothing."""
    store = Store(config.state)
    path = store.ruleset_path(store.intent().digest)
    with contextlib.suppress(FileNotFoundError):
        return [_opened(file, stack) for file in (str(path), base_path(path)) if file]
    return []


def _opened(path: str, stack: contextlib.ExitStack) -> int:
    descriptor = open_regular(path)
    stack.callback(os.close, descriptor)
    return descriptor


def _start() -> Child:
    # Where systemd offers its unit, nothing but that will do: a child of ours would have our privileges to lose.
    path = compile_socket()
    return Child.connect(str(path)) if path.exists() else Child.start()


def _reason(text: str) -> str:
    """The first error among the lines of the child, without what it begins with on a terminal."""
    lines = text.splitlines() or ["the compile process said nothing"]
    found = next((line for line in lines if "error:" in line), lines[0])
    return found.removeprefix("geodrop: error: ")

# SPDX-License-Identifier: Apache-2.0
"""The compile child: it drops every privilege before it reads a byte, waits, does one task and ends.

`sandbox` starts it as `python -m geodrop.compile.child FD`, where FD is its end of the channel; systemd starts it with
the connection as descriptor 0 (StandardInput=socket) or 3. Everything is imported first, because afterwards files in
folders that only root can enter cannot be read. So a waiting child answers sooner, and sooner still if it was given the
databases before its task.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import os
import signal
import socket
import sys
import time
import traceback
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from geodrop import messages
from geodrop.compile import checked, regions, seccomp
from geodrop.compile.build import assemble, assemble_untested, costly_services, doubts, identity, write
from geodrop.compile.change import compare
from geodrop.compile.channel import MAX_DESCRIPTORS, PIECE, receive, send
from geodrop.compile.expect import failed_tests
from geodrop.compile.explain import DatabaseAnswers
from geodrop.compile.failures import collecting, say
from geodrop.compile.feeds import shrunken
from geodrop.compile.privileges import drop_privileges, limit_time
from geodrop.compile.reading import read_policy
from geodrop.compile.sandbox import Identity
from geodrop.compile.simulate import simulate
from geodrop.errors import (
    EXIT_BUG,
    DataError,
    GeodropError,
    failure_of,
)
from geodrop.geo.database import Database
from geodrop.geo.world import RegionMap, correct, uncorrected
from geodrop.linux.libc import LIBC
from geodrop.ruleset.container import Container, digest_of, open_descriptors
from geodrop.ruleset.difference import to_json
from geodrop.ruleset.explain import not_answered
from geodrop.ruleset.explained import told
from geodrop.ruleset.model import Input, Meta, Ruleset
from geodrop.text import harmless

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from geodrop.policy.model import Policy
    from geodrop.ruleset.difference import RulesetDiff
    from geodrop.ruleset.model import Meta

CODECS = (
    "utf-8",
    "utf-8-sig",
    "utf-16",
    "utf-16-le",
    "ascii",
    "latin-1",
    "idna",
    "unicode_escape",
    "raw_unicode_escape",
)


class KnownWorld(NamedTuple):
    """The databases' regions before corrections, their identities, and a sentence for each thing odd about them."""

    region_map: RegionMap
    sources: Sequence[Input]
    warnings: Sequence[str]


class Prepared(NamedTuple):
    """Data read in advance, with the identities of the files at that time.

    The databases themselves are not kept: they would need most of the memory.
    """

    files: Sequence[Identity]
    known: KnownWorld
    previous: tuple[Sequence[Identity], Opened] | None


class Opened(NamedTuple):
    """A ruleset and its container."""

    container: Container
    ruleset: Ruleset


class TaskRequest(NamedTuple):
    """A task with its descriptors; `content` refers to them by index."""

    content: dict[str, Any]
    descriptors: Sequence[int]
    channel: socket.socket
    prepared: Prepared | None = None

    def descriptor(self, name: str) -> int:
        """Return the descriptor of an input or output."""
        return self.descriptors[int(self.content[name])]

    def ruleset(self, name: str) -> list[int]:
        """Return the descriptors of a ruleset: its file, then its base if it is a delta file."""
        return [self.descriptors[int(index)] for index in self.content[name]]


class TaskResult(NamedTuple):
    """The result of a task: the exit code of the verb, and the change found for the process that asked."""

    exit: int
    change: RulesetDiff | None = None


def main() -> NoReturn:
    """Do the requested task, answer, and end; end silently if the channel closes before a task arrives."""
    # An interrupt ends the child without a message: the process that asked prints one.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # The channel is a copy, because descriptor 0 will become the task's standard input. Descriptor 0 stays open until
    # then, or a received descriptor would get its number.
    channel = socket.socket(fileno=os.dup(int(sys.argv[1])))
    warm_up()
    drop_privileges()
    seccomp.install()
    request = wait(channel)
    if request is None:
        os._exit(0)
    for number, index in enumerate(request.content["streams"]):
        os.dup2(request.descriptors[index], number)
    outcome = do(request)
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        pass  # The reader has closed its end.
    answer(channel, outcome)
    # _exit, because nothing needs cleaning up and freeing the memory of a task takes time.
    os._exit(0)


def warm_up() -> None:
    """Load what Python would only read on first use: no file can be opened afterwards."""
    for name in CODECS:
        codecs.lookup(name)
    hashlib.sha256(b"").digest()
    time.strptime("2000", "%Y")  # imports _strptime on the first call


def answer(channel: socket.socket, outcome: TaskResult) -> None:
    """Send the change, in pieces, and the last message."""
    text = to_json(outcome.change) if outcome.change else ""
    for at in range(0, len(text), PIECE):
        send(channel, {"change": text[at : at + PIECE]})
    send(channel, {"exit": outcome.exit})


def wait(channel: socket.socket) -> TaskRequest | None:
    """Wait for a task, and read databases in advance if told to; return None if the other side has closed."""
    prepared = None
    while (received := receive(channel, MAX_DESCRIPTORS)) is not None:
        content, descriptors = received
        if content.get("task") not in ENDLESS:
            limit_time()
        if "task" in content:
            return TaskRequest(content, descriptors, channel, prepared)
        prepared = prepare(TaskRequest(content["prepare"], descriptors, channel))
    return None


def prepare(request: TaskRequest) -> Prepared | None:
    """Read in advance what a task will need. Returns None if it cannot be read: then the task reports why."""
    try:
        files = _files(request)
        known = _read_databases(request)
        known = known._replace(region_map=known.region_map.alone())
        previous = None
        if "previous" in request.content and (opened := _previous(request)) is not None:
            previous = [*map(Identity.of, request.ruleset("previous"))], opened
        # Without this, the C library would keep 35 MB of freed memory as long as this process waits.
        LIBC.malloc_trim(0)
        return Prepared(files, known, previous)
    except (GeodropError, MemoryError):
        return None
    finally:
        for descriptor in request.descriptors:
            os.close(descriptor)


def do(request: TaskRequest) -> TaskResult:
    """Do a task; a failure is reported on stderr, with --json also as an object on stdout, and gives the exit code."""
    as_json = bool(request.content.get("options", {}).get("json"))
    try:
        return TASKS[request.content["task"]](request)
    except GeodropError as failure:
        return TaskResult(say([failure], as_json=as_json))
    except MemoryError:
        too_much = DataError("the inputs need more memory than the compile process may use", "use smaller ones")
        return TaskResult(say([too_much], as_json=as_json))
    except BrokenPipeError:
        return TaskResult(0)
    except Exception:  # noqa: BLE001 - a bug: the contract is a traceback and this exit code
        messages.say(traceback.format_exc().rstrip(), sys.stderr)
        return TaskResult(EXIT_BUG)


def check(request: TaskRequest) -> TaskResult:
    """Validate the policy, any databases given, and the ruleset they make together; report every problem at once."""
    options = request.content["options"]
    # Files that the process that asked could not open.
    failures = [failure_of(one["exit"], one["error"], one["next_step"]) for one in options.get("failures", ())]
    policy, read, known, first = None, list[Input](), None, None
    if "policy" in request.content:
        with collecting(failures):
            policy, read = _read_policy(request)
            _warn_of_lists(policy, _previous(request))
    databases = []
    for item in request.content["databases"]:
        with collecting(failures):
            databases.append(Database.open(request.descriptors[item["fd"]], item["name"]))
    if databases and len(databases) == len(request.content["databases"]):
        with collecting(failures):
            known = _known(databases)
    if policy and known and not failures:
        with collecting(failures):
            meta, sections = assemble(policy, _corrected(known, policy), [*read, *known.sources])
            _warn_of_cost(policy, sections)
            if "previous" not in request.content:
                first = compare(None, _as_ruleset("", meta, sections)).as_text()
    if failures:
        return TaskResult(say(failures, as_json=options["json"]))
    if policy is None:
        return TaskResult(0)
    checked.say(policy, [*read, *(known.sources if known else ())], first, as_json=options["json"])
    return TaskResult(0)


def compile_(request: TaskRequest) -> TaskResult:
    """Write the ruleset to the given descriptor; return what it changes against the previous one, if one is given."""
    policy, read = _read_policy(request)
    prepared = request.prepared
    # What was read in advance counts only if the files are still the same.
    known = prepared.known if prepared and prepared.files == _files(request) else _read_databases(request)
    region_map = _corrected(known, policy)
    previous = _previous(request)
    _warn_of_lists(policy, previous)
    before = previous.ruleset if previous else None
    if request.content["options"].get("untested"):
        meta, sections = _untested(policy, region_map, [*read, *known.sources])
    else:
        meta, sections = assemble(policy, region_map, [*read, *known.sources], previous=before)
    _warn_of_cost(policy, sections)
    data = write(meta, sections, previous.container.whole if previous else None)
    with open(request.descriptor("output"), "wb", closefd=False) as output:
        output.write(data)
    if before is None:
        return TaskResult(0)
    return TaskResult(0, compare(before, _as_ruleset(digest_of(data), meta, sections)))


def compare_(request: TaskRequest) -> TaskResult:
    """Return what an existing ruleset changes against a previous one, or against nothing."""
    previous = _open_ruleset(request, "previous").ruleset if "previous" in request.content else None
    return TaskResult(0, compare(previous, _open_ruleset(request, "ruleset").ruleset))


def explain(request: TaskRequest) -> TaskResult:
    """Explain the given addresses, or those on standard input, one a line."""
    policy, read = _read_policy(request)
    known = _read_databases(request)
    region_map = _corrected(known, policy)
    meta, sections = _untested(policy, region_map, [*read, *known.sources])
    ruleset = Ruleset.unpack(write(meta, sections), policy.file)
    options = request.content["options"]
    now = options["at"] if options["at"] is not None else time.time()
    texts = options["addresses"] or _lines(sys.stdin)
    several = len(options["addresses"]) != 1
    code = 0
    answering = DatabaseAnswers(ruleset, region_map)
    for text in texts:
        try:
            answers = answering.explained(text, now)
        except DataError as failure:
            code = failure.exit_code
            _print_bad(text, failure, as_json=options["json"])
            continue
        if options["json"]:
            for answer in answers:
                print(json.dumps(answer))
        else:
            for line in told(answers, several=several, verbose=options["verbose"]):
                messages.say(harmless(line))
    return TaskResult(code)


def regions_(request: TaskRequest) -> TaskResult:
    """Print what the atlas has, with the sizes in the databases given."""
    options = request.content["options"]
    given = request.content["databases"]
    known = _read_databases(request) if given else None
    for warning in known.warnings if known else ():
        messages.warning(warning)
    names = [harmless(item["name"]) for item in given]
    regions.say(options["name"], known.region_map if known else None, names, as_json=options["json"])
    return TaskResult(0)


def simulate_(request: TaskRequest) -> TaskResult:
    """Say what a ruleset does to the sources in logs, alone or against a previous one."""
    before = _open_ruleset(request, "previous").ruleset if "previous" in request.content else None
    logs = [
        (item["name"], sys.stdin.fileno() if item["fd"] is None else request.descriptors[item["fd"]])
        for item in request.content["logs"]
    ]
    ruleset = _open_ruleset(request, "ruleset").ruleset
    return TaskResult(simulate(ruleset, before, logs, request.content["options"]))


def _untested(
    policy: Policy, region_map: RegionMap, inputs: Sequence[Input]
) -> tuple[Meta, Mapping[str, bytes | memoryview]]:
    """Assemble for an answer about the policy, which is never loaded: a test that fails is a warning.

    The question is often why it fails.
    """
    meta, sections = assemble_untested(policy, region_map, inputs)
    for problem in failed_tests(policy, meta, sections, region_map):
        messages.say(str(replace(problem, severity="warning")), sys.stderr)
    return meta, sections


def _as_ruleset(digest: str, meta: Meta, sections: Mapping[str, bytes | memoryview]) -> Ruleset:
    return Ruleset(digest, meta, {name: memoryview(section) for name, section in sections.items()})


def _warn_of_cost(policy: Policy, sections: Mapping[str, bytes | memoryview]) -> None:
    for problem in costly_services(policy, sections):
        messages.say(str(problem), sys.stderr)


TASKS: dict[str, Callable[[TaskRequest], TaskResult]] = {
    "check": check,
    "compile": compile_,
    "explain": explain,
    "compare": compare_,
    "simulate": simulate_,
    "regions": regions_,
}

ENDLESS = {"simulate"}
"""Tasks whose input may be of any size, so that no limit of processor time fits."""


def _read_policy(request: TaskRequest) -> tuple[Policy, list[Input]]:
    given = request.content["policy"]
    return read_policy(request.descriptors[given["fd"]], given["name"], request.channel)


def _warn_of_lists(policy: Policy, previous: Opened | None) -> None:
    for problem in shrunken(policy, previous.ruleset.meta.inputs) if previous else ():
        messages.say(str(problem), sys.stderr)


def _files(request: TaskRequest) -> list[Identity]:
    """Return the identities of a request's databases as they are now."""
    return [Identity.of(request.descriptors[item["fd"]]) for item in request.content["databases"]]


def _read_databases(request: TaskRequest) -> KnownWorld:
    return _known(
        [Database.open(request.descriptors[item["fd"]], item["name"]) for item in request.content["databases"]]
    )


def _known(databases: Sequence[Database]) -> KnownWorld:
    region_map = uncorrected(databases)
    warnings = [f"{database.name}: {warning}" for database in databases for warning in database.warnings]
    return KnownWorld(region_map, [*map(identity, databases)], [*warnings, *region_map.warnings])


def _corrected(known: KnownWorld, policy: Policy) -> RegionMap:
    for warning in known.warnings:
        messages.warning(warning)
    region_map = correct(known.region_map, policy.corrections)
    for problem in doubts(policy, region_map):
        messages.say(str(problem), sys.stderr)
    return region_map


def _previous(request: TaskRequest) -> Opened | None:
    """Return the ruleset to compare with; None if it is damaged or outdated, which never fails the compile."""
    if "previous" not in request.content:
        return None
    ahead = request.prepared.previous if request.prepared else None
    if ahead and ahead[0] == [*map(Identity.of, request.ruleset("previous"))]:
        return ahead[1]
    try:
        return _open_ruleset(request, "previous")
    except DataError as failure:
        messages.warning(f"the change against the previous ruleset is unknown: {failure.message}")
        return None


def _open_ruleset(request: TaskRequest, name: str) -> Opened:
    """Open a ruleset by its descriptors: its folder may be one that only root can enter."""
    opened = open_descriptors(request.ruleset(name), name)
    ruleset = Ruleset.of(opened, name)
    return Opened(opened, ruleset)


def _lines(stream: Iterable[str]) -> Iterable[str]:
    return (text for line in stream if (text := line.strip()))


def _print_bad(text: str, failure: DataError, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(not_answered(text, failure)))
    else:
        messages.error(failure)


if __name__ == "__main__":
    main()

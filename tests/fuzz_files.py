# SPDX-License-Identifier: Apache-2.0
"""`make fuzz-files`: altered ruleset and state files, read as a privileged process reads them.

    python -m tests.fuzz_files [COUNT [SEED]]

Bits flip, numbers are replaced and digests corrected, sections change places, texts are cut off. The outcome must be a
refusal (DataError), a recovered state, or a ruleset that every reader can use: never another exception, a crash, a
hang, or more memory than the limit that this process sets itself.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import resource
import signal
import sys
import tempfile
import time
from ipaddress import ip_address
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geodrop.cli.audit import covered
from geodrop.cli.history import describe
from geodrop.config import Config
from geodrop.engine.api import Observed
from geodrop.errors import DataError, UnavailableError
from geodrop.formats import RULESET
from geodrop.nftables.export import nft
from geodrop.nftables.netlink.elements import lists
from geodrop.nftables.render import build
from geodrop.operations.admission import known
from geodrop.report.chain import read_chain
from geodrop.report.coverage import coverage
from geodrop.report.history import as_object, with_ends
from geodrop.report.pieces import whole
from geodrop.ruleset import container
from geodrop.ruleset.enforced import enforced
from geodrop.ruleset.explain import explain
from geodrop.ruleset.export import cidr
from geodrop.ruleset.model import Ruleset
from geodrop.state.accepted import Acceptance, AcceptedRulesets
from geodrop.state.chain import ChainLink, end_of, waiting
from geodrop.state.entry import Entry, Pruned, line_of
from geodrop.state.history import policies
from geodrop.state.intent import Intent
from geodrop.state.prune import left
from geodrop.state.store import Store
from geodrop.xdp import encode
from tests.support.timelines import stretches
from tests.support.worlds import packed

if TYPE_CHECKING:
    from collections.abc import Callable

MEMORY = 1 << 30
"""The limit of the address space, in bytes: the interpreter and the largest input fit in a third of it."""
SECONDS = 60
"""Seconds for one file, which takes milliseconds: a longer time means a hang."""

POLICY = """version: 1
groups: {far: [CN, RU]}
services:
  api:
    match: {ports: {tcp: [443, 8000-8099], udp: [443]}, addresses: [203.0.113.0/28]}
    default: deny
    unknown: allow
    allow: [US]
    starts: 2030-01-01T00:00:00Z
  ping: {match: {protocols: [icmp]}, default: allow, unknown: allow, deny: ['group:far', 9.9.9.9], established: keep}
never_drop: {prefixes: [10.0.0.0/8], ports: {tcp: [22]}}
"""

NUMBERS = (-1, 0, 1, 255, 256, 32_767, 65_535, 65_536, 1 << 31, (1 << 32) - 1, 1 << 63, 10**30, 1e19, -0.5, 1e308)
WORDS = ("", "x", "\x1b[2J", "../../etc/passwd", "a\nb", "\u202e", "x" * 5_000, "drop", "embedded", "api", "CN", "::/0")
OTHERS: tuple[object, ...] = (None, True, False, [], {}, [[]] * 1_000, {"x": 1}, [[1, 2]], "1")
TEXTS = ("1e999", "NaN", "-Infinity", "9" * 5_000, "[" * 50_000, "{}," * 1_000, "tru", '"\\ud800"', "1e-400", "", "\\")
ADDRESSES = [ip_address(text) for text in ("0.0.0.1", "1.2.3.4", "255.255.255.255", "::", "2400::1", "2002:102:304::")]


class Fuzzer:
    """Alters files in a folder; the same seed gives the same alterations."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        self.good = packed(POLICY, folder)
        self.file = folder / "altered.ruleset"
        self.store = Store(folder / "state")
        self.outcomes: dict[str, int] = {}
        opened = container.unpack(self.good, "good")
        self.meta = json.loads(json.dumps(opened.meta))
        self.sections = {name: bytes(view) for name, view in opened.sections.items()}
        entries = [
            Entry(1_000.5, "load", "done", 0, 1, "ab", why="x", drops=enforced(Ruleset.unpack(self.good, "good"))),
            Entry(2_000, "pause", "done", 5, 2, "ab", paused=9),
            Entry(3_000, "prune", "done", 5, pruned=Pruned(1, "0" * 64, 1_000.5, 1, {"1": "f" * 64})),
        ]
        self.store.remember(Intent(3, "ab", paused=5, why="x", last_good="ab"))
        for entry in entries:
            self.store.history.append(entry)
        accepted = {"ab": Acceptance(5, "alice", "SHA256:x", 7), "cd": Acceptance(3)}
        self.store.accepted.write(AcceptedRulesets(7, accepted))
        self.accepted = (self.store.folder / "accepted.json").read_bytes()
        self.intent = (self.store.folder / "intent.json").read_bytes()
        self.history = self.store.history.path.read_bytes()

    def once(self) -> None:
        """Alter and read one ruleset and one state directory."""
        alter = self.chance.choice((self.bits, self.cut, self.value, self.text, self.section, self.swapped))
        self.file.write_bytes(alter())
        self.count(alter.__name__, self.read_ruleset)
        files = {"intent.json": self.intent, "history.jsonl": self.history, "accepted.json": self.accepted}
        for name, content in files.items():
            damage = self.chance.choice((flipped, cut_off, rewritten))
            (self.store.folder / name).write_bytes(damage(content, self.chance))
        self.read_state()

    def count(self, what: str, read: Callable[[], str]) -> None:
        """Count an outcome."""
        key = f"{what}: {read()}"
        self.outcomes[key] = self.outcomes.get(key, 0) + 1

    # --- alterations of a ruleset ---

    def bits(self) -> bytes:
        """Flip bits, as a disk or a network does."""
        return flipped(self.good, self.chance)

    def cut(self) -> bytes:
        """Cut the file off, as an interrupted copy does."""
        return cut_off(self.good, self.chance)

    def value(self) -> bytes:
        """Change a value in the JSON part, and correct the digest."""
        meta = json.loads(json.dumps(self.meta))
        for _ in range(self.chance.choice((1, 1, 1, 3))):
            alter_value(meta, self.chance)
        return container.pack(meta, self.sections)

    def text(self) -> bytes:
        """Change the text of a part of the JSON, and correct the digest."""
        length = container.HEADER.unpack_from(self.good)[3]
        end = container.HEADER.size + length
        content = rewritten(self.good[container.HEADER.size : end], self.chance)
        digest = hashlib.sha256(content).digest()
        header = container.HEADER.pack(container.MAGIC, RULESET.number, digest, len(content), container.NO_BASE)
        return header + content + self.good[end:]

    def section(self) -> bytes:
        """Change the bytes of a section, and correct the digest."""
        sections = dict(self.sections)
        name = self.chance.choice(sorted(sections))
        damage = self.chance.choice((flipped, cut_off, words))
        sections[name] = damage(sections[name], self.chance)
        return container.pack(self.meta, sections)

    def swapped(self) -> bytes:
        """Exchange, remove or add sections, and correct the digest."""
        sections = dict(self.sections)
        one, other = self.chance.sample(sorted(sections), 2)
        sections[one], sections[other] = sections[other], sections[one]
        if self.chance.random() < 0.3:
            del sections[self.chance.choice(sorted(sections))]
        return container.pack(self.meta, sections)

    # --- readers ---

    def read_ruleset(self) -> str:
        """Open the file and use it; return the outcome."""
        try:
            ruleset = Ruleset.open(self.file)
        except DataError as error:
            return "refused" if error.next_step and str(error).isprintable() else f"refused without sense: {error!r}"
        try:
            return self.use(ruleset)
        except DataError:
            return "refused by an engine"

    def use(self, ruleset: Ruleset) -> str:
        """Read it as the engines and the reading commands do."""
        paused = ruleset.paused(2_000_000_000)
        program = build(paused, 1, ["eth0"], int(time.time()))
        for made in program.maps:
            for _ in lists(made.content):
                pass
        "".join(nft(ruleset))
        for service in ruleset.meta.services:
            for _ in islice(cidr(ruleset, service), 1_000):
                pass
        for address in ADDRESSES:
            list(explain(ruleset, address, time.time()))
        if ruleset.has_xdp:
            pairs = {label: number for number, label in enumerate(encode.labels_of(ruleset))}
            try:
                encode.encode_policy(paused, 1, pairs, encode.Clock(37, time.time()), encode.tables_digest(ruleset))
            except UnavailableError:
                return "too much for xdp"
        return "opened"

    def read_state(self) -> None:
        """Read it as the daemon and the commands do."""
        self.store.intent()
        self.store.problems()
        known(self.store, Observed(1, "ab"))
        entries = list(self.store.history)
        policies(entries)
        for entry, until in with_ends(entries):
            describe(as_object(entry, until))
        whole(read_chain(Config(state=self.store.folder), ["0" * 12]))
        for one in coverage(stretches(entries, time.time(), "ab"), None):
            covered(one)
        end = end_of(self.store.history.path)
        waiting([line_of(ChainLink().next(entry)).decode() for entry in entries], end)
        left(self.store.history.chain(), 1_500.0, 1 << 20, {"ab"})


def flipped(content: bytes, chance: random.Random) -> bytes:
    """Return the data with a few bits flipped."""
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 8)) if data else 0):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(data)


def cut_off(content: bytes, chance: random.Random) -> bytes:
    """Return the data shortened or lengthened."""
    at = chance.randrange(len(content) + 1)
    return content[:at] if chance.random() < 0.8 else content + content[:at]


def words(content: bytes, chance: random.Random) -> bytes:
    """Return the data with a few of its 32-bit words replaced."""
    data = bytearray(content)
    for _ in range(3 if len(data) >= 4 else 0):
        at = chance.randrange(len(data) // 4) * 4
        data[at : at + 4] = chance.choice((bytes(4), b"\xff" * 4, chance.randbytes(4), b"\0\0\0\x80"))
    return bytes(data)


def rewritten(content: bytes, chance: random.Random) -> bytes:
    """Return a JSON text with a number, a word or an object replaced, or a key there twice."""
    found = list(re.finditer(rb'-?[0-9.]+|"[^"]*"|true|false|null|[\[\]{},:]', content))
    one = chance.choice(found)
    new = chance.choice((*TEXTS, *map(json.dumps, (*NUMBERS, *WORDS, *OTHERS))))
    if chance.random() < 0.1:
        return content.replace(b"{", b'{"time": 1, "time": 2, ', 1)
    return content[: one.start()] + new.encode() + content[one.end() :]


def alter_value(content: Any, chance: random.Random) -> None:  # noqa: ANN401 - whatever JSON holds
    """Replace, remove or add something at a random place in a JSON value."""
    while True:
        keys = list(content) if isinstance(content, dict) else list(range(len(content)))
        if not keys:
            return
        key = chance.choice(keys)
        if isinstance(content[key], dict | list) and content[key] and chance.random() < 0.85:
            content = content[key]
            continue
        what = chance.random()
        if what < 0.1:
            del content[key]
        elif what < 0.2 and isinstance(content, dict):
            content["more"] = 1
        elif what < 0.3 and isinstance(content, list):
            content.extend(content * chance.choice((1, 1_000)))
        else:
            content[key] = chance.choice((*NUMBERS, *WORDS, *OTHERS))
        return


def main() -> int:
    """Run this many rounds; return 0 if nothing went wrong."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().randrange(1 << 32)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        fuzzer = Fuzzer(Path(folder), seed)
        for number in range(count):
            signal.alarm(SECONDS)
            try:
                fuzzer.once()
            except BaseException:
                print(f"file {number} of seed {seed}, kept in the working directory: altered.ruleset", flush=True)
                Path("altered.ruleset").write_bytes(fuzzer.file.read_bytes())
                raise
    print(f"{count:,} files: {json.dumps(dict(sorted(fuzzer.outcomes.items())))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

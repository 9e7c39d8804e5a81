# SPDX-License-Identifier: Apache-2.0
"""The bcc loader in the kernel: it replaces libbpf's program on live links and back; failures leave nothing."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest

from geodrop.errors import UnavailableError
from geodrop.xdp.bcc_loader import SOURCE, BccLoader
from geodrop.xdp.libbpf_loader import LibbpfLoader
from tests.bench.generator import Generator
from tests.kernel.xdp.test_engine import counts
from tests.support.bcc import require_bcc
from tests.support.engines import XdpEngine
from tests.support.namespaces import End, join, namespaces, require
from tests.support.worlds import POLICY_CN, compiled

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from geodrop.ruleset.model import Ruleset
    from geodrop.xdp.pins import Pins

pytestmark = pytest.mark.root


@pytest.fixture
def ends() -> Iterator[tuple[End, End]]:
    """Yield a sender and a judged host, joined by a wire."""
    require()
    require_bcc()
    with namespaces("sender", "host") as [sender, host]:
        pair = End(sender, "eth0"), End(host, "eth0")
        join(*pair)
        yield pair


def broken(folder: Path, before: str, after: str) -> BccLoader:
    """Return a loader of a copy of the source in which some text is replaced."""
    source = shutil.copytree(SOURCE, folder / "source")
    program = source / "geodrop.bpf.c"
    assert before in program.read_text()
    program.write_text(program.read_text().replace(before, after))
    return BccLoader(source)


def test_loaders_take_turns(ends: tuple[End, End], rulesets: list[Ruleset], pins: Pins) -> None:
    """Each loader takes over the other's live link, and counters stay."""
    generator = Generator(*ends, [ip_address("1.1.1.1")], 443)
    with contextlib.closing(generator), ends[1].namespace.entered():
        sets: set[str] = set()
        engines = [XdpEngine(loader, pins) for loader in (LibbpfLoader(), BccLoader(), LibbpfLoader())]
        for number, engine in enumerate(engines, start=1):
            engine.probe()
            engine.apply(rulesets[number % 2], number, ["eth0"])
            assert engine.verify(rulesets[number % 2]) == []
            generator.send(100)
            time.sleep(0.1)
            assert counts(engine)[("ipv4", "CN")][0] == 100 * number
            sets.update(path.name for path in pins.sets())
            assert len(pins.sets()) == 1
        assert len(sets) == 3
        assert engines[0].remove()


def test_a_set_that_fits_is_used_again(
    ends: tuple[End, End], rulesets: list[Ruleset], pins: Pins, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change of policy compiles nothing."""
    with ends[1].namespace.entered():
        engine = XdpEngine(BccLoader(), pins)
        engine.apply(rulesets[0], 1, ["eth0"])
        monkeypatch.setattr(BccLoader, "load", None)
        engine.apply(rulesets[1], 2, ["eth0"])
        assert engine.observe().digest == rulesets[1].digest
        engine.remove()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("struct packet packet;", "struct packet packet"), r"main\.c:\d+:\d+: error: expected ';'"),
        (("!in_policies || ", ""), r"(?s)the kernel refused the XDP program \(Permission denied\).*_or_null"),
    ],
)
def test_a_program_that_fails_is_explained(
    change: tuple[str, str], words: str, ends: tuple[End, End], pins: Pins, tmp_path: Path
) -> None:
    """The error quotes the compiler or the verifier; the generation in force stays, and nothing else is pinned."""
    loader, ruleset = broken(tmp_path, *change), compiled(POLICY_CN, tmp_path)
    with ends[1].namespace.entered():
        good = XdpEngine(LibbpfLoader(), pins)
        good.apply(ruleset, 1, ["eth0"])
        sets = pins.sets()
        with pytest.raises(UnavailableError, match=words):
            XdpEngine(loader, pins).apply(ruleset, 2, ["eth0"])
        assert pins.sets() == sets
        assert good.observe().generation == 1
        assert good.verify(ruleset) == []
        good.remove()


def test_jumbo_frames_are_taken(ends: tuple[End, End], rulesets: list[Ruleset], pins: Pins) -> None:
    """Native XDP works on an interface whose frames do not fit a page: `xdp.frags` is set, which bcc
    itself cannot do.
    """
    for end in ends:
        end.namespace.run("ip", "link", "set", "eth0", "mtu", "9000")
    with ends[1].namespace.entered():
        engine = XdpEngine(BccLoader(), pins, attach=("native",))
        engine.apply(rulesets[0], 1, ["eth0"])
        assert [one.attach for one in engine.observe().interfaces] == ["native"]
        engine.remove()


def test_a_slow_compilation_is_ended(ends: tuple[End, End], rulesets: list[Ruleset], pins: Pins) -> None:
    """After the time limit, everything that the child had pinned is removed."""
    with ends[1].namespace.entered():
        with pytest.raises(UnavailableError, match="and was ended"):
            XdpEngine(BccLoader(seconds=0.3), pins).apply(rulesets[0], 1, ["eth0"])
        assert pins.sets() == []


def test_a_killed_load_leaves_the_old_policy(ends: tuple[End, End], rulesets: list[Ruleset], pins: Pins) -> None:
    """The load may be killed at any point of building; the child ends with it, and the next load succeeds."""
    with ends[1].namespace.entered():
        engine = XdpEngine(LibbpfLoader(), pins)
        engine.apply(rulesets[0], 1, ["eth0"])
        left: dict[str, list[Path]] = {}
        for delay in (0.2, 0.6, 1.2):
            child = os.fork()
            if child == 0:
                with contextlib.suppress(BaseException):
                    XdpEngine(BccLoader(), pins).apply(rulesets[1], 2, ["eth0"])
                os._exit(0)
            time.sleep(delay)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            time.sleep(0.05)
            left = {path.name: sorted(path.iterdir()) for path in pins.sets()}
            current = next(one for one in rulesets if one.digest == engine.observe().digest)
            assert engine.verify(current) == []
        time.sleep(3)
        assert {path.name: sorted(path.iterdir()) for path in pins.sets()} == left, "the child went on building"
        last = XdpEngine(BccLoader(), pins)
        last.apply(rulesets[1], 3, ["eth0"])
        assert len(pins.sets()) == 1
        assert last.verify(rulesets[1]) == []
        last.remove()

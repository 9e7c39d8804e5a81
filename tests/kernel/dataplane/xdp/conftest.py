"""What tests of the XDP engine share: two policies that say something else of one country, hosts, a bpffs."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from geodrop.compile.build import compile_ruleset
from geodrop.geo.database import Database
from geodrop.policy.parse import load_policy
from geodrop.ruleset.model import Ruleset
from tests.bpffs import own_pins
from tests.databases import country, write_database
from tests.kernel.dataplane.xdp import judging as frames
from tests.kernel.dataplane.xdp.probe import Probe
from tests.kernel.dataplane.xdp.states import Bench
from tests.namespaces import End, join, namespaces, require

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from geodrop.dataplane.xdp.pins import Pins

WORLD = {
    "1.0.0.0/8": country("CN"),
    "2.0.0.0/8": country("US"),
    "5.0.0.0/8": country("RU"),
    "2400::/16": country("CN"),
    "2600::/16": country("US"),
    "2a02::/16": country("RU"),
}
HEAD = "version: 1\nservices:\n  api:\n    match: {ports: {tcp: [443]}}\n"
# Both drop CN and let US through; of RU each says something else, so that it can be seen which of them is in force.
POLICY_A = HEAD + "    default: allow\n    unknown: allow\n    deny: [CN]\n"
POLICY_B = HEAD + "    default: deny\n    unknown: deny\n    allow: [US]\n"


def compiled(policy: str, folder: Path, world: Mapping[str, Any] = WORLD) -> Ruleset:
    """A ruleset in memory."""
    database = write_database(folder / "world.mmdb", world)
    parsed, _ = load_policy(policy.encode(), "policy.yaml", _no_lists)
    opened = Database.open(database.read_bytes(), database.name)
    return Ruleset.unpack(compile_ruleset(parsed, [opened]), "test")


@pytest.fixture
def rulesets(tmp_path: Path) -> list[Ruleset]:
    """The two policies."""
    return [compiled(policy, tmp_path) for policy in (POLICY_A, POLICY_B)]


@pytest.fixture(scope="module")
def judging(tmp_path_factory: pytest.TempPathFactory) -> Iterator[frames.Judging]:
    """A program with every kind of service in force, and the oracle."""
    require()
    with frames.judging(tmp_path_factory.mktemp("judging")) as both:
        yield both


@pytest.fixture
def ends() -> Iterator[tuple[End, End]]:
    """A sender and a judged host, joined."""
    require()
    with namespaces("sender", "host") as [sender, host]:
        pair = End(sender, "eth0"), End(host, "eth0")
        join(*pair)
        yield pair


@pytest.fixture
def three_pairs() -> Iterator[list[tuple[End, End]]]:
    """A sender and a judged host, joined thrice: eth0, eth1, eth2."""
    require()
    with namespaces("sender", "host") as [sender, host]:
        pairs = [(End(sender, f"eth{number}"), End(host, f"eth{number}")) for number in range(3)]
        for pair in pairs:
            join(*pair)
        yield pairs


@pytest.fixture
def pins() -> Iterator[Pins]:
    """A bpffs of our own."""
    with own_pins() as made:
        yield made


def _no_lists(name: str) -> bytes:
    raise AssertionError(name)


@pytest.fixture
def bench(three_pairs: list[tuple[End, End]], pins: Pins, rulesets: list[Ruleset], tmp_path: Path) -> Iterator[Bench]:
    """Made in the judged host's namespace."""
    with contextlib.ExitStack() as stack:
        probes = {pair[1].name: stack.enter_context(Probe(*pair)) for pair in three_pairs}
        stack.enter_context(three_pairs[0][1].namespace.entered())
        bench = Bench(pins, probes, rulesets, tmp_path)
        yield bench
        bench.engine().remove()

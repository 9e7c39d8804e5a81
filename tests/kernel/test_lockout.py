"""Nobody is locked out by a failure: beside each leak test stands the question who still gets in.

SSH, which is a never-drop port by default, comes from denied and from allowed addresses and always gets in; an allowed
client is never cut by something that went wrong, only by a policy that says so.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from geodrop.dataplane.nftables import compare, messages
from geodrop.dataplane.nftables.engine import NftablesEngine
from geodrop.errors import ApplyError
from geodrop.ruleset.model import Ruleset
from tests.cli import Geodrop
from tests.databases import country, write_database
from tests.namespaces import End, join, namespaces, require
from tests.oracle.packet import LOCAL
from tests.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from geodrop.dataplane.nftables.model import Content

pytestmark = pytest.mark.root

WORLD = {
    **{f"{number}.0.0.0/8": country("CN") for number in (1, 3, 5, 7)},
    "2.0.0.0/8": country("US"),
    "4.0.0.0/8": country("JP"),
    "2400::/16": country("CN"),
    "2402::/16": country("CN"),
    "2600::/16": country("US"),
    "2601::/16": country("JP"),
}
DENIED = ["1.1.1.1", "7.7.7.7", "2400::1", "2402::1"]
ALLOWED = ["2.2.2.2", "2600::2"]
JAPAN = ["4.4.4.4", "2601::4"]
SSH = dict.fromkeys(["1.1.1.22", "7.7.7.22", "2.2.2.22", "4.4.4.22", "2400::22", "2600::22", "2601::22"], 22)

HEAD = "version: 1\nservices:\n  api:\n    match: {ports: {tcp: [443, 22]}}\n"
DENY_LIST = HEAD + "    default: allow\n    unknown: allow\n    deny: [CN]\n"
ALLOW_LIST = HEAD + "    default: deny\n    unknown: deny\n    allow: [US, JP]\n"
POLICIES = {"deny list": DENY_LIST, "allow list": ALLOW_LIST}


class Host:
    """A judged host, a sender joined to it, and the command line."""

    def __init__(self, ends: tuple[End, End], folder: Path) -> None:
        self.ends = ends
        self.geodrop = Geodrop(folder, ends[1].namespace)
        self.database = write_database(folder / "world.mmdb", WORLD)

    def compiled(self, policy: str) -> Ruleset:
        """A ruleset of the whole world."""
        return Ruleset.open(self.geodrop.compile(policy, self.database))

    def traffic(self) -> Traffic:
        """From every source, to SSH where it is one of those."""
        return Traffic(*self.ends, [*DENIED, *ALLOWED, *JAPAN, *SSH], ports=SSH)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """A host without anything in force."""
    require()
    with namespaces("sender", "host") as [sender, judged]:
        ends = End(sender, "eth0"), End(judged, "eth0", [f"{LOCAL[4]}/24", f"{LOCAL[6]}/64"])
        join(*ends)
        yield Host(ends, tmp_path)


def assert_through(traffic: Traffic, *, all_of: list[str], none_of: list[str]) -> None:
    """All packets of some sources came through and none of others; SSH always."""
    shares = {source: (tally.passed, tally.sent) for source, tally in traffic.tallies.items()}
    assert all(sent > 0 for _, sent in shares.values())
    assert {source for source in [*all_of, *SSH] if shares[source][0] != shares[source][1]} == set(), "cut off"
    assert {source for source in none_of if shares[source][0]} == set(), "leaked"


SHORT: dict[str, Callable[[Content], Content]] = {
    "an empty map": lambda content: content.part(0, 0),
    "half a load": lambda content: content.part(0, len(content) // 2),
    "an element gone": lambda content: content.part(1, len(content)),
}


def falls_short(patched: pytest.MonkeyPatch, kept: Callable[[Content], Content]) -> None:
    """From now on less of each map reaches the kernel than was meant to."""
    whole = messages.new_elements
    patched.setattr(messages, "new_elements", lambda map_: whole(replace(map_, content=kept(map_.content))))


def come_through(traffic: Traffic, source: str) -> None:
    """Wait until some packets have."""
    deadline = time.monotonic() + 60
    while traffic.passed()[source] < 10:
        assert time.monotonic() < deadline, f"nothing of {source} comes through"


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("kind", SHORT)
def test_a_fill_that_falls_short_never_judges(
    host: Host, monkeypatch: pytest.MonkeyPatch, policy: str, kind: str
) -> None:
    """The kernel holds less than was sent: it is found before the switch, and what was in force goes on judging."""
    before, after = host.compiled(POLICIES[policy]), host.compiled(POLICIES[policy].replace("[443,", "[443, 80,"))
    engine = NftablesEngine()
    with host.ends[1].namespace.entered():
        engine.apply(before, 1, ["eth0"])
        with host.traffic() as traffic:
            with monkeypatch.context() as patched:
                falls_short(patched, SHORT[kind])
                with pytest.raises(ApplyError):
                    engine.apply(after, 2, ["eth0"])
            assert engine.observe().generation == 1
            assert engine.verify(before) == []
    assert_through(traffic, all_of=[*ALLOWED, *JAPAN], none_of=DENIED)


@pytest.mark.parametrize("policy", POLICIES)
def test_elements_that_are_gone_cut_nobody_off(host: Host, monkeypatch: pytest.MonkeyPatch, policy: str) -> None:
    """A map that lost its elements while it judges: allowed clients and SSH get in, and `verify` tells."""
    ruleset = host.compiled(POLICIES[policy])
    engine = NftablesEngine()
    with host.ends[1].namespace.entered():
        with monkeypatch.context() as patched:
            falls_short(patched, SHORT["an empty map"])
            patched.setattr(compare, "content", lambda *_: [])
            engine.apply(ruleset, 1, ["eth0"])
        with host.traffic() as traffic:
            assert [one.where for one in engine.verify(ruleset)]
            come_through(traffic, ALLOWED[0])
    assert_through(traffic, all_of=[*ALLOWED, *JAPAN], none_of=[])


def test_a_database_that_has_lost_an_allowed_country(host: Host) -> None:
    """Its clients are unknown now, as the policy has it; the line that names the country says so, and SSH gets in."""
    lost = {network: record for network, record in WORLD.items() if record != country("JP")}
    database = write_database(host.geodrop.folder / "lost.mmdb", lost)
    source, output = host.geodrop.folder / "policy.yaml", host.geodrop.folder / "lost.ruleset"
    source.write_text(ALLOW_LIST)
    done = host.geodrop.good("compile", "--policy", str(source), "--database", str(database), "-o", str(output))
    assert "warning: JP: no loaded database has an address of this country" in done.err
    host.geodrop.good("load", str(output), "--interface", "eth0")
    with host.traffic() as traffic:
        come_through(traffic, ALLOWED[0])
    assert_through(traffic, all_of=ALLOWED, none_of=[*DENIED, *JAPAN])

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
import time
from dataclasses import replace
from ipaddress import ip_network
from typing import TYPE_CHECKING

import pytest

from geodrop.errors import ApplyError, DataError, GeodropError, NotEnforcingError, UsageError
from geodrop.operations.exempt import ExemptDone, end, exempt, network_of
from geodrop.operations.load import load
from geodrop.state.entry import ChangeRequest
from geodrop.state.exemptions import MOST, Exemption
from geodrop.state.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from geodrop.config import Config
    from tests.unit.operations.conftest import Kernel

ASKED = ChangeRequest("exempt", 1000, why="CASE-7")


@pytest.fixture
def loaded(kernel: Kernel, config: Config, ruleset: Path) -> Kernel:
    """Return a kernel with a ruleset in force."""
    load(str(ruleset), config, "nftables", ["eth0"])
    return kernel


def put(config: Config, source: str, seconds: int = 7200) -> ExemptDone:
    """Exempt a source on behalf of alice."""
    return exempt(config, ASKED, source, seconds, "alice")


def kept(config: Config) -> list[str]:
    """Return the networks that the state names."""
    found = Store(config.state).exemptions.read()
    assert found is not None
    return [one.source for one in found]


def test_in_the_kernel_and_on_the_disk(loaded: Kernel, config: Config) -> None:
    """What is exempt is in both, with who and why, and in the history."""
    before = time.monotonic_ns()
    done = put(config, "81.2.69.142")
    assert done.text.startswith("81.2.69.142 passes every service until ")
    assert done.text.endswith("; this host only")
    [source] = loaded.exempt
    assert source.network == ip_network("81.2.69.142/32")
    assert 7200 * 10**9 <= source.deadline - before < 7260 * 10**9
    [one] = Store(config.state).exemptions.read() or ()
    assert (one.user, one.why, one.expires - one.created) == ("alice", "CASE-7", 7201)
    [*_, entry] = Store(config.state).history
    assert (entry.origin, entry.outcome, entry.why, entry.uid) == ("exempt", "done", "CASE-7", 1000)
    assert entry.change.startswith("81.2.69.142 passes until ")
    assert not entry.put_in_force


def test_overlaps_are_merged(loaded: Kernel, config: Config) -> None:
    """The longest time counts: a shorter one inside changes nothing, a network around shorter ones replaces them."""
    put(config, "81.2.69.0/24", 600)
    assert "passes already, until" in put(config, "81.2.69.142", 60).text
    assert "with 81.2.69.0/24 (alice, CASE-7)" in put(config, "81.2.69.0/24", 60).text
    put(config, "81.2.69.142", 7200)
    assert kept(config) == ["81.2.69.0/24", "81.2.69.142/32"]
    put(config, "81.2.0.0/16", 3600)
    assert kept(config) == ["81.2.69.142/32", "81.2.0.0/16"]
    assert {str(one.network) for one in loaded.exempt} == set(kept(config))


def test_ended_before_its_time(loaded: Kernel, config: Config) -> None:
    """Exactly that network; one inside another is told which one to end (65)."""
    put(config, "81.2.69.0/24")
    with pytest.raises(DataError, match=r"81.2.69.142 is not exempt; it is inside 81.2.69.0/24"):
        end(config, ASKED, "81.2.69.142")
    with pytest.raises(DataError, match=r"9.9.9.9 is not exempt; see: geodrop exempt"):
        end(config, ASKED, "9.9.9.9")
    assert end(config, ASKED, "81.2.69.0/24").text == "81.2.69.0/24 is not exempt any more"
    assert (loaded.exempt, kept(config)) == ([], [])


@pytest.mark.parametrize(
    ("source", "seconds", "refusal"),
    [
        ("81.0.0.0/15", 60, UsageError("/16 is the shortest prefix of IPv4; to let everybody in: geodrop pause")),
        ("2400::/31", 60, UsageError("/32 is the shortest prefix of IPv6; to let everybody in: geodrop pause")),
        ("81.2.69.142", 8 * 86_400, UsageError("exempt_max in agent.yaml is 604,800 s")),
        ("81.2.69.142/24", 60, DataError("write 81.2.69.0/24 for all of it, or 81.2.69.142")),
        ("81.2.69.142:443", 60, DataError("neither an address nor a prefix")),
        ("nonsense", 60, DataError("neither an address nor a prefix")),
        ("::ffff:81.2.69.142", 60, DataError("is how a program shows 81.2.69.142 on a socket for both families")),
        ("::ffff:5102:4500/120", 60, DataError("no packet has it")),
        ("::ffff:0:0/96", 60, DataError("is how a program shows 0.0.0.0/0")),
    ],
)
def test_refused(loaded: Kernel, config: Config, source: str, seconds: int, refusal: GeodropError) -> None:
    """Too large or too long is a usage error (2), no network is bad data (65); each names what to do instead."""
    with pytest.raises(type(refusal), match=re.escape(refusal.message)):
        put(config, source, seconds)
    assert (loaded.exempt, kept(config)) == ([], [])


def test_nothing_in_force(kernel: Kernel, config: Config) -> None:
    """3: nobody is dropped."""
    with pytest.raises(NotEnforcingError):
        put(config, "81.2.69.142")
    assert kernel.exempt == []


def test_too_many(loaded: Kernel, config: Config) -> None:
    """A thousand at most; ended ones and those that a new one takes in do not count."""
    del loaded
    store = Store(config.state)
    put(config, "81.2.69.142")
    [one] = store.exemptions.read() or ()
    many = [replace(one, source=f"1.{number // 250}.{number % 250}.0/24") for number in range(MOST)]
    store.exemptions.note(many)
    with pytest.raises(UsageError, match="1,000 sources are exempt, which is the most"):
        put(config, "81.2.69.142")
    put(config, "1.0.0.0/16")
    put(config, "81.2.69.142")
    assert len(kept(config)) == MOST - 250 + 2


def test_a_kernel_that_refuses(loaded: Kernel, config: Config) -> None:
    """Everything is as it was, and the history has the attempt."""
    put(config, "81.2.69.142")
    before = list(loaded.exempt)
    refusing = loaded.put_exempt

    def once(_: object) -> None:
        loaded.put_exempt = refusing  # type: ignore[method-assign]
        raise ApplyError("no")

    loaded.put_exempt = once  # type: ignore[assignment]
    with pytest.raises(ApplyError):
        put(config, "9.9.9.9")
    assert [one.network for one in loaded.exempt] == [one.network for one in before]
    assert kept(config) == ["81.2.69.142/32"]
    [*_, entry] = Store(config.state).history
    assert (entry.origin, entry.outcome) == ("exempt", "failed")


def test_a_damaged_file_is_not_overwritten(loaded: Kernel, config: Config) -> None:
    """Who is exempt would be forgotten: 65, with the file and what to do."""
    (config.state / "exemptions.json").write_text("{")
    with pytest.raises(DataError, match=r"exemptions.json: cannot be read.*move it away"):
        put(config, "81.2.69.142")
    assert loaded.exempt == []


@pytest.mark.parametrize("text", ["fe80::1%eth0", "::1%\0", "::1%\x1b[2J", f"::1%{'z' * 100}", "2400::%1/32"])
def test_no_packet_has_a_zone(loaded: Kernel, config: Config, text: str) -> None:
    """Python takes any text for a zone; written down, it would make the file unreadable for ever."""
    with pytest.raises(DataError, match="is neither an address nor a prefix"):
        put(config, text)
    assert loaded.exempt == []
    assert Store(config.state).exemptions.read() == ()


def test_networks() -> None:
    """An address is a network of its own."""
    assert network_of("2400::1") == ip_network("2400::1/128")
    assert isinstance(Exemption("1.2.3.0/24", 0, 1, "", 0).network, type(ip_network("1.2.3.0/24")))

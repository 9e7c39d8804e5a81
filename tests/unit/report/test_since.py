# SPDX-License-Identifier: Apache-2.0
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from geodrop.report import since as module
from geodrop.report.pieces import whole
from geodrop.report.since import KeptRulesets, Since, since
from geodrop.ruleset.model import Ruleset
from geodrop.state.store import Store
from geodrop.state.timeline import DRIFT, UNRECORDED, Stretch
from tests.unit.ruleset.test_model import META, pack

API, WEB = META.services
DENIES = pack(replace(META, services=(API, replace(WEB, starts=None))))
ALLOWS = pack(replace(META, rows=(META.rows[0], replace(META.rows[1], verdict="accept"))))
STARTS = pack(replace(META, services=(replace(API, starts=250), WEB)))
NOW = 1_000.0


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return a state directory that keeps the three rulesets."""
    store = Store(tmp_path)
    for content in (DENIES, ALLOWS, STARTS):
        store.keep_bytes(content, digest(content))
    return store


def digest(content: bytes) -> str:
    """Return the digest of a ruleset."""
    return Ruleset.unpack(content, "test").digest


def stands(store: Store, *known: tuple[int, bytes] | tuple[int, bytes, int]) -> Mapping[str, Since]:
    """Return since when CN is judged as it is, with these starts, rulesets and ends of pauses; b"": nothing."""
    ends = [*(start for start, *_ in known[1:]), NOW]
    found = [
        Stretch(start, end, number, digest(content), cause="", paused=sum(paused))
        if content
        else Stretch(start, end, cause="unload")
        for number, ((start, content, *paused), end) in enumerate(zip(known, ends, strict=True), 1)
    ]
    before = Stretch(0.0, known[0][0], cause=UNRECORDED)
    return whole(since([before, *found], KeptRulesets(store), ip_address("1.2.3.4")))


def test_a_verdict_stands_until_it_was_another_one(store: Store) -> None:
    """Neither a repair nor another ruleset that judges the address alike ends it."""
    found = stands(store, (100, DENIES), (200, ALLOWS), (300, DENIES), (400, DENIES), (500, STARTS))
    assert found["api"] == Since("drop", 300, 3)
    assert found["web"] == Since("accept", 100, 1)


def test_a_pause_is_another_verdict(store: Store) -> None:
    """What drops again after a pause does so since then: since the resume, or since the pause ended by itself."""
    assert stands(store, (100, DENIES), (200, DENIES, 900), (300, DENIES))["api"] == Since("drop", 300, 3)
    assert stands(store, (100, DENIES), (200, DENIES, 900))["api"] == Since("drop", 900, 2)


def test_a_start_within_a_generation(store: Store) -> None:
    """A service that has started drops since its start."""
    assert stands(store, (100, STARTS))["api"] == Since("drop", 250, 1)
    assert stands(store, (100, STARTS), (300, DENIES))["api"] == Since("drop", 250, 1)


def test_nothing_in_force_before(store: Store) -> None:
    """A verdict begins where nothing was in force, and that is known."""
    assert stands(store, (100, DENIES), (200, b""), (300, DENIES))["api"] == Since("drop", 300, 3)
    assert stands(store, (100, b"")) == {}
    assert whole(since([Stretch(0.0, NOW, cause=UNRECORDED)], KeptRulesets(store), ip_address("1.2.3.4"))) == {}


def test_what_others_interrupted(store: Store) -> None:
    """A verdict that was put back as it was has stood since before, also if the gap is the last that is known."""
    first = Stretch(100, 200, 1, digest(DENIES), cause="")
    gap = replace(first, start=200, end=210, cause=DRIFT)
    after = replace(first, start=210, end=NOW, generation=2)
    for known in ([first, gap, after], [first, gap]):
        assert whole(since(known, KeptRulesets(store), ip_address("1.2.3.4")))["api"] == Since("drop", 100, 1)


def test_what_is_not_kept_any_more(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a ruleset is gone, damaged, or one too many to open, the verdict stands at least since then."""
    known = (100, ALLOWS), (200, STARTS), (300, DENIES)
    assert stands(store, *known)["api"] == Since("drop", 250, 2)
    store.ruleset_path(digest(STARTS)).write_bytes(b"damaged")
    assert stands(store, *known)["api"] == Since("drop", 300, 3, at_least=True)
    store.ruleset_path(digest(STARTS)).unlink()
    assert stands(store, *known)["api"] == Since("drop", 300, 3, at_least=True)
    monkeypatch.setattr(module, "MOST_RULESETS", 1)
    assert stands(store, (100, DENIES), (200, ALLOWS), (300, DENIES))["api"] == Since("drop", 300, 3, at_least=True)
    store.ruleset_path(digest(DENIES)).unlink()
    assert stands(store, *known) == {}


def test_what_is_forgotten(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A history that does not begin with the first generation, or is very long, tells only of its end."""
    known = [Stretch(0.0, 100, cause=UNRECORDED), Stretch(100, NOW, 7, digest(DENIES), cause="")]
    [api, _] = whole(since(known, KeptRulesets(store), ip_address("1.2.3.4"))).values()
    assert api == Since("drop", 100, 7, at_least=True)
    monkeypatch.setattr(module, "MOST_STRETCHES", 2)
    monkeypatch.setattr(module, "STRETCHES", 1)
    assert stands(store, (100, DENIES), (200, DENIES), (300, DENIES))["api"] == Since("drop", 200, 2, at_least=True)


def test_as_json() -> None:
    """The object of `explain --json`."""
    assert Since("drop", 0, 3).as_json() == {"time": "1970-01-01T00:00:00Z", "generation": 3, "at_least": False}

# SPDX-License-Identifier: Apache-2.0
from pathlib import Path
from typing import Any

import pytest

from geodrop.config import Config
from geodrop.dataplane.both import BothEngines
from geodrop.engine.api import Total
from geodrop.report.explain import explain_by
from geodrop.report.explain_details import add_details, counters_of
from geodrop.report.pieces import whole
from geodrop.ruleset.model import Ruleset
from geodrop.state.entry import DONE, Entry
from geodrop.state.store import Store
from tests.unit.ruleset.test_model import pack

RULESET = Ruleset.unpack(pack(), "test")
TOTALS = [
    Total("api", "ipv4", "CN", dropped=(1_204, 80_000), would_drop=(3, 120)),
    Total("api", "ipv4", None),
    Total("api", "ipv6", "other", dropped=(7, 700)),
]


class Totals:
    """Stands for the engines: they have counters."""

    def counters(self) -> list[Total]:
        """Return the totals above."""
        return TOTALS


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """Return a configuration of a host that has loaded the ruleset at the second 100."""
    monkeypatch.setattr(BothEngines, "here", lambda *_: Totals())
    store = Store(tmp_path / "state")
    store.history.append(Entry(100.0, "load", DONE, 0, 1, RULESET.digest))
    store.keep_bytes(pack(), RULESET.digest)
    return Config(state=tmp_path / "state")


def detailed(config: Config, *texts: str, **changed: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - of an answer
    """Return the answers to questions, some values changed, with their details."""
    answers = [one if "error" in one else one | changed for one in explain_by(RULESET, texts, None)]
    return whole(add_details(config, answers))


def test_since_and_counters(config: Config) -> None:
    """Each service has its own, of the family of the address; an error has none."""
    api, web, error = detailed(config, "1.2.3.4", "nonsense")
    assert api["since"] == {"time": "1970-01-01T00:01:40Z", "generation": 1, "at_least": False}
    assert [(one["region"], one["family"], one["dropped"]["packets"]) for one in api["counters"]] == [
        ("CN", "ipv4", 1_204)
    ]
    assert (web["would_drop"], web["counters"]) == (False, [])
    assert "since" not in error


def test_other_families_and_accepted_addresses(config: Config) -> None:
    """Where nftables joins regions, the counter is `other`; an accepted address has none."""
    [api, _] = detailed(config, "2000::1")
    assert [(one["region"], one["dropped"]["packets"]) for one in api["counters"]] == [("other", 7)]
    [api, _] = detailed(config, "9.9.9.9")
    assert api["counters"] == []
    assert api["since"]["generation"] == 1


def test_a_region_is_counted_in_both_families(config: Config) -> None:
    """Of a region and of a prefix nobody can say since when all of it is judged so."""
    [api, _] = detailed(config, "CN")
    assert [one["family"] for one in api["counters"]] == ["ipv4", "ipv6"]
    assert api["since"] is None
    assert detailed(config, "1.0.0.0/8")[0]["since"] is None
    assert counters_of(TOTALS, api | {"counted_as": None}) == []


def test_a_history_that_does_not_tell(config: Config) -> None:
    """If another verdict is in force than the history leads to, or the address is exempt, there is no `since`."""
    assert detailed(config, "1.2.3.4", verdict="accept")[0]["since"] is None
    assert detailed(config, "9.9.9.9", exempted={"source": "9.9.9.9"})[0]["since"] is None

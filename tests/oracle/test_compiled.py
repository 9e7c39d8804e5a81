# SPDX-License-Identifier: Apache-2.0
"""The compiled ruleset against the oracle, on random policies and random databases."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING
from unittest import mock

import maxminddb
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from geodrop.compile import nftables
from geodrop.geo.database import Database
from geodrop.policy.parse import load_policy
from geodrop.ruleset.explain import explain
from geodrop.ruleset.model import NO_CLASS, Embedding, Ruleset
from tests.oracle.ladder import Oracle
from tests.oracle.strategies import Case, cases
from tests.support.databases import write_database
from tests.support.worlds import compile_ruleset

if TYPE_CHECKING:
    from pathlib import Path

    Address = IPv4Address | IPv6Address

NOW = datetime(2026, 6, 1, tzinfo=UTC)

WITHOUT_SHRINKING = [Phase.explicit, Phase.reuse, Phase.generate]
"""A case takes a fifth of a second, so shrinking takes minutes; the message names the address that differs."""


def compiled(case: Case, folder: Path, *, joined: bool) -> tuple[Ruleset, Oracle]:
    """Read the same policy and databases with geodrop and with the oracle."""
    files = [write_database(folder / f"{n}.mmdb", records) for n, records in enumerate(case.databases)]
    policy, _ = load_policy(case.policy.encode(), "policy.yaml", _no_lists)
    with mock.patch.object(nftables, "is_joined", return_value=joined):
        data = compile_ruleset(policy, [Database.open(file.read_bytes(), file.name) for file in files])
    readers = [maxminddb.open_database(file, maxminddb.MODE_MEMORY) for file in files]
    return Ruleset.unpack(data, "test"), Oracle(case.policy, readers, NOW)


@pytest.mark.slow
@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck), phases=WITHOUT_SHRINKING)
@given(case=cases(), joined=st.booleans())
def test_every_address_gets_the_verdict_of_the_ladder(
    case: Case, tmp_path_factory: pytest.TempPathFactory, *, joined: bool
) -> None:
    """Rung, verdict, mode and counter class agree at every boundary; so do the maps for nftables.

    Joined maps drop the same packets, all of them as `other`.
    """
    ruleset, oracle = compiled(case, tmp_path_factory.mktemp("compiled"), joined=joined)
    for text in case.addresses:
        address = ip_address(text)
        answers = oracle.explain(text)
        for number, explanation in enumerate(explain(ruleset, address, NOW.timestamp())):
            answer = answers[explanation.service]
            found = (explanation.rung, explanation.verdict, explanation.would_drop)
            assert found == (answer.rung, answer.verdict, answer.would_drop), (text, explanation, answer)
            if explanation.region is not None:
                assert explanation.region == oracle.reduced_region(text), (text, explanation)
            counted = "other" if joined else answer.label
            assert map_says(ruleset, number, address) == (counted if answer.would_drop else None), text


def map_says(ruleset: Ruleset, service: int, address: Address, *, embedded: bool = False) -> str | None:
    """Return the counter class under which the nftables maps drop an address; None: they do not drop it."""
    spec = ruleset.meta.services[service]
    prefix = f"nft/{spec.name}/ipv{address.version}"
    width = address.max_prefixlen // 8
    starts, ends = bytes(ruleset.sections[f"{prefix}/starts"]), bytes(ruleset.sections[f"{prefix}/ends"])
    for number, target in enumerate(ruleset.sections[f"{prefix}/targets"].cast("H")):
        here = slice(number * width, (number + 1) * width)
        if starts[here] <= address.packed and (address.packed < ends[here] or not any(ends[here])):
            found = spec.targets[target]
            break
    else:
        return None
    if found.kind == "embedded":
        assert not embedded
        held = IPv4Address(Embedding(found.embedding or "").extract(int(address)))
        return map_says(ruleset, service, held, embedded=True)
    if found.klass == NO_CLASS or (found.kind in {"never-drop", "special"} and not embedded):
        return None
    return ruleset.meta.label(found.klass)


def _no_lists(name: str) -> bytes:
    raise AssertionError(name)

# SPDX-License-Identifier: Apache-2.0
"""Random shapes on every engine; the stack's own sockets show what came through. `make fuzz` tries more."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

import pytest

from tests.conformance.case import CATCH_ALL, DENY_CN, VERSION, service
from tests.conformance.fuzz.campaign import Campaign, Result, campaign
from tests.conformance.fuzz.findings import LEAK, OVERREACH, WRONG_DROP, Random, written_down
from tests.conformance.fuzz.policies import MAIN, POLICIES
from tests.support.namespaces import require

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.root

ENGINES = ("nftables", "xdp-native", "xdp-generic")

SHAPES = {policy: 3000 if policy == MAIN else 1000 for policy in POLICIES}
TRACKED = 2000
FEW = 200

SEED = os.environ.get("SEED") or secrets.token_hex(4)
"""A new seed each time, unless it is given."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Campaign]:
    """Yield a campaign on all engines."""
    require()
    with campaign(ENGINES, tmp_path_factory.mktemp("fuzz")) as made:
        yield made


@pytest.mark.parametrize("policy", POLICIES)
def test_random_shapes(running: Campaign, policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing from the denied side reaches a socket of a service; everything from the allowed side still does."""
    shapes = [Random(SEED, number) for number in range(1, SHAPES[policy] + 1)]
    with capsys.disabled():
        print(f"SEED={SEED}", end=" ")
    check(running.run(policy, [*written_down(policy), *shapes]))


def test_where_connections_are_tracked(tmp_path: Path) -> None:
    """With tracked connections fragments are reassembled before any table but ours sees them, and by other rules."""
    require()
    with campaign(ENGINES, tmp_path, tracked=True) as tracked:
        shapes = [Random(SEED, number) for number in range(1, TRACKED + 1)]
        check(tracked.run(MAIN, [*written_down(MAIN), *shapes]))


@pytest.mark.parametrize(
    ("in_force", "kind"),
    [
        (DENY_CN + "; mode: monitor", LEAK),
        ("default: allow; unknown: allow; deny: [CN, US]", WRONG_DROP),
        (DENY_CN, OVERREACH),
    ],
)
def test_what_is_wrong_is_found(running: Campaign, in_force: str, kind: str) -> None:
    """If the engines have another policy than the oracle, each of them shows the difference."""
    match = CATCH_ALL if kind == OVERREACH else "{ports: {tcp: [443], udp: [443]}}"
    policy = VERSION + "services:\n" + service(in_force, match)
    shapes = [Random(SEED, number) for number in range(1, FEW + 1)]
    found = {(finding.kind, finding.engine) for finding in running.run(MAIN, shapes, policy).findings}
    assert found == {(kind, engine) for engine in ENGINES}


def check(result: Result) -> None:
    """Check that nothing was judged wrong, and that enough was sent to tell."""
    assert not result.findings, "\n".join(str(finding) for finding in result.findings[:20])
    assert result.deniable > result.shapes / 10

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest

from geodrop.nftables.engine import NftablesEngine
from tests.support.rulesets import Service, ruleset

pytestmark = pytest.mark.usefixtures("netns")

ONE, OTHER = (ruleset(Service("api", {"1.0.1.0/24": region})) for region in ("CN", "RU"))


def test_what_was_filled_is_read_back_before_it_takes_the_place_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new generation is read back before it replaces another. If nothing is in force, all packets pass, so it is then
    read back after the switch.
    """
    in_force = []
    real = NftablesEngine._verify_filled

    def seen(self: NftablesEngine, *arguments: Any) -> None:  # noqa: ANN401 - handed on
        in_force.append(self.observe().generation)
        real(self, *arguments)

    monkeypatch.setattr(NftablesEngine, "_verify_filled", seen)
    NftablesEngine().apply(ONE, 1, ["eth0"])
    NftablesEngine().apply(OTHER, 2, ["eth0"])
    assert in_force == [1, 1]

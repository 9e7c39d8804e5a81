# SPDX-License-Identifier: Apache-2.0
"""Tests of the bench: without an engine every packet arrives, so a packet that does not arrive was dropped."""

from __future__ import annotations

import pytest

from tests.conformance.cases import CASES
from tests.conformance.wire import make_wire
from tests.support.namespaces import require

pytestmark = pytest.mark.root


def test_without_an_engine_everything_arrives() -> None:
    """Every packet of every case reaches the observer."""
    require()
    expectations = [expectation for case in CASES for expectation in case.expectations]
    with make_wire() as wire:
        arrived, _, lengths = wire.send(expectations)
    assert [item for item, here in zip(expectations, arrived, strict=True) if not here] == []
    assert min(lengths) >= 20

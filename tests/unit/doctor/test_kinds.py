# SPDX-License-Identifier: Apache-2.0
"""Every message and expression that a load can send is tried by doctor."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, get_args

import pytest

from geodrop.doctor.kinds import EVERY_LOAD, KINDS
from geodrop.nftables.netlink import expressions, uapi
from geodrop.nftables.netlink.expressions import (
    ACCEPT,
    DROP,
    PROHIBITED,
    RESET,
    RETURN,
    MetaLoad,
    Payload,
    Reject,
    RuleVerdict,
)

if TYPE_CHECKING:
    from enum import IntEnum

PARTS = [part for kind in KINDS for rule in kind.rules for part in rule]


def test_each_expression_is_tried() -> None:
    """A new type of expression must be tried too."""
    assert {type(part) for part in PARTS} == {*get_args(expressions.Encodable), expressions.OneOf}


@pytest.mark.parametrize(
    ("named", "tried"),
    [
        (uapi.MetaKey, {part.key for part in PARTS if isinstance(part, MetaLoad)}),
        (uapi.PayloadBase, {part.base for part in PARTS if isinstance(part, Payload)}),
    ],
)
def test_each_key_and_header_is_tried(named: type[IntEnum], tried: set[int]) -> None:
    """Every key and header that uapi names is tried."""
    assert tried == set(named)


def test_each_ending_of_a_rule_is_tried() -> None:
    """Every verdict and reject that `expressions` defines is tried, and jump and goto."""
    ends = {part for part in PARTS if isinstance(part, RuleVerdict | Reject)}
    made = {ACCEPT, DROP, RETURN, RESET, PROHIBITED}
    assert made <= ends
    assert {end.code for end in ends - made if isinstance(end, RuleVerdict)} == {
        uapi.VerdictCode.JUMP,
        uapi.VerdictCode.GOTO,
    }


def test_a_kind_makes_all_that_its_rules_lead_to() -> None:
    """A counter or map that a rule names is made before the rule, in the same transaction."""
    for kind in KINDS:
        whats = [request.what.split()[0] for request in kind.requests()]
        assert whats == sorted(whats, key=["create", "fill", "add"].index) or kind.maps or kind.sets or kind.windows
        named = {part.name for rule in kind.rules for part in rule if hasattr(part, "name")}
        sets = (header.name for header in kind.sets)
        assert named == {*kind.counters, *(map_.header.name for map_ in kind.maps), *sets, *kind.windows}


def test_names_are_told_apart() -> None:
    """Doctor shows one line per kind, and at least one kind is needed by every load."""
    assert all(one.name != other.name for one, other in itertools.combinations(KINDS, 2))
    assert any(kind.cost == EVERY_LOAD for kind in KINDS)

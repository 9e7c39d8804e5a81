# SPDX-License-Identifier: Apache-2.0
"""Findings, and whether an engine can enforce with them."""

from __future__ import annotations

import pytest

from geodrop.doctor.finding import MISSING, NOTE, OK, Finding, able, asked
from geodrop.errors import UnavailableError

NO_NFT = Finding("nf_tables", MISSING, "none", stops=("nftables",))
NO_BPFFS = Finding("bpffs", MISSING, "none", stops=("xdp",))
NO_FRAGS = Finding("frags", MISSING, "none")


def test_a_probe_that_raises_is_missing_with_its_reason() -> None:
    """The text and the next step of a failed probe are those of the exception."""

    def fail() -> None:
        raise UnavailableError("no bpffs", "mount one")

    assert asked("bpffs", "there", lambda: None, "no xdp", ["xdp"]) == Finding("bpffs", OK, "there")
    assert asked("bpffs", "there", fail, "no xdp", ["xdp"]) == Finding(
        "bpffs", MISSING, "no bpffs", "no xdp", "mount one", ("xdp",)
    )


@pytest.mark.parametrize(
    ("findings", "works"),
    [
        ([], {"auto", "nftables", "xdp"}),
        ([NO_FRAGS, Finding("clock", NOTE, "", stops=("xdp",))], {"auto", "nftables", "xdp"}),
        ([NO_BPFFS], {"auto", "nftables"}),
        ([NO_NFT], {"auto", "xdp"}),
        ([NO_NFT, NO_BPFFS], set()),
    ],
)
def test_an_engine_is_able_unless_something_stops_it(findings: list[Finding], works: set[str]) -> None:
    """Under auto one of the two engines is enough; a missing optional feature stops no engine."""
    assert {engine for engine in ("auto", "nftables", "xdp") if able(findings, engine)} == works

"""The walks of README.md on real systemd, command by command: a change, and a customer who cannot connect."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.system.checkout import commands
from tests.system.edge import ALLOWED, DENIED, JAPAN_DENIED, POLICY, SWITCHED

if TYPE_CHECKING:
    from tests.system.edge import Edge

pytestmark = [pytest.mark.root, pytest.mark.slow]

WRITTEN = "81.2.69.142"
"""The customer's address in README.md."""


def typed(host: Edge, line: str) -> str:
    """Type a line of README.md; return what it prints."""
    return host.machine.run("sh", "-c", line)


def test_a_change_and_its_way_back(settled: Edge) -> None:
    """The plan names what moves; the change is in force and waits to be confirmed; it stays; then it is taken back."""
    [plan, reload, confirm, rollback] = commands("geodrop plan")
    settled.policy(JAPAN_DENIED)
    assert "drop    JP" in typed(settled, plan)
    settled.assert_now(DENIED, ALLOWED + SWITCHED)
    assert "not confirmed: the kernel goes back" in typed(settled, reload)
    settled.assert_now(DENIED + SWITCHED)
    assert settled.status()["confirm"] is not None
    assert "stays" in typed(settled, confirm)
    assert settled.status()["confirm"] is None
    settled.assert_now(DENIED + SWITCHED)
    typed(settled, rollback)
    settled.assert_now(DENIED, ALLOWED + SWITCHED)
    settled.policy(POLICY)
    typed(settled, "geodrop reload")


def test_a_customer_cannot_connect(settled: Edge) -> None:
    """`explain` names the line that drops the customer; an exemption lets this one in, and no other, until its end."""
    customer = DENIED[0]
    lines = [line.replace(WRITTEN, customer) for line in commands("CASE-7")]
    explain, exempt, listed, end = lines
    assert typed(settled, explain).startswith("DROP")
    assert "passes" in typed(settled, exempt)
    settled.assert_now(DENIED[1:], (customer, *ALLOWED, *SWITCHED))
    assert "CASE-7" in typed(settled, listed)
    assert typed(settled, explain).startswith("ACCEPT")
    typed(settled, end)
    settled.assert_now(DENIED, ALLOWED + SWITCHED)

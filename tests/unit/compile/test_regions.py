# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop.compile.regions import as_object, say
from geodrop.policy.atlas import ATLAS
from tests.unit.compile.worlds import region_map

if TYPE_CHECKING:
    import pytest


def test_an_entry_with_its_sizes() -> None:
    """Each part by itself and all together; what the databases leave undivided is a figure of its own."""
    found = as_object(ATLAS["territory:crimea"], region_map())
    assert found["parts"] == [
        {"codes": ["UA-43", "RU-CR"], "ipv4": 1 << 16, "ipv6_48s": 0},
        {"codes": ["UA-40", "RU-SEV"], "ipv4": 0, "ipv6_48s": 0},
    ]
    assert (found["ipv4"], found["ipv6_48s"]) == (1 << 16, 0)
    assert found["undivided"] == {"ipv4": (1 << 24) - 2 * (1 << 16), "ipv6_48s": 1 << 32}


def test_parts_are_not_counted_twice() -> None:
    """All of a group together is what has any of its codes."""
    found = as_object(ATLAS["atlas:g7"], region_map())
    assert (found["ipv4"], found["undivided"], found["country"]) == (1 << 24, None, None)
    assert [part["ipv4"] for part in found["parts"] if part["codes"] == ["US"]] == [1 << 24]


def test_without_databases_the_sizes_are_not_known() -> None:
    """None, which is not 0; the same for a territory that no database tells apart."""
    found = as_object(ATLAS["atlas:eu"], None)
    assert {part["ipv4"] for part in found["parts"]} == {None}
    assert as_object(ATLAS["territory:north-cyprus"], region_map())["ipv4"] is None


def test_the_table_has_every_entry(capsys: pytest.CaptureFixture[str]) -> None:
    """One line each, with what can be written in a policy in front."""
    say(None, region_map(), ["x.mmdb"], as_json=False)
    heading, *lines = capsys.readouterr().out.splitlines()
    assert heading.split() == ["name", "IPv4", "/48s", "codes"]
    assert [line.split()[0] for line in lines] == [*ATLAS]
    assert "65,536" in lines[0]

"""A command line inside a namespace, and two small rulesets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.support.cli import Geodrop
from tests.support.databases import country, write_database
from tests.support.worlds import POLICY_CN

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.namespaces import Namespace


@dataclass(frozen=True)
class Host:
    """A host with its own state directory; `cn` denies China, `ru` Russia."""

    geodrop: Geodrop
    netns: Namespace
    cn: str
    ru: str


@pytest.fixture
def host(tmp_path: Path, netns: Namespace) -> Host:
    """Return a new host."""
    records = {f"{number}.0.0.0/24": country(code) for number, code in enumerate(("CN", "RU", "US"), start=1)}
    records |= {"2400::/24": country("CN"), "2a00::/24": country("RU")}
    database = write_database(tmp_path / "country.mmdb", records)
    geodrop = Geodrop(tmp_path, netns)
    rulesets = [geodrop.compile(POLICY_CN.replace("CN", code), database, name=code) for code in ("CN", "RU")]
    return Host(geodrop, netns, *map(str, rulesets))

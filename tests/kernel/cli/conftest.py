# SPDX-License-Identifier: Apache-2.0
"""A command line inside a namespace, and two small rulesets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from tests.support.bpffs import own_mounts
from tests.support.cli import Geodrop
from tests.support.databases import country, write_database
from tests.support.worlds import POLICY_CN

if TYPE_CHECKING:
    from collections.abc import Iterator
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


@pytest.fixture
def xdp(host: Host) -> Iterator[Host]:
    """Return a host with a veth interface and a bpffs in its mount namespace; `cn` and `ru` have xdp tables."""
    with own_mounts() as entering:
        host.netns.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "far0")
        for name in ("eth0", "far0"):
            host.netns.run("ip", "link", "set", name, "up")
        inside = Geodrop(host.geodrop.folder, host.netns, entering)
        for ruleset in (host.cn, host.ru):
            options = ["--policy", ruleset.replace(".ruleset", ".yaml"), "-o", ruleset]
            inside.good("compile", *options, "--database", str(host.geodrop.folder / "country.mmdb"))
        yield replace(host, geodrop=inside)
        inside.run("unload")

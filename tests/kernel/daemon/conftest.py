# SPDX-License-Identifier: Apache-2.0
"""A host with a policy, a database and an agent.yaml that names them, in a namespace of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.support.cli import Geodrop
from tests.support.daemons import Daemon, daemon
from tests.support.databases import country, write_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.namespaces import Namespace

POLICY = """
version: 1
services:
  api: {{match: {{ports: {{tcp: [443]}}}}, default: allow, unknown: allow, deny: [{deny}]}}
"""

AGENT = """
source: {source}
engine: nftables
interfaces: [lo]
state: {folder}/state
socket: {folder}/control.sock
"""


@dataclass(frozen=True)
class Host:
    """The files of an operator, and a command line."""

    geodrop: Geodrop
    netns: Namespace

    @property
    def folder(self) -> Path:
        """Return the folder with all files."""
        return self.geodrop.folder

    def deny(self, *regions: str) -> None:
        """Write the policy."""
        (self.folder / "policy.yaml").write_text(POLICY.format(deny=", ".join(regions)))

    def agent(self, source: str = "{policy: policy.yaml, databases: [country.mmdb]}", more: str = "") -> None:
        """Write agent.yaml."""
        (self.folder / "agent.yaml").write_text(AGENT.format(source=source, folder=self.folder) + more)

    def table(self) -> str:
        """Return our table as nft shows it; empty if there is none."""
        return self.netns.run("nft", "list", "ruleset")

    def drops(self, address: str) -> bool:
        """Return the verdict of the kernel's tables for an address."""
        [answer] = self.geodrop.good("explain", "--json", address).json_lines
        return bool(answer["kernel"]["verdict"] == "drop")


@pytest.fixture
def host(tmp_path: Path, netns: Namespace) -> Host:
    """Return a host whose policy denies China."""
    records = {f"{number}.0.0.0/24": country(code) for number, code in enumerate(("CN", "RU", "US"), start=1)}
    write_database(tmp_path / "country.mmdb", records)
    made = Host(Geodrop(tmp_path, netns), netns)
    made.deny("CN")
    made.agent()
    return made


@pytest.fixture
def running(host: Host) -> Iterator[Daemon]:
    """Run its daemon, ready."""
    with daemon(host.geodrop) as made:
        yield made

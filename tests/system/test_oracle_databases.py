# SPDX-License-Identifier: Apache-2.0
"""`geodrop explain --json -` against the oracle: every field that the contract names, on real databases."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import maxminddb
import pytest

from geodrop.data import bundled_database
from tests.oracle.addresses import sample
from tests.oracle.ladder import Oracle
from tests.support.cli import Geodrop
from tests.support.databases import REAL, real_database

if TYPE_CHECKING:
    from collections.abc import Sequence
    from ipaddress import IPv4Address, IPv6Address

    from maxminddb.reader import Reader

COUNT = 100_000
SEED = 20_260_601

ALLOW_LIST = (Path(__file__).parents[2] / "deploy" / "policies" / "ai-api-allow-list.yaml").read_text()

# A deny list with every kind of line; the addresses are real ones, since those for documentation are special.
DENY_LIST = """
version: 1
groups:
  embargoed: [KP, IR, SY, CU, group:more]
  more: [RU, BY, VE]
lists:
  partners: {prefixes: [2.0.0.0/8, "2a01::/16"]}
  scanners: {file: lists/scanners.txt}
corrections:
  3.0.0.0/9: CN
  "2600:1f00::/24": RU
services:
  live:
    match: {ports: {tcp: [443]}}
    default: allow
    unknown: deny
    allow: [list:partners, 5.8.0.0/16, NO]
    deny: [group:embargoed, CN, "continent:AF", list:scanners, 5.8.8.0/24, 64.0.0.0/10, "2400::/16"]
  trial:
    match: {ports: {tcp: [443]}}
    default: deny
    unknown: allow
    allow: ["continent:EU", US]
    deny: [DE]
    mode: monitor
  later:
    match: {ports: {tcp: [444]}}
    default: deny
    unknown: deny
    starts: 2099-01-01T00:00:00Z
never_drop: {prefixes: [1.0.0.0/10, "2a02:6b8::/32"]}
"""
SCANNERS = "# seen in the logs\n2.5.0.0-2.5.3.255 # a range\n2a01:e00::/28\n8.8.8.8\n"


class Remembering:
    """A database that reads each address once."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._known: dict[IPv4Address | IPv6Address, Any] = {}

    def get(self, ip_address: IPv4Address | IPv6Address) -> Any:  # noqa: ANN401 - a record can be anything
        """Return the record of an address, or None."""
        if ip_address not in self._known:
            self._known[ip_address] = self._reader.get(ip_address)
        return self._known[ip_address]


class Explaining:
    """`geodrop explain` at work on many addresses, in a process and a folder of its own."""

    def __init__(self, folder: Path, policy: str, database: Path, addresses: Sequence[str]) -> None:
        self.folder = folder
        self.policy = policy
        self.addresses = addresses
        (folder / "lists").mkdir(parents=True)
        (folder / "lists" / "scanners.txt").write_text(SCANNERS)
        (folder / "policy.yaml").write_text(policy)
        (folder / "addresses").write_text("\n".join(addresses))
        command = Geodrop(folder).command(
            "explain", "--policy", str(folder / "policy.yaml"), "--database", str(database), "--json", "-"
        )
        with (folder / "addresses").open() as questions, (folder / "answers").open("w") as answers:
            self._process = subprocess.Popen(command, stdin=questions, stdout=answers)

    def agrees(self, remembered: Remembering) -> None:
        """Compare its answers with the oracle's, in order: one for each address and service, and no more."""
        oracle = Oracle(self.policy, [remembered], datetime.now(UTC), self.folder)
        expected = [oracle.explain(address) for address in self.addresses]
        assert self._process.wait(timeout=300) == 0
        with (self.folder / "answers").open() as answers:
            for address, services in zip(self.addresses, expected, strict=True):
                for service, answer in services.items():
                    line = json.loads(next(answers))
                    found = {name: line[name] for name in ("service", "rung", "verdict", "would_drop", "region")}
                    assert found == {
                        "service": service,
                        "rung": answer.rung,
                        "verdict": answer.verdict,
                        "would_drop": answer.would_drop,
                        "region": answer.region,
                    }, line
                    assert ip_address(line["address"]) == ip_address(address)
                    assert isinstance(line["zone"], int)
            assert not answers.read(), "more answers than questions"


def both_shapes_agree(folder: Path, database: Path) -> None:
    """Compare for an allow list and a deny list, with the same addresses."""
    reader = maxminddb.open_database(database, maxminddb.MODE_MEMORY)
    addresses = sample(reader, COUNT, SEED)
    remembered = Remembering(reader)
    shapes = {"allow": ALLOW_LIST, "deny": DENY_LIST}
    working = [Explaining(folder / name, policy, database, addresses) for name, policy in shapes.items()]
    for explaining in working:
        explaining.agrees(remembered)


@pytest.mark.slow
def test_bundled_database(tmp_path: Path) -> None:
    """100,000 random and boundary addresses of the bundled database agree, in both shapes of policy."""
    both_shapes_agree(tmp_path, bundled_database(tmp_path))


@pytest.mark.databases
@pytest.mark.parametrize("name", REAL)
def test_real_databases(tmp_path: Path, name: str) -> None:
    """The same holds for three databases of other makers, as published on the day of the download."""
    both_shapes_agree(tmp_path, real_database(name))

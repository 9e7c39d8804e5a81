# SPDX-License-Identifier: Apache-2.0
"""What a rollout costs: bytes on the wire for each host, and seconds. docs/fleet.md has what is printed here."""

from __future__ import annotations

import json
import re
import resource
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.fleet.hosts import SECONDS, Fleet
from tests.fleet.policies import JAPAN_DENIED, POLICY

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.fleet]

SOAK = 5
PLAIN = ("-e", "ansible_ssh_args='-o ControlMaster=no'")
"""SSH without compression."""


@dataclass
class Cost:
    """What one rollout took: bytes that the controller sent to each host and received, and seconds by part.

    `cpu` is the controller's, with compiling and without SSH, whose connections outlive the rollout. `window` is
    from the reload to the confirmation, without the soak.
    """

    sent: int
    received: int
    cpu: float
    compile: float
    prepare: float
    window: float

    def __str__(self) -> str:
        """Return it as a row."""
        return (
            f"to a host {self.sent:>11,} bytes, from it {self.received:>8,}; cpu {self.cpu:5.1f} s, "
            f"compile {self.compile:5.1f} s, prepare {self.prepare:5.1f} s, window {self.window:5.1f} s"
        )


def rolled_out(made: Fleet, name: str, *arguments: str, hosts: int = 2) -> Cost:
    """Roll out to this number of hosts, and measure.

    br0 is the controller's own interface: frames between clients and hosts are not counted there.
    """
    before, cpu = _bytes(made), _cpu()
    moments: dict[str, float] = {}
    command = ("ansible-playbook", "geodrop.edge.rollout", "-e", f"@{name}", "-e", f"geodrop_soak={SOAK}", *arguments)
    with made.begun(*command) as process:
        assert process.stdout
        output, began = [], time.monotonic()
        for line in process.stdout:
            output.append(line)
            if found := re.match(r"(?:TASK|PLAY) \[?(?:geodrop\.edge\.geodrop : )?([^\]*]+)", line):
                moments.setdefault(found[1].strip(), time.monotonic() - began)
            assert time.monotonic() - began < SECONDS
    ended = time.monotonic() - began
    assert process.returncode == 0, "".join(output)
    moments.setdefault("Compile", 0)
    looked = moments["Note who is in this batch"]
    landed = moments.get("Land what is staged, and reload", ended)
    confirmed = moments.get("Note that this host needs nothing more", ended) if landed < ended else ended
    sent, received = (now - then for now, then in zip(_bytes(made), before, strict=True))
    soaks = SOAK if landed < ended else 0
    waited = max(
        0.0,
        moments.get("Note until when a host without us stays on trial", landed)
        - moments.get("Let the minute before pass", landed),
    )
    return Cost(
        sent // hosts, received // hosts, _cpu() - cpu, looked - moments["Compile"],
        landed - looked - waited, confirmed - landed - soaks,
    )  # fmt: skip


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _bytes(made: Fleet) -> tuple[int, int]:
    [found] = json.loads(made.bridge.run("ip", "-s", "-json", "link", "show", "dev", "br0"))
    return found["stats64"]["tx"]["bytes"], found["stats64"]["rx"]["bytes"]


def test_costs(pair: Fleet) -> None:
    """A ruleset goes compressed by SSH, as it is by a URL, and not at all to a host that needs nothing."""
    policies = _policies()

    def changed(*arguments: str, hosts: int = 2) -> Cost:
        pair.write("policy.yaml", next(policies))
        return rolled_out(pair, "fleet.yml", *arguments, hosts=hosts)

    costs = {"first, with the package": changed()}
    size = (pair.folder / "fleet.ruleset").stat().st_size
    costs["nothing to do"] = rolled_out(pair, "fleet.yml")
    costs["SSH -C, one wave"] = changed()
    costs["SSH -C, two waves"] = changed("-f", "1")
    costs["SSH -C, one host"] = changed("--limit", "edge-11", hosts=1)
    costs["SSH -C, the other"] = rolled_out(pair, "as_it_is.yml", "--limit", "edge-12", hosts=1)
    costs["SSH"] = changed(*PLAIN)
    pair.write("policy.yaml", next(policies))
    served = pair.folder / "served"
    served.mkdir()
    pair.shell("geodrop compile --policy policy.yaml --database COUNTRY.mmdb -o served/fleet.ruleset")
    checksum = pair.shell("sha256sum served/fleet.ruleset").split()[0]
    checked = ("-e", f"geodrop_ruleset_checksum=sha256:{checksum}")
    with pair.serving(served) as url:
        costs["URL"] = rolled_out(pair, "as_it_is.yml", "-e", f"geodrop_ruleset_url={url}", *checked)
        pair.write("policy.yaml", next(policies))
        assert pair.rollout("-e", "geodrop_soak=0").returncode == 0
        pair.shell("gzip --keep served/fleet.ruleset")
        costs["URL, compressed"] = rolled_out(pair, "as_it_is.yml", "-e", f"geodrop_ruleset_url={url}", *checked)
    print(f"\na ruleset of {size:,} bytes")
    for name, cost in costs.items():
        print(f"{name:24} {cost}")
    assert costs["nothing to do"].sent < size / 10
    assert costs["SSH -C, one wave"].sent < size / 4
    assert size < costs["SSH"].sent < size * 1.1
    assert size < costs["URL"].sent < size * 1.1
    assert costs["URL, compressed"].sent < size / 4


def _policies() -> Iterator[str]:
    while True:
        yield POLICY
        yield JAPAN_DENIED

# SPDX-License-Identifier: Apache-2.0
"""Parse `expect`, the tests in a policy: addresses that must be accepted, dropped, or in a certain region.

Only their form is checked here. Whether they hold is decided on the compiled ruleset (`compile/expect.py`).
"""

from __future__ import annotations

import re
from operator import attrgetter
from typing import TYPE_CHECKING

from geodrop.document import shape
from geodrop.document.keys import Key
from geodrop.document.problems import shown
from geodrop.policy import values
from geodrop.policy.lines import parse_continent, parse_country
from geodrop.policy.model import Aim, PolicyTest

if TYPE_CHECKING:
    from geodrop.document.problems import Position, ProblemReport
    from geodrop.document.tree import Node
    from geodrop.policy.model import Network

EXPECT = {
    "accept": Key("prefixes and addresses of which the service drops none"),
    "drop": Key("prefixes and addresses of which the service accepts none"),
    "region": Key(
        "an address or prefix and the region that it is in, after corrections: a country, a subdivision, "
        "`continent:EU`, or `unknown`"
    ),
}

_OPPOSITE = {Aim.ACCEPT: Aim.DROP, Aim.DROP: Aim.ACCEPT, Aim.REGION: Aim.REGION}

_SUBDIVISION = re.compile(r"([A-Z]{2})-[A-Z0-9]{1,3}")


def parse_expect(report: ProblemReport, node: Node, what: str) -> tuple[PolicyTest, ...]:
    """Parse the tests of a service, in the order written; `what` names the service."""
    given = shape.fields(report, node, f"expect of {what}", EXPECT)
    tests = _Tests(report)
    for aim in (Aim.ACCEPT, Aim.DROP):
        if aim in given.nodes:
            for item in shape.listing(report, given.nodes[aim], f"{aim} of {given.what}"):
                network = shape.value(report, item, f"entry of {aim} of {given.what}", values.parse_prefix)
                if network is not None:
                    tests.add(aim, network, item.place)
    if Aim.REGION in given.nodes:
        table = shape.table(report, given.nodes[Aim.REGION], f"region of {given.what}")
        for key, value in table.entries if table else ():
            network = shape.value(report, key, f"entry of region of {given.what}", values.parse_prefix)
            region = shape.value(report, value, f"region of {shown(key.text)}", parse_region)
            if network is not None and region is not None:
                tests.add(Aim.REGION, network, key.place, region)
    return tuple(sorted(tests.found.values(), key=attrgetter("place")))


def parse_region(text: str) -> str:
    """Return the region that a test expects. Raises UnreadableError."""
    if text == "unknown":
        return text
    if text.startswith("continent:"):
        return f"continent:{parse_continent(text.removeprefix('continent:'))}"
    if match := _SUBDIVISION.fullmatch(text):
        parse_country(match[1])
        return text
    return parse_country(text)


class _Tests:
    """The tests of one service: one that contradicts another word for word is refused, one that repeats it left out."""

    def __init__(self, report: ProblemReport) -> None:
        self.found: dict[tuple[Aim, Network], PolicyTest] = {}
        self._report = report

    def add(self, aim: Aim, network: Network, place: Position, region: str | None = None) -> None:
        """Keep a test, or report that it contradicts another one."""
        other = self.found.get((_OPPOSITE[aim], network))
        if other and (other.aim, other.region) != (aim, region):
            first = f"region, as {other.region}," if other.region else str(other.aim)
            message = f"expect {aim}: {network} is under {first} too (line {other.place.line}); remove one of the two"
            self._report.error(place, message)
            return
        text = str(network.network_address if network.prefixlen == network.max_prefixlen else network)
        self.found.setdefault((aim, network), PolicyTest(aim, text, network, place, region))

# SPDX-License-Identifier: Apache-2.0
"""Parse lists drawn from databases: `asn` and `traits` of a list."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from geodrop.document import shape
from geodrop.document.problems import shown
from geodrop.document.shape import UnreadableError
from geodrop.document.tree import KeyTable
from geodrop.policy.model import TraitName, WantedTrait

if TYPE_CHECKING:
    from geodrop.document.problems import ProblemReport
    from geodrop.document.tree import Node

MAX_ASNS = 30_000
"""Most numbers of networks in one list: a third of those in use."""
MAX_ASN = (1 << 32) - 1
"""RFC 6793: numbers have 32 bits, and 0 is no network (RFC 7607)."""

_ASN = re.compile(r"(AS)?([1-9][0-9]{0,9})", re.IGNORECASE)
_CONFIDENCE = re.compile(r"([1-9][0-9]?) ?%?")

OTHER_NAMES = {
    "anonymous_vpn": "vpn",
    "public_proxy": "proxy",
    "tor": "tor_exit",
    "tor_exit_node": "tor_exit",
    "hosting_provider": "hosting",
    "datacenter": "hosting",
    "res_proxy": "residential_proxy",
    "satellite_provider": "satellite",
}
"""Names that vendors give to traits."""


def parse_asn(text: str) -> int:
    """Return the number of a network, written as 64496 or AS64496. Raises UnreadableError."""
    match = _ASN.fullmatch(text)
    if not match:
        raise UnreadableError(f"{shown(text)} is not the number of a network; write one such as 64496 or AS64496")
    number = int(match[2])
    if number > MAX_ASN:
        raise UnreadableError(f"{shown(text)}: numbers of networks end at {MAX_ASN}; write a smaller one")
    if match[1] and match[1] != "AS":
        raise UnreadableError(f"{shown(text)}: AS is written in capitals; write AS{number}")
    return number


def parse_asns(report: ProblemReport, node: Node, what: str) -> tuple[int, ...]:
    """Parse the numbers of networks of a list, without duplicates, in the order written."""
    before = report.errors
    found = tuple(dict.fromkeys(shape.values(report, node, f"asn of {what}", parse_asn)))
    if len(found) > MAX_ASNS:
        report.error(
            node.place, f"asn of {what} has {len(found):,} networks, {MAX_ASNS:,} is the most; make two lists of it"
        )
    if not found and report.errors == before:
        report.error(node.place, f"asn of {what} is empty; write at least one, such as [64496], or remove the list")
    return found


def parse_traits(report: ProblemReport, node: Node, what: str) -> tuple[WantedTrait, ...]:
    """Parse the traits of a list: `vpn`, or `{vpn: 50}` with the least confidence in percent."""
    before = report.errors
    found: dict[TraitName, WantedTrait] = {}
    for item in shape.listing(report, node, f"traits of {what}"):
        for trait in _trait(report, item, f"traits of {what}"):
            if trait.name in found:
                report.error(trait.place, f"{trait.name} is in traits of {what} twice; keep one of the two")
            found.setdefault(trait.name, trait)
    if not found and report.errors == before:
        report.error(node.place, f"traits of {what} is empty; write at least one, such as [vpn], or remove the list")
    return tuple(found.values())


def _trait(report: ProblemReport, item: Node, what: str) -> list[WantedTrait]:
    entries = item.entries if isinstance(item, KeyTable) else ((item, None),)
    if not entries:
        report.error(item.place, f"entry of {what} is empty; write one such as vpn")
    traits = []
    for key, confidence in entries:
        name = shape.value(report, key, f"entry of {what}", _trait_name)
        least = 0 if confidence is None else shape.value(report, confidence, f"confidence in {what}", _confidence)
        if name is not None and least is not None:
            traits.append(WantedTrait(name, least, key.place))
    return traits


def _trait_name(text: str) -> TraitName:
    if text in list(TraitName):
        return TraitName(text)
    plain = text.lower().replace("-", "_").replace(" ", "_").removeprefix("is_")
    meant = plain if plain in list(TraitName) else OTHER_NAMES.get(plain)
    better = f"write {meant}" if meant else f"write one of {', '.join(TraitName)}"
    raise UnreadableError(f"{shown(text)} is not a trait; {better}")


def _confidence(text: str) -> int:
    match = _CONFIDENCE.fullmatch(text)
    if not match:
        raise UnreadableError(f"{shown(text)} is not a confidence; write a percentage from 1 to 99, such as 50")
    return int(match[1])

# SPDX-License-Identifier: Apache-2.0
"""Read from the records of a database what they say besides the region: the number of a network (ASN), and traits.

Known schemas are MaxMind's ASN, ISP, Enterprise, Anonymous IP, Anonymous Plus and Residential Proxy, which DB-IP
follows (`autonomous_system_number`, `is_anonymous_vpn`, both at the top or under `traits`), and IPinfo's (`asn` as
"AS15169"; `is_vpn`, or `vpn` as a boolean or as "true"). MaxMind's `anonymizer_confidence` is the confidence, in
percent, that an address is of a VPN, and in the database of residential proxies, whose records have no other field that
decides, that it is of one. IPinfo's `confidence` counts from 1 to 3, so it is no percentage, and is not read.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from geodrop.geo.section import damaged
from geodrop.policy.model import TraitName

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from geodrop.geo.section import DataSection, Reference

ASN = frozenset({"autonomous_system_number", "asn"})
CONFIDENCE = "anonymizer_confidence"
DAYS_SEEN = "percent_days_seen"  # IPinfo's database of residential proxies holds nothing else
ANY_TRAIT = "is_anonymous"  # in MaxMind's databases of all anonymisers, beside the traits themselves
NESTED = "traits"
FLAGS: Mapping[str, TraitName] = {
    **dict.fromkeys(("is_anonymous_vpn", "is_vpn", "vpn"), TraitName.VPN),
    **dict.fromkeys(("is_public_proxy", "is_anonymous_proxy", "is_proxy", "proxy"), TraitName.PROXY),
    **dict.fromkeys(("is_tor_exit_node", "is_tor", "tor"), TraitName.TOR_EXIT),
    **dict.fromkeys(("is_hosting_provider", "is_hosting", "hosting"), TraitName.HOSTING),
    "is_residential_proxy": TraitName.RESIDENTIAL_PROXY,
    **dict.fromkeys(("is_relay", "relay"), TraitName.RELAY),
    **dict.fromkeys(("is_anycast", "anycast"), TraitName.ANYCAST),
    **dict.fromkeys(("is_satellite_provider", "is_satellite", "satellite"), TraitName.SATELLITE),
}
INNER = ASN | FLAGS.keys() | {CONFIDENCE, ANY_TRAIT}
WANTED = INNER | {DAYS_SEEN, NESTED}

MAX_ASN = (1 << 32) - 1
_ASN_TEXT = re.compile(r"(?:AS)?([0-9]{1,10})")
_YES: tuple[object, ...] = (True, "true", "1")
_NO: tuple[object, ...] = (False, "false", "0", "", None)
_NO_NETWORK: tuple[object, ...] = ("", "-", "NA", None)

MAX_STRANGE = 10


class FoundTrait(NamedTuple):
    """A trait of an address; `confidence` in percent, None if the record has none."""

    name: TraitName
    confidence: int | None


class RecordAttributes(NamedTuple):
    """What a record says; `asn` is 0 if it names no network. Traits are sorted."""

    asn: int = 0
    traits: tuple[FoundTrait, ...] = ()


NOTHING = RecordAttributes()


class AttributeReader:
    """Reads the attributes of records of one data section; `name` is the file's name for messages.

    `strange` collects values that are no number of a network, or neither yes nor no; they count as not said.
    """

    def __init__(self, section: DataSection, name: str) -> None:
        self.strange: dict[str, None] = {}
        self._section = section
        self._name = name

    def read(self, fields: tuple[tuple[str, Reference], ...]) -> RecordAttributes:
        """Return what the wanted fields of a record say. Raises DataError if one of them is damaged."""
        said = dict(self._values(fields))
        if not said:
            return NOTHING
        asn = max((self._asn(said[field]) for field in ASN if field in said), default=0)
        names = {FLAGS[field] for field, value in said.items() if field in FLAGS and self._is_set(field, value)}
        confidence = self._confidence(said.get(CONFIDENCE))
        owner = TraitName.VPN
        flagged = ANY_TRAIT in said or any(field in FLAGS for field in said)
        if DAYS_SEEN in said or (CONFIDENCE in said and not flagged):
            owner = TraitName.RESIDENTIAL_PROXY
            names.add(owner)
        traits = sorted(FoundTrait(name, confidence if name is owner else None) for name in names)
        return RecordAttributes(asn, tuple(traits))

    def _values(self, fields: tuple[tuple[str, Reference], ...]) -> Iterator[tuple[str, Any]]:
        for field, value in fields:
            if field == NESTED:
                inner = self._section.fields(value, INNER)
                if inner is None:
                    # A text or a list under this name is another vendor's, and says nothing that is asked here.
                    continue
                yield from ((name, self._section.decode(one)) for name, one in inner)
            elif field in WANTED:
                yield field, self._section.decode(value)

    def _asn(self, value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool):
            number = value
        elif isinstance(value, str) and (match := _ASN_TEXT.fullmatch(value)):
            number = int(match[1])
        else:
            if value not in _NO_NETWORK:
                self._note("asn", value)
            return 0
        if 0 <= number <= MAX_ASN:
            return number
        self._note("asn", value)
        return 0

    def _is_set(self, field: str, value: object) -> bool:
        if value in _YES:
            return True
        if value not in _NO:
            self._note(field, value)
        return False

    def _confidence(self, value: object) -> int | None:
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 100:
            raise damaged(self._name, f"a record whose {CONFIDENCE} is {value!a:.40}")
        return value

    def _note(self, field: str, value: object) -> None:
        if len(self.strange) < MAX_STRANGE:
            self.strange[f"{field} {value!a:.40}"] = None

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

from geodrop.ruleset.export import as_json, cidr
from tests.support.rulesets import Service, ruleset

RULES = ruleset(
    Service(
        "api", {"1.0.1.0/24": "CN", "1.0.2.0/23": "RU", "64:ff9b::/96": "nat64"}, tcp=((443, 443),), action="reject"
    ),
    Service("rest", {"2001::/32": "teredo", "2.0.0.0/8": "list:bad"}, mode="monitor", starts=5),
)


def test_cidr() -> None:
    """There is one prefix a line, without regions, IPv4 before IPv6."""
    assert "".join(cidr(RULES, RULES.meta.services[0])).splitlines() == [
        "1.0.1.0/24",
        "1.0.2.0/23",
        "64:ff9b::100:100/120",
        "64:ff9b::100:200/119",
    ]


def test_cidr_of_neighbours_is_the_fewest() -> None:
    """Two adjacent regions are exported as the fewest prefixes for both."""
    rules = ruleset(Service("api", {"1.0.2.0/24": "CN", "1.0.3.0/24": "RU"}))
    assert "".join(cidr(rules, rules.meta.services[0])) == "1.0.2.0/23\n"


def test_json() -> None:
    """The JSON export is one object with what each service takes and denies."""
    made = json.loads("".join(as_json(RULES, RULES.meta.services)))
    assert (made["schema"], made["digest"]) == (1, RULES.digest)
    assert made["never_drop"] == {"prefixes": [], "ports": {"tcp": [[22, 22]], "udp": []}}
    api, rest = made["services"]
    assert api["denied"][:2] == [{"prefix": "1.0.1.0/24", "region": "CN"}, {"prefix": "1.0.2.0/23", "region": "RU"}]
    assert (api["name"], api["action"], api["ports"]["tcp"], api["not_expanded"]) == ("api", "reject", [[443, 443]], [])
    assert (rest["mode"], rest["starts"], rest["catch_all"]) == ("monitor", 5, True)
    assert rest["denied"] == [{"prefix": "2.0.0.0/8", "region": "list:bad"}]
    assert rest["not_expanded"] == ["2001::/32"]


def test_nothing_denied() -> None:
    """If nothing is denied, the JSON export is still an object, and the list of prefixes is empty."""
    rules = ruleset(Service("api"))
    assert json.loads("".join(as_json(rules, rules.meta.services)))["services"][0]["denied"] == []
    assert "".join(cidr(rules, rules.meta.services[0])) == ""


def test_pieces_are_small() -> None:
    """Memory does not grow with the ruleset: no piece holds more than a thousand prefixes."""
    content = {f"{high}.{low}.0.0/16": "CN" for high in range(1, 60) for low in range(0, 256, 2)}
    rules = ruleset(Service("api", content))
    pieces = [*cidr(rules, rules.meta.services[0]), *as_json(rules, rules.meta.services)]
    assert len(pieces) > 14
    assert max(piece.count("/16") for piece in pieces) == 1000

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from tests.unit.policy.policies import said

TEXT = """
groups: {{{groups}}}
lists: {{{lists}}}
services:
  api:
    match: {{ports: {{tcp: [443]}}}}
    default: {default}
    unknown: allow
    {lines}
"""


def about(lines: str, default: str = "deny", groups: str = "", lists: str = "") -> list[str]:
    """Return the warnings about the codes of a policy; `lines` are line 9, from column 5 on."""
    text = TEXT.format(groups=groups, lists=lists, default=default, lines=lines).lstrip()
    return [one for one in said(text) if "without" in one or "reads as" in one]


OWN = ": territories with codes of their own, which it does not hold; name them under"


@pytest.mark.parametrize(
    ("lines", "default", "expected"),
    [
        (("allow: [JP, US]",), "deny", [f"9:17: warning: US without PR, GU, VI, AS, MP, UM{OWN} allow too, or"]),
        (
            ("deny: [CN]",),
            "allow",
            [f"9:12: warning: CN without HK, MO{OWN} deny too, or under allow if that is meant"],
        ),
        (
            ("allow: [FI, DK]",),
            "deny",
            [f"9:13: warning: FI without AX{OWN}", f"9:17: warning: DK without GL, FO{OWN}"],
        ),
        # named on either side, also as a subdivision: the author has thought of it
        (("allow: [US, PR, GU, VI, AS, MP, UM]",), "deny", []),
        (("allow: [US, PR, US-GU]", "deny: [VI, AS, MP, UM]"), "deny", []),
        (("deny: [CN, HK]",), "allow", [f"9:12: warning: CN without MO{OWN}"]),
        (("allow: [NL, IT-AW]",), "deny", [f"9:13: warning: NL without CW, AW, SX, BQ{OWN}"]),
        (("deny: [CN, 'territory:hong-kong', 'territory:macao']",), "allow", []),
        # the territory gets the same verdict all the same
        (("deny: [CN]",), "deny", []),
        (("allow: ['continent:NA', US]",), "deny", [f"9:29: warning: US without GU, AS, MP, UM{OWN}"]),
        (("allow: [FR]", "deny: [DE]"), "allow", []),
        # the country itself is denied, so its line under allow decides nothing
        (("allow: [CN]", "deny: ['group:all']"), "allow", [f"2:16: warning: CN without HK, MO{OWN}"]),
        (("allow: [HK, DE, TW]",), "deny", []),
    ],
)
def test_a_country_without_its_territories(lines: tuple[str, ...], default: str, expected: list[str]) -> None:
    """Territories that get the other verdict, and that no line names, are named at the line of their country."""
    found = about("\n    ".join(lines), default, "all: [CN]" if "group:all" in lines[-1] else "")
    assert len(found) == len(expected)
    for warning, begin in zip(found, expected, strict=True):
        assert warning.startswith(begin)


def test_a_group_in_two_services_is_warned_of_once() -> None:
    """The warning is about the line in the group, so two services that use it have one warning."""
    text = TEXT.format(groups="some: [NO]", lists="", default="deny", lines="allow: [group:some]").lstrip()
    web = text.partition("services:\n")[2].replace("api", "web").replace("443", "80")
    found = [one for one in said(text + web) if "without" in one]
    assert [one.partition(" territories")[0] for one in found] == ["2:17: warning: NO without SJ, BV:"]


@pytest.mark.parametrize(
    ("name", "reads"),
    [
        ("us", "the country US"),
        ("eu", "the code EU"),
        ("uk", "the code UK"),
        ("ua-43", "the subdivision UA-43"),
        ("us_ca", "the subdivision US-CA"),
        ("continent-as", "continent:AS"),
        ("continent", "a line continent:AS"),
        ("usa", None),
        ("my-vpn", None),
        ("qq", None),
        ("continental", None),
        ("supported", None),
    ],
)
def test_a_name_that_reads_as_a_code(name: str, reads: str | None) -> None:
    """`group:us` is one group and US a country: a name that looks like a code is warned of at its place."""
    found = about(
        f"allow: [JP, group:{name}, list:{name}]", groups=f"{name}: [JP]", lists=f"{name}: {{prefixes: [9.9.9.9]}}"
    )
    expected = [
        f'{place}: warning: the name of {word} "{name}" reads as {reads}, but  {word}:{name}  is what it holds; '
        f'rename it, such as "{name}-{word}"'
        for word, place in (("group", "2:10"), ("list", "3:9"))
    ]
    assert found == (expected if reads else [])

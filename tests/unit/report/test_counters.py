# SPDX-License-Identifier: Apache-2.0
import pytest

from geodrop.engine.api import Total
from geodrop.report.counters import as_object, as_other, kind_of
from tests.support.rulesets import Service, ruleset

COUNTS = [
    Total("api", "ipv4", None, accepted=(1000, 64000), never_drop=(2, 80), exempted=(1, 60)),
    Total("api", "ipv4", "CN", dropped=(3, 120), would_drop=(40, 1600)),
    Total("api", "ipv6", "list:partners"),
    Total("api", "ipv6", "2001:db8::/32", dropped=(1, 60)),
    Total("", "", None, dropped=(5, 300), would_drop=(6, 360)),
]


def test_objects_are_the_contract() -> None:
    """One object a class with dropped and would_drop; one a service and family with the packets let through."""
    assert [as_object(count) for count in COUNTS[:3]] == [
        {
            "schema": 1,
            "service": "api",
            "family": "ipv4",
            "accepted": {"packets": 1000, "bytes": 64000},
            "never_drop": {"packets": 2, "bytes": 80},
            "exempted": {"packets": 1, "bytes": 60},
        },
        {
            "schema": 1,
            "service": "api",
            "family": "ipv4",
            "region": "CN",
            "dropped": {"packets": 3, "bytes": 120},
            "would_drop": {"packets": 40, "bytes": 1600},
        },
        {
            "schema": 1,
            "service": "api",
            "family": "ipv6",
            "list": "partners",
            "dropped": {"packets": 0, "bytes": 0},
            "would_drop": {"packets": 0, "bytes": 0},
        },
    ]


def test_what_cannot_be_read_is_no_services() -> None:
    """Unreadable packets have an object without service and family, so that no sum by these includes them."""
    assert as_object(COUNTS[-1]) == {
        "schema": 1,
        "service": None,
        "family": None,
        "what": "unreadable",
        "dropped": {"packets": 5, "bytes": 300},
        "would_drop": {"packets": 6, "bytes": 360},
    }


@pytest.mark.parametrize(
    ("label", "kind"),
    [
        ("CN", "region"),
        ("UA-43", "region"),
        ("continent:EU", "region"),
        ("unknown", "region"),
        ("list:a", "list"),
        ("192.0.2.0/24", "prefix"),
        ("192.0.2.1", "prefix"),
        ("2001:db8::1", "prefix"),
        ("::/0", "prefix"),
    ],
)
def test_kind_of(label: str, kind: str) -> None:
    """Each kind of label that a policy can produce is recognized."""
    assert kind_of(label) == kind


def test_how_many_count_as_other() -> None:
    """Before the second map exists all that a service drops count; then those it leaves; none for maps that are not
    joined.
    """
    joined = Service("api", {"1.0.0.0/8": "other", "2.0.0.0/8": "other"}, counted={"1.0.1.0/24": "CN"})
    rules = ruleset(joined, Service("web", {"3.0.0.0/8": "RU", "4.0.0.0/8": "CN"}))
    assert [as_other(rules, number, told_apart=False) for number in (0, 1)] == [1, 0]
    assert [as_other(rules, number, told_apart=True) for number in (0, 1)] == [1, 0]
    whole = ruleset(Service("api", {"1.0.0.0/8": "other"}, counted={"1.0.0.0/8": "unknown"}))
    assert [as_other(whole, 0, told_apart=told_apart) for told_apart in (False, True)] == [1, 0]

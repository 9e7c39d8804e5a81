# SPDX-License-Identifier: Apache-2.0
from datetime import UTC, datetime
from ipaddress import ip_network

import pytest

from geodrop.policy.model import Action, Established, Match, Mode, Ports, Verdict
from tests.unit.policy.policies import said, service

API = "services:\n  api:\n    default: allow\n    unknown: allow\n"


def about(text: str) -> list[str]:
    """Return the messages about a service with the given lines, from line 6 on, after its verdicts."""
    return said(API + "".join(f"    {line}\n" for line in text.splitlines()))


def test_defaults() -> None:
    """By default a service is a catch-all, enforced at once, cuts open connections, and has no lines."""
    api = service("default: deny")
    assert (api.default, api.unknown) == (Verdict.DROP, Verdict.ACCEPT)
    assert api.match == Match(Ports())
    assert (api.mode, api.starts, api.established) == (Mode.ENFORCE, None, Established.CUT)
    assert api.allow == api.deny == ()


def test_every_key() -> None:
    """A service with every key of the design page is read."""
    api = service(
        """
        match:
          ports: {tcp: [443, 8000-8099, 8100], udp: [443, 400-450]}
          protocols: [icmp, 50]
          addresses: [9.9.9.1, 9.9.9.0/28, "2a00::/32"]
        default: deny
        unknown: deny
        allow: [US, 8.8.8.8]
        deny: [UA-43]
        mode: enforce
        starts: 2024-07-09T02:00:00+02:00
        established: keep
        action: drop
        """
    )
    assert api.match.ports == Ports(tcp=((443, 443), (8000, 8100)), udp=((400, 450),))
    assert api.match.protocols == (1, 50, 58)
    assert api.match.addresses == (ip_network("9.9.9.0/28"), ip_network("2a00::/32"))
    assert [line.text for line in (*api.allow, *api.deny)] == ["US", "8.8.8.8", "UA-43"]
    assert api.starts == datetime(2024, 7, 9, tzinfo=UTC)
    assert api.established is Established.KEEP


def test_norway() -> None:
    """NO is a country, in a line and in a list, where YAML 1.1 would read false."""
    assert [line.name for line in service("deny: [NO, SE]\nallow:\n  - DK\n  - FI").deny] == ["NO", "SE"]


@pytest.mark.parametrize("key", ["default", "unknown"])
def test_required_keys(key: str) -> None:
    """`default` and `unknown` must both be written."""
    other = {"default": "unknown", "unknown": "default"}[key]
    (message,) = said(f"services:\n  api:\n    {other}: allow\n")
    assert message.startswith(f'3:3: error: service "api" has no {key}, the verdict for ')
    assert message.endswith(f"; write  {key}: allow  or  {key}: deny")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mode: Enforce", '6:11: error: mode of service "api": "Enforce" is not known; did you mean "enforce"?'),
        ("established: kept", '6:18: error: established of service "api": "kept" is not known; did you mean "keep"?'),
        ("action: block", '6:13: error: action of service "api": "block" is not known; write one of: drop, reject'),
        ("starts: 2024-07-09", '6:13: error: starts of service "api": '),
        ("allow: US", '6:12: error: allow of service "api" is a single value, but must be a list; write [US]'),
        ("deny:", '6:10: error: deny of service "api" is empty, but must be a list'),
        ("deny: [C]", '6:12: error: entry of deny of service "api": "C" names nothing'),
        ("defualt: deny", '6:5: error: "defualt" is not a key of service "api"; did you mean "default"?'),
        ("match: {port: {}}", '6:13: error: "port" is not a key of match of service "api"; did you mean "ports"?'),
        ("match: {ports: {sctp: [1]}}", '6:21: error: "sctp" is not a key of ports of service "api"'),
        ("match: {ports: {tcp: [0x1]}}", '6:27: error: entry of tcp ports of service "api": '),
        ("match: {ports: {}}", '6:20: error: ports of service "api": there are none; write at least one'),
        ("match: {ports: {tcp: []}}", '6:20: error: ports of service "api": there are none'),
        ("match: {protocols: []}", '6:24: error: protocols of service "api": there are none'),
        ("match: {addresses: []}", '6:24: error: addresses of service "api": there are none'),
        ("match: {addresses: [9.9.9.9/8]}", '6:25: error: entry of addresses of service "api": 9.9.9.9/8 has bits'),
        (
            "match: {addresses: [2a00:: ]}",
            '6:25: error: entry of addresses of service "api" is a table; write one value; ',
        ),
        ("match:", '6:11: error: match of service "api" is empty'),
    ],
)
def test_mistakes(text: str, message: str) -> None:
    """Each mistake is one error at its place that says what to write."""
    found = about(text)
    assert len(found) == 1
    assert found[0].startswith(message)
    assert ";" in found[0] or found[0].endswith("?")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("allow: [US, CA, US]", '6:21: warning: US is in allow of service "api" twice, first in line 6'),
        ("deny: [9.9.9.9, 9.9.9.9/32]", '6:21: warning: 9.9.9.9/32 is in deny of service "api" twice'),
        ("mode: monitor\nstarts: 2024-07-09T00:00:00Z", '7:13: warning: starts of service "api" changes nothing'),
        (
            "established: keep\nmatch: {ports: {udp: [53]}}",
            '6:18: warning: established of service "api" changes nothing',
        ),
        ("match: {protocols: [tcp], ports: {tcp: [443]}}", '6:24: warning: service "api" takes tcp whole'),
    ],
)
def test_what_is_allowed_but_hardly_meant(text: str, message: str) -> None:
    """Lines that change nothing give a warning, and the policy still loads."""
    (found,) = about(text)
    assert found.startswith(message)


def test_established_is_not_remarked_on_where_tcp_is_taken() -> None:
    """A catch-all, a tcp port and the protocol tcp each take TCP, so `established` gives no warning."""
    for match in ("{}", "{ports: {tcp: [443]}}", "{protocols: [tcp]}", "{addresses: [9.9.9.9]}"):
        assert about(f"match: {match}\nestablished: keep") == []


def test_every_problem_of_a_service_at_once() -> None:
    """Reading continues after each mistake, so that all are reported."""
    text = """\
services:
  api:
    match: {ports: {tcp: [http]}, protocols: [x], addresses: [y]}
    unknown: maybe
    allow: [usa]
    mode: x
    starts: x
    established: x
    action: x
    extra: x
"""
    found = said(text)
    assert [message.split(":")[0] for message in found] == ["3", "4", "4", "4", "5", "6", "7", "8", "9", "10", "11"]
    assert all(": error: " in message for message in found)


def test_action() -> None:
    """The action is drop unless the key says reject."""
    assert [service(text).action for text in ("default: deny", "action: drop", "action: reject")] == [
        Action.DROP,
        Action.DROP,
        Action.REJECT,
    ]


def test_a_share_and_a_ramp() -> None:
    """A share counts hundredths of a percent from the beginning; a ramp has moments."""
    assert service("default: deny\nshare: 10%").ramp == ((0, 1_000),)
    assert service("default: deny\nshare: 0.25 %").ramp == ((0, 25),)
    ramp = service("default: deny\nramp: {2024-07-09T00:00:00Z: 1%, 2024-07-10T02:00:00+02:00: 100%}").ramp
    assert ramp == ((1_720_483_200, 100), (1_720_569_600, 10_000))
    assert service("default: deny").ramp == ()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("share: 0%", "write one from 0.01% to 100%, such as 10%; for none: mode: monitor"),
        ("share: 101%", "is not a share"),
        ("share: 0.001%", "is not a share"),
        ("share: ten", "is not a share"),
        ("share: 10%\nstarts: 2024-07-09T00:00:00Z", "has both share and starts; write one of the two"),
        ("share: 10%\nramp: {2024-07-09T00:00:00Z: 1%}", "has both ramp and share; write one of the two"),
        ("ramp: {2024-07-09T00:00:00Z: 1%}\nstarts: 2024-07-09T00:00:00Z", "has both ramp and starts"),
        ("ramp: {2024-07-09T00:00:00Z: 10%, 2024-07-10T00:00:00Z: 5%}", "must go upwards, in time and in share"),
        ("ramp: {2024-07-10T00:00:00Z: 5%, 2024-07-09T00:00:00Z: 10%}", "must go upwards, in time and in share"),
        ("ramp: {2024-07-09T00:00:00: 10%}", "has no time zone"),
        ("ramp: {soon: 10%}", "is not a time"),
        ("ramp: {}", "has no step"),
        ("ramp: 10%", "is a single value"),
        (
            "ramp: {" + ", ".join(f"2024-07-{day:02}T00:00:00Z: {day}%" for day in range(1, 10)) + "}",
            "has 9 steps, 8 is the most",
        ),
        ("mode: monitor\nshare: 10%", "warning: share of service"),
    ],
)
def test_shares_that_are_wrong(text: str, told: str) -> None:
    """Each with its place and what to write."""
    assert any(told in line for line in about(text)), about(text)

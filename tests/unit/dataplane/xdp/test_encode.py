"""The bytes of a policy map: selections, local addresses, rows, starts."""

from __future__ import annotations

from typing import Any

import pytest

from geodrop.dataplane.xdp import encode
from geodrop.dataplane.xdp import layouts as lay
from geodrop.errors import UnavailableError
from tests.rulesets import Service, ruleset

CLOCK = encode.Clock(37)
BLIND = encode.Clock(37, 1_000.0)
"""Where programs cannot tell the time."""


def encoded(*services: Service, clock: encode.Clock = CLOCK) -> lay.Policy:
    """The policy element of some services."""
    made = ruleset(*services)
    pairs = {label: number for number, label in enumerate(encode.labels_of(made))}
    return lay.Policy.from_buffer_copy(encode.encode_policy(made, 7, pairs, clock, bytes(32)).policy)


def chosen(policy: lay.Policy, protocol: int, port: int | None = None) -> Any:  # noqa: ANN401 - a lay.Selection
    """What a packet is led to."""
    table = {6: policy.by_tcp_port, 17: policy.by_udp_port}.get(protocol)
    number = policy.by_protocol[protocol] if port is None or table is None else table[port]
    return policy.selection[number]


def test_ports_and_protocols_lead_to_services() -> None:
    """Enforced ones first; a catch-all takes what they leave; monitor ones stand beside both."""
    policy = encoded(
        Service("web", tcp=[(443, 443), (8000, 8099)], udp=[(443, 443)]),
        Service("ping", protocols=[1, 58]),
        Service("trial", tcp=[(443, 443)], mode="monitor"),
        Service("rest"),
    )
    assert chosen(policy, 6, 443).services == 0b0101
    assert chosen(policy, 6, 443).single == lay.NO_SERVICE
    assert chosen(policy, 6, 8099).services == 0b0001
    assert chosen(policy, 6, 8099).single == 0
    assert chosen(policy, 6, 8100).services == 0b1000
    assert chosen(policy, 17, 443).services == 0b0001
    assert chosen(policy, 1).services == chosen(policy, 58).services == 0b0010
    assert chosen(policy, 6).services == chosen(policy, 47).services == 0b1000
    assert chosen(policy, 6, 22).flags == lay.SELECTION_NEVER_DROP
    assert chosen(policy, 17, 22).flags == 0


def test_local_addresses_cut_each_family() -> None:
    """The last cut at or before an address says which services serve it; the rest of the table repeats the last."""
    policy = encoded(Service("edge", addresses=["203.0.113.0/28"]), Service("rest"))
    cuts = [(one.high >> 32, one.services) for one in policy.local_ipv4]
    first, end = 203 << 24 | 113 << 8, (203 << 24 | 113 << 8) + 16
    assert cuts[:4] == [(0, 0b10), (first, 0b11), (end, 0b10), (end, 0b10)]
    assert {one.services for one in policy.local_ipv6} == {0b10}
    assert chosen(policy, 6, 443).flags & lay.SELECTION_LOCAL


def test_starts_to_come_and_starts_gone_by() -> None:
    """Both are written in the kernel's clock, which may be set; only programs without one need not wait any more."""
    services = (
        Service("later", tcp=[(1, 1)], starts=2_000),
        Service("now", tcp=[(2, 2)], starts=999, established="keep"),
    )
    policy = encoded(*services)
    assert policy.service[0].starts == (2_000 + 37) * 1_000_000_000
    assert policy.service[1].starts == (999 + 37) * 1_000_000_000
    assert policy.service[1].flags == lay.SERVICE_ENFORCE | lay.SERVICE_KEEP
    assert policy.tai_offset == 37
    blind = encoded(*services, clock=BLIND)
    assert (blind.service[0].starts, blind.service[1].starts) == (policy.service[0].starts, 0)


def test_without_a_start_the_clock_makes_no_difference() -> None:
    """A leap second, or a daemon that tells the kernel of TAI only later, changes no byte of such a policy."""
    service = Service("api", tcp=[(1, 1)])
    assert bytes(encoded(service)) == bytes(encoded(service, clock=encode.Clock(0)))


def test_too_many_services_are_refused_with_the_figure() -> None:
    """Nftables can do it; the message says so."""
    services = [Service(f"s{number}", tcp=[(number, number)]) for number in range(1, 18)]
    with pytest.raises(UnavailableError, match=r"17 services, 16 is the most on xdp; use --engine nftables"):
        encoded(*services)

# SPDX-License-Identifier: Apache-2.0
"""The bytes of a policy map: selections, local addresses, rows, starts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from geodrop.errors import UnavailableError
from geodrop.xdp import encode
from geodrop.xdp import layout as lay
from tests.support.rulesets import Service, ruleset

CLOCK = encode.Clock(37)
BLIND = encode.Clock(37, 1_000.0)
"""A clock for programs that cannot read the time."""


def encoded(*services: Service, clock: encode.Clock = CLOCK) -> lay.PolicyLayout:
    """Return the policy element of some services."""
    made = ruleset(*services)
    pairs = {label: number for number, label in enumerate(encode.labels_of(made))}
    return lay.PolicyLayout.from_buffer_copy(encode.encode_policy(made, 7, pairs, clock, bytes(32)).policy)


def chosen(policy: lay.PolicyLayout, protocol: int, port: int | None = None) -> Any:  # noqa: ANN401 - a lay.Selection
    """Return the selection for a packet's protocol and port."""
    table = {6: policy.by_tcp_port, 17: policy.by_udp_port}.get(protocol)
    number = policy.by_protocol[protocol] if port is None or table is None else table[port]
    return policy.selection[number]


def test_ports_and_protocols_lead_to_services() -> None:
    """Enforced services come first; a catch-all takes the rest; services in monitor are added to both."""
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
    """The last cut at or before an address tells its services; unused elements repeat the last cut."""
    policy = encoded(Service("edge", addresses=["203.0.113.0/28"]), Service("rest"))
    cuts = [(one.high >> 32, one.services) for one in policy.local_ipv4]
    first, end = 203 << 24 | 113 << 8, (203 << 24 | 113 << 8) + 16
    assert cuts[:4] == [(0, 0b10), (first, 0b11), (end, 0b10), (end, 0b10)]
    assert {one.services for one in policy.local_ipv6} == {0b10}
    assert chosen(policy, 6, 443).flags & lay.SELECTION_LOCAL


def unread(policy: lay.PolicyLayout) -> list[tuple[int, int]]:
    """Return services and flags for packets whose protocol is unreadable, or whose TCP or UDP ports are."""
    some = [policy.selection[policy.by_unreadable[number]] for number in range(3)]
    return [(one.services, one.flags) for one in some]


def test_what_cannot_be_read_leads_to_every_service_that_it_might_be_for() -> None:
    """Enforced, monitoring and catch-all services all judge it; without ports, those that take any of the protocol."""
    policy = encoded(
        Service("web", tcp=[(443, 443)]),
        Service("dns", udp=[(53, 53)]),
        Service("ping", protocols=[1, 58]),
        Service("whole", protocols=[17]),
        Service("trial", tcp=[(22, 22)], mode="monitor"),
        Service("rest"),
    )
    every = lay.SELECTION_EVERY
    assert unread(policy) == [(0b111111, every), (0b110001, every), (0b101010, every)]
    # A later fragment of TCP is treated as before: its first fragment has decided.
    assert chosen(policy, 6).services == 0b100000


def test_what_cannot_be_read_is_for_services_of_its_destination() -> None:
    """Local addresses limit the services for unreadable packets as they do for others."""
    policy = encoded(Service("edge", tcp=[(443, 443)], addresses=["203.0.113.0/28"]), Service("rest"))
    local, every = lay.SELECTION_LOCAL, lay.SELECTION_EVERY
    assert unread(policy) == [(0b11, local | every), (0b11, local | every), (0b10, every)]


def test_frames_behind_too_many_tags_have_a_counter_pair() -> None:
    """The pair belongs to no service, and every ruleset has it."""
    made = ruleset(Service("web", tcp=[(443, 443)]))
    assert encode.labels_of(made).count(encode.TOO_DEEP) == 1
    at = encode.labels_of(made).index(encode.TOO_DEEP)
    assert encoded(Service("web", tcp=[(443, 443)])).too_deep == at


def test_starts_to_come_and_starts_gone_by() -> None:
    """Both are written in the kernel's clock, which may be set; only a program without a clock has past
    ones left out.
    """
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
    """A leap second, or a TAI offset that the kernel learns later, changes no byte of a policy without a start."""
    service = Service("api", tcp=[(1, 1)])
    assert bytes(encoded(service)) == bytes(encoded(service, clock=encode.Clock(0)))


@pytest.mark.parametrize("ports", [(443, 65536), (443, 30_000_000), (-5, 443), (-40_000_000, 443)])
def test_ports_that_are_none_write_nothing(ports: tuple[int, int]) -> None:
    """Port numbers out of range must not write beyond the tables of ports, even if nothing else refuses them."""
    made = ruleset(Service("api", tcp=[(443, 443)]))
    api = replace(made.meta.services[0], tcp=(ports,))
    pairs = {label: number for number, label in enumerate(encode.labels_of(made))}
    with pytest.raises(ValueError, match="is no part of"):
        encode.encode_policy(replace(made, meta=replace(made.meta, services=(api,))), 7, pairs, CLOCK, bytes(32))


def test_every_protocol_may_be_named() -> None:
    """Then no protocol is left to stand for the ones that no service names."""
    policy = encoded(Service("all", protocols=range(256)), Service("rest"))
    assert {chosen(policy, protocol).services for protocol in range(256)} == {0b01}


def test_too_many_services_are_refused_with_the_figure() -> None:
    """The message gives the limit, and says that nftables can do it."""
    services = [Service(f"s{number}", tcp=[(number, number)]) for number in range(1, 18)]
    with pytest.raises(UnavailableError, match=r"17 services, 16 is the most on xdp; use --engine nftables"):
        encoded(*services)

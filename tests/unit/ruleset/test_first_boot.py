# SPDX-License-Identifier: Apache-2.0
from ipaddress import ip_address

import pytest

from geodrop.policy.parse import load_policy
from geodrop.ruleset.explain import explain
from geodrop.ruleset.first_boot import POLICY, build_closed, is_closed
from geodrop.ruleset.model import Ruleset

RULESET = Ruleset.unpack(build_closed(), "closed")


def no_lists(name: str) -> bytes:
    """The policy names no regions, so no regions are known."""
    raise AssertionError(name)


def test_it_is_always_the_same() -> None:
    """The bytes are always the same, so its digest identifies it in the kernel and in the history."""
    assert build_closed() == build_closed()
    assert is_closed(RULESET.meta.compiler)
    assert not is_closed("0.1.0")


def test_its_policy_says_the_same() -> None:
    """The policy text in it is a valid policy, with the ports, defaults and never-drop ports of the ruleset."""
    policy, problems = load_policy(POLICY.encode(), "policy.yaml", no_lists)
    assert not problems
    [service], [spec] = policy.services, RULESET.meta.services
    assert (service.name, service.established) == (spec.name, spec.established)
    assert (tuple(service.match.ports.tcp), tuple(service.match.ports.udp)) == (spec.tcp, spec.udp)
    assert tuple(policy.never_drop.ports.tcp) == RULESET.meta.never_drop_tcp


@pytest.mark.parametrize(
    ("address", "verdict"),
    [
        *((address, "drop") for address in ("8.8.8.8", "1.0.0.0", "192.0.0.9", "223.255.255.255")),
        *((address, "drop") for address in ("2600::1", "2002:808:808::1", "::ffff:8.8.8.8", "4000::1", "2001:20::1")),
        *((address, "accept") for address in ("10.1.2.3", "127.0.0.1", "192.168.255.255", "255.255.255.255")),
        *((address, "accept") for address in ("fe80::1", "fd00::1", "::1", "2001:db8::1", "ff02::1")),
    ],
)
def test_verdicts(address: str, verdict: str) -> None:
    """Special addresses pass and all others are dropped, in the rows and in the nftables maps alike."""
    parsed = ip_address(address)
    [explanation] = explain(RULESET, parsed, 0.0)
    assert explanation.verdict == verdict
    prefix, width = f"nft/first-boot/ipv{parsed.version}", parsed.max_prefixlen // 8
    columns = (bytes(RULESET.sections[f"{prefix}/{name}"]) for name in ("starts", "ends"))
    starts, ends = ([data[at : at + width] for at in range(0, len(data), width)] for data in columns)
    held = any(
        start <= parsed.packed and (parsed.packed < end or not any(end))
        for start, end in zip(starts, ends, strict=True)
    )
    assert held is (verdict == "drop")

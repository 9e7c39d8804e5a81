# SPDX-License-Identifier: Apache-2.0
"""A ruleset is checked against the program's limits before the kernel is touched."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from geodrop.errors import ConfigError, DataError
from geodrop.linux.network import Link
from geodrop.xdp import layout as lay
from geodrop.xdp.requirements import check, unreadable, unsupported_reason
from tests.support.engines import XdpEngine
from tests.support.rulesets import Service, ruleset

if TYPE_CHECKING:
    from geodrop.ruleset.model import Ruleset

GOOD = {
    "xdp/ipv4": bytes(lay.ROOT_BYTES),
    "xdp/ipv6": bytes(lay.ROOT_BYTES),
    "xdp/children": bytes(16),
    "xdp/lines": bytes(lay.LINE_BYTES),
    "xdp/digest": bytes(32),
}


def with_tables(plain: Ruleset, **changed: int) -> Ruleset:
    """Return a ruleset with empty tables, some of them of another size."""
    sections = GOOD | {f"xdp/{name}": bytes(size) for name, size in changed.items()}
    return dataclasses.replace(
        plain, sections={**plain.sections, **{name: memoryview(data) for name, data in sections.items()}}
    )


PLAIN = ruleset(Service("api"))


def test_a_good_one_passes() -> None:
    """A supported ruleset has no unsupported reason and raises nothing."""
    assert unsupported_reason(with_tables(PLAIN)) is None
    check(with_tables(PLAIN))


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("ipv4", lay.ROOT_BYTES - 8),
        ("ipv6", lay.ROOT_BYTES + 8),
        ("children", 12),
        ("children", lay.SEGMENT_BYTES),
        ("lines", 63),
        ("lines", 0),
        ("digest", 31),
    ],
)
def test_sections_of_a_wrong_size_are_bad_data(name: str, size: int) -> None:
    """If copied unchecked, they would fill the wrong place or be read past their end."""
    with pytest.raises(DataError, match=f"section xdp/{name} has {size:,} bytes") as caught:
        check(with_tables(PLAIN, **{name: size}))
    assert caught.value.exit_code == 65


def test_the_engine_itself_refuses() -> None:
    """The engine refuses reject and missing tables (78) for every caller, without needing a bpffs or a privilege."""
    engine = XdpEngine()
    with pytest.raises(ConfigError, match="service api has  action: reject, which xdp cannot do") as caught:
        engine.apply(with_tables(ruleset(Service("api", action="reject"))), 1, ["lo"])
    assert caught.value.exit_code == 78
    with pytest.raises(ConfigError, match="no tables for xdp: compiled without; load it with --engine nftables"):
        engine.apply(PLAIN, 1, ["lo"])


@pytest.mark.parametrize(
    ("link", "readable"),
    [
        (Link(1, "lo", hardware=772), True),
        (Link(2, "eth0"), True),
        (Link(2, "eth0.7", "vlan", 2), True),
        (Link(3, "tap0", "tun"), True),
        (Link(3, "gre1", "gretap"), True),
        (Link(3, "tun0", "tun", hardware=65534), False),
        (Link(3, "wg0", "wireguard", hardware=65534), False),
        (Link(3, "tunl0", "ipip", hardware=768), False),
        (Link(3, "gre0", "gre", hardware=778), False),
        (Link(3, "sit0", "sit", hardware=776), False),
        (Link(3, "ppp0", "ppp", hardware=512), False),
        (Link(3, "wwan0", "", hardware=519), False),
        (Link(3, "ib0", "", hardware=32), False),
        (Link(3, "ipsec0", "xfrm", hardware=65534), False),
        (Link(3, "blue", "vrf"), False),
    ],
    ids=lambda value: value.name if isinstance(value, Link) else "",
)
def test_xdp_reads_only_what_begins_with_an_ethernet_header(link: Link, readable: bool) -> None:  # noqa: FBT001
    """Without an Ethernet header the program would take the IP header for one, and let everything pass."""
    error = unreadable(link)
    assert (error is None) is readable
    if error:
        assert error.exit_code == 69
        assert link.name in error.message

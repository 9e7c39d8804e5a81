# SPDX-License-Identifier: Apache-2.0
"""The ruleset of a first boot with `first_boot: closed`: no policy is known yet, so no new connection is let in.

It drops what opens a connection from a public address: TCP openings (SYN without ACK), except to port 22, and UDP to
ports below the ephemeral ones. So an administrator gets in, and the host can still resolve names, set its clock and
fetch what it needs to compile a policy. Special addresses, ICMP, other protocols and the control traffic of rung 2
pass.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

from geodrop.policy.special import EMBEDDED, REACHABLE, SPECIAL, is_special
from geodrop.ruleset import container
from geodrop.ruleset.intervals import WIDTH, size
from geodrop.ruleset.model import Meta, Row, ServiceSpec, Target, Zone, meta_json

if TYPE_CHECKING:
    from collections.abc import Iterator

COMPILER = "first-boot"
"""Stands in place of a compiler version and identifies this ruleset."""

LAST_UDP_PORT = 32_767
"""Linux sends queries from ports 32768 to 60999 (ip_local_port_range, Documentation/networking/ip-sysctl.rst)."""

POLICY = f"""\
version: 1
services:
  first-boot:
    match: {{ports: {{tcp: [0-65535], udp: [0-{LAST_UDP_PORT}]}}}}
    default: deny
    unknown: deny
    established: keep
"""

_DENIED, _SPECIAL = 0, 1


def build_closed() -> bytes:
    """Return the bytes of the ruleset file, which are always the same."""
    service = ServiceSpec(
        name="first-boot",
        mode="enforce",
        starts=None,
        established="keep",
        catch_all=False,
        tcp=((0, 65_535),),
        udp=((0, LAST_UDP_PORT),),
        protocols=(),
        addresses=(),
        targets=(Target("drop", 0),),
    )
    meta = Meta(
        compiler=COMPILER,
        policy=POLICY,
        inputs=(),
        services=(service,),
        never_drop_tcp=((22, 22),),
        never_drop_udp=(),
        classes=("unknown",),
        zones=(Zone(region="unknown"), Zone(special=True)),
        rows=(Row("drop", "unknown", "unknown: deny", 0), Row("accept", "special", "special")),
    )
    rows = b"".join(_u16(number) for number in (_DENIED, _SPECIAL))
    sections = {"rows": rows, "rows_embedded": rows}
    for family in (4, 6):
        sections |= _sections(family, service.name)
    return container.pack(meta_json(meta), sections)


def is_closed(compiler: str) -> bool:
    """Return whether a ruleset with this `compiler` in its meta part is the one for a first boot."""
    return compiler == COMPILER


def _sections(family: int, service: str) -> dict[str, bytes]:
    width = WIDTH[family]
    intervals = list(_intervals(family))
    starts = [start for start, _ in intervals]
    ends = [*starts[1:], 0]  # the end of the family is written as zeroes
    denied = [number for number, (_, zone) in enumerate(intervals) if zone == _DENIED]
    return {
        f"ipv{family}/starts": b"".join(_start(start, family) for start in starts),
        f"ipv{family}/zones": b"".join(_u16(zone) for _, zone in intervals),
        f"nft/{service}/ipv{family}/starts": b"".join(starts[number].to_bytes(width, "big") for number in denied),
        f"nft/{service}/ipv{family}/ends": b"".join(ends[number].to_bytes(width, "big") for number in denied),
        f"nft/{service}/ipv{family}/targets": b"".join(_u16(0) for _ in denied),
    }


def _intervals(family: int) -> Iterator[tuple[int, int]]:
    """Yield start and zone of the intervals of special and other addresses, merged."""
    make = IPv4Address if family == 4 else IPv6Address
    networks = [one for one in (*SPECIAL, *REACHABLE, *EMBEDDED.values()) if one.version == family]
    edges = {0} | {edge for one in networks for edge in (int(one[0]), int(one[-1]) + 1)}
    before = None
    for edge in sorted(edges - {size(WIDTH[family])}):
        zone = _SPECIAL if is_special(make(edge)) else _DENIED
        if zone != before:
            yield edge, zone
        before = zone


def _start(address: int, family: int) -> bytes:
    return address.to_bytes(4, "little") if family == 4 else address.to_bytes(16, "big")


def _u16(number: int) -> bytes:
    return number.to_bytes(2, "little")

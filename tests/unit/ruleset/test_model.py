# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from geodrop.errors import DataError
from geodrop.ruleset import container
from geodrop.ruleset.model import (
    CompiledCorrection,
    CompiledGroup,
    CompiledTest,
    Embedding,
    Input,
    Meta,
    Reason,
    Role,
    Row,
    Ruleset,
    ServiceSpec,
    Target,
    Zone,
    meta_json,
)

NAMED, CATCH_ALL = False, True
META = Meta(
    compiler="0",
    policy="",
    inputs=(Input("database", "asn.mmdb", "ab" * 32, "ASN", 9, None, ("CN",), (Role("asn", 1 << 24, 5),)),),
    services=(
        ServiceSpec("api", "enforce", None, "cut", NAMED, ((443, 443),), (), (), (), (Target("drop", 0),)),
        ServiceSpec("web", "monitor", 5, "keep", CATCH_ALL, (), (), (), ("192.0.2.1/32",)),
    ),
    never_drop_tcp=((22, 22),),
    never_drop_udp=(),
    classes=("CN",),
    zones=(Zone(region="US"), Zone(region="CN"), Zone(embedding="6to4")),
    rows=(Row("accept", "country", "US"), Row("drop", "country", "CN", 0)),
    tests=(
        CompiledTest("api", "drop", "1.0.0.0/8", None, 9),
        CompiledTest("api", "region", "1.2.3.4/32", "CN", 10),
    ),
    groups=(CompiledGroup("eea", ("DE", "continent:OC", "list:partners", "1.2.3.0/24", "group:eea")),),
    corrections=(CompiledCorrection("203.0.112.0/24", "DE", ("US", "unknown"), 7),),
    drawn=((), (Reason("cloud", "AS64496", "asn.mmdb"), Reason("hidden", "vpn 50", "anonymous.mmdb"))),
)


def u16(*numbers: int) -> bytes:
    """Return little-endian uint16 numbers."""
    return b"".join(number.to_bytes(2, "little") for number in numbers)


def sections(**changed: bytes) -> dict[str, bytes]:
    """Return sections with CN from 1.0.0.0 to 1.255.255.255 and from 2000::, some replaced (/ written as _)."""
    made = {
        "ipv4/starts": b"".join(start.to_bytes(4, "little") for start in (0, 1 << 24, 2 << 24)),
        "ipv4/zones": u16(0, 1, 0),
        "ipv6/starts": bytes(16) + b"\x20" + bytes(15),
        "ipv6/zones": u16(0, 1),
        "drawn/ipv4/starts": b"".join(start.to_bytes(4, "little") for start in (0, 2 << 24)),
        "drawn/ipv4/marks": u16(1, 0),
        "drawn/ipv6/starts": bytes(16) + b"\x20" + bytes(15),
        "drawn/ipv6/marks": u16(0, 1),
        "rows": u16(0, 0, 1, 0, 0, 0),
        "rows_embedded": u16(0, 0, 1, 0, 0, 0),
    }
    for service in ("api", "web"):
        for family in (4, 6):
            for column in ("starts", "ends", "targets"):
                made[f"nft/{service}/ipv{family}/{column}"] = b""
    return {**made, **changed}


def pack(meta: Meta = META, **changed: bytes) -> bytes:
    """Write a ruleset file."""
    return container.pack(
        meta_json(meta), sections(**{name.replace("__", "/"): data for name, data in changed.items()})
    )


def test_meta_survives_the_round_trip() -> None:
    """The meta part is read as it was written, types included."""
    assert Ruleset.unpack(pack(), "file").meta == META


@pytest.mark.parametrize(
    ("address", "zone"),
    [
        ("0.0.0.1", 0),
        ("0.255.255.255", 0),
        ("1.0.0.0", 1),
        ("1.255.255.255", 1),
        ("2.0.0.0", 0),
        ("255.255.255.255", 0),
        ("::", 0),
        ("1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 0),
        ("2000::", 1),
        ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 1),
    ],
)
def test_zone_at_boundaries(address: str, zone: int) -> None:
    """An interval starts with its first address and ends before the next one's, in both families."""
    assert Ruleset.unpack(pack(), "file").zone_at(ip_address(address)) == zone


@pytest.mark.parametrize(("address", "mark"), [("1.255.255.255", 1), ("2.0.0.0", 0), ("::", 0), ("2000::", 1)])
def test_why_an_address_is_in_lists(address: str, mark: int) -> None:
    """The reasons are those of the interval's mark; a ruleset without such lists has none for any address."""
    assert Ruleset.unpack(pack(), "file").drawn_at(ip_address(address)) == META.drawn[mark]
    bare = {name: data for name, data in sections().items() if not name.startswith("drawn")}
    ruleset = Ruleset.unpack(container.pack(meta_json(replace(META, drawn=())), bare), "file")
    assert ruleset.drawn_at(ip_address(address)) == ()


def test_rows_are_by_zone_and_service() -> None:
    """Rows are zone-major; embedded rows are a table of their own."""
    ruleset = Ruleset.unpack(pack(rows_embedded=u16(1, 1, 1, 1, 1, 1)), "file")
    assert [ruleset.row(1, service).verdict for service in (0, 1)] == ["drop", "accept"]
    assert ruleset.row(0, 1, embedded=True).verdict == "drop"


@pytest.mark.parametrize(
    "changed",
    [
        {"ipv4__zones": u16(0, 3, 0)},
        {"ipv4__zones": u16(0, 0xD83D, 0)},
        {"ipv4__zones": u16(0, 1)},
        {"ipv6__starts": bytes(15)},
        {"ipv6__zones": b""},
        {"rows": u16(0, 0, 1, 0, 0, 2)},
        {"rows": u16(0)},
        {"nft__api__ipv4__targets": u16(0)},
        {"nft__api__ipv4__targets": u16(1), "nft__api__ipv4__starts": bytes(4), "nft__api__ipv4__ends": bytes(4)},
    ],
)
def test_numbers_that_point_nowhere_are_refused(changed: dict[str, bytes]) -> None:
    """A file with a correct digest but inconsistent parts is reported as damaged, not by an IndexError later."""
    with pytest.raises(DataError, match="file: damaged ruleset"):
        Ruleset.unpack(pack(META, **changed), "file")


def test_missing_parts_are_refused() -> None:
    """A file without a required section or key is reported as damaged."""
    content: dict[str, Any] = meta_json(META)
    del content["zones"]
    with pytest.raises(DataError, match="damaged"):
        Ruleset.unpack(container.pack(content, sections()), "file")
    with pytest.raises(DataError, match="damaged"):
        Ruleset.unpack(container.pack(meta_json(META), {}), "file")


def test_service_without_map_sections_is_refused() -> None:
    """A service in the meta part without its map sections is refused."""
    other = replace(META.services[0], name="other")
    with pytest.raises(DataError, match="damaged"):
        Ruleset.unpack(pack(replace(META, services=(other, META.services[1]))), "file")


@pytest.mark.parametrize(
    ("embedding", "address"),
    [
        (Embedding.SIXTOFOUR, "2002:c000:204:1:2:3:4:5"),
        (Embedding.TEREDO, "2001:0:4136:e378:8000:63bf:3fff:fdfb"),
        (Embedding.NAT64, "64:ff9b::c000:204"),
        (Embedding.MAPPED, "::ffff:192.0.2.4"),
    ],
)
def test_embedded_addresses_are_found(embedding: Embedding, address: str) -> None:
    """Each form gives back 192.0.2.4; the Teredo example is inverted as in RFC 4380."""
    assert embedding.extract(int(ip_address(address))) == int(ip_address("192.0.2.4"))

# SPDX-License-Identifier: Apache-2.0
"""Check whether the XDP program supports a ruleset and an interface, before the kernel is touched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop.errors import ConfigError, DataError, UnavailableError
from geodrop.linux.network import ETHERNET, LOOPBACK_TYPE, VRF
from geodrop.xdp import layout as lay

if TYPE_CHECKING:
    from geodrop.linux.network import Link
    from geodrop.ruleset.model import Ruleset

ENTRY_BYTES = 8  # struct entry of bpf/layout.h
DIGEST_BYTES = 32
INDEX_BYTES = lay.SEGMENT_BYTES - 2 * lay.ROOT_BYTES  # what is left of the index for children


def unsupported_reason(ruleset: Ruleset) -> ConfigError | None:
    """Return why only nftables supports the ruleset; None if xdp supports it."""
    for service in ruleset.meta.services:
        if service.action == "reject":
            return ConfigError(
                f"service {service.name} has  action: reject, which xdp cannot do",
                "use --engine nftables or auto, or write  action: drop",
            )
    if not ruleset.has_xdp:
        return ConfigError(f"the ruleset has no tables for xdp: {ruleset.xdp_limit}", "load it with --engine nftables")
    return None


def unreadable(link: Link) -> UnavailableError | None:
    """Return why the program could not read what arrives on an interface: it looks for an Ethernet header first."""
    step = "take engine auto or nftables for it"
    if link.kind == VRF:
        return UnavailableError(f"{link.name} is a VRF, whose packets reach no XDP program", step)
    if link.hardware not in (ETHERNET, LOOPBACK_TYPE):
        kind = link.kind or "its driver"
        return UnavailableError(
            f"{link.name} carries packets without an Ethernet header ({kind}, type {link.hardware}), which xdp cannot "
            "read",
            step,
        )
    return None


def check(ruleset: Ruleset) -> None:
    """Raise what `unsupported_reason` returns, and DataError for tables of a size that no compiler writes."""
    if problem := unsupported_reason(ruleset):
        raise problem
    sizes = {name: len(ruleset.sections[f"xdp/{name}"]) for name in ("ipv4", "ipv6", "children", "lines", "digest")}
    right = {
        "ipv4": sizes["ipv4"] == lay.ROOT_BYTES,
        "ipv6": sizes["ipv6"] == lay.ROOT_BYTES,
        "children": sizes["children"] % ENTRY_BYTES == 0 and sizes["children"] <= INDEX_BYTES,
        "lines": sizes["lines"] % lay.LINE_BYTES == 0 and sizes["lines"] > 0,
        "digest": sizes["digest"] == DIGEST_BYTES,
    }
    for name, size in sizes.items():
        if not right[name]:
            raise DataError(f"damaged ruleset (section xdp/{name} has {size:,} bytes)", "compile it again")

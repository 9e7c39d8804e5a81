# SPDX-License-Identifier: Apache-2.0
"""Interfaces that accept IPv4 packets with a source route (RFC 791, 3.1).

The address that such a packet is sent to names the next hop, and may be another address of this host than the one that
its socket has in the end.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

SETTINGS = Path("/proc/sys/net/ipv4/conf")


def accepting(names: Iterable[str]) -> list[str]:
    """Return the interfaces that accept source routes, of these names in the present network namespace.

    Both the interface and `all` must allow it (ip-sysctl.rst, accept_source_route). What cannot be read counts as
    allowed, but for an interface that does not exist.
    """
    return [name for name in names if _is_set(name)] if _is_set("all") else []


def _is_set(name: str) -> bool:
    try:
        return (SETTINGS / name / "accept_source_route").read_text(encoding="ascii").strip() != "0"
    except FileNotFoundError:
        return False
    except OSError:
        return True

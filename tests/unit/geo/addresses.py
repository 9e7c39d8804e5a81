"""Integers of addresses given as text."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address


def address_text(family: int, address: int) -> str:
    """Return the integer of one address."""
    return str(IPv4Address(address) if family == 4 else IPv6Address(address))

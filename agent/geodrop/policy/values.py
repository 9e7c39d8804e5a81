# SPDX-License-Identifier: Apache-2.0
"""Parse the text of single values. The functions are pure and raise UnreadableError.

The error's message completes a sentence: what is wrong with the text, and what to write.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network, IPv6Network
from socket import AF_INET, AF_INET6, inet_pton
from typing import TYPE_CHECKING

from geodrop.addresses import address_of
from geodrop.document.problems import shown
from geodrop.document.shape import UnreadableError
from geodrop.policy.model import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from geodrop.policy.model import Network

NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")

PREFIX = re.compile(r"([0-9A-Fa-f:.]+)(?:/(0|[1-9][0-9]{0,2}))?")
"""Stricter than `ipaddress`, which also accepts netmasks, zones (%eth0) and leading zeros."""

_NUMBER = re.compile(r"0|[1-9][0-9]{0,4}")
_DURATION = re.compile(r"([1-9][0-9]{0,4})([mhdw])")
_SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,2})?) ?%")
_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?) ?%")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

PROTOCOLS: Mapping[str, tuple[int, ...]] = {
    "icmp": (1, 58),
    "icmpv6": (58,),
    "igmp": (2,),
    "ipip": (4,),
    "tcp": (6,),
    "udp": (17,),
    "dccp": (33,),
    "gre": (47,),
    "esp": (50,),
    "ah": (51,),
    "ospf": (89,),
    "pim": (103,),
    "vrrp": (112,),
    "l2tp": (115,),
    "sctp": (132,),
    "udplite": (136,),
}
"""IANA's protocol numbers under their usual names; any other can be given by number."""

_FIRST_START = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_START = datetime(2262, 1, 1, tzinfo=UTC)


def parse_name(text: str) -> str:
    """Return the name of a service, group or list."""
    if NAME.fullmatch(text):
        return text
    better = re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-")
    write = better if NAME.fullmatch(better) else "one such as web-2"
    raise UnreadableError(f"{shown(text)} is no name (1 to 32 of a-z, 0-9, - and _, a letter first); write {write}")


def parse_prefix(text: str) -> Network:
    """Return a prefix; an address gives its /32 or /128. Fast, because list files have hundreds of thousands."""
    match = PREFIX.fullmatch(text)
    if not match:
        hint = "; ranges (a-b) can stand in list files only" if re.match(r"[0-9A-Fa-f:.]+\s*-", text) else ""
        raise UnreadableError(f"{shown(text)} is not a prefix or an address{hint}; write one such as 198.51.100.0/24")
    address, length = match.groups()
    try:
        # inet_pton takes a tenth of the time that ipaddress needs for the text.
        if ":" in address:
            return IPv6Network((int.from_bytes(inet_pton(AF_INET6, address)), int(length or 128)))
        return IPv4Network((int.from_bytes(inet_pton(AF_INET, address)), int(length or 32)))
    except (OSError, ValueError):
        raise UnreadableError(_not_prefix(text, address)) from None


def _not_prefix(text: str, address: str) -> str:
    try:
        address_of(address)
        network = IPv6Network(text, strict=False) if ":" in address else IPv4Network(text, strict=False)
    except ValueError as error:
        return f"{shown(text)} is not a prefix or an address ({error}); write one such as 198.51.100.0/24"
    return f"{text} has bits set after its prefix length; write {network}, or {address} for that address alone"


def parse_ports(text: str) -> tuple[int, int]:
    """Return first and last port of a range such as 8000-8099, or of a single port."""
    first, dash, last = text.partition("-")
    if not _NUMBER.fullmatch(first) or (dash and not _NUMBER.fullmatch(last)):
        raise UnreadableError(f"{shown(text)} is not a port; write a number such as 443, or a range such as 8000-8099")
    low, high = int(first), int(last or first)
    if max(low, high) > 65_535:
        raise UnreadableError(f"{text}: ports end at 65535; write a smaller number")
    if low > high:
        raise UnreadableError(f"{text} runs backwards; write {high}-{low}")
    return low, high


def merged(ranges: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Return inclusive ranges sorted, with overlapping and adjacent ranges joined."""
    result: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if result and low <= result[-1][1] + 1:
            result[-1] = (result[-1][0], max(high, result[-1][1]))
        else:
            result.append((low, high))
    return tuple(result)


def parse_protocol(text: str) -> tuple[int, ...]:
    """Return the IP protocol numbers of a name (icmp has two) or number."""
    if text in PROTOCOLS:
        return PROTOCOLS[text]
    if _NUMBER.fullmatch(text) and int(text) <= 255:
        return (int(text),)
    lower = text.lower()
    if lower in PROTOCOLS:
        raise UnreadableError(f"{shown(text)}: names of protocols are lowercase; write {lower}")
    raise UnreadableError(
        f"{shown(text)} is not a protocol; write a number from 0 to 255, or one of {', '.join(PROTOCOLS)}"
    )


def parse_verdict(text: str) -> Verdict:
    """Return the verdict of "allow" or "deny"."""
    if text in VERDICTS:
        return VERDICTS[text]
    meant = {"accept": "allow", "pass": "allow", "permit": "allow", "drop": "deny", "block": "deny", "reject": "deny"}
    hint = meant.get(text.lower(), text.lower() if text.lower() in VERDICTS else "allow or deny")
    raise UnreadableError(f"{shown(text)} is not a verdict; write {hint}")


VERDICTS: Mapping[str, Verdict] = {"allow": Verdict.ACCEPT, "deny": Verdict.DROP}


def parse_start(text: str) -> datetime:
    """Return a moment in UTC, from RFC 3339 or any ISO 8601 that `datetime` reads, but never without a zone."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UnreadableError(f"{shown(text)} is not a time; write one such as 2024-07-09T00:00:00Z") from None
    if moment.tzinfo is None:
        written = moment.isoformat(timespec="seconds")
        raise UnreadableError(f"{shown(text)} has no time zone; write {written}Z, or the offset, such as +02:00")
    # The kernel's clock counts nanoseconds since 1970 in 64 bits.
    if not _FIRST_START <= moment < _LAST_START:
        raise UnreadableError(f"{shown(text)} lies before 1970 or after 2261; write the year in full")
    return moment.astimezone(UTC)


def parse_duration(text: str) -> timedelta:
    """Return the duration of a number with a unit: m, h, d or w."""
    match = _DURATION.fullmatch(text)
    if not match:
        raise UnreadableError(f"{shown(text)} is not a duration; write a number and m, h, d or w, such as 45d")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def parse_percent(text: str) -> float:
    """Return a share between 0% and 100%, as 0.0 to 1.0."""
    match = _PERCENT.fullmatch(text)
    if not match or float(match[1]) > 100:
        raise UnreadableError(f"{shown(text)} is not a share; write one from 0% to 100%, such as 5%")
    return float(match[1]) / 100


def parse_share(text: str) -> int:
    """Return a share above 0% and up to 100%, in hundredths of a percent."""
    match = _SHARE.fullmatch(text)
    share = round(float(match[1]) * 100) if match else 0
    if not 0 < share <= 10_000:
        raise UnreadableError(
            f"{shown(text)} is not a share; write one from 0.01% to 100%, such as 10%; for none: mode: monitor"
        )
    return share


def parse_limit(text: str) -> float | None:
    """Return a share as `parse_percent` does; None for `none`."""
    return None if text == "none" else parse_percent(text)


def parse_file(text: str) -> str:
    """Return the name of a list file, which must be relative and inside the policy's folder."""
    if text.startswith("/"):
        raise UnreadableError(
            f"{shown(text)} is absolute; list files lie in the policy's folder: write a relative name"
        )
    if not text.isprintable() or not 0 < len(text.encode()) <= 1_024:
        raise UnreadableError(f"{shown(text)} is not the name of a file; write one such as lists/scanners.txt")
    parts = text.split("/")
    if ".." in parts:
        raise UnreadableError(f"{shown(text)} leads out of the policy's folder; move the file into it")
    if any(part in ("", ".") for part in parts):
        plain = "/".join(part for part in parts if part not in ("", ".")) or "lists/scanners.txt"
        raise UnreadableError(f"{shown(text)} has empty parts; write {plain}")
    return text

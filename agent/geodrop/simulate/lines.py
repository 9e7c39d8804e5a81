# SPDX-License-Identifier: Apache-2.0
"""Find the source address and the hour in one line of a log, whatever its form. `cut` reads the common ones.

Forms: nginx and Apache (common and combined, also with the name of the virtual host in front), JSON objects, and lists
of addresses. What stands first and is an address is the source; otherwise the second word.
"""

from __future__ import annotations

import json
import re
import time
from ipaddress import IPv6Address
from typing import NamedTuple

from geodrop.errors import DataError
from geodrop.ruleset.question import parse

ADDRESS_FIELDS = (
    *("remote_addr", "client_ip", "clientip", "remote_ip", "client_addr", "remote_host", "ClientIP", "ClientHost"),
    *(
        "c-ip",
        "src_ip",
        "source_ip",
        "request.remote_ip",
        "request.client_ip",
        "source.ip",
        "client.ip",
        "ip",
        "client",
    ),
    *("host", "remote_address"),
)
"""Names under which servers log the source of a request; the first that has an address counts."""

TIME_FIELDS = (
    *("time", "timestamp", "@timestamp", "time_iso8601", "time_local", "ts", "datetime", "date", "msec"),
    *("EdgeStartTimestamp", "StartUTC"),
)

MAX_HOURS = 100_000
"""Hours that are told apart: more than eleven years. Requests of any further one count without an hour."""

MONTHS = {name: number for number, name in enumerate(b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), 1)}

_STAMP = re.compile(rb"(?P<day>\d\d)/(?P<month>[A-Z][a-z][a-z])/(?P<year>\d{4}):(?P<hour>[01]\d|2[0-3])")
_IN_BRACKETS = re.compile(rb"\[" + _STAMP.pattern + rb":")
_ISO = re.compile(rb"(?P<year>\d{4})-(?P<month>0[1-9]|1[0-2])-(?P<day>0[1-9]|[12]\d|3[01])[T ](?P<hour>[01]\d|2[0-3])")
_MILLISECONDS = 1e11
"""Numbers from here on count milliseconds: as seconds they would be in the year 5138."""


class Request(NamedTuple):
    """A request of a log: the packed source address, IPv4 or IPv6, and the number of its hour (see Hours)."""

    source: bytes
    hour: int


class Hours:
    """The hours of a log, as the log writes them, each with a number; 0 stands for none."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._names = [""]

    def __getitem__(self, number: int) -> str:
        """Return an hour as 2024-07-09T13, "" for 0."""
        return self._names[number]

    def number(self, name: str | None) -> int:
        """Return the number of an hour that is written as 2024-07-09T13."""
        if name is None:
            return 0
        found = self._numbers.get(name)
        if found is None:
            if len(self._names) > MAX_HOURS:
                return 0
            found = self._numbers[name] = len(self._names)
            self._names.append(name)
        return found

    def of_stamp(self, stamp: bytes) -> int:
        """Return the number of an hour that is written as 09/Jul/2024:13."""
        found = _STAMP.fullmatch(stamp)
        return self.number(_from_stamp(found) if found else None)


class LineReader:
    """Reads lines one by one. `field` is the name of the address in JSON objects, with dots for objects in objects."""

    def __init__(self, hours: Hours, field: str | None = None) -> None:
        self._hours = hours
        self.field = field

    def read(self, line: bytes) -> Request | None:
        """Return the request of a line; None if there is none to be found."""
        text = line.strip()
        if text.startswith(b"{"):
            return self._of_object(text)
        words = text.split(None, 2)[:2]
        if not words or words[0].endswith(b",") or line[:1].isspace():
            return None
        for word in words:
            if source := packed(word):
                return Request(source, self._hours.number(_hour(text)))
        return None

    def _of_object(self, text: bytes) -> Request | None:
        try:
            found = json.loads(text.decode(errors="replace"))
        except (ValueError, RecursionError):
            return None
        for name in [self.field] if self.field else ADDRESS_FIELDS:
            value = _inside(found, name)
            if isinstance(value, str) and (source := packed(value.encode(errors="replace"))):
                # Lines of one log have one form. Another name would count proxies or servers as clients.
                self.field = name
                return Request(source, self._hours.number(_hour_of(found)))
        return None


def is_blank(line: bytes) -> bool:
    """Tell whether a line says nothing: it is empty or a comment."""
    text = line.strip()
    return not text or text.startswith(b"#")


def packed(text: bytes) -> bytes | None:
    """Return an address as bytes, 4 or 16; None if `text` is none. A port behind it is left out.

    A server that listens on both families writes an IPv4 client as ::ffff:192.0.2.1; its packets are IPv4.
    """
    try:
        asked = parse(text.decode("ascii"))
    except (DataError, UnicodeDecodeError):
        return None
    if not asked.single or b"/" in text:
        return None
    address = asked.network.network_address
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return address.packed


def _hour(text: bytes) -> str | None:
    """Return the hour of a line of text; what stands first counts."""
    if found := _IN_BRACKETS.search(text):
        return _from_stamp(found)
    found = _ISO.search(text)
    return _from_iso(found) if found else None


def _hour_of(found: object) -> str | None:
    """Return the hour of an object; of a number, which counts seconds or milliseconds since the epoch, in UTC."""
    for name in TIME_FIELDS:
        value = _inside(found, name)
        if isinstance(value, str):
            text = value.encode(errors="replace")
            matched = _ISO.match(text)
            if matched or (matched := _STAMP.match(text)):
                return _from_iso(matched) if matched.re is _ISO else _from_stamp(matched)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < _MILLISECONDS * 100:
            moment = time.gmtime(value / 1000 if value >= _MILLISECONDS else value)
            return time.strftime("%Y-%m-%dT%H", moment)
    return None


def _from_stamp(found: re.Match[bytes]) -> str | None:
    month = MONTHS.get(found["month"])
    if month is None or not 1 <= int(found["day"]) <= 31:
        return None
    return f"{found['year'].decode()}-{month:02}-{found['day'].decode()}T{found['hour'].decode()}"


def _from_iso(found: re.Match[bytes]) -> str:
    return f"{found['year'].decode()}-{found['month'].decode()}-{found['day'].decode()}T{found['hour'].decode()}"


def _inside(found: object, name: str) -> object:
    """Return a field; a name with dots is looked up whole first, then object by object."""
    if isinstance(found, dict):
        if name in found:
            return found[name]
        outer, dot, inner = name.partition(".")
        if dot:
            return _inside(found.get(outer), inner)
    return None

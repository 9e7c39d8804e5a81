# SPDX-License-Identifier: Apache-2.0
"""Explain why an address is accepted or dropped, from a ruleset alone: no database, no kernel, no numpy."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Any

from geodrop import utc
from geodrop.ruleset.correcting import correction_at, correction_json, corrections_about
from geodrop.ruleset.covering import covering
from geodrop.ruleset.model import Embedding
from geodrop.ruleset.question import Question
from geodrop.ruleset.ramp import bucket, dropped_from, share_at

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from geodrop.errors import DataError
    from geodrop.ruleset.model import CompiledCorrection, CompiledTest, Reason, Row, Ruleset, ServiceSpec
    from geodrop.ruleset.question import Piece
    from geodrop.ruleset.region_question import RegionQuestion

Address = IPv4Address | IPv6Address
SCHEMA = 2
SAME_BUCKET_IPV4, SAME_BUCKET_IPV6 = 24, 56
"""Lengths of the prefixes whose addresses fall into one bucket of a ramp."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer for one address and service.

    `would_drop` is the result of the ladder; `verdict` is what happens at the time asked for, in the service's
    effective `mode`. Before `starts` a service drops nothing. `place` is the file and line of the policy that decide.
    `zone` is the zone of the address as written; if `embedded` is set, that IPv4 address was judged instead. In a
    service with a ramp, `bucket` is that of the address, and `share` how many of them are dropped at that time (both
    are None without one); `dropped_from` is when the address is dropped, None if it is now, or never.

    `counted_as` is the name under which packets from there are counted: a region, `list:NAME` or a prefix. `drawn` says
    why the address is in the list that decides, if that list is drawn from databases. `correction` is what gives the
    address its country in place of the databases.
    """

    address: str
    service: str
    zone: int
    region: str | None
    rung: str
    line: str
    place: str | None
    would_drop: bool
    verdict: str
    mode: str
    starts: str | None = None
    embedded: str | None = None
    bucket: int | None = None
    share: int | None = None
    dropped_from: str | None = None
    counted_as: str | None = None
    drawn: tuple[Reason, ...] = ()
    correction: CompiledCorrection | None = None

    def of_many(self) -> Explanation:
        """Return the explanation for addresses of many networks, which fall into different buckets of a ramp.

        Some of them are dropped, and the share says how many.
        """
        if self.share is None:
            return self
        some = self.would_drop and self.mode == "enforce" and self.share > 0
        return replace(self, verdict="drop" if some else "accept", bucket=None, dropped_from=None)

    def as_json(self, ruleset: Ruleset, asked: Question | RegionQuestion, piece: Piece) -> dict[str, Any]:
        """Return one object of `explain --json`, with the question and how many of its addresses are judged alike.

        A ruleset knows nothing of what has happened on a host: `exempted` is filled in by the report there.
        """
        tests: Iterable[CompiledTest] = ()
        region: dict[str, Any] = {}
        if isinstance(asked, Question):
            if ruleset.meta.tests:
                tests = covering(ruleset.meta.tests).about(self.service, asked.network)
        else:
            region = {
                "subject": asked.subject,
                "ipv4_share": round(piece.ipv4_share, 6),
                "ipv6_48s": piece.ipv6_48s,
                "not_counted": asked.not_counted,
                "corrections": [correction_json(ruleset.meta, one) for one in corrections_about(ruleset.meta, asked)],
            }
        return {
            "schema": SCHEMA,
            "asked": asked.text,
            "address": self.address,
            "addresses": piece.count,
            "about": asked.kind,
            "service": self.service,
            "verdict": self.verdict,
            "would_drop": self.would_drop,
            "rung": self.rung,
            "line": self.line,
            "place": self.place,
            "zone": self.zone,
            "region": self.region,
            "mode": self.mode,
            "starts": self.starts,
            "embedded": self.embedded,
            "exempted": None,
            "bucket": self.bucket,
            "share": self.share,
            "dropped_from": self.dropped_from,
            "tests": [
                {
                    "expect": test.aim,
                    "prefix": test.prefix,
                    "region": test.region,
                    "place": f"{ruleset.meta.policy_name}:{test.at}",
                }
                for test in tests
            ],
            "counted_as": self.counted_as,
            "drawn": [asdict(reason) for reason in self.drawn],
            "correction": None if self.correction is None else correction_json(ruleset.meta, self.correction),
            **region,
        }


def not_answered(text: str, failure: DataError) -> dict[str, Any]:
    """Return the object of `explain --json` for a text that is neither an address nor a prefix."""
    return {
        "schema": SCHEMA,
        "asked": text,
        "address": text,
        "error": failure.message,
        "next_step": failure.next_step,
    }


def effective_mode(service: ServiceSpec, now: float, *, paused: bool = False) -> str:
    """Return "monitor" if paused, before `starts` or a ramp's first step (seconds since the epoch), or with
    `mode: monitor`; else "enforce".
    """
    return "monitor" if paused or _waits(service, now) or not share_at(service.ramp, now) else service.mode


def explain(ruleset: Ruleset, address: Address, now: float, *, paused: bool = False) -> Iterator[Explanation]:
    """Yield one explanation for each service, in the policy's order. `now` is in seconds since the epoch."""
    zone = ruleset.zone_at(address)
    for number, service in enumerate(ruleset.meta.services):
        judged, embedded = zone, None
        row = ruleset.row(zone, number)
        if row.verdict == "embedded":
            held = Embedding(ruleset.meta.zones[zone].embedding or "")
            embedded = IPv4Address(held.extract(int(address)))
            judged = ruleset.zone_at(embedded)
            row = ruleset.row(judged, number, embedded=True)
        mode = effective_mode(service, now, paused=paused)
        would_drop = row.verdict == "drop"
        hashed = bucket(service.name, address) if service.ramp else 0
        from_ = dropped_from(service.ramp, hashed) if would_drop and service.mode == "enforce" else None
        share = share_at(service.ramp, now)
        yield Explanation(
            address=str(address),
            service=service.name,
            zone=zone,
            region=_region(ruleset, judged, embedded=embedded is not None),
            rung=row.rung,
            line=row.line,
            place=f"{ruleset.meta.policy_name}:{row.at}" if row.at else None,
            would_drop=would_drop,
            verdict="drop" if would_drop and mode == "enforce" and hashed < share else "accept",
            mode=mode,
            starts=_starts(service, now),
            embedded=None if embedded is None else str(embedded),
            bucket=hashed if service.ramp else None,
            share=share if service.ramp else None,
            dropped_from=utc.moment(from_) if service.ramp and from_ and from_ > now else None,
            counted_as=ruleset.meta.label(row.klass),
            drawn=_drawn(ruleset, row, embedded or address),
            correction=correction_at(ruleset.meta, embedded or address),
        )


def explain_piece(
    ruleset: Ruleset, asked: Question | RegionQuestion, piece: Piece, now: float
) -> Iterator[Explanation]:
    """Yield for each service the explanation of addresses of a question that are judged alike."""
    for explanation in explain(ruleset, piece.address, now):
        yield explanation.of_many() if in_many_buckets(asked, explanation) else explanation


def in_many_buckets(asked: Question | RegionQuestion, explanation: Explanation) -> bool:
    """Return whether the addresses of a question may fall into different buckets of a ramp: see ruleset.ramp."""
    if not isinstance(asked, Question):
        return True
    length = asked.network.prefixlen
    if explanation.embedded:
        return not asked.single
    return length < (SAME_BUCKET_IPV4 if asked.network.version == 4 else SAME_BUCKET_IPV6)


def _drawn(ruleset: Ruleset, row: Row, address: Address) -> tuple[Reason, ...]:
    """Return why an address is in the list that decides about it; empty unless the list is drawn from databases."""
    if not row.by_drawn_list:
        return ()
    label = ruleset.meta.label(row.klass)
    return tuple(reason for reason in ruleset.drawn_at(address) if f"list:{reason.list}" == label)


def _waits(service: ServiceSpec, now: float) -> bool:
    return service.starts is not None and now < service.starts


def _starts(service: ServiceSpec, now: float) -> str | None:
    """Return when the service begins to drop; None if it has begun, or if `mode: monitor` means that it never does."""
    if service.starts is None or not _waits(service, now) or service.mode == "monitor":
        return None
    return utc.moment(service.starts)


def _region(ruleset: Ruleset, zone: int, *, embedded: bool) -> str | None:
    described = ruleset.meta.zones[zone]
    # A special IPv4 address embedded in an IPv6 address belongs to no region: it counts as unknown.
    return "unknown" if embedded and described.special else described.region

# SPDX-License-Identifier: Apache-2.0
"""Say for a person that a load waits to be confirmed, from the object `confirm` that --json shows. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def back_to(waits: Mapping[str, Any]) -> str:
    """Return what the kernel goes back to, from that object."""
    return str(waits["previous"]) if waits["previous"] else "nothing in force, so that every packet passes,"


def lines(waits: Mapping[str, Any]) -> list[str]:
    """Return what a person has to know right after such a load, from that object."""
    at, span = waits["deadline"], spelled(waits["seconds_left"])
    return [
        f"not confirmed: the kernel goes back to {back_to(waits)} at {at}, in {span}, even if nobody is left",
        f"  keep: geodrop confirm {waits['digest'][:12]}    undo now: geodrop rollback",
    ]


def spelled(seconds: int) -> str:
    """Return a time in words, such as 2 min 10 s."""
    hours, rest = divmod(seconds, 3_600)
    minutes, rest = divmod(rest, 60)
    parts = [f"{number} {unit}" for number, unit in ((hours, "h"), (minutes, "min"), (rest, "s")) if number]
    return " ".join(parts) or "0 s"

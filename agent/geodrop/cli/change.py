# SPDX-License-Identifier: Apache-2.0
"""Change what is in force: by the daemon if one runs, else in this process; then say what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from geodrop import messages
from geodrop.control.client import ask
from geodrop.text import shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from geodrop.config import Config
    from geodrop.operations.outcome import Outcome


def change(verb: str, arguments: dict[str, Any], config_path: str | None, here: Callable[[Config], Outcome]) -> int:
    """Ask the daemon for `verb`, or do it `here`, under the lock; print what happened and return 0.

    `here` imports what it needs by itself: a command that asks the daemon should not wait for it. Raises what the
    daemon or `here` raises.
    """
    answer = ask(verb, arguments)
    if answer:
        text, warnings = answer["text"], answer["warnings"]
    else:
        from geodrop.cli.glass import config_or_assumed  # noqa: PLC0415 - see above
        from geodrop.operations.regions import warnings_of_regions  # noqa: PLC0415
        from geodrop.state.lock import exclusive  # noqa: PLC0415

        config = config_or_assumed(config_path)
        with exclusive():
            done = here(config)
            text, warnings = done.text, (*done.warnings, *warnings_of_regions(config))
    messages.say(shown(text))
    for warning in warnings:
        messages.warning(warning)
    return 0

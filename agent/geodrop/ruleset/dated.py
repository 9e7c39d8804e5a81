# SPDX-License-Identifier: Apache-2.0
"""A ruleset that says when it was compiled, so that an older one cannot pass for a newer one once both are signed.

A compile gives the same bytes at any time. Only a ruleset that is about to be signed gets a date, and with it another
digest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from geodrop.ruleset import container

if TYPE_CHECKING:
    from geodrop.ruleset.container import Container

KEY = "compiled"
"""The key of the moment in the JSON part; see ruleset.meta.Meta."""


def dated(file: Container, moment: int, before: Container | None = None) -> bytes:
    """Return the bytes of a whole ruleset file that was compiled at `moment`, in seconds since the epoch.

    If `before` differs from it in the moment alone, and is not of a later one, that moment stays: so the same inputs,
    signed again, give the same file, and no host has anything to do.
    """
    meta = _meta(file)
    meta.pop(KEY, None)
    if before is not None and before.table == file.table and (earlier := _meta(before)).pop(KEY, None) is not None:
        moment = min(moment, cast("int", _meta(before)[KEY])) if earlier == meta else moment
    return container.pack(meta | {KEY: moment}, file.sections)


def _meta(file: Container) -> dict[str, object]:
    """Return a copy of the JSON part of a file whose form has been checked."""
    return dict(cast("dict[str, object]", file.meta))

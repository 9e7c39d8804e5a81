# SPDX-License-Identifier: Apache-2.0
"""Hold a reload back if a limit of plan.limits holds it, unless a user has accepted exactly these bytes."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from geodrop.dataplane.both import BothEngines
from geodrop.errors import DataError, FormatError, HeldError, UnavailableError
from geodrop.linux.connections import read_connections
from geodrop.operations.in_force import RulesetInForce, read_in_force
from geodrop.plan.limits import held_by, held_error, unknown
from geodrop.plan.operators import SshPeer, logged_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from geodrop.config import Config
    from geodrop.plan.limits import HeldLimit
    from geodrop.ruleset.difference import RulesetDiff
    from geodrop.ruleset.model import Ruleset
    from geodrop.state.entry import ChangeRequest


class Asker(NamedTuple):
    """Who asked for a reload: `accept` is the beginning of the digest that the user accepts, "" for none; `ssh` is the
    SSH connection of the command, as SSH_CONNECTION says it. `known` is the number of the last decision that this
    user can know of (see operations.decisions); `Reload.ask` fills it in. `watches`: the task that watches files has
    asked, and that waits while a decision stands.
    """

    request: ChangeRequest
    accept: str = ""
    ssh: str = ""
    known: int = -1
    watches: bool = False

    def accepts(self, digest: str) -> bool:
        """Return whether this user has accepted exactly this ruleset."""
        return bool(self.accept) and digest.startswith(self.accept)


def look(config: Config) -> tuple[RulesetInForce, str]:
    """Return what is in force, and why it cannot be compared with; "" if it can.

    A ruleset of a format that is not read does not hold a reload, or each upgrade and downgrade would wait for a person
    on every host.
    """
    try:
        return read_in_force(config), ""
    except DataError as failure:
        observed = BothEngines.here().observe()
        reason = "" if isinstance(failure, FormatError) else failure.message
        return RulesetInForce(observed.generation, digest=observed.digest), reason


def refuse_held(
    new: Ruleset, change: RulesetDiff | None, found: RulesetInForce, reason: str, askers: Sequence[Asker]
) -> None:
    """Raise HeldError if a limit holds the change from what was `found` in force, or if another one was accepted.

    `reason` says why nothing can be compared, `change` is what differs. A user who accepts a digest gets that ruleset
    or none.
    """
    if any(one.accepts(new.digest) for one in askers) or new.digest == found.digest:
        return
    held: list[HeldLimit] = []
    if reason:
        held = unknown(reason)
    elif found.ruleset is not None and change is not None:
        held = held_by(found.ruleset, new, change, _operators(askers))
    if not held and all(one.accept for one in askers):
        raise not_accepted(askers[0].accept, new.digest)
    if held:
        raise held_error(held, new.digest, found.generation)


def not_accepted(accepted: str, digest: str) -> HeldError:
    """Return the failure for a user who has accepted another ruleset than this one."""
    return HeldError(
        f"{accepted[:12]} was accepted, and policy and databases now make {digest[:12]}; nothing was changed",
        "geodrop plan",
    )


def _operators(askers: Iterable[Asker]) -> list[SshPeer]:
    """Return the SSH connections of those who asked; if one of them names none, of all who are logged in."""
    known = [SshPeer.of(one.ssh) for one in askers]
    found = [one for one in known if one]
    if None in known:
        # A kernel without socket diagnostics cannot tell; `plan` says so.
        with suppress(UnavailableError):
            found += logged_in(read_connections)
    return found

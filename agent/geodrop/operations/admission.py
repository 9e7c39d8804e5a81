# SPDX-License-Identifier: Apache-2.0
"""Decide which rulesets may come in force on a host that demands signatures: `keys` in agent.yaml.

Bytes enter by a load or a reload. Then their signature is checked, and their compile time, and the digest is accepted
(state.accepted), all before the kernel is changed. Whatever else puts a ruleset in force takes only what was accepted
before: a rollback, an undo, a boot, a repair, the start of a daemon. What the kernel holds may stay, since only a
privileged process can have put it there.

What was in force when the host began to demand signatures counts as accepted: demanding them must not end enforcement.
"""

from __future__ import annotations

import functools
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from geodrop import utc
from geodrop.errors import DataError, GeodropError
from geodrop.ruleset.container import digest_of
from geodrop.ruleset.first_boot import build_closed
from geodrop.state.accepted import Acceptance, AcceptedRulesets

if TYPE_CHECKING:
    from collections.abc import Iterable

    from geodrop.config import Config
    from geodrop.engine.api import Observed
    from geodrop.ruleset.model import Ruleset
    from geodrop.signature.trusted import TrustedKeys
    from geodrop.signature.verify import Signer
    from geodrop.state.intent import Intent
    from geodrop.state.store import Store

AHEAD = 3_600
"""Seconds by which the clock of the host that compiles may be ahead of ours."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A ruleset whose signature was checked: its digest, who signed it, when it was compiled (as for Meta)."""

    digest: str
    signer: Signer
    compiled: int


def trusted_keys(config: Config) -> TrustedKeys | None:
    """Return the keys of agent.yaml; None if it names none, so that rulesets need no signature. Raises ConfigError."""
    if config.keys is None:
        return None
    from geodrop.signature.trusted import TrustedKeys  # noqa: PLC0415 - a boot has nothing to verify

    return TrustedKeys.read(config.keys, config.revoked_keys)


def check_file(path: str, ruleset: Ruleset, config: Config, store: Store) -> Signed | None:
    """Check the signature beside a ruleset's file, over the bytes that were read from the file, and the compile time.

    Returns None if this host demands no signatures. Raises DataError if the ruleset may not enter, ConfigError if the
    keys cannot be used, UnavailableError if ssh-keygen is missing.
    """
    trusted = trusted_keys(config)
    if trusted is None:
        return None
    from geodrop.signature.verify import read_signature, verify  # noqa: PLC0415 - as above

    if ruleset.file is None:
        raise _unsigned(ruleset.digest, config)
    signer = verify(ruleset.file, path, read_signature(path), trusted)
    compiled = ruleset.meta.compiled
    if compiled is None:
        raise DataError(
            f"{path}: does not say when it was compiled, so an old one could pass for a new one",
            "compile and sign it in one step: geodrop compile --sign KEY",
        )
    if compiled > time.time() + AHEAD:
        raise DataError(
            f"{path}: compiled at {utc.moment(compiled)}, which is to come",
            "see which clock is wrong, here or where it was compiled: timedatectl",
        )
    signed = Signed(ruleset.digest, signer, compiled)
    with suppress(FileNotFoundError):
        _refuse_replay(signed, _read(store), {store.intent().digest})
    return signed


def refusal(path: str | None, ruleset: Ruleset, config: Config, store: Store) -> GeodropError | None:
    """Return why a load of a ruleset would be refused, from its file or from none; None if it would not. For a plan."""
    try:
        if path is not None:
            check_file(path, ruleset, config, store)
        elif config.keys is not None:
            return _unsigned(ruleset.digest, config)
    except GeodropError as failure:
        return failure
    return None


def accept(config: Config, store: Store, observed: Observed, ruleset: Ruleset, signed: Signed | None) -> None:
    """Write down that a ruleset may be in force from now on, before the kernel is changed. The caller holds the lock.

    If this host demands no signatures, what it accepted is forgotten: once it demands them again, what is in force then
    counts as accepted. Raises DataError for a ruleset without a checked signature, or an old one; PrivilegeError or
    ApplyError if that cannot be written.
    """
    if config.keys is None:
        store.accepted.forget()
        return
    if signed is None or signed.digest != ruleset.digest:
        raise _unsigned(ruleset.digest, config)
    found = known(store, observed)
    _refuse_replay(signed, found, _held(observed))
    signer, before = signed.signer, found.rulesets.get(ruleset.digest)
    made = Acceptance(round(time.time()), signer.principal, signer.key, signed.compiled)
    if before is not None and replace(before, time=made.time) == made and not store.accepted.problems():
        return  # Loading it again waits for no disk.
    kept = {digest: one for digest, one in found.rulesets.items() if store.ruleset_path(digest).exists()}
    store.accepted.write(AcceptedRulesets(max(found.newest, signed.compiled), kept | {ruleset.digest: made}))


def require(config: Config, store: Store, observed: Observed, *rulesets: Ruleset | None) -> None:
    """Raise DataError unless each ruleset is in the kernel already or was accepted, if this host demands signatures."""
    if config.keys is None:
        return
    # Always asked, so that a host that begins to demand signatures writes down at once what is in force.
    accepted = {*known(store, observed).rulesets, *_held(observed), _closed()}
    for digest in {one.digest for one in rulesets if one} - accepted:
        raise _unsigned(digest, config)


def is_accepted(config: Config, store: Store, observed: Observed, digest: str) -> bool:
    """Tell whether a ruleset that this host keeps may come in force."""
    return config.keys is None or digest in {*_held(observed), _closed(), *known(store, observed).rulesets}


def accepted_as(store: Store, digest: str) -> Acceptance | None:
    """Return how a ruleset was accepted; None if it was not, or the host does not know. Changes nothing."""
    with suppress(FileNotFoundError):
        return _read(store).rulesets.get(digest)
    return None


def admitted_by(store: Store, digest: str) -> tuple[str | None, Acceptance | None]:
    """Return what let a ruleset in on a host that demands signatures, and the acceptance if it was a signature.

    That is `signature`, `before` (it was in force when the host began to demand them) or `first_boot`; None if only the
    kernel holds the ruleset. Changes nothing.
    """
    if digest == _closed():
        return "first_boot", None
    try:
        found = _read(store).rulesets.get(digest)
    except FileNotFoundError:
        return "before", None  # the next change writes that down
    if found is None:
        return None, None
    return ("signature", found) if found.key else ("before", None)


def known(store: Store, observed: Observed) -> AcceptedRulesets:
    """Return what this host has accepted, by the file; by the history if that is damaged.

    Without a file it begins to demand signatures now: what is in force, and the last good ruleset, count as accepted.
    """
    with suppress(FileNotFoundError):
        return _read(store)
    now = round(time.time())
    adopted = AcceptedRulesets(0, {digest: Acceptance(now) for digest in _asked_for(store.intent()) | _held(observed)})
    # If it cannot be written now, the next change adopts what is in force then, which is the same.
    with suppress(GeodropError):
        store.accepted.write(adopted)
    return adopted


def _read(store: Store) -> AcceptedRulesets:
    """Return what was accepted. Raises FileNotFoundError if the host only begins to demand signatures."""
    try:
        found = store.accepted.read()
    except DataError:
        found = _recovered(store)
    if found is None:
        raise FileNotFoundError
    return found


def _recovered(store: Store) -> AcceptedRulesets | None:
    """Return what the history says of signatures; None if it knows of none.

    What was asked for last was accepted when it was, also without a signature: a boot must still find it.
    """
    found = {
        one.digest: Acceptance(round(one.time), one.signed_by, one.signed_key, one.compiled)
        for one in store.history
        if one.signed_key and one.put_in_force
    }
    if not found:
        return None
    unsigned = {digest: Acceptance(round(time.time())) for digest in _asked_for(store.intent())}
    return AcceptedRulesets(max(one.compiled for one in found.values()), unsigned | found)


def _asked_for(intent: Intent) -> set[str]:
    before = intent.confirm.digest if intent.confirm else ""
    return {intent.digest, intent.last_good, before} - {""}


def _held(observed: Observed) -> set[str]:
    """Return the digests that the kernel holds, in force or to go back to."""
    window = observed.window
    found = {observed.digest, *((window.digest, window.previous_digest) if window else ())}
    return found - {""}


@functools.cache
def _closed() -> str:
    """The digest of what `first_boot: closed` means, which comes with geodrop."""
    return digest_of(build_closed())


def _refuse_replay(signed: Signed, accepted: AcceptedRulesets, in_force: Iterable[str]) -> None:
    if signed.compiled >= accepted.newest or signed.digest in in_force:
        return
    raise DataError(
        f"ruleset {signed.digest[:12]} was compiled at {utc.moment(signed.compiled)}, and this host has accepted one "
        f"of {utc.moment(accepted.newest)}: it is an old one again",
        "for one that was in force here: geodrop rollback; or remove the file where it was compiled, and make it again "
        "with: geodrop compile --sign KEY",
    )


def _unsigned(digest: str, config: Config) -> DataError:
    return DataError(
        f"ruleset {digest[:12]} was never accepted on this host, which demands signatures ({config.keys})",
        "load a ruleset that is signed: geodrop compile --sign KEY, then geodrop reload",
    )

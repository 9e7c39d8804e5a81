# SPDX-License-Identifier: Apache-2.0
"""Whether the keys that agent.yaml trusts can be read by the daemon's user, and whether one can trust a ruleset now."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from geodrop.doctor.finding import MISSING, OK, Finding
from geodrop.errors import GeodropError
from geodrop.signature.signers import lines_of
from geodrop.signature.ssh_keygen import program
from geodrop.signature.trusted import TrustedKeys
from geodrop.state.service_user import service_user

if TYPE_CHECKING:
    from collections.abc import Iterator

    from geodrop.config import Config

COST = "no new ruleset is accepted; what is in force stays"


def findings(config: Config) -> Iterator[Finding]:
    """Yield what is found of `keys` and `revoked_keys`; nothing if this host demands no signatures."""
    if config.keys is None:
        return
    try:
        program()
        with service_user(config.state).acting():
            trusted = TrustedKeys.read(config.keys, config.revoked_keys)
    except GeodropError as error:
        yield Finding("keys", MISSING, error.message, COST, error.next_step)
        return
    lines = list(lines_of(trusted.allowed, time.time()))
    usable = [one for one in lines if not one.useless]
    if usable:
        names = ", ".join(dict.fromkeys(one.principals for one in usable))
        yield Finding("keys", OK, f"{config.keys} trusts {names}")
    else:
        said = "; ".join(f"line {one.number} {one.useless}" for one in lines) or "it is empty"
        step = 'write a line: PRINCIPAL namespaces="ruleset@geodrop" KEY'
        yield Finding("keys", MISSING, f"{config.keys} holds no key that can trust a ruleset now: {said}", COST, step)

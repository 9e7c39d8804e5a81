# SPDX-License-Identifier: Apache-2.0
"""Cases about territories and groups of the atlas, whose codes differ from database to database."""

from __future__ import annotations

from tests.conformance.case import (
    ACCEPT,
    CN,
    DROP,
    KYIV,
    NOBODY,
    RU,
    RU_CR,
    SEVASTOPOL,
    UA,
    UA_43,
    US,
    Case,
    both,
    one,
    service,
)

TERRITORIES = [
    Case(
        "Crimea excluded and Kyiv allowed, whichever country a database counts Crimea to",
        "services:\n" + service("default: deny; unknown: deny; allow: [UA, RU]; deny: ['territory:crimea']"),
        [
            *both(UA_43, DROP),
            *both(SEVASTOPOL, DROP),
            *both(RU_CR, DROP),
            *both(KYIV, ACCEPT),
            *both(UA, ACCEPT),
            *both(RU, ACCEPT),
            *both(CN, DROP),
            *one("2002:32b:405::1", DROP),
            *one("2002:31e:405::1", ACCEPT),
        ],
    ),
    Case(
        "a territory let through inside a denied country, and a group of the atlas inside a group",
        "groups: {ours: ['atlas:five-eyes', 'territory:sevastopol']}\nservices:\n"
        + service("default: deny; unknown: deny; allow: ['group:ours']; deny: [UA]"),
        [
            *both(SEVASTOPOL, ACCEPT),
            *both(UA_43, DROP),
            *both(KYIV, DROP),
            *both(US, ACCEPT),
            *both(RU, DROP),
            *both(NOBODY, DROP),
        ],
    ),
]

# SPDX-License-Identifier: Apache-2.0
"""The policies of the fleet tests, all from one that is shipped."""

from __future__ import annotations

import re

from tests.system.edge import JAPAN_DENIED, POLICY

__all__ = ["BAD", "JAPAN_DENIED", "LETHAL", "POLICY"]

BAD = POLICY + "nonsense: true\n"
"""Refused by the compiler."""

LETHAL = re.sub(
    r"never_drop:.*?(?=^\w)",
    "never_drop: {}\n",
    re.sub(r"    match:\n.*\n", "", POLICY.replace("deny: [CN,", "deny: [198.18.0.254, CN,")),
    flags=re.DOTALL | re.MULTILINE,
)
"""Takes every packet, and drops those of the controller: nobody who rolls it out can take it back."""
assert "never_drop: {}" in LETHAL
assert "match:" not in LETHAL

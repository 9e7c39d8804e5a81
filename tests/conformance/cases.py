# SPDX-License-Identifier: Apache-2.0
"""The conformance suite as data: a policy, packets, and the verdict for each. No engine is named here.

Every verdict is written by hand from design.md. The oracle has to agree with it, and so has every engine; the counters
must hold the oracle's sum over the same packets.
"""

from tests.conformance.address_cases import EMBEDDED, RUNGS
from tests.conformance.drawn_cases import DRAWN
from tests.conformance.packet_cases import CONNECTIONS, FRAGMENTS, HEADERS, SECOND_RUNG
from tests.conformance.service_cases import MODES, REJECT, SCOPE
from tests.conformance.territory_cases import TERRITORIES
from tests.conformance.unreadable_cases import PORTS, PROTOCOLS
from tests.conformance.walked_cases import AUTHENTICATED, LENGTHS, TAGS

CASES = [
    *RUNGS,
    *EMBEDDED,
    *DRAWN,
    *TERRITORIES,
    *SCOPE,
    *MODES,
    *CONNECTIONS,
    *FRAGMENTS,
    *HEADERS,
    *SECOND_RUNG,
    *PROTOCOLS,
    *PORTS,
    *AUTHENTICATED,
    *LENGTHS,
    *TAGS,
    *REJECT,
]

# SPDX-License-Identifier: Apache-2.0
"""Find the tests of the policy (`expect`) that are about an address or a prefix, or about a part of it."""

from __future__ import annotations

from ipaddress import ip_network
from operator import attrgetter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from geodrop.policy.model import Network
    from geodrop.ruleset.model import CompiledTest


class Covering:
    """The tests of a ruleset: for each service and family by length, and then by the bits of their prefixes."""

    def __init__(self, tests: tuple[CompiledTest, ...]) -> None:
        self._of: dict[tuple[str, int], dict[int, dict[int, list[CompiledTest]]]] = {}
        for test in tests:
            network = ip_network(test.prefix)
            by_length = self._of.setdefault((test.service, network.version), {})
            key = int(network.network_address) >> network.max_prefixlen - network.prefixlen
            by_length.setdefault(network.prefixlen, {}).setdefault(key, []).append(test)

    def about(self, service: str, asked: Network) -> list[CompiledTest]:
        """Return a service's tests of prefixes that hold the network or lie inside it, in the order of the file."""
        found: list[CompiledTest] = []
        by_length = self._of.get((service, asked.version))
        if by_length is None:
            return found
        bits = int(asked.network_address) >> asked.max_prefixlen - asked.prefixlen
        for length, tests in by_length.items():
            longer = length - asked.prefixlen
            if longer <= 0:
                found += tests.get(bits >> -longer, ())
            else:
                found += (test for key, those in tests.items() if key >> longer == bits for test in those)
        return sorted(found, key=attrgetter("at"))


_latest: list[tuple[tuple[CompiledTest, ...], Covering]] = []
"""What `covering` returned last, with the tests it is of: one ruleset is asked about many addresses."""


def covering(tests: tuple[CompiledTest, ...]) -> Covering:
    """Return the tests in a form in which those about an address are found."""
    found = _latest[0] if _latest else None
    # By identity: comparing or hashing thousands of tests for each address would take longer than the answer.
    if found is None or found[0] is not tests:
        found = tests, Covering(tests)
        _latest[:] = [found]
    return found[1]

"""Find the tests of the policy (`expect`) that are about an address or a prefix, or about a part of it."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from geodrop.policy.model import Network
    from geodrop.ruleset.model import CompiledTest


class Covering:
    """The tests of a ruleset by service, family, and the length and first address of their prefixes."""

    def __init__(self, tests: tuple[CompiledTest, ...]) -> None:
        self._tests: dict[tuple[str, int, int, int], list[CompiledTest]] = {}
        for test in tests:
            network = ip_network(test.prefix)
            key = test.service, network.version, network.prefixlen, int(network.network_address)
            self._tests.setdefault(key, []).append(test)
        self._lengths = sorted({length for _, _, length, _ in self._tests})

    def about(self, service: str, asked: Network) -> list[CompiledTest]:
        """Return a service's tests of prefixes that hold the network or lie inside it, in the order of the file."""
        version, bits, first = asked.version, asked.max_prefixlen, int(asked.network_address)
        found: list[CompiledTest] = []
        for length in self._lengths:
            if length > asked.prefixlen:
                break
            found += self._tests.get((service, version, length, first >> bits - length << bits - length), ())
        if asked.prefixlen < bits:
            shift = bits - asked.prefixlen
            for (name, family, length, start), tests in self._tests.items():
                if (
                    name == service
                    and family == version
                    and length > asked.prefixlen
                    and start >> shift == first >> shift
                ):
                    found += tests
        return sorted(found, key=lambda test: test.at)


@lru_cache(4)
def covering(tests: tuple[CompiledTest, ...]) -> Covering:
    """Return the tests in a form in which those about an address are found; the last few are kept."""
    return Covering(tests)

# SPDX-License-Identifier: Apache-2.0
"""Which routes count as default routes, and the questions that a Network answers."""

import subprocess
import sys
from socket import AF_INET, AF_INET6

import pytest

from geodrop.linux.network import Link, Network, Route, is_default

MPLS = 28


@pytest.mark.parametrize(
    ("family", "length", "expected"),
    [
        (AF_INET, 0, True),
        (AF_INET, 1, True),
        (AF_INET, 2, False),
        (AF_INET6, 0, True),
        (AF_INET6, 1, True),
        (AF_INET6, 3, True),
        (AF_INET6, 7, False),
        (MPLS, 0, False),
    ],
)
def test_is_default(family: int, length: int, expected: bool) -> None:  # noqa: FBT001
    """Halves of the address space count, and 2000::/3; unique local addresses (fc00::/7) do not."""
    assert is_default(family, length) is expected


def test_network() -> None:
    """Tables by interface, each once; names by interface index."""
    network = Network(
        (Link(2, "eth0", altnames=("wan",)),),
        (Route(AF_INET, 254, (2, 3)), Route(AF_INET6, 254, (2,)), Route(2, 9, (2,))),
    )
    assert network.tables(2) == [9, 254]
    assert network.tables(4) == []
    assert (network.name_of(2), network.name_of(0)) == ("eth0", "")
    assert network.links[0].names == ("eth0", "wan")


def test_values_come_without_pyroute2() -> None:
    """The module imports without pyroute2; only reading the kernel imports it."""
    code = "import sys, geodrop.engine.interfaces, geodrop.dataplane.coverage; print('pyroute2' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "False\n"

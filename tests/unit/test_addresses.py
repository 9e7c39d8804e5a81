# SPDX-License-Identifier: Apache-2.0
from ipaddress import ip_address, ip_network

import pytest

from geodrop.addresses import address_of, network_of


def test_what_packets_have() -> None:
    """Addresses and networks are read as `ipaddress` reads them."""
    assert address_of("2400::1") == ip_address("2400::1")
    assert network_of("1.2.3.0/24") == ip_network("1.2.3.0/24")
    assert network_of("1.2.3.4/24", strict=False) == ip_network("1.2.3.0/24")
    with pytest.raises(ValueError, match="Expected 4 octets"):
        address_of("x")
    with pytest.raises(ValueError, match="host bits set"):
        network_of("1.2.3.4/24")


@pytest.mark.parametrize("zone", ["eth0", "", "\0", "\x1b[2J", "z" * 100])
def test_no_zone(zone: str) -> None:
    """No packet has one."""
    for parse in (address_of, network_of):
        with pytest.raises(ValueError, match=r"zone|does not appear"):
            parse(f"fe80::1%{zone}")

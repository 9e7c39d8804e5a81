# SPDX-License-Identifier: Apache-2.0
"""What an operator would script instead of geodrop: drop packets from all countries but the named ones.

    python tests/bench/stock.py DATABASE COUNTRY...

maxminddb's C reader goes through the database, ipaddress joins the networks, and one `nft -f` puts two named interval
sets in force, replacing those of the previous run. It has neither rungs nor counters by region, checks nothing and
reads nothing back. It is a separate program, timed from its start to its end as geodrop's commands are.
"""

from __future__ import annotations

import ipaddress
import subprocess
import sys
from typing import TYPE_CHECKING

import maxminddb

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

TABLE = """
table inet stock {{ }}
delete table inet stock
table inet stock {{
  set denied4 {{ type ipv4_addr; flags interval; elements = {{ {} }}; }}
  set denied6 {{ type ipv6_addr; flags interval; elements = {{ {} }}; }}
  chain prerouting {{
    type filter hook prerouting priority -450; policy accept;
    tcp dport 22 accept
    meta l4proto {{ tcp, udp }} th dport 443 ip saddr @denied4 counter drop
    meta l4proto {{ tcp, udp }} th dport 443 ip6 saddr @denied6 counter drop
  }}
}}
"""


def main(database: str, countries: Collection[str]) -> None:
    """Load the rules from the file; a source without a country passes."""
    ipv4: list[ipaddress.IPv4Network] = []
    ipv6: list[ipaddress.IPv6Network] = []
    with maxminddb.open_database(database, maxminddb.MODE_MMAP_EXT) as reader:
        for network, record in reader:
            if not isinstance(record, dict) or record.get("country_code", "") in countries:
                continue
            if isinstance(network, ipaddress.IPv4Network):
                ipv4.append(network)
            else:
                ipv6.append(network)
    text = TABLE.format(_elements(ipaddress.collapse_addresses(ipv4)), _elements(ipaddress.collapse_addresses(ipv6)))
    subprocess.run(["nft", "-f", "-"], check=True, input=text.encode())


def _elements(networks: Iterable[object]) -> str:
    return ", ".join(map(str, networks))


if __name__ == "__main__":
    main(sys.argv[1], {"", *sys.argv[2:]})

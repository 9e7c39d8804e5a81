# SPDX-License-Identifier: Apache-2.0
"""Rung 2 as numbers: traffic without which a network does not work. It is accepted before any region is judged."""

from __future__ import annotations

TCP = 6
UDP = 17
ICMP = 1
ICMPV6 = 58

ICMP_ERRORS = (3, 11, 12)
"""Destination unreachable, time exceeded, parameter problem (RFC 792). Redirect and source quench are left out, since
hosts should ignore them (RFC 6633; RFC 1812, 5.2.7.2).
"""

ICMPV6_ERRORS = (1, 4)
"""Inclusive range: destination unreachable, packet too big, time exceeded, parameter problem (RFC 4443)."""

NEIGHBOUR_DISCOVERY = (133, 137)
"""Inclusive range: solicitations and advertisements of routers and neighbours, redirect (RFC 4861)."""

LINK_LOCAL_HOP_LIMIT = 255
"""The hop limit of received neighbour discovery; with a lower one it crossed a router and is forged (RFC 4861, 7.1)."""

DHCP_PORTS = {4: ((68, 67), (67, 68)), 6: ((546, 547), (547, 546))}
"""Source and destination ports, from client to server and back, by family (RFC 2131, RFC 8415)."""

/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What needs no lookup: rung 2 of the ladder, and the TCP packets that `established: keep` accepts. */
#ifndef GEODROP_RUNGS_H
#define GEODROP_RUNGS_H

#include "parse.h"

#define BIT(number) (1ULL << ((number) & 63))

/* RFC 792: destination unreachable, time exceeded, parameter problem. */
#define ICMP_ERRORS (BIT(3) | BIT(11) | BIT(12))
/* RFC 4443: destination unreachable, packet too big, time exceeded, parameter problem. */
#define ICMPV6_ERRORS (BIT(1) | BIT(2) | BIT(3) | BIT(4))
/* RFC 4861: router solicitation to redirect, accepted only from the link, which a hop limit of 255 proves. */
#define NEIGHBOUR_DISCOVERY_FIRST 133
#define NEIGHBOUR_DISCOVERY_LAST 137
#define LINK_HOP_LIMIT 255

static __always_inline int ports_are(const struct packet *packet, __u16 one, __u16 other)
{
	return (packet->source_port == one && packet->dest_port == other) ||
	       (packet->source_port == other && packet->dest_port == one);
}

static __always_inline int second_rung(const struct packet *packet)
{
	__u8 type = packet->source_port >> 8;

	if (packet->protocol == IPPROTO_UDP)
		return packet->shown & SHOWN_PORTS &&
		       (packet->ipv6 ? ports_are(packet, 546, 547) : ports_are(packet, 67, 68));
	if (!(packet->shown & SHOWN_TYPE))
		return 0;
	if (packet->protocol == IPPROTO_ICMP && !packet->ipv6)
		return type < 64 && ICMP_ERRORS & BIT(type);
	if (packet->protocol == IPPROTO_ICMPV6 && packet->ipv6)
		return (type < 64 && ICMPV6_ERRORS & BIT(type)) ||
		       (type >= NEIGHBOUR_DISCOVERY_FIRST && type <= NEIGHBOUR_DISCOVERY_LAST &&
			packet->hop_limit == LINK_HOP_LIMIT);
	return 0;
}

/* TCP whose flags cannot be read does not count as established, so tiny fragments do not slip through. */
static __always_inline int is_established(const struct packet *packet)
{
	return packet->protocol == IPPROTO_TCP && packet->shown & SHOWN_FLAGS &&
	       (packet->flags & (TCP_SYN | TCP_ACK)) != TCP_SYN;
}

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Select the services that take a packet. */
#ifndef GEODROP_SELECT_H
#define GEODROP_SELECT_H

#include "parse.h"

static __always_inline __u32 number_of(struct policy *policy, const struct packet *packet)
{
	if (packet->shown & SHOWN_PORTS && packet->protocol == IPPROTO_TCP)
		return policy->by_tcp_port[packet->dest_port];
	if (packet->shown & SHOWN_PORTS && packet->protocol == IPPROTO_UDP)
		return policy->by_udp_port[packet->dest_port];
	if (packet->protocol == PROTOCOL_UNREADABLE)
		return policy->by_unreadable[UNREADABLE_PROTOCOL];
	if (packet->protocol == IPPROTO_TCP && !packet->later_fragment)
		return policy->by_unreadable[UNREADABLE_TCP];
	if (packet->protocol == IPPROTO_UDP && !packet->later_fragment)
		return policy->by_unreadable[UNREADABLE_UDP];
	return policy->by_protocol[packet->protocol & 0xff];
}

/* Behind an authentication header, also select the services that take authentication headers. */
static __always_inline struct selection select(struct policy *policy, const struct packet *packet)
{
	struct selection chosen = policy->selection[number_of(policy, packet)];
	if (packet->authenticated) {
		chosen.services |= policy->selection[policy->by_protocol[IPPROTO_AH]].services;
		chosen.flags |= SELECTION_LOCAL; /* the catch-alls depend on both */
	}
	return chosen;
}

static __always_inline int not_after(const struct local *local, __u64 high, __u64 low)
{
	return local->high < high || (local->high == high && local->low <= low);
}

/* Remove the services that do not serve the packet's destination, and add the catch-alls where they apply. */
static __always_inline __u32 narrow(struct policy *policy, const struct packet *packet, struct selection chosen)
{
	struct local *locals = packet->ipv6 ? policy->local_ipv6 : policy->local_ipv4;
	__u64 at = 0, unknown = packet->dest_high >> 32;

	for (__u64 step = MAX_LOCAL / 2; step; step >>= 1) {
		__u64 probe = at + step;
		BOUND(probe, MAX_LOCAL - 1);
		if (not_after(&locals[probe], packet->dest_high, packet->dest_low))
			at = probe;
		/* Otherwise the verifier follows each of the search's 256 ways to the end of the program. */
		FORGET(at, unknown);
	}
	BOUND(at, MAX_LOCAL - 1);
	__u32 services = chosen.services & locals[at].services;
	if (chosen.flags & SELECTION_EVERY)
		return services;
	services &= ~policy->catch_all;
	return services & policy->enforced ? services : services | policy->catch_all;
}

#endif

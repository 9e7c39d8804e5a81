/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Drops packets from regions that a service does not support, before anything else sees them.
 *
 * One control word says which of two generations judges; a packet reads it once. Services are selected before the
 * address is looked up, since most packets of a busy host belong to no service.
 */
#include "judge.h"

/*
 * Tell whether a frame is a test run of ours. Frames from the wire have no metadata; a driver without metadata sets
 * data_meta beyond data.
 */
static __always_inline int is_probe(struct xdp_md *ctx)
{
	__u32 *mark = (void *)(long)ctx->data_meta;
	return (void *)(mark + 1) <= (void *)(long)ctx->data && *mark == PROBE_MARK;
}

/* Read the control word once, and of a generation that is not confirmed, which one judges now. */
static __always_inline __u64 word_of(struct control *control)
{
	__u64 word = *(volatile __u64 *)&control->word;
	if (word & CONTROL_WINDOW) {
		struct window *window = &control->window[(word & CONTROL_WINDOW_SLOT) != 0];
		if (bpf_ktime_get_ns() >= window->deadline)
			word = window->previous;
	}
	return word;
}

/*
 * Judge a packet that several services take. `zones` holds its zone in the upper half, and in the lower one that of the
 * embedded address. First it asks all services, then it counts for those that deny the packet: the verifier follows what
 * exemptions and shares change once, not once for each verdict of the services before.
 */
FOLLOWED_ONCE int judge_for_several(struct packet *packet, __u32 policy_slot, __u64 zones, __u32 services, int never_drop)
{
	__u32 zero = 0;
	void *in_policies = LOOKUP(policies, policy_slot);
	if (!in_policies || !packet)
		return XDP_PASS;
	struct policy *policy = bpf_map_lookup_elem(in_policies, &zero);
	if (!policy)
		return XDP_PASS;

	struct rungs known = {second_rung(packet), is_established(packet)};
	__u32 rows[MAX_SERVICES];
	__u64 denied = 0, dropped = 0, unknown = policy->service[0].starts;
	for (__u32 number = 0; number < MAX_SERVICES; number++) {
		__u64 row = 0;
		if (services & 1 << number)
			row = denied_by(in_policies, policy, packet, zones >> 32, zones, number, never_drop, &known);
		FORGET(row, unknown);
		rows[number] = row;
		denied |= row;
	}
	if (!denied)
		return XDP_PASS;
	int exempt = is_exempt(packet);
	for (__u32 number = 0; number < MAX_SERVICES; number++)
		if (rows[number])
			dropped |= drop(policy, packet, number, rows[number], exempt);
	return dropped ? XDP_DROP : XDP_PASS;
}

SEC("xdp")
int geodrop(struct xdp_md *ctx)
{
	__u32 zero = 0;
	struct control *held = LOOKUP(control, zero);
	if (!held)
		return XDP_PASS;
	__u64 now = word_of(held);
	if (!(now & CONTROL_IN_FORCE))
		return XDP_PASS;
	__u32 tables_slot = (now & CONTROL_TABLES) != 0, policy_slot = (now & CONTROL_POLICY) != 0;
	void *in_policies = LOOKUP(policies, policy_slot);
	void *in_tables = LOOKUP(tables, tables_slot);
	if (!in_policies || !in_tables)
		return XDP_PASS;
	struct policy *policy = bpf_map_lookup_elem(in_policies, &zero);
	if (!policy)
		return XDP_PASS;

	struct packet packet;
	packet.counted = 1;
	enum parsed parsed = parse(ctx, &packet);
	if (parsed == PARSED_TOO_DEEP)
		return judge_too_deep(policy, &packet) ? XDP_DROP : XDP_PASS;
	if (parsed == PARSED_OTHER)
		return XDP_PASS;
	if (is_probe(ctx))
		packet.counted = packet.bytes = 0;
	struct selection chosen = select(policy, &packet);
	__u32 services = chosen.services;
	__u32 single = chosen.single;
	int never_drop = chosen.flags & SELECTION_NEVER_DROP;
	if (chosen.flags & SELECTION_LOCAL) {
		services = narrow(policy, &packet, chosen);
		single = NO_SERVICE;
	}
	if (!services)
		return XDP_PASS;
	__u32 zone = zone_of(in_tables, packet.ipv6, packet.source_high, packet.source_low);
	if (zone == NO_ZONE)
		return XDP_PASS;
	__u32 inside = zone;
	if (packet.ipv6 && row_of(in_policies, policy, zone, 0, 0) & ROW_HOLDS_IPV4) {
		inside = zone_of_ipv4(in_tables, embedded_key(&packet));
		if (inside == NO_ZONE)
			return XDP_PASS;
	}
	if (single != NO_SERVICE) {
		__u64 row = denied_by(in_policies, policy, &packet, zone, inside, single, never_drop, 0);
		return row && drop(policy, &packet, single, row, is_exempt(&packet)) ? XDP_DROP : XDP_PASS;
	}

#ifdef GEODROP_BCC
	forget(&packet, policy->service[0].starts); /* since what follows is inlined */
#endif
	return judge_for_several(&packet, policy_slot, (__u64)zone << 32 | inside, services, never_drop);
}

/*
 * Answers lookups in either tables map, by the code that judges packets. It is never attached: the loader test-runs it
 * before it publishes a generation, and `explain` asks it what the kernel says.
 */
SEC("xdp")
int geodrop_ask(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	struct questions *asked = data;
	if ((void *)(asked + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	__u32 slot = asked->tables & 1;
	asked->tables = LAYOUT_VERSION;
	void *in_tables = LOOKUP(tables, slot);
	if (!in_tables)
		return XDP_ABORTED;
	for (__u32 i = 0; i < MAX_QUESTIONS; i++) {
		if (i >= asked->count)
			break;
		struct question *question = &asked->question[i];
		question->zone = zone_of(in_tables, question->family == 6, question->high, question->low);
	}
	return XDP_PASS;
}

#ifndef GEODROP_BCC
char _license[] SEC("license") = "GPL and additional rights";
#endif

/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Baselines for the XDP program: drivers that give every run of a program another source address, programs that do
 * less, and LPM tries that hold the same prefixes.
 */
#include "lookup.h"
#include "parse.h"

#define ADDRESSES (1 << 16)
#define LOOKUPS 16 /* per run of a loop */

struct address {
	__u64 high; /* as keys of the tables */
	__u64 low;
};

/* As small as possible: reading the addresses in order evicts the tables from the cache. */
struct addresses {
	union {
		__u32 ipv4[ADDRESSES];
		struct address ipv6[ADDRESSES];
	};
};

struct progress {
	__u64 next;
	__u64 sum; /* of the results: no lookup can be optimised away, and sums can be compared */
};

struct prefix4 {
	__u32 length;
	__be32 address;
};

struct prefix6 {
	__u32 length;
	__be32 address[4];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct addresses);
} addresses SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct progress);
} progress SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} next SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4000000);
	__type(key, struct prefix4);
	__type(value, __u32);
} trie4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4000000);
	__type(key, struct prefix6);
	__type(value, __u32);
} trie6 SEC(".maps");

/* Write the next address in place; returns 0 if there is none. */
static __always_inline int following(int ipv6, struct address *address)
{
	__u32 zero = 0;
	struct progress *state = bpf_map_lookup_elem(&progress, &zero);
	struct addresses *all = bpf_map_lookup_elem(&addresses, &zero);
	if (!state || !all)
		return 0;
	__u64 at = state->next++;
	BOUND(at, ADDRESSES - 1);
	if (ipv6)
		*address = all->ipv6[at];
	else
		address->high = (__u64)all->ipv4[at] << 32;
	return 1;
}

static __always_inline __u32 trie4_of(__u64 high)
{
	struct prefix4 key = {32, __builtin_bswap32(high >> 32)};
	__u32 *value = bpf_map_lookup_elem(&trie4, &key);
	return value ? *value : 0;
}

static __always_inline __u32 trie6_of(__u64 high, __u64 low)
{
	struct prefix6 key = {128,
			      {__builtin_bswap32(high >> 32), __builtin_bswap32(high), __builtin_bswap32(low >> 32),
			       __builtin_bswap32(low)}};
	__u32 *value = bpf_map_lookup_elem(&trie6, &key);
	return value ? *value : 0;
}

#define LOOP(name, ipv6, lookup)                                             \
	SEC("xdp") int name(struct xdp_md *ctx)                              \
	{                                                                    \
		__u32 zero = 0;                                              \
		void *map = bpf_map_lookup_elem(&tables, &zero);             \
		struct progress *state = bpf_map_lookup_elem(&progress, &zero); \
		if (!map || !state)                                          \
			return XDP_ABORTED;                                  \
		for (int i = 0; i < LOOKUPS; i++) {                          \
			struct address address = {};                         \
			if (!following(ipv6, &address))                      \
				return XDP_ABORTED;                          \
			state->sum += lookup;                                \
		}                                                            \
		return XDP_PASS;                                             \
	}

LOOP(loop_nothing4, 0, (address.high >> 32 & 1))
LOOP(loop_nothing6, 1, (address.high & 1) ^ (address.low & 1))
LOOP(loop_tables4, 0, zone_of_ipv4(map, address.high))
LOOP(loop_tables6, 1, zone_of_ipv6(map, address.high, address.low))
LOOP(loop_trie4, 0, trie4_of(address.high))
LOOP(loop_trie6, 1, trie6_of(address.high, address.low))

/* The first bytes of a frame without options, extensions and tags. */
#define SOURCE4 (ETH_HLEN + 12)
#define SOURCE6 (ETH_HLEN + 8)

SEC("xdp") int drive4(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	struct address address = {};
	if (!following(0, &address) || data + SOURCE4 + 4 > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	*(__be32 *)(data + SOURCE4) = __builtin_bswap32(address.high >> 32);
	bpf_tail_call(ctx, &next, 0);
	return XDP_ABORTED;
}

SEC("xdp") int drive6(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	struct address address = {};
	if (!following(1, &address) || data + SOURCE6 + 16 > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	__be32 *source = data + SOURCE6;
	source[0] = __builtin_bswap32(address.high >> 32);
	source[1] = __builtin_bswap32(address.high);
	source[2] = __builtin_bswap32(address.low >> 32);
	source[3] = __builtin_bswap32(address.low);
	bpf_tail_call(ctx, &next, 0);
	return XDP_ABORTED;
}

SEC("xdp") int bare_drop(struct xdp_md *ctx)
{
	(void)ctx;
	return XDP_DROP;
}

SEC("xdp") int pass_all(struct xdp_md *ctx)
{
	(void)ctx;
	return XDP_PASS;
}

/* The cost of any program that reads addresses and ports. */
SEC("xdp") int parse_drop(struct xdp_md *ctx)
{
	struct packet packet;
	if (parse(ctx, &packet) != PARSED_PACKET)
		return XDP_PASS;
	__u64 seen = packet.source_high ^ packet.source_low ^ packet.dest_port ^ packet.protocol ^ packet.shown;
	OPAQUE(seen);
	return XDP_DROP;
}

/* The same filter with LPM tries, as in other programs. */
SEC("xdp") int trie_drop(struct xdp_md *ctx)
{
	struct packet packet;
	if (parse(ctx, &packet) != PARSED_PACKET || packet.dest_port != 443)
		return XDP_PASS;
	__u32 found = packet.ipv6 ? trie6_of(packet.source_high, packet.source_low) : trie4_of(packet.source_high);
	return found ? XDP_DROP : XDP_PASS;
}

char _license[] SEC("license") = "GPL and additional rights";

/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* From an address to its zone. */
#ifndef GEODROP_LOOKUP_H
#define GEODROP_LOOKUP_H

#include "maps.h"

#define NO_ZONE 0xffffffff

/* Entries that lead from one to the next, at most; the compiler of tables keeps to it. */
#define MAX_DEPTH 20

#define LANES 0x0001000100010001ULL

/*
 * How many of four keys are not greater than the one that stands four times in `wanted`, with bit 15 of each lane set:
 * a lane keeps that bit exactly where nothing had to be borrowed. No branch, so nothing for the verifier to follow
 * twice and nothing for the processor to guess.
 */
static __always_inline __u64 not_greater(__u64 wanted, const __u16 *keys)
{
	return (wanted - *(const __u64 *)keys) >> KEY_BITS & LANES;
}

/* One line: the value that a key leads to, and in `children` where the line's children begin. */
static __always_inline __u32 value_of(void *map, const struct entry *entry, __u64 key, __u32 *children)
{
	__u64 shift = entry->shift & 63;
	__u64 number = entry->line + (key >> shift & ((1ULL << (entry->bits & 15)) - 1));
	__u32 at = 1 + (number >> SEGMENT_LINE_BITS);
	struct segment *segment = bpf_map_lookup_elem(map, &at);
	if (!segment)
		return 0;
	BOUND(number, SEGMENT_LINES - 1);
	struct line *line = &segment->lines[number];

	/* The KEY_BITS below `shift`, or all `shift` of them if there are fewer. */
	__u64 spare = shift - KEY_BITS;
	spare &= ~((__s64)spare >> 63);
	__u64 wanted = (key & ((1ULL << shift) - 1)) >> (spare & 63);
	wanted = wanted * LANES | LANES << KEY_BITS;
	OPAQUE(wanted);
	__u64 lanes = not_greater(wanted, &line->keys[0]) + not_greater(wanted, &line->keys[4]) +
		      not_greater(wanted, &line->keys[8]);
	__u64 found = lanes * LANES >> 48;
	BOUND(found, LINE_VALUES - 1);
	*children = line->children;
	return line->values[found];
}

static __always_inline __u32 walk(void *map, struct index *index, struct entry *entry, __u64 high, __u64 low)
{
	__u32 children = 0;
	__u32 value = value_of(map, entry, high, &children);

	for (int depth = 1; depth < MAX_DEPTH; depth++) {
		if (!(value & CHILD))
			return value;
		__u64 child = children + (value & (CHILD - 1));
		BOUND(child, MAX_CHILDREN - 1);
		entry = &index->children[child];
		__u64 key = entry->lower ? low : high;
		FORGET(key, high); /* which half it is, or each level would double what is followed */
		value = value_of(map, entry, key, &children);
	}
	return value & CHILD ? NO_ZONE : value;
}

static __always_inline __u32 zone_of_ipv4(void *map, __u64 key)
{
	__u32 zero = 0;
	struct index *index = bpf_map_lookup_elem(map, &zero);
	if (!index)
		return NO_ZONE;
	__u64 top = key >> (64 - ROOT_BITS);
	BOUND(top, ROOT_ENTRIES - 1);
	return walk(map, index, &index->ipv4[top], key, key);
}

static __always_inline __u32 zone_of_ipv6(void *map, __u64 high, __u64 low)
{
	__u32 zero = 0;
	struct index *index = bpf_map_lookup_elem(map, &zero);
	if (!index)
		return NO_ZONE;
	__u64 top = high >> (64 - ROOT_BITS);
	BOUND(top, ROOT_ENTRIES - 1);
	return walk(map, index, &index->ipv6[top], high, low);
}

static __always_inline __u32 zone_of(void *map, int ipv6, __u64 high, __u64 low)
{
	return ipv6 ? zone_of_ipv6(map, high, low) : zone_of_ipv4(map, high);
}

#endif

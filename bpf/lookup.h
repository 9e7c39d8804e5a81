/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Find the zone of an address. */
#ifndef GEODROP_LOOKUP_H
#define GEODROP_LOOKUP_H

#include "maps.h"

#define NO_ZONE 0xffff

/* The largest number of entries in a row; the compiler of tables keeps to it. */
#define MAX_DEPTH 18

#define LANES 0x0001000100010001ULL

/*
 * Count how many of four keys are not greater than the one that stands four times in `wanted`, with bit 15 of each lane
 * set. A lane keeps that bit exactly if its subtraction did not borrow. There is no branch, so the verifier follows
 * nothing twice and the processor guesses nothing.
 */
static __always_inline __u64 not_greater(__u64 wanted, const __u16 *keys)
{
	return (wanted - *(const __u64 *)keys) >> KEY_BITS & LANES;
}

/* Return the segment that holds a line, and reduce the line's number to the one within that segment. */
static __always_inline struct segment *segment_of(void *map, __u64 *line)
{
	__u32 at = 1 + (*line >> SEGMENT_LINE_BITS);
	BOUND(*line, SEGMENT_LINES - 1);
	return bpf_map_lookup_elem(map, &at);
}

/*
 * Return the value that a key leads to in one of 2^bits lines. `shift` counts the address bits below those that choose
 * the line. `children` becomes the number of the line's first child.
 */
static __always_inline __u32 value_of(void *map, __u64 number, __u64 shift, __u64 bits, __u64 key, __u32 *children)
{
	shift &= 63;
	number += key >> shift & ((1ULL << bits) - 1);
	struct segment *segment = segment_of(map, &number);
	if (!segment) {
		*children = MAX_CHILDREN; /* no entry has this number, so the walk finds no zone */
		return CHILD;
	}
	struct line *line = &segment->lines[number];

	/* Take the KEY_BITS bits below `shift`; if there are fewer, take all of them. */
	__u64 spare = shift - KEY_BITS;
	OPAQUE(spare);
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

/* Walk from the root's word to the zone. */
static __always_inline __u32 walk(void *map, struct index *index, __u32 word, __u64 node_bits, __u64 high, __u64 low)
{
	if (!(word & MORE))
		return word;
	__u64 width = 64 - ROOT_BITS - node_bits;
	__u64 at = high >> width & ((1ULL << node_bits) - 1);
	__u64 number = (word & ((1 << WORD_LINE_BITS) - 1)) + at / NODE_WORDS;
	struct segment *segment = segment_of(map, &number);
	if (!segment)
		return NO_ZONE;
	word = segment->nodes[number].words[at % NODE_WORDS];
	if (!(word & MORE))
		return word;

	__u64 bits = word >> WORD_LINE_BITS & WORD_BITS;
	__u32 children = 0;
	__u32 value = value_of(map, word & ((1 << WORD_LINE_BITS) - 1), width - bits, bits, high, &children);
	for (int depth = 0; depth < MAX_DEPTH; depth++) {
		if (!(value & CHILD))
			return value;
		__u64 child = children + (value & (CHILD - 1));
		if (child >= MAX_CHILDREN)
			return NO_ZONE;
		struct entry *entry = &index->children[child];
		__u64 key = entry->lower ? low : high;
		FORGET(key, high); /* which half it is; otherwise each level doubles the verifier's ways */
		value = value_of(map, entry->line, entry->shift, entry->bits & WORD_BITS, key, &children);
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
	BOUND(top, ROOT_WORDS - 1);
	return walk(map, index, index->ipv4[top], NODE_BITS_IPV4, key, key);
}

static __always_inline __u32 zone_of_ipv6(void *map, __u64 high, __u64 low)
{
	__u32 zero = 0;
	struct index *index = bpf_map_lookup_elem(map, &zero);
	if (!index)
		return NO_ZONE;
	__u64 top = high >> (64 - ROOT_BITS);
	BOUND(top, ROOT_WORDS - 1);
	return walk(map, index, index->ipv6[top], NODE_BITS_IPV6, high, low);
}

static __always_inline __u32 zone_of(void *map, int ipv6, __u64 high, __u64 low)
{
	__u64 zone = ipv6 ? zone_of_ipv6(map, high, low) : zone_of_ipv4(map, high);
	/* Whichever way the zone was found, the verifier should see the same state from here on. */
	BOUND(zone, 0xffff);
	return zone;
}

#endif

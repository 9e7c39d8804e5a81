/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The maps, and how to read them. Only this file knows which loader builds the program. */
#ifndef GEODROP_MAPS_H
#define GEODROP_MAPS_H

#include "layout.h"

#ifndef GEODROP_BCC

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/*
 * Declarations to compile against. geodrop's loaders pass maps of their own (xdp/maps.py), whose inner maps and
 * counters are sized for the policy, so that lookups in them stay inlined.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 2);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} tables SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 2);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} policies SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct control);
} control SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct counter);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_EXEMPT);
	__type(key, struct exempt_key);
	__type(value, struct exempt);
} exempt SEC(".maps");

#define LOOKUP(map, key) bpf_map_lookup_elem(&map, &(key))

#else

/*
 * bcc's own declarations of maps are not used. For them bcc generates code that prints and scans every value's type,
 * which takes too long for 4 MB, and it rewrites accesses in the main file only. So bcc's child gets the descriptors of
 * maps that exist already, and bcc only compiles.
 */
#define SEC(name)
#define DESCRIPTOR(map) GEODROP_##map
#define LOOKUP(map, key) bpf_map_lookup_elem((void *)bpf_pseudo_fd(BPF_PSEUDO_MAP_FD, DESCRIPTOR(map)), &(key))

#endif

/* Limit a number by a mask, in a way that the verifier sees and the compiler cannot remove. */
#define BOUND(number, mask) asm volatile("%0 &= %1" : "+r"(number) : "i"(mask))

/* Hide from the compiler what it knows of a number, where that would make it branch. */
#define OPAQUE(number) asm volatile("" : "+r"(number))

/*
 * Make the verifier forget a number, so that it follows ways through the program only once that differ in nothing else.
 * `unknown` is any number of which the verifier knows nothing.
 */
#define FORGET(number, unknown) asm volatile("%0 ^= %1\n\t%0 ^= %1" : "+&r"(number) : "r"(unknown))

/*
 * A function that the verifier follows once, for any arguments, and not again from each of its callers (Linux 5.6;
 * arguments that point to memory, 5.12: Documentation/bpf, "global functions"). bcc knows none and inlines it.
 */
#ifdef GEODROP_BCC
#define FOLLOWED_ONCE static __always_inline
#else
#define FOLLOWED_ONCE __attribute__((noinline))
#endif

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The maps, and how to read them: the only place that knows which loader builds the program. */
#ifndef GEODROP_MAPS_H
#define GEODROP_MAPS_H

#include "layout.h"

#ifndef GEODROP_BCC

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/*
 * What the program is compiled against. geodrop's loaders hand it maps of their own (xdp/maps.py), whose inner
 * maps and counters are sized for the policy, so that lookups in them stay inlined.
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

#define LOOKUP(map, key) bpf_map_lookup_elem(&map, &(key))

#else

/*
 * bcc's own way of declaring maps would do no good: it generates code to print and scan every value's type, which for
 * 4 MB takes longer than anybody waits, and rewrites accesses in the main file only. So its child is told the
 * descriptors of maps that are there already, and bcc is left to be what it is good at: a compiler.
 */
#define SEC(name)
#define DESCRIPTOR(map) GEODROP_##map
#define LOOKUP(map, key) bpf_map_lookup_elem((void *)bpf_pseudo_fd(BPF_PSEUDO_MAP_FD, DESCRIPTOR(map)), &(key))

#endif

/* Cuts a number down to a mask in a way that the verifier sees and the compiler cannot take out again. */
#define BOUND(number, mask) asm volatile("%0 &= %1" : "+r"(number) : "i"(mask))

/* Keeps the compiler from knowing what it knows of a number, where that would make it branch. */
#define OPAQUE(number) asm volatile("" : "+r"(number))

/*
 * Has the verifier forget a number, so that ways through the program that differ in nothing else are followed once.
 * `unknown` is any number that it knows nothing of.
 */
#define FORGET(number, unknown) asm volatile("%0 ^= %1\n\t%0 ^= %1" : "+&r"(number) : "r"(unknown))

#endif

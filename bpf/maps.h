/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The maps, and how to read them: the only place that knows which loader builds the program. */
#ifndef GEODROP_MAPS_H
#define GEODROP_MAPS_H

#include "layout.h"

#ifndef GEODROP_BCC

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* The inner maps and the number of counters are sized by the loader, so that lookups in them stay inlined. */
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

/* bcc has its own way of declaring and reading maps, and sizes them when it builds the program. */
BPF_TABLE("array", __u32, struct index, tables_template, GEODROP_SEGMENTS);
BPF_TABLE("array", __u32, struct policy, policy_template, GEODROP_ELEMENTS);
BPF_ARRAY_OF_MAPS(tables, "tables_template", 2);
BPF_ARRAY_OF_MAPS(policies, "policy_template", 2);
BPF_F_TABLE("array", __u32, struct control, control, 1, BPF_F_MMAPABLE);
BPF_PERCPU_ARRAY(counters, struct counter, GEODROP_COUNTERS);

#define LOOKUP(map, key) map.lookup(&(key))

#endif

/* Cuts a number down to a mask in a way that the verifier sees and the compiler cannot take out again. */
#define BOUND(number, mask) asm volatile("%0 &= %1" : "+r"(number) : "i"(mask))

/* Keeps the compiler from knowing what it knows of a number, where that would make it branch. */
#define OPAQUE(number) asm volatile("" : "+r"(number))

#endif

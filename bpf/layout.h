/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Layouts that program and user space share, byte for byte. agent/geodrop/xdp/layout.py repeats them, and a test
 * compares the two through the BTF of the built object. Numbers are in host byte order.
 */
#ifndef GEODROP_LAYOUT_H
#define GEODROP_LAYOUT_H

#include <linux/types.h>

/* Raise it with every change of a layout or of what a map holds: pins of another version are never reused. */
#define LAYOUT_VERSION 7

#define MAX_SERVICES 16
#define NO_SERVICE 0xff

/*
 * Tables, in one form for both families (docs/decisions/0010-xdp-tables.md). An address is a 64-bit key: the upper half
 * of an IPv6 address, or an IPv4 address shifted left by 32. Its top 16 bits are the number of a word in the family's
 * root. A word is a zone. If MORE is set, it leads on instead:
 *
 *   in a root   to a node: lines with a word for each value of the key's next bits (4 for IPv4, 8 for IPv6)
 *   in a node   to 2^bits lines, chosen by the key's next bits
 *
 * In a line, the key's next 15 bits (or all that are left) are compared with all the line's keys at once. The number of
 * keys that are not greater indexes the line's values. A value is a zone; or, if CHILD is set, an entry, which leads to
 * lines again. The root alone, which stays in the cache, decides three quarters and more of the denied addresses.
 */
#define MORE 0x80000000
#define WORD_LINE_BITS 27 /* of a word with MORE: the number of the first line; above them stands `bits` */
#define WORD_BITS 15      /* a mask */
#define NODE_WORDS 16
#define NODE_BITS_IPV4 4
#define NODE_BITS_IPV6 8

struct entry {
	__u32 line;  /* the number of its first line */
	__u8 shift;  /* address bits below those that choose the line, 0-63 */
	__u8 bits;   /* the number of bits that choose the line, 0-15 */
	__u8 lower;  /* 1: from here on, the key is the lower half of the IPv6 address */
	__u8 unused;
};

#define LINE_KEYS 12
#define LINE_VALUES 16
#define KEY_BITS 15
#define KEY_NEVER 0x8000 /* in place of a key: greater than every key */
#define CHILD 0x8000     /* in a value: the other 15 bits count entries from the line's `children` */

struct line {
	__u16 keys[LINE_KEYS];     /* ascending; unused ones are KEY_NEVER */
	__u16 values[LINE_VALUES]; /* the first LINE_KEYS + 1 are used */
	__u32 children;
	__u32 unused;
};

struct node {
	__u32 words[NODE_WORDS];
};

/*
 * The tables map: element 0 is a struct index; the others hold lines, and nodes in place of lines. All elements are
 * 4 MB, since older kernels allow no larger ones (KMALLOC_MAX_SIZE).
 */
#define SEGMENT_BYTES (4 << 20)
#define ROOT_BITS 16
#define ROOT_WORDS (1 << ROOT_BITS)
#define SEGMENT_LINE_BITS 16
#define SEGMENT_LINES (1 << SEGMENT_LINE_BITS)
#define MAX_CHILDREN (7 << 16) /* what the roots leave free of an element */

struct index {
	__u32 ipv4[ROOT_WORDS];
	__u32 ipv6[ROOT_WORDS];
	struct entry children[MAX_CHILDREN];
};

struct segment {
	union {
		struct line lines[SEGMENT_LINES];
		struct node nodes[SEGMENT_LINES];
	};
};

/*
 * The policy map: element 0 is a struct policy, the others are rows. A row is read at
 * [(zone * 2 + embedded) << row_bits | service].
 */
#define POLICY_BYTES (256 << 10)
#define ELEMENT_ROW_BITS 16
#define ELEMENT_ROWS (1 << ELEMENT_ROW_BITS)

enum row_verdict {
	ROW_ACCEPT = 0,
	ROW_DROP = 1,
	ROW_EMBEDDED = 2, /* look up the embedded IPv4 address and take its embedded row */
	ROW_NEVER_DROP = 3,
};

#define ROW_VERDICT 3     /* a mask */
#define ROW_HOLDS_IPV4 4  /* the zone's addresses embed IPv4 ones; set in all rows of the zone */
#define ROW_PAIR_SHIFT 8  /* the counter pair stands above these bits */

struct rows {
	__u32 row[ELEMENT_ROWS];
};

enum service_flag {
	SERVICE_ENFORCE = 1,
	SERVICE_KEEP = 2, /* established: keep */
	SERVICE_RAMP = 4, /* only a share of the sources is dropped */
	SERVICE_RAMP_TIMED = 8, /* which share depends on the time */
};

/* A ramp: from this moment on, sources are dropped whose bucket is below the share. */
#define MAX_STEPS 8
#define BUCKETS 10000
#define STEP_NEVER (1ULL << 62)

struct step {
	__u64 moment; /* nanoseconds of CLOCK_TAI; 0: always */
	__u64 share;
};

struct service {
	__u64 starts; /* nanoseconds of CLOCK_TAI; 0: does not depend on the clock */
	__u32 flags;
	__u32 pair; /* the counters of accepted packets */
	__u32 exempted; /* the counter pair of packets from exempt sources */
	__u32 seed;     /* of the hash of a source, for a ramp */
	struct step step[MAX_STEPS]; /* unused ones are STEP_NEVER; ascending, in time and in share */
};

enum selection_flag {
	SELECTION_NEVER_DROP = 1,
	SELECTION_LOCAL = 2, /* some of the services take only certain local addresses */
	SELECTION_EVERY = 4, /* includes the catch-alls, whatever the other services do */
};

/* The services that take a protocol and port. */
struct selection {
	__u16 services; /* a bit each; with SELECTION_LOCAL but not _EVERY, the catch-alls must still be added */
	__u8 single;    /* the number of the only bit that is set, or NO_SERVICE */
	__u8 flags;
};

#define MAX_SELECTIONS 256
#define MAX_LOCAL 256

/* What cannot be read of a packet that is no later fragment: its protocol; or its ports, if the protocol has them. */
enum unreadable {
	UNREADABLE_PROTOCOL = 0,
	UNREADABLE_TCP = 1,
	UNREADABLE_UDP = 2,
};

/* The services that take packets sent to this local address, and to those before the next element's. */
struct local {
	__u64 high;
	__u64 low;
	__u64 services;
};

struct policy {
	__u8 digest[32];        /* of the ruleset */
	__u8 tables_digest[32]; /* of the bytes in the policy's tables map */
	__u64 generation;
	__u32 version; /* LAYOUT_VERSION */
	__u32 zones;
	__u32 services;
	__u32 row_bits;
	__u16 enforced;   /* services with a match and mode: enforce, a bit each */
	__u16 catch_all;
	__u32 tai_offset; /* seconds CLOCK_TAI was ahead of CLOCK_REALTIME when `starts` were written; else 0 */
	struct service service[MAX_SERVICES];
	struct selection selection[MAX_SELECTIONS];
	struct local local_ipv4[MAX_LOCAL]; /* ascending; unused elements repeat the last one */
	struct local local_ipv6[MAX_LOCAL];
	__u32 too_deep;        /* the counter pair of frames behind too many tags */
	__u8 by_unreadable[4]; /* selections, by enum unreadable */
	__u8 by_protocol[256]; /* selections for protocols without ports, and for later fragments */
	__u8 by_tcp_port[65536];
	__u8 by_udp_port[65536];
	__u8 unused[POLICY_BYTES - 64 - 32 - (24 + 16 * MAX_STEPS) * MAX_SERVICES - 4 * MAX_SELECTIONS - 48 * MAX_LOCAL - 8 - 256 - 2 * 65536];
};

/* The control word, which every packet reads once; 0: nothing is in force. */
#define CONTROL_TABLES 1ULL   /* which of the two tables maps */
#define CONTROL_POLICY 2ULL   /* which of the two policy maps */
#define CONTROL_IN_FORCE 4ULL
#define CONTROL_WINDOW 8ULL       /* not confirmed: the word holds until the deadline of its window */
#define CONTROL_WINDOW_SLOT 16ULL /* which of the two windows */
#define CONTROL_GENERATION_SHIFT 8

/*
 * What ends a generation that nobody confirms. A window is never changed while the word goes by it: another deadline is
 * written into the other one, and then one store of the word switches to both of its numbers.
 */
struct window {
	__u64 deadline; /* nanoseconds of CLOCK_MONOTONIC, which nobody can set */
	__u64 previous; /* the word from then on, without a window; 0: nothing is in force */
};

struct control {
	__u64 word;
	struct window window[2];
};

/* A counter pair has four counters: family * 2 + which. */
enum counter_which {
	COUNT_DROPPED = 0,
	COUNT_WOULD_DROP = 1,
	COUNT_ACCEPTED = 0, /* in a service's own pair */
	COUNT_NEVER_DROP = 1,
	COUNT_EXEMPTED = 0, /* in a service's pair for them */
};

struct counter {
	__u64 packets;
	__u64 bytes;
};

/*
 * Sources that pass for a limited time although a service denies them: prefixes, asked on the way to a drop. The family
 * belongs to the prefix, so `prefix` is at least 32. The address is in network byte order; an IPv4 address fills the
 * first four bytes of `high`.
 */
#define MAX_EXEMPT 2048

struct exempt_key {
	__u32 prefix; /* bits of what follows */
	__u32 family; /* 4 or 6 */
	__u64 high;
	__u64 low;
};

struct exempt {
	__u64 expires; /* nanoseconds of CLOCK_MONOTONIC */
	__u64 packets; /* that passed because of it */
	__u64 bytes;
};

/* Metadata before a frame that is a test run of ours: the frame is judged like any other, but not counted. */
#define PROBE_MARK 0x67656f64

/* One lookup of the asking program, answered in place. */
struct question {
	__u64 high;
	__u64 low;
	__u32 family; /* 4 or 6 */
	__u32 zone;   /* the answer */
};

#define MAX_QUESTIONS 16

struct questions {
	__u32 tables; /* the number of the tables map, 0 or 1; replaced by LAYOUT_VERSION, whatever the slot holds */
	__u32 count;
	struct question question[MAX_QUESTIONS];
};

_Static_assert(sizeof(struct entry) == 8, "entry");
_Static_assert(sizeof(struct line) == 64, "a line is a cache line");
_Static_assert(sizeof(struct node) == sizeof(struct line), "node");
_Static_assert(sizeof(struct index) == SEGMENT_BYTES, "index");
_Static_assert(sizeof(struct segment) == SEGMENT_BYTES, "segment");
_Static_assert(sizeof(struct service) == 24 + 16 * MAX_STEPS, "service");
_Static_assert(sizeof(struct selection) == 4, "selection");
_Static_assert(sizeof(struct local) == 24, "local");
_Static_assert(sizeof(struct policy) == POLICY_BYTES, "policy");
_Static_assert(sizeof(struct rows) == POLICY_BYTES, "rows");
_Static_assert(sizeof(struct window) == 16, "window");
_Static_assert(sizeof(struct control) == 40, "control");
_Static_assert(sizeof(struct counter) == 16, "counter");
_Static_assert(sizeof(struct exempt_key) == 24, "exempt_key");
_Static_assert(sizeof(struct exempt) == 24, "exempt");
_Static_assert(sizeof(struct question) == 24, "question");

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Turn a zone and a service into a verdict, and count it. */
#ifndef GEODROP_JUDGE_H
#define GEODROP_JUDGE_H

#include "lookup.h"
#include "rungs.h"
#include "select.h"

static __always_inline void count(__u32 pair, __u32 which, const struct packet *packet)
{
	__u32 key = pair * 4 + packet->ipv6 * 2 + which;
	struct counter *counter = LOOKUP(counters, key);
	if (counter) {
		counter->packets += packet->counted;
		counter->bytes += packet->bytes;
	}
}

/* Tell whether a service drops packets now. */
static __always_inline int enforces(const struct service *service)
{
	int enforced = service->flags & SERVICE_ENFORCE;
#ifndef GEODROP_NO_CLOCK
	/* Read the clock only if the policy has a start or was paused: it costs as much as a lookup. */
	if (service->starts && bpf_ktime_get_tai_ns() < service->starts)
		enforced = 0;
#endif
	return enforced;
}

/* Return the share of a ramp's sources that is dropped now, in buckets. Without branches, for the verifier. */
static __always_inline __u64 share_of(const struct service *service)
{
	__u64 now = 0, share = 0, unknown = service->step[0].moment;

#ifndef GEODROP_NO_CLOCK
	if (service->flags & SERVICE_RAMP_TIMED)
		now = bpf_ktime_get_tai_ns();
#endif
	FORGET(now, unknown);
	for (int i = 0; i < MAX_STEPS; i++) {
		/* All ones while the moment lies ahead. Moments and times are below 2^63. */
		__u64 ahead = -((now - service->step[i].moment) >> 63);
		share = (share & ahead) | (service->step[i].share & ~ahead);
	}
	return share;
}

#define ROTATED(word, bits) ((word) << (bits) | (word) >> (32 - (bits)))

/* The kernel's jhash (include/linux/jhash.h) of at most eight bytes: their first and their last four. */
static __always_inline __u32 hash_of(__u32 first, __u32 last, __u32 length, __u32 seed)
{
	__u32 c = 0xdeadbeef + length + seed, a = c + first, b = c + last;

	c = (c ^ b) - ROTATED(b, 14);
	a = (a ^ c) - ROTATED(c, 11);
	b = (b ^ a) - ROTATED(a, 25);
	c = (c ^ b) - ROTATED(b, 16);
	a = (a ^ c) - ROTATED(c, 4);
	b = (b ^ a) - ROTATED(a, 14);
	return (c ^ b) - ROTATED(b, 24);
}

/*
 * Return the bucket of a packet's source for a service: by its /24, its /56, or the first three bytes of an IPv4
 * address inside (6to4; NAT64, mapped and Teredo, in the last four bytes). Bytes as they are in the packet.
 */
static __always_inline __u64 bucket_of(const struct packet *packet, __u32 seed)
{
	__u64 high = __builtin_bswap64(packet->source_high), low = __builtin_bswap64(packet->source_low);
	__u64 first = high & 0xffffff, last = 0, length = 3;

	if (packet->ipv6) {
		__u64 upper = packet->source_high, middle = packet->source_low >> 32;
		if (upper >> 48 == 0x2002) {
			first = high >> 16 & 0xffffff;
		} else if (upper >> 32 == 0x20010000 || (upper == 0x0064ff9b00000000ULL && middle == 0) ||
			   (upper == 0 && middle == 0xffff)) {
			first = low >> 32 & 0xffffff;
		} else {
			first = (__u32)high;
			last = high >> 32 & 0xffffff;
			length = 7;
		}
	}
	/* From here on, the verifier need not tell apart how the bytes were chosen. */
	FORGET(last, high);
	FORGET(length, high);
	return (__u64)hash_of(first, last, length, seed) * BUCKETS >> 32;
}

static __always_inline __u32 row_of(void *map, struct policy *policy, __u32 zone, __u32 embedded, __u32 service)
{
	__u32 number = ((zone * 2 + embedded) << (policy->row_bits & 7)) | service;
	__u32 at = 1 + (number >> ELEMENT_ROW_BITS);
	struct rows *rows = bpf_map_lookup_elem(map, &at);
	if (!rows)
		return ROW_ACCEPT;
	__u64 in = number;
	BOUND(in, ELEMENT_ROWS - 1);
	return rows->row[in];
}

/* Return the key of the IPv4 address inside an IPv6 one, for zones that embed IPv4: RFC 3056, 4380, 6052, 4291. */
static __always_inline __u64 embedded_key(const struct packet *packet)
{
	if (packet->source_high >> 48 == 0x2002)
		return packet->source_high << 16 & 0xffffffff00000000ULL;
	__u64 low = packet->source_low << 32;
	return packet->source_high >> 32 == 0x20010000 ? low ^ 0xffffffff00000000ULL : low;
}

/* Tell whether a packet's source passes for a limited time although it is denied, and count it there. */
static __always_inline int is_exempt(const struct packet *packet)
{
	struct exempt_key key = {
		.prefix = 32 + 128,
		.family = packet->ipv6 ? 6 : 4,
		.high = __builtin_bswap64(packet->source_high),
		.low = packet->ipv6 ? __builtin_bswap64(packet->source_low) : 0,
	};
	struct exempt *source = LOOKUP(exempt, key);
	if (!source || bpf_ktime_get_ns() >= source->expires)
		return 0;
	__sync_fetch_and_add(&source->packets, packet->counted);
	__sync_fetch_and_add(&source->bytes, packet->bytes);
	return 1;
}

/* Answers that do not depend on the service. */
struct rungs {
	int second;
	int established;
};

/*
 * Return the row by which a service denies a packet; 0 if it lets the packet pass, which is counted. `inside` is the zone
 * of the embedded address. If several services are asked, the caller computes `known` once, so that the verifier does not
 * follow its branches for each service. With 0, the function computes what it needs.
 */
static __always_inline __u64 denied_by(void *map, struct policy *policy, const struct packet *packet, __u32 zone,
				       __u32 inside, __u32 number, int never_drop, const struct rungs *known)
{
	struct service *service = &policy->service[number & (MAX_SERVICES - 1)];
	__u32 row = row_of(map, policy, zone, 0, number);

	if (never_drop || (row & ROW_VERDICT) == ROW_NEVER_DROP) {
		count(service->pair, COUNT_NEVER_DROP, packet);
		return 0;
	}
	if ((row & ROW_VERDICT) == ROW_EMBEDDED)
		row = row_of(map, policy, inside, 1, number);
	if ((row & ROW_VERDICT) != ROW_DROP || (known ? known->second : second_rung(packet)) ||
	    (service->flags & SERVICE_KEEP && (known ? known->established : is_established(packet)))) {
		count(service->pair, COUNT_ACCEPTED, packet);
		return 0;
	}
	return row;
}

/* Count a packet that a service denies; return whether it is dropped. */
static __always_inline __u64 drop(struct policy *policy, const struct packet *packet, __u32 number, __u64 row, int exempt)
{
	struct service *service = &policy->service[number & (MAX_SERVICES - 1)];

	if (exempt) {
		count(service->exempted, COUNT_EXEMPTED, packet);
		return 0;
	}
	__u64 enforced = enforces(service);
	if (service->flags & SERVICE_RAMP)
		enforced &= bucket_of(packet, service->seed) < share_of(service);
	__u64 unknown = row;
	FORGET(enforced, unknown);
	count(row >> ROW_PAIR_SHIFT, enforced ? COUNT_DROPPED : COUNT_WOULD_DROP, packet);
	return enforced;
}

/*
 * Judge a frame whose source and service cannot be read: it is dropped if any service drops packets now. `packet` holds
 * its length, which is counted in a pair of its own.
 */
static __always_inline int judge_too_deep(struct policy *policy, const struct packet *packet)
{
	int enforced = 0;

	for (__u32 number = 0; number < MAX_SERVICES; number++) {
		const struct service *service = &policy->service[number];
		if (number < policy->services && enforces(service))
			enforced |= !(service->flags & SERVICE_RAMP) || share_of(service);
	}
	count(policy->too_deep, enforced ? COUNT_DROPPED : COUNT_WOULD_DROP, packet);
	return enforced;
}

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Reads from a frame what services and rungs need of a packet. It sees what nftables sees at prerouting: transport
 * headers end where the IP packet ends, whatever padding follows, and later fragments show none. It marks what it
 * cannot read, and such a packet is judged by its source (docs/decisions/0018-packets-that-cannot-be-read.md). Frames
 * pass unread only if no IP stack accepts them either: other protocols, and headers that Linux refuses.
 */
#ifndef GEODROP_PARSE_H
#define GEODROP_PARSE_H

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>

#include "maps.h"

#define MAX_TAGS 8

/* Extension headers have at least 8 bytes, so this many fit a frame of Ethernet's usual size. */
#ifndef MAX_EXTENSIONS
#define MAX_EXTENSIONS 184
#endif
#define REACH 0x7fff /* bytes from the start of a frame; a mask. What lies beyond is not read. */

/* RFC 4302: words of an authentication header after its first two: no check value, up to twice the longest in use. */
#define MIN_AUTHENTICATION 1
#define MAX_AUTHENTICATION 14

#define IP_LATER_FRAGMENT 0x1fff
#define IPV6_LATER_FRAGMENT 0xfff8
#define TCP_FLAGS_AT 13
#define TCP_SYN 0x02
#define TCP_ACK 0x10

#define PROTOCOL_UNREADABLE 256 /* in place of an IP protocol */

enum parsed {
	PARSED_OTHER,    /* no IP packet, or one that Linux refuses */
	PARSED_PACKET,
	PARSED_TOO_DEEP, /* behind more tags than are read: source and service are not known */
};

enum shown {
	SHOWN_TYPE = 1,  /* the first byte of the transport header */
	SHOWN_PORTS = 2, /* its first four bytes */
	SHOWN_FLAGS = 4, /* TCP's flags */
};

struct packet {
	__u64 source_high; /* for IPv4, the address is in the upper half, as in the tables */
	__u64 source_low;
	__u64 dest_high;
	__u64 dest_low;
	__u32 bytes; /* IP length */
	__u16 source_port; /* for ICMP: the type and the code */
	__u16 dest_port;
	__u16 protocol; /* or PROTOCOL_UNREADABLE */
	__u8 authenticated; /* the protocol stands behind an authentication header */
	__u8 ipv6;
	__u8 later_fragment;
	__u8 hop_limit;
	__u8 shown;
	__u8 flags; /* of TCP */
	__u8 counted; /* 1; 0: a test run of ours */
};

/* Make the verifier forget what it knows of a packet by the way it was read. */
static __always_inline void forget(struct packet *packet, __u64 unknown)
{
#define FORGET_FIELD(field)                    \
	do {                                   \
		__u64 value = packet->field;   \
		FORGET(value, unknown);        \
		packet->field = value;         \
	} while (0)
	FORGET_FIELD(bytes);
	FORGET_FIELD(source_port);
	FORGET_FIELD(dest_port);
	FORGET_FIELD(protocol);
	FORGET_FIELD(ipv6);
	FORGET_FIELD(hop_limit);
	FORGET_FIELD(shown);
	FORGET_FIELD(flags);
	FORGET_FIELD(counted);
#undef FORGET_FIELD
}

struct vlan_tag {
	__be16 tci;
	__be16 protocol;
};

struct ipv4_header {
	__u8 version_ihl;
	__u8 tos;
	__be16 length;
	__be16 id;
	__be16 fragment;
	__u8 ttl;
	__u8 protocol;
	__be16 checksum;
	__be32 source;
	__be32 dest;
};

struct ipv6_header {
	__u8 version;
	__u8 flow[3];
	__be16 payload;
	__u8 next;
	__u8 hop_limit;
	__be32 source[4];
	__be32 dest[4];
};

/*
 * A frame, with space for a header that is not in its first buffer. Some drivers leave the first of several buffers
 * empty. Linux gives programs such frames from 5.18 on. The object without a clock (kernels before 6.1) also serves
 * kernels before 5.18, and is never loaded for frames in several buffers.
 */
struct frame {
	struct xdp_md *ctx;
	void *data;
	void *data_end;
	struct ipv6_header copy __attribute__((aligned(8))); /* the longest header that is read at once */
};

static __always_inline __u64 frame_bytes(const struct frame *frame)
{
#ifdef GEODROP_NO_CLOCK
	__u64 size = frame->data_end - frame->data;
	/* Otherwise the compiler may subtract `data` from a number first, which the verifier refuses. */
	OPAQUE(size);
	return size;
#else
	return bpf_xdp_get_buff_len(frame->ctx);
#endif
}

/* Point `at` to `size` bytes of the frame, wherever they lie. Return 0 if they do not exist or are out of reach. */
static __always_inline int show(struct frame *frame, __u64 offset, __u32 size, const void **at)
{
	if (offset > REACH)
		return 0;
	BOUND(offset, REACH);
	void *in_place = frame->data + offset;
	OPAQUE(in_place); /* otherwise later compilers read through another copy than the one compared with the end */
	if (in_place + size <= frame->data_end) {
		*at = in_place;
		return 1;
	}
#ifndef GEODROP_NO_CLOCK
	if (!bpf_xdp_load_bytes(frame->ctx, offset, &frame->copy, size)) {
		*at = &frame->copy;
		return 1;
	}
#endif
	return 0;
}

static __always_inline __u64 pair(__be32 upper, __be32 lower)
{
	return (__u64)__builtin_bswap32(upper) << 32 | __builtin_bswap32(lower);
}

/* Read the transport header; `limit` is the offset at which the IP packet ends. */
static __always_inline void parse_transport(struct frame *frame, __u64 offset, __u64 limit, struct packet *packet)
{
	__s64 left = limit - offset;
	__u32 source_port = 0, dest_port = 0, flags = 0;
	__u64 shown = 0;
	const void *found;

	if (left > TCP_FLAGS_AT && show(frame, offset, TCP_FLAGS_AT + 1, &found)) {
		const __u8 *at = found;
		source_port = at[0] << 8 | at[1];
		dest_port = at[2] << 8 | at[3];
		flags = at[TCP_FLAGS_AT];
		shown = SHOWN_TYPE | SHOWN_PORTS | SHOWN_FLAGS;
	} else if (left >= 4 && show(frame, offset, 4, &found)) {
		const __u8 *at = found;
		source_port = at[0] << 8 | at[1];
		dest_port = at[2] << 8 | at[3];
		shown = SHOWN_TYPE | SHOWN_PORTS;
	} else if (left >= 1 && show(frame, offset, 1, &found)) {
		const __u8 *at = found;
		source_port = at[0] << 8;
		shown = SHOWN_TYPE;
	}
	FORGET(shown, limit); /* otherwise the verifier follows each of these ways to the end of the program */
	packet->source_port = source_port;
	packet->dest_port = dest_port;
	packet->flags = flags;
	packet->shown = shown;
}

static __always_inline int is_extension(__u32 protocol)
{
	return protocol == IPPROTO_HOPOPTS || protocol == IPPROTO_ROUTING || protocol == IPPROTO_FRAGMENT ||
	       protocol == IPPROTO_DSTOPTS;
}

/* Go to the protocol behind an authentication header; no stack sends a second one or extensions there. */
static __always_inline void enter_authentication(struct frame *frame, __u64 *offset, __u64 limit,
						 struct packet *packet)
{
	const void *found;

	packet->protocol = PROTOCOL_UNREADABLE;
	if (*offset + 2 > limit || !show(frame, *offset, 2, &found))
		return;
	const __u8 *header = found;
	__u32 next = header[0], words = header[1];
	if (words < MIN_AUTHENTICATION || words > MAX_AUTHENTICATION || next == IPPROTO_AH || is_extension(next))
		return;
	*offset += (words + 2) * 4;
	if (*offset > limit || !show(frame, *offset - 1, 1, &found))
		return;
	packet->protocol = next;
	packet->authenticated = 1;
}

/* Read what follows the IP header and its extensions, in a packet that is no later fragment. */
static __always_inline void parse_payload(struct frame *frame, __u64 offset, __u64 limit, struct packet *packet)
{
	if (packet->protocol == IPPROTO_AH)
		enter_authentication(frame, &offset, limit, packet);
	if (packet->protocol != PROTOCOL_UNREADABLE)
		parse_transport(frame, offset, limit, packet);
}

static __always_inline int parse_ipv4(struct frame *frame, __u64 offset, struct packet *packet)
{
	const void *found;
	if (!show(frame, offset, sizeof(struct ipv4_header), &found))
		return PARSED_OTHER;
	const struct ipv4_header *header = found;
	__u32 length = (header->version_ihl & 15) * 4;
	__u32 version = header->version_ihl >> 4;
	__u32 bytes = __builtin_bswap16(header->length);
	packet->ipv6 = 0;
	packet->source_high = (__u64)__builtin_bswap32(header->source) << 32;
	packet->source_low = 0;
	packet->dest_high = (__u64)__builtin_bswap32(header->dest) << 32;
	packet->dest_low = 0;
	packet->protocol = header->protocol;
	packet->hop_limit = header->ttl;
	packet->later_fragment = (__builtin_bswap16(header->fragment) & IP_LATER_FRAGMENT) != 0;
	if (!bytes) /* BIG TCP: the field cannot say the length; this happens if receive offload comes before XDP */
		bytes = frame_bytes(frame) - offset;
	packet->bytes = bytes;
	if (version != 4 || length < sizeof(*header) || bytes < length)
		return PARSED_OTHER;
	if (!packet->later_fragment)
		parse_payload(frame, offset + length, offset + bytes, packet);
	return PARSED_PACKET;
}

/*
 * Walk the extension headers like the kernel's ipv6_find_hdr does for nftables. The walk ends at an authentication
 * header, at a later fragment (whose next header counts unless it is an extension again), and at the first header that
 * is no extension. Return the offset where the walk ended, and set the protocol in `packet`. It is PROTOCOL_UNREADABLE
 * if a header that matters is missing, or if a fragment header stands where connection tracking mishandles it:
 * nf_ct_frag6_gather moves the transport header behind it, but the input path continues with the number of the first
 * extension header.
 */
static __always_inline __u64 walk_extensions(struct frame *frame, __u64 offset, __u64 limit, struct packet *packet)
{
	__u32 next = packet->protocol;
	__u64 before_fragment = next == IPPROTO_HOPOPTS; /* the number of headers allowed before a fragment header */
	const void *found;
	const __u8 *header;

	packet->protocol = PROTOCOL_UNREADABLE;
	FORGET(before_fragment, limit);
	for (__u64 i = 0; i < MAX_EXTENSIONS; i++) {
		if (!is_extension(next)) {
			packet->protocol = next;
			break;
		}
		if (offset + 8 > limit || !show(frame, offset, 8, &found))
			break;
		header = found;
		__u32 type = next;
		__u64 length = (header[1] + 1) * 8;
		next = header[0];
		if (type == IPPROTO_FRAGMENT) {
			if ((header[2] << 8 | header[3]) & IPV6_LATER_FRAGMENT) {
				packet->later_fragment = 1;
				packet->protocol = next;
				break;
			}
			/* Behind other headers than hop-by-hop options, the kernel may remove it and misread what follows. */
			if (i > before_fragment)
				break;
			before_fragment = MAX_EXTENSIONS; /* after the first one, others may follow anywhere */
			FORGET(before_fragment, limit);
			length = 8;
		}
		offset += length;
		/* Forget how long the headers were; otherwise the verifier follows each number of them to the end. */
		FORGET(offset, limit);
	}
	return offset;
}

static __always_inline int parse_ipv6(struct frame *frame, __u64 offset, struct packet *packet)
{
	const void *found;
	if (!show(frame, offset, sizeof(struct ipv6_header), &found))
		return PARSED_OTHER;
	const struct ipv6_header *header = found;
	__u32 version = header->version >> 4;
	__u32 payload = __builtin_bswap16(header->payload);
	packet->ipv6 = 1;
	packet->source_high = pair(header->source[0], header->source[1]);
	packet->source_low = pair(header->source[2], header->source[3]);
	packet->dest_high = pair(header->dest[0], header->dest[1]);
	packet->dest_low = pair(header->dest[2], header->dest[3]);
	packet->protocol = header->next;
	packet->hop_limit = header->hop_limit;
	packet->later_fragment = 0;
	packet->bytes = payload + sizeof(*header);
	if (version != 6)
		return PARSED_OTHER;
	if (!payload) /* a jumbogram (BIG TCP), or what Linux treats like one: hop-by-hop options without that option */
		packet->bytes = frame_bytes(frame) - offset;
	__u64 limit = offset + packet->bytes;
	offset += sizeof(*header);
	if (is_extension(packet->protocol))
		offset = walk_extensions(frame, offset, limit, packet);
	if (!packet->later_fragment)
		parse_payload(frame, offset, limit, packet);
	return PARSED_PACKET;
}

static __always_inline int is_tag(__be16 protocol)
{
	return protocol == __builtin_bswap16(ETH_P_8021Q) || protocol == __builtin_bswap16(ETH_P_8021AD);
}

static __always_inline int parse(struct xdp_md *ctx, struct packet *packet)
{
	struct frame frame; /* its copy is not cleared, which would cost time for nothing */
	const void *found;

	frame.ctx = ctx;
	frame.data = (void *)(long)ctx->data;
	frame.data_end = (void *)(long)ctx->data_end;
	packet->shown = 0;
	packet->authenticated = 0;
	if (!show(&frame, 0, ETH_HLEN, &found))
		return PARSED_OTHER;
	__u64 protocol = ((const struct ethhdr *)found)->h_proto;
	__u64 offset = ETH_HLEN;
	if (is_tag(protocol)) {
		/* Linux removes any number of tags, if they are priority tags or if there is a VLAN for each. */
		for (int i = 0; is_tag(protocol); i++) {
			if (i == MAX_TAGS) {
				packet->ipv6 = 0;
				packet->bytes = frame_bytes(&frame) - ETH_HLEN;
				return PARSED_TOO_DEEP;
			}
			if (!show(&frame, offset, sizeof(struct vlan_tag), &found))
				return PARSED_OTHER;
			protocol = ((const struct vlan_tag *)found)->protocol;
			offset += sizeof(struct vlan_tag);
			/* Forget how many tags there were; otherwise the verifier follows each number to the end. */
			FORGET(offset, protocol);
		}
	}
	FORGET(offset, protocol);
	BOUND(offset, 63);
	if (protocol == __builtin_bswap16(ETH_P_IP))
		return parse_ipv4(&frame, offset, packet);
	if (protocol == __builtin_bswap16(ETH_P_IPV6))
		return parse_ipv6(&frame, offset, packet);
	return PARSED_OTHER;
}

#endif

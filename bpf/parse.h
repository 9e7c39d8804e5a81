/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * From a frame to what services and rungs ask of a packet. It sees what nftables sees at prerouting: transport headers
 * end where the IP packet does, whatever padding follows, and later fragments show none. What it cannot read it says,
 * and the packet is then judged by its source (docs/decisions/0018-packets-that-cannot-be-read.md). What is passed on
 * unread is what no IP stack takes either: frames of other protocols, and headers that Linux refuses.
 */
#ifndef GEODROP_PARSE_H
#define GEODROP_PARSE_H

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>

#include "maps.h"

#define MAX_TAGS 8

/* Extension headers are at least 8 bytes, so these are all that fit a frame of Ethernet's usual size. */
#ifndef MAX_EXTENSIONS
#define MAX_EXTENSIONS 184
#endif
#define REACH 0x7fff /* bytes from the start of a frame; a mask. What lies beyond is not read. */

/* RFC 4302: the words of an authentication header after its first two: no check value, to twice the longest in use. */
#define MIN_AUTHENTICATION 1
#define MAX_AUTHENTICATION 14

#define IP_LATER_FRAGMENT 0x1fff
#define IPV6_LATER_FRAGMENT 0xfff8
#define TCP_FLAGS_AT 13
#define TCP_SYN 0x02
#define TCP_ACK 0x10

#define PROTOCOL_UNREADABLE 256 /* in the place of an IP protocol */

enum parsed {
	PARSED_OTHER,    /* no IP packet, or none that Linux takes */
	PARSED_PACKET,
	PARSED_TOO_DEEP, /* behind more tags than are read: whose it is cannot be said */
};

enum shown {
	SHOWN_TYPE = 1,  /* the first byte of the transport header */
	SHOWN_PORTS = 2, /* the first four */
	SHOWN_FLAGS = 4, /* TCP's flags */
};

struct packet {
	__u64 source_high; /* IPv4: the address in the upper half, as the tables want it */
	__u64 source_low;
	__u64 dest_high;
	__u64 dest_low;
	__u32 bytes; /* IP length */
	__u16 source_port; /* of ICMP: the type, and the code */
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
 * A frame, and room for a header that is not in its first buffer. Some drivers put nothing at all into the first one
 * of several. Linux gives programs such frames from 5.18 on; the object for kernels without a clock (before 6.1) is
 * for those before 5.18 as well, and is never loaded for frames in several buffers.
 */
struct frame {
	struct xdp_md *ctx;
	void *data;
	void *data_end;
	struct ipv6_header copy __attribute__((aligned(8))); /* no header that is read at once is longer */
};

static __always_inline __u64 frame_bytes(const struct frame *frame)
{
#ifdef GEODROP_NO_CLOCK
	return frame->data_end - frame->data;
#else
	return bpf_xdp_get_buff_len(frame->ctx);
#endif
}

/* Leads `at` to so many bytes of the frame, wherever they lie; 0: they are not there, or out of reach. */
static __always_inline int show(struct frame *frame, __u64 offset, __u32 size, const void **at)
{
	if (offset > REACH)
		return 0;
	BOUND(offset, REACH);
	void *in_place = frame->data + offset;
	OPAQUE(in_place); /* else later compilers read by another copy of it than the one that was compared with the end */
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

/* `limit`, an offset too, is where the IP packet ends. */
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
	FORGET(shown, limit); /* else each of these ways is followed to the end of the program */
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

/* To the protocol behind an authentication header, if there is one; no stack sends a second one or extensions there. */
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

/* What follows the IP header and its extensions, in a packet that is no later fragment. */
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
	if (!bytes) /* more than the field can say (BIG TCP): where receive offload comes before us */
		bytes = frame_bytes(frame) - offset;
	packet->bytes = bytes;
	if (version != 4 || length < sizeof(*header) || bytes < length)
		return PARSED_OTHER;
	if (!packet->later_fragment)
		parse_payload(frame, offset + length, offset + bytes, packet);
	return PARSED_PACKET;
}

/*
 * Walks the extension headers as the kernel's ipv6_find_hdr does for nftables: it ends at an authentication header,
 * at a later fragment (whose next header counts if that is no extension again) and at what is no extension. Returns
 * where the walk ended, with the protocol in `packet`: PROTOCOL_UNREADABLE where a header that matters is not there, or
 * a fragment header is where connection tracking goes wrong over it (nf_ct_frag6_gather moves the transport header
 * behind it, but the input path goes on with the number of the first extension header).
 */
static __always_inline __u64 walk_extensions(struct frame *frame, __u64 offset, __u64 limit, struct packet *packet)
{
	__u32 next = packet->protocol;
	__u64 before_fragment = next == IPPROTO_HOPOPTS; /* so many headers may be */
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
			/* Behind others than hop-by-hop options it may be lost, and what follows read as the first of them. */
			if (i > before_fragment)
				break;
			before_fragment = MAX_EXTENSIONS; /* behind the first one there may be others */
			FORGET(before_fragment, limit);
			length = 8;
		}
		offset += length;
		/* How long the headers were: else each number of them is followed to the end of the program. */
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
	if (!payload) /* a jumbogram (BIG TCP), or what Linux takes like one: hop-by-hop options without that option */
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
	struct frame frame; /* its copy is not worth clearing */
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
		/* Linux takes any number of them off, if they are priority tags or there is a VLAN for each. */
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
			/* How many tags there were: else each number of them is followed to the end of the program. */
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

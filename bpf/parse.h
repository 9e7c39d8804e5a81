/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * From a frame to what services and rungs ask of a packet. It sees exactly what nftables sees at prerouting: transport
 * headers end where the IP packet does, whatever padding follows, and later fragments show none. Frames that the IP
 * stack refuses are passed on for it to refuse.
 */
#ifndef GEODROP_PARSE_H
#define GEODROP_PARSE_H

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>

#include "maps.h"

#define MAX_TAGS 2

/* Extension headers are at least 8 bytes, so these are all that fit a frame of Ethernet's usual size. */
#ifndef MAX_EXTENSIONS
#define MAX_EXTENSIONS 184
#endif
#define MAX_HEADERS 2047 /* bytes; a mask */

#define IP_LATER_FRAGMENT 0x1fff
#define IPV6_LATER_FRAGMENT 0xfff8
#define TCP_FLAGS_AT 13
#define TCP_SYN 0x02
#define TCP_ACK 0x10

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
	__u32 transport; /* where its header begins, from the start of the frame */
	__u16 source_port;
	__u16 dest_port;
	__u8 ipv6;
	__u8 protocol;
	__u8 later_fragment;
	__u8 hop_limit;
	__u8 shown;
	__u8 type; /* of ICMP */
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

static __always_inline __u64 pair(__be32 upper, __be32 lower)
{
	return (__u64)__builtin_bswap32(upper) << 32 | __builtin_bswap32(lower);
}

/* `limit`, an offset too, is where the IP packet ends. */
static __always_inline void parse_transport(void *data, void *data_end, __u64 limit, struct packet *packet)
{
	__u64 offset = packet->transport;
	__s64 left = limit - offset;
	BOUND(offset, 0xfff);
	__u8 *at = (__u8 *)data + offset;
	OPAQUE(at); /* else later compilers read by another copy of it than the one that was compared with the end */

	if (left < 1 || at + 1 > (__u8 *)data_end)
		return;
	packet->type = at[0];
	packet->shown = SHOWN_TYPE;
	if (left < 4 || at + 4 > (__u8 *)data_end)
		return;
	packet->source_port = at[0] << 8 | at[1];
	packet->dest_port = at[2] << 8 | at[3];
	packet->shown |= SHOWN_PORTS;
	if (left < TCP_FLAGS_AT + 1 || at + TCP_FLAGS_AT + 1 > (__u8 *)data_end)
		return;
	packet->flags = at[TCP_FLAGS_AT];
	packet->shown |= SHOWN_FLAGS;
}

static __always_inline int parse_ipv4(void *data, void *data_end, __u64 offset, struct packet *packet)
{
	struct ipv4_header *header = data + offset;
	if ((void *)(header + 1) > data_end)
		return 0;
	__u32 length = (header->version_ihl & 15) * 4;
	packet->bytes = __builtin_bswap16(header->length);
	if (header->version_ihl >> 4 != 4 || length < sizeof(*header) || packet->bytes < length)
		return 0;
	packet->ipv6 = 0;
	packet->source_high = (__u64)__builtin_bswap32(header->source) << 32;
	packet->source_low = 0;
	packet->dest_high = (__u64)__builtin_bswap32(header->dest) << 32;
	packet->dest_low = 0;
	packet->protocol = header->protocol;
	packet->hop_limit = header->ttl;
	packet->later_fragment = (__builtin_bswap16(header->fragment) & IP_LATER_FRAGMENT) != 0;
	packet->transport = offset + length;
	if (!packet->later_fragment)
		parse_transport(data, data_end, offset + packet->bytes, packet);
	return 1;
}

/*
 * Walks the extension headers as the kernel's ipv6_find_hdr does for nftables: it ends at an authentication header,
 * at a later fragment (whose next header counts if that is no extension again) and at what is no extension. 0: cut off.
 */
static __always_inline int walk_extensions(void *data, void *data_end, __u64 limit, __u64 *at, struct packet *packet)
{
	__u64 offset = *at;
	__u8 next = packet->protocol;

	for (int i = 0; i < MAX_EXTENSIONS; i++) {
		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_FRAGMENT && next != IPPROTO_DSTOPTS)
			break;
		BOUND(offset, MAX_HEADERS);
		__u8 *header = (__u8 *)data + offset;
		if (header + 8 > (__u8 *)data_end || offset + 8 > limit)
			return 0;
		__u8 type = next;
		next = header[0];
		if (type != IPPROTO_FRAGMENT) {
			offset += (header[1] + 1) * 8;
			continue;
		}
		if ((header[2] << 8 | header[3]) & IPV6_LATER_FRAGMENT) {
			packet->later_fragment = 1;
			break;
		}
		offset += 8;
	}
	packet->protocol = next;
	*at = offset;
	return 1;
}

static __always_inline int parse_ipv6(void *data, void *data_end, __u64 offset, struct packet *packet)
{
	struct ipv6_header *header = data + offset;
	if ((void *)(header + 1) > data_end || header->version >> 4 != 6)
		return 0;
	packet->bytes = __builtin_bswap16(header->payload) + sizeof(*header);
	packet->ipv6 = 1;
	packet->source_high = pair(header->source[0], header->source[1]);
	packet->source_low = pair(header->source[2], header->source[3]);
	packet->dest_high = pair(header->dest[0], header->dest[1]);
	packet->dest_low = pair(header->dest[2], header->dest[3]);
	packet->protocol = header->next;
	packet->hop_limit = header->hop_limit;
	packet->later_fragment = 0;
	__u64 limit = offset + packet->bytes;
	__u64 transport = offset + sizeof(*header);
	if (!walk_extensions(data, data_end, limit, &transport, packet)) {
		packet->protocol = IPPROTO_RAW; /* as for nftables: no protocol, no ports */
		packet->later_fragment = 1;
		return 1;
	}
	packet->transport = transport;
	if (!packet->later_fragment)
		parse_transport(data, data_end, limit, packet);
	return 1;
}

/* 1 if two numbers are equal, without a branch: one that depends on tags would double all that the verifier follows. */
static __always_inline __u64 equal(__u64 one, __u64 other)
{
	__u64 difference = one ^ other;
	OPAQUE(difference);
	return (difference - 1) >> 63;
}

static __always_inline __u64 is_tag(__be16 protocol)
{
	return equal(protocol, __builtin_bswap16(ETH_P_8021Q)) | equal(protocol, __builtin_bswap16(ETH_P_8021AD));
}

/* 0: no IP packet. */
static __always_inline int parse(struct xdp_md *ctx, struct packet *packet)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *ethernet = data;
	struct vlan_tag *tags = (void *)(ethernet + 1);
	/* The smallest IP packet is as long as its header, so whatever is shorter than two tags here holds none. */
	if ((void *)(tags + MAX_TAGS) > data_end)
		return 0;
	__u64 tagged = is_tag(ethernet->h_proto);
	__u64 twice = tagged & is_tag(tags[0].protocol);
	__u64 offset = ETH_HLEN - sizeof(__be16) + sizeof(*tags) * (tagged + twice);
	BOUND(offset, 31);
	__be16 *type = data + offset;
	if ((void *)(type + 1) > data_end)
		return 0;
	__be16 protocol = *type;
	offset += sizeof(*type);

	packet->shown = 0;
	if (protocol == __builtin_bswap16(ETH_P_IP))
		return parse_ipv4(data, data_end, offset, packet);
	if (protocol == __builtin_bswap16(ETH_P_IPV6))
		return parse_ipv6(data, data_end, offset, packet);
	return 0;
}

#endif

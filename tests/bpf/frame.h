/* SPDX-License-Identifier: Apache-2.0 */
/* Ethernet frames of both families from a description, and a description of a frame. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "datapath/abi.h"

#define FRAME_ROOM 2048

struct frame {
	uint8_t bytes[FRAME_ROOM];
	size_t length;
};

enum frame_flag {
	FRAME_NO_CHECKSUM = 1 << 0, /* UDP over IPv4 without a checksum */
	FRAME_DONT_FRAGMENT = 1 << 1,
	FRAME_MORE_FRAGMENTS = 1 << 2,
	FRAME_FRAGMENT = 1 << 3, /* IPv6: with a fragment header, whatever the offset */
};

/* What a frame says. Zero means the usual: TTL 64, no payload, no options. Ports in host byte
 * order; ICMP: `sport` is the identifier. */
struct frame_spec {
	uint8_t mac_source[6];
	uint8_t mac_destination[6];
	struct polder_addr source;
	struct polder_addr destination;
	uint8_t proto;
	uint8_t ttl;
	uint8_t tcp_flags;
	uint8_t icmp_type;
	uint8_t icmp_code;
	uint16_t sport;
	uint16_t dport;
	uint16_t mtu; /* of an ICMP error */
	uint32_t seq;
	uint32_t ack;
	uint32_t flags;		  /* enum frame_flag */
	uint16_t fragment_offset; /* bytes; a later fragment has no transport header */
	uint32_t fragment_id;
	const void *payload; /* NULL: bytes that count up */
	size_t payload_length;
	const void *options; /* IPv4: options; IPv6: extension headers, whose last next-header byte
				is set here */
	size_t options_length;
	size_t last_next;   /* offset in `options` of the last extension header */
	uint8_t first_next; /* IPv6: protocol of the first extension header */
};

/* The address; aborts if the text is none. */
struct polder_addr addr(const char *text);
bool addr_is_v4(const struct polder_addr *a);
bool addr_same(const struct polder_addr *a, const struct polder_addr *b);

/* Builds the frame with right checksums. */
void frame_make(struct frame *frame, const struct frame_spec *spec);

/* Reads a frame back; payload points into it. 0 or -EINVAL. */
int frame_read(const struct frame *frame, struct frame_spec *ret_spec);

/* Are IP header, transport and ICMP checksum right? Worked out from the bytes; a fragment's
 * transport is not looked at. */
bool frame_sums_right(const struct frame *frame);

/* The packet that an ICMP error carries, as a frame without addresses of its own. 0 or -EINVAL. */
int frame_inner(const struct frame *frame, struct frame *ret_inner);

/* Ones' complement sum over bytes, folded. */
uint16_t frame_sum(const void *bytes, size_t length, uint32_t start);

/* SPDX-License-Identifier: Apache-2.0 */
/* Reads frames by the book, apart from the parser under test. */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "frames.h"

#define ETHERNET 14

static uint16_t get16(const uint8_t *at)
{
	return at[0] << 8 | at[1];
}

static bool is_icmp_error(bool v4, uint8_t proto, uint8_t type)
{
	if (v4)
		return proto == IPPROTO_ICMP && (type == 3 || type == 11 || type == 12);
	return proto == IPPROTO_ICMPV6 && type >= 1 && type <= 4;
}

static bool is_echo(bool v4, uint8_t proto, uint8_t type)
{
	return v4 ? proto == IPPROTO_ICMP && (type == 8 || type == 0)
		  : proto == IPPROTO_ICMPV6 && (type == 128 || type == 129);
}

static size_t header_wanted(uint8_t proto)
{
	switch (proto) {
	case IPPROTO_TCP:
		return 20;
	case IPPROTO_UDP:
	case IPPROTO_SCTP:
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return 8;
	default:
		return 0;
	}
}

static void icmp_read(const uint8_t *l4, struct view *view)
{
	bool v4 = view->flags & VIEW_V4;

	view->icmp_type = l4[0];
	view->ends.dport = l4[0] << 8;
	if (is_echo(v4, view->ends.proto, l4[0])) {
		view->ends.sport = get16(l4 + 4);
		view->flags |= VIEW_PORTS;
	} else if (is_icmp_error(v4, view->ends.proto, l4[0])) {
		view->flags |= VIEW_ERROR;
	} else if (!v4 && view->ends.proto == IPPROTO_ICMPV6 && l4[0] >= 130 && l4[0] <= 143) {
		view->flags |= VIEW_ND;
	}
}

static int transport_read(const struct frame *frame, struct view *view)
{
	const uint8_t *l4 = frame->bytes + view->l4;
	size_t wanted = header_wanted(view->ends.proto);

	if (view->flags & (VIEW_LATER | VIEW_ROUTED))
		return 0;
	if (view->l4 + wanted > frame->length)
		return -EINVAL;
	if (view->l4 + wanted > view->end)
		view->flags |= VIEW_BEHIND_END;
	if (!wanted)
		return 0;
	if (view->ends.proto == IPPROTO_ICMP || view->ends.proto == IPPROTO_ICMPV6) {
		icmp_read(l4, view);
		return 0;
	}
	view->ends.sport = get16(l4);
	view->ends.dport = get16(l4 + 2);
	view->flags |= VIEW_PORTS;
	if (view->ends.proto == IPPROTO_TCP)
		view->tcp_flags = l4[13];
	return 0;
}

static struct polder_addr mapped(const uint8_t *v4)
{
	struct polder_addr a = {.bytes = {[10] = 0xff, [11] = 0xff}};

	memcpy(a.bytes + 12, v4, 4);
	return a;
}

static int read4(const struct frame *frame, struct view *view)
{
	const uint8_t *ip = frame->bytes + view->ip;
	size_t header, length;
	uint16_t fragment;

	if (view->ip + 20 > frame->length || ip[0] >> 4 != 4)
		return -EINVAL;
	header = (ip[0] & 15) * 4;
	length = get16(ip + 2);
	if (header < 20 || length < header || view->ip + length > frame->length)
		return -EINVAL;
	view->flags |= VIEW_V4;
	view->l4 = view->ip + header;
	view->end = view->ip + length;
	view->ttl = ip[8];
	view->ends.proto = ip[9];
	view->ends.source = mapped(ip + 12);
	view->ends.destination = mapped(ip + 16);
	fragment = get16(ip + 6);
	if (fragment & 0x3fff) {
		view->fragment_id = view->ip + 4;
		view->id = get16(ip + 4);
		view->flags |= fragment & 0x1fff ? VIEW_LATER : VIEW_FIRST;
		if ((fragment & 0x1fff) == 1)
			return -EINVAL; /* RFC 3128 */
	}
	return transport_read(frame, view);
}

static bool is_extension(uint8_t next)
{
	return next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_FRAGMENT ||
	       next == IPPROTO_DSTOPTS || next == IPPROTO_AH;
}

static int read_fragment_header(const uint8_t *header, struct view *view, size_t offset)
{
	uint16_t fragment = get16(header + 2);

	if (view->flags & (VIEW_FIRST | VIEW_LATER))
		return -EINVAL;
	view->fragment_id = offset + 4;
	memcpy(&view->id, header + 4, 4);
	if (fragment & 0xfff8)
		view->flags |= VIEW_LATER;
	else if (fragment & 1)
		view->flags |= VIEW_FIRST;
	return 0;
}

/* A chain that is longer is not followed: the packet is dropped, or leaves as it is if it is the
 * node's own. */
#define FOLLOWED_HEADERS 8
#define FOLLOWED_BYTES	 400 /* of the frame */

/* To the transport header, or to what a later fragment carries. */
static int read_chain(const struct frame *frame, struct view *view, uint8_t next)
{
	size_t offset = view->ip + 40;
	int headers = 0;

	while (is_extension(next) && !(view->flags & VIEW_LATER)) {
		const uint8_t *header = frame->bytes + offset;

		if (offset + 8 > frame->length)
			return -EINVAL;
		if (++headers > FOLLOWED_HEADERS || view->flags & VIEW_FIRST)
			view->flags |= VIEW_LONG_CHAIN;
		if (next == IPPROTO_HOPOPTS && offset != view->ip + 40)
			return -EINVAL; /* RFC 8200, 4.1 */
		/* RFC 5095, and RFC 8200, 4.4: only who it is bound for may know what to do. */
		if (next == IPPROTO_ROUTING && (header[2] == 0 || header[3])) {
			view->flags |= VIEW_ROUTED;
			break;
		}
		if (next == IPPROTO_FRAGMENT) {
			if (read_fragment_header(header, view, offset) < 0)
				return -EINVAL;
			offset += 8;
		} else {
			offset += next == IPPROTO_AH ? (header[1] + 2) * 4 : (header[1] + 1) * 8;
		}
		next = header[0];
		if (offset > FOLLOWED_BYTES)
			view->flags |= VIEW_LONG_CHAIN;
	}
	view->ends.proto = next;
	view->l4 = offset;
	return 0;
}

static int read6(const struct frame *frame, struct view *view)
{
	const uint8_t *ip = frame->bytes + view->ip;

	if (view->ip + 40 > frame->length || ip[0] >> 4 != 6)
		return -EINVAL;
	view->end = view->ip + 40 + get16(ip + 4);
	if (view->end > frame->length)
		return -EINVAL;
	view->ttl = ip[7];
	memcpy(&view->ends.source, ip + 8, 16);
	memcpy(&view->ends.destination, ip + 24, 16);
	if (read_chain(frame, view, ip[6]) < 0)
		return -EINVAL;
	return transport_read(frame, view);
}

int view_read(const struct frame *frame, enum polder_zone zone, struct view *ret_view)
{
	struct view *view = ret_view;

	memset(view, 0, sizeof(*view));
	view->ends.zone = zone;
	if (frame->length < ETHERNET)
		return -EINVAL;
	view->ethertype = get16(frame->bytes + 12);
	view->ip = ETHERNET;
	switch (view->ethertype) {
	case 0x0800:
		return read4(frame, view);
	case 0x86dd:
		return read6(frame, view);
	default:
		return -EINVAL;
	}
}

size_t view_check(const struct view *view)
{
	if (view->flags & (VIEW_LATER | VIEW_BEHIND_END))
		return 0;
	switch (view->ends.proto) {
	case IPPROTO_TCP:
		return view->l4 + 16;
	case IPPROTO_UDP:
		return view->l4 + 6;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return view->l4 + 2;
	default:
		return 0;
	}
}

uint32_t view_header_error(const struct frame *frame, const struct view *view)
{
	if (!(view->flags & VIEW_V4))
		return 0;
	return frame_sum(frame->bytes + view->ip, (frame->bytes[view->ip] & 15) * 4, 0) % 0xffff;
}

uint32_t view_transport_error(const struct frame *frame, const struct view *view)
{
	size_t skip = view->flags & VIEW_V4 ? 12 : 0, length = view->end - view->l4;
	uint32_t sum = 0;

	if (!view_check(view))
		return 0;
	if (!(view->ends.proto == IPPROTO_ICMP && view->flags & VIEW_V4)) {
		sum = frame_sum(view->ends.source.bytes + skip, 16 - skip, 0);
		sum = frame_sum(view->ends.destination.bytes + skip, 16 - skip, sum);
		sum += view->ends.proto + length;
	}
	return frame_sum(frame->bytes + view->l4, length, sum) % 0xffff;
}

/* The type of an answer, as it stands in the ends of a packet. What is no question has ends that no
 * packet has. */
static uint16_t icmp_answer(uint8_t proto, uint16_t dport)
{
	uint8_t type = dport >> 8;

	if (proto == IPPROTO_ICMP && (type == 8 || type == 0))
		return (type ^ 8) << 8;
	if (proto == IPPROTO_ICMPV6 && (type == 128 || type == 129))
		return (type ^ 1) << 8;
	if (proto == IPPROTO_ICMP && type >= 13 && type <= 18)
		return (type & 1 ? type + 1 : type - 1) << 8;
	return dport ^ 1;
}

void ends_reverse_ports(uint8_t proto, uint16_t sport, uint16_t dport, uint16_t *ret_sport,
			uint16_t *ret_dport)
{
	bool icmp = proto == IPPROTO_ICMP || proto == IPPROTO_ICMPV6;

	*ret_sport = icmp ? sport : dport;
	*ret_dport = icmp ? icmp_answer(proto, dport) : sport;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Frames are put together and taken apart here, apart from the code under test. */
#include "frame.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/ethernet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define V4_HEADER 20
#define V6_HEADER 40

static void put16(uint8_t *at, uint16_t value)
{
	at[0] = value >> 8;
	at[1] = value & 0xff;
}

static void put32(uint8_t *at, uint32_t value)
{
	put16(at, value >> 16);
	put16(at + 2, value & 0xffff);
}

static uint16_t get16(const uint8_t *at)
{
	return at[0] << 8 | at[1];
}

static uint32_t get32(const uint8_t *at)
{
	return (uint32_t)get16(at) << 16 | get16(at + 2);
}

struct polder_addr addr(const char *text)
{
	struct polder_addr a = {0};

	if (strchr(text, ':')) {
		if (inet_pton(AF_INET6, text, a.bytes) == 1)
			return a;
	} else if (inet_pton(AF_INET, text, a.bytes + 12) == 1) {
		a.bytes[10] = a.bytes[11] = 0xff;
		return a;
	}
	fprintf(stderr, "%s: not an address\n", text);
	abort();
}

/* The agent's own stands in its place where a test links that, too. */
__attribute__((weak)) bool addr_is_v4(const struct polder_addr *a)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	return memcmp(a->bytes, mapped, sizeof(mapped)) == 0;
}

bool addr_same(const struct polder_addr *a, const struct polder_addr *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

uint16_t frame_sum(const void *bytes, size_t length, uint32_t start)
{
	const uint8_t *at = bytes;
	uint64_t sum = start;

	for (size_t i = 0; i + 1 < length; i += 2)
		sum += get16(at + i);
	if (length & 1)
		sum += (uint32_t)at[length - 1] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* The sum of the addresses, the protocol and the length, as the transport's checksum covers them.
 */
static uint32_t pseudo_sum(const struct frame_spec *spec, uint8_t proto, size_t length)
{
	bool v4 = addr_is_v4(&spec->source);
	size_t skip = v4 ? 12 : 0;
	uint32_t sum = frame_sum(spec->source.bytes + skip, 16 - skip, 0);

	sum = frame_sum(spec->destination.bytes + skip, 16 - skip, sum);
	return sum + proto + length;
}

static size_t put_payload(uint8_t *at, const struct frame_spec *spec)
{
	for (size_t i = 0; i < spec->payload_length; i++)
		at[i] = spec->payload ? ((const uint8_t *)spec->payload)[i] : i;
	return spec->payload_length;
}

static bool is_icmp(uint8_t proto)
{
	return proto == IPPROTO_ICMP || proto == IPPROTO_ICMPV6;
}

static size_t transport_header(const struct frame_spec *spec)
{
	if (spec->fragment_offset)
		return 0;
	switch (spec->proto) {
	case IPPROTO_TCP:
		return 20;
	case IPPROTO_UDP:
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return 8;
	case IPPROTO_SCTP:
		return 12;
	default:
		return 0;
	}
}

/* RFC 9260, appendix A, bit by bit, with zeros in the sum's own place. */
static uint32_t crc32c(const uint8_t *bytes, size_t length)
{
	uint32_t crc = 0xffffffff;

	for (size_t i = 0; i < length; i++) {
		crc ^= i >= 8 && i < 12 ? 0 : bytes[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc & 1 ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
	}
	return ~crc;
}

/* As it stands in the header: the lowest byte first. */
static uint32_t get_crc(const uint8_t *at)
{
	return at[0] | at[1] << 8 | at[2] << 16 | (uint32_t)at[3] << 24;
}

static void put_crc(uint8_t *at, uint32_t crc)
{
	for (int i = 0; i < 4; i++)
		at[i] = crc >> 8 * i;
}

static void put_checksum(uint8_t *l4, size_t length, size_t offset, uint32_t pseudo, bool udp)
{
	uint16_t sum;

	put16(l4 + offset, 0);
	sum = ~frame_sum(l4, length, pseudo);
	put16(l4 + offset, udp && !sum ? 0xffff : sum);
}

static size_t put_transport(uint8_t *l4, const struct frame_spec *spec)
{
	size_t header = transport_header(spec);
	size_t length = header + put_payload(l4 + header, spec);
	uint32_t pseudo = pseudo_sum(spec, spec->proto, length);

	if (!header)
		return length;
	memset(l4, 0, header);
	if (is_icmp(spec->proto)) {
		l4[0] = spec->icmp_type;
		l4[1] = spec->icmp_code;
		put16(l4 + 4, spec->sport);
		if (spec->mtu)
			put16(l4 + 6, spec->mtu);
		put_checksum(l4, length, 2, spec->proto == IPPROTO_ICMPV6 ? pseudo : 0, false);
		return length;
	}
	put16(l4, spec->sport);
	put16(l4 + 2, spec->dport);
	if (spec->proto == IPPROTO_TCP) {
		put32(l4 + 4, spec->seq);
		put32(l4 + 8, spec->ack);
		l4[12] = 5 << 4;
		l4[13] = spec->tcp_flags;
		put16(l4 + 14, 64240);
		put_checksum(l4, length, 16, pseudo, false);
	} else if (spec->proto == IPPROTO_UDP) {
		put16(l4 + 4, length);
		if (!(spec->flags & FRAME_NO_CHECKSUM))
			put_checksum(l4, length, 6, pseudo, true);
	} else if (spec->proto == IPPROTO_SCTP) {
		put_crc(l4 + 8, crc32c(l4, length));
	}
	return length;
}

static size_t put_ip4(uint8_t *ip, const struct frame_spec *spec)
{
	size_t header = V4_HEADER + spec->options_length;
	size_t length = header + put_transport(ip + header, spec);

	memset(ip, 0, V4_HEADER);
	ip[0] = 0x40 | header / 4;
	put16(ip + 2, length);
	put16(ip + 4, spec->fragment_id);
	put16(ip + 6, (spec->flags & FRAME_DONT_FRAGMENT ? 0x4000 : 0) |
			      (spec->flags & FRAME_MORE_FRAGMENTS ? 0x2000 : 0) |
			      spec->fragment_offset / 8);
	ip[8] = spec->ttl ? spec->ttl : 64;
	ip[9] = spec->proto;
	memcpy(ip + 12, spec->source.bytes + 12, 4);
	memcpy(ip + 16, spec->destination.bytes + 12, 4);
	if (spec->options_length)
		memcpy(ip + V4_HEADER, spec->options, spec->options_length);
	put16(ip + 10, ~frame_sum(ip, header, 0));
	return length;
}

static size_t put_ip6(uint8_t *ip, const struct frame_spec *spec)
{
	bool fragment =
		spec->flags & (FRAME_FRAGMENT | FRAME_MORE_FRAGMENTS) || spec->fragment_offset;
	size_t at = V6_HEADER;

	memset(ip, 0, V6_HEADER);
	ip[0] = 0x60;
	ip[6] = spec->proto;
	ip[7] = spec->ttl ? spec->ttl : 64;
	memcpy(ip + 8, spec->source.bytes, 16);
	memcpy(ip + 24, spec->destination.bytes, 16);
	if (spec->options_length) {
		memcpy(ip + at, spec->options, spec->options_length);
		ip[6] = spec->first_next;
		ip[at + spec->last_next] = fragment ? IPPROTO_FRAGMENT : spec->proto;
		at += spec->options_length;
	} else if (fragment) {
		ip[6] = IPPROTO_FRAGMENT;
	}
	if (fragment) {
		memset(ip + at, 0, 8);
		ip[at] = spec->proto;
		put16(ip + at + 2, spec->fragment_offset | !!(spec->flags & FRAME_MORE_FRAGMENTS));
		put32(ip + at + 4, spec->fragment_id);
		at += 8;
	}
	at += put_transport(ip + at, spec);
	put16(ip + 4, at - V6_HEADER);
	return at;
}

void frame_make(struct frame *frame, const struct frame_spec *spec)
{
	bool v4 = addr_is_v4(&spec->source);
	uint8_t *b = frame->bytes;

	memcpy(b, spec->mac_destination, 6);
	memcpy(b + 6, spec->mac_source, 6);
	put16(b + 12, v4 ? ETH_P_IP : ETH_P_IPV6);
	frame->length = ETH_HLEN + (v4 ? put_ip4(b + ETH_HLEN, spec) : put_ip6(b + ETH_HLEN, spec));
}

static bool is_extension(uint8_t next)
{
	return next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_DSTOPTS ||
	       next == IPPROTO_FRAGMENT;
}

/* Fills everything up to the transport header. `ret_l4`: where it is, from the frame's start. */
static int read_ip(const struct frame *frame, struct frame_spec *s, size_t *ret_l4, size_t *ret_end)
{
	const uint8_t *ip = frame->bytes + ETH_HLEN;
	size_t l4;

	memcpy(s->mac_destination, frame->bytes, 6);
	memcpy(s->mac_source, frame->bytes + 6, 6);
	if (get16(frame->bytes + 12) == ETH_P_IP && frame->length >= ETH_HLEN + V4_HEADER) {
		s->source = s->destination = addr("0.0.0.0");
		memcpy(s->source.bytes + 12, ip + 12, 4);
		memcpy(s->destination.bytes + 12, ip + 16, 4);
		s->ttl = ip[8];
		s->proto = ip[9];
		s->fragment_offset = (get16(ip + 6) & 0x1fff) * 8;
		s->flags = (get16(ip + 6) & 0x2000 ? FRAME_MORE_FRAGMENTS : 0) |
			   (get16(ip + 6) & 0x4000 ? FRAME_DONT_FRAGMENT : 0);
		l4 = (ip[0] & 0xf) * 4;
		*ret_end = ETH_HLEN + get16(ip + 2);
	} else if (get16(frame->bytes + 12) == ETH_P_IPV6 &&
		   frame->length >= ETH_HLEN + V6_HEADER) {
		memcpy(s->source.bytes, ip + 8, 16);
		memcpy(s->destination.bytes, ip + 24, 16);
		s->ttl = ip[7];
		s->proto = ip[6];
		for (l4 = V6_HEADER;
		     is_extension(s->proto) && ETH_HLEN + l4 + 8 <= frame->length;) {
			uint8_t type = s->proto;

			if (type == IPPROTO_FRAGMENT) {
				s->fragment_offset = get16(ip + l4 + 2) & 0xfff8;
				s->flags |= FRAME_FRAGMENT |
					    (ip[l4 + 3] & 1 ? FRAME_MORE_FRAGMENTS : 0);
			}
			s->proto = ip[l4];
			l4 += type == IPPROTO_FRAGMENT ? 8 : (ip[l4 + 1] + 1) * 8;
		}
		*ret_end = ETH_HLEN + V6_HEADER + get16(ip + 4);
	} else {
		return -EINVAL;
	}
	*ret_l4 = ETH_HLEN + l4;
	return *ret_l4 <= frame->length ? 0 : -EINVAL;
}

int frame_read(const struct frame *frame, struct frame_spec *ret_spec)
{
	struct frame_spec s = {0};
	const uint8_t *l4;
	size_t offset, end, header;
	int r = read_ip(frame, &s, &offset, &end);

	if (r < 0)
		return r;
	header = transport_header(&s);
	l4 = frame->bytes + offset;
	if (offset + (header < 8 ? header : 8) > frame->length)
		return -EINVAL;
	if (header && is_icmp(s.proto)) {
		s.icmp_type = l4[0];
		s.icmp_code = l4[1];
		s.sport = get16(l4 + 4);
		s.mtu = get16(l4 + 6);
	} else if (header) {
		s.sport = get16(l4);
		s.dport = get16(l4 + 2);
	}
	if (s.proto == IPPROTO_TCP && header && offset + header <= frame->length) {
		s.seq = get32(l4 + 4);
		s.ack = get32(l4 + 8);
		s.tcp_flags = l4[13];
	}
	s.payload = l4 + header;
	s.payload_length = offset + header < end ? end - offset - header : 0;
	*ret_spec = s;
	return 0;
}

bool frame_sums_right(const struct frame *frame)
{
	struct frame_spec s = {0};
	const uint8_t *ip = frame->bytes + ETH_HLEN;
	size_t offset, end;
	uint32_t pseudo;

	if (read_ip(frame, &s, &offset, &end) < 0 || end > frame->length || end < offset)
		return false;
	if (addr_is_v4(&s.source) && frame_sum(ip, offset - ETH_HLEN, 0) != 0xffff)
		return false;
	if (s.fragment_offset || s.flags & FRAME_MORE_FRAGMENTS)
		return true;
	pseudo = s.proto == IPPROTO_ICMP ? 0 : pseudo_sum(&s, s.proto, end - offset);
	if (s.proto == IPPROTO_UDP && addr_is_v4(&s.source) && !get16(frame->bytes + offset + 6))
		return true;
	if (s.proto == IPPROTO_SCTP)
		return end - offset >= 12 && get_crc(frame->bytes + offset + 8) ==
						     crc32c(frame->bytes + offset, end - offset);
	if (s.proto != IPPROTO_TCP && s.proto != IPPROTO_UDP && !is_icmp(s.proto))
		return true;
	return frame_sum(frame->bytes + offset, end - offset, pseudo) == 0xffff;
}

int frame_inner(const struct frame *frame, struct frame *ret_inner)
{
	struct frame_spec s = {0};
	size_t offset, end;
	int r = read_ip(frame, &s, &offset, &end);

	if (r < 0 || !is_icmp(s.proto) || offset + 8 + V4_HEADER > frame->length)
		return -EINVAL;
	memset(ret_inner, 0, sizeof(*ret_inner));
	memcpy(ret_inner->bytes, frame->bytes, ETH_HLEN);
	ret_inner->length = ETH_HLEN + frame->length - offset - 8;
	memcpy(ret_inner->bytes + ETH_HLEN, frame->bytes + offset + 8,
	       ret_inner->length - ETH_HLEN);
	return 0;
}

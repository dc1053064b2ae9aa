/* SPDX-License-Identifier: Apache-2.0 */
/* The first packet of a connection, byte by byte: what a sender's kernel would put on the link. */
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <string.h>

#include "agent/explain/explain_frame.h"

#define TTL		64
#define HEADER_ALIGN	2 /* puts what follows the Ethernet header at a multiple of 4 */
#define SCTP_HEADER	12
#define SCTP_INIT	20
#define SCTP_CHUNK_INIT 1
#define TCP_SYN_WINDOW	64240

static uint64_t sum(const void *data, size_t length, uint64_t sum)
{
	const uint8_t *at = data;

	for (; length > 1; length -= 2, at += 2)
		sum += (uint32_t)at[0] << 8 | at[1];
	return length ? sum + ((uint32_t)at[0] << 8) : sum;
}

static __be16 fold(uint64_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

static uint8_t *put_ethernet(uint8_t *at, const struct explain_frame *frame)
{
	struct ethhdr *eth = (struct ethhdr *)at;

	memcpy(eth->h_dest, frame->to_mac, ETH_ALEN);
	memcpy(eth->h_source, frame->from_mac, ETH_ALEN);
	eth->h_proto = htons(frame->family == FAMILY_V4 ? ETH_P_IP : ETH_P_IPV6);
	return at + ETH_HLEN;
}

static uint8_t *put_ip(uint8_t *at, const struct explain_frame *frame, size_t payload)
{
	struct ip *v4 = (struct ip *)at;
	struct ip6_hdr *v6 = (struct ip6_hdr *)at;

	if (frame->family == FAMILY_V6) {
		v6->ip6_flow = htonl(0x60000000);
		v6->ip6_plen = htons((uint16_t)payload);
		v6->ip6_nxt = frame->proto;
		v6->ip6_hlim = TTL;
		memcpy(&v6->ip6_src, &frame->source, 16);
		memcpy(&v6->ip6_dst, &frame->destination, 16);
		return at + sizeof(*v6);
	}
	v4->ip_v = 4;
	v4->ip_hl = sizeof(*v4) / 4;
	v4->ip_len = htons((uint16_t)(sizeof(*v4) + payload));
	v4->ip_off = htons(IP_DF);
	v4->ip_ttl = TTL;
	v4->ip_p = frame->proto;
	memcpy(&v4->ip_src, &frame->source.words_be[3], 4);
	memcpy(&v4->ip_dst, &frame->destination.words_be[3], 4);
	v4->ip_sum = fold(sum(v4, sizeof(*v4), 0));
	return at + sizeof(*v4);
}

/* Addresses, protocol and length, as TCP, UDP and ICMPv6 sum them up (RFC 9293, 3.1; RFC
 * 8200, 8.1). */
static uint64_t pseudo(const struct explain_frame *frame, size_t length)
{
	size_t skip = frame->family == FAMILY_V4 ? 12 : 0;
	uint64_t total = sum(frame->source.bytes + skip, 16 - skip, 0);

	return sum(frame->destination.bytes + skip, 16 - skip, total) + frame->proto + length;
}

static void put_tcp(struct tcphdr *tcp, const struct explain_frame *frame)
{
	tcp->source = htons(frame->source_port);
	tcp->dest = htons(frame->port);
	tcp->seq = htonl(1);
	tcp->doff = sizeof(*tcp) / 4;
	tcp->syn = 1;
	tcp->window = htons(TCP_SYN_WINDOW);
	tcp->check = fold(sum(tcp, sizeof(*tcp), pseudo(frame, sizeof(*tcp))));
}

static void put_udp(struct udphdr *udp, const struct explain_frame *frame)
{
	udp->source = htons(frame->source_port);
	udp->dest = htons(frame->port);
	udp->len = htons(sizeof(*udp));
	udp->check = fold(sum(udp, sizeof(*udp), pseudo(frame, sizeof(*udp))));
	if (!udp->check)
		udp->check = 0xffff;
}

static void put_sctp(uint8_t *at, const struct explain_frame *frame)
{
	uint16_t ports[2] = {htons(frame->source_port), htons(frame->port)},
		 length = htons(SCTP_INIT);

	memcpy(at, ports, sizeof(ports));
	at[SCTP_HEADER] = SCTP_CHUNK_INIT;
	memcpy(at + SCTP_HEADER + 2, &length, sizeof(length));
	at[SCTP_HEADER + 7] = 1; /* the initiate tag, never 0 */
}

static void put_echo(uint8_t *at, const struct explain_frame *frame)
{
	uint16_t words[4] = {0, 0, htons(frame->source_port), htons(1)};
	uint64_t before = frame->family == FAMILY_V6 ? pseudo(frame, sizeof(words)) : 0;

	memcpy(at, words, sizeof(words));
	at[0] = frame->family == FAMILY_V6 ? ICMP6_ECHO_REQUEST : ICMP_ECHO;
	words[1] = fold(sum(at, sizeof(words), before));
	memcpy(at + 2, &words[1], sizeof(words[1]));
}

static size_t payload_length(uint8_t proto)
{
	switch (proto) {
	case IPPROTO_TCP:
		return sizeof(struct tcphdr);
	case IPPROTO_UDP:
		return sizeof(struct udphdr);
	case IPPROTO_SCTP:
		return SCTP_HEADER + SCTP_INIT;
	default:
		return sizeof(struct icmphdr);
	}
}

size_t explain_frame_make(const struct explain_frame *frame, uint8_t buffer[EXPLAIN_FRAME_MAX])
{
	size_t length = payload_length(frame->proto);
	uint8_t aligned[HEADER_ALIGN + EXPLAIN_FRAME_MAX] __attribute__((aligned(8))) = {0};
	uint8_t *begin = aligned + HEADER_ALIGN,
		*at = put_ip(put_ethernet(begin, frame), frame, length);

	switch (frame->proto) {
	case IPPROTO_TCP:
		put_tcp((struct tcphdr *)at, frame);
		break;
	case IPPROTO_UDP:
		put_udp((struct udphdr *)at, frame);
		break;
	case IPPROTO_SCTP:
		put_sctp(at, frame);
		break;
	default:
		put_echo(at, frame);
	}
	memcpy(buffer, begin, EXPLAIN_FRAME_MAX);
	return (size_t)(at - begin) + length;
}

void explain_frame_tuple(const struct explain_frame *frame, uint8_t zone, struct flow_tuple *ret)
{
	bool echo = frame->proto == IPPROTO_ICMP || frame->proto == IPPROTO_ICMPV6;
	uint8_t type = frame->family == FAMILY_V6 ? ICMP6_ECHO_REQUEST : ICMP_ECHO;

	*ret = (struct flow_tuple){
		.sport_be = htons(frame->source_port),
		.dport_be = htons(echo ? (uint16_t)(type << 8) : frame->port),
		.proto = frame->proto,
		.zone = zone,
	};
	if (frame->family == FAMILY_V4) {
		ret->v4.saddr_be = frame->source.words_be[3];
		ret->v4.daddr_be = frame->destination.words_be[3];
	} else {
		memcpy(ret->v6.saddr_be, &frame->source, 16);
		memcpy(ret->v6.daddr_be, &frame->destination, 16);
	}
}

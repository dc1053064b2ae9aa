/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/differential/datagram.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <string.h>

#include "policy/objects/objects.h"

#define PAYLOAD 16

static uint32_t add_words(uint32_t sum, const void *bytes, size_t length)
{
	const uint16_t *words = bytes;
	size_t i;

	for (i = 0; i < length / 2; i++)
		sum += words[i];
	return sum;
}

static uint16_t fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

static size_t make_ipv4(uint8_t *at, const struct polder_addr *source,
			const struct polder_addr *destination)
{
	struct iphdr header = {
		.version = 4,
		.ihl = 5,
		.tot_len = htons(sizeof(header) + sizeof(struct udphdr) + PAYLOAD),
		.ttl = 64,
		.protocol = IPPROTO_UDP,
		.saddr = source->words_be[3],
		.daddr = destination->words_be[3],
	};

	header.check = fold(add_words(0, &header, sizeof(header)));
	memcpy(at, &header, sizeof(header));
	return sizeof(header);
}

static size_t make_ipv6(uint8_t *at, const struct polder_addr *source,
			const struct polder_addr *destination)
{
	struct ipv6hdr header = {
		.version = 6,
		.payload_len = htons(sizeof(struct udphdr) + PAYLOAD),
		.nexthdr = IPPROTO_UDP,
		.hop_limit = 64,
	};

	memcpy(&header.saddr, source, 16);
	memcpy(&header.daddr, destination, 16);
	memcpy(at, &header, sizeof(header));
	return sizeof(header);
}

void datagram_make(struct datagram *d, const uint8_t mac_source[6],
		   const uint8_t mac_destination[6], const struct polder_addr *source,
		   const struct polder_addr *destination, uint16_t dport)
{
	bool v4 = addr_is_v4(source);
	struct udphdr udp = {.dest = htons(dport), .len = htons(sizeof(udp) + PAYLOAD)};
	uint16_t ethertype = htons(v4 ? ETH_P_IP : ETH_P_IPV6);

	memset(d, 0, sizeof(*d));
	memcpy(d->frame, mac_destination, 6);
	memcpy(d->frame + 6, mac_source, 6);
	memcpy(d->frame + 12, &ethertype, 2);
	d->udp = ETH_HLEN + (v4 ? make_ipv4 : make_ipv6)(d->frame + ETH_HLEN, source, destination);
	memcpy(d->frame + d->udp, &udp, sizeof(udp));
	d->length = d->udp + sizeof(udp) + PAYLOAD;
	datagram_set_sport(d, 1);
}

void datagram_set_sport(struct datagram *d, uint16_t sport)
{
	struct udphdr udp;
	uint32_t sum;

	memcpy(&udp, d->frame + d->udp, sizeof(udp));
	udp.source = htons(sport);
	udp.check = 0;
	memcpy(d->frame + d->udp, &udp, sizeof(udp));
	if (d->udp == ETH_HLEN + sizeof(struct iphdr))
		return;
	/* The addresses, the length, the protocol, then the datagram (RFC 8200, 8.1). */
	sum = add_words(htons(IPPROTO_UDP) + udp.len,
			d->frame + ETH_HLEN + offsetof(struct ipv6hdr, saddr), 32);
	udp.check = fold(add_words(sum, d->frame + d->udp, sizeof(udp) + PAYLOAD));
	if (!udp.check)
		udp.check = 0xffff;
	memcpy(d->frame + d->udp, &udp, sizeof(udp));
}

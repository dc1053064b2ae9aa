/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/announce/frames.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <net/ethernet.h>
#include <netinet/icmp6.h>
#include <netinet/if_ether.h>
#include <netinet/ip6.h>
#include <string.h>

static const uint8_t everybody[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, nobody[6];
/* ff02::1 */
static const struct polder_addr all_nodes = {.bytes = {0xff, 2, [15] = 1}};

static size_t put_ethernet(uint8_t *frame, const uint8_t to[6], const uint8_t from[6],
			   uint16_t type)
{
	memset(frame, 0, FRAME_MOST);
	memcpy(frame, to, 6);
	memcpy(frame + 6, from, 6);
	frame[12] = (uint8_t)(type >> 8);
	frame[13] = (uint8_t)type;
	return sizeof(struct ether_header);
}

/* ---------------------------------------------------------------- ARP */

/* Frames are padded to what Ethernet asks for: some devices do not do it themselves. */
#define LENGTH_LEAST 60

static size_t put_arp(uint8_t *frame, const uint8_t mac[6], uint16_t operation,
		      const struct polder_addr *sender, const struct polder_addr *target,
		      const uint8_t target_mac[6])
{
	struct ether_arp arp = {.ea_hdr = {.ar_hrd = htons(ARPHRD_ETHER),
					   .ar_pro = htons(ETHERTYPE_IP),
					   .ar_hln = 6,
					   .ar_pln = 4,
					   .ar_op = htons(operation)}};

	memcpy(arp.arp_sha, mac, 6);
	if (sender)
		memcpy(arp.arp_spa, sender->bytes + 12, 4);
	memcpy(arp.arp_tha, target_mac, 6);
	memcpy(arp.arp_tpa, target->bytes + 12, 4);
	memcpy(frame + put_ethernet(frame, everybody, mac, ETHERTYPE_ARP), &arp, sizeof(arp));
	return LENGTH_LEAST;
}

int frame_read_arp(const uint8_t *bytes, size_t length, struct polder_addr *ret_addr,
		   uint8_t ret_mac[6])
{
	struct ether_arp arp;

	if (length < sizeof(struct ether_header) + sizeof(arp))
		return -EINVAL;
	memcpy(&arp, bytes + sizeof(struct ether_header), sizeof(arp));
	if (arp.arp_hrd != htons(ARPHRD_ETHER) || arp.arp_pro != htons(ETHERTYPE_IP) ||
	    arp.arp_hln != 6 || arp.arp_pln != 4 || arp.arp_op != htons(ARPOP_REPLY))
		return -EINVAL;
	*ret_addr = (struct polder_addr){.bytes = {[10] = 0xff, [11] = 0xff}};
	memcpy(ret_addr->bytes + 12, arp.arp_spa, 4);
	memcpy(ret_mac, arp.arp_sha, 6);
	return 0;
}

/* ---------------------------------------------------------------- neighbour discovery */

struct polder_addr frame_solicited_group(const struct polder_addr *addr)
{
	struct polder_addr group = {.bytes = {0xff, 2, [11] = 1, [12] = 0xff}};

	memcpy(group.bytes + 13, addr->bytes + 13, 3);
	return group;
}

void frame_group_mac(const struct polder_addr *group, uint8_t ret_mac[6])
{
	ret_mac[0] = ret_mac[1] = 0x33;
	memcpy(ret_mac + 2, group->bytes + 12, 4);
}

static uint32_t add_up(const void *bytes, size_t length, uint32_t sum)
{
	const uint8_t *b = bytes;

	for (size_t i = 0; i + 1 < length; i += 2)
		sum += (uint32_t)b[i] << 8 | b[i + 1];
	return sum;
}

/* RFC 8200, 8.1. */
static uint16_t checksum(const struct ip6_hdr *ip, const void *message, size_t length)
{
	uint32_t sum = add_up(&ip->ip6_src, 32, IPPROTO_ICMPV6 + (uint32_t)length);

	sum = add_up(message, length, sum);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

struct nd {
	uint8_t type, code;
	uint16_t check;
	uint32_t flags_be;
	uint8_t target[16];
	uint8_t option, option_length, option_mac[6];
};

/* `length`: of the message with its option, or without one. */
static size_t put_nd(uint8_t *frame, const uint8_t from_mac[6], const struct polder_addr *from,
		     const struct polder_addr *group, struct nd *message, size_t length)
{
	struct ip6_hdr ip = {.ip6_flow = htonl(6u << 28),
			     .ip6_plen = htons((uint16_t)length),
			     .ip6_nxt = IPPROTO_ICMPV6,
			     .ip6_hlim = 255};
	uint8_t to[6];
	size_t at;

	if (from)
		memcpy(&ip.ip6_src, from->bytes, 16);
	memcpy(&ip.ip6_dst, group->bytes, 16);
	message->check = checksum(&ip, message, length);
	frame_group_mac(group, to);
	at = put_ethernet(frame, to, from_mac, ETHERTYPE_IPV6);
	memcpy(frame + at, &ip, sizeof(ip));
	memcpy(frame + at + sizeof(ip), message, length);
	return at + sizeof(ip) + length;
}

int frame_read_advertisement(const uint8_t *bytes, size_t length, struct polder_addr *ret_addr,
			     uint8_t ret_mac[6])
{
	struct nd nd = {};

	if (length < offsetof(struct nd, option))
		return -EINVAL;
	memcpy(&nd, bytes, length < sizeof(nd) ? offsetof(struct nd, option) : sizeof(nd));
	if (nd.type != ND_NEIGHBOR_ADVERT)
		return -EINVAL;
	memcpy(ret_addr->bytes, nd.target, 16);
	if (nd.option == ND_OPT_TARGET_LINKADDR && nd.option_length == 1)
		memcpy(ret_mac, nd.option_mac, 6);
	else
		memset(ret_mac, 0, 6);
	return 0;
}

/* ---------------------------------------------------------------- both families */

size_t frame_probe(uint8_t frame[FRAME_MOST], const uint8_t mac[6], const struct polder_addr *addr)
{
	struct nd solicitation = {.type = ND_NEIGHBOR_SOLICIT};
	struct polder_addr group;

	if (addr_is_v4(addr))
		return put_arp(frame, mac, ARPOP_REQUEST, NULL, addr, nobody);
	group = frame_solicited_group(addr);
	memcpy(solicitation.target, addr->bytes, 16);
	return put_nd(frame, mac, NULL, &group, &solicitation, offsetof(struct nd, option));
}

size_t frame_tell(uint8_t frame[FRAME_MOST], const uint8_t mac[6], const struct polder_addr *addr,
		  bool answer)
{
	struct nd advertisement = {.type = ND_NEIGHBOR_ADVERT,
				   .flags_be = ND_NA_FLAG_OVERRIDE,
				   .option = ND_OPT_TARGET_LINKADDR,
				   .option_length = 1};

	if (addr_is_v4(addr))
		return put_arp(frame, mac, answer ? ARPOP_REPLY : ARPOP_REQUEST, addr, addr,
			       answer ? everybody : nobody);
	memcpy(advertisement.target, addr->bytes, 16);
	memcpy(advertisement.option_mac, mac, 6);
	return put_nd(frame, mac, addr, &all_nodes, &advertisement, sizeof(advertisement));
}

/* ---------------------------------------------------------------- words of nodes */

#define WORDS_MAGIC   0x504c4452u /* "PLDR" */
#define WORDS_VERSION 1

struct words_head {
	uint32_t magic_be;
	uint8_t version;
	uint8_t name_length;
	uint8_t count;
	uint8_t pad;
} __attribute__((packed));

struct words_entry {
	uint8_t addr[16];
	uint64_t term_be;
	uint64_t since_be;
	uint8_t word;
	uint8_t pad[7];
} __attribute__((packed));

_Static_assert(sizeof(struct ether_header) + sizeof(struct words_head) + LIMIT_NAME +
			       FRAME_WORDS_MOST * sizeof(struct words_entry) <=
		       FRAME_MOST,
	       "a frame has room for as many entries");

size_t frame_words_write(uint8_t frame[FRAME_MOST], const uint8_t mac[6],
			 const struct frame_words *words)
{
	size_t at = put_ethernet(frame, everybody, mac, FRAME_WORDS_TYPE);
	struct words_head head = {.magic_be = htonl(WORDS_MAGIC),
				  .version = WORDS_VERSION,
				  .name_length = (uint8_t)strlen(words->node),
				  .count = (uint8_t)words->count};

	memcpy(frame + at, &head, sizeof(head));
	at += sizeof(head);
	memcpy(frame + at, words->node, head.name_length);
	at += head.name_length;
	for (size_t i = 0; i < words->count; i++) {
		const struct claim_entry *said = &words->entries[i];
		struct words_entry entry = {.term_be = htobe64(said->term),
					    .since_be = htobe64((uint64_t)said->since),
					    .word = (uint8_t)said->word};

		memcpy(entry.addr, said->addr.bytes, sizeof(entry.addr));
		memcpy(frame + at, &entry, sizeof(entry));
		at += sizeof(entry);
	}
	return at < LENGTH_LEAST ? LENGTH_LEAST : at;
}

static void read_entry(const uint8_t *bytes, struct claim_entry *ret)
{
	struct words_entry entry;

	memcpy(&entry, bytes, sizeof(entry));
	memcpy(ret->addr.bytes, entry.addr, sizeof(entry.addr));
	ret->term = be64toh(entry.term_be);
	ret->since = (int64_t)be64toh(entry.since_be);
	ret->word = entry.word;
}

int frame_words_read(const uint8_t *bytes, size_t length, struct frame_words *ret)
{
	size_t at = sizeof(struct ether_header);
	struct words_head head;

	if (length < at + sizeof(head))
		return -EINVAL;
	memcpy(&head, bytes + at, sizeof(head));
	at += sizeof(head);
	if (bytes[12] != FRAME_WORDS_TYPE >> 8 || bytes[13] != (FRAME_WORDS_TYPE & 0xff) ||
	    ntohl(head.magic_be) != WORDS_MAGIC)
		return -EINVAL;
	if (head.version != WORDS_VERSION)
		return -EPROTONOSUPPORT;
	if (!head.name_length || head.name_length > LIMIT_NAME || head.count > FRAME_WORDS_MOST ||
	    length - at < head.name_length + head.count * sizeof(struct words_entry))
		return -EINVAL;
	memcpy(ret->node, bytes + at, head.name_length);
	ret->node[head.name_length] = '\0';
	at += head.name_length;
	for (size_t i = 0; i < head.count; i++)
		read_entry(bytes + at + i * sizeof(struct words_entry), &ret->entries[i]);
	ret->count = head.count;
	return 0;
}

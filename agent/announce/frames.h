/* SPDX-License-Identifier: Apache-2.0 */
/* The frames by which addresses are asked for and announced, and by which nodes tell each other
 * what they hold. */
#pragma once

#include "agent/announce/claims.h"

#define FRAME_MOST 1514

/* For an address of either family. Each returns the frame's length. */
/* Does anybody answer for it? From nobody's address, so that no host learns anything. */
size_t frame_probe(uint8_t frame[FRAME_MOST], const uint8_t mac[6], const struct polder_addr *addr);
/* It is here: to all hosts of the link. Of ARP as a request; `answer`: as an answer, which some
 * hosts take alone. */
size_t frame_tell(uint8_t frame[FRAME_MOST], const uint8_t mac[6], const struct polder_addr *addr,
		  bool answer);
/* An ARP answer: whose, and with which MAC address. 0 or -EINVAL. */
int frame_read_arp(const uint8_t *bytes, size_t length, struct polder_addr *ret_addr,
		   uint8_t ret_mac[6]);
/* A neighbour advertisement, from its ICMPv6 header on. */
int frame_read_advertisement(const uint8_t *bytes, size_t length, struct polder_addr *ret_addr,
			     uint8_t ret_mac[6]);
/* The group that is asked when somebody looks for an IPv6 address, and its MAC address. */
struct polder_addr frame_solicited_group(const struct polder_addr *addr);
void frame_group_mac(const struct polder_addr *group, uint8_t ret_mac[6]);

/*
 * What a node says, broadcast on the link with an EtherType for local use (IEEE 802, 88-B5): no
 * router hands it on, no packet filter of a node keeps it out, and where ARP gets through it does.
 */
#define FRAME_WORDS_TYPE 0x88b5
#define FRAME_WORDS_MOST 30

struct frame_words {
	char node[LIMIT_NAME + 1];
	struct claim_entry entries[FRAME_WORDS_MOST];
	size_t count;
};
size_t frame_words_write(uint8_t frame[FRAME_MOST], const uint8_t mac[6],
			 const struct frame_words *words);
/* The whole frame. 0; -EINVAL: it is none of these, or cut; -EPROTONOSUPPORT: of another version.
 */
int frame_words_read(const uint8_t *bytes, size_t length, struct frame_words *ret);

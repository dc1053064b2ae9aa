/* SPDX-License-Identifier: Apache-2.0 */
/* UDP datagrams of either family, made once and sent often with other ports. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "datapath/abi.h"

#define DATAGRAM_ROOM 128

struct datagram {
	uint8_t frame[DATAGRAM_ROOM]; /* Ethernet, IP, UDP, a few bytes */
	size_t length;
	size_t udp; /* offset of the UDP header */
};

/* Both addresses of one family. Checksums are right; IPv4 goes without UDP's. */
void datagram_make(struct datagram *datagram, const uint8_t mac_source[6],
		   const uint8_t mac_destination[6], const struct polder_addr *source,
		   const struct polder_addr *destination, uint16_t dport);
/* Another source port, and the checksum with it. */
void datagram_set_sport(struct datagram *datagram, uint16_t sport);

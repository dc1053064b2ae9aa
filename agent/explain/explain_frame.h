/* SPDX-License-Identifier: Apache-2.0 */
/* The first packet of a connection: TCP SYN, UDP, SCTP INIT or an ICMP echo request. */
#pragma once

#include "policy/objects/objects.h"

#define EXPLAIN_FRAME_MAX 128

struct explain_frame {
	uint8_t from_mac[6], to_mac[6];
	uint8_t family; /* enum polder_family */
	uint8_t proto;
	struct polder_addr source, destination;
	uint16_t source_port; /* of an echo: its identifier */
	uint16_t port;	      /* host byte order */
};

/* With headers and checksums (but SCTP's, which no program reads). Returns the length. */
size_t explain_frame_make(const struct explain_frame *frame, uint8_t buffer[EXPLAIN_FRAME_MAX]);
/* The flow it opens. */
void explain_frame_tuple(const struct explain_frame *frame, uint8_t zone, struct flow_tuple *ret);

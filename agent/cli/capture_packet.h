/* SPDX-License-Identifier: Apache-2.0 */
/* One record of a capture: the packet as it came, as it left, and what was decided about it. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "datapath/capture_abi.h"

struct capture_image {
	const uint8_t *bytes;
	uint32_t captured, length;
};

struct capture_packet {
	struct capture_record record;
	struct capture_image before;
	struct capture_image after; /* captured 0: it left as it came, or not at all */
};

/*
 * Takes a record apart. `room` is for the packet as it came, CAPTURE_SNAPLEN bytes; the images are
 * valid as long as `data` and it. 0, or -EBADMSG: no record.
 */
int capture_packet_read(const void *data, size_t size, uint32_t snaplen, uint8_t *room,
			struct capture_packet *ret);
/* What the agent is asked about it: the same for all packets of a flow with the same verdict. */
void capture_packet_event(const struct capture_packet *packet, struct polder_event *ret);

/* "eth0 from_wire", "eth0 xdp translated". `link`: its name. */
void capture_interface_name(const struct capture_record *record, const char *link, bool after,
			    char *ret, size_t size);
/*
 * What is written to a packet as its comment: "verdict: drop; reason: ...; from: demo/client; ...".
 * `names`: the agent's document of the event; NULL: names were not asked for. Control characters of
 * names are escaped.
 */
void capture_comment(const struct capture_record *record, const json_t *names, char *ret,
		     size_t size);
/* "IP 10.0.0.1.4711 > 10.0.0.2.80: tcp [S], length 74", as tcpdump has it. */
void capture_line(const struct capture_image *image, char *ret, size_t size);
/* "14:03:07.123456", of the time zone. */
void capture_time(uint64_t time_ns, char *ret, size_t size);

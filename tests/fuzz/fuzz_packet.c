/* SPDX-License-Identifier: Apache-2.0 */
/* The programs' packet parser, built for user space: it reads nothing behind the frame and says
 * nothing that cannot be. */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "datapath/packet.h"

/* What follows from a parsed packet, whatever its bytes were. */
static void check_parsed(const struct packet *p, size_t size)
{
	size_t header =
		p->family == FAMILY_V4 ? sizeof(struct ipv4_header) : sizeof(struct ipv6_header);

	MUST(p->family == FAMILY_V4 || p->family == FAMILY_V6);
	MUST(p->l4 >= ETH_HLEN + header);
	MUST(p->ip_length + ETH_HLEN <= size);
	MUST(!(p->flags & PACKET_FIRST_FRAGMENT) || !(p->flags & PACKET_LATER_FRAGMENT));
	/* Ports are read from the frame, or not at all. */
	MUST(!(p->flags & PACKET_HAS_PORTS) ||
	     (!(p->flags & PACKET_LATER_FRAGMENT) && p->l4 + 8u <= size));
	MUST(!(p->flags & PACKET_LATER_FRAGMENT) || (!p->tuple.sport_be && !p->tuple.dport_be));
	MUST(!(p->flags & PACKET_ICMP_ERROR) || !(p->flags & PACKET_HAS_PORTS));
}

static void check_reversed(const struct packet *p)
{
	struct port_pair once =
		ports_reversed(p->tuple.proto, p->tuple.sport_be, p->tuple.dport_be);
	struct port_pair twice = ports_reversed(p->tuple.proto, once.sport_be, once.dport_be);

	MUST(twice.sport_be == p->tuple.sport_be && twice.dport_be == p->tuple.dport_be);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct packet p = {.length = size};
	/* Exactly as large as the frame, so that a read behind it is seen. */
	uint8_t *frame;
	struct cursor c;
	int result;

	if (size < ETH_HLEN || size > 2048)
		return 0;
	frame = malloc(size);
	MUST(frame != NULL);
	memcpy(frame, data, size);
	c = (struct cursor){frame, frame + size};
	result = frame[12] == 0x08 ? parse_ipv4(c, &p) : parse_ipv6(c, &p);
	MUST(result <= 0 && result > -REASON_COUNT);
	if (result == 0) {
		check_parsed(&p, size);
		check_reversed(&p);
	}
	free(frame);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The grammar of made frames, and what damages them. */
#include <netinet/in.h>
#include <string.h>

#include "frames.h"
#include "frames_model.h"

uint64_t dice_next(struct dice *dice)
{
	uint64_t x = dice->state += 0x9e3779b97f4a7c15ull;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

uint32_t dice_roll(struct dice *dice, uint32_t sides)
{
	return (uint32_t)((dice_next(dice) >> 32) * sides >> 32);
}

bool dice_percent(struct dice *dice, uint32_t percent)
{
	return dice_roll(dice, 100) < percent;
}

#define PICK(dice, list) (list)[dice_roll(dice, sizeof(list) / sizeof((list)[0]))]

/* What one frame is made with. */
struct making {
	struct dice *dice;
	const struct world *world;
	const struct model *model;
	struct probe *probe;
	struct frame_spec spec;
	bool v4;
	uint8_t extensions[256];
	uint8_t payload[FRAME_ROOM];
};

/* ------------------------------------------------------------------ parts */

static struct polder_addr any_address(struct making *m)
{
	static const char *const odd[2][8] = {
		{"::1", "::", "ff02::1", "fe80::1", "::ffff:10.1.0.12", "fd00:2::77",
		 "2001:db8:77::1", "fd00:1::fe"},
		{"127.0.0.1", "0.0.0.0", "224.0.0.251", "255.255.255.255", "169.254.1.1",
		 "10.2.7.7", "203.0.113.77", "10.1.0.255"},
	};

	if (dice_percent(m->dice, 12)) {
		struct polder_addr a = addr(odd[m->v4][dice_roll(m->dice, 8)]);

		/* A mapped address in an IPv6 frame is made by hand: frame_make() would take it for
		 * IPv4. */
		return addr_is_v4(&a) == m->v4 ? a : host_address(HOST_DENIED, m->v4);
	}
	return host_address(dice_roll(m->dice, HOST_COUNT), m->v4);
}

static uint16_t any_port(struct making *m)
{
	static const uint16_t ports[] = {53,	       80,	 443, 5353,  8080, 9100, PORT_MIN,
					 PORT_MIN + 1, PORT_MAX, 0,   65535, 547,  546};

	return dice_percent(m->dice, 85) ? PICK(m->dice, ports) : dice_next(m->dice);
}

static uint16_t any_source_port(struct making *m)
{
	return dice_percent(m->dice, 80) ? 2000 + dice_roll(m->dice, 40) : any_port(m);
}

static uint8_t any_proto(struct making *m)
{
	static const uint8_t odd[] = {
		IPPROTO_SCTP, IPPROTO_GRE, IPPROTO_ESP, IPPROTO_AH, IPPROTO_IPIP,
		IPPROTO_IPV6, 59,	   135,		255,	    0};
	uint32_t roll = dice_roll(m->dice, 100);

	if (roll < 40)
		return IPPROTO_TCP;
	if (roll < 75)
		return IPPROTO_UDP;
	if (roll < 90)
		return m->v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6;
	return roll < 92 ? (m->v4 ? IPPROTO_ICMPV6 : IPPROTO_ICMP) : PICK(m->dice, odd);
}

static void set_any_payload(struct making *m)
{
	uint32_t roll = dice_roll(m->dice, 100);
	uint32_t length = roll < 60   ? dice_roll(m->dice, 64)
			  : roll < 90 ? dice_roll(m->dice, 600)
				      : dice_roll(m->dice, 1700);

	for (uint32_t i = 0; i < length; i += 8) {
		uint64_t word = dice_next(m->dice);

		memcpy(m->payload + i, &word, sizeof(word));
	}
	m->spec.payload = m->payload;
	m->spec.payload_length = length;
}

static void set_any_hop(struct making *m)
{
	static const uint8_t hops[] = {1, 2, 64, 128, 255};

	m->spec.ttl = dice_percent(m->dice, 8) ? PICK(m->dice, hops) : 64;
	m->spec.seq = dice_next(m->dice);
	m->spec.ack = dice_next(m->dice);
	if (dice_percent(m->dice, 50))
		m->spec.flags |= FRAME_DONT_FRAGMENT;
	if (dice_percent(m->dice, 5))
		m->spec.flags |= FRAME_NO_CHECKSUM;
}

static void set_any_tcp_flags(struct making *m, bool opens)
{
	static const uint8_t flags[] = {0x02, 0x12, 0x10, 0x18, 0x11, 0x04,
					0x14, 0x00, 0x29, 0xff, 0x06, 0x03};

	m->spec.tcp_flags = dice_percent(m->dice, 85) ? (opens			     ? 0x02
							 : dice_percent(m->dice, 50) ? 0x12
										     : 0x10)
						      : PICK(m->dice, flags);
}

static void set_any_icmp(struct making *m)
{
	static const uint8_t types[] = {0, 3,	4,   5,	  8,   9,   11,	 12,  13,  14, 1,
					2, 128, 129, 130, 133, 134, 135, 136, 137, 143};

	m->spec.icmp_type = dice_percent(m->dice, 70) ? (m->v4 ? 8 : 128) : PICK(m->dice, types);
	m->spec.icmp_code = dice_percent(m->dice, 80) ? 0 : dice_roll(m->dice, 16);
}

/* Options of IPv4, a multiple of 4 bytes. */
static void set_options4(struct making *m)
{
	static const uint8_t kinds[] = {0, 1, 7, 68, 130, 131, 137, 148, 255};
	size_t length = 4 * (1 + dice_roll(m->dice, 10)), at = 0;

	memset(m->extensions, 1, length);
	while (at < length) {
		uint8_t kind = PICK(m->dice, kinds);

		m->extensions[at++] = kind;
		if (kind > 1 && at < length) {
			uint8_t size = 2 + dice_roll(m->dice, 6);

			m->extensions[at] = dice_percent(m->dice, 90) ? size : dice_next(m->dice);
			at += size - 1;
		}
	}
	m->spec.options = m->extensions;
	m->spec.options_length = length;
}

/* A chain of extension headers of IPv6. */
static void set_extensions6(struct making *m)
{
	static const uint8_t kinds[] = {IPPROTO_DSTOPTS, IPPROTO_DSTOPTS, IPPROTO_ROUTING,
					IPPROTO_AH,	 IPPROTO_HOPOPTS, IPPROTO_FRAGMENT};
	uint32_t count =
		dice_percent(m->dice, 90) ? 1 + dice_roll(m->dice, 3) : 1 + dice_roll(m->dice, 10);
	uint8_t kind = dice_percent(m->dice, 30) ? IPPROTO_HOPOPTS : PICK(m->dice, kinds);
	size_t at = 0;

	m->spec.first_next = kind;
	for (uint32_t i = 0; i < count && at + 40 < sizeof(m->extensions); i++) {
		uint8_t *header = m->extensions + at, next = PICK(m->dice, kinds);
		size_t length = kind == IPPROTO_FRAGMENT ? 8 : 8 * (1 + dice_roll(m->dice, 3));

		memset(header, 0, length);
		header[0] = next;
		header[1] = kind == IPPROTO_AH	       ? length / 4 - 2
			    : kind == IPPROTO_FRAGMENT ? 0
						       : length / 8 - 1;
		if (kind == IPPROTO_ROUTING)
			header[2] = dice_percent(m->dice, 20) ? 0 : 4;
		else if (kind != IPPROTO_FRAGMENT && kind != IPPROTO_AH)
			header[2] = 1, header[3] = length - 4; /* PadN */
		m->spec.last_next = at;
		at += length;
		kind = next;
	}
	m->spec.options = m->extensions;
	m->spec.options_length = at;
}

static void set_any_decoration(struct making *m)
{
	if (dice_percent(m->dice, 8)) {
		if (m->v4)
			set_options4(m);
		else
			set_extensions6(m);
	}
}

static void set_any_fragment(struct making *m)
{
	static const uint16_t offsets[] = {8, 16, 24, 64, 1480};

	m->spec.fragment_id = dice_roll(m->dice, 3);
	m->spec.flags &= ~FRAME_DONT_FRAGMENT;
	if (dice_percent(m->dice, 50)) {
		m->spec.flags |= FRAME_MORE_FRAGMENTS;
		return;
	}
	m->spec.fragment_offset = PICK(m->dice, offsets);
	if (dice_percent(m->dice, 30))
		m->spec.flags |= FRAME_MORE_FRAGMENTS;
}

/* ------------------------------------------------------------------ where it comes in */

/* The hook that frames of this zone with these addresses come by. */
static void set_hook(struct making *m, enum polder_zone zone)
{
	int source = pod_of_address(&m->spec.source),
	    destination = pod_of_address(&m->spec.destination);
	struct probe *probe = m->probe;

	probe->hook = zone == ZONE_POD	  ? HOOK_FROM_POD
		      : zone == ZONE_HOST ? HOOK_TO_POD
					  : HOOK_FROM_WIRE;
	/* What the node's stack forwards to a pod. */
	if (zone == ZONE_WIRE && destination >= 0 && dice_percent(m->dice, 30))
		probe->hook = HOOK_TO_POD;
	if (zone == ZONE_WIRE && probe->hook == HOOK_FROM_WIRE &&
	    dice_percent(m->dice, destination < 0 ? 25 : 10))
		probe->hook = HOOK_WIRE_XDP;
	if (source < 0)
		source = dice_roll(m->dice, WORLD_PODS);
	if (destination < 0)
		destination = dice_roll(m->dice, WORLD_PODS);
	probe->link = probe->hook == HOOK_FROM_POD ? m->world->pods[source].link
		      : probe->hook == HOOK_TO_POD ? m->world->pods[destination].link
						   : WORLD_UPLINK;
	probe->ingress = zone == ZONE_HOST	      ? 0
			 : probe->hook == HOOK_TO_POD ? WORLD_UPLINK
						      : probe->link;
	memcpy(m->spec.mac_source, zone == ZONE_POD ? m->world->pods[source].mac : world_router_mac,
	       6);
	memcpy(m->spec.mac_destination,
	       zone == ZONE_POD ? world_gateway_mac : (const uint8_t[6]){2, 0, 0, 0, 0, 0x21}, 6);
	if (zone == ZONE_POD && dice_percent(m->dice, 2))
		m->spec.mac_source[5] ^= 1;
}

static void set_gso(struct making *m)
{
	static const uint32_t sizes[] = {0, 1, 500, 1400, 1448, 1452, 0xffff};

	if (m->probe->hook == HOOK_WIRE_XDP || m->probe->ingress != m->probe->link ||
	    !dice_percent(m->dice, 6))
		return;
	m->probe->gso = true;
	m->probe->gso_segments = dice_roll(m->dice, 4);
	m->probe->gso_size = PICK(m->dice, sizes);
}

/* ------------------------------------------------------------------ kinds of frames */

static void make_of_flow(struct making *m, const struct known_flow *flow)
{
	bool icmp = flow->in.proto == IPPROTO_ICMP || flow->in.proto == IPPROTO_ICMPV6;

	m->v4 = addr_is_v4(&flow->in.source);
	m->spec.source = flow->in.source;
	m->spec.destination = flow->in.destination;
	m->spec.proto = flow->in.proto;
	m->spec.sport = flow->in.sport;
	m->spec.dport = icmp ? 0 : flow->in.dport;
	m->spec.icmp_type = flow->in.dport >> 8;
	set_any_tcp_flags(m, false);
	set_hook(m, flow->in.zone);
	if (flow->in.zone == ZONE_HOST && pod_of_address(&flow->in.destination) < 0) {
		m->probe->hook = HOOK_TO_WIRE;
		m->probe->link = WORLD_UPLINK;
	}
}

/* The node's own, on a port that the flow has where it leaves. */
static void make_beside(struct making *m, const struct known_flow *flow)
{
	struct known_flow own = {.in = flow->out, .way = OUT_WIRE};

	own.in.zone = ZONE_HOST;
	make_of_flow(m, &own);
	if (dice_percent(m->dice, 50))
		m->spec.tcp_flags = 0x02;
}

/* To a Service's external frontend, mostly at a port that is served. */
static void set_frontend(struct making *m)
{
	static const struct {
		enum host host;
		uint8_t proto;
		uint16_t port;
	} frontends[] = {
		{HOST_EXTERNAL, IPPROTO_TCP, 80},  {HOST_EXTERNAL, IPPROTO_UDP, 53},
		{HOST_NODE, IPPROTO_TCP, 30080},   {HOST_NODE, IPPROTO_UDP, 30053},
		{HOST_BALANCER, IPPROTO_TCP, 443}, {HOST_BALANCER, IPPROTO_UDP, 443},
		{HOST_BALANCER, IPPROTO_TCP, 80},
	};
	uint32_t roll = dice_roll(m->dice, sizeof(frontends) / sizeof(frontends[0]));

	m->spec.destination = host_address(frontends[roll].host, m->v4);
	if (dice_percent(m->dice, 10))
		return;
	m->spec.proto = frontends[roll].proto;
	m->spec.dport = frontends[roll].port;
}

static void make_new(struct making *m)
{
	uint32_t roll = dice_roll(m->dice, 100);
	enum polder_zone zone = roll < 60 ? ZONE_POD : roll < 90 ? ZONE_WIRE : ZONE_HOST;

	m->v4 = dice_percent(m->dice, 50);
	m->spec.proto = any_proto(m);
	m->spec.sport = any_source_port(m);
	m->spec.dport = any_port(m);
	set_any_tcp_flags(m, true);
	set_any_icmp(m);
	m->spec.destination = any_address(m);
	if (zone == ZONE_POD) {
		m->spec.source = host_address(HOST_POD0 + dice_roll(m->dice, WORLD_PODS), m->v4);
		if (dice_percent(m->dice, 3))
			m->spec.source = any_address(m);
	} else {
		m->spec.source =
			zone == ZONE_HOST ? host_address(HOST_NODE, m->v4) : any_address(m);
		if (dice_percent(m->dice, 60))
			m->spec.destination =
				host_address(HOST_POD0 + dice_roll(m->dice, WORLD_PODS), m->v4);
	}
	if (zone != ZONE_HOST && dice_percent(m->dice, 30))
		set_frontend(m);
	set_hook(m, zone);
	if (zone == ZONE_HOST && dice_percent(m->dice, 20)) {
		m->probe->hook = HOOK_TO_WIRE;
		m->probe->link = WORLD_UPLINK;
		m->spec.destination = any_address(m);
		m->spec.sport = PORT_MIN + dice_roll(m->dice, PORT_MAX - PORT_MIN + 1);
	}
}

/* The packet that the flow's receiver has seen, as it stands in an error about it. */
static size_t quote(struct making *m, const struct known_flow *flow, uint8_t *to)
{
	bool icmp = flow->out.proto == IPPROTO_ICMP || flow->out.proto == IPPROTO_ICMPV6;
	struct frame_spec inner = {
		.source = flow->out.source,
		.destination = flow->out.destination,
		.proto = flow->out.proto,
		.sport = flow->out.sport,
		.dport = icmp ? 0 : flow->out.dport,
		.icmp_type = flow->out.dport >> 8,
		.tcp_flags = 0x10,
		.flags = dice_percent(m->dice, 10) ? FRAME_NO_CHECKSUM : 0,
		.payload_length = dice_roll(m->dice, 40),
	};
	struct frame frame;
	size_t length;

	frame_make(&frame, &inner);
	length = frame.length - 14;
	if (dice_percent(m->dice, 40)) /* header and 8 bytes (RFC 792) */
		length = m->v4 ? 28 : 48;
	if (length > frame.length - 14)
		length = frame.length - 14;
	memcpy(to, frame.bytes + 14, length);
	return length;
}

/* By the receiver, or a router on the way, mostly to who sent the packet. */
static void make_error(struct making *m, const struct known_flow *flow)
{
	static const uint8_t types[2][4] = {{1, 2, 3, 4}, {3, 3, 11, 12}};
	enum polder_zone zone = flow->way <= OUT_POD2	? ZONE_POD
				: flow->way == OUT_HOST ? ZONE_HOST
							: ZONE_WIRE;

	m->v4 = addr_is_v4(&flow->in.source);
	m->spec.proto = m->v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6;
	m->spec.icmp_type = types[m->v4][dice_roll(m->dice, 4)];
	m->spec.icmp_code = dice_roll(m->dice, 6);
	m->spec.mtu = dice_percent(m->dice, 50) ? 1280 : 0;
	m->spec.source = dice_percent(m->dice, 80) ? flow->out.destination : any_address(m);
	m->spec.destination = dice_percent(m->dice, 80) ? flow->out.source : any_address(m);
	m->spec.payload = m->payload;
	m->spec.payload_length = quote(m, flow, m->payload);
	set_hook(m, zone);
}

static void put_bytes(struct frame *frame, const void *bytes, size_t length)
{
	memcpy(frame->bytes + frame->length, bytes, length);
	frame->length += length;
}

static void make_arp(struct making *m)
{
	/* Frames of the tunnel have outer headers, which nobody makes here. */
	static const enum world_hook hooks[] = {HOOK_FROM_POD, HOOK_TO_POD, HOOK_FROM_WIRE,
						HOOK_TO_WIRE, HOOK_WIRE_XDP};
	struct frame *frame = &m->probe->frame;
	const struct world_pod *pod = &m->world->pods[dice_roll(m->dice, WORLD_PODS)];
	struct polder_addr target =
		dice_percent(m->dice, 60) ? host_address(HOST_GATEWAY, true) : any_address(m);
	const uint8_t head[] = {0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, dice_percent(m->dice, 85) ? 1 : 2};

	m->v4 = true;
	m->probe->hook = dice_percent(m->dice, 80)
				 ? HOOK_FROM_POD
				 : hooks[dice_roll(m->dice, sizeof(hooks) / sizeof(*hooks))];
	m->probe->link = m->probe->hook == HOOK_FROM_POD || m->probe->hook == HOOK_TO_POD
				 ? pod->link
				 : WORLD_UPLINK;
	m->probe->ingress = m->probe->link;
	frame->length = 0;
	put_bytes(frame, "\xff\xff\xff\xff\xff\xff", 6);
	put_bytes(frame, pod->mac, 6);
	put_bytes(frame, head, sizeof(head));
	put_bytes(frame, pod->mac, 6);
	put_bytes(frame, pod->v4.bytes + 12, 4);
	put_bytes(frame, "\0\0\0\0\0\0", 6);
	put_bytes(frame, target.bytes + (addr_is_v4(&target) ? 12 : 0), 4);
}

static void make_neighbour(struct making *m)
{
	static const uint8_t types[] = {133, 134, 135, 135, 135, 135, 136, 137, 130, 143};
	struct polder_addr target;

	m->v4 = false;
	target = dice_percent(m->dice, 60) ? host_address(HOST_GATEWAY, false) : any_address(m);
	m->spec.proto = IPPROTO_ICMPV6;
	m->spec.icmp_type = PICK(m->dice, types);
	m->spec.ttl = dice_percent(m->dice, 90) ? 255 : 64;
	m->spec.source = host_address(HOST_POD0 + dice_roll(m->dice, WORLD_PODS), false);
	m->spec.destination = dice_percent(m->dice, 50) ? host_address(HOST_GATEWAY, false)
							: addr("ff02::1:ff00:1");
	set_hook(m, dice_percent(m->dice, 80)	? ZONE_POD
		    : dice_percent(m->dice, 50) ? ZONE_WIRE
						: ZONE_HOST);
	memcpy(m->payload, &target, 16);
	memcpy(m->payload + 16, "\1\1", 2);
	memcpy(m->payload + 18, m->spec.mac_source, 6);
	m->spec.payload = m->payload;
	m->spec.payload_length = dice_percent(m->dice, 85) ? 24 : dice_roll(m->dice, 24);
	if (dice_percent(m->dice, 5))
		m->payload[23] ^= 1;
}

/* ------------------------------------------------------------------ damage */

static void insert_tag(struct frame *frame, struct dice *dice)
{
	uint8_t tag[4] = {0x81, 0, dice_percent(dice, 50) ? 0 : 0x20,
			  dice_percent(dice, 50) ? 0 : 7};

	if (frame->length + 4 > FRAME_ROOM)
		return;
	if (dice_percent(dice, 20))
		tag[0] = 0x88, tag[1] = 0xa8;
	memmove(frame->bytes + 16, frame->bytes + 12, frame->length - 12);
	memcpy(frame->bytes + 12, tag, 4);
	frame->length += 4;
}

/* Lengths, versions, offsets, sums: bytes of the headers first of all. */
static void damage_byte(struct frame *frame, struct dice *dice)
{
	static const uint8_t values[] = {0, 1, 0x7f, 0x80, 0xff, 0x45, 0x60};
	size_t among = dice_percent(dice, 80) && frame->length > 80 ? 80 : frame->length;
	size_t at =
		dice_percent(dice, 90) ? 12 + dice_roll(dice, among - 12) : dice_roll(dice, among);

	if (dice_percent(dice, 50))
		frame->bytes[at] ^= 1 << dice_roll(dice, 8);
	else
		frame->bytes[at] = dice_percent(dice, 50) ? PICK(dice, values) : dice_next(dice);
}

static void damage(struct probe *probe, struct dice *dice)
{
	struct frame *frame = &probe->frame;
	uint32_t roll = dice_roll(dice, 100), room = FRAME_ROOM - frame->length;

	if (roll < 12) {
		frame->length = 14 + dice_roll(dice, frame->length - 13);
	} else if (roll < 22) {
		uint32_t more = dice_roll(dice, room < 40 ? room : 40);

		memset(frame->bytes + frame->length, dice_next(dice), more);
		frame->length += more;
	} else if (roll < 28) {
		insert_tag(frame, dice);
	} else {
		for (uint32_t i = 1 + dice_roll(dice, 4); i; i--)
			damage_byte(frame, dice);
	}
}

/* Old bytes behind the frame's end must not tell a run from its repetition. */
static void clear_tail(struct frame *frame)
{
	memset(frame->bytes + frame->length, 0, FRAME_ROOM - frame->length);
}

/* The kernel's test-run takes no frame whose network header is not there as a whole. */
static void fill_up(struct frame *frame)
{
	uint16_t type = frame->bytes[12] << 8 | frame->bytes[13];
	size_t least = type == 0x0800 ? 14 + 20 : type == 0x86dd ? 14 + 40 : 14;

	if (frame->length < least)
		frame->length = least;
}

void probe_make(struct probe *probe, struct dice *dice, const struct world *world,
		const struct model *model)
{
	struct making m = {.dice = dice, .world = world, .model = model, .probe = probe};
	const struct known_flow *flow = model_any_flow(model, dice);
	uint32_t roll = dice_roll(dice, 100);

	memset(probe, 0, sizeof(*probe));
	probe->move = dice_percent(dice, 1);
	set_any_hop(&m);
	set_any_payload(&m);
	if (roll < 4) {
		make_arp(&m);
	} else {
		if (roll < 8)
			make_neighbour(&m);
		else if (roll < 48 && flow)
			make_of_flow(&m, flow);
		else if (roll < 50 && flow)
			make_beside(&m, flow);
		else if (roll < 65 && flow)
			make_error(&m, flow);
		else
			make_new(&m);
		if (dice_percent(dice, 8))
			set_any_fragment(&m);
		set_any_decoration(&m);
		frame_make(&probe->frame, &m.spec);
	}
	clear_tail(&probe->frame);
	set_gso(&m);
	if (dice_percent(dice, 20))
		damage(probe, dice);
	clear_tail(&probe->frame);
	fill_up(&probe->frame);
}

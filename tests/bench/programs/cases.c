/* SPDX-License-Identifier: Apache-2.0 */
/* The cases, their frames, and the world that each of them meets. */
#include "bench.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "layout.h"

#define FLOWS_8K      8192
#define FLOWS_16K     16384
#define FLOWS_64K     65536
#define STAYING_FLOWS 14336 /* with half of the fresh ones of a run a quarter of DEFAULT_SETS */
#define SMALLEST_SETS 1024
#define LAYOUT_CLIENT "203.0.113.9"
#define NODE_PORT     30080

const char *const bench_kind_names[KIND_COUNT] = {
	[KIND_ESTABLISHED] = "established", [KIND_NEW] = "new",	  [KIND_FLOOD] = "flood",
	[KIND_ANEW] = "re-evaluated",	    [KIND_FILL] = "fill",
};

static const struct bench_path service_v4 = {HOOK_FROM_POD, 11,		 "10.1.0.11",  "10.96.0.0",
					     SERVICE_PORT,  "10.1.0.12", BACKEND_PORT, PLACE_POD};
static const struct bench_path service_v6 = {HOOK_FROM_POD, 11,		  "fd00:1::11", "fd00:96::",
					     SERVICE_PORT,  "fd00:1::12", BACKEND_PORT, PLACE_POD};
/* A pod's own address is one: no more than RESTORE_PORTS flows. */
static const struct bench_path pod_v4 = {HOOK_FROM_POD, 11,	     "10.1.0.11",  "10.1.0.12",
					 SERVICE_PORT,	"10.1.0.12", SERVICE_PORT, PLACE_POD};
static const struct bench_path wire_v4 = {HOOK_FROM_WIRE, WORLD_UPLINK, "10.2.0.5",   "10.1.0.12",
					  SERVICE_PORT,	  "10.1.0.12",	SERVICE_PORT, PLACE_POD};

static const struct bench_path node_port = {HOOK_WIRE_XDP, WORLD_UPLINK, LAYOUT_CLIENT,
					    LAYOUT_NODE,   NODE_PORT,	 LAYOUT_PEER_POD,
					    BACKEND_PORT,  PLACE_PEER};
static const struct bench_path external = {HOOK_WIRE_XDP, WORLD_UPLINK, LAYOUT_CLIENT,
					   "198.51.0.0",  SERVICE_PORT, LAYOUT_PEER_POD,
					   BACKEND_PORT,  PLACE_PEER};
static const struct bench_path direct = {HOOK_WIRE_XDP, WORLD_UPLINK, LAYOUT_CLIENT, "198.51.0.0",
					 SERVICE_PORT,	"198.51.0.0", SERVICE_PORT,  PLACE_DIRECT};

const struct bench_case bench_cases[] = {
	{"pod to Service to local pod", KIND_ESTABLISHED, &service_v4, 1, false},
	{"pod to Service to local pod", KIND_ESTABLISHED, &service_v4, FLOWS_16K, false},
	{"pod to Service to local pod", KIND_ESTABLISHED, &service_v4, FLOWS_64K, false},
	{"pod to Service to local pod, policy", KIND_ESTABLISHED, &service_v4, 1, true},
	{"pod to Service to local pod, policy", KIND_ESTABLISHED, &service_v4, FLOWS_16K, true},
	{"pod to Service to local pod, policy", KIND_ESTABLISHED, &service_v4, FLOWS_64K, true},
	{"pod to Service to local pod, IPv6", KIND_ESTABLISHED, &service_v6, 1, false},
	{"pod to Service to local pod, IPv6", KIND_ESTABLISHED, &service_v6, FLOWS_16K, false},
	{"pod to Service to local pod, IPv6", KIND_ESTABLISHED, &service_v6, FLOWS_64K, false},
	{"pod to local pod", KIND_ESTABLISHED, &pod_v4, 1, false},
	{"pod to local pod", KIND_ESTABLISHED, &pod_v4, FLOWS_16K, false},
	{"wire to local pod", KIND_ESTABLISHED, &wire_v4, 1, false},
	{"wire to local pod", KIND_ESTABLISHED, &wire_v4, FLOWS_16K, false},
	{"new flow, table a quarter full", KIND_NEW, &service_v4, STAYING_FLOWS, false},
	{"new flow, table a quarter full, policy", KIND_NEW, &service_v4, STAYING_FLOWS, true},
	{"new flow, table a quarter full, IPv6", KIND_NEW, &service_v6, STAYING_FLOWS, false},
	{"new flow in a flood", KIND_FLOOD, &service_v4, 0, false},
	{"new flow in a flood, policy", KIND_FLOOD, &service_v4, 0, true},
	{"re-evaluated, same outcome", KIND_ANEW, &service_v4, FLOWS_16K, false},
	{"re-evaluated, same outcome, policy", KIND_ANEW, &service_v4, FLOWS_16K, true},
	{"XDP: node port to another node, SNAT", KIND_ESTABLISHED, &node_port, 1, false},
	{"XDP: node port to another node, SNAT", KIND_ESTABLISHED, &node_port, FLOWS_16K, false},
	{"XDP: external address to another node, DSR", KIND_ESTABLISHED, &direct, 1, false},
	{"XDP: external address to another node, DSR", KIND_ESTABLISHED, &direct, FLOWS_8K, false},
	{"XDP: external address to another node, DSR", KIND_ESTABLISHED, &direct, FLOWS_64K, false},
	{"XDP: new flow to another node, SNAT", KIND_NEW, &external, STAYING_FLOWS, false},
	{"XDP: new flow to another node, DSR", KIND_NEW, &direct, STAYING_FLOWS, false},
	{"first refusal, IPv4", KIND_FILL, &service_v4, 0, false},
	{"first refusal, IPv6", KIND_FILL, &service_v6, 0, false},
};
const int bench_case_count = sizeof(bench_cases) / sizeof(bench_cases[0]);

int bench_forwards(const struct bench_case *c)
{
	return c->path->hook == HOOK_WIRE_XDP ? XDP_TX : TC_ACT_REDIRECT;
}

bool bench_is_v6(const struct bench_case *c)
{
	return strchr(c->path->source, ':') != NULL;
}

void bench_frame(const struct bench_case *c, uint32_t flow, uint8_t tcp_flags, struct frame *frame)
{
	const struct bench_path *path = c->path;
	struct frame_spec spec = {
		.source = addr(path->source),
		.destination = addr(path->destination),
		.proto = IPPROTO_TCP,
		.sport = FIRST_PORT + flow % RESTORE_PORTS,
		.dport = path->dport,
		.tcp_flags = tcp_flags,
		.flags = FRAME_DONT_FRAGMENT,
		.payload_length = 10,
	};

	memcpy(spec.mac_destination, world_gateway_mac, 6);
	memcpy(spec.mac_source,
	       path->hook == HOOK_FROM_POD ? (uint8_t[6]){2, 0, 0, 0, 1, 11} : world_router_mac, 6);
	spec.destination.words_be[3] =
		htonl(ntohl(spec.destination.words_be[3]) + flow / RESTORE_PORTS);
	frame_make(frame, &spec);
}

/* The answer of pod 12 to what it saw. */
static void answer(struct bench *b, uint32_t flow)
{
	const struct bench_path *path = b->c->path;
	struct frame_spec spec = {
		.source = addr(path->seen_destination),
		.destination = addr(path->source),
		.proto = IPPROTO_TCP,
		.sport = path->seen_dport + flow / RESTORE_PORTS,
		.dport = FIRST_PORT + flow % RESTORE_PORTS,
		.tcp_flags = TCP_SYN_FLAG | TCP_ACK_FLAG,
	};
	struct frame frame;

	memcpy(spec.mac_source, (uint8_t[6]){2, 0, 0, 0, 1, 12}, 6);
	memcpy(spec.mac_destination, world_gateway_mac, 6);
	frame_make(&frame, &spec);
	if (world_step(b->world, HOOK_FROM_POD, 12, &frame) != TC_ACT_REDIRECT)
		bench_fail("an answer was not forwarded");
}

/* XDP leaves the begin of each to TC: it is what TC makes of it that XDP goes on with. */
static void forward_from_wire(struct bench *b, const struct frame *frame, struct frame *out)
{
	struct __sk_buff skb = {.ifindex = WORLD_UPLINK, .ingress_ifindex = WORLD_UPLINK};
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame->bytes,
		    .data_size_in = frame->length, .data_out = out->bytes,
		    .data_size_out = sizeof(out->bytes), .ctx_in = &skb, .ctx_size_in = sizeof(skb),
		    .repeat = 1);

	if (bpf_prog_test_run_opts(b->world->programs[HOOK_FROM_WIRE], &options) ||
	    options.retval != TC_ACT_REDIRECT)
		bench_fail("a packet from outside was not forwarded");
	out->length = options.data_size_out;
}

/* The answer of another node's pod to what it saw. */
static void answer_of_peer(struct bench *b, const struct frame *seen)
{
	struct frame_spec spec, back = {.tcp_flags = TCP_SYN_FLAG | TCP_ACK_FLAG};
	struct frame frame, out;

	if (frame_read(seen, &spec) < 0)
		bench_fail("the forwarded packet cannot be read");
	back.proto = spec.proto;
	back.source = spec.destination;
	back.destination = spec.source;
	back.sport = spec.dport;
	back.dport = spec.sport;
	memcpy(back.mac_source, layout_peer_mac, 6);
	memcpy(back.mac_destination, world_router_mac, 6);
	frame_make(&frame, &back);
	forward_from_wire(b, &frame, &out);
}

static void establish_outside(struct bench *b, uint32_t first, uint32_t flows)
{
	struct frame frame, out;

	for (uint32_t flow = first; flow < first + flows; flow++) {
		bench_frame(b->c, flow, TCP_SYN_FLAG, &frame);
		forward_from_wire(b, &frame, &out);
		if (b->c->path->place == PLACE_PEER)
			answer_of_peer(b, &out);
		bench_frame(b->c, flow, TCP_ACK_FLAG, &frame);
		forward_from_wire(b, &frame, &out);
	}
	/* XDP asks for the next hop, if TC has not; the first packet there is left to the kernel.
	 */
	world_run(b->world, HOOK_WIRE_XDP, WORLD_UPLINK, WORLD_UPLINK, &frame);
}

/* Handshakes. */
static void establish(struct bench *b, uint32_t first, uint32_t flows)
{
	const struct bench_path *path = b->c->path;
	struct frame frame;

	for (uint32_t flow = first; flow < first + flows; flow++) {
		bench_frame(b->c, flow, TCP_SYN_FLAG, &frame);
		if (world_step(b->world, path->hook, path->link, &frame) != TC_ACT_REDIRECT)
			bench_fail("a first packet was not forwarded");
		answer(b, flow);
		bench_frame(b->c, flow, TCP_ACK_FLAG, &frame);
		if (world_step(b->world, path->hook, path->link, &frame) != TC_ACT_REDIRECT)
			bench_fail("a packet of a flow was not forwarded");
	}
}

/* Service n's endpoint has port BACKEND_PORT + n here as well. */
static void add_frontends(struct bench *b)
{
	const struct bench_path *path = b->c->path;
	char text[48];

	for (int i = 0; i < (int)SERVICES; i++) {
		snprintf(text, sizeof(text), "198.51.%d.%d", i >> 8, i & 0xff);
		layout_serve_outside(b->world, 1 + i, path->dport == NODE_PORT ? LAYOUT_NODE : text,
				     path->dport, BACKEND_PORT + i, path->place == PLACE_DIRECT);
		if (path->dport == NODE_PORT)
			return;
	}
}

/* Service n's endpoint has port BACKEND_PORT + n, so that no two flows look alike to it. */
static void add_services(struct bench *b)
{
	bool v6 = bench_is_v6(b->c);

	for (int i = 0; i < (int)SERVICES; i++) {
		struct world_backend backend = {.addr = b->c->path->seen_destination,
						.port = BACKEND_PORT + i};
		char text[48];

		if (v6)
			snprintf(text, sizeof(text), "fd00:96::%x", i);
		else
			snprintf(text, sizeof(text), "10.96.%d.%d", i >> 8, i & 0xff);
		world_set_service(b->world, 1 + i, text, IPPROTO_TCP, SERVICE_PORT, &backend, 1);
	}
}

void bench_open(struct bench *b, const struct bench_case *c)
{
	uint32_t sets = c->flows > FLOWS_16K ? 4 * DEFAULT_SETS : DEFAULT_SETS;
	bool v6 = bench_is_v6(c);
	struct world_options options = {.flow4_sets = v6 ? SMALLEST_SETS : sets,
					.flow6_sets = v6 ? sets : SMALLEST_SETS,
					.outer_namespace = true};

	/* One endpoint has all node ports' flows. */
	if (c->path->place == PLACE_PEER) {
		options.masquerade_port_min = 10240;
		options.masquerade_port_max = 59999;
	}

	b->c = c;
	b->at = b->fresh_at = 0;
	b->fillings = 0;
	if (world_open(&options, &b->world) < 0)
		bench_fail("the programs do not load");
	if (c->kind == KIND_FILL)
		return;
	if (c->path->place == PLACE_POD)
		add_services(b);
	else
		add_frontends(b);
	if (c->policy)
		layout_isolate(b->world);
	if (c->path->place == PLACE_POD)
		establish(b, c->kind == KIND_NEW ? STAYING_FLOW : 0, c->flows);
	else
		establish_outside(b, c->kind == KIND_NEW ? STAYING_FLOW : 0, c->flows);
	if (c->kind == KIND_NEW)
		b->kept = bench_keep(b->world);
}

void bench_close(struct bench *b)
{
	bench_kept_free(&b->kept);
	world_close(&b->world);
}

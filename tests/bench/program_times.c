/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nanoseconds that the loaded programs need for a packet, by test-run. The time of the wrapper that
 * restores the packet is measured in turn with that of wrapper and program together, and taken off.
 * Prints JSON.
 *
 * program-times [--quick] [part of a case's name]
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <jansson.h>
#include <linux/pkt_cls.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/restore.h"
#include "tests/bpf/world.h"

#include "restore.skel.h"

#define ROUNDS_MAX   101
#define SERVICE_PORT 80
#define BACKEND_PORT 8080
#define FIRST_PORT   10000
#define FLOWS_MAX    65536
#define FRESH_FLOWS                                                                                \
	(1 << 22) /* more than one run sends: none is met twice while it is in the table */
#define SERVICES     (FRESH_FLOWS / RESTORE_PORTS)
#define TCP_SYN_FLAG 0x02
#define TCP_ACK_FLAG 0x10

struct bench {
	struct world *world;
	struct restore_bpf *wrapper;
	int rounds;
	uint32_t repeat;
	uint32_t at; /* where the last run of fresh flows ended */
};

_Noreturn static void fail(const char *what)
{
	fprintf(stderr, "program-times: %s\n", what);
	exit(1);
}

/* One case: frames of `flows` flows through the program of one hook. */
struct bench_case {
	const char *name;
	enum world_hook hook;
	uint32_t link;
	const char *source, *destination; /* of flow 0; the others count up, see restore.h */
	uint16_t dport;
	const char *seen_destination; /* after translation */
	uint16_t seen_dport;
	bool fresh; /* every packet opens a flow */
	bool policy;
};

static const struct bench_case cases[] = {
	{"pod to Service to local pod", HOOK_FROM_POD, 11, "10.1.0.11", "10.96.0.0", SERVICE_PORT,
	 "10.1.0.12", BACKEND_PORT, false, false},
	{"the same with policy", HOOK_FROM_POD, 11, "10.1.0.11", "10.96.0.0", SERVICE_PORT,
	 "10.1.0.12", BACKEND_PORT, false, true},
	{"pod to local pod", HOOK_FROM_POD, 11, "10.1.0.11", "10.1.0.12", SERVICE_PORT, "10.1.0.12",
	 SERVICE_PORT, false, false},
	{"pod to Service to local pod, IPv6", HOOK_FROM_POD, 11, "fd00:1::11",
	 "fd00:96::", SERVICE_PORT, "fd00:1::12", BACKEND_PORT, false, false},
	{"wire to local pod", HOOK_FROM_WIRE, WORLD_UPLINK, "10.2.0.5", "10.1.0.12", SERVICE_PORT,
	 "10.1.0.12", SERVICE_PORT, false, false},
	{"new flow, pod to Service to local pod", HOOK_FROM_POD, 11, "10.1.0.11", "10.96.0.0",
	 SERVICE_PORT, "10.1.0.12", BACKEND_PORT, true, false},
	{"new flow with policy", HOOK_FROM_POD, 11, "10.1.0.11", "10.96.0.0", SERVICE_PORT,
	 "10.1.0.12", BACKEND_PORT, true, true},
};

static void case_frame(const struct bench_case *c, uint32_t flow, uint8_t flags,
		       struct frame *frame)
{
	struct frame_spec spec = {
		.source = addr(c->source),
		.destination = addr(c->destination),
		.proto = IPPROTO_TCP,
		.sport = FIRST_PORT + flow % RESTORE_PORTS,
		.dport = c->dport,
		.tcp_flags = flags,
		.flags = FRAME_DONT_FRAGMENT,
		.payload_length = 10,
	};

	memcpy(spec.mac_destination, world_gateway_mac, 6);
	memcpy(spec.mac_source,
	       c->hook == HOOK_FROM_WIRE ? world_router_mac : (uint8_t[6]){2, 0, 0, 0, 1, 11}, 6);
	spec.destination.words_be[3] =
		htonl(ntohl(spec.destination.words_be[3]) + flow / RESTORE_PORTS);
	frame_make(frame, &spec);
}

/* The answer of pod 12 to what it saw. */
static void answer(struct bench *b, const struct bench_case *c, uint32_t flow)
{
	struct frame_spec spec = {
		.source = addr(c->seen_destination),
		.destination = addr(c->source),
		.proto = IPPROTO_TCP,
		.sport = c->seen_dport + flow / RESTORE_PORTS,
		.dport = FIRST_PORT + flow % RESTORE_PORTS,
		.tcp_flags = TCP_SYN_FLAG | TCP_ACK_FLAG,
	};
	struct frame frame;

	memcpy(spec.mac_source, (uint8_t[6]){2, 0, 0, 0, 1, 12}, 6);
	memcpy(spec.mac_destination, world_gateway_mac, 6);
	frame_make(&frame, &spec);
	if (world_step(b->world, HOOK_FROM_POD, 12, &frame) != TC_ACT_REDIRECT)
		fail("an answer was not forwarded");
}

/* Handshakes. */
static void establish(struct bench *b, const struct bench_case *c, uint32_t flows)
{
	struct frame frame;

	for (uint32_t flow = 0; flow < flows; flow++) {
		case_frame(c, flow, TCP_SYN_FLAG, &frame);
		if (world_step(b->world, c->hook, c->link, &frame) != TC_ACT_REDIRECT)
			fail("a first packet was not forwarded");
		answer(b, c, flow);
		case_frame(c, flow, TCP_ACK_FLAG, &frame);
		if (world_step(b->world, c->hook, c->link, &frame) != TC_ACT_REDIRECT)
			fail("a packet of a flow was not forwarded");
	}
}

/* Net of nothing: wrapper and program together, ns a packet. */
static double run_once(struct bench *b, const struct bench_case *c, uint32_t flows,
		       bool with_program, struct frame *out)
{
	struct frame frame;
	struct restore r = {.mask = flows - 1, .v6 = strchr(c->source, ':') != NULL};
	struct __sk_buff skb = {.ifindex = c->link, .ingress_ifindex = c->link};
	uint32_t zero = 0;
	int target = with_program ? b->world->programs[c->hook]
				  : bpf_program__fd(b->wrapper->progs.nothing);
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame.bytes, .data_out = out->bytes,
		    .data_size_out = sizeof(out->bytes), .ctx_in = &skb, .ctx_size_in = sizeof(skb),
		    .repeat = b->repeat);

	case_frame(c, 0, c->fresh ? TCP_SYN_FLAG : TCP_ACK_FLAG, &frame);
	options.data_size_in = frame.length;
	memcpy(r.header, frame.bytes, sizeof(r.header));
	r.at = c->fresh ? b->at : 0;
	if (bpf_map_update_elem(bpf_map__fd(b->wrapper->maps.restores), &zero, &r, BPF_ANY) ||
	    bpf_map_update_elem(bpf_map__fd(b->wrapper->maps.measured), &zero, &target, BPF_ANY) ||
	    bpf_prog_test_run_opts(bpf_program__fd(b->wrapper->progs.restore), &options))
		fail(strerror(errno));
	if (options.retval != TC_ACT_REDIRECT)
		fail("the program did not forward");
	if (bpf_map_lookup_elem(bpf_map__fd(b->wrapper->maps.restores), &zero, &r))
		fail(strerror(errno));
	b->at = r.at;
	out->length = options.data_size_out;
	return options.duration;
}

static void check_output(const struct bench_case *c, const struct frame *out)
{
	struct polder_addr destination = addr(c->seen_destination);
	struct frame_spec seen;

	if (frame_read(out, &seen) < 0 || !addr_same(&seen.destination, &destination) ||
	    seen.dport < c->seen_dport || seen.dport >= c->seen_dport + SERVICES ||
	    seen.ttl != 63 || memcmp(seen.mac_destination, (uint8_t[6]){2, 0, 0, 0, 1, 12}, 6) ||
	    !frame_sums_right(out))
		fail("the forwarded packet's bytes are wrong");
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double measure(struct bench *b, const struct bench_case *c, uint32_t flows)
{
	uint64_t created = world_counter(b->world, COUNTER_FLOWS_CREATED), now;
	double net[ROUNDS_MAX];
	struct frame out = {0};

	for (int i = 0; i < b->rounds; i++) {
		double empty = run_once(b, c, flows, false, &out);

		net[i] = run_once(b, c, flows, true, &out) - empty;
	}
	check_output(c, &out);
	now = world_counter(b->world, COUNTER_FLOWS_CREATED);
	if (!c->fresh && now != created)
		fail("established packets were judged anew");
	if (c->fresh && now - created < (uint64_t)b->repeat * b->rounds / 2)
		fail("packets that should open flows met flows");
	qsort(net, b->rounds, sizeof(net[0]), compare);
	return net[b->rounds / 2];
}

static void set_policy(struct bench *b)
{
	uint32_t egress = RULESET_FIRST, ingress = RULESET_FIRST + 1, class = 1;
	struct ruleset_entry set = {.flags = RULESET_HAS_PREFIXES | RULESET_HAS_PORTS | RULESET_ISOLATES};
	struct ruleset_cell cell = {.rule[STEP_REST] = 1, .verdict[STEP_REST] = CELL_ALLOW};
	struct ruleset_peer peer_class = {.peer_class = {1, 1}};

	for (uint32_t id = egress; id <= ingress; id++) {
		struct ruleset_peer_key peer = {
			.ruleset = id, .identity = IDENTITY_FIRST_POD + (id == egress ? 1 : 0)};
		struct ruleset_port_key port = {.prefixlen = 48,
						.ruleset = id,
						.proto = IPPROTO_TCP,
						.port_be = htons(BACKEND_PORT)};
		struct ruleset_cell_key key = {.ruleset = id, .peer_class = 1, .port_class = 1};

		world_set(b->world, "rulesets", &id, &set);
		world_set(b->world, "ruleset_peers", &peer, &peer_class);
		world_set(b->world, "ruleset_ports", &port, &class);
		world_set(b->world, "ruleset_cells", &key, &cell);
	}
	world_set_rules(b->world, 0, egress, RULESET_OPEN);
	world_set_rules(b->world, 1, RULESET_OPEN, ingress);
}

static void add_services(struct bench *b)
{
	for (int i = 0; i < SERVICES; i++) {
		char v4[32], v6[48];

		snprintf(v4, sizeof(v4), "10.96.0.%d", i);
		snprintf(v6, sizeof(v6), "fd00:96::%x", i);
		world_set_service(
			b->world, 1 + 2 * i, v4, IPPROTO_TCP, SERVICE_PORT,
			&(struct world_backend){.addr = "10.1.0.12", .port = BACKEND_PORT + i}, 1);
		world_set_service(
			b->world, 2 + 2 * i, v6, IPPROTO_TCP, SERVICE_PORT,
			&(struct world_backend){.addr = "fd00:1::12", .port = BACKEND_PORT + i}, 1);
	}
}

/* Each case meets an empty table. Service n's endpoint has port BACKEND_PORT + n, so that no two
 * flows look alike to it. */
static void measure_case(struct bench *b, const struct bench_case *c, uint32_t flows,
			 json_t *results)
{
	struct world_options options = {.flow4_sets = flows > 16384 ? 65536 : 16384,
					.flow6_sets = flows > 16384 ? 65536 : 16384,
					.outer_namespace = true};
	double net;

	if (world_open(&options, &b->world) < 0)
		fail("the programs do not load");
	add_services(b);
	if (c->policy)
		set_policy(b);
	if (!c->fresh)
		establish(b, c, flows);
	net = measure(b, c, flows);
	fprintf(stderr, "  %-40s %6u flows %7.0f ns\n", c->name, flows, net);
	json_array_append_new(results,
			      json_pack("{s:s, s:b, s:i, s:f}", "case", c->name, "new", c->fresh,
					"flows", c->fresh ? 0 : (int)flows, "ns", net));
	world_close(&b->world);
}

static bool fits(const struct bench_case *c, uint32_t flows)
{
	/* A pod's and the wire's own destinations have one address each. */
	return flows <= RESTORE_PORTS || c->dport != c->seen_dport;
}

int main(int argc, char **argv)
{
	static const uint32_t flows[] = {1, 16384, 65536};
	bool quick = argc > 1 && !strcmp(argv[1], "--quick");
	const char *only = argc > 1 + quick ? argv[1 + quick] : "";
	struct bench b = {.rounds = quick ? 3 : 15, .repeat = quick ? 50000 : 200000};
	struct world *outer;
	json_t *results = json_array();

	/* Makes the namespace and the links; each case then loads programs of its own in it. */
	if (world_open(NULL, &outer) < 0)
		fail("cannot make a network namespace and load the programs: needs root");
	world_close(&outer);
	b.wrapper = restore_bpf__open_and_load();
	if (!b.wrapper)
		fail("the wrapper does not load");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (!strstr(cases[i].name, only))
			continue;
		if (cases[i].fresh) {
			measure_case(&b, &cases[i], FRESH_FLOWS, results);
			continue;
		}
		for (size_t n = 0; n < sizeof(flows) / sizeof(flows[0]); n++)
			if (fits(&cases[i], flows[n]))
				measure_case(&b, &cases[i], flows[n], results);
	}
	json_dumpf(results, stdout, JSON_INDENT(1));
	putchar('\n');
	json_decref(results);
	restore_bpf__destroy(b.wrapper);
	return 0;
}

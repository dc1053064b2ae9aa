/* SPDX-License-Identifier: Apache-2.0 */
/* Senders and expectations. */
#include "suite.h"

#include <bpf/bpf.h>
#include <sys/mman.h>
#include <unistd.h>

struct world *world;

const char *const outside[2] = {"203.0.113.9", "2001:db8::9"};
const char *const node[2] = {"192.168.7.1", "fd00:7::1"};
const char *const remote_pod[2] = {"10.2.0.5", "fd00:2::5"};
const char *const gateway[2] = {"10.1.0.1", "fd00:1::1"};
const char *const pod_text[3][2] = {
	{"10.1.0.11", "fd00:1::11"}, {"10.1.0.12", "fd00:1::12"}, {"10.1.0.13", "fd00:1::13"}};

static const struct suite_test *all_tests;
static size_t all_count, next_test;

/* CUnit knows tests by functions without arguments: this one runs the next of the list. */
static void run_next(void)
{
	if (world) {
		world_forget_flows(world);
		world_forget_services(world);
	}
	all_tests[next_test++ % all_count].run();
}

struct world_options suite_options;

int suite_run(const char *name, const struct suite_test *tests, size_t count)
{
	CU_pSuite suite;
	int r, failures;

	if (geteuid() != 0) {
		printf("skip %s - loading BPF programs needs root\n", name);
		return 77;
	}
	r = world_open(&suite_options, &world);
	if (r < 0) {
		fprintf(stderr, "%s: cannot load the programs: %s\n", name, strerror(-r));
		return 1;
	}
	all_tests = tests;
	all_count = count;
	if (CU_initialize_registry() != CUE_SUCCESS)
		return 1;
	suite = CU_add_suite(name, NULL, NULL);
	for (size_t i = 0; i < count; i++)
		CU_add_test(suite, tests[i].name, run_next);
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failures = CU_get_number_of_failures();
	CU_cleanup_registry();
	world_close(&world);
	return failures > 0;
}

uint8_t icmp_of(enum suite_version v)
{
	return v == V4 ? IPPROTO_ICMP : IPPROTO_ICMPV6;
}

struct frame_spec spec_of_pod(int pod, enum suite_version v, const char *to, uint8_t proto,
			      uint16_t sport, uint16_t dport)
{
	struct frame_spec spec = {
		.source = v == V4 ? world->pods[pod].v4 : world->pods[pod].v6,
		.destination = addr(to),
		.proto = proto,
		.sport = sport,
		.dport = dport,
		.tcp_flags = TCP_SYN_FLAG,
		.icmp_type = proto == IPPROTO_ICMPV6 ? 128 : 8,
		.payload_length = 26,
	};

	memcpy(spec.mac_source, world->pods[pod].mac, 6);
	memcpy(spec.mac_destination, world_gateway_mac, 6);
	return spec;
}

struct frame_spec spec_of_segment(int pod, enum suite_version v, const char *to, uint16_t sport,
				  uint16_t dport, uint8_t flags)
{
	struct frame_spec spec = spec_of_pod(pod, v, to, IPPROTO_TCP, sport, dport);

	spec.tcp_flags = flags;
	return spec;
}

struct frame_spec spec_of_wire(const char *from, const char *to, uint8_t proto, uint16_t sport,
			       uint16_t dport)
{
	struct frame_spec spec = {
		.source = addr(from),
		.destination = addr(to),
		.proto = proto,
		.sport = sport,
		.dport = dport,
		.tcp_flags = TCP_SYN_FLAG,
		.icmp_type = proto == IPPROTO_ICMPV6 ? 128 : 8,
		.payload_length = 26,
	};

	memcpy(spec.mac_source, world_router_mac, 6);
	memcpy(spec.mac_destination, (uint8_t[6]){0x02, 0, 0, 0, 0, 0x21}, 6);
	return spec;
}

struct frame_spec spec_of_answer(int pod, const struct world_result *result, uint8_t tcp_flags)
{
	struct frame_spec got = seen(result), spec = got;

	spec.source = got.destination;
	spec.destination = got.source;
	spec.ttl = 0;
	spec.flags = 0;
	spec.tcp_flags = tcp_flags;
	if (got.proto == IPPROTO_ICMP || got.proto == IPPROTO_ICMPV6) {
		spec.icmp_type = got.proto == IPPROTO_ICMP ? 0 : 129;
	} else {
		spec.sport = got.dport;
		spec.dport = got.sport;
	}
	memcpy(spec.mac_source, pod < 0 ? world_router_mac : world->pods[pod].mac, 6);
	memcpy(spec.mac_destination, world_gateway_mac, 6);
	return spec;
}

struct world_result send_of_pod(int pod, const struct frame_spec *spec)
{
	struct frame frame;
	uint32_t link = world->pods[pod].link;

	frame_make(&frame, spec);
	return world_run(world, HOOK_FROM_POD, link, link, &frame);
}

struct world_result send_of_wire(const struct frame_spec *spec)
{
	struct frame frame;

	frame_make(&frame, spec);
	return world_run(world, HOOK_FROM_WIRE, WORLD_UPLINK, WORLD_UPLINK, &frame);
}

struct world_result send_of_host(int to_pod, const struct frame_spec *spec)
{
	struct frame frame;

	frame_make(&frame, spec);
	return world_run(world, HOOK_TO_POD, world->pods[to_pod].link, 0, &frame);
}

struct world_result segment(enum suite_version v, uint16_t sport, uint8_t flags)
{
	struct frame_spec spec = spec_of_segment(0, v, pod_text[1][v], sport, 80, flags);

	return send_of_pod(0, &spec);
}

struct world_result open_connection(int from, int to, enum suite_version v, const char *destination,
				    uint16_t sport, uint16_t dport)
{
	struct frame_spec spec = spec_of_segment(from, v, destination, sport, dport, TCP_SYN_FLAG);
	struct world_result result = send_of_pod(from, &spec), answer;
	struct frame_spec back;

	CU_ASSERT(forwarded(&result));
	back = spec_of_answer(to, &result, TCP_SYN_FLAG | TCP_ACK_FLAG);
	answer = send_of_pod(to, &back);
	CU_ASSERT(forwarded(&answer));
	spec.tcp_flags = TCP_ACK_FLAG;
	result = send_of_pod(from, &spec);
	CU_ASSERT(forwarded(&result));
	return result;
}

static const char *const reasons[REASON_COUNT] = {
#define X(id, name, text) [REASON_##id] = name,
	POLDER_REASONS(X)
#undef X
};

enum polder_reason reason_named(const char *name)
{
	uint32_t reason = 0;

	while (reason < REASON_COUNT && strcmp(reasons[reason], name) != 0)
		reason++;
	return reason;
}

static bool differs(const struct world_result *r, const char *wanted)
{
	printf("\n    wanted: %s; got verdict %d, %u dropped, reason %s, sums %s", wanted,
	       r->verdict, r->drops, reasons[r->reason],
	       frame_sums_right(&r->out) ? "right" : "wrong");
	return false;
}

bool forwarded(const struct world_result *r)
{
	if (r->verdict == TC_ACT_REDIRECT && !r->drops && frame_sums_right(&r->out))
		return true;
	return differs(r, "forwarded");
}

bool passed(const struct world_result *r)
{
	return (r->verdict == TC_ACT_OK && !r->drops) || differs(r, "left to the stack");
}

bool dropped(const struct world_result *r, enum polder_reason reason)
{
	if (r->verdict == TC_ACT_SHOT && r->drops == 1 && r->reason == reason)
		return true;
	differs(r, "dropped, ");
	printf(", wanted reason %s", reasons[reason]);
	return false;
}

bool told(const struct world_result *r, enum polder_reason reason)
{
	if (r->verdict == TC_ACT_REDIRECT && r->drops == 1 && r->reason == reason &&
	    frame_sums_right(&r->out))
		return true;
	differs(r, "refused, ");
	printf(", wanted reason %s", reasons[reason]);
	return false;
}

struct frame_spec seen(const struct world_result *result)
{
	struct frame_spec spec = {0};

	CU_ASSERT_EQUAL(frame_read(&result->out, &spec), 0);
	return spec;
}

bool seen_ends(const struct world_result *result, const char *from, uint16_t sport, const char *to,
	       uint16_t dport)
{
	struct frame_spec spec = seen(result);
	struct polder_addr source = addr(from), destination = addr(to);

	return addr_same(&spec.source, &source) && addr_same(&spec.destination, &destination) &&
	       spec.sport == sport && spec.dport == dport;
}

void in_world_of(const struct world_options *options, void (*run)(void))
{
	struct world *outer = world;

	CU_ASSERT_EQUAL_FATAL(world_open(options, &world), 0);
	run();
	world_close(&world);
	world = outer;
}

void each_entry(enum suite_version v, void (*see)(const struct flow_head *head, void *data),
		void *data)
{
	uint32_t sets = v == V4 ? bpf_map__max_entries(
					  bpf_object__find_map_by_name(world->objects[0], "flows4"))
				: bpf_map__max_entries(bpf_object__find_map_by_name(
					  world->objects[0], "flows6"));
	size_t set_size = v == V4 ? sizeof(struct flow4_set) : sizeof(struct flow6_set);
	char *table = mmap(NULL, sets * set_size, PROT_READ, MAP_SHARED,
			   world_map(world, v == V4 ? "flows4" : "flows6"), 0);

	CU_ASSERT_FATAL(table != MAP_FAILED);
	for (uint32_t i = 0; i < sets * FLOW_WAYS; i++) {
		const struct flow_head *head = v == V4 ? &((struct flow4 *)table)[i].head
						       : &((struct flow6 *)table)[i].head;

		if (head->generation)
			see(head, data);
	}
	munmap(table, sets * set_size);
}

uint32_t allow_all(void)
{
	uint32_t slot = RULESET_FIRST;
	struct ruleset_entry set = {.number = 77,
				    .flags = RULESET_ISOLATES,
				    .default_pod_class = 1,
				    .default_world_class = 1};
	struct ruleset_cell_key key = {.ruleset = 77, .peer_class = 1};
	struct ruleset_cell cell = {.rule[STEP_REST] = 9, .verdict[STEP_REST] = CELL_ALLOW};

	world_set(world, "rulesets", &slot, &set);
	world_set(world, "ruleset_cells", &key, &cell);
	return slot;
}

uint64_t rule_packets(uint32_t rule)
{
	struct rule_counter values[256] = {};
	uint64_t sum = 0;

	if (bpf_map_lookup_elem(world_map(world, "rule_counters"), &rule, values) < 0)
		return 0;
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
		sum += values[i].packets;
	return sum;
}

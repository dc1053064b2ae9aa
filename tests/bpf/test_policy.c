/* SPDX-License-Identifier: Apache-2.0 */
/* Rule sets: egress of the source, ingress of the destination, by identity, prefix and port. */
#include "suite.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>

static uint32_t next_ruleset = RULESET_FIRST;

/* A NetworkPolicy's rule set without rules: nothing is allowed. */
static uint32_t new_ruleset(void)
{
	uint32_t id = next_ruleset++;
	struct ruleset_entry set = {
		.number = id, .flags = RULESET_HAS_PREFIXES | RULESET_HAS_PORTS | RULESET_ISOLATES};

	world_set(world, "rulesets", &id, &set);
	return id;
}

static void allow_peer(uint32_t ruleset, uint32_t identity, uint32_t class)
{
	struct ruleset_peer_key key = {.ruleset = ruleset, .identity = identity};

	world_set(world, "ruleset_peers", &key,
		  &(struct ruleset_peer){.peer_class = {(uint16_t) class, (uint16_t) class}});
}

static void allow_prefix(uint32_t ruleset, const char *text, int bits, uint32_t class)
{
	struct ruleset_prefix_key key = {.ruleset = ruleset, .addr = addr(text)};

	key.prefixlen = 32 + bits + (addr_is_v4(&key.addr) ? POLDER_V4_MAPPED_BITS : 0);
	world_set(world, "ruleset_prefixes", &key, &class);
}

/* The ports whose first `bits` bits are those of `port`; -16: any port, -32: any protocol. */
static void allow_ports(uint32_t ruleset, uint8_t proto, uint16_t port, int bits, uint32_t class)
{
	struct ruleset_port_key key = {
		.prefixlen = 48 + bits, .ruleset = ruleset, .proto = proto, .port_be = htons(port)};

	world_set(world, "ruleset_ports", &key, &class);
}

static void set_cell(uint32_t ruleset, uint16_t peer, uint16_t port, uint32_t rule, uint16_t rank,
		     bool allow)
{
	struct ruleset_cell_key key = {.ruleset = ruleset, .peer_class = peer, .port_class = port};
	struct ruleset_cell cell = {.rule[STEP_REST] = rule,
				    .rank[STEP_REST] = rank,
				    .verdict[STEP_REST] = allow ? CELL_ALLOW : CELL_DENY};

	world_set(world, "ruleset_cells", &key, &cell);
}

static void open_all(void)
{
	for (int pod = 0; pod < WORLD_PODS; pod++)
		world_set_rules(world, pod, RULESET_OPEN, RULESET_OPEN);
}

static struct world_result attempt(int from, enum suite_version v, const char *to, uint8_t proto,
				   uint16_t port)
{
	static uint16_t sport = 5000;
	struct frame_spec spec = spec_of_pod(from, v, to, proto, sport++, port);

	return send_of_pod(from, &spec);
}

static void denies_what_no_rule_allows(void)
{
	uint32_t closed = new_ruleset();

	EACH_VERSION(v)
	{
		struct world_result r;

		world_set_rules(world, 0, closed, RULESET_OPEN);
		r = attempt(0, v, pod_text[1][v], IPPROTO_TCP, 80);
		CU_ASSERT(dropped(&r, REASON_POLICY_EGRESS));
		world_set_rules(world, 0, RULESET_OPEN, RULESET_OPEN);
		world_set_rules(world, 1, RULESET_OPEN, closed);
		r = attempt(0, v, pod_text[1][v], IPPROTO_TCP, 80);
		CU_ASSERT(dropped(&r, REASON_POLICY_INGRESS));
		r = attempt(0, v, pod_text[2][v], IPPROTO_TCP, 80);
		CU_ASSERT(forwarded(&r));
		open_all();
	}
}

static void pod_without_policy_yet_is_closed(void)
{
	struct world_result r;

	world_set_rules(world, 0, RULESET_CLOSED, RULESET_CLOSED);
	r = attempt(0, V4, pod_text[1][V4], IPPROTO_TCP, 80);
	CU_ASSERT(dropped(&r, REASON_NOT_READY));
	r = attempt(1, V4, pod_text[0][V4], IPPROTO_TCP, 80);
	CU_ASSERT(dropped(&r, REASON_NOT_READY));
	world_set_rules(world, 0, RULESET_CAPACITY, RULESET_OPEN);
	r = attempt(0, V4, pod_text[1][V4], IPPROTO_TCP, 80);
	CU_ASSERT(dropped(&r, REASON_POLICY_CAPACITY));
	open_all();
}

static void missing_ruleset_is_closed(void)
{
	struct world_result r;

	world_set_rules(world, 0, 999999, RULESET_OPEN); /* beyond the array */
	r = attempt(0, V4, pod_text[1][V4], IPPROTO_TCP, 80);
	CU_ASSERT(dropped(&r, REASON_INTERNAL));
	world_set_rules(world, 0, 15000, RULESET_OPEN); /* a free slot */
	r = attempt(0, V4, pod_text[1][V4], IPPROTO_TCP, 80);
	CU_ASSERT(dropped(&r, REASON_INTERNAL));
	open_all();
}

static void ingress_allows_by_identity_and_port(void)
{
	uint32_t rules = new_ruleset();

	allow_peer(rules, world->pods[0].identity, 1);
	allow_ports(rules, IPPROTO_TCP, 80, 16, 1);
	set_cell(rules, 1, 1, 7, 0, true);
	world_set_rules(world, 1, RULESET_OPEN, rules);
	EACH_VERSION(v)
	{
		struct world_result r = attempt(0, v, pod_text[1][v], IPPROTO_TCP, 80);

		CU_ASSERT(forwarded(&r));
		r = attempt(0, v, pod_text[1][v], IPPROTO_TCP, 81);
		CU_ASSERT(dropped(&r, REASON_POLICY_INGRESS));
		r = attempt(0, v, pod_text[1][v], IPPROTO_UDP, 80);
		CU_ASSERT(dropped(&r, REASON_POLICY_INGRESS));
		r = attempt(2, v, pod_text[1][v], IPPROTO_TCP, 80);
		CU_ASSERT(dropped(&r, REASON_POLICY_INGRESS));
	}
	open_all();
}

/* From pod 0 to pod 1 by way of the node's stack, which has given it the node's address. */
static struct world_result masqueraded_by_the_node(enum suite_version v, uint32_t ingress,
						   uint16_t sport)
{
	struct frame_spec spec = spec_of_wire(node[v], pod_text[1][v], IPPROTO_TCP, sport, 80);
	struct frame frame;

	frame_make(&frame, &spec);
	return world_run(world, HOOK_TO_POD, world->pods[1].link, ingress, &frame);
}

static void egress_of_a_pod_holds_where_the_node_masquerades(void)
{
	uint32_t closed = new_ruleset();

	EACH_VERSION(v)
	{
		struct world_result r;

		world_set_rules(world, 0, closed, RULESET_OPEN);
		r = masqueraded_by_the_node(v, world->pods[0].link, 22100);
		CU_ASSERT(dropped(&r, REASON_POLICY_EGRESS));
		r = masqueraded_by_the_node(v, WORLD_UPLINK, 22101);
		CU_ASSERT(r.verdict == TC_ACT_OK);
		r = masqueraded_by_the_node(v, world->pods[1].link, 22102);
		CU_ASSERT(r.verdict == TC_ACT_OK);
		open_all();
	}
}

static void a_reply_knows_whom_the_node_masquerades(void)
{
	uint32_t closed = new_ruleset();

	EACH_VERSION(v)
	{
		struct world_result r = masqueraded_by_the_node(v, world->pods[0].link, 22110);
		struct frame_spec back =
			spec_of_segment(1, v, node[v], 80, 22110, TCP_SYN_FLAG | TCP_ACK_FLAG);

		CU_ASSERT(r.verdict == TC_ACT_OK);
		r = send_of_pod(1, &back);
		CU_ASSERT(passed(&r));
		world_set_rules(world, 0, closed, RULESET_OPEN);
		world_move_generation(world, 1);
		r = send_of_pod(1, &back);
		CU_ASSERT(r.reason == REASON_POLICY_EGRESS);
		open_all();
	}
}

static void ingress_knows_whom_the_node_masquerades(void)
{
	uint32_t rules = new_ruleset();

	allow_peer(rules, world->pods[0].identity, 1);
	allow_ports(rules, IPPROTO_TCP, 80, 16, 1);
	set_cell(rules, 1, 1, 7, 0, true);
	world_set_rules(world, 1, RULESET_OPEN, rules);
	EACH_VERSION(v)
	{
		struct world_result r = masqueraded_by_the_node(v, world->pods[0].link, 22120);

		CU_ASSERT(r.verdict == TC_ACT_OK);
		r = masqueraded_by_the_node(v, WORLD_UPLINK, 22121);
		CU_ASSERT(dropped(&r, REASON_POLICY_INGRESS));
		r = masqueraded_by_the_node(v, world->pods[2].link, 22122);
		CU_ASSERT(dropped(&r, REASON_POLICY_INGRESS));
	}
	open_all();
}

static void ingress_compares_whom_the_node_masquerades_by_its_own_address(void)
{
	uint32_t rules = new_ruleset();

	allow_ports(rules, IPPROTO_TCP, 80, 16, 1);
	set_cell(rules, 1, 1, 7, 0, true);
	world_set_rules(world, 1, RULESET_OPEN, rules);
	EACH_VERSION(v)
	{
		struct world_result r;

		allow_prefix(rules, pod_text[0][v], v == V4 ? 32 : 128, 1);
		r = masqueraded_by_the_node(v, world->pods[0].link, 22130);
		CU_ASSERT(r.verdict == TC_ACT_OK);
		r = masqueraded_by_the_node(v, world->pods[2].link, 22131);
		CU_ASSERT(dropped(&r, REASON_POLICY_INGRESS));
	}
	open_all();
}

static void egress_sees_the_endpoint_of_a_service(void)
{
	static const char *const vip[2] = {"10.96.1.1", "fd00:96::1:1"};
	uint32_t rules = new_ruleset();

	allow_peer(rules, world->pods[1].identity, 1);
	allow_ports(rules, IPPROTO_TCP, 8080, 16, 1);
	set_cell(rules, 1, 1, 7, 0, true);
	world_set_rules(world, 0, rules, RULESET_OPEN);
	EACH_VERSION(v)
	{
		struct world_backend backend = {pod_text[1][v], 8080, 0};
		struct world_result r;

		world_set_service(world, 20 + v, vip[v], IPPROTO_TCP, 80, &backend, 1);
		r = attempt(0, v, vip[v], IPPROTO_TCP, 80);
		CU_ASSERT(forwarded(&r) && seen(&r).dport == 8080);
		r = attempt(0, v, pod_text[1][v], IPPROTO_TCP, 80);
		CU_ASSERT(dropped(&r, REASON_POLICY_EGRESS));
	}
	open_all();
}

static void port_ranges_are_prefixes_of_ports(void)
{
	uint32_t rules = new_ruleset();
	struct world_result r;

	allow_peer(rules, world->pods[0].identity, 1);
	allow_ports(rules, IPPROTO_TCP, 32768, 4, 1); /* 32768 to 36863 */
	set_cell(rules, 1, 1, 7, 0, true);
	world_set_rules(world, 1, RULESET_OPEN, rules);
	r = attempt(0, V4, pod_text[1][V4], IPPROTO_TCP, 32768);
	CU_ASSERT(forwarded(&r));
	r = attempt(0, V4, pod_text[1][V4], IPPROTO_TCP, 36863);
	CU_ASSERT(forwarded(&r));
	r = attempt(0, V4, pod_text[1][V4], IPPROTO_TCP, 36864);
	CU_ASSERT(dropped(&r, REASON_POLICY_INGRESS));
	r = attempt(0, V4, pod_text[1][V4], IPPROTO_TCP, 32767);
	CU_ASSERT(dropped(&r, REASON_POLICY_INGRESS));
	open_all();
}

static void any_port_of_a_protocol_and_any_protocol(void)
{
	uint32_t rules = new_ruleset();
	struct world_result r;

	allow_peer(rules, world->pods[0].identity, 1);
	allow_peer(rules, world->pods[2].identity, 2);
	allow_ports(rules, 0, 0, -16, 1);
	allow_ports(rules, IPPROTO_UDP, 0, 0, 2);
	set_cell(rules, 1, 1, 7, 0, true); /* pod 11: everything but UDP */
	set_cell(rules, 2, 2, 8, 0, true); /* pod 13: UDP */
	world_set_rules(world, 1, RULESET_OPEN, rules);
	r = attempt(0, V4, pod_text[1][V4], IPPROTO_TCP, 4);
	CU_ASSERT(forwarded(&r));
	r = attempt(0, V4, pod_text[1][V4], IPPROTO_ICMP, 0);
	CU_ASSERT(forwarded(&r));
	r = attempt(0, V4, pod_text[1][V4], IPPROTO_UDP, 4);
	CU_ASSERT(dropped(&r, REASON_POLICY_INGRESS));
	r = attempt(2, V4, pod_text[1][V4], IPPROTO_UDP, 4);
	CU_ASSERT(forwarded(&r));
	open_all();
}

static void egress_allows_by_prefix(void)
{
	static const char *const network[2] = {"203.0.113.0", "2001:db8::"},
				 *const hole[2] = {"203.0.113.128", "2001:db8:0:0:8000::"};
	static const char *const in_hole[2] = {"203.0.113.200", "2001:db8::8000:0:0:1"};
	uint32_t rules = new_ruleset();

	allow_ports(rules, 0, 0, -16, 1);
	set_cell(rules, 1, 1, 7, 0, true);
	EACH_VERSION(v)
	{
		struct world_result r;

		allow_prefix(rules, network[v], v == V4 ? 24 : 64, 1);
		allow_prefix(rules, hole[v], v == V4 ? 25 : 65,
			     2); /* except: a class without a cell */
		world_set_rules(world, 0, rules, RULESET_OPEN);
		r = attempt(0, v, outside[v], IPPROTO_TCP, 443);
		CU_ASSERT(forwarded(&r));
		r = attempt(0, v, in_hole[v], IPPROTO_TCP, 443);
		CU_ASSERT(dropped(&r, REASON_POLICY_EGRESS));
		r = attempt(0, v, v == V4 ? "198.51.100.1" : "2001:db9::1", IPPROTO_TCP, 443);
		CU_ASSERT(dropped(&r, REASON_POLICY_EGRESS));
	}
	open_all();
}

static void prefixes_match_pods_too(void)
{
	uint32_t rules = new_ruleset();
	struct world_result r;

	allow_prefix(rules, "10.1.0.12", 32, 1);
	allow_ports(rules, 0, 0, -16, 1);
	set_cell(rules, 1, 1, 7, 0, true);
	world_set_rules(world, 0, rules, RULESET_OPEN);
	r = attempt(0, V4, pod_text[1][V4], IPPROTO_TCP, 80);
	CU_ASSERT(forwarded(&r));
	r = attempt(0, V4, pod_text[2][V4], IPPROTO_TCP, 80);
	CU_ASSERT(dropped(&r, REASON_POLICY_EGRESS));
	open_all();
}

/* A prefix's denial of lower rank goes before an identity's permission, and the other way round. */
static void lower_rank_decides(void)
{
	uint32_t rules = new_ruleset();
	struct world_result r;

	allow_peer(rules, world->pods[0].identity, 1);
	allow_prefix(rules, "10.1.0.11", 32, 2);
	allow_ports(rules, 0, 0, -16, 1);
	set_cell(rules, 1, 1, 7, 5, true);
	set_cell(rules, 2, 1, 8, 4, false);
	world_set_rules(world, 1, RULESET_OPEN, rules);
	r = attempt(0, V4, pod_text[1][V4], IPPROTO_TCP, 80);
	CU_ASSERT(dropped(&r, REASON_POLICY_INGRESS));
	set_cell(rules, 2, 1, 8, 6, false);
	r = attempt(0, V4, pod_text[1][V4], IPPROTO_TCP, 80);
	CU_ASSERT(forwarded(&r));
	open_all();
}

static void classes_of_unlisted_pods_and_of_the_world_differ(void)
{
	uint32_t rules = new_ruleset();
	struct ruleset_entry set = {.number = rules,
				    .default_pod_class = 1,
				    .flags = RULESET_HAS_PORTS | RULESET_ISOLATES};
	struct world_result r;

	world_set(world, "rulesets", &rules, &set);
	allow_ports(rules, 0, 0, -16, 1);
	set_cell(rules, 1, 1, 7, 0, true);
	world_set_rules(world, 0, rules, RULESET_OPEN);
	r = attempt(0, V4, pod_text[1][V4], IPPROTO_TCP, 80);
	CU_ASSERT(forwarded(&r));
	r = attempt(0, V4, outside[V4], IPPROTO_TCP, 80);
	CU_ASSERT(dropped(&r, REASON_POLICY_EGRESS));
	set.default_pod_class = 0;
	set.default_world_class = 1;
	world_set(world, "rulesets", &rules, &set);
	r = attempt(0, V4, pod_text[1][V4], IPPROTO_TCP, 80);
	CU_ASSERT(dropped(&r, REASON_POLICY_EGRESS));
	r = attempt(0, V4, outside[V4], IPPROTO_TCP, 80);
	CU_ASSERT(forwarded(&r));
	open_all();
}

static void answers_need_no_rule(void)
{
	uint32_t closed = new_ruleset();

	EACH_VERSION(v)
	{
		world_set_rules(world, 0, RULESET_OPEN,
				closed); /* nobody may open towards pod 11 */
		world_set_rules(world, 1, closed, RULESET_OPEN);
		open_connection(0, 1, v, pod_text[1][v], 5900, 80);
		open_all();
	}
}

static void new_policy_cuts_a_live_connection(void)
{
	uint32_t closed = new_ruleset();

	EACH_VERSION(v)
	{
		struct frame_spec spec = spec_of_segment(0, v, pod_text[1][v], 5901, 80,
							 TCP_ACK_FLAG),
				  back;
		struct world_result r = open_connection(0, 1, v, pod_text[1][v], 5901, 80);

		back = spec_of_answer(1, &r, TCP_ACK_FLAG);
		world_set_rules(world, 1, RULESET_OPEN, closed);
		world_move_generation(world, 2);
		r = send_of_pod(1,
				&back); /* the answer's direction is evaluated like the opener's */
		CU_ASSERT(dropped(&r, REASON_POLICY_INGRESS));
		r = send_of_pod(0, &spec);
		CU_ASSERT(r.verdict == TC_ACT_SHOT);
		open_all();
		world_move_generation(world, 2);
	}
}

static void one_word_switches_all_rulesets(void)
{
	uint32_t closed = new_ruleset(), key = world->pods[1].link;
	struct pod_entry entry;
	struct world_result r;

	CU_ASSERT_EQUAL(bpf_map_lookup_elem(world_map(world, "pods"), &key, &entry), 0);
	entry.ingress_rules[!world->control.slot] = closed;
	world_set(world, "pods", &key, &entry);
	r = attempt(0, V4, pod_text[1][V4], IPPROTO_TCP, 80);
	CU_ASSERT(forwarded(&r));
	world_switch_slots(world);
	r = attempt(0, V4, pod_text[1][V4], IPPROTO_TCP, 80);
	CU_ASSERT(dropped(&r, REASON_POLICY_INGRESS));
	open_all();
}

static void node_reaches_its_pods_whatever_the_policy(void)
{
	uint32_t closed = new_ruleset();

	world_set_rules(world, 0, closed, closed);
	EACH_VERSION(v)
	{
		struct frame_spec spec = spec_of_wire(node[v], pod_text[0][v], IPPROTO_TCP, 5902,
						      80),
				  back;
		struct world_result r = send_of_host(0, &spec);

		CU_ASSERT(passed(&r));
		back = spec_of_answer(0, &r, TCP_SYN_FLAG | TCP_ACK_FLAG);
		r = send_of_pod(0, &back);
		CU_ASSERT(passed(&r));
	}
	open_all();
}

static void outside_needs_a_rule_of_an_isolated_pod(void)
{
	uint32_t closed = new_ruleset();

	EACH_VERSION(v)
	{
		struct frame_spec spec =
			spec_of_wire(outside[v], pod_text[0][v], IPPROTO_TCP, 5903, 80);
		struct world_result r = send_of_wire(&spec);

		CU_ASSERT(forwarded(&r));
		world_set_rules(world, 0, RULESET_OPEN, closed);
		world_move_generation(world, 2);
		r = send_of_wire(&spec);
		CU_ASSERT(dropped(&r, REASON_POLICY_INGRESS));
		open_all();
	}
}

/* What one rule set says in both steps, of everybody and every port. */
static uint32_t tiered(uint8_t admin, uint8_t rest, uint32_t flags)
{
	uint32_t id = next_ruleset++;
	struct ruleset_entry set = {.number = id,
				    .default_pod_class = 1,
				    .default_world_class = 1,
				    .flags = RULESET_HAS_PORTS | flags};
	struct ruleset_cell cell = {.rule = {101, 102}, .verdict = {admin, rest}};
	struct ruleset_cell_key key = {.ruleset = id, .peer_class = 1, .port_class = 1};

	world_set(world, "rulesets", &id, &set);
	world_set(world, "ruleset_cells", &key, &cell);
	allow_ports(id, 0, 0, -16, 1);
	return id;
}

static void cnp1_cnp3_the_admin_tier_decides_or_passes_on(void)
{
	static const struct {
		uint8_t admin, rest;
		uint32_t flags;
		bool allowed;
	} cases[] = {
		{CELL_ALLOW, CELL_DENY, 0, true},
		{CELL_ALLOW, CELL_NONE, RULESET_ISOLATES, true},
		{CELL_DENY, CELL_ALLOW, RULESET_ISOLATES, false},
		{CELL_PASS, CELL_ALLOW, RULESET_ISOLATES, true},
		{CELL_PASS, CELL_NONE, RULESET_ISOLATES, false},
		{CELL_PASS, CELL_NONE, 0, true},
		{CELL_PASS, CELL_DENY, 0, false},
		{CELL_NONE, CELL_DENY, 0, false},
		{CELL_NONE, CELL_NONE, 0, true},
		{CELL_NONE, CELL_NONE, RULESET_ISOLATES, false},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint32_t rules = tiered(cases[i].admin, cases[i].rest, cases[i].flags);

		EACH_VERSION(v)
		{
			struct world_result r;

			open_all();
			world_set_rules(world, 0, rules, RULESET_OPEN);
			r = attempt(0, v, pod_text[1][v], IPPROTO_TCP, 80);
			CU_ASSERT(cases[i].allowed ? forwarded(&r)
						   : dropped(&r, REASON_POLICY_EGRESS));
			open_all();
			world_set_rules(world, 1, RULESET_OPEN, rules);
			r = attempt(0, v, pod_text[1][v], IPPROTO_TCP, 80);
			CU_ASSERT(cases[i].allowed ? forwarded(&r)
						   : dropped(&r, REASON_POLICY_INGRESS));
		}
	}
	open_all();
}

static void peers_classes_switch_with_the_slot(void)
{
	uint32_t rules = new_ruleset();
	struct ruleset_peer_key key = {.ruleset = rules, .identity = world->pods[1].identity};
	struct ruleset_peer peer = {};
	struct world_result r;

	peer.peer_class[!world->control.slot] = 1;
	world_set(world, "ruleset_peers", &key, &peer);
	allow_ports(rules, 0, 0, -16, 1);
	set_cell(rules, 1, 1, 7, 0, true);
	world_set_rules(world, 0, rules, RULESET_OPEN);
	r = attempt(0, V4, pod_text[1][V4], IPPROTO_TCP, 80);
	CU_ASSERT(dropped(&r, REASON_POLICY_EGRESS));
	world_switch_slots(world);
	r = attempt(0, V4, pod_text[1][V4], IPPROTO_TCP, 80);
	CU_ASSERT(forwarded(&r));
	world_switch_slots(world);
	open_all();
}

static void count_rule(uint32_t rule)
{
	struct rule_counter none[256] = {};

	CU_ASSERT_EQUAL_FATAL(
		bpf_map_update_elem(world_map(world, "rule_counters"), &rule, none, BPF_ANY), 0);
}

/* What is denied is counted at once; what a flow has seen, when it is re-evaluated by another rule.
 */
static void packets_are_counted_for_the_rules_that_decide(void)
{
	uint32_t first = new_ruleset(), second = new_ruleset();
	struct frame_spec spec = spec_of_pod(0, V4, pod_text[1][V4], IPPROTO_UDP, 4000, 53);

	allow_peer(first, world->pods[1].identity, 1);
	allow_ports(first, 0, 0, -16, 1);
	set_cell(first, 1, 1, 901, 0, true);
	allow_peer(second, world->pods[1].identity, 1);
	allow_ports(second, 0, 0, -16, 1);
	set_cell(second, 1, 1, 902, 0, true);
	count_rule(901);
	count_rule(902);
	count_rule(RULE_DEFAULT | first);
	world_set_rules(world, 0, first, RULESET_OPEN);
	for (int i = 0; i < 5; i++)
		CU_ASSERT_EQUAL(send_of_pod(0, &spec).verdict, TC_ACT_REDIRECT);
	CU_ASSERT_EQUAL(rule_packets(901), 0); /* they stand in the flow */
	world_set_rules(world, 0, second, RULESET_OPEN);
	world_move_generation(world, 2);
	CU_ASSERT_EQUAL(send_of_pod(0, &spec).verdict, TC_ACT_REDIRECT);
	CU_ASSERT_EQUAL(rule_packets(901), 5);
	CU_ASSERT_EQUAL(rule_packets(902), 0);
	world_set_rules(world, 0, first, RULESET_OPEN);
	attempt(0, V4, outside[V4], IPPROTO_TCP, 80);
	attempt(0, V4, outside[V4], IPPROTO_TCP, 80);
	CU_ASSERT_EQUAL(rule_packets(RULE_DEFAULT | first), 2);
	open_all();
}

/* Two sets whose tables are neighbours: peer classes 1 and 2, port classes 0 and 1; the keys go by
 * number, the pods by slot. */
static void a_table_of_cells_answers_within_its_own_range(void)
{
	static const struct ruleset_cell allow = {.rule[STEP_REST] = 7,
						  .verdict[STEP_REST] = CELL_ALLOW};
	const uint32_t first = 1000, number = 70000, slot = next_ruleset++;
	struct ruleset_entry set = {.number = number,
				    .flags = RULESET_HAS_PORTS | RULESET_ISOLATES,
				    .cell_first = first,
				    .cell_count = 4,
				    .port_classes = 2};
	uint32_t at = first + 3, behind = first + 4,
		 before = first - 1; /* peer class 2, port class 1 */
	struct world_result r;

	world_set(world, "rulesets", &slot, &set);
	world_set(world, "ruleset_tables", &at, &allow);
	world_set(world, "ruleset_tables", &behind, &allow); /* the neighbours allow everything */
	world_set(world, "ruleset_tables", &before, &allow);
	allow_ports(number, IPPROTO_TCP, 80, 16, 1);
	allow_ports(number, IPPROTO_TCP, 82, 16, 2); /* a class that has no column */
	world_set_rules(world, 0, slot, RULESET_OPEN);
	for (uint16_t peer_class = 0; peer_class <= 3; peer_class++) {
		allow_peer(number, world->pods[1].identity, peer_class);
		for (uint16_t port = 80; port <= 82; port++) {
			r = attempt(0, V4, pod_text[1][V4], IPPROTO_TCP, port);
			if (peer_class == 2 && port == 80)
				CU_ASSERT(forwarded(&r))
			else
				CU_ASSERT(dropped(&r, REASON_POLICY_EGRESS))
		}
	}
	open_all();
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(denies_what_no_rule_allows),
		SUITE_TEST(pod_without_policy_yet_is_closed),
		SUITE_TEST(missing_ruleset_is_closed),
		SUITE_TEST(ingress_allows_by_identity_and_port),
		SUITE_TEST(egress_of_a_pod_holds_where_the_node_masquerades),
		SUITE_TEST(a_reply_knows_whom_the_node_masquerades),
		SUITE_TEST(ingress_knows_whom_the_node_masquerades),
		SUITE_TEST(ingress_compares_whom_the_node_masquerades_by_its_own_address),
		SUITE_TEST(egress_sees_the_endpoint_of_a_service),
		SUITE_TEST(port_ranges_are_prefixes_of_ports),
		SUITE_TEST(any_port_of_a_protocol_and_any_protocol),
		SUITE_TEST(egress_allows_by_prefix),
		SUITE_TEST(prefixes_match_pods_too),
		SUITE_TEST(lower_rank_decides),
		SUITE_TEST(classes_of_unlisted_pods_and_of_the_world_differ),
		SUITE_TEST(answers_need_no_rule),
		SUITE_TEST(new_policy_cuts_a_live_connection),
		SUITE_TEST(one_word_switches_all_rulesets),
		SUITE_TEST(node_reaches_its_pods_whatever_the_policy),
		SUITE_TEST(outside_needs_a_rule_of_an_isolated_pod),
		SUITE_TEST(cnp1_cnp3_the_admin_tier_decides_or_passes_on),
		SUITE_TEST(peers_classes_switch_with_the_slot),
		SUITE_TEST(packets_are_counted_for_the_rules_that_decide),
		SUITE_TEST(a_table_of_cells_answers_within_its_own_range),
	};

	return SUITE_RUN("policy", tests);
}

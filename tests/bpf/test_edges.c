/* SPDX-License-Identifier: Apache-2.0 */
/* What an evaluation asks, exactly: a pod and itself, addresses after translation, the slot in
 * force.
 */
#include "suite.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>

static const char *const vip[2] = {"10.96.9.1", "fd00:96::9:1"};
static uint32_t next_ruleset = 5000;

/* A rule set that every port is of class 1 in. */
static uint32_t new_ruleset(uint32_t flags, uint16_t default_pod_class)
{
	uint32_t id = next_ruleset++, class = 1;
	struct ruleset_entry set = {.number = id,
				    .default_pod_class = default_pod_class,
				    .flags = RULESET_HAS_PREFIXES | RULESET_HAS_PORTS | flags};
	struct ruleset_port_key key = {.prefixlen = 32, .ruleset = id};

	world_set(world, "rulesets", &id, &set);
	world_set(world, "ruleset_ports", &key, &class);
	return id;
}

static void set_cell(uint32_t ruleset, uint16_t peer, enum policy_step step,
		     enum cell_verdict verdict)
{
	struct ruleset_cell_key key = {.ruleset = ruleset, .peer_class = peer, .port_class = 1};
	struct ruleset_cell cell = {};

	cell.rule[step] = 7;
	cell.verdict[step] = verdict;
	world_set(world, "ruleset_cells", &key, &cell);
}

static void set_peer(uint32_t ruleset, uint32_t identity, uint16_t class)
{
	struct ruleset_peer_key key = {.ruleset = ruleset, .identity = identity};

	world_set(world, "ruleset_peers", &key,
		  &(struct ruleset_peer){.peer_class = {class, class}});
}

static void set_prefix(uint32_t ruleset, const char *text, uint32_t class)
{
	struct ruleset_prefix_key key = {
		.prefixlen = 32 + 128, .ruleset = ruleset, .addr = addr(text)};

	world_set(world, "ruleset_prefixes", &key, &class);
}

static void open_all(void)
{
	for (int pod = 0; pod < WORLD_PODS; pod++)
		world_set_rules(world, pod, RULESET_OPEN, RULESET_OPEN);
}

static struct world_result attempt(int from, enum suite_version v, const char *to, uint16_t port)
{
	static uint16_t sport = 20000;
	struct frame_spec spec = spec_of_pod(from, v, to, IPPROTO_TCP, sport++, port);

	return send_of_pod(from, &spec);
}

static void set_service(uint32_t id, enum suite_version v, int pod)
{
	struct world_backend backend = {pod_text[pod][v], 8080, 0};

	world_set_service(world, id + v, vip[v], IPPROTO_TCP, 80, &backend, 1);
}

static void np20_a_pod_reaches_its_own_address_whatever_the_policy(void)
{
	uint32_t closed = new_ruleset(RULESET_ISOLATES, 0);

	world_set_rules(world, 1, closed, closed);
	EACH_VERSION(v)
	{
		struct world_result r = attempt(1, v, pod_text[1][v], 80);

		CU_ASSERT(forwarded(&r));
	}
	open_all();
}

static void np20_no_cluster_policy_holds_for_a_pods_own_address(void)
{
	uint32_t admin = new_ruleset(RULESET_ISOLATES, 0);

	set_peer(admin, world->pods[1].identity, 1);
	set_cell(admin, 1, STEP_ADMIN, CELL_DENY);
	world_set_rules(world, 1, admin, admin);
	EACH_VERSION(v)
	{
		struct world_result r = attempt(1, v, pod_text[1][v], 80);

		CU_ASSERT(forwarded(&r));
	}
	open_all();
}

static void np20_a_pod_reaches_itself_through_a_service_past_network_policies(void)
{
	uint32_t closed = new_ruleset(RULESET_ISOLATES, 0);

	EACH_VERSION(v)
	{
		struct world_result r;

		set_service(70, v, 1);
		world_set_rules(world, 1, closed, closed);
		r = attempt(1, v, vip[v], 80);
		CU_ASSERT(forwarded(&r));
		/* Another pod is another matter. */
		r = attempt(0, v, vip[v], 80);
		CU_ASSERT(dropped(&r, REASON_POLICY_INGRESS));
		open_all();
	}
}

static void np20_cluster_policies_hold_for_a_pod_that_reaches_itself_through_a_service(void)
{
	uint32_t admin = new_ruleset(RULESET_ISOLATES, 0), baseline = new_ruleset(0, 0);

	set_peer(admin, world->pods[1].identity, 1);
	set_cell(admin, 1, STEP_ADMIN, CELL_DENY);
	set_peer(baseline, world->pods[1].identity, 1);
	set_cell(baseline, 1, STEP_REST, CELL_DENY);
	EACH_VERSION(v)
	{
		struct world_result r;

		set_service(70, v, 1);
		world_set_rules(world, 1, admin, RULESET_OPEN);
		r = attempt(1, v, vip[v], 80);
		CU_ASSERT(dropped(&r, REASON_POLICY_EGRESS));
		world_set_rules(world, 1, RULESET_OPEN, baseline);
		r = attempt(1, v, vip[v], 80);
		CU_ASSERT(dropped(&r, REASON_POLICY_INGRESS));
		open_all();
	}
}

static void np11_egress_is_evaluated_on_the_endpoints_address(void)
{
	EACH_VERSION(v)
	{
		uint32_t endpoint = new_ruleset(RULESET_ISOLATES, 0),
			 service = new_ruleset(RULESET_ISOLATES, 0);
		struct world_result r;

		set_prefix(endpoint, pod_text[2][v], 1);
		set_cell(endpoint, 1, STEP_REST, CELL_ALLOW);
		set_prefix(service, vip[v], 1);
		set_cell(service, 1, STEP_REST, CELL_ALLOW);
		set_service(70, v, 2);
		world_set_rules(world, 0, endpoint, RULESET_OPEN);
		r = attempt(0, v, vip[v], 80);
		CU_ASSERT(forwarded(&r));
		world_set_rules(world, 0, service, RULESET_OPEN);
		r = attempt(0, v, vip[v], 80);
		CU_ASSERT(dropped(&r, REASON_POLICY_EGRESS));
		open_all();
	}
}

static void the_senders_rule_set_is_of_the_slot_in_force(void)
{
	uint32_t closed = new_ruleset(RULESET_ISOLATES, 0), key = world->pods[0].link;
	struct pod_entry entry;
	struct world_result r;

	CU_ASSERT_EQUAL(bpf_map_lookup_elem(world_map(world, "pods"), &key, &entry), 0);
	entry.egress_rules[!world->control.slot] = closed;
	world_set(world, "pods", &key, &entry);
	r = attempt(0, V4, pod_text[1][V4], 80);
	CU_ASSERT(forwarded(&r));
	world_switch_slots(world);
	r = attempt(0, V4, pod_text[1][V4], 80);
	CU_ASSERT(dropped(&r, REASON_POLICY_EGRESS));
	world_switch_slots(world);
	open_all();
}

/* The first number of a pod is the lowest that is no reserved one. */
static void a_remote_pods_identity_is_of_the_slot_in_force(void)
{
	uint32_t rules = new_ruleset(RULESET_ISOLATES, 1);
	struct address_entry there = {.flags = ADDRESS_POD};
	struct world_result r;

	there.identity[world->control.slot] = IDENTITY_FIRST_POD;
	there.identity[!world->control.slot] = IDENTITY_FIRST_POD - 1;
	world_set_address(world, remote_pod[V4], 32, &there);
	set_cell(rules, 1, STEP_REST, CELL_ALLOW);
	world_set_rules(world, 0, rules, RULESET_OPEN);
	r = attempt(0, V4, remote_pod[V4], 80);
	CU_ASSERT(forwarded(&r));
	world_switch_slots(world);
	r = attempt(0, V4, remote_pod[V4], 80);
	CU_ASSERT(dropped(&r, REASON_POLICY_EGRESS));
	world_switch_slots(world);
	open_all();
}

static void datagrams_leave_an_endpoint_that_ends_if_there_is_another(void)
{
	EACH_VERSION(v)
	{
		struct frame_spec spec = spec_of_pod(0, v, vip[v], IPPROTO_UDP, 21000, 82), back;
		struct world_backend one = {pod_text[1][v], 8080, 0},
				     both[2] = {{pod_text[1][v], 8080, BACKEND_TERMINATING},
						{pod_text[2][v], 8080, 0}};
		struct world_result r;

		world_set_service(world, 80 + v, vip[v], IPPROTO_UDP, 82, &one, 1);
		r = send_of_pod(0, &spec);
		CU_ASSERT(forwarded(&r) &&
			  seen_ends(&r, pod_text[0][v], 21000, pod_text[1][v], 8080));
		back = spec_of_answer(1, &r, 0);
		r = send_of_pod(1, &back);
		CU_ASSERT(forwarded(&r));
		world_set_service(world, 80 + v, vip[v], IPPROTO_UDP, 82, both, 2);
		world_move_generation(world, 2);
		r = send_of_pod(0, &spec);
		CU_ASSERT(forwarded(&r) &&
			  seen_ends(&r, pod_text[0][v], 21000, pod_text[2][v], 8080));
	}
}

/* Nobody's address is not the address of a pod that has none. */
static void pod_without_an_ipv4_address_sends_no_ipv4(void)
{
	uint32_t key = world->pods[0].link;
	struct frame_spec spec = spec_of_pod(0, V4, outside[V4], IPPROTO_UDP, 21100, 53);
	struct pod_entry entry, without;
	struct world_result r;

	CU_ASSERT_EQUAL(bpf_map_lookup_elem(world_map(world, "pods"), &key, &entry), 0);
	without = entry;
	without.ipv4_be = 0;
	world_set(world, "pods", &key, &without);
	spec.source = addr("0.0.0.0");
	r = send_of_pod(0, &spec);
	CU_ASSERT(dropped(&r, REASON_SOURCE_IP));
	world_set(world, "pods", &key, &entry);
}

/* ::ffff:10.1.0.12 on the wire would be the pod's IPv4 address in every map. */
static void ipv4_addresses_do_not_come_as_ipv6(void)
{
	struct frame_spec spec = spec_of_wire(outside[V6], pod_text[1][V6], IPPROTO_TCP, 21200, 80);
	struct polder_addr mapped = addr(outside[V4]);
	struct world_result r;
	struct frame frame;

	frame_make(&frame, &spec);
	memcpy(frame.bytes + 14 + 8, &mapped, sizeof(mapped));
	r = world_run(world, HOOK_FROM_WIRE, WORLD_UPLINK, WORLD_UPLINK, &frame);
	CU_ASSERT(dropped(&r, REASON_MARTIAN));
}

static struct frame_spec fragment(struct frame_spec spec, uint16_t offset, uint32_t id)
{
	spec.payload_length = offset ? 100 : 792;
	spec.fragment_offset = offset;
	spec.fragment_id = id;
	spec.flags = FRAME_FRAGMENT | (offset ? 0 : FRAME_MORE_FRAGMENTS);
	return spec;
}

/* The node itself may send with any address; the wire then has no part in its packets. */
static void a_later_fragment_from_the_wire_is_no_piece_of_the_nodes_packet(void)
{
	EACH_VERSION(v)
	{
		struct frame_spec spec = spec_of_wire(outside[v], pod_text[1][v], IPPROTO_UDP,
						      21400, 53),
				  piece;
		struct world_result r;

		piece = fragment(spec, 0, 902);
		send_of_host(1, &piece);
		piece = fragment(spec, 800, 902);
		r = send_of_wire(&piece);
		CU_ASSERT(dropped(&r, REASON_FRAGMENT_ORPHAN));
		world_forget_flows(world);
	}
}

/* The first bytes of a later fragment are no ports. */
static void an_error_about_a_later_fragment_belongs_to_no_flow(void)
{
	struct frame_spec spec = spec_of_pod(0, V4, outside[V4], IPPROTO_UDP, 21500, 53), error;
	struct world_result r = send_of_pod(0, &spec);
	struct frame about = r.out;

	CU_ASSERT(forwarded(&r));
	error = spec_of_wire(outside[V4], node[V4], IPPROTO_ICMP, 0, 0);
	error.icmp_type = 3;
	error.icmp_code = 3;
	error.payload = about.bytes + 14;
	error.payload_length = 28;
	r = send_of_wire(&error);
	CU_ASSERT(forwarded(&r));
	about.bytes[14 + 7] = 100; /* the fragment's offset */
	r = send_of_wire(&error);
	CU_ASSERT(passed(&r) || dropped(&r, REASON_ICMP_NO_FLOW));
}

static void class_e_is_no_multicast(void)
{
	struct world_result r = attempt(0, V4, "240.0.0.1", 80);

	CU_ASSERT(forwarded(&r));
	r = attempt(0, V4, "239.255.0.1", 80);
	CU_ASSERT(dropped(&r, REASON_MULTICAST));
}

/* What the node's stack forwards to a pod, come in by a link that is no pod's. */
static struct world_result forwarded_by_the_stack(int to_pod, const struct frame_spec *spec)
{
	struct frame frame;

	frame_make(&frame, spec);
	return world_run(world, HOOK_TO_POD, world->pods[to_pod].link, WORLD_UPLINK, &frame);
}

static void no_pods_address_comes_by_another_link(void)
{
	EACH_VERSION(v)
	{
		struct frame_spec spec =
			spec_of_wire(outside[v], pod_text[1][v], IPPROTO_TCP, 21600, 80);
		struct world_result r = forwarded_by_the_stack(1, &spec);

		CU_ASSERT(r.verdict == TC_ACT_OK);
		spec = spec_of_wire(pod_text[0][v], pod_text[1][v], IPPROTO_TCP, 21601, 80);
		r = forwarded_by_the_stack(1, &spec);
		CU_ASSERT(dropped(&r, REASON_MARTIAN));
	}
}

/* The stack may have translated it: what answers it meets that translation again. */
static void what_the_nodes_stack_forwards_is_answered_through_the_stack(void)
{
	EACH_VERSION(v)
	{
		struct frame_spec spec =
			spec_of_wire(outside[v], pod_text[1][v], IPPROTO_TCP, 21602, 80);
		struct world_result r = forwarded_by_the_stack(1, &spec);

		CU_ASSERT(r.verdict == TC_ACT_OK);
		spec = spec_of_segment(1, v, outside[v], 80, 21602, TCP_SYN_FLAG | TCP_ACK_FLAG);
		r = send_of_pod(1, &spec);
		CU_ASSERT(passed(&r));
		CU_ASSERT(seen_ends(&r, pod_text[1][v], 80, outside[v], 21602));
	}
}

/* To the second pod, from the first: redirected as the frame `ret_out`, with the mark that is
 * returned. */
static uint32_t mark_of_segment_to_second(enum suite_version v, uint16_t sport,
					  struct frame *ret_out)
{
	const struct frame_spec spec =
		spec_of_segment(0, v, pod_text[1][v], sport, 80, TCP_SYN_FLAG);
	struct __sk_buff skb = {.ifindex = world->pods[0].link,
				.ingress_ifindex = world->pods[0].link};
	struct world_result r;
	struct frame frame;

	frame_make(&frame, &spec);
	r = world_run_skb(world, HOOK_FROM_POD, &skb, &frame);
	CU_ASSERT(forwarded(&r));
	*ret_out = r.out;
	return skb.mark;
}

/* The verdict of the link's program, and the mark that it leaves. */
static struct world_result at_link(uint32_t mark, uint32_t ingress, const struct frame *frame,
				   uint32_t *ret_mark)
{
	struct __sk_buff skb = {
		.ifindex = world->pods[1].link, .ingress_ifindex = ingress, .mark = mark};
	struct world_result r = world_run_skb(world, HOOK_TO_POD, &skb, frame);

	*ret_mark = skb.mark;
	return r;
}

static void what_a_limited_pod_gets_goes_by_its_link_with_its_verdict(void)
{
	EACH_VERSION(v)
	{
		uint32_t pod_link = world->pods[0].link, left;
		struct world_result r;
		struct frame frame;

		CU_ASSERT_EQUAL(mark_of_segment_to_second(v, 21620, &frame), 0);
		world_limit_pod(world, 1, true);
		CU_ASSERT_EQUAL(mark_of_segment_to_second(v, 21620, &frame), POD_LIMITED_MARK);
		CU_ASSERT_EQUAL(mark_of_segment_to_second(v, 21621, &frame), POD_LIMITED_MARK);
		world_limit_pod(world, 1, false);
		r = at_link(POD_LIMITED_MARK, pod_link, &frame, &left);
		CU_ASSERT(passed(&r) && left == 0 && r.out.length == frame.length &&
			  memcmp(r.out.bytes, frame.bytes, frame.length) == 0);
		/* Another mark is none, and nor is this one on what the node itself makes. */
		r = at_link(POD_LIMITED_MARK ^ 1, WORLD_UPLINK, &frame, &left);
		CU_ASSERT(dropped(&r, REASON_MARTIAN) && left == (POD_LIMITED_MARK ^ 1));
		world_set_rules(world, 1, RULESET_OPEN, RULESET_CLOSED);
		r = at_link(POD_LIMITED_MARK, 0, &frame, &left);
		CU_ASSERT(left == POD_LIMITED_MARK);
		world_set_rules(world, 1, RULESET_OPEN, RULESET_OPEN);
	}
}

static void neighbour_discovery_is_not_forwarded_to_pods(void)
{
	struct frame_spec spec = spec_of_wire(outside[V6], pod_text[1][V6], IPPROTO_ICMPV6, 0, 0);
	struct world_result r;

	spec.icmp_type = 139;
	r = forwarded_by_the_stack(1, &spec);
	CU_ASSERT(dropped(&r, REASON_ND_OTHER));
	r = send_of_host(1, &spec); /* the node's own is between the two of them */
	CU_ASSERT(r.verdict == TC_ACT_OK);
}

static void unset_address(const char *text)
{
	struct address_key key = {.prefixlen = 128, .addr = addr(text)};

	world_unset(world, "addresses", &key);
}

static void a_local_pod_is_found_by_its_place_in_the_range_or_by_the_trie(void)
{
	static const char *const unlisted[2] = {"10.1.0.77", "fd00:1::77"};

	EACH_VERSION(v)
	{
		struct address_entry entry = {
			.flags = ADDRESS_POD | ADDRESS_LOCAL,
			.identity = {world->pods[1].identity, world->pods[1].identity},
			.ifindex = world->pods[1].link};
		struct world_result r;

		world_set_address(world, unlisted[v], v == V4 ? 32 : 128, &entry);
		unset_address(unlisted[v]); /* the array alone */
		r = attempt(0, v, unlisted[v], 80);
		CU_ASSERT(forwarded(&r));
		world->trie_only = true;
		r = attempt(0, v, v == V4 ? "10.1.0.78" : "fd00:1::78", 80);
		CU_ASSERT(told(&r, REASON_UNKNOWN_POD));
		world_set_address(world, v == V4 ? "10.1.0.78" : "fd00:1::78", v == V4 ? 32 : 128,
				  &entry);
		r = attempt(0, v, v == V4 ? "10.1.0.78" : "fd00:1::78", 80);
		CU_ASSERT(forwarded(&r));
		unset_address(v == V4 ? "10.1.0.78" : "fd00:1::78");
		world->trie_only = false;
	}
}

/* fd00:1::1:12 ends in the same bits as pod 1's fd00:1::12; the trie says that nobody has it. */
static void an_address_that_ends_like_a_pods_is_not_the_pods(void)
{
	struct world_result r = attempt(0, V6, "fd00:1::1:12", 80);

	CU_ASSERT(told(&r, REASON_UNKNOWN_POD));
	r = attempt(0, V6, "fd00:1::12", 80);
	CU_ASSERT(forwarded(&r));
}

static void a_cleared_element_says_nothing(void)
{
	struct local_pod_address cleared = {.addr = addr("10.1.0.12")};
	struct local_pod_address before;
	uint32_t index = ntohl(cleared.addr.words_be[3]) % WORLD_LOCAL_PODS;
	struct world_result r;

	CU_ASSERT_FATAL(bpf_map_lookup_elem(world_map(world, "local_pods"), &index, &before) == 0);
	world_set(world, "local_pods", &index, &cleared);
	unset_address("10.1.0.12");
	r = attempt(0, V4, "10.1.0.12", 80);
	CU_ASSERT(told(&r, REASON_UNKNOWN_POD));
	world_set(world, "local_pods", &index, &before);
	world_set_address(world, "10.1.0.12", 32, &before.entry);
	r = attempt(0, V4, "10.1.0.12", 80);
	CU_ASSERT(forwarded(&r));
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(np20_a_pod_reaches_its_own_address_whatever_the_policy),
		SUITE_TEST(np20_no_cluster_policy_holds_for_a_pods_own_address),
		SUITE_TEST(np20_a_pod_reaches_itself_through_a_service_past_network_policies),
		SUITE_TEST(
			np20_cluster_policies_hold_for_a_pod_that_reaches_itself_through_a_service),
		SUITE_TEST(np11_egress_is_evaluated_on_the_endpoints_address),
		SUITE_TEST(the_senders_rule_set_is_of_the_slot_in_force),
		SUITE_TEST(a_remote_pods_identity_is_of_the_slot_in_force),
		SUITE_TEST(datagrams_leave_an_endpoint_that_ends_if_there_is_another),
		SUITE_TEST(pod_without_an_ipv4_address_sends_no_ipv4),
		SUITE_TEST(ipv4_addresses_do_not_come_as_ipv6),
		SUITE_TEST(a_later_fragment_from_the_wire_is_no_piece_of_the_nodes_packet),
		SUITE_TEST(an_error_about_a_later_fragment_belongs_to_no_flow),
		SUITE_TEST(class_e_is_no_multicast),
		SUITE_TEST(no_pods_address_comes_by_another_link),
		SUITE_TEST(what_the_nodes_stack_forwards_is_answered_through_the_stack),
		SUITE_TEST(what_a_limited_pod_gets_goes_by_its_link_with_its_verdict),
		SUITE_TEST(neighbour_discovery_is_not_forwarded_to_pods),
		SUITE_TEST(a_local_pod_is_found_by_its_place_in_the_range_or_by_the_trie),
		SUITE_TEST(an_address_that_ends_like_a_pods_is_not_the_pods),
		SUITE_TEST(a_cleared_element_says_nothing),
	};

	return SUITE_RUN("edges", tests);
}

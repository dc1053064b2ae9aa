/* SPDX-License-Identifier: Apache-2.0 */
/* Echo, and errors about packets of known flows: outer and inner headers are translated back. */
#include "suite.h"

static const char *const vip[2] = {"10.96.2.1", "fd00:96::2:1"};
static const char *const router[2] = {"198.51.100.1",
				      "2001:db8:ffff::1"}; /* somewhere on the way */

/* An ICMP error about the frame, as a router or the receiver would send it. `pod` < 0: from the
 * wire. */
static struct world_result send_error(int pod, const char *from, const char *to, uint8_t type,
				      uint8_t code, uint16_t mtu, const struct frame *about)
{
	bool v4 = about->bytes[12] == 8;
	struct frame_spec spec = spec_of_wire(from, to, v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6, 0, 0);

	spec.icmp_type = type;
	spec.icmp_code = code;
	spec.mtu = mtu;
	spec.payload = about->bytes + 14;
	spec.payload_length = v4 ? 28 : about->length - 14;
	if (pod < 0)
		return send_of_wire(&spec);
	memcpy(spec.mac_source, world->pods[pod].mac, 6);
	return send_of_pod(pod, &spec);
}

static uint8_t too_big_type(enum suite_version v)
{
	return v == V4 ? 3 : 2;
}

static uint8_t too_big_code(enum suite_version v)
{
	return v == V4 ? 4 : 0;
}

/* The packet inside the error is what its receiver sent, transport checksum included. An IPv4
 * header's sum has to be right too. */
static void check_inner(const struct world_result *r, const struct frame_spec *sent)
{
	bool v4 = addr_is_v4(&sent->source);
	size_t addrs = v4 ? 26 : 22, length = v4 ? 8 : 32, l4 = v4 ? 34 : 54;
	struct frame inner, whole;

	frame_make(&whole, sent);
	CU_ASSERT_EQUAL(frame_inner(&r->out, &inner), 0);
	CU_ASSERT(!memcmp(inner.bytes + addrs, whole.bytes + addrs, length));
	CU_ASSERT(!memcmp(inner.bytes + l4, whole.bytes + l4, 8));
	if (v4)
		CU_ASSERT_EQUAL(frame_sum(inner.bytes + 14, 20, 0), 0xffff);
}

static void forwards_echo_and_its_reply(void)
{
	EACH_VERSION(v)
	{
		struct frame_spec spec = spec_of_pod(0, v, pod_text[1][v], icmp_of(v), 4242, 0),
				  back;
		struct world_result r = send_of_pod(0, &spec);

		CU_ASSERT(forwarded(&r));
		back = spec_of_answer(1, &r, 0);
		r = send_of_pod(1, &back);
		CU_ASSERT(forwarded(&r));
		CU_ASSERT_EQUAL(seen(&r).sport, 4242);
	}
}

/* Both sides may ping with one identifier: neither's request is taken for the other's reply. */
static void echo_request_is_no_reply_of_an_echo_request(void)
{
	EACH_VERSION(v)
	{
		struct frame_spec spec = spec_of_pod(0, v, pod_text[1][v], icmp_of(v), 4243, 0),
				  other;
		uint64_t before = world_counter(world, COUNTER_FLOWS_CREATED);
		struct world_result r = send_of_pod(0, &spec);

		other = spec_of_pod(1, v, pod_text[0][v], icmp_of(v), 4243, 0);
		CU_ASSERT(forwarded(&r));
		r = send_of_pod(1, &other);
		CU_ASSERT(forwarded(&r));
		CU_ASSERT_EQUAL(world_counter(world, COUNTER_FLOWS_CREATED), before + 2);
	}
}

struct seen_entries {
	int count, replied;
};

static void count_entry(const struct flow_head *head, void *data)
{
	struct seen_entries *entries = data;

	entries->count++;
	entries->replied += (head->state & FLOW_REPLIED) != 0;
}

static struct seen_entries entries_now(enum suite_version v)
{
	struct seen_entries entries = {};

	each_entry(v, count_entry, &entries);
	return entries;
}

/* Timestamps, addresses' masks and the like (RFC 792, RFC 950). */
static void queries_are_answered_by_their_replies_alone(void)
{
	static const uint8_t queries[] = {13, 15, 17};

	for (size_t i = 0; i < sizeof(queries); i++) {
		struct frame_spec spec = spec_of_pod(0, V4, pod_text[1][V4], IPPROTO_ICMP, 4711, 0),
				  back;
		struct world_result r;

		world_forget_flows(world);
		spec.icmp_type = queries[i];
		r = send_of_pod(0, &spec);
		CU_ASSERT(forwarded(&r));
		/* The other one's own query is another flow. */
		back = spec_of_answer(1, &r, 0);
		back.icmp_type = queries[i];
		r = send_of_pod(1, &back);
		CU_ASSERT(forwarded(&r));
		CU_ASSERT(entries_now(V4).count == 4 && entries_now(V4).replied == 0);
		back.icmp_type = queries[i] + 1;
		r = send_of_pod(1, &back);
		CU_ASSERT(forwarded(&r));
		CU_ASSERT(entries_now(V4).count == 4 && entries_now(V4).replied == 2);
	}
}

static void queries_but_echo_cannot_be_masqueraded(void)
{
	static const uint8_t queries[] = {13, 15, 17};

	for (size_t i = 0; i < sizeof(queries); i++) {
		struct frame_spec spec = spec_of_pod(0, V4, outside[V4], IPPROTO_ICMP, 4711, 0);
		struct world_result r;

		spec.icmp_type = queries[i];
		r = send_of_pod(0, &spec);
		CU_ASSERT(dropped(&r, REASON_NAT_PROTOCOL));
	}
}

static void error_about_a_translated_packet_is_translated_back(void)
{
	EACH_VERSION(v)
	{
		uint8_t protos[] = {IPPROTO_TCP, IPPROTO_UDP};
		struct world_backend backend = {pod_text[1][v], 8080, 0};

		for (int i = 0; i < 2; i++) {
			struct frame_spec spec = spec_of_pod(0, v, vip[v], protos[i], 8000, 80),
					  got;
			struct world_result r;

			world_set_service(world, 40 + i, vip[v], protos[i], 80, &backend, 1);
			r = send_of_pod(0, &spec);
			CU_ASSERT(forwarded(&r));
			r = send_error(1, pod_text[1][v], pod_text[0][v], v == V4 ? 3 : 1,
				       v == V4 ? 3 : 4, 0, &r.out);
			CU_ASSERT(forwarded(&r));
			got = seen(&r);
			CU_ASSERT(got.icmp_type == (v == V4 ? 3 : 1));
			CU_ASSERT(addr_same(
				&got.source,
				&spec.destination)); /* the Service speaks, not the endpoint */
			check_inner(&r, &spec);
		}
	}
}

/* The UDP checksum inside, as bytes. */
static uint16_t inner_check(const struct world_result *r, enum suite_version v)
{
	struct frame inner;
	uint16_t check;

	CU_ASSERT_EQUAL(frame_inner(&r->out, &inner), 0);
	memcpy(&check, inner.bytes + (v == V4 ? 40 : 60), sizeof(check));
	return check;
}

/* RFC 768: 0 says that there is none. */
static void datagram_with_a_checksum_inside_an_error_keeps_one(void)
{
	EACH_VERSION(v)
	{
		struct world_backend backend = {pod_text[1][v], 8080, 0};
		struct frame_spec spec = spec_of_pod(0, v, vip[v], IPPROTO_UDP, 8010, 82);
		uint8_t type = v == V4 ? 3 : 1, code = v == V4 ? 3 : 4;
		struct world_result r, sent;
		uint16_t check, sum, out;

		world_set_service(world, 46, vip[v], IPPROTO_UDP, 82, &backend, 1);
		sent = send_of_pod(0, &spec);
		CU_ASSERT(forwarded(&sent));
		r = send_error(1, pod_text[1][v], pod_text[0][v], type, code, 0, &sent.out);
		CU_ASSERT(forwarded(&r));
		out = inner_check(&r, v);
		memcpy(&check, sent.out.bytes + (v == V4 ? 40 : 60), sizeof(check));
		/* One that the translation makes 0 of (RFC 1624). */
		sum = frame_sum(&out, sizeof(out), (uint16_t)~ntohs(check));
		check = htons((uint16_t)~sum);
		memcpy(sent.out.bytes + (v == V4 ? 40 : 60), &check, sizeof(check));
		r = send_error(1, pod_text[1][v], pod_text[0][v], type, code, 0, &sent.out);
		CU_ASSERT(forwarded(&r));
		CU_ASSERT_EQUAL(inner_check(&r, v), 0xffff);
	}
}

static void error_about_a_masqueraded_packet_is_translated_back(void)
{
	EACH_VERSION(v)
	{
		uint8_t protos[] = {IPPROTO_TCP, IPPROTO_UDP, icmp_of(v)};

		for (int i = 0; i < 3; i++) {
			struct frame_spec spec = spec_of_pod(0, v, outside[v], protos[i], 8001, 53),
					  got;
			struct polder_addr from = addr(router[v]);
			struct world_result r = send_of_pod(0, &spec);

			CU_ASSERT(forwarded(&r));
			r = send_error(-1, router[v], node[v], too_big_type(v), too_big_code(v),
				       1400, &r.out);
			CU_ASSERT(forwarded(&r));
			got = seen(&r);
			CU_ASSERT(addr_same(&got.source, &from)); /* a router keeps its name */
			CU_ASSERT(addr_same(&got.destination, &spec.source));
			CU_ASSERT_EQUAL(got.mtu, 1400);
			CU_ASSERT(!memcmp(got.mac_destination, world->pods[0].mac, 6));
			check_inner(&r, &spec);
		}
	}
}

static void error_about_an_untranslated_packet_passes_unchanged(void)
{
	EACH_VERSION(v)
	{
		struct frame_spec spec = spec_of_pod(0, v, pod_text[1][v], IPPROTO_UDP, 8002, 53);
		struct world_result r = send_of_pod(0, &spec);

		r = send_error(1, pod_text[1][v], pod_text[0][v], v == V4 ? 3 : 1, v == V4 ? 3 : 4,
			       0, &r.out);
		CU_ASSERT(forwarded(&r));
		check_inner(&r, &spec);
	}
}

/* What is no echo in its family has no identifier: its first bytes are not taken for one. */
static void error_about_icmp_of_the_other_family_is_dropped(void)
{
	EACH_VERSION(v)
	{
		struct frame_spec spec =
			spec_of_pod(0, v, pod_text[1][v], icmp_of(v == V4 ? V6 : V4), 0, 0);
		struct world_result r;

		spec.icmp_type = v == V4 ? 8 : 128;
		r = send_of_pod(0, &spec);
		CU_ASSERT(forwarded(&r));
		r = send_error(1, pod_text[1][v], pod_text[0][v], v == V4 ? 3 : 1, v == V4 ? 3 : 4,
			       0, &r.out);
		CU_ASSERT(dropped(&r, REASON_ICMP_NO_FLOW));
	}
}

/* Ports would be read from what is an address. */
static void error_whose_packet_has_no_whole_header_is_dropped(void)
{
	struct frame_spec spec = spec_of_pod(0, V4, pod_text[1][V4], 4, 0, 0);
	struct world_result r;

	spec.payload_length = 8;
	r = send_of_pod(0, &spec);
	CU_ASSERT(forwarded(&r));
	r.out.bytes[14] = 0x44;
	r = send_error(1, pod_text[1][V4], pod_text[0][V4], 3, 2, 0, &r.out);
	CU_ASSERT(dropped(&r, REASON_ICMP_NO_FLOW));
}

static void error_about_no_known_flow_is_dropped(void)
{
	EACH_VERSION(v)
	{
		struct frame_spec spec =
			spec_of_wire(pod_text[0][v], pod_text[1][v], IPPROTO_UDP, 8003, 53);
		struct world_result r;
		struct frame about;

		frame_make(&about, &spec);
		r = send_error(1, pod_text[1][v], pod_text[0][v], v == V4 ? 3 : 1, v == V4 ? 3 : 4,
			       0, &about);
		CU_ASSERT(dropped(&r, REASON_ICMP_NO_FLOW));
		r = send_error(-1, router[v], pod_text[0][v], too_big_type(v), too_big_code(v),
			       1400, &about);
		CU_ASSERT(dropped(&r, REASON_ICMP_NO_FLOW));
	}
}

/* A third pod may not speak of the flow of two others. */
static void error_of_a_stranger_is_dropped(void)
{
	EACH_VERSION(v)
	{
		struct frame_spec spec = spec_of_pod(0, v, pod_text[1][v], IPPROTO_UDP, 8004, 53);
		struct world_result r = send_of_pod(0, &spec);

		r = send_error(2, pod_text[2][v], pod_text[0][v], v == V4 ? 3 : 1, v == V4 ? 3 : 4,
			       0, &r.out);
		CU_ASSERT(dropped(&r, REASON_ICMP_NO_FLOW));
	}
}

static void errors_of_the_nodes_own_sockets_go_to_its_stack(void)
{
	EACH_VERSION(v)
	{
		struct frame_spec spec = spec_of_wire(node[v], outside[v], IPPROTO_UDP, 33000, 53);
		struct world_result r;
		struct frame about;

		frame_make(&about, &spec);
		r = send_error(-1, router[v], node[v], too_big_type(v), too_big_code(v), 1400,
			       &about);
		CU_ASSERT(passed(&r));
	}
}

/* Of the node's own packets it is the stack that evaluates; for a pod nothing can be told from it.
 */
static void error_with_a_short_quote_goes_to_the_stack_only(void)
{
	EACH_VERSION(v)
	{
		struct frame_spec own = spec_of_wire(node[v], outside[v], IPPROTO_UDP, 33000, 53);
		struct frame_spec error = spec_of_wire(
			router[v], node[v], v == V4 ? IPPROTO_ICMP : IPPROTO_ICMPV6, 0, 0);
		struct world_result r;
		struct frame about;

		frame_make(&about, &own);
		error.icmp_type = v == V4 ? 3 : 1;
		error.payload = about.bytes + 14;
		error.payload_length = (v == V4 ? 20 : 40) + 4;
		r = send_of_wire(&error);
		CU_ASSERT(passed(&r));
		error.destination = addr(pod_text[0][v]);
		r = send_of_wire(&error);
		CU_ASSERT(dropped(&r, REASON_SHORT));
	}
}

static void expired_ttl_is_answered(void)
{
	EACH_VERSION(v)
	{
		struct frame_spec spec = spec_of_pod(0, v, pod_text[1][v], IPPROTO_UDP, 8005, 53),
				  got;
		struct world_result r;

		spec.ttl = 1;
		r = send_of_pod(0, &spec);
		CU_ASSERT(told(&r, REASON_TTL_EXPIRED));
		got = seen(&r);
		CU_ASSERT_EQUAL(got.icmp_type, v == V4 ? 11 : 3);
		CU_ASSERT(seen_ends(&r, gateway[v], got.sport, pod_text[0][v], 0));
		check_inner(&r, &spec);
	}
}

static void too_big_is_answered_with_the_mtu(void)
{
	EACH_VERSION(v)
	{
		struct frame_spec spec = spec_of_pod(0, v, pod_text[1][v], IPPROTO_UDP, 8006, 53),
				  got;
		struct world_result r;

		spec.flags = FRAME_DONT_FRAGMENT;
		spec.payload_length = WORLD_POD_MTU - (v == V4 ? 28 : 48);
		r = send_of_pod(0, &spec);
		CU_ASSERT(forwarded(&r));
		spec.payload_length++;
		r = send_of_pod(0, &spec);
		CU_ASSERT(told(&r, REASON_TOO_BIG));
		got = seen(&r);
		CU_ASSERT(got.icmp_type == too_big_type(v) && got.icmp_code == too_big_code(v));
		CU_ASSERT_EQUAL(got.mtu, WORLD_POD_MTU);
		check_inner(&r, &spec);
	}
}

static void too_big_through_a_service_names_the_service(void)
{
	EACH_VERSION(v)
	{
		struct world_backend backend = {pod_text[1][v], 8080, 0};
		struct frame_spec spec = spec_of_pod(0, v, vip[v], IPPROTO_UDP, 8007, 81);
		struct world_result r;

		world_set_service(world, 44, vip[v], IPPROTO_UDP, 81, &backend, 1);
		spec.flags = FRAME_DONT_FRAGMENT;
		spec.payload_length = WORLD_POD_MTU;
		r = send_of_pod(0, &spec);
		CU_ASSERT(told(&r, REASON_TOO_BIG));
		check_inner(&r, &spec); /* as the pod knows it */
	}
}

static void no_error_about_an_error(void)
{
	EACH_VERSION(v)
	{
		struct frame_spec spec = spec_of_pod(0, v, pod_text[1][v], IPPROTO_UDP, 8008, 53),
				  about;
		struct world_result r = send_of_pod(0, &spec);
		struct frame frame;

		about = spec_of_pod(1, v, pod_text[0][v], icmp_of(v), 0, 0);
		about.icmp_type = v == V4 ? 3 : 1;
		about.ttl = 1;
		about.payload = r.out.bytes + 14;
		about.payload_length = v == V4 ? 28 : 48;
		frame_make(&frame, &about);
		r = world_run(world, HOOK_FROM_POD, world->pods[1].link, 0, &frame);
		CU_ASSERT(dropped(&r, REASON_TTL_EXPIRED));
	}
}

/* Answers to forged packets are sent to whoever they name. */
static void refusals_of_a_link_are_limited(void)
{
	EACH_VERSION(v)
	{
		uint64_t limited = world_counter(world, COUNTER_REJECTS_LIMITED);
		struct frame_spec spec = spec_of_pod(v, v, outside[v], IPPROTO_UDP, 9100, 53),
				  other, wire;
		struct world_result r;
		int sent = 0;

		world->control.rejects_per_second = 10;
		world_move_generation(world, 0);
		spec.ttl = 1;
		for (int i = 0; i < 100; i++) {
			r = send_of_pod(v, &spec);
			CU_ASSERT(r.reason == REASON_TTL_EXPIRED && r.drops == 1);
			sent += r.verdict == TC_ACT_REDIRECT;
		}
		CU_ASSERT(sent >= 10 && sent <= 20); /* the second may turn over once */
		CU_ASSERT_EQUAL(world_counter(world, COUNTER_REJECTS_LIMITED) - limited,
				100 - sent);
		/* Another pod and the wire have their own. */
		other = spec_of_pod(2, v, outside[v], IPPROTO_UDP, 9100, 53);
		other.ttl = 1;
		r = send_of_pod(2, &other);
		CU_ASSERT(told(&r, REASON_TTL_EXPIRED));
		wire = spec_of_wire(outside[v], pod_text[0][v], IPPROTO_UDP, 9100, 53);
		wire.ttl = 1;
		r = send_of_wire(&wire);
		CU_ASSERT(told(&r, REASON_TTL_EXPIRED));
		world->control.rejects_per_second = 0;
		world_move_generation(world, 0);
	}
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(forwards_echo_and_its_reply),
		SUITE_TEST(echo_request_is_no_reply_of_an_echo_request),
		SUITE_TEST(queries_are_answered_by_their_replies_alone),
		SUITE_TEST(queries_but_echo_cannot_be_masqueraded),
		SUITE_TEST(error_about_a_translated_packet_is_translated_back),
		SUITE_TEST(datagram_with_a_checksum_inside_an_error_keeps_one),
		SUITE_TEST(error_about_a_masqueraded_packet_is_translated_back),
		SUITE_TEST(error_about_an_untranslated_packet_passes_unchanged),
		SUITE_TEST(error_about_icmp_of_the_other_family_is_dropped),
		SUITE_TEST(error_whose_packet_has_no_whole_header_is_dropped),
		SUITE_TEST(error_about_no_known_flow_is_dropped),
		SUITE_TEST(error_of_a_stranger_is_dropped),
		SUITE_TEST(errors_of_the_nodes_own_sockets_go_to_its_stack),
		SUITE_TEST(error_with_a_short_quote_goes_to_the_stack_only),
		SUITE_TEST(expired_ttl_is_answered),
		SUITE_TEST(too_big_is_answered_with_the_mtu),
		SUITE_TEST(too_big_through_a_service_names_the_service),
		SUITE_TEST(no_error_about_an_error),
		SUITE_TEST(refusals_of_a_link_are_limited),
	};

	return SUITE_RUN("ICMP", tests);
}

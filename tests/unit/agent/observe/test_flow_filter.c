/* SPDX-License-Identifier: Apache-2.0 */
/* Filters: what they let through, and what of them is refused. */
#include "agent/observe/flow_filter.h"

#include <arpa/inet.h>
#include <errno.h>

#include "agent/common/array.h"
#include "tests/unit/unit.h"

static struct polder_addr addr_of(const char *text)
{
	struct polder_addr addr;

	if (addr_parse(text, &addr) < 0)
		abort();
	return addr;
}

static bool is_addr(const struct polder_addr *addr, const char *text)
{
	struct polder_addr other = addr_of(text);

	return memcmp(addr, &other, sizeof(other)) == 0;
}

static int name_pod(const struct polder_addr *addr, char *buffer, size_t size, void *data)
{
	const char *name = is_addr(addr, "10.0.0.2") || is_addr(addr, "fd00::2") ? "demo/cli"
			   : is_addr(addr, "10.0.0.3")				 ? "demo/web"
			   : is_addr(addr, "10.0.1.9")				 ? "demo2/web"
										 : NULL;

	if (!name)
		return -ENOENT;
	snprintf(buffer, size, "%s", name);
	return 0;
}

static int name_service(const struct polder_addr *addr, __be16 port_be, uint8_t proto, char *buffer,
			size_t size, void *data)
{
	if (!is_addr(addr, "10.96.0.1") || port_be != htons(80) || proto != IPPROTO_TCP)
		return -ENOENT;
	snprintf(buffer, size, "shop/front");
	return 0;
}

static int name_rule(uint32_t rule, struct rule_origin *ret, void *data)
{
	static const struct rule_origin origins[] = {{"demo", "web", false, 2},
						     {"", "all", true, 0}};

	if (rule != 9 && rule != 10)
		return -ENOENT;
	*ret = origins[rule - 9];
	return 0;
}

static const struct compiled_selection *isolation(const struct polder_addr *addr, bool egress,
						  void *data)
{
	static char *policies[] = {"demo/a", "demo/b"};
	static const struct compiled_selection selection = {policies, 2};

	return is_addr(addr, "10.0.0.3") && !egress ? &selection : NULL;
}

/* curl of the user 1000 at demo/cli, nginx of the user 0 at demo/web. */
static json_t *name_process(const struct event_socket *socket, void *data)
{
	if (is_addr(&socket->local, "10.0.0.2") && socket->local_port_be == htons(40000) &&
	    is_addr(&socket->remote, "10.96.0.1"))
		return json_pack("{s:s, s:i, s:s}", "comm", "curl", "uid", 1000, "executable",
				 "/usr/bin/curl.real");
	if (is_addr(&socket->local, "10.0.0.3") && socket->local_port_be == htons(8080))
		return json_pack("{s:s, s:i}", "comm", "nginx: worker", "uid", 0);
	return NULL;
}

static const struct event_names names = {.pod = name_pod,
					 .service = name_service,
					 .rule = name_rule,
					 .isolation = isolation,
					 .process = name_process};

/* demo/cli to the Service shop/front, whose endpoint is demo/web; denied by demo/web's rule. */
static struct flow_subject subject_new(void)
{
	return (struct flow_subject){
		.family = FAMILY_V4,
		.proto = IPPROTO_TCP,
		.verdict = VERDICT_REJECT,
		.reason = REASON_POLICY_INGRESS,
		.from = {addr_of("10.0.0.2"), htons(40000)},
		.to = {addr_of("10.96.0.1"), htons(80)},
		.to_becomes = {addr_of("10.0.0.3"), htons(8080)},
		.ingress_rule = 9,
	};
}

/* The filter that stands in this JSON. NULL: refused, and why. */
static struct flow_filter *parse(const char *text, char *why, size_t size)
{
	json_t *object = json_loads(text, JSON_DECODE_ANY, NULL);
	struct flow_filter *filter = NULL;
	struct error error = {0};

	CU_ASSERT_FATAL(object != NULL);
	if (flow_filter_parse(object, &filter, &error) < 0) {
		CU_ASSERT_EQUAL(error.code, EINVAL);
		snprintf(why, size, "%s", error.text);
	}
	json_decref(object);
	return filter;
}

static bool lets_through(const char *text, const struct flow_subject *subject)
{
	char why[512] = "";
	struct flow_filter *filter = parse(text, why, sizeof(why));
	bool result;

	if (!filter) {
		fprintf(stderr, "%s: %s\n", text, why);
		CU_FAIL("the filter was refused");
		return false;
	}
	result = flow_filter_matches(filter, subject, &names);
	flow_filter_free(filter);
	return result;
}

static void no_filter_lets_everything_through(void)
{
	struct flow_subject subject = subject_new();
	struct flow_filter *filter = (void *)1;
	struct error error;

	CU_ASSERT(flow_filter_parse(NULL, &filter, &error) == 0 && !filter);
	CU_ASSERT(flow_filter_matches(NULL, &subject, &names));
	CU_ASSERT(lets_through("{}", &subject));
}

static void each_key_is_matched(void)
{
	static const char *const through[] = {
		"{\"pod\": \"demo/cli\"}",
		"{\"pod\": \"demo/web\"}", /* behind the Service */
		"{\"pod\": [\"demo/none\", \"demo/cli\"]}",
		"{\"namespace\": \"demo\"}",
		"{\"namespace\": \"shop\"}",
		"{\"from\": \"demo/cli\"}",
		"{\"from\": \"10.0.0.0/24\"}",
		"{\"to\": \"shop/front\"}",
		"{\"to\": \"demo/web\"}",
		"{\"to\": \"10.96.0.1\"}",
		"{\"to\": \"10.0.0.3\"}",
		"{\"to\": [\"fd00::/64\", \"10.96.0.0/16\"]}",
		"{\"ip\": \"10.0.0.2\"}",
		"{\"ip\": \"10.0.0.3\"}",
		"{\"ip\": \"0.0.0.0/0\"}",
		"{\"port\": \"80\"}",
		"{\"port\": \"8080\"}",
		"{\"port\": \"40000\"}",
		"{\"port\": \"39999-40001\"}",
		"{\"proto\": \"tcp\"}",
		"{\"proto\": \"TCP\"}",
		"{\"verdict\": \"reject\"}",
		"{\"verdict\": [\"drop\", \"reject\"]}",
		"{\"reason\": \"policy_denied_ingress\"}",
		"{\"policy\": \"demo/web\"}",
		"{\"pod\": \"demo/cli\", \"port\": \"80\", \"verdict\": \"reject\"}",
	};
	static const char *const kept[] = {
		"{\"pod\": \"demo/cl\"}",
		"{\"pod\": \"shop/front\"}", /* a Service */
		"{\"namespace\": \"dem\"}",
		"{\"namespace\": \"demo2\"}",
		"{\"from\": \"demo/web\"}",
		"{\"from\": \"10.0.0.3\"}",
		"{\"to\": \"demo/cli\"}",
		"{\"ip\": \"::/0\"}", /* no IPv4 address is in a range of IPv6 */
		"{\"ip\": \"10.0.0.4\"}",
		"{\"port\": \"81\"}",
		"{\"port\": [\"1-79\", \"81-8079\"]}",
		"{\"proto\": \"udp\"}",
		"{\"proto\": \"47\"}",
		"{\"verdict\": \"allow\"}",
		"{\"reason\": \"policy_denied_egress\"}",
		"{\"policy\": \"web\"}",
		"{\"policy\": \"demo/a\"}", /* a rule decided, not what isolates */
		"{\"pod\": \"demo/cli\", \"port\": \"81\"}",
	};
	struct flow_subject subject = subject_new();

	for (size_t i = 0; i < COUNT(through); i++)
		if (!lets_through(through[i], &subject)) {
			fprintf(stderr, "%s\n", through[i]);
			CU_FAIL("kept back");
		}
	for (size_t i = 0; i < COUNT(kept); i++)
		if (lets_through(kept[i], &subject)) {
			fprintf(stderr, "%s\n", kept[i]);
			CU_FAIL("let through");
		}
}

static void processes_are_matched_by_name_file_and_user_of_one_end(void)
{
	static const char *const through[] = {
		"{\"process\": \"curl\"}",
		"{\"process\": \"curl.real\"}",
		"{\"process\": \"/usr/bin/curl.real\"}",
		"{\"process\": \"nginx: worker\"}", /* behind the Service */
		"{\"process\": [\"wget\", \"curl\"]}",
		"{\"uid\": \"1000\"}",
		"{\"uid\": \"0\"}",
		"{\"process\": \"curl\", \"uid\": [\"5\", \"1000\"]}",
		"{\"process\": \"curl\", \"proto\": [\"tcp\", \"icmp\"]}",
	};
	static const char *const kept[] = {
		"{\"process\": \"cur\"}",
		"{\"process\": \"bin/curl.real\"}",
		"{\"process\": \"/usr/bin/\"}",
		"{\"uid\": \"100\"}",
		"{\"process\": \"curl\", \"uid\": \"0\"}", /* one of each end */
		"{\"process\": \"curl\", \"pod\": \"demo/none\"}",
	};
	struct flow_subject subject = subject_new();

	for (size_t i = 0; i < COUNT(through); i++)
		if (!lets_through(through[i], &subject))
			CU_FAIL("kept back");
	for (size_t i = 0; i < COUNT(kept); i++)
		if (lets_through(kept[i], &subject))
			CU_FAIL("let through");
	/* Nothing is known of it. */
	subject.from.port_be = htons(40001);
	CU_ASSERT(!lets_through("{\"uid\": \"1000\"}", &subject));
	CU_ASSERT(!lets_through("{\"process\": \"curl\"}", &subject));
}

static void both_families_are_told_apart(void)
{
	struct flow_subject subject = subject_new();

	subject.family = FAMILY_V6;
	subject.from.addr = addr_of("fd00::2");
	subject.to.addr = addr_of("2001:db8::1");
	subject.to_becomes = (struct flow_end){0};
	CU_ASSERT(lets_through("{\"from\": \"demo/cli\"}", &subject));
	CU_ASSERT(lets_through("{\"to\": \"2001:db8::/32\"}", &subject));
	CU_ASSERT(lets_through("{\"ip\": \"::/0\"}", &subject));
	CU_ASSERT(!lets_through("{\"ip\": \"0.0.0.0/0\"}", &subject));
}

static void a_default_deny_is_each_policys_that_isolates(void)
{
	struct flow_subject subject = subject_new();

	subject.ingress_rule = 0;
	CU_ASSERT(lets_through("{\"policy\": \"demo/a\"}", &subject));
	CU_ASSERT(lets_through("{\"policy\": \"demo/b\"}", &subject));
	CU_ASSERT(!lets_through("{\"policy\": \"demo/web\"}", &subject));
	/* The same end loses a packet for another reason. */
	subject.reason = REASON_NOT_READY;
	CU_ASSERT(!lets_through("{\"policy\": \"demo/a\"}", &subject));
}

static void a_cluster_policy_has_a_name_alone(void)
{
	struct flow_subject subject = subject_new();

	subject.egress_rule = 10;
	CU_ASSERT(lets_through("{\"policy\": \"all\"}", &subject));
	CU_ASSERT(!lets_through("{\"policy\": \"demo/all\"}", &subject));
}

/* An echo's identifier is no port, and what is no IP has no protocol. */
static void ports_are_of_protocols_that_have_them(void)
{
	struct flow_subject subject = subject_new();

	subject.proto = IPPROTO_ICMP;
	CU_ASSERT(!lets_through("{\"port\": \"40000\"}", &subject));
	CU_ASSERT(lets_through("{\"proto\": \"icmp\"}", &subject));
	subject = (struct flow_subject){.reason = REASON_L2_UNKNOWN};
	CU_ASSERT(!lets_through("{\"proto\": \"0\"}", &subject));
	CU_ASSERT(!lets_through("{\"ip\": \"::/0\"}", &subject));
	CU_ASSERT(lets_through("{\"reason\": \"unknown_ethertype\"}", &subject));
}

static void reasons_of_the_kernel_are_its_own(void)
{
	struct flow_subject own = subject_new(), kernels = subject_new();

	kernels.reason = REASON_NONE;
	kernels.verdict = VERDICT_DROP;
	kernels.kernel_reason = "NO_SOCKET";
	CU_ASSERT(lets_through("{\"reason\": \"kernel:NO_SOCKET\"}", &kernels));
	CU_ASSERT(lets_through("{\"reason\": \"kernel:no_socket\"}", &kernels));
	CU_ASSERT(lets_through("{\"reason\": \"kernel:SKB_DROP_REASON_NO_SOCKET\"}", &kernels));
	CU_ASSERT(lets_through("{\"reason\": \"kernel:\"}", &kernels));
	CU_ASSERT(lets_through("{\"reason\": [\"not_a_pod\", \"kernel:NO_SOCKET\"]}", &kernels));
	CU_ASSERT(lets_through("{\"pod\": \"demo/cli\"}", &kernels));
	CU_ASSERT(!lets_through("{\"reason\": \"kernel:NO_SOCKETS\"}", &kernels));
	CU_ASSERT(!lets_through("{\"reason\": \"policy_denied_ingress\"}", &kernels));
	CU_ASSERT(!lets_through("{\"verdict\": \"reject\"}", &kernels));
	CU_ASSERT(!lets_through("{\"reason\": \"kernel:\"}", &own));
	CU_ASSERT(!lets_through("{\"reason\": \"kernel:NO_SOCKET\"}", &own));
}

static void kernel_is_asked_for_what_can_match(void)
{
	static const struct {
		const char *text;
		bool kernel;
		uint32_t mask;
	} cases[] = {
		{"{\"pod\": \"a/b\"}", true, EVENT_MASK_DROPS | EVENT_MASK_FLOWS},
		{"{\"reason\": \"kernel:NO_SOCKET\"}", true, 0},
		{"{\"reason\": [\"kernel:\", \"martian_source\"]}", true, EVENT_MASK_DROPS},
		{"{\"reason\": \"martian_source\"}", false, EVENT_MASK_DROPS},
		{"{\"verdict\": \"drop\"}", true, EVENT_MASK_DROPS},
		{"{\"verdict\": \"reject\"}", false, EVENT_MASK_DROPS},
		{"{\"verdict\": \"allow\"}", false, EVENT_MASK_FLOWS},
		{"{\"policy\": \"demo/a\"}", false, EVENT_MASK_DROPS | EVENT_MASK_FLOWS},
	};
	char why[512];

	CU_ASSERT(flow_filter_wants_kernel(NULL));
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct flow_filter *filter = parse(cases[i].text, why, sizeof(why));

		CU_ASSERT_EQUAL(flow_filter_wants_kernel(filter), cases[i].kernel);
		CU_ASSERT_EQUAL(flow_filter_mask(filter, EVENT_MASK_DROPS | EVENT_MASK_FLOWS),
				cases[i].mask);
		flow_filter_free(filter);
	}
}

static void programs_are_asked_for_what_can_match(void)
{
	static const struct {
		const char *text;
		uint32_t mask;
	} cases[] = {
		{"{\"pod\": \"a/b\"}", EVENT_MASK_DROPS | EVENT_MASK_FLOWS},
		{"{\"verdict\": \"allow\"}", EVENT_MASK_FLOWS},
		{"{\"verdict\": [\"drop\", \"reject\"]}", EVENT_MASK_DROPS},
		{"{\"verdict\": [\"drop\", \"allow\"]}", EVENT_MASK_DROPS | EVENT_MASK_FLOWS},
		{"{\"reason\": \"martian_source\"}", EVENT_MASK_DROPS},
	};
	char why[512];

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct flow_filter *filter = parse(cases[i].text, why, sizeof(why));

		CU_ASSERT_EQUAL(flow_filter_mask(filter, EVENT_MASK_DROPS | EVENT_MASK_FLOWS),
				cases[i].mask);
		flow_filter_free(filter);
	}
}

static void what_makes_no_sense_is_refused_in_words(void)
{
	static const struct {
		const char *text, *word;
	} cases[] = {
		{"[]", "object"},
		{"{\"pods\": \"a/b\"}", "unknown key"},
		{"{\"pod\": \"web\"}", "NAMESPACE/NAME"},
		{"{\"pod\": \"a/b/c\"}", "NAMESPACE/NAME"},
		{"{\"pod\": \"demo/w\\u001b[2J\"}", "NAMESPACE/NAME"},
		{"{\"pod\": 5}", "text"},
		{"{\"pod\": []}", "1 to 64"},
		{"{\"pod\": [\"\"]}", "text"},
		{"{\"namespace\": \"Demo\"}", "namespace"},
		{"{\"from\": \"10.0.0.300\"}", "10.0.0.300"},
		{"{\"to\": \"10.0.0.0/33\"}", "range"},
		{"{\"ip\": \"demo/web\"}", "address"},
		{"{\"port\": \"0\"}", "1 to 65535"},
		{"{\"port\": \"65536\"}", "1 to 65535"},
		{"{\"port\": \"90-80\"}", "lower one first"},
		{"{\"port\": \"80-\"}", "range"},
		{"{\"port\": \"http\"}", "number"},
		{"{\"port\": 80}", "text"},
		{"{\"proto\": \"tpc\"}", "sctp"},
		{"{\"proto\": \"256\"}", "255"},
		{"{\"verdict\": \"deny\"}", "reject"},
		{"{\"reason\": \"policy\"}", "operations.md"},
		{"{\"reason\": \"none\"}", "operations.md"},
		{"{\"reason\": \"kernel:a b\"}", "kernel:NO_SOCKET"},
		{"{\"reason\": \"kernel:\\u001b[2J\"}", "kernel:NO_SOCKET"},
		{"{\"verdict\": \"allow\", \"reason\": \"kernel:NO_SOCKET\"}", "no reason"},
		{"{\"policy\": \"demo/\"}", "NetworkPolicy"},
		{"{\"proto\": \"icmp\", \"port\": \"80\"}", "no ports"},
		{"{\"verdict\": \"allow\", \"reason\": \"martian_source\"}", "no reason"},
		{"{\"from\": \"10.0.0.1\", \"to\": \"fd00::1\"}", "IPv4"},
		{"{\"process\": \"\"}", "text"},
		{"{\"uid\": \"root\"}", "number"},
		{"{\"uid\": \"-1\"}", "number"},
		{"{\"uid\": \"4294967296\"}", "number"},
		{"{\"uid\": \"18446744073709551616\"}", "number"},
		{"{\"uid\": 0}", "text"},
		{"{\"uid\": \"0\", \"proto\": \"icmp\"}", "tcp or udp"},
		{"{\"process\": \"a\", \"proto\": [\"sctp\", \"47\"]}", "tcp or udp"},
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		char why[512] = "";
		struct flow_filter *filter = parse(cases[i].text, why, sizeof(why));

		if (filter || !strstr(why, cases[i].word)) {
			fprintf(stderr, "%s: %s\n", cases[i].text, why);
			CU_FAIL("not refused with this word");
		}
		flow_filter_free(filter);
	}
}

static void too_many_values_are_refused(void)
{
	json_t *object = json_object(), *list = json_array();
	struct flow_filter *filter = NULL;
	struct error error;

	for (int i = 0; i <= FLOW_FILTER_VALUES; i++)
		json_array_append_new(list, json_sprintf("demo/pod-%d", i));
	json_object_set_new(object, "pod", list);
	CU_ASSERT_EQUAL(flow_filter_parse(object, &filter, &error), -EINVAL);
	json_array_remove(list, 0);
	CU_ASSERT_EQUAL(flow_filter_parse(object, &filter, &error), 0);
	CU_ASSERT_EQUAL(filter->pods.count, FLOW_FILTER_VALUES);
	flow_filter_free(filter);
	json_decref(object);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(no_filter_lets_everything_through),
		UNIT_TEST(each_key_is_matched),
		UNIT_TEST(processes_are_matched_by_name_file_and_user_of_one_end),
		UNIT_TEST(both_families_are_told_apart),
		UNIT_TEST(a_default_deny_is_each_policys_that_isolates),
		UNIT_TEST(a_cluster_policy_has_a_name_alone),
		UNIT_TEST(ports_are_of_protocols_that_have_them),
		UNIT_TEST(reasons_of_the_kernel_are_its_own),
		UNIT_TEST(kernel_is_asked_for_what_can_match),
		UNIT_TEST(programs_are_asked_for_what_can_match),
		UNIT_TEST(what_makes_no_sense_is_refused_in_words),
		UNIT_TEST(too_many_values_are_refused),
	};

	return UNIT_RUN("flow_filter", tests);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The library's answer straight from the objects: who decides, and why. */
#include <netinet/in.h>

#include "policy/objects/evaluate.h"
#include "tests/unit/policy/compile/policy_world.h"
#include "tests/unit/unit.h"

#define TCP IPPROTO_TCP
#define UDP IPPROTO_UDP

#define NODE(name, labels, ip)                                                                     \
	"{'apiVersion':'v1','kind':'Node','metadata':{'name':'" name "','labels':{" labels         \
	"}},'status':{'addresses':[{'type':'InternalIP','address':'" ip "'}]}}"
#define CNP(name, tier, priority, spec)                                                            \
	"{'apiVersion':'policy.networking.k8s.io/v1alpha2','kind':'ClusterNetworkPolicy',"         \
	"'metadata':{'name':'" name "'},'spec':{'tier':'" tier "','priority':" #priority "," spec  \
	"}}"
#define ALL_SUBJECTS	   "'subject':{'namespaces':{}}"
#define FROM_ALL	   "'from':[{'namespaces':{}}]"
#define RULE(action, rest) "{'name':'" action "-it','action':'" action "'," rest "}"

#define PODS                                                                                                              \
	NAMESPACE("x", "'team':'a'")                                                                                      \
	"," NAMESPACE("y", "'team':'b'") "," POD_SPEC(                                                                    \
		"x", "a", "'app':'a'", IP("10.0.0.1") "," IP("fd00::1"),                                                  \
		PORTS(PORT("web", 8080, "TCP") "," PORT(                                                                  \
			"web", 5353,                                                                                      \
			"UDP"))) "," POD("x", "b", "'app':'b'",                                                           \
					 "10.0.0.2") "," POD_SPEC("y", "a", "'app':'a'",                                  \
								  IP("10.0.1.1"),                                         \
								  PORTS(PORT(                                             \
									  "web", 9090,                                    \
									  "TCP"))) "," NODE("n1",                         \
											    "'zon"                        \
											    "e':'"                        \
											    "1'",                         \
											    "192."                        \
											    "168."                        \
											    "0.1") "," NODE("n2",         \
													    "'zone':'2'", \
													    "192.168.0.2")

static struct world *w;
static struct evaluate_answer answer;
static bool by_service, from_node;

static void set_up(const char *items)
{
	w = world_new(items, NULL);
	by_service = from_node = false;
}

static void tear_down(void)
{
	evaluate_answer_clear(&answer);
	world_free(w);
}

/* "namespace/name" with its address of the family, or an address. */
static struct evaluate_end end_of(const char *text, bool v6)
{
	struct evaluate_end end = {};

	if (addr_parse(text, &end.addr) == 0)
		return end;
	end.pod = world_pod_object(w, text);
	for (size_t i = 0; i < end.pod->pod.address_count; i++)
		if (addr_is_v4(&end.pod->pod.addresses[i]) != v6)
			end.addr = end.pod->pod.addresses[i];
	return end;
}

static size_t policies(const struct object **ret)
{
	size_t count = 0;

	for (enum object_kind kind = OBJECT_NETWORK_POLICY; kind <= OBJECT_CLUSTER_NETWORK_POLICY;
	     kind++)
		for (size_t i = 0; i < w->count[kind]; i++)
			ret[count++] = w->by_kind[kind][i];
	return count;
}

static bool asks(const char *from, const char *to, uint8_t proto, uint16_t port)
{
	const struct object *list[16];
	struct evaluate_objects objects = {
		.namespaces = w->by_kind[OBJECT_NAMESPACE],
		.namespace_count = w->count[OBJECT_NAMESPACE],
		.nodes = w->by_kind[OBJECT_NODE],
		.node_count = w->count[OBJECT_NODE],
		.policies = list,
		.policy_count = policies(list),
	};
	bool v6 = strchr(from, ':') || strchr(to, ':');
	struct evaluate_question question = {
		.source = end_of(from, v6),
		.destination = end_of(to, v6),
		.proto = proto,
		.port = port,
		.from_own_node = from_node,
		.through_service = by_service,
	};

	evaluate_answer_clear(&answer);
	CU_ASSERT_EQUAL_FATAL(policy_evaluate(&objects, &question, &answer), 0);
	return answer.allowed;
}

#define ALLOWED(...) CU_ASSERT(asks(__VA_ARGS__))
#define DENIED(...)  CU_ASSERT_FALSE(asks(__VA_ARGS__))

static bool decides(const struct evaluate_direction *direction, const char *policy, size_t index)
{
	return direction->basis == EVALUATE_RULE && strcmp(direction->policy->name, policy) == 0 &&
	       direction->index == index;
}

static void a_pod_that_nothing_selects_is_open(void)
{
	set_up(PODS);
	ALLOWED("x/a", "y/a", TCP, 80);
	CU_ASSERT_EQUAL(answer.egress.basis, EVALUATE_OPEN);
	CU_ASSERT_EQUAL(answer.ingress.basis, EVALUATE_OPEN);
	CU_ASSERT_EQUAL(answer.ingress.policy_count, 0);
	tear_down();
}

static void outside_addresses_have_no_policies(void)
{
	set_up(PODS "," NETPOL("x", "p", "'podSelector':{}"));
	ALLOWED("x/a", "8.8.8.8", TCP, 80);
	CU_ASSERT_EQUAL(answer.ingress.basis, EVALUATE_NOT_ASKED);
	DENIED("8.8.8.8", "x/a", TCP, 80);
	CU_ASSERT_EQUAL(answer.egress.basis, EVALUATE_NOT_ASKED);
	tear_down();
}

static void default_deny_names_all_that_isolate(void)
{
	set_up(PODS "," NETPOL("x", "q", "'podSelector':{}") "," NETPOL(
		"x", "p",
		"'podSelector':{'matchLabels':{'app':'a'}},'ingress':[{'from':[{'podSelector':{}}]}"
		"]") "," NETPOL("x", "r", "'podSelector':{'matchLabels':{'app':'b'}}"));
	DENIED("y/a", "x/a", TCP, 80);
	CU_ASSERT_EQUAL(answer.ingress.basis, EVALUATE_DEFAULT_DENY);
	CU_ASSERT_EQUAL_FATAL(answer.ingress.policy_count, 2);
	CU_ASSERT_STRING_EQUAL(answer.ingress.policies[0]->name, "p");
	CU_ASSERT_STRING_EQUAL(answer.ingress.policies[1]->name, "q");
	ALLOWED("x/b", "x/a", TCP, 80);
	CU_ASSERT(decides(&answer.ingress, "p", 0));
	tear_down();
}

static void both_directions_are_needed(void)
{
	set_up(PODS "," NETPOL(
		"x", "out",
		"'podSelector':{},'policyTypes':['Egress'],'egress':[{'to':[{"
		"'namespaceSelector':{'matchLabels':{'team':'b'}}}],'ports':[{'port':80}]}]"));
	ALLOWED("x/a", "y/a", TCP, 80);
	CU_ASSERT(decides(&answer.egress, "out", 0));
	CU_ASSERT_EQUAL(answer.ingress.basis, EVALUATE_OPEN);
	DENIED("x/a", "y/a", TCP, 81);
	DENIED("x/a", "y/a", UDP, 80);
	DENIED("x/a", "x/b", TCP, 80);
	CU_ASSERT_EQUAL(answer.egress.basis, EVALUATE_DEFAULT_DENY);
	tear_down();
}

static void the_second_rule_is_named(void)
{
	set_up(PODS "," NETPOL(
		"x", "p",
		"'podSelector':{},'ingress':[{'from':[{'podSelector':{}}]},{'ports':[{'port':443},"
		"{'port':7000,'endPort':7010}]}]"));
	ALLOWED("y/a", "x/a", TCP, 443);
	CU_ASSERT(decides(&answer.ingress, "p", 1));
	ALLOWED("y/a", "x/a", TCP, 7010);
	DENIED("y/a", "x/a", TCP, 7011);
	tear_down();
}

static void blocks_match_pods_and_outside(void)
{
	set_up(PODS "," NETPOL(
		"x", "p",
		"'podSelector':{},'ingress':[{'from':[{'ipBlock':{'cidr':'10.0.0.0/8','except':["
		"'10.0.0.0/24']}},{'ipBlock':{'cidr':'2001:db8::/32'}}]}]"));
	ALLOWED("y/a", "x/a", TCP, 80);
	ALLOWED("10.9.9.9", "x/a", TCP, 80);
	DENIED("x/b", "x/a", TCP, 80);
	ALLOWED("2001:db8::5", "x/a", TCP, 80);
	DENIED("2001:db9::5", "x/a", TCP, 80);
	tear_down();
}

static void names_are_those_of_the_destination(void)
{
	set_up(PODS "," NETPOL(
		"x", "in",
		"'podSelector':{},'ingress':[{'ports':[{'port':'web'}]}]") "," NETPOL("y", "out",
										      "'podSelector"
										      "':{},'"
										      "policyTypes'"
										      ":['Egress'],"
										      "'egress':[{'"
										      "ports':[{'"
										      "port':'web'}"
										      "]}]"));
	ALLOWED("y/a", "x/a", TCP, 8080);
	DENIED("y/a", "x/a", UDP, 5353);
	DENIED("y/a", "x/a", TCP, 9090);
	DENIED("y/a", "x/b", TCP, 8080);
	DENIED("y/a", "8.8.8.8", TCP, 8080);
	tear_down();
}

static void other_protocols_need_a_rule_without_ports(void)
{
	set_up(PODS "," NETPOL(
		"x", "p",
		"'podSelector':{},'ingress':[{'ports':[{'port':80}]},{'from':[{'podSelector':{"
		"'matchLabels':{'app':'b'}}}]}]"));
	DENIED("y/a", "x/a", IPPROTO_ICMP, 0);
	ALLOWED("x/b", "x/a", IPPROTO_ICMP, 0);
	CU_ASSERT(decides(&answer.ingress, "p", 1));
	tear_down();
}

static void the_own_node_is_never_asked(void)
{
	set_up(PODS "," NETPOL("x", "p", "'podSelector':{}"));
	from_node = true;
	ALLOWED("192.168.0.1", "x/a", TCP, 80);
	CU_ASSERT_EQUAL(answer.ingress.basis, EVALUATE_NOT_ASKED);
	from_node = false;
	DENIED("192.168.0.1", "x/a", TCP, 80);
	tear_down();
}

#define DENY_ALL_CNP CNP("none", "Admin", 5, ALL_SUBJECTS ",'ingress':[" RULE("Deny", FROM_ALL) "]")

static void a_pod_and_itself_is_for_cluster_policies_only(void)
{
	set_up(PODS "," NETPOL("x", "p", "'podSelector':{}"));
	by_service = true;
	ALLOWED("x/a", "x/a", TCP, 80);
	tear_down();
	set_up(PODS "," DENY_ALL_CNP);
	ALLOWED("x/a", "x/a", TCP, 80);
	by_service = true;
	DENIED("x/a", "x/a", TCP, 80);
	CU_ASSERT(decides(&answer.ingress, "none", 0));
	tear_down();
}

static void host_network_and_finished_pods_are_nobody(void)
{
	set_up(PODS "," POD_SPEC(
		"x", "h", "'app':'a'", IP("192.168.0.1"),
		"'hostNetwork':true,'containers':[]") "," NETPOL("x", "p",
								 "'podSelector':{},'ingress':[{'"
								 "from':[{'podSelector':{}}]}]"));
	DENIED("x/h", "x/a", TCP, 80);
	ALLOWED("y/a", "x/h", TCP, 80);
	tear_down();
}

static void admin_comes_before_network_policy(void)
{
	set_up(PODS "," CNP(
		"late", "Admin", 10,
		ALL_SUBJECTS ",'ingress':[" RULE(
			"Accept",
			FROM_ALL) "]") "," CNP("early", "Admin", 9,
					       "'subject':{'pods':{'podSelector':{'matchLabels':{'"
					       "app':'b'}}}},'ingress':[" RULE(
						       "Deny",
						       "'from':[{'namespaces':{'matchLabels':{'"
						       "team':'b'}}}]") "]") "," NETPOL("x", "p",
											"'podSelect"
											"or':{}"));
	ALLOWED("y/a", "x/a", TCP, 80);
	CU_ASSERT(decides(&answer.ingress, "late", 0));
	DENIED("y/a", "x/b", TCP, 80);
	CU_ASSERT(decides(&answer.ingress, "early", 0));
	CU_ASSERT_STRING_EQUAL(answer.ingress.rule->name, "Deny-it");
	ALLOWED("x/a", "x/b", TCP, 80);
	DENIED("8.8.8.8", "x/a", TCP, 80);
	CU_ASSERT_EQUAL(answer.ingress.basis, EVALUATE_DEFAULT_DENY);
	tear_down();
}

static void equal_priorities_go_by_name(void)
{
	set_up(PODS
	       "," CNP("b", "Admin", 1,
		       ALL_SUBJECTS ",'ingress':[" RULE(
			       "Deny", FROM_ALL) "]") "," CNP("a", "Admin", 1,
							      ALL_SUBJECTS ",'ingress':[" RULE(
								      "Accept", FROM_ALL) "]"));
	ALLOWED("y/a", "x/a", TCP, 80);
	CU_ASSERT(decides(&answer.ingress, "a", 0));
	tear_down();
}

static void pass_leaves_the_tier(void)
{
	set_up(PODS
	       "," CNP("a", "Admin", 1, ALL_SUBJECTS ",'ingress':[" RULE("Pass", FROM_ALL) "," RULE("Deny", FROM_ALL) "]") "," CNP(
		       "b", "Admin", 2,
		       ALL_SUBJECTS ",'ingress':[" RULE(
			       "Deny",
			       FROM_ALL) "]") "," CNP("base", "Baseline", 1,
						      ALL_SUBJECTS ",'ingress':[" RULE(
							      "Deny",
							      FROM_ALL) "]") "," NETPOL("x", "p",
											"'podSelect"
											"or':{'"
											"matchLabel"
											"s':{'app':"
											"'a'}},'"
											"ingress':["
											"{}]"));
	ALLOWED("y/a", "x/a", TCP, 80);
	CU_ASSERT(decides(&answer.ingress, "p", 0));
	CU_ASSERT_STRING_EQUAL(answer.ingress.passed_by->name, "a");
	CU_ASSERT_EQUAL(answer.ingress.passed_index, 0);
	DENIED("y/a", "x/b", TCP, 80);
	CU_ASSERT(decides(&answer.ingress, "base", 0));
	tear_down();
}

static void baseline_serves_only_who_is_not_isolated(void)
{
	set_up(PODS "," CNP(
		"base", "Baseline", 1,
		ALL_SUBJECTS ",'ingress':[" RULE(
			"Accept",
			FROM_ALL) "]") "," NETPOL("x", "p",
						  "'podSelector':{'matchLabels':{'app':'a'}}"));
	DENIED("y/a", "x/a", TCP, 80);
	CU_ASSERT_EQUAL(answer.ingress.basis, EVALUATE_DEFAULT_DENY);
	ALLOWED("y/a", "x/b", TCP, 80);
	CU_ASSERT(decides(&answer.ingress, "base", 0));
	/* Nothing is isolated by a tier alone. */
	ALLOWED("8.8.8.8", "x/b", TCP, 80);
	CU_ASSERT_EQUAL(answer.ingress.basis, EVALUATE_OPEN);
	tear_down();
}

static void unknown_peers_fail_closed(void)
{
	set_up(PODS "," CNP(
		"a", "Admin", 1,
		ALL_SUBJECTS ",'egress':[" RULE(
			"Accept",
			"'to':[{'domainNames':['example.org']},"
			"{'namespaces':{}}]") "," RULE("Deny",
						       "'to':[{'later':{}}],'protocols':[{'tcp':{'"
						       "destinationPort':{'number':1}}}]") "]"));
	DENIED("x/a", "8.8.8.8", UDP, 53);
	CU_ASSERT(decides(&answer.egress, "a", 1));
	DENIED("x/a", "y/a", TCP, 80);
	tear_down();
}

static void nodes_and_networks_are_egress_peers(void)
{
	set_up(PODS "," CNP(
		"a", "Admin", 1,
		ALL_SUBJECTS ",'egress':[" RULE(
			"Deny",
			"'to':[{'nodes':{'matchLabels':"
			"{'zone':'2'}}}]") "," RULE("Deny",
						    "'to':[{'networks':['10.0.1.0/"
						    "24']}],'protocols':[{'tcp':{'destinationPort':"
						    "{"
						    "'range':{'start':80,'end':90}}}}]") "]"));
	DENIED("x/a", "192.168.0.2", TCP, 22);
	ALLOWED("x/a", "192.168.0.1", TCP, 22);
	DENIED("x/a", "y/a", TCP, 90);
	CU_ASSERT(decides(&answer.egress, "a", 1));
	ALLOWED("x/a", "y/a", TCP, 91);
	tear_down();
}

static void a_name_is_of_any_protocol_in_cluster_policies(void)
{
	set_up(PODS "," CNP("a", "Admin", 1,
			    ALL_SUBJECTS ",'ingress':[" RULE(
				    "Deny", FROM_ALL ",'protocols':[{'destinationNamedPort':"
						     "'web'}]") "]"));
	DENIED("y/a", "x/a", TCP, 8080);
	DENIED("y/a", "x/a", UDP, 5353);
	ALLOWED("y/a", "x/a", TCP, 5353);
	tear_down();
}

static void a_deleted_policy_holds_for_who_ends(void)
{
	struct evaluate_objects objects = {};
	struct evaluate_question question;

	set_up(PODS "," NETPOL("x", "gone", "'podSelector':{'matchLabels':{'app':'a'}}"));
	question = (struct evaluate_question){.source = end_of("y/a", false),
					      .destination = end_of("x/a", false),
					      .proto = TCP,
					      .port = 80};
	CU_ASSERT_EQUAL(policy_evaluate(&objects, &question, &answer), 0);
	CU_ASSERT(answer.allowed);
	evaluate_answer_clear(&answer);
	question.destination.held = w->by_kind[OBJECT_NETWORK_POLICY];
	question.destination.held_count = 1;
	CU_ASSERT_EQUAL(policy_evaluate(&objects, &question, &answer), 0);
	CU_ASSERT_EQUAL(answer.ingress.basis, EVALUATE_DEFAULT_DENY);
	CU_ASSERT_STRING_EQUAL(answer.ingress.policies[0]->name, "gone");
	tear_down();
}

static bool selects(const struct evaluate_objects *objects, const struct object *policy,
		    const char *pod)
{
	bool selects = false;

	CU_ASSERT(policy_selects(objects, policy, world_pod_object(w, pod), &selects) == 0);
	return selects;
}

static void selection_is_told(void)
{
	struct evaluate_objects objects;

	set_up(PODS "," NETPOL("x", "p", "'podSelector':{'matchLabels':{'app':'a'}}") "," CNP(
		"c", "Admin", 1,
		"'subject':{'namespaces':{'matchLabels':{'kubernetes.io/metadata.name':'y'}}}"));
	objects = (struct evaluate_objects){.namespaces = w->by_kind[OBJECT_NAMESPACE],
					    .namespace_count = w->count[OBJECT_NAMESPACE]};
	CU_ASSERT(selects(&objects, w->by_kind[OBJECT_NETWORK_POLICY][0], "x/a"));
	CU_ASSERT_FALSE(selects(&objects, w->by_kind[OBJECT_NETWORK_POLICY][0], "x/b"));
	CU_ASSERT_FALSE(selects(&objects, w->by_kind[OBJECT_NETWORK_POLICY][0], "y/a"));
	CU_ASSERT(selects(&objects, w->by_kind[OBJECT_CLUSTER_NETWORK_POLICY][0], "y/a"));
	CU_ASSERT_FALSE(selects(&objects, w->by_kind[OBJECT_CLUSTER_NETWORK_POLICY][0], "x/a"));
	tear_down();
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(a_pod_that_nothing_selects_is_open),
		UNIT_TEST(outside_addresses_have_no_policies),
		UNIT_TEST(default_deny_names_all_that_isolate),
		UNIT_TEST(both_directions_are_needed),
		UNIT_TEST(the_second_rule_is_named),
		UNIT_TEST(blocks_match_pods_and_outside),
		UNIT_TEST(names_are_those_of_the_destination),
		UNIT_TEST(other_protocols_need_a_rule_without_ports),
		UNIT_TEST(the_own_node_is_never_asked),
		UNIT_TEST(a_pod_and_itself_is_for_cluster_policies_only),
		UNIT_TEST(host_network_and_finished_pods_are_nobody),
		UNIT_TEST(admin_comes_before_network_policy),
		UNIT_TEST(equal_priorities_go_by_name),
		UNIT_TEST(pass_leaves_the_tier),
		UNIT_TEST(baseline_serves_only_who_is_not_isolated),
		UNIT_TEST(unknown_peers_fail_closed),
		UNIT_TEST(nodes_and_networks_are_egress_peers),
		UNIT_TEST(a_name_is_of_any_protocol_in_cluster_policies),
		UNIT_TEST(a_deleted_policy_holds_for_who_ends),
		UNIT_TEST(selection_is_told),
	};

	return UNIT_RUN("policy_evaluate", tests);
}

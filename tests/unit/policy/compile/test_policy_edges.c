/* SPDX-License-Identifier: Apache-2.0 */
/* Where the compiler's rules meet: steps, names of ports, numbers of rule sets, policies that were
 * deleted. */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/policy/compile/policy_world.h"
#include "tests/unit/unit.h"

#define TCP IPPROTO_TCP
#define UDP IPPROTO_UDP

#define NODES(addresses)                                                                           \
	"{'apiVersion':'v1','kind':'Node','metadata':{'name':'n'},'status':{'addresses':"          \
	"[" addresses "]}}"
#define ADDRESS(address) "{'type':'InternalIP','address':'" address "'}"
#define CNP(name, tier, subject, spec)                                                             \
	"{'apiVersion':'policy.networking.k8s.io/v1alpha2','kind':'ClusterNetworkPolicy',"         \
	"'metadata':{'name':'" name "'},'spec':{'tier':'" tier "','priority':1,"                   \
	"'subject':" subject "," spec "}}"
#define ALL	"{'namespaces':{}}"
#define TEAM(t) "{'namespaces':{'matchLabels':{'team':'" t "'}}}"
#define TWO_PODS                                                                                   \
	NAMESPACE("x", "'team':'a'")                                                               \
	"," NAMESPACE("y", "'team':'b'") "," POD("x", "a", "'app':'a'", "10.0.0.1") "," POD(       \
		"y", "a", "'app':'a'", "10.0.1.1")

static struct world *w;

/* Each case is a world of its own. */
#define WORLD(items) for (w = world_new(items, NULL); w; world_free(w), w = NULL)

static struct policy_verdict itself(const char *pod, bool egress)
{
	const struct compiled_pod *compiled = world_pod(w, pod);
	const struct polder_addr *addr = &world_pod_object(w, pod)->pod.addresses[0];
	const struct ruleset_question question = {.identity = compiled->identity,
						  .peer = addr,
						  .proto = TCP,
						  .port = 80,
						  .to_itself = true};
	uint32_t set = egress ? compiled->egress_ruleset : compiled->ingress_ruleset;

	return compiled_ruleset_verdict(world_ruleset(w, set), &question);
}

/* ---------------------------------------------------------------- who is selected */

static void np20_a_pod_reaches_itself_past_network_policies(void)
{
	WORLD(TWO_PODS "," NETPOL("x", "closed", "'podSelector':{}"))
	{
		CU_ASSERT(itself("x/a", false).allowed);
		CU_ASSERT_EQUAL(itself("x/a", false).rule, 0);
	}
	/* What a NetworkPolicy allows is not what let it through. */
	WORLD(TWO_PODS "," NETPOL("x", "open", "'podSelector':{},'ingress':[{}]"))
	{
		CU_ASSERT(itself("x/a", false).allowed);
		CU_ASSERT_EQUAL(itself("x/a", false).rule, 0);
	}
	WORLD(TWO_PODS "," NETPOL("x", "open", "'podSelector':{},'ingress':[{}]") "," CNP(
		"p", "Admin", ALL, "'ingress':[{'action':'Deny','from':[" TEAM("b") "]}]"))
	CU_ASSERT_EQUAL(itself("x/a", false).rule, 0);
}

static void np20_cluster_policies_hold_for_a_pod_and_itself(void)
{
	WORLD(TWO_PODS
	      "," CNP("p", "Baseline", ALL, "'ingress':[{'action':'Deny','from':[" ALL "]}]"))
	CU_ASSERT_FALSE(itself("x/a", false).allowed);
	WORLD(TWO_PODS "," NETPOL("x", "open", "'podSelector':{},'ingress':[{}]") "," CNP(
		"p", "Admin", ALL, "'ingress':[{'action':'Deny','from':[" ALL "]}]"))
	CU_ASSERT_FALSE(itself("x/a", false).allowed);
}

static void a_cluster_policy_selects_in_the_namespaces_it_names_only(void)
{
	WORLD(TWO_PODS
	      "," CNP("p", "Admin", TEAM("a"), "'ingress':[{'action':'Deny','from':[" ALL "]}]"))
	{
		CU_ASSERT_FALSE(world_reaches(w, "y/a", "x/a", TCP, 80));
		CU_ASSERT(world_reaches(w, "x/a", "y/a", TCP, 80));
		CU_ASSERT_EQUAL(world_pod(w, "y/a")->ingress_ruleset, RULESET_OPEN);
	}
}

static void a_direction_without_rules_costs_no_rule_set(void)
{
	WORLD(TWO_PODS "," CNP("p", "Admin", ALL, "'egress':[{'action':'Deny','to':[" ALL "]}]"))
	{
		CU_ASSERT_EQUAL(world_pod(w, "x/a")->ingress_ruleset, RULESET_OPEN);
		CU_ASSERT_NOT_EQUAL(world_pod(w, "x/a")->egress_ruleset, RULESET_OPEN);
	}
}

static void a_baseline_policy_leaves_open_what_it_does_not_name(void)
{
	WORLD(TWO_PODS
	      "," CNP("p", "Baseline", ALL, "'ingress':[{'action':'Deny','from':[" TEAM("a") "]}]"))
	{
		CU_ASSERT_FALSE(world_takes(w, "y/a", "10.0.0.1", TCP, 80) &&
				world_reaches(w, "x/a", "y/a", TCP, 80));
		CU_ASSERT(world_reaches(w, "y/a", "y/a", TCP, 80));
		CU_ASSERT(world_takes(w, "x/a", "203.0.113.1", TCP, 80));
	}
}

static void the_first_identity_is_a_pod_like_all_others(void)
{
	WORLD(NAMESPACE("x", "") "," POD("x", "a", "", "10.0.0.1") "," NETPOL(
		"x", "pods", "'podSelector':{},'ingress':[{'from':[{'namespaceSelector':{}}]}]"))
	{
		CU_ASSERT_EQUAL(world_pod(w, "x/a")->identity, IDENTITY_FIRST_POD);
		CU_ASSERT(world_verdict(w, "x/a", false, IDENTITY_FIRST_POD, "10.0.0.1", TCP, 80)
				  .allowed);
		CU_ASSERT_FALSE(
			world_verdict(w, "x/a", false, IDENTITY_FIRST_POD - 1, "10.0.0.1", TCP, 80)
				.allowed);
	}
}

/* The bits of identities fill more than one word. */
static void selectors_find_pods_among_a_hundred_identities(void)
{
	char items[32768];
	size_t used = (size_t)sprintf(items, "%s", NAMESPACE("x", ""));

	for (int i = 0; i < 100; i++)
		used += (size_t)sprintf(
			items + used,
			",{'apiVersion':'v1','kind':'Pod','metadata':{'namespace':'x','name':'p%d',"
			"'labels':{'n':'%d'}},'spec':{'containers':[{'name':'c'}]},"
			"'status':{'podIPs':[{'ip':'10.0.0.%d'}]}}",
			i, i, i + 1);
	sprintf(items + used, ",%s",
		NETPOL("x", "some",
		       "'podSelector':{'matchLabels':{'n':'0'}},'ingress':[{'from':[{'podSelector':"
		       "{'matchExpressions':[{'key':'n','operator':'In','values':['7','98']}]}}]}"
		       "]"));
	WORLD(items)
	for (int i = 1; i < 100; i++) {
		char name[16];

		sprintf(name, "x/p%d", i);
		CU_ASSERT_EQUAL(world_reaches(w, name, "x/p0", TCP, 80), i == 7 || i == 98);
	}
}

/* ---------------------------------------------------------------- ports by name */

#define NAMED(name, ports, ip) POD_SPEC("x", name, "'app':'" name "'", IP(ip), PORTS(ports))
#define EGRESS_BY_NAME(ports)                                                                      \
	NETPOL("x", "out",                                                                         \
	       "'podSelector':{'matchLabels':{'app':'client'}},'policyTypes':['Egress'],"          \
	       "'egress':[{'to':[{'podSelector':{}}],'ports':[" ports "]}]")
#define HTTP_AND_DNS "{'port':'http'},{'port':'dns','protocol':'UDP'}"

static void np13_a_name_of_another_protocol_leads_nowhere(void)
{
	WORLD(NAMED("client", "", "10.0.0.1") "," NAMED(
		"one", PORT("dns", 53, "UDP"),
		"10.0.0.2") "," NAMED("two", PORT("http", 53, "UDP"),
				      "10.0.0.3") "," EGRESS_BY_NAME(HTTP_AND_DNS))
	{
		CU_ASSERT(world_reaches(w, "x/client", "x/one", UDP, 53));
		CU_ASSERT_FALSE(world_reaches(w, "x/client", "x/two", UDP, 53));
		CU_ASSERT_FALSE(world_reaches(w, "x/client", "x/two", TCP, 53));
	}
}

static void np13_names_of_one_number_and_two_protocols_are_two_ports(void)
{
	WORLD(NAMED("client", "",
		    "10.0.0.1") "," NAMED("one", PORT("http", 80, "TCP") "," PORT("dns", 80, "UDP"),
					  "10.0.0.2") "," EGRESS_BY_NAME(HTTP_AND_DNS))
	{
		CU_ASSERT(world_reaches(w, "x/client", "x/one", TCP, 80));
		CU_ASSERT(world_reaches(w, "x/client", "x/one", UDP, 80));
	}
}

/* The number of the client's egress rule set, made by a registry that lives on. */
static uint32_t egress_set(const char *items, struct policy_registry *registry)
{
	uint32_t id;

	w = world_new(items, registry);
	id = world_pod(w, "x/client")->egress_ruleset;
	world_free(w);
	w = NULL;
	return id;
}

static void one_more_pod_with_the_same_port_by_name_keeps_the_rule_set(void)
{
	struct policy_registry *registry = policy_registry_new();
	uint32_t before = egress_set(NAMED("client", "", "10.0.0.1") "," NAMED(
					     "one", PORT("http", 80, "TCP"),
					     "10.0.0.2") "," EGRESS_BY_NAME("{'port':'http'}"),
				     registry);
	uint32_t after = egress_set(
		NAMED("client", "", "10.0.0.1") "," NAMED(
			"one", PORT("http", 80, "TCP"),
			"10.0.0.2") "," NAMED("two", PORT("http", 80, "TCP"),
					      "10.0.0.3") "," EGRESS_BY_NAME("{'port':'http'}"),
		registry);

	CU_ASSERT_EQUAL(before, after);
	policy_registry_free(registry);
}

static void another_name_of_a_port_makes_another_rule_set(void)
{
#define BOTH_NAMES                                                                                 \
	NAMED("client", "", "10.0.0.1")                                                            \
	"," NAMED("one", PORT("http", 80, "TCP"),                                                  \
		  "10.0.0.2") "," NAMED("two", PORT("web", 80, "TCP"), "10.0.0.3") ","
	struct policy_registry *registry = policy_registry_new();
	uint32_t before = egress_set(BOTH_NAMES EGRESS_BY_NAME("{'port':'http'}"), registry);
	uint32_t after = egress_set(BOTH_NAMES EGRESS_BY_NAME("{'port':'web'}"), registry);

	CU_ASSERT_NOT_EQUAL(before, after);
	policy_registry_free(registry);
}

/* ---------------------------------------------------------------- numbers of rule sets */

/* Both have no rule that counts: only one denies. */
static void a_set_that_isolates_is_not_one_that_does_not(void)
{
	WORLD(TWO_PODS "," NETPOL("x", "closed", "'podSelector':{}") "," CNP(
		"p", "Admin", TEAM("b"), "'ingress':[{'action':'Accept','from':[{'later':{}}]}]"))
	{
		CU_ASSERT_FALSE(world_takes(w, "x/a", "203.0.113.1", TCP, 80));
		CU_ASSERT(world_takes(w, "y/a", "203.0.113.1", TCP, 80));
		CU_ASSERT_NOT_EQUAL(world_pod(w, "x/a")->ingress_ruleset,
				    world_pod(w, "y/a")->ingress_ruleset);
	}
}

static void rule_sets_stand_in_the_order_of_their_numbers(void)
{
	struct policy_registry *registry = policy_registry_new();

	world_free(world_new(TWO_PODS "," NETPOL("y", "closed", "'podSelector':{}"), registry));
	w = world_new(TWO_PODS "," NETPOL("x", "one",
					  "'podSelector':{},'ingress':[{'ports':[{'port':80}]}"
					  "]") "," NETPOL("y", "closed", "'podSelector':{}"),
		      registry);
	CU_ASSERT_EQUAL(w->policy->ruleset_count, 2);
	CU_ASSERT(w->policy->rulesets[0].id < w->policy->rulesets[1].id);
	world_free(w);
	w = NULL;
	policy_registry_free(registry);
}

/* ---------------------------------------------------------------- nodes, blocks, ranges */

static void cnp7_every_address_of_a_node_is_its(void)
{
	WORLD(TWO_PODS "," NODES(ADDRESS("192.168.0.1") "," ADDRESS("192.168.0.9") "," ADDRESS(
		"fd00::9")) "," CNP("p", "Admin", ALL,
				    "'egress':[{'action':'Deny','to':[{'nodes':{}}]}]"))
	{
		CU_ASSERT_FALSE(world_sends(w, "x/a", "192.168.0.1", TCP, 80));
		CU_ASSERT_FALSE(world_sends(w, "x/a", "192.168.0.9", TCP, 80));
		CU_ASSERT_FALSE(world_sends(w, "x/a", "fd00::9", TCP, 80));
		CU_ASSERT(world_sends(w, "x/a", "192.168.0.2", TCP, 80));
	}
}

static void cnp6_nodes_and_networks_are_no_peers_of_ingress(void)
{
	WORLD(TWO_PODS
	      "," CNP("p", "Admin", ALL,
		      "'ingress':[{'action':'Deny','from':[{'networks':['192.0.2.0/24']}]}]"))
	CU_ASSERT_FALSE(world_takes(w, "x/a", "203.0.113.1", TCP, 80));
	WORLD(TWO_PODS
	      "," CNP("p", "Admin", ALL, "'ingress':[{'action':'Deny','from':[{'nodes':{}}]}]"))
	CU_ASSERT_FALSE(world_takes(w, "x/a", "203.0.113.1", TCP, 80));
}

static void check_refused(const char *items, const char *part)
{
	struct error error = {0};
	struct object_list list = {0};
	char text[2048];

	snprintf(text, sizeof(text), "%s", items);
	for (char *p = text; *p; p++)
		*p = *p == '\'' ? '"' : *p;
	CU_ASSERT_EQUAL(objects_decode(text, strlen(text), &list, &error), -EINVAL);
	CU_ASSERT(strstr(error.text, part) != NULL);
	object_list_clear(&list);
}

static void cnp8_a_range_has_two_ports_at_least(void)
{
	check_refused(CNP("p", "Admin", ALL,
			  "'egress':[{'action':'Deny','to':[" ALL
			  "],'protocols':[{'tcp':{'destinationPort':{'range':{'start':80,'end':80}}"
			  "}}]}]"),
		      "must be greater than start");
}

/* The same first bits, but wider. */
static void np10_an_except_is_never_wider_than_its_block(void)
{
	check_refused(
		NETPOL("x", "p",
		       "'podSelector':{},'ingress':[{'from':[{'ipBlock':{'cidr':'10.0.0.0/16',"
		       "'except':['10.0.0.0/8']}}]}]"),
		"not inside");
}

/* ---------------------------------------------------------------- deleted policies */

/* The policy of the world as if it had been deleted at `deleted_at`; the pods are on their way out
 * since `terminating`. */
static uint32_t held_by_a_deleted_policy(uint64_t terminating, uint64_t deleted_at)
{
	const struct object *const *pods = w->by_kind[OBJECT_POD];
	uint64_t since[2] = {terminating, 0};
	const struct policy_input input = {
		.pods = pods,
		.pod_count = w->count[OBJECT_POD],
		.subject = w->subject,
		.terminating = since,
		.deleted_policies = w->by_kind[OBJECT_NETWORK_POLICY],
		.deleted_at = &deleted_at,
		.deleted_policy_count = w->count[OBJECT_NETWORK_POLICY],
	};
	struct policy_registry *registry = policy_registry_new();
	struct compiled_policy *policy = NULL;
	uint32_t ruleset;

	CU_ASSERT_EQUAL_FATAL(policy_compile(registry, &input, &policy), 0);
	CU_ASSERT_EQUAL(policy->pods[1].ingress_ruleset, RULESET_OPEN);
	ruleset = policy->pods[0].ingress_ruleset;
	compiled_policy_free(policy);
	policy_registry_free(registry);
	return ruleset;
}

static void np24_a_deleted_policy_holds_for_pods_that_were_on_their_way_out(void)
{
	WORLD(POD("x", "a", "'app':'a'", "10.0.0.1") "," POD(
		"x", "b", "'app':'a'", "10.0.0.2") "," NETPOL("x", "closed", "'podSelector':{}"))
	{
		CU_ASSERT_NOT_EQUAL(held_by_a_deleted_policy(5, 7), RULESET_OPEN);
		CU_ASSERT_NOT_EQUAL(held_by_a_deleted_policy(7, 7), RULESET_OPEN);
		CU_ASSERT_EQUAL(held_by_a_deleted_policy(8, 7), RULESET_OPEN);
		CU_ASSERT_EQUAL(held_by_a_deleted_policy(0, 7), RULESET_OPEN);
	}
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(np20_a_pod_reaches_itself_past_network_policies),
		UNIT_TEST(np20_cluster_policies_hold_for_a_pod_and_itself),
		UNIT_TEST(a_cluster_policy_selects_in_the_namespaces_it_names_only),
		UNIT_TEST(a_direction_without_rules_costs_no_rule_set),
		UNIT_TEST(a_baseline_policy_leaves_open_what_it_does_not_name),
		UNIT_TEST(the_first_identity_is_a_pod_like_all_others),
		UNIT_TEST(selectors_find_pods_among_a_hundred_identities),
		UNIT_TEST(np13_a_name_of_another_protocol_leads_nowhere),
		UNIT_TEST(np13_names_of_one_number_and_two_protocols_are_two_ports),
		UNIT_TEST(one_more_pod_with_the_same_port_by_name_keeps_the_rule_set),
		UNIT_TEST(another_name_of_a_port_makes_another_rule_set),
		UNIT_TEST(a_set_that_isolates_is_not_one_that_does_not),
		UNIT_TEST(rule_sets_stand_in_the_order_of_their_numbers),
		UNIT_TEST(cnp7_every_address_of_a_node_is_its),
		UNIT_TEST(cnp6_nodes_and_networks_are_no_peers_of_ingress),
		UNIT_TEST(cnp8_a_range_has_two_ports_at_least),
		UNIT_TEST(np10_an_except_is_never_wider_than_its_block),
		UNIT_TEST(np24_a_deleted_policy_holds_for_pods_that_were_on_their_way_out),
	};

	return UNIT_RUN("policy/edges", tests);
}

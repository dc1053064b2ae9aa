/* SPDX-License-Identifier: Apache-2.0 */
/* The semantics of ClusterNetworkPolicy, evaluated on compiled rule sets. */
#include <netinet/in.h>
#include <string.h>

#include "tests/unit/policy/compile/policy_world.h"
#include "tests/unit/unit.h"

#define TCP IPPROTO_TCP
#define UDP IPPROTO_UDP

#define PODS                                                                                       \
	NAMESPACE("x", "'team':'a'")                                                               \
	"," NAMESPACE("y", "'team':'b'") "," POD("x", "a", "'app':'a'", "10.0.0.1") "," POD(       \
		"x", "b", "'app':'b'", "10.0.0.2") "," POD("y", "a", "'app':'a'", "10.0.1.1")
#define NODE(name, labels, address)                                                                \
	"{'apiVersion':'v1','kind':'Node','metadata':{'name':'" name "','labels':{" labels         \
	"}},'status':{'addresses':[{'type':'InternalIP','address':'" address "'}]}}"
#define CNP(name, tier, priority, spec)                                                            \
	"{'apiVersion':'policy.networking.k8s.io/v1alpha2','kind':'ClusterNetworkPolicy',"         \
	"'metadata':{'name':'" name "'},'spec':{'tier':'" tier "','priority':" #priority           \
	",'subject':{'namespaces':{'matchLabels':{'team':'a'}}}," spec "}}"
#define ANY		    "{'namespaces':{}}"
#define FROM(action, peers) "{'action':'" action "','from':[" peers "]}"
#define TO(action, peers)   "{'action':'" action "','to':[" peers "]}"
#define TO_PORTS(action, peers, ports)                                                             \
	"{'action':'" action "','to':[" peers "],'protocols':[" ports "]}"
#define TCP_PORT(n) "{'tcp':{'destinationPort':{'number':" #n "}}}"
#define CLOSED(ns)  NETPOL(ns, "closed", "'podSelector':{}")
#define OPEN(ns)    NETPOL(ns, "open", "'podSelector':{},'ingress':[{}]")

static struct world *w;

/* Each case is a world of its own. */
#define WORLD(items)	  for (w = world_new(PODS "," items, NULL); w; world_free(w), w = NULL)
#define REACHES(from, to) CU_ASSERT(world_reaches(w, from, to, TCP, 80))
#define REFUSED(from, to) CU_ASSERT_FALSE(world_reaches(w, from, to, TCP, 80))

static const char *deciding(const char *pod, bool egress, uint32_t identity, const char *address)
{
	struct policy_verdict verdict = world_verdict(w, pod, egress, identity, address, TCP, 80);
	static struct rule_origin origin;

	return policy_rule_origin(w->registry, verdict.rule, &origin) == 0 ? origin.name : "";
}

static void cnp1_admin_comes_before_network_policy_and_that_before_baseline(void)
{
	WORLD(CLOSED("x") "," CNP("p", "Admin", 1, "'ingress':[" FROM("Accept", ANY) "]"))
	REACHES("y/a", "x/a");
	WORLD(OPEN("x") "," CNP("p", "Admin", 1, "'ingress':[" FROM("Deny", ANY) "]"))
	REFUSED("y/a", "x/a");
	WORLD(OPEN("x") "," CNP("p", "Baseline", 1, "'ingress':[" FROM("Deny", ANY) "]"))
	REACHES("y/a", "x/a");
	WORLD(CLOSED("x") "," CNP("p", "Baseline", 1, "'ingress':[" FROM("Accept", ANY) "]"))
	REFUSED("y/a", "x/a");
}

static void cnp2_the_lower_priority_number_and_the_earlier_rule_decide(void)
{
	WORLD(CNP("a", "Admin", 7, "'ingress':[" FROM("Accept", ANY) "]") "," CNP(
		"b", "Admin", 3, "'ingress':[" FROM("Deny", ANY) "]"))
	REFUSED("y/a", "x/a");
	WORLD(CNP("a", "Admin", 3, "'ingress':[" FROM("Accept", ANY) "]") "," CNP(
		"b", "Admin", 7, "'ingress':[" FROM("Deny", ANY) "]"))
	REACHES("y/a", "x/a");
	WORLD(CNP("a", "Admin", 3, "'ingress':[" FROM("Deny", ANY) "," FROM("Accept", ANY) "]"))
	REFUSED("y/a", "x/a");
	WORLD(CNP("a", "Baseline", 3, "'ingress':[" FROM("Accept", ANY) "," FROM("Deny", ANY) "]"))
	REACHES("y/a", "x/a");
}

static void cnp3_pass_leaves_the_tier(void)
{
#define PASS_THEN_ACCEPT "'ingress':[" FROM("Pass", ANY) "," FROM("Accept", ANY) "]"
	WORLD(CLOSED("x") "," CNP("p", "Admin", 1, PASS_THEN_ACCEPT))
	REFUSED("y/a", "x/a");
	WORLD(CNP("p", "Admin", 1, "'ingress':[" FROM("Pass", ANY) "]") "," CNP(
		"q", "Admin", 2,
		"'ingress':[" FROM("Deny", ANY) "]") "," CNP("r", "Baseline", 0,
							     "'ingress':[" FROM("Accept", ANY) "]"))
	REACHES("y/a", "x/a");
	WORLD(CNP("r", "Baseline", 0, "'ingress':[" FROM("Pass", ANY) "," FROM("Deny", ANY) "]"))
	REACHES("y/a", "x/a");
	/* A pass that finds the peer by one way skips what another way finds later in the tier. */
	WORLD(CLOSED("x") "," CNP(
		"p", "Admin", 1,
		"'egress':[" TO("Pass", ANY) "," TO("Deny", "{'networks':['10.0.1.0/24']}") "]"))
	REACHES("x/a", "y/a");
	WORLD(CNP("p", "Admin", 1,
		  "'egress':[" TO("Deny", "{'networks':['10.0.1.0/24']}") "," TO("Pass", ANY) "]"))
	REFUSED("x/a", "y/a");
}

static void cnp4_baseline_serves_only_pods_that_no_network_policy_selects(void)
{
#define FOR_A NETPOL("x", "open", "'podSelector':{'matchLabels':{'app':'a'}},'ingress':[{}]")
	WORLD(FOR_A "," CNP("p", "Baseline", 1, "'ingress':[" FROM("Deny", ANY) "]"))
	{
		REACHES("y/a", "x/a");
		REFUSED("y/a", "x/b");
	}
	/* For each direction by itself. */
	WORLD(FOR_A "," CNP("p", "Baseline", 1, "'egress':[" TO("Deny", ANY) "]"))
	REFUSED("x/a", "y/a");
}

static void cnp5_a_cluster_policy_isolates_nobody(void)
{
	WORLD(CNP("p", "Admin", 1,
		  "'ingress':[" FROM("Accept", "{'namespaces':{'matchLabels':{'no':'one'}}}") "]"))
	{
		REACHES("y/a", "x/a");
		REACHES("x/a", "y/a");
	}
}

static void cnp6_unknown_kinds_fail_closed(void)
{
#define UNKNOWN "{'somethingNew':{'a':1}}"
	WORLD(CLOSED("x") "," CNP("p", "Admin", 1, "'ingress':[" FROM("Accept", UNKNOWN) "]"))
	REFUSED("y/a", "x/a");
	/* Of a rule that accepts, nothing is left, not even the peers that are known. */
	WORLD(CLOSED("x") "," CNP("p", "Admin", 1,
				  "'ingress':[" FROM("Accept", ANY "," UNKNOWN) "]"))
	REFUSED("y/a", "x/a");
	WORLD(CNP("p", "Admin", 1, "'ingress':[" FROM("Deny", UNKNOWN) "]"))
	{
		REFUSED("y/a", "x/a");
		CU_ASSERT_FALSE(world_takes(w, "x/a", "192.0.2.1", UDP, 9));
	}
	WORLD(CNP("p", "Admin", 1, "'ingress':[" FROM("Pass", UNKNOWN) "]"))
	REFUSED("y/a", "x/a");
	WORLD(CNP("p", "Admin", 1, "'egress':[" TO("Deny", "{'domainNames':['a.example']}") "]"))
	REFUSED("x/a", "y/a");
	WORLD(CLOSED("y") "," CNP("p", "Admin", 1,
				  "'egress':[" TO_PORTS("Deny", ANY, "{'icmp':{}}") "]"))
	CU_ASSERT_FALSE(world_sends(w, "x/a", "10.0.1.1", TCP, 80));
}

static void cnp7_egress_to_nodes_and_networks(void)
{
	WORLD(NODE("n1", "'zone':'a'", "192.168.0.1") "," NODE(
		"n2", "'zone':'b'",
		"192.168.0.2") "," CNP("p", "Admin", 1,
				       "'egress':[" TO("Accept",
						       "{'nodes':{'matchLabels':{'zone':'"
						       "a'}}}") "," TO("Deny",
								       "{'networks':['192.168.0.0/"
								       "24','10.0.1.0/"
								       "24']}") "]"))
	{
		CU_ASSERT(world_sends(w, "x/a", "192.168.0.1", TCP, 80));
		CU_ASSERT_FALSE(world_sends(w, "x/a", "192.168.0.2", TCP, 80));
		CU_ASSERT(world_sends(w, "x/a", "192.168.1.2", TCP, 80));
		REFUSED("x/a", "y/a");
		REACHES("x/a", "x/b");
		CU_ASSERT_STRING_EQUAL(deciding("x/a", true, IDENTITY_WORLD, "192.168.0.2"), "p");
	}
}

static void cnp8_ports_by_number_range_and_name(void)
{
	WORLD(POD_SPEC(
		"y", "n", "'app':'n'", IP("10.0.1.9"),
		PORTS(PORT("web", 8443, "TCP") "," PORT(
			"web", 53,
			"UDP"))) "," CNP("p", "Admin", 1,
					 "'egress':[" TO_PORTS(
						 "Accept", ANY,
						 "{'destinationNamedPort':'web'},"
						 "{'udp':{'destinationPort':{'range':{'start':100,'"
						 "end':200}}}}") "," TO("Deny", ANY) "]"))
	{
		CU_ASSERT(world_reaches(w, "x/a", "y/n", TCP, 8443));
		CU_ASSERT(world_reaches(w, "x/a", "y/n", UDP, 53));
		CU_ASSERT_FALSE(world_reaches(w, "x/a", "y/n", TCP, 53));
		CU_ASSERT(world_reaches(w, "x/a", "y/n", UDP, 200));
		CU_ASSERT_FALSE(world_reaches(w, "x/a", "y/n", UDP, 201));
		CU_ASSERT_FALSE(world_reaches(w, "x/a", "y/n", TCP, 150));
	}
}

static void cnp9_equal_priorities_are_decided_by_name(void)
{
	WORLD(CNP("b", "Admin", 5, "'ingress':[" FROM("Accept", ANY) "]") "," CNP(
		"a", "Admin", 5, "'ingress':[" FROM("Deny", ANY) "]"))
	REFUSED("y/a", "x/a");
	WORLD(CNP("a", "Admin", 5, "'ingress':[" FROM("Deny", ANY) "]") "," CNP(
		"b", "Admin", 5, "'ingress':[" FROM("Accept", ANY) "]"))
	REFUSED("y/a", "x/a");
}

static void a_namespaces_labels_and_the_pods_choose_the_subjects(void)
{
	WORLD("{'apiVersion':'policy.networking.k8s.io/"
	      "v1alpha2','kind':'ClusterNetworkPolicy','metadata':"
	      "{'name':'p'},'spec':{'tier':'Admin','priority':0,'subject':{'pods':{'"
	      "namespaceSelector':"
	      "{'matchLabels':{'team':'a'}},'podSelector':{'matchLabels':{'app':'b'}}}},"
	      "'ingress':[" FROM("Deny", ANY) "]}}")
	{
		REFUSED("y/a", "x/b");
		REACHES("y/a", "x/a");
	}
}

static void a_default_deny_names_the_policies_that_isolate(void)
{
	WORLD(CLOSED("x") "," OPEN("y") "," CNP("p", "Admin", 1,
						"'ingress':[" FROM("Pass", ANY) "]"))
	{
		const struct compiled_selection *isolation = world_pod(w, "x/a")->ingress_isolation;

		CU_ASSERT_FATAL(isolation && isolation->count == 1);
		CU_ASSERT_STRING_EQUAL(isolation->policies[0], "x/closed");
		CU_ASSERT_PTR_NULL(world_pod(w, "x/a")->egress_isolation);
	}
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(cnp1_admin_comes_before_network_policy_and_that_before_baseline),
		UNIT_TEST(cnp2_the_lower_priority_number_and_the_earlier_rule_decide),
		UNIT_TEST(cnp3_pass_leaves_the_tier),
		UNIT_TEST(cnp4_baseline_serves_only_pods_that_no_network_policy_selects),
		UNIT_TEST(cnp5_a_cluster_policy_isolates_nobody),
		UNIT_TEST(cnp6_unknown_kinds_fail_closed),
		UNIT_TEST(cnp7_egress_to_nodes_and_networks),
		UNIT_TEST(cnp8_ports_by_number_range_and_name),
		UNIT_TEST(cnp9_equal_priorities_are_decided_by_name),
		UNIT_TEST(a_namespaces_labels_and_the_pods_choose_the_subjects),
		UNIT_TEST(a_default_deny_names_the_policies_that_isolate),
	};

	return UNIT_RUN("policy/tiers", tests);
}

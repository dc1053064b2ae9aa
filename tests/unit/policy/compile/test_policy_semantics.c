/* SPDX-License-Identifier: Apache-2.0 */
/* The semantics of NetworkPolicy, evaluated on compiled rule sets: each test names the rule it
 * holds.
 */
#include <netinet/in.h>

#include "tests/unit/policy/compile/policy_world.h"
#include "tests/unit/unit.h"

#define TCP IPPROTO_TCP
#define UDP IPPROTO_UDP

/* Namespaces x (team a) and y (team b); pods a, b, c in each; y/c without labels. */
#define PODS PODS_WITH_TEAM("b")
#define PODS_WITH_TEAM(team)                                                                                   \
	NAMESPACE("x", "'team':'a'")                                                                           \
	"," NAMESPACE("y", "'team':'" team "'") "," POD("x", "a", "'app':'a','tier':'1'", "10.0.0.1") "," POD( \
		"x", "b", "'app':'b'",                                                                         \
		"10.0.0.2") "," POD("x", "c", "'app':'c'",                                                     \
				    "10.0.0.3") "," POD("y", "a", "'app':'a'",                                 \
							"10.0.1.1") "," POD("y", "b", "'app':'b'",             \
									    "10.0.1.2") "," POD("y",           \
												"c",           \
												"",            \
												"10.0.1.3")

#define TO_A "'podSelector':{'matchLabels':{'app':'a'}}"

static struct world *w;

static void set_up(const char *items)
{
	w = world_new(items, NULL);
}

static void tear_down(void)
{
	world_free(w);
}

#define REACHES(from, to) CU_ASSERT(world_reaches(w, from, to, TCP, 80))
#define REFUSED(from, to) CU_ASSERT_FALSE(world_reaches(w, from, to, TCP, 80))

static void np01_a_pod_that_nothing_selects_is_open(void)
{
	set_up(PODS "," NETPOL("x", "p", TO_A));
	REACHES("x/a", "x/b");
	REACHES("y/a", "x/b");
	CU_ASSERT_EQUAL(world_pod(w, "x/b")->ingress_ruleset, RULESET_OPEN);
	CU_ASSERT_EQUAL(world_pod(w, "x/a")->egress_ruleset, RULESET_OPEN);
	CU_ASSERT_NOT_EQUAL(world_pod(w, "x/a")->ingress_ruleset, RULESET_OPEN);
	tear_down();
}

static void np02_a_policy_selects_in_its_own_namespace(void)
{
	set_up(PODS "," NETPOL("x", "p", "'podSelector':{}"));
	REFUSED("y/a", "x/a");
	REFUSED("x/b", "x/c");
	REACHES("x/a", "y/a");
	tear_down();
}

static void np02_a_missing_namespace_is_default(void)
{
	set_up(POD("default", "a", "", "10.0.0.1") "," POD(
		"x", "b", "",
		"10.0.0.2") ",{'apiVersion':'networking.k8s.io/"
			    "v1','kind':'NetworkPolicy','metadata':{'name':'p'},'spec':{}}");
	REFUSED("x/b", "default/a");
	REACHES("default/a", "x/b");
	tear_down();
}

static void np03_selectors_join_all_their_terms(void)
{
	set_up(PODS "," NETPOL("x", "p",
			       TO_A ",'ingress':[{'from':[{'namespaceSelector':{},'podSelector':{'"
				    "matchLabels':{'app':'b'},"
				    "'matchExpressions':[{'key':'app','operator':'Exists'},"
				    "{'key':'tier','operator':'DoesNotExist'},{'key':'app','"
				    "operator':'NotIn','values':['c']}]}}]}]"));
	REACHES("x/b", "x/a");
	REACHES("y/b", "x/a");
	REFUSED("x/c", "x/a");
	REFUSED("y/c", "x/a");
	tear_down();
}

static void np03_not_in_matches_where_the_key_is_absent(void)
{
	set_up(PODS "," NETPOL(
		"x", "p",
		TO_A
		",'ingress':[{'from':[{'namespaceSelector':{},'podSelector':{'matchExpressions':["
		"{'key':'app','operator':'NotIn','values':['a','b']}]}}]}]"));
	REACHES("y/c", "x/a");
	REACHES("x/c", "x/a");
	REFUSED("x/b", "x/a");
	tear_down();
}

static void np03_a_namespace_has_its_name_as_a_label(void)
{
	set_up(PODS "," POD("z", "a", "", "10.0.2.1") "," NETPOL(
		"x", "p",
		TO_A ",'ingress':[{'from':[{'namespaceSelector':{'matchLabels':"
		     "{'kubernetes.io/metadata.name':'z'}}}]}]"));
	REACHES("z/a", "x/a");
	REFUSED("y/a", "x/a");
	tear_down();
}

static void np03_np28_a_user_cannot_forge_the_namespaces_name(void)
{
	set_up(NAMESPACE("x", "") "," NAMESPACE("y", "'kubernetes.io/metadata.name':'z'") "," POD(
		"x", "a", "'app':'a'",
		"10.0.0.1") "," POD("y", "a", "'kubernetes.io/metadata.name':'z'",
				    "10.0.1.1") "," NETPOL("x", "p",
							   TO_A ",'ingress':[{'from':[{'"
								"namespaceSelector':{'matchLabels':"
								"{'kubernetes.io/"
								"metadata.name':'z'}}}]}]"));
	REFUSED("y/a", "x/a");
	tear_down();
}

/* `egress` as it stands in the spec; `isolated`: does x/a lose its way out? */
static void check_types(const char *egress, bool isolated)
{
	char *items;

	CU_ASSERT(asprintf(&items, PODS "," NETPOL("x", "p", TO_A ",'ingress':[{}]%s"), egress) >
		  0);
	set_up(items);
	REACHES("x/b", "x/a");
	CU_ASSERT_EQUAL(world_reaches(w, "x/a", "x/b", TCP, 80), !isolated);
	tear_down();
	free(items);
}

static void np04_egress_isolates_only_if_it_has_a_section(void)
{
	check_types("", false);
	check_types(",'egress':null", false);
	check_types(",'egress':[]", false);
	check_types(",'egress':[],'policyTypes':null", false);
	check_types(",'egress':[],'policyTypes':[]", false);
	check_types(",'egress':[{'ports':[{'port':81}]}]", true);
	check_types(",'egress':[{'ports':[{'port':81}]}],'policyTypes':[]", true);
}

static void np05_a_section_of_an_unlisted_direction_is_ignored(void)
{
	set_up(PODS "," NETPOL(
		"x", "p",
		TO_A
		",'policyTypes':['Ingress'],'ingress':[{}],'egress':[{'ports':[{'port':81}]}]"));
	REACHES("x/a", "x/b");
	tear_down();
	set_up(PODS "," NETPOL(
		"x", "p", TO_A ",'policyTypes':['Egress'],'ingress':[{'ports':[{'port':81}]}]"));
	REACHES("x/b", "x/a");
	REFUSED("x/a", "x/b");
	tear_down();
}

static void np06_no_rules_deny_and_an_empty_rule_allows(void)
{
	static const char *const none[] = {"", ",'ingress':null,'egress':null",
					   ",'ingress':[],'egress':[]"};
	char *items;

	for (size_t i = 0; i < 3; i++) {
		CU_ASSERT(asprintf(&items,
				   PODS "," NETPOL("x", "p",
						   TO_A ",'policyTypes':['Ingress','Egress']%s"),
				   none[i]) > 0);
		set_up(items);
		REFUSED("x/b", "x/a");
		REFUSED("x/a", "x/b");
		tear_down();
		free(items);
	}
	set_up(PODS "," NETPOL(
		"x", "p", TO_A ",'policyTypes':['Ingress','Egress'],'ingress':[{}],'egress':[{}]"));
	REACHES("x/b", "x/a");
	REACHES("x/a", "y/b");
	CU_ASSERT(world_takes(w, "x/a", "8.8.8.8", UDP, 53));
	CU_ASSERT(world_sends(w, "x/a", "2001:db8::1", IPPROTO_ICMPV6, 0));
	tear_down();
}

static void np07_policies_add_up_and_both_ends_must_agree(void)
{
	set_up(PODS "," NETPOL(
		"x", "p1",
		TO_A ",'ingress':[{'from':[{'podSelector':{'matchLabels':{'app':'b'}}}]}"
		     "]") "," NETPOL("x", "p2",
				     TO_A ",'ingress':[{'from':[{'podSelector':{'matchLabels':"
					  "{'app':'c'}}}]}]") "," NETPOL("x", "p3",
									 "'podSelector':{'"
									 "matchLabels':{'app':"
									 "'c'}},'policyTypes':"
									 "['Egress']"));
	REACHES("x/b", "x/a");
	REFUSED("x/c", "x/a");
	REFUSED("y/b", "x/a");
	tear_down();
}

static void np08_without_peers_everybody_without_ports_everything(void)
{
	static const char *const forms[] = {"'ports':[{'port':80}]",
					    "'from':null,'ports':[{'port':80}]",
					    "'from':[],'ports':[{'port':80}]"};
	char *items;

	for (size_t i = 0; i < 3; i++) {
		CU_ASSERT(asprintf(&items, PODS "," NETPOL("x", "p", TO_A ",'ingress':[{%s}]"),
				   forms[i]) > 0);
		set_up(items);
		REACHES("y/c", "x/a");
		CU_ASSERT(world_takes(w, "x/a", "8.8.8.8", TCP, 80));
		CU_ASSERT(world_takes(w, "x/a", "2001:db8::1", TCP, 80));
		CU_ASSERT_FALSE(world_takes(w, "x/a", "8.8.8.8", TCP, 81));
		CU_ASSERT_FALSE(world_takes(w, "x/a", "8.8.8.8", UDP, 80));
		tear_down();
		free(items);
	}
	set_up(PODS
	       "," NETPOL("x", "p", TO_A ",'ingress':[{'from':[{'podSelector':{}}],'ports':[]}]"));
	CU_ASSERT(world_reaches(w, "x/b", "x/a", IPPROTO_SCTP, 9));
	CU_ASSERT(world_reaches(w, "x/b", "x/a", IPPROTO_ICMP, 0));
	CU_ASSERT_FALSE(world_takes(w, "x/a", "8.8.8.8", TCP, 80));
	tear_down();
}

static void np09_one_element_is_and_several_are_or(void)
{
	set_up(PODS "," NETPOL(
		"x", "p",
		TO_A ",'ingress':[{'from':[{'namespaceSelector':{'matchLabels':{'team':'b'}},"
		     "'podSelector':{'matchLabels':{'app':'b'}}}]}]"));
	REACHES("y/b", "x/a");
	REFUSED("x/b", "x/a");
	REFUSED("y/a", "x/a");
	tear_down();
	set_up(PODS "," NETPOL(
		"x", "p",
		TO_A ",'ingress':[{'from':[{'namespaceSelector':{'matchLabels':{'team':'b'}}},"
		     "{'podSelector':{'matchLabels':{'app':'b'}}}]}]"));
	REACHES("y/b", "x/a");
	REACHES("x/b", "x/a");
	REACHES("y/a", "x/a");
	REFUSED("x/c", "x/a");
	tear_down();
}

static void np09_an_empty_selector_is_not_a_missing_one(void)
{
	set_up(PODS "," NETPOL("x", "p", TO_A ",'ingress':[{'from':[{'podSelector':{}}]}]"));
	REACHES("x/c", "x/a");
	REFUSED("y/c", "x/a");
	tear_down();
	set_up(PODS "," NETPOL("x", "p", TO_A ",'ingress':[{'from':[{'namespaceSelector':{}}]}]"));
	REACHES("x/c", "x/a");
	REACHES("y/c", "x/a");
	CU_ASSERT_FALSE(world_takes(w, "x/a", "8.8.8.8", TCP, 80));
	CU_ASSERT(world_verdict(w, "x/a", false, 99999, "10.0.9.9", TCP, 80).allowed);
	CU_ASSERT_FALSE(
		world_verdict(w, "x/a", false, IDENTITY_UNKNOWN_POD, "10.0.9.9", TCP, 80).allowed);
	CU_ASSERT_FALSE(world_verdict(w, "x/a", false, IDENTITY_HOST, "10.0.9.9", TCP, 80).allowed);
	tear_down();
}

static void np10_an_excepted_address_may_be_allowed_by_another_rule(void)
{
	set_up(PODS "," NETPOL(
		"x", "p",
		TO_A ",'policyTypes':['Egress'],'egress':[{'to':[{'ipBlock':{'cidr':'172.16.9.9/"
		     "12','except':"
		     "['172.16.0.0/16','172.17.0.0/16','172.16.4.0/24']}}]},"
		     "{'to':[{'ipBlock':{'cidr':'172.16.4.0/31'}}],'ports':[{'port':443}]}]"));
	CU_ASSERT(world_sends(w, "x/a", "172.18.0.1", TCP, 80));
	CU_ASSERT_FALSE(world_sends(w, "x/a", "172.16.1.1", TCP, 80));
	CU_ASSERT_FALSE(world_sends(w, "x/a", "172.17.255.255", TCP, 443));
	CU_ASSERT(world_sends(w, "x/a", "172.16.4.1", TCP, 443));
	CU_ASSERT_FALSE(world_sends(w, "x/a", "172.16.4.1", TCP, 80));
	CU_ASSERT_FALSE(world_sends(w, "x/a", "172.16.4.2", TCP, 443));
	CU_ASSERT_FALSE(world_sends(w, "x/a", "172.32.0.1", TCP, 443));
	tear_down();
}

static void np10_np25_a_block_of_one_family_never_matches_the_other(void)
{
	set_up(PODS
	       "," NETPOL("x", "p", TO_A ",'ingress':[{'from':[{'ipBlock':{'cidr':'::/0'}}]}]"));
	CU_ASSERT(world_takes(w, "x/a", "2001:db8::1", TCP, 80));
	CU_ASSERT_FALSE(world_takes(w, "x/a", "8.8.8.8", TCP, 80));
	tear_down();
	set_up(PODS "," NETPOL("x", "p",
			       TO_A ",'ingress':[{'from':[{'ipBlock':{'cidr':'0.0.0.0/0'}}]}]"));
	CU_ASSERT_FALSE(world_takes(w, "x/a", "2001:db8::1", TCP, 80));
	CU_ASSERT(world_takes(w, "x/a", "8.8.8.8", TCP, 80));
	tear_down();
	set_up(PODS "," NETPOL("x", "p",
			       TO_A ",'ingress':[{'from':[{'ipBlock':{'cidr':'::/"
				    "0'}},{'ipBlock':{'cidr':'8.8.8.0/24'}}]}]"));
	CU_ASSERT(world_takes(w, "x/a", "8.8.8.8", TCP, 80));
	CU_ASSERT_FALSE(world_takes(w, "x/a", "8.8.9.8", TCP, 80));
	CU_ASSERT(world_takes(w, "x/a", "::9", TCP, 80));
	tear_down();
}

static void np11_a_block_matches_pods_addresses_too(void)
{
	set_up(PODS "," NETPOL("x", "p",
			       TO_A ",'ingress':[{'from':[{'ipBlock':{'cidr':'10.0.0.0/"
				    "16','except':['10.0.1.0/24']}}]}]"));
	REACHES("x/b", "x/a");
	REFUSED("y/b", "x/a");
	CU_ASSERT(world_verdict(w, "x/a", false, IDENTITY_REMOTE_NODE, "10.0.200.1", TCP, 80)
			  .allowed);
	tear_down();
}

static void np12_ports_by_number_range_and_protocol(void)
{
	set_up(PODS "," NETPOL(
		"x", "p",
		TO_A
		",'ingress':[{'ports':[{'port':80},{'port':1000,'endPort':2000},{'protocol':'UDP'},"
		"{'protocol':'SCTP','port':7,'endPort':7}]}]"));
	CU_ASSERT(world_takes(w, "x/a", "8.8.8.8", TCP, 80));
	CU_ASSERT_FALSE(world_takes(w, "x/a", "8.8.8.8", TCP, 81));
	CU_ASSERT_FALSE(world_takes(w, "x/a", "8.8.8.8", TCP, 999));
	CU_ASSERT(world_takes(w, "x/a", "8.8.8.8", TCP, 1000));
	CU_ASSERT(world_takes(w, "x/a", "8.8.8.8", TCP, 1555));
	CU_ASSERT(world_takes(w, "x/a", "8.8.8.8", TCP, 2000));
	CU_ASSERT_FALSE(world_takes(w, "x/a", "8.8.8.8", TCP, 2001));
	CU_ASSERT(world_takes(w, "x/a", "8.8.8.8", UDP, 0));
	CU_ASSERT(world_takes(w, "x/a", "8.8.8.8", UDP, 65535));
	CU_ASSERT(world_takes(w, "x/a", "8.8.8.8", IPPROTO_SCTP, 7));
	CU_ASSERT_FALSE(world_takes(w, "x/a", "8.8.8.8", IPPROTO_SCTP, 8));
	tear_down();
}

static void np12_an_empty_port_is_every_tcp_port(void)
{
	set_up(PODS "," NETPOL("x", "p", TO_A ",'ingress':[{'ports':[{}]}]"));
	CU_ASSERT(world_takes(w, "x/a", "8.8.8.8", TCP, 12345));
	CU_ASSERT_FALSE(world_takes(w, "x/a", "8.8.8.8", UDP, 12345));
	CU_ASSERT_FALSE(world_takes(w, "x/a", "8.8.8.8", IPPROTO_ICMP, 0));
	tear_down();
}

/* Pods s and t call different numbers web; t has web on UDP too; u has none; v has it in a sidecar
 * only. */
#define NAMED_PODS                                                                                         \
	POD("x", "client", "'app':'client'", "10.0.0.1")                                                   \
	"," POD_SPEC("x", "s", "'app':'s'", IP("10.0.0.2"), PORTS(PORT("web", 8080, "TCP"))) "," POD_SPEC( \
		"x", "t", "'app':'t'", IP("10.0.0.3"),                                                     \
		PORTS(PORT("web", 9090, "TCP") "," PORT(                                                   \
			"web", 53,                                                                         \
			"UDP"))) "," POD("x", "u", "'app':'u'",                                            \
					 "10.0.0.4") "," POD_SPEC("x", "v", "'app':'v'",                   \
								  IP("10.0.0.5"),                          \
								  "'initContainers':[{'name':'i',"         \
								  "'ports':[" PORT(                        \
									  "web", 1,                        \
									  "TCP") "]},"                     \
										 "{'name':'j','"           \
										 "restartPolicy':"         \
										 "'Always','"              \
										 "ports':[" PORT(          \
											 "web", 2,         \
											 "TCP") "]}],'containers':[{'name':'c'}]")

#define NAMED_EGRESS                                                                               \
	NETPOL("x", "p",                                                                           \
	       "'podSelector':{'matchLabels':{'app':'client'}},'policyTypes':['Egress'],"          \
	       "'egress':[{'ports':[{'port':'web'}]}]")

static void np13_a_name_is_resolved_at_each_destination(void)
{
	set_up(NAMED_PODS "," NAMED_EGRESS);
	CU_ASSERT(world_reaches(w, "x/client", "x/s", TCP, 8080));
	CU_ASSERT_FALSE(world_reaches(w, "x/client", "x/s", TCP, 9090));
	CU_ASSERT(world_reaches(w, "x/client", "x/t", TCP, 9090));
	CU_ASSERT_FALSE(world_reaches(w, "x/client", "x/t", TCP, 8080));
	CU_ASSERT_FALSE(world_reaches(w, "x/client", "x/t", UDP, 53));
	CU_ASSERT_FALSE(world_reaches(w, "x/client", "x/t", TCP, 53));
	CU_ASSERT_FALSE(world_reaches(w, "x/client", "x/u", TCP, 8080));
	tear_down();
}

static void np13_ports_of_sidecars_count_and_of_other_init_containers_do_not(void)
{
	set_up(NAMED_PODS "," NAMED_EGRESS);
	CU_ASSERT(world_reaches(w, "x/client", "x/v", TCP, 2));
	CU_ASSERT_FALSE(world_reaches(w, "x/client", "x/v", TCP, 1));
	tear_down();
}

static void np13_a_name_in_ingress_is_the_pods_own(void)
{
	set_up(NAMED_PODS "," NETPOL("x", "p",
				     "'podSelector':{},'ingress':[{'ports':[{'port':'web'},"
				     "{'port':'web','protocol':'UDP'}]}]"));
	CU_ASSERT(world_reaches(w, "x/client", "x/s", TCP, 8080));
	CU_ASSERT_FALSE(world_reaches(w, "x/client", "x/s", TCP, 9090));
	CU_ASSERT(world_reaches(w, "x/client", "x/t", TCP, 9090));
	CU_ASSERT(world_reaches(w, "x/client", "x/t", UDP, 53));
	CU_ASSERT_FALSE(world_reaches(w, "x/client", "x/t", TCP, 53));
	CU_ASSERT_FALSE(world_reaches(w, "x/client", "x/u", TCP, 8080));
	CU_ASSERT(world_takes(w, "x/s", "8.8.8.8", TCP, 8080));
	tear_down();
}

static void np14_a_name_in_egress_never_matches_an_outside_address(void)
{
	set_up(NAMED_PODS
	       "," NETPOL("x", "p",
			  "'podSelector':{'matchLabels':{'app':'client'}},'policyTypes':['Egress'],"
			  "'egress':[{'ports':[{'port':'web'},{'port':443}]},"
			  "{'to':[{'ipBlock':{'cidr':'10.0.0.0/8'}}],'ports':[{'port':'web'}]}]"));
	CU_ASSERT_FALSE(world_sends(w, "x/client", "10.0.0.99", TCP, 8080));
	CU_ASSERT_FALSE(world_sends(w, "x/client", "8.8.8.8", TCP, 9090));
	CU_ASSERT(world_sends(w, "x/client", "8.8.8.8", TCP, 443));
	CU_ASSERT(world_reaches(w, "x/client", "x/u", TCP, 443));
	CU_ASSERT(world_reaches(w, "x/client", "x/s", TCP, 8080));
	tear_down();
}

static void np11_np13_a_name_beside_a_block_is_the_port_of_the_pods_in_it(void)
{
	set_up(NAMED_PODS "," NETPOL(
		"x", "p",
		"'podSelector':{'matchLabels':{'app':'client'}},'policyTypes':['Egress'],"
		"'egress':[{'to':[{'ipBlock':{'cidr':'10.0.0.0/29','except':['10.0.0.3/32']}}],"
		"'ports':[{'port':'web'}]}]"));
	CU_ASSERT(world_reaches(w, "x/client", "x/s", TCP, 8080));
	CU_ASSERT_FALSE(world_reaches(w, "x/client", "x/s", TCP, 2));
	CU_ASSERT(world_reaches(w, "x/client", "x/v", TCP, 2));
	CU_ASSERT_FALSE(world_reaches(w, "x/client", "x/t", TCP, 9090));
	CU_ASSERT_FALSE(world_sends(w, "x/client", "10.0.0.6", TCP, 8080));
	tear_down();
}

static void np15_sctp_opens_no_tcp(void)
{
	set_up(PODS
	       "," NETPOL("x", "p", TO_A ",'ingress':[{'ports':[{'protocol':'SCTP','port':80}]}]"));
	CU_ASSERT(world_reaches(w, "x/b", "x/a", IPPROTO_SCTP, 80));
	REFUSED("x/b", "x/a");
	CU_ASSERT_FALSE(world_reaches(w, "x/b", "x/a", UDP, 80));
	tear_down();
}

static void np16_an_allowance_in_one_direction_is_none_in_the_other(void)
{
	set_up(PODS "," NETPOL("x", "p", TO_A ",'policyTypes':['Ingress','Egress'],'egress':[{}]"));
	REACHES("x/a", "x/b");
	REFUSED("x/b", "x/a");
	tear_down();
}

static void np17_other_protocols_pass_portless_rules_only(void)
{
	set_up(PODS "," NETPOL(
		"x", "p",
		TO_A
		",'ingress':[{'from':[{'podSelector':{'matchLabels':{'app':'b'}}}]},"
		"{'from':[{'podSelector':{'matchLabels':{'app':'c'}}}],'ports':[{'protocol':'TCP'},"
		"{'protocol':'UDP'},{'protocol':'SCTP'}]}]"));
	CU_ASSERT(world_reaches(w, "x/b", "x/a", IPPROTO_ICMP, 0));
	CU_ASSERT(world_reaches(w, "x/b", "x/a", 47, 0));
	CU_ASSERT_FALSE(world_reaches(w, "x/c", "x/a", IPPROTO_ICMP, 0));
	CU_ASSERT(world_reaches(w, "x/c", "x/a", TCP, 1));
	tear_down();
}

static void np18_the_nodes_address_opens_nothing_by_itself(void)
{
	set_up(PODS "," NETPOL("x", "p", TO_A));
	CU_ASSERT_FALSE(
		world_verdict(w, "x/a", false, IDENTITY_HOST, "192.168.0.1", TCP, 80).allowed);
	tear_down();
}

static void np19_host_network_pods_are_no_subjects_and_no_peers(void)
{
	set_up(PODS
	       "," POD_SPEC("x", "h", "'app':'a'", IP("192.168.0.9"),
			    "'hostNetwork':true") "," NETPOL("x", "p",
							     "'podSelector':{},'ingress':[{'from':["
							     "{'podSelector':{}}]},"
							     "{'from':[{'ipBlock':{'cidr':'192.168."
							     "0.9/32'}}],'ports':[{'port':81}]}]"));
	CU_ASSERT_EQUAL(world_pod(w, "x/h")->identity, IDENTITY_NONE);
	CU_ASSERT_EQUAL(world_pod(w, "x/h")->ingress_ruleset, RULESET_OPEN);
	CU_ASSERT_FALSE(world_verdict(w, "x/a", false, IDENTITY_REMOTE_NODE, "192.168.0.9", TCP, 80)
				.allowed);
	CU_ASSERT(world_verdict(w, "x/a", false, IDENTITY_REMOTE_NODE, "192.168.0.9", TCP, 81)
			  .allowed);
	tear_down();
}

static void np20_its_own_kind_is_a_peer_like_any_other(void)
{
	set_up(PODS "," NETPOL("x", "p", TO_A));
	REFUSED("x/a", "x/a");
	tear_down();
	set_up(PODS "," NETPOL("x", "p", TO_A ",'ingress':[{'from':[{" TO_A "}]}]"));
	REACHES("x/a", "x/a");
	tear_down();
}

static void np21_a_new_pod_of_a_known_kind_has_its_rule_set_at_once(void)
{
	struct policy_registry *registry = policy_registry_new();
	uint32_t before;

	w = world_new(PODS "," NETPOL("x", "p", TO_A), registry);
	before = world_pod(w, "x/a")->ingress_ruleset;
	tear_down();
	w = world_new(PODS "," POD("x", "a2", "'app':'a','tier':'1'",
				   "10.0.0.7") "," NETPOL("x", "p", TO_A),
		      registry);
	CU_ASSERT_EQUAL(world_pod(w, "x/a2")->ingress_ruleset, before);
	CU_ASSERT_EQUAL(world_pod(w, "x/a2")->identity, world_pod(w, "x/a")->identity);
	REFUSED("x/b", "x/a2");
	tear_down();
	policy_registry_free(registry);
}

static void np22_labels_and_deletion_take_effect_both_ways(void)
{
	struct policy_registry *registry = policy_registry_new();
	uint32_t identity;

#define FROM_TEAM_B                                                                                \
	NETPOL("x", "p",                                                                           \
	       TO_A ",'ingress':[{'from':[{'namespaceSelector':{'matchLabels':{'team':'b'}}}]}]")
	w = world_new(PODS "," FROM_TEAM_B, registry);
	REACHES("y/a", "x/a");
	identity = world_pod(w, "y/a")->identity;
	tear_down();
	w = world_new(PODS_WITH_TEAM("c") "," FROM_TEAM_B, registry);
	REFUSED("y/a", "x/a");
	CU_ASSERT_EQUAL(world_pod(w, "y/a")->identity, identity);
	tear_down();
	w = world_new(PODS, registry);
	REACHES("y/a", "x/a");
	CU_ASSERT_EQUAL(world_pod(w, "x/a")->ingress_ruleset, RULESET_OPEN);
	tear_down();
	policy_registry_free(registry);
}

static void np24_a_finished_pod_lends_its_labels_to_nobody(void)
{
	set_up("{'apiVersion':'v1','kind':'Pod','metadata':{'namespace':'x','name':'done','labels':"
	       "{'app':'b'}},"
	       "'status':{'phase':'Succeeded','podIP':'10.0.0.9'}},"
	       "{'apiVersion':'v1','kind':'Pod','metadata':{'namespace':'x','name':'ends','labels':"
	       "{'app':'a'},"
	       "'deletionTimestamp':'2026-11-22T16:23:27Z'},'status':{'phase':'Running','podIP':'"
	       "10.0.0.8'}}," NETPOL("x", "p", TO_A));
	CU_ASSERT_EQUAL(world_pod(w, "x/done")->identity, IDENTITY_NONE);
	CU_ASSERT_EQUAL(world_pod(w, "x/done")->egress_ruleset, RULESET_CLOSED);
	CU_ASSERT_EQUAL(w->policy->identity_count, 1);
	CU_ASSERT_FALSE(world_takes(w, "x/ends", "10.0.0.9", TCP, 80));
	tear_down();
}

static void np25_both_families_get_the_same_verdict(void)
{
	set_up(POD_SPEC("x", "a", "'app':'a'", IP("10.0.0.1") "," IP("fd00::1"), "") "," POD_SPEC(
		"x", "b", "'app':'b'", IP("10.0.0.2") "," IP("fd00::2"),
		"") "," POD_SPEC("x", "c", "'app':'c'", IP("10.0.0.3") "," IP("fd00::3"),
				 "") "," NETPOL("x", "p",
						TO_A ",'ingress':[{'from':[{'podSelector':{'"
						     "matchLabels':{'app':'b'}}}]},"
						     "{'from':[{'ipBlock':{'cidr':'fd00::/"
						     "16','except':['fd00::3/"
						     "128']}}],'ports':[{'port':81}]}]"));
	for (int family = 4; family <= 6; family += 2) {
		CU_ASSERT(world_reaches_family(w, "x/b", "x/a", TCP, 80, family));
		CU_ASSERT_FALSE(world_reaches_family(w, "x/c", "x/a", TCP, 80, family));
		CU_ASSERT_FALSE(world_reaches_family(w, "x/c", "x/a", TCP, 81, family));
	}
	CU_ASSERT(world_takes(w, "x/a", "fd00::9", TCP, 81));
	tear_down();
}

static void np28_labels_that_look_alike_make_different_identities(void)
{
	set_up(NETPOL(
		"x", "p",
		"'podSelector':{'matchExpressions':[{'key':'a','operator':'Exists'},{'key':"
		"'c','operator':'DoesNotExist'}]}") "," POD("x", "a", "'a':'b','c':'d'",
							    "10.0.0.1") "," POD("x", "b",
										"'a':'b-c-d'",
										"10.0.0.2") "," POD("x-a",
												    "c",
												    "'a':'b','c':'d'",
												    "10.0.0.3") "," POD("x",
															"d",
															"'c':'d','a':'b'",
															"10.0.0.4"));
	CU_ASSERT_NOT_EQUAL(world_pod(w, "x/a")->identity, world_pod(w, "x/b")->identity);
	CU_ASSERT_NOT_EQUAL(world_pod(w, "x/a")->identity, world_pod(w, "x-a/c")->identity);
	CU_ASSERT_EQUAL(world_pod(w, "x/a")->identity, world_pod(w, "x/d")->identity);
	CU_ASSERT_EQUAL(w->policy->identity_count, 3);
	tear_down();
}

/* A label that each pod has for itself, and a port by name that no rule names. */
static void what_no_policy_names_makes_no_identity(void)
{
	set_up(NETPOL(
		"x", "p",
		TO_A
		",'egress':[{'to':[{'namespaceSelector':{'matchLabels':{'team':'x'}},"
		"'podSelector':{'matchLabels':{'role':'db'}}}],'ports':[{'port':'sql'}]}"
		"],'policyTypes':['Egress']") "," POD_SPEC("y", "a", "'role':'db','serial':'1'",
							   IP("10.0.0.1"),
							   PORTS(PORT("sql", 3306, "TCP") "," PORT(
								   "metrics", 9090,
								   "TCP"))) "," POD_SPEC("y", "b",
											 "'role':'"
											 "db','"
											 "serial':'"
											 "2'",
											 IP("10.0."
											    "0.2"),
											 PORTS(PORT("sql", 3306, "TCP") "," PORT(
												 "m"
												 "e"
												 "t"
												 "r"
												 "i"
												 "c"
												 "s",
												 9091,
												 "T"
												 "C"
												 "P"))) "," POD_SPEC("y",
														     "c",
														     "'role':'db','serial':'3'",
														     IP("10.0.0.3"),
														     PORTS(PORT(
															     "sql",
															     3307,
															     "TCP"))) "," POD("y",
																	      "d",
																	      "'role':'web'",
																	      "10.0.0.4"));
	CU_ASSERT_EQUAL(world_pod(w, "y/a")->identity, world_pod(w, "y/b")->identity);
	CU_ASSERT_NOT_EQUAL(world_pod(w, "y/a")->identity, world_pod(w, "y/c")->identity);
	CU_ASSERT_NOT_EQUAL(world_pod(w, "y/a")->identity, world_pod(w, "y/d")->identity);
	CU_ASSERT_EQUAL(w->policy->identity_count, 3);
	tear_down();
}

static void np29_the_order_of_objects_never_matters(void)
{
	static const char items[] = PODS
		"," NETPOL("x", "p2", TO_A ",'ingress':[{'from':[{'podSelector':{}}]}]") "," NETPOL(
			"x", "p1",
			TO_A
			",'ingress':[{'from':[{'ipBlock':{'cidr':'10.0.0.0/"
			"8'}}],'ports':[{'port':80}]}]") "," NETPOL("y", "p1",
								    "'podSelector':{},'policyTypes'"
								    ":['Egress'],'egress':[{'to':[{"
								    "'podSelector':{}}]}]");
	static const char *const names[] = {"x/a", "x/b", "x/c", "y/a", "y/b", "y/c"};
	struct world *first = world_new(items, NULL);

	for (size_t turn = 1; turn < 12; turn++) {
		w = world_new_turned(items, NULL, turn);
		for (size_t i = 0; i < 6; i++) {
			const struct compiled_pod *a = world_pod(first, names[i]),
						  *b = world_pod(w, names[i]);

			CU_ASSERT_EQUAL(a->identity, b->identity);
			CU_ASSERT_EQUAL(a->ingress_ruleset, b->ingress_ruleset);
			CU_ASSERT_EQUAL(a->egress_ruleset, b->egress_ruleset);
		}
		for (size_t i = 0; i < first->policy->ruleset_count; i++)
			CU_ASSERT(memcmp(first->policy->rulesets[i].entry.digest,
					 w->policy->rulesets[i].entry.digest, 16) == 0);
		tear_down();
	}
	world_free(first);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(np01_a_pod_that_nothing_selects_is_open),
		UNIT_TEST(np02_a_policy_selects_in_its_own_namespace),
		UNIT_TEST(np02_a_missing_namespace_is_default),
		UNIT_TEST(np03_selectors_join_all_their_terms),
		UNIT_TEST(np03_not_in_matches_where_the_key_is_absent),
		UNIT_TEST(np03_a_namespace_has_its_name_as_a_label),
		UNIT_TEST(np03_np28_a_user_cannot_forge_the_namespaces_name),
		UNIT_TEST(np04_egress_isolates_only_if_it_has_a_section),
		UNIT_TEST(np05_a_section_of_an_unlisted_direction_is_ignored),
		UNIT_TEST(np06_no_rules_deny_and_an_empty_rule_allows),
		UNIT_TEST(np07_policies_add_up_and_both_ends_must_agree),
		UNIT_TEST(np08_without_peers_everybody_without_ports_everything),
		UNIT_TEST(np09_one_element_is_and_several_are_or),
		UNIT_TEST(np09_an_empty_selector_is_not_a_missing_one),
		UNIT_TEST(np10_an_excepted_address_may_be_allowed_by_another_rule),
		UNIT_TEST(np10_np25_a_block_of_one_family_never_matches_the_other),
		UNIT_TEST(np11_a_block_matches_pods_addresses_too),
		UNIT_TEST(np12_ports_by_number_range_and_protocol),
		UNIT_TEST(np12_an_empty_port_is_every_tcp_port),
		UNIT_TEST(np13_a_name_is_resolved_at_each_destination),
		UNIT_TEST(np13_ports_of_sidecars_count_and_of_other_init_containers_do_not),
		UNIT_TEST(np13_a_name_in_ingress_is_the_pods_own),
		UNIT_TEST(np14_a_name_in_egress_never_matches_an_outside_address),
		UNIT_TEST(np11_np13_a_name_beside_a_block_is_the_port_of_the_pods_in_it),
		UNIT_TEST(np15_sctp_opens_no_tcp),
		UNIT_TEST(np16_an_allowance_in_one_direction_is_none_in_the_other),
		UNIT_TEST(np17_other_protocols_pass_portless_rules_only),
		UNIT_TEST(np18_the_nodes_address_opens_nothing_by_itself),
		UNIT_TEST(np19_host_network_pods_are_no_subjects_and_no_peers),
		UNIT_TEST(np20_its_own_kind_is_a_peer_like_any_other),
		UNIT_TEST(np21_a_new_pod_of_a_known_kind_has_its_rule_set_at_once),
		UNIT_TEST(np22_labels_and_deletion_take_effect_both_ways),
		UNIT_TEST(np24_a_finished_pod_lends_its_labels_to_nobody),
		UNIT_TEST(np25_both_families_get_the_same_verdict),
		UNIT_TEST(np28_labels_that_look_alike_make_different_identities),
		UNIT_TEST(what_no_policy_names_makes_no_identity),
		UNIT_TEST(np29_the_order_of_objects_never_matters),
	};

	return UNIT_RUN("policy/semantics", tests);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A pod that no object names: denies by selector hold for it. Asked of compiled rule sets and of
 * the plain evaluation; both must agree. */
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "policy/objects/evaluate.h"
#include "tests/unit/policy/compile/policy_world.h"
#include "tests/unit/unit.h"

#define TCP IPPROTO_TCP
#define UDP IPPROTO_UDP

#define UNKNOWN "10.0.9.9" /* lies in the nets A and B */
#define NET_A	"{'networks':['10.0.9.0/28']}"
#define NET_B	"{'networks':['10.0.9.0/24']}"
#define NET_C	"{'networks':['10.7.0.0/16']}"

#define PODS                                                                                       \
	NAMESPACE("x", "'team':'a'")                                                               \
	"," NAMESPACE("y", "'team':'b'") "," NAMESPACE("z", "'team':'c'") "," POD_SPEC(            \
		"x", "a", "'app':'a'", IP("10.0.0.1"),                                             \
		PORTS(PORT("web", 8080,                                                            \
			   "TCP"))) "," POD("y", "a", "'app':'a'",                                 \
					    "10.0.1.1") "," POD("z", "a", "'app':'a'", "10.0.2.1")
#define CNP(name, tier, priority, spec)                                                            \
	"{'apiVersion':'policy.networking.k8s.io/v1alpha2','kind':'ClusterNetworkPolicy',"         \
	"'metadata':{'name':'" name "'},'spec':{'tier':'" tier "','priority':" #priority           \
	",'subject':{'namespaces':{'matchLabels':{'team':'a'}}}," spec "}}"
#define TEAM(team)	    "{'namespaces':{'matchLabels':{'team':'" team "'}}}"
#define APP(app)	    "{'pods':{'namespaceSelector':{},'podSelector':{'matchLabels':{'app':'" app "'}}}}"
#define FROM(action, peers) "{'action':'" action "','from':[" peers "]}"
#define TO(action, peers)   "{'action':'" action "','to':[" peers "]}"
#define TO_PORTS(action, peers, ports)                                                             \
	"{'action':'" action "','to':[" peers "],'protocols':[" ports "]}"
#define FROM_PORTS(action, peers, ports)                                                           \
	"{'action':'" action "','from':[" peers "],'protocols':[" ports "]}"
#define TCP_PORT(n) "{'tcp':{'destinationPort':{'number':" #n "}}}"
#define NAMED(name) "{'destinationNamedPort':'" name "'}"
#define ADMIN(spec) CNP("p", "Admin", 1, spec)
#define CLOSED	    NETPOL("x", "closed", "'podSelector':{},'policyTypes':['Ingress','Egress']")

static struct world *w;
static struct evaluate_direction said; /* its arrays are freed */

/* Each case is a world of its own. */
#define WORLD(items) for (w = world_new(PODS "," items, NULL); w; world_free(w), w = NULL)

static size_t policies(const struct object **ret)
{
	size_t count = 0;

	for (enum object_kind kind = OBJECT_NETWORK_POLICY; kind <= OBJECT_CLUSTER_NETWORK_POLICY;
	     kind++)
		for (size_t i = 0; i < w->count[kind]; i++)
			ret[count++] = w->by_kind[kind][i];
	return count;
}

static struct evaluate_answer evaluate(bool egress, const struct evaluate_end *peer, uint8_t proto,
				       uint16_t port)
{
	const struct object *list[16];
	struct evaluate_objects objects = {.namespaces = w->by_kind[OBJECT_NAMESPACE],
					   .namespace_count = w->count[OBJECT_NAMESPACE],
					   .policies = list,
					   .policy_count = policies(list)};
	struct evaluate_end subject = {.pod = world_pod_object(w, "x/a")};
	struct evaluate_question question = {.source = egress ? subject : *peer,
					     .destination = egress ? *peer : subject,
					     .proto = proto,
					     .port = port};
	struct evaluate_answer answer = {};

	CU_ASSERT_EQUAL_FATAL(policy_evaluate(&objects, &question, &answer), 0);
	return answer;
}

/* May x/a send to the peer, or take from it? Both answers name the same rule. */
static bool asks(bool egress, uint32_t identity, const char *address, uint8_t proto, uint16_t port)
{
	struct policy_verdict verdict =
		world_verdict(w, "x/a", egress, identity, address, proto, port);
	struct evaluate_end peer = {.unknown_pod = identity == IDENTITY_UNKNOWN_POD};
	struct evaluate_answer answer;
	struct rule_origin origin = {.name = ""};
	bool named;

	CU_ASSERT_EQUAL_FATAL(addr_parse(address, &peer.addr), 0);
	answer = evaluate(egress, &peer, proto, port);
	said = egress ? answer.egress : answer.ingress;
	CU_ASSERT_EQUAL(verdict.allowed, said.allowed);
	named = policy_rule_origin(w->registry, verdict.rule, &origin) == 0;
	CU_ASSERT_EQUAL(named, said.basis == EVALUATE_RULE);
	if (named && said.basis == EVALUATE_RULE)
		CU_ASSERT(strcmp(origin.name, said.policy->name) == 0 &&
			  origin.index == said.index);
	evaluate_answer_clear(&answer);
	return verdict.allowed;
}

#define SENDS(address, proto, port)                                                                \
	CU_ASSERT(asks(true, IDENTITY_UNKNOWN_POD, address, proto, port))
#define NO_SEND(address, proto, port)                                                              \
	CU_ASSERT_FALSE(asks(true, IDENTITY_UNKNOWN_POD, address, proto, port))
#define TAKES(proto, port) CU_ASSERT(asks(false, IDENTITY_UNKNOWN_POD, UNKNOWN, proto, port))
#define NO_TAKE(proto, port)                                                                       \
	CU_ASSERT_FALSE(asks(false, IDENTITY_UNKNOWN_POD, UNKNOWN, proto, port))

static void a_deny_by_selector_holds_for_an_unknown_pod(void)
{
	WORLD(ADMIN("'ingress':[" FROM("Deny", TEAM("b")) "]"))
	{
		NO_TAKE(TCP, 80);
		CU_ASSERT(said.presumed);
		CU_ASSERT(world_reaches(w, "z/a", "x/a", TCP, 80));
		CU_ASSERT_FALSE(world_reaches(w, "y/a", "x/a", TCP, 80));
		SENDS(UNKNOWN, TCP, 80);
		/* What is not in a pod range stays as it was. */
		CU_ASSERT(asks(false, IDENTITY_WORLD, UNKNOWN, TCP, 80));
		CU_ASSERT_FALSE(said.presumed);
		CU_ASSERT(asks(false, IDENTITY_REMOTE_NODE, UNKNOWN, TCP, 80));
	}
	WORLD(ADMIN("'egress':[" TO_PORTS("Deny", APP("none"), TCP_PORT(80)) "]"))
	{
		NO_SEND(UNKNOWN, TCP, 80);
		SENDS(UNKNOWN, TCP, 81);
		SENDS(UNKNOWN, UDP, 80);
		SENDS(UNKNOWN, IPPROTO_ICMP, 0);
		TAKES(TCP, 80);
	}
}

static void an_accept_by_selector_opens_nothing(void)
{
	WORLD(ADMIN("'ingress':[" FROM("Accept", TEAM("c")) "," FROM("Deny", TEAM("b")) "]"))
	NO_TAKE(TCP, 80);
	WORLD(CLOSED "," ADMIN("'ingress':[" FROM("Accept", "{'namespaces':{}}") "]"))
	{
		NO_TAKE(TCP, 80);
		CU_ASSERT_FALSE(said.presumed);
	}
}

static void rules_by_address_mean_what_they_did(void)
{
	WORLD(ADMIN("'egress':[" TO("Accept", NET_A) "," TO("Deny", TEAM("b")) "]"))
	{
		SENDS(UNKNOWN, TCP, 80);
		NO_SEND("10.0.9.99", TCP, 80);
	}
	WORLD(ADMIN("'egress':[" TO("Deny", TEAM("b")) "," TO("Accept", NET_A) "]"))
	NO_SEND(UNKNOWN, TCP, 80);
	WORLD(ADMIN("'egress':[" TO("Pass", NET_A) "," TO("Deny", TEAM("b")) "]"))
	{
		SENDS(UNKNOWN, TCP, 80);
		NO_SEND("10.0.9.99", TCP, 80);
	}
	/* In one rule beside a selector. */
	WORLD(ADMIN("'egress':[" TO("Accept", NET_A "," TEAM("c")) "," TO("Deny",
									  TEAM("b") "," NET_C) "]"))
	{
		SENDS(UNKNOWN, TCP, 80);
		NO_SEND("10.0.9.99", TCP, 80);
		CU_ASSERT_FALSE(asks(true, IDENTITY_WORLD, "10.7.0.1", TCP, 80));
		CU_ASSERT(asks(true, IDENTITY_WORLD, "10.8.0.1", TCP, 80));
	}
}

static void a_deny_of_the_baseline_tier_holds_where_that_tier_is_asked(void)
{
#define BASELINE_DENY CNP("p", "Baseline", 1, "'ingress':[" FROM("Deny", TEAM("b")) "]")
	WORLD(BASELINE_DENY)
	{
		NO_TAKE(TCP, 80);
		CU_ASSERT(said.presumed);
	}
	WORLD(BASELINE_DENY "," NETPOL("x", "open", "'podSelector':{},'ingress':[{}]"))
	TAKES(TCP, 80);
	WORLD(CNP("p", "Baseline", 1,
		  "'ingress':[" FROM("Pass", TEAM("c")) "," FROM("Accept", TEAM("c")) "," FROM(
			  "Deny", TEAM("b")) "]"))
	NO_TAKE(TCP, 80);
	WORLD(CNP("p", "Baseline", 1,
		  "'egress':[" TO("Accept", NET_A) "," TO("Deny", TEAM("b")) "]"))
	{
		SENDS(UNKNOWN, TCP, 80);
		NO_SEND("10.0.9.99", TCP, 80);
	}
}

static void a_pod_that_all_these_rules_choose_is_not_taken_for_unknown(void)
{
	WORLD(ADMIN("'ingress':[" FROM("Pass", TEAM("b")) "," FROM("Deny", TEAM("b")) "]"))
	{
		NO_TAKE(TCP, 80);
		CU_ASSERT(world_reaches(w, "y/a", "x/a", TCP, 80));
	}
}

static void a_pass_by_selector_opens_nothing(void)
{
	WORLD(ADMIN("'ingress':[" FROM("Pass", TEAM("c")) "," FROM("Deny", TEAM("b")) "]"))
	NO_TAKE(TCP, 80);
	WORLD(CNP("q", "Baseline", 1, "'ingress':[" FROM("Deny", TEAM("b")) "]") "," ADMIN(
		"'ingress':[" FROM("Pass", TEAM("c")) "]"))
	NO_TAKE(TCP, 80);
	/* Nothing denies, whatever its labels are. */
	WORLD(ADMIN("'ingress':[" FROM("Pass", TEAM("c")) "," FROM("Accept", TEAM("b")) "]"))
	{
		TAKES(TCP, 80);
		CU_ASSERT_FALSE(said.presumed);
	}
}

static void a_pass_by_selector_keeps_accepts_by_address_from_opening(void)
{
#define PASS_ACCEPT ADMIN("'egress':[" TO("Pass", TEAM("c")) "," TO("Accept", NET_A) "]")
	WORLD(CLOSED "," PASS_ACCEPT)
	{
		NO_SEND(UNKNOWN, TCP, 80);
		CU_ASSERT(said.presumed && said.passed_by);
		CU_ASSERT_EQUAL(said.basis, EVALUATE_DEFAULT_DENY);
		CU_ASSERT(asks(true, IDENTITY_WORLD, UNKNOWN, TCP, 80));
	}
	WORLD(PASS_ACCEPT)
	SENDS(UNKNOWN, TCP, 80);
	WORLD(CNP("q", "Baseline", 1, "'egress':[" TO("Deny", NET_B) "]") "," PASS_ACCEPT)
	NO_SEND(UNKNOWN, TCP, 80);
	/* Denies by address between the two count, for their addresses. */
	WORLD(ADMIN("'egress':[" TO("Pass", TEAM("c")) "," TO("Deny", NET_A) "," TO("Accept",
										    NET_B) "]"))
	{
		NO_SEND(UNKNOWN, TCP, 80);
		CU_ASSERT_EQUAL(said.index, 1);
		SENDS("10.0.9.99", TCP, 80);
	}
	/* Where the tier goes on to deny, it does: for the ports that all three have. */
	WORLD(ADMIN("'egress':[" TO("Pass", TEAM("c")) "," TO_PORTS(
		"Accept", NET_A, TCP_PORT(80) "," TCP_PORT(81)) "," TO_PORTS("Deny", NET_B,
									     TCP_PORT(80)) "]"))
	{
		NO_SEND(UNKNOWN, TCP, 80);
		CU_ASSERT(said.presumed);
		CU_ASSERT_EQUAL(said.index, 0);
		SENDS(UNKNOWN, TCP, 81);
		NO_SEND("10.0.9.99", TCP, 80);
		SENDS("10.0.9.99", TCP, 82);
	}
	/* One that comes before the Pass decides as ever. */
	WORLD(CLOSED "," ADMIN("'egress':[" TO("Accept", NET_A) "," TO("Pass", TEAM("c")) "," TO(
		"Accept", NET_B) "]"))
	{
		SENDS(UNKNOWN, TCP, 80);
		NO_SEND("10.0.9.99", TCP, 80);
	}
}

static void any_of_its_ports_may_have_the_name(void)
{
	WORLD(ADMIN("'egress':[" TO_PORTS("Deny", TEAM("b"), NAMED("web")) "]"))
	{
		NO_SEND(UNKNOWN, TCP, 1);
		NO_SEND(UNKNOWN, UDP, 65535);
		NO_SEND(UNKNOWN, IPPROTO_SCTP, 80);
		SENDS(UNKNOWN, IPPROTO_ICMP, 0);
		CU_ASSERT(world_reaches(w, "x/a", "y/a", TCP, 1));
	}
	/* The subject's own names are known. */
	WORLD(ADMIN("'ingress':[" FROM_PORTS("Deny", TEAM("b"), NAMED("web")) "]"))
	{
		NO_TAKE(TCP, 8080);
		TAKES(TCP, 80);
	}
	WORLD(ADMIN("'ingress':[" FROM_PORTS("Deny", TEAM("b"), NAMED("nobody-has-it")) "]"))
	TAKES(TCP, 8080);
}

static size_t unknown_peers(void)
{
	size_t count = 0;

	for (size_t i = 0; i < w->policy->ruleset_count; i++)
		for (size_t j = 0; j < w->policy->rulesets[i].peer_count; j++)
			count += w->policy->rulesets[i].peers[j].identity == IDENTITY_UNKNOWN_POD;
	return count;
}

static void sets_without_denies_by_selector_are_as_they_were(void)
{
	WORLD(NETPOL("x", "p", "'podSelector':{},'ingress':[{'from':[{'podSelector':{}}]}]") "," ADMIN(
		"'ingress':[" FROM("Pass", TEAM("c")) "," FROM(
			"Accept", TEAM("b")) "],'egress':[" TO("Deny", NET_A) "]"))
	CU_ASSERT_EQUAL(unknown_peers(), 0);
	WORLD(ADMIN("'ingress':[" FROM("Deny", TEAM("b")) "]"))
	CU_ASSERT_EQUAL(unknown_peers(), 1);
}

/* The program finds the class among the peers, which change under one number: this one may not. */
static void the_class_of_unknown_pods_is_part_of_what_numbers_a_set(void)
{
	struct policy_registry *registry = policy_registry_new();
	static const char *const more[] = {"", "," POD("y", "b", "'app':'b'", "10.0.1.2") "," POD(
						       "z", "b", "'app':'b'", "10.0.2.2")};
	uint32_t numbers[2], classes[2] = {0};
	char items[4096];

	for (int i = 0; i < 2; i++) {
		const struct compiled_ruleset *set;

		snprintf(items, sizeof(items), "%s,%s%s", PODS,
			 ADMIN("'ingress':[" FROM("Accept", APP("a")) "," FROM("Deny",
									       TEAM("b")) "]"),
			 more[i]);
		w = world_new(items, registry);
		numbers[i] = world_pod(w, "x/a")->ingress_ruleset;
		set = world_ruleset(w, numbers[i]);
		for (size_t j = 0; j < set->peer_count; j++)
			if (set->peers[j].identity == IDENTITY_UNKNOWN_POD)
				classes[i] = set->peers[j].peer_class;
		world_free(w);
	}
	CU_ASSERT(classes[0] != 0);
	CU_ASSERT(numbers[0] != numbers[1] || classes[0] == classes[1]);
	w = NULL;
	policy_registry_free(registry);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(a_deny_by_selector_holds_for_an_unknown_pod),
		UNIT_TEST(an_accept_by_selector_opens_nothing),
		UNIT_TEST(rules_by_address_mean_what_they_did),
		UNIT_TEST(a_deny_of_the_baseline_tier_holds_where_that_tier_is_asked),
		UNIT_TEST(a_pod_that_all_these_rules_choose_is_not_taken_for_unknown),
		UNIT_TEST(a_pass_by_selector_opens_nothing),
		UNIT_TEST(a_pass_by_selector_keeps_accepts_by_address_from_opening),
		UNIT_TEST(any_of_its_ports_may_have_the_name),
		UNIT_TEST(sets_without_denies_by_selector_are_as_they_were),
		UNIT_TEST(the_class_of_unknown_pods_is_part_of_what_numbers_a_set),
	};

	return UNIT_RUN("policy/unknown", tests);
}

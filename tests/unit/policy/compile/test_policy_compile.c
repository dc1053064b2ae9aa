/* SPDX-License-Identifier: Apache-2.0 */
/* Rule sets: what is shared, what keeps its number, what changes it. */
#include <netinet/in.h>

#include "policy/objects/digest.h"
#include "tests/unit/policy/compile/policy_world.h"
#include "tests/unit/unit.h"

#define PODS                                                                                       \
	POD("x", "a", "'app':'a'", "10.0.0.1")                                                     \
	"," POD("x", "b", "'app':'b','role':'fe'", "10.0.0.2") "," POD("x", "c", "'app':'c'",      \
								       "10.0.0.3")
#define SPEC                                                                                       \
	"'podSelector':{'matchLabels':{'app':'a'}},'ingress':[{'from':[{'podSelector':{'"          \
	"matchLabels':{'role':'fe'}}}]}]"

static uint32_t ingress_id(const struct world *world, const char *pod)
{
	return world_pod(world, pod)->ingress_ruleset;
}

static void a_new_identity_of_a_known_class_keeps_the_rule_set(void)
{
	struct policy_registry *registry = policy_registry_new();
	struct world *before = world_new(PODS "," NETPOL("x", "p", SPEC), registry);
	struct world *after = world_new(PODS "," POD("x", "d", "'app':'d','role':'fe'",
						     "10.0.0.4") "," NETPOL("x", "p", SPEC),
					registry);

	CU_ASSERT_EQUAL(ingress_id(before, "x/a"), ingress_id(after, "x/a"));
	CU_ASSERT_EQUAL(world_ruleset(before, ingress_id(before, "x/a"))->peer_count, 1);
	CU_ASSERT_EQUAL(world_ruleset(after, ingress_id(after, "x/a"))->peer_count, 2);
	CU_ASSERT(world_reaches(after, "x/d", "x/a", IPPROTO_TCP, 80));
	world_free(before);
	world_free(after);
	policy_registry_free(registry);
}

static void another_content_gets_another_number(void)
{
	static const char *const changes[] = {
		NETPOL("x", "p", SPEC ",'egress':[],'policyTypes':['Ingress','Egress']"),
		NETPOL("x", "q", SPEC),
		NETPOL("x", "p",
		       "'podSelector':{'matchLabels':{'app':'a'}},'ingress':[{'from':[{'"
		       "podSelector':{'matchLabels':{'app':'b'}}}]}]"),
		NETPOL("x", "p",
		       "'podSelector':{'matchLabels':{'app':'a'}},'ingress':[{'from':[{'"
		       "podSelector':{'matchLabels':{'role':'fe'}}}],'ports':[{}]}]"),
	};
	struct policy_registry *registry = policy_registry_new();
	struct world *first = world_new(PODS "," NETPOL("x", "p", SPEC), registry), *other;

	for (size_t i = 0; i < sizeof(changes) / sizeof(*changes); i++) {
		char *items;

		CU_ASSERT(asprintf(&items, PODS ",%s", changes[i]) > 0);
		other = world_new(items, registry);
		/* The first change concerns the other direction only. */
		CU_ASSERT_EQUAL(ingress_id(first, "x/a") == ingress_id(other, "x/a"), i == 0);
		world_free(other);
		free(items);
	}
	other = world_new(PODS "," NETPOL("x", "p", SPEC), registry);
	CU_ASSERT_EQUAL(ingress_id(first, "x/a"), ingress_id(other, "x/a"));
	world_free(first);
	world_free(other);
	policy_registry_free(registry);
}

static void pods_under_the_same_policies_share_a_rule_set(void)
{
	struct world *w = world_new(
		PODS "," NETPOL("x", "p", "'podSelector':{},'policyTypes':['Ingress','Egress']"),
		NULL);

	CU_ASSERT_EQUAL(ingress_id(w, "x/a"), ingress_id(w, "x/c"));
	CU_ASSERT_EQUAL(w->policy->ruleset_count, 1);
	world_free(w);
}

static void a_rule_without_peers_stands_in_every_class(void)
{
	struct world *w =
		world_new(PODS "," NETPOL("x", "p",
					  "'podSelector':{},'ingress':[{'ports':[{'port':80}]},"
					  "{'from':[{'podSelector':{'matchLabels':{'app':'b'}}},{'"
					  "ipBlock':{'cidr':'192.0.2.0/24'}}]}]"),
			  NULL);
	const struct compiled_ruleset *set = world_ruleset(w, ingress_id(w, "x/a"));

	CU_ASSERT_NOT_EQUAL(set->entry.default_pod_class, 0);
	CU_ASSERT_EQUAL(set->entry.default_pod_class, set->entry.default_world_class);
	CU_ASSERT_EQUAL(set->peer_count, 1);
	CU_ASSERT_EQUAL(set->prefix_count, 1);
	CU_ASSERT(world_takes(w, "x/a", "192.0.2.1", IPPROTO_TCP, 80));
	CU_ASSERT(world_takes(w, "x/a", "192.0.2.1", IPPROTO_UDP, 80));
	CU_ASSERT(world_reaches(w, "x/c", "x/a", IPPROTO_TCP, 80));
	CU_ASSERT_FALSE(world_reaches(w, "x/c", "x/a", IPPROTO_TCP, 81));
	world_free(w);
}

static void the_first_rule_by_name_and_place_decides(void)
{
	struct policy_registry *registry = policy_registry_new();
	struct world *w =
		world_new(PODS "," NETPOL("x", "zz", "'podSelector':{},'ingress':[{}]"), registry);
	struct policy_verdict verdict;
	struct rule_origin origin;

	world_free(w);
	w = world_new(PODS "," NETPOL("x", "zz", "'podSelector':{},'ingress':[{}]") "," NETPOL(
			      "x", "aa",
			      "'podSelector':{},'ingress':[{'ports':[{'port':1}]},{'ports':[{'port'"
			      ":80}]},{}]"),
		      registry);
	verdict = world_verdict(w, "x/a", false, IDENTITY_WORLD, "192.0.2.1", IPPROTO_TCP, 80);
	CU_ASSERT_EQUAL(policy_rule_origin(registry, verdict.rule, &origin), 0);
	CU_ASSERT_STRING_EQUAL(origin.namespace, "x");
	CU_ASSERT_STRING_EQUAL(origin.name, "aa");
	CU_ASSERT_EQUAL(origin.index, 1);
	CU_ASSERT_FALSE(origin.egress);
	world_free(w);
	policy_registry_free(registry);
}

static void other_pods_get_no_rule_set(void)
{
	struct world *w = world_new(PODS, NULL);
	struct policy_input input = {.pods = w->by_kind[OBJECT_POD],
				     .pod_count = 3,
				     .subject = (bool[]){true, false, false}};
	struct compiled_policy *policy;

	CU_ASSERT_EQUAL(policy_compile(w->registry, &input, &policy), 0);
	CU_ASSERT_EQUAL(policy->pods[0].ingress_ruleset, RULESET_OPEN);
	CU_ASSERT_EQUAL(policy->pods[1].ingress_ruleset, RULESET_CLOSED);
	/* No policy tells them apart. */
	CU_ASSERT_EQUAL(policy->identity_count, 1);
	CU_ASSERT_EQUAL(policy->pods[1].identity, world_pod(w, "x/b")->identity);
	compiled_policy_free(policy);
	world_free(w);
}

static void nothing_compiles_to_nothing(void)
{
	struct policy_registry *registry = policy_registry_new();
	struct policy_input input = {};
	struct compiled_policy *policy;

	CU_ASSERT_EQUAL(policy_compile(registry, &input, &policy), 0);
	CU_ASSERT_EQUAL(policy->pod_count + policy->ruleset_count + policy->identity_count, 0);
	compiled_policy_free(policy);
	policy_registry_free(registry);
}

static void the_digest_is_sha256(void)
{
	static const uint8_t abc[4] = {0xba, 0x78, 0x16, 0xbf}, empty[4] = {0xe3, 0xb0, 0xc4, 0x42};
	static const uint8_t million[4] = {0xcd, 0xc7, 0x6e, 0x5c};
	uint8_t bytes[DIGEST_BYTES], a[1000];
	struct digest digest;

	digest_begin(&digest);
	digest_end(&digest, bytes);
	CU_ASSERT(memcmp(bytes, empty, 4) == 0);
	digest_begin(&digest);
	digest_add(&digest, "abc", 3);
	digest_end(&digest, bytes);
	CU_ASSERT(memcmp(bytes, abc, 4) == 0);
	memset(a, 'a', sizeof(a));
	digest_begin(&digest);
	for (int i = 0; i < 1000; i++)
		digest_add(&digest, a, sizeof(a));
	digest_end(&digest, bytes);
	CU_ASSERT(memcmp(bytes, million, 4) == 0);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(a_new_identity_of_a_known_class_keeps_the_rule_set),
		UNIT_TEST(another_content_gets_another_number),
		UNIT_TEST(pods_under_the_same_policies_share_a_rule_set),
		UNIT_TEST(a_rule_without_peers_stands_in_every_class),
		UNIT_TEST(the_first_rule_by_name_and_place_decides),
		UNIT_TEST(other_pods_get_no_rule_set),
		UNIT_TEST(nothing_compiles_to_nothing),
		UNIT_TEST(the_digest_is_sha256),
	};

	return UNIT_RUN("policy/compile", tests);
}

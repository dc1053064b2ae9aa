/* SPDX-License-Identifier: Apache-2.0 */
/* A pod that stays terminating keeps the deleted policies that govern it, and no others. On the
 * kernel's maps; needs root. */
#include "agent/policy/policy_sync_internal.h"
#include "tests/unit/agent/policy/sync_world.h"
#include "tests/unit/unit.h"

#define ENDS   ",'deletionTimestamp':'2026-01-01T00:00:00Z'"
#define ROUNDS 60

static bool is_isolated(const struct sync_world *w)
{
	uint32_t rules = sync_world_ingress(w, &w->pod);

	return rules >= RULESET_FIRST || rules == RULESET_CLOSED;
}

static void put_space(struct sync_world *w, const char *name, const char *labels)
{
	char text[256], file[32];

	snprintf(file, sizeof(file), "space-%s", name);
	snprintf(text, sizeof(text),
		 "{'apiVersion':'v1','kind':'Namespace','metadata':{'name':'%s','labels':{%s}}}",
		 name, labels);
	sync_world_put(w, file, text);
}

/* A policy that comes and goes while x/own is stuck. */
static void come_and_go(struct sync_world *w, int number, const char *kind, const char *space,
			const char *spec)
{
	char name[32], text[512];

	snprintf(name, sizeof(name), "come-%d", number);
	snprintf(text, sizeof(text),
		 "{'apiVersion':'%s','kind':'%s','metadata':{'name':'%s'%s%s%s},'spec':{%s}}",
		 *space ? "networking.k8s.io/v1" : "policy.networking.k8s.io/v1alpha2", kind, name,
		 *space ? ",'namespace':'" : "", space, *space ? "'" : "", spec);
	sync_world_put(w, name, text);
	sync_world_run_and_commit(w);
	sync_world_put(w, name, NULL);
	sync_world_run_and_commit(w);
}

static void begin(struct sync_world *w)
{
	*w = (struct sync_world){};
	sync_world_begin(w, NULL);
	put_space(w, "x", "'team':'x'");
	put_space(w, "y", "'team':'y'");
	sync_world_put_pod(w, "own", ENDS ",'labels':{'app':'own'}", "'nodeName':'here'", "");
	sync_world_run_and_commit(w);
}

static void policies_of_others_are_not_kept(void)
{
	struct sync_world w;

	begin(&w);
	for (int i = 0; i < ROUNDS; i++) {
		come_and_go(&w, i, "NetworkPolicy", "y", "'podSelector':{},'ingress':[]");
		come_and_go(&w, i, "NetworkPolicy", "x",
			    "'podSelector':{'matchLabels':{'app':'else'}},'ingress':[]");
		come_and_go(
			&w, i, "ClusterNetworkPolicy", "",
			"'tier':'Admin','priority':1,'subject':{'namespaces':{'matchLabels':"
			"{'team':'y'}}},'ingress':[{'action':'Deny','from':[{'namespaces':{}}]}]");
	}
	CU_ASSERT(w.policy_sync->deleted_count == 0);
	sync_world_end(&w);
}

static void those_that_govern_it_hold(void)
{
	struct sync_world w;

	begin(&w);
	come_and_go(&w, 1, "NetworkPolicy", "x",
		    "'podSelector':{'matchLabels':{'app':'own'}},'ingress':[]");
	CU_ASSERT(is_isolated(&w));
	for (int i = 2; i < ROUNDS; i++)
		come_and_go(&w, i, "NetworkPolicy", "y", "'podSelector':{},'ingress':[]");
	CU_ASSERT(w.policy_sync->deleted_count == 1);
	CU_ASSERT(is_isolated(&w));
	/* The same one again and again is one. */
	for (int i = 0; i < ROUNDS; i++)
		come_and_go(&w, 1, "NetworkPolicy", "x",
			    "'podSelector':{'matchLabels':{'app':'own'}},'ingress':[]");
	CU_ASSERT(w.policy_sync->deleted_count == 1);
	CU_ASSERT(is_isolated(&w));
	sync_world_end(&w);
}

/* A namespace that is deleted takes its object away before its pods have ended. */
static void a_namespace_that_went_keeps_cluster_policies(void)
{
	struct sync_world w;

	begin(&w);
	come_and_go(
		&w, 1, "ClusterNetworkPolicy", "",
		"'tier':'Admin','priority':1,'subject':{'namespaces':{'matchLabels':{'team':'x'}}},"
		"'ingress':[{'action':'Deny','from':[{'namespaces':{}}]}]");
	CU_ASSERT(w.policy_sync->deleted_count == 1);
	sync_world_put(&w, "space-x", NULL);
	sync_world_run_and_commit(&w);
	CU_ASSERT(w.policy_sync->deleted_count == 1);
	sync_world_end(&w);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(policies_of_others_are_not_kept),
		UNIT_TEST(those_that_govern_it_hold),
		UNIT_TEST(a_namespace_that_went_keeps_cluster_policies),
	};

	return UNIT_RUN("policy_sync_stuck", tests);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The compiler that follows a world, one thing at a time. */
#include <errno.h>
#include <stdint.h>

#include "policy/compile/compiler_internal.h"
#include "policy/compile/registry.h"
#include "tests/unit/policy/compile/random_objects.h"
#include "tests/unit/unit.h"

/* A pod of this node in n0 that n0's policy selects, its rule naming `app` everywhere. */
struct small {
	struct policy_registry *registry;
	struct policy_compiler *compiler;
	struct object *own, *policy;
	struct policy_pod *handle;
};

static struct object *pod_of(const char *name, const char *app)
{
	return random_decode(
		"{'apiVersion':'v1','kind':'Pod','metadata':{'namespace':'n0','name':'%s',"
		"'labels':{'app':'%s'}}}",
		name, app);
}

static int set_small_pod(struct small *s, struct policy_pod **handle, const struct object *object,
			 bool subject)
{
	static const struct pod_addresses none;

	return policy_compiler_set_pod(s->compiler, handle, object, &none, subject, 0);
}

static void run_small(struct small *s)
{
	if (policy_compiler_regroup(s->compiler))
		CU_ASSERT(set_small_pod(s, &s->handle, s->own, true) == 0);
	policy_compiler_set_nodes(s->compiler, NULL, 0, false);
	CU_ASSERT(policy_compiler_run(s->compiler) == 0);
}

static void small_begin(struct small *s)
{
	s->registry = policy_registry_new();
	s->compiler = policy_compiler_new(s->registry);
	s->own = pod_of("own", "own");
	s->policy = random_decode(
		"{'apiVersion':'networking.k8s.io/v1','kind':'NetworkPolicy','metadata':"
		"{'namespace':'n0','name':'q'},'spec':{'podSelector':{},'ingress':[{"
		"'from':[{'namespaceSelector':{'matchLabels':{'team':'m1'}}},{"
		"'podSelector':{'matchLabels':{'app':'a'}}}]}]}}");
	s->handle = NULL;
	CU_ASSERT(policy_compiler_set_policy(s->compiler, s->policy) == 0);
	CU_ASSERT(set_small_pod(s, &s->handle, s->own, true) == 0);
	run_small(s);
	policy_compiler_confirm(s->compiler);
}

static void small_end(struct small *s)
{
	policy_compiler_free(s->compiler);
	policy_registry_free(s->registry);
	object_free(s->own);
	object_free(s->policy);
}

static uint32_t identity_of(const struct small *s, const struct policy_pod *handle)
{
	return policy_compiler_pod(s->compiler, handle).identity;
}

static void an_identity_is_in_force_once_it_is_confirmed(void)
{
	struct object *object = pod_of("p", "a");
	struct policy_pod *pod = NULL;
	uint32_t identity;
	struct small s;

	small_begin(&s);
	CU_ASSERT(policy_compiler_in_force(s.compiler, identity_of(&s, s.handle)));
	CU_ASSERT(set_small_pod(&s, &pod, object, false) == 0);
	run_small(&s);
	identity = identity_of(&s, pod);
	CU_ASSERT(policy_compiler_has_identity(s.compiler, identity));
	CU_ASSERT(!policy_compiler_in_force(s.compiler, identity));
	/* A run that is not put in force does not change that. */
	run_small(&s);
	CU_ASSERT(!policy_compiler_in_force(s.compiler, identity));
	policy_compiler_confirm(s.compiler);
	CU_ASSERT(policy_compiler_in_force(s.compiler, identity));
	CU_ASSERT(policy_compiler_remove_pod(s.compiler, pod) == 0);
	run_small(&s);
	CU_ASSERT(!policy_compiler_in_force(s.compiler, identity));
	small_end(&s);
	object_free(object);
}

static void a_rule_set_that_went_is_given_to_nobody(void)
{
	uint32_t set;
	struct small s;

	small_begin(&s);
	set = policy_compiler_pod(s.compiler, s.handle).ingress_ruleset;
	CU_ASSERT(policy_compiler_ruleset(s.compiler, set) != NULL);
	CU_ASSERT(policy_compiler_remove_policy(s.compiler, OBJECT_NETWORK_POLICY, "n0", "q") == 0);
	run_small(&s);
	CU_ASSERT(policy_compiler_ruleset(s.compiler, set) == NULL);
	CU_ASSERT(policy_compiler_ruleset_count(s.compiler) == 0);
	small_end(&s);
}

/* As by two events of one object in a run. */
static void labels_of_a_namespace_that_is_set_twice_count(void)
{
	struct object *space =
		random_decode("{'apiVersion':'v1','kind':'Namespace','metadata':{'name':'n0'"
			      ",'labels':{'team':'m1'}}}");
	size_t before;
	uint32_t set;
	struct small s;

	small_begin(&s);
	set = policy_compiler_pod(s.compiler, s.handle).ingress_ruleset;
	before = policy_compiler_ruleset(s.compiler, set)->peer_count;
	CU_ASSERT(policy_compiler_set_namespace(s.compiler, "n0", space) == 0);
	CU_ASSERT(policy_compiler_set_namespace(s.compiler, "n0", space) == 0);
	run_small(&s);
	set = policy_compiler_pod(s.compiler, s.handle).ingress_ruleset;
	CU_ASSERT(policy_compiler_ruleset(s.compiler, set)->peer_count == before + 1);
	small_end(&s);
	object_free(space);
}

/* Numbers of identities have run out: nobody knows what of the pod has been taken. */
static void a_compiler_that_failed_compiles_nothing_any_more(void)
{
	struct object *object = pod_of("p", "a");
	struct labels none = {};
	struct policy_pod *pod = NULL;
	struct small s;

	small_begin(&s);
	CU_ASSERT(registry_add_identity(s.registry, UINT32_MAX, "other", &none, NULL, 0) == 0);
	CU_ASSERT(set_small_pod(&s, &pod, object, false) == -ENOSPC);
	policy_compiler_set_nodes(s.compiler, NULL, 0, false);
	CU_ASSERT(policy_compiler_run(s.compiler) < 0);
	CU_ASSERT(policy_compiler_run(s.compiler) < 0);
	small_end(&s);
	object_free(object);
}

/* A set that is compiled anew under its number: peers that stay are not told. */
static void peers_that_stay_are_not_told(void)
{
	struct object *objects[] = {pod_of("p", "a"), pod_of("r", "b")};
	struct policy_pod *pods[2] = {};
	struct small s;

	small_begin(&s);
	CU_ASSERT(set_small_pod(&s, &pods[0], objects[0], false) == 0);
	run_small(&s);
	for (int i = 0; i < 4; i++) {
		struct policy_changes changes;

		CU_ASSERT((i & 1 ? policy_compiler_set_policy(s.compiler, s.policy)
				 : set_small_pod(&s, &pods[1], objects[1], false)) == 0);
		run_small(&s);
		changes = policy_compiler_changes(s.compiler);
		CU_ASSERT(changes.peer_count == 0);
	}
	small_end(&s);
	object_free(objects[0]);
	object_free(objects[1]);
}

/* A policy that names the label key `word`; the caller's. */
static struct object *policy_of(unsigned int word)
{
	return random_decode(
		"{'apiVersion':'networking.k8s.io/v1','kind':'NetworkPolicy','metadata':{"
		"'namespace':'n0','name':'w'},'spec':{'podSelector':{'matchLabels':{'k%u':"
		"'v'}},'ingress':[{'ports':[{'port':'web'}]}]}}",
		word);
}

/* Whether it comes or goes: do pods have to be given again? */
static bool regroups(struct small *s, struct object *policy)
{
	bool again;
	int r = policy ? policy_compiler_set_policy(s->compiler, policy)
		       : policy_compiler_remove_policy(s->compiler, OBJECT_NETWORK_POLICY, "n0",
						       "w");

	CU_ASSERT(r == 0);
	again = policy_compiler_regroup(s->compiler);
	run_small(s);
	return again;
}

static void a_policy_that_comes_and_goes_regroups_pods_once(void)
{
	struct object *policy = policy_of(1);
	struct small s;
	int count = 0;

	small_begin(&s);
	for (int i = 0; i < 100; i++) {
		count += regroups(&s, policy);
		count += regroups(&s, NULL);
	}
	CU_ASSERT_EQUAL(count, 1);
	small_end(&s);
	object_free(policy);
}

static void what_no_policy_names_for_long_tells_no_pods_apart(void)
{
	struct object *policy = policy_of(1);
	struct small s;

	small_begin(&s);
	s.compiler->view.word_runs = 10;
	CU_ASSERT(regroups(&s, policy));
	for (int i = 0; i < 20; i++)
		run_small(&s);
	CU_ASSERT(!regroups(&s, NULL));
	for (int i = 0; i < 9; i++) {
		CU_ASSERT(!policy_compiler_regroup(s.compiler));
		run_small(&s);
	}
	CU_ASSERT(policy_compiler_regroup(s.compiler));
	run_small(&s);
	CU_ASSERT(!policy_compiler_regroup(s.compiler));
	/* From now on it is new again. */
	CU_ASSERT(regroups(&s, policy));
	small_end(&s);
	object_free(policy);
}

static void only_so_many_words_count_that_no_policy_names(void)
{
	struct small s;

	small_begin(&s);
	for (unsigned int i = 1; i <= 3 * VIEW_WORDS_KEPT; i++) {
		struct object *policy = policy_of(i);

		CU_ASSERT(regroups(&s, policy));
		regroups(&s, NULL);
		CU_ASSERT(s.compiler->view.words_kept <= VIEW_WORDS_KEPT);
		CU_ASSERT(HASH_COUNT(s.compiler->view.label_keys) <= VIEW_WORDS_KEPT + 2);
		object_free(policy);
	}
	small_end(&s);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(an_identity_is_in_force_once_it_is_confirmed),
		UNIT_TEST(a_rule_set_that_went_is_given_to_nobody),
		UNIT_TEST(labels_of_a_namespace_that_is_set_twice_count),
		UNIT_TEST(a_compiler_that_failed_compiles_nothing_any_more),
		UNIT_TEST(peers_that_stay_are_not_told),
		UNIT_TEST(a_policy_that_comes_and_goes_regroups_pods_once),
		UNIT_TEST(what_no_policy_names_for_long_tells_no_pods_apart),
		UNIT_TEST(only_so_many_words_count_that_no_policy_names),
	};

	return UNIT_RUN("follow", tests);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Objects of a list and a watch into the store; what becomes of those that cannot be used. */
#include "agent/sources/api/api_objects.h"

#include <errno.h>
#include <malloc.h>

#include "agent/common/log.h"
#include "tests/unit/unit.h"

struct world {
	struct store *store;
	struct api_objects *objects;
	size_t deletions;
	char problem[1024];
};

static void on_change(const struct object *object, bool deleted, void *data)
{
	((struct world *)data)->deletions += deleted;
}

static void begin(struct world *world, enum object_kind kind, const char *name)
{
	*world = (struct world){.store = store_new()};
	store_listen(world->store, on_change, world);
	CU_ASSERT_FATAL(api_objects_new(world->store, kind, name, NULL, NULL, &world->objects) ==
			0);
}

static void end(struct world *world)
{
	api_objects_free(world->objects);
	store_free(world->store);
}

static int put(struct world *world, const char *text)
{
	return api_objects_put(world->objects, text, strlen(text), true);
}

static int take(struct world *world, const char *text)
{
	return api_objects_remove(world->objects, text, strlen(text), true);
}

static void keep_problem(const char *origin, const struct error *error, void *data)
{
	struct world *world = data;

	snprintf(world->problem, sizeof(world->problem), "%s %s %s", origin, error->path,
		 error->text);
}

/* The only one. */
static const char *problem(struct world *world)
{
	world->problem[0] = '\0';
	store_problems(world->store, keep_problem, world);
	return world->problem;
}

#define POLICY(name, more)                                                                         \
	"{\"metadata\":{\"name\":\"" name "\",\"namespace\":\"ns\",\"resourceVersion\":\"5\"},"    \
	"\"spec\":{\"podSelector\":{\"matchLabels\":{\"app\":\"" name "\"}}" more "}}"

static const struct object *get_policy(const struct world *world, const char *name)
{
	return store_get(world->store, OBJECT_NETWORK_POLICY, "ns", name);
}

static void list_takes_away_what_it_does_not_name(void)
{
	struct world world;

	begin(&world, OBJECT_NETWORK_POLICY, "networkpolicies");
	CU_ASSERT(!store_synced(world.store));
	CU_ASSERT(api_objects_list_begin(world.objects) == 0);
	CU_ASSERT(put(&world, POLICY("a", "")) == 0 && put(&world, POLICY("b", "")) == 0);
	CU_ASSERT(!store_synced(world.store));
	api_objects_list_end(world.objects);
	CU_ASSERT(store_synced(world.store) && get_policy(&world, "a") && get_policy(&world, "b"));
	CU_ASSERT(api_objects_list_begin(world.objects) == 0);
	CU_ASSERT(put(&world, POLICY("b", "")) == 0);
	/* Begun again, and nothing is gone before it ends. */
	CU_ASSERT(api_objects_list_begin(world.objects) == 0);
	CU_ASSERT(get_policy(&world, "a") != NULL);
	CU_ASSERT(put(&world, POLICY("b", "")) == 0);
	api_objects_list_end(world.objects);
	CU_ASSERT(!get_policy(&world, "a") && get_policy(&world, "b") && world.deletions == 1);
	CU_ASSERT(take(&world, POLICY("b", "")) == 0 && !get_policy(&world, "b"));
	CU_ASSERT(take(&world, POLICY("b", "")) == 0);
	end(&world);
}

static void bad_object_keeps_its_last_version_and_holds_up_nobody(void)
{
	struct world world;

	begin(&world, OBJECT_NETWORK_POLICY, "networkpolicies");
	CU_ASSERT(put(&world, POLICY("a", ",\"ingress\":[{}]")) == 0);
	CU_ASSERT(api_objects_list_begin(world.objects) == 0);
	CU_ASSERT(put(&world, POLICY("a", ",\"ingres\":[{}]")) == 0);
	CU_ASSERT(put(&world, POLICY("b", "")) == 0);
	api_objects_list_end(world.objects);
	CU_ASSERT(get_policy(&world, "b") && get_policy(&world, "a"));
	CU_ASSERT(get_policy(&world, "a")->network_policy.ingress_count == 1);
	CU_ASSERT_STRING_EQUAL(problem(&world),
			       "api:networkpolicies/ns/a $.spec.ingres is an unknown field");
	CU_ASSERT(api_objects_refused(world.objects) == 1);
	CU_ASSERT(put(&world, POLICY("a", "")) == 0 && store_problem_count(world.store) == 0);
	CU_ASSERT(get_policy(&world, "a")->network_policy.ingress_count == 0);
	end(&world);
}

static void policy_that_never_was_good_isolates(void)
{
	const struct network_policy_object *policy;
	struct world world;

	begin(&world, OBJECT_NETWORK_POLICY, "networkpolicies");
	CU_ASSERT(put(&world,
		      POLICY("a", ",\"ingress\":[{\"x\":1}],\"policyTypes\":[\"Ingress\"]")) == 0);
	CU_ASSERT_FATAL(get_policy(&world, "a") != NULL);
	policy = &get_policy(&world, "a")->network_policy;
	CU_ASSERT(policy->isolates_ingress && !policy->isolates_egress);
	CU_ASSERT(policy->ingress_count == 0 && policy->pod_selector.count == 1);
	/* It selects others now, and is still none. */
	CU_ASSERT(put(&world, "{\"metadata\":{\"name\":\"a\",\"namespace\":\"ns\"},\"spec\":"
			      "{\"podSelector\":7,\"policyTypes\":[\"Sideways\"]}}") == 0);
	policy = &get_policy(&world, "a")->network_policy;
	CU_ASSERT(policy->isolates_ingress && policy->isolates_egress);
	CU_ASSERT(policy->pod_selector.count == 0 && store_problem_count(world.store) == 1);
	/* With the list that does not name it all of it goes. */
	CU_ASSERT(api_objects_list_begin(world.objects) == 0);
	api_objects_list_end(world.objects);
	CU_ASSERT(!get_policy(&world, "a") && store_problem_count(world.store) == 0);
	end(&world);
}

static void cluster_policy_that_never_was_good_denies(void)
{
	const struct object *object;
	struct world world;

	begin(&world, OBJECT_CLUSTER_NETWORK_POLICY, "clusternetworkpolicies");
	CU_ASSERT(put(&world,
		      "{\"metadata\":{\"name\":\"a\"},\"spec\":{\"tier\":\"Admin\","
		      "\"priority\":7,\"subject\":{\"namespaces\":{}},\"ingress\":[{}]}}") == 0);
	object = store_get(world.store, OBJECT_CLUSTER_NETWORK_POLICY, "", "a");
	CU_ASSERT_FATAL(object != NULL);
	CU_ASSERT(object->network_policy.priority == 7);
	CU_ASSERT(object->network_policy.ingress_count == 1 &&
		  object->network_policy.egress_count == 1);
	CU_ASSERT(object->network_policy.ingress[0].fails_closed &&
		  object->network_policy.egress[0].fails_closed);
	/* Whom it is about nobody knows. */
	CU_ASSERT(put(&world, "{\"metadata\":{\"name\":\"b\"},\"spec\":{\"tier\":\"Admin\"}}") ==
		  0);
	CU_ASSERT(!store_get(world.store, OBJECT_CLUSTER_NETWORK_POLICY, "", "b"));
	CU_ASSERT(store_problem_count(world.store) == 2);
	end(&world);
}

static void object_that_is_too_large_stays_by_its_name(void)
{
	static const char begun[] = "{\"metadata\":{\"name\":\"a\",\"namespace\":\"ns\",\"annotat";
	struct world world;

	begin(&world, OBJECT_NETWORK_POLICY, "networkpolicies");
	CU_ASSERT(put(&world, POLICY("a", "")) == 0);
	CU_ASSERT(api_objects_list_begin(world.objects) == 0);
	CU_ASSERT(api_objects_put(world.objects, begun, strlen(begun), false) == 0);
	api_objects_list_end(world.objects);
	CU_ASSERT(get_policy(&world, "a") && strstr(problem(&world), "more than"));
	end(&world);
}

/* It may be any of those that the list seems to leave out. */
static void object_without_a_name_lets_nothing_go(void)
{
	struct world world;

	begin(&world, OBJECT_NETWORK_POLICY, "networkpolicies");
	CU_ASSERT(put(&world, POLICY("a", "")) == 0);
	CU_ASSERT(api_objects_list_begin(world.objects) == 0);
	CU_ASSERT(put(&world, "{\"metadata\":{},\"spec\":{}}") == 0);
	api_objects_list_end(world.objects);
	CU_ASSERT(get_policy(&world, "a") && store_synced(world.store));
	CU_ASSERT(take(&world, "{\"metadata\":{}}") == -EBADMSG);
	end(&world);
}

static void object_of_another_kind_is_refused(void)
{
	struct world world;

	begin(&world, OBJECT_POD, "pods");
	CU_ASSERT(put(&world, "{\"kind\":\"Node\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":"
			      "\"a\"}}") == 0);
	CU_ASSERT_STRING_EQUAL(problem(&world), "api:pods/default/a $.kind is Node, not Pod");
	CU_ASSERT(put(&world, "{\"kind\":\"Pod\",\"apiVersion\":\"v2\",\"metadata\":{\"name\":"
			      "\"a\"}}") == 0);
	CU_ASSERT(strstr(problem(&world), "v2") != NULL);
	CU_ASSERT(store_count(world.store, OBJECT_POD) == 0);
	end(&world);
}

static void problems_have_a_limit(void)
{
	struct world world;
	char text[128];

	begin(&world, OBJECT_POD, "pods");
	for (int i = 0; i < API_REFUSED_MAX + 100; i++) {
		snprintf(text, sizeof(text), "{\"metadata\":{\"name\":\"p%d\"},\"spec\":7}", i);
		CU_ASSERT(put(&world, text) == 0);
	}
	CU_ASSERT(api_objects_refused(world.objects) == API_REFUSED_MAX);
	CU_ASSERT(store_problem_count(world.store) == API_REFUSED_MAX);
	end(&world);
}

static void list_pods(struct world *world)
{
	char text[256];

	CU_ASSERT(api_objects_list_begin(world->objects) == 0);
	for (int i = 0; i < 50; i++) {
		snprintf(
			text, sizeof(text),
			"{\"metadata\":{\"name\":\"p%d\",\"labels\":{\"app\":\"a%d\"}},\"spec\":%s,"
			"\"status\":{\"podIP\":\"10.0.0.%d\"}}",
			i, i % 7, i % 10 ? "{\"containers\":[]}" : "7", i + 1);
		CU_ASSERT(put(world, text) == 0);
	}
	api_objects_list_end(world->objects);
}

/* With objects that are refused among them. */
static void memory_stays_flat_over_a_thousand_lists(void)
{
	struct world world;
	size_t before;

	begin(&world, OBJECT_POD, "pods");
	log_set_level(LOG_LEVEL_ERROR);
	for (int i = 0; i < 10; i++)
		list_pods(&world);
	before = mallinfo2().uordblks;
	for (int i = 0; i < 1000; i++)
		list_pods(&world);
	CU_ASSERT(mallinfo2().uordblks <= before + 4096);
	CU_ASSERT(store_count(world.store, OBJECT_POD) == 45 && world.deletions == 0);
	end(&world);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(list_takes_away_what_it_does_not_name),
		UNIT_TEST(bad_object_keeps_its_last_version_and_holds_up_nobody),
		UNIT_TEST(policy_that_never_was_good_isolates),
		UNIT_TEST(cluster_policy_that_never_was_good_denies),
		UNIT_TEST(object_that_is_too_large_stays_by_its_name),
		UNIT_TEST(object_without_a_name_lets_nothing_go),
		UNIT_TEST(object_of_another_kind_is_refused),
		UNIT_TEST(problems_have_a_limit),
		UNIT_TEST(memory_stays_flat_over_a_thousand_lists),
	};

	return UNIT_RUN("sources/api/objects", tests);
}

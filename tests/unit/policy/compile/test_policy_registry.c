/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers that outlive a restart. */
#include <errno.h>
#include <jansson.h>

#include "policy/compile/registry.h"
#include "tests/unit/policy/compile/policy_world.h"
#include "tests/unit/unit.h"

#define ITEMS                                                                                      \
	POD("x", "a", "'app':'a'", "10.0.0.1")                                                     \
	"," POD_SPEC("x", "b", "", IP("10.0.0.2"), PORTS(PORT("web", 80, "TCP"))) "," NETPOL(      \
		"x", "p",                                                                          \
		"'podSelector':{},'ingress':[{'ports':[{'port':80}]},{'from':[{'podSelector':{}}]" \
		"}]")

static json_t *exported(const struct policy_registry *registry)
{
	char *text = policy_registry_export(registry, "");
	json_t *state = json_loads(text, JSON_REJECT_DUPLICATES, NULL);

	CU_ASSERT_PTR_NOT_NULL_FATAL(state);
	free(text);
	return state;
}

static void numbers_survive_a_restart(void)
{
	struct policy_registry *before = policy_registry_new(), *after = policy_registry_new();
	struct world *w = world_new(POD("w", "first", "", "10.9.9.9") "," ITEMS, before), *v;
	json_t *state = exported(before), *again;

	CU_ASSERT_EQUAL(policy_registry_import(after, state), 0);
	again = exported(after);
	CU_ASSERT(json_equal(state, again));
	v = world_new(ITEMS, after);
	CU_ASSERT_EQUAL(world_pod(w, "x/a")->identity, world_pod(v, "x/a")->identity);
	CU_ASSERT_EQUAL(world_pod(w, "x/b")->identity, world_pod(v, "x/b")->identity);
	CU_ASSERT_EQUAL(world_pod(w, "x/a")->ingress_ruleset, world_pod(v, "x/a")->ingress_ruleset);
	CU_ASSERT_EQUAL(
		world_verdict(w, "x/a", false, IDENTITY_WORLD, "192.0.2.1", IPPROTO_TCP, 80).rule,
		world_verdict(v, "x/a", false, IDENTITY_WORLD, "192.0.2.1", IPPROTO_TCP, 80).rule);
	json_decref(state);
	json_decref(again);
	world_free(w);
	world_free(v);
	policy_registry_free(before);
	policy_registry_free(after);
}

/* Whoever made the names: what is written can be read, and says the same. */
static void names_with_any_letters_survive_a_restart(void)
{
	static const char *const odd[] = {"\"",	      "\\", "\\\"", "a\nb\tc", "\x01\x1f \x7f",
					  "\xc3\xa9", "{",  "[",    ",",       ""};
	struct policy_registry *before = policy_registry_new(), *after = policy_registry_new();
	struct world *w = world_new(ITEMS, before);
	json_t *state = exported(before), *again;
	json_t *identity = json_array_get(json_object_get(state, "identities"), 0);
	json_t *rule = json_array_get(json_object_get(state, "rules"), 0), *labels = json_object();

	CU_ASSERT_FATAL(identity && rule);
	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		json_object_set_new(labels, odd[i], json_string(odd[i]));
		json_object_set_new(rule, "name", json_string(odd[i]));
		json_object_set_new(identity, "namespace", json_string(odd[i]));
		json_object_set(identity, "labels", labels);
		CU_ASSERT_EQUAL(policy_registry_import(after, state), 0);
		again = exported(after);
		CU_ASSERT(json_equal(state, again));
		json_decref(again);
		policy_registry_free(after);
		after = policy_registry_new();
	}
	json_decref(labels);
	json_decref(state);
	world_free(w);
	policy_registry_free(before);
	policy_registry_free(after);
}

static void damaged_state_leaves_an_empty_registry(void)
{
	struct policy_registry *registry = policy_registry_new(), *damaged = policy_registry_new();
	struct world *w = world_new(ITEMS, registry);
	json_t *state = exported(registry), *empty = exported(damaged), *left;
	char *text = json_dumps(state, JSON_COMPACT);
	size_t length = strlen(text), refused = 0;

	for (size_t i = 0; i < length; i++) {
		char kept = text[i];
		json_t *value;

		text[i] = (char)(kept ^ 1);
		value = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
		text[i] = kept;
		if (!value)
			continue;
		if (policy_registry_import(damaged, value) < 0) {
			refused++;
			left = exported(damaged);
			CU_ASSERT(json_equal(left, empty));
			json_decref(left);
		} else {
			policy_registry_free(damaged);
			damaged = policy_registry_new();
		}
		json_decref(value);
	}
	CU_ASSERT(refused > 0);
	CU_ASSERT_EQUAL(policy_registry_import(damaged, NULL), -EINVAL);
	free(text);
	json_decref(state);
	json_decref(empty);
	world_free(w);
	policy_registry_free(registry);
	policy_registry_free(damaged);
}

static void imports_into_an_empty_registry_only(void)
{
	struct policy_registry *registry = policy_registry_new();
	struct world *w = world_new(ITEMS, registry);
	json_t *state = exported(registry);

	CU_ASSERT_EQUAL(policy_registry_import(registry, state), -EINVAL);
	CU_ASSERT(world_pod(w, "x/a")->identity >= IDENTITY_FIRST_POD);
	json_decref(state);
	world_free(w);
	policy_registry_free(registry);
}

static void a_rule_set_of_the_maps_keeps_its_number(void)
{
	struct policy_registry *registry = policy_registry_new(), *fresh = policy_registry_new();
	struct world *w = world_new(ITEMS, registry);
	uint32_t id = world_pod(w, "x/a")->ingress_ruleset;
	uint64_t digest[2], other[2] = {1, 2};

	memcpy(digest, world_ruleset(w, id)->entry.digest, sizeof(digest));
	world_free(w);
	CU_ASSERT_EQUAL(policy_registry_know_ruleset(fresh, 700, digest), 0);
	CU_ASSERT_EQUAL(policy_registry_know_ruleset(fresh, 700, digest), 0);
	CU_ASSERT_EQUAL(policy_registry_know_ruleset(fresh, 700, other), -EEXIST);
	CU_ASSERT_EQUAL(policy_registry_know_ruleset(fresh, 800, digest), -EEXIST);
	CU_ASSERT_EQUAL(policy_registry_know_ruleset(fresh, RULESET_CAPACITY, other), -EINVAL);
	w = world_new(ITEMS ",{'apiVersion':'networking.k8s.io/"
			    "v1','kind':'NetworkPolicy','metadata':{'namespace':'x','name':'q'},"
			    "'spec':{'policyTypes':['Egress']}}",
		      fresh);
	CU_ASSERT_EQUAL(world_pod(w, "x/a")->ingress_ruleset, 700);
	CU_ASSERT(world_pod(w, "x/a")->egress_ruleset > 800);
	world_free(w);
	policy_registry_free(registry);
	policy_registry_free(fresh);
}

static void what_two_compilations_did_not_use_is_forgotten_and_never_renumbered(void)
{
	struct policy_registry *registry = policy_registry_new();
	struct world *w = world_new(ITEMS, registry);
	uint32_t identity = world_pod(w, "x/a")->identity, rule;
	struct rule_origin origin;

	rule = world_verdict(w, "x/a", false, IDENTITY_WORLD, "192.0.2.1", IPPROTO_TCP, 80).rule;
	world_free(w);
	policy_registry_collect(registry);
	world_free(world_new(POD("y", "z", "", "10.0.0.9"), registry));
	policy_registry_collect(registry);
	CU_ASSERT_EQUAL(policy_rule_origin(registry, rule, &origin), 0);
	world_free(world_new(POD("y", "z", "", "10.0.0.9"), registry));
	policy_registry_collect(registry);
	CU_ASSERT_EQUAL(policy_rule_origin(registry, rule, &origin), -ENOENT);
	/* But an identity waits for its return. */
	w = world_new(ITEMS, registry);
	CU_ASSERT(world_pod(w, "x/a")->identity == identity);
	CU_ASSERT(
		world_verdict(w, "x/a", false, IDENTITY_WORLD, "192.0.2.1", IPPROTO_TCP, 80).rule >
		rule);
	world_free(w);
	policy_registry_free(registry);
}

#define MANY 9000

/* Pods of so many identities, and the policy that tells them apart. */
static struct world *world_of_many(struct policy_registry *registry)
{
	struct world *world;
	size_t size;
	char *text;
	FILE *out = open_memstream(&text, &size);

	fprintf(out, "%s", NETPOL("y", "p", "'podSelector':{'matchLabels':{'serial':'none'}}"));
	for (int i = 0; i < MANY; i++)
		fprintf(out, "," POD("x", "p%d", "'serial':'%d'", "10.1.%d.%d"), i, i, i / 250,
			1 + i % 250);
	fclose(out);
	world = world_new(text, registry);
	free(text);
	return world;
}

static void identities_that_nobody_has_are_forgotten_when_there_are_many(void)
{
	struct policy_registry *registry = policy_registry_new();
	struct world *w = world_of_many(registry);
	uint32_t oldest = world_pod(w, "x/p0")->identity,
		 newest = world_pod(w, "x/p8999")->identity;

	world_free(w);
	for (int i = 0; i < 3; i++) {
		world_free(world_new(POD("y", "z", "", "10.0.0.9"), registry));
		policy_registry_collect(registry);
	}
	w = world_of_many(registry);
	CU_ASSERT(world_pod(w, "x/p0")->identity > oldest);
	CU_ASSERT(world_pod(w, "x/p8999")->identity == newest);
	world_free(w);
	policy_registry_free(registry);
}

/* Makes the label part of identities. */
#define APP NETPOL("x", "p", "'podSelector':{'matchLabels':{'app':'none'}}")

/* Most pods need no new state on disk, and still no number stands for two things. */
static void an_export_keeps_numbers_from_others_that_it_does_not_have(void)
{
	struct policy_registry *registry = policy_registry_new(), *after = policy_registry_new();
	struct world *first = world_new(APP "," POD("x", "a", "'app':'a'", "10.0.0.1"), registry);
	json_t *state = exported(registry);
	uint64_t revision = policy_registry_revision(registry);
	struct world *later = world_new(APP "," POD("x", "b", "'app':'b'", "10.0.0.2"), registry),
		     *other;

	CU_ASSERT_EQUAL(policy_registry_revision(registry), revision);
	CU_ASSERT_EQUAL_FATAL(policy_registry_import(after, state), 0);
	other = world_new(APP "," POD("x", "a", "'app':'a'",
				      "10.0.0.1") "," POD("x", "c", "'app':'c'", "10.0.0.3"),
			  after);
	CU_ASSERT_EQUAL(world_pod(other, "x/a")->identity, world_pod(first, "x/a")->identity);
	CU_ASSERT(world_pod(other, "x/c")->identity > world_pod(later, "x/b")->identity);
	json_decref(state);
	world_free(other);
	world_free(later);
	world_free(first);
	policy_registry_free(registry);
	policy_registry_free(after);
}

static const struct registry_identity *take(struct policy_registry *registry, const char *namespace)
{
	const struct registry_identity *identity = NULL;
	const struct labels none = {};

	CU_ASSERT_EQUAL_FATAL(
		registry_take_identity(registry, namespace, &none, NULL, 0, &identity), 0);
	return identity;
}

/* Before a number may stand in a map, it is on disk: a block of them, or a rule. */
static void a_new_block_and_a_new_rule_have_to_be_written(void)
{
	struct policy_registry *registry = policy_registry_new();
	uint64_t revision = policy_registry_revision(registry), changes;
	uint32_t rule;

	take(registry, "a");
	CU_ASSERT(policy_registry_revision(registry) > revision);
	revision = policy_registry_revision(registry);
	changes = policy_registry_changes(registry);
	take(registry, "b");
	CU_ASSERT_EQUAL(policy_registry_revision(registry), revision);
	CU_ASSERT(policy_registry_changes(registry) > changes);
	CU_ASSERT_EQUAL(registry_take_rule(registry, "a", "p", false, 0, &rule), 0);
	CU_ASSERT(policy_registry_revision(registry) > revision);
	policy_registry_free(registry);
}

/* Others keep their place among those that nobody holds. */
static void what_is_held_twice_keeps_nothing_else_from_being_forgotten(void)
{
	static const uint64_t a[2] = {1}, b[2] = {2};
	struct policy_registry *registry = policy_registry_new();
	uint32_t first, second, again;

	CU_ASSERT_EQUAL(registry_take_ruleset(registry, a, &first), 0);
	registry_release_ruleset(registry, first);
	CU_ASSERT_EQUAL(registry_take_ruleset(registry, b, &second), 0);
	registry_release_ruleset(registry, second);
	registry_take_ruleset(registry, b, &again);
	registry_take_ruleset(registry, b, &again);
	registry->compilation = 9;
	policy_registry_collect(registry);
	CU_ASSERT_EQUAL(registry_take_ruleset(registry, a, &again), 0);
	CU_ASSERT(again > second);
	CU_ASSERT_EQUAL(registry_take_ruleset(registry, b, &again), 0);
	CU_ASSERT_EQUAL(again, second);
	policy_registry_free(registry);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(numbers_survive_a_restart),
		UNIT_TEST(names_with_any_letters_survive_a_restart),
		UNIT_TEST(damaged_state_leaves_an_empty_registry),
		UNIT_TEST(imports_into_an_empty_registry_only),
		UNIT_TEST(an_export_keeps_numbers_from_others_that_it_does_not_have),
		UNIT_TEST(a_rule_set_of_the_maps_keeps_its_number),
		UNIT_TEST(a_new_block_and_a_new_rule_have_to_be_written),
		UNIT_TEST(what_is_held_twice_keeps_nothing_else_from_being_forgotten),
		UNIT_TEST(what_two_compilations_did_not_use_is_forgotten_and_never_renumbered),
		UNIT_TEST(identities_that_nobody_has_are_forgotten_when_there_are_many),
	};

	return UNIT_RUN("policy/registry", tests);
}

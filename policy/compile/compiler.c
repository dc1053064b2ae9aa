/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/compile/compiler.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "policy/compile/compiler_internal.h"

struct policy_compiler *policy_compiler_new(struct policy_registry *registry)
{
	struct policy_compiler *c = calloc(1, sizeof(*c));

	if (c)
		*c = (struct policy_compiler){
			.view = {.registry = registry, .run = 1, .word_runs = VIEW_WORD_RUNS}};
	return c;
}

struct policy_compiler *policy_compiler_new_after(const struct policy_compiler *before)
{
	struct policy_compiler *c = policy_compiler_new(before->view.registry);

	if (!c || view_keep_words(&c->view, &before->view) == 0)
		return c;
	policy_compiler_free(c);
	return NULL;
}

static void numbered_free(struct policy_compiler *c, struct numbered_ruleset *numbered)
{
	HASH_DEL(c->numbered, numbered);
	registry_release_ruleset(c->view.registry, numbered->compiled.id);
	compiled_ruleset_clear(&numbered->compiled);
	free(numbered);
}

void policy_compiler_free(struct policy_compiler *c)
{
	struct numbered_ruleset *numbered, *next_numbered;
	struct live_ruleset *set, *next;

	if (!c)
		return;
	HASH_ITER (hh, c->sets, set, next) {
		HASH_DEL(c->sets, set);
		live_ruleset_free(c, set);
	}
	HASH_ITER (hh, c->numbered, numbered, next_numbered)
		numbered_free(c, numbered);
	view_clear(&c->view);
	free(c->selected);
	free(c->edits);
	free(c->fresh);
	free(c->peers);
	free(c->unconfirmed);
	free(c);
}

/* ---------------------------------------------------------------- what goes in */

static int checked(struct policy_compiler *c, int result)
{
	c->broken |= result < 0;
	return result;
}

int policy_compiler_set_namespace(struct policy_compiler *c, const char *name,
				  const struct object *object)
{
	return checked(c, view_set_namespace(&c->view, name, object));
}

int policy_compiler_set_policy(struct policy_compiler *c, const struct object *object)
{
	return checked(c, view_set_policy(&c->view, object));
}

int policy_compiler_remove_policy(struct policy_compiler *c, enum object_kind kind,
				  const char *namespace, const char *name)
{
	return checked(c, view_remove_policy(&c->view, kind, namespace, name));
}

int policy_compiler_set_deleted(struct policy_compiler *c, const struct object *const *objects,
				const uint64_t *when, size_t count)
{
	return checked(c, view_set_deleted(&c->view, objects, when, count));
}

void policy_compiler_set_nodes(struct policy_compiler *c, const struct object *const *nodes,
			       size_t count, bool changed)
{
	c->view.nodes = nodes;
	c->view.node_count = count;
	c->view.nodes_changed |= changed;
}

int policy_compiler_set_pod(struct policy_compiler *c, struct policy_pod **pod,
			    const struct object *object, const struct pod_addresses *addresses,
			    bool subject, uint64_t terminating)
{
	return checked(c, view_set_pod(&c->view, pod, object, addresses, subject, terminating));
}

bool policy_compiler_regroup(struct policy_compiler *c)
{
	return view_update_words(&c->view);
}

bool policy_compiler_concerns(const struct policy_compiler *c, const struct object *pod)
{
	return view_words_concern(&c->view, pod);
}

static void drop_own_sets(struct policy_pod *pod)
{
	for (enum direction d = INGRESS; pod->apart && d <= EGRESS; d++) {
		if (pod->own_set[d])
			pod->own_set[d]->users--;
		pod->own_set[d] = NULL;
	}
	pod->apart = false;
}

int policy_compiler_remove_pod(struct policy_compiler *c, struct policy_pod *pod)
{
	drop_own_sets(pod);
	return checked(c, view_remove_pod(&c->view, pod));
}

/* ---------------------------------------------------------------- which sets there have to be */

static int find_both(struct policy_compiler *c, const struct view_identity *identity,
		     uint64_t terminating, struct live_ruleset **ret)
{
	struct live_ruleset *before[2] = {ret[INGRESS], ret[EGRESS]};
	int r = 0;

	for (enum direction d = INGRESS; r == 0 && d <= EGRESS; d++) {
		const struct subject subject = {
			.identity = identity, .direction = d, .terminating = terminating};

		r = compiler_find_ruleset(c, &subject, &ret[d]);
		if (r == 0 && before[d])
			before[d]->users--;
	}
	return r;
}

static void drop_sets(struct view_identity *identity)
{
	for (enum direction d = INGRESS; d <= EGRESS; d++) {
		if (identity->set[d])
			identity->set[d]->users--;
		identity->set[d] = NULL;
	}
}

static bool has_to_be_selected(const struct view *view, const struct view_identity *identity)
{
	return identity->selected_in != view->run &&
	       (view->cluster_changed || identity->listed || identity->namespace->listed);
}

/* Policies that went hold for pods that were on their way out. */
static int find_own_sets(struct policy_compiler *c, struct policy_pod *pod)
{
	if (!pod->terminating || !pod->identity || c->view.deleted_count == 0) {
		drop_own_sets(pod);
		return 0;
	}
	pod->apart = true;
	return find_both(c, pod->identity, pod->terminating, pod->own_set);
}

static int select_sets(struct policy_compiler *c)
{
	struct view *view = &c->view;
	struct policy_pod *pod;
	int r = 0;

	for (size_t i = 0; i < view->changed_count; i++)
		if (view->changed[i]->subjects == 0)
			drop_sets(view->changed[i]);
	for (pod = view->subjects.first; pod && r == 0; pod = pod->next) {
		struct view_identity *identity = pod->identity;

		if (!identity || !has_to_be_selected(view, identity))
			continue;
		identity->selected_in = view->run;
		r = find_both(c, identity, 0, identity->set);
	}
	for (pod = view->subjects.first; pod && r == 0; pod = pod->next)
		r = find_own_sets(c, pod);
	return r;
}

/* ---------------------------------------------------------------- making them */

static int add_number(uint32_t **items, size_t *count, size_t *capacity, uint32_t number)
{
	uint32_t *grown = array_grow(*items, *count, capacity, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	*items = grown;
	grown[(*count)++] = number;
	return 0;
}

/* Takes the rule set, on success, and the hold of its number in any case. */
static int numbered_new(struct policy_compiler *c, struct compiled_ruleset *ruleset,
			struct numbered_ruleset **ret)
{
	struct numbered_ruleset *numbered = calloc(1, sizeof(*numbered));
	int r = numbered ? add_number(&c->fresh, &c->fresh_count, &c->fresh_capacity, ruleset->id)
			 : -ENOMEM;

	if (r == 0) {
		numbered->compiled.id = ruleset->id;
		HASH_ADD(hh, c->numbered, compiled.id, sizeof(uint32_t), numbered);
		r = HASH_ADDED(hh, numbered) ? 0 : -ENOMEM;
	}
	if (r < 0) {
		registry_release_ruleset(c->view.registry, ruleset->id);
		free(numbered);
		return r;
	}
	numbered->compiled = *ruleset;
	numbered->peer_capacity = ruleset->peer_count;
	*ruleset = (struct compiled_ruleset){};
	*ret = numbered;
	return 0;
}

/* Its number and what stands under it. Takes the rule set, on success. */
static int name(struct policy_compiler *c, struct live_ruleset *set,
		struct compiled_ruleset *ruleset)
{
	struct numbered_ruleset *numbered;
	uint64_t digest[2];
	int r;

	memcpy(digest, ruleset->entry.digest, sizeof(digest));
	r = registry_take_ruleset(c->view.registry, digest, &ruleset->id);
	if (r < 0)
		return r;
	HASH_FIND(hh, c->numbered, &ruleset->id, sizeof(ruleset->id), numbered);
	if (numbered) {
		registry_release_ruleset(c->view.registry, ruleset->id);
		r = compiler_replace_peers(c, numbered, ruleset);
		compiled_ruleset_clear(ruleset);
		/* Changes of its peers may have been passed over while it was gone. */
		if (r == 0 && numbered->sets == 0)
			r = add_number(&c->fresh, &c->fresh_count, &c->fresh_capacity,
				       numbered->compiled.id);
	} else {
		r = numbered_new(c, ruleset, &numbered);
	}
	if (r < 0)
		return r;
	c->numbered_count += numbered->sets++ == 0;
	set->numbered = numbered;
	return 0;
}

static int compile_set(struct policy_compiler *c, struct live_ruleset *live)
{
	struct compiled_ruleset ruleset = {};
	struct numbered_ruleset *before = live->numbered;
	int r;

	ruleset_clear(&live->set);
	r = ruleset_compile(&live->set, &c->view, live->key[0] ? EGRESS : INGRESS, live->subject,
			    live->policies, live->policy_count, &ruleset);
	if (r < 0 && r != -E2BIG)
		return r;
	live->stale = false;
	live->numbered = NULL;
	if (r == 0)
		r = name(c, live, &ruleset);
	else
		r = 0;
	compiled_ruleset_clear(&ruleset);
	if (before) {
		/* Only now: the same number may be its again. */
		struct live_ruleset old = {.numbered = before};

		live_ruleset_unname(c, &old);
	}
	return r;
}

static int compile_sets(struct policy_compiler *c)
{
	struct live_ruleset *live, *next;
	int r = 0;

	HASH_ITER (hh, c->sets, live, next) {
		if (r == 0 && live->users && live->stale)
			r = compile_set(c, live);
		if (live->users == 0) {
			HASH_DEL(c->sets, live);
			live_ruleset_free(c, live);
		}
	}
	return r;
}

/* ---------------------------------------------------------------- a run */

static int add_unconfirmed(struct policy_compiler *c)
{
	int r = 0;

	for (size_t i = 0; i < c->view.changed_count && r == 0; i++)
		if (c->view.changed[i]->pods && !c->view.changed[i]->in_force)
			r = add_number(&c->unconfirmed, &c->unconfirmed_count,
				       &c->unconfirmed_capacity,
				       c->view.changed[i]->registered->id);
	return r;
}

int policy_compiler_run(struct policy_compiler *c)
{
	int r = c->broken ? -ENOMEM : 0;

	assert(c->broken || !c->view.words_changed);
	c->view.registry->compilation++;
	c->fresh_count = c->peer_count = 0;
	if (r == 0)
		r = compiler_update_rulesets(c);
	if (r == 0)
		r = select_sets(c);
	if (r == 0)
		r = compile_sets(c);
	if (r == 0)
		r = add_unconfirmed(c);
	if (r == 0)
		view_end_run(&c->view);
	return checked(c, r);
}

/* ---------------------------------------------------------------- what comes out */

static const struct compiled_selection *isolation_of(const struct live_ruleset *set)
{
	return set ? set->isolation : NULL;
}

/* A host-network pod has no link that a rule set could stand at; of all others without an identity
 * nothing passes. */
struct compiled_pod policy_compiler_pod(const struct policy_compiler *c,
					const struct policy_pod *pod)
{
	const struct view_identity *identity = pod->identity;
	const uint32_t none = pod->host_network ? RULESET_OPEN : RULESET_CLOSED;
	struct live_ruleset *const *sets;

	(void)c;
	if (!identity || !pod->subject)
		return (struct compiled_pod){.identity = identity ? identity->registered->id : 0,
					     .ingress_ruleset = none,
					     .egress_ruleset = none};
	sets = pod->apart ? pod->own_set : identity->set;
	return (struct compiled_pod){
		.identity = identity->registered->id,
		.ingress_ruleset = live_ruleset_id(sets[INGRESS]),
		.egress_ruleset = live_ruleset_id(sets[EGRESS]),
		.ingress_isolation = isolation_of(sets[INGRESS]),
		.egress_isolation = isolation_of(sets[EGRESS]),
		.ingress_held =
			live_ruleset_id(sets[INGRESS]) != live_ruleset_id(identity->set[INGRESS]),
		.egress_held =
			live_ruleset_id(sets[EGRESS]) != live_ruleset_id(identity->set[EGRESS]),
	};
}

const struct compiled_ruleset *policy_compiler_ruleset(const struct policy_compiler *c, uint32_t id)
{
	struct numbered_ruleset *numbered;

	HASH_FIND(hh, c->numbered, &id, sizeof(id), numbered);
	return numbered && numbered->sets ? &numbered->compiled : NULL;
}

int policy_compiler_each_ruleset(const struct policy_compiler *c,
				 int (*visit)(const struct compiled_ruleset *ruleset, void *data),
				 void *data)
{
	struct numbered_ruleset *numbered, *next;
	int r = 0;

	HASH_ITER (hh, c->numbered, numbered, next)
		if (r == 0 && numbered->sets)
			r = visit(&numbered->compiled, data);
	return r;
}

size_t policy_compiler_ruleset_count(const struct policy_compiler *c)
{
	return c->numbered_count;
}

size_t policy_compiler_identity_count(const struct policy_compiler *c)
{
	return c->view.by_id.count;
}

static struct view_identity *find_identity(const struct policy_compiler *c, uint32_t id)
{
	return view_identity_of(&c->view, id);
}

bool policy_compiler_has_identity(const struct policy_compiler *c, uint32_t identity)
{
	return find_identity(c, identity) != NULL;
}

struct policy_changes policy_compiler_changes(const struct policy_compiler *c)
{
	return (struct policy_changes){.rulesets = c->fresh,
				       .ruleset_count = c->fresh_count,
				       .peers = c->peers,
				       .peer_count = c->peer_count};
}

int policy_compiler_each_gone(const struct policy_compiler *c,
			      int (*visit)(const struct compiled_ruleset *ruleset, void *data),
			      void *data)
{
	const struct numbered_ruleset *numbered;
	int r = 0;

	for (numbered = c->gone; numbered && r == 0; numbered = numbered->next)
		if (numbered->sets == 0)
			r = visit(&numbered->compiled, data);
	return r;
}

void policy_compiler_bury(struct policy_compiler *c)
{
	while (c->gone) {
		struct numbered_ruleset *numbered = c->gone;

		c->gone = numbered->next;
		numbered->listed = false;
		if (numbered->sets == 0)
			numbered_free(c, numbered);
	}
}

void policy_compiler_confirm(struct policy_compiler *c)
{
	for (size_t i = 0; i < c->unconfirmed_count; i++) {
		struct view_identity *identity = find_identity(c, c->unconfirmed[i]);

		if (identity)
			identity->in_force = true;
	}
	c->unconfirmed_count = 0;
}

bool policy_compiler_in_force(const struct policy_compiler *c, uint32_t identity)
{
	const struct view_identity *known = find_identity(c, identity);

	return known && known->in_force;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Identities that come and go in the rule sets that stand. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "policy/compile/compiler_internal.h"

int compiler_add_peer_change(struct policy_compiler *c, const struct peer_change *change)
{
	struct peer_change *grown =
		array_grow(c->peers, c->peer_count, &c->peer_capacity, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	c->peers = grown;
	c->peers[c->peer_count++] = *change;
	return 0;
}

/* Where the identity stands, or would stand, among the peers. */
static size_t find_place(const struct compiled_ruleset *set, uint32_t identity)
{
	size_t low = 0, high = set->peer_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (set->peers[middle].identity < identity)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static const struct compiled_peer *find_peer(const struct compiled_ruleset *set, uint32_t identity)
{
	size_t at = find_place(set, identity);

	return at < set->peer_count && set->peers[at].identity == identity ? &set->peers[at] : NULL;
}

/* ---------------------------------------------------------------- what a set says of one identity
 */

static int add_edit(struct policy_compiler *c, const struct live_ruleset *live, uint32_t identity,
		    uint16_t peer_class, bool gone)
{
	struct peer_edit *grown =
		array_grow(c->edits, c->edit_count, &c->edit_capacity, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	c->edits = grown;
	c->edits[c->edit_count++] = (struct peer_edit){.numbered = live->numbered,
						       .identity = identity,
						       .peer_class = peer_class,
						       .gone = gone};
	return 0;
}

/* A class that nobody has any more would not be there: the set is another one without it. The empty
 * one has no number, and makes no difference. */
static void let_go(struct live_ruleset *live, uint32_t number)
{
	if (number && --live->set.peers.all[number - 1]->uses == 0)
		live->stale = true;
}

static int leave(struct policy_compiler *c, struct live_ruleset *live,
		 const struct view_identity *identity)
{
	const struct compiled_peer *peer =
		find_peer(&live->numbered->compiled, identity->registered->id);

	if (ruleset_asks_ports(&live->set, identity))
		live->stale = true;
	if (!peer)
		return 0;
	let_go(live, peer->peer_class);
	return add_edit(c, live, identity->registered->id, 0, true);
}

/* It came, or its namespace's labels are others. */
static int enter(struct policy_compiler *c, struct live_ruleset *live,
		 const struct view_identity *identity)
{
	const uint32_t id = identity->registered->id;
	const struct compiled_peer *peer = find_peer(&live->numbered->compiled, id);
	struct class *class;

	if (ruleset_asks_ports(&live->set, identity)) {
		live->stale = true;
		return 0;
	}
	class = ruleset_find_class(&live->set, identity);
	if (!class) {
		live->stale = true;
		return 0;
	}
	if (peer ? class->number == peer->peer_class : class == live->set.all_pods_class)
		return 0;
	if (class != live->set.all_pods_class)
		class->uses++;
	if (peer)
		let_go(live, peer->peer_class);
	return add_edit(c, live, id, (uint16_t) class->number, class == live->set.all_pods_class);
}

/* ---------------------------------------------------------------- all that changed, in one set */

static bool has_names(const struct ruleset *set)
{
	for (size_t i = 0; i < set->rule_count; i++)
		if (set->rules[i].named_count > 0 || set->rules[i].unknown != NO_ATOM)
			return true;
	return false;
}

static int update_namespace(struct policy_compiler *c, struct live_ruleset *live,
			    const struct view_namespace *namespace)
{
	const struct view_identity *identity;
	int r = 0;

	if (has_names(&live->set) && namespace->identities)
		live->stale = true;
	for (identity = namespace->identities; identity && r == 0 && !live->stale;
	     identity = identity->next)
		if (identity->in_last_run && identity->pods)
			r = enter(c, live, identity);
	return r;
}

/* What is over a limit stays so while identities only come. */
static bool may_have_shrunk(const struct view *view)
{
	for (size_t i = 0; i < view->dirty_count; i++)
		if (view->dirty[i]->relabelled)
			return true;
	for (size_t i = 0; i < view->changed_count; i++)
		if (view->changed[i]->in_last_run && !view->changed[i]->pods)
			return true;
	return false;
}

static int update_set(struct policy_compiler *c, struct live_ruleset *live)
{
	const struct view *view = &c->view;
	int r = 0;

	if ((view->nodes_changed && live->set.asks_nodes) ||
	    (view->addresses_changed && live->set.asks_addresses))
		live->stale = true;
	if (!live->numbered) {
		live->stale |= !live->set.hopeless && may_have_shrunk(view);
		return 0;
	}
	for (size_t i = 0; i < view->dirty_count && r == 0 && !live->stale; i++)
		if (view->dirty[i]->relabelled)
			r = update_namespace(c, live, view->dirty[i]);
	for (size_t i = 0; i < view->changed_count && r == 0 && !live->stale; i++) {
		const struct view_identity *identity = view->changed[i];

		if (identity->in_last_run && !identity->pods)
			r = leave(c, live, identity);
		else if (!identity->in_last_run && identity->pods)
			r = enter(c, live, identity);
	}
	return r;
}

static bool anything_changed(const struct view *view)
{
	if (view->nodes_changed || view->addresses_changed)
		return true;
	for (size_t i = 0; i < view->dirty_count; i++)
		if (view->dirty[i]->relabelled)
			return true;
	for (size_t i = 0; i < view->changed_count; i++)
		if (view->changed[i]->in_last_run != (view->changed[i]->pods > 0))
			return true;
	return false;
}

/* ---------------------------------------------------------------- into what stands under a number
 */

static int insert_peer(struct numbered_ruleset *numbered, size_t at,
		       const struct compiled_peer *peer)
{
	struct compiled_ruleset *set = &numbered->compiled;
	struct compiled_peer *grown =
		array_grow(set->peers, set->peer_count, &numbered->peer_capacity, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	set->peers = grown;
	memmove(grown + at + 1, grown + at, (set->peer_count - at) * sizeof(*grown));
	grown[at] = *peer;
	set->peer_count++;
	return 0;
}

/* Two live sets of one number say the same: the second time nothing changes. */
static int apply_edit(struct policy_compiler *c, const struct peer_edit *edit)
{
	struct compiled_ruleset *set = &edit->numbered->compiled;
	const struct compiled_peer wanted = {edit->identity, edit->peer_class};
	size_t at = find_place(set, edit->identity);
	bool present = at < set->peer_count && set->peers[at].identity == edit->identity;
	int r = 0;

	if (edit->gone ? !present : present && set->peers[at].peer_class == edit->peer_class)
		return 0;
	if (edit->gone) {
		set->peer_count--;
		memmove(set->peers + at, set->peers + at + 1,
			(set->peer_count - at) * sizeof(*set->peers));
	} else if (present) {
		set->peers[at] = wanted;
	} else {
		r = insert_peer(edit->numbered, at, &wanted);
	}
	if (r < 0)
		return r;
	return compiler_add_peer_change(c, &(struct peer_change){.ruleset = set->id,
								 .identity = edit->identity,
								 .peer_class = edit->peer_class,
								 .gone = edit->gone});
}

int compiler_update_rulesets(struct policy_compiler *c)
{
	struct live_ruleset *live, *next;
	int r = 0;

	c->edit_count = 0;
	if (!anything_changed(&c->view))
		return 0;
	HASH_ITER (hh, c->sets, live, next)
		if (r == 0 && !live->stale)
			r = update_set(c, live);
	for (size_t i = 0; i < c->edit_count && r == 0; i++)
		r = apply_edit(c, &c->edits[i]);
	return r;
}

/* ---------------------------------------------------------------- all peers of a set */

int compiler_replace_peers(struct policy_compiler *c, struct numbered_ruleset *numbered,
			   struct compiled_ruleset *from)
{
	struct compiled_ruleset *set = &numbered->compiled;
	size_t old = 0, new = 0;
	int r = 0;

	while (r == 0 && (old < set->peer_count || new < from->peer_count)) {
		struct peer_change change = {.ruleset = set->id};
		bool has_old = old < set->peer_count, has_new = new < from->peer_count;
		bool is_same;

		if (has_old && (!has_new || set->peers[old].identity < from->peers[new].identity)) {
			change.identity = set->peers[old++].identity;
			change.gone = true;
			r = compiler_add_peer_change(c, &change);
			continue;
		}
		change.identity = from->peers[new].identity;
		change.peer_class = (uint16_t)from->peers[new].peer_class;
		is_same = has_old && set->peers[old].identity == change.identity;
		if (!is_same || set->peers[old].peer_class != change.peer_class)
			r = compiler_add_peer_change(c, &change);
		old += is_same;
		new += 1;
	}
	if (r < 0)
		return r;
	free(set->peers);
	set->peers = from->peers;
	set->peer_count = numbered->peer_capacity = from->peer_count;
	from->peers = NULL;
	from->peer_count = 0;
	return 0;
}

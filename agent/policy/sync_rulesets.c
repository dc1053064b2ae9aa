/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/log.h"
#include "agent/policy/policy_sync_internal.h"
#include "policy/objects/array.h"

static const enum map_index indexes[RULESET_MAPS] = {
	[CACHE_PEERS] = MAP_RULESET_PEERS,
	[CACHE_PREFIXES] = MAP_RULESET_PREFIXES,
	[CACHE_PORTS] = MAP_RULESET_PORTS,
	[CACHE_CELLS] = MAP_RULESET_CELLS,
};

enum map_index ruleset_map_index(enum ruleset_map map)
{
	return indexes[map];
}

int rulesets_open(struct policy_sync *sync)
{
	int i, r = ruleset_slots_open(sync->maps, &sync->slots);

	for (i = 0; i < RULESET_MAPS && r == 0; i++)
		r = map_cache_open(sync->maps, indexes[i], &sync->rules[i]);
	return r;
}

static void drop_misfit(struct policy_sync *sync, uint32_t id);

void rulesets_close(struct policy_sync *sync)
{
	struct misfit *misfit, *next;
	int i;

	ruleset_slots_close(sync->slots);
	for (i = 0; i < RULESET_MAPS; i++)
		map_cache_close(sync->rules[i]);
	HASH_ITER (hh, sync->misfits, misfit, next)
		drop_misfit(sync, misfit->ruleset);
	free(sync->differing.keys);
	free(sync->leaving.keys);
}

static struct ruleset_prefix_key prefix_key(uint32_t id, const struct compiled_prefix *p)
{
	return (struct ruleset_prefix_key){
		.prefixlen = 32 + p->prefix.length, .ruleset = id, .addr = p->prefix.addr};
}

static struct ruleset_port_key port_key(uint32_t id, const struct compiled_port *p)
{
	return (struct ruleset_port_key){.prefixlen = 32 + p->length,
					 .ruleset = id,
					 .proto = p->proto,
					 .port_be = htons(p->port)};
}

static struct ruleset_cell_key cell_key(uint32_t id, const struct compiled_cell *c)
{
	return (struct ruleset_cell_key){
		.ruleset = id, .peer_class = c->peer_class, .port_class = c->port_class};
}

/* Calls for every element that stands under the set's number; cells only if they do not stand in a
 * table. Stops at a negative value. */
static int each_element(const struct compiled_ruleset *set, bool table,
			int (*visit)(enum ruleset_map map, const void *key, const void *value,
				     void *data),
			void *data)
{
	size_t i;
	int r = 0;

	for (i = 0; i < set->prefix_count && r == 0; i++) {
		struct ruleset_prefix_key key = prefix_key(set->id, &set->prefixes[i]);

		r = visit(CACHE_PREFIXES, &key, &set->prefixes[i].peer_class, data);
	}
	for (i = 0; i < set->port_count && r == 0; i++) {
		struct ruleset_port_key key = port_key(set->id, &set->ports[i]);

		r = visit(CACHE_PORTS, &key, &set->ports[i].port_class, data);
	}
	for (i = 0; i < set->cell_count && !table && r == 0; i++) {
		struct ruleset_cell_key key = cell_key(set->id, &set->cells[i]);

		r = visit(CACHE_CELLS, &key, &set->cells[i].cell, data);
	}
	for (i = 0; i < set->peer_count && r == 0; i++) {
		struct ruleset_peer_key key = {.ruleset = set->id,
					       .identity = set->peers[i].identity};

		r = visit(CACHE_PEERS, &key, &set->peers[i].peer_class, data);
	}
	return r;
}

static bool has_table(const struct ruleset_entry *entry)
{
	return entry->cell_count != 0;
}

int ruleset_each_element(const struct policy_sync *sync, const struct compiled_ruleset *set,
			 int (*visit)(enum ruleset_map map, const void *key, const void *value,
				      void *data),
			 void *data)
{
	uint32_t slot = ruleset_slots_find(sync->slots, set->id);

	return each_element(set, slot && has_table(ruleset_slots_entry(sync->slots, slot)), visit,
			    data);
}

struct need {
	const struct policy_sync *sync;
	size_t more[RULESET_MAPS];
};

static int count_new(enum ruleset_map map, const void *key, const void *value, void *data)
{
	struct need *need = data;

	(void)value;
	need->more[map] += map_cache_find(need->sync->rules[map], key) == NULL;
	return 0;
}

/* The first map that has no room for the set beside what stands; RULESET_MAPS: all have. */
static int map_without_room(struct policy_sync *sync, const struct compiled_ruleset *set,
			    bool table, size_t *ret_more)
{
	struct need need = {.sync = sync};
	int i;

	each_element(set, table, count_new, &need);
	for (i = 0; i < RULESET_MAPS; i++) {
		if (need.more[i] <= map_cache_room(sync->rules[i]))
			continue;
		*ret_more = need.more[i];
		break;
	}
	return i;
}

/*
 * A place for the set, if there is room for all of it beside what stands; asked before anything is
 * touched. A set that is there already keeps its reservation. 0; -E2BIG: no room; -ENOMEM.
 */
static int find_place(struct policy_sync *sync, const struct compiled_ruleset *set,
		      struct ruleset_reservation *ret)
{
	uint32_t slot = ruleset_slots_find(sync->slots, set->id);
	bool sparse = ruleset_slots_is_sparse(set);
	size_t more;
	int full, r;

	if (slot) {
		*ret = (struct ruleset_reservation){
			.slot = slot, .entry = *ruleset_slots_entry(sync->slots, slot)};
		return map_without_room(sync, set, has_table(&ret->entry), &more) == RULESET_MAPS
			       ? 0
			       : -E2BIG;
	}
	r = ruleset_slots_reserve(sync->slots, set, !sparse, ret);
	if (r < 0)
		return r;
	full = map_without_room(sync, set, has_table(&ret->entry), &more);
	if (full == CACHE_CELLS && sparse) {
		ruleset_slots_release(sync->slots, ret);
		r = ruleset_slots_reserve(sync->slots, set, true, ret);
		if (r < 0)
			return r;
		full = map_without_room(sync, set, has_table(&ret->entry), &more);
	}
	if (full == RULESET_MAPS)
		return 0;
	ruleset_slots_release(sync->slots, ret);
	return -E2BIG;
}

/* Into `ret`, and the log if it is new. */
static void report_full(struct misfit *misfit, const struct map_info *info, size_t used,
			size_t more, size_t room, const char *option)
{
	struct policy_sync_problem *problem = &misfit->problem;

	*problem = (struct policy_sync_problem){.subject = "policy",
						.map = info->name,
						.missing = more > room ? more - room : more};
	snprintf(problem->reason, sizeof(problem->reason),
		 "map %s is full: %u entries, %zu used, %zu more needed; raise %s", info->name,
		 info->max_entries, used, more, option);
	if (!misfit->told)
		log_error("policy",
			  "map %s is full: %u entries, %zu used, %zu more needed: its pods are "
			  "closed; raise %s",
			  info->name, info->max_entries, used, more, option);
}

static void report_misfit(struct policy_sync *sync, const struct compiled_ruleset *set,
			  struct misfit *misfit)
{
	uint32_t slot = ruleset_slots_find(sync->slots, set->id);
	bool table = slot && has_table(ruleset_slots_entry(sync->slots, slot));
	size_t more = 0;
	int map = map_without_room(sync, set, table, &more);

	misfit->problem.reason[0] = '\0';
	if (map < RULESET_MAPS)
		report_full(misfit, maps_get(sync->maps, indexes[map]),
			    map_cache_count(sync->rules[map]), more,
			    map_cache_room(sync->rules[map]), "--max-policy-entries");
	else if (!slot && !ruleset_slots_room(sync->slots))
		report_full(misfit, maps_get(sync->maps, MAP_RULESETS),
			    ruleset_slots_used(sync->slots), 1, 0, "--max-pods");
	misfit->told = true;
}

/* Once all that fits is there: the numbers do not depend on the order of the sets. `tried`: they
 * are others now. */
static void report_misfits(struct policy_sync *sync, bool tried)
{
	const struct compiled_ruleset *set;
	struct misfit *misfit, *next;

	sync->rule_problem_count = 0;
	HASH_ITER (hh, sync->misfits, misfit, next) {
		set = policy_compiler_ruleset(sync->compiler, misfit->ruleset);
		if (!set)
			continue;
		if (tried || !misfit->told)
			report_misfit(sync, set, misfit);
		if (misfit->problem.reason[0])
			policy_sync_problem_copy(&sync->rule_problems, &sync->rule_problem_count,
						 &misfit->problem);
	}
}

/* ---------------------------------------------------------------- sets without room */

static struct misfit *find_misfit(const struct policy_sync *sync, uint32_t id)
{
	struct misfit *misfit;

	HASH_FIND(hh, sync->misfits, &id, sizeof(id), misfit);
	return misfit;
}

bool ruleset_fits(const struct policy_sync *sync, uint32_t id)
{
	return !find_misfit(sync, id);
}

static int add_misfit(struct policy_sync *sync, uint32_t id)
{
	struct misfit *misfit = find_misfit(sync, id);

	if (misfit) {
		misfit->deleted = false;
		return 0;
	}
	misfit = calloc(1, sizeof(*misfit));
	if (!misfit)
		return -ENOMEM;
	misfit->ruleset = id;
	HASH_ADD(hh, sync->misfits, ruleset, sizeof(misfit->ruleset), misfit);
	if (HASH_ADDED(hh, misfit))
		return 0;
	free(misfit);
	return -ENOMEM;
}

static void drop_misfit(struct policy_sync *sync, uint32_t id)
{
	struct misfit *misfit = find_misfit(sync, id);

	if (!misfit)
		return;
	HASH_DEL(sync->misfits, misfit);
	free(misfit);
}

/* ---------------------------------------------------------------- writing */

static int list_peer(struct peer_list *list, const struct ruleset_peer_key *key)
{
	struct ruleset_peer_key *grown =
		array_grow(list->keys, list->count, &list->capacity, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	list->keys = grown;
	grown[list->count++] = *key;
	return 0;
}

/*
 * May an address in force have the identity? Those that are no pods' always may. Before a run has
 * succeeded, and after one that failed, nobody knows what the maps' numbers stand for.
 */
static bool is_in_use(const struct policy_sync *sync, uint32_t identity)
{
	return !sync->in_force || sync->half_written || identity < IDENTITY_FIRST_POD ||
	       policy_compiler_in_force(sync->compiler, identity);
}

/* Will an address have it from this pass on? */
static bool will_be_in_use(const struct policy_sync *sync, uint32_t identity)
{
	return !sync->in_force || identity < IDENTITY_FIRST_POD ||
	       policy_compiler_has_identity(sync->compiler, identity);
}

/* The set at hand. */
struct writing {
	struct policy_sync *sync;
	const struct compiled_ruleset *set;
	bool in_force; /* it may be: its peers change for the other slot only */
	bool differs;  /* the slots do */
	uint64_t peer_writes;
};

/* Of an identity that is not among the set's peers. */
static uint16_t default_class(const struct compiled_ruleset *set, uint32_t identity)
{
	return identity >= IDENTITY_FIRST_POD ? set->entry.default_pod_class
					      : set->entry.default_world_class;
}

static int put_peer(struct writing *w, const void *key, uint16_t peer_class)
{
	const struct ruleset_peer *present = map_cache_find(w->sync->rules[CACHE_PEERS], key);
	const struct ruleset_peer_key *peer_key = key;
	unsigned int slot = policy_sync_slot(w->sync);
	struct ruleset_peer peer = {.peer_class = {peer_class, peer_class}};
	uint64_t before = maps_writes(w->sync->maps);
	int r;

	/* Nobody asks for an identity that no address has yet. */
	if (w->in_force && is_in_use(w->sync, peer_key->identity))
		peer.peer_class[slot] = present ? present->peer_class[slot]
						: default_class(w->set, peer_key->identity);
	r = map_cache_put(w->sync->rules[CACHE_PEERS], key, &peer);
	w->peer_writes += maps_writes(w->sync->maps) - before;
	if (r == 0 && peer.peer_class[slot] != peer_class) {
		w->differs = true;
		r = list_peer(&w->sync->differing, peer_key);
	}
	return r;
}

static int put(enum ruleset_map map, const void *key, const void *value, void *data)
{
	struct writing *w = data;

	if (map == CACHE_PEERS)
		return put_peer(w, key, (uint16_t) * (const uint32_t *)value);
	return map_cache_put(w->sync->rules[map], key, value);
}

/* The header last: nothing points at a set before it is whole. Of one that is in force only the
 * peers should differ. */
static int write_set(struct writing *w, const struct ruleset_reservation *reservation)
{
	uint64_t before = maps_writes(w->sync->maps);
	int r = ruleset_slots_put_cells(w->sync->slots, reservation, w->set);

	if (r == 0)
		r = each_element(w->set, has_table(&reservation->entry), put, w);
	if (r == 0)
		r = ruleset_slots_put(w->sync->slots, reservation);
	if (w->in_force && maps_writes(w->sync->maps) - before != w->peer_writes)
		w->sync->move_owed = true;
	if (r < 0 && !w->in_force)
		ruleset_slots_release(w->sync->slots, reservation);
	return r;
}

/* Into the maps, as it stands now. 0 or -errno; a set that finds no room is a misfit. */
static int put_set(struct policy_sync *sync, const struct compiled_ruleset *set, bool *ret_switch)
{
	struct writing writing = {
		.sync = sync, .set = set, .in_force = ruleset_slots_find(sync->slots, set->id)};
	struct ruleset_reservation reservation;
	int r = find_place(sync, set, &reservation);

	if (r == 0)
		r = write_set(&writing, &reservation);
	*ret_switch |= writing.differs;
	if (r == -E2BIG)
		return add_misfit(sync, set->id);
	if (r == 0)
		drop_misfit(sync, set->id);
	return r;
}

/*
 * An identity that belongs to its set's default class now says so in the other slot; its peer goes
 * with the next pruning. One that went with its pods is left as it is until then: no address has it
 * from this pass on.
 */
static int remove_peer(struct policy_sync *sync, const struct compiled_ruleset *set,
		       const struct ruleset_peer_key *key, bool *ret_switch)
{
	struct map_cache *cache = sync->rules[CACHE_PEERS];
	const struct ruleset_peer *present = map_cache_find(cache, key);
	unsigned int slot = policy_sync_slot(sync);
	struct ruleset_peer peer;
	int r;

	if (!present || !will_be_in_use(sync, key->identity))
		return 0;
	peer = *present;
	peer.peer_class[!slot] = default_class(set, key->identity);
	if (peer.peer_class[!slot] != peer.peer_class[slot]) {
		*ret_switch = true;
		r = list_peer(&sync->differing, key);
		if (r < 0)
			return r;
	}
	r = map_cache_put(cache, key, &peer);
	map_cache_unwant(cache, key);
	return r;
}

/* ---------------------------------------------------------------- what changed */

static int put_change(struct policy_sync *sync, const struct compiled_ruleset *set,
		      const struct peer_change *change, bool *ret_switch)
{
	const struct ruleset_peer_key key = {.ruleset = change->ruleset,
					     .identity = change->identity};
	struct writing writing = {.sync = sync, .set = set, .in_force = true};
	int r = put_peer(&writing, &key, change->peer_class);

	*ret_switch |= writing.differs;
	return r == -E2BIG ? add_misfit(sync, set->id) : r;
}

static int write_change(struct policy_sync *sync, const struct peer_change *change,
			bool *ret_switch)
{
	const struct compiled_ruleset *set =
		policy_compiler_ruleset(sync->compiler, change->ruleset);
	const struct ruleset_peer_key key = {.ruleset = change->ruleset,
					     .identity = change->identity};

	if (set && find_misfit(sync, set->id))
		set = NULL; /* it is looked at as a whole */
	if (change->gone)
		return list_peer(&sync->leaving, &key);
	return set ? put_change(sync, set, change, ret_switch) : 0;
}

static bool is_peer(const struct compiled_ruleset *set, uint32_t identity)
{
	size_t low = 0, high = set ? set->peer_count : 0;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (set->peers[middle].identity == identity)
			return true;
		if (set->peers[middle].identity < identity)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

struct writing_all {
	struct policy_sync *sync;
	bool *ret_switch;
};

/* A peer that its set does not have: what stands there is of before. */
static int leave_stranger(const void *key, const void *value, void *data)
{
	const struct ruleset_peer_key *peer_key = key;
	struct writing_all *all = data;
	const struct compiled_ruleset *set =
		policy_compiler_ruleset(all->sync->compiler, peer_key->ruleset);

	(void)value;
	if (!set || find_misfit(all->sync, set->id) || is_peer(set, peer_key->identity))
		return 0;
	return remove_peer(all->sync, set, peer_key, all->ret_switch);
}

/*
 * What waits for the pruning, of sets that stand: one that goes now, and one whose identity or set
 * went before and is back, while the identity belongs to the default class this time. The list does
 * not hold what was there before all was looked at: until the pruning after that each element may
 * be such a one.
 */
static int leave_classes(struct policy_sync *sync, bool *ret_switch)
{
	struct writing_all all = {.sync = sync, .ret_switch = ret_switch};
	int r = 0;

	for (size_t i = 0; i < sync->leaving.count && r == 0; i++)
		r = leave_stranger(&sync->leaving.keys[i], NULL, &all);
	if (r == 0 && sync->prune_all)
		r = map_cache_each(sync->rules[CACHE_PEERS], leave_stranger, &all);
	return r;
}

/* Has something gone since they found no room, or is one of them another set now? */
static bool may_fit(const struct policy_sync *sync, const struct policy_changes *changes)
{
	if (sync->room)
		return true;
	for (size_t i = 0; sync->misfits && i < changes->peer_count; i++)
		if (find_misfit(sync, changes->peers[i].ruleset))
			return true;
	return false;
}

static int retry_misfits(struct policy_sync *sync, bool *ret_switch)
{
	const struct compiled_ruleset *set;
	struct misfit *misfit, *next;
	int r = 0;

	HASH_ITER (hh, sync->misfits, misfit, next) {
		set = policy_compiler_ruleset(sync->compiler, misfit->ruleset);
		if (!set)
			drop_misfit(sync, misfit->ruleset);
		else if (r == 0)
			r = put_set(sync, set, ret_switch);
	}
	return r;
}

static int write_changes(struct policy_sync *sync, bool *ret_switch, bool *ret_tried)
{
	const struct policy_changes changes = policy_compiler_changes(sync->compiler);
	const struct compiled_ruleset *set;
	size_t i;
	int r = 0;

	*ret_tried = may_fit(sync, &changes);
	if (*ret_tried)
		r = retry_misfits(sync, ret_switch);

	for (i = 0; i < changes.ruleset_count && r == 0; i++) {
		set = policy_compiler_ruleset(sync->compiler, changes.rulesets[i]);
		if (!set)
			continue;
		r = rule_counts_hold(sync->counts, set);
		if (r == 0)
			r = put_set(sync, set, ret_switch);
	}
	for (i = 0; i < changes.peer_count && r == 0; i++)
		r = write_change(sync, &changes.peers[i], ret_switch);
	return r < 0 ? r : leave_classes(sync, ret_switch);
}

/* ---------------------------------------------------------------- all of it */

static int write_one(const struct compiled_ruleset *set, void *data)
{
	struct writing_all *all = data;
	int r = rule_counts_hold(all->sync->counts, set);

	return r < 0 ? r : put_set(all->sync, set, all->ret_switch);
}

/* What went before is found by the next pruning, which looks at all that stands there. */
static int write_all(struct policy_sync *sync, bool *ret_switch)
{
	struct writing_all all = {.sync = sync, .ret_switch = ret_switch};
	struct misfit *misfit, *next;
	int r;

	rule_counts_release_all(sync->counts);
	policy_compiler_bury(sync->compiler);
	HASH_ITER (hh, sync->misfits, misfit, next)
		drop_misfit(sync, misfit->ruleset);
	r = policy_compiler_each_ruleset(sync->compiler, write_one, &all);
	return r < 0 ? r : map_cache_each(sync->rules[CACHE_PEERS], leave_stranger, &all);
}

int rulesets_write(struct policy_sync *sync, bool *ret_switch)
{
	bool tried = true;
	int r = sync->write_all ? write_all(sync, ret_switch)
				: write_changes(sync, ret_switch, &tried);

	if (r < 0)
		return r;
	sync->room = false;
	report_misfits(sync, tried);
	return 0;
}

int rules_differing(const struct policy_sync *sync, bool **ret)
{
	bool *differs;

	*ret = NULL;
	if (!sync->differing.count)
		return 0;
	differs = calloc(maps_get(sync->maps, MAP_RULESETS)->max_entries, sizeof(*differs));
	if (!differs)
		return -ENOMEM;
	for (size_t i = 0; i < sync->differing.count; i++) {
		uint32_t slot = ruleset_slots_find(sync->slots, sync->differing.keys[i].ruleset);

		if (slot)
			differs[slot] = true;
	}
	*ret = differs;
	return 0;
}

/* ---------------------------------------------------------------- both slots alike */

static int sync_peer_slots(struct policy_sync *sync, const struct ruleset_peer_key *key)
{
	struct map_cache *cache = sync->rules[CACHE_PEERS];
	const struct ruleset_peer *present = map_cache_find(cache, key);
	unsigned int slot = policy_sync_slot(sync);
	struct ruleset_peer peer;
	bool is_wanted;
	int r;

	if (!present || present->peer_class[0] == present->peer_class[1])
		return 0;
	is_wanted = map_cache_is_wanted(cache, key);
	peer = *present;
	peer.peer_class[!slot] = peer.peer_class[slot];
	r = map_cache_put(cache, key, &peer);
	if (!is_wanted)
		map_cache_unwant(cache, key);
	return r;
}

static int sync_each_slots(const void *key, const void *value, void *data)
{
	(void)value;
	return sync_peer_slots(data, key);
}

void rulesets_sync_slots(struct policy_sync *sync)
{
	bool failed = false;
	size_t i;

	if (sync->sync_all_slots)
		failed = map_cache_each(sync->rules[CACHE_PEERS], sync_each_slots, sync) < 0;
	for (i = 0; i < sync->differing.count; i++)
		failed |= sync_peer_slots(sync, &sync->differing.keys[i]) < 0;
	sync->differing.count = 0;
	sync->sync_all_slots = failed;
}

/* ---------------------------------------------------------------- what nobody names any more */

struct pruning {
	struct policy_sync *sync;
	size_t deleted;
	int result;
};

static int delete_element(enum ruleset_map map, const void *key, const void *value, void *data)
{
	struct pruning *pruning = data;

	(void)value;
	if (!map_cache_find(pruning->sync->rules[map], key))
		return 0;
	pruning->deleted++;
	return map_cache_delete(pruning->sync->rules[map], key);
}

/* The header first: nothing points at what is half there. */
static int delete_set(const struct compiled_ruleset *set, struct pruning *pruning)
{
	struct policy_sync *sync = pruning->sync;
	uint32_t slot = ruleset_slots_find(sync->slots, set->id);
	bool table = slot && has_table(ruleset_slots_entry(sync->slots, slot));
	int r = ruleset_slots_drop(sync->slots, set->id);

	pruning->deleted += slot != 0;
	if (r == 0)
		r = each_element(set, table, delete_element, pruning);
	return r;
}

static int delete_gone(const struct compiled_ruleset *set, void *data)
{
	struct pruning *pruning = data;

	rule_counts_release(pruning->sync->counts, set);
	drop_misfit(pruning->sync, set->id);
	/* One that fails does not keep others. */
	pruning->result |= delete_set(set, pruning);
	return 0;
}

static void delete_leaving(struct pruning *pruning)
{
	struct policy_sync *sync = pruning->sync;

	for (size_t i = 0; i < sync->leaving.count; i++) {
		const struct ruleset_peer_key *key = &sync->leaving.keys[i];

		/* It may have come back. */
		if (!is_peer(policy_compiler_ruleset(sync->compiler, key->ruleset), key->identity))
			pruning->result |= delete_element(CACHE_PEERS, key, NULL, pruning);
	}
	sync->leaving.count = 0;
}

/* Of those that do not fit, what is left of them. */
static void delete_misfits(struct pruning *pruning)
{
	struct policy_sync *sync = pruning->sync;
	const struct compiled_ruleset *set;
	struct misfit *misfit, *next;

	HASH_ITER (hh, sync->misfits, misfit, next) {
		set = policy_compiler_ruleset(sync->compiler, misfit->ruleset);
		if (!set || misfit->deleted)
			continue;
		misfit->deleted = delete_set(set, pruning) == 0;
		pruning->result |= !misfit->deleted;
	}
}

static int want(enum ruleset_map map, const void *key, const void *value, void *data)
{
	struct policy_sync *sync = data;

	(void)value;
	map_cache_want(sync->rules[map], key);
	return 0;
}

static bool is_wanted(uint32_t number, const void *data)
{
	const struct policy_sync *sync = data;

	return policy_compiler_ruleset(sync->compiler, number) && !find_misfit(sync, number);
}

static int want_set(const struct compiled_ruleset *set, void *data)
{
	struct policy_sync *sync = data;

	if (!find_misfit(sync, set->id))
		ruleset_each_element(sync, set, want, sync);
	return 0;
}

/* All that stands in the maps and is nobody's, whoever wrote it. */
static void prune_everything(struct pruning *pruning)
{
	struct policy_sync *sync = pruning->sync;
	int count = ruleset_slots_prune(sync->slots, is_wanted, sync), map;

	pruning->result |= count < 0;
	pruning->deleted += count > 0;
	for (map = 0; map < RULESET_MAPS; map++)
		map_cache_begin(sync->rules[map]);
	policy_compiler_each_ruleset(sync->compiler, want_set, sync);
	for (map = 0; map < RULESET_MAPS; map++) {
		count = map_cache_prune(sync->rules[map]);
		pruning->result |= count < 0;
		pruning->deleted += count > 0;
	}
}

bool rulesets_prune(struct policy_sync *sync)
{
	struct pruning pruning = {.sync = sync};

	policy_compiler_each_gone(sync->compiler, delete_gone, &pruning);
	policy_compiler_bury(sync->compiler);
	delete_leaving(&pruning);
	delete_misfits(&pruning);
	if (sync->prune_all)
		prune_everything(&pruning);
	/* What could not be deleted is nobody's: the next one looks for it. */
	sync->prune_all = pruning.result != 0;
	sync->room |= pruning.deleted > 0;
	return pruning.deleted > 0;
}

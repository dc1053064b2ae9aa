/* SPDX-License-Identifier: Apache-2.0 */
/* The set of a Service's port in the maps: its row first, then what points at it, then what nobody
 * names. */
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/log.h"
#include "agent/services/services_internal.h"

int leave_reserve(struct services *s, size_t count)
{
	size_t room = s->leftover_count + count + 64;
	struct leftover *grown;

	if (s->leftover_count + count <= s->leftover_room)
		return 0;
	grown = reallocarray(s->leftovers, room, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	s->leftovers = grown;
	s->leftover_room = room;
	return 0;
}

void leave_row(struct services *s, uint32_t first, uint32_t count)
{
	if (!count)
		return;
	assert(s->leftover_count < s->leftover_room);
	s->leftovers[s->leftover_count++] = (struct leftover){first, count};
}

void notify_touched(const struct services *s, const struct polder_addr *addr)
{
	if (s->touched)
		s->touched(addr, s->touched_data);
}

void notify_frontend(struct services *s, const struct service_key *key)
{
	if (addr_is_unspecified(&key->addr))
		s->node_ports_touched = true;
	else
		notify_touched(s, &key->addr);
}

static struct backend_state_key backend_state_key_of(uint32_t id, const struct backend *backend)
{
	return (struct backend_state_key){
		.service_id = id, .addr = backend->addr, .port_be = backend->port_be};
}

static int compare_backends(const void *a, const void *b)
{
	return backend_compare(a, b);
}

/* ---------------------------------------------------------------- what changes */

struct backends {
	const struct backend *items; /* sorted */
	size_t count;
};

static bool holds(const struct backends *list, const struct backend *backend)
{
	return list->count &&
	       bsearch(backend, list->items, list->count, sizeof(*backend), compare_backends);
}

/* The next one of `list` that `other` does not hold, in one walk over both; NULL: no more. */
struct only {
	struct backends list, other;
};

static const struct backend *only_next(struct only *only)
{
	while (only->list.count) {
		const struct backend *item = only->list.items;
		int order = only->other.count ? compare_backends(item, only->other.items) : -1;

		if (order <= 0) {
			only->list.items++;
			only->list.count--;
		}
		if (order >= 0) {
			only->other.items++;
			only->other.count--;
		}
		if (order < 0)
			return item;
	}
	return NULL;
}

/* A frontend's endpoints before and after. */
struct change {
	struct backends active, terminating, silent;
};

static int put_member(struct services *s, uint32_t id, const struct backend *backend,
		      uint32_t state)
{
	const struct backend_state_key key = backend_state_key_of(id, backend);

	return map_cache_put(s->backend_states, &key, &state);
}

/* Those that have become what they are in `to`. */
static int put_backend_states(struct services *s, uint32_t id, const struct change *from,
			      const struct change *to)
{
	struct only active = {to->active, from->active},
		    terminating = {to->terminating, from->terminating};
	const struct backend *backend;
	int r = 0;

	while (r == 0 && (backend = only_next(&active)))
		r = put_member(s, id, backend, BACKEND_ACTIVE);
	while (r == 0 && (backend = only_next(&terminating)))
		r = put_member(s, id, backend, BACKEND_TERMINATING);
	return r;
}

static void drop_from(struct services *s, uint32_t id, struct only only,
		      const struct backends *keep)
{
	const struct backend *backend;

	while ((backend = only_next(&only))) {
		const struct backend_state_key key = backend_state_key_of(id, backend);

		if (!holds(keep, backend))
			map_cache_delete(s->backend_states, &key);
	}
}

/* Those that are in `from` and nothing in `to`. */
static void drop_backend_states(struct services *s, uint32_t id, const struct change *from,
				const struct change *to)
{
	drop_from(s, id, (struct only){from->active, to->active}, &to->terminating);
	drop_from(s, id, (struct only){from->terminating, to->terminating}, &to->active);
}

/* Tells of those that are in `from` and nothing in `to`. */
static void notify_lost_from(const struct services *s, const struct service_key *key,
			     struct only only, const struct backends *keep)
{
	const struct backend *backend;

	while ((backend = only_next(&only)))
		if (!holds(keep, backend))
			s->lost(key, backend, s->lost_data);
}

/* Datagrams leave one that does not serve, once there is another for them. */
static struct backends deserted(const struct change *change)
{
	return change->active.count ? change->silent : (struct backends){};
}

static void notify_lost(const struct services *s, const struct service_key *key,
			const struct change *from, const struct change *to)
{
	if (!s->lost)
		return;
	notify_lost_from(s, key, (struct only){from->active, to->active}, &to->terminating);
	notify_lost_from(s, key, (struct only){from->terminating, to->terminating}, &to->active);
	if (key->proto == IPPROTO_UDP)
		notify_lost_from(s, key, (struct only){deserted(to), deserted(from)},
				 &(struct backends){});
}

/*
 * Of a Service whose endpoints are known: those that go, and those that take new flows no more.
 * Whether datagrams stay with one that terminates depends on whether there is another. A flow to
 * one that stays as it is stays where it is.
 */
static void notify_changed(const struct services *s, const struct change *before,
			   const struct change *after)
{
	bool others = !before->active.count != !after->active.count;
	struct only active = {before->active, after->active},
		    terminating = {before->terminating, after->terminating};
	const struct backend *backend;

	if (others)
		terminating.other = (struct backends){};
	while ((backend = only_next(&active)))
		notify_touched(s, &backend->addr);
	while ((backend = only_next(&terminating)))
		notify_touched(s, &backend->addr);
}

/* The Service begins to keep clients, or ends it: its flows say so. Or others may use it. */
static void notify_all(const struct services *s, const struct change *members)
{
	for (size_t i = 0; i < members->active.count; i++)
		notify_touched(s, &members->active.items[i].addr);
	for (size_t i = 0; i < members->terminating.count; i++)
		notify_touched(s, &members->terminating.items[i].addr);
}

static struct change before_of(const struct service_set *set)
{
	const struct endpoints *e = &set->endpoints;

	return (struct change){{e->active, e->active_count},
			       {e->terminating, e->terminating_count},
			       {e->silent, e->silent_count}};
}

static struct change after_of(const struct endpoints *e)
{
	return (struct change){{e->active, e->active_count},
			       {e->terminating, e->terminating_count},
			       {e->silent, e->silent_count}};
}

/* ---------------------------------------------------------------- sets of a Service */

struct service_set *set_get(struct service_state *w, uint16_t port, uint8_t proto, bool v4,
			    const char *port_name)
{
	struct service_set *begin = w->cursor ? w->cursor : w->sets, *set = begin;

	/* As a rule they are asked for in the order that they stand in. */
	while (set && !(set->port == port && set->proto == proto && set->v4 == v4)) {
		set = set->next ? set->next : w->sets;
		if (set == begin)
			set = NULL;
	}
	if (set) {
		w->cursor = set->next;
		return set;
	}
	set = calloc(1, sizeof(*set));
	if (!set || !(set->port_name = strdup(port_name))) {
		free(set);
		return NULL;
	}
	set->owner = w;
	set->port = port;
	set->proto = proto;
	set->v4 = v4;
	set->next = w->sets;
	w->sets = set;
	return set;
}

void set_free(struct service_set *set)
{
	struct frontend *f;

	while ((f = set->frontends)) {
		set->frontends = f->next;
		free(f);
	}
	endpoints_clear(&set->endpoints);
	free(set->port_name);
	free(set->sources);
	free(set);
}

/* ---------------------------------------------------------------- numbers */

static struct service_set *set_of_id(const struct services *s, uint32_t id)
{
	struct hash_table_item *item = hash_table_find(&s->sets, id);

	return item ? (struct service_set *)((char *)item - offsetof(struct service_set, by_id))
		    : NULL;
}

static int has_id(const void *key, const void *value, void *data)
{
	const struct service_entry *entry = value;

	(void)key;
	return entry->id == *(const uint32_t *)data;
}

/* A number that no Service has; 0 is nobody's. There are fewer Services than numbers. */
static uint32_t new_id(struct services *s)
{
	uint32_t id;

	do {
		id = s->next_id++;
		s->ids_used_up |= !s->next_id;
	} while (!id || (s->ids_used_up &&
			 (set_of_id(s, id) || map_cache_each(s->services, has_id, &id) != 0)));
	return id;
}

/* The number, and the row, that one of its frontends had before the start, and no other set has
 * now. */
static void adopt(struct services *s, struct service_set *set)
{
	const struct service_entry *entry;
	const struct frontend *f;

	for (f = set->frontends; f && !set->id; f = f->next) {
		entry = map_cache_find(s->services, &f->claim->key);
		if (!entry || !entry->id || set_of_id(s, entry->id))
			continue;
		set->id = entry->id;
		inherited_take(s, entry, &set->row);
	}
}

/* 0 or -ENOMEM. */
static int number(struct services *s, struct service_set *set)
{
	if (set->id)
		return 0;
	adopt(s, set);
	if (!set->id)
		set->id = new_id(s);
	if (hash_table_add(&s->sets, &set->by_id, set->id) == 0)
		return 0;
	set->id = 0;
	leave_row(s, set->row.first, set->row.count);
	set->row = (struct set_row){};
	return -ENOMEM;
}

/* ---------------------------------------------------------------- asking */

/*
 * Of what is known, and of what is from before the start. An address that is not in the map may be
 * a node's, with node ports; one that ceased to be may still be in a socket's name.
 */
bool services_has_endpoint(const struct services *s, const struct service_key *service,
			   const struct backend *endpoint)
{
	struct service_key any = *service;
	const struct service_entry *entry = map_cache_find(s->services, service);
	const struct service_set *set;
	struct backend_state_key key;
	struct change now;

	if (!entry) {
		any.addr = addr_unspecified(addr_is_v4(&service->addr));
		entry = map_cache_find(s->services, &any);
	}
	if (!entry)
		return false;
	set = service->proto == IPPROTO_UDP ? set_of_id(s, entry->id) : NULL;
	if (set && set->known) {
		now = before_of(set);
		now.silent = deserted(&now);
		if (holds(&now.silent, endpoint))
			return false;
	}
	key = backend_state_key_of(entry->id, endpoint);
	return map_cache_find(s->backend_states, &key) != NULL;
}

/* ---------------------------------------------------------------- rows */

/* Do these backends stand there already (after a restart, or only others than these have changed)?
 */
static bool row_holds(const struct services *s, const struct set_row *row,
		      const struct endpoints *e)
{
	if (row->count != e->active_count)
		return false;
	for (uint32_t i = 0; i < row->count; i++) {
		const struct backend *backend = maps_element(s->maps, MAP_BACKENDS, row->first + i);

		if (!backend || memcmp(backend, &e->row[i], sizeof(*backend)) != 0)
			return false;
	}
	return true;
}

/* The row as it is, or one that nothing names yet. */
static int row_write(struct services *s, const struct service_set *set, const struct endpoints *e,
		     struct set_row *ret)
{
	struct set_row row = {.first = set->row.first,
			      .count = (uint32_t)e->active_count,
			      .local_only = (uint32_t)e->local_only,
			      .both = (uint32_t)e->both};
	int r = 0;

	if (!row_holds(s, &set->row, e)) {
		r = ranges_take(s->backends, row.count, &row.first);
		if (r < 0)
			return r;
		r = maps_elements_put(s->maps, MAP_BACKENDS, row.first, row.count, e->row);
		if (r < 0)
			ranges_give(s->backends, row.first, row.count);
	}
	if (r == 0)
		*ret = row;
	return r;
}

static bool same_row(const struct set_row *a, const struct set_row *b)
{
	return a->first == b->first && a->count == b->count;
}

static bool same_table(const struct service_table *a, const struct service_table *b)
{
	return a->first == b->first && a->size == b->size;
}

/* Does an entry say the same of both? */
static bool same_place(const struct set_row *a, const struct set_row *b)
{
	return same_row(a, b) && same_table(&a->table, &b->table) &&
	       same_table(&a->local_table, &b->local_table);
}

/* Nothing names the row any more, but its endpoints if they are those of `stays`. */
static void row_leave(struct services *s, const struct set_row *gone, const struct set_row *stays)
{
	if (!same_row(gone, stays))
		leave_row(s, gone->first, gone->count);
	service_tables_give(s->tables, &gone->table);
	service_tables_give(s->tables, &gone->local_table);
}

/* Of some that stand in a row one behind the other. None: 0, -E2BIG or -ERANGE, or where every one
 * is as likely without. */
static int table_take(struct services *s, const struct set_terms *terms, const struct endpoints *e,
		      size_t first, size_t count, struct service_table *ret)
{
	const uint16_t *weights = e->weights ? e->weights + first : NULL;
	bool uneven = false;

	for (size_t i = 1; weights && i < count; i++)
		uneven |= weights[i] != weights[0];
	if (count < 2 || (!uneven && !terms->table))
		return 0;
	return service_tables_take(s->tables, e->row + first, uneven ? weights : NULL, count, ret);
}

/* `*ret_refused`: why it goes without a table, -E2BIG or -ERANGE. 0 or -ENOMEM: it has none. */
static int tables_take(struct services *s, const struct set_terms *terms, const struct endpoints *e,
		       struct set_row *row, int *ret_refused)
{
	int r = table_take(s, terms, e, row->local_only, row->count - row->local_only, &row->table),
	    local = table_take(s, terms, e, 0, row->local_only + row->both, &row->local_table);

	*ret_refused = r < 0 ? r : local;
	if (r != -ENOMEM && local != -ENOMEM)
		return 0;
	service_tables_give(s->tables, &row->table);
	service_tables_give(s->tables, &row->local_table);
	row->table = row->local_table = (struct service_table){};
	return -ENOMEM;
}

/* ---------------------------------------------------------------- entries */

/* What an entry says of the set and its row: the one place that does. */
static void entry_fill(const struct service_set *set, const struct set_row *row,
		       struct service_entry *ret)
{
	ret->id = set->id;
	ret->affinity_seconds = set->affinity_seconds;
	ret->backend_count = row->count - row->local_only;
	ret->backend_first = ret->backend_count ? row->first + row->local_only : 0;
	ret->local_count = row->local_only + row->both;
	ret->local_first = ret->local_count ? row->first : 0;
	ret->table_first = row->table.first;
	ret->table_size = row->table.size;
	ret->local_table_first = row->local_table.first;
	ret->local_table_size = row->local_table.size;
}

/* Does a flow by the one go elsewhere, or by other rules, than by the other, whatever endpoints
 * there are? */
static bool leads_elsewhere(const struct service_entry *a, const struct service_entry *b)
{
	return a->id != b->id || a->flags != b->flags;
}

static int entry_write(struct services *s, struct service_set *set, struct frontend *f,
		       const struct set_row *row)
{
	const struct service_entry *present = map_cache_find(s->services, &f->claim->key);
	struct service_entry entry = {.flags = f->flags};
	bool changes;
	int r;

	entry_fill(set, row, &entry);
	/* Of one from before the start it is not known which endpoints it had. */
	changes = !present || leads_elsewhere(present, &entry) ||
		  (!set->known && memcmp(present, &entry, sizeof(entry)) != 0);
	r = map_cache_put(s->services, &f->claim->key, &entry);
	if (r < 0)
		return r;
	s->frontend_count += !f->written;
	f->written = true;
	if (changes)
		notify_frontend(s, &f->claim->key);
	return 0;
}

/* Back to the row of before, after a failure: these entries are there, so no room is needed. False:
 * some may still name the new one. */
static bool entries_undo(struct services *s, struct service_set *set)
{
	struct frontend *f;
	bool undone = true;

	for (f = set->frontends; f; f = f->next)
		if (f->wanted && f->written)
			undone &= entry_write(s, set, f, &set->row) == 0;
	return undone;
}

/* First those that stand there: they need no room. `*ret_full`: one had none. */
static int entries_write(struct services *s, struct service_set *set, const struct set_row *row,
			 bool *ret_full)
{
	struct frontend *f;
	int r = 0;

	for (f = set->frontends; f && r == 0; f = f->next)
		if (f->wanted && f->written)
			r = entry_write(s, set, f, row);
	for (f = set->frontends; f && r == 0; f = f->next) {
		if (f->wanted && !f->written)
			r = entry_write(s, set, f, row);
		if (r != -E2BIG)
			continue;
		*ret_full = true;
		r = 0;
	}
	return r;
}

/* ---------------------------------------------------------------- a change of endpoints */

/* Takes back what a set that does not fit has put already. */
static void undo_backend_states(struct services *s, const struct service_set *set,
				const struct change *before, const struct change *after)
{
	/* Nobody can have a flow to an endpoint that was never in force; what stood before the
	 * agent's start stays. */
	if (!set->known && set->row.count)
		return;
	drop_backend_states(s, set->id, after, before);
	/* They stood there: no room is needed. */
	(void)put_backend_states(s, set->id, after, before);
}

void set_notify_left(const struct services *s, const struct service_set *set,
		     const struct service_key *key)
{
	const struct change before = before_of(set), after = {};

	notify_lost(s, key, &before, &after);
}

/* Who is concerned, after the maps have been written. */
static void notify_change(const struct services *s, const struct service_set *set,
			  const struct change *before, const struct change *after)
{
	const struct frontend *f;

	for (f = set->frontends; f; f = f->next)
		if (f->written)
			notify_lost(s, &f->claim->key, before, after);
	if (set->known)
		notify_changed(s, before, after);
}

/* The set has these from now on. */
static void take(struct services *s, struct service_set *set, const struct set_row *row,
		 struct endpoints *e)
{
	s->backend_count += e->active_count - set->endpoints.active_count;
	endpoints_clear(&set->endpoints);
	set->endpoints = *e;
	set->row = *row;
	set->known = true;
	*e = (struct endpoints){};
}

/* A load balancer's addresses whose sources found no room are not served at all. */
static void leave_out_balancer(struct service_set *set)
{
	struct frontend *f;

	for (f = set->frontends; f; f = f->next)
		if (f->kind == SERVICE_KIND_LOAD_BALANCER)
			f->wanted = false;
}

/* Row, tables and states are written. 0 or -errno: the entries are as they were, or both rows are
 * kept. */
static int set_enter(struct services *s, struct service_set *set, const struct set_row *row,
		     bool *ret_full)
{
	int r = entries_write(s, set, row, ret_full);

	if (r == 0)
		row_leave(s, &set->row, row);
	else if (same_place(row, &set->row) || (set->known && entries_undo(s, set)))
		row_leave(s, row, &set->row);
	else
		log_error("services",
			  "Service %s/%s: its entries in map services could not be written (%s), "
			  "nor put back: backends %u to %u stay taken until polderd is restarted",
			  set->owner->namespace, set->owner->name, strerror(-r), row->first,
			  row->first + row->count - 1);
	return r;
}

/* The row and the states of the endpoints. */
static int set_prepare(struct services *s, struct service_set *set, const struct endpoints *e,
		       struct set_row *ret_row, const char **full)
{
	const struct change before = before_of(set), after = after_of(e);
	int r = leave_reserve(s, 2);

	if (r == 0)
		r = number(s, set);
	*full = "backends";
	if (r == 0)
		r = row_write(s, set, e, ret_row);
	if (r < 0)
		return r;
	*full = "backend_states";
	r = put_backend_states(s, set->id, &before, &after);
	if (r == 0)
		return 0;
	if (!same_row(ret_row, &set->row))
		ranges_give(s->backends, ret_row->first, ret_row->count);
	undo_backend_states(s, set, &before, &after);
	return r;
}

int set_apply(struct services *s, struct service_set *set, struct endpoints *e,
	      const struct set_terms *terms, const char **full)
{
	const struct change before = before_of(set), after = after_of(e);
	const bool concerns_all = !set->affinity_seconds != !terms->affinity_seconds ||
				  !sources_are_in_force(set, terms->sources, terms->source_count);
	struct set_terms kept = *terms;
	struct set_row row = {};
	bool entries_full = false, sources_full;
	int r = set_prepare(s, set, e, &row, full);

	if (r < 0)
		return r;
	r = tables_take(s, terms, e, &row, &set->table_refused);
	if (r == 0)
		r = sources_add(s, set, terms->sources, terms->source_count);
	sources_full = r == -E2BIG;
	if (sources_full) {
		leave_out_balancer(set);
		kept.source_count = 0;
		r = 0;
	}
	s->affinity_left |= set->affinity_seconds && !terms->affinity_seconds;
	set->affinity_seconds = terms->affinity_seconds;
	if (r == 0)
		r = set_enter(s, set, &row, &entries_full);
	else
		row_leave(s, &row, &set->row);
	if (r < 0) {
		undo_backend_states(s, set, &before, &after);
		return r;
	}
	drop_backend_states(s, set->id, &before, &after);
	notify_change(s, set, &before, &after);
	if (concerns_all && set->known)
		notify_all(s, &before);
	take(s, set, &row, e);
	*full = sources_full ? "service_sources" : "services";
	r = sources_settle(s, set, kept.sources, kept.source_count);
	return r == 0 && (entries_full || sources_full) ? -E2BIG : r;
}

void set_remove(struct services *s, struct service_set *set)
{
	const struct change before = before_of(set), after = {};
	struct service_set **at;

	assert(!set->frontends);
	s->affinity_left |= set->affinity_seconds != 0;
	row_leave(s, &set->row, &(struct set_row){});
	drop_backend_states(s, set->id, &before, &after);
	sources_remove(s, set);
	s->backend_count -= set->endpoints.active_count;
	if (set->id)
		hash_table_remove(&s->sets, &set->by_id);
	for (at = &set->owner->sets; *at != set; at = &(*at)->next)
		;
	*at = set->next;
	set_free(set);
}

/* ---------------------------------------------------------------- affinity */

static bool has_affinity(const struct services *s, uint32_t id)
{
	const struct service_set *set = set_of_id(s, id);

	return set && set->affinity_seconds;
}

/* Which clients have an endpoint of what has affinity no more. The programs write them as long as
 * they find such an entry, so they have ended. What cannot be read now is left for the next one. */
void sets_forget_clients(struct services *s)
{
	struct service_affinity_key *keys = NULL;
	void *dumped = NULL, *values = NULL;
	size_t count = 0;

	if (!s->affinity_left || maps_dump(s->maps, MAP_SERVICE_AFFINITY, &dumped, &values, &count))
		return;
	keys = dumped;
	s->affinity_left = false;
	for (size_t i = 0; i < count; i++)
		if (!has_affinity(s, keys[i].service_id))
			s->affinity_left |=
				maps_delete(s->maps, MAP_SERVICE_AFFINITY, &keys[i]) < 0;
	free(dumped);
	free(values);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* One address and port of a Service in the maps: backends first, then what points at them, then
 * what nobody names. */
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "agent/services/services_internal.h"

void frontend_free(struct frontend *f)
{
	free(f->port_name);
	free(f->active);
	free(f->terminating);
	free(f->silent);
	free(f);
}

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

void leave_backends(struct services *s, const struct service_entry *entry)
{
	if (!entry->backend_count)
		return;
	assert(s->leftover_count < s->leftover_room);
	s->leftovers[s->leftover_count++] =
		(struct leftover){entry->backend_first, entry->backend_count};
}

static void notify_touched(const struct services *s, const struct polder_addr *addr)
{
	if (s->touched)
		s->touched(addr, s->touched_data);
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

/* Do these backends stand there already (after a restart, or only others than these have changed)?
 */
static bool set_holds(const struct services *s, const struct service_entry *entry,
		      const struct endpoints *e)
{
	uint32_t i;

	if (entry->backend_count != e->active_count)
		return false;
	for (i = 0; i < entry->backend_count; i++) {
		const struct backend *backend =
			maps_element(s->maps, MAP_BACKENDS, entry->backend_first + i);

		if (!backend || memcmp(backend, &e->active[i], sizeof(*backend)) != 0)
			return false;
	}
	return true;
}

/* Into a range of their own, which nothing names yet. */
static int put_backends(struct services *s, const struct endpoints *e, uint32_t *ret_first)
{
	uint32_t first;
	int r = ranges_take(s->backends, e->active_count, &first);

	if (r < 0)
		return r;
	r = maps_elements_put(s->maps, MAP_BACKENDS, first, e->active_count, e->active);
	if (r < 0)
		ranges_give(s->backends, first, e->active_count);
	else
		*ret_first = first;
	return r;
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

static struct change before_of(const struct frontend *f)
{
	return (struct change){{f->active, f->active_count},
			       {f->terminating, f->terminating_count},
			       {f->silent, f->silent_count}};
}

static struct change after_of(const struct endpoints *e)
{
	return (struct change){{e->active, e->active_count},
			       {e->terminating, e->terminating_count},
			       {e->silent, e->silent_count}};
}

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

static const struct frontend *frontend_find(const struct services *s, const struct service_key *key)
{
	const struct frontend *f = NULL;
	const struct claim *c;

	HASH_FIND(hh, s->claims, key, sizeof(*key), c);
	if (c)
		for (f = c->owner->frontends; f && memcmp(&f->key, key, sizeof(*key)) != 0;)
			f = f->next;
	return f;
}

bool services_has_endpoint(const struct services *s, const struct service_key *service,
			   const struct backend *endpoint)
{
	const struct service_entry *entry = map_cache_find(s->services, service);
	const struct frontend *f = service->proto == IPPROTO_UDP ? frontend_find(s, service) : NULL;
	struct backend_state_key key;
	struct change now;

	if (!entry)
		return false;
	if (f) {
		now = before_of(f);
		now.silent = deserted(&now);
		if (holds(&now.silent, endpoint))
			return false;
	}
	key = backend_state_key_of(entry->id, endpoint);
	return map_cache_find(s->backend_states, &key) != NULL;
}

static bool endpoints_same(const struct frontend *f, const struct endpoints *e)
{
	return f->active_count == e->active_count && f->terminating_count == e->terminating_count &&
	       memcmp(f->active, e->active, e->active_count * sizeof(*e->active)) == 0 &&
	       memcmp(f->terminating, e->terminating,
		      e->terminating_count * sizeof(*e->terminating)) == 0 &&
	       f->silent_count == e->silent_count &&
	       memcmp(f->silent, e->silent, e->silent_count * sizeof(*e->silent)) == 0;
}

/* Takes back what a frontend that does not fit has put already. */
static void undo_backend_states(struct services *s, const struct frontend *f,
				const struct service_entry *entry, const struct change *before,
				const struct change *after)
{
	/* Nobody can have a flow to an endpoint that was never in force; what stood before the
	 * agent's start stays. */
	if (!f->active && map_cache_find(s->services, &f->key))
		return;
	drop_backend_states(s, entry->id, after, before);
	/* They stood there: no room is needed. */
	(void)put_backend_states(s, entry->id, after, before);
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

/* The frontend has these from now on. */
static void take(struct services *s, struct frontend *f, const struct service_entry *entry,
		 struct endpoints *e)
{
	f->entry = *entry;
	s->backend_count += e->active_count - f->active_count;
	free(f->active);
	free(f->terminating);
	free(f->silent);
	f->active = e->active;
	f->active_count = e->active_count;
	f->terminating = e->terminating;
	f->terminating_count = e->terminating_count;
	f->silent = e->silent;
	f->silent_count = e->silent_count;
	*e = (struct endpoints){};
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
	} while (!id || (s->ids_used_up && map_cache_each(s->services, has_id, &id) != 0));
	return id;
}

/* Takes the endpoints' arrays on success. 0, -E2BIG with the map's name in `full`, -errno. */
int frontend_apply(struct services *s, struct frontend *f, struct endpoints *e, const char **full)
{
	const struct service_entry *present = map_cache_find(s->services, &f->key);
	const struct change before = before_of(f), after = after_of(e);
	struct service_entry entry = {.backend_count = e->active_count}, old = {};
	bool keep = false, appeared;
	int r;

	if (f->active && present && endpoints_same(f, e)) {
		endpoints_clear(e);
		return 0;
	}
	r = leave_reserve(s, 1);
	if (r < 0)
		return r;
	if (present)
		keep = set_holds(s, present, e);
	entry.id = present ? present->id : new_id(s);
	*full = "backends";
	if (keep)
		entry.backend_first = present->backend_first;
	else if ((r = put_backends(s, e, &entry.backend_first)) < 0)
		return r;
	*full = "backend_states";
	r = put_backend_states(s, entry.id, &before, &after);
	if (r < 0)
		goto undo;
	/* Or it is not known which endpoints it had. */
	appeared = !f->active && (!present || memcmp(present, &entry, sizeof(entry)) != 0);
	*full = "services";
	if (present)
		old = *present;
	r = map_cache_put(s->services, &f->key, &entry);
	if (r < 0)
		goto undo;
	if (present && !keep)
		leave_backends(s, &old);
	drop_backend_states(s, entry.id, &before, &after);
	notify_lost(s, &f->key, &before, &after);
	if (appeared)
		notify_touched(s, &f->key.addr);
	else if (f->active)
		notify_changed(s, &before, &after);
	take(s, f, &entry, e);
	return 0;
undo:
	if (!keep)
		ranges_give(s->backends, entry.backend_first, entry.backend_count);
	undo_backend_states(s, f, &entry, &before, &after);
	return r;
}

int claim_take(struct services *s, const struct service_key *key, struct service_state *owner)
{
	struct claim *c;

	HASH_FIND(hh, s->claims, key, sizeof(*key), c);
	if (c && c->owner != owner)
		return -EEXIST;
	if (!c) {
		c = calloc(1, sizeof(*c));
		if (!c)
			return -ENOMEM;
		c->key = *key;
		c->owner = owner;
		HASH_ADD(hh, s->claims, key, sizeof(c->key), c);
		if (!HASH_ADDED(hh, c)) {
			free(c);
			return -ENOMEM;
		}
	}
	c->count++;
	return 0;
}

void claim_drop(struct services *s, const struct service_key *key)
{
	struct claim *c;

	HASH_FIND(hh, s->claims, key, sizeof(*key), c);
	if (!c || --c->count)
		return;
	HASH_DEL(s->claims, c);
	free(c);
	s->freed = true;
}

void frontend_remove(struct services *s, struct frontend *f)
{
	const struct service_entry *entry = map_cache_find(s->services, &f->key);
	const struct change before = before_of(f), after = {};
	struct polder_addr addr = f->key.addr;

	if (entry)
		leave_backends(s, entry);
	drop_backend_states(s, f->entry.id, &before, &after);
	map_cache_delete(s->services, &f->key);
	notify_lost(s, &f->key, &before, &after);
	s->backend_count -= f->active_count;
	s->frontend_count--;
	claim_drop(s, &f->key);
	frontend_free(f);
	notify_touched(s, &addr);
}

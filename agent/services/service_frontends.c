/* SPDX-License-Identifier: Apache-2.0 */
/* One address and port of a Service in the maps: backends first, then what points at them, then
 * what nobody names. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/services/services_internal.h"

void frontend_free(struct frontend *f)
{
	free(f->port_name);
	free(f->active);
	free(f->terminating);
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
	return memcmp(a, b, sizeof(struct backend));
}

/* endpoints_collect() has sorted them. */
static bool holds(const struct backend *list, size_t count, const struct backend *backend)
{
	return count && bsearch(backend, list, count, sizeof(*list), compare_backends);
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
	uint32_t first, i;
	int r = ranges_take(s->backends, e->active_count, &first);

	if (r < 0)
		return r;
	for (i = 0; i < e->active_count && r == 0; i++)
		r = maps_element_put(s->maps, MAP_BACKENDS, first + i, &e->active[i]);
	if (r < 0)
		ranges_give(s->backends, first, e->active_count);
	else
		*ret_first = first;
	return r;
}

static int put_backend_states(struct services *s, uint32_t id, const struct endpoints *e)
{
	const uint32_t active = BACKEND_ACTIVE, terminating = BACKEND_TERMINATING;
	struct backend_state_key key;
	size_t i;
	int r = 0;

	for (i = 0; i < e->active_count && r == 0; i++) {
		key = backend_state_key_of(id, &e->active[i]);
		r = map_cache_put(s->backend_states, &key, &active);
	}
	for (i = 0; i < e->terminating_count && r == 0; i++) {
		key = backend_state_key_of(id, &e->terminating[i]);
		r = map_cache_put(s->backend_states, &key, &terminating);
	}
	return r;
}

static bool endpoints_same(const struct frontend *f, const struct endpoints *e)
{
	return f->active_count == e->active_count && f->terminating_count == e->terminating_count &&
	       memcmp(f->active, e->active, e->active_count * sizeof(*e->active)) == 0 &&
	       memcmp(f->terminating, e->terminating,
		      e->terminating_count * sizeof(*e->terminating)) == 0;
}

static void drop_backend_states(struct services *s, uint32_t id, const struct backend *list,
				size_t count, const struct endpoints *keep)
{
	struct backend_state_key key;
	size_t i;

	for (i = 0; i < count; i++) {
		if (keep && (holds(keep->active, keep->active_count, &list[i]) ||
			     holds(keep->terminating, keep->terminating_count, &list[i])))
			continue;
		key = backend_state_key_of(id, &list[i]);
		map_cache_delete(s->backend_states, &key);
	}
}

/* Takes back what a frontend that does not fit has put already. */
static void undo_backend_states(struct services *s, const struct frontend *f,
				const struct service_entry *entry, const struct endpoints *e)
{
	const struct endpoints old = {.active = f->active,
				      .active_count = f->active_count,
				      .terminating = f->terminating,
				      .terminating_count = f->terminating_count};

	ranges_give(s->backends, entry->backend_first, entry->backend_count);
	/* Nobody can have a flow to an endpoint that was never in force; what stood before the
	 * agent's start stays. */
	if (f->active || !map_cache_find(s->services, &f->key)) {
		drop_backend_states(s, entry->id, e->active, e->active_count, &old);
		drop_backend_states(s, entry->id, e->terminating, e->terminating_count, &old);
	}
}

/*
 * Of a Service whose endpoints are known: those that go, and those that take new flows no more.
 * Whether datagrams stay with one that terminates depends on whether there is another. A flow to
 * one that stays as it is stays where it is.
 */
static void notify_changed(const struct services *s, const struct frontend *f,
			   const struct endpoints *e)
{
	bool others = !f->active_count != !e->active_count;
	size_t i;

	for (i = 0; i < f->active_count; i++)
		if (!holds(e->active, e->active_count, &f->active[i]))
			notify_touched(s, &f->active[i].addr);
	for (i = 0; i < f->terminating_count; i++)
		if (others || !holds(e->terminating, e->terminating_count, &f->terminating[i]))
			notify_touched(s, &f->terminating[i].addr);
}

/* Takes the endpoints' arrays on success. 0, -E2BIG with the map's name in `full`, -errno. */
int frontend_apply(struct services *s, struct frontend *f, struct endpoints *e, const char **full)
{
	const struct service_entry *present = map_cache_find(s->services, &f->key);
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
	entry.id = present ? present->id : s->next_id++;
	*full = "backends";
	if (keep)
		entry.backend_first = present->backend_first;
	else if ((r = put_backends(s, e, &entry.backend_first)) < 0)
		return r;
	*full = "backend_states";
	r = put_backend_states(s, entry.id, e);
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
	drop_backend_states(s, entry.id, f->active, f->active_count, e);
	drop_backend_states(s, entry.id, f->terminating, f->terminating_count, e);
	if (appeared)
		notify_touched(s, &f->key.addr);
	else if (f->active)
		notify_changed(s, f, e);
	f->entry = entry;
	s->backend_count += e->active_count - f->active_count;
	free(f->active);
	free(f->terminating);
	f->active = e->active;
	f->active_count = e->active_count;
	f->terminating = e->terminating;
	f->terminating_count = e->terminating_count;
	*e = (struct endpoints){};
	return 0;
undo:
	if (!keep)
		undo_backend_states(s, f, &entry, e);
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
	struct polder_addr addr = f->key.addr;

	if (entry)
		leave_backends(s, entry);
	drop_backend_states(s, f->entry.id, f->active, f->active_count, NULL);
	drop_backend_states(s, f->entry.id, f->terminating, f->terminating_count, NULL);
	map_cache_delete(s->services, &f->key);
	s->backend_count -= f->active_count;
	s->frontend_count--;
	claim_drop(s, &f->key);
	frontend_free(f);
	notify_touched(s, &addr);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/services/services.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/services/services_internal.h"

/* Changes of who has an address concern others, whose changes may concern others again. */
#define ROUNDS_MAX 8

static int open_maps(struct services *s)
{
	int r;

	if ((r = map_cache_open(s->maps, MAP_SERVICES, &s->services)) < 0 ||
	    (r = map_cache_open(s->maps, MAP_BACKEND_STATES, &s->backend_states)) < 0 ||
	    (r = map_cache_open(s->maps, MAP_SERVICE_SOURCES, &s->sources)) < 0 ||
	    (r = ranges_new(maps_get(s->maps, MAP_BACKENDS)->max_entries, &s->backends)) < 0 ||
	    (r = service_tables_open(s->maps, s->env.config->maglev_table_size, &s->tables)) < 0 ||
	    (r = sets_inherit(s)) < 0)
		return r;
	map_cache_begin(s->services);
	map_cache_begin(s->backend_states);
	map_cache_begin(s->sources);
	return 0;
}

int services_open(const struct services_env *env, struct services **ret)
{
	struct services *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	*s = (struct services){.env = *env, .maps = env->maps, .store = env->store, .next_id = 1};
	r = open_maps(s);
	if (r < 0) {
		services_close(s);
		return r;
	}
	*ret = s;
	return 0;
}

void services_on_touched(struct services *s, services_touched touched, void *data)
{
	s->touched = touched;
	s->touched_data = data;
}

void services_on_lost(struct services *s, services_lost lost, void *data)
{
	s->lost = lost;
	s->lost_data = data;
}

void services_on_addresses(struct services *s, services_more_addresses more, void *data)
{
	s->more = more;
	s->more_data = data;
}

void services_close(struct services *s)
{
	struct service_state *w, *next;
	struct service_space *space, *next_space;
	struct inherited *i, *next_inherited;

	if (!s)
		return;
	hash_table_clear(&s->sets);
	hash_table_clear(&s->slices);
	HASH_ITER (hh, s->states, w, next) {
		HASH_DEL(s->states, w);
		state_free(w);
	}
	HASH_ITER (hh, s->spaces, space, next_space) {
		HASH_DEL(s->spaces, space);
		free(space);
	}
	HASH_ITER (hh, s->inherited, i, next_inherited) {
		HASH_DEL(s->inherited, i);
		free(i);
	}
	claims_free(s);
	map_cache_close(s->services);
	map_cache_close(s->backend_states);
	map_cache_close(s->sources);
	ranges_free(s->backends);
	service_tables_close(s->tables);
	free(s->leftovers);
	free(s->problems);
	free(s->zone);
	free(s);
}

bool services_dirty(const struct services *s)
{
	return s->dirty != NULL || s->missed;
}

/* ---------------------------------------------------------------- what is refused */

/* NULL: no memory. */
static struct service_problem *problem_new(struct services *s, const struct service_state *w,
					   enum service_problem_kind kind)
{
	struct service_problem *grown =
		reallocarray(s->problems, s->problem_count + 1, sizeof(*grown));

	if (!grown)
		return NULL;
	s->problems = grown;
	s->problems_changed = true;
	grown = &s->problems[s->problem_count++];
	*grown = (struct service_problem){.namespace = w->fixed ? "" : w->namespace,
					  .name = w->fixed ? w->fixed->owner : w->name,
					  .kind = kind};
	return grown;
}

int problem_add(struct services *s, const struct service_state *w, enum service_problem_kind kind,
		const char *format, ...)
{
	struct service_problem *problem = problem_new(s, w, kind);
	va_list arguments;

	if (!problem)
		return -ENOMEM;
	va_start(arguments, format);
	vsnprintf(problem->reason, sizeof(problem->reason), format, arguments);
	va_end(arguments);
	return 0;
}

int problem_add_worded(struct services *s, const struct service_state *w,
		       enum service_problem_kind kind, bool here, const char *everywhere,
		       const char *format, ...)
{
	struct service_problem *problem = problem_new(s, w, kind);
	va_list arguments;

	if (!problem)
		return -ENOMEM;
	problem->here = here;
	snprintf(problem->everywhere, sizeof(problem->everywhere), "%s", everywhere);
	va_start(arguments, format);
	vsnprintf(problem->reason, sizeof(problem->reason), format, arguments);
	va_end(arguments);
	return 0;
}

static bool is_of(const struct service_problem *problem, const struct service_state *w)
{
	return problem->name == (w->fixed ? w->fixed->owner : w->name);
}

void problems_clear_of(struct services *s, const struct service_state *w)
{
	size_t i, kept = 0;

	for (i = 0; i < s->problem_count; i++)
		if (!is_of(&s->problems[i], w))
			s->problems[kept++] = s->problems[i];
	s->problems_changed |= kept != s->problem_count;
	s->problem_count = kept;
}

void mark_refused(struct services *s)
{
	struct service_state *w, *next;
	size_t i;

	if (!s->problem_count)
		return;
	for (i = 0; i < s->problem_count; i++)
		state_mark(s, state_find(s, s->problems[i].namespace, s->problems[i].name));
	HASH_ITER (hh, s->states, w, next)
		if (w->fixed)
			state_mark(s, w);
}

/* ---------------------------------------------------------------- one Service */

static bool is_balanced(const struct object *service)
{
	return service && !service->service.headless &&
	       strcmp(service->service.type, "ExternalName") != 0 &&
	       !labels_get(&service->labels, "service.kubernetes.io/service-proxy-name") &&
	       !labels_get(&service->labels, "service.kubernetes.io/headless");
}

static void begin_state(struct service_state *w)
{
	struct service_set *set;
	struct frontend *f;

	claims_begin(w);
	w->cursor = w->sets;
	w->health_port = 0;
	w->ready_here = 0;
	for (set = w->sets; set; set = set->next) {
		set->wanted = false;
		for (f = set->frontends; f; f = f->next)
			f->wanted = false;
	}
}

/* Its slices, and what it asks for. */
static int apply_wanted(struct services *s, struct service_state *w)
{
	const struct object *service = store_get(s->store, OBJECT_SERVICE, w->namespace, w->name);
	const struct object **slices = NULL;
	struct service_slice *slice;
	size_t count = 0;
	int r = 0;

	if (w->fixed)
		return w->fixed->removed ? 0 : fixed_apply(s, w);
	if (!is_balanced(service))
		return 0;
	for (slice = w->slices; slice; slice = slice->next)
		count++;
	slices = calloc(count + 1, sizeof(*slices));
	if (!slices)
		return -ENOMEM;
	count = 0;
	for (slice = w->slices; slice; slice = slice->next) {
		slices[count] =
			store_get(s->store, OBJECT_ENDPOINT_SLICE, w->namespace, slice->name);
		count += slices[count] != NULL;
	}
	r = service_apply(s, w, service, slices, count);
	free(slices);
	return r;
}

/* Frontends first: nothing names a row that goes. */
static void drop_unwanted(struct services *s, struct service_state *w)
{
	struct service_set *set, *next_set;
	struct frontend *f, *next;

	for (set = w->sets; set; set = next_set) {
		next_set = set->next;
		for (f = set->frontends; f; f = next) {
			next = f->next;
			if (!f->wanted)
				frontend_remove(s, f, false);
		}
		if (!set->wanted)
			set_remove(s, set);
	}
	claims_end(s, w);
}

static int apply_state(struct services *s, struct service_state *w)
{
	uint16_t health_port = w->health_port;
	size_t ready_here = w->ready_here, count = 0;
	struct service_set *set;
	int r;

	problems_clear_of(s, w);
	begin_state(w);
	r = apply_wanted(s, w);
	s->health_changed |=
		w->health_port != health_port || (w->health_port && w->ready_here != ready_here);
	for (set = w->sets; set; set = set->next)
		count++;
	if (r == 0)
		r = leave_reserve(s, count);
	if (r == 0)
		drop_unwanted(s, w);
	return r;
}

/* What could not be done stays dirty. */
static int apply_dirty(struct services *s)
{
	struct service_state *w, *list = s->dirty;
	int r = 0, result;

	s->dirty = NULL;
	while ((w = list)) {
		list = w->next_dirty;
		w->dirty = false;
		result = apply_state(s, w);
		if (result < 0) {
			state_mark(s, w);
			r = result;
		}
		state_drop_idle(s, w);
	}
	return r;
}

/* What could not be deleted, in this run or an earlier one: a Service would be served that is gone,
 * by endpoints that are another's. */
static int settle(struct services *s)
{
	int services = map_cache_settle(s->services), states = map_cache_settle(s->backend_states),
	    sources = map_cache_settle(s->sources);

	return services < 0 ? services : states < 0 ? states : sources;
}

/* An address may have changed hands in this very run, whatever the order. */
static int apply_all(struct services *s)
{
	int r = apply_dirty(s);

	for (int round = 0; r == 0 && round < ROUNDS_MAX; round++) {
		if (s->freed)
			mark_refused(s);
		s->freed = false;
		if (!s->dirty)
			break;
		r = apply_dirty(s);
	}
	return r;
}

int services_apply(struct services *s)
{
	int r, settled;

	s->freed = false;
	r = s->missed ? states_look_at_all(s) : 0;
	if (r == 0)
		r = apply_all(s);
	settled = settle(s);
	addresses_tell_node_ports(s);
	return r < 0 ? r : settled;
}

void services_prune_mark(struct services *s)
{
	/* An entry that could not be deleted may still point at one of them. */
	if (map_cache_owes(s->services)) {
		s->leftover_marked = 0;
		s->affinity_marked = false;
		return;
	}
	s->leftover_marked = s->leftover_count;
	service_tables_prune_mark(s->tables);
	s->affinity_marked = s->affinity_left;
}

static void prune_rows(struct services *s)
{
	for (size_t i = 0; i < s->leftover_marked; i++)
		ranges_give(s->backends, s->leftovers[i].first, s->leftovers[i].count);
	s->leftover_count -= s->leftover_marked;
	memmove(s->leftovers, s->leftovers + s->leftover_marked,
		s->leftover_count * sizeof(*s->leftovers));
	s->leftover_marked = 0;
	if (!s->leftover_count) {
		free(s->leftovers);
		s->leftovers = NULL;
		s->leftover_room = 0;
	}
}

void services_prune(struct services *s)
{
	size_t freed = service_tables_prune(s->tables) + s->leftover_marked;

	if (s->affinity_marked)
		sets_forget_clients(s);
	s->affinity_marked = false;
	if (!freed)
		return;
	mark_refused(s); /* there is room again */
	if (s->leftover_marked)
		prune_rows(s);
}

int services_prune_unknown(struct services *s)
{
	int r = leave_reserve(s, HASH_COUNT(s->inherited)), services, states, sources;

	if (r < 0)
		return r;
	/* What was put since services_open() is wanted; members that were kept are wanted by being
	 * put. */
	sets_disinherit(s);
	s->affinity_left = true; /* of Services that went while nobody looked */
	services = map_cache_prune(s->services);
	states = map_cache_prune(s->backend_states);
	sources = map_cache_prune(s->sources);
	maps_move_generation(s->maps);
	return services < 0 ? services : states < 0 ? states : sources < 0 ? sources : 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/services/services.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/log.h"
#include "agent/services/services_internal.h"

/*
 * An entry of before the start keeps its number and its range of backends. One whose range cannot
 * be its own has no endpoint until the first run has put it right.
 */
static int take_over(const void *key, const void *value, void *data)
{
	struct services *s = data;
	const struct service_entry *entry = value;
	struct service_entry without = *entry;
	int r = ranges_take_at(s->backends, entry->backend_first, entry->backend_count);

	if (entry->id >= s->next_id || s->ids_used_up) {
		s->next_id = entry->id + 1;
		s->ids_used_up |= !s->next_id;
	}
	if (r != -EEXIST && r != -ERANGE)
		return r;
	log_error("services",
		  "map services: Service port %u names backends %u to %llu, which are another's or "
		  "beyond the map's end: "
		  "it has no endpoint until its object has been read",
		  entry->id, entry->backend_first,
		  (unsigned long long)entry->backend_first + entry->backend_count - 1);
	without.backend_first = without.backend_count = 0;
	return map_cache_put(s->services, key, &without);
}

int services_open(struct maps *maps, const struct store *store, service_pods pods, void *data,
		  struct services **ret)
{
	struct services *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	*s = (struct services){
		.maps = maps, .store = store, .pods = pods, .pods_data = data, .next_id = 1};
	if ((r = map_cache_open(maps, MAP_SERVICES, &s->services)) < 0 ||
	    (r = map_cache_open(maps, MAP_BACKEND_STATES, &s->backend_states)) < 0 ||
	    (r = ranges_new(maps_get(maps, MAP_BACKENDS)->max_entries, &s->backends)) < 0 ||
	    (r = map_cache_each(s->services, take_over, s)) < 0) {
		services_close(s);
		return r;
	}
	map_cache_begin(s->services);
	map_cache_begin(s->backend_states);
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

void services_close(struct services *s)
{
	struct service_state *w, *next;
	struct slice_owner *o, *next_owner;
	struct service_space *space, *next_space;
	struct claim *c, *next_claim;

	if (!s)
		return;
	HASH_ITER (hh, s->states, w, next) {
		HASH_DEL(s->states, w);
		state_free(w);
	}
	HASH_ITER (hh, s->spaces, space, next_space) {
		HASH_DEL(s->spaces, space);
		free(space);
	}
	HASH_ITER (hh, s->owners, o, next_owner) {
		HASH_DEL(s->owners, o);
		slice_owner_free(o);
	}
	HASH_ITER (hh, s->claims, c, next_claim) {
		HASH_DEL(s->claims, c);
		free(c);
	}
	map_cache_close(s->services);
	ranges_free(s->backends);
	map_cache_close(s->backend_states);
	free(s->leftovers);
	free(s->problems);
	free(s);
}

bool services_dirty(const struct services *s)
{
	return s->dirty != NULL || s->missed;
}

/* A Service that is refused is tried again when something has been freed: so it must be known. 0 or
 * -ENOMEM. */
static int problem_add(struct services *s, const struct service_state *w, const char *reason)
{
	struct service_problem *grown =
		reallocarray(s->problems, s->problem_count + 1, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	s->problems = grown;
	grown = &s->problems[s->problem_count++];
	*grown = (struct service_problem){.namespace = w->namespace, .name = w->name};
	snprintf(grown->reason, sizeof(grown->reason), "%s", reason);
	return 0;
}

static void problems_clear_of(struct services *s, const struct service_state *w)
{
	size_t i, kept = 0;

	for (i = 0; i < s->problem_count; i++)
		if (s->problems[i].name != w->name)
			s->problems[kept++] = s->problems[i];
	s->problem_count = kept;
}

/* Services that were refused are looked at again. */
static void mark_refused(struct services *s)
{
	size_t i;

	for (i = 0; i < s->problem_count; i++)
		state_mark(s, state_find(s, s->problems[i].namespace, s->problems[i].name));
}

static struct frontend *frontend_get(struct service_state *w, const struct service_key *key)
{
	struct frontend *f;

	for (f = w->frontends; f; f = f->next)
		if (memcmp(&f->key, key, sizeof(*key)) == 0)
			return f;
	return NULL;
}

/* The wanted frontend for a key; a new one takes its claim. 0; -EEXIST: another Service has the
 * address and port; -ENOMEM. */
static int frontend_want(struct services *s, struct service_state *w, const struct service_key *key,
			 const char *port_name, struct frontend **ret)
{
	struct frontend *f = frontend_get(w, key);
	int r;

	if (f) {
		f->wanted = true;
		*ret = f;
		return 0;
	}
	r = claim_take(s, key, w);
	if (r < 0)
		return r;
	f = calloc(1, sizeof(*f));
	if (!f || !(f->port_name = strdup(port_name))) {
		free(f);
		claim_drop(s, key);
		return -ENOMEM;
	}
	f->key = *key;
	f->wanted = true;
	f->next = w->frontends;
	w->frontends = f;
	s->frontend_count++;
	*ret = f;
	return 0;
}

/* What was in force stays. 0 or -ENOMEM. */
static int report_full(struct services *s, const struct service_state *w, const char *full,
		       size_t active, size_t terminating)
{
	const struct map_info *backends = maps_get(s->maps, MAP_BACKENDS),
			      *backend_states = maps_get(s->maps, MAP_BACKEND_STATES);
	char reason[sizeof(s->problems->reason)];

	if (strcmp(full, "backends") == 0)
		snprintf(reason, sizeof(reason),
			 "map backends is full: %u entries, %u used, %u free in a row, %zu needed; "
			 "raise --max-backends",
			 backends->max_entries, ranges_used(s->backends),
			 ranges_longest_free(s->backends), active);
	else if (strcmp(full, "backend_states") == 0)
		snprintf(reason, sizeof(reason),
			 "map backend_states is full: %u entries, %zu used, %zu needed; raise "
			 "--max-backends",
			 backend_states->max_entries, map_cache_count(s->backend_states),
			 active + terminating);
	else
		snprintf(reason, sizeof(reason),
			 "map services is full: %zu entries, all used; raise --max-services",
			 map_cache_count(s->services));
	return problem_add(s, w, reason);
}

static int put_endpoints(struct services *s, struct service_state *w, const struct service_key *key,
			 const char *port_name, struct endpoints *e)
{
	struct frontend *f;
	const char *full = "";
	int r = frontend_want(s, w, key, port_name, &f);

	if (r == -EEXIST)
		r = problem_add(s, w, "another Service has the same address and port");
	else if (r == 0)
		r = frontend_apply(s, f, e, &full);
	if (r == -E2BIG)
		r = report_full(s, w, full, e->active_count, e->terminating_count);
	endpoints_clear(e);
	return r;
}

/* The address itself, whatever the port: an unknown port is refused, nothing leaves the node. */
static int put_address(struct services *s, struct service_state *w, const struct polder_addr *addr)
{
	struct service_key key = {.addr = *addr};
	struct endpoints none = {.active = calloc(1, sizeof(struct backend)),
				 .terminating = calloc(1, sizeof(struct backend)),
				 .silent = calloc(1, sizeof(struct backend))};

	if (!none.active || !none.terminating || !none.silent) {
		endpoints_clear(&none);
		return -ENOMEM;
	}
	return put_endpoints(s, w, &key, "", &none);
}

static int apply_service(struct services *s, struct service_state *w, const struct object *service,
			 const struct object *const *slices, size_t slice_count)
{
	const struct service_pod *pods = NULL;
	size_t pod_count = 0, i, j;
	int r = 0;

	if (!slice_count && service->service.has_selector)
		r = s->pods(w->namespace, &pods, &pod_count, s->pods_data);
	for (i = 0; i < service->service.cluster_ip_count && r == 0; i++) {
		const struct polder_addr *addr = &service->service.cluster_ips[i];

		r = put_address(s, w, addr);
		for (j = 0; j < service->service.port_count && r == 0; j++) {
			const struct service_port *port = &service->service.ports[j];
			struct service_key key = {
				.addr = *addr, .port_be = htons(port->port), .proto = port->proto};
			struct endpoints e = {};

			if (port->proto == IPPROTO_SCTP) {
				r = problem_add(
					s, w,
					"SCTP ports of Services are not supported in this version");
				continue;
			}
			r = endpoints_collect(service, port, addr_is_v4(addr), slices, slice_count,
					      pods, pod_count, &e);
			if (r == 0)
				r = put_endpoints(s, w, &key, port->name, &e);
		}
	}
	return r;
}

static bool is_balanced(const struct object *service)
{
	return service && !service->service.headless &&
	       strcmp(service->service.type, "ExternalName") != 0 &&
	       !labels_get(&service->labels, "service.kubernetes.io/service-proxy-name") &&
	       !labels_get(&service->labels, "service.kubernetes.io/headless");
}

static int apply_state(struct services *s, struct service_state *w)
{
	const struct object *service = store_get(s->store, OBJECT_SERVICE, w->namespace, w->name);
	const struct object **slices = NULL;
	struct slice_name *slice;
	struct frontend *f, **at;
	size_t count = 0;
	int r = 0;

	problems_clear_of(s, w);
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
	for (f = w->frontends; f; f = f->next)
		f->wanted = false;
	if (is_balanced(service))
		r = apply_service(s, w, service, slices, count);
	free(slices);
	for (count = 0, f = w->frontends; f; f = f->next)
		count += !f->wanted;
	if (r == 0)
		r = leave_reserve(s, count);
	for (at = &w->frontends; *at;) {
		f = *at;
		if (f->wanted || r < 0) {
			at = &f->next;
			continue;
		}
		*at = f->next;
		frontend_remove(s, f);
	}
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
	int services = map_cache_settle(s->services), states = map_cache_settle(s->backend_states);

	return services < 0 ? services : states;
}

int services_apply(struct services *s)
{
	int r, settled;

	s->freed = false;
	r = s->missed ? states_look_at_all(s) : 0;
	if (r == 0)
		r = apply_dirty(s);
	/* An address may have changed hands in this very pass, whatever the order. */
	if (r == 0 && s->freed) {
		mark_refused(s);
		r = apply_dirty(s);
	}
	settled = settle(s);
	return r < 0 ? r : settled;
}

void services_prune_mark(struct services *s)
{
	/* An entry that could not be deleted may still point at one of them. */
	s->leftover_marked = map_cache_owes(s->services) ? 0 : s->leftover_count;
}

void services_prune(struct services *s)
{
	size_t i;

	for (i = 0; i < s->leftover_marked; i++)
		ranges_give(s->backends, s->leftovers[i].first, s->leftovers[i].count);
	if (!s->leftover_marked)
		return;
	mark_refused(s); /* there is room again */
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

static int leave_unknown(const void *key, const void *value, void *data)
{
	struct services *s = data;

	/* What is owed has been left already. */
	if (!map_cache_is_wanted(s->services, key) && !map_cache_owes_key(s->services, key))
		leave_backends(s, value);
	return 0;
}

int services_prune_unknown(struct services *s)
{
	int r = leave_reserve(s, map_cache_count(s->services)), services, states;

	if (r < 0)
		return r;
	/* What was put since services_open() is wanted; members that were kept are wanted by being
	 * put. */
	map_cache_each(s->services, leave_unknown, s);
	services = map_cache_prune(s->services);
	states = map_cache_prune(s->backend_states);
	maps_move_generation(s->maps);
	return services < 0 ? services : states < 0 ? states : 0;
}

size_t services_problems(const struct services *s, const struct service_problem **ret)
{
	*ret = s->problems;
	return s->problem_count;
}

void services_each(const struct services *s,
		   void (*visit)(const struct service_view *view, void *data), void *data)
{
	struct service_state *w, *next;
	struct frontend *f;

	HASH_ITER (hh, s->states, w, next) {
		for (f = w->frontends; f; f = f->next) {
			struct service_view view = {.namespace = w->namespace,
						    .name = w->name,
						    .port_name = f->port_name,
						    .key = f->key,
						    .backends = f->active,
						    .backend_count = f->active_count,
						    .terminating = f->terminating,
						    .terminating_count = f->terminating_count};

			if (f->key.port_be)
				visit(&view, data);
		}
	}
}

size_t services_frontend_count(const struct services *s)
{
	return s->frontend_count;
}

size_t services_backends_used(const struct services *s)
{
	return ranges_used(s->backends);
}

size_t services_backend_count(const struct services *s)
{
	return s->backend_count;
}

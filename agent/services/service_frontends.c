/* SPDX-License-Identifier: Apache-2.0 */
/* Where a Service is served: its addresses and node ports, and what each of them is for. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/cleanup.h"
#include "agent/services/services_internal.h"

/* One of a Service's addresses that it gets. */
struct place {
	struct polder_addr addr;
	enum service_kind kind;
};

/* A Service while it is put into effect. */
struct applying {
	struct services *s;
	struct service_state *w;
	const struct object *service;
	struct place *places;
	size_t place_count;
	bool families[2]; /* IPv4, IPv6 */
	uint32_t external_flags;
	struct endpoints_from from;
	bool table; /* endpoints are chosen by tables */
	struct service_weights weights;
	struct prefix *sources[2]; /* by family */
	size_t source_counts[2];
	bool told_foreign;
};

/* ---------------------------------------------------------------- one frontend */

void frontend_remove(struct services *s, struct frontend *f, bool keep_entry)
{
	const struct service_key key = f->claim->key;
	struct frontend **at;

	for (at = &f->set->frontends; *at != f; at = &(*at)->next)
		;
	*at = f->next;
	f->claim->frontend = NULL;
	if (f->written && !keep_entry) {
		map_cache_delete(s->services, &key);
		s->freed = true;
	}
	if (f->written) {
		s->frontend_count--;
		set_notify_left(s, f->set, &key);
		notify_frontend(s, &key);
	}
	free(f);
}

/* The claim is the set's owner's. Another set that had it has it no more. 0 or -ENOMEM. */
static int frontend_want(struct services *s, struct service_set *set, struct claim *claim,
			 enum service_kind kind, uint32_t flags)
{
	struct frontend *f = claim->frontend;

	if (f && f->set != set) {
		state_mark(s, f->set->owner == set->owner ? NULL : f->set->owner);
		frontend_remove(s, f, true);
		f = NULL;
	}
	if (!f) {
		f = calloc(1, sizeof(*f));
		if (!f)
			return -ENOMEM;
		*f = (struct frontend){.claim = claim, .set = set, .next = set->frontends};
		set->frontends = claim->frontend = f;
	}
	f->kind = kind;
	f->flags = flags;
	f->wanted = true;
	return 0;
}

static const char *protocol_name(uint8_t proto)
{
	return proto == IPPROTO_TCP ? "TCP" : proto == IPPROTO_UDP ? "UDP" : "SCTP";
}

static const char *owner_text(const struct service_state *w, char *buffer, size_t size)
{
	if (w->fixed)
		snprintf(buffer, size, "%s", w->fixed->owner);
	else
		snprintf(buffer, size, "Service %s/%s", w->namespace, w->name);
	return buffer;
}

static const char *key_text(const struct service_key *key, char *buffer, size_t size)
{
	char text[INET6_ADDRSTRLEN];

	snprintf(buffer, size, "port %u/%s of %s", ntohs(key->port_be), protocol_name(key->proto),
		 addr_is_unspecified(&key->addr) ? "the nodes" : addr_format(&key->addr, text));
	return buffer;
}

/* Another one was first. */
static int tell_taken(struct services *s, const struct service_state *w,
		      const struct service_state *winner, const struct service_key *key)
{
	char what[96], who[340], everywhere[SERVICE_REASON_MAX] = "";

	/* Pods with host ports are each node's own. */
	if (winner->fixed)
		snprintf(everywhere, sizeof(everywhere),
			 "%s is the host port of a pod of a node, which is older: not served there "
			 "until that one goes",
			 key_text(key, what, sizeof(what)));
	return problem_add_worded(s, w, SERVICE_PROBLEM_FRONTEND, winner->fixed != NULL, everywhere,
				  "%s is %.120s's, which is older: not served until that one goes",
				  key_text(key, what, sizeof(what)),
				  owner_text(winner, who, sizeof(who)));
}

/* Claims the address and port, and has it lead to the set. 0 or -errno. */
static int serve_at(struct services *s, struct service_set *set, const struct service_key *key,
		    enum service_kind kind, uint32_t flags)
{
	struct service_state *w = set->owner, *winner;
	struct claim *claim;
	int r = claim_want(s, w, key, false, &claim);

	if (r < 0)
		return r;
	winner = claim_winner(s, claim);
	if (winner != w) {
		/* It may not know yet. */
		if (!claim->frontend || claim->frontend->set->owner != winner)
			state_mark(s, winner);
		return tell_taken(s, w, winner, key);
	}
	if (claim->frontend && claim->frontend->wanted && claim->frontend->set->owner == w) {
		char what[96];

		return problem_add(s, w, SERVICE_PROBLEM_FRONTEND,
				   "%s is named twice: the first one counts",
				   key_text(key, what, sizeof(what)));
	}
	return frontend_want(s, set, claim, kind, flags);
}

/* ---------------------------------------------------------------- addresses */

static const char *const fields[SERVICE_KINDS] = {
	[SERVICE_KIND_CLUSTER_IP] = "spec.clusterIPs",
	[SERVICE_KIND_EXTERNAL_IP] = "spec.externalIPs",
	[SERVICE_KIND_LOAD_BALANCER] = "status.loadBalancer.ingress",
};

static int tell_refused(const struct applying *a, const struct polder_addr *addr,
			enum service_kind kind, const struct address_refusal *refusal)
{
	char text[INET6_ADDRSTRLEN], everywhere[SERVICE_REASON_MAX];

	snprintf(everywhere, sizeof(everywhere), "%s: %s is %.160s: not served", fields[kind],
		 addr_format(addr, text), refusal->everywhere);
	return problem_add_worded(a->s, a->w, SERVICE_PROBLEM_FRONTEND, refusal->here, everywhere,
				  "%s: %s is %s: not served", fields[kind], addr_format(addr, text),
				  refusal->reason);
}

static bool has_place(const struct applying *a, const struct polder_addr *addr)
{
	for (size_t i = 0; i < a->place_count; i++)
		if (memcmp(&a->places[i].addr, addr, sizeof(*addr)) == 0)
			return true;
	return false;
}

/* Who has the address, so that the Service may not; NULL: it may. */
static const struct service_state *address_holder(const struct applying *a,
						  const struct claim *claim, enum service_kind kind)
{
	const struct service_state *holder = claim_cluster_ip(a->s, claim);

	return !holder || (holder == a->w && kind == SERVICE_KIND_CLUSTER_IP) ? NULL : holder;
}

static int tell_full(struct services *s, const struct service_state *w)
{
	return problem_add_worded(
		s, w, SERVICE_PROBLEM_ROOM, true,
		"map services of a node is full: raise --max-services",
		"map services is full: %zu entries, all used; raise --max-services",
		map_cache_count(s->services));
}

/* The address and, whatever the port, its entry. 0 or -errno. */
static int take_address(struct applying *a, const struct polder_addr *addr, enum service_kind kind)
{
	const struct service_key key = {.addr = *addr};
	const struct service_state *holder;
	struct address_refusal refusal = {};
	char text[200], who[340];
	struct claim *claim;
	int r;

	r = claim_want(a->s, a->w, &key, kind == SERVICE_KIND_CLUSTER_IP, &claim);
	if (r < 0)
		return r;
	holder = address_holder(a, claim, kind);
	if (holder) {
		snprintf(text, sizeof(text), "the ClusterIP of %.160s",
			 owner_text(holder, who, sizeof(who)));
		address_refuse(&refusal, text);
		return tell_refused(a, addr, kind, &refusal);
	}
	r = address_write(a->s, claim);
	if (r == -E2BIG)
		return tell_full(a->s, a->w);
	if (r < 0)
		return r;
	a->places[a->place_count++] = (struct place){.addr = *addr, .kind = kind};
	return 0;
}

static int add_address(struct applying *a, const struct polder_addr *addr, enum service_kind kind)
{
	struct address_refusal refusal = {};

	if (has_place(a, addr))
		return 0;
	if (address_is_refused(a->s, addr, kind, &refusal))
		return tell_refused(a, addr, kind, &refusal);
	if (!a->families[!addr_is_v4(addr)]) {
		address_refuse(&refusal, "of a family that the Service does not have");
		return tell_refused(a, addr, kind, &refusal);
	}
	return take_address(a, addr, kind);
}

static int add_addresses(struct applying *a, const struct polder_addr *list, size_t count,
			 enum service_kind kind)
{
	int r = 0;

	for (size_t i = 0; i < count && r == 0; i++)
		r = add_address(a, &list[i], kind);
	return r;
}

static bool is_balancer(const struct applying *a)
{
	return strcmp(a->service->service.type, "LoadBalancer") == 0;
}

/* Load balancers' before external ones: of an address that is both, its sources count. */
static int find_places(struct applying *a)
{
	const struct service_object *service = &a->service->service;
	const struct polder_addr *more = NULL;
	size_t more_count =
		is_balancer(a) && a->s->more ? a->s->more(a->service, &more, a->s->more_data) : 0;
	size_t balancers = is_balancer(a) ? service->balancer_ip_count : 0;
	int r;

	a->places = calloc(service->cluster_ip_count + balancers + more_count +
				   service->external_ip_count + 1,
			   sizeof(*a->places));
	if (!a->places)
		return -ENOMEM;
	r = add_addresses(a, service->cluster_ips, service->cluster_ip_count,
			  SERVICE_KIND_CLUSTER_IP);
	if (r == 0)
		r = add_addresses(a, service->balancer_ips, balancers, SERVICE_KIND_LOAD_BALANCER);
	if (r == 0)
		r = add_addresses(a, more, more_count, SERVICE_KIND_LOAD_BALANCER);
	if (r == 0)
		r = add_addresses(a, service->external_ips, service->external_ip_count,
				  SERVICE_KIND_EXTERNAL_IP);
	return r;
}

/* ---------------------------------------------------------------- how it is served */

/* The families of its ClusterIPs; without any those that it asks for, or both. */
static void find_families(struct applying *a)
{
	const struct service_object *service = &a->service->service;
	bool any = service->cluster_ip_count || service->wants_v4 || service->wants_v6;

	for (size_t i = 0; i < service->cluster_ip_count; i++)
		a->families[!addr_is_v4(&service->cluster_ips[i])] = true;
	if (!service->cluster_ip_count) {
		a->families[0] = service->wants_v4 || !any;
		a->families[1] = service->wants_v6 || !any;
	}
}

/* 0 or -ENOMEM. */
static int find_forwarding(struct applying *a, bool *ret_dsr)
{
	const char *text = labels_get(&a->service->service.annotations, "polder.dev/forwarding");

	*ret_dsr = a->s->env.config->forwarding == FORWARDING_DSR;
	if (text && strcmp(text, "snat") == 0)
		*ret_dsr = false;
	else if (text && strcmp(text, "dsr") == 0)
		*ret_dsr = true;
	else if (text)
		return problem_add(a->s, a->w, SERVICE_PROBLEM_ANNOTATION,
				   "annotation polder.dev/forwarding is \"%.32s\", which is not "
				   "known: snat or dsr; %s is used",
				   text, *ret_dsr ? "dsr" : "snat");
	return 0;
}

/* 0 or -ENOMEM. */
static int find_balancing(struct applying *a)
{
	const char *text = labels_get(&a->service->service.annotations, "polder.dev/balancing");

	a->table = a->s->env.config->balancing == BALANCING_MAGLEV;
	if (text && strcmp(text, "random") == 0)
		a->table = false;
	else if (text && strcmp(text, "maglev") == 0)
		a->table = true;
	else if (text)
		return problem_add(a->s, a->w, SERVICE_PROBLEM_ANNOTATION,
				   "annotation polder.dev/balancing is \"%.32s\", which is not "
				   "known: random or maglev; %s is used",
				   text, a->table ? "maglev" : "random");
	return 0;
}

/* 0 or -ENOMEM. */
static int find_weights(struct applying *a)
{
	const char *text = labels_get(&a->service->service.annotations, "polder.dev/weights");
	char reason[200];
	int r = text ? weights_parse(text, &a->weights, reason, sizeof(reason)) : 0;

	return r == -EINVAL
		       ? problem_add(a->s, a->w, SERVICE_PROBLEM_ANNOTATION,
				     "annotation polder.dev/weights: %s; no weight counts", reason)
		       : r;
}

/* 0 or -ENOMEM. */
static int find_sources(struct applying *a)
{
	const struct service_object *service = &a->service->service;

	for (int family = 0; family < 2 && service->source_range_count; family++) {
		a->sources[family] =
			calloc(service->source_range_count, sizeof(*a->sources[family]));
		if (!a->sources[family])
			return -ENOMEM;
	}
	for (size_t i = 0; i < service->source_range_count; i++) {
		int family = !prefix_is_v4(&service->source_ranges[i]);

		a->sources[family][a->source_counts[family]++] = service->source_ranges[i];
	}
	return 0;
}

static int find_terms(struct applying *a)
{
	const struct service_object *service = &a->service->service;
	bool dsr = false;
	int r = find_forwarding(a, &dsr);

	if (r == 0)
		r = find_balancing(a);
	if (r == 0)
		r = find_weights(a);
	if (r == 0)
		r = find_sources(a);
	if (r < 0)
		return r;
	find_families(a);
	a->external_flags = SERVICE_EXTERNAL | (dsr ? SERVICE_DSR : 0) |
			    (service->external_local ? SERVICE_EXTERNAL_LOCAL : 0);
	a->from.splits = service->internal_local || service->external_local;
	a->from.any_zone = dsr;
	a->table |= dsr; /* all nodes have to choose the same one */
	return 0;
}

static uint32_t flags_of(const struct applying *a, enum service_kind kind)
{
	const struct service_object *service = &a->service->service;

	switch (kind) {
	case SERVICE_KIND_CLUSTER_IP:
		return service->internal_local ? SERVICE_INTERNAL_LOCAL : 0;
	case SERVICE_KIND_NODE_PORT:
		return a->external_flags | SERVICE_NODE_PORT;
	case SERVICE_KIND_LOAD_BALANCER:
		return a->external_flags | (service->source_range_count ? SERVICE_SOURCES : 0);
	default:
		return a->external_flags;
	}
}

/* ---------------------------------------------------------------- one port in one family */

static int serve_node_port(struct applying *a, struct service_set *set,
			   const struct service_port *port)
{
	const struct service_key key = {.addr = addr_unspecified(set->v4),
					.port_be = htons(port->node_port),
					.proto = port->proto};
	bool has_node_ports = strcmp(a->service->service.type, "NodePort") == 0 || is_balancer(a);

	return has_node_ports && port->node_port ? serve_at(a->s, set, &key, SERVICE_KIND_NODE_PORT,
							    flags_of(a, SERVICE_KIND_NODE_PORT))
						 : 0;
}

static int serve_everywhere(struct applying *a, struct service_set *set,
			    const struct service_port *port)
{
	int r = 0;

	for (size_t i = 0; i < a->place_count && r == 0; i++) {
		const struct place *place = &a->places[i];
		const struct service_key key = {
			.addr = place->addr, .port_be = htons(port->port), .proto = port->proto};

		if (addr_is_v4(&place->addr) == set->v4)
			r = serve_at(a->s, set, &key, place->kind, flags_of(a, place->kind));
	}
	return r < 0 ? r : serve_node_port(a, set, port);
}

/* 0 or -ENOMEM. */
static int tell_no_room(struct services *s, const struct service_state *w, const char *full,
			const struct endpoints *e)
{
	const struct map_info *backends = maps_get(s->maps, MAP_BACKENDS),
			      *states = maps_get(s->maps, MAP_BACKEND_STATES),
			      *sources = maps_get(s->maps, MAP_SERVICE_SOURCES);

	if (strcmp(full, "backends") == 0)
		return problem_add_worded(
			s, w, SERVICE_PROBLEM_ROOM, true,
			"map backends of a node has no room for its endpoints: raise "
			"--max-backends",
			"map backends is full: %u entries, %u used, %u free in a row, "
			"%zu needed; raise --max-backends",
			backends->max_entries, ranges_used(s->backends),
			ranges_longest_free(s->backends), e->active_count);
	if (strcmp(full, "backend_states") == 0)
		return problem_add_worded(
			s, w, SERVICE_PROBLEM_ROOM, true,
			"map backend_states of a node has no room for its endpoints: raise "
			"--max-backends",
			"map backend_states is full: %u entries, %zu used, %zu needed; "
			"raise --max-backends",
			states->max_entries, map_cache_count(s->backend_states),
			e->active_count + e->terminating_count);
	if (strcmp(full, "service_sources") == 0)
		return problem_add_worded(
			s, w, SERVICE_PROBLEM_ROOM, true,
			"map service_sources of a node has no room for its source ranges: its load "
			"balancer's addresses are not served there; raise --max-service-sources",
			"map service_sources is full: %u entries, %zu used: its load "
			"balancer's addresses are not served; raise "
			"--max-service-sources",
			sources->max_entries, map_cache_count(s->sources));
	return tell_full(s, w);
}

/* 0 or -ENOMEM. */
static int tell_no_table(struct services *s, const struct service_set *set)
{
	const struct service_tables *t = s->tables;

	if (set->table_refused == -ERANGE)
		return problem_add_worded(
			s, set->owner, SERVICE_PROBLEM_ROOM, true,
			"its endpoints are more than the cells of a Maglev table: they are chosen "
			"at random; raise --maglev-table-size",
			"%zu endpoints are more than the %u cells of a Maglev table: "
			"they are chosen at random; raise --maglev-table-size",
			set->endpoints.active_count, service_tables_size(t));
	return problem_add_worded(
		s, set->owner, SERVICE_PROBLEM_ROOM, true,
		"map service_tables of a node has no room for its table: endpoints are chosen at "
		"random there; raise --max-service-cells",
		"map service_tables is full: %u cells, %u used, %u free in a row, %u "
		"needed: endpoints are chosen at random; raise --max-service-cells",
		maps_get(s->maps, MAP_SERVICE_TABLES)->max_entries * SERVICE_CELLS,
		service_tables_elements_used(t) * SERVICE_CELLS,
		service_tables_longest_free(t) * SERVICE_CELLS,
		service_tables_elements(t) * SERVICE_CELLS);
}

static bool has_frontends(const struct service_set *set)
{
	const struct frontend *f;

	for (f = set->frontends; f && !f->wanted; f = f->next)
		;
	return f != NULL;
}

/* Takes the endpoints. */
static int bring_in_force(struct services *s, struct service_set *set, struct endpoints *e,
			  const struct set_terms *terms)
{
	const char *full = "";
	int r = 0;

	if (has_frontends(set))
		r = set_apply(s, set, e, terms, &full);
	if (r == -E2BIG)
		r = tell_no_room(s, set->owner, full, e);
	if (r == 0 && has_frontends(set) && set->table_refused)
		r = tell_no_table(s, set);
	endpoints_clear(e);
	set->wanted = has_frontends(set);
	return r;
}

static int tell_foreign(struct applying *a, const struct endpoints *e)
{
	if (!e->foreign || a->told_foreign)
		return 0;
	a->told_foreign = true;
	return problem_add_worded(a->s, a->w, SERVICE_PROBLEM_ENDPOINTS, false,
				  "endpoints of its slices are pods of another namespace "
				  "(targetRef.namespace): left out",
				  "%zu endpoints of its slices are pods of another namespace "
				  "(targetRef.namespace): left out",
				  e->foreign);
}

static int apply_port(struct applying *a, const struct service_port *port, bool v4)
{
	const struct set_terms terms = {
		.table = a->table,
		.affinity_seconds = a->service->service.affinity_seconds,
		.sources = a->sources[!v4],
		.source_count = is_balancer(a) ? a->source_counts[!v4] : 0,
	};
	struct service_set *set = set_get(a->w, port->port, port->proto, v4, port->name);
	struct endpoints e = {};
	int r = set ? serve_everywhere(a, set, port) : -ENOMEM;

	if (r < 0)
		return r;
	if (has_frontends(set)) {
		r = endpoints_collect(&a->from, port, v4, &e);
		if (r < 0)
			return r;
	}
	if (a->w->ready_here < e.ready_here)
		a->w->ready_here = e.ready_here;
	r = tell_foreign(a, &e);
	if (r < 0) {
		endpoints_clear(&e);
		return r;
	}
	return bring_in_force(a->s, set, &e, &terms);
}

static int apply_ports(struct applying *a)
{
	const struct service_object *service = &a->service->service;
	int r = 0;

	for (int family = 0; family < 2; family++)
		for (size_t i = 0; i < service->port_count && r == 0 && a->families[family]; i++)
			r = apply_port(a, &service->ports[i], family == 0);
	return r;
}

int service_apply(struct services *s, struct service_state *w, const struct object *service,
		  const struct object *const *slices, size_t slice_count)
{
	struct applying a = {
		.s = s,
		.w = w,
		.service = service,
		.from = {.service = service,
			 .slices = slices,
			 .slice_count = slice_count,
			 .store = s->store,
			 .node = s->env.config->node_name,
			 .zone = s->zone,
			 .weights = &a.weights,
			 .is_here = address_is_here,
			 .data = s},
	};
	int r = 0;

	if (!slice_count && service->service.has_selector)
		r = s->env.pods(w->namespace, &a.from.pods, &a.from.pod_count, s->env.pods_data);
	w->health_port = service->service.external_local && is_balancer(&a)
				 ? service->service.health_port
				 : 0;
	if (r == 0)
		r = find_terms(&a);
	if (r == 0)
		r = find_places(&a);
	if (r == 0)
		r = apply_ports(&a);
	free(a.places);
	weights_clear(&a.weights);
	free(a.sources[0]);
	free(a.sources[1]);
	return r;
}

/* ---------------------------------------------------------------- what is no Service */

static int fixed_endpoints(const struct services_fixed *said, struct endpoints *ret)
{
	struct endpoints e = {.active_count = 1, .both = 1};

	if (endpoints_reserve(&e, 1, 0, false) < 0)
		return -ENOMEM;
	e.weights = NULL; /* there is nothing to weigh */
	e.row[0] = said->endpoint;
	*ret = e;
	return 0;
}

int fixed_apply(struct services *s, struct service_state *w)
{
	const struct services_fixed *said = &w->fixed->said;
	const struct set_terms terms = {};
	struct endpoints e = {};
	struct service_set *set = set_get(w, ntohs(said->key.port_be), said->key.proto,
					  addr_is_v4(&said->key.addr), "");
	int r = set ? serve_at(s, set, &said->key, SERVICE_KIND_HOST_PORT, said->flags) : -ENOMEM;

	if (r == 0)
		r = fixed_endpoints(said, &e);
	return r < 0 ? r : bring_in_force(s, set, &e, &terms);
}

void fixed_free(struct fixed *fixed)
{
	if (!fixed)
		return;
	free(fixed->name);
	free(fixed->owner);
	free(fixed);
}

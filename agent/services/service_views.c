/* SPDX-License-Identifier: Apache-2.0 */
/* What is in force, for showing and asking. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "agent/services/services_internal.h"

const char *const service_kind_names[SERVICE_KINDS] = {
	[SERVICE_KIND_CLUSTER_IP] = "ClusterIP",   [SERVICE_KIND_NODE_PORT] = "NodePort",
	[SERVICE_KIND_EXTERNAL_IP] = "ExternalIP", [SERVICE_KIND_LOAD_BALANCER] = "LoadBalancer",
	[SERVICE_KIND_HOST_PORT] = "HostPort",
};

const char *service_hints_use(enum service_hints hints)
{
	return hints == HINTS_NODE ? "node" : hints == HINTS_ZONE ? "zone" : "";
}

const char *service_hints_reason(enum service_hints hints)
{
	static const char *const reasons[HINTS_COUNT] = {
		[HINTS_MISSING] = "a ready endpoint has no hint",
		[HINTS_NOT_HERE] = "no ready endpoint is hinted for this node or its zone",
		[HINTS_NO_ZONE] = "this node has no label topology.kubernetes.io/zone",
		[HINTS_NOBODY_READY] = "no endpoint is ready",
		[HINTS_FORWARDING] = "with dsr all nodes choose among the same endpoints",
	};

	return hints < HINTS_COUNT && reasons[hints] ? reasons[hints] : "";
}

static struct service_view view_of(const struct frontend *f)
{
	const struct service_set *set = f->set;
	const struct endpoints *e = &set->endpoints;
	const struct service_state *w = set->owner;

	return (struct service_view){
		.namespace = w->namespace,
		.name = w->fixed ? w->fixed->owner : w->name,
		.port_name = set->port_name,
		.key = f->claim->key,
		.kind = f->kind,
		.port = set->port,
		.id = set->id,
		.flags = f->flags,
		.affinity_seconds = set->affinity_seconds,
		.backends = e->row + e->local_only,
		.backend_count = e->active_count - e->local_only,
		.local = e->row,
		.local_count = e->local_only + e->both,
		.terminating = e->terminating,
		.terminating_count = e->terminating_count,
		.hints = e->hints,
		.weights = e->weights ? e->weights + e->local_only : NULL,
		.table_size = set->row.table.size,
		.sources = f->flags & SERVICE_SOURCES ? set->sources : NULL,
		.source_count = f->flags & SERVICE_SOURCES ? set->source_count : 0,
	};
}

void services_each(const struct services *s,
		   void (*visit)(const struct service_view *view, void *data), void *data)
{
	struct service_state *w, *next;

	HASH_ITER (hh, s->states, w, next) {
		for (const struct service_set *set = w->sets; set; set = set->next) {
			for (const struct frontend *f = set->frontends; f; f = f->next) {
				const struct service_view view = view_of(f);

				if (f->written)
					visit(&view, data);
			}
		}
	}
}

/* What the programs look up: the address itself, else the node's for all that have node ports. */
static const struct frontend *frontend_find(const struct services *s, const struct service_key *key)
{
	struct service_key any = *key;
	const struct claim *claim = claim_find(s, key);

	if (claim && claim->frontend && claim->frontend->written)
		return claim->frontend;
	if (!node_has_node_ports(s->env.node, s->env.config, &key->addr))
		return NULL;
	any.addr = addr_unspecified(addr_is_v4(&key->addr));
	claim = claim_find(s, &any);
	return claim && claim->frontend && claim->frontend->written ? claim->frontend : NULL;
}

bool services_find(const struct services *s, const struct service_key *key,
		   struct service_view *ret)
{
	const struct frontend *f = frontend_find(s, key);

	if (f)
		*ret = view_of(f);
	return f != NULL;
}

void services_each_health(const struct services *s,
			  void (*visit)(const struct service_health *health, void *data),
			  void *data)
{
	struct service_state *w, *next;

	HASH_ITER (hh, s->states, w, next) {
		const struct service_health health = {.namespace = w->namespace,
						      .name = w->name,
						      .port = w->health_port,
						      .endpoints = w->ready_here};

		if (w->health_port)
			visit(&health, data);
	}
}

bool services_take_health_change(struct services *s)
{
	bool changed = s->health_changed;

	s->health_changed = false;
	return changed;
}

size_t services_problems(const struct services *s, const struct service_problem **ret)
{
	*ret = s->problems;
	return s->problem_count;
}

bool services_take_problem_change(struct services *s)
{
	bool changed = s->problems_changed;

	s->problems_changed = false;
	return changed;
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

size_t services_cells_used(const struct services *s)
{
	return (size_t)service_tables_elements_used(s->tables) * SERVICE_CELLS;
}

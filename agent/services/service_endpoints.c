/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/services/service_endpoints.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "policy/objects/array.h"

/* One endpoint on one port. */
struct candidate {
	struct backend backend;
	bool ready, serving;
	bool here;  /* on this node */
	int weight; /* WEIGHT_NONE: it is not said */
	/* What its hints say. */
	bool names_nodes, names_this_node, names_zones, names_this_zone;
};

struct candidates {
	const struct endpoints_from *from;
	struct candidate *items;
	size_t count, capacity;
	size_t foreign;
};

static int add(struct candidates *c, const struct candidate *candidate)
{
	struct candidate *grown = array_grow(c->items, c->count, &c->capacity, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	c->items = grown;
	c->items[c->count++] = *candidate;
	return 0;
}

/* The slice's port of that name and protocol; 0: none. */
static uint16_t slice_port(const struct slice_object *slice, const struct service_port *port)
{
	size_t i;

	for (i = 0; i < slice->port_count; i++)
		if (slice->ports[i].proto == port->proto &&
		    strcmp(slice->ports[i].name, port->name) == 0)
			return slice->ports[i].port;
	return 0;
}

/* Is the name one of those, which have commas between them? */
static bool names(const char *list, const char *name)
{
	size_t length = strlen(name), one;

	for (; *list; list += one + (list[one] == ',')) {
		one = strcspn(list, ",");
		if (one == length && memcmp(list, name, one) == 0)
			return true;
	}
	return false;
}

static void take_hints(struct candidate *candidate, const struct endpoints_from *from,
		       const struct slice_endpoint *endpoint)
{
	candidate->names_nodes = endpoint->node_hints != NULL;
	candidate->names_this_node =
		endpoint->node_hints && names(endpoint->node_hints, from->node);
	candidate->names_zones = endpoint->zone_hints != NULL;
	candidate->names_this_zone =
		endpoint->zone_hints && from->zone && names(endpoint->zone_hints, from->zone);
}

static bool is_here(const struct endpoints_from *from, const char *node,
		    const struct polder_addr *addr)
{
	return node ? strcmp(node, from->node) == 0 : from->is_here(addr, from->data);
}

static int from_slice(struct candidates *c, const struct service_port *port, bool v4,
		      const struct object *slice)
{
	const struct service_object *service = &c->from->service->service;
	uint16_t number = slice_port(&slice->slice, port);
	int r = 0;

	if (!number || (slice->slice.family == FAMILY_V4) != v4)
		return 0;
	for (size_t i = 0; i < slice->slice.endpoint_count && r == 0; i++) {
		const struct slice_endpoint *e = &slice->slice.endpoints[i];
		/* The API says to use the first address only; others are the same endpoint's. */
		const struct polder_addr *addr = e->address_count ? e->addresses : NULL;
		struct candidate candidate = {
			.ready = e->ready || (service->publish_not_ready && !e->terminating),
			.serving = e->serving,
		};

		if (!addr || addr_is_v4(addr) != v4)
			continue;
		if (e->target_namespace) {
			c->foreign++;
			continue;
		}
		candidate.backend = (struct backend){.addr = *addr, .port_be = htons(number)};
		candidate.here = is_here(c->from, e->node_name, addr);
		candidate.weight = weights_find(c->from->weights, addr, e->target_pod);
		take_hints(&candidate, c->from, e);
		r = add(c, &candidate);
	}
	return r;
}

const char *node_zone(const struct object *node)
{
	const char *zone = node ? labels_get(&node->labels, "topology.kubernetes.io/zone") : NULL;

	return zone && zone[0] ? zone : NULL;
}

/* What the controller of slices would have written, which there are none of. */
static void make_hints(struct candidate *candidate, const struct endpoints_from *from,
		       const char *node)
{
	const struct object *object =
		node && from->store ? store_get(from->store, OBJECT_NODE, "", node) : NULL;
	const char *zone = node_zone(object);
	uint8_t distribution = from->service->service.distribution;

	candidate->names_nodes =
		distribution == DISTRIBUTION_SAME_NODE && (node || candidate->here);
	candidate->names_this_node = candidate->names_nodes && candidate->here;
	candidate->names_zones = distribution != DISTRIBUTION_ANY && zone;
	candidate->names_this_zone =
		candidate->names_zones && from->zone && strcmp(zone, from->zone) == 0;
}

/* targetPort by name is looked up in each pod on its own (SV-03); 0: the pod has no such port. */
static uint16_t pod_port(const struct service_port *port, const struct object *pod)
{
	size_t i;

	if (!port->target_name)
		return port->target_port ? port->target_port : port->port;
	for (i = 0; pod && i < pod->pod.port_count; i++) {
		const struct named_port *p = &pod->pod.ports[i];

		if (p->name && p->proto == port->proto && strcmp(p->name, port->target_name) == 0)
			return p->port;
	}
	return 0;
}

static int from_pod(struct candidates *c, const struct service_port *port, bool v4,
		    const struct service_pod *pod)
{
	const struct object *o = pod->object, *service = c->from->service;
	const char *node = o ? o->pod.node_name : NULL;
	bool ready = !o || o->pod.ready || service->service.publish_not_ready;
	struct candidate candidate = {
		.ready = ready && !(o && o->pod.terminating),
		.serving = ready,
		.here = pod->here || (node && strcmp(node, c->from->node) == 0),
	};
	uint16_t number = pod_port(port, o);

	if (!number || (o && o->pod.finished) ||
	    !selector_matches(&service->service.selector, pod->labels))
		return 0;
	make_hints(&candidate, c->from, node);
	for (size_t i = 0; i < pod->address_count; i++) {
		if (addr_is_v4(&pod->addresses[i]) != v4)
			continue;
		candidate.backend =
			(struct backend){.addr = pod->addresses[i], .port_be = htons(number)};
		candidate.weight =
			weights_find(c->from->weights, &pod->addresses[i], o ? o->name : NULL);
		return add(c, &candidate);
	}
	return 0;
}

struct words {
	uint64_t high, low; /* of the address */
};

static struct words words_of(const struct polder_addr *addr)
{
	struct words words;

	memcpy(&words, addr, sizeof(words));
	return (struct words){be64toh(words.high), be64toh(words.low)};
}

int backend_compare(const struct backend *a, const struct backend *b)
{
	const struct words x = words_of(&a->addr), y = words_of(&b->addr);

	if (x.high != y.high)
		return x.high < y.high ? -1 : 1;
	if (x.low != y.low)
		return x.low < y.low ? -1 : 1;
	return ntohs(a->port_be) - ntohs(b->port_be);
}

static int compare(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;
	int order = backend_compare(&x->backend, &y->backend);

	/* A duplicate across slices counts as its readier copy (SV-03). */
	return order ? order : (y->ready * 2 + y->serving) - (x->ready * 2 + x->serving);
}

/* Whatever the order of the slices: a duplicate is where, and for whom, any copy says. */
static void merge(struct candidate *kept, const struct candidate *copy)
{
	kept->here |= copy->here;
	if (copy->weight > kept->weight)
		kept->weight = copy->weight;
	kept->names_nodes |= copy->names_nodes;
	kept->names_this_node |= copy->names_this_node;
	kept->names_zones |= copy->names_zones;
	kept->names_this_zone |= copy->names_this_zone;
}

/* Sorted, each once. */
static void settle(struct candidates *c)
{
	size_t unique = 0;

	if (c->count)
		qsort(c->items, c->count, sizeof(*c->items), compare);
	for (size_t i = 0; i < c->count; i++) {
		if (unique && memcmp(&c->items[unique - 1].backend, &c->items[i].backend,
				     sizeof(struct backend)) == 0)
			merge(&c->items[unique - 1], &c->items[i]);
		else
			c->items[unique++] = c->items[i];
	}
	c->count = unique;
}

/* ---------------------------------------------------------------- topology */

/* What the hints of the ready endpoints ask for (SV-07): all of them have to have one, and one has
 * to be for here. */
static enum service_hints read_hints(const struct candidates *c)
{
	bool all_nodes = true, this_node = false, all_zones = true, this_zone = false;
	bool any = false, ready = false;

	for (size_t i = 0; i < c->count; i++) {
		const struct candidate *one = &c->items[i];

		any |= one->names_nodes || one->names_zones;
		if (!one->ready)
			continue;
		ready = true;
		all_nodes &= one->names_nodes;
		this_node |= one->names_this_node;
		all_zones &= one->names_zones;
		this_zone |= one->names_this_zone;
	}
	if (!any)
		return HINTS_NONE;
	if (c->from->any_zone)
		return HINTS_FORWARDING;
	if (!ready)
		return HINTS_NOBODY_READY;
	if (all_nodes && this_node)
		return HINTS_NODE;
	if (all_zones && this_zone)
		return HINTS_ZONE;
	if (!all_zones)
		return all_nodes ? HINTS_NOT_HERE : HINTS_MISSING;
	return c->from->zone ? HINTS_NOT_HERE : HINTS_NO_ZONE;
}

static bool is_near(const struct candidate *candidate, enum service_hints hints)
{
	return hints == HINTS_NODE   ? candidate->names_this_node
	       : hints == HINTS_ZONE ? candidate->names_this_zone
				     : true;
}

/* ---------------------------------------------------------------- sets */

/* Which condition takes new flows: ready ones; if there are none, those that still serve while they
 * terminate (SV-06). */
struct choice {
	enum service_hints hints;
	bool any_ready, any_ready_here;
};

static struct choice choose(const struct candidates *c, size_t *ret_ready_here)
{
	struct choice choice = {.hints = read_hints(c)};

	for (size_t i = 0; i < c->count; i++) {
		const struct candidate *one = &c->items[i];

		choice.any_ready |= one->ready;
		choice.any_ready_here |= one->ready && one->here;
		*ret_ready_here += one->ready && one->here;
	}
	return choice;
}

static bool in_cluster_set(const struct candidate *one, const struct choice *choice)
{
	return choice->any_ready ? one->ready && is_near(one, choice->hints) : one->serving;
}

static bool in_local_set(const struct candidates *c, const struct candidate *one,
			 const struct choice *choice)
{
	if (!c->from->splits)
		return one->here && in_cluster_set(one, choice);
	return one->here && (choice->any_ready_here ? one->ready : one->serving);
}

enum part { PART_LOCAL, PART_BOTH, PART_CLUSTER, PART_NONE };

static enum part part_of(const struct candidates *c, const struct candidate *one,
			 const struct choice *choice)
{
	bool cluster = in_cluster_set(one, choice), local = in_local_set(c, one, choice);

	return cluster && local ? PART_BOTH
	       : cluster	? PART_CLUSTER
	       : local		? PART_LOCAL
				: PART_NONE;
}

int endpoints_reserve(struct endpoints *e, size_t active, size_t others, bool in_parts)
{
	size_t backends = (in_parts ? 2 : 1) * active + 2 * others;

	e->row = calloc(1, backends * sizeof(*e->row) + active * sizeof(*e->weights) + 1);
	if (!e->row)
		return -ENOMEM;
	e->active = in_parts ? e->row + active : e->row;
	e->terminating = e->active + active;
	e->silent = e->terminating + others;
	e->weights = (uint16_t *)(e->silent + others);
	return 0;
}

/* Then those that take new flows stand in another order in the row. */
static bool is_in_parts(const size_t counts[])
{
	return !!counts[PART_LOCAL] + !!counts[PART_BOTH] + !!counts[PART_CLUSTER] > 1;
}

static int split(const struct candidates *c, struct endpoints *e)
{
	struct choice choice = choose(c, &e->ready_here);
	size_t counts[PART_NONE + 1] = {}, places[PART_NONE];

	for (size_t i = 0; i < c->count; i++)
		counts[part_of(c, &c->items[i], &choice)]++;
	if (endpoints_reserve(e, c->count - counts[PART_NONE], counts[PART_NONE],
			      is_in_parts(counts)) < 0)
		return -ENOMEM;
	places[PART_LOCAL] = 0;
	places[PART_BOTH] = counts[PART_LOCAL];
	places[PART_CLUSTER] = counts[PART_LOCAL] + counts[PART_BOTH];
	for (size_t i = 0; i < c->count; i++) {
		const struct candidate *one = &c->items[i];
		enum part part = part_of(c, one, &choice);

		if (part != PART_NONE) {
			e->weights[places[part]] =
				one->weight == WEIGHT_NONE ? 1 : (uint16_t)one->weight;
			e->row[places[part]++] = one->backend;
			e->active[e->active_count++] = one->backend;
			continue;
		}
		e->terminating[e->terminating_count++] = one->backend;
		if (!one->serving && !one->ready)
			e->silent[e->silent_count++] = one->backend;
	}
	e->local_only = counts[PART_LOCAL];
	e->both = counts[PART_BOTH];
	e->hints = choice.hints;
	return 0;
}

int endpoints_collect(const struct endpoints_from *from, const struct service_port *port, bool v4,
		      struct endpoints *ret)
{
	struct candidates c = {.from = from};
	struct endpoints e = {};
	int r = 0;

	for (size_t i = 0; i < from->slice_count && r == 0; i++)
		r = from_slice(&c, port, v4, from->slices[i]);
	for (size_t i = 0; i < from->pod_count && !from->slice_count &&
			   from->service->service.has_selector && r == 0;
	     i++)
		r = from_pod(&c, port, v4, &from->pods[i]);
	settle(&c);
	if (r == 0)
		r = split(&c, &e);
	e.foreign = c.foreign;
	free(c.items);
	if (r < 0)
		endpoints_clear(&e);
	else
		*ret = e;
	return r;
}

void endpoints_clear(struct endpoints *e)
{
	free(e->row);
	*e = (struct endpoints){};
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/services/service_endpoints.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "policy/objects/array.h"

/* ready, serving and terminating of one endpoint on one port. */
struct candidate {
	struct backend backend;
	bool ready, serving;
};

struct candidates {
	struct candidate *items;
	size_t count, capacity;
};

static int add(struct candidates *c, const struct polder_addr *addr, uint16_t port, bool ready,
	       bool serving)
{
	struct candidate *grown = array_grow(c->items, c->count, &c->capacity, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	c->items = grown;
	c->items[c->count++] = (struct candidate){
		.backend = {.addr = *addr, .port_be = htons(port)},
		.ready = ready,
		.serving = serving,
	};
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

static int from_slice(struct candidates *c, const struct object *service,
		      const struct service_port *port, bool v4, const struct slice_object *slice)
{
	uint16_t number = slice_port(slice, port);
	size_t i, j;
	int r = 0;

	if (!number || (slice->family == FAMILY_V4) != v4)
		return 0;
	for (i = 0; i < slice->endpoint_count && r == 0; i++) {
		const struct slice_endpoint *e = &slice->endpoints[i];
		bool ready = e->ready || (service->service.publish_not_ready && !e->terminating);

		/* The API says to use the first address only; others are the same endpoint's. */
		for (j = 0; j < e->address_count && j < 1 && r == 0; j++)
			if (addr_is_v4(&e->addresses[j]) == v4)
				r = add(c, &e->addresses[j], number, ready, e->serving);
	}
	return r;
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

static int from_pod(struct candidates *c, const struct object *service,
		    const struct service_port *port, bool v4, const struct service_pod *pod)
{
	const struct object *o = pod->object;
	bool terminating = o && o->pod.terminating;
	bool ready = !o || o->pod.ready || service->service.publish_not_ready;
	uint16_t number = pod_port(port, o);
	size_t i;

	if (!number || (o && o->pod.finished) ||
	    !selector_matches(&service->service.selector, pod->labels))
		return 0;
	for (i = 0; i < pod->address_count; i++)
		if (addr_is_v4(&pod->addresses[i]) == v4)
			return add(c, &pod->addresses[i], number, ready && !terminating, ready);
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

/* SV-06: ready ones; if there are none, those that still serve while they terminate. Nobody else
 * gets new flows. */
static bool takes_new(const struct candidate *candidate, bool any_ready)
{
	return candidate->ready || (!any_ready && candidate->serving);
}

static int split(struct candidates *c, struct endpoints *ret)
{
	struct endpoints e = {};
	bool any_ready = false;
	size_t i, unique = 0, active = 0;

	if (c->count)
		qsort(c->items, c->count, sizeof(*c->items), compare);
	for (i = 0; i < c->count; i++) {
		if (unique && memcmp(&c->items[unique - 1].backend, &c->items[i].backend,
				     sizeof(struct backend)) == 0)
			continue;
		c->items[unique++] = c->items[i];
		any_ready |= c->items[i].ready;
	}
	for (i = 0; i < unique; i++)
		active += takes_new(&c->items[i], any_ready);
	e.active = calloc(active + 1, sizeof(*e.active));
	e.terminating = calloc(unique - active + 1, sizeof(*e.terminating));
	e.silent = calloc(unique - active + 1, sizeof(*e.silent));
	if (!e.active || !e.terminating || !e.silent) {
		endpoints_clear(&e);
		return -ENOMEM;
	}
	for (i = 0; i < unique; i++) {
		if (takes_new(&c->items[i], any_ready)) {
			e.active[e.active_count++] = c->items[i].backend;
			continue;
		}
		e.terminating[e.terminating_count++] = c->items[i].backend;
		if (!c->items[i].serving)
			e.silent[e.silent_count++] = c->items[i].backend;
	}
	*ret = e;
	return 0;
}

int endpoints_collect(const struct object *service, const struct service_port *port, bool v4,
		      const struct object *const *slices, size_t slice_count,
		      const struct service_pod *pods, size_t pod_count, struct endpoints *ret)
{
	struct candidates c = {};
	size_t i;
	int r = 0;

	for (i = 0; i < slice_count && r == 0; i++)
		r = from_slice(&c, service, port, v4, &slices[i]->slice);
	for (i = 0; i < pod_count && !slice_count && service->service.has_selector && r == 0; i++)
		r = from_pod(&c, service, port, v4, &pods[i]);
	if (r == 0)
		r = split(&c, ret);
	free(c.items);
	return r;
}

void endpoints_clear(struct endpoints *e)
{
	free(e->active);
	free(e->terminating);
	free(e->silent);
	*e = (struct endpoints){};
}

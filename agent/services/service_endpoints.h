/* SPDX-License-Identifier: Apache-2.0 */
/* Which endpoints a Service's port has, and which of them take what: from its slices, or from pods
 * by its selector. */
#pragma once

#include "agent/services/service_weights.h"
#include "agent/services/services.h"

/*
 * For one port and one family. `row` are those that take new flows: first those of this node's set
 * alone, then those of both sets, then the others, each part sorted; `active` are the same, sorted.
 * `terminating` keep the flows that they have; `silent` are those of `terminating` that do not
 * serve. Sorted, no address twice. All lists lie in the row's piece of memory, and where the row
 * has one part alone it is `active`.
 */
struct endpoints {
	struct backend *row, *active;
	uint16_t *weights; /* of `row` */
	size_t active_count, local_only, both;
	struct backend *terminating;
	size_t terminating_count;
	struct backend *silent;
	size_t silent_count;
	size_t ready_here; /* on this node, see healthCheckNodePort */
	size_t foreign;	   /* left out: pods of another namespace */
	enum service_hints hints;
};

/* What endpoints are found from, and for whom. Borrowed. */
struct endpoints_from {
	const struct object *service;
	const struct object *const *slices; /* of the Service. Without any the pods count */
	size_t slice_count;
	const struct service_pod *pods;
	size_t pod_count;
	const struct store *store; /* Nodes, for the zones of pods; NULL: not known */
	const char *node;	   /* this one's name */
	const char *zone;	   /* NULL: it has none */
	/* Is it an address of this node, or of its pods? For slices that name no node. */
	bool (*is_here)(const struct polder_addr *addr, const void *data);
	const void *data;
	bool splits; /* what has to stay on this node has a set of its own, which falls back by
			itself; else it is what of the cluster's set is here */
	const struct service_weights *weights; /* NULL: none are given */
	bool any_zone; /* hints do not count: all nodes have to have the same set */
};

/* 0 or -ENOMEM; free with endpoints_clear(). */
int endpoints_collect(const struct endpoints_from *from, const struct service_port *port, bool v4,
		      struct endpoints *ret);
/* Room for so many: those that take new flows, in parts of which the row has more than one or not,
 * and the others. 0 or -ENOMEM. */
int endpoints_reserve(struct endpoints *endpoints, size_t active, size_t others, bool in_parts);
/* The order of the lists: by address, then by port. */
int backend_compare(const struct backend *a, const struct backend *b);
void endpoints_clear(struct endpoints *endpoints);
/* The value of the label topology.kubernetes.io/zone of a Node; NULL: it has none. */
const char *node_zone(const struct object *node);

/* SPDX-License-Identifier: Apache-2.0 */
/* An object's struct, arrays and texts in one piece of memory: decoded piece by piece, they take
 * twice as much. */
#include <stdlib.h>
#include <string.h>

#include "agent/common/cleanup.h"
#include "policy/objects/decode.h"

struct packing {
	char *memory; /* NULL: sizes are added up, nothing is moved */
	size_t used;
};

/* Moves a piece; `*at` is a pointer of any type that owns it. */
static void move(struct packing *p, void *at, size_t size, size_t alignment)
{
	void *piece;

	memcpy(&piece, at, sizeof(piece));
	if (!piece)
		return;
	p->used = (p->used + alignment - 1) & ~(alignment - 1);
	if (p->memory) {
		char *place = p->memory + p->used;

		memcpy(place, piece, size);
		free(piece);
		memcpy(at, &place, sizeof(place));
	}
	p->used += size;
}

#define MOVE_ARRAY(p, array, count)                                                                \
	move(p, &(array), (count) * sizeof(*(array)), _Alignof(__typeof__(*(array))))

static void move_text(struct packing *p, char **text)
{
	if (*text)
		move(p, text, strlen(*text) + 1, 1);
}

static void pack_labels(struct packing *p, struct labels *labels)
{
	MOVE_ARRAY(p, labels->items, labels->count);
	for (size_t i = 0; i < labels->count; i++) {
		move_text(p, &labels->items[i].key);
		move_text(p, &labels->items[i].value);
	}
}

static void pack_selector(struct packing *p, struct selector *selector)
{
	MOVE_ARRAY(p, selector->terms, selector->count);
	for (size_t i = 0; i < selector->count; i++) {
		struct selector_term *term = &selector->terms[i];

		move_text(p, &term->key);
		MOVE_ARRAY(p, term->values, term->value_count);
		for (size_t j = 0; j < term->value_count; j++)
			move_text(p, &term->values[j]);
	}
}

static void pack_pod(struct packing *p, struct pod_object *pod)
{
	MOVE_ARRAY(p, pod->addresses, pod->address_count);
	move_text(p, &pod->node_name);
	move_text(p, &pod->mirror_of);
}

/* What is none of the memory that it shares, if it shares any. */
static void pack_common(struct packing *p, struct object *object)
{
	struct pod_object *pod = &object->pod;

	if (object->is_shared)
		return;
	pack_labels(p, &object->labels);
	move_text(p, &object->namespace);
	if (object->kind != OBJECT_POD)
		return;
	MOVE_ARRAY(p, pod->ports, pod->port_count);
	for (size_t i = 0; i < pod->port_count; i++)
		move_text(p, &pod->ports[i].name);
	move_text(p, &pod->phase);
}

static void pack_node(struct packing *p, struct node_object *node)
{
	MOVE_ARRAY(p, node->pod_ranges, node->pod_range_count);
	MOVE_ARRAY(p, node->addresses, node->address_count);
}

static void pack_service(struct packing *p, struct service_object *service)
{
	MOVE_ARRAY(p, service->cluster_ips, service->cluster_ip_count);
	MOVE_ARRAY(p, service->external_ips, service->external_ip_count);
	MOVE_ARRAY(p, service->balancer_ips, service->balancer_ip_count);
	MOVE_ARRAY(p, service->source_ranges, service->source_range_count);
	pack_labels(p, &service->annotations);
	MOVE_ARRAY(p, service->ports, service->port_count);
	for (size_t i = 0; i < service->port_count; i++) {
		move_text(p, &service->ports[i].name);
		move_text(p, &service->ports[i].target_name);
	}
	pack_selector(p, &service->selector);
	move_text(p, &service->balancer_class);
	move_text(p, &service->type);
}

static void pack_slice(struct packing *p, struct slice_object *slice)
{
	MOVE_ARRAY(p, slice->endpoints, slice->endpoint_count);
	for (size_t i = 0; i < slice->endpoint_count; i++)
		MOVE_ARRAY(p, slice->endpoints[i].addresses, slice->endpoints[i].address_count);
	MOVE_ARRAY(p, slice->ports, slice->port_count);
	for (size_t i = 0; i < slice->port_count; i++)
		move_text(p, &slice->ports[i].name);
	for (size_t i = 0; i < slice->endpoint_count; i++) {
		move_text(p, &slice->endpoints[i].node_name);
		move_text(p, &slice->endpoints[i].target_pod);
		move_text(p, &slice->endpoints[i].target_namespace);
		move_text(p, &slice->endpoints[i].zone_hints);
		move_text(p, &slice->endpoints[i].node_hints);
	}
	move_text(p, &slice->service);
}

/* resource_version stays a piece of its own: the store passes it from one object to the other. */
static void pack(struct packing *p, struct object *object)
{
	pack_common(p, object);
	if (object->kind == OBJECT_POD)
		pack_pod(p, &object->pod);
	else if (object->kind == OBJECT_NODE)
		pack_node(p, &object->node);
	else if (object->kind == OBJECT_SERVICE)
		pack_service(p, &object->service);
	else
		pack_slice(p, &object->slice);
	move_text(p, &object->name);
	move_text(p, &object->uid);
}

/* Of the struct itself: most kinds need less than the largest. */
static size_t size_of(enum object_kind kind)
{
	size_t shared = offsetof(struct object, pod);

	switch (kind) {
	case OBJECT_POD:
		return shared + sizeof(struct pod_object);
	case OBJECT_NODE:
		return shared + sizeof(struct node_object);
	case OBJECT_ENDPOINT_SLICE:
		return shared + sizeof(struct slice_object);
	default:
		return sizeof(struct object);
	}
}

struct object *object_pack(struct object *object)
{
	size_t size = size_of(object->kind);
	struct packing p = {.used = size};
	struct object *packed;

	if (object->kind != OBJECT_POD && object->kind != OBJECT_NODE &&
	    object->kind != OBJECT_SERVICE && object->kind != OBJECT_ENDPOINT_SLICE)
		return object;
	if (object->kind != OBJECT_SERVICE)
		free(TAKE_PTR(object->resource_version));
	/* Without memory it keeps its own. Each node, Service and slice has others. */
	if (object->kind == OBJECT_POD && object->labels.count)
		(void)pod_share(object);
	pack(&p, object);
	packed = malloc(p.used);
	if (!packed)
		return object;
	memcpy(packed, object, size);
	free(object);
	packed->is_packed = true;
	p = (struct packing){.memory = (char *)packed, .used = size};
	pack(&p, packed);
	return packed;
}

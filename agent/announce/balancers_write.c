/* SPDX-License-Identifier: Apache-2.0 */
/* What the API server is told: the statuses of Services that lack their addresses. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/announce/balancers_internal.h"

/* All that the status is to have; foreign addresses stay where they are. */
static size_t wanted_of(const struct balancer_item *item, struct polder_addr ret[BALANCER_ADDRS])
{
	size_t count = item->foreign_count;

	memcpy(ret, item->foreign, count * sizeof(*ret));
	for (int i = 0; i < BALANCER_FAMILIES && !item->unwanted && count < BALANCER_ADDRS; i++)
		if (!addr_is_zero(&item->balancer.gets[i]))
			ret[count++] = item->balancer.gets[i];
	return count;
}

static bool holds(const struct polder_addr *list, size_t count, const struct polder_addr *addr)
{
	for (size_t i = 0; i < count; i++)
		if (memcmp(&list[i], addr, sizeof(*addr)) == 0)
			return true;
	return false;
}

bool balancer_differs(const struct balancer_item *item)
{
	struct polder_addr wanted[BALANCER_ADDRS];
	size_t count;

	if (!item->from_api || item->waits)
		return false;
	count = wanted_of(item, wanted);
	if (count != item->status_count)
		return true;
	for (size_t i = 0; i < count; i++)
		if (!holds(item->status, item->status_count, &wanted[i]))
			return true;
	return false;
}

/* ---------------------------------------------------------------- what was written */

static void forget(struct balancers *b, struct balancer_pending *pending)
{
	HASH_DEL(b->pending, pending);
	free(pending);
}

void balancer_recall_pending(struct balancers *b, const struct object *service,
			     struct balancer_item *item)
{
	struct balancer_pending *pending;
	uint64_t version;

	HASH_FIND_STR(b->pending, item->key, pending);
	if (!pending)
		return;
	version = service->resource_version ? strtoull(service->resource_version, NULL, 10) : 0;
	if (pending->version && version < pending->version) {
		memcpy(item->balancer.has, pending->has, sizeof(item->balancer.has));
		item->waits = true;
	} else if (pending->version || !service->resource_version ||
		   strcmp(service->resource_version, pending->tried) != 0) {
		forget(b, pending);
	}
}

static struct balancer_item *find(const struct balancers *b, const char *namespace,
				  const char *name)
{
	for (size_t i = 0; i < b->count; i++)
		if (strcmp(b->items[i].namespace, namespace) == 0 &&
		    strcmp(b->items[i].name, name) == 0)
			return &b->items[i];
	return NULL;
}

static void written(const struct balancer_write *write, uint64_t version, void *data)
{
	struct balancers *b = data;
	struct balancer_item *item = find(b, write->namespace, write->name);
	struct balancer_pending *pending;

	if (!item)
		return;
	item->waits = version != 0;
	HASH_FIND_STR(b->pending, item->key, pending);
	if (!pending) {
		pending = calloc(1, sizeof(*pending));
		/* Without it the same is written again, which changes nothing. */
		if (!pending)
			return;
		memcpy(pending->key, item->key, sizeof(pending->key));
		HASH_ADD_STR(b->pending, key, pending);
		if (!HASH_ADDED(hh, pending)) {
			free(pending);
			return;
		}
	}
	pending->version = version;
	memcpy(pending->tried, write->version, sizeof(pending->tried));
	memset(pending->has, 0, sizeof(pending->has));
	for (size_t i = 0; i < write->count; i++)
		if (!holds(item->foreign, item->foreign_count, &write->addrs[i]))
			pending->has[addr_is_v4(&write->addrs[i]) ? BALANCER_V4 : BALANCER_V6] =
				write->addrs[i];
}

/* ---------------------------------------------------------------- what is to be written */

static bool wants(void *data)
{
	const struct balancers *b = data;

	for (size_t i = 0; i < b->count; i++)
		if (balancer_differs(&b->items[i]))
			return true;
	return false;
}

static unsigned int place(void *data)
{
	const struct polder_addr everything = {};

	return balancers_place(data, &everything);
}

/* Of one that somebody else had changed the next version is waited for. */
static bool is_refused(const struct balancers *b, const struct balancer_item *item,
		       const char *version)
{
	const struct balancer_pending *pending;

	HASH_FIND_STR(b->pending, item->key, pending);
	return pending && !pending->version && strcmp(pending->tried, version) == 0;
}

static bool next(struct balancer_write *ret, void *data)
{
	const struct balancers *b = data;

	for (size_t i = 0; i < b->count; i++) {
		const struct balancer_item *item = &b->items[i];
		const struct object *service;

		if (!balancer_differs(item))
			continue;
		service = store_get(b->env.store, OBJECT_SERVICE, item->namespace, item->name);
		if (!service || !service->resource_version ||
		    is_refused(b, item, service->resource_version))
			continue;
		*ret = (struct balancer_write){};
		memcpy(ret->namespace, item->namespace, sizeof(ret->namespace));
		memcpy(ret->name, item->name, sizeof(ret->name));
		snprintf(ret->version, sizeof(ret->version), "%s", service->resource_version);
		ret->count = wanted_of(item, ret->addrs);
		return true;
	}
	return false;
}

const struct balancer_hooks balancers_hooks = {
	.wants = wants, .place = place, .next = next, .written = written};

/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/policy/local_pods.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/node/node.h"

struct cleared {
	uint32_t element;
	uint64_t grace_periods; /* how often local_pods_commit() had been called */
};

struct local_pods {
	struct maps *maps;
	struct cleared *cleared;
	size_t cleared_count;
	uint64_t grace_periods;
};

static uint32_t element_of(const struct maps *maps, const struct polder_addr *addr)
{
	uint32_t mask = maps_local_pods_mask(maps);

	return (addr_is_v4(addr) ? 0 : mask + 1) + (ntohl(addr->words_be[3]) & mask);
}

static const struct local_pod_address *element_at(const struct maps *maps, uint32_t element)
{
	return maps_element(maps, MAP_LOCAL_PODS, element);
}

int local_pods_open(struct maps *maps, struct local_pods **ret)
{
	struct local_pods *pods = calloc(1, sizeof(*pods));

	if (!pods)
		return -ENOMEM;
	pods->maps = maps;
	*ret = pods;
	return 0;
}

void local_pods_close(struct local_pods *pods)
{
	if (!pods)
		return;
	free(pods->cleared);
	free(pods);
}

int local_pods_put(struct local_pods *pods, const struct polder_addr *addr,
		   const struct address_entry *entry)
{
	const struct local_pod_address wanted = {.entry = *entry, .addr = *addr};
	uint32_t element = element_of(pods->maps, addr);
	const struct local_pod_address *present = element_at(pods->maps, element);

	if (!present ||
	    (!addr_is_zero(&present->addr) && memcmp(&present->addr, addr, sizeof(*addr)) != 0))
		return 0;
	return maps_element_put(pods->maps, MAP_LOCAL_PODS, element, &wanted);
}

/* Keeps the address: a program that has compared it may still be about to read the rest. */
static int clear_element(struct local_pods *pods, uint32_t element)
{
	struct local_pod_address empty = {.addr = element_at(pods->maps, element)->addr};
	int r = maps_element_put(pods->maps, MAP_LOCAL_PODS, element, &empty);
	struct cleared *grown;

	if (r < 0)
		return r;
	if (pods->cleared_count % 64 == 0) {
		grown = reallocarray(pods->cleared, pods->cleared_count + 64, sizeof(*grown));
		if (!grown)
			return 0; /* it stays this address's until the next start */
		pods->cleared = grown;
	}
	pods->cleared[pods->cleared_count++] =
		(struct cleared){.element = element, .grace_periods = pods->grace_periods};
	return 0;
}

int local_pods_clear(struct local_pods *pods, const struct polder_addr *addr)
{
	return local_pods_find(pods->maps, addr) ? clear_element(pods, element_of(pods->maps, addr))
						 : 0;
}

int local_pods_prune(struct local_pods *pods,
		     bool (*known)(const struct polder_addr *addr, void *data), void *data)
{
	uint32_t count = maps_get(pods->maps, MAP_LOCAL_PODS)->max_entries, i;
	int r = 0;

	for (i = 0; i < count && r == 0; i++) {
		const struct local_pod_address *present = element_at(pods->maps, i);

		if (addr_is_zero(&present->addr))
			continue;
		if (!present->entry.flags || !known(&present->addr, data))
			r = clear_element(pods, i);
	}
	return r;
}

void local_pods_commit(struct local_pods *pods)
{
	static const struct local_pod_address none;
	size_t i, kept = 0;

	/* Cleared during the wait that has just ended: the next one covers it. */
	for (i = 0; i < pods->cleared_count; i++) {
		const struct cleared *c = &pods->cleared[i];

		if (c->grace_periods == pods->grace_periods)
			pods->cleared[kept++] = *c;
		else if (!element_at(pods->maps, c->element)->entry.flags)
			maps_element_put(pods->maps, MAP_LOCAL_PODS, c->element, &none);
	}
	pods->cleared_count = kept;
	pods->grace_periods++;
	if (!kept) {
		free(pods->cleared);
		pods->cleared = NULL;
	}
}

const struct address_entry *local_pods_find(const struct maps *maps, const struct polder_addr *addr)
{
	const struct local_pod_address *present = element_at(maps, element_of(maps, addr));

	if (!present || !present->entry.flags || memcmp(&present->addr, addr, sizeof(*addr)) != 0)
		return NULL;
	return &present->entry;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/announce/allocate.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/hash.h"
#include "agent/common/hash_table.h"

/* An address that is given. */
struct given {
	UT_hash_handle hh;
	struct polder_addr addr;
	const struct balancer *owner;
};

struct allocation {
	const struct balancer_pools *pools;
	struct given *given;
	struct given *room; /* for each Service and family one */
	size_t used;
};

static bool gives(const struct balancer_pools *pools, const struct polder_addr *addr)
{
	for (size_t i = 0; i < pools->count; i++)
		if (address_range_gives(&pools->ranges[i], addr))
			return true;
	return false;
}

bool balancer_pools_have(const struct balancer_pools *pools, const struct polder_addr *addr)
{
	for (size_t i = 0; i < pools->count; i++)
		if (address_range_contains(&pools->ranges[i], addr))
			return true;
	return false;
}

static bool is_others(const struct allocation *a, const struct polder_addr *addr)
{
	return a->pools->is_others && a->pools->is_others(addr, a->pools->data);
}

static const struct balancer *owner_of(const struct allocation *a, const struct polder_addr *addr)
{
	struct given *given;

	HASH_FIND(hh, a->given, addr, sizeof(*addr), given);
	return given ? given->owner : NULL;
}

static int give(struct allocation *a, struct balancer *to, int family,
		const struct polder_addr *addr)
{
	struct given *given = &a->room[a->used++];

	given->addr = *addr;
	given->owner = to;
	HASH_ADD(hh, a->given, addr, sizeof(given->addr), given);
	if (!HASH_ADDED(hh, given))
		return -ENOMEM;
	to->gets[family] = *addr;
	return 0;
}

static bool wants(const struct balancer *b, int family)
{
	return b->wants[family] && addr_is_zero(&b->gets[family]);
}

/* What it has and may keep. */
static bool keeps(const struct allocation *a, const struct balancer *b, int family)
{
	const struct polder_addr *has = &b->has[family];

	return !addr_is_zero(has) && balancer_pools_have(a->pools, has) && !is_others(a, has) &&
	       !owner_of(a, has);
}

static bool asks_for_another(const struct balancer *b, int family)
{
	return !addr_is_zero(&b->asked[family]) &&
	       memcmp(&b->asked[family], &b->has[family], sizeof(b->has[family])) != 0;
}

static int keep_all(struct allocation *a, struct balancer *list, size_t count)
{
	int r = 0;

	for (size_t i = 0; i < count; i++)
		for (int family = 0; family < BALANCER_FAMILIES && r == 0; family++)
			if (list[i].wants[family] && !asks_for_another(&list[i], family) &&
			    keeps(a, &list[i], family))
				r = give(a, &list[i], family, &list[i].has[family]);
	return r;
}

/* Why it cannot have it; false: it can. */
static bool is_refused(const struct allocation *a, struct balancer *b,
		       const struct polder_addr *addr)
{
	const struct balancer *owner = owner_of(a, addr);
	char text[INET6_ADDRSTRLEN];

	addr_format(addr, text);
	if (!balancer_pools_have(a->pools, addr))
		snprintf(b->problem, sizeof(b->problem),
			 "it asks for %s, which is in no pool of load-balancer-pools", text);
	else if (owner)
		snprintf(b->problem, sizeof(b->problem), "it asks for %s, which Service %s/%s has",
			 text, owner->namespace, owner->name);
	else if (is_others(a, addr))
		snprintf(b->problem, sizeof(b->problem),
			 "it asks for %s, which is a node's address or a ClusterIP", text);
	else
		return false;
	return true;
}

/* Those that name the address they want, before the others take it by chance. */
static int give_asked(struct allocation *a, struct balancer *list, size_t count)
{
	int r = 0;

	for (size_t i = 0; i < count; i++) {
		struct balancer *b = &list[i];

		for (int family = 0; family < BALANCER_FAMILIES && r == 0; family++) {
			if (!wants(b, family) || addr_is_zero(&b->asked[family]))
				continue;
			if (!is_refused(a, b, &b->asked[family]))
				r = give(a, b, family, &b->asked[family]);
			else if (keeps(a, b, family))
				r = give(a, b, family, &b->has[family]);
		}
	}
	return r;
}

static uint64_t addresses_of(const struct balancer_pools *pools, int family)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < pools->count; i++)
		if (address_range_is_v4(&pools->ranges[i]) == (family == BALANCER_V4))
			sum += address_range_size(&pools->ranges[i]);
	return sum;
}

static struct polder_addr address_at(const struct balancer_pools *pools, int family, uint64_t place)
{
	size_t i;

	for (i = 0; i < pools->count; i++) {
		const struct address_range *range = &pools->ranges[i];
		uint32_t size = address_range_size(range);

		if (address_range_is_v4(range) != (family == BALANCER_V4))
			continue;
		if (place < size)
			return address_range_at(range, (uint32_t)place);
		place -= size;
	}
	return (struct polder_addr){};
}

static uint64_t begin_of(const struct balancer *b, uint64_t total)
{
	uint64_t hash = hash_table_hash_of(b->namespace, strlen(b->namespace));

	hash = hash * 0x9e3779b97f4a7c15u + hash_table_hash_of(b->name, strlen(b->name));
	hash ^= hash >> 29;
	return hash % total;
}

/* False: none is free. */
static bool find_free(const struct allocation *a, const struct balancer *b, int family,
		      struct polder_addr *ret)
{
	uint64_t total = addresses_of(a->pools, family), begin = total ? begin_of(b, total) : 0;

	for (uint64_t i = 0; i < total; i++) {
		struct polder_addr addr = address_at(a->pools, family, (begin + i) % total);

		if (gives(a->pools, &addr) && !owner_of(a, &addr) && !is_others(a, &addr)) {
			*ret = addr;
			return true;
		}
	}
	return false;
}

static void tell_full(struct balancer *b, int family, uint64_t total)
{
	const char *version = family == BALANCER_V4 ? "IPv4" : "IPv6";

	if (total)
		snprintf(b->problem, sizeof(b->problem),
			 "no %s address of load-balancer-pools is free: of %llu, all that can be "
			 "given are given; add a pool",
			 version, (unsigned long long)total);
	else
		snprintf(b->problem, sizeof(b->problem),
			 "load-balancer-pools has no %s addresses; add a pool", version);
}

static int give_rest(struct allocation *a, struct balancer *list, size_t count)
{
	bool full[BALANCER_FAMILIES] = {};
	struct polder_addr addr;
	int r = 0;

	for (size_t i = 0; i < count; i++) {
		struct balancer *b = &list[i];

		for (int family = 0; family < BALANCER_FAMILIES && r == 0; family++) {
			if (!wants(b, family) || !addr_is_zero(&b->asked[family]))
				continue;
			/* Where one has looked through all, the others need not. */
			full[family] = full[family] || !find_free(a, b, family, &addr);
			if (full[family])
				tell_full(b, family, addresses_of(a->pools, family));
			else
				r = give(a, b, family, &addr);
		}
	}
	return r;
}

static int compare_age(const void *one, const void *other)
{
	const struct balancer *a = one, *b = other;
	int r;

	if (a->created != b->created)
		return a->created < b->created ? -1 : 1;
	r = strcmp(a->namespace, b->namespace);
	return r ? r : strcmp(a->name, b->name);
}

int balancers_allocate(const struct balancer_pools *pools, struct balancer *list, size_t count)
{
	struct allocation a = {.pools = pools};
	int r;

	if (!count)
		return 0;
	a.room = calloc(count, BALANCER_FAMILIES * sizeof(*a.room));
	if (!a.room)
		return -ENOMEM;
	qsort(list, count, sizeof(*list), compare_age);
	for (size_t i = 0; i < count; i++) {
		memset(list[i].gets, 0, sizeof(list[i].gets));
		list[i].problem[0] = '\0';
	}
	r = keep_all(&a, list, count);
	if (r == 0)
		r = give_asked(&a, list, count);
	if (r == 0)
		r = give_rest(&a, list, count);
	HASH_CLEAR(hh, a.given);
	free(a.room);
	return r;
}

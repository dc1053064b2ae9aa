/* SPDX-License-Identifier: Apache-2.0 */
/* Who gets an address, and a port of it, that several Services want. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/services/services_internal.h"

static uint32_t hash_of(const struct service_key *key)
{
	return hash_table_hash_of(key, sizeof(*key));
}

struct claim *claim_find(const struct services *s, const struct service_key *key)
{
	struct hash_table_item *item = hash_table_find(&s->claims, hash_of(key));

	while (item && memcmp(&((struct claim *)item)->key, key, sizeof(*key)) != 0)
		item = hash_table_find_next(item);
	return (struct claim *)item;
}

struct claim *claim_next(const struct services *s, const struct claim *claim)
{
	return (struct claim *)(claim ? hash_table_next(&s->claims, &claim->by_key)
				      : hash_table_first(&s->claims));
}

struct claim *claim_of_address(const struct services *s, const struct polder_addr *addr)
{
	const struct service_key key = {.addr = *addr};

	return claim_find(s, &key);
}

/* NULL: no memory. */
static struct claim *claim_get(struct services *s, const struct service_key *key)
{
	struct claim *claim = claim_find(s, key);

	if (claim)
		return claim;
	claim = calloc(1, sizeof(*claim));
	if (!claim)
		return NULL;
	claim->key = *key;
	if (hash_table_add(&s->claims, &claim->by_key, hash_of(key)) < 0) {
		free(claim);
		return NULL;
	}
	if (key->port_be || address_blocks_add(&s->claimed, &claim->in_block, &key->addr) == 0)
		return claim;
	hash_table_remove(&s->claims, &claim->by_key);
	free(claim);
	return NULL;
}

static void claim_drop_idle(struct services *s, struct claim *claim)
{
	if (claim->claimants || claim->frontend || claim->address_written)
		return;
	address_blocks_remove(&s->claimed, &claim->in_block, &claim->key.addr);
	hash_table_remove(&s->claims, &claim->by_key);
	free(claim);
}

void claim_mark_others(struct services *s, const struct claim *claim, const struct service_state *w)
{
	const struct claimant *c;

	for (c = claim->claimants; c; c = c->next)
		if (c->state != w)
			state_mark(s, c->state);
}

struct inside {
	struct services *services;
	const struct prefix *range;
};

static void mark_inside(struct block_item *item, void *data)
{
	const struct claim *claim =
		(const struct claim *)((char *)item - offsetof(struct claim, in_block));
	const struct inside *inside = data;

	if (prefix_contains(inside->range, &claim->key.addr))
		claim_mark_others(inside->services, claim, NULL);
}

void claims_mark_inside(struct services *s, const struct prefix *range)
{
	struct inside inside = {s, range};

	address_blocks_each(&s->claimed, range, mark_inside, &inside);
}

int claim_want(struct services *s, struct service_state *w, const struct service_key *key,
	       bool cluster_ip, struct claim **ret)
{
	struct claim *claim = claim_get(s, key);
	struct claimant *c = claim ? claim->claimants : NULL;

	if (!claim)
		return -ENOMEM;
	while (c && c->state != w)
		c = c->next;
	if (!c) {
		c = calloc(1, sizeof(*c));
		if (!c) {
			claim_drop_idle(s, claim);
			return -ENOMEM;
		}
		*c = (struct claimant){.claim = claim,
				       .state = w,
				       .cluster_ip = cluster_ip,
				       .next = claim->claimants,
				       .next_of_state = w->claimants};
		claim->claimants = w->claimants = c;
		claim_mark_others(s, claim, w);
	} else if (c->cluster_ip != cluster_ip && !c->wanted) {
		c->cluster_ip = cluster_ip;
		claim_mark_others(s, claim, w);
	}
	c->wanted = true;
	*ret = claim;
	return 0;
}

/* ---------------------------------------------------------------- who was first */

struct age {
	int64_t created;
	const char *uid, *key;
};

/* What does not say when it was made takes nothing from what does. */
static struct age age_of(const struct services *s, const struct service_state *w)
{
	const struct object *service =
		w->fixed ? NULL : store_get(s->store, OBJECT_SERVICE, w->namespace, w->name);
	int64_t created = w->fixed  ? w->fixed->said.created
			  : service ? service->service.created
				    : 0;

	return (struct age){created ? created : INT64_MAX, service ? service->uid : "", w->key};
}

static bool is_older(const struct services *s, const struct service_state *a,
		     const struct service_state *b)
{
	const struct age one = age_of(s, a), other = age_of(s, b);
	int order = one.created < other.created ? -1 : one.created > other.created;

	if (!order)
		order = strcmp(one.uid, other.uid);
	return (order ? order : strcmp(one.key, other.key)) < 0;
}

static struct service_state *oldest(const struct services *s, const struct claim *claim,
				    bool cluster_ips)
{
	struct service_state *found = NULL;
	const struct claimant *c;

	for (c = claim->claimants; c; c = c->next)
		if ((c->cluster_ip || !cluster_ips) && (!found || is_older(s, c->state, found)))
			found = c->state;
	return found;
}

struct service_state *claim_winner(const struct services *s, const struct claim *claim)
{
	return oldest(s, claim, false);
}

struct service_state *claim_cluster_ip(const struct services *s, const struct claim *claim)
{
	return oldest(s, claim, true);
}

/* ---------------------------------------------------------------- what is not wanted any more */

void claims_begin(struct service_state *w)
{
	struct claimant *c;

	for (c = w->claimants; c; c = c->next_of_state)
		c->wanted = false;
}

static void claimant_remove(struct services *s, struct claimant *c)
{
	struct claim *claim = c->claim;
	struct claimant **at;

	for (at = &claim->claimants; *at != c; at = &(*at)->next)
		;
	*at = c->next;
	claim_mark_others(s, claim, c->state);
	free(c);
	/* Of an address that nobody wants the entry goes: needs no memory. */
	if (!claim->key.port_be)
		address_write(s, claim);
	claim_drop_idle(s, claim);
}

void claims_end(struct services *s, struct service_state *w)
{
	struct claimant **at = &w->claimants, *c;

	while ((c = *at)) {
		if (c->wanted) {
			at = &c->next_of_state;
			continue;
		}
		*at = c->next_of_state;
		claimant_remove(s, c);
	}
}

void claims_free(struct services *s)
{
	struct claim *claim, *next;
	struct claimant *c;

	for (claim = claim_next(s, NULL); claim; claim = next) {
		next = claim_next(s, claim);
		address_blocks_remove(&s->claimed, &claim->in_block, &claim->key.addr);
		while ((c = claim->claimants)) {
			claim->claimants = c->next;
			free(c);
		}
		free(claim);
	}
	hash_table_clear(&s->claims);
	address_blocks_clear(&s->claimed);
}

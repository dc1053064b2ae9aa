/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/announce/balancers_internal.h"
#include "agent/common/cleanup.h"
#include "agent/common/log.h"

#define API_ORIGIN "api:"

/* ---------------------------------------------------------------- life */

int balancers_new(const struct balancers_env *env, struct balancers **ret)
{
	struct balancers *b = calloc(1, sizeof(*b));

	if (!b)
		return -ENOMEM;
	b->env = *env;
	if (env->kept) {
		b->env.kept = b->kept_path = strdup(env->kept);
		if (!b->kept_path) {
			free(b);
			return -ENOMEM;
		}
	}
	balancers_kept_read(b);
	*ret = b;
	return 0;
}

static void forget_places(struct balancers *b)
{
	struct balancer_place *one, *next;

	HASH_ITER (hh, b->places, one, next) {
		HASH_DEL(b->places, one);
		free(one);
	}
	free(TAKE_PTR(b->node_hashes));
	b->node_count = 0;
	b->nodes_read = false;
}

static void forget_taboo(struct balancers *b)
{
	struct balancer_taboo *one, *next;

	HASH_ITER (hh, b->taboo, one, next) {
		HASH_DEL(b->taboo, one);
		free(one);
	}
}

void balancers_free(struct balancers *b)
{
	struct balancer_pending *pending, *next_pending;
	struct balancer_told *told, *next_told;

	if (!b)
		return;
	HASH_ITER (hh, b->pending, pending, next_pending) {
		HASH_DEL(b->pending, pending);
		free(pending);
	}
	HASH_ITER (hh, b->told, told, next_told) {
		HASH_DEL(b->told, told);
		free(told);
	}
	balancers_kept_clear(b);
	forget_places(b);
	forget_taboo(b);
	free(b->items);
	free(b->addresses);
	free(b->kept_path);
	free(b);
}

/* ---------------------------------------------------------------- places */

/* Nodes that exclude themselves are no candidates. Without memory this node is the only one it
 * knows, and what others say decides. */
static void read_nodes(struct balancers *b)
{
	size_t count;
	const struct object *const *nodes = store_objects(b->env.store, OBJECT_NODE, &count);

	b->nodes_read = true;
	b->node_hashes = calloc(count ? count : 1, sizeof(*b->node_hashes));
	if (!b->node_hashes)
		return;
	for (size_t i = 0; i < count; i++)
		if (!labels_get(&nodes[i]->labels, BALANCER_EXCLUDED))
			b->node_hashes[b->node_count++] = claim_node_hash(nodes[i]->name);
}

unsigned int balancers_place(struct balancers *b, const struct polder_addr *addr)
{
	struct balancer_place *known;
	uint64_t own;
	unsigned int place = 0;

	if (!b->nodes_read)
		read_nodes(b);
	HASH_FIND(hh, b->places, addr, sizeof(*addr), known);
	if (known)
		return known->place;
	own = claim_score(claim_node_hash(b->env.config->node_name), addr);
	for (size_t i = 0; i < b->node_count; i++)
		place += claim_score(b->node_hashes[i], addr) < own;
	known = calloc(1, sizeof(*known));
	if (!known)
		return place;
	known->addr = *addr;
	known->place = place;
	HASH_ADD(hh, b->places, addr, sizeof(known->addr), known);
	if (!HASH_ADDED(hh, known))
		free(known);
	return place;
}

bool balancers_excluded(const struct balancers *b)
{
	const struct object *own =
		store_get(b->env.store, OBJECT_NODE, "", b->env.config->node_name);

	return own && labels_get(&own->labels, BALANCER_EXCLUDED);
}

bool balancers_object_changed(struct balancers *b, const struct object *object)
{
	if (object->kind == OBJECT_NODE)
		forget_places(b);
	return object->kind == OBJECT_NODE || object->kind == OBJECT_SERVICE;
}

/* ---------------------------------------------------------------- what no Service may have */

static int forbid(struct balancers *b, const struct balancer_pools *pools,
		  const struct polder_addr *addrs, size_t count)
{
	struct balancer_taboo *one;

	for (size_t i = 0; i < count; i++) {
		if (!balancer_pools_have(pools, &addrs[i]))
			continue;
		HASH_FIND(hh, b->taboo, &addrs[i], sizeof(addrs[i]), one);
		if (one)
			continue;
		one = calloc(1, sizeof(*one));
		if (!one)
			return -ENOMEM;
		one->addr = addrs[i];
		HASH_ADD(hh, b->taboo, addr, sizeof(one->addr), one);
		if (!HASH_ADDED(hh, one)) {
			free(one);
			return -ENOMEM;
		}
	}
	return 0;
}

static int forbid_own(struct balancers *b, const struct balancer_pools *pools)
{
	const struct network *network = &b->env.node->network;
	int r = 0;

	for (size_t i = 0; i < network->address_count && r == 0; i++)
		r = forbid(b, pools, &network->addresses[i].prefix.addr, 1);
	for (size_t i = 0; i < network->route_count && r == 0; i++)
		if (network->routes[i].has_gateway)
			r = forbid(b, pools, &network->routes[i].gateway, 1);
	return r;
}

/* Nodes' addresses, this one's and its gateways' included, and ClusterIPs. */
static int read_taboo(struct balancers *b, const struct balancer_pools *pools)
{
	size_t node_count, service_count;
	const struct object *const *nodes = store_objects(b->env.store, OBJECT_NODE, &node_count),
				   *const *services = store_objects(b->env.store, OBJECT_SERVICE,
								    &service_count);
	int r;

	forget_taboo(b);
	r = forbid_own(b, pools);
	for (size_t i = 0; i < node_count && r == 0; i++)
		r = forbid(b, pools, nodes[i]->node.addresses, nodes[i]->node.address_count);
	for (size_t i = 0; i < service_count && r == 0; i++)
		r = forbid(b, pools, services[i]->service.cluster_ips,
			   services[i]->service.cluster_ip_count);
	return r;
}

static bool is_taboo(const struct polder_addr *addr, void *data)
{
	const struct balancers *b = data;
	const struct balancer_taboo *one;

	HASH_FIND(hh, b->taboo, addr, sizeof(*addr), one);
	return one != NULL;
}

/* ---------------------------------------------------------------- one Service */

static int family_of(const struct polder_addr *addr)
{
	return addr_is_v4(addr) ? BALANCER_V4 : BALANCER_V6;
}

static bool is_own_class(const struct service_object *service)
{
	return service->balancer_class && strcmp(service->balancer_class, BALANCER_CLASS) == 0;
}

/* A Service without a class that has addresses from elsewhere is somebody else's. */
static bool is_ours(const struct service_object *service, const struct balancer_pools *pools)
{
	if (is_own_class(service))
		return true;
	if (service->balancer_class || service->balancer_elsewhere ||
	    service->balancer_ip_count > BALANCER_ADDRS)
		return false;
	for (size_t i = 0; i < service->balancer_ip_count; i++)
		if (!balancer_pools_have(pools, &service->balancer_ips[i]))
			return false;
	return true;
}

static bool is_balancer(const struct service_object *service)
{
	return strcmp(service->type, "LoadBalancer") == 0;
}

static void read_wants(const struct service_object *service, struct balancer *b)
{
	b->wants[BALANCER_V4] = service->wants_v4;
	b->wants[BALANCER_V6] = service->wants_v6;
	if (service->wants_v4 || service->wants_v6)
		return;
	for (size_t i = 0; i < service->cluster_ip_count; i++)
		b->wants[family_of(&service->cluster_ips[i])] = true;
}

static void ask(struct balancer *b, const struct polder_addr *addr)
{
	if (!addr_is_zero(addr))
		b->asked[family_of(addr)] = *addr;
}

/* False: what it says is no list of addresses. */
static bool read_asked(const struct service_object *service, struct balancer *b)
{
	const char *text = labels_get(&service->annotations, BALANCER_ASKED);
	char one[INET6_ADDRSTRLEN];
	struct polder_addr addr;
	size_t length;

	ask(b, &service->balancer_asked);
	while (text && *text) {
		text += strspn(text, ", ");
		length = strcspn(text, ", ");
		if (length >= sizeof(one))
			return false;
		snprintf(one, sizeof(one), "%.*s", (int)length, text);
		if (length && addr_parse(one, &addr) < 0)
			return false;
		if (length)
			ask(b, &addr);
		text += length;
	}
	return true;
}

/* What its status has: of the pools the first of each family counts. */
static void read_status(const struct service_object *service, const struct balancer_pools *pools,
			struct balancer_item *item)
{
	for (size_t i = 0; i < service->balancer_ip_count && i < BALANCER_ADDRS; i++) {
		const struct polder_addr *addr = &service->balancer_ips[i];
		struct polder_addr *has = &item->balancer.has[family_of(addr)];

		item->status[item->status_count++] = *addr;
		if (!balancer_pools_have(pools, addr)) {
			item->foreign[item->foreign_count++] = *addr;
			item->balancer.wants[family_of(addr)] = false;
		} else if (addr_is_zero(has)) {
			*has = *addr;
		}
	}
}

/* False: it is none of ours. */
static bool read_service(struct balancers *b, const struct balancer_pools *pools,
			 const struct object *object, struct balancer_item *item)
{
	const struct service_object *service = &object->service;
	const char *origin =
		store_origin(b->env.store, OBJECT_SERVICE, object->namespace, object->name);

	*item = (struct balancer_item){.local = service->external_local};
	item->from_api = origin && strncmp(origin, API_ORIGIN, strlen(API_ORIGIN)) == 0;
	snprintf(item->namespace, sizeof(item->namespace), "%s", object->namespace);
	snprintf(item->name, sizeof(item->name), "%s", object->name);
	snprintf(item->key, sizeof(item->key), "%s/%s", object->namespace, object->name);
	item->balancer.created = service->created;
	if (!is_balancer(service)) {
		read_status(service, pools, item);
		item->unwanted = item->from_api && item->status_count > item->foreign_count;
		memset(item->balancer.has, 0, sizeof(item->balancer.has));
		memset(item->balancer.wants, 0, sizeof(item->balancer.wants));
		return item->unwanted;
	}
	if (!is_ours(service, pools))
		return false;
	read_wants(service, &item->balancer);
	item->asks_nonsense = !read_asked(service, &item->balancer);
	read_status(service, pools, item);
	balancer_recall_pending(b, object, item);
	return true;
}

/* What a file cannot say is what it was given before. */
static void recall_kept(const struct balancers *b, const struct balancer_pools *pools,
			struct balancer_item *item)
{
	const struct balancer_kept *kept = balancers_kept_find(b, item->key);

	for (int i = 0; i < BALANCER_FAMILIES && kept && !item->from_api; i++) {
		if (!addr_is_zero(&item->balancer.has[i]) || addr_is_zero(&kept->has[i]))
			continue;
		if (balancer_pools_have(pools, &kept->has[i])) {
			item->balancer.has[i] = kept->has[i];
			continue;
		}
		/* The pool has become smaller. */
		item->foreign[item->foreign_count++] = kept->has[i];
		item->balancer.wants[i] = false;
	}
}

/* ---------------------------------------------------------------- all of them */

struct reading {
	struct balancer_item *items;
	struct balancer *list;
	size_t count;
};

static int read_all(struct balancers *b, const struct balancer_pools *pools, struct reading *ret)
{
	size_t count;
	const struct object *const *services = store_objects(b->env.store, OBJECT_SERVICE, &count);
	struct reading made = {};

	made.items = calloc(count ? count : 1, sizeof(*made.items));
	made.list = calloc(count ? count : 1, sizeof(*made.list));
	if (!made.items || !made.list) {
		free(made.items);
		free(made.list);
		return -ENOMEM;
	}
	for (size_t i = 0; i < count; i++) {
		struct balancer_item *item = &made.items[made.count];

		/* Most are no load balancers. */
		if (!is_balancer(&services[i]->service) && !services[i]->service.balancer_ip_count)
			continue;
		if (!read_service(b, pools, services[i], item))
			continue;
		recall_kept(b, pools, item);
		item->balancer.namespace = item->namespace;
		item->balancer.name = item->name;
		made.list[made.count++] = item->balancer;
	}
	*ret = made;
	return 0;
}

static int compare_keys(const void *a, const void *b)
{
	const struct balancer_item *one = a, *other = b;
	int r = strcmp(one->namespace, other->namespace);

	return r ? r : strcmp(one->name, other->name);
}

/* The store's order is that of namespace and name. */
static struct balancer_item *item_of(const struct reading *made, const struct balancer *balancer)
{
	struct balancer_item wanted;

	snprintf(wanted.namespace, sizeof(wanted.namespace), "%s", balancer->namespace);
	snprintf(wanted.name, sizeof(wanted.name), "%s", balancer->name);
	return bsearch(&wanted, made->items, made->count, sizeof(*made->items), compare_keys);
}

/* ---------------------------------------------------------------- what is told */

static void set_problem(struct balancers *b, const char *key, const char *why)
{
	char origin[BALANCER_KEY_MAX + 16];
	struct error error;

	snprintf(origin, sizeof(origin), "load-balancer:%s", key);
	if (why)
		error_at(&error, -ENOSPC, "", "Service %s: %s", key, why);
	store_set_problem(b->env.store, origin, why ? &error : NULL);
}

static void tell(struct balancers *b, const struct balancer_item *item, const char *why)
{
	const struct object *service =
		store_get(b->env.store, OBJECT_SERVICE, item->namespace, item->name);
	struct balancer_told *told;

	HASH_FIND_STR(b->told, item->key, told);
	if (!told) {
		told = calloc(1, sizeof(*told));
		if (!told)
			return;
		memcpy(told->key, item->key, sizeof(told->key));
		HASH_ADD_STR(b->told, key, told);
		if (!HASH_ADDED(hh, told)) {
			free(told);
			return;
		}
	}
	told->marked = true;
	if (strcmp(told->why, why) == 0)
		return;
	snprintf(told->why, sizeof(told->why), "%s", why);
	log_warning("balancer", "Service %s: %s", item->key, why);
	set_problem(b, item->key, why);
	if (service && item->from_api && b->env.refused)
		b->env.refused(service, why, b->env.data);
}

static void tell_all(struct balancers *b)
{
	struct balancer_told *told, *next;
	char text[INET6_ADDRSTRLEN], why[240];

	for (told = b->told; told; told = told->hh.next)
		told->marked = false;
	b->refused = 0;
	for (size_t i = 0; i < b->count; i++) {
		const struct balancer_item *item = &b->items[i];

		snprintf(why, sizeof(why), "%s", item->balancer.problem);
		if (!why[0] && item->asks_nonsense)
			snprintf(why, sizeof(why),
				 "its annotation " BALANCER_ASKED " is no address, or one of IPv4 "
				 "and one of IPv6 with a comma between: it is ignored");
		if (!why[0] && item->foreign_count && !item->unwanted)
			snprintf(why, sizeof(why),
				 "it has %s, which is in no pool of load-balancer-pools: it stays, "
				 "and no node announces it",
				 addr_format(&item->foreign[0], text));
		if (!why[0])
			continue;
		b->refused++;
		tell(b, item, why);
	}
	HASH_ITER (hh, b->told, told, next) {
		if (told->marked)
			continue;
		set_problem(b, told->key, NULL);
		HASH_DEL(b->told, told);
		free(told);
	}
}

/* ---------------------------------------------------------------- which addresses there are */

static bool is_known(const struct balancers *b, const struct polder_addr *addr)
{
	for (size_t i = 0; i < b->address_count; i++)
		if (memcmp(&b->addresses[i].addr, addr, sizeof(*addr)) == 0)
			return true;
	return false;
}

/* Until its status says another one, a Service is reached by the address that it has. */
static bool is_in_force(const struct balancer_item *item, int family, struct polder_addr *ret)
{
	*ret = item->from_api ? item->balancer.has[family] : item->balancer.gets[family];
	return !item->unwanted && !addr_is_zero(ret);
}

static int collect(struct balancers *b)
{
	struct balancer_address *all = calloc(BALANCER_FAMILIES * b->count + 1, sizeof(*all));

	if (!all)
		return -ENOMEM;
	free(b->addresses);
	b->addresses = all;
	b->address_count = 0;
	/* Of two that have one address, it is that one's to whom it is left. */
	for (int keeps = 1; keeps >= 0; keeps--) {
		for (size_t i = 0; i < b->count * BALANCER_FAMILIES; i++) {
			const struct balancer_item *item = &b->items[i / BALANCER_FAMILIES];
			int family = (int)(i % BALANCER_FAMILIES);
			const struct polder_addr *gets = &item->balancer.gets[family];
			struct balancer_address *one = &all[b->address_count];

			if (!is_in_force(item, family, &one->addr) ||
			    (memcmp(gets, &one->addr, sizeof(*gets)) == 0) != keeps ||
			    (!keeps && is_known(b, &one->addr)))
				continue;
			one->namespace = item->namespace;
			one->name = item->name;
			one->local = item->local;
			b->address_count++;
		}
	}
	return 0;
}

int balancers_update(struct balancers *b)
{
	const struct balancer_pools pools = {.ranges = b->env.config->pools,
					     .count = b->env.config->pool_count,
					     .is_others = is_taboo,
					     .data = b};
	struct reading made = {};
	int r = read_taboo(b, &pools);

	if (r == 0)
		r = read_all(b, &pools, &made);
	if (r < 0)
		return r;
	r = balancers_allocate(&pools, made.list, made.count);
	for (size_t i = 0; i < made.count && r == 0; i++)
		item_of(&made, &made.list[i])->balancer = made.list[i];
	free(made.list);
	if (r < 0) {
		free(made.items);
		return r;
	}
	free(b->items);
	b->items = made.items;
	b->count = made.count;
	tell_all(b);
	balancers_kept_take(b);
	return collect(b);
}

const struct balancer_address *balancers_addresses(const struct balancers *b, size_t *ret_count)
{
	*ret_count = b->address_count;
	return b->addresses;
}

size_t balancers_refused(const struct balancers *b)
{
	return b->refused;
}

size_t balancers_count(const struct balancers *b)
{
	return b->count;
}

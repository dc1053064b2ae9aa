/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel keeps the neighbours known by whom peers are reached natively: what a peer whom it
 * does not know sends is dropped. */
#include <errno.h>
#include <linux/neighbour.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/address.h"
#include "agent/common/log.h"
#include "agent/kernel/netlink_neighbour.h"
#include "agent/node/peers_internal.h"

/* States in which the kernel asks, or has an answer that it does not doubt. */
#define NUD_CARED_FOR (NUD_INCOMPLETE | NUD_REACHABLE | NUD_DELAY | NUD_PROBE)

struct neighbour {
	struct hash_table_item item;
	int ifindex;
	struct polder_addr addr;
	uint32_t peers; /* that are reached by it; 0: it has to go */
	int error;	/* the kernel's, 0 or -errno */
	bool is_due, is_seen;
	struct neighbour *next_due;
};

static uint32_t hash_of(int ifindex, const struct polder_addr *addr)
{
	return hash_table_hash_of(addr, sizeof(*addr)) ^ (uint32_t)ifindex * 0x9e3779b1u;
}

static struct neighbour *find(const struct peers *p, int ifindex, const struct polder_addr *addr)
{
	struct hash_table_item *item = hash_table_find(&p->neighbours, hash_of(ifindex, addr));

	for (; item; item = hash_table_find_next(item)) {
		struct neighbour *n = (struct neighbour *)item;

		if (n->ifindex == ifindex && memcmp(&n->addr, addr, sizeof(*addr)) == 0)
			return n;
	}
	return NULL;
}

static void set_due(struct peers *p, struct neighbour *n)
{
	if (n->is_due)
		return;
	n->is_due = true;
	n->next_due = p->due_neighbours;
	p->due_neighbours = n;
}

/* NULL: no memory. */
static struct neighbour *need(struct peers *p, int ifindex, const struct polder_addr *addr)
{
	struct neighbour *n = find(p, ifindex, addr);

	if (n) {
		n->peers++;
		return n;
	}
	n = calloc(1, sizeof(*n));
	if (!n)
		return NULL;
	*n = (struct neighbour){.ifindex = ifindex, .addr = *addr, .peers = 1};
	if (hash_table_add(&p->neighbours, &n->item, hash_of(ifindex, addr)) < 0) {
		free(n);
		return NULL;
	}
	set_due(p, n);
	return n;
}

static void leave(struct peers *p, struct neighbour *n)
{
	if (n && --n->peers == 0)
		set_due(p, n);
}

void peers_hold_neighbours(struct peers *p, struct peer *peer)
{
	for (int i = 0; i < 2; i++) {
		const struct peer_route *route = &peer->routes[i];
		struct neighbour *before = peer->neighbours[i];

		peer->neighbours[i] = route->way == WAY_NATIVE && route->ifindex
					      ? need(p, route->ifindex, &route->gateway)
					      : NULL;
		leave(p, before);
	}
}

void peers_leave_neighbours(struct peers *p, struct peer *peer)
{
	for (int i = 0; i < 2; i++) {
		leave(p, peer->neighbours[i]);
		peer->neighbours[i] = NULL;
	}
}

void peers_free_neighbours(struct peers *p)
{
	struct hash_table_item *item;

	while ((item = hash_table_first(&p->neighbours))) {
		hash_table_remove(&p->neighbours, item);
		free(item);
	}
	hash_table_clear(&p->neighbours);
}

/* ---------------------------------------------------------------- in the kernel */

static bool is_kept(const struct neighbour_info *info)
{
	return info->protocol == NETLINK_ROUTE_PROTOCOL &&
	       (info->is_managed || info->state & NUD_CARED_FOR);
}

static int make(struct netlink *nl, const struct neighbour *n)
{
	struct neighbour_info info;
	int r = netlink_neighbour_get(nl, n->ifindex, &n->addr, &info);

	if (r == 0 && (netlink_neighbour_is_others(&info) || is_kept(&info)))
		return 0;
	if (r < 0 && r != -ENOENT)
		return r;
	return netlink_neighbour_keep(nl, n->ifindex, &n->addr);
}

static int take_away(struct netlink *nl, int ifindex, const struct polder_addr *addr)
{
	struct neighbour_info info;
	int r = netlink_neighbour_get(nl, ifindex, addr, &info);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	if (netlink_neighbour_is_others(&info) || info.protocol != NETLINK_ROUTE_PROTOCOL)
		return 0;
	return netlink_neighbour_delete(nl, ifindex, addr);
}

static void told(struct netlink *nl, struct neighbour *n, int error)
{
	char text[INET6_ADDRSTRLEN];

	if (error < 0 && n->error == 0)
		log_warning("peers", "neighbour %s on link %d cannot be kept known: %s%s%s",
			    addr_format(&n->addr, text), n->ifindex, strerror(-error),
			    *netlink_error(nl) ? ": " : "", netlink_error(nl));
	n->error = error;
}

bool peers_neighbours_due(const struct peers *p)
{
	return p->due_neighbours;
}

void peers_keep_neighbours(struct peers *p, struct netlink *nl)
{
	struct neighbour *n;

	while ((n = p->due_neighbours)) {
		p->due_neighbours = n->next_due;
		n->is_due = false;
		if (n->peers) {
			told(nl, n, make(nl, n));
			continue;
		}
		/* What stays is found with all the others. */
		(void)take_away(nl, n->ifindex, &n->addr);
		hash_table_remove(&p->neighbours, &n->item);
		free(n);
	}
}

void peers_neighbour_gone(struct peers *p, int ifindex, const struct polder_addr *addr)
{
	struct neighbour *n = find(p, ifindex, addr);

	if (n)
		set_due(p, n);
}

static void look_at(struct peers *p, struct netlink *nl, const struct neighbour_info *info)
{
	struct neighbour *n = find(p, info->ifindex, &info->addr);

	if (n)
		n->is_seen = netlink_neighbour_is_others(info) || is_kept(info);
	else if (p->is_read && !p->incomplete && !netlink_neighbour_is_others(info) &&
		 info->protocol == NETLINK_ROUTE_PROTOCOL)
		(void)netlink_neighbour_delete(nl, info->ifindex, &info->addr);
}

int peers_check_neighbours(struct peers *p, struct netlink *nl)
{
	struct neighbour_info *list;
	struct hash_table_item *item;
	size_t count;
	int r = netlink_neighbour_list(nl, &list, &count);

	if (r < 0)
		return r;
	/* Some may have had no memory. */
	for (item = hash_table_first(&p->all); item; item = hash_table_next(&p->all, item))
		peers_hold_neighbours(p, (struct peer *)item);
	for (item = hash_table_first(&p->neighbours); item;
	     item = hash_table_next(&p->neighbours, item))
		((struct neighbour *)item)->is_seen = false;
	for (size_t i = 0; i < count; i++)
		look_at(p, nl, &list[i]);
	free(list);
	for (item = hash_table_first(&p->neighbours); item;
	     item = hash_table_next(&p->neighbours, item)) {
		struct neighbour *n = (struct neighbour *)item;

		if (!n->is_seen || n->error)
			set_due(p, n);
	}
	peers_keep_neighbours(p, nl);
	return 0;
}

size_t peers_unkept_neighbours(const struct peers *p, struct polder_addr *ret_one, int *ret_error)
{
	const struct hash_table_item *item;
	size_t count = 0;

	for (item = hash_table_first(&p->neighbours); item;
	     item = hash_table_next(&p->neighbours, item)) {
		const struct neighbour *n = (const struct neighbour *)item;

		if (!n->error)
			continue;
		if (count++ == 0) {
			*ret_one = n->addr;
			*ret_error = n->error;
		}
	}
	return count;
}

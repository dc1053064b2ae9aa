/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/node/network.h"

#include <errno.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>

#include "agent/pods/pods.h"
#include "agent/common/address.h"

/* ---------------------------------------------------------------- reading */

bool network_is_pods(const struct link_info *link)
{
	return link->is_veth && memcmp(link->mac, pods_gateway_mac, sizeof(link->mac)) == 0;
}

static int compare_links(const void *a, const void *b)
{
	const struct link_info *one = a, *other = b;

	return one->ifindex < other->ifindex ? -1 : one->ifindex > other->ifindex;
}

/* By link; of a link in the order in which they were. */
static int compare_places(const void *a, const void *b)
{
	const struct address_info *one = *(const struct address_info *const *)a;
	const struct address_info *other = *(const struct address_info *const *)b;

	if (one->ifindex != other->ifindex)
		return one->ifindex < other->ifindex ? -1 : 1;
	return one < other ? -1 : one > other;
}

int network_sort(struct network *n)
{
	const struct address_info **sorted = calloc(n->address_count + 1, sizeof(*sorted));
	struct address_info *copy = calloc(n->address_count + 1, sizeof(*copy));
	size_t i;

	if (!sorted || !copy) {
		free(sorted);
		free(copy);
		return -ENOMEM;
	}
	for (i = 0; i < n->address_count; i++)
		sorted[i] = &n->addresses[i];
	qsort(sorted, n->address_count, sizeof(*sorted), compare_places);
	for (i = 0; i < n->address_count; i++)
		copy[i] = *sorted[i];
	if (n->address_count)
		memcpy(n->addresses, copy, n->address_count * sizeof(*copy));
	free(sorted);
	free(copy);
	return 0;
}

/* Where the addresses of a link begin, or would. */
static size_t first_address(const struct network *n, int ifindex)
{
	size_t low = 0, high = n->address_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (n->addresses[middle].ifindex < ifindex)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* The addresses of a link, or with `all` those of all links. */
static const struct address_info *addresses_of(const struct network *n, int ifindex, bool all,
					       size_t *ret_count)
{
	size_t first = all ? 0 : first_address(n, ifindex);

	*ret_count = all ? n->address_count : first_address(n, ifindex + 1) - first;
	return n->addresses + first;
}

static void leave_out_pods(struct network *n)
{
	size_t kept = 0, i;

	for (i = 0; i < n->link_count; i++)
		if (!network_is_pods(&n->links[i]))
			n->links[kept++] = n->links[i];
	n->link_count = kept;
	if (kept)
		qsort(n->links, kept, sizeof(*n->links), compare_links);
	for (i = kept = 0; i < n->address_count; i++)
		if (network_link(n, n->addresses[i].ifindex))
			n->addresses[kept++] = n->addresses[i];
	n->address_count = kept;
	for (i = kept = 0; i < n->route_count; i++)
		if (!n->routes[i].ifindex || network_link(n, n->routes[i].ifindex))
			n->routes[kept++] = n->routes[i];
	n->route_count = kept;
}

int network_read(struct netlink *nl, struct network *ret)
{
	struct network n = {};
	int r = netlink_link_list(nl, &n.links, &n.link_count);

	if (r == 0)
		r = netlink_all_addresses(nl, &n.addresses, &n.address_count);
	if (r == 0)
		r = netlink_all_routes(nl, &n.routes, &n.route_count);
	if (r == 0)
		r = netlink_all_labels(nl, &n.labels, &n.label_count);
	if (r < 0) {
		network_clear(&n);
		return r;
	}
	leave_out_pods(&n);
	r = network_sort(&n);
	if (r < 0) {
		network_clear(&n);
		return r;
	}
	*ret = n;
	return 0;
}

void network_clear(struct network *n)
{
	free(n->links);
	free(n->addresses);
	free(n->routes);
	free(n->labels);
	*n = (struct network){};
}

static bool same_link(const struct link_info *a, const struct link_info *b)
{
	return a->ifindex == b->ifindex && strcmp(a->name, b->name) == 0 && a->mtu == b->mtu &&
	       a->up == b->up && a->type == b->type && a->master == b->master &&
	       strcmp(a->kind, b->kind) == 0 && strcmp(a->slave_kind, b->slave_kind) == 0;
}

static bool same_bytes(const void *a, size_t a_count, const void *b, size_t b_count, size_t size)
{
	return a_count == b_count && (!a_count || memcmp(a, b, a_count * size) == 0);
}

bool network_equal(const struct network *a, const struct network *b)
{
	size_t i;

	if (a->link_count != b->link_count)
		return false;
	for (i = 0; i < a->link_count; i++)
		if (!same_link(&a->links[i], &b->links[i]))
			return false;
	return same_bytes(a->addresses, a->address_count, b->addresses, b->address_count,
			  sizeof(*a->addresses)) &&
	       same_bytes(a->routes, a->route_count, b->routes, b->route_count,
			  sizeof(*a->routes)) &&
	       same_bytes(a->labels, a->label_count, b->labels, b->label_count, sizeof(*a->labels));
}

const struct link_info *network_link(const struct network *n, int ifindex)
{
	const struct link_info key = {.ifindex = ifindex};

	return n->link_count
		       ? bsearch(&key, n->links, n->link_count, sizeof(*n->links), compare_links)
		       : NULL;
}

const struct link_info *network_link_named(const struct network *n, const char *name)
{
	for (size_t i = 0; i < n->link_count; i++)
		if (strcmp(n->links[i].name, name) == 0)
			return &n->links[i];
	return NULL;
}

static bool addr_equal(const struct polder_addr *a, const struct polder_addr *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

bool network_has_address(const struct network *n, const struct polder_addr *addr)
{
	for (size_t i = 0; i < n->address_count; i++)
		if (addr_equal(&n->addresses[i].prefix.addr, addr))
			return true;
	return false;
}

unsigned int network_common_bits(const struct polder_addr *a, const struct polder_addr *b)
{
	unsigned int bits = 0;

	while (bits < 128 && a->bytes[bits / 8] == b->bytes[bits / 8])
		bits += 8;
	while (bits < 128 && !((a->bytes[bits / 8] ^ b->bytes[bits / 8]) & 0x80 >> bits % 8))
		bits++;
	return bits;
}

/* ---------------------------------------------------------------- IPv4 sources */

/* May a packet that goes as far as `scope` have it? A smaller number is farther. */
static bool v4_reaches(const struct address_info *a, uint8_t scope)
{
	return addr_is_v4(&a->prefix.addr) && !(a->flags & IFA_F_SECONDARY) &&
	       (a->scope > RT_SCOPE_LINK ? RT_SCOPE_LINK : a->scope) <= scope &&
	       a->scope != RT_SCOPE_HOST;
}

/* Lower is better; UINT32_MAX: not at all. */
static uint32_t v4_rank(const struct address_info *a, const struct route_info *route)
{
	bool near = !route->has_gateway || !addr_is_v4(&route->gateway) ||
		    network_common_bits(&a->prefix.addr, &route->gateway) >= a->prefix.length;

	if (!v4_reaches(a, route->scope))
		return UINT32_MAX;
	return (uint32_t)(a->ifindex != route->ifindex) << 2 | (uint32_t)!near << 1 |
	       (uint32_t) !!(a->flags & IFA_F_DEPRECATED);
}

static uint32_t v4_best(const struct network *n, const struct route_info *route, bool all,
			struct polder_addr *ret)
{
	size_t count;
	const struct address_info *list = addresses_of(n, route->ifindex, all, &count);
	uint32_t least = UINT32_MAX;

	for (size_t i = 0; i < count; i++) {
		uint32_t rank = v4_rank(&list[i], route);

		if (rank < least) {
			least = rank;
			*ret = list[i].prefix.addr;
		}
	}
	return least;
}

static struct polder_addr v4_source(const struct network *n, const struct route_info *route)
{
	struct polder_addr best = {};

	if (v4_best(n, route, false, &best) == UINT32_MAX)
		(void)v4_best(n, route, true, &best);
	return best;
}

/* ---------------------------------------------------------------- IPv6 sources */

static uint32_t label_of(const struct network *n, const struct polder_addr *addr, int ifindex)
{
	uint32_t label = UINT32_MAX;
	int longest = -1;

	for (size_t i = 0; i < n->label_count; i++) {
		const struct address_label *l = &n->labels[i];

		if ((l->ifindex && l->ifindex != ifindex) || l->prefix.length <= longest ||
		    !prefix_covers(&l->prefix, addr, 128))
			continue;
		longest = l->prefix.length;
		label = l->label;
	}
	return label;
}

/* Link-local addresses and those that are not in use yet are nobody's source here. */
static bool v6_usable(const struct address_info *a)
{
	return !addr_is_v4(&a->prefix.addr) && a->scope != RT_SCOPE_LINK &&
	       a->scope != RT_SCOPE_HOST && !(a->flags & IFA_F_DADFAILED) &&
	       (!(a->flags & IFA_F_TENTATIVE) || a->flags & IFA_F_OPTIMISTIC);
}

#define V6_GLOBAL    (1u << 29)
#define V6_PREFERRED (1u << 28)

/*
 * The rules of RFC 6724, 5, in the kernel's order, the first one in the highest bits; higher is
 * better. Site-local addresses (deprecated by RFC 3879) are the only ones of another scope.
 */
static uint32_t v6_score(const struct network *n, const struct address_info *a,
			 const struct route_info *route, const struct polder_addr *to,
			 uint32_t label)
{
	unsigned int bits = network_common_bits(&a->prefix.addr, to);

	if (bits > a->prefix.length)
		bits = a->prefix.length;
	return 1u << 31 | (uint32_t)addr_equal(&a->prefix.addr, to) << 30 |
	       (a->scope == RT_SCOPE_UNIVERSE ? V6_GLOBAL : 0) |
	       (a->flags & (IFA_F_DEPRECATED | IFA_F_OPTIMISTIC) ? 0 : V6_PREFERRED) |
	       (uint32_t) !!(a->flags & IFA_F_HOMEADDRESS) << 27 |
	       (uint32_t)(a->ifindex == route->ifindex) << 26 |
	       (uint32_t)(label_of(n, &a->prefix.addr, a->ifindex) == label) << 25 |
	       (uint32_t) !(a->flags & IFA_F_TEMPORARY) << 24 | bits;
}

/* Of the addresses of the route's link, or of all. What the first has, without a flag against it,
 * no other link's can beat. */
static uint32_t v6_best(const struct network *n, const struct route_info *route,
			const struct polder_addr *to, bool all, struct polder_addr *ret)
{
	uint32_t label = label_of(n, to, route->ifindex), most = 0;
	size_t count;
	const struct address_info *list = addresses_of(n, route->ifindex, all, &count);

	for (size_t i = 0; i < count; i++) {
		uint32_t score = v6_usable(&list[i]) ? v6_score(n, &list[i], route, to, label) : 0;

		if (score > most) {
			most = score;
			*ret = list[i].prefix.addr;
		}
	}
	return most;
}

static struct polder_addr v6_source(const struct network *n, const struct route_info *route,
				    const struct polder_addr *to)
{
	const uint32_t good = 1u << 31 | V6_GLOBAL | V6_PREFERRED;
	struct polder_addr best = {};

	if ((v6_best(n, route, to, false, &best) & good) != good)
		(void)v6_best(n, route, to, true, &best);
	return best;
}

struct polder_addr network_source(const struct network *n, const struct route_info *route,
				  const struct polder_addr *to)
{
	if (route->has_source && network_has_address(n, &route->source))
		return route->source;
	return addr_is_v4(&route->destination.addr) ? v4_source(n, route) : v6_source(n, route, to);
}

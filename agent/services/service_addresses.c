/* SPDX-License-Identifier: Apache-2.0 */
/* Which addresses Services may have, and the entries of addresses themselves. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/services/services_internal.h"

static bool same(const struct polder_addr *a, const struct polder_addr *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

/* ---------------------------------------------------------------- whose addresses they are */

static const struct prefix *link_address(const struct services *s, const struct polder_addr *addr)
{
	const struct node *node = s->env.node;

	for (size_t i = 0; i < node->address_count; i++)
		if (same(&node->addresses[i].addr, addr))
			return &node->addresses[i];
	return NULL;
}

bool address_is_on_node(const struct services *s, const struct polder_addr *addr)
{
	const struct node *node = s->env.node;

	return same(&node->ipv4, addr) || same(&node->ipv6, addr) || link_address(s, addr);
}

/*
 * One of this node's own, and no floating one: those that keepalived and its like move from node to
 * node have no network with them (/32, /128), and no Node has them.
 */
static bool is_this_nodes(const struct services *s, const struct polder_addr *addr)
{
	const struct node *node = s->env.node;
	const struct prefix *on_link = link_address(s, addr);
	const struct object *object =
		store_get(s->store, OBJECT_NODE, "", s->env.config->node_name);

	if (same(&node->ipv4, addr) || same(&node->ipv6, addr) ||
	    (on_link && on_link->length < 128))
		return true;
	for (size_t i = 0; object && i < object->node.address_count; i++)
		if (same(&object->node.addresses[i], addr))
			return true;
	return false;
}

static bool is_this_nodes_pods(const struct services *s, const struct polder_addr *addr)
{
	const struct config *config = s->env.config;

	return (config->pod_cidr_v4.length && prefix_contains(&config->pod_cidr_v4, addr)) ||
	       (config->pod_cidr_v6.length && prefix_contains(&config->pod_cidr_v6, addr));
}

bool address_is_here(const struct polder_addr *addr, const void *data)
{
	const struct services *s = data;

	return is_this_nodes_pods(s, addr) || address_is_on_node(s, addr);
}

void address_refuse(struct address_refusal *ret, const char *reason)
{
	snprintf(ret->reason, sizeof(ret->reason), "%s", reason);
	snprintf(ret->everywhere, sizeof(ret->everywhere), "%s", reason);
}

/* Each node knows whose ranges they are, and says it of its own in other words. */
static void refuse_pods(struct address_refusal *ret, const char *reason)
{
	address_refuse(ret, reason);
	snprintf(ret->everywhere, sizeof(ret->everywhere), "an address of a node's pod range");
}

/* Others may not know of it. */
static void refuse_own(struct address_refusal *ret, const char *node)
{
	address_refuse(ret, "this node's own address");
	snprintf(ret->everywhere, sizeof(ret->everywhere), "an address of node %s", node);
	ret->here = true;
}

static void refuse_nodes(struct address_refusal *ret, const struct peer *node)
{
	char reason[320];

	snprintf(reason, sizeof(reason), "an address of node %s", node ? node->name : "of another");
	address_refuse(ret, reason);
}

/* False: it is no node's. */
static bool refuse_a_nodes(const struct services *s, const struct polder_addr *addr,
			   struct address_refusal *ret)
{
	const struct peers *peers = s->env.peers;

	if (is_this_nodes(s, addr))
		refuse_own(ret, s->env.config->node_name);
	else if (peers && peers_claims_address(peers, addr))
		refuse_nodes(ret, peers_node_with(peers, addr));
	else
		return false;
	return true;
}

bool address_is_refused(const struct services *s, const struct polder_addr *addr,
			enum service_kind kind, struct address_refusal *ret)
{
	const char *reserved = addr_reserved_reason(addr);
	const struct prefix one = {.addr = *addr, .length = 128};
	const struct peers *peers = s->env.peers;

	if (reserved)
		address_refuse(ret, reserved);
	else if (is_this_nodes_pods(s, addr))
		refuse_pods(ret, "an address of this node's pod range");
	else if (peers && peers_claims_around(peers, &one))
		refuse_pods(ret, "an address of another node's pod range");
	else
		/* What a load balancer is given its controller answers for. */
		return kind != SERVICE_KIND_LOAD_BALANCER && refuse_a_nodes(s, addr, ret);
	return true;
}

/* ---------------------------------------------------------------- entries of addresses */

/* Nobody has it, or its other ports are the node's. */
static bool is_served(const struct services *s, const struct claim *claim)
{
	return claim->claimants && !address_is_on_node(s, &claim->key.addr);
}

static int delete_address(struct services *s, struct claim *claim)
{
	if (!claim->address_written)
		return 0;
	map_cache_delete(s->services, &claim->key);
	claim->address_written = false;
	s->frontend_count--;
	s->freed = true;
	notify_touched(s, &claim->key.addr);
	return 0;
}

int address_write(struct services *s, struct claim *claim)
{
	struct service_entry entry = {.flags = SERVICE_ADDRESS_ONLY};
	const struct service_entry *present;
	bool changes;
	int r;

	if (!is_served(s, claim))
		return delete_address(s, claim);
	if (!claim_cluster_ip(s, claim))
		entry.flags |= SERVICE_EXTERNAL;
	present = map_cache_find(s->services, &claim->key);
	changes = !present || memcmp(present, &entry, sizeof(entry)) != 0;
	r = map_cache_put(s->services, &claim->key, &entry);
	if (r < 0)
		return r;
	s->frontend_count += !claim->address_written;
	claim->address_written = true;
	if (changes)
		notify_touched(s, &claim->key.addr);
	return 0;
}

/* ---------------------------------------------------------------- flows to node ports */

void addresses_tell_node_ports(struct services *s)
{
	const struct object *const *nodes;
	size_t count;

	if (!s->node_ports_touched)
		return;
	s->node_ports_touched = false;
	for (size_t i = 0; i < s->env.node->address_count; i++)
		notify_touched(s, &s->env.node->addresses[i].addr);
	if (!addr_is_zero(&s->env.node->ipv4))
		notify_touched(s, &s->env.node->ipv4);
	if (!addr_is_zero(&s->env.node->ipv6))
		notify_touched(s, &s->env.node->ipv6);
	nodes = store_objects(s->store, OBJECT_NODE, &count);
	for (size_t i = 0; i < count; i++)
		for (size_t j = 0; j < nodes[i]->node.address_count; j++)
			notify_touched(s, &nodes[i]->node.addresses[j]);
}

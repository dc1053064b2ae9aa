/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/log.h"
#include "agent/policy/enforce_internal.h"
#include "policy/objects/address.h"

struct pass {
	struct enforce *e;
	unsigned int slot, next;
	bool switch_slots, full;
	int result;
};

static int remember(struct enforce *e, const struct address_key *key)
{
	struct pending_address *grown;

	if (e->pending_count % 64 == 0) {
		grown = reallocarray(e->pending, e->pending_count + 64, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		e->pending = grown;
	}
	e->pending[e->pending_count++].key = *key;
	return 0;
}

static bool is_local_pod(const struct address_key *key, const struct address_entry *entry)
{
	return key->prefixlen == 128 && entry->flags & ADDRESS_POD && entry->flags & ADDRESS_LOCAL;
}

/* In both maps. */
static int address_put(struct enforce *e, const struct address_key *key, const struct address_entry *entry)
{
	int r = shadow_put(e->addresses, key, entry);

	return r == 0 && is_local_pod(key, entry) ? local_pods_put(e->local_pods, &key->addr, entry) : r;
}

void address_touched(struct enforce *e, const struct polder_addr *addr)
{
	size_t room = e->touched_room ? 2 * e->touched_room : 64;
	struct polder_addr *grown;

	if (e->touched_count == e->touched_room) {
		grown = reallocarray(e->touched, room, sizeof(*grown));
		if (!grown) {
			e->move_owed = true;
			return;
		}
		e->touched = grown;
		e->touched_room = room;
	}
	e->touched[e->touched_count++] = *addr;
}

/* In both slots at once. A prefix may be any flow's. */
static void key_touched(struct enforce *e, const struct address_key *key)
{
	if (key->prefixlen == 128)
		address_touched(e, &key->addr);
	else
		e->move_owed = true;
}

/* `owner` is who is told of when there is no room. */
static void tell_full(struct pass *p, const char *owner, const struct polder_addr *addr)
{
	const struct map_info *info = maps_get(p->e->maps, MAP_ADDRESSES);
	char text[INET6_ADDRSTRLEN];

	p->full = true;
	addr_format(addr, text);
	enforce_problem_add(p->e, owner, "no room for its address %s: map addresses has %u entries, all in use; raise --max-addresses",
			    text, info->max_entries);
	log_error("addresses", "%s: no room for its address %s: map addresses has %u entries, all in use; raise --max-addresses",
		  owner, text, info->max_entries);
}

static void want(struct pass *p, const char *owner, const struct polder_addr *addr, uint8_t length, uint32_t identity,
		 uint32_t flags, uint32_t ifindex)
{
	struct address_key key = {.prefixlen = length, .addr = *addr};
	struct address_entry entry = {.identity = {identity, identity}, .flags = flags, .ifindex = ifindex};
	const struct address_entry *present = shadow_find(p->e->addresses, &key);
	bool in_place = false;
	int r;

	if (present && present->flags == flags && present->ifindex == ifindex) {
		if (present->identity[p->slot] == identity && present->identity[p->next] == identity) {
			shadow_want(p->e->addresses, &key);
			r = is_local_pod(&key, present) ? local_pods_put(p->e->local_pods, addr, present) : 0;
			p->result = r < 0 ? r : p->result;
			return;
		}
		entry.identity[p->slot] = present->identity[p->slot];
		p->switch_slots = true;
		r = remember(p->e, &key);
	} else {
		r = 0;
		in_place = true;
	}
	if (r == 0)
		r = address_put(p->e, &key, &entry);
	if (r == 0 && in_place)
		key_touched(p->e, &key);
	if (in_place && flags & ADDRESS_POD)
		shadow_mark(p->e->addresses, &key);
	if (r == -E2BIG)
		tell_full(p, owner, addr);
	else if (r < 0)
		p->result = r;
}

static void want_prefix(struct pass *p, const char *owner, const struct prefix *prefix, uint32_t identity, uint32_t flags)
{
	if (prefix->length)
		want(p, owner, &prefix->addr, prefix->length, identity, flags, 0);
}

static bool is_wanted(struct enforce *e, const struct polder_addr *addr)
{
	struct pod_name *name;

	HASH_FIND(hh, e->names, addr, sizeof(*addr), name);
	return name != NULL;
}

/* Who has the address is also what keeps another pod from it: without memory for that the pass fails. */
static void name_add(struct pass *p, const struct polder_addr *addr, const char *namespace, const char *pod)
{
	size_t length = strlen(namespace) + strlen(pod) + 2;
	struct pod_name *name = calloc(1, sizeof(*name) + length);

	if (!name) {
		p->result = -ENOMEM;
		return;
	}
	name->addr = *addr;
	snprintf(name->name, length, "%s/%s", namespace, pod);
	HASH_ADD(hh, p->e->names, addr, sizeof(name->addr), name);
	if (!HASH_ADDED(hh, name)) {
		free(name);
		p->result = -ENOMEM;
	}
}

static void names_clear(struct enforce *e)
{
	struct pod_name *name, *next;

	HASH_ITER(hh, e->names, name, next) {
		HASH_DEL(e->names, name);
		free(name);
	}
}

/* Is it this node's, or in its pod range? Then another Node object must not have it. */
static bool is_own(const struct enforce *e, const struct polder_addr *addr)
{
	size_t i;

	if ((e->config->pod_cidr_v4.length && prefix_contains(&e->config->pod_cidr_v4, addr)) ||
	    (e->config->pod_cidr_v6.length && prefix_contains(&e->config->pod_cidr_v6, addr)))
		return true;
	for (i = 0; i < e->node->address_count; i++)
		if (memcmp(&e->node->addresses[i].addr, addr, sizeof(*addr)) == 0)
			return true;
	return memcmp(&e->node->ipv4, addr, sizeof(*addr)) == 0 || memcmp(&e->node->ipv6, addr, sizeof(*addr)) == 0;
}

/* Is it a node's, as this pass wants it? */
static bool is_nodes(const struct enforce *e, const struct polder_addr *addr)
{
	struct address_key key = {.prefixlen = 128, .addr = *addr};
	const struct address_entry *present = shadow_find(e->addresses, &key);

	return present && present->flags & ADDRESS_NODE && shadow_is_wanted(e->addresses, &key);
}

/* Must the addresses be pods? Then no other range says what they are, also none inside. */
static bool in_pod_range(const struct enforce *e, const struct object *const *nodes, size_t count,
			 const struct prefix *prefix)
{
	const struct config *config = e->config;

	if ((config->pod_cidr_v4.length &&
	     prefix_covers(&config->pod_cidr_v4, &prefix->addr, prefix->length)) ||
	    (config->pod_cidr_v6.length &&
	     prefix_covers(&config->pod_cidr_v6, &prefix->addr, prefix->length)))
		return true;
	for (size_t i = 0; i < count; i++)
		for (size_t j = 0; j < nodes[i]->node.pod_range_count; j++)
			if (prefix_covers(&nodes[i]->node.pod_ranges[j], &prefix->addr,
					  prefix->length))
				return true;
	return false;
}

static void want_other_node(struct pass *p, const struct object *object)
{
	char subject[128], text[INET6_ADDRSTRLEN];
	const struct node_object *other = &object->node;
	size_t i;

	snprintf(subject, sizeof(subject), "node %s", object->name);
	for (i = 0; i < other->pod_range_count; i++) {
		if (is_own(p->e, &other->pod_ranges[i].addr))
			enforce_problem_add(p->e, subject, "its pod range %s is this node's: is --node-name right?",
					    addr_format(&other->pod_ranges[i].addr, text));
		else
			want_prefix(p, subject, &other->pod_ranges[i], IDENTITY_UNKNOWN_POD, ADDRESS_POD_RANGE);
	}
	for (i = 0; i < other->address_count; i++) {
		if (is_own(p->e, &other->addresses[i]))
			enforce_problem_add(p->e, subject, "its address %s is this node's: is --node-name right?",
					    addr_format(&other->addresses[i], text));
		else
			want(p, subject, &other->addresses[i], 128, IDENTITY_REMOTE_NODE, ADDRESS_NODE, 0);
	}
}

/* This node's and other nodes' addresses and pod ranges. */
static void want_nodes(struct pass *p)
{
	const struct config *config = p->e->config;
	const struct node *node = p->e->node;
	size_t count, i;
	const struct object *const *nodes = store_objects(p->e->store, OBJECT_NODE, &count);

	want_prefix(p, "this node", &config->pod_cidr_v4, IDENTITY_UNKNOWN_POD, ADDRESS_POD_RANGE | ADDRESS_LOCAL);
	want_prefix(p, "this node", &config->pod_cidr_v6, IDENTITY_UNKNOWN_POD, ADDRESS_POD_RANGE | ADDRESS_LOCAL);
	for (i = 0; i < config->no_masquerade_count; i++)
		if (!in_pod_range(p->e, nodes, count, &config->no_masquerade[i]))
			want_prefix(p, "this node", &config->no_masquerade[i], IDENTITY_WORLD,
				    ADDRESS_NO_MASQ);
	for (i = 0; i < node->address_count; i++)
		want(p, "this node", &node->addresses[i].addr, 128, IDENTITY_HOST, ADDRESS_NODE | ADDRESS_LOCAL, 0);
	if (!addr_is_zero(&node->ipv4))
		want(p, "this node", &node->ipv4, 128, IDENTITY_HOST, ADDRESS_NODE | ADDRESS_LOCAL, 0);
	if (!addr_is_zero(&node->ipv6))
		want(p, "this node", &node->ipv6, 128, IDENTITY_HOST, ADDRESS_NODE | ADDRESS_LOCAL, 0);
	for (i = 0; i < count; i++)
		if (strcmp(nodes[i]->name, config->node_name) != 0)
			want_other_node(p, nodes[i]);
}

/* Pods of other nodes. An address that a node or a local pod has, or another object had before, keeps its owner. */
static void want_remote_pod(struct pass *p, const struct object *pod, uint32_t identity)
{
	char text[INET6_ADDRSTRLEN], subject[128];
	size_t i;

	if (pod->pod.node_name && strcmp(pod->pod.node_name, p->e->config->node_name) == 0)
		return; /* ours, but not connected: not yet, or not by us */
	snprintf(subject, sizeof(subject), "pod %s/%s", pod->namespace, pod->name);
	for (i = 0; i < pod->pod.address_count; i++) {
		const struct polder_addr *addr = &pod->pod.addresses[i];

		if (is_own(p->e, addr))
			continue; /* this node gives these addresses */
		if (is_wanted(p->e, addr) || is_nodes(p->e, addr)) {
			enforce_problem_add(p->e, subject, "its address %s is another pod's or a node's already: not taken",
					    addr_format(addr, text));
			continue;
		}
		name_add(p, addr, pod->namespace, pod->name);
		want(p, subject, addr, 128, identity, ADDRESS_POD, 0);
	}
}

static void want_local_pod(struct pass *p, const struct enforced_pod *pod)
{
	char subject[128];
	size_t i;

	snprintf(subject, sizeof(subject), "pod %s/%s", pod->object.namespace, pod->object.name);
	for (i = 0; i < pod->address_count; i++) {
		name_add(p, &pod->addresses[i], pod->object.namespace, pod->object.name);
		want(p, subject, &pod->addresses[i], 128, pod->identity, ADDRESS_POD | ADDRESS_LOCAL, pod->entry.ifindex);
	}
}

static bool is_known_pod(const struct polder_addr *addr, void *data)
{
	struct address_key key = {.prefixlen = 128, .addr = *addr};
	struct enforce *e = data;
	const struct address_entry *present = shadow_find(e->addresses, &key);

	return present && is_local_pod(&key, present) && shadow_is_wanted(e->addresses, &key);
}

static int touch_unwanted(const void *key, const void *value, void *data)
{
	struct enforce *e = data;

	(void)value;
	if (!shadow_is_wanted(e->addresses, key))
		key_touched(e, key);
	return 0;
}

int addresses_write(struct enforce *e, const struct policy_input *input, const struct compiled_policy *policy,
		    bool *ret_switch, bool *ret_again)
{
	struct pass p = {.e = e, .slot = enforce_slot(e), .next = !enforce_slot(e)};
	struct enforced_pod *pod;
	size_t i;
	int swept;

	shadow_begin(e->addresses);
	names_clear(e);
	want_nodes(&p);
	for (pod = e->pods; pod; pod = pod->next)
		want_local_pod(&p, pod);
	for (i = 0; i < input->pod_count; i++)
		if (!input->subject[i] && policy->pods[i].identity)
			want_remote_pod(&p, input->pods[i], policy->pods[i].identity);
	if (p.result == 0 && !e->policy)
		p.result = local_pods_forget(e->local_pods, is_known_pod, e);
	if (p.result < 0)
		return p.result;
	shadow_each(e->addresses, touch_unwanted, e);
	swept = shadow_sweep(e->addresses);
	if (swept < 0)
		return swept;
	*ret_switch |= p.switch_slots;
	*ret_again |= p.full && swept > 0;
	return 0;
}

bool addresses_lacks(const struct enforce *e, const struct polder_addr *addr)
{
	struct address_key key = {.prefixlen = 128, .addr = *addr};

	return !shadow_find(e->addresses, &key);
}

void addresses_remove(struct enforce *e, const struct polder_addr *addr)
{
	struct address_key key = {.prefixlen = 128, .addr = *addr};

	local_pods_clear(e->local_pods, addr);
	shadow_delete(e->addresses, &key);
}

static int clear_marked(const void *key, const void *value, void *data)
{
	const struct address_key *address = key;
	struct enforce *e = data;

	if (shadow_is_marked(e->addresses, key) && is_local_pod(address, value))
		local_pods_clear(e->local_pods, &address->addr);
	return 0;
}

void addresses_undo(struct enforce *e)
{
	shadow_each(e->addresses, clear_marked, e);
	shadow_drop_marked(e->addresses);
}

void addresses_mirror(struct enforce *e)
{
	unsigned int slot = enforce_slot(e);
	size_t i;

	for (i = 0; i < e->pending_count; i++) {
		const struct address_entry *present = shadow_find(e->addresses, &e->pending[i].key);
		struct address_entry entry;

		if (!present)
			continue;
		entry = *present;
		entry.identity[!slot] = entry.identity[slot];
		address_put(e, &e->pending[i].key, &entry);
	}
	free(e->pending);
	e->pending = NULL;
	e->pending_count = 0;
}

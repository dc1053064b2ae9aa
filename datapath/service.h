/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Services: from an address and port to an endpoint. */
#pragma once

#include "packet.h"

static __always_inline const struct service_entry *service_find(const struct polder_addr *addr,
								__be16 port_be, __u8 proto)
{
	struct service_key key = {.addr = *addr, .port_be = port_be, .proto = proto};

	return bpf_map_lookup_elem(&services, &key);
}

/* What is served at all addresses that serve node ports: under the family's unspecified one. */
static __always_inline const struct service_entry *node_port_find(const struct polder_addr *addr,
								  __be16 port_be, __u8 proto)
{
	struct polder_addr any = is_v4_mapped(addr) ? addr_from4(0) : (struct polder_addr){};

	return service_find(&any, port_be, proto);
}

/* Is the address a Service's, whatever the port? */
static __always_inline bool service_has_address(const struct polder_addr *addr)
{
	return service_find(addr, 0, 0) != NULL;
}

/* Who asks for a Service. */
enum service_caller {
	CALLER_INSIDE,	/* a pod of this node, or the node itself */
	CALLER_CLUSTER, /* another node, or a pod of one, that asked this node */
	CALLER_OUTSIDE,
};

/* Has it to stay on this node what the caller sends? */
static __always_inline bool service_is_local(const struct service_entry *service,
					     enum service_caller caller)
{
	if (caller == CALLER_INSIDE)
		return service->flags & SERVICE_INTERNAL_LOCAL;
	return caller == CALLER_OUTSIDE && service->flags & SERVICE_EXTERNAL_LOCAL;
}

/* The same number on every node, whatever its seed: of a client, and a Service's address and port.
 */
static __always_inline __u32 service_hash(const struct polder_addr *client, __be16 client_port_be,
					  const struct polder_addr *service, __be16 service_port_be,
					  __u8 proto)
{
	__u64 h = (__u64)client_port_be << 32 | (__u64)service_port_be << 16 | proto;
	int i;

	for (i = 0; i < 4; i++) {
		h = (h ^ client->words_be[i] ^ (__u64)service->words_be[i] << 32) *
		    0x9e3779b97f4a7c15ULL;
		h ^= h >> 32;
	}
	h *= 0xff51afd7ed558ccdULL;
	return h >> 32;
}

/* The endpoint of the table's cell that the hash names; NULL: there is no table, or the cell names
 * none. */
static __always_inline const struct backend *
service_pick_by_table(__u32 table, __u32 size, __u32 first, __u32 count, __u32 hash)
{
	const struct service_cells *cells;
	__u32 cell, index;

	if (!size)
		return NULL;
	cell = hash % size;
	index = table + cell / SERVICE_CELLS;
	cells = bpf_map_lookup_elem(&service_tables, &index);
	if (!cells)
		return NULL;
	index = cells->places[cell % SERVICE_CELLS];
	if (index >= count)
		return NULL;
	index += first;
	return bpf_map_lookup_elem(&backends, &index);
}

/*
 * An endpoint of the cluster's set or of this node's (`local`): by the set's table and the hash,
 * else by the random number, each as likely. NULL: the set is empty.
 */
static __always_inline const struct backend *service_pick(const struct service_entry *service,
							  bool local, __u32 random, __u32 hash)
{
	__u32 first = local ? service->local_first : service->backend_first;
	__u32 count = local ? service->local_count : service->backend_count;
	const struct backend *backend;
	__u32 index;

	if (!count)
		return NULL;
	backend = service_pick_by_table(local ? service->local_table_first : service->table_first,
					local ? service->local_table_size : service->table_size,
					first, count, hash);
	if (backend)
		return backend;
	/* The high half of a product: even for every count, without a division. */
	index = first + (((__u64)random * count) >> 32);
	return bpf_map_lookup_elem(&backends, &index);
}

/* Why a set that is empty gives no endpoint: what has to stay on this node is dropped while other
 * nodes serve. */
static __always_inline int service_empty(const struct service_entry *service, bool local)
{
	return local && service->backend_count ? -REASON_NO_LOCAL_ENDPOINT : -REASON_NO_ENDPOINT;
}

/* May a flow that exists stay with this endpoint? 0: no; else enum backend_state. */
static __always_inline __u32 service_backend_state(__u32 service_id, const struct polder_addr *addr,
						   __be16 port_be)
{
	struct backend_state_key key = {
		.service_id = service_id, .addr = *addr, .port_be = port_be};
	const __u32 *state = bpf_map_lookup_elem(&backend_states, &key);

	return state ? *state : 0;
}

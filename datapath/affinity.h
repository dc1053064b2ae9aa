/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Clients that stay with their endpoint: one table for the packet path and for the node's sockets.
 */
#pragma once

#include "service.h"

static __always_inline __u32 now_seconds(void)
{
	return bpf_ktime_get_coarse_ns() / 1000000000ULL;
}

static __always_inline bool is_local_address(const struct polder_addr *addr)
{
	const struct address_entry *entry = address_find(addr);

	return entry && entry->flags & ADDRESS_LOCAL;
}

/*
 * The endpoint that the client has, if its time is not over, it takes new flows still, and, where
 * that is asked for, it is of this node. False: there is none; it is to be chosen.
 */
static __always_inline bool affinity_find(const struct service_entry *service,
					  const struct polder_addr *client, bool local,
					  struct polder_addr *ret_addr, __be16 *ret_port_be)
{
	struct service_affinity_key key = {.client = *client, .service_id = service->id};
	const struct service_affinity *known;

	if (!service->affinity_seconds)
		return false;
	known = bpf_map_lookup_elem(&service_affinity, &key);
	if (!known || now_seconds() - known->used >= service->affinity_seconds ||
	    service_backend_state(service->id, &known->endpoint, known->port_be) !=
		    BACKEND_ACTIVE ||
	    (local && !is_local_address(&known->endpoint)))
		return false;
	*ret_addr = known->endpoint;
	*ret_port_be = known->port_be;
	return true;
}

/* The client has this endpoint from now on, or has used it again. */
static __always_inline void affinity_note(const struct service_entry *service,
					  const struct polder_addr *client,
					  const struct polder_addr *endpoint, __be16 port_be)
{
	struct service_affinity_key key = {.client = *client, .service_id = service->id};
	struct service_affinity now = {.endpoint = *endpoint, .port_be = port_be}, *known;

	if (!service->affinity_seconds)
		return;
	now.used = now_seconds();
	known = bpf_map_lookup_elem(&service_affinity, &key);
	if (known && known->port_be == port_be && addr_equal(&known->endpoint, endpoint))
		WRITE_ONCE(known->used, now.used); /* far cheaper than an insertion */
	else
		bpf_map_update_elem(&service_affinity, &key, &now, BPF_ANY);
}

/* A packet of a flow that exists: its client has used the endpoint just now, if it has it still. */
static __always_inline void affinity_renew(const struct service_entry *service,
					   const struct polder_addr *client,
					   const struct polder_addr *endpoint, __be16 port_be)
{
	struct service_affinity_key key = {.client = *client, .service_id = service->id};
	struct service_affinity *known;

	if (!service->affinity_seconds)
		return;
	known = bpf_map_lookup_elem(&service_affinity, &key);
	if (known && known->port_be == port_be && addr_equal(&known->endpoint, endpoint))
		WRITE_ONCE(known->used, now_seconds());
}

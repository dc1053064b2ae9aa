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

/* Is the address a Service's, whatever the port? */
static __always_inline bool service_has_address(const struct polder_addr *addr)
{
	return service_find(addr, 0, 0) != NULL;
}

/* An even choice by a random or hashed number. NULL: none. */
static __always_inline const struct backend *service_pick(const struct service_entry *service,
							  __u32 random)
{
	__u32 index;

	if (!service->backend_count)
		return NULL;
	/* The high half of a product: even for every count, without a division. */
	index = service->backend_first + (((__u64)random * service->backend_count) >> 32);
	return bpf_map_lookup_elem(&backends, &index);
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

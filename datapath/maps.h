/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The maps that programs share by their pins, and the plain look-ups in them. Sizes are set by the
 * agent. */
#pragma once

#include "common.h"

#define MAP(map_name, map_type, key_type, value_type, entries, flag_bits)                          \
	struct {                                                                                   \
		__uint(type, map_type);                                                            \
		__uint(max_entries, entries);                                                      \
		__uint(map_flags, flag_bits);                                                      \
		__type(key, key_type);                                                             \
		__type(value, value_type);                                                         \
	} map_name SEC(".maps")

MAP(control, BPF_MAP_TYPE_ARRAY, __u32, struct control, 1, BPF_F_MMAPABLE);

MAP(flows4, BPF_MAP_TYPE_ARRAY, __u32, struct flow4_set, 16384, BPF_F_MMAPABLE);
MAP(flows6, BPF_MAP_TYPE_ARRAY, __u32, struct flow6_set, 8192, BPF_F_MMAPABLE);
MAP(flow_tags4, BPF_MAP_TYPE_ARRAY, __u32, __u64, 16384, BPF_F_MMAPABLE);
MAP(flow_tags6, BPF_MAP_TYPE_ARRAY, __u32, __u64, 8192, BPF_F_MMAPABLE);
MAP(flow_usage, BPF_MAP_TYPE_ARRAY, __u32, struct flow_usage, 4096 + 1, BPF_F_MMAPABLE);
MAP(next_hops, BPF_MAP_TYPE_ARRAY, __u32, struct next_hop, NEXT_HOPS + POLDER_MAX_PEERS, 0);
MAP(peers, BPF_MAP_TYPE_ARRAY, __u32, struct peer_entry, POLDER_MAX_PEERS, BPF_F_RDONLY_PROG);
MAP(tunnel_ends, BPF_MAP_TYPE_ARRAY, __u32, struct tunnel_end, TUNNEL_ENDS, BPF_F_RDONLY_PROG);
MAP(egress_routes, BPF_MAP_TYPE_LPM_TRIE, struct address_key, struct egress_route, 65536,
    BPF_F_NO_PREALLOC | BPF_F_RDONLY_PROG);
MAP(this_node, BPF_MAP_TYPE_ARRAY, __u32, struct node_addresses, 1, BPF_F_RDONLY_PROG);
MAP(nat_full, BPF_MAP_TYPE_ARRAY, __u32, __u32, NAT_FULL_SLOTS, 0);

MAP(pods, BPF_MAP_TYPE_ARRAY, __u32, struct pod_entry, 4096, BPF_F_RDONLY_PROG);
MAP(addresses, BPF_MAP_TYPE_LPM_TRIE, struct address_key, struct address_entry, 131072,
    BPF_F_NO_PREALLOC | BPF_F_RDONLY_PROG);
MAP(local_pods, BPF_MAP_TYPE_ARRAY, __u32, struct local_pod_address, 2 * 4096,
    BPF_F_MMAPABLE | BPF_F_RDONLY_PROG);

MAP(rulesets, BPF_MAP_TYPE_ARRAY, __u32, struct ruleset_entry, 16400,
    BPF_F_MMAPABLE | BPF_F_RDONLY_PROG);
MAP(ruleset_peers, BPF_MAP_TYPE_HASH, struct ruleset_peer_key, struct ruleset_peer, 262144,
    BPF_F_NO_PREALLOC | BPF_F_RDONLY_PROG);
MAP(ruleset_prefixes, BPF_MAP_TYPE_LPM_TRIE, struct ruleset_prefix_key, __u32, 262144,
    BPF_F_NO_PREALLOC | BPF_F_RDONLY_PROG);
MAP(ruleset_ports, BPF_MAP_TYPE_LPM_TRIE, struct ruleset_port_key, __u32, 262144,
    BPF_F_NO_PREALLOC | BPF_F_RDONLY_PROG);
MAP(ruleset_cells, BPF_MAP_TYPE_HASH, struct ruleset_cell_key, struct ruleset_cell, 262144,
    BPF_F_NO_PREALLOC | BPF_F_RDONLY_PROG);

MAP(ruleset_tables, BPF_MAP_TYPE_ARRAY, __u32, struct ruleset_cell, 262144,
    BPF_F_MMAPABLE | BPF_F_RDONLY_PROG);

MAP(rule_counters, BPF_MAP_TYPE_PERCPU_HASH, __u32, struct rule_counter, 65536, BPF_F_NO_PREALLOC);
MAP(flow_rules4, BPF_MAP_TYPE_ARRAY, __u32, struct flow_rules_set, 16384, BPF_F_MMAPABLE);
MAP(flow_rules6, BPF_MAP_TYPE_ARRAY, __u32, struct flow_rules_set, 8192, BPF_F_MMAPABLE);

MAP(services, BPF_MAP_TYPE_HASH, struct service_key, struct service_entry, 65536,
    BPF_F_NO_PREALLOC | BPF_F_RDONLY_PROG);
MAP(backends, BPF_MAP_TYPE_ARRAY, __u32, struct backend, 262144,
    BPF_F_MMAPABLE | BPF_F_RDONLY_PROG);
MAP(backend_states, BPF_MAP_TYPE_HASH, struct backend_state_key, __u32, 262144,
    BPF_F_NO_PREALLOC | BPF_F_RDONLY_PROG);

MAP(service_tables, BPF_MAP_TYPE_ARRAY, __u32, struct service_cells, 32768,
    BPF_F_MMAPABLE | BPF_F_RDONLY_PROG);
MAP(service_sources, BPF_MAP_TYPE_LPM_TRIE, struct service_source_key, __u32, 65536,
    BPF_F_NO_PREALLOC | BPF_F_RDONLY_PROG);
MAP(service_affinity, BPF_MAP_TYPE_LRU_HASH, struct service_affinity_key, struct service_affinity,
    65536, 0);

MAP(host_endpoints, BPF_MAP_TYPE_ARRAY, __u32, __u64, HOST_ENDPOINT_WORDS, 0);
MAP(announced, BPF_MAP_TYPE_HASH, struct polder_addr, struct announced, ANNOUNCED_MAX,
    BPF_F_RDONLY_PROG);

MAP(socket_peers, BPF_MAP_TYPE_HASH, __u64, struct socket_peer, 65536, BPF_F_NO_PREALLOC);
MAP(socket_origins, BPF_MAP_TYPE_LRU_HASH, struct socket_origin_key, struct socket_origin, 65536,
    0);
MAP(fragments, BPF_MAP_TYPE_ARRAY, __u32, struct fragment_set, 1024, 0);

MAP(drops, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, struct drop_counter, REASON_COUNT *DROP_HOOKS, 0);
MAP(counters, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, __u64, COUNTER_COUNT, 0);

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events SEC(".maps");

/* Tokens for events, one bucket a CPU. */
struct event_budget {
	__u64 refilled_ns;
	__u64 tokens;
};
MAP(event_budgets, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, struct event_budget, 1, 0);

/* One token, of so many a second (0: no limit). False: there is none left. */
static __always_inline bool budget_take(struct event_budget *budget, __u32 per_second)
{
	__u64 now;

	if (!per_second)
		return true;
	if (!budget)
		return false;
	now = bpf_ktime_get_ns();
	if (now - budget->refilled_ns > 1000000000ULL) {
		budget->refilled_ns = now;
		budget->tokens = per_second;
	}
	if (!budget->tokens)
		return false;
	budget->tokens--;
	return true;
}

static __always_inline struct control *control_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&control, &zero);
}

/* The node's own addresses. */
static __always_inline const struct node_addresses *this_node_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&this_node, &zero);
}

static __always_inline void count_up(enum polder_counter which)
{
	__u32 index = which;
	__u64 *counter = bpf_map_lookup_elem(&counters, &index);

	if (counter)
		(*counter)++;
}

/* The place in `pods` of the pod behind a host-side link. */
static __always_inline __u16 pod_index(__u32 ifindex)
{
	return ifindex & config.pods_mask;
}

/* The pod at a place; its ifindex is 0 if there is none. */
static __always_inline const struct pod_entry *pod_at(__u32 place)
{
	return bpf_map_lookup_elem(&pods, &place);
}

/* The entry of the pod behind a host-side link; NULL if there is none. */
static __always_inline const struct pod_entry *pod_of_link(__u32 ifindex)
{
	const struct pod_entry *pod = pod_at(ifindex & config.pods_mask);

	return pod && pod->ifindex == ifindex ? pod : NULL;
}

static __always_inline bool is_v4_mapped(const struct polder_addr *addr)
{
	return !(addr->words_be[0] | addr->words_be[1] | (addr->words_be[2] ^ bpf_htonl(0xffff)));
}

/* May one of this node's pods have the address? Only then is it worth a look at the array. */
static __always_inline bool in_pod_range(const struct polder_addr *addr, bool v4)
{
	const volatile struct datapath_config *c = &config;

	if (v4)
		return (addr->words_be[3] & c->pod_mask_ipv4_be) == c->pod_range_ipv4_be;
	return (addr->words_be[0] & c->pod_mask_ipv6_be[0]) == c->pod_range_ipv6_be[0] &&
	       (addr->words_be[1] & c->pod_mask_ipv6_be[1]) == c->pod_range_ipv6_be[1];
}

static __always_inline const struct address_entry *local_pod_find(const struct polder_addr *addr)
{
	__u32 mask = config.local_pods_mask, index = bpf_ntohl(addr->words_be[3]) & mask;
	const struct local_pod_address *local;
	bool v4 = is_v4_mapped(addr);

	if (!in_pod_range(addr, v4))
		return NULL;
	if (!v4)
		index += mask + 1;
	local = bpf_map_lookup_elem(&local_pods, &index);
	if (!local || !local->entry.flags ||
	    (local->addr.words_be[0] ^ addr->words_be[0]) |
		    (local->addr.words_be[1] ^ addr->words_be[1]) |
		    (local->addr.words_be[2] ^ addr->words_be[2]) |
		    (local->addr.words_be[3] ^ addr->words_be[3]))
		return NULL;
	return &local->entry;
}

static __always_inline const struct address_entry *address_find(const struct polder_addr *addr)
{
	struct address_key key = {.prefixlen = 128, .addr = *addr};
	const struct address_entry *local = local_pod_find(addr);

	if (local)
		return local;
	return bpf_map_lookup_elem(&addresses, &key);
}

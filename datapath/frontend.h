/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Where Services are met: at ClusterIPs, at external addresses, at the node's own as node ports.
 * Who may use which, and how what comes from outside goes to its endpoint: with the client's
 * address, with one of this node, or handed on to the endpoint's node (DSR).
 */
#pragma once

#include "affinity.h"
#include "slow_path_state.h"

static __always_inline bool has_service_ports(__u8 proto)
{
	return proto == IPPROTO_TCP || proto == IPPROTO_UDP || proto == IPPROTO_SCTP;
}

/*
 * What is served at an address and port. `flags`: what `addresses` says of the address. Another
 * node's node ports are served here only if that node hands on what it gets (`handed_on`).
 */
static __always_inline const struct service_entry *frontend_find(const struct polder_addr *addr,
								 __be16 port_be, __u8 proto,
								 __u32 flags, bool handed_on)
{
	const struct service_entry *service = service_find(addr, port_be, proto);

	if (service || !(flags & ADDRESS_NODE_PORTS) || !(flags & ADDRESS_LOCAL || handed_on))
		return service;
	service = node_port_find(addr, port_be, proto);
	return service && (flags & ADDRESS_LOCAL || service->flags & SERVICE_DSR) ? service : NULL;
}

/* ------------------------------------------------------------------ from outside */

/* Is a socket of the node connected to the sender? Then what comes from there is the answer to what
 * the node sent. 1: yes. */
__noinline int node_socket_connected(packet_context *ctx, struct packet *p)
{
	struct bpf_sock_tuple t = {};
	struct bpf_sock *sk;
	int connected;
	__u32 size;

	if (!p)
		return 0;
	if (p->family == FAMILY_V4) {
		t.ipv4.saddr = p->tuple.v4.saddr_be;
		t.ipv4.daddr = p->tuple.v4.daddr_be;
		t.ipv4.sport = p->tuple.sport_be;
		t.ipv4.dport = p->tuple.dport_be;
		size = sizeof(t.ipv4);
	} else {
		__builtin_memcpy(t.ipv6.saddr, p->tuple.v6.saddr_be, 32);
		t.ipv6.sport = p->tuple.sport_be;
		t.ipv6.dport = p->tuple.dport_be;
		size = sizeof(t.ipv6);
	}
	sk = bpf_sk_lookup_udp(ctx, &t, size, BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return 0;
	connected = sk->state == BPF_TCP_ESTABLISHED;
	bpf_sk_release(sk);
	return connected;
}

/*
 * Of no known flow, and for a port of the node's own address that is a node port: is it the node's
 * own nevertheless? A connection begins with a SYN: what does not is an answer to the node, or the
 * stack knows what to say.
 */
static __always_inline bool frontend_yields(packet_context *ctx, struct packet *p)
{
	if (p->tuple.proto == IPPROTO_TCP)
		return !is_syn(p);
	return p->tuple.proto == IPPROTO_UDP && node_socket_connected(ctx, p);
}

/*
 * From outside, of no known flow, for an address that is no pod's. `flags`: what `addresses` says
 * of it. 1: for a Service, to be evaluated; 0: not Polder's; or -reason.
 */
static __always_inline int frontend_from_outside(packet_context *ctx, struct packet *p,
						 const struct polder_addr *to, __u32 flags)
{
	const bool own = (flags & (ADDRESS_NODE | ADDRESS_LOCAL)) == (ADDRESS_NODE | ADDRESS_LOCAL);
	const struct service_entry *service = NULL;

	if (has_service_ports(p->tuple.proto) && !(p->flags & PACKET_LATER_FRAGMENT))
		service = frontend_find(to, p->tuple.dport_be, p->tuple.proto, flags, true);
	if (service && service->flags & SERVICE_EXTERNAL) {
		if (own && frontend_yields(ctx, p))
			return 0;
		if (p->tuple.proto == IPPROTO_TCP && !is_syn(p) && !(service->flags & SERVICE_DSR))
			return -REASON_SERVICE_NO_FLOW;
		p->frontend = 1;
		return 1;
	}
	if (own)
		return 0;
	if (flags & ADDRESS_LOCAL)
		return -REASON_UNKNOWN_POD;
	if (flags & (ADDRESS_POD | ADDRESS_POD_RANGE | ADDRESS_NODE))
		return 0;
	service = service_find(to, 0, 0);
	if (!service)
		return 0;
	return service->flags & SERVICE_EXTERNAL ? -REASON_NO_SERVICE_PORT
						 : -REASON_SERVICE_FROM_OUTSIDE;
}

/* Not of a known flow: a local pod's packets are evaluated, and a Service's; the rest belongs to
 * the node's stack. 1: evaluate. */
__noinline int for_a_pod(packet_context *ctx, struct packet *p)
{
	const struct address_entry *entry;
	struct polder_addr to;
	__u32 flags = 0;

	if (!p)
		return -REASON_INTERNAL;
	to = tuple_daddr(&p->tuple, p->family);
	entry = address_find(&to);
	if (entry)
		flags = entry->flags;
	barrier();
	if (flags & ADDRESS_LOCAL && flags & ADDRESS_POD)
		return 1;
	return frontend_from_outside(ctx, p, &to, flags);
}

/* ------------------------------------------------------------------ which endpoint */

/* May who is outside use the Service's port? */
static __always_inline bool frontend_admits(const struct service_entry *service,
					    const struct polder_addr *client)
{
	struct service_source_key key = {
		.prefixlen = 32 + 128, .service_id = service->id, .addr = *client};

	return !(service->flags & SERVICE_SOURCES) || bpf_map_lookup_elem(&service_sources, &key);
}

/* Pods and nodes of the cluster that come by the wire or the tunnel are told from others only where
 * that makes a difference. */
static __always_inline enum service_caller frontend_caller(const struct slow_path *path,
							   const struct service_entry *service)
{
	const struct address_entry *from;

	if (path->fwd.tuple.zone == ZONE_POD)
		return CALLER_INSIDE;
	if (!(service->flags & (SERVICE_EXTERNAL_LOCAL | SERVICE_SOURCES | SERVICE_DSR)))
		return CALLER_CLUSTER;
	from = address_find(&path->src);
	return from && from->flags & (ADDRESS_POD | ADDRESS_POD_RANGE | ADDRESS_NODE)
		       ? CALLER_CLUSTER
		       : CALLER_OUTSIDE;
}

/* A client with affinity is the same by whatever port it comes. */
static __always_inline __u32 frontend_hash(const struct slow_path *path,
					   const struct service_entry *service)
{
	const struct flow_tuple *t = &path->fwd.tuple;

	return service_hash(&path->src, service->affinity_seconds ? 0 : t->sport_be, &path->dst,
			    t->dport_be, t->proto);
}

/*
 * The endpoint of what another node has handed on: the one that its table gave it, if this node's
 * table says the same, else any of this node's. It is never handed on again.
 */
static __always_inline const struct backend *frontend_handed_on(const struct service_entry *service,
								__u32 random, __u32 hash)
{
	const struct backend *backend =
		service_pick_by_table(service->table_first, service->table_size,
				      service->backend_first, service->backend_count, hash);

	if (backend && is_local_address(&backend->addr))
		return backend;
	return service_pick(service, true, random, hash);
}

/* An endpoint of path->service for a new flow. 0 or -reason. Global: verified once. */
__noinline int frontend_choose(struct slow_path *path, bool local)
{
	const struct service_entry *service;
	const struct backend *backend;
	__u32 random;
	bool here;

	if (!path)
		return -REASON_INTERNAL;
	service = &path->service;
	/* What was handed on stays, whatever endpoint the client had when it came by itself. */
	here = local || path->flags & SLOW_PATH_HANDED_ON;
	if (affinity_find(service, &path->src, here, &path->new_dst, &path->new_dport_be)) {
		affinity_renew(service, &path->src, &path->new_dst, path->new_dport_be);
		return 0;
	}
	random = bpf_get_prandom_u32();
	if (path->flags & SLOW_PATH_HANDED_ON)
		backend = frontend_handed_on(service, random, frontend_hash(path, service));
	else
		backend = service_pick(service, local, random, frontend_hash(path, service));
	if (!backend)
		return path->flags & SLOW_PATH_HANDED_ON && service->backend_count
			       ? -REASON_HANDED_ON
			       : service_empty(service, local);
	path->new_dst = backend->addr;
	path->new_dport_be = backend->port_be;
	affinity_note(service, &path->src, &path->new_dst, path->new_dport_be);
	return 0;
}

/* ------------------------------------------------------------------ with which source */

/*
 * What comes from outside and is to be answered by this node leaves with one of its addresses.
 * Whether it does is decided by the flow's first packet; what left so goes on as long as the
 * address is the node's. 0 or -reason.
 */
static __always_inline int frontend_source(struct slow_path *path, const struct packet *p,
					   const struct polder_addr *source)
{
	const struct address_entry *own;

	if (path->old.generation) {
		path->new_src = p->family == FAMILY_V4 ? addr_from4(path->old.new_saddr_be[0])
						       : addr_from6(path->old.new_saddr_be);
		if (addr_equal(&path->new_src, &path->src))
			return 0;
		path->flags |= SLOW_PATH_MASQUERADE;
		own = address_find(&path->new_src);
		return own && own->flags & ADDRESS_LOCAL ? 0 : -REASON_SOURCE_GONE;
	}
	if (!(path->flags & SLOW_PATH_NODE_SOURCE))
		return 0;
	path->flags |= SLOW_PATH_MASQUERADE;
	path->new_src = *source;
	return source->words_be[0] | source->words_be[3] ? 0 : -REASON_NO_NODE_ADDRESS;
}

/* The address by which other nodes, and pods, know this one. */
static __always_inline struct polder_addr frontend_node_address(__u8 family)
{
	const struct node_addresses *node = this_node_get();

	if (!node)
		return (struct polder_addr){};
	if (family == FAMILY_V6)
		return addr_from6(node->ipv6_be);
	return node->ipv4_be ? addr_from4(node->ipv4_be) : (struct polder_addr){};
}

/*
 * To an endpoint that is not of this node: by the peer that it is behind, else by the routes. A
 * peer's own address answers by the wire: the tunnel is for pods. 0 or -reason.
 */
static __always_inline int frontend_out(struct slow_path *path, const struct packet *p, __u32 flags,
					__u32 number)
{
	const struct peer_entry *peer = number ? peer_at(number) : NULL;
	struct flow_copy *out = &path->fwd.content;
	const struct egress_route *route;
	struct polder_addr source;
	__u32 way = peer ? peer_way(peer, p->family) : 0;

	if (way == PEER_NATIVE_V4 ||
	    (way && (!(flags & ADDRESS_NODE) || path->flags & SLOW_PATH_HAND_ON))) {
		out->action = way == PEER_NATIVE_V4 ? FLOW_TO_WIRE : FLOW_TO_TUNNEL;
		out->hop = NEXT_HOP_PEERS + number;
		if (path->flags & SLOW_PATH_HAND_ON)
			return 0;
		source = frontend_node_address(p->family);
		return frontend_source(path, p, &source);
	}
	/* Nobody is there who could answer in this node's place. */
	if (path->flags & SLOW_PATH_HAND_ON) {
		path->flags &= ~SLOW_PATH_HAND_ON;
		path->flags |= SLOW_PATH_NODE_SOURCE;
	}
	route = egress_route_find(path, &path->new_dst);
	if (!route || !route->ifindex)
		return route && route->reason ? -(int)route->reason : -REASON_NO_ROUTE;
	out->action = FLOW_TO_WIRE;
	out->hop = route->hop;
	source = route->source;
	return frontend_source(path, p, &source);
}

/* to_wire is to look at what the node sends from the port. */
static __always_inline void host_endpoint_note(__be16 port_be)
{
	__u32 port = bpf_ntohs(port_be), word = port / 64;
	__u64 *bits = bpf_map_lookup_elem(&host_endpoints, &word), bit = 1ULL << port % 64;

	if (bits && !(*bits & bit))
		__sync_fetch_and_or(bits, bit);
}

static __always_inline bool is_host_endpoint(__be16 port_be)
{
	__u32 port = bpf_ntohs(port_be), word = port / 64;
	const __u64 *bits = bpf_map_lookup_elem(&host_endpoints, &word);

	return bits && *bits >> port % 64 & 1;
}

/* The way to the endpoint, `to`, of what came from outside. 0 or -reason. */
static __always_inline int frontend_route(struct slow_path *path, const struct packet *p,
					  const struct address_entry *to)
{
	struct flow_copy *out = &path->fwd.content;
	__u32 flags = to ? to->flags : 0;
	struct polder_addr source;

	out->hop = 0;
	if (!(flags & ADDRESS_LOCAL))
		return frontend_out(path, p, flags, to ? to->peer : 0);
	path->flags &= ~SLOW_PATH_HAND_ON;
	if (flags & ADDRESS_NODE) {
		/* The stack takes nothing from its own address: the client keeps its own. */
		path->flags &= ~SLOW_PATH_NODE_SOURCE;
		host_endpoint_note(path->new_dport_be);
		out->action = FLOW_TO_HOST;
		return 0;
	}
	if (!(flags & ADDRESS_POD))
		return -REASON_UNKNOWN_POD;
	out->action = FLOW_TO_POD;
	out->hop = pod_index(to->ifindex);
	source = frontend_node_address(p->family);
	return frontend_source(path, p, &source);
}

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The node's own sockets: a Service's address is exchanged for an endpoint's at connect and
 * sendmsg, and back at recvmsg and getpeername. Sockets of other network namespaces (pods) are left
 * alone: for them the packet path decides.
 */
#include "affinity.h"
#include "event.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define SOCKET_REFUSE 0
#define SOCKET_ALLOW  1
#define ECONNREFUSED  111
#define EHOSTUNREACH  113

/* Address and port of a socket call, of either family. */
struct socket_name {
	struct polder_addr addr;
	__be16 port_be;
	__u16 pad;
};

static __always_inline bool is_node_socket(struct bpf_sock_addr *ctx)
{
	return bpf_get_netns_cookie(ctx) == config.netns_cookie;
}

static __always_inline void name_read4(struct bpf_sock_addr *ctx, struct socket_name *name)
{
	*name = (struct socket_name){.addr = addr_from4(ctx->user_ip4), .port_be = ctx->user_port};
}

static __always_inline void name_read6(struct bpf_sock_addr *ctx, struct socket_name *name)
{
	__be32 addr[4] = {ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]};

	*name = (struct socket_name){.addr = addr_from6(addr), .port_be = ctx->user_port};
}

static __always_inline void name_write4(struct bpf_sock_addr *ctx, const struct socket_name *name)
{
	ctx->user_ip4 = name->addr.words_be[3];
	ctx->user_port = name->port_be;
}

/* An IPv4 endpoint stands as ::ffff:a.b.c.d, which is what an IPv6 socket wants. */
static __always_inline void name_write6(struct bpf_sock_addr *ctx, const struct socket_name *name)
{
	ctx->user_ip6[0] = name->addr.words_be[0];
	ctx->user_ip6[1] = name->addr.words_be[1];
	ctx->user_ip6[2] = name->addr.words_be[2];
	ctx->user_ip6[3] = name->addr.words_be[3];
	ctx->user_port = name->port_be;
}

static __always_inline void refuse(int reason)
{
	__u32 index = reason * DROP_HOOKS + DROP_SOCKET;
	struct drop_counter *counter = bpf_map_lookup_elem(&drops, &index);

	if (counter)
		counter->packets++;
	/* The Service is there, but not for this node: nobody says no, as on the wire. */
	bpf_set_retval(reason == REASON_NO_LOCAL_ENDPOINT ? -EHOSTUNREACH : -ECONNREFUSED);
}

/* Remembers what a datagram was sent to, under where it goes. */
static __always_inline void remember(struct bpf_sock_addr *ctx, const struct socket_name *asked,
				     const struct socket_name *given)
{
	struct socket_origin_key key = {
		.cookie = bpf_get_socket_cookie(ctx),
		.addr = given->addr,
		.port_be = given->port_be,
	};
	struct socket_origin origin = {.addr = asked->addr, .port_be = asked->port_be};
	const struct socket_origin *known = bpf_map_lookup_elem(&socket_origins, &key);

	/* A socket that sends on and on says the same each time, and a look is far cheaper than an
	 * insertion. */
	if (known && addr_equal(&known->addr, &origin.addr) && known->port_be == origin.port_be)
		return;
	bpf_map_update_elem(&socket_origins, &key, &origin, BPF_ANY);
}

/* The socket is connected to an endpoint: the agent finds it here when that goes. */
static __always_inline void peer_put(struct bpf_sock_addr *ctx, const struct socket_name *asked,
				     const struct socket_name *given)
{
	__u64 cookie = bpf_get_socket_cookie(ctx);
	struct socket_peer peer = {
		.service = asked->addr,
		.endpoint = given->addr,
		.service_port_be = asked->port_be,
		.endpoint_port_be = given->port_be,
		.proto = ctx->protocol,
		.since = bpf_ktime_get_coarse_ns() >> FLOW_TICK_SHIFT,
	};

	if (bpf_map_update_elem(&socket_peers, &cookie, &peer, BPF_ANY) == 0)
		return;
	count_up(COUNTER_SOCKETS_UNKNOWN);
	remember(ctx, asked, given);
}

/* It is closed, or connected to what is no Service's. */
static __always_inline void peer_forget(__u64 cookie)
{
	/* Most have none, and a look is cheaper than a deletion. */
	if (bpf_map_lookup_elem(&socket_peers, &cookie))
		bpf_map_delete_elem(&socket_peers, &cookie);
}

/*
 * What is served under a name: at a Service's address, or at one of this node as a node port. Node
 * ports are not served at loopback addresses, nor are those of other nodes here: these get what is
 * sent to them. 0: nothing, and the name is left as it is; -reason.
 */
static __always_inline int name_find(const struct socket_name *name, __u8 proto,
				     const struct service_entry **ret_service)
{
	const struct address_entry *entry;
	__u32 flags = 0;

	*ret_service = service_find(&name->addr, name->port_be, proto);
	if (*ret_service)
		return 0;
	entry = address_find(&name->addr);
	if (entry)
		flags = entry->flags;
	if (flags & ADDRESS_LOCAL && flags & ADDRESS_NODE_PORTS)
		*ret_service = node_port_find(&name->addr, name->port_be, proto);
	/* At an address of the node's own the other ports are those of its processes. */
	return !*ret_service && !(flags & (ADDRESS_NODE | ADDRESS_POD)) &&
			       service_has_address(&name->addr)
		       ? -REASON_NO_SERVICE_PORT
		       : 0;
}

/* An endpoint of the Service in the place of its name. 0 or -reason. */
static __always_inline int choose(struct bpf_sock_addr *ctx, const struct service_entry *service,
				  struct socket_name *name)
{
	const struct polder_addr client = {}; /* that all sockets of the node are */
	bool local = service_is_local(service, CALLER_INSIDE);
	const struct backend *backend;
	__u32 hash;

	if (affinity_find(service, &client, local, &name->addr, &name->port_be)) {
		affinity_renew(service, &client, &name->addr, name->port_be);
		return 0;
	}
	/* By the socket, so that the datagrams of one socket stay together. */
	hash = bpf_get_socket_cookie(ctx) * 0x9e3779b97f4a7c15ULL >> 32;
	backend = service_pick(service, local, hash, hash);
	if (!backend)
		return service_empty(service, local);
	name->addr = backend->addr;
	name->port_be = backend->port_be;
	affinity_note(service, &client, &name->addr, name->port_be);
	return 0;
}

/* 1: `name` is an endpoint now; 0: not a Service; -reason: refused. */
static __always_inline int translate(struct bpf_sock_addr *ctx, struct socket_name *name,
				     bool connects)
{
	const struct service_entry *service;
	struct socket_name asked = *name;
	int result;

	if (ctx->protocol != IPPROTO_TCP && ctx->protocol != IPPROTO_UDP)
		return 0;
	result = name_find(name, ctx->protocol, &service);
	if (result || !service)
		return result;
	result = choose(ctx, service, name);
	if (result)
		return result;
	if (connects)
		peer_put(ctx, &asked, name);
	else
		remember(ctx, &asked, name);
	count_up(COUNTER_SOCKET_TRANSLATED);
	return 1;
}

static __always_inline int to_endpoint4(struct bpf_sock_addr *ctx, bool connects)
{
	struct socket_name name;
	int result;

	if (!is_node_socket(ctx))
		return SOCKET_ALLOW;
	name_read4(ctx, &name);
	result = translate(ctx, &name, connects);
	if (result == 0 && connects)
		peer_forget(bpf_get_socket_cookie(ctx));
	if (result > 0)
		name_write4(ctx, &name);
	if (result >= 0)
		return SOCKET_ALLOW;
	refuse(-result);
	return SOCKET_REFUSE;
}

static __always_inline int to_endpoint6(struct bpf_sock_addr *ctx, bool connects)
{
	struct socket_name name;
	int result;

	if (!is_node_socket(ctx))
		return SOCKET_ALLOW;
	name_read6(ctx, &name);
	result = translate(ctx, &name, connects);
	if (result == 0 && connects)
		peer_forget(bpf_get_socket_cookie(ctx));
	if (result > 0)
		name_write6(ctx, &name);
	if (result >= 0)
		return SOCKET_ALLOW;
	refuse(-result);
	return SOCKET_REFUSE;
}

/* What the socket asked for, if it got `name` for it. False: it is not one of ours. */
static __always_inline bool origin_find(struct bpf_sock_addr *ctx, const struct socket_name *name,
					struct socket_name *ret_asked)
{
	struct socket_origin_key key = {
		.cookie = bpf_get_socket_cookie(ctx),
		.addr = name->addr,
		.port_be = name->port_be,
	};
	const struct socket_peer *peer = bpf_map_lookup_elem(&socket_peers, &key.cookie);
	const struct socket_origin *origin;

	if (peer && addr_equal(&peer->endpoint, &name->addr) &&
	    peer->endpoint_port_be == name->port_be) {
		ret_asked->addr = peer->service;
		ret_asked->port_be = peer->service_port_be;
		return true;
	}
	origin = bpf_map_lookup_elem(&socket_origins, &key);
	if (!origin)
		return false;
	ret_asked->addr = origin->addr;
	ret_asked->port_be = origin->port_be;
	return true;
}

/*
 * Does the Service still have the endpoint? Who else has got its address does not answer in the
 * Service's name.
 */
static __always_inline bool has_endpoint(struct bpf_sock_addr *ctx, const struct socket_name *asked,
					 const struct socket_name *endpoint)
{
	const struct service_entry *service;

	return !name_find(asked, ctx->protocol, &service) && service &&
	       service_backend_state(service->id, &endpoint->addr, endpoint->port_be) != 0;
}

/* Puts the Service's name in the place of the endpoint's. False: not one of ours. `answers`: a
 * datagram came from there. */
static __always_inline bool translate_back(struct bpf_sock_addr *ctx, struct socket_name *name,
					   bool answers)
{
	struct socket_name asked = {};

	if (!origin_find(ctx, name, &asked) || (answers && !has_endpoint(ctx, &asked, name)))
		return false;
	*name = asked;
	return true;
}

static __always_inline int from_endpoint4(struct bpf_sock_addr *ctx, bool answers)
{
	struct socket_name name;

	if (!is_node_socket(ctx))
		return SOCKET_ALLOW;
	name_read4(ctx, &name);
	if (translate_back(ctx, &name, answers))
		name_write4(ctx, &name);
	return SOCKET_ALLOW;
}

static __always_inline int from_endpoint6(struct bpf_sock_addr *ctx, bool answers)
{
	struct socket_name name;

	if (!is_node_socket(ctx))
		return SOCKET_ALLOW;
	name_read6(ctx, &name);
	if (translate_back(ctx, &name, answers))
		name_write6(ctx, &name);
	return SOCKET_ALLOW;
}

SEC("cgroup/connect4")
int socket_connect4(struct bpf_sock_addr *ctx)
{
	return to_endpoint4(ctx, true);
}

SEC("cgroup/connect6")
int socket_connect6(struct bpf_sock_addr *ctx)
{
	return to_endpoint6(ctx, true);
}

SEC("cgroup/sendmsg4")
int socket_sendmsg4(struct bpf_sock_addr *ctx)
{
	return to_endpoint4(ctx, false);
}

SEC("cgroup/sendmsg6")
int socket_sendmsg6(struct bpf_sock_addr *ctx)
{
	return to_endpoint6(ctx, false);
}

SEC("cgroup/recvmsg4")
int socket_recvmsg4(struct bpf_sock_addr *ctx)
{
	return from_endpoint4(ctx, true);
}

SEC("cgroup/recvmsg6")
int socket_recvmsg6(struct bpf_sock_addr *ctx)
{
	return from_endpoint6(ctx, true);
}

SEC("cgroup/getpeername4")
int socket_getpeername4(struct bpf_sock_addr *ctx)
{
	return from_endpoint4(ctx, false);
}

SEC("cgroup/getpeername6")
int socket_getpeername6(struct bpf_sock_addr *ctx)
{
	return from_endpoint6(ctx, false);
}

SEC("cgroup/sock_release")
int socket_release(struct bpf_sock *ctx)
{
	if (bpf_get_netns_cookie(ctx) == config.netns_cookie)
		peer_forget(bpf_get_socket_cookie(ctx));
	return SOCKET_ALLOW;
}

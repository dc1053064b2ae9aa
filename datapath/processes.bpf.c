// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Which process opens connections, and sends datagrams: noted where it asks for it, by the tuple
 * that packets will have. Attached only while somebody wants to know; no program here ever refuses
 * anything.
 */
#include "processes.h"

#include "packet.h"
#include "sock_ops.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define PROCESS_ALLOW 1
#define CONNECTS_BITS 10
#define CONNECTS      (1 << CONNECTS_BITS)
#define WRITTEN	      (~0ULL) /* in the place of a cookie: somebody is at it */

/*
 * Who asked to connect, until the connection's source port has been chosen: behind the hook of
 * connect(), and within the same call. So a place by the socket's cookie does, for a third of what
 * an element of a hash costs. Who finds its place written at that moment takes `process_sockets`.
 */
MAP(process_connects, BPF_MAP_TYPE_ARRAY, __u32, struct process_note, CONNECTS, 0);
/* By the socket's cookie: who bound a TCP socket, until it listens, and who connected a UDP socket,
 * until it sends. */
MAP(process_sockets, BPF_MAP_TYPE_LRU_HASH, __u64, struct process_note, PROCESS_SOCKETS, 0);
MAP(process_flows, BPF_MAP_TYPE_LRU_HASH, struct process_key, struct process_note, PROCESS_FLOWS,
    0);
/* Apart from the others, of which there are many more. */
MAP(process_ports, BPF_MAP_TYPE_LRU_HASH, struct process_key, struct process_note, PROCESS_PORTS,
    0);
/* How many UDP sockets are in `process_sockets`: none, and packets are not looked at. */
MAP(process_pending, BPF_MAP_TYPE_ARRAY, __u32, __u64, 1, 0);

static __always_inline __u64 *pending_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&process_pending, &zero);
}

/* The process at hand, without the socket. */
#define note_fill(ctx, note)                                                                       \
	do {                                                                                       \
		__u64 user = bpf_get_current_uid_gid();                                            \
                                                                                                   \
		(note)->netns = bpf_get_netns_cookie(ctx);                                         \
		(note)->since_ns = bpf_ktime_get_boot_ns();                                        \
		(note)->cgroup = bpf_get_current_cgroup_id();                                      \
		(note)->pid = bpf_get_current_pid_tgid() >> 32;                                    \
		(note)->uid = user;                                                                \
		(note)->gid = user >> 32;                                                          \
		bpf_get_current_comm((note)->comm, sizeof((note)->comm));                          \
	} while (0)

/* The UDP socket at this port is the process's. */
static __always_inline void port_note(const struct process_note *note,
				      const struct polder_addr *local, __u32 port)
{
	struct process_key key = {
		.netns = note->netns,
		.local = *local,
		.local_port_be = bpf_htons(port),
		.proto = IPPROTO_UDP,
	};

	bpf_map_update_elem(&process_flows, &key, note, BPF_ANY);
}

/* ---------------------------------------------------------------- connect */

static __always_inline struct process_note *connect_place(__u64 cookie)
{
	__u32 place = cookie * 0x9e3779b97f4a7c15ULL >> (64 - CONNECTS_BITS);

	return bpf_map_lookup_elem(&process_connects, &place);
}

/* False: it is another one's just now. */
static __always_inline bool connect_put(struct bpf_sock_addr *ctx, __u64 cookie)
{
	struct process_note *place = connect_place(cookie);

	if (!place || __sync_lock_test_and_set(&place->socket, WRITTEN) == WRITTEN)
		return false;
	note_fill(ctx, place);
	__sync_lock_test_and_set(&place->socket, cookie);
	return true;
}

/* What was put, if nobody has taken the place since, nor while it was read. */
static __always_inline bool connect_take(__u64 cookie, struct process_note *ret)
{
	struct process_note *place = connect_place(cookie);

	if (!place || READ_ONCE(place->socket) != cookie)
		return false;
	*ret = *place;
	return __sync_fetch_and_add(&place->socket, 0) == cookie;
}

/* Its port is known when it sends. */
static __always_inline void wait_for_port(const struct process_note *note)
{
	bool waits = bpf_map_lookup_elem(&process_sockets, &note->socket);
	__u64 *pending = pending_get();

	if (bpf_map_update_elem(&process_sockets, &note->socket, note, BPF_ANY) == 0 && !waits &&
	    pending)
		__sync_fetch_and_add(pending, 1);
}

static __always_inline void connects(struct bpf_sock_addr *ctx, const struct polder_addr *to)
{
	const struct polder_addr any = {};
	struct process_note note = {.socket = bpf_get_socket_cookie(ctx)};
	__u32 port;

	/* What never leaves its namespace is no flow. */
	if ((ctx->protocol != IPPROTO_TCP && ctx->protocol != IPPROTO_UDP) || is_loopback(to))
		return;
	if (ctx->protocol == IPPROTO_TCP && connect_put(ctx, note.socket))
		return;
	note_fill(ctx, &note);
	if (ctx->protocol == IPPROTO_TCP) {
		bpf_map_update_elem(&process_sockets, &note.socket, &note, BPF_ANY);
		return;
	}
	port = ctx->sk->src_port;
	if (port)
		port_note(&note, &any, port);
	else
		wait_for_port(&note);
}

static __always_inline struct polder_addr asked6(struct bpf_sock_addr *ctx)
{
	__be32 addr[4] = {ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]};

	return addr_from6(addr);
}

SEC("cgroup/connect4")
int process_connect4(struct bpf_sock_addr *ctx)
{
	struct polder_addr to = addr_from4(ctx->user_ip4);

	connects(ctx, &to);
	return PROCESS_ALLOW;
}

SEC("cgroup/connect6")
int process_connect6(struct bpf_sock_addr *ctx)
{
	struct polder_addr to = asked6(ctx);

	connects(ctx, &to);
	return PROCESS_ALLOW;
}

/* ---------------------------------------------------------------- sendmsg */

/* A datagram of a socket that is not connected: it has a port by now. One that sends on and on says
 * the same each time. */
static __always_inline void sends(struct bpf_sock_addr *ctx, const struct polder_addr *to)
{
	struct process_key key = {.proto = IPPROTO_UDP};
	const struct process_note *known;
	struct process_note note = {.socket = bpf_get_socket_cookie(ctx)};

	if (ctx->protocol != IPPROTO_UDP || is_loopback(to))
		return;
	key.netns = bpf_get_netns_cookie(ctx);
	key.local_port_be = bpf_htons(ctx->sk->src_port);
	known = bpf_map_lookup_elem(&process_flows, &key);
	if (known && known->socket == note.socket)
		return;
	note_fill(ctx, &note);
	bpf_map_update_elem(&process_flows, &key, &note, BPF_ANY);
}

SEC("cgroup/sendmsg4")
int process_sendmsg4(struct bpf_sock_addr *ctx)
{
	struct polder_addr to = addr_from4(ctx->user_ip4);

	sends(ctx, &to);
	return PROCESS_ALLOW;
}

SEC("cgroup/sendmsg6")
int process_sendmsg6(struct bpf_sock_addr *ctx)
{
	struct polder_addr to = asked6(ctx);

	sends(ctx, &to);
	return PROCESS_ALLOW;
}

/* ---------------------------------------------------------------- bind */

/* At all addresses of any family: all 0. */
static __always_inline struct polder_addr bound_address(const struct polder_addr *addr)
{
	const struct polder_addr any = {};

	return is_v4_mapped(addr) && !addr->words_be[3] ? any : *addr;
}

static __always_inline void binds(struct bpf_sock *ctx, const struct polder_addr *addr)
{
	struct polder_addr local = bound_address(addr);
	struct process_note note = {.socket = bpf_get_socket_cookie(ctx)};

	if (ctx->protocol != IPPROTO_TCP && ctx->protocol != IPPROTO_UDP)
		return;
	note_fill(ctx, &note);
	if (ctx->protocol == IPPROTO_UDP)
		port_note(&note, &local, ctx->src_port);
	else
		bpf_map_update_elem(&process_sockets, &note.socket, &note, BPF_ANY);
}

SEC("cgroup/post_bind4")
int process_bind4(struct bpf_sock *ctx)
{
	struct polder_addr addr = addr_from4(ctx->src_ip4);

	binds(ctx, &addr);
	return PROCESS_ALLOW;
}

SEC("cgroup/post_bind6")
int process_bind6(struct bpf_sock *ctx)
{
	__be32 words[4] = {ctx->src_ip6[0], ctx->src_ip6[1], ctx->src_ip6[2], ctx->src_ip6[3]};
	struct polder_addr addr = addr_from6(words);

	binds(ctx, &addr);
	return PROCESS_ALLOW;
}

/* ---------------------------------------------------------------- TCP */

/* The SYN is about to be sent: the tuple is known. */
static __always_inline void connecting(struct bpf_sock_ops *ctx)
{
	__u64 cookie = bpf_get_socket_cookie(ctx);
	struct process_key key = {.proto = IPPROTO_TCP};
	const struct process_note *known;
	struct process_note note;

	if (!connect_take(cookie, &note)) {
		known = bpf_map_lookup_elem(&process_sockets, &cookie);
		if (!known)
			return;
		note = *known;
	}
	key.netns = note.netns;
	key.local = local_address(ctx);
	key.remote = remote_address(ctx);
	key.local_port_be = bpf_htons(ctx->local_port);
	key.remote_port_be = bpf_htons(bpf_ntohl(ctx->remote_port));
	bpf_map_update_elem(&process_flows, &key, &note, BPF_ANY);
}

/* Whoever bound the port is taken for the one who answers there. One that was bound before anybody
 * looked, or never, is nobody's, but it listens. */
static __always_inline void listening(struct bpf_sock_ops *ctx)
{
	__u64 cookie = bpf_get_socket_cookie(ctx);
	const struct process_note *known = bpf_map_lookup_elem(&process_sockets, &cookie);
	struct process_key key = {.proto = IPPROTO_TCP};
	struct process_note note = {};
	struct polder_addr local;

	if (known) {
		note = *known;
	} else {
		note.socket = cookie;
		note.netns = bpf_get_netns_cookie(ctx);
		note.since_ns = bpf_ktime_get_boot_ns();
	}
	local = local_address(ctx);
	key.netns = note.netns;
	key.local = bound_address(&local);
	key.local_port_be = bpf_htons(ctx->local_port);
	bpf_map_update_elem(&process_ports, &key, &note, BPF_ANY);
	bpf_map_delete_elem(&process_sockets, &cookie);
}

SEC("sockops")
int process_tcp(struct bpf_sock_ops *ctx)
{
	if (ctx->op == BPF_SOCK_OPS_TCP_CONNECT_CB)
		connecting(ctx);
	else if (ctx->op == BPF_SOCK_OPS_TCP_LISTEN_CB)
		listening(ctx);
	return 1;
}

/* ---------------------------------------------------------------- UDP that was connected */

/* No hook tells of a connected socket's datagrams: its first one tells its port. */
static __always_inline void first_datagram(struct __sk_buff *ctx, __u64 *pending)
{
	const struct polder_addr any = {};
	const struct process_note *note;
	struct bpf_sock *sk = ctx->sk;
	__u64 cookie;

	sk = sk ? bpf_sk_fullsock(sk) : NULL;
	if (!sk || sk->protocol != IPPROTO_UDP)
		return;
	cookie = bpf_get_socket_cookie(ctx);
	note = bpf_map_lookup_elem(&process_sockets, &cookie);
	if (!note)
		return;
	port_note(note, &any, sk->src_port);
	if (bpf_map_delete_elem(&process_sockets, &cookie) == 0)
		__sync_fetch_and_add(pending, -1);
}

SEC("cgroup_skb/egress")
int process_egress(struct __sk_buff *ctx)
{
	__u64 *pending = pending_get();

	if (pending && *pending)
		first_datagram(ctx, pending);
	return PROCESS_ALLOW;
}

/* It was closed and has sent nothing. */
SEC("cgroup/sock_release")
int process_release(struct bpf_sock *ctx)
{
	__u64 *pending = pending_get(), cookie;

	if (!pending || !*pending || ctx->protocol != IPPROTO_UDP)
		return PROCESS_ALLOW;
	cookie = bpf_get_socket_cookie(ctx);
	if (bpf_map_delete_elem(&process_sockets, &cookie) == 0)
		__sync_fetch_and_add(pending, -1);
	return PROCESS_ALLOW;
}

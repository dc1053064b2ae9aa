// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * How connections of this node's sockets fare, of pods and of the node: TCP itself tells. Attached
 * only while somebody wants to know.
 */
#include "latency.h"
#include "service.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define AF_INET	 2
#define AF_INET6 10
/*
 * A connection's round trip time is taken at most once in so many jiffies (64 ms with HZ=250): more
 * would be the same smoothed number. When that was stands by the socket's hash, where it is found
 * without a call; two that share a place share what is taken.
 */
#define ROUND_TRIP_SHIFT 4
#define ROUND_TRIPS	 1024
#define FROM_THE_START                                                                             \
	(BPF_SOCK_OPS_STATE_CB_FLAG | BPF_SOCK_OPS_RETRANS_CB_FLAG | BPF_SOCK_OPS_RTO_CB_FLAG)
/* Of every segment that is sent: until the first answer. The round trip time, which the handshake
 * has told, is asked for from then on: short connections are not asked again. */
#define EACH_SENT BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG
/* Who sends so many without an answer is no client of one: a stream is not watched for ever. */
#define SENT_MOST 255

MAP(latencies, BPF_MAP_TYPE_HASH, struct latency_key, struct latency_value, LATENCY_OWNERS,
    BPF_F_NO_PREALLOC);
/* Events that found no place in `latencies`. */
MAP(latencies_lost, BPF_MAP_TYPE_ARRAY, __u32, __u64, 1, 0);
/* Too large for the stack. */
MAP(latency_zero, BPF_MAP_TYPE_ARRAY, __u32, struct latency_value, 1, BPF_F_RDONLY_PROG);

/* Of one connection. */
struct latency_socket {
	__u64 began_ns; /* the SYN */
	__u64 asked_ns; /* the first request was sent or has come; 0: not yet */
	__u32 service;	/* 0: none */
	__u32 link;	/* of the pod; 0: the node's */
	__u8 is_client;
	__u8 gave_up;  /* nobody answered what was sent again and again */
	__u8 answered; /* the first request, or none will be: what is sent tells nothing */
	__u8 shares;   /* another program asks for each segment that is sent, too */
	__u8 sent;     /* segments so far, while that is asked */
	__u8 pad[3];
};

/*
 * By the socket's cookie. A socket's own storage (BPF_MAP_TYPE_SK_STORAGE) would take memory from
 * the kernel for each connection, which costs it 0.9 us; of more connections than there is room for
 * those that are quiet are followed no longer.
 */
MAP(latency_sockets, BPF_MAP_TYPE_LRU_HASH, __u64, struct latency_socket, LATENCY_SOCKETS, 0);

static __u32 round_trips[ROUND_TRIPS];

static __always_inline void lose(void)
{
	__u32 zero = 0;
	__u64 *lost = bpf_map_lookup_elem(&latencies_lost, &zero);

	if (lost)
		__sync_fetch_and_add(lost, 1);
}

static __always_inline struct latency_value *value_of(__u32 kind, __u32 id)
{
	struct latency_key key = {.kind = kind, .id = id};
	struct latency_value *value = bpf_map_lookup_elem(&latencies, &key);
	const struct latency_value *empty;
	__u32 zero = 0;

	if (value)
		return value;
	empty = bpf_map_lookup_elem(&latency_zero, &zero);
	if (empty)
		bpf_map_update_elem(&latencies, &key, empty, BPF_NOEXIST);
	value = bpf_map_lookup_elem(&latencies, &key);
	if (value)
		return value;
	lose();
	return NULL;
}

/* The number of the highest bit, of at most 32. */
static __always_inline __u32 log2_of(__u32 value)
{
	__u32 result = 0;

#pragma unroll
	for (int shift = 16; shift; shift >>= 1) {
		if (value >> shift) {
			value >>= shift;
			result += shift;
		}
	}
	return result;
}

static __always_inline __u32 bucket_of(__u64 us)
{
	__u32 steps = us > 0xffffffff ? 0xffffffff : us, bucket;

	if (steps <= 1 << LATENCY_STEP_SHIFT)
		return 0;
	bucket = log2_of((steps - 1) >> LATENCY_STEP_SHIFT) + 1;
	return bucket < LATENCY_BUCKETS ? bucket : LATENCY_BUCKETS - 1;
}

static __always_inline void histogram_add(struct latency_value *value, enum latency_measure measure,
					  __u64 us)
{
	struct latency_histogram *histogram = &value->measures[measure];
	__u32 bucket = bucket_of(us);

	if (bucket >= LATENCY_BUCKETS)
		return;
	__sync_fetch_and_add(&histogram->counts[bucket], 1);
	__sync_fetch_and_add(&histogram->sum_us, us);
}

static __always_inline struct latency_value *value_of_owner(const struct latency_socket *socket)
{
	return value_of(socket->link ? LATENCY_POD : LATENCY_NODE, socket->link);
}

static __always_inline void note_time(const struct latency_socket *socket,
				      enum latency_measure measure, __u64 us)
{
	struct latency_value *value = value_of_owner(socket);

	if (value)
		histogram_add(value, measure, us);
	if (!socket->service)
		return;
	value = value_of(LATENCY_SERVICE, socket->service);
	if (value)
		histogram_add(value, measure, us);
}

static __always_inline void note_count(const struct latency_socket *socket,
				       enum latency_count which, __u64 number)
{
	struct latency_value *value = value_of_owner(socket);

	if (value)
		__sync_fetch_and_add(&value->counts[which], number);
	if (!socket->service)
		return;
	value = value_of(LATENCY_SERVICE, socket->service);
	if (value)
		__sync_fetch_and_add(&value->counts[which], number);
}

static __always_inline struct latency_socket *socket_find(struct bpf_sock_ops *ctx)
{
	__u64 cookie = bpf_get_socket_cookie(ctx);

	return bpf_map_lookup_elem(&latency_sockets, &cookie);
}

/* False: there is no room. */
static __always_inline bool socket_follow(struct bpf_sock_ops *ctx,
					  const struct latency_socket *socket)
{
	__u64 cookie = bpf_get_socket_cookie(ctx);

	return bpf_map_update_elem(&latency_sockets, &cookie, socket, BPF_ANY) == 0;
}

/* ---------------------------------------------------------------- whose it is */

/*
 * A word of the context, kept where it is read: the compiler would make one load of the two
 * families' with an offset in a register, which the verifier refuses.
 */
#define context_word(field)                                                                        \
	({                                                                                         \
		__be32 word = ctx->field;                                                          \
		opaque(word);                                                                      \
		word;                                                                              \
	})

static __always_inline struct polder_addr local_address(struct bpf_sock_ops *ctx)
{
	__be32 addr[4];

	if (ctx->family == AF_INET)
		return addr_from4(context_word(local_ip4));
	addr[0] = ctx->local_ip6[0];
	addr[1] = ctx->local_ip6[1];
	addr[2] = ctx->local_ip6[2];
	addr[3] = ctx->local_ip6[3];
	return addr_from6(addr);
}

static __always_inline struct polder_addr remote_address(struct bpf_sock_ops *ctx)
{
	__be32 addr[4];

	if (ctx->family == AF_INET)
		return addr_from4(context_word(remote_ip4));
	addr[0] = ctx->remote_ip6[0];
	addr[1] = ctx->remote_ip6[1];
	addr[2] = ctx->remote_ip6[2];
	addr[3] = ctx->remote_ip6[3];
	return addr_from6(addr);
}

static __always_inline bool is_loopback(const struct polder_addr *addr)
{
	if (is_v4_mapped(addr))
		return (addr->words_be[3] & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000);
	return !(addr->words_be[0] | addr->words_be[1] | addr->words_be[2] |
		 (addr->words_be[3] ^ bpf_htonl(1)));
}

/* False: neither a pod's nor the node's, or of what never leaves its network namespace. */
static __always_inline bool owner_find(struct bpf_sock_ops *ctx, __u32 *ret_link)
{
	struct polder_addr local = local_address(ctx);
	const struct address_entry *entry;

	if (is_loopback(&local))
		return false;
	if (bpf_get_netns_cookie(ctx) == config.netns_cookie) {
		*ret_link = 0;
		return true;
	}
	entry = address_find(&local);
	if (!entry || !(entry->flags & ADDRESS_LOCAL) || !(entry->flags & ADDRESS_POD))
		return false;
	*ret_link = entry->ifindex;
	return entry->ifindex != 0;
}

/* What the client asked for: what is served at an address and port, or at a node port. */
static __always_inline __u32 service_at(const struct polder_addr *addr, __be16 port_be)
{
	const struct service_entry *service = service_find(addr, port_be, IPPROTO_TCP);
	const struct address_entry *entry;

	if (service)
		return service->id;
	entry = address_find(addr);
	if (!entry || !(entry->flags & ADDRESS_LOCAL) || !(entry->flags & ADDRESS_NODE_PORTS))
		return 0;
	service = node_port_find(addr, port_be, IPPROTO_TCP);
	return service ? service->id : 0;
}

/* A socket of the node was given an endpoint in the Service's place; a pod's has the Service's
 * address still. */
static __always_inline __u32 service_of(struct bpf_sock_ops *ctx, __u32 link)
{
	struct polder_addr addr = remote_address(ctx);
	__be16 port_be = bpf_htons(bpf_ntohl(ctx->remote_port));
	const struct socket_peer *peer;
	__u64 cookie;

	if (link)
		return service_at(&addr, port_be);
	cookie = bpf_get_socket_cookie(ctx);
	peer = bpf_map_lookup_elem(&socket_peers, &cookie);
	if (!peer || !addr_equal(&peer->endpoint, &addr) || peer->endpoint_port_be != port_be)
		return 0;
	addr = peer->service;
	return service_at(&addr, peer->service_port_be);
}

/* ---------------------------------------------------------------- what TCP tells */

/* The flags are the socket's: others' programs at its cgroups have theirs among them. */
static __always_inline void ask_for(struct bpf_sock_ops *ctx, __u32 flags)
{
	bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | flags);
}

static __always_inline void ask_for_each_sent(struct bpf_sock_ops *ctx,
					      struct latency_socket *socket)
{
	socket->shares = !!(ctx->bpf_sock_ops_cb_flags & EACH_SENT);
	ask_for(ctx, EACH_SENT);
}

static __always_inline void begin(struct bpf_sock_ops *ctx)
{
	struct latency_socket socket = {.is_client = 1};

	if (!owner_find(ctx, &socket.link))
		return;
	socket.service = service_of(ctx, socket.link);
	socket.began_ns = bpf_ktime_get_ns();
	if (socket_follow(ctx, &socket))
		ask_for(ctx, FROM_THE_START);
	else
		lose();
}

static __always_inline void round_trip(struct bpf_sock_ops *ctx)
{
	__u32 now = bpf_jiffies64() >> ROUND_TRIP_SHIFT;
	__u32 *last = &round_trips[ctx->sk_txhash % ROUND_TRIPS];
	const struct latency_socket *socket;

	if (*last == now || !ctx->srtt_us)
		return;
	*last = now;
	socket = socket_find(ctx);
	if (socket)
		note_time(socket, LATENCY_ROUND_TRIP, ctx->srtt_us >> 3);
}

/* With one look for both. */
static __always_inline void note_start(struct latency_value *value, __u64 connect_us,
				       __u64 round_trip_us)
{
	if (!value)
		return;
	histogram_add(value, LATENCY_CONNECT, connect_us);
	if (round_trip_us)
		histogram_add(value, LATENCY_ROUND_TRIP, round_trip_us);
}

static __always_inline void connected(struct bpf_sock_ops *ctx)
{
	struct latency_socket *socket = socket_find(ctx);
	__u64 connect_us, round_trip_us = ctx->srtt_us >> 3;

	if (!socket || !socket->is_client)
		return;
	connect_us = (bpf_ktime_get_ns() - socket->began_ns) / 1000;
	note_start(value_of_owner(socket), connect_us, round_trip_us);
	if (socket->service)
		note_start(value_of(LATENCY_SERVICE, socket->service), connect_us, round_trip_us);
	ask_for_each_sent(ctx, socket);
}

static __always_inline void accepted(struct bpf_sock_ops *ctx)
{
	struct latency_socket socket = {.shares = !!(ctx->bpf_sock_ops_cb_flags & EACH_SENT)};
	struct latency_value *value;

	if (!owner_find(ctx, &socket.link))
		return;
	value = value_of_owner(&socket);
	if (value && ctx->srtt_us)
		histogram_add(value, LATENCY_ROUND_TRIP, ctx->srtt_us >> 3);
	if (socket_follow(ctx, &socket))
		ask_for(ctx, FROM_THE_START | EACH_SENT);
	else
		lose();
}

/* From now on only the round trip time is wanted. */
static __always_inline void watch_no_more(struct bpf_sock_ops *ctx, struct latency_socket *socket)
{
	__u32 flags = ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_RTT_CB_FLAG;

	socket->answered = 1;
	if (!socket->shares)
		flags &= ~EACH_SENT;
	bpf_sock_ops_cb_flags_set(ctx, flags);
}

static __always_inline void over(struct bpf_sock_ops *ctx, struct latency_socket *socket,
				 enum latency_measure measure)
{
	if (socket->asked_ns)
		note_time(socket, measure, (bpf_ktime_get_ns() - socket->asked_ns) / 1000);
	watch_no_more(ctx, socket);
}

/*
 * The end of the peer's stream counts as a byte of it. Whether it has come the state tells; of a
 * socket that has ended its own stream nothing does, and one byte alone is taken for it.
 */
static __always_inline bool has_received(struct bpf_sock_ops *ctx)
{
	return ctx->bytes_received > (ctx->state == BPF_TCP_ESTABLISHED ? 0 : 1);
}

/*
 * A segment is about to be sent: room for options may be asked for, which nobody wants. TCP
 * acknowledges a connection's first data at once (quick acknowledgements), so what is sent next
 * when `bytes_received` has moved tells when these came.
 */
static __always_inline void sends(struct bpf_sock_ops *ctx)
{
	struct latency_socket *socket;

	if (ctx->args[0] == BPF_WRITE_HDR_TCP_CURRENT_MSS)
		return;
	socket = socket_find(ctx);
	if (!socket || socket->answered)
		return;
	if (socket->is_client && has_received(ctx))
		over(ctx, socket, LATENCY_FIRST_BYTE);
	else if (!socket->is_client && ctx->skb_len)
		over(ctx, socket, LATENCY_ANSWER);
	else if (++socket->sent == SENT_MOST)
		watch_no_more(ctx, socket);
	else if (!socket->asked_ns && (socket->is_client ? ctx->skb_len : has_received(ctx)))
		socket->asked_ns = bpf_ktime_get_ns();
}

/* A state is left for the end. */
static __always_inline void ended(struct bpf_sock_ops *ctx, __u32 before)
{
	__u64 cookie = bpf_get_socket_cookie(ctx);
	const struct latency_socket *socket = bpf_map_lookup_elem(&latency_sockets, &cookie);

	if (!socket)
		return;
	if (socket->gave_up)
		note_count(socket, LATENCY_TIMEOUTS, 1);
	else if (before == BPF_TCP_SYN_SENT)
		note_count(socket, LATENCY_FAILED, 1);
	else if (before == BPF_TCP_ESTABLISHED || before == BPF_TCP_CLOSE_WAIT ||
		 before == BPF_TCP_FIN_WAIT1)
		note_count(socket, LATENCY_RESETS, 1);
	/* A socket can be connected again: what it asks for then is not another program's. */
	if (!socket->answered && !socket->shares)
		bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags & ~EACH_SENT);
	bpf_map_delete_elem(&latency_sockets, &cookie);
}

static __always_inline void sent_again(struct bpf_sock_ops *ctx)
{
	const struct latency_socket *socket = socket_find(ctx);

	if (socket)
		note_count(socket, LATENCY_RETRANSMITTED, ctx->args[1]);
}

static __always_inline void gave_up(struct bpf_sock_ops *ctx)
{
	struct latency_socket *socket = socket_find(ctx);

	if (socket)
		socket->gave_up = 1;
}

SEC("sockops")
int latency(struct bpf_sock_ops *ctx)
{
	switch (ctx->op) {
	case BPF_SOCK_OPS_TCP_CONNECT_CB:
		begin(ctx);
		break;
	case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
		connected(ctx);
		break;
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		accepted(ctx);
		break;
	case BPF_SOCK_OPS_HDR_OPT_LEN_CB:
		sends(ctx);
		break;
	case BPF_SOCK_OPS_RTT_CB:
		round_trip(ctx);
		break;
	case BPF_SOCK_OPS_RETRANS_CB:
		sent_again(ctx);
		break;
	case BPF_SOCK_OPS_RTO_CB:
		if (ctx->args[2])
			gave_up(ctx);
		break;
	case BPF_SOCK_OPS_STATE_CB:
		if (ctx->args[1] == BPF_TCP_CLOSE)
			ended(ctx, ctx->args[0]);
		break;
	}
	return 1;
}

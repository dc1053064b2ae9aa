/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/services/socket_look.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/address.h"
#include "agent/common/cleanup.h"
#include "agent/kernel/flows.h"
#include "agent/kernel/netlink.h"
#include "agent/kernel/sock_diag.h"
#include "policy/objects/array.h"

#define BATCH 1024
/* A socket that the kernel finds under another's tuple (SO_REUSEPORT) is found when that has
 * ended. */
#define TRIES 16
/* Ticks: a socket that a program has noted so lately may not be connected yet. */
#define FORGET_AFTER 16

int lost_endpoint_compare(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct lost_endpoint));
}

static struct lost_endpoint pair_of(const struct socket_peer *peer)
{
	return (struct lost_endpoint){
		.service = {.addr = peer->service,
			    .port_be = peer->service_port_be,
			    .proto = peer->proto},
		.endpoint = {.addr = peer->endpoint, .port_be = peer->endpoint_port_be},
	};
}

/* ---------------------------------------------------------------- the map */

/* A socket of map socket_peers. */
struct known {
	uint64_t cookie;
	struct socket_peer peer;
	bool there; /* the kernel has it */
};

struct known_list {
	struct known *items; /* sorted by cookie, once all are there */
	size_t count, capacity;
};

static int compare_known(const void *a, const void *b)
{
	const struct known *x = a, *y = b;

	return x->cookie < y->cookie ? -1 : x->cookie > y->cookie;
}

static struct known *known_find(const struct known_list *list, uint64_t cookie)
{
	const struct known key = {.cookie = cookie};

	return list->count ? bsearch(&key, list->items, list->count, sizeof(key), compare_known)
			   : NULL;
}

static int known_add(struct known_list *list, uint64_t cookie, const struct socket_peer *peer)
{
	struct known *grown = array_grow(list->items, list->count, &list->capacity, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	list->items = grown;
	list->items[list->count++] = (struct known){.cookie = cookie, .peer = *peer};
	return 0;
}

static bool is_listed(const struct socket_look *look, const struct lost_endpoint *pair)
{
	return bsearch(pair, look->lost, look->lost_count, sizeof(*pair), lost_endpoint_compare);
}

/* A node port has been lost by the unspecified address, and a socket has connected to a node's. */
static bool is_lost(const struct socket_look *look, const struct socket_peer *peer)
{
	struct lost_endpoint pair = pair_of(peer);
	struct service_entry entry;

	if (!look->lost_count)
		return false;
	if (is_listed(look, &pair))
		return true;
	pair.service.addr = addr_unspecified(addr_is_v4(&peer->service));
	return is_listed(look, &pair) &&
	       bpf_map_lookup_elem(maps_fd(look->maps, MAP_SERVICES),
				   &(struct service_key){.addr = peer->service,
							 .port_be = peer->service_port_be,
							 .proto = peer->proto},
				   &entry) < 0;
}

/* All sockets that are known, or those that have lost their endpoint. */
static int read_known(const struct socket_look *look, bool all, struct known_list *list)
{
	const struct map_info *map = maps_get(look->maps, MAP_SOCKET_PEERS);
	CLEANUP(cleanup_free) uint64_t *cookies = calloc(BATCH, sizeof(*cookies));
	CLEANUP(cleanup_free) struct socket_peer *peers = calloc(BATCH, sizeof(*peers));
	uint64_t at = 0;
	uint32_t got;
	int r = cookies && peers ? 0 : -ENOMEM, result;

	for (bool first = true; r == 0; first = false) {
		got = BATCH;
		r = bpf_map_lookup_batch(map->fd, first ? NULL : &at, &at, cookies, peers, &got,
					 NULL);
		if (r < 0 && r != -ENOENT)
			break;
		for (uint32_t i = 0; i < got; i++) {
			if (!all && !is_lost(look, &peers[i]))
				continue;
			result = known_add(list, cookies[i], &peers[i]);
			if (result < 0)
				return result;
		}
	}
	if (list->count)
		qsort(list->items, list->count, sizeof(*list->items), compare_known);
	return r == -ENOENT ? 0 : r;
}

/* ---------------------------------------------------------------- the kernel's sockets */

struct search {
	const struct known_list *known;
	struct connected_socket *found;
	size_t count, capacity;
};

/* It may have connected elsewhere since, or not yet. */
static int on_connected(const struct connected_socket *socket, void *data)
{
	struct search *search = data;
	const struct known *known = known_find(search->known, socket->cookie);
	struct connected_socket *grown;

	if (!known || known->peer.proto != socket->proto ||
	    known->peer.endpoint_port_be != socket->remote_port_be ||
	    memcmp(&known->peer.endpoint, &socket->remote, sizeof(socket->remote)) != 0)
		return 0;
	grown = array_grow(search->found, search->count, &search->capacity, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	search->found = grown;
	search->found[search->count++] = *socket;
	return 0;
}

static int compare_backends(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct backend));
}

/* Whom those of a protocol are connected to, each once. NULL: no memory. */
static struct backend *peers_of(const struct known_list *known, uint8_t proto, size_t *ret_count)
{
	struct backend *peers = calloc(known->count + 1, sizeof(*peers));
	size_t i, count = 0, unique = 0;

	for (i = 0; peers && i < known->count; i++) {
		const struct socket_peer *peer = &known->items[i].peer;

		if (peer->proto == proto)
			peers[count++] = (struct backend){.addr = peer->endpoint,
							  .port_be = peer->endpoint_port_be};
	}
	if (count)
		qsort(peers, count, sizeof(*peers), compare_backends);
	for (i = 0; i < count; i++)
		if (!i || compare_backends(&peers[unique - 1], &peers[i]) != 0)
			peers[unique++] = peers[i];
	*ret_count = unique;
	return peers;
}

/* 0 or -errno; `*ret_again`: one was not found, and might be now. */
static int end_found(struct socket_look *look, struct netlink *nl, const struct search *search,
		     bool *ret_again)
{
	size_t ended = 0, missed = 0;
	int r;

	for (size_t i = 0; i < search->count; i++) {
		const struct connected_socket *socket = &search->found[i];

		r = sock_diag_end(nl, socket);
		if (r < 0 && r != -ENOENT)
			return r;
		missed += r == -ENOENT;
		ended += r == 0;
		look->ended_tcp += r == 0 && socket->proto == IPPROTO_TCP;
		look->ended_udp += r == 0 && socket->proto == IPPROTO_UDP;
	}
	*ret_again = ended && missed;
	return 0;
}

static int end_protocol(struct socket_look *look, struct netlink *nl,
			const struct known_list *known, uint8_t proto)
{
	size_t count = 0;
	CLEANUP(cleanup_free) struct backend *peers = peers_of(known, proto, &count);
	bool again = count != 0;
	int r = peers ? 0 : -ENOMEM;

	for (int i = 0; i < TRIES && again && r == 0; i++) {
		struct search search = {.known = known};

		again = false;
		r = sock_diag_list(nl, proto, peers, count, on_connected, &search);
		if (r == 0)
			r = end_found(look, nl, &search, &again);
		free(search.found);
	}
	return r;
}

static int end_lost(struct socket_look *look)
{
	struct known_list known = {};
	struct netlink *nl = NULL;
	int r = look->lost_count ? read_known(look, false, &known) : 0;

	if (r == 0 && known.count) {
		r = sock_diag_open(&nl);
		if (r == 0)
			r = end_protocol(look, nl, &known, IPPROTO_TCP);
		if (r == 0)
			r = end_protocol(look, nl, &known, IPPROTO_UDP);
		netlink_close(nl);
	}
	free(known.items);
	return r;
}

/* ---------------------------------------------------------------- all that are known */

static int list_pairs(struct socket_look *look, const struct known_list *known)
{
	size_t i, unique = 0;

	look->found = calloc(known->count + 1, sizeof(*look->found));
	if (!look->found)
		return -ENOMEM;
	for (i = 0; i < known->count; i++)
		look->found[i] = pair_of(&known->items[i].peer);
	if (known->count)
		qsort(look->found, known->count, sizeof(*look->found), lost_endpoint_compare);
	for (i = 0; i < known->count; i++)
		if (!i || lost_endpoint_compare(&look->found[unique - 1], &look->found[i]) != 0)
			look->found[unique++] = look->found[i];
	look->found_count = unique;
	return 0;
}

static int on_any(const struct connected_socket *socket, void *data)
{
	struct known *known = known_find(data, socket->cookie);

	if (known)
		known->there = true;
	return 0;
}

static int forget_gone(struct socket_look *look, const struct known_list *known)
{
	struct netlink *nl = NULL;
	uint32_t now = flows_now();
	int r = sock_diag_open(&nl);

	if (r == 0)
		r = sock_diag_list(nl, IPPROTO_TCP, NULL, 0, on_any, (void *)known);
	if (r == 0)
		r = sock_diag_list(nl, IPPROTO_UDP, NULL, 0, on_any, (void *)known);
	netlink_close(nl);
	for (size_t i = 0; i < known->count && r == 0; i++) {
		const struct known *item = &known->items[i];

		if (item->there || (int32_t)(now - item->peer.since) < FORGET_AFTER)
			continue;
		look->forgotten += bpf_map_delete_elem(maps_fd(look->maps, MAP_SOCKET_PEERS),
						       &item->cookie) == 0;
	}
	return r;
}

static int probe(void)
{
	struct netlink *nl = NULL;
	int r = sock_diag_open(&nl);

	if (r == 0)
		r = sock_diag_probe(nl);
	netlink_close(nl);
	return r;
}

static int look_at_all(struct socket_look *look)
{
	struct known_list known = {};
	int r = read_known(look, true, &known);

	if (r == 0)
		r = list_pairs(look, &known);
	if (r == 0 && known.count)
		r = forget_gone(look, &known);
	free(known.items);
	return r < 0 ? r : probe();
}

int socket_look_run(struct socket_look *look)
{
	int r = 0;

	if (look->lost_count)
		qsort(look->lost, look->lost_count, sizeof(*look->lost), lost_endpoint_compare);
	/* If nobody can say when they have ended, time has to do. */
	if (look->wait)
		(void)maps_wait_for_programs(look->maps);
	if (look->all)
		r = look_at_all(look);
	return r < 0 ? r : end_lost(look);
}

void socket_look_clear(struct socket_look *look)
{
	free(look->lost);
	free(look->found);
	look->lost = look->found = NULL;
	look->lost_count = look->found_count = 0;
}

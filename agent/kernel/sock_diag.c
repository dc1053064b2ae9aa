/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kernel/sock_diag.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

#include "agent/common/address.h"
#include "agent/common/array.h"
#include "agent/kernel/netlink_internal.h"

/* Of TCP all but those that listen, are closed, or only wait; UDP sockets have no others. */
#define CONNECTED_STATES                                                                           \
	(1u << TCP_ESTABLISHED | 1u << TCP_SYN_SENT | 1u << TCP_FIN_WAIT1 | 1u << TCP_FIN_WAIT2 |  \
	 1u << TCP_CLOSE_WAIT | 1u << TCP_LAST_ACK | 1u << TCP_CLOSING)

/* A condition with an address of 16 bytes, and the jump behind it. */
#define CONDITION_BYTES (sizeof(struct inet_diag_bc_op) + sizeof(struct inet_diag_hostcond) + 16)
#define JUMP_BYTES	sizeof(struct inet_diag_bc_op)

int sock_diag_open(struct netlink **ret)
{
	return netlink_open_protocol(-1, NETLINK_SOCK_DIAG, ret);
}

/* ---------------------------------------------------------------- the filter */

/* Bytes of the condition for a peer. */
static size_t condition_size(const struct backend *peer)
{
	return CONDITION_BYTES - (addr_is_v4(&peer->addr) ? 12 : 0);
}

/* Is it connected to this one? `no`: so many bytes on if not. */
static size_t put_condition(char *at, const struct backend *peer, size_t no)
{
	size_t length = condition_size(peer);
	struct inet_diag_bc_op op = {.code = INET_DIAG_BC_D_COND,
				     .yes = (unsigned char)length,
				     .no = (unsigned short)no};
	struct inet_diag_hostcond condition = {
		.family = netlink_family(&peer->addr),
		.prefix_len = addr_is_v4(&peer->addr) ? 32 : 128,
		.port = ntohs(peer->port_be),
	};

	memcpy(at, &op, sizeof(op));
	memcpy(at + sizeof(op), &condition, sizeof(condition));
	memcpy(at + sizeof(op) + sizeof(condition), netlink_addr_bytes(&peer->addr),
	       condition.prefix_len / 8);
	return length;
}

/*
 * The kernel's code for "connected to one of them": each condition is followed by a jump to the
 * end, and leads past that jump if it does not hold; behind the last one that is past the end.
 */
static size_t put_filter(char *code, const struct backend *peers, size_t count)
{
	size_t length = 0, total = 0, i;
	struct inet_diag_bc_op jump = {.code = INET_DIAG_BC_JMP, .yes = JUMP_BYTES};

	for (i = 0; i < count; i++)
		total += condition_size(&peers[i]) + (i + 1 < count ? JUMP_BYTES : 0);
	for (i = 0; i < count; i++) {
		length += put_condition(code + length, &peers[i],
					condition_size(&peers[i]) + JUMP_BYTES);
		if (i + 1 == count)
			break;
		jump.no = (unsigned short)(total - length);
		memcpy(code + length, &jump, sizeof(jump));
		length += JUMP_BYTES;
	}
	return length;
}

/* ---------------------------------------------------------------- lists */

struct listing {
	uint8_t proto;
	sock_diag_visitor visit;
	void *data;
};

static struct polder_addr remote_of(const struct inet_diag_msg *m)
{
	struct polder_addr addr = {.bytes = {[10] = 0xff, [11] = 0xff}};

	if (m->idiag_family == AF_INET)
		memcpy(addr.bytes + 12, m->id.idiag_dst, 4);
	else
		memcpy(addr.bytes, m->id.idiag_dst, 16);
	return addr;
}

static int on_socket(const struct nlmsghdr *header, void *data)
{
	const struct listing *listing = data;
	const struct inet_diag_msg *m = mnl_nlmsg_get_payload(header);
	struct connected_socket found;

	if (mnl_nlmsg_get_payload_len(header) < sizeof(*m))
		return -EBADMSG;
	if (m->idiag_family != AF_INET && m->idiag_family != AF_INET6)
		return 0;
	found = (struct connected_socket){
		.cookie = (uint64_t)m->id.idiag_cookie[1] << 32 | m->id.idiag_cookie[0],
		.proto = listing->proto,
		.family = m->idiag_family,
		.remote = remote_of(m),
		.remote_port_be = m->id.idiag_dport,
		.id = m->id,
	};
	return listing->visit(&found, listing->data);
}

/* Sockets that come and go meanwhile are no reason to begin again: nothing is to be reset. */
static int list_family(struct netlink *nl, uint8_t family, const struct backend *peers,
		       size_t count, struct listing *listing)
{
	struct inet_diag_req_v2 *request;
	struct nlmsghdr *header = netlink_begin(nl, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP);
	char code[SOCK_DIAG_PEERS_MAX * (CONDITION_BYTES + JUMP_BYTES)];
	int r;

	request = mnl_nlmsg_put_extra_header(header, sizeof(*request));
	*request = (struct inet_diag_req_v2){
		.sdiag_family = family,
		.sdiag_protocol = listing->proto,
		.idiag_states = CONNECTED_STATES,
	};
	if (count && count <= SOCK_DIAG_PEERS_MAX)
		mnl_attr_put(header, INET_DIAG_REQ_BYTECODE, put_filter(code, peers, count), code);
	r = netlink_talk(nl, header, on_socket, listing);
	/* There is nobody who could tell: the module is missing. */
	return r == -ENOENT ? -EOPNOTSUPP : r;
}

int sock_diag_list(struct netlink *nl, uint8_t proto, const struct backend *peers, size_t count,
		   sock_diag_visitor visit, void *data)
{
	struct listing listing = {.proto = proto, .visit = visit, .data = data};
	bool v4 = !count;
	int r = 0;

	for (size_t i = 0; i < count; i++)
		v4 |= addr_is_v4(&peers[i].addr);
	if (v4)
		r = list_family(nl, AF_INET, peers, count, &listing);
	return r < 0 ? r : list_family(nl, AF_INET6, peers, count, &listing);
}

/* ---------------------------------------------------------------- who listens */

/* Of UDP: bound, and connected to nobody. */
#define WAITING_STATES (1u << 10 /* TCP_LISTEN */ | 1u << 7 /* TCP_CLOSE */)

struct listener_search {
	const struct polder_addr *addr;
	uint16_t port_be;
	bool found;
	uint32_t user;
};

/* A socket at :: is at all of IPv4, too, unless it says otherwise, which is not told. */
static bool waits_at(const struct inet_diag_msg *m, const struct polder_addr *addr)
{
	static const uint32_t everywhere[4];
	size_t size = m->idiag_family == AF_INET ? 4 : 16;

	if (addr_is_v4(addr) && m->idiag_family == AF_INET6)
		return memcmp(m->id.idiag_src, everywhere, size) == 0 ||
		       memcmp(m->id.idiag_src, addr, size) == 0;
	if (addr_is_v4(addr) != (m->idiag_family == AF_INET))
		return false;
	return addr_is_unspecified(addr) || memcmp(m->id.idiag_src, everywhere, size) == 0 ||
	       memcmp(m->id.idiag_src, netlink_addr_bytes(addr), size) == 0;
}

static int on_listener(const struct nlmsghdr *header, void *data)
{
	const struct inet_diag_msg *m = mnl_nlmsg_get_payload(header);
	struct listener_search *search = data;

	if (mnl_nlmsg_get_payload_len(header) < sizeof(*m))
		return -EBADMSG;
	if (m->id.idiag_sport == search->port_be && waits_at(m, search->addr)) {
		search->found = true;
		search->user = m->idiag_uid;
	}
	return 0;
}

int sock_diag_find_listener(struct netlink *nl, uint8_t proto, const struct polder_addr *addr,
			    uint16_t port, uint32_t *ret_user)
{
	static const uint8_t families[] = {AF_INET, AF_INET6};
	struct listener_search search = {.addr = addr, .port_be = htons(port)};

	for (size_t i = 0; i < COUNT(families); i++) {
		struct nlmsghdr *header = netlink_begin(nl, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP);
		struct inet_diag_req_v2 *request =
			mnl_nlmsg_put_extra_header(header, sizeof(*request));
		int r;

		*request = (struct inet_diag_req_v2){
			.sdiag_family = families[i],
			.sdiag_protocol = proto,
			.idiag_states = WAITING_STATES,
			.id = {.idiag_sport = search.port_be},
		};
		r = netlink_talk(nl, header, on_listener, &search);
		if (r < 0)
			return r;
	}
	if (search.found)
		*ret_user = search.user;
	return search.found ? 0 : -ENOENT;
}

/* ---------------------------------------------------------------- the end */

int sock_diag_end(struct netlink *nl, const struct connected_socket *socket)
{
	struct nlmsghdr *header = netlink_begin(nl, SOCK_DESTROY, 0);
	struct inet_diag_req_v2 *request;

	request = mnl_nlmsg_put_extra_header(header, sizeof(*request));
	*request = (struct inet_diag_req_v2){
		.sdiag_family = socket->family,
		.sdiag_protocol = socket->proto,
		.idiag_states = CONNECTED_STATES,
		.id = socket->id,
	};
	return netlink_talk(nl, header, NULL, NULL);
}

static int ignore(const struct connected_socket *socket, void *data)
{
	(void)socket;
	(void)data;
	return 0;
}

/* By a socket that cannot be there: from nowhere to nowhere. */
int sock_diag_probe(struct netlink *nl)
{
	static const uint8_t protocols[] = {IPPROTO_TCP, IPPROTO_UDP};
	const struct backend nowhere = {.addr = {.bytes = {[10] = 0xff, [11] = 0xff}},
					.port_be = 0xffff};
	struct connected_socket none = {.family = AF_INET,
					.id = {.idiag_sport = 0xffff, .idiag_dport = 0xffff}};
	int r = 0;

	for (size_t i = 0; i < COUNT(protocols) && r == 0; i++) {
		r = sock_diag_list(nl, protocols[i], &nowhere, 1, ignore, NULL);
		if (r < 0)
			break;
		none.proto = protocols[i];
		r = sock_diag_end(nl, &none);
		if (r == -ENOENT)
			r = 0;
	}
	return r;
}

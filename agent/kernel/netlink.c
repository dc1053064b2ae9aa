/* SPDX-License-Identifier: Apache-2.0 */
/* A netlink socket: the one place where requests are sent and answers are read. */
#include "agent/kernel/netlink.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/kernel/namespace.h"
#include "agent/kernel/netlink_internal.h"

static int open_socket(void *data)
{
	struct netlink *nl = data;
	int one = 1;

	nl->socket = mnl_socket_open2(nl->protocol, SOCK_CLOEXEC);
	if (!nl->socket)
		return -errno;
	if (mnl_socket_bind(nl->socket, 0, MNL_SOCKET_AUTOPID) < 0)
		return -errno;
	/* Failure is ignored: every kernel since 4.12 has both. */
	(void)mnl_socket_setsockopt(nl->socket, NETLINK_EXT_ACK, &one, sizeof(one));
	(void)mnl_socket_setsockopt(nl->socket, NETLINK_CAP_ACK, &one, sizeof(one));
	nl->port = mnl_socket_get_portid(nl->socket);
	return 0;
}

int netlink_open(int netns_fd, struct netlink **ret)
{
	return netlink_open_protocol(netns_fd, NETLINK_ROUTE, ret);
}

int netlink_open_protocol(int netns_fd, int protocol, struct netlink **ret)
{
	struct netlink *nl;
	int r;

	nl = malloc(sizeof(*nl));
	if (!nl)
		return -ENOMEM;
	/* The buffers need not be cleared. */
	memset(nl, 0, offsetof(struct netlink, send));
	nl->protocol = protocol;
	r = netns_fd < 0 ? open_socket(nl) : namespace_run(netns_fd, open_socket, nl);
	if (r < 0) {
		netlink_close(nl);
		return r;
	}
	*ret = nl;
	return 0;
}

void netlink_close(struct netlink *nl)
{
	if (!nl)
		return;
	if (nl->socket)
		mnl_socket_close(nl->socket);
	free(nl->foreign_qdiscs);
	free(nl);
}

const char *netlink_error(const struct netlink *nl)
{
	return nl->error;
}

void netlink_set_error(struct netlink *nl, const char *format, ...)
{
	va_list list;

	va_start(list, format);
	vsnprintf(nl->error, sizeof(nl->error), format, list);
	va_end(list);
}

struct nlmsghdr *netlink_begin(struct netlink *nl, uint16_t type, uint16_t flags)
{
	struct nlmsghdr *header = mnl_nlmsg_put_header(nl->send);

	header->nlmsg_type = type;
	header->nlmsg_flags = NLM_F_REQUEST | flags;
	if ((flags & NLM_F_DUMP) != NLM_F_DUMP)
		header->nlmsg_flags |= NLM_F_ACK;
	return header;
}

/* Keeps the kernel's words from an acknowledgement. */
static void keep_words(struct netlink *nl, const struct nlmsghdr *header, size_t skip)
{
	const struct nlattr *attr;
	size_t length = mnl_nlmsg_get_payload_len(header);
	const void *words = mnl_nlmsg_get_payload_offset(header, skip);

	if (!(header->nlmsg_flags & NLM_F_ACK_TLVS) || length < skip)
		return;
	mnl_attr_for_each_payload(words, length - skip)
	{
		if (mnl_attr_get_type(attr) == NLMSGERR_ATTR_MSG &&
		    mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) == 0)
			snprintf(nl->error, sizeof(nl->error), "%s", mnl_attr_get_str(attr));
	}
}

static int read_ack(struct netlink *nl, const struct nlmsghdr *header)
{
	const struct nlmsgerr *error = mnl_nlmsg_get_payload(header);
	size_t skip = sizeof(*error);

	if (mnl_nlmsg_get_payload_len(header) < sizeof(*error))
		return -EBADMSG;
	/* Without NLM_F_CAPPED the whole request stands there. */
	if (error->error && !(header->nlmsg_flags & NLM_F_CAPPED) &&
	    error->msg.nlmsg_len >= sizeof(struct nlmsghdr))
		skip += MNL_ALIGN(error->msg.nlmsg_len) - sizeof(struct nlmsghdr);
	keep_words(nl, header, skip);
	return error->error;
}

static int read_done(struct netlink *nl, const struct nlmsghdr *header)
{
	int error = 0;

	if (mnl_nlmsg_get_payload_len(header) >= sizeof(error))
		memcpy(&error, mnl_nlmsg_get_payload(header), sizeof(error));
	keep_words(nl, header, sizeof(error));
	return error < 0 ? error : 0;
}

struct exchange {
	netlink_callback callback;
	void *data;
	bool interrupted;
	bool ended;
	int result;
};

static void read_message(struct netlink *nl, struct exchange *exchange,
			 const struct nlmsghdr *header)
{
	int r = 0;

	if (header->nlmsg_flags & NLM_F_DUMP_INTR)
		exchange->interrupted = true;
	switch (header->nlmsg_type) {
	case NLMSG_NOOP:
		break;
	case NLMSG_ERROR:
		r = read_ack(nl, header);
		exchange->ended = true;
		break;
	case NLMSG_DONE:
		r = read_done(nl, header);
		exchange->ended = true;
		break;
	case NLMSG_OVERRUN:
		r = -ENOBUFS;
		break;
	default:
		if (exchange->callback && exchange->result == 0)
			r = exchange->callback(header, exchange->data);
	}
	if (r < 0 && exchange->result == 0)
		exchange->result = r;
}

static int receive_answer(struct netlink *nl, unsigned int sequence, struct exchange *exchange)
{
	while (!exchange->ended) {
		ssize_t got = mnl_socket_recvfrom(nl->socket, nl->receive, sizeof(nl->receive));
		const struct nlmsghdr *header = (const struct nlmsghdr *)nl->receive;
		int left;

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return errno == ENOSPC ? -EMSGSIZE : -errno;
		left = got;
		for (; mnl_nlmsg_ok(header, left) && !exchange->ended;
		     header = mnl_nlmsg_next(header, &left))
			/* What is left of a request that was given up is passed over. */
			if (mnl_nlmsg_seq_ok(header, sequence) &&
			    mnl_nlmsg_portid_ok(header, nl->port))
				read_message(nl, exchange, header);
	}
	return exchange->result;
}

static int talk(struct netlink *nl, struct nlmsghdr *request, struct exchange *exchange)
{
	ssize_t sent;

	nl->error[0] = '\0';
	request->nlmsg_seq = ++nl->sequence;
	do {
		sent = mnl_socket_sendto(nl->socket, request, request->nlmsg_len);
	} while (sent < 0 && errno == EINTR);
	if (sent < 0)
		return -errno;
	return receive_answer(nl, request->nlmsg_seq, exchange);
}

int netlink_talk(struct netlink *nl, struct nlmsghdr *request, netlink_callback callback,
		 void *data)
{
	struct exchange exchange = {.callback = callback, .data = data};

	return talk(nl, request, &exchange);
}

int netlink_dump(struct netlink *nl, struct nlmsghdr *request, netlink_callback callback,
		 void (*reset)(void *data), void *data)
{
	for (int i = 0; i < NETLINK_DUMP_TRIES; i++) {
		struct exchange exchange = {.callback = callback, .data = data};
		int r = talk(nl, request, &exchange);

		if (r < 0 && r != -EINTR)
			return r;
		if (r == 0 && !exchange.interrupted)
			return 0;
		reset(data);
	}
	netlink_set_error(nl, "the list changed while it was read, %d times", NETLINK_DUMP_TRIES);
	return -EAGAIN;
}

uint8_t netlink_family(const struct polder_addr *addr)
{
	return addr_is_v4(addr) ? AF_INET : AF_INET6;
}

const void *netlink_addr_bytes(const struct polder_addr *addr)
{
	return addr_is_v4(addr) ? addr->bytes + 12 : addr->bytes;
}

void netlink_put_addr(struct nlmsghdr *header, uint16_t type, const struct polder_addr *addr)
{
	mnl_attr_put(header, type, addr_is_v4(addr) ? 4 : 16, netlink_addr_bytes(addr));
}

int netlink_get_addr(const struct nlattr *attr, struct polder_addr *ret)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	switch (mnl_attr_get_payload_len(attr)) {
	case 4:
		memcpy(ret->bytes, mapped, sizeof(mapped));
		memcpy(ret->bytes + 12, mnl_attr_get_payload(attr), 4);
		return 0;
	case 16:
		memcpy(ret->bytes, mnl_attr_get_payload(attr), 16);
		return 0;
	default:
		return -EINVAL;
	}
}

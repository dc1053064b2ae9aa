/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/announce/links.h"

#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/icmp6.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/common/cleanup.h"

/* So many frames, and the loop serves others. */
#define READ_MOST 64

static int open_packet(int ifindex, uint16_t type)
{
	CLEANUP(cleanup_close)
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* With a protocol, but for this link alone, from the first frame on. */
	const struct sockaddr_ll at = {
		.sll_family = AF_PACKET, .sll_protocol = htons(type), .sll_ifindex = ifindex};

	if (fd < 0 || bind(fd, (const struct sockaddr *)&at, sizeof(at)) < 0)
		return -errno;
	return TAKE_FD(fd);
}

static int open_advertisements(int ifindex)
{
	CLEANUP(cleanup_close)
	int fd = socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_ICMPV6);
	struct icmp6_filter filter;
	char name[IF_NAMESIZE];

	if (fd < 0 || !if_indextoname((unsigned int)ifindex, name))
		return -errno;
	ICMP6_FILTER_SETBLOCKALL(&filter);
	ICMP6_FILTER_SETPASS(ND_NEIGHBOR_ADVERT, &filter);
	if (setsockopt(fd, IPPROTO_ICMPV6, ICMP6_FILTER, &filter, sizeof(filter)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, (socklen_t)strlen(name)) < 0)
		return -errno;
	return TAKE_FD(fd);
}

int announce_link_open(int ifindex, const uint8_t mac[6], struct announce_link *ret)
{
	struct announce_link link = {.ifindex = ifindex, .fds = {-1, -1, -1}};
	int r = 0;

	memcpy(link.mac, mac, sizeof(link.mac));
	link.fds[SOCKET_ARP] = open_packet(ifindex, ETHERTYPE_ARP);
	link.fds[SOCKET_WORDS] = open_packet(ifindex, FRAME_WORDS_TYPE);
	link.fds[SOCKET_ND] = open_advertisements(ifindex);
	for (size_t i = 0; i < ANNOUNCE_SOCKETS && r == 0; i++)
		if (link.fds[i] < 0 && !(i == SOCKET_ND && link.fds[i] == -EAFNOSUPPORT))
			r = link.fds[i];
	if (r < 0)
		announce_link_close(&link);
	else
		*ret = link;
	return r;
}

void announce_link_close(struct announce_link *link)
{
	for (size_t i = 0; i < ANNOUNCE_SOCKETS && link->ifindex; i++)
		if (link->fds[i] >= 0)
			close(link->fds[i]);
	link->ifindex = 0;
}

bool announce_link_is_open(const struct announce_link *link)
{
	return link->ifindex != 0;
}

int announce_link_send(const struct announce_link *link, const uint8_t *frame, size_t length)
{
	ssize_t sent = send(link->fds[SOCKET_WORDS], frame, length, 0);

	return sent < 0 ? -errno : 0;
}

/* ---------------------------------------------------------------- groups */

/* Of the card: counted apart from what the kernel's own memberships ask for. */
static void filter_card(const struct announce_link *link, const struct polder_addr *group,
			unsigned long request)
{
	struct ifreq ifr = {};
	uint8_t mac[6];

	if (!if_indextoname((unsigned int)link->ifindex, ifr.ifr_name))
		return;
	frame_group_mac(group, mac);
	ifr.ifr_hwaddr.sa_family = AF_UNSPEC;
	memcpy(ifr.ifr_hwaddr.sa_data, mac, sizeof(mac));
	(void)ioctl(link->fds[SOCKET_WORDS], request, &ifr);
}

static void change_group(const struct announce_link *link, const struct polder_addr *addr, bool in)
{
	struct polder_addr group = frame_solicited_group(addr);
	struct ipv6_mreq request = {.ipv6mr_interface = (unsigned int)link->ifindex};

	if (addr_is_v4(addr) || link->fds[SOCKET_ND] < 0)
		return;
	memcpy(&request.ipv6mr_multiaddr, group.bytes, sizeof(group.bytes));
	/* Twice in, and out of what one is not in, changes nothing. */
	(void)setsockopt(link->fds[SOCKET_ND], IPPROTO_IPV6,
			 in ? IPV6_ADD_MEMBERSHIP : IPV6_DROP_MEMBERSHIP, &request,
			 sizeof(request));
	filter_card(link, &group, in ? SIOCADDMULTI : SIOCDELMULTI);
}

void announce_link_join(const struct announce_link *link, const struct polder_addr *addr)
{
	change_group(link, addr, true);
}

void announce_link_leave(const struct announce_link *link, const struct polder_addr *addr)
{
	change_group(link, addr, false);
}

/* ---------------------------------------------------------------- what comes in */

static void take(const struct announce_link *link, enum announce_socket which, const uint8_t *bytes,
		 size_t length, const struct announce_reader *reader)
{
	struct frame_words words;
	struct polder_addr addr;
	uint8_t mac[6];
	int r;

	if (which == SOCKET_WORDS) {
		r = frame_words_read(bytes, length, &words);
		if (r == 0)
			reader->heard(link->ifindex, &words, reader->data);
		else if (r == -EPROTONOSUPPORT)
			reader->strange(link->ifindex, reader->data);
		return;
	}
	r = which == SOCKET_ARP ? frame_read_arp(bytes, length, &addr, mac)
				: frame_read_advertisement(bytes, length, &addr, mac);
	if (r == 0)
		reader->answered(link->ifindex, &addr, mac, reader->data);
}

void announce_link_read(const struct announce_link *link, enum announce_socket which,
			const struct announce_reader *reader)
{
	uint8_t bytes[FRAME_MOST];
	ssize_t length;

	for (size_t i = 0; i < READ_MOST; i++) {
		length = recv(link->fds[which], bytes, sizeof(bytes), MSG_DONTWAIT);
		if (length < 0)
			return;
		take(link, which, bytes, (size_t)length, reader);
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The sockets of one uplink: frames out, and what comes in of answers and of other nodes' words. */
#pragma once

#include "agent/announce/frames.h"

enum announce_socket {
	SOCKET_ARP,   /* answers */
	SOCKET_WORDS, /* of other nodes */
	SOCKET_ND,    /* advertisements; it is also what joins groups */
	ANNOUNCE_SOCKETS
};

struct announce_link {
	int ifindex;
	uint8_t mac[6];
	int fds[ANNOUNCE_SOCKETS]; /* -1: none; the last one without IPv6 */
};

/* Non-blocking, of this link alone. 0 or -errno, then closed. */
int announce_link_open(int ifindex, const uint8_t mac[6], struct announce_link *ret);
void announce_link_close(struct announce_link *link); /* a zeroed one is not open: ifindex 0 */
bool announce_link_is_open(const struct announce_link *link);

/* 0 or -errno. */
int announce_link_send(const struct announce_link *link, const uint8_t *frame, size_t length);
/*
 * Whoever asks for the address asks its group: cards and switches let only groups through that
 * somebody has joined. The card does so also while no agent is there, until announce_link_leave().
 * Nothing to do for IPv4.
 */
void announce_link_join(const struct announce_link *link, const struct polder_addr *addr);
void announce_link_leave(const struct announce_link *link, const struct polder_addr *addr);

struct announce_reader {
	void (*answered)(int link, const struct polder_addr *addr, const uint8_t mac[6],
			 void *data);
	void (*heard)(int link, const struct frame_words *words, void *data);
	/* Another version of Polder says something that this one does not understand. */
	void (*strange)(int link, void *data);
	void *data;
};
/* What has come, some of it at a time. */
void announce_link_read(const struct announce_link *link, enum announce_socket which,
			const struct announce_reader *reader);

/* SPDX-License-Identifier: Apache-2.0 */
/* Load balancers' addresses in the networks of the uplinks: claims, sockets and the programs' map
 * put together. No loop: descriptors and times are told to whoever has one. */
#pragma once

#include "agent/announce/balancers.h"
#include "agent/announce/links.h"
#include "agent/kernel/maps.h"

struct announce_env {
	const struct config *config;
	const struct node *node;
	struct maps *maps;
	struct balancers *balancers;
	/* Does this node serve pods and Services as it should? */
	bool (*is_well)(void *data);
	/* Has one of the Service's ports endpoints on this node? */
	bool (*is_local)(const struct balancer_address *address, void *data);
	/* A link's descriptors are opened, or about to be closed. */
	void (*opened)(const struct announce_link *link, void *data);
	void (*closing)(const struct announce_link *link, void *data);
	void *data;
};

struct announce;

/* `now` in ms, as everywhere here. 0 or -errno. */
int announce_new(const struct announce_env *env, uint64_t now, struct announce **ret);
/* Addresses that are held stay so while the promise lasts. Takes NULL. */
void announce_free(struct announce *announce);

/* Services, the node's network, its health or its endpoints may be others. */
void announce_refresh(struct announce *announce, uint64_t now);
/* Something can be read. */
void announce_read(struct announce *announce, int ifindex, enum announce_socket which,
		   uint64_t now);
/* Does what is due; when to be called again, UINT64_MAX: never. */
uint64_t announce_run(struct announce *announce, uint64_t now);

/* How an address stands here. */
struct announce_view {
	struct claim_view claim;
	const char *namespace, *name, *link; /* link "": of no uplink's network */
	bool local;
	const char *reason; /* why this node may not announce it, or what is wrong; "" */
};
void announce_each(const struct announce *announce, uint64_t now,
		   void (*visit)(const struct announce_view *view, void *data), void *data);
struct announce_counts {
	struct claim_counts claims;
	size_t held, watched, nobodys; /* addresses: by this node, by another, by none */
	uint64_t frames_sent, frames_failed, frames_heard, frames_strange;
};
struct announce_counts announce_counts(const struct announce *announce, uint64_t now);

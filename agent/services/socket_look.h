/* SPDX-License-Identifier: Apache-2.0 */
/* One look at the node's sockets that are connected by a Service: those whose endpoint the Service
 * has no more are ended. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "agent/kernel/maps.h"

/* An endpoint that was an address and port's of a Service, and is no more. No padding. */
struct lost_endpoint {
	struct service_key service;
	struct backend endpoint;
};

struct socket_look {
	struct maps *maps;
	/* Sockets that are connected to one of these by its Service end. Owned; gets sorted. */
	struct lost_endpoint *lost;
	size_t lost_count;
	bool wait; /* for the programs that run, which may still hand out these endpoints */
	/*
	 * Asks for `found`, and whether the kernel can end sockets at all. Those that are no more
	 * are forgotten: somebody may have taken the program away that notes their end.
	 */
	bool all;

	struct lost_endpoint *found; /* whom sockets are connected to, each once; owned */
	size_t found_count;
	size_t ended_tcp, ended_udp, forgotten;
};

/*
 * In any thread. Costs a walk over map socket_peers; only if one of these sockets has lost its
 * endpoint, a list of the sockets that are connected there. 0 or -errno; -EOPNOTSUPP: this kernel
 * cannot end sockets.
 */
int socket_look_run(struct socket_look *look);
void socket_look_clear(struct socket_look *look);
/* The order of `lost` and `found`. */
int lost_endpoint_compare(const void *a, const void *b);

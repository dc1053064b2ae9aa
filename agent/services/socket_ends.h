/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When sockets of the node have to leave endpoints that are gone. Each such endpoint is looked for
 * three times: at once; when the programs have ended that ran during the change; and a second
 * later, for whoever was in the middle of connect(). Many share a look, and looks take at most a
 * fiftieth of the time. No loop, no threads: the caller runs what socket_ends_begin() gives him.
 */
#pragma once

#include "agent/services/services.h"
#include "agent/services/socket_look.h"

#define SOCKET_ENDS_NEVER UINT64_MAX
/* After a look that failed. */
#define SOCKET_ENDS_RETRY_NS 5000000000ull
#define SOCKET_ENDS_LAST_NS  1000000000ull
/* Looks take one part of so many of the time, and one that comes close behind another waits so long
 * at least, and no longer than that. */
#define SOCKET_ENDS_PARTS	50
#define SOCKET_ENDS_WAIT_MIN_NS 50000000ull
#define SOCKET_ENDS_WAIT_MAX_NS 1000000000ull

struct socket_ends;

/* Borrows both. NULL: no memory. */
struct socket_ends *socket_ends_new(struct maps *maps, const struct services *services);
void socket_ends_free(struct socket_ends *ends); /* takes NULL */

/* What services_on_lost() tells. Times are those of a monotonic clock, in ns. */
void socket_ends_lost(struct socket_ends *ends, const struct service_key *service,
		      const struct backend *endpoint, uint64_t now_ns);
/* Nobody has followed what went (before the start), or who is still there: all sockets are looked
 * at. */
void socket_ends_doubt(struct socket_ends *ends);
/* When socket_ends_begin() has something; SOCKET_ENDS_NEVER. */
uint64_t socket_ends_due(const struct socket_ends *ends);
/* False: nothing is due, or there is no memory (it is due again later). Else what is to be run by
 * socket_look_run(), and given back. An endpoint that is one again is not looked for. */
bool socket_ends_begin(struct socket_ends *ends, uint64_t now_ns, struct socket_look *ret);
/* `result`: what socket_look_run() said. Clears the look. */
void socket_ends_finish(struct socket_ends *ends, struct socket_look *look, int result,
			uint64_t now_ns);

struct socket_ends_stats {
	uint64_t ended_tcp, ended_udp, looks, failures;
	size_t waiting; /* endpoints that are still looked for */
	int failure;	/* of the last look that had something to end; 0: none */
};
void socket_ends_stats(const struct socket_ends *ends, struct socket_ends_stats *ret);

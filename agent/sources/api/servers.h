/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The addresses at which the API server may be: those of --api-server, the one that the credentials
 * name, and those that the cluster's Service `kubernetes` had last. Tried in turn: the agent must
 * not need its own translation of that Service to reach it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "agent/common/error.h"

#define SERVERS_MAX	   32
#define SERVERS_CONFIGURED 8 /* --api-server */

struct server {
	char *name; /* for people: "https://10.96.0.1:443" */
	char *base; /* begin of each URL; its host is the one that the certificate must be valid for
		     */
	char *connect_to; /* "::HOST:PORT" for curl: where that is; NULL: where its name says */
	char *host;	  /* header; NULL: as in `base` */
};

struct servers {
	struct server list[SERVERS_MAX];
	size_t count, current;
};

/*
 * All addresses, in their order; the current one stays current if it is among them. `remembered`:
 * "ADDRESS:PORT", or "[ADDRESS]:PORT"; their certificates have to be valid for the host of
 * `server`. `tls_server_name` NULL: the host's. 0; -EINVAL with the error filled; -ENOMEM. On
 * failure nothing changes.
 */
int servers_set(struct servers *servers, const char *const *configured, size_t configured_count,
		const char *server, const char *tls_server_name, const char *const *remembered,
		size_t remembered_count, struct error *ret_error);
void servers_clear(struct servers *servers);
/* NULL: there is none. */
const struct server *servers_current(const struct servers *servers);
void servers_next(struct servers *servers);

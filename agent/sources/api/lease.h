/* SPDX-License-Identifier: Apache-2.0 */
/* A Lease (coordination.k8s.io/v1): who of all agents may do what one alone must do. Its texts. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy/objects/limits.h"

struct lease {
	char version[LIMIT_VERSION + 1]; /* resourceVersion */
	char holder[LIMIT_NAME + 1];	 /* "": nobody */
	char renewed[40];		 /* as it is written; "": never */
	uint32_t seconds;		 /* that it lasts */
	uint32_t transitions;
	uint64_t written; /* resourceVersion of the last object that its holder wrote; 0: unknown */
};

/* 0; -EBADMSG: it is none; -ENOMEM. */
int lease_read(const char *text, size_t length, struct lease *ret);
/* The Lease as it is to be: `lease->version` "" makes it. `now_us`: since 1970. NULL: no memory.
 * free() it. */
char *lease_text(const struct lease *lease, const char *namespace, const char *name,
		 int64_t now_us);
/* "2026-01-02T03:04:05.000006Z" */
void lease_time(int64_t now_us, char text[40]);

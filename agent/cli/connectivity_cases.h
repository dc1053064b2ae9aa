/* SPDX-License-Identifier: Apache-2.0 */
/* The table of the connectivity test: who asks whom, what it ought to come to, what it came to. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "agent/cli/connectivity.h"

enum connectivity_expected {
	EXPECT_ANSWER,	/* what was sent comes back */
	EXPECT_REACHED, /* or is refused by whom it was sent to */
	EXPECT_DENIED,	/* nothing of it comes back */
};

struct connectivity_case {
	enum connectivity_phase phase;
	enum connectivity_expected expected;
	const char *from;	 /* the pod's name */
	char to[128], family[8]; /* for people */
	const char *what;	 /* "tcp", "udp", "dns", "udp, sizes around the MTU" */
	char *words[12];	 /* polderctl's arguments; owned */
	char got[128];		 /* the last outcome; "": not asked yet */
	json_int_t ms;
	int rounds; /* how often it was asked */
};

struct connectivity_cases {
	struct connectivity_case *items;
	size_t count;
};

#define CONNECTIVITY_HOST_MAX 64
#define CONNECTIVITY_PORT_MAX 8

/* "192.0.2.1", "192.0.2.1:80", "2001:db8::1", "[2001:db8::1]:80"; port 443 if none is given. */
bool connectivity_outside(const char *text, char *ret_host, char *ret_port, bool *ret_six);

/* `targets` has kubectl's lists "pods", "services", "dns" and "nodes". `outside`: an address, with
 * a port if not 443; NULL: nobody outside is asked. */
void connectivity_cases_make(const json_t *targets, const char *const nodes[2], const char *outside,
			     struct connectivity_cases *ret);
void connectivity_cases_clear(struct connectivity_cases *cases);
bool connectivity_case_good(const struct connectivity_case *item);
/* The table or JSON; CLI_OK if all is as expected. */
int connectivity_cases_show(const struct cli *cli, const struct connectivity_cases *cases);

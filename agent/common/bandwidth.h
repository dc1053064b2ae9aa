/* SPDX-License-Identifier: Apache-2.0 */
/* How much a container may send and get: CNI's capability bandwidth. */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "agent/common/error.h"

struct bandwidth_limit {
	uint64_t rate;	/* bits a second; 0: no limit */
	uint64_t burst; /* bits that may go at once; 0: as suits the rate */
};

struct bandwidth {
	struct bandwidth_limit ingress; /* to the container */
	struct bandwidth_limit egress;	/* from it */
};

/* Less than one full packet in a second, and more than the kernel's clock can tell. */
#define BANDWIDTH_RATE_MIN 12000ull
#define BANDWIDTH_RATE_MAX 1000000000000ull

/*
 * {"ingressRate", "ingressBurst", "egressRate", "egressBurst"} of a runtime, its keys in whatever
 * case; NULL and null: no limits. Runtimes that have been given a rate alone say 4294967295 for its
 * burst: that counts as none. 0; -EINVAL with code 7 and `path` in the text.
 */
int bandwidth_decode(const json_t *value, const char *path, struct bandwidth *ret,
		     struct error *ret_error);
/* As bandwidth_decode() takes it. NULL: no memory. */
json_t *bandwidth_encode(const struct bandwidth *bandwidth);

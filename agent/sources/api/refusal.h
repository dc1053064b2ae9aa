/* SPDX-License-Identifier: Apache-2.0 */
/* An object of the API server that cannot be used, or that something is to be said of; and the
 * Event that tells of it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/common/error.h"
#include "policy/objects/limits.h"

#define REFUSAL_UID_MAX 64

struct refusal {
	const char *api_version, *kind;				   /* "networking.k8s.io/v1" */
	char namespace[LIMIT_NAMESPACE + 1], name[LIMIT_NAME + 1]; /* namespace "": none */
	char uid[REFUSAL_UID_MAX + 1];				   /* "": unknown */
	struct error error;
	const char *reason; /* of the Event, whose message is the error's text; NULL: the object is
			       refused */
	bool few;	    /* few nodes tell it: they need not wait for one another */
};

/*
 * The Event (core/v1) as JSON, and the namespace that it belongs to. Its name is the same on each
 * node, for the same words about the same object: the first node makes it, the others find it.
 * `now` in seconds since 1970; `node`: who tells. NULL: no memory. free() it.
 */
char *refusal_event(const struct refusal *refusal, const char *node, int64_t now);
const char *refusal_namespace(const struct refusal *refusal);

/* SPDX-License-Identifier: Apache-2.0 */
/* A Service's annotation polder.dev/weights: "NAME=N,...", where NAME is an endpoint's address, its
 * pod's name, or the beginning of pods' names with a * behind it. */
#pragma once

#include <stddef.h>

#include "datapath/abi.h"

#define WEIGHT_NONE (-1)

struct weight_rule;

struct service_weights {
	char *text; /* which the rules point into */
	struct weight_rule *rules;
	size_t count;
};

/* 0; -EINVAL with a reason; -ENOMEM. Free with weights_clear(). */
int weights_parse(const char *text, struct service_weights *ret, char *reason, size_t size);
void weights_clear(struct service_weights *weights);
/* Of the first rule that fits; WEIGHT_NONE: none does. Both `weights` and `pod` may be NULL. */
int weights_find(const struct service_weights *weights, const struct polder_addr *addr,
		 const char *pod);

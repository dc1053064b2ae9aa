/* SPDX-License-Identifier: Apache-2.0 */
/* The node's ranges of pod addresses, and subnets of podman networks inside of them. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "agent/common/error.h"
#include "plugin/agent.h"

struct ranges_of_agent {
	bool known; /* polderd has answered */
	bool has_v6;
	json_t *prefixes; /* "10.77.0.0/24", as text */
};

/*
 * Asks polderd. 0; -EINVAL with `*ret_failure`: no usable answer; one that does not come at all is
 * an error only where it is `needed`. Free with ranges_clear().
 */
int ranges_ask(const struct agent_address *agent, bool needed, struct ranges_of_agent *ret,
	       struct error *ret_failure);
void ranges_clear(struct ranges_of_agent *ranges);

/*
 * Each of `subnets` ({"subnet", "gateway"}) lies in a range, at most one of each family, no gateway
 * of its own. 0 or -EINVAL.
 */
int ranges_check_subnets(const struct ranges_of_agent *ranges, const json_t *subnets,
			 struct error *ret_failure);

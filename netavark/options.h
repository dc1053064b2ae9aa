/* SPDX-License-Identifier: Apache-2.0 */
/* What `podman network create --opt` and `podman run --network NAME:KEY=VALUE` say. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "agent/common/error.h"
#include "plugin/agent.h"

#define OPTION_LABEL_PREFIX "label."

/* What becomes of published ports. */
enum ports_option {
	PORTS_PUBLISH,
	PORTS_IGNORE, /* somebody else publishes them */
	PORTS_REFUSE, /* a container that asks for some does not start */
};

/* Strings are borrowed from the JSON that was decoded; lists are owned. */
struct options {
	struct agent_address agent;
	int mtu;	       /* bytes; 0: the node's */
	const char *namespace; /* of the pod that the container is */
	enum ports_option ports;
	json_t *labels;	     /* [{"key", "value"}] */
	json_t *dns_servers; /* addresses as text */
	json_t *dns_search;  /* domains */
};

/*
 * `network`: the network's options; `container`: those of one container, which come on top; either
 * may be NULL or null. 0 or -EINVAL, `*ret_failure` names the option. Free with options_clear().
 */
int options_decode(const json_t *network, const json_t *container, struct options *ret,
		   struct error *ret_failure);
/* Only where the agent is: taking a container away shall not fail for any other option. */
int options_decode_agent(const json_t *network, struct agent_address *ret,
			 struct error *ret_failure);
void options_clear(struct options *options);

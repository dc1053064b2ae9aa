/* SPDX-License-Identifier: Apache-2.0 */
/* What setup and teardown get on standard input: a container, its network, what it wants there. */
#pragma once

#include <jansson.h>

#include "netavark/options.h"
#include "plugin/attachment.h"

/* All but `root`, `config`, `options` and `ports` is borrowed from `root`. */
struct request {
	json_t *root;
	struct attachment attachment;
	const char *container_name;
	const char *network_name;
	json_t *config; /* as polderd wants it: in the form of a CNI configuration */
	struct options options;
	json_t *ports;		   /* those to be published, as CNI's portMappings */
	const json_t *dns_servers; /* those of the network beside its options; may be NULL */
};

/*
 * Checks all that a setup looks at. Takes the reference of `root` (in any case). 0 or -EINVAL with
 * `*ret_failure` filled. Free with request_clear().
 */
int request_decode_setup(json_t *root, struct request *ret, struct error *ret_failure);
/* The same for a teardown: what does not say which attachment it is, is not looked at. */
int request_decode_teardown(json_t *root, struct request *ret, struct error *ret_failure);
void request_clear(struct request *request);

/* The arguments of cni.add: a new reference, NULL without memory or if `netns` is not UTF-8. */
json_t *request_args(const struct request *request, const char *netns);

/* SPDX-License-Identifier: Apache-2.0 */
/* The plugin's configuration, as it comes on standard input. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "plugin/agent.h"
#include "cni/failure.h"

#define CNI_CONFIG_MAX (768u << 10) /* what polderd takes is 1 MiB */

/* In the order of their age. */
enum cni_version { CNI_0_3_0, CNI_0_3_1, CNI_0_4_0, CNI_1_0_0, CNI_1_1_0, CNI_VERSION_COUNT };
extern const char *const cni_versions[CNI_VERSION_COUNT];

/* All but `root` is borrowed from it. */
struct cni_config {
	json_t *root;
	enum cni_version version;
	const char *name;
	struct agent_address agent;
	const json_t *previous; /* prevResult: an object, or NULL */
};

/* The cniVersion that is asked for, supported or not; "0.1.0" if the key is missing, NULL if it is
 * no string. */
const char *cni_config_version(const json_t *root);

/*
 * Checks and takes the reference of `root` (in any case). 0 or -EINVAL with code 1 or 7.
 * runtimeConfig's keys are brought to their usual spelling. Free with cni_config_clear().
 */
int cni_config_decode(json_t *root, struct cni_config *ret, struct error *ret_failure);
void cni_config_clear(struct cni_config *config);

/* What only an ADD looks at: capabilities and labels. 0 or -EINVAL with code 2 or 7. */
int cni_config_check_add(const struct cni_config *config, struct error *ret_failure);

/*
 * The attachments that a GC shall keep: a new list of {containerID, ifname}. False: the runtime
 * names none, or not in the form of the specification, and nothing may be deleted; `*ret_why` says
 * which, for the log.
 */
bool cni_config_valid_attachments(const struct cni_config *config, json_t **ret,
				  const char **ret_why);

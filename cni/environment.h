/* SPDX-License-Identifier: Apache-2.0 */
/* What the runtime says in CNI_* environment variables, checked. */
#pragma once

#include <jansson.h>

#include "cni/failure.h"

enum cni_command { CNI_ADD, CNI_DEL, CNI_CHECK, CNI_GC, CNI_STATUS, CNI_VERSION };

/* Strings belong to the environment; NULL: unset, empty, or of no use to the command. */
struct cni_environment {
	enum cni_command command;
	const char *container_id;
	const char *ifname;
	const char *netns;
	const char *args;
};

/* An empty variable counts as unset. 0 or -EINVAL with code 4. */
int cni_environment_read(struct cni_environment *ret, struct error *ret_failure);

/* CNI_ARGS ("K=V;K=V", any order) as an object, a new reference. 0 or -EINVAL with code 4. */
int cni_args_decode(const char *text, json_t **ret, struct error *ret_failure);

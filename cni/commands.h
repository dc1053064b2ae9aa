/* SPDX-License-Identifier: Apache-2.0 */
/* What the plugin does for each CNI_COMMAND. */
#pragma once

#include "cni/config.h"
#include "cni/environment.h"

/*
 * Each: 0 or -EINVAL with `*ret_failure` filled. `*ret_output` (a new reference) is what goes to
 * standard output; it stays NULL where success is silent.
 */
int cni_add(struct cni_config *config, const struct cni_environment *environment,
	    json_t **ret_output, struct error *ret_failure);
int cni_del(struct cni_config *config, const struct cni_environment *environment,
	    json_t **ret_output, struct error *ret_failure);
int cni_check(struct cni_config *config, const struct cni_environment *environment,
	      json_t **ret_output, struct error *ret_failure);
int cni_gc(struct cni_config *config, const struct cni_environment *environment,
	   json_t **ret_output, struct error *ret_failure);
int cni_status(struct cni_config *config, const struct cni_environment *environment,
	       json_t **ret_output, struct error *ret_failure);

/* Takes back an ADD whose result did not reach the runtime. Notes it down if polderd does not
 * answer. */
void cni_undo_add(const struct cni_config *config, const struct cni_environment *environment);

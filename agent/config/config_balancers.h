/* SPDX-License-Identifier: Apache-2.0 */
/* The keys of load balancers' addresses. */
#pragma once

#include "agent/config/config_keys.h"

int config_set_pool(struct config *config, const char *text, struct config_source *source);
void config_clear_pools(struct config *config);
int config_set_announce(struct config *config, const char *text, struct config_source *source);
int config_set_return(struct config *config, const char *text, struct config_source *source);
/* What the single keys cannot know: pools meet neither each other nor pods' and nodes' addresses.
 */
int config_check_pools(const struct config *config, struct config_source *source);

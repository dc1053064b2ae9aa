/* SPDX-License-Identifier: Apache-2.0 */
/* Keys of the page in the browser. */
#pragma once

#include "agent/config/config_keys.h"

int config_set_ui_listen(struct config *config, const char *text, struct config_source *source);
int config_set_ui_host(struct config *config, const char *text, struct config_source *source);
void config_clear_ui_hosts(struct config *config);
/* Who listens for other machines has to say by which names. 0, or -EINVAL after a reason. */
int config_check_ui(const struct config *config, struct config_source *source);
/* Do other machines reach the page's address? */
bool config_ui_is_open(const struct config *config);

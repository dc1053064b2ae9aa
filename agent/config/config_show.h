/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration as it is in force: each key's value, where it comes from, what a reload does.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "agent/config/config_keys.h"

/* "default", "file", "option". */
const char *config_origin_name(enum config_origin origin);
/* The value in the form the file would have it; null: there is none. A new reference. */
json_t *config_value(const struct config *config, const struct config_key *key);
enum config_origin config_origin_of(const struct config *config, const struct config_key *key);
/* Is there a value to show? For tests: of every key there is. */
bool config_is_shown(const struct config_key *key);
/* Does a running polderd take another value over on SIGHUP? */
bool config_reloads(const struct config_key *key);
/* List of {key, value, source, file, reload}. */
json_t *config_document(const struct config *config);

/* SPDX-License-Identifier: Apache-2.0 */
/* Everything the agent counts, as Prometheus text. */
#pragma once

#include "agent/show/show.h"

/* The caller frees it. NULL: no memory. */
char *exporter_text(const struct show_sources *sources, size_t *ret_length);
/* For http_route(); `data` is the struct show_sources. */
unsigned int exporter_answer(char **ret_body, size_t *ret_length, void *data);

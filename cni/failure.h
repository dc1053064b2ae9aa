/* SPDX-License-Identifier: Apache-2.0 */
/* The error as the plugin prints it. */
#pragma once

#include <jansson.h>

#include "agent/common/cni_code.h"
#include "agent/common/error.h"

/* The error object; a new reference, NULL without memory. */
json_t *cni_failure_json(const struct error *failure, const char *version);

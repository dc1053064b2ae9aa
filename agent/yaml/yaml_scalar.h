/* SPDX-License-Identifier: Apache-2.0 */
/* What a plain YAML scalar stands for. */
#pragma once

#include <jansson.h>
#include <stddef.h>

/*
 * A null, truth, number or string; the caller owns it. `text` is valid UTF-8 without NUL,
 * terminated. 0, -EINVAL with a reason, -ENOMEM.
 */
int yaml_scalar_resolve(const char *text, size_t length, json_t **ret, const char **ret_reason);

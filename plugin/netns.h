/* SPDX-License-Identifier: Apache-2.0 */
/* The container's network namespace. */
#pragma once

#include "agent/common/error.h"

/* Opens it and makes sure that it is a network namespace other than our own; `what` is how the
 * caller calls it in messages. 0 or -EINVAL with code 4. */
int netns_open(const char *path, const char *what, int *ret_fd, struct error *ret_failure);

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>

/* RFC 4648; spaces and ends of lines are left out, padding is required. `*ret` is terminated by a
 * zero byte that is not counted; free() it. 0, -EINVAL, -ENOMEM. */
int base64_decode(const char *text, char **ret, size_t *ret_length);

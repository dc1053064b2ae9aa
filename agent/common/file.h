/* SPDX-License-Identifier: Apache-2.0 */
/* Whole reads and writes of descriptors. */
#pragma once

#include <stddef.h>

/* 0 or -errno: then a part may have been written. */
int file_write_all(int fd, const void *data, size_t length);
/*
 * From where the descriptor stands to the end, with a NUL behind. 0; -EFBIG: there are more than
 * `max` bytes; -errno. The caller frees
 * `*ret`.
 */
int file_read_all(int fd, size_t max, char **ret, size_t *ret_length);

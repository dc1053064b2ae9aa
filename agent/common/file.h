/* SPDX-License-Identifier: Apache-2.0 */
/* Whole reads and writes. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

/* 0 or -errno: then a part may have been written. */
int file_write_all(int fd, const void *data, size_t length);
/*
 * From where the descriptor stands to the end, with a NUL behind. 0; -EFBIG: there are more than
 * `max` bytes; -errno. The caller frees
 * `*ret`.
 */
int file_read_all(int fd, size_t max, char **ret, size_t *ret_length);
/*
 * Replaces a file by these parts, one behind the other: written beside (".NAME.tmp"), renamed. A
 * reader sees the old version or the new one. `sync`: so also after a crash of the machine. 0 or
 * -errno; on failure the old version stays.
 */
int file_replace(const char *path, const struct iovec *parts, size_t count, mode_t mode, bool sync);
/* The same of a file, opened with these flags beside (O_NOFOLLOW or 0). -EBADMSG: it is no regular
 * one. */
int file_read(const char *path, int flags, size_t max, char **ret, size_t *ret_length);
/* Opens the directory of `path`; `*ret_name` points to the last part inside `path`. 0 or -errno. */
int file_open_directory(const char *path, int *ret_fd, const char **ret_name);

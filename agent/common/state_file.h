/* SPDX-License-Identifier: Apache-2.0 */
/* Files that the agent must find again whole, or know to be damaged, after a crash. */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A state file is one line with format, length and checksum, then the content. It is replaced as a
 * whole: written beside
 * (".NAME.tmp"), synced, renamed, the directory synced. A reader sees the old version or the new
 * one.
 */

/* Mode 0600. 0 or -errno; on failure the old version stays. */
int state_file_write(const char *path, const void *content, size_t length);
/*
 * The same for copies of what stands elsewhere, by the thousand: not synced. After a crash of the
 * machine the newest may be missing or damaged; after one of the agent they are whole.
 */
int state_file_write_unsynced(const char *path, const void *content, size_t length);

/*
 * `*ret` is terminated by a zero byte that is not counted; free() it. `ret_length` may be NULL.
 * -ENOENT, -EFBIG (content of more than `max` bytes), -EBADMSG (cut off, changed, or not a state
 * file), or another -errno.
 */
int state_file_read(const char *path, size_t max, char **ret, size_t *ret_length);

/* The same for one JSON value. Content that is not JSON, or has a key twice, is damage: -EBADMSG.
 */
int state_file_write_json(const char *path, const json_t *value);
int state_file_read_json(const char *path, size_t max, json_t **ret);

/* CRC-32 (IEEE 802.3) of some bytes, as a state file has it of its content. */
uint32_t state_file_crc32(const void *content, size_t length);

/* Removes the file and syncs its directory. Not there: 0. */
int state_file_remove(const char *path);

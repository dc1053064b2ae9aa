/* SPDX-License-Identifier: Apache-2.0 */
/* Atomic replacement and damage detection of small files. */
#include "agent/common/state_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/common/cleanup.h"
#include "agent/common/file.h"
#include "agent/common/json_text.h"

#define STATE_MAGIC "polder-state 1"
#define HEADER_MAX  64

/* CRC-32 (IEEE 802.3), four bits a step: files of many megabytes are kept as well. */
uint32_t state_file_crc32(const void *content, size_t length)
{
	const unsigned char *data = content;
	static const uint32_t table[16] = {
		0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
		0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
		0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
	};
	uint32_t crc = 0xffffffffu;

	for (size_t i = 0; i < length; i++) {
		crc ^= data[i];
		crc = (crc >> 4) ^ table[crc & 15];
		crc = (crc >> 4) ^ table[crc & 15];
	}
	return ~crc;
}

/* The one header that fits the content: a reader compares it byte by byte, so damage of the header
 * shows as well. */
static size_t format_header(char header[HEADER_MAX], const void *content, size_t length)
{
	return (size_t)snprintf(header, HEADER_MAX, STATE_MAGIC " %zu %08x\n", length,
				state_file_crc32(content, length));
}

static int replace(const char *path, const void *content, size_t length, bool sync)
{
	char header[HEADER_MAX];
	struct iovec parts[] = {
		{.iov_base = header, .iov_len = format_header(header, content, length)},
		{.iov_base = (void *)content, .iov_len = length},
	};

	return file_replace(path, parts, 2, 0600, sync);
}

int state_file_write(const char *path, const void *content, size_t length)
{
	return replace(path, content, length, true);
}

int state_file_write_unsynced(const char *path, const void *content, size_t length)
{
	return replace(path, content, length, false);
}

int state_file_read(const char *path, size_t max, char **ret, size_t *ret_length)
{
	CLEANUP(cleanup_free) char *data = NULL;
	char header[HEADER_MAX];
	size_t length = 0, header_length;
	char *content;
	int r;

	r = file_read(path, O_NOFOLLOW, max + HEADER_MAX, &data, &length);
	if (r < 0)
		return r;

	content = memchr(data, '\n', length < HEADER_MAX ? length : HEADER_MAX);
	if (!content)
		return -EBADMSG;
	content++;
	header_length = (size_t)(content - data);
	length -= header_length;
	if (length > max)
		return -EFBIG;
	if (format_header(header, content, length) != header_length ||
	    memcmp(header, data, header_length) != 0)
		return -EBADMSG;

	memmove(data, content, length + 1);
	*ret = TAKE_PTR(data);
	if (ret_length)
		*ret_length = length;
	return 0;
}

int state_file_write_json(const char *path, const json_t *value)
{
	CLEANUP(cleanup_free) char *text = json_dumps(value, JSON_INDENT(1) | JSON_ENCODE_ANY);

	if (!text)
		return -ENOMEM;
	return state_file_write(path, text, strlen(text));
}

int state_file_read_json(const char *path, size_t max, json_t **ret)
{
	CLEANUP(cleanup_free) char *text = NULL;
	size_t length;
	int r;

	r = state_file_read(path, max, &text, &length);
	if (r < 0)
		return r;
	return json_text_load(text, length, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL, ret);
}

int state_file_remove(const char *path)
{
	CLEANUP(cleanup_close) int dir = -1;
	const char *name;
	int r;

	r = file_open_directory(path, &dir, &name);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	if (unlinkat(dir, name, 0) < 0)
		return errno == ENOENT ? 0 : -errno;
	return fsync(dir) < 0 ? -errno : 0;
}

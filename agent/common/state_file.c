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

#define CRC_POLYNOMIAL 0xedb88320u /* of IEEE 802.3, its bits in reverse */
#define CRC_STEP       8	   /* bytes at once */

/* What a byte makes of the sum with so many bytes behind it. */
static uint32_t crc_tables[CRC_STEP][256];

__attribute__((constructor)) static void make_crc_tables(void)
{
	for (uint32_t byte = 0; byte < 256; byte++) {
		uint32_t crc = byte;

		for (int bit = 0; bit < 8; bit++)
			crc = (crc >> 1) ^ (crc & 1 ? CRC_POLYNOMIAL : 0);
		crc_tables[0][byte] = crc;
	}
	for (int behind = 1; behind < CRC_STEP; behind++)
		for (uint32_t byte = 0; byte < 256; byte++) {
			uint32_t crc = crc_tables[behind - 1][byte];

			crc_tables[behind][byte] = (crc >> 8) ^ crc_tables[0][crc & 255];
		}
}

/* CRC-32, eight bytes a step: each object that changes is kept with its sum. */
uint32_t state_file_crc32(const void *content, size_t length)
{
	const unsigned char *data = content;
	uint32_t crc = 0xffffffffu;

	for (; length >= CRC_STEP; data += CRC_STEP, length -= CRC_STEP) {
		unsigned char mixed[CRC_STEP];
		uint32_t next = 0;

		memcpy(mixed, data, CRC_STEP);
		for (int i = 0; i < 4; i++)
			mixed[i] ^= (unsigned char)(crc >> (8 * i));
		for (int i = 0; i < CRC_STEP; i++)
			next ^= crc_tables[CRC_STEP - 1 - i][mixed[i]];
		crc = next;
	}
	for (; length > 0; data++, length--)
		crc = (crc >> 8) ^ crc_tables[0][(crc ^ *data) & 255];
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

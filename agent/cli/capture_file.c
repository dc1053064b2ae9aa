/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/cli/capture_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* draft-ietf-opsawg-pcapng, sections 4.1 to 4.6 and 3.5. Blocks are in the host's byte order, which
 * the section header tells. */
#define BLOCK_SECTION	 0x0a0d0d0au
#define BLOCK_INTERFACE	 1u
#define BLOCK_STATISTICS 5u
#define BLOCK_PACKET	 6u

#define BYTE_ORDER_MAGIC  0x1a2b3c4du
#define LINKTYPE_ETHERNET 1

#define OPTION_END	0
#define OPTION_COMMENT	1
#define OPTION_IF_NAME	2
#define OPTION_IF_TEXT	3
#define OPTION_IF_TSRES 9
#define OPTION_SHB_APP	4
#define OPTION_ISB_RECV 4
#define OPTION_ISB_DROP 5
#define RESOLUTION_NS	9

#define BUFFER_SIZE (256u << 10)
#define OPTION_MAX  (CAPTURE_COMMENT_MAX + 8)

struct capture_file {
	int fd;
	uint8_t *buffer;
	size_t used;
	uint64_t written; /* bytes of whole blocks in the file */
	int failed;	  /* -errno: nothing more is written */
};

void capture_file_free(struct capture_file *file)
{
	if (!file)
		return;
	free(file->buffer);
	free(file);
}

static int write_all(int fd, const uint8_t *bytes, size_t length, size_t *ret_written)
{
	*ret_written = 0;
	while (*ret_written < length) {
		ssize_t n = write(fd, bytes + *ret_written, length - *ret_written);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		*ret_written += (size_t)n;
	}
	return 0;
}

/* The end of the last block in the buffer that lies before `limit`. */
static size_t whole_blocks(const struct capture_file *file, size_t limit)
{
	size_t at = 0;
	uint32_t length;

	while (at + 12 <= limit) {
		memcpy(&length, file->buffer + at + 4, sizeof(length));
		if (at + length > limit)
			break;
		at += length;
	}
	return at;
}

int capture_file_flush(struct capture_file *file)
{
	size_t written;
	off_t end;
	int r;

	if (file->failed || file->used == 0)
		return file->failed;
	r = write_all(file->fd, file->buffer, file->used, &written);
	if (r < 0) {
		/* Not possible where it leads to a pipe: who reads there finds the cut block. */
		end = lseek(file->fd, 0, SEEK_CUR);
		if (end >= 0 && (size_t)end >= written)
			(void)!ftruncate(file->fd,
					 end - (off_t)written + (off_t)whole_blocks(file, written));
		file->failed = r;
	}
	file->used = 0;
	return r;
}

/* Room for a block in the buffer. 0 or -errno. */
static int reserve(struct capture_file *file, size_t length)
{
	if (file->failed)
		return file->failed;
	return file->used + length > BUFFER_SIZE ? capture_file_flush(file) : 0;
}

static void put(struct capture_file *file, const void *bytes, size_t length)
{
	static const uint8_t zeros[4];
	size_t padding = -length & 3;

	memcpy(file->buffer + file->used, bytes, length);
	memcpy(file->buffer + file->used + length, zeros, padding);
	file->used += length + padding;
}

static void put_u32(struct capture_file *file, uint32_t value)
{
	put(file, &value, sizeof(value));
}

static void put_option(struct capture_file *file, uint16_t code, const void *value, size_t length)
{
	const uint16_t head[2] = {code, (uint16_t)length};

	put(file, head, sizeof(head));
	put(file, value, length);
}

static void put_text(struct capture_file *file, uint16_t code, const char *text)
{
	size_t length = strnlen(text, CAPTURE_COMMENT_MAX);

	/* Not in the middle of a character. */
	if (length == CAPTURE_COMMENT_MAX)
		while (length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80)
			length--;
	put_option(file, code, text, length);
}

/* Blocks have their length at both ends. */
static size_t begin_block(struct capture_file *file, uint32_t type)
{
	size_t start = file->used;

	put_u32(file, type);
	put_u32(file, 0);
	return start;
}

static void end_block(struct capture_file *file, size_t start)
{
	uint32_t length = (uint32_t)(file->used - start + 4);

	put_u32(file, length);
	memcpy(file->buffer + start + 4, &length, sizeof(length));
}

int capture_file_new(int fd, struct capture_file **ret)
{
	struct capture_file *file = calloc(1, sizeof(*file));
	const uint64_t unknown_length = UINT64_MAX;
	const uint16_t version[2] = {1, 0};
	size_t start;

	if (file)
		file->buffer = malloc(BUFFER_SIZE);
	if (!file || !file->buffer) {
		capture_file_free(file);
		return -ENOMEM;
	}
	file->fd = fd;
	start = begin_block(file, BLOCK_SECTION);
	put_u32(file, BYTE_ORDER_MAGIC);
	put(file, version, sizeof(version));
	put(file, &unknown_length, sizeof(unknown_length));
	put_text(file, OPTION_SHB_APP, "polderctl " POLDER_VERSION);
	put_option(file, OPTION_END, "", 0);
	end_block(file, start);
	*ret = file;
	return 0;
}

int capture_file_interface(struct capture_file *file, const char *name, const char *description,
			   uint32_t snaplen)
{
	const uint16_t type[2] = {LINKTYPE_ETHERNET, 0};
	const uint8_t resolution = RESOLUTION_NS;
	size_t start;
	int r = reserve(file, 64 + 2 * OPTION_MAX);

	if (r < 0)
		return r;
	start = begin_block(file, BLOCK_INTERFACE);
	put(file, type, sizeof(type));
	put_u32(file, snaplen);
	put_text(file, OPTION_IF_NAME, name);
	put_text(file, OPTION_IF_TEXT, description);
	put_option(file, OPTION_IF_TSRES, &resolution, 1);
	put_option(file, OPTION_END, "", 0);
	end_block(file, start);
	return 0;
}

int capture_file_packet(struct capture_file *file, uint32_t interface, uint64_t time_ns,
			const void *bytes, uint32_t captured, uint32_t length, const char *comment)
{
	size_t start;
	int r = reserve(file, 64 + (size_t)captured + OPTION_MAX);

	if (r < 0)
		return r;
	start = begin_block(file, BLOCK_PACKET);
	put_u32(file, interface);
	put_u32(file, (uint32_t)(time_ns >> 32));
	put_u32(file, (uint32_t)time_ns);
	put_u32(file, captured);
	put_u32(file, length);
	put(file, bytes, captured);
	if (comment) {
		put_text(file, OPTION_COMMENT, comment);
		put_option(file, OPTION_END, "", 0);
	}
	end_block(file, start);
	return 0;
}

int capture_file_statistics(struct capture_file *file, uint32_t interface, uint64_t time_ns,
			    uint64_t received, uint64_t lost)
{
	size_t start;
	int r = reserve(file, 96);

	if (r < 0)
		return r;
	start = begin_block(file, BLOCK_STATISTICS);
	put_u32(file, interface);
	put_u32(file, (uint32_t)(time_ns >> 32));
	put_u32(file, (uint32_t)time_ns);
	put_option(file, OPTION_ISB_RECV, &received, sizeof(received));
	put_option(file, OPTION_ISB_DROP, &lost, sizeof(lost));
	put_option(file, OPTION_END, "", 0);
	end_block(file, start);
	return 0;
}

/* ---------------------------------------------------------------- reading */

#define READ_BLOCK_MAX (16u << 20)
#define READ_FACES_MAX 65536
#define READ_NAME_MAX  128

struct read_interface {
	char name[READ_NAME_MAX];
	uint64_t units; /* of time in a second */
};

struct capture_reader {
	int fd;
	uint8_t *block; /* without type and first length */
	size_t size;
	struct read_interface *interfaces;
	uint32_t count;
	bool section; /* a header has been read */
	char comment[CAPTURE_COMMENT_MAX + 1];
};

int capture_reader_new(int fd, struct capture_reader **ret)
{
	struct capture_reader *reader = calloc(1, sizeof(*reader));

	if (!reader)
		return -ENOMEM;
	reader->fd = fd;
	*ret = reader;
	return 0;
}

void capture_reader_free(struct capture_reader *reader)
{
	if (!reader)
		return;
	free(reader->block);
	free(reader->interfaces);
	free(reader);
}

/* 1; 0: the file ends before the first byte; -EBADMSG: within; -errno. */
static int read_all(int fd, void *to, size_t length)
{
	size_t got = 0;

	while (got < length) {
		ssize_t n = read(fd, (uint8_t *)to + got, length - got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return got ? -EBADMSG : 0;
		got += (size_t)n;
	}
	return 1;
}

static uint32_t u32_at(const uint8_t *bytes)
{
	uint32_t value;

	memcpy(&value, bytes, sizeof(value));
	return value;
}

static uint16_t u16_at(const uint8_t *bytes)
{
	uint16_t value;

	memcpy(&value, bytes, sizeof(value));
	return value;
}

/* The next block without its frame. 1, 0 or -errno as read_all(). */
static int read_block(struct capture_reader *reader, uint32_t *ret_type, size_t *ret_length)
{
	uint32_t head[2];
	uint8_t *larger;
	int r = read_all(reader->fd, head, sizeof(head));

	if (r <= 0)
		return r;
	if (!reader->section && head[0] != BLOCK_SECTION)
		return -EBADMSG;
	if (head[1] < 12 || head[1] > READ_BLOCK_MAX || head[1] % 4)
		return -EBADMSG;
	if (head[1] > reader->size) {
		larger = realloc(reader->block, head[1]);
		if (!larger)
			return -ENOMEM;
		reader->block = larger;
		reader->size = head[1];
	}
	r = read_all(reader->fd, reader->block, head[1] - 8);
	if (r <= 0)
		return r < 0 ? r : -EBADMSG;
	*ret_type = head[0];
	*ret_length = head[1] - 12;
	return u32_at(reader->block + *ret_length) == head[1] ? 1 : -EBADMSG;
}

/* The first option of this code behind `at`; its length, or -1. */
static long find_option(const struct capture_reader *reader, size_t at, size_t length,
			uint16_t code, const uint8_t **ret)
{
	while (at + 4 <= length) {
		uint16_t found = u16_at(reader->block + at), size = u16_at(reader->block + at + 2);

		at += 4;
		if (found == OPTION_END || at + size > length)
			break;
		if (found == code) {
			*ret = reader->block + at;
			return size;
		}
		at += (size_t)size + (-(size_t)size & 3);
	}
	return -1;
}

static uint64_t units_of(uint8_t resolution)
{
	uint64_t units = 1;

	if (resolution & 0x80)
		return (resolution & 0x7f) < 63 ? UINT64_C(1) << (resolution & 0x7f) : 0;
	for (uint8_t i = 0; i < resolution && i < 19; i++)
		units *= 10;
	return resolution < 19 ? units : 0;
}

static int add_interface(struct capture_reader *reader, size_t length)
{
	struct read_interface *grown, *added;
	const uint8_t *value = NULL;
	long size;

	if (length < 8 || reader->count >= READ_FACES_MAX)
		return -EBADMSG;
	grown = reallocarray(reader->interfaces, reader->count + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	reader->interfaces = grown;
	added = &grown[reader->count];
	*added = (struct read_interface){.units = 1000000};
	size = find_option(reader, 8, length, OPTION_IF_NAME, &value);
	if (size > 0)
		memcpy(added->name, value, size < READ_NAME_MAX ? size : READ_NAME_MAX - 1);
	if (find_option(reader, 8, length, OPTION_IF_TSRES, &value) == 1)
		added->units = units_of(*value);
	reader->count++;
	return added->units ? 0 : -EBADMSG;
}

/* 1 or -EBADMSG. */
static int take_packet(struct capture_reader *reader, size_t length,
		       struct capture_read_packet *ret)
{
	const uint8_t *block = reader->block, *value = NULL;
	uint32_t captured = length >= 20 ? u32_at(block + 12) : 0;
	const struct read_interface *interface;
	uint64_t time;
	long size;

	if (length < 20 || captured > length - 20 || u32_at(block) >= reader->count)
		return -EBADMSG;
	interface = &reader->interfaces[u32_at(block)];
	time = (uint64_t)u32_at(block + 4) << 32 | u32_at(block + 8);
	size = find_option(reader, 20 + captured + (-captured & 3), length, OPTION_COMMENT, &value);
	if (size > CAPTURE_COMMENT_MAX)
		size = CAPTURE_COMMENT_MAX;
	if (size > 0)
		memcpy(reader->comment, value, size);
	reader->comment[size > 0 ? size : 0] = '\0';
	*ret = (struct capture_read_packet){
		.interface = interface->name,
		.time_ns = time / interface->units * UINT64_C(1000000000) +
			   (uint64_t)((__uint128_t)(time % interface->units) *
				      UINT64_C(1000000000) / interface->units),
		.bytes = block + 20,
		.captured = captured,
		.length = u32_at(block + 16),
		.comment = reader->comment,
	};
	return 1;
}

static int take_section(struct capture_reader *reader, size_t length)
{
	/* Of the other byte order: no machine that runs Polder writes such. */
	if (length < 16 || u32_at(reader->block) != BYTE_ORDER_MAGIC)
		return -EBADMSG;
	reader->section = true;
	reader->count = 0;
	return 0;
}

int capture_reader_next(struct capture_reader *reader, struct capture_read_packet *ret)
{
	uint32_t type;
	size_t length;
	int r;

	while ((r = read_block(reader, &type, &length)) > 0) {
		if (type == BLOCK_PACKET)
			return take_packet(reader, length, ret);
		if (type == BLOCK_SECTION)
			r = take_section(reader, length);
		else if (type == BLOCK_INTERFACE)
			r = add_interface(reader, length);
		if (r < 0)
			return r;
	}
	return r;
}

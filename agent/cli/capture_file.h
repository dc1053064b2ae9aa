/* SPDX-License-Identifier: Apache-2.0 */
/* Packets in a file: pcapng (draft-ietf-opsawg-pcapng), one section, written block by block, so
 * that it is whole at any moment and can be read while it grows. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CAPTURE_COMMENT_MAX 2048

struct capture_file;

/*
 * Writes the Section Header Block to `fd`, which stays the caller's; `name` is for messages. 0,
 * -ENOMEM or the -errno of write().
 */
int capture_file_new(int fd, struct capture_file **ret);
void capture_file_free(struct capture_file *file); /* what was not flushed is lost; takes NULL */

/* Interfaces are numbered from 0 in the order of these calls. Ethernet, times in ns. 0 or -errno.
 */
int capture_file_interface(struct capture_file *file, const char *name, const char *description,
			   uint32_t snaplen);
/* `time_ns` since 1970. `comment` is UTF-8; NULL: none. 0 or -errno. */
int capture_file_packet(struct capture_file *file, uint32_t interface, uint64_t time_ns,
			const void *bytes, uint32_t captured, uint32_t length, const char *comment);
/* How many packets there were, and how many of them were lost before they could be written. 0 or
 * -errno. */
int capture_file_statistics(struct capture_file *file, uint32_t interface, uint64_t time_ns,
			    uint64_t received, uint64_t lost);
/*
 * What is buffered goes out. 0 or -errno; of a block that did not fit nothing stays in a file that
 * can be cut.
 */
int capture_file_flush(struct capture_file *file);

/* ---------------------------------------------------------------- reading */

struct capture_reader;

struct capture_read_packet {
	const char *interface; /* its name, or its number */
	uint64_t time_ns;
	const uint8_t *bytes;
	uint32_t captured, length;
	const char *comment; /* "" if there is none */
};

/* Of `fd`. 0 or -ENOMEM. */
int capture_reader_new(int fd, struct capture_reader **ret);
void capture_reader_free(struct capture_reader *reader); /* takes NULL */
/* 1: a packet, valid until the next call; 0: the end; -EBADMSG: no pcapng file, or a damaged one;
 * -errno. */
int capture_reader_next(struct capture_reader *reader, struct capture_read_packet *ret);

/* SPDX-License-Identifier: Apache-2.0 */
/* A tar archive (ustar), compressed with gzip, written piece by piece. */
#pragma once

#include <stddef.h>

struct archive;

#define ARCHIVE_NAME_MAX 100 /* bytes of a member's name, with the NUL */

/* `directory` stands before each name. Takes over `fd` if it succeeds. 0 or -errno. */
int archive_open(int fd, const char *directory, struct archive **ret);
/*
 * Adds a file. Bytes of the name that are no letters, digits or one of "./_-" become "_", and what
 * is too long is cut. 0 or -errno; after a failure all that follows fails.
 */
int archive_add(struct archive *archive, const char *name, const void *data, size_t length);
/* Ends the archive and frees it. 0; -errno of this or an earlier failure. */
int archive_close(struct archive *archive);

/* SPDX-License-Identifier: Apache-2.0 */
/* A tar archive (ustar), compressed with gzip. */
#include "agent/cli/archive.h"

#include <ctype.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zlib.h>

#define BLOCK 512

struct archive {
	gzFile file;
	char directory[155];
	time_t now;
	int error;
};

/* A member's header; the sum is of its bytes, with blanks for the sum itself. */
struct header {
	char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], sum[8], type, link[100];
	char magic[6], version[2], user[32], group[32], major[8], minor[8], prefix[155], pad[12];
};
_Static_assert(sizeof(struct header) == BLOCK, "a header is one block");

int archive_open(int fd, const char *directory, struct archive **ret)
{
	struct archive *archive = calloc(1, sizeof(*archive));

	if (!archive)
		return -ENOMEM;
	archive->file = gzdopen(fd, "wb");
	if (!archive->file) {
		free(archive);
		return -ENOMEM;
	}
	snprintf(archive->directory, sizeof(archive->directory), "%.154s", directory);
	archive->now = time(NULL);
	*ret = archive;
	return 0;
}

static int fail(struct archive *archive)
{
	int code = Z_OK;

	gzerror(archive->file, &code);
	archive->error = code == Z_ERRNO && errno ? -errno : code == Z_MEM_ERROR ? -ENOMEM : -EIO;
	return archive->error;
}

static int put(struct archive *archive, const void *data, size_t length)
{
	const char *p = data;

	while (!archive->error && length) {
		unsigned int piece = length > BLOCK * 1024 ? BLOCK * 1024 : (unsigned int)length;

		errno = 0;
		if (gzwrite(archive->file, p, piece) != (int)piece)
			return fail(archive);
		p += piece;
		length -= piece;
	}
	return archive->error;
}

static void put_name(const char *name, char *ret, size_t size)
{
	snprintf(ret, size, "%.*s", (int)size - 1, name);
	for (char *p = ret; *p; p++)
		if (!isalnum((unsigned char)*p) && !strchr("./_-", *p))
			*p = '_';
}

static void fill_header(const struct archive *archive, const char *name, size_t length,
			struct header *ret)
{
	unsigned int sum = 0;

	*ret = (struct header){.type = '0'};
	put_name(name, ret->name, sizeof(ret->name));
	put_name(archive->directory, ret->prefix, sizeof(ret->prefix));
	snprintf(ret->mode, sizeof(ret->mode), "%07o", 0600);
	snprintf(ret->uid, sizeof(ret->uid), "%07o", 0);
	snprintf(ret->gid, sizeof(ret->gid), "%07o", 0);
	snprintf(ret->size, sizeof(ret->size), "%011llo", (unsigned long long)length);
	snprintf(ret->mtime, sizeof(ret->mtime), "%011llo", (unsigned long long)archive->now);
	memset(ret->sum, ' ', sizeof(ret->sum));
	memcpy(ret->magic, "ustar", sizeof(ret->magic));
	memcpy(ret->version, "00", sizeof(ret->version));
	for (size_t i = 0; i < sizeof(*ret); i++)
		sum += ((const uint8_t *)ret)[i];
	snprintf(ret->sum, sizeof(ret->sum), "%06o", sum);
}

int archive_add(struct archive *archive, const char *name, const void *data, size_t length)
{
	static const char zeros[BLOCK];
	struct header header;

	fill_header(archive, name, length, &header);
	put(archive, &header, sizeof(header));
	put(archive, data, length);
	return put(archive, zeros, (BLOCK - length % BLOCK) % BLOCK);
}

int archive_close(struct archive *archive)
{
	static const char zeros[2 * BLOCK];
	int r;

	put(archive, zeros, sizeof(zeros));
	r = archive->error;
	errno = 0;
	if (gzclose(archive->file) != Z_OK && !r)
		r = errno ? -errno : -EIO;
	free(archive);
	return r;
}

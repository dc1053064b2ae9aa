/* SPDX-License-Identifier: Apache-2.0 */
/* What a request wants to change: objects from its descriptor, and names of objects that would go.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/common/cleanup.h"
#include "agent/dryrun/dry_run_internal.h"

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

void dry_run_object_text(enum object_kind kind, const char *namespace, const char *name,
			 char *buffer, size_t size)
{
	snprintf(buffer, size, "%s %s%s%s", object_kind_name(kind), namespace,
		 *namespace ? "/" : "", name);
}

/* A sealed memfd is whole and stays so: reading it never waits. */
static int read_descriptor(int fd, char **ret, size_t *ret_length, char *message, size_t size)
{
	CLEANUP(cleanup_free) char *text = NULL;
	struct stat status;
	size_t length = 0;
	int seals = fcntl(fd, F_GET_SEALS);

	if (seals < 0 || (seals & SEALS) != SEALS || fstat(fd, &status) < 0) {
		snprintf(message, size, "the objects must be passed in a sealed memfd");
		return -EINVAL;
	}
	if (status.st_size > DRY_RUN_TEXT_MAX) {
		snprintf(message, size, "the objects have %lld bytes; the limit is %u",
			 (long long)status.st_size, DRY_RUN_TEXT_MAX);
		return -EFBIG;
	}
	text = malloc((size_t)status.st_size + 1);
	if (!text)
		return -ENOMEM;
	while (length < (size_t)status.st_size) {
		ssize_t got =
			pread(fd, text + length, (size_t)status.st_size - length, (off_t)length);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return -EIO;
		length += (size_t)got;
	}
	*ret = TAKE_PTR(text);
	*ret_length = length;
	return 0;
}

static int read_objects(int fd, struct dry_run_changes *changes, char *message, size_t size)
{
	CLEANUP(cleanup_free) char *text = NULL;
	struct error error = {0};
	size_t length = 0;
	int r;

	if (fd < 0)
		return 0;
	r = read_descriptor(fd, &text, &length, message, size);
	if (r < 0)
		return r;
	r = objects_decode(text, length, &changes->objects, &error);
	if (r < 0)
		snprintf(message, size, "%s %s", error.path, error.text);
	return r;
}

/* KIND/NAMESPACE/NAME, or KIND/NAME of a kind without namespace. */
static int parse_removal(const char *text, struct dry_run_removal *ret)
{
	const char *slash = strchr(text, '/'), *last = strrchr(text, '/');
	size_t kind;

	for (kind = 0; slash && kind < OBJECT_KIND_COUNT; kind++) {
		const char *name = object_kind_name((enum object_kind)kind);

		if (strlen(name) == (size_t)(slash - text) &&
		    strncasecmp(name, text, strlen(name)) == 0)
			break;
	}
	if (!slash || kind == OBJECT_KIND_COUNT || !last[1] ||
	    (slash == last) != object_kind_is_global((enum object_kind)kind))
		return -EINVAL;
	ret->kind = (enum object_kind)kind;
	ret->namespace =
		slash == last ? strdup("") : strndup(slash + 1, (size_t)(last - slash) - 1);
	ret->name = strdup(last + 1);
	return ret->namespace && ret->name ? 0 : -ENOMEM;
}

static int read_removals(const json_t *list, struct dry_run_changes *changes, char *message,
			 size_t size)
{
	size_t count = json_array_size(list);
	int r = 0;

	if (count > 10000) {
		snprintf(message, size, "delete: more than 10000 objects");
		return -EFBIG;
	}
	changes->removals = calloc(count + 1, sizeof(*changes->removals));
	if (!changes->removals)
		return -ENOMEM;
	for (size_t i = 0; r == 0 && i < count; i++) {
		const char *text = json_string_value(json_array_get(list, i));

		changes->removal_count++;
		r = text ? parse_removal(text, &changes->removals[i]) : -EINVAL;
		if (r == -EINVAL)
			snprintf(message, size,
				 "delete: \"%.100s\" is not KIND/NAMESPACE/NAME of a kind that "
				 "Polder supports, such as "
				 "NetworkPolicy/demo/web or ClusterNetworkPolicy/web",
				 text ? text : "");
	}
	return r;
}

int dry_run_read_changes(const json_t *args, int fd, struct dry_run_changes *ret, char *message,
			 size_t size)
{
	struct dry_run_changes changes = {0};
	int r;

	snprintf(message, size, "no memory");
	r = read_objects(fd, &changes, message, size);
	if (r == 0)
		r = read_removals(json_object_get(args, "delete"), &changes, message, size);
	if (r == 0 && changes.objects.count + changes.removal_count == 0) {
		snprintf(message, size,
			 "nothing to try: the files contain no object of a kind that Polder "
			 "supports");
		r = -EINVAL;
	}
	if (r < 0) {
		dry_run_changes_clear(&changes);
		return r;
	}
	*ret = changes;
	return 0;
}

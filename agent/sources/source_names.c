/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/sources/source_dir_internal.h"

bool source_is_eligible(const char *name)
{
	size_t length = strlen(name);

	return name[0] != '.' && length > 5 && strcmp(name + length - 5, ".json") == 0;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

void source_free_names(char **names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(names[i]);
	free(names);
}

int source_list_names(int dir_fd, char ***ret, size_t *ret_count)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	char **names = NULL;
	size_t count = 0, size = 0;
	struct dirent *item;
	int r = 0;

	if (!dir) {
		r = -errno;
		if (fd >= 0)
			close(fd);
		return r;
	}
	while (r == 0 && (errno = 0, item = readdir(dir))) {
		if (!source_is_eligible(item->d_name))
			continue;
		if (count == size) {
			char **larger;

			size = size ? size * 2 : 64;
			larger = reallocarray(names, size, sizeof(*names));
			if (!larger) {
				r = -ENOMEM;
				break;
			}
			names = larger;
		}
		names[count] = strdup(item->d_name);
		if (names[count])
			count++;
		else
			r = -ENOMEM;
	}
	if (r == 0 && errno)
		r = -errno;
	closedir(dir);
	if (r < 0) {
		source_free_names(names, count);
		return r;
	}
	if (count > 1)
		qsort(names, count, sizeof(*names), compare_names);
	*ret = names;
	*ret_count = count;
	return 0;
}

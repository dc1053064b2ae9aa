/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kernel/loaded_object.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct loaded {
	char *name;
	int fd;
};

struct loaded_object {
	struct loaded *programs, *maps;
	size_t program_count, map_count;
};

/* One more, of a descriptor that stays the caller's. 0 or -errno. */
static int keep(struct loaded **list, size_t *count, const char *name, int fd)
{
	struct loaded *grown = reallocarray(*list, *count + 1, sizeof(**list));
	struct loaded *one;

	if (!grown)
		return -ENOMEM;
	*list = grown;
	one = &grown[*count];
	one->name = strdup(name);
	if (!one->name)
		return -ENOMEM;
	one->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (one->fd < 0) {
		free(one->name);
		return -errno;
	}
	(*count)++;
	return 0;
}

static int keep_all(const struct bpf_object *object,
		    bool (*is_own)(const struct bpf_map *map, const void *data), const void *data,
		    struct loaded_object *loaded)
{
	struct bpf_program *program;
	struct bpf_map *map;
	int r = 0;

	bpf_object__for_each_program(program, object)
	{
		if (r == 0 && bpf_program__autoload(program))
			r = keep(&loaded->programs, &loaded->program_count,
				 bpf_program__name(program), bpf_program__fd(program));
	}
	bpf_object__for_each_map(map, object)
	{
		if (r == 0 && is_own(map, data))
			r = keep(&loaded->maps, &loaded->map_count, bpf_map__name(map),
				 bpf_map__fd(map));
	}
	return r;
}

int loaded_object_new(const struct bpf_object *object,
		      bool (*is_own)(const struct bpf_map *map, const void *data), const void *data,
		      struct loaded_object **ret)
{
	struct loaded_object *loaded = calloc(1, sizeof(*loaded));
	int r;

	if (!loaded)
		return -ENOMEM;
	r = keep_all(object, is_own, data, loaded);
	if (r < 0) {
		loaded_object_free(loaded);
		return r;
	}
	*ret = loaded;
	return 0;
}

static void clear(struct loaded *list, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		close(list[i].fd);
		free(list[i].name);
	}
	free(list);
}

void loaded_object_free(struct loaded_object *object)
{
	if (!object)
		return;
	clear(object->programs, object->program_count);
	clear(object->maps, object->map_count);
	free(object);
}

static int find(const struct loaded *list, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(list[i].name, name) == 0)
			return list[i].fd;
	return -ENOENT;
}

int loaded_object_program(const struct loaded_object *object, const char *name)
{
	return find(object->programs, object->program_count, name);
}

int loaded_object_map(const struct loaded_object *object, const char *name)
{
	return find(object->maps, object->map_count, name);
}

const char *loaded_object_each(const struct loaded_object *object, size_t i, int *ret_fd)
{
	if (i >= object->program_count)
		return NULL;
	*ret_fd = object->programs[i].fd;
	return object->programs[i].name;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Puts the flow table back as it was, whatever it is made of: all arrays that from_pod uses, but
 * for those that count each CPU's own and those of the loader.
 */
#include "bench.h"

#include <bpf/bpf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ARRAYS_MAX 32

struct kept_array {
	uint8_t *content;
	uint8_t *memory; /* of the map itself; NULL: it cannot be mapped */
	uint32_t *keys;	 /* where it cannot */
	size_t size;
	uint32_t entries;
	int fd; /* borrowed */
};

struct bench_kept {
	struct kept_array arrays[ARRAYS_MAX];
	int count;
};

/* What programs only read does not change under them. */
static bool is_kept(const struct bpf_map *map)
{
	return !(bpf_map__map_flags(map) & BPF_F_RDONLY_PROG) &&
	       bpf_map__type(map) == BPF_MAP_TYPE_ARRAY && !strchr(bpf_map__name(map), '.');
}

/* From one element to the next: in the map's own memory they are padded. */
static size_t value_stride(const struct bpf_map *map)
{
	size_t size = bpf_map__value_size(map);

	return bpf_map__map_flags(map) & BPF_F_MMAPABLE ? (size + 7) / 8 * 8 : size;
}

static void keep_array(struct kept_array *array, const struct bpf_map *map)
{
	array->fd = bpf_map__fd(map);
	array->entries = bpf_map__max_entries(map);
	array->size = array->entries * value_stride(map);
	array->content = malloc(array->size);
	array->keys = calloc(array->entries, sizeof(*array->keys));
	if (!array->content || !array->keys)
		bench_fail("no memory to keep the flow table");
	if (bpf_map__map_flags(map) & BPF_F_MMAPABLE) {
		array->memory =
			mmap(NULL, array->size, PROT_READ | PROT_WRITE, MAP_SHARED, array->fd, 0);
		if (array->memory == MAP_FAILED)
			bench_fail("cannot map the flow table");
		memcpy(array->content, array->memory, array->size);
		return;
	}
	for (uint32_t i = 0; i < array->entries; i++) {
		array->keys[i] = i;
		if (bpf_map_lookup_elem(array->fd, &i, array->content + i * value_stride(map)))
			bench_fail("cannot read an array");
	}
}

struct bench_kept *bench_keep(const struct world *world)
{
	const struct bpf_object *object = world->objects[HOOK_FROM_POD];
	struct bench_kept *kept = calloc(1, sizeof(*kept));
	const struct bpf_map *map;

	if (!kept)
		bench_fail("no memory to keep the flow table");
	bpf_object__for_each_map(map, object)
	{
		if (!is_kept(map))
			continue;
		if (kept->count == ARRAYS_MAX)
			bench_fail("from_pod uses more arrays than can be kept");
		keep_array(&kept->arrays[kept->count++], map);
	}
	return kept;
}

void bench_put_back(struct bench_kept *kept)
{
	for (int i = 0; i < kept->count; i++) {
		struct kept_array *array = &kept->arrays[i];
		uint32_t count = array->entries;

		if (array->memory)
			memcpy(array->memory, array->content, array->size);
		else if (bpf_map_update_batch(array->fd, array->keys, array->content, &count, NULL))
			bench_fail("cannot put an array back");
	}
}

void bench_kept_free(struct bench_kept **kept)
{
	if (!*kept)
		return;
	for (int i = 0; i < (*kept)->count; i++) {
		struct kept_array *array = &(*kept)->arrays[i];

		if (array->memory)
			munmap(array->memory, array->size);
		free(array->content);
		free(array->keys);
	}
	free(*kept);
	*kept = NULL;
}

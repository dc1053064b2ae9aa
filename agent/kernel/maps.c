/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kernel/maps_internal.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "agent/kernel/bpffs.h"
#include "agent/kernel/cause.h"

/* The agent keeps no copy of such maps: it reads their memory. */
#define VIEWED (BPF_F_MMAPABLE | BPF_F_RDONLY_PROG)

static const char *type_name(enum bpf_map_type type)
{
	switch (type) {
	case BPF_MAP_TYPE_ARRAY:
		return "array";
	case BPF_MAP_TYPE_HASH:
		return "hash";
	case BPF_MAP_TYPE_LRU_HASH:
		return "lru_hash";
	case BPF_MAP_TYPE_LPM_TRIE:
		return "lpm_trie";
	case BPF_MAP_TYPE_PERCPU_HASH:
		return "percpu_hash";
	case BPF_MAP_TYPE_PERCPU_ARRAY:
		return "percpu_array";
	case BPF_MAP_TYPE_RINGBUF:
		return "ringbuf";
	default:
		return "other";
	}
}

/* The kernel's own record of a map; its size may differ from what the configuration asks for. */
static int read_info(struct map_info *info, struct bpf_map_info *ret_kernel)
{
	uint32_t length = sizeof(*ret_kernel);

	memset(ret_kernel, 0, sizeof(*ret_kernel));
	if (bpf_obj_get_info_by_fd(info->fd, ret_kernel, &length) < 0)
		return -errno;
	info->key_size = ret_kernel->key_size;
	info->value_size = ret_kernel->value_size;
	info->max_entries = ret_kernel->max_entries;
	return 0;
}

/* What of a pinned map's shape is not as the programs want it; NULL: nothing. */
static const char *difference(const struct map_shape *shape, const struct bpf_map_info *kernel)
{
	if (kernel->type != shape->type)
		return "type";
	if (kernel->key_size != shape->key_size)
		return "key size";
	if (kernel->value_size != shape->value_size)
		return "value size";
	return kernel->map_flags != shape->flags ? "set of flags" : NULL;
}

int maps_check(const struct map_shape *shape, const char *path, struct map_info *info,
	       char *message, size_t size)
{
	struct bpf_map_info kernel;
	const char *what;
	int r = read_info(info, &kernel);

	if (r < 0) {
		snprintf(message, size, "map %s: cannot be read: %s", shape->name, strerror(-r));
		return r;
	}
	what = difference(shape, &kernel);
	if (!what)
		return 0;
	snprintf(message, size,
		 "map %s: the map pinned at %s has another %s; stop its owner and delete the "
		 "directory",
		 shape->name, path, what);
	return -EINVAL;
}

void maps_path(const struct maps *maps, const char *sub, const char *name, char *path, size_t size)
{
	snprintf(path, size, "%s%s%s%s%s", maps->directory, sub ? "/" : "", sub ? sub : "",
		 name ? "/" : "", name ? name : "");
}

int maps_make(const struct map_shape *shape, const char *path, struct map_info *info, char *message,
	      size_t size)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = shape->flags);
	char cause[CAUSE_MAX];
	struct bpf_map_info kernel;
	int r;

	info->name = shape->name;
	info->type = type_name(shape->type);
	info->fd = bpf_map_create(shape->type, shape->name, shape->key_size, shape->value_size,
				  shape->max_entries, &opts);
	if (info->fd < 0) {
		r = -errno;
		snprintf(message, size, "map %s: cannot be created with %u entries: %s",
			 shape->name, shape->max_entries, cause_of(r, cause));
		return r;
	}
	if (path && bpf_obj_pin(info->fd, path) < 0) {
		r = -errno;
		snprintf(message, size, "map %s: cannot be pinned at %s: %s; is that on a bpffs?",
			 shape->name, path, strerror(-r));
		return r;
	}
	r = read_info(info, &kernel);
	if (r < 0)
		snprintf(message, size, "map %s: cannot be read: %s", shape->name, strerror(-r));
	return r;
}

int maps_get_pinned(struct map_info *info, const char *path, char *message, size_t size)
{
	char cause[CAUSE_MAX];
	int r;

	info->fd = bpf_obj_get(path);
	if (info->fd >= 0)
		return 0;
	r = -errno;
	if (r != -ENOENT)
		snprintf(message, size, "map %s: its pin %s cannot be opened: %s", info->name, path,
			 cause_of(r, cause));
	return r;
}

static int open_map(const struct map_shape *shape, const struct maps *maps, struct map_info *info,
		    char *message, size_t size)
{
	char path[320];
	int r;

	if (!maps->directory[0])
		return maps_make(shape, NULL, info, message, size);
	maps_path(maps, NULL, shape->name, path, sizeof(path));
	info->name = shape->name;
	info->type = type_name(shape->type);
	r = maps_get_pinned(info, path, message, size);
	if (r == -ENOENT)
		return maps_make(shape, path, info, message, size);
	return r < 0 ? r : maps_check(shape, path, info, message, size);
}

/* The kernel lays the elements of an array out in steps of 8 bytes. */
static size_t element_step(const struct map_info *info)
{
	return (info->value_size + 7) & ~7u;
}

static size_t view_size(const struct map_info *info)
{
	size_t page = sysconf(_SC_PAGESIZE);

	return (element_step(info) * info->max_entries + page - 1) / page * page;
}

static int open_view(struct maps *maps, int index, char *message, size_t size)
{
	const struct map_info *info = &maps->info[index];
	void *view = mmap(NULL, view_size(info), PROT_READ, MAP_SHARED, info->fd, 0);
	int r = -errno;

	if (view == MAP_FAILED) {
		snprintf(message, size, "map %s: cannot be mapped into memory: %s", info->name,
			 strerror(-r));
		return r;
	}
	maps->views[index] = view;
	return 0;
}

static int prepare_control(struct maps *maps, const struct map_sizes *sizes)
{
	struct control *control;

	control = mmap(NULL, sysconf(_SC_PAGESIZE), PROT_READ | PROT_WRITE, MAP_SHARED,
		       maps->info[MAP_CONTROL].fd, 0);
	if (control == MAP_FAILED)
		return -errno;
	maps->control = control;
	if (!control->hash_seed[0] && getrandom(control->hash_seed, sizeof(control->hash_seed),
						0) != sizeof(control->hash_seed))
		return -EIO;
	control->hash_seed[0] |= 1;
	control->events_per_second = sizes->events_per_second;
	control->rejects_per_second = sizes->rejects_per_second;
	if (!control->generation)
		maps_move_generation(maps);
	return 0;
}

int maps_open(struct map_sizes sizes, const char *directory, struct maps **ret, char *message,
	      size_t size)
{
	struct map_shape shapes[MAP_COUNT];
	struct maps *maps;
	int i, r;

	r = directory ? bpffs_prepare(directory, message, size) : 0;
	if (r < 0)
		return r;
	maps = calloc(1, sizeof(*maps));
	if (!maps)
		return -ENOMEM;
	for (i = 0; i < MAP_COUNT; i++)
		maps->info[i].fd = maps->old[i].fd = -1;
	program_wait_open(&maps->wait);
	snprintf(maps->directory, sizeof(maps->directory), "%s", directory ? directory : "");
	r = maps_shapes(&sizes, shapes, message, size);
	for (i = 0; i < MAP_COUNT && r == 0; i++)
		r = open_map(&shapes[i], maps, &maps->info[i], message, size);
	if (r == 0) {
		r = prepare_control(maps, &sizes);
		if (r < 0)
			snprintf(message, size, "map control: cannot be mapped into memory: %s",
				 strerror(-r));
	}
	if (r == 0)
		r = maps_move_open(maps, shapes, message, size);
	for (i = 0; i < MAP_COUNT && r == 0; i++)
		if (shapes[i].flags == VIEWED)
			r = open_view(maps, i, message, size);
	if (r < 0) {
		maps_close(maps);
		return r;
	}
	*ret = maps;
	return 0;
}

void maps_close(struct maps *maps)
{
	int i;

	if (!maps)
		return;
	maps_move_close(maps);
	if (maps->control)
		munmap(maps->control, sysconf(_SC_PAGESIZE));
	for (i = 0; i < MAP_COUNT; i++) {
		if (maps->views[i])
			munmap((void *)maps->views[i], view_size(&maps->info[i]));
		if (maps->info[i].fd >= 0)
			close(maps->info[i].fd);
	}
	program_wait_close(&maps->wait);
	free(maps);
}

/* Arrays are written in one go, all others are dumped and deleted. */
static int clear_array(const struct map_info *info)
{
	size_t value_size = (info->value_size + 7) & ~7u;
	uint32_t *keys = calloc(info->max_entries, sizeof(*keys)), count = info->max_entries, i;
	bool per_cpu = strncmp(info->type, "percpu", 6) == 0;
	void *values =
		calloc(info->max_entries, value_size * (per_cpu ? libbpf_num_possible_cpus() : 1));
	int r = keys && values ? 0 : -ENOMEM;

	for (i = 0; keys && i < info->max_entries; i++)
		keys[i] = i;
	if (r == 0 && bpf_map_update_batch(info->fd, keys, values, &count, NULL) < 0)
		r = -errno;
	free(keys);
	free(values);
	return r;
}

int maps_read_values(const struct map_info *info, void **ret_values)
{
	uint32_t *keys = calloc(info->max_entries, sizeof(*keys)), count = info->max_entries,
		 next = 0;
	char *values = calloc(info->max_entries, info->value_size);
	int r = keys && values ? 0 : -ENOMEM;

	/* -ENOENT: that was the end. */
	if (r == 0 && bpf_map_lookup_batch(info->fd, NULL, &next, keys, values, &count, NULL) < 0 &&
	    errno != ENOENT)
		r = -errno;
	if (r == 0 && count != info->max_entries)
		r = -EIO;
	free(keys);
	if (r < 0) {
		free(values);
		return r;
	}
	*ret_values = values;
	return 0;
}

size_t maps_value_bytes(const struct map_info *info)
{
	size_t one = (info->value_size + 7) & ~(size_t)7;

	return strncmp(info->type, "percpu", 6) == 0 ? one * (size_t)libbpf_num_possible_cpus()
						     : one;
}

int maps_read_array(struct maps *maps, enum map_index index, void **ret_values)
{
	return maps_read_values(&maps->info[index], ret_values);
}

int maps_clear(struct maps *maps, enum map_index index)
{
	const struct map_info *info = &maps->info[index];
	char *keys = calloc(info->max_entries + 1, info->key_size);
	size_t count = 0, i;
	int r = keys ? 0 : -ENOMEM;

	if (r == 0 && strstr(info->type, "array"))
		r = clear_array(info);
	else
		while (r == 0 && count < info->max_entries &&
		       bpf_map_get_next_key(info->fd,
					    count ? keys + (count - 1) * info->key_size : NULL,
					    keys + count * info->key_size) == 0)
			count++;
	for (i = 0; i < count && r == 0; i++)
		r = maps_delete(maps, index, keys + i * info->key_size);
	free(keys);
	return r;
}

const struct map_info *maps_get(const struct maps *maps, enum map_index index)
{
	return &maps->info[index];
}

int maps_fd(const struct maps *maps, enum map_index index)
{
	return maps->info[index].fd;
}

struct control *maps_control(struct maps *maps)
{
	return maps->control;
}

unsigned int maps_slot(struct maps *maps)
{
	return __atomic_load_n(&maps->control->slot, __ATOMIC_SEQ_CST) & 1;
}

/* Programs read both words by one load, so they are changed by one store; the agent alone writes
 * them. */
static void put_in_force(struct maps *maps, uint32_t generation, uint32_t slot)
{
	struct control next = {.generation = generation, .slot = slot};

	__atomic_store_n(&maps->control->in_force, next.in_force, __ATOMIC_SEQ_CST);
}

static uint32_t next_generation(const struct maps *maps)
{
	uint32_t next = maps->control->generation + 1;

	return next > FLOW_GENERATION_DOUBTED ? next : FLOW_GENERATION_DOUBTED + 1;
}

void maps_switch_slots(struct maps *maps)
{
	put_in_force(maps, maps->control->generation, !maps_slot(maps));
}

void maps_move_generation(struct maps *maps)
{
	put_in_force(maps, next_generation(maps), maps_slot(maps));
}

void maps_switch_all(struct maps *maps)
{
	put_in_force(maps, next_generation(maps), !maps_slot(maps));
}

int maps_wait_for_programs(struct maps *maps)
{
	return program_wait(&maps->wait);
}

int maps_prove_wait(struct maps *maps)
{
	return program_wait_prove(&maps->wait);
}

enum program_wait_method maps_wait_method(struct maps *maps)
{
	return program_wait_probe(&maps->wait);
}

int maps_put(struct maps *maps, enum map_index index, const void *key, const void *value)
{
	if (bpf_map_update_elem(maps->info[index].fd, key, value, BPF_ANY) < 0)
		return errno == ENOSPC ? -E2BIG : -errno;
	maps->writes++;
	return 0;
}

uint64_t maps_writes(const struct maps *maps)
{
	return maps->writes;
}

void maps_keep_count(struct maps *maps, enum map_index index, uint64_t count)
{
	maps->counts[index] = count + 1;
}

bool maps_kept_count(const struct maps *maps, enum map_index index, uint64_t *ret)
{
	if (!maps->counts[index])
		return false;
	*ret = maps->counts[index] - 1;
	return true;
}

const void *maps_element(const struct maps *maps, enum map_index index, uint32_t element)
{
	const struct map_info *info = &maps->info[index];

	return maps->views[index] && element < info->max_entries
		       ? maps->views[index] + element * element_step(info)
		       : NULL;
}

uint32_t maps_pod_index(const struct maps *maps, uint32_t ifindex)
{
	return ifindex & (maps->info[MAP_PODS].max_entries - 1);
}

uint32_t maps_local_pods_mask(const struct maps *maps)
{
	uint32_t half = maps->info[MAP_LOCAL_PODS].max_entries / 2, size = 1;

	while (2 * size <= half)
		size *= 2;
	return size - 1;
}

int maps_element_put(struct maps *maps, enum map_index index, uint32_t element, const void *value)
{
	const void *present = maps_element(maps, index, element);

	if (present && memcmp(present, value, maps->info[index].value_size) == 0)
		return 0;
	return maps_put(maps, index, &element, value);
}

/* Those that differ, one behind the other. Returns how many. */
static uint32_t gather_differing(const struct maps *maps, enum map_index index, uint32_t first,
				 uint32_t count, const char *values, uint32_t *keys,
				 char *differing)
{
	size_t size = maps->info[index].value_size;
	uint32_t found = 0;

	for (uint32_t i = 0; i < count; i++) {
		const void *present = maps_element(maps, index, first + i);

		if (present && memcmp(present, values + i * size, size) == 0)
			continue;
		keys[found] = first + i;
		memcpy(differing + found++ * size, values + i * size, size);
	}
	return found;
}

int maps_elements_put(struct maps *maps, enum map_index index, uint32_t first, uint32_t count,
		      const void *values)
{
	const struct map_info *info = &maps->info[index];
	uint32_t *keys = calloc(count + 1, sizeof(*keys)), found;
	char *differing = calloc(count + 1, info->value_size);
	int r = keys && differing ? 0 : -ENOMEM;

	if (r == 0) {
		found = gather_differing(maps, index, first, count, values, keys, differing);
		if (found && bpf_map_update_batch(info->fd, keys, differing, &found, NULL) < 0)
			r = -errno;
		maps->writes += found;
	}
	free(keys);
	free(differing);
	return r;
}

int maps_delete(struct maps *maps, enum map_index index, const void *key)
{
	if (bpf_map_delete_elem(maps->info[index].fd, key) < 0)
		return errno == ENOENT ? 0 : -errno;
	maps->writes++;
	return 0;
}

int maps_find(struct maps *maps, enum map_index index, const void *key, void *ret_value)
{
	return bpf_map_lookup_elem(maps->info[index].fd, key, ret_value) < 0 ? -errno : 0;
}

/* Arrays that grow as elements come. */
struct dump {
	char *keys, *values;
	size_t count, room;
};

static int dump_reserve(struct dump *d, const struct map_info *info, size_t more)
{
	size_t room = d->room ? d->room : 256;
	char *keys, *values;

	while (room < d->count + more)
		room *= 2;
	if (room == d->room)
		return 0;
	keys = realloc(d->keys, room * info->key_size);
	if (keys)
		d->keys = keys;
	values = realloc(d->values, room * info->value_size);
	if (values)
		d->values = values;
	if (!keys || !values)
		return -ENOMEM;
	d->room = room;
	return 0;
}

int maps_dump(struct maps *maps, enum map_index index, void **ret_keys, void **ret_values,
	      size_t *ret_count)
{
	const struct map_info *info = &maps->info[index];
	struct dump d = {};
	char key[64], next[64];
	bool more;
	int r = 0;

	more = bpf_map_get_next_key(info->fd, NULL, next) == 0;
	while (more && r == 0) {
		memcpy(key, next, info->key_size);
		r = dump_reserve(&d, info, 1);
		if (r < 0)
			break;
		if (bpf_map_lookup_elem(info->fd, key, d.values + d.count * info->value_size) ==
		    0) {
			memcpy(d.keys + d.count * info->key_size, key, info->key_size);
			d.count++;
		}
		if (d.count > info->max_entries)
			break;
		more = bpf_map_get_next_key(info->fd, key, next) == 0;
	}
	if (r < 0) {
		free(d.keys);
		free(d.values);
		return r;
	}
	*ret_keys = d.keys;
	*ret_values = d.values;
	*ret_count = d.count;
	return 0;
}

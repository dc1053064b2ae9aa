/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kernel/latency.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/common/cleanup.h"
#include "agent/kernel/datapath_internal.h"

#define LINK	  "latency" /* the pin's name */
#define BATCH	  256
#define MAPS_MOST 64 /* of one program */

/* ---------------------------------------------------------------- the program */

static int attach(struct datapath *d, char *message, size_t size)
{
	CLEANUP(cleanup_close) int cgroup = -1;
	struct link_place where = {.type = BPF_CGROUP_SOCK_OPS};
	int r;

	cgroup = open(d->options.cgroup, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	if (cgroup < 0) {
		r = -errno;
		snprintf(message, size, "--cgroup %s: %s", d->options.cgroup, strerror(-r));
		return r;
	}
	r = datapath_need(d, DATAPATH_LATENCY, message, size);
	if (r < 0)
		return r;
	where.target = cgroup;
	r = pinned_links_put(d->links, LINK, &where,
			     datapath_fd_of(d, DATAPATH_LATENCY, "latency"));
	if (r < 0)
		snprintf(message, size, "program latency: cannot be attached to %s: %s",
			 d->options.cgroup, strerror(-r));
	return r;
}

/* Its number is another one's later. */
static void forget_own(struct datapath *d, int program)
{
	uint32_t id;

	if (datapath_id_of(program, &id) < 0)
		return;
	for (size_t i = 0; i < d->own_count; i++)
		if (d->own[i] == id)
			d->own[i--] = d->own[--d->own_count];
}

/* With the program's last user its maps go. */
static void detach(struct datapath *d)
{
	pinned_links_drop(d->links, LINK);
	if (!d->objects[DATAPATH_LATENCY])
		return;
	forget_own(d, datapath_fd_of(d, DATAPATH_LATENCY, "latency"));
	loaded_object_free(d->objects[DATAPATH_LATENCY]);
	d->objects[DATAPATH_LATENCY] = NULL;
}

int latency_want(struct datapath *d, bool wanted, char *message, size_t size)
{
	bool gone;
	int r = 0;

	if (wanted && !d->options.cgroup) {
		snprintf(message, size, "no cgroup2 found; set --cgroup");
		r = -ENOENT;
	} else if (wanted) {
		r = attach(d, message, size);
	}
	d->latency_on = wanted && r == 0;
	/* Refused for good: nobody reads what an earlier agent's program counts. */
	gone = !wanted || r == -ENOENT || d->refused[DATAPATH_LATENCY];
	if (gone && (!d->latency_gone || d->objects[DATAPATH_LATENCY]))
		detach(d);
	d->latency_gone = gone;
	return r;
}

bool latency_is_on(const struct datapath *d)
{
	return d->latency_on;
}

/* ---------------------------------------------------------------- an earlier agent's maps */

/* The map of that name and shape among those of the program; -ENOENT: none. */
static int map_of_program(int program, const struct bpf_map *like)
{
	uint32_t ids[MAPS_MOST], length = sizeof(struct bpf_prog_info);
	struct bpf_prog_info info = {.nr_map_ids = MAPS_MOST, .map_ids = (uintptr_t)ids};

	if (bpf_obj_get_info_by_fd(program, &info, &length) < 0)
		return -errno;
	for (uint32_t i = 0; i < info.nr_map_ids && i < MAPS_MOST; i++) {
		struct bpf_map_info map = {};
		int fd = bpf_map_get_fd_by_id(ids[i]);

		length = sizeof(map);
		if (fd < 0)
			continue;
		if (bpf_obj_get_info_by_fd(fd, &map, &length) == 0 &&
		    strcmp(map.name, bpf_map__name(like)) == 0 && map.type == bpf_map__type(like) &&
		    map.key_size == bpf_map__key_size(like) &&
		    map.value_size == bpf_map__value_size(like) &&
		    map.max_entries == bpf_map__max_entries(like))
			return fd;
		close(fd);
	}
	return -ENOENT;
}

int datapath_inherit_map(struct datapath *d, struct bpf_map *map)
{
	CLEANUP(cleanup_close) int program = -1, fd = -1;
	struct bpf_link_info info;

	if (!d->links || pinned_links_info(d->links, LINK, &info) < 0)
		return 0;
	program = bpf_prog_get_fd_by_id(info.prog_id);
	if (program < 0)
		return 0;
	fd = map_of_program(program, map);
	return fd < 0 ? 0 : bpf_map__reuse_fd(map, fd);
}

/* ---------------------------------------------------------------- what was measured */

struct batch {
	struct latency_key keys[BATCH];
	struct latency_value values[BATCH];
};

static int add_batch(struct latency_entry **list, size_t *count, const struct batch *batch,
		     size_t got)
{
	struct latency_entry *grown = reallocarray(*list, *count + got + 1, sizeof(**list));

	if (!grown)
		return -ENOMEM;
	*list = grown;
	for (size_t i = 0; i < got; i++)
		grown[(*count)++] = (struct latency_entry){batch->keys[i], batch->values[i]};
	return 0;
}

int latency_read(const struct datapath *d, struct latency_entry **ret, size_t *ret_count)
{
	CLEANUP(cleanup_free) struct batch *batch = NULL;
	CLEANUP(cleanup_free) struct latency_entry *list = NULL;
	int fd = datapath_map_fd(d, DATAPATH_LATENCY, "latencies"), r = 0, added;
	size_t count = 0;
	uint64_t at = 0;
	bool first = true;

	*ret = NULL;
	*ret_count = 0;
	if (fd < 0)
		return 0;
	batch = malloc(sizeof(*batch));
	if (!batch)
		return -ENOMEM;
	while (r == 0) {
		uint32_t got = BATCH;

		if (bpf_map_lookup_batch(fd, first ? NULL : &at, &at, batch->keys, batch->values,
					 &got, NULL) < 0)
			r = -errno;
		first = false;
		if (r < 0 && r != -ENOENT)
			return r;
		added = add_batch(&list, &count, batch, got);
		r = added < 0 ? added : r;
	}
	if (r != -ENOENT)
		return r;
	*ret = TAKE_PTR(list);
	*ret_count = count;
	return 0;
}

void latency_forget(const struct datapath *d, const struct latency_key *key)
{
	int fd = datapath_map_fd(d, DATAPATH_LATENCY, "latencies");

	if (fd >= 0)
		(void)bpf_map_delete_elem(fd, key);
}

uint64_t latency_lost(const struct datapath *d)
{
	int fd = datapath_map_fd(d, DATAPATH_LATENCY, "latencies_lost");
	uint64_t lost = 0;
	uint32_t zero = 0;

	return fd >= 0 && bpf_map_lookup_elem(fd, &zero, &lost) == 0 ? lost : 0;
}

/* ---------------------------------------------------------------- histograms */

uint64_t latency_bucket_end(size_t bucket)
{
	return UINT64_C(1) << (LATENCY_STEP_SHIFT + bucket);
}

uint64_t latency_number(const struct latency_histogram *histogram)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < LATENCY_BUCKETS; i++)
		sum += histogram->counts[i];
	return sum;
}

double latency_quantile(const struct latency_histogram *histogram, double q)
{
	double rank = q * (double)latency_number(histogram), below = 0;

	for (size_t i = 0; i < LATENCY_BUCKETS; i++) {
		double count = (double)histogram->counts[i];
		double begin = i ? (double)latency_bucket_end(i - 1) : 0;

		if (count > 0 && below + count >= rank) {
			if (i == LATENCY_BUCKETS - 1)
				return begin; /* longer than all that has an end */
			return begin +
			       ((double)latency_bucket_end(i) - begin) * (rank - below) / count;
		}
		below += count;
	}
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The programs that capture: a second entry program of each object, loaded only while somebody
 * captures. */
#include <bpf/bpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/kernel/cause.h"
#include "agent/kernel/datapath_internal.h"
#include "datapath/capture_abi.h"

static const char *const map_names[CAPTURE_MAPS] = {
	[CAPTURE_FILTERS] = "capture_filters",
	[CAPTURE_RINGS] = "capture_rings",
	[CAPTURE_LOST] = "capture_lost",
};

bool datapath_is_capturing(const char *program)
{
	size_t length = strlen(program), suffix = strlen(CAPTURE_SUFFIX);

	return length > suffix && strcmp(program + length - suffix, CAPTURE_SUFFIX) == 0;
}

int datapath_capture_map_of(const struct datapath *d, const char *name)
{
	if (strncmp(name, "capture_", strlen("capture_")) != 0)
		return CAPTURE_MAP_OTHER;
	if (!d->is_capture)
		return CAPTURE_MAP_NONE;
	for (int i = 0; i < CAPTURE_MAPS; i++)
		if (strcmp(name, map_names[i]) == 0)
			return d->capture_maps[i];
	return CAPTURE_MAP_OTHER;
}

/* A ring as the programs know it; the readers' are put in its place. */
static int make_rings(void)
{
	LIBBPF_OPTS(bpf_map_create_opts, options);
	int ring = bpf_map_create(BPF_MAP_TYPE_PERF_EVENT_ARRAY, "capture_ring", sizeof(__u32),
				  sizeof(__u32), 1, NULL);
	int rings, error;

	if (ring < 0)
		return -errno;
	options.inner_map_fd = (__u32)ring;
	rings = bpf_map_create(BPF_MAP_TYPE_ARRAY_OF_MAPS, map_names[CAPTURE_RINGS], sizeof(__u32),
			       sizeof(__u32), CAPTURES_MAX, &options);
	error = errno;
	close(ring);
	return rings < 0 ? -error : rings;
}

/* 0 or -errno. */
static int make_maps(struct datapath *d)
{
	LIBBPF_OPTS(bpf_map_create_opts, as_needed, .map_flags = BPF_F_NO_PREALLOC);
	int fd;

	fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, map_names[CAPTURE_FILTERS], sizeof(__u32),
			    sizeof(struct capture_filter), CAPTURES_MAX, NULL);
	d->capture_maps[CAPTURE_FILTERS] = fd;
	if (fd < 0)
		return -errno;
	fd = bpf_map_create(BPF_MAP_TYPE_PERCPU_HASH, map_names[CAPTURE_LOST],
			    sizeof(struct capture_place), sizeof(__u64), CAPTURE_PLACES,
			    &as_needed);
	d->capture_maps[CAPTURE_LOST] = fd;
	if (fd < 0)
		return -errno;
	fd = make_rings();
	d->capture_maps[CAPTURE_RINGS] = fd;
	return fd < 0 ? fd : 0;
}

void datapath_capture_close(struct datapath *d)
{
	for (int i = 0; i < CAPTURE_MAPS && d->is_capture; i++)
		if (d->capture_maps[i] >= 0)
			close(d->capture_maps[i]);
}

int datapath_load_capture(const struct datapath *d, struct datapath **ret, char *message,
			  size_t size)
{
	struct datapath *capture = calloc(1, sizeof(*capture));
	char cause[CAUSE_MAX];
	int r;

	if (!capture)
		return -ENOMEM;
	*capture = (struct datapath){.maps = d->maps,
				     .constants = d->constants,
				     .is_capture = true,
				     .options = d->options};
	for (int i = 0; i < CAPTURE_MAPS; i++)
		capture->capture_maps[i] = -1;
	r = make_maps(capture);
	if (r < 0)
		snprintf(message, size, "maps for captures cannot be made: %s", cause_of(r, cause));
	/* One after the other: traffic needs the other CPUs. */
	for (enum datapath_hook hook = 0; hook < DATAPATH_SOCKETS && r == 0; hook++)
		if (d->objects[hook])
			r = datapath_load_object(capture, hook, message, size);
	if (r == 0)
		r = datapath_note_own(capture, message, size);
	if (r < 0) {
		datapath_free(capture);
		return r;
	}
	*ret = capture;
	return 0;
}

int datapath_capture_map(const struct datapath *capture, enum capture_map map)
{
	return capture->capture_maps[map];
}

static bool has_own(const struct datapath *d, uint32_t id)
{
	for (size_t i = 0; d && i < d->own_count; i++)
		if (d->own[i] == id)
			return true;
	return false;
}

/* They are ours, for whoever looks at what is attached. */
void datapath_use_capture(struct datapath *d, const struct datapath *capture)
{
	size_t kept = 0;

	for (size_t i = 0; i < d->own_count; i++)
		if (!has_own(d->capture, d->own[i]))
			d->own[kept++] = d->own[i];
	d->own_count = kept;
	d->capture = capture;
	for (size_t i = 0; capture && i < capture->own_count; i++)
		d->own[d->own_count++] = capture->own[i];
}

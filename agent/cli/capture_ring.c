/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/cli/capture_ring.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/kernel/cause.h"

/* Of all CPUs together; each has a power of two. */
#define RING_BYTES  (32u << 20)
#define PAGES_LEAST 32
#define PAGES_MOST  2048

struct capture_ring {
	int map;
	struct perf_buffer *buffers;
	capture_ring_take take;
	void *data;
	bool enough;
	uint64_t lost;
};

struct sample {
	struct perf_event_header header;
	uint32_t size;
	char data[];
};

struct lost_record {
	struct perf_event_header header;
	uint64_t id;
	uint64_t lost;
};

static enum bpf_perf_event_ret on_event(void *ctx, int cpu, struct perf_event_header *event)
{
	struct capture_ring *ring = ctx;

	(void)cpu;
	if (event->type == PERF_RECORD_LOST) {
		ring->lost += ((const struct lost_record *)event)->lost;
	} else if (event->type == PERF_RECORD_SAMPLE && !ring->enough) {
		const struct sample *sample = (const struct sample *)event;

		ring->enough = !ring->take(sample->data, sample->size, ring->data);
	}
	return LIBBPF_PERF_EVENT_CONT;
}

static size_t pages_for(int cpus)
{
	size_t pages = PAGES_MOST, page = (size_t)sysconf(_SC_PAGESIZE);

	while (pages > PAGES_LEAST && pages * page * (size_t)cpus > RING_BYTES)
		pages /= 2;
	return pages;
}

/* Who waits is woken by a quarter of a ring; what is less he looks for by himself. */
static int open_buffers(struct capture_ring *ring, int cpus)
{
	size_t pages = pages_for(cpus);
	struct perf_event_attr attr = {
		.size = sizeof(attr),
		.type = PERF_TYPE_SOFTWARE,
		.config = PERF_COUNT_SW_BPF_OUTPUT,
		.sample_type = PERF_SAMPLE_RAW,
		.sample_period = 1,
		.watermark = 1,
		.wakeup_watermark = (uint32_t)(pages * (size_t)sysconf(_SC_PAGESIZE) / 4),
	};

	ring->map = bpf_map_create(BPF_MAP_TYPE_PERF_EVENT_ARRAY, "capture_ring", sizeof(uint32_t),
				   sizeof(uint32_t), (uint32_t)cpus, NULL);
	if (ring->map < 0)
		return -errno;
	ring->buffers = perf_buffer__new_raw(ring->map, pages, &attr, on_event, ring, NULL);
	return ring->buffers ? 0 : -errno;
}

int capture_ring_new(struct capture_ring **ret, char *message, size_t size)
{
	struct capture_ring *ring = calloc(1, sizeof(*ring));
	int cpus = libbpf_num_possible_cpus(), r;
	char cause[CAUSE_MAX];

	if (!ring)
		return -ENOMEM;
	ring->map = -1;
	r = cpus < 0 ? cpus : open_buffers(ring, cpus);
	if (r == 0) {
		*ret = ring;
		return 0;
	}
	capture_ring_free(ring);
	snprintf(message, size,
		 "the ring for packets cannot be made: %s; polderctl capture needs root, or "
		 "CAP_BPF and CAP_PERFMON",
		 cause_of(r, cause));
	return r;
}

void capture_ring_free(struct capture_ring *ring)
{
	if (!ring)
		return;
	perf_buffer__free(ring->buffers);
	if (ring->map >= 0)
		close(ring->map);
	free(ring);
}

int capture_ring_map(const struct capture_ring *ring)
{
	return ring->map;
}

int capture_ring_wait(struct capture_ring *ring, int timeout_ms)
{
	struct pollfd entry = {.fd = perf_buffer__epoll_fd(ring->buffers), .events = POLLIN};

	return poll(&entry, 1, timeout_ms) < 0 ? -errno : 0;
}

int capture_ring_read(struct capture_ring *ring, capture_ring_take take, void *data)
{
	ring->take = take;
	ring->data = data;
	ring->enough = false;
	return perf_buffer__consume(ring->buffers);
}

uint64_t capture_ring_lost(const struct capture_ring *ring)
{
	return ring->lost;
}

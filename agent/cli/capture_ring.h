/* SPDX-License-Identifier: Apache-2.0 */
/* The ring into which a capture's programs write: memory of the reader's own, of a fixed size. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct capture_ring;

/* `record`: one that was read, valid until it returns; false: enough. */
typedef bool (*capture_ring_take)(const void *record, size_t size, void *data);

/* 0 or -errno with `message`. */
int capture_ring_new(struct capture_ring **ret, char *message, size_t size);
void capture_ring_free(struct capture_ring *ring); /* takes NULL */
/* The map, for the agent; borrowed. */
int capture_ring_map(const struct capture_ring *ring);
/* Until there is much to read, at most so long. 0, -EINTR or -errno. */
int capture_ring_wait(struct capture_ring *ring, int timeout_ms);
/* Hands over all that is there, of one CPU after the other. 0 or -errno. */
int capture_ring_read(struct capture_ring *ring, capture_ring_take take, void *data);
/* Records that found no room, as far as the kernel has told: the last ones it tells with the next
 * record. */
uint64_t capture_ring_lost(const struct capture_ring *ring);

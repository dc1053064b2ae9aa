/* SPDX-License-Identifier: Apache-2.0 */
/* What a hash or trie map holds, kept in memory: only differences reach the kernel. Read from the
 * pinned map at start. */
#pragma once

#include "agent/kernel/maps.h"

struct shadow;

/* Reads the map's content. 0 or -errno. */
int shadow_open(struct maps *maps, enum map_index index, struct shadow **ret);
void shadow_close(struct shadow *shadow); /* takes NULL */
size_t shadow_count(const struct shadow *shadow);
size_t shadow_room(const struct shadow *shadow); /* how many more fit */
/* The element's value, or NULL. Valid until the next change. */
const void *shadow_find(const struct shadow *shadow, const void *key);
/* Writes only what differs. 0, -E2BIG (full), -errno. Marks the element as wanted. */
int shadow_put(struct shadow *shadow, const void *key, const void *value);
/* 0 also if it is not there. */
int shadow_delete(struct shadow *shadow, const void *key);

/*
 * A sweep: after shadow_begin() all elements count as unwanted until they are put or wanted;
 * shadow_sweep() deletes those that still are. Returns how many were deleted, or -errno.
 */
void shadow_begin(struct shadow *shadow);
bool shadow_want(struct shadow *shadow, const void *key); /* false: not there */
bool shadow_is_wanted(const struct shadow *shadow, const void *key);
int shadow_sweep(struct shadow *shadow);
/* The same for those that `belongs` says yes to. */
int shadow_sweep_if(struct shadow *shadow, bool (*belongs)(const void *key, const void *data),
		    const void *data);
/* Still there, but nobody's; shadow_drop_unwanted() deletes it unless it has been put again
 * meanwhile. */
void shadow_unwant(struct shadow *shadow, const void *key);
int shadow_drop_unwanted(struct shadow *shadow, const void *key);
/* Calls for each element; stops at a value other than 0 and returns it. The element must not be
 * deleted meanwhile. */
int shadow_each(const struct shadow *shadow,
		int (*visit)(const void *key, const void *value, void *data), void *data);

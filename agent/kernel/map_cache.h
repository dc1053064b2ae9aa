/* SPDX-License-Identifier: Apache-2.0 */
/* What a hash or trie map holds, kept in memory: only differences reach the kernel. Read from the
 * pinned map at start. */
#pragma once

#include "agent/kernel/maps.h"

struct map_cache;

/* Reads the map's content. 0 or -errno. */
int map_cache_open(struct maps *maps, enum map_index index, struct map_cache **ret);
void map_cache_close(struct map_cache *cache); /* takes NULL */
size_t map_cache_count(const struct map_cache *cache);
size_t map_cache_room(const struct map_cache *cache); /* how many more fit */
/* The element's value, or NULL. Valid until the next change. */
const void *map_cache_find(const struct map_cache *cache, const void *key);
/* Writes only what differs. 0, -E2BIG (full), -errno. Marks the element as wanted. */
int map_cache_put(struct map_cache *cache, const void *key, const void *value);
/* 0 also if it is not there. What the map refuses is owed: nobody finds it any more, and it is in
 * the map until map_cache_settle() or a sweep has deleted it, or it is put again. */
int map_cache_delete(struct map_cache *cache, const void *key);
/* Deletes all that is owed. 0, or the first -errno: the rest is tried all the same. */
int map_cache_settle(struct map_cache *cache);
bool map_cache_owes(const struct map_cache *cache);
bool map_cache_owes_key(const struct map_cache *cache, const void *key);

/*
 * A sweep: after map_cache_begin() all elements count as unwanted until they are put or wanted;
 * map_cache_prune() deletes those that still are. Returns how many were deleted, or -errno: what
 * could not be deleted is owed.
 */
void map_cache_begin(struct map_cache *cache);
bool map_cache_want(struct map_cache *cache, const void *key); /* false: not there */
bool map_cache_is_wanted(const struct map_cache *cache, const void *key);
int map_cache_prune(struct map_cache *cache);
/* The same for those that `belongs` says yes to. */
int map_cache_prune_if(struct map_cache *cache, bool (*belongs)(const void *key, const void *data),
		       const void *data);
/* Still there, but nobody's; map_cache_drop_unwanted() deletes it unless it has been put again
 * meanwhile. */
void map_cache_unwant(struct map_cache *cache, const void *key);
int map_cache_drop_unwanted(struct map_cache *cache, const void *key);
/* Calls for each element; stops at a value other than 0 and returns it. The element must not be
 * deleted meanwhile. */
int map_cache_each(const struct map_cache *cache,
		   int (*visit)(const void *key, const void *value, void *data), void *data);

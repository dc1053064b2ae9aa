/* SPDX-License-Identifier: Apache-2.0 */
/* The pinned maps: opened or made once, then written by typed calls. Pins are the state that
 * outlives the agent. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "agent/kernel/map_sizes.h"
#include "agent/kernel/program_wait.h"
#include "datapath/abi.h"

enum map_index {
	MAP_CONTROL,
	MAP_FLOWS4,
	MAP_FLOWS6,
	MAP_FLOW_TAGS4,
	MAP_FLOW_TAGS6,
	MAP_FLOW_USAGE,
	MAP_NEXT_HOPS,
	MAP_PEERS,
	MAP_TUNNEL_ENDS,
	MAP_EGRESS_ROUTES,
	MAP_THIS_NODE,
	MAP_NAT_FULL,
	MAP_PODS,
	MAP_ADDRESSES,
	MAP_LOCAL_PODS,
	MAP_RULESETS,
	MAP_RULESET_PEERS,
	MAP_RULESET_PREFIXES,
	MAP_RULESET_PORTS,
	MAP_RULESET_CELLS,
	MAP_RULESET_TABLES,
	MAP_RULE_COUNTERS,
	MAP_FLOW_RULES4,
	MAP_FLOW_RULES6,
	MAP_SERVICES,
	MAP_BACKENDS,
	MAP_BACKEND_STATES,
	MAP_SERVICE_TABLES,
	MAP_SERVICE_SOURCES,
	MAP_SERVICE_AFFINITY,
	MAP_HOST_ENDPOINTS,
	MAP_ANNOUNCED,
	MAP_SOCKET_PEERS,
	MAP_SOCKET_ORIGINS,
	MAP_FRAGMENTS,
	MAP_DROPS,
	MAP_COUNTERS,
	MAP_EVENTS,
	MAP_EVENT_BUDGETS,
	MAP_COUNT,
};

struct map_info {
	const char *name;
	const char *type; /* "hash", "lpm_trie", "array", ... */
	int fd;		  /* owned by struct maps */
	uint32_t key_size, value_size, max_entries;
	uint32_t
		wanted; /* entries that were asked for and that it has not; 0: it is as asked for */
	uint64_t needed; /* for what is in it: why it was not made smaller; 0: it waits for another
			    start */
};

struct maps;

/*
 * Opens the maps pinned below `directory` (made if missing, mode 0700; pins 0600), makes those that
 * are missing with these sizes. A pinned map of another size gets a successor if what is
 * in it fits: maps_is_moving(). A map of another shape is an error: its directory carries the
 * layout's version. `directory` NULL: new maps that are pinned nowhere and go with maps_close(). 0
 * or -errno, with what, where and what to do in `message`.
 */
int maps_open(struct map_sizes sizes, const char *directory, struct maps **ret, char *message,
	      size_t size);
/*
 * Successors of pinned maps, empty at first, stand for them everywhere; programs are to be loaded
 * on them. Then, before anybody reads or writes a map: maps_move_begin() fills them; all links get
 * the new programs; maps_move_end() adds what the old programs noted, and lets go of the old maps.
 * Between these no flow is opened. An agent that ends in between is followed by one that goes on
 * from there.
 * `*ret_left_out`: entries of flows that found no place. 0 or -errno with `message`.
 */
bool maps_is_moving(const struct maps *maps);
int maps_move_begin(struct maps *maps, size_t *ret_left_out, char *message, size_t size);
int maps_move_end(struct maps *maps, char *message, size_t size);
/* What people count: places for flows and datagrams, of which an element holds several. */
uint64_t maps_entries(enum map_index index, uint64_t elements);
/* Is its size one that is asked for, and not that of another map? */
bool maps_has_own_size(enum map_index index);
/* Until maps_move_end(): has the map a predecessor, of how many entries? */
bool maps_was_moved(const struct maps *maps, enum map_index index, uint32_t *ret_before);
/*
 * Pins again what has lost its pin, and makes the directory, and the bpffs that it is on, if they
 * are gone. `*ret_repaired`: how many maps. 0 or -errno with `message`.
 */
int maps_repair(struct maps *maps, size_t *ret_repaired, char *message, size_t size);
void maps_close(struct maps *maps); /* closes descriptors, leaves pins; takes NULL */
/*
 * An element of an array, read in place; the agent alone writes it (`backends` and what else the
 * programs only read). NULL: no such element. Valid as long as `maps`.
 */
const void *maps_element(const struct maps *maps, enum map_index index, uint32_t element);
/* Of an address: which element of each half of `local_pods` is its. */
uint32_t maps_local_pods_mask(const struct maps *maps);
/* The element of `pods` behind a host-side link. */
uint32_t maps_pod_index(const struct maps *maps, uint32_t ifindex);
/* Writes an element of such an array if it differs. 0 or -errno. */
int maps_element_put(struct maps *maps, enum map_index index, uint32_t element, const void *value);
/*
 * `count` elements from `first` on, whose values stand one behind the other: those that differ are
 * written, in one call of the kernel. 0 or -errno: then some of them may have been.
 */
int maps_elements_put(struct maps *maps, enum map_index index, uint32_t first, uint32_t count,
		      const void *values);
/* All values of an array (not per CPU), one behind the other; free(). 0 or -errno. */
int maps_read_array(struct maps *maps, enum map_index index, void **ret_values);
/* Empties it: no element, zeros in arrays; nobody else may write meanwhile. 0 or -errno. */
int maps_clear(struct maps *maps, enum map_index index);
const struct map_info *maps_get(const struct maps *maps, enum map_index index);
int maps_fd(const struct maps *maps, enum map_index index);

/* The control map, mapped into memory. Never NULL. */
struct control *maps_control(struct maps *maps);
/* What the kernel writes for one element: of a map for each CPU the values of all possible CPUs,
 * each in whole words. */
size_t maps_value_bytes(const struct map_info *info);

/* How many elements maps_put(), maps_element_put() and maps_delete() have written or removed. */
uint64_t maps_writes(const struct maps *maps);
/*
 * How many elements a hash or trie has that only the agent writes: to count them takes the kernel
 * as long as the map is large. Kept by the map's cache (map_cache.h). False: nobody keeps it.
 */
void maps_keep_count(struct maps *maps, enum map_index index, uint64_t count);
bool maps_kept_count(const struct maps *maps, enum map_index index, uint64_t *ret);
/* The slot of pods, addresses and peers' classes that is in force: 0 or 1. */
unsigned int maps_slot(struct maps *maps);
/* The other slot is in force from now on; each flow stays as it was evaluated. */
void maps_switch_slots(struct maps *maps);
/* Every flow is re-evaluated at its next packet. */
void maps_move_generation(struct maps *maps);
/* Both at once: every flow is re-evaluated, by the other slot. */
void maps_switch_all(struct maps *maps);
/* Waits until every program that started before has ended; in any thread. -errno: it may still run,
 * nothing may be removed. */
int maps_wait_for_programs(struct maps *maps);
/* Waiting is a hundred times as fast afterwards, where that can be (program_wait_prove()); in any
 * thread, beside waits in others. */
int maps_prove_wait(struct maps *maps);
/* How, found by trying. */
enum program_wait_method maps_wait_method(struct maps *maps);

/* Writes or replaces one element; 0, -E2BIG (full), -errno. */
int maps_put(struct maps *maps, enum map_index index, const void *key, const void *value);
int maps_delete(struct maps *maps, enum map_index index, const void *key); /* not there: 0 */
int maps_find(struct maps *maps, enum map_index index, const void *key,
	      void *ret_value); /* -ENOENT */
/*
 * All elements of a hash or trie, read one by one. Keys and values lie one behind the other; arrays
 * belong to the caller (free()).
 */
int maps_dump(struct maps *maps, enum map_index index, void **ret_keys, void **ret_values,
	      size_t *ret_count);

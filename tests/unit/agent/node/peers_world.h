/* SPDX-License-Identifier: Apache-2.0 */
/* Peers with a store and small maps, and a plain model of who owns what. */
#pragma once

#include "agent/node/peers_internal.h"
#include "tests/unit/unit.h"

#define NODES  12
#define RANGES 24

struct world {
	struct config config;
	struct store *store;
	struct maps *maps;
	struct peers *peers;
	bool is_deaf; /* peers are told of nothing */
	/* NULL, or what stands around a call of theirs that may fail for want of memory. */
	void (*before)(struct world *w);
	bool (*after)(void);
	size_t fails_at;
};

/* What a Node says, in the model. */
struct model {
	bool is_there;
	unsigned int created;
	int ranges[3], address; /* -1: none */
};

extern const char *const range_texts[RANGES];

void world_begin(struct world *w);
/* The agent's next start, on the same maps. */
void world_start(struct world *w);
void world_end(struct world *w);
/* Into the store, which tells the peers. */
void world_put(struct world *w, unsigned int n, const struct model *m);
/* As the reconciler does it. */
void world_settle(struct world *w);
/* Do the two ranges have addresses in common? */
bool ranges_meet(const char *a, const char *b);
/* Owners are what the model says. */
void world_compare(const struct world *w, const struct model *all);
/* The maps say what peers are, and nothing else. */
void world_compare_maps(struct world *w);
/* Another Node than before, at random. */
void model_change(struct model *m);

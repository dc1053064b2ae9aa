/* SPDX-License-Identifier: Apache-2.0 */
/* Maps that are nearly full, that leave something out, or that have not the size that was asked
 * for: with numbers, and what to do. */
#pragma once

#include "agent/show/show.h"

struct limit {
	enum map_index index;
	uint64_t entries, max_entries;
	char reason[256];
};

/* At most one for each map. Returns how many. */
size_t limits_find(const struct show_sources *sources, struct limit ret[MAP_COUNT]);
/* Logs those that are not in `told`, a bit for each map, and keeps that up to date: each is told
 * once until it is over. */
void limits_log(const struct show_sources *sources, uint64_t *told);

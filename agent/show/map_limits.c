/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/show/map_limits.h"

#include <stdio.h>

#include "agent/common/log.h"
#include "agent/policy/rule_counts.h"
#include "agent/show/show_internal.h"

/* The option that gives a map its size; NULL: none does. */
static const char *option_of(enum map_index index)
{
	static const char *const options[MAP_COUNT] = {
		[MAP_FLOWS4] = "--flows-v4",
		[MAP_FLOWS6] = "--flows-v6",
		[MAP_PODS] = "--max-pods",
		[MAP_ADDRESSES] = "--max-addresses",
		[MAP_RULESETS] = "--max-pods",
		[MAP_RULESET_PEERS] = "--max-policy-entries",
		[MAP_RULESET_PREFIXES] = "--max-policy-entries",
		[MAP_RULESET_PORTS] = "--max-policy-entries",
		[MAP_RULESET_CELLS] = "--max-policy-entries",
		[MAP_RULESET_TABLES] = "--max-policy-entries",
		[MAP_RULE_COUNTERS] = "--max-rule-counters",
		[MAP_SERVICES] = "--max-services",
		[MAP_BACKENDS] = "--max-backends",
		[MAP_BACKEND_STATES] = "--max-backends",
		[MAP_SERVICE_TABLES] = "--max-service-cells",
		[MAP_SERVICE_SOURCES] = "--max-service-sources",
		[MAP_SERVICE_AFFINITY] = "--max-service-clients",
		[MAP_SOCKET_PEERS] = "--max-socket-origins",
		[MAP_SOCKET_ORIGINS] = "--max-socket-origins",
		[MAP_FRAGMENTS] = "--max-fragments",
	};

	return options[index];
}

/* Percent of its elements from which on a map counts as nearly full: flow tables begin to refuse at
 * seventy. */
static uint64_t percent_of(enum map_index index)
{
	return index == MAP_FLOWS4 || index == MAP_FLOWS6 ? 70 : 90;
}

static bool find_one(const struct show_sources *sources, enum map_index index, struct limit *ret)
{
	const struct map_info *map = maps_get(sources->maps, index);
	size_t uncounted =
		index == MAP_RULE_COUNTERS
			? rule_counts_uncounted(policy_sync_rule_counts(sources->policy_sync))
			: 0;
	struct show_map found;

	if (!option_of(index))
		return false;
	show_map_lookup(sources, index, false, &found);
	*ret = (struct limit){
		.index = index, .entries = found.entries, .max_entries = found.max_entries};
	if (uncounted)
		snprintf(ret->reason, sizeof(ret->reason),
			 "%zu rules and default denies are not counted, they hold all the same; "
			 "restart polderd with a larger %s",
			 uncounted, option_of(index));
	else if (found.counted && found.fills &&
		 found.entries * 100 >= found.max_entries * percent_of(index))
		snprintf(ret->reason, sizeof(ret->reason),
			 "nearly full; restart polderd with a larger %s", option_of(index));
	else if (map->wanted && map->needed)
		snprintf(ret->reason, sizeof(ret->reason),
			 "%s asks for %llu; what is in it needs %llu", option_of(index),
			 (unsigned long long)maps_entries(index, map->wanted),
			 (unsigned long long)maps_entries(index, map->needed));
	else if (map->wanted)
		snprintf(ret->reason, sizeof(ret->reason),
			 "%s asks for %llu; restart polderd once more", option_of(index),
			 (unsigned long long)maps_entries(index, map->wanted));
	return ret->reason[0];
}

size_t limits_find(const struct show_sources *sources, struct limit ret[MAP_COUNT])
{
	size_t count = 0;

	for (int i = 0; i < MAP_COUNT; i++)
		count += find_one(sources, i, &ret[count]);
	return count;
}

void limits_log(const struct show_sources *sources, uint64_t *told)
{
	struct limit found[MAP_COUNT];
	size_t count = limits_find(sources, found);
	uint64_t now = 0;

	for (size_t i = 0; i < count; i++) {
		uint64_t bit = 1ull << found[i].index;

		now |= bit;
		if (!(*told & bit))
			log_warning("maps", "map %s: %llu of %llu elements are in use: %s",
				    maps_get(sources->maps, found[i].index)->name,
				    (unsigned long long)found[i].entries,
				    (unsigned long long)found[i].max_entries, found[i].reason);
	}
	*told = now;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Who may use a Service from outside: the map service_sources, by the number of the Service's port.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/services/services_internal.h"

static struct service_source_key key_of(uint32_t id, const struct prefix *range)
{
	return (struct service_source_key){
		.prefixlen = 32 + range->length, .service_id = id, .addr = range->addr};
}

static bool has(const struct prefix *ranges, size_t count, const struct prefix *range)
{
	for (size_t i = 0; i < count; i++)
		if (prefix_compare(&ranges[i], range) == 0)
			return true;
	return false;
}

bool sources_are_in_force(const struct service_set *set, const struct prefix *ranges, size_t count)
{
	if (set->source_count != count)
		return false;
	for (size_t i = 0; i < count; i++)
		if (prefix_compare(&set->sources[i], &ranges[i]) != 0)
			return false;
	return true;
}

static void delete_source(struct services *s, uint32_t id, const struct prefix *range)
{
	const struct service_source_key key = key_of(id, range);

	map_cache_delete(s->sources, &key);
	s->freed = true;
}

int sources_add(struct services *s, const struct service_set *set, const struct prefix *ranges,
		size_t count)
{
	const uint32_t one = 1;
	int r = 0;

	if (sources_are_in_force(set, ranges, count))
		return 0;
	for (size_t i = 0; i < count; i++) {
		const struct service_source_key key = key_of(set->id, &ranges[i]);

		r = map_cache_put(s->sources, &key, &one);
		if (r == 0)
			continue;
		for (size_t j = 0; j < i; j++)
			if (!has(set->sources, set->source_count, &ranges[j]))
				delete_source(s, set->id, &ranges[j]);
		break;
	}
	return r;
}

int sources_settle(struct services *s, struct service_set *set, const struct prefix *ranges,
		   size_t count)
{
	struct prefix *copy = NULL;

	if (sources_are_in_force(set, ranges, count))
		return 0;
	if (count) {
		copy = calloc(count, sizeof(*copy));
		if (!copy)
			return -ENOMEM;
		memcpy(copy, ranges, count * sizeof(*copy));
	}
	for (size_t i = 0; i < set->source_count; i++)
		if (!has(copy, count, &set->sources[i]))
			delete_source(s, set->id, &set->sources[i]);
	free(set->sources);
	set->sources = copy;
	set->source_count = count;
	return 0;
}

void sources_remove(struct services *s, const struct service_set *set)
{
	for (size_t i = 0; i < set->source_count; i++)
		delete_source(s, set->id, &set->sources[i]);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The memory of a map against the kernel's real one. Needs root. */
#include "agent/config/config.h"
#include "agent/kernel/map_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>

#include "tests/unit/small_maps.h"
#include "tests/unit/unit.h"

#define ROOM 64

struct world {
	char top[32];
	char directory[64];
	struct config config;
	struct maps *maps;
	struct map_cache *cache;
};

static bool mounted;

static void begin(struct world *world)
{
	*world = (struct world){.config = small_config(ROOM)};
	unit_directory(world->top);
	mounted = mount("bpf", world->top, "bpf", 0, NULL) == 0;
	CU_ASSERT_FATAL(mounted);
	snprintf(world->directory, sizeof(world->directory), "%s/maps", world->top);
	world->maps = small_maps(&world->config, world->directory);
	CU_ASSERT_FATAL(map_cache_open(world->maps, MAP_BACKEND_STATES, &world->cache) == 0);
}

static void open_again(struct world *world)
{
	map_cache_close(world->cache);
	CU_ASSERT_FATAL(map_cache_open(world->maps, MAP_BACKEND_STATES, &world->cache) == 0);
}

static void end(struct world *world)
{
	map_cache_close(world->cache);
	maps_close(world->maps);
	umount(world->top);
	rmdir(world->top);
}

static struct backend_state_key key(uint32_t number)
{
	return (struct backend_state_key){.service_id = number};
}

static int put(struct world *world, uint32_t number, uint32_t value)
{
	struct backend_state_key k = key(number);

	return map_cache_put(world->cache, &k, &value);
}

/* What the kernel's map has; 0: nothing. */
static uint32_t kernel(struct world *world, uint32_t number)
{
	struct backend_state_key k = key(number);
	uint32_t value = 0;

	return maps_find(world->maps, MAP_BACKEND_STATES, &k, &value) == 0 ? value : 0;
}

static void writes_what_is_put_and_deletes_what_is_deleted(void)
{
	struct backend_state_key k = key(1);
	struct world world;

	begin(&world);
	CU_ASSERT(put(&world, 1, 10) == 0);
	CU_ASSERT(kernel(&world, 1) == 10);
	CU_ASSERT(put(&world, 1, 11) == 0);
	CU_ASSERT(kernel(&world, 1) == 11);
	CU_ASSERT(*(const uint32_t *)map_cache_find(world.cache, &k) == 11);
	CU_ASSERT(map_cache_delete(world.cache, &k) == 0);
	CU_ASSERT(map_cache_delete(world.cache, &k) == 0);
	CU_ASSERT(kernel(&world, 1) == 0);
	CU_ASSERT(map_cache_find(world.cache, &k) == NULL);
	end(&world);
}

static void what_the_map_refuses_to_delete_is_owed(void)
{
	struct backend_state_key k = key(1), other = key(2);
	struct world world;
	int fd, kept, nothing;

	begin(&world);
	CU_ASSERT(put(&world, 1, 10) == 0 && put(&world, 2, 20) == 0);
	fd = maps_fd(world.maps, MAP_BACKEND_STATES);
	kept = dup(fd);
	nothing = open("/dev/null", O_RDONLY);
	CU_ASSERT_FATAL(kept >= 0 && nothing >= 0 && dup2(nothing, fd) == fd);
	CU_ASSERT(map_cache_delete(world.cache, &k) < 0);
	CU_ASSERT(map_cache_delete(world.cache, &other) < 0);
	CU_ASSERT(map_cache_find(world.cache, &k) == NULL && map_cache_owes_key(world.cache, &k));
	CU_ASSERT(map_cache_settle(world.cache) < 0 && map_cache_owes(world.cache));
	CU_ASSERT_FATAL(dup2(kept, fd) == fd);
	CU_ASSERT(kernel(&world, 1) == 10);
	/* What is put again is not deleted. */
	CU_ASSERT(put(&world, 2, 20) == 0);
	CU_ASSERT(map_cache_settle(world.cache) == 0 && !map_cache_owes(world.cache));
	CU_ASSERT(kernel(&world, 1) == 0 && kernel(&world, 2) == 20);
	CU_ASSERT(map_cache_count(world.cache) == 1);
	close(kept);
	close(nothing);
	end(&world);
}

static void knows_what_stood_there_before(void)
{
	struct world world;

	begin(&world);
	for (uint32_t i = 1; i <= 50; i++)
		CU_ASSERT(put(&world, i, i) == 0);
	open_again(&world);
	CU_ASSERT(map_cache_count(world.cache) == 50);
	CU_ASSERT(map_cache_room(world.cache) == ROOM - 50);
	for (uint32_t i = 1; i <= 50; i++) {
		struct backend_state_key k = key(i);

		CU_ASSERT(*(const uint32_t *)map_cache_find(world.cache, &k) == i);
	}
	end(&world);
}

static void a_full_map_refuses_and_stays_true(void)
{
	struct backend_state_key k = key(1);
	struct world world;

	begin(&world);
	for (uint32_t i = 1; i <= ROOM; i++)
		CU_ASSERT(put(&world, i, 1) == 0);
	CU_ASSERT(map_cache_room(world.cache) == 0);
	CU_ASSERT(put(&world, ROOM + 1, 1) == -E2BIG);
	CU_ASSERT(kernel(&world, ROOM + 1) == 0);
	/* What is there can be changed nevertheless. */
	CU_ASSERT(put(&world, 5, 2) == 0);
	CU_ASSERT(kernel(&world, 5) == 2);
	map_cache_delete(world.cache, &k);
	CU_ASSERT(put(&world, ROOM + 1, 1) == 0);
	end(&world);
}

static void a_sweep_deletes_what_nobody_wants(void)
{
	struct backend_state_key two = key(2), nine = key(9);
	struct world world;

	begin(&world);
	for (uint32_t i = 1; i <= 4; i++)
		put(&world, i, i);
	map_cache_begin(world.cache);
	put(&world, 1, 1);
	CU_ASSERT(map_cache_want(world.cache, &two));
	CU_ASSERT(!map_cache_want(world.cache, &nine));
	CU_ASSERT(map_cache_is_wanted(world.cache, &two));
	CU_ASSERT(map_cache_prune(world.cache) == 2);
	CU_ASSERT(kernel(&world, 1) == 1 && kernel(&world, 2) == 2);
	CU_ASSERT(kernel(&world, 3) == 0 && kernel(&world, 4) == 0);
	CU_ASSERT(map_cache_prune(world.cache) == 0);
	end(&world);
}

static bool is_odd(const void *k, const void *data)
{
	(void)data;
	return ((const struct backend_state_key *)k)->service_id % 2;
}

static void a_sweep_of_some_leaves_the_others(void)
{
	struct world world;

	begin(&world);
	for (uint32_t i = 1; i <= 6; i++)
		put(&world, i, i);
	map_cache_begin(world.cache);
	put(&world, 1, 1);
	CU_ASSERT(map_cache_prune_if(world.cache, is_odd, NULL) == 2);
	CU_ASSERT(kernel(&world, 1) == 1 && kernel(&world, 2) == 2);
	CU_ASSERT(kernel(&world, 3) == 0 && kernel(&world, 5) == 0);
	end(&world);
}

static void what_is_wanted_again_is_not_dropped(void)
{
	struct backend_state_key one = key(1), two = key(2);
	struct world world;

	begin(&world);
	put(&world, 1, 1);
	put(&world, 2, 1);
	map_cache_unwant(world.cache, &one);
	map_cache_unwant(world.cache, &two);
	put(&world, 2, 1);
	CU_ASSERT(map_cache_drop_unwanted(world.cache, &one) == 0);
	CU_ASSERT(map_cache_drop_unwanted(world.cache, &two) == 0);
	CU_ASSERT(kernel(&world, 1) == 0 && kernel(&world, 2) == 1);
	end(&world);
}

/* The same with a list beside it, in an order without a pattern. */
static void finds_what_is_there_after_many_additions_and_deletions(void)
{
	uint32_t values[200] = {}, count = 0, random = 1;
	struct world world;

	begin(&world);
	for (uint32_t turn = 1; turn <= 20000; turn++) {
		struct backend_state_key k;
		uint32_t number;

		random = random * 1664525 + 1013904223;
		number = (random >> 16) % 200;
		k = key(number + 1);
		if (random >> 31 && count < ROOM) {
			count += !values[number];
			values[number] = turn;
			CU_ASSERT(put(&world, number + 1, turn) == 0);
		} else if (!(random >> 31)) {
			count -= !!values[number];
			values[number] = 0;
			CU_ASSERT(map_cache_delete(world.cache, &k) == 0);
		}
		CU_ASSERT(map_cache_count(world.cache) == count);
		for (uint32_t i = 0; turn % 100 == 0 && i < 200; i++) {
			const uint32_t *found;

			k = key(i + 1);
			found = map_cache_find(world.cache, &k);
			CU_ASSERT((found ? *found : 0) == values[i]);
			CU_ASSERT(kernel(&world, i + 1) == values[i]);
		}
	}
	end(&world);
}

static uint64_t kept_count(const struct world *world)
{
	uint64_t count = UINT64_MAX;

	CU_ASSERT(maps_kept_count(world->maps, MAP_BACKEND_STATES, &count));
	return count;
}

static void the_maps_know_how_many_elements_there_are(void)
{
	struct backend_state_key one = key(1);
	struct world world;
	uint64_t count;

	begin(&world);
	CU_ASSERT(kept_count(&world) == 0);
	CU_ASSERT(!maps_kept_count(world.maps, MAP_SOCKET_ORIGINS, &count)); /* programs write it */
	for (uint32_t i = 1; i <= ROOM; i++)
		put(&world, i, 1);
	CU_ASSERT(put(&world, ROOM + 1, 1) == -E2BIG);
	CU_ASSERT(kept_count(&world) == ROOM);
	map_cache_delete(world.cache, &one);
	CU_ASSERT(kept_count(&world) == ROOM - 1);
	open_again(&world);
	CU_ASSERT(kept_count(&world) == ROOM - 1);
	end(&world);
}

static int count_one(const void *k, const void *value, void *data)
{
	uint64_t *seen = data;

	CU_ASSERT(((const struct backend_state_key *)k)->service_id == *(const uint32_t *)value);
	*seen |= 1ull << *(const uint32_t *)value;
	return 0;
}

static void shows_each_element_once(void)
{
	struct backend_state_key three = key(3);
	struct world world;
	uint64_t seen = 0;

	begin(&world);
	for (uint32_t i = 1; i <= 5; i++)
		put(&world, i, i);
	map_cache_delete(world.cache, &three);
	put(&world, 6, 6);
	CU_ASSERT(map_cache_each(world.cache, count_one, &seen) == 0);
	CU_ASSERT(seen == (1 << 1 | 1 << 2 | 1 << 4 | 1 << 5 | 1 << 6));
	end(&world);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(writes_what_is_put_and_deletes_what_is_deleted),
		UNIT_TEST(what_the_map_refuses_to_delete_is_owed),
		UNIT_TEST(knows_what_stood_there_before),
		UNIT_TEST(a_full_map_refuses_and_stays_true),
		UNIT_TEST(a_sweep_deletes_what_nobody_wants),
		UNIT_TEST(a_sweep_of_some_leaves_the_others),
		UNIT_TEST(what_is_wanted_again_is_not_dropped),
		UNIT_TEST(finds_what_is_there_after_many_additions_and_deletions),
		UNIT_TEST(shows_each_element_once),
		UNIT_TEST(the_maps_know_how_many_elements_there_are),
	};

	if (geteuid() != 0) {
		printf("skip: maps need root\n");
		return 77;
	}
	return UNIT_RUN("cache", tests);
}

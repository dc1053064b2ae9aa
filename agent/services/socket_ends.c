/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/services/socket_ends.h"

#include <errno.h>
#include <stdlib.h>

#include "policy/objects/array.h"

/* More are not kept one by one: all sockets are looked at instead. */
#define ITEMS_MAX 65536

enum { LOOK_AT_ONCE, LOOK_AFTER_PROGRAMS, LOOK_LAST, LOOKS };

struct item {
	struct lost_endpoint lost;
	uint64_t due_ns;
	uint8_t looks; /* that have been taken */
	bool looking;
};

struct socket_ends {
	struct maps *maps;
	const struct services *services;
	struct item *items;
	size_t count, capacity;
	bool doubt, looking;
	uint64_t began_ns, next_ns; /* no look before */
	struct socket_ends_stats stats;
};

struct socket_ends *socket_ends_new(struct maps *maps, const struct services *services)
{
	struct socket_ends *ends = calloc(1, sizeof(*ends));

	if (ends)
		*ends = (struct socket_ends){.maps = maps, .services = services};
	return ends;
}

void socket_ends_free(struct socket_ends *ends)
{
	if (!ends)
		return;
	free(ends->items);
	free(ends);
}

static bool is_endpoint(const struct socket_ends *ends, const struct lost_endpoint *lost)
{
	return services_has_endpoint(ends->services, &lost->service, &lost->endpoint);
}

void socket_ends_lost(struct socket_ends *ends, const struct service_key *service,
		      const struct backend *endpoint, uint64_t now_ns)
{
	struct item *grown = NULL;

	if (ends->count < ITEMS_MAX)
		grown = array_grow(ends->items, ends->count, &ends->capacity, sizeof(*grown));
	if (!grown) {
		socket_ends_doubt(ends);
		return;
	}
	ends->items = grown;
	ends->items[ends->count++] = (struct item){.lost = {*service, *endpoint}, .due_ns = now_ns};
}

void socket_ends_doubt(struct socket_ends *ends)
{
	ends->doubt = true;
}

uint64_t socket_ends_due(const struct socket_ends *ends)
{
	uint64_t due = ends->doubt ? 0 : SOCKET_ENDS_NEVER;

	if (ends->looking)
		return SOCKET_ENDS_NEVER;
	for (size_t i = 0; i < ends->count; i++)
		if (ends->items[i].due_ns < due)
			due = ends->items[i].due_ns;
	return due < ends->next_ns ? ends->next_ns : due;
}

/* ---------------------------------------------------------------- a look */

/* Those that have become endpoints again: what is connected to them may stay. */
static void drop_returned(struct socket_ends *ends)
{
	size_t kept = 0;

	for (size_t i = 0; i < ends->count; i++)
		if (!is_endpoint(ends, &ends->items[i].lost))
			ends->items[kept++] = ends->items[i];
	ends->count = kept;
}

bool socket_ends_begin(struct socket_ends *ends, uint64_t now_ns, struct socket_look *ret)
{
	struct socket_look look = {.maps = ends->maps, .all = ends->doubt};

	if (socket_ends_due(ends) > now_ns)
		return false;
	drop_returned(ends);
	look.lost = calloc(ends->count + 1, sizeof(*look.lost));
	if (!look.lost) {
		ends->next_ns = now_ns + SOCKET_ENDS_RETRY_NS;
		return false;
	}
	for (size_t i = 0; i < ends->count; i++) {
		struct item *item = &ends->items[i];

		item->looking = item->due_ns <= now_ns;
		if (!item->looking)
			continue;
		look.wait |= item->looks == LOOK_AFTER_PROGRAMS;
		look.lost[look.lost_count++] = item->lost;
	}
	if (!look.lost_count && !look.all) {
		socket_look_clear(&look);
		return false;
	}
	ends->doubt = false;
	ends->looking = true;
	ends->began_ns = now_ns;
	*ret = look;
	return true;
}

/* When an item is looked for again. False: never. */
static bool next_look(struct item *item, bool failed, uint64_t now_ns)
{
	if (!item->looking)
		return true;
	item->looking = false;
	item->due_ns = now_ns + (failed ? SOCKET_ENDS_RETRY_NS : 0);
	if (failed)
		return true;
	if (++item->looks == LOOK_LAST)
		item->due_ns = now_ns + SOCKET_ENDS_LAST_NS;
	return item->looks < LOOKS;
}

/* What a look costs decides when the next one may come. */
static void charge(struct socket_ends *ends, uint64_t now_ns)
{
	uint64_t wait = (now_ns - ends->began_ns) * (SOCKET_ENDS_PARTS - 1);

	if (wait < SOCKET_ENDS_WAIT_MIN_NS)
		wait = SOCKET_ENDS_WAIT_MIN_NS;
	ends->next_ns = now_ns + (wait < SOCKET_ENDS_WAIT_MAX_NS ? wait : SOCKET_ENDS_WAIT_MAX_NS);
}

static void count(struct socket_ends *ends, const struct socket_look *look, int result)
{
	struct socket_ends_stats *stats = &ends->stats;

	stats->looks++;
	stats->failures += result < 0;
	stats->ended_tcp += look->ended_tcp;
	stats->ended_udp += look->ended_udp;
	/* A look that found no socket says nothing of what the kernel can do. */
	if (result < 0 || look->all || look->ended_tcp || look->ended_udp)
		stats->failure = result;
}

void socket_ends_finish(struct socket_ends *ends, struct socket_look *look, int result,
			uint64_t now_ns)
{
	/* What the kernel cannot do it cannot do in 5 s either. */
	bool failed = result < 0 && result != -EOPNOTSUPP;
	size_t kept = 0, i;

	for (i = 0; i < ends->count; i++)
		if (next_look(&ends->items[i], failed, now_ns))
			ends->items[kept++] = ends->items[i];
	ends->count = kept;
	for (i = 0; i < look->found_count; i++)
		if (!is_endpoint(ends, &look->found[i]))
			socket_ends_lost(ends, &look->found[i].service, &look->found[i].endpoint,
					 now_ns);
	ends->looking = false;
	ends->doubt |= failed && look->all;
	count(ends, look, result);
	charge(ends, now_ns);
	if (failed)
		ends->next_ns = now_ns + SOCKET_ENDS_RETRY_NS;
	socket_look_clear(look);
}

void socket_ends_stats(const struct socket_ends *ends, struct socket_ends_stats *ret)
{
	*ret = ends->stats;
	ret->waiting = ends->count;
}

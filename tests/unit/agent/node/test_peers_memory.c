/* SPDX-License-Identifier: Apache-2.0 */
/* Peers while memory runs out: at no allocation do two nodes have one range, and reading again
 * mends all. */
#include <errno.h>
#include <stdlib.h>

#include "tests/faults.h"
#include "tests/unit/agent/node/peers_world.h"

#define STEPS		 2000
#define ALLOCATIONS_MOST 24 /* of one change, about */
#define ADDRESSES	 2  /* of this node's links */

static bool is_known(const struct peers *p, const struct peer *peer)
{
	const struct peer *at = NULL;

	while ((at = peers_next(p, at)))
		if (at == peer)
			return true;
	return false;
}

static bool do_meet(const struct prefix *a, const struct prefix *b)
{
	return prefix_covers(a, &b->addr, b->length) || prefix_covers(b, &a->addr, a->length);
}

/* Who owns a range is there, and nobody else owns what meets it. */
static bool owners_are_right(const struct peers *p)
{
	for (size_t i = 0; i < p->ranges.count; i++) {
		const struct claimed *one = (const struct claimed *)p->ranges.items[i];

		if ((one->owner && !is_known(p, one->owner)) ||
		    (one->rival && !is_known(p, one->rival)))
			return false;
		for (size_t j = i + 1; one->owner && j < p->ranges.count; j++) {
			const struct claimed *other = (const struct claimed *)p->ranges.items[j];

			if (other->owner && other->owner != one->owner &&
			    do_meet(&one->prefix, &other->prefix))
				return false;
		}
	}
	return true;
}

/* Maps are written as they can be; none of them names a peer that is gone. */
static bool maps_are_right(const struct world *w)
{
	struct peer_entry *entries = NULL;
	bool right = true;

	CU_ASSERT_FATAL(maps_read_array(w->maps, MAP_PEERS, (void **)&entries) == 0);
	for (uint32_t i = 1; i < POLDER_MAX_PEERS; i++)
		right &= !entries[i].flags || w->peers->numbers[i].state != NUMBER_FREE;
	free(entries);
	return right;
}

/* Again and again, with one allocation more each time until none fails. */
static size_t until_it_succeeds(struct world *w, int (*act)(struct world *w))
{
	size_t number = 1;
	int r;

	for (;; number++) {
		faults_begin(number);
		r = act(w);
		if (!faults_end())
			break;
		CU_ASSERT(r == 0 || r == -ENOMEM);
		CU_ASSERT(owners_are_right(w->peers));
	}
	CU_ASSERT(r == 0);
	return number;
}

static int read_all(struct world *w)
{
	return peers_read(w->peers, w->store);
}

static int write_all(struct world *w)
{
	return peers_write(w->peers);
}

static void settle(struct world *w)
{
	until_it_succeeds(w, write_all);
	peers_written(w->peers);
	peers_prune_mark(w->peers);
	peers_prune(w->peers);
}

static void fail(struct world *w)
{
	faults_begin(w->fails_at);
}

static void no_allocation_that_fails_gives_a_range_to_two_nodes(void)
{
	struct model all[NODES];
	size_t failed = 0;
	struct world w;

	for (unsigned int n = 0; n < NODES; n++)
		all[n] = (struct model){.ranges = {-1, -1, -1}, .address = -1};
	srand(20261129);
	world_begin(&w);
	w.before = fail;
	w.after = faults_end;
	for (unsigned int step = 0; step < STEPS; step++) {
		unsigned int n = (unsigned int)rand() % NODES;

		model_change(&all[n]);
		w.fails_at = 1 + (size_t)rand() % ALLOCATIONS_MOST;
		world_put(&w, n, &all[n]);
		CU_ASSERT(owners_are_right(w.peers));
		failed += peers_incomplete(w.peers);
		/* What happens in between is another change, or maps are written. */
		if (rand() % 3 == 0)
			continue;
		if (rand() % 2)
			settle(&w);
		CU_ASSERT(step % 8 || maps_are_right(&w));
		if (!peers_incomplete(w.peers))
			continue;
		until_it_succeeds(&w, read_all);
		CU_ASSERT(!peers_incomplete(w.peers));
		world_compare(&w, all);
		settle(&w);
		world_compare_maps(&w);
	}
	CU_ASSERT(failed > STEPS / 10);
	world_end(&w);
}

static struct peers_network network_of(const struct address_info addresses[ADDRESSES],
				       const int *uplink, const uint32_t *mtu)
{
	return (struct peers_network){.addresses = addresses,
				      .address_count = ADDRESSES,
				      .uplinks = uplink,
				      .mtus = mtu,
				      .uplink_count = 1};
}

static struct address_info address_of(const char *text, int ifindex)
{
	struct address_info info = {.ifindex = ifindex};

	CU_ASSERT_FATAL(prefix_parse(text, &info.prefix) == 0);
	info.prefix.addr.words_be[3] |= htonl(1);
	return info;
}

static int set_network(struct world *w)
{
	static const int uplink = 7;
	static const uint32_t mtu = 1500;
	const struct address_info addresses[ADDRESSES] = {address_of("192.168.7.0/24", uplink),
							  address_of("10.20.0.0/16", uplink + 1)};
	const struct peers_network network = network_of(addresses, &uplink, &mtu);

	return peers_set_network(w->peers, &network);
}

/* Ranges that meet a network of the host are refused, and peers of the uplink's are neighbours. */
static void network_is_taken_whole_or_not_at_all(void)
{
	struct model one = {.is_there = true, .ranges = {21, 0, -1}, .address = 2};
	struct prefix met, free_range;
	struct world w;

	CU_ASSERT_FATAL(prefix_parse(range_texts[21], &met) == 0);
	CU_ASSERT_FATAL(prefix_parse(range_texts[0], &free_range) == 0);
	world_begin(&w);
	world_put(&w, 1, &one);
	CU_ASSERT(peers_owner(w.peers, &met) != NULL);
	CU_ASSERT(until_it_succeeds(&w, set_network) > 1);
	CU_ASSERT(peers_owner(w.peers, &met) == NULL);
	CU_ASSERT(peers_owner(w.peers, &free_range) != NULL);
	world_end(&w);
}

static void a_start_without_memory_says_so_and_leaves_nothing(void)
{
	struct world w;
	size_t number;
	bool failed;
	int r;

	world_begin(&w);
	world_put(&w, 1, &(struct model){.is_there = true, .ranges = {0, -1, -1}, .address = 1});
	settle(&w);
	peers_free(w.peers);
	for (number = 1, failed = true; failed; number++) {
		faults_begin(number);
		r = peers_new(&w.config, w.maps, &w.peers);
		if (r == 0)
			r = peers_recall(w.peers);
		else
			w.peers = NULL;
		failed = faults_end();
		CU_ASSERT(failed ? r == -ENOMEM : r == 0);
		if (failed)
			peers_free(w.peers);
	}
	CU_ASSERT(number > 3);
	CU_ASSERT(peers_read(w.peers, w.store) == 0);
	settle(&w);
	world_compare_maps(&w);
	world_end(&w);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(no_allocation_that_fails_gives_a_range_to_two_nodes),
		UNIT_TEST(network_is_taken_whole_or_not_at_all),
		UNIT_TEST(a_start_without_memory_says_so_and_leaves_nothing),
	};

	return UNIT_RUN("peers without memory", tests);
}

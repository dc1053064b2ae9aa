/* SPDX-License-Identifier: Apache-2.0 */
/* Which node announces an address: several nodes on a link that is made of memory, in a time that
 * is a number. */
#include "agent/announce/claims.h"

#include <arpa/inet.h>

#include "tests/unit/unit.h"

#define NODES_MOST 12
#define ADDRS	   8
#define RETURN_MS  20000
#define LINK	   7
#define QUEUE	   4096

struct node {
	char name[32];
	struct claims *claims; /* NULL: its agent is away */
	bool up;	       /* its programs and its link */
	int part;	       /* of the network */
	bool may;
	bool broken;		       /* its maps cannot be written */
	uint64_t answers_until[ADDRS]; /* in its programs' map */
	uint64_t terms[ADDRS];
	unsigned int tells;
};

struct said {
	int from;
	struct claim_entry entry;
};

static struct node nodes[NODES_MOST];
static int node_count, addr_count;
static uint64_t now;
static struct said queue[QUEUE];
static size_t queued;
static unsigned int words;

static struct polder_addr address(int index)
{
	struct polder_addr addr = {};

	addr_parse("192.0.2.100", &addr);
	addr.bytes[15] = (uint8_t)(100 + index);
	return addr;
}

static int index_of(const struct polder_addr *addr)
{
	return addr->bytes[15] - 100;
}

static bool reach(const struct node *a, const struct node *b)
{
	return a->up && b->up && a->part == b->part;
}

static bool answers(const struct node *node, int index)
{
	return node->up && node->answers_until[index] > now;
}

/* ---------------------------------------------------------------- hooks */

static void probe(const struct polder_addr *addr, int link, void *data)
{
	struct node *node = data;
	uint8_t mac[6] = {2};

	CU_ASSERT(link == LINK);
	for (int i = 0; i < node_count; i++)
		if (&nodes[i] != node && reach(node, &nodes[i]) &&
		    answers(&nodes[i], index_of(addr))) {
			mac[5] = (uint8_t)i;
			announce_claims_answered(node->claims, link, addr, mac, now);
		}
}

static int hold(const struct polder_addr *addr, int link, uint64_t term, int64_t since, void *data)
{
	struct node *node = data;

	(void)link;
	(void)since;
	if (node->broken)
		return -ENOSPC;
	node->answers_until[index_of(addr)] = now + CLAIM_PROMISE_MS;
	node->terms[index_of(addr)] = term;
	return 0;
}

static void release(const struct polder_addr *addr, void *data)
{
	struct node *node = data;

	node->answers_until[index_of(addr)] = 0;
}

static void tell(const struct polder_addr *addr, int link, void *data)
{
	struct node *node = data;

	CU_ASSERT(answers(node, index_of(addr)) && link == LINK);
	node->tells++;
}

static void say(int link, const struct claim_entry *entry, void *data)
{
	struct node *node = data;

	CU_ASSERT(link == LINK);
	CU_ASSERT_FATAL(queued < QUEUE);
	queue[queued++] = (struct said){.from = (int)(node - nodes), .entry = *entry};
	words++;
}

static int64_t wall_time(void *data)
{
	(void)data;
	return (int64_t)(now / 1000);
}

/* ---------------------------------------------------------------- the network */

static void want(struct node *node)
{
	struct claim_want wants[ADDRS] = {};

	for (int i = 0; i < addr_count; i++) {
		struct claim_want *one = &wants[i];
		uint64_t own;

		one->addr = address(i);
		one->link = LINK;
		one->may = node->may;
		own = claim_score(claim_node_hash(node->name), &one->addr);
		for (int j = 0; j < node_count; j++)
			one->place += claim_score(claim_node_hash(nodes[j].name), &one->addr) < own;
	}
	CU_ASSERT(announce_claims_set(node->claims, wants, (size_t)addr_count, now) == 0);
}

static void start_agent(struct node *node)
{
	const struct claim_hooks hooks = {probe, hold, release, tell, say, wall_time, node};
	struct polder_addr addr;

	node->claims = announce_claims_new(node->name, RETURN_MS, &hooks, now);
	CU_ASSERT_FATAL(node->claims != NULL);
	for (int i = 0; i < addr_count; i++) {
		addr = address(i);
		if (answers(node, i))
			announce_claims_recall(node->claims, &addr, LINK, node->terms[i], 0);
	}
	want(node);
}

static void stop_agent(struct node *node)
{
	announce_claims_free(node->claims);
	node->claims = NULL;
}

static void begin(int nodes_there, int addrs)
{
	memset(nodes, 0, sizeof(nodes));
	now = 1000000;
	queued = words = 0;
	node_count = nodes_there;
	addr_count = addrs;
	for (int i = 0; i < node_count; i++) {
		snprintf(nodes[i].name, sizeof(nodes[i].name), "node-%d", i);
		nodes[i].up = nodes[i].may = true;
	}
	for (int i = 0; i < node_count; i++)
		start_agent(&nodes[i]);
}

static void end(void)
{
	for (int i = 0; i < node_count; i++)
		stop_agent(&nodes[i]);
}

static void deliver(void)
{
	for (size_t i = 0; i < queued; i++) {
		const struct said said = queue[i];

		for (int j = 0; j < node_count; j++)
			if (j != said.from && nodes[j].claims &&
			    reach(&nodes[said.from], &nodes[j]))
				announce_claims_heard(nodes[j].claims, LINK, nodes[said.from].name,
						      &said.entry, now);
	}
	queued = 0;
}

/* How many hosts that reach `from` answer for it; the last of them. */
static int answering(int index, int *ret_who)
{
	int count = 0;

	for (int i = 0; i < node_count; i++)
		if (answers(&nodes[i], index)) {
			count++;
			*ret_who = i;
		}
	return count;
}

static void step(void)
{
	now++;
	for (int i = 0; i < node_count; i++)
		if (nodes[i].claims)
			(void)announce_claims_run(nodes[i].claims, now);
	deliver();
}

/* Agents prolong what they hold. */
static void prolong(void)
{
	for (int i = 0; i < node_count; i++)
		for (int j = 0; nodes[i].claims && j < addr_count; j++)
			if (answers(&nodes[i], j))
				nodes[i].answers_until[j] = now + CLAIM_PROMISE_MS;
}

/* Milliseconds pass; true: at no moment two answered for one address. */
static bool pass(uint64_t ms)
{
	bool single = true;
	int who;

	for (uint64_t i = 0; i < ms; i++) {
		step();
		if (now % 10000 == 0)
			prolong();
		for (int j = 0; j < addr_count; j++)
			single &= answering(j, &who) <= 1;
	}
	return single;
}

/* -1: nobody, or several. */
static int holder(int index)
{
	int who = -1;

	return answering(index, &who) == 1 ? who : -1;
}

/* How long until somebody holds it. */
static uint64_t pass_until_held(int index, uint64_t most)
{
	uint64_t began = now;

	while (holder(index) < 0 && now - began < most)
		step();
	return now - began;
}

static void kill_node(int which)
{
	nodes[which].up = false;
	stop_agent(&nodes[which]);
}

/* ---------------------------------------------------------------- tests */

static void one_node_holds_each_address_and_tells_of_it(void)
{
	begin(5, ADDRS);
	CU_ASSERT(pass(10000));
	for (int i = 0; i < ADDRS; i++) {
		int who = holder(i);

		CU_ASSERT_FATAL(who >= 0);
		CU_ASSERT(nodes[who].tells >= CLAIM_TELLS);
	}
	end();
}

/* The best-placed node, so they do not all go to one. */
static void addresses_are_spread_over_the_nodes(void)
{
	unsigned int used = 0;

	begin(5, ADDRS);
	CU_ASSERT(pass(10000));
	for (int i = 0; i < ADDRS; i++) {
		struct polder_addr addr = address(i);
		int who = holder(i);

		CU_ASSERT_FATAL(who >= 0);
		used |= 1u << who;
		for (int j = 0; j < 5; j++)
			CU_ASSERT(claim_score(claim_node_hash(nodes[j].name), &addr) >=
				  claim_score(claim_node_hash(nodes[who].name), &addr));
	}
	CU_ASSERT(__builtin_popcount(used) >= 3);
	end();
}

static void lost_nodes_address_is_taken_over_in_time(void)
{
	uint64_t took;
	int first;

	begin(5, 1);
	CU_ASSERT(pass(5000));
	first = holder(0);
	CU_ASSERT_FATAL(first >= 0);
	kill_node(first);
	took = pass_until_held(0, 10000);
	printf("(%llu ms) ", (unsigned long long)took);
	CU_ASSERT(took <= CLAIM_LOST_MS + CLAIM_PROBES * CLAIM_PROBE_MS + CLAIM_PLACE_MS + 10);
	CU_ASSERT(pass(5000) && holder(0) != first);
	end();
}

/* Whoever is next may be lost as well. */
static void nodes_lost_together_delay_it_by_their_places_only(void)
{
	uint64_t took;
	int left = -1;

	begin(9, 1);
	CU_ASSERT(pass(5000));
	for (int i = 0; i < 9; i++) {
		struct polder_addr addr = address(0);
		unsigned int place = 0;

		for (int j = 0; j < 9; j++)
			place += claim_score(claim_node_hash(nodes[j].name), &addr) <
				 claim_score(claim_node_hash(nodes[i].name), &addr);
		if (place == 8)
			left = i;
		else
			kill_node(i);
	}
	took = pass_until_held(0, 10000);
	printf("(%llu ms) ", (unsigned long long)took);
	CU_ASSERT(took < 2000 && holder(0) == left);
	end();
}

static void agent_that_is_away_keeps_the_address_while_its_programs_answer(void)
{
	int first;

	begin(3, 2);
	CU_ASSERT(pass(5000));
	first = holder(0);
	CU_ASSERT_FATAL(first >= 0);
	prolong();
	stop_agent(&nodes[first]);
	CU_ASSERT(pass(CLAIM_PROMISE_MS / 2) && holder(0) == first);
	start_agent(&nodes[first]);
	CU_ASSERT(pass(5000) && holder(0) == first);
	/* For good: when the promise is over, another node has it. */
	prolong();
	stop_agent(&nodes[first]);
	CU_ASSERT(pass(CLAIM_PROMISE_MS - 100) && holder(0) == first);
	CU_ASSERT(pass(2000) && holder(0) >= 0 && holder(0) != first);
	end();
}

/* While an agent is away, one node asks, not all. */
static void few_words_are_needed_while_an_agent_is_away(void)
{
	unsigned int before;
	int first;

	begin(NODES_MOST, 1);
	CU_ASSERT(pass(5000));
	first = holder(0);
	CU_ASSERT_FATAL(first >= 0);
	prolong();
	before = words;
	CU_ASSERT(pass(10000));
	CU_ASSERT(words - before <= 10000 / CLAIM_BEAT_MS + 1);
	stop_agent(&nodes[first]);
	before = words;
	CU_ASSERT(pass(10000));
	CU_ASSERT(words - before <= 10000 / CLAIM_AGAIN_MS + 2);
	end();
}

static void node_that_comes_back_takes_it_back_only_after_a_while(void)
{
	int first, second;

	begin(4, 1);
	CU_ASSERT(pass(5000));
	first = holder(0);
	CU_ASSERT_FATAL(first >= 0);
	kill_node(first);
	CU_ASSERT(pass(3000));
	second = holder(0);
	CU_ASSERT(second >= 0 && second != first);
	nodes[first].up = true;
	nodes[first].answers_until[0] = 0; /* it has booted */
	start_agent(&nodes[first]);
	CU_ASSERT(pass(RETURN_MS - 1000) && holder(0) == second);
	(void)pass(3000); /* for a moment, until the other one has heard of it, both have it */
	CU_ASSERT(holder(0) == first);
	CU_ASSERT(pass(5000) && holder(0) == first);
	end();
}

static void node_that_may_no_longer_hands_it_over_at_once(void)
{
	int first;

	begin(4, 1);
	CU_ASSERT(pass(5000));
	first = holder(0);
	CU_ASSERT_FATAL(first >= 0);
	nodes[first].may = false;
	want(&nodes[first]);
	deliver();
	CU_ASSERT(holder(0) < 0);
	CU_ASSERT(pass_until_held(0, 5000) <=
		  CLAIM_PROBES * CLAIM_PROBE_MS + CLAIM_PLACE_MS + CLAIM_PROBE_MS);
	CU_ASSERT(pass(5000) && holder(0) != first);
	end();
}

static void network_in_two_parts_has_one_holder_in_each_and_one_when_it_is_whole(void)
{
	int first, second = -1;

	begin(4, 1);
	CU_ASSERT(pass(5000));
	first = holder(0);
	CU_ASSERT_FATAL(first >= 0);
	nodes[first].part = 1;
	(void)pass(3000);
	for (int i = 0; i < 4; i++)
		if (i != first && answers(&nodes[i], 0))
			second = i;
	CU_ASSERT(second >= 0 && answers(&nodes[first], 0));
	nodes[first].part = 0;
	nodes[second].tells = 0;
	(void)pass(CLAIM_BEAT_MS + 10);
	/* Who took it over keeps it, and tells the hosts that heard the other one. */
	CU_ASSERT(holder(0) == second && nodes[second].tells > 0);
	CU_ASSERT(pass(5000) && holder(0) == second);
	end();
}

static void address_of_a_stranger_is_not_taken(void)
{
	struct claims *strangers;

	begin(3, 1);
	strangers = nodes[2].claims; /* a host that has the address and knows nothing of Polder */
	nodes[2].claims = NULL;
	nodes[2].answers_until[0] = UINT64_MAX;
	CU_ASSERT(pass(20000) && holder(0) == 2);
	nodes[2].up = false;
	CU_ASSERT(pass_until_held(0, 5000) <= 2000 && holder(0) != 2);
	announce_claims_free(strangers);
	end();
}

static void node_whose_maps_are_full_leaves_it_to_others(void)
{
	struct polder_addr addr = address(0);
	uint64_t best = UINT64_MAX;
	int first = -1;

	begin(3, 1);
	for (int i = 0; i < 3; i++) {
		uint64_t score = claim_score(claim_node_hash(nodes[i].name), &addr);

		if (score < best) {
			best = score;
			first = i;
		}
	}
	nodes[first].broken = true;
	CU_ASSERT(pass(10000) && holder(0) >= 0 && holder(0) != first);
	end();
}

static void address_that_nobody_wants_is_let_go(void)
{
	begin(3, 2);
	CU_ASSERT(pass(5000));
	CU_ASSERT(holder(1) >= 0);
	addr_count = 1;
	for (int i = 0; i < 3; i++)
		want(&nodes[i]);
	CU_ASSERT(holder(1) < 0 && holder(0) >= 0);
	end();
}

/* Of what the agent before held. */
static void address_that_nobody_wants_is_let_go_after_a_restart(void)
{
	int first;

	begin(3, 2);
	CU_ASSERT(pass(5000));
	first = holder(1);
	CU_ASSERT_FATAL(first >= 0);
	prolong();
	stop_agent(&nodes[first]);
	nodes[first].may = false;
	start_agent(&nodes[first]);
	CU_ASSERT(!answers(&nodes[first], 1));
	end();
}

static void terms_that_leave_no_way_past_them_are_not_believed(void)
{
	struct claim_entry entry = {.addr = address(0), .term = UINT64_MAX, .word = WORD_HOLD};
	int first;

	begin(2, 1);
	CU_ASSERT(pass(5000));
	first = holder(0);
	CU_ASSERT_FATAL(first >= 0);
	announce_claims_heard(nodes[first].claims, LINK, "forger", &entry, now);
	CU_ASSERT(holder(0) == first);
	entry.term = 1000000;
	announce_claims_heard(nodes[first].claims, LINK + 1, "elsewhere", &entry, now);
	CU_ASSERT(holder(0) == first);
	end();
}

/* Nodes come and go at random: never is an address with two holders for longer than a beat, and
 * when there is a node, it has one. */
static void random_losses_leave_one_holder(void)
{
	srand(11);
	begin(5, 3);
	for (int round = 0; round < 60; round++) {
		int which = rand() % 5;

		if (!nodes[which].up) {
			nodes[which].up = true;
			start_agent(&nodes[which]);
		} else if (rand() % 2) {
			kill_node(which);
			memset(nodes[which].answers_until, 0, sizeof(nodes[which].answers_until));
		} else if (nodes[which].claims) {
			stop_agent(&nodes[which]);
			(void)pass((uint64_t)(rand() % 4000));
			start_agent(&nodes[which]);
		}
		(void)pass(3000 + (uint64_t)(rand() % 3000));
		for (int i = 0; i < 3; i++) {
			bool any = false;

			for (int j = 0; j < 5; j++)
				any |= nodes[j].up;
			CU_ASSERT(!any || holder(i) >= 0);
		}
	}
	end();
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(one_node_holds_each_address_and_tells_of_it),
		UNIT_TEST(addresses_are_spread_over_the_nodes),
		UNIT_TEST(lost_nodes_address_is_taken_over_in_time),
		UNIT_TEST(nodes_lost_together_delay_it_by_their_places_only),
		UNIT_TEST(agent_that_is_away_keeps_the_address_while_its_programs_answer),
		UNIT_TEST(few_words_are_needed_while_an_agent_is_away),
		UNIT_TEST(node_that_comes_back_takes_it_back_only_after_a_while),
		UNIT_TEST(node_that_may_no_longer_hands_it_over_at_once),
		UNIT_TEST(network_in_two_parts_has_one_holder_in_each_and_one_when_it_is_whole),
		UNIT_TEST(address_of_a_stranger_is_not_taken),
		UNIT_TEST(node_whose_maps_are_full_leaves_it_to_others),
		UNIT_TEST(address_that_nobody_wants_is_let_go),
		UNIT_TEST(address_that_nobody_wants_is_let_go_after_a_restart),
		UNIT_TEST(terms_that_leave_no_way_past_them_are_not_believed),
		UNIT_TEST(random_losses_leave_one_holder),
	};

	return UNIT_RUN("claims", tests);
}

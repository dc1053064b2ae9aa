/* SPDX-License-Identifier: Apache-2.0 */
/* Who gets an address that several claim, which slot says so when, and what is taken back. On the
 * kernel's maps; needs root. */
#include "agent/policy/addresses.h"

#include "agent/config/config.h"
#include "tests/unit/small_maps.h"
#include "tests/unit/unit.h"

#define ROOM 8

enum { A = IDENTITY_FIRST_POD, B, C };

struct world {
	struct config config;
	struct maps *maps;
	struct local_pods *local_pods;
	struct addresses *addresses;
	size_t touched;
};

static struct polder_addr addr(const char *text)
{
	struct polder_addr addr = {};

	CU_ASSERT_FATAL(addr_parse(text, &addr) == 0);
	return addr;
}

/* This node gives 10.1.0.0/16. */
static bool is_own(const struct polder_addr *a, const void *data)
{
	struct prefix own;

	CU_ASSERT_FATAL(prefix_parse("10.1.0.0/16", &own) == 0);
	return prefix_contains(&own, a);
}

static void touched(const struct prefix *a, void *data)
{
	((struct world *)data)->touched++;
}

static void open_addresses(struct world *w)
{
	struct addresses_env env = {
		.maps = w->maps, .is_own = is_own, .touched = touched, .data = w};

	CU_ASSERT_FATAL(local_pods_open(w->maps, &w->local_pods) == 0);
	env.local_pods = w->local_pods;
	CU_ASSERT_FATAL(addresses_open(&env, &w->addresses) == 0);
}

static void close_addresses(struct world *w)
{
	addresses_close(w->addresses);
	local_pods_close(w->local_pods);
}

static void begin(struct world *w)
{
	*w = (struct world){.config = small_config(64)};
	w->config.max_addresses = ROOM;
	CU_ASSERT_FATAL(prefix_parse("10.1.0.0/16", &w->config.pod_cidr_v4) == 0);
	w->maps = small_maps(&w->config, NULL);
	open_addresses(w);
}

static void end(struct world *w)
{
	close_addresses(w);
	maps_close(w->maps);
}

/* Of the pod x/NAME, whose name is one letter. */
static struct address_claim claim_of(const char *name, uint32_t identity, uint32_t link)
{
	static struct object pods[128];
	struct object *pod = &pods[name[2] & 127];

	*pod = (struct object){.kind = OBJECT_POD, .namespace = "x", .name = (char *)name + 2};
	return (struct address_claim){.pod = pod, .identity = identity, .ifindex = link};
}

static bool is_pod(const struct object *pod, const char *name)
{
	return strncmp(name, "x/", 2) == 0 && strcmp(pod->namespace, "x") == 0 &&
	       strcmp(pod->name, name + 2) == 0;
}

static void claim(struct world *w, struct address_claim *claim, const char *text)
{
	struct polder_addr a = addr(text);

	CU_ASSERT(addresses_claim(w->addresses, claim, &a) == 0);
}

static void change(struct world *w, struct address_claim *claim, uint32_t identity)
{
	claim->identity = identity;
	addresses_claim_changed(w->addresses, claim);
}

/* Was a switch asked for? */
static bool write_for(struct world *w, unsigned int slot)
{
	bool switched = false;

	w->touched = 0;
	CU_ASSERT(addresses_write(w->addresses, slot, &switched) == 0);
	return switched;
}

/* What the kernel's map says. */
static struct address_entry entry_of(struct world *w, const char *text)
{
	const struct address_key key = {.prefixlen = 128, .addr = addr(text)};
	struct address_entry entry = {};

	maps_find(w->maps, MAP_ADDRESSES, &key, &entry);
	return entry;
}

static bool has(struct world *w, const char *text, uint32_t first, uint32_t second)
{
	const struct address_entry entry = entry_of(w, text);

	return entry.identity[0] == first && entry.identity[1] == second;
}

static bool is_gone(struct world *w, const char *text)
{
	struct polder_addr a = addr(text);

	return has(w, text, 0, 0) && !addresses_find(w->addresses, &a);
}

/* 0: the array of this node's pods does not answer. */
static uint32_t link_of(struct world *w, const char *text)
{
	struct polder_addr a = addr(text);
	const struct address_entry *entry = local_pods_find(w->maps, &a);

	return entry ? entry->ifindex : 0;
}

static bool is_owner(struct world *w, const char *text, const char *owner)
{
	struct polder_addr a = addr(text);
	const struct object *known = addresses_owner(w->addresses, &a);

	return owner ? known && is_pod(known, owner) : !known;
}

struct told {
	size_t without_room, refused;
	const struct object *refused_owner;
};

static void tell(const struct address_problem *problem, void *data)
{
	struct told *told = data;

	told->without_room += problem->no_room;
	told->refused += !problem->no_room;
	if (!problem->no_room)
		told->refused_owner = problem->pod;
}

static struct told problems(struct world *w)
{
	struct told told = {};

	addresses_problems(w->addresses, tell, &told);
	return told;
}

/* ---------------------------------------------------------------- slots */

static void an_address_that_comes_or_goes_does_so_in_both_slots(void)
{
	struct address_claim a = claim_of("x/a", A, 0);
	struct world w;

	begin(&w);
	claim(&w, &a, "10.2.0.1");
	CU_ASSERT(!write_for(&w, 0));
	CU_ASSERT(has(&w, "10.2.0.1", A, A) && w.touched == 1);
	CU_ASSERT(!write_for(&w, 0) && w.touched == 0);
	addresses_unclaim(w.addresses, &a);
	CU_ASSERT(has(&w, "10.2.0.1", A, A));
	CU_ASSERT(!write_for(&w, 0));
	CU_ASSERT(is_gone(&w, "10.2.0.1") && w.touched == 1);
	end(&w);
}

static void an_identity_that_changes_waits_for_the_switch(void)
{
	struct address_claim a = claim_of("x/a", A, 0);
	struct world w;

	begin(&w);
	claim(&w, &a, "10.2.0.1");
	write_for(&w, 0);
	change(&w, &a, B);
	CU_ASSERT(write_for(&w, 0));
	CU_ASSERT(has(&w, "10.2.0.1", A, B) && w.touched == 1);
	addresses_sync_slots(w.addresses, 1);
	CU_ASSERT(has(&w, "10.2.0.1", B, B));
	/* And once more, the other way round. */
	change(&w, &a, C);
	CU_ASSERT(write_for(&w, 1));
	CU_ASSERT(has(&w, "10.2.0.1", C, B) && w.touched == 1);
	addresses_sync_slots(w.addresses, 0);
	CU_ASSERT(has(&w, "10.2.0.1", C, C));
	end(&w);
}

static void an_address_that_moves_to_another_link_does_so_at_once(void)
{
	struct address_claim a = claim_of("x/a", A, 7), b = claim_of("x/b", A, 8);
	struct world w;

	begin(&w);
	claim(&w, &a, "10.1.0.1");
	write_for(&w, 0);
	CU_ASSERT(entry_of(&w, "10.1.0.1").ifindex == 7 && link_of(&w, "10.1.0.1") == 7);
	CU_ASSERT(entry_of(&w, "10.1.0.1").flags == (ADDRESS_POD | ADDRESS_LOCAL));
	addresses_unclaim(w.addresses, &a);
	claim(&w, &b, "10.1.0.1");
	CU_ASSERT(!write_for(&w, 0) && w.touched == 1);
	CU_ASSERT(entry_of(&w, "10.1.0.1").ifindex == 8 && link_of(&w, "10.1.0.1") == 8);
	addresses_unclaim(w.addresses, &b);
	write_for(&w, 0);
	CU_ASSERT(is_gone(&w, "10.1.0.1") && link_of(&w, "10.1.0.1") == 0);
	end(&w);
}

/* ---------------------------------------------------------------- whose it is */

static void pods_elsewhere_get_an_address_in_the_order_of_their_names(void)
{
	struct address_claim a = claim_of("x/a", A, 0), b = claim_of("x/b", B, 0),
			     c = claim_of("x/c", C, 0);
	struct world w;

	begin(&w);
	claim(&w, &b, "10.2.0.1");
	claim(&w, &a, "10.2.0.1");
	claim(&w, &c, "10.2.0.1");
	write_for(&w, 0);
	CU_ASSERT(is_owner(&w, "10.2.0.1", "x/a") && has(&w, "10.2.0.1", A, A));
	CU_ASSERT(problems(&w).refused == 2);
	addresses_unclaim(w.addresses, &a);
	CU_ASSERT(write_for(&w, 0));
	CU_ASSERT(is_owner(&w, "10.2.0.1", "x/b") && has(&w, "10.2.0.1", A, B));
	addresses_unclaim(w.addresses, &b);
	write_for(&w, 0);
	CU_ASSERT(problems(&w).refused == 0);
	end(&w);
}

static void a_pod_of_this_node_comes_before_those_elsewhere(void)
{
	struct address_claim a = claim_of("x/a", A, 0), z = claim_of("x/z", B, 7);
	struct world w;

	begin(&w);
	claim(&w, &a, "10.2.0.1");
	write_for(&w, 0);
	claim(&w, &z, "10.2.0.1");
	write_for(&w, 0);
	CU_ASSERT(is_owner(&w, "10.2.0.1", "x/z") && has(&w, "10.2.0.1", B, B));
	CU_ASSERT(problems(&w).refused == 1);
	CU_ASSERT(is_pod(problems(&w).refused_owner, "x/a"));
	addresses_unclaim(w.addresses, &z);
	write_for(&w, 0);
	CU_ASSERT(is_owner(&w, "10.2.0.1", "x/a") && has(&w, "10.2.0.1", A, A));
	CU_ASSERT(link_of(&w, "10.2.0.1") == 0);
	end(&w);
}

static void who_claims_nothing_for_now_keeps_nobody_away(void)
{
	struct address_claim a = claim_of("x/a", 0, 0), b = claim_of("x/b", B, 0);
	struct world w;

	begin(&w);
	claim(&w, &a, "10.2.0.1");
	claim(&w, &b, "10.2.0.1");
	write_for(&w, 0);
	CU_ASSERT(is_owner(&w, "10.2.0.1", "x/b") && has(&w, "10.2.0.1", B, B));
	CU_ASSERT(problems(&w).refused == 0);
	change(&w, &a, A);
	write_for(&w, 0);
	CU_ASSERT(is_owner(&w, "10.2.0.1", "x/a"));
	end(&w);
}

static void fix(struct world *w, const char *text, uint32_t flags)
{
	const struct address_fix fix = {"node n", IDENTITY_REMOTE_NODE, flags, 0};
	struct prefix prefix;

	CU_ASSERT_FATAL(prefix_parse(text, &prefix) == 0);
	addresses_fix_begin(w->addresses);
	CU_ASSERT(addresses_fix(w->addresses, &prefix, &fix) == 0);
	addresses_fix_end(w->addresses);
}

static void a_pod_elsewhere_gets_no_nodes_address_and_none_of_this_node(void)
{
	struct address_claim a = claim_of("x/a", A, 0), b = claim_of("x/b", B, 0);
	struct world w;

	begin(&w);
	fix(&w, "192.0.2.9/32", ADDRESS_NODE);
	claim(&w, &a, "192.0.2.9");
	claim(&w, &b, "10.1.0.9");
	write_for(&w, 0);
	CU_ASSERT(has(&w, "192.0.2.9", IDENTITY_REMOTE_NODE, IDENTITY_REMOTE_NODE));
	CU_ASSERT(is_gone(&w, "10.1.0.9") && is_owner(&w, "10.1.0.9", NULL));
	CU_ASSERT(problems(&w).refused == 1);
	CU_ASSERT(is_pod(problems(&w).refused_owner, "x/a"));
	end(&w);
}

static void a_nodes_address_goes_when_nobody_names_it_any_more(void)
{
	struct world w;

	begin(&w);
	fix(&w, "192.0.2.9/32", ADDRESS_NODE);
	write_for(&w, 0);
	fix(&w, "192.0.2.9/32", ADDRESS_NODE);
	CU_ASSERT(!write_for(&w, 0) && w.touched == 0);
	CU_ASSERT(entry_of(&w, "192.0.2.9").flags == ADDRESS_NODE);
	fix(&w, "192.0.2.9/32", ADDRESS_NODE | ADDRESS_LOCAL);
	CU_ASSERT(!write_for(&w, 0) && w.touched == 1);
	CU_ASSERT(entry_of(&w, "192.0.2.9").flags == (ADDRESS_NODE | ADDRESS_LOCAL));
	addresses_fix_begin(w.addresses);
	addresses_fix_end(w.addresses);
	write_for(&w, 0);
	CU_ASSERT(is_gone(&w, "192.0.2.9") && w.touched == 1);
	end(&w);
}

/* ---------------------------------------------------------------- room */

static size_t count_present(struct world *w, const char *format, int count)
{
	size_t present = 0;

	for (int i = 0; i < count; i++) {
		char text[32];

		snprintf(text, sizeof(text), format, i);
		present += !is_gone(w, text);
	}
	return present;
}

static void what_finds_no_room_gets_the_first_that_comes(void)
{
	struct address_claim claims[ROOM + 2];
	struct world w;

	begin(&w);
	for (int i = 0; i < ROOM + 2; i++) {
		char text[32];

		snprintf(text, sizeof(text), "10.2.0.%d", i);
		claims[i] = claim_of("x/a", A, 0);
		claim(&w, &claims[i], text);
	}
	write_for(&w, 0);
	CU_ASSERT(count_present(&w, "10.2.0.%d", ROOM + 2) == ROOM);
	CU_ASSERT(addresses_without_room(w.addresses) == 2 && problems(&w).without_room == 2);
	/* One goes in the place of each that leaves, in the same write. */
	for (int i = 0; i < ROOM + 2; i++) {
		char text[32];

		snprintf(text, sizeof(text), "10.2.0.%d", i);
		if (is_gone(&w, text))
			continue;
		addresses_unclaim(w.addresses, &claims[i]);
		write_for(&w, 0);
		CU_ASSERT(is_gone(&w, text));
		if (addresses_without_room(w.addresses) == 0)
			break;
		CU_ASSERT(addresses_without_room(w.addresses) == 1);
		CU_ASSERT(count_present(&w, "10.2.0.%d", ROOM + 2) == ROOM);
	}
	CU_ASSERT(count_present(&w, "10.2.0.%d", ROOM + 2) == ROOM);
	CU_ASSERT(problems(&w).without_room == 0);
	end(&w);
}

/* ---------------------------------------------------------------- what is taken back */

/* No element of the map has so long a key: the write fails there, and what it comes to first
 * stands. */
static void name_what_cannot_be_written(struct world *w)
{
	const struct prefix prefix = {.addr = addr("192.0.2.9"), .length = 129};
	const struct address_fix fix = {"node n", IDENTITY_REMOTE_NODE, ADDRESS_NODE, 0};

	addresses_fix_begin(w->addresses);
	CU_ASSERT(addresses_fix(w->addresses, &prefix, &fix) == 0);
	addresses_fix_end(w->addresses);
}

static void what_a_failed_pass_wrote_is_taken_back_alone(void)
{
	struct address_claim a = claim_of("x/a", A, 7), b = claim_of("x/b", B, 8);
	bool switched = false;
	struct world w;

	begin(&w);
	claim(&w, &a, "10.1.0.1");
	write_for(&w, 0);
	name_what_cannot_be_written(&w);
	claim(&w, &b, "10.1.0.2");
	CU_ASSERT(addresses_write(w.addresses, 0, &switched) < 0);
	CU_ASSERT(link_of(&w, "10.1.0.2") == 8);
	addresses_undo(w.addresses);
	CU_ASSERT(has(&w, "10.1.0.1", A, A) && link_of(&w, "10.1.0.1") == 7);
	CU_ASSERT(is_gone(&w, "10.1.0.2") && link_of(&w, "10.1.0.2") == 0);
	/* The next run writes it again. */
	addresses_fix_begin(w.addresses);
	addresses_fix_end(w.addresses);
	write_for(&w, 0);
	CU_ASSERT(has(&w, "10.1.0.2", B, B) && link_of(&w, "10.1.0.2") == 8);
	/* What is in force is not taken back. */
	addresses_undo(w.addresses);
	CU_ASSERT(has(&w, "10.1.0.2", B, B) && link_of(&w, "10.1.0.2") == 8);
	end(&w);
}

static void the_address_of_a_pod_that_goes_is_free_at_once(void)
{
	struct address_claim a = claim_of("x/a", A, 7), b = claim_of("x/b", B, 0);
	struct polder_addr address = addr("10.2.0.1");
	struct world w;

	begin(&w);
	claim(&w, &a, "10.2.0.1");
	claim(&w, &b, "10.2.0.1");
	write_for(&w, 0);
	addresses_unclaim(w.addresses, &a);
	addresses_remove(w.addresses, &address);
	CU_ASSERT(is_gone(&w, "10.2.0.1") && link_of(&w, "10.2.0.1") == 0);
	CU_ASSERT(!write_for(&w, 0));
	CU_ASSERT(has(&w, "10.2.0.1", B, B));
	end(&w);
}

/* A claim that stands: only the map has lost the address. */
static void an_address_that_was_removed_comes_back_if_it_is_claimed(void)
{
	struct address_claim a = claim_of("x/a", A, 0);
	struct polder_addr address = addr("10.2.0.1");
	struct world w;

	begin(&w);
	claim(&w, &a, "10.2.0.1");
	write_for(&w, 0);
	addresses_remove(w.addresses, &address);
	CU_ASSERT(is_gone(&w, "10.2.0.1"));
	write_for(&w, 0);
	CU_ASSERT(has(&w, "10.2.0.1", A, A));
	end(&w);
}

static void what_a_former_agent_left_goes_with_the_first_write(void)
{
	struct address_claim a = claim_of("x/a", A, 7), b = claim_of("x/b", B, 8), again = b;
	struct world w;

	begin(&w);
	claim(&w, &a, "10.1.0.1");
	claim(&w, &b, "10.1.0.2");
	write_for(&w, 0);
	close_addresses(&w);
	/* It ended between an address and its element. */
	CU_ASSERT(maps_delete(w.maps, MAP_ADDRESSES,
			      &(struct address_key){.prefixlen = 128, .addr = addr("10.1.0.1")}) ==
		  0);
	open_addresses(&w);
	claim(&w, &again, "10.1.0.2");
	CU_ASSERT(!write_for(&w, 0));
	CU_ASSERT(link_of(&w, "10.1.0.1") == 0);
	CU_ASSERT(has(&w, "10.1.0.2", B, B) && link_of(&w, "10.1.0.2") == 8);
	close_addresses(&w);
	open_addresses(&w);
	write_for(&w, 0);
	CU_ASSERT(is_gone(&w, "10.1.0.2") && link_of(&w, "10.1.0.2") == 0);
	end(&w);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(an_address_that_comes_or_goes_does_so_in_both_slots),
		UNIT_TEST(an_identity_that_changes_waits_for_the_switch),
		UNIT_TEST(an_address_that_moves_to_another_link_does_so_at_once),
		UNIT_TEST(pods_elsewhere_get_an_address_in_the_order_of_their_names),
		UNIT_TEST(a_pod_of_this_node_comes_before_those_elsewhere),
		UNIT_TEST(who_claims_nothing_for_now_keeps_nobody_away),
		UNIT_TEST(a_pod_elsewhere_gets_no_nodes_address_and_none_of_this_node),
		UNIT_TEST(a_nodes_address_goes_when_nobody_names_it_any_more),
		UNIT_TEST(what_finds_no_room_gets_the_first_that_comes),
		UNIT_TEST(what_a_failed_pass_wrote_is_taken_back_alone),
		UNIT_TEST(the_address_of_a_pod_that_goes_is_free_at_once),
		UNIT_TEST(an_address_that_was_removed_comes_back_if_it_is_claimed),
		UNIT_TEST(what_a_former_agent_left_goes_with_the_first_write),
	};

	return UNIT_RUN("addresses", tests);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* How an endpoint is chosen: which entries name a table, what stands in it, and what is told where
 * there can be none. Needs root. */
#include "tests/unit/agent/services/service_world.h"

#include <arpa/inet.h>
#include <errno.h>

#include "agent/common/maglev.h"
#include "agent/services/service_tables.h"
#include "agent/services/service_weights.h"

#define ROOM  256 /* 19 tables of 13 cells */
#define CELLS 13

#define ANNOTATED(text)	       ",'annotations':{" text "}"
#define MAGLEV		       ANNOTATED("'polder.dev/balancing':'maglev'")
#define SERVED(name, ip, meta) SERVICE(name, meta, "'clusterIP':'" ip "'", "")
#define POD(addr, pod)	       ENDPOINT(addr, ",'targetRef':{'kind':'Pod','name':'" pod "'}")
#define THREE		       ENDPOINT("10.1.0.5", "") "," ENDPOINT("10.2.0.1", "") "," ENDPOINT("10.2.0.2", "")

static void put(struct world *w, const char *service, const char *slice)
{
	char text[8192];

	snprintf(text, sizeof(text), "[%s,%s]", service, slice);
	world_put(w, "x", text);
}

/* How many cells of the table name each place; fails where one names none of `count`. */
static void count_cells(struct world *w, uint32_t first, uint32_t size, uint32_t count,
			uint32_t *ret)
{
	const struct service_cells *cells;
	uint16_t place;

	memset(ret, 0, count * sizeof(*ret));
	for (uint32_t i = 0; i < size; i++) {
		cells = maps_element(w->maps, MAP_SERVICE_TABLES, first + i / SERVICE_CELLS);
		CU_ASSERT_FATAL(cells != NULL);
		place = cells->places[i % SERVICE_CELLS];
		CU_ASSERT_FATAL(place < count);
		ret[place]++;
	}
}

static void a_service_has_a_table_where_it_asks_for_one(void)
{
	struct service_entry e;
	uint32_t counts[3];
	struct world w;

	world_begin(&w, ROOM);
	put(&w, SERVED("a", "10.96.0.1", ""), SLICE("a", THREE));
	CU_ASSERT(entry_of(&w, "10.96.0.1", 80).table_size == 0);
	put(&w, SERVED("a", "10.96.0.1", MAGLEV), SLICE("a", THREE));
	e = entry_of(&w, "10.96.0.1", 80);
	CU_ASSERT(e.table_size == CELLS && e.backend_count == 3);
	count_cells(&w, e.table_first, e.table_size, 3, counts);
	CU_ASSERT(counts[0] + counts[1] + counts[2] == CELLS && counts[0] >= 4 && counts[1] >= 4);
	CU_ASSERT(e.local_count == 1 && e.local_table_size == 0); /* one endpoint needs none */
	put(&w, SERVED("a", "10.96.0.1", ""), SLICE("a", THREE));
	CU_ASSERT(entry_of(&w, "10.96.0.1", 80).table_size == 0);
	CU_ASSERT(problem_count(&w) == 0);
	world_end(&w);
}

static void the_configuration_says_what_holds_without_annotation(void)
{
	struct world w;

	world_begin(&w, ROOM);
	w.config.balancing = BALANCING_MAGLEV;
	put(&w, SERVED("a", "10.96.0.1", ""), SLICE("a", THREE));
	CU_ASSERT(entry_of(&w, "10.96.0.1", 80).table_size == CELLS);
	put(&w, SERVED("a", "10.96.0.1", ANNOTATED("'polder.dev/balancing':'random'")),
	    SLICE("a", THREE));
	CU_ASSERT(entry_of(&w, "10.96.0.1", 80).table_size == 0);
	world_end(&w);
}

static void an_unknown_word_is_told_and_the_configuration_holds(void)
{
	struct world w;

	world_begin(&w, ROOM);
	put(&w, SERVED("a", "10.96.0.1", ANNOTATED("'polder.dev/balancing':'fair'")),
	    SLICE("a", THREE));
	CU_ASSERT(
		is_told(&w, "a", "\"fair\", which is not known: random or maglev; random is used"));
	CU_ASSERT(entry_of(&w, "10.96.0.1", 80).backend_count == 3);
	world_end(&w);
}

/* What is handed on untranslated has to be chosen the same way where it comes to. */
static void dsr_always_has_a_table(void)
{
	struct service_entry e;
	struct world w;

	world_begin(&w, ROOM);
	put(&w,
	    SERVICE("a", ANNOTATED("'polder.dev/forwarding':'dsr','polder.dev/balancing':'random'"),
		    "'clusterIP':'10.96.0.1','type':'NodePort'", ""),
	    SLICE("a", THREE));
	e = entry_of(&w, "any", 30080);
	CU_ASSERT(e.flags & SERVICE_DSR && e.table_size == CELLS);
	world_end(&w);
}

/* The table of what stays here names places in this node's own part of the row. */
static void both_sets_have_tables_of_their_own(void)
{
	struct service_entry e;
	uint32_t counts[4];
	struct world w;

	world_begin(&w, ROOM);
	put(&w,
	    SERVICE("a", MAGLEV,
		    "'clusterIP':'10.96.0.1','type':'NodePort','externalTrafficPolicy':'Local'",
		    ""),
	    SLICE("a", THREE "," ENDPOINT("10.1.0.6", "")));
	e = entry_of(&w, "any", 30080);
	CU_ASSERT(e.table_size == CELLS && e.local_table_size == CELLS);
	CU_ASSERT(e.table_first != e.local_table_first && e.local_count == 2);
	count_cells(&w, e.local_table_first, CELLS, 2, counts);
	count_cells(&w, e.table_first, CELLS, 4, counts);
	world_end(&w);
}

static void services_with_equal_endpoints_share_a_table(void)
{
	struct service_entry a, b;
	struct world w;

	world_begin(&w, ROOM);
	world_put(&w, "a", "[" SERVED("a", "10.96.0.1", MAGLEV) "," SLICE("a", THREE) "]");
	world_put(&w, "b", "[" SERVED("b", "10.96.0.2", MAGLEV) "," SLICE("b", THREE) "]");
	a = entry_of(&w, "10.96.0.1", 80);
	b = entry_of(&w, "10.96.0.2", 80);
	CU_ASSERT(a.table_size && a.table_first == b.table_first);
	CU_ASSERT(services_cells_used(w.services) == SERVICE_CELLS);
	world_put(&w, "a", "");
	services_prune_mark(w.services);
	services_prune(w.services);
	CU_ASSERT(services_cells_used(w.services) == SERVICE_CELLS);
	world_put(&w, "b", "");
	CU_ASSERT(services_cells_used(w.services) ==
		  SERVICE_CELLS); /* programs may be reading it */
	services_prune_mark(w.services);
	services_prune(w.services);
	CU_ASSERT(services_cells_used(w.services) == 0);
	world_end(&w);
}

/* Row and table change together: the entry names new ones of both, and the old ones stand. */
static void an_endpoint_that_goes_leaves_the_old_table_until_programs_have_ended(void)
{
	struct service_entry before, after;
	uint32_t counts[3];
	struct world w;

	world_begin(&w, ROOM);
	put(&w, SERVED("a", "10.96.0.1", MAGLEV), SLICE("a", THREE));
	before = entry_of(&w, "10.96.0.1", 80);
	put(&w, SERVED("a", "10.96.0.1", MAGLEV),
	    SLICE("a", ENDPOINT("10.1.0.5", "") "," ENDPOINT("10.2.0.2", "")));
	after = entry_of(&w, "10.96.0.1", 80);
	CU_ASSERT(after.backend_count == 2 && after.table_first != before.table_first);
	CU_ASSERT(after.backend_first != before.backend_first);
	count_cells(&w, after.table_first, CELLS, 2, counts);
	count_cells(&w, before.table_first, CELLS, 3, counts);
	CU_ASSERT(counts[0] && counts[1] && counts[2]);
	CU_ASSERT(strcmp(row_text(&w, before.backend_first, 3), "10.1.0.5 10.2.0.1 10.2.0.2") == 0);
	world_end(&w);
}

static void a_restart_keeps_the_table_that_is_named(void)
{
	struct service_entry before, after;
	struct world w;

	world_begin(&w, ROOM);
	put(&w, SERVED("a", "10.96.0.1", MAGLEV), SLICE("a", THREE));
	put(&w, SERVED("a", "10.96.0.1", MAGLEV),
	    SLICE("a", ENDPOINT("10.1.0.5", "") "," ENDPOINT("10.2.0.2", "")));
	before = entry_of(&w, "10.96.0.1", 80);
	services_close(w.services);
	services_start(&w);
	CU_ASSERT(services_cells_used(w.services) == SERVICE_CELLS);
	put(&w, SERVED("a", "10.96.0.1", MAGLEV),
	    SLICE("a", ENDPOINT("10.2.0.2", "") "," ENDPOINT("10.1.0.5", "")));
	after = entry_of(&w, "10.96.0.1", 80);
	CU_ASSERT(memcmp(&before, &after, sizeof(before)) == 0);
	CU_ASSERT(services_prune_unknown(w.services) == 0);
	services_prune_mark(w.services);
	services_prune(w.services);
	CU_ASSERT(services_cells_used(w.services) == SERVICE_CELLS);
	world_end(&w);
}

static void an_entry_that_names_cells_beyond_the_map_loses_its_table(void)
{
	struct service_key key = key_of("10.96.0.1", 80);
	struct service_entry e;
	struct world w;

	world_begin(&w, ROOM);
	put(&w, SERVED("a", "10.96.0.1", MAGLEV), SLICE("a", THREE));
	e = entry_of(&w, "10.96.0.1", 80);
	e.table_first = ROOM / SERVICE_CELLS;
	CU_ASSERT(maps_put(w.maps, MAP_SERVICES, &key, &e) == 0);
	services_close(w.services);
	services_start(&w);
	e = entry_of(&w, "10.96.0.1", 80);
	CU_ASSERT(e.table_size == 0 && e.backend_count == 3);
	put(&w, SERVED("a", "10.96.0.1", MAGLEV), SLICE("a", THREE "," ENDPOINT("10.2.0.3", "")));
	CU_ASSERT(entry_of(&w, "10.96.0.1", 80).table_size == CELLS);
	world_end(&w);
}

/* ---------------------------------------------------------------- no room */

static void without_room_the_choice_is_random_and_the_numbers_are_told(void)
{
	struct service_entry e;
	char service[512], name[16];
	struct world w;

	world_begin(&w, 128);
	for (int i = 0; i < 5; i++) {
		snprintf(name, sizeof(name), "s%d", i);
		snprintf(
			service, sizeof(service),
			"[{'apiVersion':'v1','kind':'Service','metadata':{'name':'%s','annotations'"
			":{'polder.dev/balancing':'maglev'}},'spec':{'clusterIP':'10.96.0.%d',"
			"'ports':[{'port':80}]}},{'apiVersion':'discovery.k8s.io/v1','kind':"
			"'EndpointSlice','metadata':{'name':'%s','labels':{'kubernetes.io/"
			"service-name':'%s'}},'addressType':'IPv4','ports':[{'port':8080}],"
			"'endpoints':[{'addresses':['10.2.%d.1']},{'addresses':['10.2.%d.2']}]}]",
			name, i + 1, name, name, i, i);
		world_put(&w, name, service);
	}
	e = entry_of(&w, "10.96.0.5", 80);
	CU_ASSERT(e.table_size == 0 && e.backend_count == 2);
	CU_ASSERT(entry_of(&w, "10.96.0.4", 80).table_size == CELLS);
	CU_ASSERT(is_told(&w, "s4",
			  "map service_tables is full: 128 cells, 128 used, 0 free in a row, 32 "
			  "needed: endpoints are chosen at random; raise --max-service-cells"));
	/* Room comes when another one goes, and the programs have ended. */
	world_put(&w, "s0", "");
	services_prune_mark(w.services);
	services_prune(w.services);
	CU_ASSERT(services_apply(w.services) == 0);
	CU_ASSERT(entry_of(&w, "10.96.0.5", 80).table_size == CELLS && problem_count(&w) == 0);
	world_end(&w);
}

static void more_endpoints_than_cells_are_told(void)
{
	char slice[4096] = "", text[8192];
	struct world w;
	size_t at = 0;

	world_begin(&w, ROOM);
	for (int i = 0; i < CELLS + 1; i++)
		at += snprintf(slice + at, sizeof(slice) - at, "%s{'addresses':['10.2.0.%d']}",
			       i ? "," : "", i + 1);
	snprintf(slice + at, sizeof(slice) - at, "]}");
	snprintf(
		text, sizeof(text),
		"[" SERVED(
			"a", "10.96.0.1",
			MAGLEV) ",{'apiVersion':'discovery.k8s.io/"
				"v1','kind':'EndpointSlice','metadata':{'name':'a','labels':{"
				"'kubernetes.io/service-name':'a'}},'addressType':'IPv4','ports':[{"
				"'port':8080}],'endpoints':[%s]",
		slice);
	world_put(&w, "x", text);
	CU_ASSERT(entry_of(&w, "10.96.0.1", 80).backend_count == CELLS + 1);
	CU_ASSERT(entry_of(&w, "10.96.0.1", 80).table_size == 0);
	CU_ASSERT(is_told(&w, "a", "14 endpoints are more than the 13 cells of a Maglev table"));
	world_end(&w);
}

/* ---------------------------------------------------------------- weights */

static void weights_make_a_table_of_a_random_choice(void)
{
	struct service_entry e;
	uint32_t counts[3];
	struct world w;

	world_begin(&w, ROOM);
	put(&w, SERVED("a", "10.96.0.1", ANNOTATED("'polder.dev/weights':'web-*=6, 10.2.0.2=0'")),
	    SLICE("a", POD("10.2.0.1", "web-1") "," POD("10.2.0.2", "web-2") "," POD("10.2.0.3",
										     "other")));
	e = entry_of(&w, "10.96.0.1", 80);
	CU_ASSERT(e.table_size == CELLS && e.backend_count == 3);
	count_cells(&w, e.table_first, CELLS, 3, counts);
	/* The first rule that fits counts: web-2 has 6. */
	CU_ASSERT(counts[0] == 6 && counts[1] == 6 && counts[2] == 1);
	put(&w, SERVED("a", "10.96.0.1", ANNOTATED("'polder.dev/weights':'10.2.0.2=0,web-1=2'")),
	    SLICE("a", POD("10.2.0.1", "web-1") "," POD("10.2.0.2", "web-2") "," POD("10.2.0.3",
										     "other")));
	e = entry_of(&w, "10.96.0.1", 80);
	count_cells(&w, e.table_first, CELLS, 3, counts);
	CU_ASSERT(counts[0] == 9 && counts[1] == 0 && counts[2] == 4);
	CU_ASSERT(problem_count(&w) == 0);
	world_end(&w);
}

static void weights_that_are_all_the_same_are_none(void)
{
	struct world w;

	world_begin(&w, ROOM);
	put(&w, SERVED("a", "10.96.0.1", ANNOTATED("'polder.dev/weights':'*=7'")),
	    SLICE("a", POD("10.2.0.1", "web-1") "," POD("10.2.0.2", "web-2")));
	CU_ASSERT(entry_of(&w, "10.96.0.1", 80).table_size == 0);
	put(&w, SERVED("a", "10.96.0.1", ANNOTATED("'polder.dev/weights':'*=0'")),
	    SLICE("a", POD("10.2.0.1", "web-1") "," POD("10.2.0.2", "web-2")));
	CU_ASSERT(entry_of(&w, "10.96.0.1", 80).table_size == 0);
	CU_ASSERT(entry_of(&w, "10.96.0.1", 80).backend_count == 2 && problem_count(&w) == 0);
	world_end(&w);
}

static void weights_that_make_no_sense_are_told_and_none_counts(void)
{
	struct world w;

	world_begin(&w, ROOM);
	put(&w, SERVED("a", "10.96.0.1", ANNOTATED("'polder.dev/weights':'web-1=5,web-2=257'")),
	    SLICE("a", POD("10.2.0.1", "web-1") "," POD("10.2.0.2", "web-2")));
	CU_ASSERT(is_told(&w, "a",
			  "annotation polder.dev/weights: the weight of \"web-2\" is \"257\": a "
			  "whole number from 0 to 256 is required; no weight counts"));
	CU_ASSERT(entry_of(&w, "10.96.0.1", 80).table_size == 0);
	world_end(&w);
}

static bool refuses(const char *text, const char *words)
{
	struct service_weights weights = {};
	char reason[200] = "";
	int r = weights_parse(text, &weights, reason, sizeof(reason));

	return r == -EINVAL && strstr(reason, words) && !weights.rules;
}

static int weight(const char *text, const char *addr, const char *pod)
{
	struct service_weights weights = {};
	struct polder_addr at = addr_of(addr);
	char reason[200];
	int found;

	CU_ASSERT_FATAL(weights_parse(text, &weights, reason, sizeof(reason)) == 0);
	found = weights_find(&weights, &at, pod);
	weights_clear(&weights);
	return found;
}

static void reads_weights(void)
{
	CU_ASSERT(weight("10.0.0.1=3", "10.0.0.1", NULL) == 3);
	CU_ASSERT(weight("10.0.0.1=3", "10.0.0.2", "10.0.0.1") == WEIGHT_NONE);
	CU_ASSERT(weight(" fd00::1 = 256 ,", "fd00::1", "x") == 256);
	CU_ASSERT(weight("web=1,web-1=2", "10.0.0.1", "web-1") == 2);
	CU_ASSERT(weight("web-*=0", "10.0.0.1", "web-") == 0);
	CU_ASSERT(weight("web-*=0", "10.0.0.1", "web") == WEIGHT_NONE);
	CU_ASSERT(weight("*=9", "10.0.0.1", "web") == 9);
	CU_ASSERT(weight("*=9", "10.0.0.1", NULL) == WEIGHT_NONE);
	CU_ASSERT(weight("", "10.0.0.1", "web") == WEIGHT_NONE);
}

static void refuses_weights_that_make_no_sense(void)
{
	CU_ASSERT(refuses("web", "\"web\" has no weight"));
	CU_ASSERT(refuses("web=", "from 0 to 256"));
	CU_ASSERT(refuses("web=-1", "from 0 to 256"));
	CU_ASSERT(refuses("web=1.5", "from 0 to 256"));
	CU_ASSERT(refuses("web=9999999999999", "from 0 to 256"));
	CU_ASSERT(refuses("=4", "neither an address nor"));
	CU_ASSERT(refuses("w*b=4", "neither an address nor"));
	CU_ASSERT(refuses("a=1,b=2,**=4", "neither an address nor"));
}

static const struct unit_test tests[] = {
	UNIT_TEST(a_service_has_a_table_where_it_asks_for_one),
	UNIT_TEST(the_configuration_says_what_holds_without_annotation),
	UNIT_TEST(an_unknown_word_is_told_and_the_configuration_holds),
	UNIT_TEST(dsr_always_has_a_table),
	UNIT_TEST(both_sets_have_tables_of_their_own),
	UNIT_TEST(services_with_equal_endpoints_share_a_table),
	UNIT_TEST(an_endpoint_that_goes_leaves_the_old_table_until_programs_have_ended),
	UNIT_TEST(a_restart_keeps_the_table_that_is_named),
	UNIT_TEST(an_entry_that_names_cells_beyond_the_map_loses_its_table),
	UNIT_TEST(without_room_the_choice_is_random_and_the_numbers_are_told),
	UNIT_TEST(more_endpoints_than_cells_are_told),
	UNIT_TEST(weights_make_a_table_of_a_random_choice),
	UNIT_TEST(weights_that_are_all_the_same_are_none),
	UNIT_TEST(weights_that_make_no_sense_are_told_and_none_counts),
	UNIT_TEST(reads_weights),
	UNIT_TEST(refuses_weights_that_make_no_sense),
};

int main(void)
{
	return UNIT_RUN("balancing of Services", tests);
}

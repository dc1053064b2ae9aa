/* SPDX-License-Identifier: Apache-2.0 */
/* Services as large as they may be, and what becomes of those that find no room. Needs root. */
#include "agent/services/services.h"

#include <stdarg.h>

#include "tests/unit/agent/services/service_world.h"

/* Endpoints of one Service that has one more than ports have numbers. */
#define MANY 65536u
#define ROOM (2 * MANY)

/* Grows with what is printed to it. */
struct text {
	char *at;
	size_t used, size;
};

static void print(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void print(struct text *text, const char *format, ...)
{
	va_list arguments;

	if (text->size - text->used < 512) {
		text->size = 2 * text->size + 4096;
		text->at = realloc(text->at, text->size);
	}
	va_start(arguments, format);
	text->used += (size_t)vsnprintf(text->at + text->used, text->size - text->used, format,
					arguments);
	va_end(arguments);
}

static void put_text(struct world *w, const char *origin, struct text *text)
{
	world_put(w, origin, text->at);
	free(text->at);
	*text = (struct text){};
}

/* Slices of at most 8,192 endpoints: 10.2.0.0 and those behind it. */
static void put_endpoints(struct world *w, uint32_t count)
{
	struct text text = {};

	print(&text, "[");
	for (uint32_t i = 0; i < count; i++) {
		if (i % 8192 == 0)
			print(&text,
			      "%s{'apiVersion':'discovery.k8s.io/v1','kind':'EndpointSlice',"
			      "'metadata':{'name':'s%u','labels':{'kubernetes.io/service-name':'s'}"
			      "},'addressType':'IPv4','ports':[{'port':8080}],'endpoints':[",
			      i ? "]}," : "", i);
		print(&text, "%s{'addresses':['10.%u.%u.%u'],'nodeName':'there'}",
		      i % 8192 ? "," : "", 2 + (i >> 16), i >> 8 & 255, i & 255);
	}
	print(&text, "]}]");
	put_text(w, "e", &text);
}

static void a_service_may_have_65536_endpoints(void)
{
	struct world w;

	world_begin(&w, ROOM);
	world_put(&w, "s", SERVICE("s", "", "'type':'NodePort','clusterIP':'10.96.0.1'", ""));
	put_endpoints(&w, MANY);
	CU_ASSERT_EQUAL(problem_count(&w), 0);
	CU_ASSERT_EQUAL(entry_of(&w, "10.96.0.1", 80).backend_count, MANY);
	CU_ASSERT_EQUAL(held(&w, MAP_BACKEND_STATES), MANY);
	/* Its row is written beside the one of before: there is no room for a longer one. */
	put_endpoints(&w, MANY + 1);
	CU_ASSERT(is_told(&w, "s",
			  "map backends is full: 131072 entries, 65536 used, 65536 free in a row, "
			  "65537 needed; raise --max-backends"));
	CU_ASSERT_EQUAL(entry_of(&w, "10.96.0.1", 80).backend_count, MANY);
	put_endpoints(&w, MANY - 1);
	CU_ASSERT_EQUAL(problem_count(&w), 0);
	CU_ASSERT_EQUAL(entry_of(&w, "any", 30080).backend_count, MANY - 1);
	world_end(&w);
}

static void put_ports(struct world *w, uint32_t count)
{
	struct text text = {};

	print(&text, "{'apiVersion':'v1','kind':'Service','metadata':{'name':'s'},'spec':{"
		     "'clusterIP':'10.96.0.1','ports':[");
	for (uint32_t i = 0; i < count; i++)
		print(&text, "%s{'name':'p%u','port':%u,'targetPort':8080}", i ? "," : "", i,
		      i ? 65536 - i : 1);
	print(&text, "]}}");
	put_text(w, "s", &text);
}

static void a_service_may_have_a_thousand_ports_from_1_to_65535(void)
{
	uint64_t before;
	struct world w;

	world_begin(&w, 4096);
	put_ports(&w, 1000);
	CU_ASSERT_EQUAL(problem_count(&w), 0);
	CU_ASSERT_EQUAL(held(&w, MAP_SERVICES), 1001);
	CU_ASSERT(is_served(&w, "10.96.0.1", 1) && is_served(&w, "10.96.0.1", 65535));
	before = maps_writes(w.maps);
	put_ports(&w, 999);
	CU_ASSERT_EQUAL(maps_writes(w.maps) - before, 1);
	world_end(&w);
}

static void entries_without_room_are_told_and_come_when_there_is_some(void)
{
	struct world w;

	world_begin(&w, 4);
	world_put(&w, "a", SERVICE("a", "", "'clusterIP':'10.96.0.1'", ""));
	world_put(&w, "b", SERVICE("b", "", "'type':'NodePort','clusterIP':'10.96.0.2'", ""));
	CU_ASSERT(is_told(&w, "b",
			  "map services is full: 4 entries, all used; raise "
			  "--max-services"));
	CU_ASSERT_EQUAL(held(&w, MAP_SERVICES), 4);
	world_put(&w, "a", "");
	CU_ASSERT_EQUAL(problem_count(&w), 0);
	CU_ASSERT(is_served(&w, "10.96.0.2", 80) && is_served(&w, "any", 30080) &&
		  is_served(&w, "10.96.0.2", 0));
	world_end(&w);
}

/* A load balancer with so many source ranges. */
static void put_balancer(struct world *w, int n, uint32_t ranges)
{
	struct text text = {};
	char origin[16];

	snprintf(origin, sizeof(origin), "s%d", n);
	print(&text,
	      "{'apiVersion':'v1','kind':'Service','metadata':{'name':'s%d'},'spec':{'type':"
	      "'LoadBalancer','clusterIP':'10.96.0.%d','ports':[{'port':80}],"
	      "'loadBalancerSourceRanges':[",
	      n, n);
	for (uint32_t i = 0; i < ranges; i++)
		print(&text, "%s'10.%u.%u.0/24'", i ? "," : "", 16 + (i >> 8), i & 255);
	print(&text, "]},'status':{'loadBalancer':{'ingress':[{'ip':'192.0.2.%d'}]}}}", n);
	put_text(w, origin, &text);
}

static void sources_without_room_leave_the_balancers_address_unserved(void)
{
	struct world w;

	world_begin(&w, 256);
	for (int n = 1; n <= 16; n++)
		put_balancer(&w, n, 4096);
	CU_ASSERT_EQUAL(problem_count(&w), 0);
	CU_ASSERT_EQUAL(held(&w, MAP_SERVICE_SOURCES), 65536);
	put_balancer(&w, 17, 2);
	CU_ASSERT(is_told(&w, "s17",
			  "map service_sources is full: 65536 entries, 65536 used: its "
			  "load balancer's addresses are not served"));
	CU_ASSERT(services_take_problem_change(w.services));
	CU_ASSERT_FALSE(services_take_problem_change(w.services));
	CU_ASSERT(is_told_everywhere(&w, "s17",
				     "map service_sources of a node has no room for its source "
				     "ranges",
				     true));
	CU_ASSERT(is_served(&w, "10.96.0.17", 80) && !is_served(&w, "192.0.2.17", 80));
	/* One that was served, and whose new sources find no room, is served no more. */
	put_balancer(&w, 1, 4095);
	put_balancer(&w, 17, 1);
	CU_ASSERT_EQUAL(problem_count(&w), 0);
	CU_ASSERT(services_take_problem_change(w.services));
	CU_ASSERT(is_served(&w, "192.0.2.17", 80));
	put_balancer(&w, 17, 2);
	CU_ASSERT_FALSE(is_served(&w, "192.0.2.17", 80));
	CU_ASSERT(is_served(&w, "192.0.2.17", 0));
	put_balancer(&w, 1, 0);
	CU_ASSERT_EQUAL(problem_count(&w), 0);
	CU_ASSERT(is_served(&w, "192.0.2.17", 80));
	world_end(&w);
}

static bool is_refused_in_range(struct world *w, const char *service, const char *ip)
{
	char words[128];

	snprintf(words, sizeof(words), "%s is an address of another node's pod range", ip);
	return !is_served(w, ip, 80) && is_told(w, service, words) &&
	       is_told_everywhere(w, service, "is an address of a node's pod range", false);
}

/* Whatever the length of the range: which Services a Node concerns is found by its ranges. */
static void an_address_in_another_nodes_pod_range_is_served_when_the_range_has_gone(void)
{
	static const char *const nodes[] = {
		NODE("there", "", "192.168.7.2", "172.30.5.0/24"),
		NODE("there", "", "192.168.7.2", "172.30.5.128/25"),
		NODE("there", "", "192.168.7.2", "172.30.0.0/16"),
		NODE("there", "", "192.168.7.2", "172.16.0.0/12"),
	};
	struct world w;

	world_begin(&w, ROOM);
	world_put(&w, "a", SERVICE("a", "", "'clusterIP':'172.30.5.200'", ""));
	world_put(&w, "b", SERVICE("b", "", "'clusterIP':'10.96.0.2'", ""));
	world_put(&w, "c", SERVICE("c", "", "'clusterIP':'fd00:1::5'", ""));
	for (size_t i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++) {
		world_put(&w, "n", nodes[i]);
		CU_ASSERT(is_refused_in_range(&w, "a", "172.30.5.200"));
		CU_ASSERT(is_served(&w, "10.96.0.2", 80) && is_served(&w, "fd00:1::5", 80));
		world_put(&w, "n", "");
		CU_ASSERT(is_served(&w, "172.30.5.200", 80));
		CU_ASSERT_EQUAL(problem_count(&w), 0);
	}
	world_put(&w, "n", NODE("there", "", "192.168.7.2", "fd00:1::/64"));
	CU_ASSERT(is_refused_in_range(&w, "c", "fd00:1::5"));
	world_put(&w, "n", NODE("there", "", "192.168.7.2", "fd00:2::/64"));
	CU_ASSERT(is_served(&w, "fd00:1::5", 80) && is_served(&w, "172.30.5.200", 80));
	world_end(&w);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(a_service_may_have_65536_endpoints),
		UNIT_TEST(a_service_may_have_a_thousand_ports_from_1_to_65535),
		UNIT_TEST(entries_without_room_are_told_and_come_when_there_is_some),
		UNIT_TEST(sources_without_room_leave_the_balancers_address_unserved),
		UNIT_TEST(an_address_in_another_nodes_pod_range_is_served_when_the_range_has_gone),
	};

	return UNIT_RUN("service limits", tests);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Which addresses a Service does not get, and who gets one that several want. Needs root. */
#include "agent/services/services.h"

#include <arpa/inet.h>

#include "tests/unit/agent/services/service_world.h"

#define ROOM 64

static bool refuses_external(struct world *w, const char *addr, const char *reason)
{
	char text[512];
	bool told;

	snprintf(text, sizeof(text),
		 "{'apiVersion':'v1','kind':'Service','metadata':{'name':'s'},'spec':{'clusterIP':"
		 "'10.96.0.1','externalIPs':['%s'],'ports':[{'port':80}]}}",
		 addr);
	world_put(w, "s", text);
	told = is_told(w, "s", reason);
	CU_ASSERT(is_served(w, "10.96.0.1", 80));
	return told && problem_count(w) == 1 && held(w, MAP_SERVICES) == 2;
}

static void external_addresses_take_over_nothing(void)
{
	struct world w;

	world_begin(&w, ROOM);
	link_add(&w, "192.0.2.77/32");
	world_put(&w, "n",
		  "[" NODE("here", "", "192.168.7.1",
			   "10.1.0.0/24") "," NODE("there", "", "192.168.7.2", "10.2.0.0/24") "]");
	CU_ASSERT(refuses_external(&w, "127.0.0.1", "127.0.0.1 is a loopback address"));
	CU_ASSERT(refuses_external(&w, "0.0.0.0", "unspecified"));
	CU_ASSERT(refuses_external(&w, "169.254.169.254", "a link-local address"));
	CU_ASSERT(refuses_external(&w, "224.0.0.5", "a multicast address"));
	CU_ASSERT(refuses_external(&w, "192.168.7.1", "this node's own address"));
	CU_ASSERT(refuses_external(&w, "10.1.0.9", "this node's pod range"));

	/* A floating address is for who wants it; the node's own ports at it stay the node's. */
	world_put(&w, "s",
		  SERVICE("s", "", "'clusterIP':'10.96.0.1','externalIPs':['192.0.2.77']", ""));
	CU_ASSERT(is_served(&w, "192.0.2.77", 80) && !is_served(&w, "192.0.2.77", 0));
	CU_ASSERT_EQUAL(problem_count(&w), 0);
	w.node.address_count--;
	services_node_changed(w.services);
	CU_ASSERT(services_apply(w.services) == 0);
	CU_ASSERT(is_served(&w, "192.0.2.77", 80) && is_served(&w, "192.0.2.77", 0));
	world_end(&w);
}

static void a_cluster_ip_that_is_the_nodes_or_its_pods_is_refused(void)
{
	struct world w;

	world_begin(&w, ROOM);
	world_put(&w, "s", SERVICE("s", "", "'type':'NodePort','clusterIP':'192.168.7.1'", ""));
	CU_ASSERT(is_told(&w, "s", "spec.clusterIPs: 192.168.7.1 is this node's own address"));
	CU_ASSERT(is_told_everywhere(&w, "s", "192.168.7.1 is an address of node here", true));
	CU_ASSERT(!is_served(&w, "192.168.7.1", 80) && is_served(&w, "any", 30080));
	world_put(&w, "s", SERVICE("s", "", "'clusterIP':'10.1.0.200'", ""));
	CU_ASSERT(is_told(&w, "s", "10.1.0.200 is an address of this node's pod range"));
	world_put(&w, "s", SERVICE("s", "", "'clusterIP':'10.96.0.1'", ""));
	CU_ASSERT_EQUAL(problem_count(&w), 0);
	world_end(&w);
}

static void an_address_that_is_a_cluster_ip_is_no_external_one(void)
{
	struct world w;

	world_begin(&w, ROOM);
	world_put(&w, "a",
		  SERVICE("a", MADE("01"), "'clusterIP':'10.96.0.1','externalIPs':['10.96.0.2']",
			  ""));
	CU_ASSERT(is_served(&w, "10.96.0.2", 80));
	CU_ASSERT_EQUAL(entry_of(&w, "10.96.0.2", 0).flags,
			SERVICE_ADDRESS_ONLY | SERVICE_EXTERNAL);
	/* However old the other one is. */
	world_put(&w, "b", SERVICE("b", MADE("02"), "'clusterIP':'10.96.0.2'", ""));
	CU_ASSERT(is_told(&w, "a", "10.96.0.2 is the ClusterIP of Service default/b: not served"));
	CU_ASSERT_EQUAL(entry_of(&w, "10.96.0.2", 80).flags, 0);
	CU_ASSERT_EQUAL(entry_of(&w, "10.96.0.2", 0).flags, SERVICE_ADDRESS_ONLY);
	CU_ASSERT_EQUAL(problem_count(&w), 1);
	world_put(&w, "b", "");
	CU_ASSERT_EQUAL(entry_of(&w, "10.96.0.2", 80).flags, SERVICE_EXTERNAL);
	CU_ASSERT_EQUAL(entry_of(&w, "10.96.0.2", 0).flags,
			SERVICE_ADDRESS_ONLY | SERVICE_EXTERNAL);
	CU_ASSERT_EQUAL(problem_count(&w), 0);
	world_end(&w);
}

static void of_two_that_want_a_port_the_older_has_it_until_it_goes(void)
{
	uint32_t id;
	struct world w;

	world_begin(&w, ROOM);
	world_put(&w, "e",
		  "[" SLICE("old", ENDPOINT("10.1.0.1", "")) "," SLICE(
			  "new", ENDPOINT("10.1.0.2", "")) "]");
	world_put(&w, "new",
		  SERVICE("new", MADE("09"),
			  "'type':'NodePort','clusterIP':'10.96.0.1','externalIPs':['192.0.2.1']",
			  ""));
	CU_ASSERT_EQUAL(problem_count(&w), 0);
	id = entry_of(&w, "any", 30080).id;
	world_put(&w, "old",
		  SERVICE("old", MADE("01"),
			  "'type':'NodePort','clusterIP':'10.96.0.2','externalIPs':['192.0.2.1']",
			  ""));
	CU_ASSERT_EQUAL(problem_count(&w), 2);
	CU_ASSERT(is_told(&w, "new",
			  "port 30080/TCP of the nodes is Service default/old's, which is older"));
	CU_ASSERT(is_told(&w, "new", "port 80/TCP of 192.0.2.1 is Service default/old's"));
	CU_ASSERT_STRING_EQUAL(cluster_set(&w, "any", 30080), "10.1.0.1");
	CU_ASSERT_STRING_EQUAL(cluster_set(&w, "192.0.2.1", 80), "10.1.0.1");
	CU_ASSERT_STRING_EQUAL(cluster_set(&w, "10.96.0.1", 80), "10.1.0.2");
	CU_ASSERT_EQUAL(entry_of(&w, "10.96.0.1", 80).id, id);
	CU_ASSERT(entry_of(&w, "any", 30080).id != id);
	world_put(&w, "old", "");
	CU_ASSERT_EQUAL(problem_count(&w), 0);
	CU_ASSERT_STRING_EQUAL(cluster_set(&w, "any", 30080), "10.1.0.2");
	CU_ASSERT_EQUAL(entry_of(&w, "192.0.2.1", 80).id, id);
	world_put(&w, "new", "");
	CU_ASSERT_EQUAL(held(&w, MAP_SERVICES), 0);
	world_end(&w);
}

static void two_services_may_share_an_external_address_by_port(void)
{
	struct world w;

	world_begin(&w, ROOM);
	world_put(&w, "a",
		  SERVICE("a", "", "'clusterIP':'10.96.0.1','externalIPs':['192.0.2.1']", ""));
	world_put(&w, "b",
		  "{'apiVersion':'v1','kind':'Service','metadata':{'name':'b'},'spec':{'clusterIP':"
		  "'10.96.0.2','externalIPs':['192.0.2.1'],'ports':[{'port':81}]}}");
	CU_ASSERT_EQUAL(problem_count(&w), 0);
	CU_ASSERT(is_served(&w, "192.0.2.1", 80) && is_served(&w, "192.0.2.1", 81));
	world_put(&w, "a", "");
	CU_ASSERT(!is_served(&w, "192.0.2.1", 80) && is_served(&w, "192.0.2.1", 81));
	CU_ASSERT(is_served(&w, "192.0.2.1", 0));
	world_put(&w, "b", "");
	CU_ASSERT_FALSE(is_served(&w, "192.0.2.1", 0));
	world_end(&w);
}

static const struct unit_test tests[] = {
	UNIT_TEST(external_addresses_take_over_nothing),
	UNIT_TEST(a_cluster_ip_that_is_the_nodes_or_its_pods_is_refused),
	UNIT_TEST(an_address_that_is_a_cluster_ip_is_no_external_one),
	UNIT_TEST(of_two_that_want_a_port_the_older_has_it_until_it_goes),
	UNIT_TEST(two_services_may_share_an_external_address_by_port),
};

int main(void)
{
	return UNIT_RUN("service addresses", tests);
}

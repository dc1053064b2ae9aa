/* SPDX-License-Identifier: Apache-2.0 */
/* Where a Service is served, and by which endpoints. Needs root. */
#include "agent/services/services.h"

#include <arpa/inet.h>

#include "tests/unit/agent/services/service_world.h"

#define ROOM 64

/* ---------------------------------------------------------------- frontends */

static void all_frontends_of_a_port_share_number_and_row(void)
{
	struct service_entry cluster, node, external, balancer;
	struct world w;

	world_begin(&w, ROOM);
	world_put(
		&w, "s",
		"[" SERVICE(
			"s", "",
			"'type':'LoadBalancer','clusterIP':'10.96.0.1','externalIPs':['192.0.2.1']",
			INGRESS("192.0.2.2")) "," SLICE("s",
							ENDPOINT("10.1.0.1", "") "," ENDPOINT(
								"10.2.0.1", "")) "]");
	cluster = entry_of(&w, "10.96.0.1", 80);
	node = entry_of(&w, "any", 30080);
	external = entry_of(&w, "192.0.2.1", 80);
	balancer = entry_of(&w, "192.0.2.2", 80);
	CU_ASSERT_EQUAL(cluster.flags, 0);
	CU_ASSERT_EQUAL(node.flags, SERVICE_EXTERNAL | SERVICE_NODE_PORT);
	CU_ASSERT_EQUAL(external.flags, SERVICE_EXTERNAL);
	CU_ASSERT_EQUAL(balancer.flags, SERVICE_EXTERNAL);
	CU_ASSERT(cluster.id && cluster.id == node.id && cluster.id == external.id &&
		  cluster.id == balancer.id);
	CU_ASSERT(cluster.backend_first == balancer.backend_first &&
		  cluster.backend_count == balancer.backend_count);
	CU_ASSERT_STRING_EQUAL(cluster_set(&w, "any", 30080), "10.1.0.1 10.2.0.1");
	CU_ASSERT_STRING_EQUAL(local_set(&w, "any", 30080), "10.1.0.1");
	CU_ASSERT_EQUAL(services_backends_used(w.services), 2);
	CU_ASSERT_EQUAL(held(&w, MAP_BACKEND_STATES), 2);
	/* The addresses themselves, whatever the port; a ClusterIP is nobody's outside. */
	CU_ASSERT_EQUAL(entry_of(&w, "10.96.0.1", 0).flags, SERVICE_ADDRESS_ONLY);
	CU_ASSERT_EQUAL(entry_of(&w, "192.0.2.1", 0).flags,
			SERVICE_ADDRESS_ONLY | SERVICE_EXTERNAL);
	world_put(&w, "s", "");
	CU_ASSERT_EQUAL(held(&w, MAP_SERVICES), 0);
	CU_ASSERT_EQUAL(held(&w, MAP_BACKEND_STATES), 0);
	world_end(&w);
}

static void node_ports_come_with_the_type_and_go_with_it(void)
{
	struct world w;

	world_begin(&w, ROOM);
	world_put(&w, "s", SERVICE("s", "", "'type':'ClusterIP','clusterIP':'10.96.0.1'", ""));
	CU_ASSERT_FALSE(is_served(&w, "any", 30080));
	world_put(&w, "s", SERVICE("s", "", "'type':'NodePort','clusterIP':'10.96.0.1'", ""));
	CU_ASSERT(is_served(&w, "any", 30080));
	CU_ASSERT_FALSE(is_served(&w, "any6", 30080));
	CU_ASSERT_STRING_EQUAL(w.told, "192.168.7.1 192.168.7.1 ");
	world_put(&w, "s", SERVICE("s", "", "'type':'ClusterIP','clusterIP':'10.96.0.1'", ""));
	CU_ASSERT_FALSE(is_served(&w, "any", 30080));
	CU_ASSERT_STRING_EQUAL(w.told, "192.168.7.1 192.168.7.1 ");
	world_put(
		&w, "s",
		SERVICE("s", "", "'type':'NodePort','clusterIPs':['10.96.0.1','fd00:96::1']", ""));
	CU_ASSERT(is_served(&w, "any", 30080) && is_served(&w, "any6", 30080));
	CU_ASSERT(entry_of(&w, "any", 30080).id != entry_of(&w, "any6", 30080).id);
	world_end(&w);
}

static void families_without_a_cluster_ip_are_those_that_are_asked_for(void)
{
	struct world w;

	world_begin(&w, ROOM);
	world_put(&w, "s", SERVICE("s", "", "'type':'NodePort','ipFamilies':['IPv6']", ""));
	CU_ASSERT(!is_served(&w, "any", 30080) && is_served(&w, "any6", 30080));
	world_put(&w, "s", SERVICE("s", "", "'type':'NodePort'", ""));
	CU_ASSERT(is_served(&w, "any", 30080) && is_served(&w, "any6", 30080));
	world_put(
		&w, "s",
		SERVICE("s", "",
			"'type':'ClusterIP','clusterIP':'10.96.0.1','externalIPs':['2001:db8::1']",
			""));
	CU_ASSERT_FALSE(is_served(&w, "2001:db8::1", 80));
	CU_ASSERT(is_told(&w, "s", "2001:db8::1 is of a family that the Service does not have"));
	world_end(&w);
}

static void traffic_policies_and_forwarding_are_flags(void)
{
	struct world w;

	world_begin(&w, ROOM);
	world_put(
		&w, "s",
		SERVICE("s", ",'annotations':{'polder.dev/forwarding':'dsr'}",
			"'type':'NodePort','clusterIP':'10.96.0.1','externalTrafficPolicy':'Local',"
			"'internalTrafficPolicy':'Local'",
			""));
	CU_ASSERT_EQUAL(entry_of(&w, "10.96.0.1", 80).flags, SERVICE_INTERNAL_LOCAL);
	CU_ASSERT_EQUAL(entry_of(&w, "any", 30080).flags, SERVICE_EXTERNAL |
								  SERVICE_EXTERNAL_LOCAL |
								  SERVICE_DSR | SERVICE_NODE_PORT);
	w.config.forwarding = FORWARDING_DSR;
	world_put(&w, "s",
		  SERVICE("s", ",'annotations':{'polder.dev/forwarding':'fast'}",
			  "'type':'NodePort','clusterIP':'10.96.0.1'", ""));
	CU_ASSERT_EQUAL(entry_of(&w, "any", 30080).flags,
			SERVICE_EXTERNAL | SERVICE_DSR | SERVICE_NODE_PORT);
	CU_ASSERT(is_told(&w, "s", "\"fast\", which is not known: snat or dsr; dsr is used"));
	world_put(&w, "s",
		  SERVICE("s", ",'annotations':{'polder.dev/forwarding':'snat'}",
			  "'type':'NodePort','clusterIP':'10.96.0.1'", ""));
	CU_ASSERT_EQUAL(entry_of(&w, "any", 30080).flags, SERVICE_EXTERNAL | SERVICE_NODE_PORT);
	world_end(&w);
}

static void affinity_is_in_every_entry_and_changes_live(void)
{
	struct service_entry before;
	struct world w;

	world_begin(&w, ROOM);
	world_put(&w, "s",
		  SERVICE("s", "",
			  "'type':'NodePort','clusterIP':'10.96.0.1','sessionAffinity':'ClientIP'",
			  ""));
	before = entry_of(&w, "any", 30080);
	CU_ASSERT_EQUAL(before.affinity_seconds, 10800);
	CU_ASSERT_EQUAL(entry_of(&w, "10.96.0.1", 80).affinity_seconds, 10800);
	world_put(&w, "s", SERVICE("s", "", "'type':'NodePort','clusterIP':'10.96.0.1'", ""));
	CU_ASSERT_EQUAL(entry_of(&w, "any", 30080).affinity_seconds, 0);
	CU_ASSERT_EQUAL(entry_of(&w, "any", 30080).id, before.id);
	world_end(&w);
}

/* Their flows say whether clients are kept. */
static void flows_are_told_when_affinity_comes_or_goes(void)
{
	static const char *const specs[] = {
		"", ",'sessionAffinity':'ClientIP'",
		",'sessionAffinity':'ClientIP','sessionAffinityConfig':{'clientIP':{"
		"'timeoutSeconds':5}}",
		""};
	static const char *const told[] = {"10.1.0.1 10.1.0.2 ", "10.1.0.1 10.1.0.2 ", "",
					   "10.1.0.1 10.1.0.2 "};
	char text[1024];
	struct world w;

	world_begin(&w, ROOM);
	world_put(&w, "e", SLICE("s", ENDPOINT("10.1.0.1", "") "," ENDPOINT("10.1.0.2", "")));
	for (size_t i = 0; i < sizeof(specs) / sizeof(specs[0]); i++) {
		snprintf(text, sizeof(text), SERVICE("s", "", "'clusterIP':'10.96.0.1'%s", ""),
			 specs[i]);
		world_put(&w, "s", text);
		if (i) /* at first the Service itself is new */
			CU_ASSERT_STRING_EQUAL(w.told, told[i]);
	}
	world_end(&w);
}

static void note_client(struct world *w, uint32_t id)
{
	const struct service_affinity_key key = {.client = addr_of("10.1.0.9"), .service_id = id};
	const struct service_affinity value = {.endpoint = addr_of("10.1.0.1")};

	CU_ASSERT(maps_put(w->maps, MAP_SERVICE_AFFINITY, &key, &value) == 0);
}

static void prune(struct world *w)
{
	services_prune_mark(w->services);
	services_prune(w->services);
}

static void clients_of_a_service_that_goes_or_loses_affinity_are_forgotten(void)
{
	struct world w;

	world_begin(&w, ROOM);
	world_put(&w, "s",
		  SERVICE("s", "", "'clusterIP':'10.96.0.1','sessionAffinity':'ClientIP'", ""));
	world_put(&w, "t",
		  SERVICE("t", "", "'clusterIP':'10.96.0.2','sessionAffinity':'ClientIP'", ""));
	note_client(&w, entry_of(&w, "10.96.0.1", 80).id);
	note_client(&w, entry_of(&w, "10.96.0.2", 80).id);
	prune(&w);
	CU_ASSERT_EQUAL(held(&w, MAP_SERVICE_AFFINITY), 2);
	world_put(&w, "s", SERVICE("s", "", "'clusterIP':'10.96.0.1'", ""));
	CU_ASSERT_EQUAL(held(&w, MAP_SERVICE_AFFINITY), 2);
	prune(&w);
	CU_ASSERT_EQUAL(held(&w, MAP_SERVICE_AFFINITY), 1);
	world_put(&w, "t", "");
	prune(&w);
	CU_ASSERT_EQUAL(held(&w, MAP_SERVICE_AFFINITY), 0);
	world_end(&w);
}

static void a_load_balancers_address_that_is_a_proxys_is_not_served(void)
{
	struct world w;

	world_begin(&w, ROOM);
	world_put(&w, "s",
		  SERVICE("s", "", "'type':'LoadBalancer','clusterIP':'10.96.0.1'",
			  "'loadBalancer':{'ingress':[{'ip':'192.0.2.2','ipMode':'Proxy'},"
			  "{'hostname':'a.example'}]}"));
	CU_ASSERT_FALSE(is_served(&w, "192.0.2.2", 80));
	CU_ASSERT_EQUAL(problem_count(&w), 0);
	/* Nor is one that was left over from another type. */
	world_put(&w, "s",
		  SERVICE("s", "", "'type':'NodePort','clusterIP':'10.96.0.1'",
			  INGRESS("192.0.2.2")));
	CU_ASSERT_FALSE(is_served(&w, "192.0.2.2", 80));
	world_end(&w);
}

static void addresses_from_elsewhere_count_as_a_load_balancers(void)
{
	struct world w;

	world_begin(&w, ROOM);
	w.more[0] = addr_of("192.0.2.9");
	w.more_count = 1;
	world_put(&w, "s", SERVICE("s", "", "'type':'LoadBalancer','clusterIP':'10.96.0.1'", ""));
	CU_ASSERT_EQUAL(entry_of(&w, "192.0.2.9", 80).flags, SERVICE_EXTERNAL);
	w.more[0] = addr_of("192.0.2.10");
	services_look_again(w.services, "default", "s");
	CU_ASSERT(services_apply(w.services) == 0);
	CU_ASSERT_FALSE(is_served(&w, "192.0.2.9", 80) || is_served(&w, "192.0.2.9", 0));
	CU_ASSERT(is_served(&w, "192.0.2.10", 80));
	world_end(&w);
}

static void labels_that_name_another_proxy_toggle_live(void)
{
	struct world w;

	world_begin(&w, ROOM);
	for (int i = 0; i < 2; i++) {
		world_put(&w, "s",
			  SERVICE("s", "", "'type':'NodePort','clusterIP':'10.96.0.1'", ""));
		CU_ASSERT(is_served(&w, "10.96.0.1", 80) && is_served(&w, "any", 30080));
		world_put(&w, "s",
			  SERVICE("s", ",'labels':{'service.kubernetes.io/service-proxy-name':'x'}",
				  "'type':'NodePort','clusterIP':'10.96.0.1'", ""));
		CU_ASSERT_EQUAL(held(&w, MAP_SERVICES), 0);
		world_put(&w, "s",
			  SERVICE("s", ",'labels':{'service.kubernetes.io/headless':''}",
				  "'type':'NodePort','clusterIP':'10.96.0.1'", ""));
		CU_ASSERT_EQUAL(held(&w, MAP_SERVICES), 0);
	}
	world_end(&w);
}

/* ---------------------------------------------------------------- source ranges */

static bool allows(struct world *w, uint32_t id, const char *addr)
{
	const struct service_source_key key = {
		.prefixlen = 32 + 128, .service_id = id, .addr = addr_of(addr)};
	uint32_t value;

	return maps_find(w->maps, MAP_SERVICE_SOURCES, &key, &value) == 0;
}

#define BALANCER(ranges)                                                                           \
	SERVICE("s", "",                                                                           \
		"'type':'LoadBalancer','clusterIP':'10.96.0.1','externalIPs':['192.0.2.1']"        \
		"," ranges,                                                                        \
		INGRESS("192.0.2.2"))

static void source_ranges_hold_for_the_load_balancers_addresses(void)
{
	struct world w;
	uint32_t id;

	world_begin(&w, ROOM);
	world_put(&w, "s",
		  BALANCER("'loadBalancerSourceRanges':['203.0.113.0/24','2001:db8::/32']"));
	id = entry_of(&w, "192.0.2.2", 80).id;
	CU_ASSERT_EQUAL(entry_of(&w, "192.0.2.2", 80).flags, SERVICE_EXTERNAL | SERVICE_SOURCES);
	CU_ASSERT_EQUAL(entry_of(&w, "192.0.2.1", 80).flags, SERVICE_EXTERNAL);
	CU_ASSERT_EQUAL(entry_of(&w, "any", 30080).flags, SERVICE_EXTERNAL | SERVICE_NODE_PORT);
	CU_ASSERT(allows(&w, id, "203.0.113.7") && !allows(&w, id, "203.0.114.7"));
	CU_ASSERT_EQUAL(held(&w, MAP_SERVICE_SOURCES), 1);
	world_put(&w, "s", BALANCER("'loadBalancerSourceRanges':['203.0.114.0/24']"));
	CU_ASSERT(!allows(&w, id, "203.0.113.7") && allows(&w, id, "203.0.114.7"));
	/* Only of the other family: nobody of this one. */
	world_put(&w, "s", BALANCER("'loadBalancerSourceRanges':['2001:db8::/32']"));
	CU_ASSERT_EQUAL(entry_of(&w, "192.0.2.2", 80).flags, SERVICE_EXTERNAL | SERVICE_SOURCES);
	CU_ASSERT_EQUAL(held(&w, MAP_SERVICE_SOURCES), 0);
	world_put(&w, "s", BALANCER("'loadBalancerSourceRanges':[]"));
	CU_ASSERT_EQUAL(entry_of(&w, "192.0.2.2", 80).flags, SERVICE_EXTERNAL);
	world_end(&w);
}

/* ---------------------------------------------------------------- sets */

#define LOCAL_SERVICE                                                                              \
	SERVICE("s", "",                                                                           \
		"'type':'NodePort','clusterIP':'10.96.0.1','externalTrafficPolicy':'Local'", "")
#define GOING ",'conditions':{'ready':false,'serving':true,'terminating':true}"
#define GONE  ",'conditions':{'ready':false,'serving':false,'terminating':true}"
#define HERE  ",'nodeName':'here'"
#define THERE ",'nodeName':'there'"

static void each_set_falls_back_by_itself(void)
{
	struct world w;

	world_begin(&w, ROOM);
	world_put(&w, "s", LOCAL_SERVICE);
	world_put(&w, "e",
		  SLICE("s", ENDPOINT("10.1.0.1", HERE GOING) "," ENDPOINT("10.2.0.1", THERE)));
	CU_ASSERT_STRING_EQUAL(cluster_set(&w, "any", 30080), "10.2.0.1");
	CU_ASSERT_STRING_EQUAL(local_set(&w, "any", 30080), "10.1.0.1");
	world_put(&w, "e",
		  SLICE("s", ENDPOINT("10.1.0.1", HERE) "," ENDPOINT(
				     "10.2.0.1", THERE) "," ENDPOINT("10.1.0.2", HERE GOING)));
	CU_ASSERT_STRING_EQUAL(cluster_set(&w, "any", 30080), "10.1.0.1 10.2.0.1");
	CU_ASSERT_STRING_EQUAL(local_set(&w, "any", 30080), "10.1.0.1");
	world_put(
		&w, "e",
		SLICE("s", ENDPOINT("10.1.0.1", HERE GONE) "," ENDPOINT("10.2.0.1", THERE GOING)));
	CU_ASSERT_STRING_EQUAL(cluster_set(&w, "any", 30080), "10.2.0.1");
	CU_ASSERT_STRING_EQUAL(local_set(&w, "any", 30080), "");
	world_put(&w, "e", SLICE("s", ENDPOINT("10.1.0.1", HERE GONE)));
	CU_ASSERT_STRING_EQUAL(cluster_set(&w, "any", 30080), "");
	CU_ASSERT_STRING_EQUAL(local_set(&w, "any", 30080), "");
	world_end(&w);
}

static void where_nothing_has_to_stay_terminating_ones_take_nothing_new(void)
{
	struct world w;

	world_begin(&w, ROOM);
	world_put(&w, "s", SERVICE("s", "", "'type':'NodePort','clusterIP':'10.96.0.1'", ""));
	world_put(&w, "e",
		  SLICE("s", ENDPOINT("10.1.0.1", HERE GOING) "," ENDPOINT("10.2.0.1", THERE)));
	CU_ASSERT_STRING_EQUAL(cluster_set(&w, "any", 30080), "10.2.0.1");
	CU_ASSERT_STRING_EQUAL(local_set(&w, "any", 30080), "");
	world_end(&w);
}

#define HINTED(node, zone) ",'hints':{'forNodes':[" node "],'forZones':[" zone "]}"
#define NAMED(name)	   "{'name':'" name "'}"

struct seen {
	enum service_hints hints;
};

static void see(const struct service_view *view, void *data)
{
	struct seen *seen = data;

	seen->hints = view->hints;
}

static enum service_hints hints_of(struct world *w)
{
	struct seen seen = {HINTS_COUNT};

	services_each(w->services, see, &seen);
	return seen.hints;
}

static void hints_are_used_if_all_ready_endpoints_have_one_and_one_is_for_here(void)
{
	struct world w;

	world_begin(&w, ROOM);
	world_put(&w, "s", SERVICE("s", "", "'clusterIP':'10.96.0.1'", ""));
	world_put(&w, "e",
		  SLICE("s",
			ENDPOINT("10.1.0.1", ",'hints':{'forZones':[" NAMED("a") "]}") "," ENDPOINT(
				"10.2.0.1", ",'hints':{'forZones':[" NAMED("b") "]}")));
	/* This node has no zone, then one, then another, then one that nobody is for. */
	CU_ASSERT_STRING_EQUAL(cluster_set(&w, "10.96.0.1", 80), "10.1.0.1 10.2.0.1");
	CU_ASSERT_EQUAL(hints_of(&w), HINTS_NO_ZONE);
	world_put(&w, "n",
		  NODE("here", "'topology.kubernetes.io/zone':'a'", "192.168.7.1", "10.1.0.0/24"));
	CU_ASSERT_STRING_EQUAL(cluster_set(&w, "10.96.0.1", 80), "10.1.0.1");
	CU_ASSERT_EQUAL(hints_of(&w), HINTS_ZONE);
	world_put(&w, "n",
		  NODE("here", "'topology.kubernetes.io/zone':'b'", "192.168.7.1", "10.1.0.0/24"));
	CU_ASSERT_STRING_EQUAL(cluster_set(&w, "10.96.0.1", 80), "10.2.0.1");
	world_put(&w, "n",
		  NODE("here", "'topology.kubernetes.io/zone':'c'", "192.168.7.1", "10.1.0.0/24"));
	CU_ASSERT_STRING_EQUAL(cluster_set(&w, "10.96.0.1", 80), "10.1.0.1 10.2.0.1");
	CU_ASSERT_EQUAL(hints_of(&w), HINTS_NOT_HERE);
	world_put(&w, "n",
		  NODE("here", "'topology.kubernetes.io/zone':'a'", "192.168.7.1", "10.1.0.0/24"));
	world_put(&w, "e",
		  SLICE("s", ENDPOINT("10.1.0.1", ",'hints':{'forZones':[" NAMED(
							  "a") "]}") "," ENDPOINT("10.2.0.1", "")));
	CU_ASSERT_STRING_EQUAL(cluster_set(&w, "10.96.0.1", 80), "10.1.0.1 10.2.0.1");
	CU_ASSERT_EQUAL(hints_of(&w), HINTS_MISSING);
	world_put(&w, "n", "");
	CU_ASSERT_EQUAL(hints_of(&w), HINTS_MISSING);
	world_end(&w);
}

static void hints_for_nodes_come_first_and_those_of_terminating_ones_do_not_count(void)
{
	struct world w;

	world_begin(&w, ROOM);
	world_put(&w, "n",
		  NODE("here", "'topology.kubernetes.io/zone':'a'", "192.168.7.1", "10.1.0.0/24"));
	world_put(&w, "s", SERVICE("s", "", "'clusterIP':'10.96.0.1'", ""));
	world_put(&w, "e",
		  SLICE("s", ENDPOINT("10.1.0.1", HINTED(NAMED("here"), NAMED("a"))) "," ENDPOINT(
				     "10.2.0.1",
				     HINTED(NAMED("there"), NAMED("a"))) "," ENDPOINT("10.3.0.1",
										      GOING)));
	CU_ASSERT_STRING_EQUAL(cluster_set(&w, "10.96.0.1", 80), "10.1.0.1");
	CU_ASSERT_EQUAL(hints_of(&w), HINTS_NODE);
	/* None is for this node: its zone. */
	world_put(&w, "e",
		  SLICE("s", ENDPOINT("10.1.0.1",
				      HINTED(NAMED("x"),
					     NAMED("b") "," NAMED(
						     "a"))) "," ENDPOINT("10.2.0.1",
									 HINTED(NAMED("there"),
										NAMED("b")))));
	CU_ASSERT_STRING_EQUAL(cluster_set(&w, "10.96.0.1", 80), "10.1.0.1");
	CU_ASSERT_EQUAL(hints_of(&w), HINTS_ZONE);
	/* Only those that end have hints. */
	world_put(&w, "e",
		  SLICE("s", ENDPOINT("10.1.0.1", HINTED(NAMED("here"), NAMED("a")) GOING)));
	CU_ASSERT_STRING_EQUAL(cluster_set(&w, "10.96.0.1", 80), "10.1.0.1");
	CU_ASSERT_EQUAL(hints_of(&w), HINTS_NOBODY_READY);
	world_end(&w);
}

static void with_dsr_all_nodes_have_the_same_set(void)
{
	struct world w;

	world_begin(&w, ROOM);
	world_put(&w, "n",
		  NODE("here", "'topology.kubernetes.io/zone':'a'", "192.168.7.1", "10.1.0.0/24"));
	world_put(&w, "s",
		  SERVICE("s", ",'annotations':{'polder.dev/forwarding':'dsr'}",
			  "'type':'NodePort','clusterIP':'10.96.0.1'", ""));
	world_put(&w, "e",
		  SLICE("s",
			ENDPOINT("10.1.0.1", ",'hints':{'forZones':[" NAMED("a") "]}") "," ENDPOINT(
				"10.2.0.1", ",'hints':{'forZones':[" NAMED("b") "]}")));
	CU_ASSERT_STRING_EQUAL(cluster_set(&w, "any", 30080), "10.1.0.1 10.2.0.1");
	CU_ASSERT_EQUAL(hints_of(&w), HINTS_FORWARDING);
	world_end(&w);
}

static void endpoints_that_are_another_namespaces_pods_are_left_out(void)
{
	struct world w;

	world_begin(&w, ROOM);
	world_put(&w, "s", SERVICE("s", "", "'clusterIP':'10.96.0.1'", ""));
	world_put(&w, "e",
		  SLICE("s",
			ENDPOINT("10.1.0.1",
				 ",'targetRef':{'kind':'Pod','name':'p','namespace':"
				 "'other'}") "," ENDPOINT("10.2.0.1", ",'targetRef':{'kind':'Pod',"
								      "'name':'p','namespace':"
								      "'default'}")));
	CU_ASSERT_STRING_EQUAL(cluster_set(&w, "10.96.0.1", 80), "10.2.0.1");
	CU_ASSERT(is_told(&w, "s", "1 endpoints of its slices are pods of another namespace"));
	world_end(&w);
}

/* ---------------------------------------------------------------- a start */

static void a_restart_keeps_number_and_row_of_all_frontends(void)
{
	struct service_entry before;
	struct world w;

	world_begin(&w, ROOM);
	world_put(
		&w, "s",
		"[" SERVICE(
			"s", "",
			"'type':'LoadBalancer','clusterIP':'10.96.0.1','externalTrafficPolicy':"
			"'Local','loadBalancerSourceRanges':['203.0.113.0/24']",
			INGRESS("192.0.2.2")) "," SLICE("s",
							ENDPOINT("10.1.0.1", HERE GOING) "," ENDPOINT(
								"10.2.0.1", THERE)) "]");
	before = entry_of(&w, "any", 30080);
	services_close(w.services);
	services_start(&w);
	CU_ASSERT_EQUAL(services_backends_used(w.services), 2);
	services_object_changed(w.services, store_get(w.store, OBJECT_SERVICE, "default", "s"),
				false);
	services_object_changed(w.services,
				store_get(w.store, OBJECT_ENDPOINT_SLICE, "default", "s"), false);
	w.told[0] = '\0';
	CU_ASSERT(services_apply(w.services) == 0);
	CU_ASSERT_STRING_EQUAL(w.told, "");
	CU_ASSERT(services_prune_unknown(w.services) == 0);
	services_prune_mark(w.services);
	services_prune(w.services);
	CU_ASSERT_EQUAL(services_backends_used(w.services), 2);
	CU_ASSERT_EQUAL(memcmp(&before, &(struct service_entry){}, sizeof(before)) != 0, 1);
	CU_ASSERT_EQUAL(entry_of(&w, "any", 30080).id, before.id);
	CU_ASSERT_EQUAL(entry_of(&w, "any", 30080).backend_first, before.backend_first);
	CU_ASSERT_EQUAL(entry_of(&w, "192.0.2.2", 80).local_first, before.local_first);
	CU_ASSERT(allows(&w, before.id, "203.0.113.1"));
	/* And when the Service is gone meanwhile, all of it goes. */
	services_close(w.services);
	services_start(&w);
	CU_ASSERT(services_prune_unknown(w.services) == 0);
	services_prune_mark(w.services);
	services_prune(w.services);
	CU_ASSERT_EQUAL(services_backends_used(w.services), 0);
	CU_ASSERT_EQUAL(held(&w, MAP_SERVICES) + held(&w, MAP_SERVICE_SOURCES) +
				held(&w, MAP_BACKEND_STATES),
			0);
	world_end(&w);
}

/* ---------------------------------------------------------------- what is no Service */

static void a_host_port_is_served_and_yields_to_who_was_first(void)
{
	const struct services_fixed fixed = {
		.name = "hostport/abc/80",
		.owner = "pod default/p",
		.key = key_of("any", 30080),
		.flags = SERVICE_EXTERNAL | SERVICE_HOST_PORT,
		.endpoint = {.addr = addr_of("10.1.0.5"), .port_be = htons(8080)},
		.created = 1767225605,
	};
	struct world w;

	world_begin(&w, ROOM);
	CU_ASSERT(services_put_fixed(w.services, &fixed) == 0);
	CU_ASSERT(services_apply(w.services) == 0);
	CU_ASSERT_EQUAL(entry_of(&w, "any", 30080).flags, SERVICE_EXTERNAL | SERVICE_HOST_PORT);
	CU_ASSERT_STRING_EQUAL(cluster_set(&w, "any", 30080), "10.1.0.5");
	CU_ASSERT_STRING_EQUAL(local_set(&w, "any", 30080), "10.1.0.5");
	world_put(&w, "s",
		  SERVICE("s", MADE("01"), "'type':'NodePort','clusterIP':'10.96.0.1'", ""));
	CU_ASSERT(is_told(&w, "pod default/p", "is Service default/s's, which is older"));
	CU_ASSERT_STRING_EQUAL(cluster_set(&w, "any", 30080), "");
	world_put(&w, "s",
		  SERVICE("s", MADE("09"), "'type':'NodePort','clusterIP':'10.96.0.1'", ""));
	CU_ASSERT_EQUAL(entry_of(&w, "any", 30080).flags, SERVICE_EXTERNAL | SERVICE_HOST_PORT);
	CU_ASSERT(is_told(&w, "s", "is pod default/p's, which is older"));
	CU_ASSERT(is_told_everywhere(&w, "s", "is the host port of a pod of a node", true));
	services_remove_fixed(w.services, fixed.name);
	CU_ASSERT(services_apply(w.services) == 0);
	CU_ASSERT_EQUAL(entry_of(&w, "any", 30080).flags, SERVICE_EXTERNAL | SERVICE_NODE_PORT);
	CU_ASSERT_EQUAL(problem_count(&w), 0);
	world_end(&w);
}

struct health {
	size_t calls, endpoints;
	uint16_t port;
};

static void on_health(const struct service_health *health, void *data)
{
	struct health *seen = data;

	seen->calls++;
	seen->endpoints = health->endpoints;
	seen->port = health->port;
}

static struct health health_of(struct world *w)
{
	struct health health = {};

	services_each_health(w->services, on_health, &health);
	return health;
}

static void ready_endpoints_of_this_node_are_counted_for_health_checks(void)
{
	struct world w;

	world_begin(&w, ROOM);
	world_put(&w, "s",
		  SERVICE("s", "",
			  "'type':'LoadBalancer','clusterIP':'10.96.0.1','externalTrafficPolicy':'"
			  "Local',"
			  "'healthCheckNodePort':30999",
			  ""));
	world_put(&w, "e",
		  SLICE("s", ENDPOINT("10.1.0.1", HERE) "," ENDPOINT(
				     "10.1.0.2", HERE GOING) "," ENDPOINT("10.2.0.1", THERE)));
	CU_ASSERT_EQUAL(health_of(&w).port, 30999);
	CU_ASSERT_EQUAL(health_of(&w).endpoints, 1);
	CU_ASSERT(services_take_health_change(w.services));
	world_put(&w, "other", SERVICE("other", "", "'clusterIP':'10.96.0.2'", ""));
	CU_ASSERT_FALSE(services_take_health_change(w.services));
	world_put(&w, "e", SLICE("s", ENDPOINT("10.1.0.2", HERE GOING)));
	CU_ASSERT_EQUAL(health_of(&w).calls, 1);
	CU_ASSERT_EQUAL(health_of(&w).endpoints, 0);
	CU_ASSERT(services_take_health_change(w.services));
	world_put(&w, "s",
		  SERVICE("s", "",
			  "'type':'LoadBalancer','clusterIP':'10.96.0.1','healthCheckNodePort':"
			  "30999",
			  ""));
	CU_ASSERT_EQUAL(health_of(&w).calls, 0);
	CU_ASSERT(services_take_health_change(w.services));
	world_end(&w);
}

static void a_packet_to_a_nodes_address_is_the_node_ports(void)
{
	struct service_key key = key_of("192.168.7.1", 30080);
	struct service_view view;
	struct world w;

	world_begin(&w, ROOM);
	link_add(&w, "172.16.0.1/16");
	w.node.uplink_address_count = 1;
	world_put(&w, "s", SERVICE("s", "", "'type':'NodePort','clusterIP':'10.96.0.1'", ""));
	CU_ASSERT(services_find(w.services, &key, &view));
	CU_ASSERT_EQUAL(view.kind, SERVICE_KIND_NODE_PORT);
	CU_ASSERT_EQUAL(view.port, 80);
	key.addr = addr_of("172.16.0.1");
	CU_ASSERT_FALSE(services_find(w.services, &key, &view));
	w.config.node_port_address_count = 1;
	CU_ASSERT_FATAL(prefix_parse("172.16.0.0/16", &w.config.node_port_addresses[0]) == 0);
	CU_ASSERT(services_find(w.services, &key, &view));
	key.addr = addr_of("192.168.7.1");
	CU_ASSERT_FALSE(services_find(w.services, &key, &view));
	world_end(&w);
}

static const struct unit_test tests[] = {
	UNIT_TEST(all_frontends_of_a_port_share_number_and_row),
	UNIT_TEST(node_ports_come_with_the_type_and_go_with_it),
	UNIT_TEST(families_without_a_cluster_ip_are_those_that_are_asked_for),
	UNIT_TEST(traffic_policies_and_forwarding_are_flags),
	UNIT_TEST(affinity_is_in_every_entry_and_changes_live),
	UNIT_TEST(flows_are_told_when_affinity_comes_or_goes),
	UNIT_TEST(clients_of_a_service_that_goes_or_loses_affinity_are_forgotten),
	UNIT_TEST(a_load_balancers_address_that_is_a_proxys_is_not_served),
	UNIT_TEST(addresses_from_elsewhere_count_as_a_load_balancers),
	UNIT_TEST(labels_that_name_another_proxy_toggle_live),
	UNIT_TEST(source_ranges_hold_for_the_load_balancers_addresses),
	UNIT_TEST(each_set_falls_back_by_itself),
	UNIT_TEST(where_nothing_has_to_stay_terminating_ones_take_nothing_new),
	UNIT_TEST(hints_are_used_if_all_ready_endpoints_have_one_and_one_is_for_here),
	UNIT_TEST(hints_for_nodes_come_first_and_those_of_terminating_ones_do_not_count),
	UNIT_TEST(with_dsr_all_nodes_have_the_same_set),
	UNIT_TEST(endpoints_that_are_another_namespaces_pods_are_left_out),
	UNIT_TEST(a_restart_keeps_number_and_row_of_all_frontends),
	UNIT_TEST(a_host_port_is_served_and_yields_to_who_was_first),
	UNIT_TEST(ready_endpoints_of_this_node_are_counted_for_health_checks),
	UNIT_TEST(a_packet_to_a_nodes_address_is_the_node_ports),
};

int main(void)
{
	return UNIT_RUN("service frontends", tests);
}

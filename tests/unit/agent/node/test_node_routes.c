/* SPDX-License-Identifier: Apache-2.0 */
/* Routes to other nodes against the running kernel, each test in a namespace of its own. */
#include <errno.h>
#include <string.h>

#include "tests/faults.h"
#include "tests/unit/agent/node/routes_world.h"
#include "tests/unit/unit.h"

#define OURS "proto 80"

/* Nodes 2 and 3, dual stack, routed to. */
static void begin(struct routes_world *w)
{
	world_open(w);
	world_node(w, 1, "10.1.0.0/24", "fd00:1::/64");
	world_node(w, 2, "10.2.0.0/24", "fd00:2::/64");
	world_node(w, 3, "10.3.0.0/24", "fd00:3::/64");
	world_synced(w);
	CU_ASSERT(world_routes(OURS) == 4);
}

static char last_node[64], last_reason[300];

static void keep_problem(const char *node, const char *reason, void *data)
{
	(void)data;
	snprintf(last_node, sizeof(last_node), "%s", node);
	snprintf(last_reason, sizeof(last_reason), "%s", reason);
}

/* How many problems there are; the last one is kept. */
static size_t problems(const struct routes_world *w)
{
	last_node[0] = last_reason[0] = '\0';
	return node_routes_problems(w->routes, 100, keep_problem, NULL);
}

static bool has(const char *route)
{
	return world_routes(route) == 1;
}

static void routes_of_both_families_come_and_go_with_their_nodes(void)
{
	struct node_routes_state state;
	struct routes_world w;

	begin(&w);
	CU_ASSERT(has("10.2.0.0/24 via 192.168.7.2 dev up0 proto 80"));
	CU_ASSERT(has("fd00:3::/64 via 2001:db8:7::3 dev up0 proto 80"));
	CU_ASSERT(world_routes("10.1.0.0/24") == 0 && world_routes("fd00:1::/64") == 0);
	state = world_state(&w);
	CU_ASSERT(state.complete && state.wanted == 4 && state.installed == 4);
	CU_ASSERT(state.failed == 0 && state.refused == 0 && state.elsewhere == 0);
	world_no_node(&w, 2);
	world_node(&w, 4, "10.4.0.0/24", NULL);
	world_settle(&w);
	CU_ASSERT(world_routes("10.2.0.0/24") == 0 && world_routes("fd00:2::/64") == 0);
	CU_ASSERT(has("10.4.0.0/24 via 192.168.7.4") && world_routes(OURS) == 3);
	/* The range stays, the address is another: never without a route. */
	world_node_at(&w, "n4", "{'type':'InternalIP','address':'192.168.7.40'}", "'10.4.0.0/24'");
	world_settle(&w);
	CU_ASSERT(has("10.4.0.0/24 via 192.168.7.40") && world_routes("10.4.0.0/24") == 1);
	/* A Node under another name takes a range over. */
	world_no_node(&w, 4);
	world_node(&w, 5, "10.4.0.0/24", NULL);
	world_settle(&w);
	CU_ASSERT(has("10.4.0.0/24 via 192.168.7.5") && world_routes("10.4.0.0/24") == 1);
	CU_ASSERT(problems(&w) == 0);
	world_close(&w);
}

static void nothing_is_deleted_before_all_objects_are_read(void)
{
	struct routes_world w;

	begin(&w);
	world_restart(&w);
	world_pass(&w, 10000);
	CU_ASSERT(world_routes(OURS) == 4);
	world_node(&w, 4, "10.4.0.0/24", NULL);
	world_pass(&w, 10000);
	CU_ASSERT(world_routes(OURS) == 4);
	world_synced(&w);
	CU_ASSERT(world_routes(OURS) == 5);
	world_close(&w);
}

static void routes_that_nobody_wants_go_at_the_start(void)
{
	struct routes_world w;

	begin(&w);
	world_ip("route add 10.77.0.9/32 dev up0 proto 80"); /* to a pod */
	world_ip("route add 10.88.0.0/24 via 192.168.7.88 proto static");
	world_ip("-6 route add fd00:88::/64 via 2001:db8:7::88");
	world_ip("route add 10.99.0.0/24 via 192.168.7.99 dev up0 proto 80");
	world_ip("route add 10.99.0.0/24 via 192.168.7.99 dev up0 proto 80 table 99");
	world_restart(&w);
	world_no_node(&w, 2);
	world_synced(&w);
	CU_ASSERT(world_routes("10.2.0.0/24") == 0 && world_routes("fd00:2::/64") == 0);
	CU_ASSERT(world_routes("10.99.0.0/24") == 0);
	CU_ASSERT(has("10.77.0.9 dev up0") && has("10.88.0.0/24") && has("fd00:88::/64"));
	CU_ASSERT(has("10.3.0.0/24 via 192.168.7.3") && has("fd00:3::/64 via"));
	CU_ASSERT(world_state(&w).stale == 0);
	world_ip("route get 10.99.0.1 table 99 >/dev/null 2>&1 || ip route show table 99 | grep -q "
		 "10.99");
	world_close(&w);
}

static void a_route_that_was_changed_meanwhile_is_set_right_at_the_start(void)
{
	struct routes_world w;

	begin(&w);
	world_ip("route replace 10.2.0.0/24 via 192.168.7.66 dev up0 proto 80");
	world_restart(&w);
	world_synced(&w);
	CU_ASSERT(has("10.2.0.0/24 via 192.168.7.2") && world_routes("10.2.0.0/24") == 1);
	world_close(&w);
}

static void routes_that_others_remove_are_put_back(void)
{
	struct routes_world w;

	begin(&w);
	world_ip("-4 route flush proto 80");
	world_ip("-6 route flush proto 80");
	CU_ASSERT(world_routes(OURS) == 0);
	world_pass(&w, 5000);
	CU_ASSERT(world_routes(OURS) == 4);
	world_ip("route replace 10.2.0.0/24 via 192.168.7.66 dev up0 proto 80");
	world_ip("-6 route del fd00:2::/64");
	world_pass(&w, 5000);
	CU_ASSERT(has("10.2.0.0/24 via 192.168.7.2") && has("fd00:2::/64 via 2001:db8:7::2"));
	/* By one who takes all links' routes for his own. */
	world_ip("route flush dev up0 proto 80");
	world_ip("addr flush dev up0");
	world_pass(&w, 1000);
	world_ip("addr add 192.168.7.1/24 dev up0");
	world_ip("addr add 2001:db8:7::1/64 dev up0 nodad");
	world_pass(&w, 5000);
	CU_ASSERT(world_routes(OURS) == 4);
	world_close(&w);
}

static void routes_come_back_with_a_link_that_was_down(void)
{
	struct routes_world w;

	begin(&w);
	world_ip("link set up0 down");
	CU_ASSERT(world_routes("10.2.0.0/24") == 0);
	world_ip("link set up0 up");
	world_pass(&w, 5000);
	CU_ASSERT(has("10.2.0.0/24 via 192.168.7.2") && has("10.3.0.0/24 via 192.168.7.3"));
	/* Down for longer than the routes are tried often. */
	world_ip("link set up0 down");
	world_pass(&w, 600000);
	CU_ASSERT(world_state(&w).failed >= 2 && world_state(&w).error[0]);
	CU_ASSERT(world_state(&w).failed_since_ns > 0);
	world_ip("link set up0 up");
	world_ip("addr replace 2001:db8:7::1/64 dev up0 nodad");
	world_pass(&w, 5000);
	CU_ASSERT(world_routes(OURS) == 4 && world_state(&w).failed == 0);
	CU_ASSERT(world_state(&w).error[0] == '\0');
	world_close(&w);
}

static void routes_come_back_with_a_link_without_ipv6(void)
{
	struct routes_world w;

	world_open(&w);
	world_ip("addr flush dev up0");
	world_ip("-4 addr add 192.168.7.1/24 dev up0");
	CU_ASSERT(system("echo 1 >/proc/sys/net/ipv6/conf/up0/disable_ipv6") == 0);
	world_node(&w, 2, "10.2.0.0/24", "fd00:2::/64");
	world_synced(&w);
	CU_ASSERT(world_routes(OURS) == 1);
	world_ip("link set up0 down");
	world_ip("link set up0 up");
	world_pass(&w, 5000);
	CU_ASSERT(has("10.2.0.0/24 via 192.168.7.2"));
	world_close(&w);
}

static void routes_follow_an_uplink_that_is_made_again(void)
{
	struct routes_world w;
	struct link_info link;

	begin(&w);
	world_ip("link del up0");
	w.node.uplinks[0].ifindex = 0;
	world_pass(&w, 5000);
	CU_ASSERT(world_routes(OURS) == 0);
	world_add_uplink();
	world_ip("addr add 192.168.7.1/24 dev up0");
	world_ip("addr add 2001:db8:7::1/64 dev up0 nodad");
	CU_ASSERT_FATAL(netlink_link_get(w.nl, "up0", &link) == 0);
	w.node.uplinks[0].ifindex = link.ifindex;
	world_pass(&w, 5000);
	CU_ASSERT(world_routes(OURS) == 4);
	world_close(&w);
}

static void what_is_there_stays_while_the_uplink_has_no_address(void)
{
	struct routes_world w;

	begin(&w);
	/* A second network keeps the link's routes while the first one is away. */
	world_ip("addr add 192.168.99.1/32 dev lo");
	world_ip("addr del 2001:db8:7::1/64 dev up0");
	world_pass(&w, 5000);
	CU_ASSERT(has("fd00:2::/64 via 2001:db8:7::2"));
	/* Another network: those Nodes are no neighbours any more. */
	world_ip("addr add 2001:db8:8::1/64 dev up0 nodad");
	world_pass(&w, 5000);
	CU_ASSERT(world_routes("fd00:2::/64") == 0);
	CU_ASSERT(world_state(&w).elsewhere == 2);
	CU_ASSERT(has("10.2.0.0/24 via 192.168.7.2"));
	world_close(&w);
}

static void failures_are_told_with_the_first_error_and_tried_ever_more_rarely(void)
{
	struct node_routes_state state;
	struct routes_world w;
	unsigned int runs;

	begin(&w);
	world_ip("link set up0 down");
	world_settle(&w);
	world_node(&w, 4, "10.4.0.0/24", NULL);
	world_settle(&w);
	state = world_state(&w);
	CU_ASSERT(state.failed >= 1);
	CU_ASSERT(strstr(state.error, "Node n") && strstr(state.error, "pod range"));
	CU_ASSERT(problems(&w) == state.failed);
	CU_ASSERT(strstr(last_reason, strerror(ENETDOWN)) || strstr(last_reason, "down"));
	world_pass(&w, 100000);
	runs = w.runs;
	world_pass(&w, 320000);
	/* Once in 32 s, with a look at the uplinks every 2 s. */
	CU_ASSERT(w.runs - runs < 320 / 2 + 4 * 320 / 30);
	world_close(&w);
}

static void a_range_that_several_nodes_claim_is_the_newest_ones(void)
{
	struct routes_world w;

	begin(&w);
	world_node(&w, 4, "10.2.0.0/24", NULL);
	world_settle(&w);
	CU_ASSERT(has("10.2.0.0/24 via 192.168.7.4") && world_routes("10.2.0.0/24") == 1);
	CU_ASSERT(has("fd00:2::/64 via"));
	CU_ASSERT(world_state(&w).refused == 1 && problems(&w) == 1);
	CU_ASSERT(strstr(last_reason, "10.2.0.0/24") && strstr(last_reason, "Node n4"));
	CU_ASSERT_STRING_EQUAL(last_node, "n2");
	world_no_node(&w, 2);
	world_settle(&w);
	CU_ASSERT(has("10.2.0.0/24 via 192.168.7.4") && problems(&w) == 0);
	/* This node's own Node claims one too, and is the older one. */
	world_node(&w, 1, "10.3.0.0/24", NULL);
	world_settle(&w);
	CU_ASSERT(has("10.3.0.0/24 via 192.168.7.3") && problems(&w) == 1);
	CU_ASSERT_STRING_EQUAL(last_node, "n1");
	/* One that names a range twice claims it once. */
	world_node_at(&w, "n7", "{'type':'InternalIP','address':'192.168.7.7'}",
		      "'10.7.0.0/24','10.7.0.0/24','10.7.0.0/25'");
	world_settle(&w);
	CU_ASSERT(has("10.7.0.0/24 via 192.168.7.7") && has("10.7.0.0/25 via 192.168.7.7"));
	world_close(&w);
}

static void a_range_around_older_ones_takes_their_place(void)
{
	struct routes_world w;

	begin(&w);
	world_node(&w, 4, "10.2.0.0/15", "fd00::/16");
	world_settle(&w);
	/* IPv6: this node's own range is inside. */
	CU_ASSERT(has("10.2.0.0/15 via 192.168.7.4") && world_routes("10.2.0.0/24") == 0 &&
		  world_routes("10.3.0.0/24") == 0 && world_routes("fd00::/16") == 0);
	CU_ASSERT(has("fd00:2::/64 via") && has("fd00:3::/64 via"));
	CU_ASSERT(world_state(&w).refused == 3 && problems(&w) == 3);
	world_no_node(&w, 2);
	world_node(&w, 3, "10.5.0.0/24", NULL);
	world_settle(&w);
	CU_ASSERT(has("10.2.0.0/15 via 192.168.7.4") && has("10.5.0.0/24 via 192.168.7.3"));
	CU_ASSERT(problems(&w) == 1 && strstr(last_reason, "fd00::/16"));
	world_close(&w);
}

static void ranges_that_meet_this_nodes_own_or_its_networks_are_refused(void)
{
	static const char *const ranges[] = {
		"10.1.0.0/24",		"10.1.0.0/16",	   "10.1.0.128/25", "192.168.7.0/24",
		"192.168.0.0/16",	"192.168.7.64/26", "fd00:1::/64",   "fd00:1::/48",
		"fd00:1:0:0:8000::/65", "2001:db8:7::/64", "2001:db8::/32", "2001:db8:7::100/120",
	};
	struct routes_world w;
	char text[64];

	begin(&w);
	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
		snprintf(text, sizeof(text), "'%s'", ranges[i]);
		world_node_at(&w, "n9",
			      "{'type':'InternalIP','address':'192.168.7.9'},{'type':"
			      "'InternalIP','address':'2001:db8:7::9'}",
			      text);
		world_settle(&w);
		CU_ASSERT(world_routes(OURS) == 4);
		CU_ASSERT(problems(&w) == 1 && strstr(last_reason, ranges[i]));
		CU_ASSERT_STRING_EQUAL(last_node, "n9");
	}
	/* The network comes later than the route. */
	world_node_at(&w, "n9", "{'type':'InternalIP','address':'192.168.7.9'}", "'10.9.0.0/24'");
	world_settle(&w);
	CU_ASSERT(has("10.9.0.0/24 via 192.168.7.9") && problems(&w) == 0);
	world_ip("addr add 10.9.0.1/24 dev lo");
	world_settle(&w);
	CU_ASSERT(world_routes("10.9.0.0/24 via") == 0 && problems(&w) == 1);
	world_ip("addr del 10.9.0.1/24 dev lo");
	world_settle(&w);
	CU_ASSERT(has("10.9.0.0/24 via 192.168.7.9") && problems(&w) == 0);
	world_close(&w);
}

static void a_node_with_this_nodes_address_is_refused(void)
{
	struct routes_world w;

	begin(&w);
	world_node_at(&w, "n9", "{'type':'InternalIP','address':'192.168.7.1'}", "'10.9.0.0/24'");
	world_settle(&w);
	/* The range is told of, and the address. */
	CU_ASSERT(world_routes(OURS) == 4 && problems(&w) == 2);
	CU_ASSERT(strstr(last_reason, "192.168.7.1") != NULL);
	world_close(&w);
}

static void nodes_that_are_no_neighbours_are_left_to_the_network(void)
{
	struct routes_world w;

	begin(&w);
	world_node_at(&w, "n9", "{'type':'InternalIP','address':'198.51.100.9'}",
		      "'10.9.0.0/24','fd00:9::/64'");
	world_settle(&w);
	CU_ASSERT(world_routes(OURS) == 4 && problems(&w) == 0);
	CU_ASSERT(world_state(&w).elsewhere == 2);
	/* The first of its addresses that is a neighbour. */
	world_node_at(&w, "n9",
		      "{'type':'InternalIP','address':'198.51.100.9'},{'type':'ExternalIP',"
		      "'address':'192.168.7.8'},{'type':'InternalIP','address':'192.168.7.9'}",
		      "'10.9.0.0/24'");
	world_settle(&w);
	CU_ASSERT(has("10.9.0.0/24 via 192.168.7.9"));
	world_close(&w);
}

static void a_route_of_somebody_else_is_left_alone(void)
{
	struct routes_world w;

	begin(&w);
	world_ip("route add 10.4.0.0/24 via 192.168.7.66 proto static");
	world_ip("-6 route add fd00:4::/64 via 2001:db8:7::66 proto static");
	world_ip("route add blackhole 10.5.0.0/24");
	world_node(&w, 4, "10.4.0.0/24", "fd00:4::/64");
	world_node(&w, 5, "10.5.0.0/24", NULL);
	world_settle(&w);
	CU_ASSERT(has("10.4.0.0/24 via 192.168.7.66") && has("fd00:4::/64 via 2001:db8:7::66"));
	CU_ASSERT(has("blackhole 10.5.0.0/24"));
	CU_ASSERT(problems(&w) == 3 && strstr(last_reason, "another route"));
	CU_ASSERT(world_state(&w).failed == 3 && world_state(&w).installed == 4);
	world_ip("route del 10.4.0.0/24 via 192.168.7.66");
	world_ip("-6 route del fd00:4::/64 via 2001:db8:7::66");
	world_ip("route del blackhole 10.5.0.0/24");
	world_pass(&w, 5000);
	CU_ASSERT(problems(&w) == 0 && world_routes(OURS) == 7);
	/* One that leads the same way serves as well. */
	world_ip("route replace 10.4.0.0/24 via 192.168.7.4 dev up0 proto static");
	world_pass(&w, 5000);
	CU_ASSERT(problems(&w) == 0 && world_state(&w).installed == 7);
	CU_ASSERT(has("10.4.0.0/24 via 192.168.7.4 dev up0 proto static"));
	world_ip("route del 10.4.0.0/24");
	world_pass(&w, 5000);
	CU_ASSERT(has("10.4.0.0/24 via 192.168.7.4 dev up0 proto 80"));
	world_close(&w);
}

/* A Node with the range 10.100.(n).0/24, and on. */
static void one_of_many(struct routes_world *w, unsigned int n, unsigned int host)
{
	char name[32], address[100], ranges[100];

	snprintf(name, sizeof(name), "m%u", n);
	snprintf(address, sizeof(address), "{'type':'InternalIP','address':'192.168.7.%u'}", host);
	snprintf(ranges, sizeof(ranges), "'10.%u.%u.0/24'", 100 + n / 256, n % 256);
	world_node_at(w, name, address, ranges);
}

static void many_routes_are_set_in_slices(void)
{
	const unsigned int count = 1500;
	struct routes_world w;
	unsigned int runs;

	world_open(&w);
	for (unsigned int i = 0; i < count; i++)
		one_of_many(&w, i, 2 + i % 250);
	world_synced(&w);
	world_pass(&w, 10000);
	CU_ASSERT(world_routes(OURS) == count && world_state(&w).installed == count);
	CU_ASSERT(w.runs > 1);
	/* All at once are removed, all come back. */
	runs = w.runs;
	world_ip("route flush proto 80");
	world_pass(&w, 5000);
	CU_ASSERT(world_routes(OURS) == count && w.runs > runs);
	world_close(&w);
}

/* The kernel searches a chain of all routes by one link and of one scope for each new route. */
static void many_routes_are_spread_over_scopes_and_follow_their_nodes(void)
{
	const unsigned int few = NODE_ROUTES_CHAIN, count = 2 * NODE_ROUTES_CHAIN;
	struct routes_world w;

	world_open(&w);
	world_ip("route add 10.101.7.0/24 via 192.168.7.251");
	for (unsigned int i = 0; i < few; i++)
		one_of_many(&w, i, 2);
	world_synced(&w);
	world_pass(&w, 5000);
	CU_ASSERT(world_routes(OURS) == few && world_routes(OURS " scope") == 0);
	for (unsigned int i = few; i < count; i++)
		one_of_many(&w, i, 2);
	world_pass(&w, 5000);
	/* One is somebody else's, of metric and scope as ours would have been. */
	CU_ASSERT(world_routes(OURS) == count - 1 && world_routes(OURS " scope") == few - 1);
	for (unsigned int scope = 1; scope <= NODE_ROUTES_SCOPES; scope++) {
		char words[32];

		snprintf(words, sizeof(words), OURS " scope %u onlink", scope);
		CU_ASSERT(world_routes(words) < 16);
	}
	world_ip("route del 10.101.7.0/24");
	world_pass(&w, 1000);
	CU_ASSERT(world_routes(OURS) == count);
	one_of_many(&w, 3, 9);
	one_of_many(&w, few + 3, 9);
	world_pass(&w, 1000);
	CU_ASSERT(world_routes(OURS) == count && world_routes("via 192.168.7.9 ") == 2);
	world_restart(&w);
	for (unsigned int i = 0; i < few; i++) {
		char name[32];

		snprintf(name, sizeof(name), "m%u", i);
		world_node_at(&w, name, "{'type':'InternalIP','address':'192.168.7.2'}", "");
	}
	world_synced(&w);
	world_pass(&w, 5000);
	CU_ASSERT(world_routes(OURS) == few && world_routes("via 192.168.7.9 ") == 1);
	world_close(&w);
}

static void lost_messages_are_made_up_for(void)
{
	struct routes_world w;

	begin(&w);
	world_ip("-4 route flush proto 80");
	netlink_monitor_close(w.monitor);
	CU_ASSERT_FATAL(netlink_monitor_open(&w.monitor) == 0);
	node_routes_distrust(w.routes);
	world_pass(&w, 5000);
	CU_ASSERT(world_routes(OURS) == 4);
	/* And without any word, once a minute. */
	world_ip("-4 route flush proto 80");
	netlink_monitor_close(w.monitor);
	CU_ASSERT_FATAL(netlink_monitor_open(&w.monitor) == 0);
	world_pass(&w, 61000);
	CU_ASSERT(world_routes(OURS) == 4);
	world_close(&w);
}

static void a_route_that_failed_is_tried_again_without_a_word(void)
{
	struct routes_world w;

	begin(&w);
	world_ip("route add blackhole 10.5.0.0/24");
	world_node(&w, 5, "10.5.0.0/24", NULL);
	world_settle(&w);
	CU_ASSERT(world_state(&w).failed == 1);
	world_ip("route del blackhole 10.5.0.0/24");
	netlink_monitor_close(w.monitor);
	CU_ASSERT_FATAL(netlink_monitor_open(&w.monitor) == 0);
	world_pass(&w, 10000);
	CU_ASSERT(world_state(&w).failed == 0 && has("10.5.0.0/24 via 192.168.7.5"));
	/* What happens to the uplink makes it worth while to try often again. */
	world_ip("route del 10.5.0.0/24");
	world_ip("route add blackhole 10.5.0.0/24");
	world_pass(&w, 300000);
	world_ip("link set up0 mtu 1400");
	world_pass(&w, 1);
	world_ip("route del blackhole 10.5.0.0/24");
	netlink_monitor_close(w.monitor);
	CU_ASSERT_FATAL(netlink_monitor_open(&w.monitor) == 0);
	world_pass(&w, 4000);
	CU_ASSERT(world_state(&w).failed == 0 && has("10.5.0.0/24 via 192.168.7.5"));
	world_close(&w);
}

/* Whatever allocation fails: routes that are wanted before and after never go, all is right in the
 * end. */
static void no_route_is_lost_for_want_of_memory(void)
{
	struct routes_world w;
	bool failed = true;
	size_t number;

	begin(&w);
	for (number = 1; failed; number++) {
		for (int there = 1; there >= 0; there--) {
			if (there)
				world_node(&w, 4, "10.4.0.0/24", "fd00:4::/64");
			else
				world_no_node(&w, 4);
			node_routes_synced(w.routes);
			faults_begin(number);
			node_routes_run(w.routes);
			failed = faults_end();
			CU_ASSERT(has("10.2.0.0/24 via 192.168.7.2") && has("fd00:3::/64 via"));
			world_pass(&w, 2000);
			CU_ASSERT(world_routes(OURS) == 4u + 2u * (unsigned int)there);
		}
	}
	CU_ASSERT(number > 1);
	world_close(&w);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(routes_of_both_families_come_and_go_with_their_nodes),
		UNIT_TEST(nothing_is_deleted_before_all_objects_are_read),
		UNIT_TEST(routes_that_nobody_wants_go_at_the_start),
		UNIT_TEST(a_route_that_was_changed_meanwhile_is_set_right_at_the_start),
		UNIT_TEST(routes_that_others_remove_are_put_back),
		UNIT_TEST(routes_come_back_with_a_link_that_was_down),
		UNIT_TEST(routes_come_back_with_a_link_without_ipv6),
		UNIT_TEST(routes_follow_an_uplink_that_is_made_again),
		UNIT_TEST(what_is_there_stays_while_the_uplink_has_no_address),
		UNIT_TEST(failures_are_told_with_the_first_error_and_tried_ever_more_rarely),
		UNIT_TEST(a_range_that_several_nodes_claim_is_the_newest_ones),
		UNIT_TEST(a_range_around_older_ones_takes_their_place),
		UNIT_TEST(ranges_that_meet_this_nodes_own_or_its_networks_are_refused),
		UNIT_TEST(a_node_with_this_nodes_address_is_refused),
		UNIT_TEST(nodes_that_are_no_neighbours_are_left_to_the_network),
		UNIT_TEST(a_route_of_somebody_else_is_left_alone),
		UNIT_TEST(many_routes_are_set_in_slices),
		UNIT_TEST(many_routes_are_spread_over_scopes_and_follow_their_nodes),
		UNIT_TEST(lost_messages_are_made_up_for),
		UNIT_TEST(a_route_that_failed_is_tried_again_without_a_word),
		UNIT_TEST(no_route_is_lost_for_want_of_memory),
	};

	faults_take_jansson();
	return UNIT_RUN("node_routes", tests);
}

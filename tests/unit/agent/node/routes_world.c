/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/agent/node/routes_world.h"

#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/common/clock.h"

static void must(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "routes_world: %s\n", what);
	abort();
}

static uint64_t now_ns(void *data)
{
	const struct routes_world *world = data;

	return clock_monotonic_ns() + world->ahead_ns;
}

static void on_object(const struct object *object, bool deleted, void *data)
{
	struct routes_world *world = data;

	(void)peers_object(world->peers, object, deleted);
}

static void on_peer(const struct prefix *prefix, enum peers_change change, void *data)
{
	struct routes_world *world = data;

	node_routes_changed(world->routes, prefix);
}

/* As the agent does it when the kernel has told of a change. */
static void follow_network(struct routes_world *world)
{
	struct peers_network network = {.uplink_count = world->node.uplink_count};
	int uplinks[CONFIG_MAX_UPLINKS];
	uint32_t mtus[CONFIG_MAX_UPLINKS];
	struct network all = {};

	for (size_t i = 0; i < world->node.uplink_count; i++) {
		uplinks[i] = world->node.uplinks[i].ifindex;
		mtus[i] = 1500;
	}
	if (network_read(world->nl, &all) < 0)
		return;
	network.addresses = all.addresses;
	network.address_count = all.address_count;
	network.uplinks = uplinks;
	network.mtus = mtus;
	must(peers_set_network(world->peers, &network) == 0, "no memory for the network");
	network_clear(&all);
}

static void start(struct routes_world *world)
{
	struct node_routes_env env = {.store = world->store,
				      .node = &world->node,
				      .nl = world->nl,
				      .now_ns = now_ns,
				      .data = world};

	must(netlink_monitor_open(&world->monitor) == 0, "the kernel's messages cannot be read");
	must(peers_new(&world->config, NULL, &world->peers) == 0, "no memory");
	env.peers = world->peers;
	must(node_routes_new(&env, &world->routes) == 0, "no memory");
	peers_listen(world->peers, on_peer, world);
}

void world_add_uplink(void)
{
	world_ip("link add " WORLD_UPLINK " type veth peer name peer0");
	world_ip("link set peer0 up");
	world_ip("link set " WORLD_UPLINK " up");
}

void world_open(struct routes_world *world)
{
	struct link_info link;

	*world = (struct routes_world){.config = {.node_name = "n1"}};
	must(prefix_parse("10.1.0.0/24", &world->config.pod_cidr_v4) == 0 &&
		     prefix_parse("fd00:1::/64", &world->config.pod_cidr_v6) == 0,
	     "ranges");
	must(unshare(CLONE_NEWNET) == 0, "no network namespace: are you root?");
	world_ip("link set lo up");
	world_add_uplink();
	world_ip("addr add 192.168.7.1/24 dev " WORLD_UPLINK);
	world_ip("addr add 2001:db8:7::1/64 dev " WORLD_UPLINK " nodad");
	must(netlink_open(-1, &world->nl) == 0, "no netlink");
	must(netlink_link_get(world->nl, WORLD_UPLINK, &link) == 0, "no link");
	world->node.uplink_count = 1;
	world->node.uplinks[0].ifindex = link.ifindex;
	world->store = store_new();
	must(world->store, "no memory");
	store_listen(world->store, on_object, world);
	start(world);
}

void world_close(struct routes_world *world)
{
	node_routes_free(world->routes);
	peers_free(world->peers);
	netlink_monitor_close(world->monitor);
	netlink_close(world->nl);
	store_free(world->store);
}

void world_restart(struct routes_world *world)
{
	node_routes_free(world->routes);
	peers_free(world->peers);
	netlink_monitor_close(world->monitor);
	start(world);
}

void world_synced(struct routes_world *world)
{
	node_routes_synced(world->routes);
	world_settle(world);
}

void world_ip(const char *format, ...)
{
	char command[600] = "ip ";
	va_list list;

	va_start(list, format);
	vsnprintf(command + 3, sizeof(command) - 3, format, list);
	va_end(list);
	must(system(command) == 0, command);
}

/* ---------------------------------------------------------------- Nodes */

void world_node_at(struct routes_world *world, const char *name, const char *addresses,
		   const char *ranges)
{
	char text[1024], *c;
	struct object_list list = {};
	struct error error = {};

	snprintf(text, sizeof(text),
		 "{'apiVersion':'v1','kind':'Node','metadata':{'name':'%s'},'spec':{'podCIDRs':[%s]"
		 "},"
		 "'status':{'addresses':[%s]}}",
		 name, ranges, addresses);
	for (c = text; *c; c++)
		*c = *c == '\'' ? '"' : *c;
	must(objects_decode(text, strlen(text), &list, &error) == 0, error.text);
	must(store_replace(world->store, name, &list) == 0, "store");
	object_list_clear(&list);
}

void world_node(struct routes_world *world, unsigned int n, const char *range, const char *range6)
{
	char name[32], addresses[200], ranges[200];

	snprintf(name, sizeof(name), "n%u", n);
	snprintf(addresses, sizeof(addresses),
		 "{'type':'InternalIP','address':'192.168.7.%u'},{'type':'InternalIP','address':"
		 "'2001:db8:7::%x'}",
		 n, n);
	snprintf(ranges, sizeof(ranges), "%s%s%s%s%s%s%s", range ? "'" : "", range ? range : "",
		 range ? "'" : "", range && range6 ? "," : "", range6 ? "'" : "",
		 range6 ? range6 : "", range6 ? "'" : "");
	world_node_at(world, name, addresses, ranges);
}

void world_no_node(struct routes_world *world, unsigned int n)
{
	struct object_list none = {};
	char name[32];

	snprintf(name, sizeof(name), "n%u", n);
	must(store_replace(world->store, name, &none) == 0, "store");
}

/* ---------------------------------------------------------------- time */

static void on_event(const struct netlink_event *event, void *data)
{
	node_routes_heard(((struct routes_world *)data)->routes, event);
}

/* Without what others' processes took meanwhile. */
static uint64_t cpu_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void took(struct routes_world *world, uint64_t begin)
{
	uint64_t ns = cpu_ns() - begin;

	world->busy_ns += ns;
	if (ns > world->longest_ns)
		world->longest_ns = ns;
}

static void hear(struct routes_world *world)
{
	uint64_t begin = cpu_ns();
	int r = netlink_monitor_read(world->monitor, on_event, world);

	if (r < 0)
		node_routes_distrust(world->routes);
	took(world, begin);
}

/* IPv6 addresses are told of some time after they were set: until the kernel is quiet. */
static void hear_all(struct routes_world *world)
{
	struct pollfd fd = {.fd = netlink_monitor_fd(world->monitor), .events = POLLIN};

	do {
		hear(world);
	} while (poll(&fd, 1, 20) > 0);
	follow_network(world);
}

static void run(struct routes_world *world)
{
	uint64_t begin = cpu_ns();

	node_routes_run(world->routes);
	world->runs++;
	took(world, begin);
}

void world_pass(struct routes_world *world, unsigned int ms)
{
	uint64_t end;

	hear_all(world);
	end = now_ns(world) + ms * 1000000ull;
	for (;;) {
		uint64_t due;

		hear(world);
		due = node_routes_due(world->routes);
		if (due > end)
			break;
		if (due > now_ns(world))
			world->ahead_ns += due - now_ns(world);
		run(world);
	}
	if (end > now_ns(world))
		world->ahead_ns += end - now_ns(world);
}

void world_settle(struct routes_world *world)
{
	world_pass(world, 1000);
}

struct node_routes_state world_state(const struct routes_world *world)
{
	struct node_routes_state state;

	node_routes_state(world->routes, &state);
	return state;
}

unsigned int world_routes(const char *words)
{
	char command[300];
	unsigned int count = 0;
	FILE *pipe;

	snprintf(command, sizeof(command),
		 "{ ip -4 route show; ip -6 route show; } | grep -Fc '%s'", words);
	pipe = popen(command, "re");
	must(pipe && fscanf(pipe, "%u", &count) == 1, command);
	pclose(pipe);
	return count;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a change costs the agent's loop among many Nodes and many routes of others: in a network
 * namespace of its own, by the kernel's own netlink.
 *
 *     build/tests/bench/bench-node-routes [NODES [FOREIGN-ROUTES]]    (5,000 and 50,000)
 *
 * Each line: what happened, how long the loop was busy with it in all (time on a CPU), in how many
 * turns, and how long the longest of them took.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/unit/agent/node/routes_world.h"

static struct routes_world world;

static uint64_t cpu_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void put(unsigned int i, unsigned int version)
{
	char name[32], addresses[200], ranges[100];

	snprintf(name, sizeof(name), "m%u", i);
	snprintf(addresses, sizeof(addresses),
		 "{'type':'InternalIP','address':'172.20.%u.%u'},{'type':'InternalIP','address':"
		 "'2001:db8:7::%x'}",
		 i / 250 + 1, i % 250 + 2, i + 16);
	snprintf(ranges, sizeof(ranges), "'10.%u.%u.0/24','fd01:%x:%x::/64'", 64 + i / 256, i % 256,
		 version, i);
	world_node_at(&world, name, addresses, ranges);
}

/* Half of them IPv4, half IPv6, as a routing daemon has them. */
static void add_foreign(unsigned int count)
{
	FILE *batch = popen("ip -batch -", "we");

	for (unsigned int i = 0; batch && i < count / 2; i++)
		fprintf(batch,
			"route add 100.%u.%u.%u/30 via 192.168.7.66 proto bgp\n"
			"route add fd99:%x::/48 via 2001:db8:7::66 proto bgp\n",
			64 + i / 16384, i / 64 % 256, i % 64 * 4, i);
	if (!batch || pclose(batch) != 0)
		fprintf(stderr, "foreign routes could not be set\n");
}

static void begin(void)
{
	world.runs = 0;
	world.longest_ns = world.busy_ns = 0;
}

static void end(const char *what)
{
	struct node_routes_state state = world_state(&world);

	printf("%-50s %9.3f ms in %5u turns, the longest %7.3f ms   (%zu of %zu routes)\n", what,
	       (double)world.busy_ns / 1e6, world.runs, (double)world.longest_ns / 1e6,
	       state.installed, state.wanted);
}

/* With the listener's work, as it is done where the store changes. */
static void change(const char *what, unsigned int i, unsigned int version)
{
	uint64_t start;

	begin();
	start = cpu_ns();
	put(i, version);
	world.busy_ns += cpu_ns() - start;
	world_settle(&world);
	end(what);
}

int main(int argc, char **argv)
{
	unsigned int nodes = argc > 1 ? (unsigned int)atoi(argv[1]) : 5000;
	unsigned int foreign = argc > 2 ? (unsigned int)atoi(argv[2]) : 50000;

	world_open(&world);
	world_ip("addr add 172.20.0.1/16 dev up0");
	add_foreign(foreign);
	for (unsigned int i = 0; i < nodes; i++)
		put(i, 0);
	world_settle(&world);
	printf("%u dual-stack Nodes, %u routes of others\n", nodes, foreign);
	begin();
	world_synced(&world);
	world_pass(&world, 100000);
	end("start: all routes are set");
	change("a Node that says the same", 7, 0);
	change("a Node's range changes", 7, 1);
	begin();
	world_ip("addr add 203.0.113.1/24 dev peer0");
	world_settle(&world);
	end("an address on another link");
	begin();
	world_ip("addr add 203.0.113.129/24 dev up0");
	world_settle(&world);
	end("an address on the uplink");
	begin();
	world_ip("route add 100.127.0.0/30 via 192.168.7.66 proto bgp");
	world_settle(&world);
	end("a route of others");
	begin();
	world_ip("route del 10.64.9.0/24");
	world_settle(&world);
	end("a route is removed");
	world_restart(&world);
	begin();
	world_synced(&world);
	world_pass(&world, 10000);
	end("restart: all are there");
	begin();
	world_ip("route flush proto 80");
	world_pass(&world, 100000);
	end("all IPv4 routes of Polder are flushed");
	world_close(&world);
	return 0;
}

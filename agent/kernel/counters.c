/* SPDX-License-Identifier: Apache-2.0 */
/* Sums over per-CPU arrays, and the lists of names. */
#include "agent/kernel/counters.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "agent/common/cleanup.h"

/* The kernel hands out a value of every possible CPU, each of a multiple of eight bytes. */
static void *values_new(size_t size, int *ret_cpus)
{
	int cpus = libbpf_num_possible_cpus();

	if (cpus < 0)
		return NULL;
	*ret_cpus = cpus;
	return calloc((size_t)cpus, size);
}

int counters_read_drops(int map_fd, struct drop_counter *ret)
{
	CLEANUP(cleanup_free) struct drop_counter *values = NULL;
	struct drop_counter sums[DROPS_COUNT] = {0};
	int cpus = 0;

	values = values_new(sizeof(*values), &cpus);
	if (!values)
		return -ENOMEM;
	for (__u32 i = 0; i < DROPS_COUNT; i++) {
		int r = bpf_map_lookup_elem(map_fd, &i, values);

		if (r == -ENOENT)
			break;
		if (r < 0)
			return r;
		for (int cpu = 0; cpu < cpus; cpu++) {
			sums[i].packets += values[cpu].packets;
			sums[i].bytes += values[cpu].bytes;
		}
	}
	for (size_t i = 0; i < DROPS_COUNT; i++)
		ret[i] = sums[i];
	return 0;
}

static int sum_one(int map_fd, __u32 index, __u64 *values, int cpus, __u64 *ret)
{
	int r = bpf_map_lookup_elem(map_fd, &index, values);

	if (r < 0 && r != -ENOENT)
		return r;
	*ret = 0;
	for (int cpu = 0; r == 0 && cpu < cpus; cpu++)
		*ret += values[cpu];
	return 0;
}

int counters_read(int map_fd, __u64 *ret)
{
	CLEANUP(cleanup_free) __u64 *values = NULL;
	__u64 sums[COUNTER_COUNT];
	int cpus = 0, r = 0;

	values = values_new(sizeof(*values), &cpus);
	if (!values)
		return -ENOMEM;
	for (__u32 i = 0; r == 0 && i < COUNTER_COUNT; i++)
		r = sum_one(map_fd, i, values, cpus, &sums[i]);
	for (size_t i = 0; r == 0 && i < COUNTER_COUNT; i++)
		ret[i] = sums[i];
	return r;
}

int counters_read_one(int map_fd, enum polder_counter which, __u64 *ret)
{
	CLEANUP(cleanup_free) __u64 *values = NULL;
	int cpus = 0;

	values = values_new(sizeof(*values), &cpus);
	return values ? sum_one(map_fd, which, values, cpus, ret) : -ENOMEM;
}

struct name {
	const char *name, *text;
};

static const struct name reasons[] = {
#define X(id, name, text) {name, text},
	POLDER_REASONS(X)
#undef X
};

static const struct name counters[] = {
#define X(id, name, text) {name, text},
	POLDER_COUNTERS(X)
#undef X
};

static const char *const hooks[DROP_HOOKS] = {
	[DROP_FROM_POD] = "from_pod",	[DROP_TO_POD] = "to_pod",
	[DROP_FROM_WIRE] = "from_wire", [DROP_TO_WIRE] = "to_wire",
	[DROP_SOCKET] = "socket",	[DROP_FROM_TUNNEL] = "from_tunnel",
	[DROP_TO_TUNNEL] = "to_tunnel",
};

const char *reason_name(unsigned int reason)
{
	return reason < REASON_COUNT ? reasons[reason].name : "unknown";
}

const char *hook_name(unsigned int hook)
{
	return hook < DROP_HOOKS ? hooks[hook] : "unknown";
}

const char *counter_name(unsigned int counter)
{
	return counter < COUNTER_COUNT ? counters[counter].name : "unknown";
}

const char *counter_text(unsigned int counter)
{
	return counter < COUNTER_COUNT ? counters[counter].text : "a counter of another release";
}

const char *proto_name(unsigned int proto, char buffer[PROTO_NAME_MAX])
{
	switch (proto) {
	case IPPROTO_TCP:
		return "tcp";
	case IPPROTO_UDP:
		return "udp";
	case IPPROTO_SCTP:
		return "sctp";
	case IPPROTO_ICMP:
		return "icmp";
	case IPPROTO_ICMPV6:
		return "icmpv6";
	default:
		snprintf(buffer, PROTO_NAME_MAX, "%u", proto);
		return buffer;
	}
}

const char *family_name(unsigned int family)
{
	return family == FAMILY_V4 ? "ipv4" : family == FAMILY_V6 ? "ipv6" : "";
}

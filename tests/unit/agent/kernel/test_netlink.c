/* SPDX-License-Identifier: Apache-2.0 */
/* Netlink against the running kernel, in network namespaces of the test's own. */
#include "agent/kernel/netlink.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/common/array.h"
#include "agent/kernel/namespace.h"
#include "agent/kernel/netlink_internal.h"
#include "agent/kernel/netlink_network.h"
#include "agent/kernel/netlink_routes.h"
#include "tests/unit/unit.h"

static int home_fd = -1, other_fd = -1;
static struct netlink *nl, *other;

static const uint8_t mac_host[6] = {2, 0x70, 0x6f, 0x6c, 0x64, 0x72};
static const uint8_t mac_pod[6] = {2, 0, 0, 0, 0, 9};

static int own_namespace(void)
{
	return open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
}

/* The process moves into a fresh namespace; a second one is held by its descriptor. */
static int make_namespaces(void)
{
	if (unshare(CLONE_NEWNET) < 0)
		return -errno;
	other_fd = own_namespace();
	if (unshare(CLONE_NEWNET) < 0)
		return -errno;
	home_fd = own_namespace();
	return other_fd < 0 || home_fd < 0 ? -errno : 0;
}

static struct polder_addr addr(const char *text)
{
	struct polder_addr addr = {};

	CU_ASSERT_FATAL(addr_parse(text, &addr) == 0);
	return addr;
}

static struct veth_spec veth(const char *name, int ifindex, const char *peer)
{
	struct veth_spec spec = {.name = name,
				 .ifindex = ifindex,
				 .peer_name = peer,
				 .peer_netns_fd = other_fd,
				 .mtu = 1400};

	memcpy(spec.mac, mac_host, 6);
	memcpy(spec.peer_mac, mac_pod, 6);
	return spec;
}

static void begin(void)
{
	struct veth_spec spec = veth("pld0", 70000, "eth0");

	CU_ASSERT_FATAL(netlink_veth_add(nl, &spec) == 0);
}

static void end(void)
{
	CU_ASSERT(netlink_link_delete(nl, 70000) == 0);
	CU_ASSERT(netlink_link_delete(nl, 70000) == 0);
}

static void makes_a_pair_with_chosen_number_and_names(void)
{
	struct link_info here, there;

	begin();
	CU_ASSERT(netlink_link_get(nl, "pld0", &here) == 0);
	CU_ASSERT(here.ifindex == 70000 && here.mtu == 1400 && here.is_veth && !here.up);
	CU_ASSERT(memcmp(here.mac, mac_host, 6) == 0);
	CU_ASSERT(netlink_link_get(other, "eth0", &there) == 0);
	CU_ASSERT(there.mtu == 1400 && memcmp(there.mac, mac_pod, 6) == 0 && !there.up);
	CU_ASSERT(netlink_link_get_index(nl, 70000, &here) == 0);
	end();
	CU_ASSERT(netlink_link_get(nl, "pld0", &here) == -ENODEV);
	CU_ASSERT(netlink_link_get_index(nl, 70000, &here) == -ENODEV);
	CU_ASSERT(netlink_link_get(other, "eth0", &there) == -ENODEV);
}

static void tells_which_side_is_taken(void)
{
	struct veth_spec index = veth("pld1", 70000, "eth1");
	struct veth_spec name = veth("pld0", 70001, "eth1");
	struct veth_spec peer = veth("pld1", 70001, "eth0");
	struct link_info info;

	begin();
	CU_ASSERT(netlink_veth_add(nl, &index) == -EEXIST);
	CU_ASSERT(strstr(netlink_error(nl), "70000") != NULL);
	CU_ASSERT(netlink_veth_add(nl, &name) == -EEXIST);
	CU_ASSERT(strstr(netlink_error(nl), "pld0") != NULL);
	CU_ASSERT(netlink_veth_add(nl, &peer) == -EEXIST);
	CU_ASSERT(strstr(netlink_error(nl), "container") != NULL);
	/* Nothing is left of a pair that failed. */
	CU_ASSERT(netlink_link_get(nl, "pld1", &info) == -ENODEV);
	CU_ASSERT(netlink_link_get(other, "eth1", &info) == -ENODEV);
	end();
}

static void host_side_gets_no_address_of_its_own(void)
{
	struct link_info peer;
	struct prefix *list = NULL;
	size_t count = 1;

	begin();
	CU_ASSERT(netlink_link_get(other, "eth0", &peer) == 0);
	CU_ASSERT(netlink_link_set_up(other, peer.ifindex) == 0);
	CU_ASSERT(netlink_link_set_up(nl, 70000) == 0);
	CU_ASSERT(netlink_address_list(nl, 70000, &list, &count) == 0);
	CU_ASSERT(count == 0);
	free(list);
	end();
}

static void adds_an_address_twice(void)
{
	struct polder_addr v4 = addr("10.9.0.5"), v6 = addr("fd09::5");
	struct prefix *list = NULL;
	size_t count = 0;

	begin();
	for (int i = 0; i < 2; i++) {
		CU_ASSERT(netlink_address_add(nl, 70000, &v4, 128) == 0);
		CU_ASSERT(netlink_address_add(nl, 70000, &v6, 128) == 0);
	}
	CU_ASSERT(netlink_address_list(nl, 70000, &list, &count) == 0);
	CU_ASSERT(count == 2);
	free(list);
	CU_ASSERT(netlink_address_add(nl, 70009, &v4, 128) == -ENODEV);
	end();
}

static struct route_spec host_route(const char *text, int ifindex)
{
	struct route_spec route = {.ifindex = ifindex};

	route.destination.addr = addr(text);
	route.destination.length = 128;
	route.family = addr_is_v4(&route.destination.addr) ? FAMILY_V4 : FAMILY_V6;
	return route;
}

static void check_host_route(const char *text, const char *source)
{
	struct route_spec route = host_route(text, 70000);

	CU_ASSERT(netlink_route_find(nl, &route) == -ENOENT);
	CU_ASSERT(netlink_route_delete(nl, &route) == 0);
	route.has_source = true;
	route.source = addr(source);
	for (int i = 0; i < 2; i++)
		CU_ASSERT(netlink_route_replace(nl, &route) == 0);
	CU_ASSERT(netlink_route_find(nl, &route) == 0);
	route.has_source = false;
	CU_ASSERT(netlink_route_find(nl, &route) == 0);
	route.ifindex = 1;
	CU_ASSERT(netlink_route_find(nl, &route) == -ENOENT);
	route.ifindex = 70000;
	CU_ASSERT(netlink_route_delete(nl, &route) == 0);
	CU_ASSERT(netlink_route_find(nl, &route) == -ENOENT);
}

static void host_routes_come_and_go(void)
{
	struct polder_addr v4 = addr("192.0.2.1"), v6 = addr("2001:db8::1");
	struct route_spec wide = host_route("10.9.0.0", 70000),
			  narrow = host_route("10.9.0.7", 70000);

	begin();
	CU_ASSERT(netlink_link_set_up(nl, 1) == 0);
	CU_ASSERT(netlink_address_add(nl, 1, &v4, 128) == 0);
	CU_ASSERT(netlink_address_add(nl, 1, &v6, 128) == 0);
	CU_ASSERT(netlink_link_set_up(nl, 70000) == 0);
	check_host_route("10.9.0.5", "192.0.2.1");
	check_host_route("fd09::5", "2001:db8::1");
	/* A wider route to the same link is not the host's route. */
	wide.destination.length = 120;
	CU_ASSERT(netlink_route_replace(nl, &wide) == 0);
	CU_ASSERT(netlink_route_find(nl, &wide) == 0);
	CU_ASSERT(netlink_route_find(nl, &narrow) == -ENOENT);
	end();
}

static struct route_spec default_route(const char *gateway, int ifindex)
{
	struct route_spec route = {.ifindex = ifindex, .has_gateway = true};

	route.gateway = addr(gateway);
	route.family = addr_is_v4(&route.gateway) ? FAMILY_V4 : FAMILY_V6;
	return route;
}

static void finds_default_routes(void)
{
	static const char *const gateways[] = {"169.254.1.1", "fe80::1"};
	struct polder_addr v4 = addr("10.9.0.5");
	struct link_info peer;
	int ifindex = 0;

	begin();
	CU_ASSERT(netlink_link_get(other, "eth0", &peer) == 0);
	CU_ASSERT(netlink_link_set_up(nl, 70000) == 0);
	CU_ASSERT(netlink_link_set_up(other, peer.ifindex) == 0);
	CU_ASSERT(netlink_address_add(other, peer.ifindex, &v4, 128) == 0);
	for (size_t i = 0; i < 2; i++) {
		struct route_spec route = default_route(gateways[i], peer.ifindex);

		CU_ASSERT(netlink_default_route(other, route.family, &ifindex) == -ENOENT);
		CU_ASSERT(netlink_route_find(other, &route) == -ENOENT);
		for (int j = 0; j < 2; j++)
			CU_ASSERT(netlink_route_replace(other, &route) == 0);
		CU_ASSERT(netlink_route_find(other, &route) == 0);
		CU_ASSERT(netlink_default_route(other, route.family, &ifindex) == 0);
		CU_ASSERT(ifindex == peer.ifindex);
	}
	end();
}

static void neighbours_are_idempotent(void)
{
	struct polder_addr list[] = {addr("10.9.0.5"), addr("fd09::5")};

	begin();
	CU_ASSERT(netlink_link_set_up(nl, 70000) == 0);
	for (size_t i = 0; i < 2; i++) {
		CU_ASSERT(netlink_neighbour_replace(nl, 70000, &list[i], mac_pod) == 0);
		CU_ASSERT(netlink_neighbour_replace(nl, 70000, &list[i], mac_host) == 0);
	}
	end();
}

static void keeps_the_kernels_words(void)
{
	struct route_spec route = host_route("10.9.0.5", 70000);

	begin();
	CU_ASSERT(netlink_route_replace(nl, &route) == -ENETDOWN);
	CU_ASSERT(strlen(netlink_error(nl)) > 0);
	/* The next one that succeeds leaves none. */
	CU_ASSERT(netlink_link_set_up(nl, 70000) == 0);
	CU_ASSERT(strlen(netlink_error(nl)) == 0);
	end();
}

static int load_program(const char *name)
{
	struct bpf_insn code[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = -1},
		{.code = BPF_JMP | BPF_EXIT},
	};

	return bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, name, "GPL", code, 2, NULL);
}

static uint32_t prog_id(int fd)
{
	struct bpf_prog_info info = {};
	uint32_t length = sizeof(info);

	CU_ASSERT_FATAL(bpf_obj_get_info_by_fd(fd, &info, &length) == 0);
	return info.id;
}

static int run_tc(const char *words)
{
	char line[256];

	snprintf(line, sizeof(line), "tc %s >/dev/null 2>&1", words);
	return system(line);
}

static void clsact_attaches_replaces_and_leaves_nothing(void)
{
	int one = load_program("one"), two = load_program("two");
	uint32_t id = 1;

	CU_ASSERT_FATAL(one >= 0 && two >= 0);
	begin();
	CU_ASSERT(netlink_clsact_query(nl, 70000, false, CLSACT_FIRST, &id) == 0 && id == 0);
	CU_ASSERT(netlink_clsact_detach(nl, 70000, false, CLSACT_FIRST) == 0);
	CU_ASSERT(netlink_clsact_attach(nl, 70000, false, CLSACT_FIRST, one, "one") == 0);
	CU_ASSERT(netlink_clsact_query(nl, 70000, false, CLSACT_FIRST, &id) == 0 &&
		  id == prog_id(one));
	CU_ASSERT(netlink_clsact_query(nl, 70000, true, CLSACT_FIRST, &id) == 0 && id == 0);
	CU_ASSERT(netlink_clsact_attach(nl, 70000, false, CLSACT_FIRST, two, "two") == 0);
	CU_ASSERT(netlink_clsact_query(nl, 70000, false, CLSACT_FIRST, &id) == 0 &&
		  id == prog_id(two));
	CU_ASSERT(netlink_clsact_attach(nl, 70000, true, CLSACT_FIRST, one, "one") == 0);
	CU_ASSERT(netlink_clsact_query(nl, 70000, true, CLSACT_FIRST, &id) == 0 &&
		  id == prog_id(one));
	CU_ASSERT(netlink_clsact_detach(nl, 70000, false, CLSACT_FIRST) == 0);
	CU_ASSERT(netlink_clsact_query(nl, 70000, true, CLSACT_FIRST, &id) == 0 &&
		  id == prog_id(one));
	CU_ASSERT(netlink_clsact_detach(nl, 70000, true, CLSACT_FIRST) == 0);
	/* The qdisc went with the last filter, so it can be made anew. */
	CU_ASSERT(run_tc("qdisc add dev pld0 clsact") == 0);
	end();
	CU_ASSERT(netlink_clsact_detach(nl, 70000, true, CLSACT_FIRST) == 0);
	close(one);
	close(two);
}

static void clsact_leaves_what_others_made(void)
{
	int one = load_program("one");
	uint32_t id = 1;

	CU_ASSERT_FATAL(one >= 0);
	begin();
	CU_ASSERT(run_tc("qdisc add dev pld0 clsact") == 0);
	CU_ASSERT(netlink_clsact_attach(nl, 70000, false, CLSACT_FIRST, one, "one") == 0);
	CU_ASSERT(netlink_clsact_detach(nl, 70000, false, CLSACT_FIRST) == 0);
	CU_ASSERT(run_tc("qdisc add dev pld0 clsact") != 0);
	/* A filter in our place that is not ours is neither replaced nor deleted. */
	CU_ASSERT(run_tc("filter add dev pld0 ingress protocol all prio 1 handle 1 "
			 "bpf bytecode '1,6 0 0 0,' flowid 1:1") == 0);
	CU_ASSERT(netlink_clsact_attach(nl, 70000, false, CLSACT_FIRST, one, "one") == -EEXIST);
	CU_ASSERT(netlink_clsact_query(nl, 70000, false, CLSACT_FIRST, &id) == 0 && id == 0);
	CU_ASSERT(netlink_clsact_detach(nl, 70000, false, CLSACT_FIRST) == 0);
	CU_ASSERT(run_tc("filter get dev pld0 ingress protocol all prio 1 handle 1 bpf") == 0);
	end();
	close(one);
}

struct seen {
	int fresh, gone, addresses;
};

static void on_change(const struct netlink_event *event, void *data)
{
	struct seen *seen = data;

	if (event->link.ifindex != 70000)
		return;
	seen->fresh += event->change == NETLINK_LINK_NEW;
	seen->gone += event->change == NETLINK_LINK_GONE;
	seen->addresses += event->change == NETLINK_ADDRESS;
}

static void monitor_tells_links_and_addresses(void)
{
	struct polder_addr v4 = addr("10.9.0.5");
	struct netlink_monitor *monitor = NULL;
	struct seen seen = {};

	CU_ASSERT_FATAL(netlink_monitor_open(&monitor) == 0);
	begin();
	CU_ASSERT(netlink_address_add(nl, 70000, &v4, 128) == 0);
	end();
	CU_ASSERT(netlink_monitor_read(monitor, on_change, &seen) == 0);
	CU_ASSERT(seen.fresh > 0 && seen.gone == 1 && seen.addresses >= 1);
	netlink_monitor_close(monitor);
}

static void monitor_tells_that_messages_were_lost(void)
{
	struct polder_addr v4 = addr("10.9.0.5");
	struct netlink_monitor *monitor = NULL;
	struct route_spec route = host_route("10.9.0.5", 70000);
	struct seen seen = {};
	int size = 1, r = 0;

	CU_ASSERT_FATAL(netlink_monitor_open(&monitor) == 0);
	setsockopt(netlink_monitor_fd(monitor), SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	begin();
	CU_ASSERT(netlink_link_set_up(nl, 70000) == 0);
	CU_ASSERT(netlink_route_replace(nl, &route) == 0);
	for (int i = 1; i < 60; i++) {
		v4.bytes[15] = i;
		CU_ASSERT(netlink_address_add(nl, 70000, &v4, 128) == 0);
	}
	end();
	for (int i = 0; i < 8 && r == 0; i++)
		r = netlink_monitor_read(monitor, on_change, &seen);
	CU_ASSERT(r == -ENOBUFS);
	/* It goes on afterwards. */
	CU_ASSERT(netlink_monitor_read(monitor, on_change, &seen) == 0);
	netlink_monitor_close(monitor);
}

static void lists_many_links(void)
{
	struct link_info *list = NULL;
	size_t count = 0, ours = 0;

	for (int i = 0; i < 100; i++) {
		char name[IFNAMSIZ], peer[IFNAMSIZ];
		struct veth_spec spec = veth(name, 71000 + i, peer);

		snprintf(name, sizeof(name), "pld%d", i);
		snprintf(peer, sizeof(peer), "peer%d", i);
		CU_ASSERT(netlink_veth_add(nl, &spec) == 0);
	}
	CU_ASSERT(netlink_link_list(nl, &list, &count) == 0);
	for (size_t i = 0; i < count; i++)
		ours += list[i].ifindex >= 71000 && list[i].ifindex < 71100 && list[i].is_veth;
	CU_ASSERT(ours == 100);
	free(list);
	for (int i = 0; i < 100; i++)
		CU_ASSERT(netlink_link_delete(nl, 71000 + i) == 0);
}

static void knows_namespaces_apart(void)
{
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int uts = open("/proc/self/ns/uts", O_RDONLY | O_CLOEXEC);

	CU_ASSERT(namespace_check(other_fd) == 0);
	CU_ASSERT(namespace_check(home_fd) == -EEXIST);
	CU_ASSERT(namespace_check(null) == -EINVAL);
	CU_ASSERT(namespace_check(uts) == -EINVAL);
	CU_ASSERT(namespace_check(-1) == -EBADF);
	close(null);
	close(uts);
}

struct seen_tables {
	size_t main, others;
};

static int see_table(const struct nlmsghdr *header, void *data)
{
	const struct rtmsg *message = mnl_nlmsg_get_payload(header);
	struct seen_tables *seen = data;

	seen->main += message->rtm_table == RT_TABLE_MAIN;
	seen->others += message->rtm_table != RT_TABLE_MAIN;
	return 0;
}

static void see_none(void *data)
{
	*(struct seen_tables *)data = (struct seen_tables){};
}

/* The table "local" has some for each address, other tables whatever a VPN puts there. */
static void routes_of_other_tables_do_not_leave_the_kernel(void)
{
	static const uint8_t families[] = {AF_UNSPEC, AF_INET, AF_INET6};
	struct seen_tables seen;

	CU_ASSERT_FATAL(system("ip link add polder9 type veth peer name polder8 && "
			       "ip link set polder9 up && ip link set polder8 up && "
			       "ip addr add 192.0.2.1/24 dev polder9 && "
			       "ip addr add 2001:db8::1/64 dev polder9 nodad && "
			       "ip route add 198.51.100.0/24 dev polder9 table 100 && "
			       "ip -6 route add 2001:db8:1::/64 dev polder9 table 100") == 0);
	for (size_t i = 0; i < COUNT(families); i++) {
		see_none(&seen);
		CU_ASSERT(netlink_dump_main_routes(nl, families[i], 0, see_table, see_none,
						   &seen) == 0);
		CU_ASSERT(seen.main > 0);
		CU_ASSERT_EQUAL(seen.others, 0);
		see_none(&seen);
		CU_ASSERT(netlink_dump_main_routes(nl, families[i], NETLINK_ROUTE_PROTOCOL,
						   see_table, see_none, &seen) == 0);
		CU_ASSERT_EQUAL(seen.main + seen.others, 0);
	}
	CU_ASSERT(system("ip link del polder9") == 0);
}

static void note_route(const struct netlink_event *event, void *data)
{
	const struct polder_addr own = addr("198.51.100.0"), other = addr("198.51.101.0");
	struct seen_tables *seen = data;

	if (event->route) {
		seen->main += memcmp(&event->route->destination.addr, &own, sizeof(own)) == 0;
		seen->others += memcmp(&event->route->destination.addr, &other, sizeof(other)) == 0;
	}
	if (event->kernel_route) {
		seen->main +=
			memcmp(&event->kernel_route->destination.addr, &own, sizeof(own)) == 0;
		seen->others +=
			memcmp(&event->kernel_route->destination.addr, &other, sizeof(other)) == 0;
	}
}

static void monitor_tells_routes_of_the_main_table_in_both_forms(void)
{
	struct netlink_monitor *monitor = NULL;
	struct seen_tables seen = {};

	CU_ASSERT_FATAL(netlink_monitor_open(&monitor) == 0);
	CU_ASSERT_FATAL(system("ip link add polder9 type veth peer name polder8 && "
			       "ip link set polder9 up && ip link set polder8 up && "
			       "ip route add 198.51.100.0/24 dev polder9 && "
			       "ip route add 198.51.101.0/24 dev polder9 table 100") == 0);
	CU_ASSERT(netlink_monitor_read(monitor, note_route, &seen) == 0);
	CU_ASSERT_EQUAL(seen.main, 2);
	CU_ASSERT_EQUAL(seen.others, 0);
	netlink_monitor_close(monitor);
	CU_ASSERT(system("ip link del polder9") == 0);
}

/* What the kernel says in another place since it has more than eight of them. */
static void addresses_have_all_their_flags(void)
{
	const struct polder_addr plain = addr("192.0.2.1"), other = addr("192.0.2.2");
	struct address_info *list = NULL;
	size_t count = 0, seen = 0;

	CU_ASSERT_FATAL(system("ip link add polder9 type veth peer name polder8 && "
			       "ip addr add 192.0.2.1/24 dev polder9 && "
			       "ip addr add 192.0.2.2/32 dev polder9 noprefixroute") == 0);
	CU_ASSERT_FATAL(netlink_all_addresses(nl, &list, &count) == 0);
	for (size_t i = 0; i < count; i++) {
		bool is_plain = memcmp(&list[i].prefix.addr, &plain, sizeof(plain)) == 0;

		if (!is_plain && memcmp(&list[i].prefix.addr, &other, sizeof(other)) != 0)
			continue;
		CU_ASSERT_EQUAL(!(list[i].flags & IFA_F_NOPREFIXROUTE), is_plain);
		seen++;
	}
	CU_ASSERT_EQUAL(seen, 2);
	free(list);
	CU_ASSERT(system("ip link del polder9") == 0);
}

static int way_to(const char *text)
{
	const struct polder_addr destination = addr(text);
	struct route_info *list = NULL;
	size_t count = 0;
	int ifindex = -1;

	CU_ASSERT_FATAL(netlink_all_routes(nl, &list, &count) == 0);
	for (size_t i = 0; i < count; i++)
		if (memcmp(&list[i].destination.addr, &destination, sizeof(destination)) == 0)
			ifindex = list[i].ifindex;
	free(list);
	return ifindex;
}

static void a_route_leads_by_the_first_way_that_is_alive(void)
{
	int first, second;

	CU_ASSERT_FATAL(
		system("ip link add polder9 type veth peer name polder8 && "
		       "ip link set polder9 up && ip link set polder8 up && "
		       "ip route add 198.51.100.0 nexthop dev polder9 nexthop dev polder8") == 0);
	first = (int)if_nametoindex("polder9");
	second = (int)if_nametoindex("polder8");
	CU_ASSERT_EQUAL(way_to("198.51.100.0"), first);
	CU_ASSERT(system("ip link set polder9 down") == 0);
	CU_ASSERT_EQUAL(way_to("198.51.100.0"), second);
	CU_ASSERT(system("ip link del polder9") == 0);
	CU_ASSERT_EQUAL(way_to("198.51.100.0"), -1);
}

static const struct unit_test tests[] = {
	UNIT_TEST(monitor_tells_routes_of_the_main_table_in_both_forms),
	UNIT_TEST(addresses_have_all_their_flags),
	UNIT_TEST(a_route_leads_by_the_first_way_that_is_alive),
	UNIT_TEST(routes_of_other_tables_do_not_leave_the_kernel),
	UNIT_TEST(makes_a_pair_with_chosen_number_and_names),
	UNIT_TEST(tells_which_side_is_taken),
	UNIT_TEST(host_side_gets_no_address_of_its_own),
	UNIT_TEST(adds_an_address_twice),
	UNIT_TEST(host_routes_come_and_go),
	UNIT_TEST(finds_default_routes),
	UNIT_TEST(neighbours_are_idempotent),
	UNIT_TEST(keeps_the_kernels_words),
	UNIT_TEST(clsact_attaches_replaces_and_leaves_nothing),
	UNIT_TEST(clsact_leaves_what_others_made),
	UNIT_TEST(monitor_tells_links_and_addresses),
	UNIT_TEST(monitor_tells_that_messages_were_lost),
	UNIT_TEST(lists_many_links),
	UNIT_TEST(knows_namespaces_apart),
};

int main(void)
{
	int failed;

	if (make_namespaces() < 0) {
		fprintf(stderr, "skipped: network namespaces need root (CAP_SYS_ADMIN)\n");
		return 77;
	}
	if (netlink_open(-1, &nl) < 0 || netlink_open(other_fd, &other) < 0)
		return 1;
	failed = UNIT_RUN("netlink", tests);
	netlink_close(nl);
	netlink_close(other);
	return failed;
}

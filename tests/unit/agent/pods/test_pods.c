/* SPDX-License-Identifier: Apache-2.0 */
/* Containers connected, checked and disconnected on the running kernel, in network namespaces of
 * the test's own. */
#include "agent/pods/pods.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "agent/common/cleanup.h"
#include "agent/common/log.h"
#include "agent/common/state_file.h"
#include "agent/kernel/namespace.h"
#include "tests/unit/agent/pods/pods_world.h"
#include "tests/unit/unit.h"

static void answers_with_one_sandbox_and_both_families(void)
{
	json_t *result = NULL;

	begin();
	CU_ASSERT_FATAL(add_with("c1", 0, "{\"name\":\"net\"}", &result) == 0);
	CU_ASSERT(datapath.connected == 1 && datapath.link_was_down);
	CU_ASSERT_STRING_EQUAL(text_at(result, "interfaces", 0, "name"), pods_at(pods, 0)->link);
	CU_ASSERT_STRING_EQUAL(text_at(result, "interfaces", 0, "sandbox"), "");
	CU_ASSERT_STRING_EQUAL(text_at(result, "interfaces", 1, "name"), "eth0");
	CU_ASSERT_STRING_EQUAL(text_at(result, "interfaces", 1, "sandbox"), "/run/netns/test");
	CU_ASSERT_STRING_EQUAL(text_at(result, "ips", 0, "address"), "10.50.0.2/32");
	CU_ASSERT_STRING_EQUAL(text_at(result, "ips", 1, "address"), "fd50::2/128");
	CU_ASSERT_STRING_EQUAL(text_at(result, "ips", 0, "gateway"), "169.254.1.1");
	CU_ASSERT_STRING_EQUAL(text_at(result, "routes", 1, "dst"), "::/0");
	CU_ASSERT_STRING_EQUAL(text_at(result, "routes", 1, "gw"), "fe80::1");
	CU_ASSERT(json_is_object(json_object_get(result, "dns")));
	json_decref(result);
	CU_ASSERT(del("c1") == 0 && datapath.disconnected == 1);
	end();
}

/* A datagram there and back: node and container, both families, at once. */
static int exchange(const struct sockaddr *to, socklen_t length, int server)
{
	struct timeval patience = {.tv_sec = 2};
	struct sockaddr_storage from;
	socklen_t from_length = sizeof(from);
	char text[8] = "";
	int client = socket(to->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0), r = -EIO;

	setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(server, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (sendto(client, "ping", 4, 0, to, length) == 4 &&
	    recvfrom(server, text, sizeof(text), 0, (struct sockaddr *)&from, &from_length) == 4 &&
	    sendto(server, "pong", 4, 0, (struct sockaddr *)&from, from_length) == 4 &&
	    recv(client, text, sizeof(text), 0) == 4)
		r = 0;
	close(client);
	return r;
}

struct server {
	int family, fd;
	struct sockaddr_storage addr;
	socklen_t length;
};

static int start_server(void *data)
{
	struct server *server = data;

	server->fd = socket(server->family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	return bind(server->fd, (struct sockaddr *)&server->addr, server->length) < 0 ? -errno : 0;
}

static void check_exchange(int family, const struct polder_addr *addr)
{
	struct server server = {.family = family};
	struct sockaddr_in *v4 = (struct sockaddr_in *)&server.addr;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&server.addr;

	if (family == AF_INET) {
		*v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(7000)};
		memcpy(&v4->sin_addr, addr->bytes + 12, 4);
		server.length = sizeof(*v4);
	} else {
		*v6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(7000)};
		memcpy(&v6->sin6_addr, addr->bytes, 16);
		server.length = sizeof(*v6);
	}
	CU_ASSERT(namespace_run(containers[0], start_server, &server) == 0);
	CU_ASSERT(exchange((struct sockaddr *)&server.addr, server.length, server.fd) == 0);
	close(server.fd);
}

static void packets_pass_at_once(void)
{
	begin();
	CU_ASSERT(netlink_link_set_up(nl, 1) == 0);
	CU_ASSERT(addr_parse("192.0.2.1", &config.node_ip_v4) == 0);
	CU_ASSERT(addr_parse("2001:db8::1", &config.node_ip_v6) == 0);
	CU_ASSERT(netlink_address_add(nl, 1, &config.node_ip_v4, 128) == 0);
	CU_ASSERT(netlink_address_add(nl, 1, &config.node_ip_v6, 128) == 0);
	CU_ASSERT_FATAL(add("c1", 0) == 0);
	check_exchange(AF_INET, &pods_at(pods, 0)->ipv4);
	check_exchange(AF_INET6, &pods_at(pods, 0)->ipv6);
	CU_ASSERT(del("c1") == 0);
	end();
}

static int disable_ipv6(void *data)
{
	return sysctl_link_set("ipv6", "default", "disable_ipv6", data);
}

static void enables_ipv6_where_the_runtime_turned_it_off(void)
{
	begin();
	CU_ASSERT_FATAL(namespace_run(containers[1], disable_ipv6, "1") == 0);
	CU_ASSERT(add("c1", 1) == 0);
	CU_ASSERT(del("c1") == 0);
	CU_ASSERT(namespace_run(containers[1], disable_ipv6, "0") == 0);
	end();
}

static void refuses_what_exists(void)
{
	begin();
	CU_ASSERT_FATAL(add("c1", 0) == 0);
	/* The same attachment again, and another container's in the same namespace. */
	CU_ASSERT(add("c1", 0) == -EEXIST && error.code == 4);
	CU_ASSERT(add("c2", 0) == -EEXIST && error.code == 4);
	CU_ASSERT(strstr(error.text, "eth0") != NULL);
	CU_ASSERT(pods_count(pods) == 1 && link_count() == 1 && record_count() == 1);
	CU_ASSERT(del("c2") == 0 && del("c1") == 0 && del("c1") == 0);
	end();
}

static void refuses_namespaces_that_are_none(void)
{
	int before = containers[0];

	begin();
	containers[0] = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	CU_ASSERT(add("c1", 0) == -EEXIST && error.code == 4);
	close(containers[0]);
	containers[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	CU_ASSERT(add("c1", 0) == -EINVAL && error.code == 4);
	close(containers[0]);
	containers[0] = -1;
	CU_ASSERT(add("c1", 0) < 0 && error.code == 4);
	containers[0] = before;
	end();
}

static void failed_add_leaves_nothing(void)
{
	begin();
	datapath.connect_result = -ENOSPC;
	CU_ASSERT(add("c1", 0) == -ENOSPC && error.code == 11);
	CU_ASSERT_STRING_EQUAL(error.details, "map pods is full");
	CU_ASSERT(datapath.disconnected == 1);
	end();
}

static void failed_record_takes_everything_back(void)
{
	char path[128], away[128];

	begin();
	snprintf(path, sizeof(path), "%s/pods", run_dir);
	snprintf(away, sizeof(away), "%s/away", run_dir);
	CU_ASSERT_FATAL(rename(path, away) == 0);
	CU_ASSERT(add("c1", 0) < 0 && error.code == 5);
	CU_ASSERT(link_count() == 0 && datapath.disconnected == 1);
	CU_ASSERT_FATAL(rename(away, path) == 0);
	end();
}

static void honours_a_wanted_mtu_up_to_the_nodes(void)
{
	uint32_t node;

	begin();
	CU_ASSERT_FATAL(add("c0", 0) == 0);
	node = pods_at(pods, 0)->mtu;
	CU_ASSERT_FATAL(node > 1300 && node < 65535);
	CU_ASSERT_FATAL(add_with("c1", 1, "{\"name\":\"net\",\"mtu\":1300}", NULL) == 0);
	CU_ASSERT(pods_at(pods, 1)->mtu == 1300);
	CU_ASSERT_FATAL(add_with("c2", 2, "{\"name\":\"net\",\"mtu\":65535}", NULL) == 0);
	CU_ASSERT(pods_at(pods, 2)->mtu == node);
	CU_ASSERT(del("c2") == 0);
	CU_ASSERT(add_with("c2", 2, "{\"name\":\"net\",\"mtu\":1279}", NULL) == -EINVAL &&
		  error.code == 7);
	CU_ASSERT(del("c1") == 0 && del("c0") == 0);
	end();
}

static void honours_wanted_address_and_mac(void)
{
	static const char text[] =
		"{\"name\":\"net\",\"runtimeConfig\":{\"ips\":[\"10.50.0.77\",\"10.50.0.77\"],"
		"\"mac\":\"02:00:00:00:00:77\"}}";
	json_t *result = NULL;

	begin();
	CU_ASSERT_FATAL(add_with("c1", 0, text, &result) == 0);
	CU_ASSERT_STRING_EQUAL(text_at(result, "ips", 0, "address"), "10.50.0.77/32");
	CU_ASSERT_STRING_EQUAL(text_at(result, "ips", 1, "address"), "fd50::2/128");
	CU_ASSERT_STRING_EQUAL(text_at(result, "interfaces", 1, "mac"), "02:00:00:00:00:77");
	json_decref(result);
	CU_ASSERT(add_with("c2", 1, text, NULL) == -EADDRINUSE && error.code == 11);
	CU_ASSERT(add_with("c2", 1,
			   "{\"name\":\"net\",\"args\":{\"cni\":{\"ips\":[\"10.51.0.2\"]}}}",
			   NULL) == -ERANGE &&
		  error.code == 7);
	CU_ASSERT(add_with("c2", 1,
			   "{\"name\":\"net\",\"args\":{\"cni\":{\"ips\":[\"10.50.0.1\"]}}}",
			   NULL) == -EPERM &&
		  error.code == 7);
	CU_ASSERT(del("c1") == 0);
	end();
}

static void late_del_frees_nothing_of_another(void)
{
	char text[INET6_ADDRSTRLEN];

	open_with("10.50.0.0/30", NULL);
	CU_ASSERT_FATAL(add("c1", 0) == 0);
	CU_ASSERT(status() < 0 && error.code == 50);
	CU_ASSERT(add("c2", 1) == -ENOSPC && error.code == 11);
	CU_ASSERT(del("c1") == 0 && status() == 0);
	CU_ASSERT_FATAL(add("c2", 1) == 0);
	CU_ASSERT(del("c1") == 0);
	CU_ASSERT_STRING_EQUAL(address_of(0, text), "10.50.0.2");
	CU_ASSERT(add("c3", 2) == -ENOSPC);
	CU_ASSERT(del("c2") == 0);
	end();
}

static void sweeps_pods_whose_link_vanished(void)
{
	int ifindex;

	begin();
	CU_ASSERT_FATAL(add("c1", 0) == 0 && add("c2", 1) == 0);
	ifindex = pods_at(pods, 0)->ifindex;
	/* An event about a link that is there changes nothing. */
	pods_link_gone(pods, ifindex);
	CU_ASSERT(pods_prune(pods) == 0);
	CU_ASSERT(netlink_link_delete(nl, ifindex) == 0);
	pods_link_gone(pods, ifindex);
	CU_ASSERT(pods_at(pods, 0)->gone);
	CU_ASSERT(pods_prune(pods) == 1 && pods_count(pods) == 1 && record_count() == 1);
	/* While the agent is away. */
	CU_ASSERT(netlink_link_delete(nl, pods_at(pods, 0)->ifindex) == 0);
	restart();
	CU_ASSERT(pods_count(pods) == 1 && pods_at(pods, 0)->gone && pods_prune(pods) == 1);
	/* A container that comes back without DEL. */
	CU_ASSERT_FATAL(add("c1", 0) == 0);
	CU_ASSERT(netlink_link_delete(nl, pods_at(pods, 0)->ifindex) == 0);
	CU_ASSERT(add("c1", 0) == 0 && pods_count(pods) == 1);
	CU_ASSERT(del("c1") == 0);
	end();
}

static void repairs_what_others_removed(void)
{
	struct netlink *inside = NULL;
	const struct local_pod *pod;
	struct route_spec route = {.family = FAMILY_V4};
	struct link_info info;
	char line[128];

	begin();
	CU_ASSERT_FATAL(add("c1", 0) == 0);
	pod = pods_at(pods, 0);
	route.destination = (struct prefix){.addr = pod->ipv4, .length = 128};
	route.ifindex = pod->ifindex;
	CU_ASSERT(pods_repair(pods) == 0);
	CU_ASSERT(netlink_route_delete(nl, &route) == 0 &&
		  netlink_route_find(nl, &route) == -ENOENT);
	CU_ASSERT(pods_repair(pods) == 0 && netlink_route_find(nl, &route) == 0);
	snprintf(line, sizeof(line), "ip link set %s down", pod->link);
	CU_ASSERT(system(line) == 0 && netlink_route_find(nl, &route) == -ENOENT);
	CU_ASSERT(pods_repair(pods) == 0 && netlink_route_find(nl, &route) == 0);
	/* The container's side saw its carrier go and come. */
	CU_ASSERT_FATAL(netlink_open(containers[0], &inside) == 0);
	CU_ASSERT_FATAL(netlink_link_get(inside, "eth0", &info) == 0);
	CU_ASSERT(comes_up(nl, pod->ifindex) && comes_up(inside, info.ifindex));
	netlink_close(inside);
	check_exchange(AF_INET, &pod->ipv4);
	check_exchange(AF_INET6, &pod->ipv6);
	CU_ASSERT(del("c1") == 0);
	end();
}

static void a_pod_taken_away_while_its_links_come_up_is_not_connected(void)
{
	struct pod_adding *adding = NULL;
	json_t *result = NULL;

	begin();
	CU_ASSERT_FATAL(begin_add("c1", 0, "{\"name\":\"net\"}", &adding) == 0);
	CU_ASSERT(begin_add("c1", 0, "{\"name\":\"net\"}", &adding) == -EEXIST);
	CU_ASSERT(del("c1") == 0);
	CU_ASSERT_EQUAL(pods_adding_poll(adding, false, &result, &error), -ECANCELED);
	CU_ASSERT(result == NULL && error.code == 11);
	end();
}

static void a_cancelled_add_leaves_nothing(void)
{
	struct pod_adding *adding = NULL;

	begin();
	CU_ASSERT_FATAL(begin_add("c1", 0, "{\"name\":\"net\"}", &adding) == 0);
	CU_ASSERT(pods_count(pods) == 1 && record_count() == 1);
	pods_adding_cancel(adding);
	end();
}

static void links_stay_down_until_the_policies_are_in_force(void)
{
	struct pod_adding *adding = NULL;
	struct link_info info = {};
	json_t *result = NULL;

	begin();
	datapath.in_force_result = -EAGAIN;
	CU_ASSERT_FATAL(begin_add("c1", 0, "{\"name\":\"net\"}", &adding) == 0);
	for (int i = 0; i < 3; i++)
		CU_ASSERT_EQUAL(pods_adding_poll(adding, false, &result, &error), -EAGAIN);
	CU_ASSERT_EQUAL(datapath.connected, 1);
	CU_ASSERT(pods_repair(pods) == 0);
	CU_ASSERT(netlink_link_get_index(nl, pods_at(pods, 0)->ifindex, &info) == 0 && !info.up);
	datapath.in_force_result = 0;
	CU_ASSERT(wait_reachable(adding, &result) == 0 && result);
	json_decref(result);
	CU_ASSERT(del("c1") == 0);
	end();
}

static void policies_that_do_not_come_in_force_in_time_fail_the_add(void)
{
	struct pod_adding *adding = NULL;
	json_t *result = NULL;

	begin();
	datapath.in_force_result = -EAGAIN;
	CU_ASSERT_FATAL(begin_add("c1", 0, "{\"name\":\"net\"}", &adding) == 0);
	/* Not -EAGAIN: nobody may poll it again. */
	CU_ASSERT_EQUAL(pods_adding_poll(adding, true, &result, &error), -ETIMEDOUT);
	CU_ASSERT(error.code == 11 && strstr(error.details, "its policies wait"));
	CU_ASSERT_EQUAL(datapath.disconnected, 1);
	end();
}

static void an_interface_that_does_not_come_up_in_time_fails_the_add(void)
{
	struct pod_adding *adding = NULL;
	json_t *result = NULL;
	char line[64];

	begin();
	CU_ASSERT_FATAL(begin_add("c1", 0, "{\"name\":\"net\"}", &adding) == 0);
	CU_ASSERT_EQUAL(pods_adding_poll(adding, false, &result, &error), -EAGAIN); /* set up */
	snprintf(line, sizeof(line), "ip link set %s down", pods_at(pods, 0)->link);
	CU_ASSERT_FATAL(system(line) == 0);
	CU_ASSERT_EQUAL(pods_adding_poll(adding, false, &result, &error), -EAGAIN);
	CU_ASSERT_EQUAL(pods_adding_poll(adding, true, &result, &error), -ETIMEDOUT);
	CU_ASSERT(error.code == 11 && strstr(error.text, "the container's interface"));
	CU_ASSERT(strstr(error.details, "did not come up in time") != NULL);
	CU_ASSERT_EQUAL(datapath.disconnected, 1);
	end();
}

static void check_finds_what_is_missing(void)
{
	struct netlink *inside = NULL;
	struct link_info info;
	struct route_spec route = {.family = FAMILY_V6};
	json_t *result = NULL;
	char line[128];

	begin();
	CU_ASSERT_FATAL(add_with("c1", 0, "{\"name\":\"net\"}", &result) == 0);
	CU_ASSERT_FATAL(netlink_open(containers[0], &inside) == 0);
	CU_ASSERT(check("c1", 0, result) == 0 && datapath.checked == 1);
	CU_ASSERT(check("c9", 0, result) < 0 && error.code == 3);
	CU_ASSERT(check("c1", 0, json_null()) < 0 && error.code == 7);
	CU_ASSERT(check("c1", 1, result) < 0 && strstr(error.text, "interface eth0 is missing"));
	datapath.check_result = -ENOENT;
	CU_ASSERT(check("c1", 0, result) < 0);
	CU_ASSERT_STRING_EQUAL(error.text, "the program is detached");
	datapath.check_result = 0;
	CU_ASSERT(netlink_link_get(inside, "eth0", &info) == 0);
	route.ifindex = info.ifindex;
	CU_ASSERT(netlink_route_delete(inside, &route) == 0);
	CU_ASSERT(check("c1", 0, result) < 0 && strstr(error.text, "IPv6 default route"));
	snprintf(line, sizeof(line), "ip link set %s down", pods_at(pods, 0)->link);
	CU_ASSERT(system(line) == 0);
	CU_ASSERT(check("c1", 0, result) < 0 && strstr(error.text, "is down"));
	netlink_close(inside);
	json_decref(result);
	CU_ASSERT(del("c1") == 0);
	end();
}

static void gc_frees_only_what_is_surely_unknown(void)
{
	static const char *const nothing[] = {
		"{\"network\":\"net\"}",
		"{\"network\":\"net\",\"valid\":5}",
		"{\"valid\":[]}",
		"{\"network\":\"net\",\"valid\":{}}",
		"{\"network\":\"net\",\"valid\":[{\"ifname\":\"eth0\"}]}",
		"{\"network\":\"other\",\"valid\":[]}",
	};

	begin();
	CU_ASSERT_FATAL(add("c1", 0) == 0 && add("c2", 1) == 0);
	for (size_t i = 0; i < sizeof(nothing) / sizeof(nothing[0]); i++)
		CU_ASSERT(gc(nothing[i]) == 0 && pods_count(pods) == 2);
	CU_ASSERT(gc("{\"network\":\"net\",\"valid\":[{\"containerID\":\"c2\",\"ifname\":\"eth0\"}]"
		     "}") == 0);
	CU_ASSERT(pods_count(pods) == 1);
	CU_ASSERT_STRING_EQUAL(pods_at(pods, 0)->container_id, "c2");
	CU_ASSERT(gc("{\"network\":\"net\",\"valid\":null}") == 0);
	end();
}

static void connects_256_containers_quickly(void)
{
	struct timespec start, stop;
	double ms;
	int fds[256], before = containers[0], home;
	char id[16];

	open_with("10.50.0.0/23", "fd50::/64");
	home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	for (int i = 0; i < 256; i++)
		fds[i] = make_container();
	CU_ASSERT_FATAL(setns(home, CLONE_NEWNET) == 0);
	close(home);
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (int i = 0; i < 256; i++) {
		containers[0] = fds[i];
		snprintf(id, sizeof(id), "c%d", i);
		CU_ASSERT(add(id, 0) == 0);
	}
	clock_gettime(CLOCK_MONOTONIC, &stop);
	ms = (stop.tv_sec - start.tv_sec) * 1e3 + (stop.tv_nsec - start.tv_nsec) / 1e6;
	printf("\n    256 containers connected in %.0f ms, %.2f ms each\n", ms, ms / 256);
	CU_ASSERT(link_count() == 256 && record_count() == 256 && pods_count(pods) == 256);
	/* As many as there may be: one more is told so. */
	config.max_pods = 256;
	CU_ASSERT(add("one-more", 1) < 0);
	CU_ASSERT(strstr(error.text, "room for 256") && strstr(error.text, "--max-pods"));
	CU_ASSERT(pods_cni_status(pods, NULL, &error) < 0 && strstr(error.text, "room for 256"));
	CU_ASSERT(gc("{\"network\":\"net\",\"valid\":[]}") == 0);
	for (int i = 0; i < 256; i++)
		close(fds[i]);
	containers[0] = before;
	end();
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(answers_with_one_sandbox_and_both_families),
		UNIT_TEST(packets_pass_at_once),
		UNIT_TEST(enables_ipv6_where_the_runtime_turned_it_off),
		UNIT_TEST(refuses_what_exists),
		UNIT_TEST(refuses_namespaces_that_are_none),
		UNIT_TEST(failed_add_leaves_nothing),
		UNIT_TEST(failed_record_takes_everything_back),
		UNIT_TEST(honours_wanted_address_and_mac),
		UNIT_TEST(honours_a_wanted_mtu_up_to_the_nodes),
		UNIT_TEST(late_del_frees_nothing_of_another),
		UNIT_TEST(sweeps_pods_whose_link_vanished),
		UNIT_TEST(repairs_what_others_removed),
		UNIT_TEST(a_pod_taken_away_while_its_links_come_up_is_not_connected),
		UNIT_TEST(a_cancelled_add_leaves_nothing),
		UNIT_TEST(links_stay_down_until_the_policies_are_in_force),
		UNIT_TEST(policies_that_do_not_come_in_force_in_time_fail_the_add),
		UNIT_TEST(an_interface_that_does_not_come_up_in_time_fails_the_add),
		UNIT_TEST(check_finds_what_is_missing),
		UNIT_TEST(gc_frees_only_what_is_surely_unknown),
		UNIT_TEST(connects_256_containers_quickly),
	};
	int failed = pods_world_open();

	if (failed)
		return failed;
	failed = UNIT_RUN("pods", tests);
	pods_world_close();
	return failed;
}

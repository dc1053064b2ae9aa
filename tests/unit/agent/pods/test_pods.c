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
#include "tests/unit/unit.h"

#define CONTAINERS 3
static int containers[CONTAINERS];
static struct netlink *nl;
static struct config config;
static struct pods *pods;
static char run_dir[] = "/tmp/polder-test-pods-XXXXXX";
static struct error error;

/* ---------------------------------------------------------- what the datapath would do */

static struct {
	int connected, disconnected, checked;
	int connect_result, in_force_result, check_result;
	bool link_was_down;
} datapath;

static int connect_hook(const struct local_pod *pod, char *message, size_t size, void *data)
{
	struct link_info info;

	datapath.connected++;
	datapath.link_was_down = netlink_link_get_index(nl, pod->ifindex, &info) == 0 && !info.up;
	if (datapath.connect_result < 0)
		snprintf(message, size, "map pods is full");
	return datapath.connect_result;
}

static int in_force_hook(const struct local_pod *pod, char *message, size_t size, void *data)
{
	if (datapath.in_force_result < 0)
		snprintf(message, size, "its policies wait");
	return datapath.in_force_result;
}

static void disconnect_hook(const struct local_pod *pod, void *data)
{
	datapath.disconnected++;
}

static int check_hook(const struct local_pod *pod, char *message, size_t size, void *data)
{
	datapath.checked++;
	if (datapath.check_result < 0)
		snprintf(message, size, "the program is detached");
	return datapath.check_result;
}

static char copies[80], pool[80];
static const struct pods_hooks hooks = {
	.connect = connect_hook,
	.in_force = in_force_hook,
	.disconnect = disconnect_hook,
	.check = check_hook,
	.copies = copies,
	.pool = pool,
	.agent_id = "0123456789abcdef",
};

/* ------------------------------------------------------------------------ set-up */

static int make_container(void)
{
	int fd;

	if (unshare(CLONE_NEWNET) < 0)
		return -errno;
	fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int make_namespaces(void)
{
	for (int i = 0; i < CONTAINERS; i++) {
		containers[i] = make_container();
		if (containers[i] < 0)
			return containers[i];
	}
	return unshare(CLONE_NEWNET) < 0 ? -errno : 0;
}

static size_t record_count(void)
{
	char path[128];
	struct dirent *entry;
	size_t count = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/pods", run_dir);
	dir = opendir(path);
	while (dir && (entry = readdir(dir)) != NULL)
		count += entry->d_name[0] != '.';
	if (dir)
		closedir(dir);
	return count;
}

static size_t link_count(void)
{
	struct link_info *links = NULL;
	size_t count = 0, ours = 0;

	CU_ASSERT(netlink_link_list(nl, &links, &count) == 0);
	for (size_t i = 0; i < count; i++)
		ours += strncmp(links[i].name, "pld", 3) == 0;
	free(links);
	return ours;
}

static void open_with(const char *v4, const char *v6)
{
	memset(&datapath, 0, sizeof(datapath));
	config.run_dir = run_dir;
	config.pod_mtu = 1450;
	config.max_pods = 4096;
	config.pod_cidr_v4 = config.pod_cidr_v6 = (struct prefix){};
	CU_ASSERT_FATAL(!v4 || prefix_parse(v4, &config.pod_cidr_v4) == 0);
	CU_ASSERT_FATAL(!v6 || prefix_parse(v6, &config.pod_cidr_v6) == 0);
	CU_ASSERT_FATAL(pods_open(&config, nl, &hooks, &pods) == 0);
}

static void begin(void)
{
	open_with("10.50.0.0/24", "fd50::/64");
}

static void restart(void)
{
	pods_close(pods);
	pods = NULL;
	CU_ASSERT_FATAL(pods_open(&config, nl, &hooks, &pods) == 0);
}

/* Nothing may be left. */
static void end(void)
{
	struct pool_usage usage;

	CU_ASSERT(pods_count(pods) == 0);
	CU_ASSERT(link_count() == 0);
	CU_ASSERT(record_count() == 0);
	pods_pool_usage(pods, &usage);
	CU_ASSERT(usage.used_v4 == 0 && usage.used_v6 == 0);
	pods_close(pods);
	pods = NULL;
	unlink(pool); /* the next test begins with the first address */
}

/* ---------------------------------------------------------------------- requests */

/* As the agent does, until the kernel has brought the links up. */
static int wait_reachable(struct pod_adding *adding, json_t **ret_result)
{
	int r = -EAGAIN;

	for (int i = 0; i < 1000 && r == -EAGAIN; i++) {
		r = pods_adding_poll(adding, i == 999, ret_result, &error);
		if (r == -EAGAIN)
			usleep(1000);
	}
	return r;
}

static bool comes_up(struct netlink *of, int ifindex)
{
	bool running = false;

	for (int i = 0; i < 1000 && netlink_link_is_running(of, ifindex, &running) == 0 && !running;
	     i++)
		usleep(1000);
	return running;
}

static json_t *add_args(const char *id, const char *config_text)
{
	json_t *args = json_pack("{s:s, s:s, s:s, s:{s:s, s:s}, s:o}", "container_id", id, "ifname",
				 "eth0", "netns", "/run/netns/test", "cni_args",
				 "K8S_POD_NAMESPACE", "shop", "K8S_POD_NAME", "web", "config",
				 json_loads(config_text, 0, NULL));

	CU_ASSERT_FATAL(args != NULL);
	return args;
}

static int begin_add(const char *id, int container, const char *config_text,
		     struct pod_adding **ret)
{
	json_t *args = add_args(id, config_text);
	int r;

	memset(&error, 0, sizeof(error));
	r = pods_cni_add(pods, args, containers[container], ret, &error);
	json_decref(args);
	return r;
}

static int add_with(const char *id, int container, const char *config_text, json_t **ret)
{
	struct pod_adding *adding = NULL;
	json_t *result = NULL;
	int r = begin_add(id, container, config_text, &adding);

	if (r == 0)
		r = wait_reachable(adding, &result);
	if (ret)
		*ret = result;
	else
		json_decref(result);
	return r;
}

static int add(const char *id, int container)
{
	return add_with(id, container, "{\"name\":\"net\"}", NULL);
}

static int del(const char *id)
{
	json_t *args = json_pack("{s:s, s:s}", "container_id", id, "ifname", "eth0");
	int r = pods_cni_del(pods, args, &error);

	json_decref(args);
	return r;
}

static int check(const char *id, int container, json_t *prev_result)
{
	json_t *args = json_pack("{s:s, s:s, s:{s:s, s:O}}", "container_id", id, "ifname", "eth0",
				 "config", "name", "net", "prevResult", prev_result);
	int r;

	memset(&error, 0, sizeof(error));
	r = pods_cni_check(pods, args, containers[container], &error);
	json_decref(args);
	return r;
}

static int gc(const char *args_text)
{
	json_t *args = json_loads(args_text, 0, NULL);
	int r = pods_cni_gc(pods, args, &error);

	json_decref(args);
	return r;
}

static int status(void)
{
	json_t *args = json_object();
	int r = pods_cni_status(pods, args, &error);

	json_decref(args);
	return r;
}

static const char *address_of(size_t index, char *buffer)
{
	return addr_format(&pods_at(pods, index)->ipv4, buffer);
}

static const char *text_at(const json_t *result, const char *list, size_t index, const char *key)
{
	const char *text = json_string_value(
		json_object_get(json_array_get(json_object_get(result, list), index), key));

	return text ? text : "";
}

/* -------------------------------------------------------------------------- tests */

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

static void finds_its_pods_after_a_restart(void)
{
	char text[INET6_ADDRSTRLEN];

	begin();
	CU_ASSERT_FATAL(add("c2", 0) == 0 && add("c1", 1) == 0);
	restart();
	CU_ASSERT_FATAL(pods_count(pods) == 2);
	CU_ASSERT_STRING_EQUAL(pods_at(pods, 0)->container_id, "c1");
	CU_ASSERT_STRING_EQUAL(address_of(0, text), "10.50.0.3");
	CU_ASSERT_STRING_EQUAL(address_of(1, text), "10.50.0.2");
	CU_ASSERT_STRING_EQUAL(pods_at(pods, 0)->namespace, "shop");
	CU_ASSERT(!pods_at(pods, 0)->gone && pods_prune(pods) == 0);
	/* The next one comes after those. */
	CU_ASSERT(add("c3", 2) == 0);
	CU_ASSERT_STRING_EQUAL(address_of(2, text), "10.50.0.4");
	CU_ASSERT(del("c1") == 0 && del("c2") == 0 && del("c3") == 0);
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
	CU_ASSERT(netlink_route_delete(nl, &route) == 0 && !netlink_route_exists(nl, &route));
	CU_ASSERT(pods_repair(pods) == 0 && netlink_route_exists(nl, &route));
	snprintf(line, sizeof(line), "ip link set %s down", pod->link);
	CU_ASSERT(system(line) == 0 && !netlink_route_exists(nl, &route));
	CU_ASSERT(pods_repair(pods) == 0 && netlink_route_exists(nl, &route));
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
	CU_ASSERT_EQUAL(pods_adding_poll(adding, true, &result, &error), -EAGAIN);
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
	CU_ASSERT(error.code == 5 && strstr(error.text, "the container's interface"));
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

static const char *copy_of(const char *id, char path[160])
{
	snprintf(path, 160, "%s/%s:eth0.json", copies, id);
	return path;
}

static const char *record_of(const char *id, char path[160])
{
	snprintf(path, 160, "%s/pods/%s:eth0.json", run_dir, id);
	return path;
}

static void pods_outlive_a_lost_run_directory(void)
{
	char v4[2][INET6_ADDRSTRLEN], path[160], name[16];

	begin();
	CU_ASSERT_FATAL(add("c1", 0) == 0 && add("c2", 1) == 0);
	snprintf(name, sizeof(name), "%s", pods_at(pods, 1)->link);
	for (size_t i = 0; i < 2; i++)
		address_of(i, v4[i]);
	unlink(record_of("c1", path));
	unlink(record_of("c2", path));
	snprintf(path, sizeof(path), "%s/pods", run_dir);
	CU_ASSERT(rmdir(path) == 0);
	restart();
	CU_ASSERT(pods_count(pods) == 2 && link_count() == 2 && record_count() == 2);
	for (size_t i = 0; i < pods_count(pods); i++) {
		char text[INET6_ADDRSTRLEN];

		CU_ASSERT_STRING_EQUAL(address_of(i, text), v4[i]);
		CU_ASSERT(!pods_at(pods, i)->gone);
	}
	CU_ASSERT_STRING_EQUAL(pods_at(pods, 1)->link, name);
	CU_ASSERT(del("c1") == 0 && del("c2") == 0);
	CU_ASSERT(access(copy_of("c1", path), F_OK) < 0);
	end();
}

/* A copy outlives the machine's restart, which its link does not. */
static void copy_without_its_link_is_forgotten(void)
{
	char path[160];

	begin();
	CU_ASSERT_FATAL(add("c1", 0) == 0);
	unlink(record_of("c1", path));
	CU_ASSERT(netlink_link_delete(nl, pods_at(pods, 0)->ifindex) == 0);
	restart();
	CU_ASSERT(pods_count(pods) == 0);
	CU_ASSERT(access(copy_of("c1", path), F_OK) < 0);
	end();
}

static void link_of_another_agent_is_left_alone(void)
{
	struct veth_spec spec = {.name = "pld0123456789a",
				 .ifindex = 70000,
				 .peer_name = "other0",
				 .peer_netns_fd = -1,
				 .mtu = 1500,
				 .alias = "polder fedcba9876543210 c9 eth0"};

	begin();
	memcpy(spec.mac, pods_gateway_mac, 6);
	memset(spec.peer_mac, 2, 6);
	CU_ASSERT_FATAL(netlink_veth_add(nl, &spec) == 0);
	restart();
	CU_ASSERT(link_count() == 1);
	/* Neither is one that nobody has marked, if it is up. */
	CU_ASSERT(netlink_link_delete(nl, spec.ifindex) == 0);
	spec.alias = NULL;
	CU_ASSERT_FATAL(netlink_veth_add(nl, &spec) == 0);
	CU_ASSERT(netlink_link_set_up(nl, spec.ifindex) == 0);
	restart();
	CU_ASSERT(link_count() == 1);
	CU_ASSERT(netlink_link_set_down(nl, spec.ifindex) == 0);
	restart();
	CU_ASSERT(link_count() == 0);
	end();
}

static void renamed_link_is_still_its_pods(void)
{
	struct link_info info;
	char command[128];

	begin();
	CU_ASSERT_FATAL(add("c1", 0) == 0);
	snprintf(command, sizeof(command),
		 "ip link set %1$s down && ip link set %1$s name other && ip link set other up",
		 pods_at(pods, 0)->link);
	CU_ASSERT_FATAL(system(command) == 0);
	pods_link_gone(pods, pods_at(pods, 0)->ifindex);
	CU_ASSERT(!pods_at(pods, 0)->gone);
	restart();
	CU_ASSERT_FATAL(pods_count(pods) == 1);
	CU_ASSERT(!pods_at(pods, 0)->gone && datapath.disconnected == 0);
	CU_ASSERT(pods_repair(pods) == 0);
	CU_ASSERT(del("c1") == 0);
	CU_ASSERT(netlink_link_get(nl, "other", &info) == -ENODEV);
	end();
}

static void record_of_a_newer_agent_stops_the_start(void)
{
	CLEANUP(cleanup_json) json_t *record = NULL;
	struct pods *none = NULL;
	char path[160];

	begin();
	CU_ASSERT_FATAL(add("c1", 0) == 0);
	CU_ASSERT_FATAL(state_file_read_json(record_of("c1", path), 65536, &record) == 0);
	json_object_set_new(record, "version", json_integer(2));
	json_object_set_new(record, "new", json_object());
	CU_ASSERT_FATAL(state_file_write_json(path, record) == 0);
	CU_ASSERT(pods_open(&config, nl, &hooks, &none) == -EPROTONOSUPPORT);
	CU_ASSERT(link_count() == 1 && record_count() == 1);
	CU_ASSERT(del("c1") == 0);
	end();
}

static void an_address_rests_over_a_restart(void)
{
	char text[INET6_ADDRSTRLEN];

	open_with("10.50.0.0/28", NULL);
	CU_ASSERT_FATAL(add("c1", 0) == 0);
	CU_ASSERT_STRING_NOT_EQUAL(address_of(0, text), "");
	for (int i = 0; i < 3; i++) {
		char before[INET6_ADDRSTRLEN];

		address_of(0, before);
		CU_ASSERT(del("c1") == 0);
		restart();
		CU_ASSERT_FATAL(add("c1", 0) == 0);
		CU_ASSERT_STRING_NOT_EQUAL(address_of(0, text), before);
	}
	CU_ASSERT(del("c1") == 0);
	end();
}

static void puts_damaged_records_aside(void)
{
	char path[128], bad[160], copy[160];
	struct stat before;

	begin();
	CU_ASSERT_FATAL(add("c1", 0) == 0 && add("c2", 1) == 0);
	snprintf(path, sizeof(path), "%s/pods/c1:eth0.json", run_dir);
	snprintf(bad, sizeof(bad), "%s.bad", path);
	CU_ASSERT_FATAL(stat(path, &before) == 0);
	CU_ASSERT_FATAL(truncate(path, before.st_size / 2) == 0);
	restart();
	CU_ASSERT(pods_count(pods) == 2 && access(bad, F_OK) == 0);
	CU_ASSERT(link_count() == 2);
	/* Its copy was good. Without one nobody knows what it was. */
	CU_ASSERT_FATAL(truncate(path, before.st_size / 2) == 0);
	CU_ASSERT_FATAL(truncate(copy_of("c1", copy), 3) == 0);
	restart();
	CU_ASSERT(pods_count(pods) == 1 && access(bad, F_OK) == 0);
	/* Its address is free again, so its link must not live on. */
	CU_ASSERT(link_count() == 1);
	CU_ASSERT(unlink(bad) == 0);
	CU_ASSERT(del("c2") == 0);
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
	UNIT_TEST(finds_its_pods_after_a_restart),
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
	UNIT_TEST(pods_outlive_a_lost_run_directory),
	UNIT_TEST(copy_without_its_link_is_forgotten),
	UNIT_TEST(link_of_another_agent_is_left_alone),
	UNIT_TEST(renamed_link_is_still_its_pods),
	UNIT_TEST(record_of_a_newer_agent_stops_the_start),
	UNIT_TEST(an_address_rests_over_a_restart),
	UNIT_TEST(puts_damaged_records_aside),
	UNIT_TEST(connects_256_containers_quickly),
};

int main(void)
{
	char path[128];
	int failed;

	if (make_namespaces() < 0) {
		fprintf(stderr, "skipped: network namespaces need root (CAP_SYS_ADMIN)\n");
		return 77;
	}
	log_set_level(LOG_LEVEL_ERROR);
	if (!mkdtemp(run_dir) || netlink_open(-1, &nl) < 0)
		return 1;
	snprintf(copies, sizeof(copies), "%s/copies", run_dir);
	snprintf(pool, sizeof(pool), "%s/pool.json", run_dir);
	failed = UNIT_RUN("pods", tests);
	rmdir(copies);
	netlink_close(nl);
	snprintf(path, sizeof(path), "%s/pods", run_dir);
	rmdir(path);
	rmdir(run_dir);
	return failed;
}

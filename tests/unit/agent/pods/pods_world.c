/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/agent/pods/pods_world.h"

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

int containers[CONTAINERS];
struct netlink *nl;
struct config config;
struct pods *pods;
char run_dir[] = "/tmp/polder-test-pods-XXXXXX";
struct error error;

/* ---------------------------------------------------------- what the datapath would do */

struct pods_datapath datapath;

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

char copies[80], pool[80];
const struct pods_hooks hooks = {
	.connect = connect_hook,
	.in_force = in_force_hook,
	.disconnect = disconnect_hook,
	.check = check_hook,
	.copies = copies,
	.pool = pool,
	.agent_id = "0123456789abcdef",
};

/* ------------------------------------------------------------------------ set-up */

int make_container(void)
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

size_t record_count(void)
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

size_t link_count(void)
{
	struct link_info *links = NULL;
	size_t count = 0, ours = 0;

	CU_ASSERT(netlink_link_list(nl, &links, &count) == 0);
	for (size_t i = 0; i < count; i++)
		ours += strncmp(links[i].name, "pld", 3) == 0;
	free(links);
	return ours;
}

void open_with(const char *v4, const char *v6)
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

void begin(void)
{
	open_with("10.50.0.0/24", "fd50::/64");
}

void restart(void)
{
	pods_close(pods);
	pods = NULL;
	CU_ASSERT_FATAL(pods_open(&config, nl, &hooks, &pods) == 0);
}

/* Nothing may be left. */
void end(void)
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
int wait_reachable(struct pod_adding *adding, json_t **ret_result)
{
	int r = -EAGAIN;

	for (int i = 0; i < 1000 && r == -EAGAIN; i++) {
		r = pods_adding_poll(adding, i == 999, ret_result, &error);
		if (r == -EAGAIN)
			usleep(1000);
	}
	return r;
}

bool comes_up(struct netlink *of, int ifindex)
{
	bool running = false;

	for (int i = 0; i < 1000 && netlink_link_is_running(of, ifindex, &running) == 0 && !running;
	     i++)
		usleep(1000);
	return running;
}

json_t *add_args(const char *id, const char *config_text)
{
	json_t *args = json_pack("{s:s, s:s, s:s, s:{s:s, s:s}, s:o}", "container_id", id, "ifname",
				 "eth0", "netns", "/run/netns/test", "cni_args",
				 "K8S_POD_NAMESPACE", "shop", "K8S_POD_NAME", "web", "config",
				 json_loads(config_text, 0, NULL));

	CU_ASSERT_FATAL(args != NULL);
	return args;
}

int begin_add(const char *id, int container, const char *config_text, struct pod_adding **ret)
{
	json_t *args = add_args(id, config_text);
	int r;

	memset(&error, 0, sizeof(error));
	r = pods_cni_add(pods, args, containers[container], ret, &error);
	json_decref(args);
	return r;
}

int add_with(const char *id, int container, const char *config_text, json_t **ret)
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

int add(const char *id, int container)
{
	return add_with(id, container, "{\"name\":\"net\"}", NULL);
}

int del(const char *id)
{
	json_t *args = json_pack("{s:s, s:s}", "container_id", id, "ifname", "eth0");
	int r = pods_cni_del(pods, args, &error);

	json_decref(args);
	return r;
}

int check(const char *id, int container, json_t *prev_result)
{
	json_t *args = json_pack("{s:s, s:s, s:{s:s, s:O}}", "container_id", id, "ifname", "eth0",
				 "config", "name", "net", "prevResult", prev_result);
	int r;

	memset(&error, 0, sizeof(error));
	r = pods_cni_check(pods, args, containers[container], &error);
	json_decref(args);
	return r;
}

int gc(const char *args_text)
{
	json_t *args = json_loads(args_text, 0, NULL);
	int r = pods_cni_gc(pods, args, &error);

	json_decref(args);
	return r;
}

int status(void)
{
	json_t *args = json_object();
	int r = pods_cni_status(pods, args, &error);

	json_decref(args);
	return r;
}

const char *address_of(size_t index, char *buffer)
{
	return addr_format(&pods_at(pods, index)->ipv4, buffer);
}

const char *text_at(const json_t *result, const char *list, size_t index, const char *key)
{
	const char *text = json_string_value(
		json_object_get(json_array_get(json_object_get(result, list), index), key));

	return text ? text : "";
}

int pods_world_open(void)
{
	if (make_namespaces() < 0) {
		fprintf(stderr, "skipped: network namespaces need root (CAP_SYS_ADMIN)\n");
		return 77;
	}
	log_set_level(LOG_LEVEL_ERROR);
	if (!mkdtemp(run_dir) || netlink_open(-1, &nl) < 0)
		return 1;
	snprintf(copies, sizeof(copies), "%s/copies", run_dir);
	snprintf(pool, sizeof(pool), "%s/pool.json", run_dir);
	return 0;
}

void pods_world_close(void)
{
	char path[128];

	rmdir(copies);
	netlink_close(nl);
	snprintf(path, sizeof(path), "%s/pods", run_dir);
	rmdir(path);
	rmdir(run_dir);
}

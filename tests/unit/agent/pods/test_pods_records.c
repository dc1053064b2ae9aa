/* SPDX-License-Identifier: Apache-2.0 */
/* What is known of pods outlives restarts, lost and damaged directories, and other agents. */
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

/* A full disk, or a directory that somebody has removed. */
static void copies_that_could_not_be_written_are_written_later(void)
{
	char path[160], away[120];

	begin();
	CU_ASSERT_FATAL(add("c1", 0) == 0);
	snprintf(away, sizeof(away), "%s.away", copies);
	CU_ASSERT(rename(copies, away) == 0);
	CU_ASSERT_FATAL(mknod(copies, S_IFREG | 0600, 0) == 0);
	CU_ASSERT_FATAL(add("c2", 1) == 0);
	pods_restore_state(pods);
	CU_ASSERT(unlink(copies) == 0 && rename(away, copies) == 0);
	CU_ASSERT(access(copy_of("c2", path), F_OK) < 0);
	pods_restore_state(pods);
	CU_ASSERT(access(copy_of("c2", path), F_OK) == 0);
	unlink(copy_of("c1", path));
	unlink(copy_of("c2", path));
	CU_ASSERT(rmdir(copies) == 0);
	pods_restore_state(pods);
	CU_ASSERT(access(copy_of("c1", path), F_OK) == 0);
	CU_ASSERT(del("c1") == 0 && del("c2") == 0);
	end();
}

static void copies_that_could_not_be_removed_are_removed_later(void)
{
	char path[160], away[180], other[160];

	begin();
	CU_ASSERT_FATAL(add("c1", 0) == 0 && add("c2", 1) == 0);
	copy_of("c1", path);
	snprintf(away, sizeof(away), "%s.away", path);
	CU_ASSERT(rename(path, away) == 0 && mkdir(path, 0700) == 0);
	CU_ASSERT(del("c1") == 0);
	CU_ASSERT(rmdir(path) == 0 && rename(away, path) == 0);
	pods_restore_state(pods);
	CU_ASSERT(access(path, F_OK) < 0);
	CU_ASSERT(access(copy_of("c2", other), F_OK) == 0);
	CU_ASSERT(del("c2") == 0);
	end();
}

/* What cannot be read now may be whole: neither it nor its pod's link is taken away. */
static void copy_that_cannot_be_read_takes_no_pod_its_link(void)
{
	char path[160], away[180];

	begin();
	CU_ASSERT_FATAL(add("c1", 0) == 0);
	unlink(record_of("c1", path));
	snprintf(away, sizeof(away), "%s.away", copy_of("c1", path));
	CU_ASSERT(rename(path, away) == 0 && symlink(path, path) == 0); /* ELOOP */
	restart();
	CU_ASSERT(pods_count(pods) == 0 && link_count() == 1);
	CU_ASSERT(rename(away, path) == 0);
	restart();
	CU_ASSERT(pods_count(pods) == 1 && link_count() == 1);
	CU_ASSERT(del("c1") == 0);
	end();
}

/* The file with the number was lost: links get the new one, and an orphan is known as such. */
static void links_bear_the_number_of_the_agent_that_has_them(void)
{
	struct pods_hooks other = hooks;
	struct link_info info = {};

	begin();
	CU_ASSERT_FATAL(add("c1", 0) == 0);
	pods_close(pods);
	other.agent_id = "00000000feedbeef";
	CU_ASSERT_FATAL(pods_open(&config, nl, &other, &pods) == 0);
	CU_ASSERT(netlink_link_get_index(nl, pods_at(pods, 0)->ifindex, &info) == 0);
	CU_ASSERT(strstr(info.alias, "polder 00000000feedbeef c1 eth0 ") == info.alias);
	CU_ASSERT(pods_use_state(pods, copies, pool, hooks.agent_id) == 0);
	CU_ASSERT(netlink_link_get_index(nl, pods_at(pods, 0)->ifindex, &info) == 0);
	CU_ASSERT(strstr(info.alias, "polder 0123456789abcdef c1 eth0 ") == info.alias);
	CU_ASSERT(del("c1") == 0);
	end();
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(finds_its_pods_after_a_restart),
		UNIT_TEST(pods_outlive_a_lost_run_directory),
		UNIT_TEST(copy_without_its_link_is_forgotten),
		UNIT_TEST(link_of_another_agent_is_left_alone),
		UNIT_TEST(renamed_link_is_still_its_pods),
		UNIT_TEST(record_of_a_newer_agent_stops_the_start),
		UNIT_TEST(an_address_rests_over_a_restart),
		UNIT_TEST(puts_damaged_records_aside),
		UNIT_TEST(copies_that_could_not_be_written_are_written_later),
		UNIT_TEST(copies_that_could_not_be_removed_are_removed_later),
		UNIT_TEST(copy_that_cannot_be_read_takes_no_pod_its_link),
		UNIT_TEST(links_bear_the_number_of_the_agent_that_has_them),
	};
	int failed = pods_world_open();

	if (failed)
		return failed;
	failed = UNIT_RUN("pods_records", tests);
	pods_world_close();
	return failed;
}

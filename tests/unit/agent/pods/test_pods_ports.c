/* SPDX-License-Identifier: Apache-2.0 */
/* Ports that are published for pods: where they may be, whose they are, and what outlives what. */
#include "agent/common/address.h"
#include "agent/common/cni_code.h"
#include "tests/unit/agent/pods/pods_world.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define ITEM(host, container, more) "{\"hostPort\":" #host ",\"containerPort\":" #container more "}"
#define AT(address)		    ",\"hostIP\":\"" address "\""

static int add_ports(const char *id, int container, const char *list)
{
	char text[512];

	snprintf(text, sizeof(text),
		 "{\"name\":\"net\",\"capabilities\":{\"portMappings\":true},"
		 "\"runtimeConfig\":{\"portMappings\":[%s]}}",
		 list);
	return add_with(id, container, text, NULL);
}

static bool says(int code, const char *word)
{
	bool said = error.code == code && strstr(error.text, word);

	if (!said)
		fprintf(stderr, "%d \"%s\": not %d '%s'\n", error.code, error.text, code, word);
	return said;
}

static const struct port_mappings *ports_of(size_t index)
{
	return &pods_at(pods, index)->ports;
}

static const char *port_text(size_t pod, size_t index)
{
	static char text[PORT_MAPPING_TEXT_MAX];

	return port_mapping_text(&ports_of(pod)->items[index], text);
}

static void port_without_an_address_is_one_of_each_family_of_the_pod(void)
{
	begin();
	CU_ASSERT_FATAL(add_ports("c1", 0, ITEM(80, 8080, )) == 0);
	CU_ASSERT_FATAL(ports_of(0)->count == 2);
	CU_ASSERT_STRING_EQUAL(port_text(0, 0), "0.0.0.0:80/TCP");
	CU_ASSERT_STRING_EQUAL(port_text(0, 1), "[::]:80/TCP");
	CU_ASSERT(ports_of(0)->items[1].container_port == 8080);
	CU_ASSERT(del("c1") == 0);
	end();
	open_with("10.50.0.0/24", NULL);
	CU_ASSERT_FATAL(add_ports("c1", 0, ITEM(80, 8080, )) == 0 && ports_of(0)->count == 1);
	CU_ASSERT(del("c1") == 0);
	CU_ASSERT(add_ports("c1", 0, ITEM(80, 8080, AT("::"))) == -EAFNOSUPPORT);
	CU_ASSERT(says(CNI_INVALID_CONFIG, "no IPv6 address"));
	end();
}

static void address_has_to_be_the_nodes(void)
{
	static const char *const bad[] = {"192.0.2.9", "fd99::9",   "169.254.7.7",
					  "fe80::7",   "224.0.0.1", "ff02::1"};
	char list[128];

	begin();
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(list, sizeof(list),
			 "{\"hostPort\":80,\"containerPort\":81,\"hostIP\":\"%s\"}", bad[i]);
		CU_ASSERT(add_ports("c1", 0, list) == -EADDRNOTAVAIL);
		CU_ASSERT(says(CNI_INVALID_CONFIG, bad[i]) && pods_count(pods) == 0);
	}
	/* Those of the loopback link are its own from the start. */
	CU_ASSERT(netlink_link_set_up(nl, 1) == 0);
	CU_ASSERT_FATAL(
		add_ports("c1", 0, ITEM(80, 81, AT("127.0.0.1")) "," ITEM(80, 81, AT("::1"))) == 0);
	CU_ASSERT(ports_of(0)->count == 2 && del("c1") == 0);
	end();
}

static void port_of_another_pod_is_refused_by_its_name(void)
{
	begin();
	CU_ASSERT_FATAL(add_ports("c1", 0, ITEM(80, 8080, )) == 0);
	CU_ASSERT(add_ports("c2", 1, ITEM(80, 8080, )) == -EADDRINUSE);
	CU_ASSERT(says(CNI_TRY_AGAIN, "shop/web (c1 eth0)") &&
		  strstr(error.text, "0.0.0.0:80/TCP"));
	CU_ASSERT(add_ports("c2", 1, ITEM(80, 9, AT("::1"))) == -EADDRINUSE);
	/* Nothing of those is left; another protocol and another port are no conflict. */
	CU_ASSERT(pods_count(pods) == 1 && link_count() == 1 && record_count() == 1);
	CU_ASSERT_FATAL(
		add_ports("c2", 1, ITEM(80, 53, ",\"protocol\":\"udp\"") "," ITEM(81, 81, )) == 0);
	CU_ASSERT(del("c1") == 0);
	CU_ASSERT_FATAL(add_ports("c3", 2, ITEM(80, 8080, )) == 0);
	CU_ASSERT(del("c2") == 0 && del("c3") == 0);
	end();
}

static void ports_outlive_restart_and_lost_run_directory(void)
{
	char path[160];

	begin();
	CU_ASSERT_FATAL(add_ports("c1", 0, ITEM(80, 8080, )) == 0);
	restart();
	CU_ASSERT_FATAL(pods_count(pods) == 1 && ports_of(0)->count == 2);
	CU_ASSERT_STRING_EQUAL(port_text(0, 1), "[::]:80/TCP");
	CU_ASSERT(add_ports("c2", 1, ITEM(80, 8080, )) == -EADDRINUSE);
	snprintf(path, sizeof(path), "%s/pods/c1:eth0.json", run_dir);
	CU_ASSERT(unlink(path) == 0);
	restart();
	CU_ASSERT_FATAL(pods_count(pods) == 1 && ports_of(0)->count == 2);
	CU_ASSERT(del("c1") == 0);
	end();
}

static void pod_that_cannot_be_connected_frees_its_port(void)
{
	begin();
	datapath.connect_result = -ENOSPC;
	CU_ASSERT(add_ports("c1", 0, ITEM(80, 8080, )) == -ENOSPC);
	datapath.connect_result = 0;
	CU_ASSERT_FATAL(add_ports("c2", 1, ITEM(80, 8080, )) == 0);
	CU_ASSERT(del("c2") == 0);
	end();
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(port_without_an_address_is_one_of_each_family_of_the_pod),
		UNIT_TEST(address_has_to_be_the_nodes),
		UNIT_TEST(port_of_another_pod_is_refused_by_its_name),
		UNIT_TEST(ports_outlive_restart_and_lost_run_directory),
		UNIT_TEST(pod_that_cannot_be_connected_frees_its_port),
	};
	int failed = pods_world_open();

	if (failed)
		return failed;
	failed = UNIT_RUN("pods_ports", tests);
	pods_world_close();
	return failed;
}

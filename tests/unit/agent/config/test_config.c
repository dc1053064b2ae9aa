/* SPDX-License-Identifier: Apache-2.0 */
/* polderd's configuration: file, options, refusals. */
#include "agent/config/config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "agent/config/config_keys.h"
#include "tests/unit/unit.h"

static char directory[32];
static char file[64];
static char output[8192];

/* config_load() with the file (NULL: none) and the options; what it prints on `stream_fd` goes to
 * `output`. */
static int load(const char *text, const char *const *options, struct config *ret, bool *ret_exit,
		int stream_fd)
{
	char *argv[128] = {"polderd"};
	int argc = 1, saved, into, r;
	ssize_t got;

	if (text) {
		unit_write(file, text, strlen(text));
		argv[argc++] = "--config";
		argv[argc++] = file;
	}
	for (; options && *options; options++)
		argv[argc++] = (char *)*options;
	fflush(stdout);
	saved = dup(stream_fd);
	into = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	dup2(into, stream_fd);
	r = config_load(argc, argv, ret, ret_exit);
	fflush(stdout);
	dup2(saved, stream_fd);
	close(saved);
	got = pread(into, output, sizeof(output) - 1, 0);
	output[got < 0 ? 0 : got] = '\0';
	close(into);
	return r;
}

#define OPTIONS(...)                                                                               \
	(const char *const[])                                                                      \
	{                                                                                          \
		__VA_ARGS__, NULL                                                                  \
	}

static struct config loaded(const char *text, const char *const *options)
{
	struct config config = {};
	bool exit = true;
	int r = load(text, options, &config, &exit, STDERR_FILENO);

	if (r < 0)
		printf("\n  %s", output);
	CU_ASSERT_FATAL(r == 0 && !exit);
	CU_ASSERT(output[0] == '\0');
	return config;
}

/* True if it is refused with one line in which all the words stand. */
static bool refused(const char *text, const char *const *options, const char *const *words)
{
	struct config config = {};
	bool exit = true, all = true;
	int r = load(text, options, &config, &exit, STDERR_FILENO);

	CU_ASSERT(exit);
	CU_ASSERT(config.run_dir == NULL);
	if (r == 0) {
		config_clear(&config);
		return false;
	}
	for (; *words; words++)
		all &= strstr(output, *words) != NULL;
	all &= strncmp(output, "polderd: ", 9) == 0;
	all &= strchr(output, '\n') == output + strlen(output) - 1;
	if (!all)
		printf("\n  %s", output);
	return all;
}

static bool file_refused(const char *text, const char *word)
{
	return refused(text, NULL, (const char *const[]){file, word, NULL});
}

static bool option_refused(const char *name, const char *value, const char *word)
{
	return refused(NULL, OPTIONS(name, value),
		       (const char *const[]){"command line", name, value, word, NULL});
}

static bool prefix_is(const struct prefix *prefix, const char *text)
{
	char buffer[PREFIX_TEXT_MAX];

	return prefix->length && strcmp(prefix_format(prefix, buffer), text) == 0;
}

static bool addr_is(const struct polder_addr *addr, const char *text)
{
	char buffer[INET6_ADDRSTRLEN];

	return strcmp(addr_format(addr, buffer), text) == 0;
}

static void defaults_hold_without_any_option(void)
{
	struct config config = loaded(NULL, NULL);

	CU_ASSERT(strcmp(config.run_dir, "/run/polder") == 0);
	CU_ASSERT(strcmp(config.state_dir, "/var/lib/polder") == 0);
	CU_ASSERT(strcmp(config.socket, "/run/polder/polder.sock") == 0);
	CU_ASSERT(strcmp(config.bpffs, "/sys/fs/bpf/polder") == 0);
	CU_ASSERT(config.node_name[0] != '\0');
	CU_ASSERT(config.resources == NULL && config.metrics_listen == NULL);
	CU_ASSERT(config.masquerade);
	CU_ASSERT(config.stack_mark == 0x00400000);
	CU_ASSERT(config.masquerade_port_min == 10240 && config.masquerade_port_max == 29999);
	CU_ASSERT(config.flows_v4 == 131072 && config.flows_v6 == 65536);
	CU_ASSERT(config.max_services == 65536 && config.max_backends == 262144);
	CU_ASSERT(config.max_service_cells == 1048576 && config.max_service_sources == 65536);
	CU_ASSERT(config.max_service_clients == 65536);
	CU_ASSERT(config.balancing == BALANCING_RANDOM && config.maglev_table_size == 16381);
	CU_ASSERT(config.max_addresses == 131072 && config.max_policy_entries == 262144);
	CU_ASSERT(config.max_pods == 4096 && config.max_rule_counters == 32768);
	CU_ASSERT(config.max_fragments == 8192 && config.max_socket_origins == 65536);
	CU_ASSERT(config.rejects_per_second == 1000);
	CU_ASSERT(config.events_per_second == 10000 && config.pod_mtu == 0);
	CU_ASSERT(config.log_level == LOG_LEVEL_INFO);
	CU_ASSERT(config.pod_cidr_v4.length == 0 && config.pod_cidr_v6.length == 0);
	config_clear(&config);
	CU_ASSERT(config.run_dir == NULL);
	config_clear(&config);
}

static void every_option_sets_its_field(void)
{
	struct config config = loaded(
		NULL,
		OPTIONS("--node-name=n1", "--resources", "/tmp", "--run-dir", directory, "--bpffs",
			"/sys/fs/bpf/x/", "--cgroup", "none", "--pod-cidr",
			"fd00:1::/64,10.1.0.0/24", "--node-ip", "192.0.2.1,2001:db8::1", "--uplink",
			"eth0", "--uplink", "eth1", "--masquerade", "no", "--no-masquerade",
			"10.0.0.0/8", "--no-masquerade", "fd00::/8", "--masquerade-ports",
			"2000-3000", "--metrics-listen", "127.0.0.1:9100", "--attach", "clsact",
			"--xdp", "off", "--flows-v4", "5000", "--flows-v6", "4096",
			"--max-services", "100", "--max-backends", "200", "--max-addresses", "300",
			"--max-policy-entries", "400", "--pod-mtu", "1400", "--events-per-second",
			"0", "--log-level", "debug", "--tunnel", "none", "--stack-mark", "0x10",
			"--max-pods", "100", "--max-rule-counters", "500", "--max-fragments", "65",
			"--max-socket-origins", "1025", "--balancing", "maglev",
			"--maglev-table-size", "1021", "--max-service-cells", "2000",
			"--max-service-sources", "600", "--max-service-clients", "700",
			"--forwarding", "dsr", "--node-port-addresses", "192.0.2.0/24",
			"--node-port-addresses", "2001:db8::/32", "--node-port-range",
			"20000-20100"));

	CU_ASSERT(config.forwarding == FORWARDING_DSR);
	CU_ASSERT(config.node_port_address_count == 2);
	CU_ASSERT(prefix_is(&config.node_port_addresses[1], "2001:db8::/32"));
	CU_ASSERT(config.node_port_min == 20000 && config.node_port_max == 20100);
	CU_ASSERT(strcmp(config.node_name, "n1") == 0);
	CU_ASSERT(strcmp(config.resources, "/tmp") == 0);
	CU_ASSERT(strcmp(config.run_dir, directory) == 0);
	CU_ASSERT(strcmp(config.bpffs, "/sys/fs/bpf/x") == 0);
	CU_ASSERT(config.cgroup == NULL);
	CU_ASSERT(prefix_is(&config.pod_cidr_v4, "10.1.0.0/24"));
	CU_ASSERT(prefix_is(&config.pod_cidr_v6, "fd00:1::/64"));
	CU_ASSERT(addr_is(&config.node_ip_v4, "192.0.2.1"));
	CU_ASSERT(addr_is(&config.node_ip_v6, "2001:db8::1"));
	CU_ASSERT(config.uplink_count == 2 && strcmp(config.uplinks[1], "eth1") == 0);
	CU_ASSERT(!config.masquerade);
	CU_ASSERT(config.no_masquerade_count == 2);
	CU_ASSERT(prefix_is(&config.no_masquerade[1], "fd00::/8"));
	CU_ASSERT(config.stack_mark == 0x10);
	CU_ASSERT(config.masquerade_port_min == 2000 && config.masquerade_port_max == 3000);
	CU_ASSERT(strcmp(config.metrics_listen, "127.0.0.1:9100") == 0);
	CU_ASSERT(config.attach == ATTACH_CLSACT && config.xdp == XDP_OFF);
	CU_ASSERT(config.flows_v4 == 8192 && config.flows_v6 == 4096);
	CU_ASSERT(config.max_services == 100 && config.max_backends == 200);
	CU_ASSERT(config.max_addresses == 300 && config.max_policy_entries == 400);
	CU_ASSERT(config.max_pods == 128 && config.max_rule_counters == 500);
	CU_ASSERT(config.max_fragments == 128 && config.max_socket_origins == 1025);
	CU_ASSERT(config.balancing == BALANCING_MAGLEV && config.maglev_table_size == 1021);
	CU_ASSERT(config.max_service_cells == 2000 && config.max_service_sources == 600);
	CU_ASSERT(config.max_service_clients == 700);
	CU_ASSERT(config.pod_mtu == 1400 && config.events_per_second == 0);
	CU_ASSERT(config.log_level == LOG_LEVEL_DEBUG);
	config_clear(&config);
}

static void file_takes_the_same_keys(void)
{
	struct config config = loaded(
		"{\"node-name\": \"n1\", \"pod-cidr\": [\"10.1.0.0/24\", \"fd00:1::/64\"],"
		" \"node-ip\": \"192.0.2.1\", \"uplink\": [\"eth0\", \"eth1\"], \"masquerade\": "
		"false,"
		" \"no-masquerade\": \"10.0.0.0/8\", \"flows-v4\": 2000, \"in-cluster\": false,"
		" \"tunnel\": \"none\", \"pod-mtu\": 0}",
		NULL);

	CU_ASSERT(strcmp(config.node_name, "n1") == 0);
	CU_ASSERT(prefix_is(&config.pod_cidr_v4, "10.1.0.0/24"));
	CU_ASSERT(prefix_is(&config.pod_cidr_v6, "fd00:1::/64"));
	CU_ASSERT(config.uplink_count == 2 && !config.masquerade);
	CU_ASSERT(config.no_masquerade_count == 1 && config.flows_v4 == 2048);
	config_clear(&config);
}

static void command_line_wins_over_the_file(void)
{
	struct config config = loaded(
		"{\"uplink\": [\"eth0\", \"eth1\"], \"pod-cidr\": \"10.1.0.0/24,fd00:1::/64\","
		" \"node-name\": \"file\", \"flows-v4\": 2048, \"max-services\": 77}",
		OPTIONS("--uplink", "eth9", "--pod-cidr", "10.2.0.0/24", "--node-name", "line"));

	CU_ASSERT(config.uplink_count == 1 && strcmp(config.uplinks[0], "eth9") == 0);
	CU_ASSERT(prefix_is(&config.pod_cidr_v4, "10.2.0.0/24"));
	CU_ASSERT(config.pod_cidr_v6.length == 0);
	CU_ASSERT(strcmp(config.node_name, "line") == 0);
	CU_ASSERT(config.flows_v4 == 2048 && config.max_services == 77);
	config_clear(&config);
}

static void every_key_is_an_option_and_stands_in_the_help(void)
{
	struct config config = {};
	bool exit = false;

	CU_ASSERT(load(NULL, OPTIONS("--help"), &config, &exit, STDOUT_FILENO) == 0 && exit);
	for (size_t i = 0; i < config_key_count; i++) {
		char option[64];

		snprintf(option, sizeof(option), "--%s ", config_keys[i].name);
		CU_ASSERT(strstr(output, option) != NULL);
	}
	exit = false;
	CU_ASSERT(load(NULL, OPTIONS("--version"), &config, &exit, STDOUT_FILENO) == 0 && exit);
	CU_ASSERT(strncmp(output, "polderd ", 8) == 0);
}

static void refuses_a_file_that_is_not_an_object_of_known_keys(void)
{
	CU_ASSERT(file_refused("", ":1:0: "));
	CU_ASSERT(file_refused("{\n\"node-name\": }", ":2:"));
	CU_ASSERT(file_refused("[]", "not a JSON object"));
	CU_ASSERT(file_refused("{} {}", ":1:"));
	CU_ASSERT(file_refused("{\"nodename\": \"x\"}", "unknown key \"nodename\""));
	CU_ASSERT(file_refused("{\"config\": \"x\"}", "unknown key \"config\""));
	CU_ASSERT(file_refused("{\"pod-mtu\": 1400, \"pod-mtu\": 1400}", "duplicate"));
	CU_ASSERT(refused(NULL, OPTIONS("--config", "/nonexistent-polder"),
			  OPTIONS("/nonexistent-polder", "No such file")));
	CU_ASSERT(refused(NULL, OPTIONS("--config", "/tmp"), OPTIONS("/tmp", "Is a directory")));
}

static void refuses_wrong_types(void)
{
	CU_ASSERT(file_refused("{\"flows-v4\": \"2048\"}",
			       "flows-v4: a whole number is required, not a string"));
	CU_ASSERT(file_refused("{\"flows-v4\": 2048.0}", "not a fraction"));
	CU_ASSERT(file_refused("{\"node-name\": 5}", "not a number"));
	CU_ASSERT(file_refused("{\"node-name\": null}", "not null"));
	CU_ASSERT(file_refused("{\"masquerade\": 1}", "true or false is required"));
	CU_ASSERT(file_refused("{\"uplink\": [\"eth0\", 1]}", "an array of strings"));
	CU_ASSERT(file_refused("{\"uplink\": {}}", "not an object"));
	CU_ASSERT(file_refused("{\"pod-cidr\": []}", "one or two strings"));
	CU_ASSERT(file_refused("{\"pod-cidr\": [[]]}", "not an array"));
	CU_ASSERT(file_refused("{\"in-cluster\": \"yes\"}", "true or false"));
	CU_ASSERT(file_refused("{\"resources\": [\"/a\"]}", "a string is required"));
}

static void refuses_bad_values_and_says_what_is_allowed(void)
{
	CU_ASSERT(option_refused("--pod-cidr", "10.0.0.0", "a range such as"));
	CU_ASSERT(option_refused("--pod-cidr", "10.0.0.0/31", "from /8 to /30"));
	CU_ASSERT(option_refused("--pod-cidr", "10.0.0.0/7", "from /8 to /30"));
	CU_ASSERT(option_refused("--pod-cidr", "fd00::/127", "from /16 to /126"));
	CU_ASSERT(option_refused("--pod-cidr", "10.0.0.0/24,10.1.0.0/24", "second range of IPv4"));
	CU_ASSERT(option_refused("--pod-cidr", "10.0.0.0/24,", "a range such as"));
	CU_ASSERT(option_refused("--pod-cidr", "10.0.0.0/24,fd00::/64,fd01::/64", "a range"));
	CU_ASSERT(option_refused("--pod-cidr", "127.0.0.0/8", "loopback"));
	CU_ASSERT(option_refused("--pod-cidr", "fe80::/64", "link-local"));
	CU_ASSERT(option_refused("--pod-cidr", "0.0.0.0/0", "which pods cannot use"));
	CU_ASSERT(option_refused("--node-ip", "224.0.0.1", "multicast"));
	CU_ASSERT(option_refused("--node-ip", "::", "unspecified"));
	CU_ASSERT(option_refused("--node-ip", "10.0.0.1/8", "an address such as"));
	CU_ASSERT(option_refused("--node-ip", "fd00::1,fd00::2", "second address of IPv6"));
	CU_ASSERT(option_refused("--uplink", "a-name-of-16-byt", "1 to 15 characters"));
	CU_ASSERT(option_refused("--uplink", "a/b", "name of a link"));
	CU_ASSERT(option_refused("--masquerade", "maybe", "yes or no"));
	CU_ASSERT(option_refused("--max-pods", "8193", "64 to 8192"));
	CU_ASSERT(option_refused("--max-socket-origins", "1000", "1024 to"));
	CU_ASSERT(option_refused("--balancing", "fair", "random or maglev is required"));
	CU_ASSERT(option_refused("--maglev-table-size", "16384",
				 "a prime is required: the next ones are 16381 and 16411"));
	CU_ASSERT(option_refused("--maglev-table-size", "2", "7 to 1048573"));
	CU_ASSERT(option_refused("--maglev-table-size", "1048575", "1048573"));
	CU_ASSERT(refused(NULL, OPTIONS("--max-service-cells", "16380"),
			  OPTIONS("--maglev-table-size 16381 is more than --max-service-cells "
				  "16380")));
	CU_ASSERT(refused(NULL, OPTIONS("--flow-history-file", "/a"),
			  OPTIONS("flow-history-file", "/a", "no history")));
	CU_ASSERT(option_refused("--flow-history-file", "", "path"));
	CU_ASSERT(option_refused("--stack-mark", "0", "one bit set"));
	CU_ASSERT(option_refused("--stack-mark", "0x11", "one bit set"));
	CU_ASSERT(option_refused("--stack-mark", "-1", "one bit set"));
	CU_ASSERT(option_refused("--masquerade-ports", "3000-2000", "the lower one first"));
	CU_ASSERT(option_refused("--masquerade-ports", "80-2000", "from 1024 to 65535"));
	CU_ASSERT(option_refused("--masquerade-ports", "2000-65536", "from 1024 to 65535"));
	CU_ASSERT(option_refused("--masquerade-ports", "2000", "a range of ports"));
	CU_ASSERT(option_refused("--masquerade-ports", "2000--300", "a range of ports"));
	CU_ASSERT(refused(NULL, OPTIONS("--masquerade-ports", "20000-30000"),
			  OPTIONS("--node-port-range 30000-32767 overlaps --masquerade-ports "
				  "20000-30000",
				  "give ranges that do not meet")));
	CU_ASSERT(refused(NULL, OPTIONS("--node-port-range", "29999-30000"),
			  OPTIONS("give ranges that do not meet")));
	CU_ASSERT(option_refused("--node-port-range", "0-100", "from 1 to 65535"));
	CU_ASSERT(option_refused("--node-port-addresses", "192.0.2.1", "a range such as"));
	CU_ASSERT(option_refused("--forwarding", "nat", "snat or dsr"));
	CU_ASSERT(option_refused("--no-masquerade", "10.0.0.0/33", "a range such as"));
	CU_ASSERT(option_refused("--metrics-listen", "9100", "an address with port"));
	CU_ASSERT(option_refused("--metrics-listen", ":0", "an address with port"));
	CU_ASSERT(option_refused("--attach", "tc", "auto, tcx or clsact"));
	CU_ASSERT(option_refused("--xdp", "on", "auto, native, generic or off"));
	CU_ASSERT(option_refused("--flows-v4", "100", "from 1024 to 16777216"));
	CU_ASSERT(option_refused("--flows-v4", "-1", "a whole number"));
	CU_ASSERT(option_refused("--flows-v4", " 2048", "a whole number"));
	CU_ASSERT(option_refused("--flows-v4", "99999999999999999999", "a whole number"));
	CU_ASSERT(option_refused("--pod-mtu", "1279", "from 1280 to 65535"));
	CU_ASSERT(option_refused("--log-level", "verbose", "error, warning, info or debug"));
	CU_ASSERT(option_refused("--node-name", "Node_1", "a-z, 0-9"));
	CU_ASSERT(option_refused("--node-name", "-n", "a-z, 0-9"));
	CU_ASSERT(file_refused("{\"pod-mtu\": -5}", "from 1280 to 65535"));
}

static void the_page_is_for_this_machine_unless_it_has_a_name(void)
{
	static const char *const own[] = {"127.0.0.1:9966", "127.1.2.3:1", "[::1]:9966",
					  "unix:/run/polder/ui.sock", "none"};
	static const char *const open[] = {":9966", "0.0.0.0:9966", "[::]:9966", "192.0.2.1:9966"};
	struct config config;

	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
		config = loaded(NULL, OPTIONS("--ui-listen", own[i]));
		CU_ASSERT(config.ui_listen ? strcmp(config.ui_listen, own[i]) == 0
					   : strcmp(own[i], "none") == 0);
		config_clear(&config);
	}
	for (size_t i = 0; i < sizeof(open) / sizeof(open[0]); i++) {
		CU_ASSERT(refused(NULL, OPTIONS("--ui-listen", open[i]),
				  OPTIONS("ui-listen", open[i], "say with ui-host")));
		config = loaded(NULL, OPTIONS("--ui-listen", open[i], "--ui-host", "Node1.example",
					      "--ui-host", "[2001:db8::1]"));
		CU_ASSERT(config.ui_host_count == 2);
		config_clear(&config);
	}
	CU_ASSERT(option_refused("--ui-listen", "127.0.0.1", "an address with port"));
	CU_ASSERT(option_refused("--ui-listen", "127.0.0.1:0", "an address with port"));
	CU_ASSERT(option_refused("--ui-listen", "unix:", "a path is required"));
	CU_ASSERT(option_refused("--ui-host", "node1:9966", "without port"));
	CU_ASSERT(option_refused("--ui-host", "http://node1", "without port"));
	CU_ASSERT(option_refused("--ui-host", "[::1", "without port"));
	CU_ASSERT(option_refused("--ui-host", "", "without port"));
}

static void names_what_is_not_supported_yet(void)
{
	CU_ASSERT(option_refused("--tunnel-port", "0", "a whole number"));
	CU_ASSERT(option_refused("--tunnel-vni", "16777216", "a whole number"));
	CU_ASSERT(option_refused("--tunnel", "gre", "none, vxlan or auto is required"));
}

static void takes_pools_of_load_balancers(void)
{
	struct config config = loaded("{\"load-balancer-pools\": [\"192.0.2.64/26\", "
				      "\"2001:db8::10-2001:db8::1f\", \"198.51.100.7\"], "
				      "\"load-balancer-announce\": \"l2\"}",
				      OPTIONS("--load-balancer-return", "0"));

	CU_ASSERT(config.pool_count == 3 && config.announce && config.announce_return == 0);
	CU_ASSERT(address_range_size(&config.pools[0]) == 64 && config.pools[0].careful);
	CU_ASSERT(address_range_size(&config.pools[1]) == 16 && !config.pools[1].careful);
	CU_ASSERT(address_range_size(&config.pools[2]) == 1);
	config_clear(&config);
	config = loaded("{}", NULL);
	CU_ASSERT(config.pool_count == 0 && !config.announce && config.announce_return == 300);
	config_clear(&config);
}

static void refuses_pools_that_take_addresses_of_others(void)
{
	CU_ASSERT(option_refused("--load-balancer-pools", "192.0.2.9-192.0.2.8", "a block such"));
	CU_ASSERT(option_refused("--load-balancer-pools", "192.0.2.9-fd00::8", "a block such"));
	CU_ASSERT(option_refused("--load-balancer-pools", "192.0.2.0/33", "a block such"));
	CU_ASSERT(option_refused("--load-balancer-pools", "127.0.0.0/24", "a loopback address"));
	CU_ASSERT(option_refused("--load-balancer-pools", "fe80::/64", "a link-local address"));
	CU_ASSERT(option_refused("--load-balancer-announce", "bgp", "l2 or none"));
	CU_ASSERT(option_refused("--load-balancer-return", "86401", "from 0 to 86400"));
	CU_ASSERT(refused(
		NULL,
		OPTIONS("--pod-cidr", "10.1.0.0/16", "--load-balancer-pools", "10.1.200.0/24"),
		OPTIONS("meets the pods' range 10.1.0.0/16", "choose another")));
	CU_ASSERT(refused(
		NULL, OPTIONS("--node-ip", "192.0.2.10", "--load-balancer-pools", "192.0.2.0/24"),
		OPTIONS("has this node's address 192.0.2.10 in it", "leave it out")));
	CU_ASSERT(refused(NULL,
			  OPTIONS("--load-balancer-pools", "192.0.2.0/24", "--load-balancer-pools",
				  "192.0.2.7"),
			  OPTIONS("192.0.2.7-192.0.2.7 and another pool", "in one pool")));
}

static void takes_the_api_server(void)
{
	struct config config = loaded("{\"in-cluster\": true, \"api-server\": [\"https://a:6443\", "
				      "\"https://b\"], \"api-silence\": 7}",
				      NULL);

	CU_ASSERT(config.in_cluster && !config.kubeconfig && config.api_server_count == 2);
	CU_ASSERT(strcmp(config.api_servers[1], "https://b") == 0 && config.api_silence == 7);
	config_clear(&config);
	config = loaded("{\"kubeconfig\": \"/etc/polder/kubeconfig\", \"context\": \"c\"}",
			OPTIONS("--api-server", "https://c"));
	CU_ASSERT(strcmp(config.kubeconfig, "/etc/polder/kubeconfig") == 0);
	CU_ASSERT(strcmp(config.context, "c") == 0 && config.api_server_count == 1);
	CU_ASSERT(!config.in_cluster && config.api_silence == 20);
	config_clear(&config);
}

static void refuses_an_api_server_that_makes_no_sense(void)
{
	CU_ASSERT(option_refused("--api-server", "http://a", "a URL such as https://"));
	CU_ASSERT(option_refused("--api-server", "https://", "a URL such as https://"));
	CU_ASSERT(option_refused("--api-silence", "1", "from 2 to 60"));
	CU_ASSERT(option_refused("--kubeconfig", "/tmp", "is a directory"));
	CU_ASSERT(option_refused("--context", "", "the name of a context"));
	CU_ASSERT(refused(NULL, OPTIONS("--in-cluster", "--kubeconfig", "/a"),
			  OPTIONS("exclude each other")));
	CU_ASSERT(refused(NULL, OPTIONS("--context", "a"), OPTIONS("which is not given")));
	CU_ASSERT(
		refused(NULL, OPTIONS("--api-server", "https://a"), OPTIONS("needs credentials")));
	CU_ASSERT(refused(
		NULL,
		OPTIONS("--in-cluster", "--api-server", "https://a", "--api-server", "https://a"),
		OPTIONS("given twice")));
}

static void refuses_what_makes_no_sense_together(void)
{
	CU_ASSERT(refused(NULL, OPTIONS("--pod-cidr", "10.1.0.0/16", "--node-ip", "10.1.2.3"),
			  OPTIONS("--node-ip 10.1.2.3", "--pod-cidr 10.1.0.0/16")));
	CU_ASSERT(refused(NULL, OPTIONS("--pod-cidr", "fd00::/64", "--node-ip", "fd00::5"),
			  OPTIONS("fd00::5", "fd00::/64")));
	CU_ASSERT(refused(NULL, OPTIONS("--resources", directory, "--run-dir", directory),
			  OPTIONS("same directory")));
	CU_ASSERT(refused(NULL, OPTIONS("--uplink", "a", "--uplink", "a"), OPTIONS("given twice")));
}

static void refuses_options_that_are_none(void)
{
	CU_ASSERT(refused(NULL, OPTIONS("--nothing"), OPTIONS("--nothing")));
	CU_ASSERT(refused(NULL, OPTIONS("-x"), OPTIONS("-x")));
	CU_ASSERT(refused(NULL, OPTIONS("word"), OPTIONS("word")));
	CU_ASSERT(refused(NULL, OPTIONS("--uplink"), OPTIONS("--uplink", "needs a value")));
	CU_ASSERT(refused(NULL, OPTIONS("--xdp", "off", "--xdp", "off"),
			  OPTIONS("--xdp", "given twice")));
	CU_ASSERT(refused("{}", OPTIONS("--config", "x"), OPTIONS("--config", "given twice")));
}

static void refuses_paths_that_cannot_be(void)
{
	char plain[96], longest[120];

	snprintf(plain, sizeof(plain), "%s/plain", directory);
	unit_write(plain, "x", 1);
	CU_ASSERT(option_refused("--resources", plain, "is not a directory"));
	CU_ASSERT(option_refused("--run-dir", "/", "root directory"));
	CU_ASSERT(option_refused("--run-dir", "", "a path is required"));
	CU_ASSERT(option_refused("--run-dir", "/./", "root directory"));
	CU_ASSERT(option_refused("--run-dir", "/..", "without \"..\""));
	CU_ASSERT(option_refused("--bpffs", "/sys/../x", "without \"..\""));
	CU_ASSERT(option_refused("--cgroup", "/nonexistent-polder", "No such file"));
	CU_ASSERT(file_refused("{\"run-dir\": \"relative\"}", "an absolute path"));
	snprintf(longest, sizeof(longest), "/%0100d", 0);
	CU_ASSERT(refused(NULL, OPTIONS("--run-dir", longest), OPTIONS("too long", "107")));
}

static void makes_relative_options_absolute(void)
{
	char expected[512], here[400];
	struct config config = loaded(NULL, OPTIONS("--resources", "./some-where//./"));

	CU_ASSERT_FATAL(getcwd(here, sizeof(here)) != NULL);
	snprintf(expected, sizeof(expected), "%s/some-where", here);
	CU_ASSERT(strcmp(config.resources, expected) == 0);
	config_clear(&config);
}

/* Agents with run directories of their own share nothing else by default. */
static void state_directory_follows_the_run_directory(void)
{
	struct config config = loaded(NULL, OPTIONS("--run-dir", "/tmp/x/run-n1"));

	CU_ASSERT_STRING_EQUAL(config.state_dir, "/var/lib/polder/run:tmp:x:run-n1");
	config_clear(&config);
	config = loaded(NULL, OPTIONS("--run-dir", "/tmp/x", "--state-dir", "/tmp/y/"));
	CU_ASSERT_STRING_EQUAL(config.state_dir, "/tmp/y");
	config_clear(&config);
	CU_ASSERT(refused(NULL, OPTIONS("--run-dir", "/tmp/x", "--state-dir", "/tmp/x"),
			  OPTIONS("--state-dir and --run-dir", "use two")));
	CU_ASSERT(refused(NULL, OPTIONS("--resources", "/tmp", "--state-dir", "/tmp"),
			  OPTIONS("--state-dir and --resources", "use two")));
	CU_ASSERT(option_refused("--state-dir", "/", "root directory"));
}

static void every_option_is_taken_for_its_own_key(void)
{
	for (size_t i = 0; i < config_key_count; i++) {
		char option[64];
		struct config config = {};
		bool exit = true;
		int r;

		if (config_keys[i].form == FORM_FLAG)
			continue;
		snprintf(option, sizeof(option), "--%s", config_keys[i].name);
		r = load(NULL, OPTIONS(option, "?"), &config, &exit, STDERR_FILENO);
		if (r == 0)
			config_clear(&config);
		/* Whether the value will do is another question. */
		CU_ASSERT(r == 0 || strstr(output, option));
		CU_ASSERT(!strstr(output, "needs a value") && !strstr(output, "unknown"));
	}
}

static void measures_connections_if_that_is_wanted(void)
{
	struct config config = loaded(NULL, OPTIONS("--run-dir", "/tmp/x"));

	CU_ASSERT(!config.latency);
	config_clear(&config);
	config = loaded("{\"latency\": true}", NULL);
	CU_ASSERT(config.latency);
	config_clear(&config);
	config = loaded("{\"latency\": true}", OPTIONS("--latency", "no"));
	CU_ASSERT(!config.latency);
	config_clear(&config);
	CU_ASSERT(option_refused("--latency", "maybe", "yes or no"));
}

static void notes_processes_if_that_is_wanted(void)
{
	struct config config = loaded(NULL, OPTIONS("--run-dir", "/tmp/x"));

	CU_ASSERT(!config.processes);
	config_clear(&config);
	config = loaded("{\"processes\": true}", NULL);
	CU_ASSERT(config.processes);
	config_clear(&config);
	config = loaded("{\"processes\": true}", OPTIONS("--processes", "no"));
	CU_ASSERT(!config.processes);
	config_clear(&config);
	CU_ASSERT(option_refused("--processes", "maybe", "yes or no"));
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(defaults_hold_without_any_option),
		UNIT_TEST(every_option_sets_its_field),
		UNIT_TEST(file_takes_the_same_keys),
		UNIT_TEST(command_line_wins_over_the_file),
		UNIT_TEST(every_key_is_an_option_and_stands_in_the_help),
		UNIT_TEST(refuses_a_file_that_is_not_an_object_of_known_keys),
		UNIT_TEST(refuses_wrong_types),
		UNIT_TEST(refuses_bad_values_and_says_what_is_allowed),
		UNIT_TEST(the_page_is_for_this_machine_unless_it_has_a_name),
		UNIT_TEST(names_what_is_not_supported_yet),
		UNIT_TEST(takes_pools_of_load_balancers),
		UNIT_TEST(refuses_pools_that_take_addresses_of_others),
		UNIT_TEST(takes_the_api_server),
		UNIT_TEST(refuses_an_api_server_that_makes_no_sense),
		UNIT_TEST(refuses_what_makes_no_sense_together),
		UNIT_TEST(refuses_options_that_are_none),
		UNIT_TEST(refuses_paths_that_cannot_be),
		UNIT_TEST(makes_relative_options_absolute),
		UNIT_TEST(state_directory_follows_the_run_directory),
		UNIT_TEST(every_option_is_taken_for_its_own_key),
		UNIT_TEST(measures_connections_if_that_is_wanted),
		UNIT_TEST(notes_processes_if_that_is_wanted),
	};
	int r;

	unit_directory(directory);
	snprintf(file, sizeof(file), "%s/polderd.json", directory);
	r = UNIT_RUN("config", tests);
	unit_remove_directory(directory);
	return r;
}

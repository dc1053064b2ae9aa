/* SPDX-License-Identifier: Apache-2.0 */
/* Shows whether the agent is well, and waits until it is. */
#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/cli/cli.h"
#include "agent/cli/format.h"
#include "agent/cli/table.h"
#include "agent/common/clock.h"

#define WAIT_DEFAULT 60
#define WAIT_MAX     86400
#define POLL_MS	     100
#define LEAST_MS     1000 /* an agent that answers at all does so in this time */
#define LIST_MOST    8

static void print_line(const char *key, const char *text)
{
	printf("%-14s", key);
	text_print(*text ? text : "-", NULL, stdout);
	putchar('\n');
}

static void print_list_line(const char *key, const json_t *list)
{
	char *text = format_list(list, LIST_MOST);

	print_line(key, text);
	free(text);
}

static void print_head(const json_t *status)
{
	char duration[FORMAT_MAX], line[512];

	print_line("Node", field_text(status, "node"));
	print_line("Version", field_text(status, "version"));
	print_line("Ready", json_is_true(field(status, "ready")) ? "yes" : "no");
	print_line("Synced", json_is_true(field(status, "synced"))
				     ? "yes"
				     : "no: not all sources have been read yet");
	print_line("Uptime", format_duration(field_number(status, "uptime_seconds"), duration));
	snprintf(line, sizeof(line), "%lld", (long long)field_number(status, "generation"));
	print_line("Generation", line);
	print_list_line("Node IPs", field(status, "node_ips"));
	print_list_line("Pod CIDRs", field(status, "pod_cidrs"));
}

static void print_datapath(const json_t *status)
{
	json_t *links = json_array();
	const json_t *item;
	char line[256];
	size_t index;

	json_array_foreach (field(status, "xdp"), index, item) {
		json_array_append_new(links, json_sprintf("%s (%s)", field_text(item, "link"),
							  field_text(item, "mode")));
	}
	snprintf(line, sizeof(line), "%s; socket programs: %s", field_text(status, "attach"),
		 json_is_true(field(status, "socket_programs")) ? "yes" : "no");
	print_line("Attach", line);
	print_list_line("XDP", links);
	json_decref(links);
}

/* Nothing where there are no other nodes. */
static void print_routes(const json_t *routes)
{
	long long wanted = (long long)field_number(routes, "wanted"),
		  refused = (long long)field_number(routes, "refused"),
		  elsewhere = (long long)field_number(routes, "elsewhere");
	char line[512], duration[FORMAT_MAX];
	int used;

	if (!wanted && !refused && !elsewhere)
		return;
	used = snprintf(line, sizeof(line), "%lld of %lld installed",
			(long long)field_number(routes, "installed"), wanted);
	if (refused)
		used += snprintf(line + used, sizeof(line) - (size_t)used, ", %lld refused",
				 refused);
	if (elsewhere)
		used += snprintf(line + used, sizeof(line) - (size_t)used,
				 ", %lld left to the network", elsewhere);
	if (field_number(routes, "failed") > 0)
		snprintf(line + used, sizeof(line) - (size_t)used, ", %lld failed, for %s",
			 (long long)field_number(routes, "failed"),
			 format_duration(field_number(routes, "failed_seconds"), duration));
	print_line("Node routes", line);
}

/* Nothing where there are no other nodes. */
static void print_peers(const json_t *peers)
{
	static const char *const ways[] = {"native", "tunnel", "routes", "unknown"};
	char line[256];
	int used;

	if (!json_is_object(peers) || field_number(peers, "count") <= 0)
		return;
	used = snprintf(line, sizeof(line), "%lld", (long long)field_number(peers, "count"));
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
		if (field_number(peers, ways[i]) > 0)
			used += snprintf(line + used, sizeof(line) - (size_t)used, ", %lld %s",
					 (long long)field_number(peers, ways[i]), ways[i]);
	if (field_number(peers, "conflicts") > 0)
		snprintf(line + used, sizeof(line) - (size_t)used, ", %lld conflicts",
			 (long long)field_number(peers, "conflicts"));
	print_line("Other nodes", line);
}

/* Nothing where there are no pools. */
static void print_load_balancers(const json_t *balancers)
{
	char line[256];
	int used;

	if (!json_is_object(balancers))
		return;
	used = snprintf(line, sizeof(line), "%lld addresses of %lld Services",
			(long long)field_number(balancers, "addresses"),
			(long long)field_number(balancers, "services"));
	if (strcmp(field_text(balancers, "announce"), "none") != 0)
		used += snprintf(line + used, sizeof(line) - (size_t)used,
				 ", %lld announced by this node, %lld by others, %lld by nobody",
				 (long long)field_number(balancers, "announced"),
				 (long long)field_number(balancers, "elsewhere"),
				 (long long)field_number(balancers, "nowhere"));
	if (field_number(balancers, "refused") > 0)
		snprintf(line + used, sizeof(line) - (size_t)used, ", %lld refused",
			 (long long)field_number(balancers, "refused"));
	print_line("Balancers", line);
}

/* Nothing where objects come from elsewhere. */
static void print_api(const json_t *api)
{
	char line[512], duration[FORMAT_MAX];
	bool connected = json_is_true(field(api, "connected"));
	const json_t *kept = field(api, "kept");

	if (!json_is_object(api))
		return;
	snprintf(line, sizeof(line), "%.200s: %s for %s",
		 *field_text(api, "server") ? field_text(api, "server") : "no address is known",
		 connected ? "connected" : "not connected",
		 format_duration(field_number(api, "since_seconds"), duration));
	print_line("API server", line);
	if (!json_is_true(field(kept, "in_force")))
		return;
	snprintf(line, sizeof(line), "from the disk, of %s ago",
		 format_duration(field_number(kept, "age_seconds"), duration));
	print_line("API objects", line);
}

static void print_counts(const json_t *status)
{
	static const char *const kinds[] = {"pods",	"namespaces",	  "nodes",
					    "services", "endpointslices", "networkpolicies"};
	static const char *const families[] = {"ipv4", "ipv6"};
	const json_t *pool;
	char line[512];
	int used = 0;

	snprintf(line, sizeof(line), "%lld, of which ready: %lld",
		 (long long)field_number(status, "pods.total"),
		 (long long)field_number(status, "pods.ready"));
	print_line("Pods", line);
	for (size_t i = 0; i < 2; i++) {
		pool = field(field(status, "pool"), families[i]);
		snprintf(line, sizeof(line), "%s: %lld of %.0f addresses used", families[i],
			 (long long)field_number(pool, "used"),
			 json_number_value(field(pool, "size")));
		if (json_number_value(field(pool, "size")) > 0)
			print_line("Pool", line);
	}
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		used += snprintf(
			line + used, sizeof(line) - (size_t)used, "%s%lld %s", i ? ", " : "",
			(long long)field_number(field(status, "objects"), kinds[i]), kinds[i]);
	print_line("Objects", line);
	print_api(field(status, "api"));
	print_peers(field(status, "peers"));
	print_load_balancers(field(status, "load_balancers"));
	print_routes(field(status, "routes"));
	snprintf(line, sizeof(line), "%lld identities, %lld rule sets",
		 (long long)field_number(status, "policy.identities"),
		 (long long)field_number(status, "policy.rulesets"));
	print_line("Policy", line);
}

/* A list of objects as a table below a heading; nothing if it is empty. `keys` go with `titles`. */
static void print_section(const char *heading, const json_t *list, const char *const *titles,
			  const char *const *keys)
{
	struct table *table;
	char scalar[FORMAT_MAX];
	const json_t *item, *value;
	size_t index;

	if (!json_array_size(list))
		return;
	table = table_new(titles);
	if (!table)
		abort();
	json_array_foreach (list, index, item)
		for (size_t i = 0; titles[i]; i++) {
			value = field(item, keys[i]);
			table_add(table, json_is_string(value) ? json_string_value(value)
							       : format_scalar(value, scalar));
		}
	printf("\n%s\n", heading);
	table_print(table, stdout);
	table_free(table);
}

static void print_status(const json_t *status)
{
	static const char *const feature_titles[] = {"FEATURE", "AVAILABLE", "NOTE", NULL};
	static const char *const feature_keys[] = {"name", "available", "note"};
	static const char *const problem_titles[] = {"SOURCE", "PATH", "REASON", NULL};
	static const char *const problem_keys[] = {"source", "path", "reason"};
	static const char *const capacity_titles[] = {"POD", "REASON", NULL};
	static const char *const capacity_keys[] = {"pod", "reason"};
	static const char *const limit_titles[] = {"MAP", "ENTRIES", "OF", "REASON", NULL};
	static const char *const limit_keys[] = {"map", "entries", "max_entries", "reason"};

	static const char *const uplink_titles[] = {"LINK", "STATE",   "SINCE", "MTU",
						    "XDP",  "WHY NOT", NULL};
	static const char *const uplink_keys[] = {"link", "state", "since",
						  "mtu",  "xdp",   "xdp_reason"};
	static const char *const other_titles[] = {"AT", "HOOK", "RUNS", "NAME",
						   "ID", "TAG",	 "UID",	 NULL};
	static const char *const other_keys[] = {"at", "hook", "order", "name", "id", "tag", "uid"};

	static const char *const resource_titles[] = {"RESOURCE", "STATE",   "CURRENT",
						      "EVENTS",	  "REFUSED", NULL};
	static const char *const resource_keys[] = {"name", "state", "current", "events",
						    "refused"};

	print_head(status);
	print_datapath(status);
	print_counts(status);
	print_section("Features", field(status, "features"), feature_titles, feature_keys);
	print_section("Uplinks", field(status, "uplinks"), uplink_titles, uplink_keys);
	print_section("Resources of the API server", field(status, "api.resources"),
		      resource_titles, resource_keys);
	print_section("Programs of others at Polder's hooks: before, behind or instead of its own",
		      field(status, "other_programs"), other_titles, other_keys);
	print_section("Problems; of a file that is rejected the last valid version stays in force",
		      field(status, "problems"), problem_titles, problem_keys);
	print_section("Isolated pods: their policies do not fit in the maps",
		      field(status, "policy.over_capacity"), capacity_titles, capacity_keys);
	print_section("Map limits", field(status, "limits"), limit_titles, limit_keys);
}

/* 0 with a status, ready or not; -errno and a message if there was none in time. */
static int wait_for_ready(struct cli *cli, int64_t deadline, json_t **ret, char *message,
			  size_t size)
{
	int64_t left;
	int r;

	for (;;) {
		left = deadline - clock_monotonic_ms();
		if (cli->given[CLI_WAIT] && left < cli->patience_ms)
			cli->patience_ms = left > LEAST_MS ? (int)left : LEAST_MS;
		r = cli_ask_quietly(cli, "status", NULL, ret, message, size);
		if (!r && json_is_true(field(*ret, "ready")))
			return 0;
		if (r == -EACCES || r == -ENAMETOOLONG || r == -EPROTO)
			return r; /* waiting does not help */
		if (clock_monotonic_ms() >= deadline)
			return r;
		if (!r)
			json_decref(*ret);
		poll(NULL, 0, POLL_MS);
	}
}

static int parse_wait(const struct cli *cli, int *ret_seconds)
{
	const char *text = cli->values[CLI_WAIT];
	char *end;
	long value;

	if (!text) {
		*ret_seconds = WAIT_DEFAULT;
		return 0;
	}
	errno = 0;
	value = strtol(text, &end, 10);
	if (!isdigit((unsigned char)text[0]) || *end || errno || value > WAIT_MAX)
		return -EINVAL;
	*ret_seconds = (int)value;
	return 0;
}

int cli_run_status(struct cli *cli)
{
	int r, seconds = 0, code = CLI_OK;
	char message[1536];
	json_t *status;

	if (cli->given[CLI_WAIT] && parse_wait(cli, &seconds) < 0) {
		cli_error("--wait=%s: expected seconds from 0 to %d", cli->values[CLI_WAIT],
			  WAIT_MAX);
		return CLI_USAGE;
	}
	r = wait_for_ready(cli, clock_monotonic_ms() + seconds * 1000LL, &status, message,
			   sizeof(message));
	if (r < 0) {
		cli_error("%s", message);
		return CLI_FAILED;
	}
	if (cli->json)
		cli_print_json(status);
	else
		print_status(status);
	if (cli->given[CLI_WAIT] && !json_is_true(field(status, "ready"))) {
		cli_error("polderd at %s is not ready after %d s: %s", cli->socket, seconds,
			  json_is_true(field(status, "synced"))
				  ? "see its log and the problems above"
				  : "its objects have not all been read");
		code = CLI_FAILED;
	}
	json_decref(status);
	return code;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The table of the connectivity test. */
#include "agent/cli/connectivity_cases.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/cli/cli.h"
#include "agent/cli/format.h"
#include "agent/cli/table.h"
#include "agent/common/array.h"

#define KUBELET_PORT "10250"
#define DNS_NAME     "kubernetes.default.svc.cluster.local"

static const char *const families[] = {"IPv4", "IPv6"};
static const char *const protos[] = {"tcp", "udp"};
static const char *const phases[CONNECTIVITY_PHASES] = {
	[PHASE_OPEN] = "no policy",
	[PHASE_INGRESS] = "ingress policy",
	[PHASE_EGRESS] = "egress policy",
};

/* ---------------------------------------------------------------- making */

static struct connectivity_case *add(struct connectivity_cases *cases,
				     enum connectivity_phase phase,
				     enum connectivity_expected expected, const char *from,
				     const char *to, bool six)
{
	struct connectivity_case *items =
		reallocarray(cases->items, cases->count + 1, sizeof(*items));
	struct connectivity_case *item;

	if (!items)
		abort();
	cases->items = items;
	item = &items[cases->count++];
	*item = (struct connectivity_case){.phase = phase, .expected = expected, .from = from};
	snprintf(item->to, sizeof(item->to), "%.120s", to);
	snprintf(item->family, sizeof(item->family), "%s", families[six]);
	return item;
}

static void put_word(struct connectivity_case *item, const char *name, const char *value)
{
	size_t used = 0;

	while (item->words[used])
		used++;
	if (used + 1 >= COUNT(item->words) ||
	    asprintf(&item->words[used], value ? "--%s=%s" : "%s", name, value) < 0)
		abort();
}

static void put_words(struct connectivity_case *item, const char *what, const char *address,
		      const char *proto, const char *port, const char *size)
{
	item->what = what;
	put_word(item, "connectivity", NULL);
	put_word(item, "probe", NULL);
	put_word(item, "output", "json");
	put_word(item, "to", address);
	put_word(item, "proto", proto);
	if (port)
		put_word(item, "port", port);
	if (size)
		put_word(item, "size", size);
}

/* An address of a family of a list such as podIPs ({"ip"}) or clusterIPs; "" without one. */
static const char *address_of(const json_t *list, const char *key, bool six)
{
	struct in6_addr addr;
	const json_t *item;
	const char *text;
	size_t index;

	json_array_foreach (list, index, item) {
		text = key ? field_text(item, key) : json_string_value(item);
		/* A node's list has names as well. */
		if (text && inet_pton(six ? AF_INET6 : AF_INET, text, &addr) == 1)
			return text;
	}
	return "";
}

static const json_t *object_of(const json_t *targets, const char *kind, const char *name)
{
	const json_t *item;
	size_t index;

	json_array_foreach (field(field(targets, kind), "items"), index, item) {
		if (!strcmp(field_text(item, "metadata.name"), name))
			return item;
	}
	return NULL;
}

static const char *pod_address(const json_t *targets, enum connectivity_pod pod, bool six)
{
	return address_of(
		field(object_of(targets, "pods", connectivity_pod_names[pod]), "status.podIPs"),
		"ip", six);
}

static const char *service_address(const json_t *targets, enum connectivity_pod pod, bool six)
{
	return address_of(field(object_of(targets, "services", connectivity_pod_names[pod]),
				"spec.clusterIPs"),
			  NULL, six);
}

/* TCP and UDP from one pod to another, or to its Service. */
static void add_pair(struct connectivity_cases *cases, enum connectivity_phase phase,
		     enum connectivity_expected expected, enum connectivity_pod from,
		     enum connectivity_pod to, const char *address, bool is_service, bool six)
{
	char name[64];

	snprintf(name, sizeof(name), "%s%s", is_service ? "Service " : "",
		 connectivity_pod_names[to]);
	for (size_t i = 0; *address && i < COUNT(protos); i++)
		put_words(add(cases, phase, expected, connectivity_pod_names[from], name, six),
			  protos[i], address, protos[i], NULL, NULL);
}

static void add_pods(const json_t *targets, bool six, struct connectivity_cases *cases)
{
	static const struct {
		enum connectivity_phase phase;
		enum connectivity_expected expected;
		enum connectivity_pod from, to;
	} pairs[] = {
		{PHASE_OPEN, EXPECT_ANSWER, POD_CLIENT, POD_NEAR},
		{PHASE_OPEN, EXPECT_ANSWER, POD_CLIENT, POD_FAR},
		{PHASE_OPEN, EXPECT_ANSWER, POD_FAR, POD_CLIENT},
		{PHASE_INGRESS, EXPECT_ANSWER, POD_CLIENT, POD_NEAR},
		{PHASE_INGRESS, EXPECT_ANSWER, POD_CLIENT, POD_FAR},
		{PHASE_INGRESS, EXPECT_DENIED, POD_STRANGER, POD_NEAR},
		{PHASE_INGRESS, EXPECT_DENIED, POD_STRANGER, POD_FAR},
		{PHASE_EGRESS, EXPECT_ANSWER, POD_CLIENT, POD_NEAR},
		{PHASE_EGRESS, EXPECT_DENIED, POD_CLIENT, POD_FAR},
	};

	for (size_t i = 0; i < COUNT(pairs); i++) {
		const char *from = pod_address(targets, pairs[i].from, six);

		if (!*from)
			continue;
		add_pair(cases, pairs[i].phase, pairs[i].expected, pairs[i].from, pairs[i].to,
			 pod_address(targets, pairs[i].to, six), false, six);
		add_pair(cases, pairs[i].phase, pairs[i].expected, pairs[i].from, pairs[i].to,
			 service_address(targets, pairs[i].to, six), true, six);
	}
}

static void add_sizes(const json_t *targets, bool six, struct connectivity_cases *cases)
{
	static const enum connectivity_pod servers[] = {POD_NEAR, POD_FAR};
	const char *client = connectivity_pod_names[POD_CLIENT];

	for (size_t i = 0; i < COUNT(servers); i++) {
		const char *address = pod_address(targets, servers[i], six);
		const char *name = connectivity_pod_names[servers[i]];

		if (!*address || !*pod_address(targets, POD_CLIENT, six))
			continue;
		put_words(add(cases, PHASE_OPEN, EXPECT_ANSWER, client, name, six),
			  "udp, sizes around the MTU", address, "udp", NULL, "mtu");
		put_words(add(cases, PHASE_OPEN, EXPECT_ANSWER, client, name, six), "tcp, 300 kB",
			  address, "tcp", NULL, "mtu");
	}
}

bool connectivity_outside(const char *text, char *ret_host, char *ret_port, bool *ret_six)
{
	const char *host = text, *end = strchr(text, ':'), *port = "443";
	bool one_colon = end && end == strrchr(text, ':');
	struct in6_addr addr;

	if (*text == '[' && (end = strchr(text, ']'))) {
		host = text + 1;
		port = end[1] == ':' ? end + 2 : end[1] ? "" : port;
	} else if (one_colon) {
		port = end + 1;
	} else {
		end = text + strlen(text);
	}
	if (end - host >= CONNECTIVITY_HOST_MAX || strlen(port) >= CONNECTIVITY_PORT_MAX)
		return false;
	snprintf(ret_host, CONNECTIVITY_HOST_MAX, "%.*s", (int)(end - host), host);
	snprintf(ret_port, CONNECTIVITY_PORT_MAX, "%s", port);
	*ret_six = strchr(ret_host, ':') != NULL;
	return inet_pton(*ret_six ? AF_INET6 : AF_INET, ret_host, &addr) == 1 && *port &&
	       strspn(port, "0123456789") == strlen(port) && atoi(port) > 0 && atoi(port) < 65536;
}

/* The cluster's DNS, the nodes, and the outside. */
static void add_others(const json_t *targets, const char *const nodes[2], const char *outside,
		       bool six, struct connectivity_cases *cases)
{
	const char *client = connectivity_pod_names[POD_CLIENT], *address;
	struct connectivity_case *item;
	char name[128], host[CONNECTIVITY_HOST_MAX], port[CONNECTIVITY_PORT_MAX];
	bool is_six;

	address = address_of(
		field(json_array_get(field(field(targets, "dns"), "items"), 0), "spec.clusterIPs"),
		NULL, six);
	if (*address) {
		item = add(cases, PHASE_OPEN, EXPECT_ANSWER, client, "cluster DNS", six);
		put_words(item, "dns", address, "udp", "53", NULL);
		put_word(item, "name", DNS_NAME);
	}
	for (int i = 0; i < 2 && nodes[i]; i++) {
		address =
			address_of(field(object_of(targets, "nodes", nodes[i]), "status.addresses"),
				   "address", six);
		snprintf(name, sizeof(name), "node %.100s", nodes[i]);
		if (*address)
			put_words(add(cases, PHASE_OPEN, EXPECT_REACHED, client, name, six), "tcp",
				  address, "tcp", KUBELET_PORT, "0");
	}
	if (outside && connectivity_outside(outside, host, port, &is_six) && is_six == six)
		put_words(add(cases, PHASE_OPEN, EXPECT_ANSWER, client, outside, six), "tcp", host,
			  "tcp", port, "0");
}

void connectivity_cases_make(const json_t *targets, const char *const nodes[2], const char *outside,
			     struct connectivity_cases *ret)
{
	*ret = (struct connectivity_cases){0};
	for (int six = 0; six < 2; six++) {
		if (!*pod_address(targets, POD_CLIENT, six))
			continue;
		add_pods(targets, six, ret);
		add_sizes(targets, six, ret);
		add_others(targets, nodes, outside, six, ret);
	}
}

void connectivity_cases_clear(struct connectivity_cases *cases)
{
	for (size_t i = 0; i < cases->count; i++)
		for (size_t k = 0; cases->items[i].words[k]; k++)
			free(cases->items[i].words[k]);
	free(cases->items);
	*cases = (struct connectivity_cases){0};
}

/* ---------------------------------------------------------------- outcomes */

/* An outcome of the network, not of kubectl or of a machine without memory. */
static bool is_denial(const char *got)
{
	static const char *const words[] = {"refused", "reset", "no answer", "unreachable"};

	for (size_t i = 0; i < COUNT(words); i++)
		if (!strcmp(got, words[i]))
			return true;
	return false;
}

bool connectivity_case_good(const struct connectivity_case *item)
{
	if (item->expected == EXPECT_DENIED)
		return is_denial(item->got);
	return !strcmp(item->got, "answered") ||
	       (item->expected == EXPECT_REACHED && !strcmp(item->got, "refused"));
}

static const char *expected_text(const struct connectivity_case *item)
{
	static const char *const texts[] = {[EXPECT_ANSWER] = "answered",
					    [EXPECT_REACHED] = "answered or refused",
					    [EXPECT_DENIED] = "denied"};

	return texts[item->expected];
}

static void print_json(const struct connectivity_cases *cases)
{
	json_t *list = json_array();

	for (size_t i = 0; i < cases->count; i++) {
		const struct connectivity_case *item = &cases->items[i];

		json_array_append_new(
			list, json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:I, s:i}",
					"policy", phases[item->phase], "family", item->family,
					"from", item->from, "to", item->to, "what", item->what,
					"expected", expected_text(item), "result", item->got, "ok",
					connectivity_case_good(item), "ms", item->ms, "rounds",
					item->rounds));
	}
	cli_print_json(list);
	json_decref(list);
}

static void print_table(const struct connectivity_cases *cases)
{
	static const char *const titles[] = {"POLICY",	 "FAMILY", "FROM", "TO", "WHAT",
					     "EXPECTED", "RESULT", "OK",   "MS", NULL};
	struct table *table = table_new(titles);

	if (!table)
		abort();
	for (size_t i = 0; i < cases->count; i++) {
		const struct connectivity_case *item = &cases->items[i];

		table_add(table, phases[item->phase]);
		table_add(table, item->family);
		table_add(table, item->from);
		table_add(table, item->to);
		table_add(table, item->what);
		table_add(table, expected_text(item));
		table_add(table, item->got);
		table_add(table, connectivity_case_good(item) ? "yes" : "NO");
		table_addf(table, "%lld", (long long)item->ms);
	}
	table_print(table, stdout);
	table_free(table);
}

int connectivity_cases_show(const struct cli *cli, const struct connectivity_cases *cases)
{
	size_t good = 0;

	for (size_t i = 0; i < cases->count; i++)
		good += connectivity_case_good(&cases->items[i]);
	if (cli->json)
		print_json(cases);
	else
		print_table(cases);
	if (!cli->json)
		printf("%zu of %zu as expected\n", good, cases->count);
	return good == cases->count && good ? CLI_OK : CLI_FAILED;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/cli/capture_terms.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/address.h"
#include "agent/common/array.h"
#include "agent/common/cleanup.h"
#include "datapath/capture_abi.h"

#define WORDS_MAX 5 /* of a term that is understood: "tcp src portrange 1-2" has four */

/* With one of these the whole is no plain conjunction, or headers stand elsewhere. */
static const char *const strange[] = {"or",	"not",	  "vlan", "mpls", "pppoed",
				      "pppoes", "geneve", "llc",  "wlan", "encapsulated"};

static bool is_plain(const char *expression)
{
	return !strpbrk(expression, "()[]{}|!<>=+*\\\"'%^");
}

static bool is_strange(const char *word)
{
	for (size_t i = 0; i < COUNT(strange); i++)
		if (strcmp(word, strange[i]) == 0)
			return true;
	return false;
}

static const struct {
	const char *name;
	uint8_t family, proto;
} protocols[] = {
	{"ip", FAMILY_V4, 0},
	{"ip6", FAMILY_V6, 0},
	{"tcp", 0, IPPROTO_TCP},
	{"udp", 0, IPPROTO_UDP},
	{"sctp", 0, IPPROTO_SCTP},
	{"icmp", FAMILY_V4, IPPROTO_ICMP},
	{"icmp6", FAMILY_V6, IPPROTO_ICMPV6},
};

/* What has been set once stays: of two that differ no packet has both. */
static void set_number(json_t *args, const char *key, json_int_t value)
{
	if (value && !json_object_get(args, key))
		json_object_set_new(args, key, json_integer(value));
}

static void add_term(json_t *args, const char *key, size_t most, json_t *term)
{
	json_t *list = json_object_get(args, key);

	if (!list) {
		list = json_array();
		json_object_set_new(args, key, list);
	}
	if (json_array_size(list) < most)
		json_array_append_new(list, term);
	else
		json_decref(term);
}

static bool parse_port(const char *text, char end, long *ret, const char **ret_rest)
{
	char *rest;

	if (*text < '0' || *text > '9')
		return false;
	*ret = strtol(text, &rest, 10);
	*ret_rest = rest;
	return *ret <= 65535 && *rest == end;
}

static void add_net(json_t *args, const char *side, const char *text, bool host)
{
	struct polder_addr addr;
	struct prefix prefix;
	char buffer[PREFIX_TEXT_MAX];

	/* A name, or a net that libpcap reads in its own way, is left to it. */
	if (host) {
		if (addr_parse(text, &addr) < 0)
			return;
		prefix = (struct prefix){.addr = addr, .length = 128};
	} else if (!strchr(text, '/') || prefix_parse(text, &prefix) < 0) {
		return;
	}
	add_term(args, "nets", CAPTURE_NETS,
		 json_pack("{s:s, s:s}", "net", prefix_format(&prefix, buffer), "side", side));
}

static void add_ports(json_t *args, const char *side, const char *text, bool range)
{
	const char *rest;
	long first, last;

	if (!parse_port(text, range ? '-' : '\0', &first, &rest))
		return;
	last = first;
	if (range && !parse_port(rest + 1, '\0', &last, &rest))
		return;
	if (last < first) {
		long lower = last;

		last = first;
		first = lower;
	}
	add_term(args, "ports", CAPTURE_PORTS,
		 json_pack("{s:I, s:I, s:s}", "first", (json_int_t)first, "last", (json_int_t)last,
			   "side", side));
}

/* [protocol] [src|dst] [host|net|port|portrange] value, or a protocol alone. */
static void add_words(json_t *args, char *const *words, size_t count)
{
	const char *side = "either";
	size_t protocol = COUNT(protocols), at = 0;

	for (size_t i = 0; at == 0 && i < COUNT(protocols); i++)
		if (strcmp(words[0], protocols[i].name) == 0) {
			protocol = i;
			at = 1;
		}
	if (at < count && (strcmp(words[at], "src") == 0 || strcmp(words[at], "dst") == 0))
		side = *words[at++] == 's' ? "source" : "destination";
	if (at + 2 == count) {
		const char *kind = words[at], *value = words[at + 1];

		if (strcmp(kind, "host") == 0 || strcmp(kind, "net") == 0)
			add_net(args, side, value, *kind == 'h');
		else if (strcmp(kind, "port") == 0 || strcmp(kind, "portrange") == 0)
			add_ports(args, side, value, kind[4] != '\0');
		else
			return;
	} else if (protocol == COUNT(protocols) || count != 1) {
		return;
	}
	if (protocol < COUNT(protocols)) {
		set_number(args, "family", protocols[protocol].family);
		set_number(args, "proto", protocols[protocol].proto);
	}
}

static bool is_and(const char *word)
{
	return strcmp(word, "and") == 0 || strcmp(word, "&&") == 0;
}

int capture_terms_add(const char *expression, json_t *args)
{
	CLEANUP(cleanup_free) char *copy = strdup(expression);
	char *words[WORDS_MAX], *word, *rest = copy;
	CLEANUP(cleanup_json) json_t *found = json_object();
	size_t count = 0;

	if (!copy || !found)
		return -ENOMEM;
	if (!is_plain(expression))
		return 0;
	while ((word = strsep(&rest, " \t\n"))) {
		if (!*word)
			continue;
		if (is_strange(word))
			return 0;
		if (is_and(word)) {
			if (count > 0 && count < WORDS_MAX)
				add_words(found, words, count);
			count = 0;
			continue;
		}
		if (count < WORDS_MAX)
			words[count++] = word;
	}
	if (count > 0 && count < WORDS_MAX)
		add_words(found, words, count);
	return json_object_update(args, found) < 0 ? -ENOMEM : 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Merges what was seen into rules: per workload and direction, peers with the same ports are one
 * rule. */
#include "agent/cli/suggest.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "agent/cli/format.h"
#include "agent/common/cleanup.h"
#include "policy/objects/syntax.h"

#define DNS_PORT       53
#define NOTES_MAX      12 /* on a rule, more are counted; */
#define UNRULED_MAX    40 /* on what no rule allows */
#define ENOUGH_SECONDS 3600
#define NAME_BASE_MAX  200
#define PEERS_MAX      4096 /* of a rule; policy/objects has limits */
#define PORTS_MAX      4096
#define KEY_FLAGS      (JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY)

struct maker {
	const struct suggest_options *options;
	json_int_t watched_seconds; /* by the node that has watched for the shortest time */
	bool was_watched;	    /* for a time that was asked for */
	json_t *names;		    /* of policies that are taken: "namespace/name" */
};

/* ---------------------------------------------------------------- small things */

static void add_note(json_t *notes, json_t *text)
{
	json_array_append_new(notes, text);
}

static const char *times(json_int_t count, char buffer[FORMAT_MAX])
{
	if (count == 1)
		snprintf(buffer, FORMAT_MAX, "once");
	else
		snprintf(buffer, FORMAT_MAX, "%lld times", (long long)count);
	return buffer;
}

static int compare_texts(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The object's keys in order; the caller frees the array. */
static const char **sorted_keys(const json_t *object, size_t *ret_count)
{
	const char **keys = calloc(json_object_size(object) + 1, sizeof(*keys)), *key;
	size_t count = 0;
	json_t *value;

	if (!keys)
		abort();
	json_object_foreach ((json_t *)object, key, value) {
		keys[count++] = key;
	}
	qsort(keys, count, sizeof(*keys), compare_texts);
	*ret_count = count;
	return keys;
}

/* The member `key` of an object, made if it is not there. Borrowed. */
static json_t *member(json_t *object, const char *key, json_t *(*make)(void))
{
	json_t *value = json_object_get(object, key);

	if (!value) {
		value = make();
		json_object_set_new(object, key, value);
	}
	return value;
}

static bool has_ports(const char *proto)
{
	return strcasecmp(proto, "tcp") == 0 || strcasecmp(proto, "udp") == 0 ||
	       strcasecmp(proto, "sctp") == 0;
}

static void upper(const char *text, char buffer[FORMAT_MAX])
{
	size_t i;

	for (i = 0; text[i] && i + 1 < FORMAT_MAX; i++)
		buffer[i] = (char)toupper((unsigned char)text[i]);
	buffer[i] = '\0';
}

/* "TCP 8080", "icmp". */
static const char *port_text(const json_t *seen, char buffer[FORMAT_MAX])
{
	char proto[FORMAT_MAX];

	upper(field_text(seen, "proto"), proto);
	if (has_ports(proto))
		snprintf(buffer, FORMAT_MAX, "%.16s %lld", proto,
			 (long long)field_number(seen, "port"));
	else
		snprintf(buffer, FORMAT_MAX, "%.100s", field_text(seen, "proto"));
	return buffer;
}

/* ---------------------------------------------------------------- workloads in words */

/* "app=web,!canary". The caller frees. */
static char *selector_text(const json_t *workload)
{
	const json_t *labels = field(workload, "labels"), *absent = field(workload, "absent");
	const json_t *key;
	char *text = strdup(""), *longer;
	size_t count, i;
	const char **keys = sorted_keys(labels, &count);

	for (i = 0; i < count; i++) {
		if (asprintf(&longer, "%s%s%s=%s", text, *text ? "," : "", keys[i],
			     json_string_value(json_object_get(labels, keys[i]))) < 0)
			abort();
		free(text);
		text = longer;
	}
	json_array_foreach (absent, i, key) {
		if (asprintf(&longer, "%s%s!%s", text, *text ? "," : "", json_string_value(key)) <
		    0)
			abort();
		free(text);
		text = longer;
	}
	free(keys);
	return text;
}

/* "pods with app=web in demo". A new reference. */
json_t *suggest_workload_text(const json_t *workload)
{
	char *selector = selector_text(workload);
	json_t *text = *selector ? json_sprintf("pods with %s in %s", selector,
						field_text(workload, "namespace"))
				 : json_sprintf("pods in %s", field_text(workload, "namespace"));

	free(selector);
	return text;
}

/* Runtimes may give a pod labels that no selector may name. */
static bool is_selectable(const json_t *workload)
{
	const char *key, *reason;
	json_t *value;
	size_t i;

	json_array_foreach (field(workload, "absent"), i, value) {
		if (syntax_label_key(json_string_value(value), &reason) < 0)
			return false;
	}
	json_object_foreach ((json_t *)field(workload, "labels"), key, value) {
		if (syntax_label_key(key, &reason) < 0 ||
		    syntax_label_value(json_string_value(value), &reason) < 0)
			return false;
	}
	return syntax_label_value(field_text(workload, "namespace"), &reason) == 0;
}

/* A new reference. */
json_t *suggest_peer_text(const json_t *peer)
{
	if (strcmp(field_text(peer, "kind"), "pod") == 0)
		return suggest_workload_text(field(peer, "workload"));
	if (strcmp(field_text(peer, "kind"), "own_node") == 0)
		return json_string("the pods' own node");
	if (*field_text(peer, "node"))
		return json_sprintf("%s (node %s)", field_text(peer, "ip"),
				    field_text(peer, "node"));
	return json_string(field_text(peer, "ip"));
}

/* "TCP 8080 to pods with app=web in demo by Service demo/web port 80: 12 times, last 3m ago". */
static json_t *seen_text(const json_t *seen)
{
	bool egress = strcmp(field_text(seen, "direction"), "egress") == 0;
	char port[FORMAT_MAX], count[FORMAT_MAX], last[FORMAT_MAX], first[FORMAT_MAX];
	CLEANUP(cleanup_json) json_t *peer = suggest_peer_text(field(seen, "peer"));
	CLEANUP(cleanup_json)
	json_t *service =
		*field_text(seen, "service")
			? json_sprintf(" by Service %s port %lld", field_text(seen, "service"),
				       (long long)field_number(seen, "service_port"))
			: json_string("");

	return json_sprintf("%s %s %s%s: %s, first %s ago, last %s ago", port_text(seen, port),
			    egress ? "to" : "from", json_string_value(peer),
			    json_string_value(service), times(field_number(seen, "count"), count),
			    format_duration(field_number(seen, "first_seconds"), first),
			    format_duration(field_number(seen, "last_seconds"), last));
}

/* ---------------------------------------------------------------- peers */

static json_t *selector_of(const json_t *workload)
{
	json_t *selector = json_object(), *terms = json_array();
	const json_t *labels = field(workload, "labels"), *absent = field(workload, "absent"), *key;
	size_t count, i;
	const char **keys = sorted_keys(labels, &count);

	if (count)
		json_object_set_new(selector, "matchLabels", json_object());
	for (i = 0; i < count; i++)
		json_object_set(json_object_get(selector, "matchLabels"), keys[i],
				json_object_get(labels, keys[i]));
	json_array_foreach (absent, i, key) {
		json_array_append_new(
			terms, json_pack("{s:O, s:s}", "key", key, "operator", "DoesNotExist"));
	}
	if (json_array_size(terms))
		json_object_set(selector, "matchExpressions", terms);
	json_decref(terms);
	free(keys);
	return selector;
}

/* The block of `length` bits around an address. */
static json_t *block_of(const char *ip, int length_v4, int length_v6)
{
	unsigned char bytes[16];
	char text[INET6_ADDRSTRLEN];
	int family = strchr(ip, ':') ? AF_INET6 : AF_INET;
	int length = family == AF_INET ? length_v4 : length_v6;

	if (inet_pton(family, ip, bytes) != 1)
		return NULL;
	for (int bit = length; bit < (family == AF_INET ? 32 : 128); bit++)
		bytes[bit / 8] &= (unsigned char)~(0x80 >> bit % 8);
	inet_ntop(family, bytes, text, sizeof(text));
	return json_sprintf("%s/%d", text, length);
}

/* As a NetworkPolicyPeer; NULL: no policy can name it. A new reference. */
static json_t *policy_peer(const struct maker *maker, const json_t *peer)
{
	const json_t *workload = field(peer, "workload");

	if (strcmp(field_text(peer, "kind"), "pod") == 0)
		return json_pack("{s:{s:{s:s}}, s:o}", "namespaceSelector", "matchLabels",
				 "kubernetes.io/metadata.name", field_text(workload, "namespace"),
				 "podSelector", selector_of(workload));
	if (strcmp(field_text(peer, "kind"), "address") == 0) {
		json_t *block = block_of(field_text(peer, "ip"), maker->options->range_v4,
					 maker->options->range_v6);

		return block ? json_pack("{s:{s:o}}", "ipBlock", "cidr", block) : NULL;
	}
	return NULL;
}

/* ---------------------------------------------------------------- one direction */

/* A port of a peer, by a key that sorts as ports do. */
static void add_port(json_t *ports, const char *proto, json_int_t port)
{
	char name[FORMAT_MAX], key[2 * FORMAT_MAX];

	upper(proto, name);
	snprintf(key, sizeof(key), "%s %05lld", name, (long long)port);
	if (!json_object_get(ports, key))
		json_object_set_new(ports, key,
				    json_pack("{s:s, s:I}", "protocol", name, "port", port));
}

/* Whoever asks a DNS server by UDP asks by TCP when the answer is long. */
static bool is_dns(const json_t *seen)
{
	const char *proto = field_text(seen, "proto");

	return (strcasecmp(proto, "udp") == 0 || strcasecmp(proto, "tcp") == 0) &&
	       (field_number(seen, "port") == DNS_PORT ||
		field_number(seen, "service_port") == DNS_PORT);
}

static void add_ports(json_t *ports, const json_t *seen)
{
	add_port(ports, field_text(seen, "proto"), field_number(seen, "port"));
	if (is_dns(seen)) {
		add_port(ports, "UDP", field_number(seen, "port"));
		add_port(ports, "TCP", field_number(seen, "port"));
	}
}

/* Why nothing allows it, though it was seen; NULL: a rule can. */
static const char *why_not(const json_t *seen)
{
	const char *kind = field_text(seen, "peer.kind");

	if (strcmp(field_text(seen, "verdict"), "allow") != 0)
		return "denied";
	if (strcmp(kind, "own_node") == 0)
		return "always allowed, no rule is needed";
	if (strcmp(kind, "unknown_pod") == 0)
		return "not suggested: the address is in a pod range, and no Pod object names it";
	if (strcmp(kind, "pod") == 0 && !is_selectable(field(seen, "peer.workload")))
		return "not suggested: no selector may name these labels";
	if (!has_ports(field_text(seen, "proto")))
		return "not suggested: only a rule without ports allows it, and every port with it";
	return NULL;
}

/* `peers`: by their keys {"peer", "ports", "notes"}. `unruled`: notes on what no rule allows. */
static void add_seen(const struct maker *maker, const json_t *seen, json_t *peers, json_t *unruled)
{
	const char *why = why_not(seen);
	json_t *peer, *entry;
	char *key;

	if (why) {
		json_t *text = seen_text(seen);

		add_note(unruled, json_sprintf("%s; %s", json_string_value(text), why));
		json_decref(text);
		return;
	}
	peer = policy_peer(maker, field(seen, "peer"));
	key = peer ? json_dumps(peer, KEY_FLAGS) : NULL;
	if (key) {
		entry = member(peers, key, json_object);
		json_object_set(entry, "peer", peer);
		add_ports(member(entry, "ports", json_object), seen);
		if (is_dns(seen))
			json_object_set_new(entry, "dns", json_true());
		add_note(member(entry, "notes", json_array), seen_text(seen));
	}
	free(key);
	json_decref(peer);
}

/* `count` items from `first` on. */
static json_t *part_of(const json_t *list, size_t first, size_t count)
{
	json_t *part = json_array();

	for (size_t i = first; i < json_array_size(list) && i < first + count; i++)
		json_array_append(part, json_array_get(list, i));
	return part;
}

static json_t *ports_of(const json_t *set)
{
	json_t *ports = json_array();
	size_t count;
	const char **keys = sorted_keys(set, &count);

	for (size_t i = 0; i < count; i++)
		json_array_append(ports, json_object_get(set, keys[i]));
	free(keys);
	return ports;
}

/* Those with the same ports are one rule: {"peers", "ports", "notes"} by the ports' key. */
static json_t *group_by_ports(const json_t *peers)
{
	json_t *rules = json_object();
	size_t count;
	const char **keys = sorted_keys(peers, &count);

	for (size_t i = 0; i < count; i++) {
		const json_t *entry = json_object_get(peers, keys[i]);
		json_t *ports = ports_of(json_object_get(entry, "ports"));
		char *key = json_dumps(ports, KEY_FLAGS);
		json_t *rule = key ? member(rules, key, json_object) : NULL;

		if (!rule)
			abort();
		json_object_set(rule, "ports", ports);
		json_array_append(member(rule, "peers", json_array),
				  json_object_get(entry, "peer"));
		json_array_extend(member(rule, "notes", json_array),
				  json_object_get(entry, "notes"));
		if (json_object_get(entry, "dns"))
			json_object_set_new(rule, "dns", json_true());
		json_decref(ports);
		free(key);
	}
	free(keys);
	return rules;
}

/* The first `most` of them, and how many more there are. */
static void add_some(json_t *list, const json_t *notes, size_t most)
{
	size_t count = json_array_size(notes);

	for (size_t i = 0; i < count && i < most; i++)
		json_array_append(list, json_array_get(notes, i));
	if (count > most)
		add_note(list, json_sprintf("and %lld more", (long long)(count - most)));
}

static json_t *notes_of_rule(const json_t *rule)
{
	json_t *list = json_array();

	if (json_object_get(rule, "dns"))
		add_note(list, json_string("DNS: by TCP as well as by UDP, for long answers"));
	add_some(list, json_object_get(rule, "notes"), NOTES_MAX);
	return list;
}

/* ---------------------------------------------------------------- one workload */

static bool is_enough(const struct maker *maker)
{
	json_int_t enough = maker->options->enough_seconds;

	if (enough < 0)
		enough = maker->was_watched ? 0 : ENOUGH_SECONDS;
	return maker->watched_seconds >= enough;
}

/* One rule, or several if an object may not have so much in one. */
static void add_rules(const json_t *rule, const char *key, json_t *rules, json_t *rule_notes)
{
	const json_t *peers = json_object_get(rule, "peers"),
		     *ports = json_object_get(rule, "ports");

	for (size_t i = 0; i < json_array_size(peers); i += PEERS_MAX) {
		for (size_t k = 0; k < json_array_size(ports); k += PORTS_MAX) {
			json_array_append_new(
				rules, json_pack("{s:o, s:o}", key, part_of(peers, i, PEERS_MAX),
						 "ports", part_of(ports, k, PORTS_MAX)));
			json_array_append_new(rule_notes,
					      i || k ? json_array() : notes_of_rule(rule));
		}
	}
}

/* Adds the rules of a direction to the policy; false: nothing was seen of it, or not enough. */
static bool add_direction(const struct maker *maker, const json_t *lines, const char *direction,
			  json_t *rules, json_t *rule_notes, json_t *notes)
{
	bool egress = strcmp(direction, "egress") == 0;
	const char *title = egress ? "Egress" : "Ingress";
	CLEANUP(cleanup_json) json_t *peers = json_object();
	CLEANUP(cleanup_json) json_t *unruled = json_array();
	CLEANUP(cleanup_json) json_t *grouped = NULL;
	char watched[FORMAT_MAX];
	const json_t *line;
	const char **keys;
	size_t i, count;

	json_array_foreach (lines, i, line) {
		if (strcmp(field_text(line, "direction"), direction) == 0)
			add_seen(maker, line, peers, unruled);
	}
	add_some(notes, unruled, UNRULED_MAX);
	format_duration(maker->watched_seconds, watched);
	if (!json_object_size(peers)) {
		add_note(notes, json_sprintf("%s: nothing that a rule could allow was seen in %s, "
					     "so it is left open; add %s to policyTypes to deny it",
					     title, watched, title));
		return false;
	}
	if (!is_enough(maker)) {
		add_note(notes,
			 json_sprintf("%s: seen for %s only, so it is left open: watch for longer "
				      "(--for TIME, or flow-history), or say --enough TIME",
				      title, watched));
		return false;
	}
	grouped = group_by_ports(peers);
	keys = sorted_keys(grouped, &count);
	for (i = 0; i < count; i++) {
		add_rules(json_object_get(grouped, keys[i]), egress ? "to" : "from", rules,
			  rule_notes);
	}
	free(keys);
	return true;
}

static void append_to_name(char name[NAME_BASE_MAX + 1], const char *text)
{
	size_t length = strlen(name);

	for (; *text && length < NAME_BASE_MAX; text++) {
		bool good = isascii((unsigned char)*text) && isalnum((unsigned char)*text);

		if (good)
			name[length++] = (char)tolower((unsigned char)*text);
		else if (length && name[length - 1] != '-')
			name[length++] = '-';
	}
	name[length] = '\0';
}

/* Of the values of its labels, as an object may be called. */
static void base_name(const json_t *workload, char name[NAME_BASE_MAX + 1])
{
	const json_t *labels = field(workload, "labels");
	size_t count, length;
	const char **keys = sorted_keys(labels, &count);

	strcpy(name, "suggested");
	for (size_t i = 0; i < count; i++) {
		append_to_name(name, "-");
		append_to_name(name, json_string_value(json_object_get(labels, keys[i])));
	}
	free(keys);
	for (length = strlen(name); length && name[length - 1] == '-'; length--)
		name[length - 1] = '\0';
}

/* A new reference. Two workloads never get one name. */
static json_t *take_name(const struct maker *maker, const json_t *workload)
{
	const char *namespace = field_text(workload, "namespace");
	char base[NAME_BASE_MAX + 1];
	json_t *name, *full;
	int number = 1;

	base_name(workload, base);
	for (;; number++) {
		name = number == 1 ? json_string(base) : json_sprintf("%s-%d", base, number);
		full = json_sprintf("%s/%s", namespace, json_string_value(name));
		if (!json_object_get(maker->names, json_string_value(full)))
			break;
		json_decref(name);
		json_decref(full);
	}
	json_object_set_new(maker->names, json_string_value(full), json_true());
	json_decref(full);
	return name;
}

static void note_workload(const json_t *workload, json_t *notes)
{
	json_int_t others = field_number(workload, "others");

	json_array_append_new(notes, suggest_workload_text(workload));
	if (others)
		add_note(notes, json_sprintf("%lld other pods have all these labels too: no "
					     "selector tells them apart",
					     (long long)others));
	if (!json_object_size(field(workload, "labels")))
		add_note(notes, json_string("these pods have no label: pods to come may be chosen "
					    "as well"));
}

static struct suggestion suggest(const struct maker *maker, const json_t *workload,
				 const json_t *lines)
{
	struct suggestion suggestion = {
		.notes = json_array(), .ingress_notes = json_array(), .egress_notes = json_array()};
	json_t *ingress = json_array(), *egress = json_array(), *types = json_array();
	bool selectable = true;
	json_t *spec;

	note_workload(workload, suggestion.notes);
	if (!is_selectable(workload)) {
		add_note(suggestion.notes,
			 json_string("no policy: no selector may name these labels"));
		selectable = false;
	}
	if (selectable && add_direction(maker, lines, "ingress", ingress, suggestion.ingress_notes,
					suggestion.notes))
		json_array_append_new(types, json_string("Ingress"));
	if (selectable && add_direction(maker, lines, "egress", egress, suggestion.egress_notes,
					suggestion.notes))
		json_array_append_new(types, json_string("Egress"));
	if (json_array_size(types)) {
		spec = json_pack("{s:o, s:O}", "podSelector", selector_of(workload), "policyTypes",
				 types);
		if (json_array_size(ingress))
			json_object_set(spec, "ingress", ingress);
		if (json_array_size(egress))
			json_object_set(spec, "egress", egress);
		suggestion.policy =
			json_pack("{s:s, s:s, s:{s:s, s:o}, s:o}", "apiVersion",
				  "networking.k8s.io/v1", "kind", "NetworkPolicy", "metadata",
				  "namespace", field_text(workload, "namespace"), "name",
				  take_name(maker, workload), "spec", spec);
	}
	json_decref(ingress);
	json_decref(egress);
	json_decref(types);
	return suggestion;
}

/* ---------------------------------------------------------------- all answers */

/* What several nodes, or pods, have seen of the same is one line. */
static void merge_line(json_t *lines, const json_t *line)
{
	static const char *const parts[] = {"direction", "verdict",	 "proto",   "port",
					    "service",	 "service_port", "subject", "peer"};
	json_t *identity = json_object(), *known;
	char *key;

	for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++)
		json_object_set(identity, parts[i], json_object_get(line, parts[i]));
	key = json_dumps(identity, KEY_FLAGS);
	json_decref(identity);
	if (!key)
		abort();
	known = json_object_get(lines, key);
	if (!known) {
		json_object_set_new(lines, key, json_copy((json_t *)line));
	} else {
		json_int_t first = field_number(line, "first_seconds"),
			   last = field_number(line, "last_seconds");

		json_object_set_new(
			known, "count",
			json_integer(field_number(known, "count") + field_number(line, "count")));
		if (first > field_number(known, "first_seconds"))
			json_object_set_new(known, "first_seconds", json_integer(first));
		if (last < field_number(known, "last_seconds"))
			json_object_set_new(known, "last_seconds", json_integer(last));
	}
	free(key);
}

static void note_end(const json_t *end, json_t *notes)
{
	char reach[FORMAT_MAX], asked[FORMAT_MAX], missed[FORMAT_MAX];
	json_int_t reaches = field_number(end, "reach_seconds"),
		   asks = field_number(end, "asked_seconds");
	bool watched = json_is_true(field(end, "watched"));

	format_duration(reaches, reach);
	format_duration(asks, asked);
	if (watched)
		add_note(notes, json_sprintf("watched for %s", asked));
	else if (!json_is_true(field(end, "recorded")))
		add_note(notes, json_string("no history is kept (flow-history): only what the flow "
					    "table had at this moment; --for TIME watches"));
	else
		add_note(notes, json_sprintf("the history reaches back %s", reach));
	if (!watched && json_is_true(field(end, "recorded")) && asks > reaches)
		add_note(notes, json_sprintf("asked for %s, which it does not reach: what was seen "
					     "before is not known",
					     asked));
	if (watched && reaches < asks)
		add_note(notes, json_sprintf("there was no room for all: what was seen more than "
					     "%s ago may be missing",
					     reach));
	if (field_number(end, "missed_seconds"))
		add_note(notes, json_sprintf("for %s of it no polderd watched: what was opened and "
					     "ended then is not known",
					     format_duration(field_number(end, "missed_seconds"),
							     missed)));
	if (field_number(end, "forgotten"))
		add_note(notes, json_sprintf("%lld entries were forgotten for want of room "
					     "(flow-history)",
					     (long long)field_number(end, "forgotten")));
	if (field_number(end, "looked_up"))
		add_note(notes, json_sprintf("%lld events were not told, and looked for in the "
					     "flow table instead",
					     (long long)field_number(end, "looked_up")));
}

/* For how long a node has seen what there was. */
static json_int_t watched_seconds(const json_t *end)
{
	json_int_t reach = field_number(end, "reach_seconds"),
		   asked = field_number(end, "asked_seconds"),
		   seconds = asked >= 0 && asked < reach ? asked : reach,
		   missed = field_number(end, "missed_seconds");

	return seconds > missed ? seconds - missed : 0;
}

static void take_answers(const json_t *answers, struct maker *maker, json_t *lines, json_t *notes)
{
	const json_t *answer, *line;
	size_t i, k;

	maker->watched_seconds = -1;
	maker->was_watched = true;
	json_array_foreach (answers, i, answer) {
		const json_t *end = field(answer, "end");
		json_int_t seconds = watched_seconds(end);

		if (maker->watched_seconds < 0 || seconds < maker->watched_seconds)
			maker->watched_seconds = seconds;
		maker->was_watched &= json_is_true(field(end, "watched"));
		note_end(end, notes);
		json_array_foreach (field(answer, "seen"), k, line) {
			merge_line(lines, line);
		}
	}
}

void suggestions_make(const json_t *answers, const struct suggest_options *options,
		      struct suggestions *ret)
{
	CLEANUP(cleanup_json) json_t *lines = json_object();
	CLEANUP(cleanup_json) json_t *workloads = json_object();
	CLEANUP(cleanup_json) json_t *names = json_object();
	struct maker maker = {.options = options, .names = names};
	size_t count;
	const char **keys;

	*ret = (struct suggestions){.notes = json_array()};
	take_answers(answers, &maker, lines, ret->notes);
	keys = sorted_keys(lines, &count);
	for (size_t i = 0; i < count; i++) {
		json_t *line = json_object_get(lines, keys[i]);
		json_t *subject = json_object_get(line, "subject");
		char *key = json_dumps(subject, KEY_FLAGS);
		json_t *entry = key ? member(workloads, key, json_object) : NULL;

		if (!entry)
			abort();
		json_object_set(entry, "subject", subject);
		json_array_append(member(entry, "lines", json_array), line);
		free(key);
	}
	free(keys);
	keys = sorted_keys(workloads, &count);
	ret->items = calloc(count + 1, sizeof(*ret->items));
	if (!ret->items)
		abort();
	for (size_t i = 0; i < count; i++) {
		const json_t *entry = json_object_get(workloads, keys[i]);

		ret->items[ret->count++] = suggest(&maker, json_object_get(entry, "subject"),
						   json_object_get(entry, "lines"));
	}
	free(keys);
}

void suggestions_clear(struct suggestions *suggestions)
{
	for (size_t i = 0; i < suggestions->count; i++) {
		json_decref(suggestions->items[i].policy);
		json_decref(suggestions->items[i].notes);
		json_decref(suggestions->items[i].ingress_notes);
		json_decref(suggestions->items[i].egress_notes);
	}
	free(suggestions->items);
	json_decref(suggestions->notes);
	*suggestions = (struct suggestions){0};
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/sources/api/refusal.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "agent/common/cleanup.h"
#include "agent/sources/api/own_node.h"
#include "policy/objects/digest.h"

#define REASON "ObjectRefused"
/* What the API takes. */
#define MESSAGE_MAX    1024
#define EVENT_NAME_MAX 253
#define SUFFIX_DIGITS  16

const char *refusal_namespace(const struct refusal *refusal)
{
	return refusal->namespace[0] ? refusal->namespace : "default";
}

static void write_suffix(const struct refusal *refusal, char text[SUFFIX_DIGITS + 1])
{
	uint8_t bytes[DIGEST_BYTES];
	struct digest digest;

	digest_begin(&digest);
	digest_add_text(&digest, refusal->kind);
	digest_add_text(&digest, refusal->namespace);
	digest_add_text(&digest, refusal->name);
	digest_add_text(&digest, refusal->uid);
	digest_add_text(&digest, refusal->error.path);
	digest_add_text(&digest, refusal->error.text);
	digest_end(&digest, bytes);
	for (size_t i = 0; i < SUFFIX_DIGITS / 2; i++)
		snprintf(text + 2 * i, 3, "%02x", bytes[i]);
}

/* Names of Events are those of the DNS; what a server calls an object may be another one. */
static bool is_dns_name(const char *text)
{
	char before = '.';

	for (; *text; before = *text++) {
		bool letter = (*text >= 'a' && *text <= 'z') || (*text >= '0' && *text <= '9');

		if (!letter && *text != '.' && *text != '-')
			return false;
		if ((*text == '.' && (before == '.' || before == '-')) ||
		    (*text == '-' && before == '.'))
			return false;
	}
	return before != '.' && before != '-';
}

static void write_name(const struct refusal *refusal, char text[EVENT_NAME_MAX + 1])
{
	char suffix[SUFFIX_DIGITS + 1];
	const char *name = is_dns_name(refusal->name) ? refusal->name : "object";
	size_t length;

	write_suffix(refusal, suffix);
	length = (size_t)snprintf(text, EVENT_NAME_MAX + 1 - SUFFIX_DIGITS - 1, "%s", name);
	if (length > EVENT_NAME_MAX - SUFFIX_DIGITS - 1)
		length = EVENT_NAME_MAX - SUFFIX_DIGITS - 1;
	/* Where it was cut. */
	while (length > 0 && (text[length - 1] == '.' || text[length - 1] == '-'))
		length--;
	snprintf(text + length, SUFFIX_DIGITS + 2, ".%s", suffix);
}

/* What a node does meanwhile depends on what it has seen: the words are true of each. */
static const char *meanwhile(const struct refusal *refusal)
{
	if (strcmp(refusal->kind, "NetworkPolicy") == 0 ||
	    strcmp(refusal->kind, "ClusterNetworkPolicy") == 0)
		return "Until it is corrected, nodes that know a valid version keep it in force; "
		       "on the others it lets nothing pass for the pods that it selects.";
	return "Until it is corrected, its last valid version stays in force where it is known.";
}

/* Words of others may be cut within a letter, or be none. */
static void only_ascii(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || (unsigned char)*text >= 127)
			*text = '?';
}

static void write_message(const struct refusal *refusal, char text[MESSAGE_MAX])
{
	const struct error *error = &refusal->error;

	if (refusal->reason) {
		snprintf(text, MESSAGE_MAX, "%s", error->text);
		only_ascii(text);
		return;
	}
	snprintf(text, MESSAGE_MAX,
		 "Polder cannot use this object: %.200s: %.500s. %s Correct it "
		 "there and apply it again.",
		 error->path[0] ? error->path : "$", error->text, meanwhile(refusal));
	only_ascii(text);
}

char *refusal_event(const struct refusal *refusal, const char *node, int64_t now)
{
	CLEANUP(cleanup_json) json_t *event = NULL;
	char name[EVENT_NAME_MAX + 1], message[MESSAGE_MAX], when[32], path[256];
	json_t *object;

	write_name(refusal, name);
	write_message(refusal, message);
	own_node_time(now, when);
	object = json_pack("{s:s, s:s, s:s}", "apiVersion", refusal->api_version, "kind",
			   refusal->kind, "name", refusal->name);
	if (refusal->namespace[0])
		json_object_set_new(object, "namespace", json_string(refusal->namespace));
	if (refusal->uid[0])
		json_object_set_new(object, "uid", json_string(refusal->uid));
	if (strncmp(refusal->error.path, "$.", 2) == 0) {
		snprintf(path, sizeof(path), "%s", refusal->error.path + 2);
		only_ascii(path);
		json_object_set_new(object, "fieldPath", json_string(path));
	}
	event = json_pack(
		"{s:s, s:s, s:{s:s, s:s}, s:o, s:s, s:s, s:s, s:s, s:s, s:i, s:{s:s, s:s}}",
		"apiVersion", "v1", "kind", "Event", "metadata", "name", name, "namespace",
		refusal_namespace(refusal), "involvedObject", object, "reason",
		refusal->reason ? refusal->reason : REASON, "message", message, "type", "Warning",
		"firstTimestamp", when, "lastTimestamp", when, "count", 1, "source", "component",
		"polderd", "host", node);
	return event ? json_dumps(event, JSON_COMPACT) : NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/sources/api/own_node.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/common/cleanup.h"
#include "agent/common/json_text.h"

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

static void read_taints(const json_t *node, struct own_node *own)
{
	const json_t *taints = json_object_get(json_object_get(node, "spec"), "taints");
	json_t *taint;
	size_t i;

	json_array_foreach (taints, i, taint)
		if (strcmp(text_of(taint, "key"), OWN_NODE_TAINT) == 0 &&
		    own->taint_count < OWN_NODE_TAINTS)
			own->taints[own->taint_count++] = (unsigned int)i;
}

static void read_condition(const json_t *node, struct own_node *own)
{
	const json_t *conditions = json_object_get(json_object_get(node, "status"), "conditions");
	json_t *condition;
	size_t i;

	json_array_foreach (conditions, i, condition) {
		if (strcmp(text_of(condition, "type"), "NetworkUnavailable") != 0 ||
		    strcmp(text_of(condition, "status"), "False") != 0)
			continue;
		snprintf(own->since, sizeof(own->since), "%s",
			 text_of(condition, "lastTransitionTime"));
		own->available = strcmp(text_of(condition, "reason"), OWN_NODE_REASON) == 0;
	}
}

int own_node_read(const char *text, size_t length, struct own_node *ret)
{
	CLEANUP(cleanup_json) json_t *node = NULL;
	struct own_node own = {};
	int r = json_text_load(text, length, 0, NULL, &node);

	if (r < 0)
		return r;
	if (!json_is_object(node))
		return -EBADMSG;
	own.version =
		strtoull(text_of(json_object_get(node, "metadata"), "resourceVersion"), NULL, 10);
	read_taints(node, &own);
	read_condition(node, &own);
	*ret = own;
	return 0;
}

/* The last one first: what stands before it keeps its place. */
char *own_node_taint_patch(const struct own_node *node)
{
	CLEANUP(cleanup_json) json_t *patch = json_array();
	char path[64];

	for (size_t i = 0; i < node->taint_count; i++) {
		snprintf(path, sizeof(path), "/spec/taints/%u/key", node->taints[i]);
		if (json_array_append_new(patch, json_pack("{s:s, s:s, s:s}", "op", "test", "path",
							   path, "value", OWN_NODE_TAINT)) < 0)
			return NULL;
	}
	for (size_t i = node->taint_count; i > 0; i--) {
		snprintf(path, sizeof(path), "/spec/taints/%u", node->taints[i - 1]);
		if (json_array_append_new(
			    patch, json_pack("{s:s, s:s}", "op", "remove", "path", path)) < 0)
			return NULL;
	}
	return patch ? json_dumps(patch, JSON_COMPACT) : NULL;
}

void own_node_time(int64_t seconds, char text[32])
{
	time_t when = (time_t)seconds;
	struct tm parts = {};

	gmtime_r(&when, &parts);
	strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", &parts);
}

char *own_node_condition_patch(const struct own_node *node, int64_t now)
{
	CLEANUP(cleanup_json) json_t *patch = NULL;
	char text[32];

	own_node_time(now, text);
	patch = json_pack("{s:{s:[{s:s, s:s, s:s, s:s, s:s, s:s}]}}", "status", "conditions",
			  "type", "NetworkUnavailable", "status", "False", "reason",
			  OWN_NODE_REASON, "message", "Polder serves the pods of this node",
			  "lastHeartbeatTime", text, "lastTransitionTime",
			  node->since[0] ? node->since : text);
	return patch ? json_dumps(patch, JSON_COMPACT) : NULL;
}

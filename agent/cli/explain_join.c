/* SPDX-License-Identifier: Apache-2.0 */
/* Answers of two nodes about one connection, joined. */
#include "agent/cli/explain_join.h"

#include <stdbool.h>
#include <string.h>

#include "agent/cli/format.h"
#include "agent/common/array.h"

/* What a conclusion consists of, here and in each endpoint. */
static const char *const conclusion[] = {"verdict", "reason",	    "direction",  "policy",
					 "rule",    "rule_path",    "rule_name",  "action",
					 "tier",    "default_deny", "isolated_by"};

static bool is(const json_t *object, const char *key, const char *text)
{
	return strcmp(field_text(object, key), text) == 0;
}

/* Denied by what this node evaluates itself, or for a reason that is no policy's. */
static bool denies(const json_t *part, const char *others_direction)
{
	return is(part, "verdict", "denied") && !is(part, "direction", others_direction);
}

static void copy_conclusion(json_t *to, const json_t *from)
{
	for (size_t i = 0; i < COUNT(conclusion); i++)
		json_object_set(to, conclusion[i], json_object_get(from, conclusion[i]));
}

/* Puts into `part` (the answer, or one of its endpoints), which the source's node has said, what it
 * comes to with the target's word. */
static void join_part(json_t *part, const struct explain_half *source,
		      const struct explain_half *target)
{
	bool known = source->answer || !source->node;

	if (source->answer && denies(part, "ingress"))
		return;
	if (target->answer && denies(target->answer, "egress")) {
		copy_conclusion(part, target->answer);
		return;
	}
	if (!known || !target->answer) {
		json_object_set_new(part, "verdict", json_string("unknown"));
		return;
	}
	/* Of what both allow, the ingress rule is told; without one the egress rule. */
	if (!is(part, "verdict", "allowed") || is(target->answer, "direction", "ingress"))
		copy_conclusion(part, target->answer);
	json_object_set_new(part, "verdict", json_string("allowed"));
	json_object_set_new(part, "reason", json_string("none"));
}

/* ---------------------------------------------------------------- agreement */

static bool same(const json_t *a, const json_t *b)
{
	static const char *const keys[] = {"allowed", "basis", "policy", "rule"};

	for (size_t i = 0; i < COUNT(keys); i++) {
		const json_t *ours = json_object_get(a, keys[i]);
		const json_t *theirs = json_object_get(b, keys[i]);

		if (ours != theirs && !json_equal(ours, theirs))
			return false;
	}
	return true;
}

/* Both nodes have evaluated both directions by the objects that they know. */
static void compare(const struct explain_half *source, const struct explain_half *target,
		    const char *direction, json_t *differences)
{
	const json_t *ours = json_object_get(source->answer, direction);
	const json_t *theirs = json_object_get(target->answer, direction);

	if (!ours || !theirs || same(ours, theirs))
		return;
	json_array_append_new(
		differences,
		json_sprintf("%s: node %s and node %s do not know the same objects: one has not "
			     "yet seen a change, or does not reach the API server (status)",
			     direction, source->node, target->node));
}

static void add_differences(json_t *differences, const struct explain_half *half)
{
	const json_t *line;
	size_t index;

	json_array_foreach (json_object_get(half->answer, "differences"), index, line) {
		json_array_append_new(differences, json_sprintf("node %s: %s", half->node,
								json_string_value(line)));
	}
}

/* ---------------------------------------------------------------- parts */

static bool is_here(const struct explain_half *half, const char *direction)
{
	return json_is_true(json_object_get(json_object_get(half->answer, direction), "here"));
}

/* The other direction, if another node evaluates it; "" if this one does both. */
static const char *not_its_own(const struct explain_half *half, const char *direction)
{
	const char *other = strcmp(direction, "egress") == 0 ? "ingress" : "egress";

	return is_here(half, other) ? "" : other;
}

static json_t *half_document(const struct explain_half *half, const char *direction)
{
	const char *other = not_its_own(half, direction);
	json_t *document = json_pack("{s:s, s:[s], s:s*, s:b}", "node", half->node, "directions",
				     direction, "pod", half->pod, "asked", half->answer != NULL);
	bool denied;

	if (!half->answer) {
		json_object_set_new(document, "note", json_string(half->why_not));
		return document;
	}
	denied = denies(half->answer, other);
	if (!*other)
		json_array_append_new(
			json_object_get(document, "directions"),
			json_string(strcmp(direction, "egress") == 0 ? "ingress" : "egress"));
	json_object_set_new(document, "verdict", json_string(denied ? "denied" : "allowed"));
	json_object_set_new(document, "reason",
			    denied ? json_incref(json_object_get(half->answer, "reason"))
				   : json_string("none"));
	json_object_set(document, direction, json_object_get(half->answer, direction));
	json_object_set(document, "methods", json_object_get(half->answer, "methods"));
	json_object_set(document, "agree", json_object_get(half->answer, "agree"));
	json_object_set(document, "differences", json_object_get(half->answer, "differences"));
	return document;
}

/* One way of evaluation, over both nodes. */
static json_t *join_method(const json_t *ours, const json_t *theirs)
{
	bool denied = is(ours, "verdict", "denied");
	json_t *joined;

	if (!json_is_true(json_object_get(ours, "asked")))
		return json_deep_copy(ours);
	if (!json_is_true(json_object_get(theirs, "asked")))
		return json_deep_copy(theirs);
	joined = json_deep_copy(denied ? ours : theirs);
	if (!denied)
		json_object_set(joined, "egress", json_object_get(ours, "egress"));
	return joined;
}

static void join_methods(json_t *joined, const struct explain_half *target)
{
	const json_t *theirs = json_object_get(target->answer, "methods");
	json_t *ours = json_object_get(joined, "methods"), *method;
	const char *name;
	void *next;

	json_object_foreach_safe(ours, next, name, method)
	{
		json_object_set_new(ours, name, join_method(method, json_object_get(theirs, name)));
	}
}

static void add_flows(json_t *joined, const struct explain_half *half)
{
	json_t *flows = json_object_get(joined, "flows"), *flow, *copy;
	size_t index;

	json_array_foreach (json_object_get(half->answer, "flows"), index, flow) {
		copy = json_deep_copy(flow);
		json_object_set_new(copy, "node", json_string(half->node));
		json_array_append_new(flows, copy);
	}
}

/* There is no "this node" in a joined answer. */
static void forget_here(json_t *joined)
{
	json_object_set_new(json_object_get(joined, "from"), "local", json_false());
	json_object_set_new(json_object_get(joined, "to"), "local", json_false());
}

/* ---------------------------------------------------------------- Services */

/* Joins each endpoint; returns the one to tell about: the answer's own, or one that is not allowed
 * if that is. NULL: no endpoint. */
static json_t *join_endpoints(json_t *joined, const struct explain_half *source,
			      const struct explain_half *targets, size_t count)
{
	json_t *list = json_object_get(joined, "backends"), *item, *told = NULL, *other = NULL;
	size_t index, allowed = 0;

	for (size_t i = 0; i < count; i++)
		join_part(json_array_get(list, targets[i].endpoint), source, &targets[i]);
	json_array_foreach (list, index, item) {
		allowed += is(item, "verdict", "allowed");
		if (is(item, "ip", field_text(joined, "backend.ip")) &&
		    field_number(item, "port") == field_number(joined, "backend.port"))
			told = item;
		if (!is(item, "verdict", "allowed") && (!other || is(item, "verdict", "denied")))
			other = item;
	}
	json_object_set_new(joined, "mixed",
			    json_boolean(allowed && allowed < json_array_size(list)));
	return told && is(told, "verdict", "allowed") && other ? other : told;
}

static void tell_endpoint(json_t *joined, const json_t *told)
{
	static const char *const keys[] = {"ip", "port", "pod", "node"};
	json_t *backend = json_object();

	copy_conclusion(joined, told);
	for (size_t i = 0; i < COUNT(keys); i++)
		json_object_set(backend, keys[i], json_object_get(told, keys[i]));
	json_object_set_new(joined, "backend", backend);
}

/* The target that the joined answer is about; NULL: an end that the source's node evaluates. */
static const struct explain_half *told_target(json_t *joined, const struct explain_half *source,
					      const struct explain_half *targets, size_t count)
{
	json_t *told;

	if (!json_is_object(json_object_get(joined, "service"))) {
		if (count)
			join_part(joined, source, &targets[0]);
		return count ? &targets[0] : NULL;
	}
	told = join_endpoints(joined, source, targets, count);
	if (!told)
		return NULL;
	tell_endpoint(joined, told);
	for (size_t i = 0; i < count; i++)
		if (json_array_get(json_object_get(joined, "backends"), targets[i].endpoint) ==
		    told)
			return &targets[i];
	return NULL;
}

/* The parts that are about one endpoint come from its own node. `moved`: it is not the one that the
 * source's node has told about. */
static void take_target(json_t *joined, const struct explain_half *source,
			const struct explain_half *target, bool moved, json_t *differences)
{
	const json_t *answer = target->answer;

	add_flows(joined, target);
	json_object_set_new(joined, "to", json_deep_copy(json_object_get(answer, "to")));
	json_object_set(joined, "ingress", json_object_get(answer, "ingress"));
	if (moved) {
		json_object_set(joined, "egress", json_object_get(answer, "egress"));
		json_object_set(joined, "methods", json_object_get(answer, "methods"));
		return;
	}
	join_methods(joined, target);
	if (!source->node || !source->answer)
		return;
	compare(source, target, "egress", differences);
	compare(source, target, "ingress", differences);
}

static bool same_backend(const json_t *a, const json_t *b)
{
	return strcmp(field_text(a, "backend.ip"), field_text(b, "backend.ip")) == 0 &&
	       field_number(a, "backend.port") == field_number(b, "backend.port");
}

json_t *explain_join(const json_t *answer, const struct explain_half *source,
		     const struct explain_half *targets, size_t count)
{
	json_t *joined = json_deep_copy(answer), *halves = json_array();
	json_t *differences = json_array();
	const struct explain_half *told;

	json_object_set_new(joined, "flows", json_array());
	told = told_target(joined, source, targets, count);
	if (!count && source->node && !source->answer && !is(joined, "verdict", "denied"))
		json_object_set_new(joined, "verdict", json_string("unknown"));
	if (source->node) {
		add_differences(differences, source);
		add_flows(joined, source);
		json_array_append_new(halves, half_document(source, "egress"));
	}
	for (size_t i = 0; i < count; i++) {
		json_array_append_new(halves, half_document(&targets[i], "ingress"));
		add_differences(differences, &targets[i]);
	}
	if (told && told->answer)
		take_target(joined, source, told, !same_backend(joined, answer), differences);
	forget_here(joined);
	json_object_set_new(joined, "agree", json_boolean(!json_array_size(differences)));
	json_object_set_new(joined, "differences", differences);
	json_object_set_new(joined, "halves", halves);
	return joined;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The node under test: requests from standard input, answers on standard output. See protocol.md.
 */
#include "tests/differential/harness.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/cleanup.h"

/* ---------------------------------------------------------------- objects */

/* All objects of a text, one after the other. */
static int put_text(struct harness *h, const char *text, size_t length, json_t *reply)
{
	struct object_list list = {};
	struct error error = {};
	size_t i;
	int r = objects_decode(text, length, &list, &error);

	if (r == -EINVAL || r == -EFBIG)
		return harness_fail(h, r, "%s: %s", error.path, error.text);
	json_object_set_new(reply, "count", json_integer(list.count));
	json_object_set_new(reply, "skipped", json_integer(list.skipped));
	for (i = 0; i < list.count && r == 0; i++)
		r = sandbox_put(h->sandbox, TAKE_PTR(list.objects[i]));
	object_list_clear(&list);
	return r;
}

static int op_put(struct harness *h, const json_t *request, json_t *reply)
{
	const json_t *objects = json_object_get(request, "objects"),
		     *given = json_object_get(request, "text");
	CLEANUP(cleanup_free) char *text = NULL;

	if (json_is_string(given))
		return put_text(h, json_string_value(given), json_string_length(given), reply);
	text = objects ? json_dumps(objects, JSON_COMPACT) : NULL;
	if (!text)
		return harness_fail(h, -EINVAL, "put: objects or text are needed");
	return put_text(h, text, strlen(text), reply);
}

static int op_delete(struct harness *h, const json_t *request, json_t *reply)
{
	const char *kind = "", *namespace = NULL, *name = "";
	enum object_kind k = 0;
	bool found;

	json_unpack((json_t *)request, "{s?s, s?s, s?s}", "kind", &kind, "namespace", &namespace,
		    "name", &name);
	while (k < OBJECT_KIND_COUNT && strcmp(object_kind_name(k), kind) != 0)
		k++;
	if (k == OBJECT_KIND_COUNT)
		return harness_fail(h, -EINVAL, "delete: kind %s is not known", kind);
	if (namespace && *namespace)
		found = sandbox_delete(h->sandbox, k, namespace, name);
	else
		found = sandbox_delete(h->sandbox, k, "", name) ||
			sandbox_delete(h->sandbox, k, "default", name);
	json_object_set_new(reply, "found", json_boolean(found));
	return 0;
}

/* ---------------------------------------------------------------- pods */

static int read_addresses(struct harness *h, const json_t *list, struct local_pod *pod)
{
	struct polder_addr address;
	const json_t *value;
	size_t i;

	json_array_foreach (list, i, value) {
		if (!json_is_string(value) || addr_parse(json_string_value(value), &address) < 0)
			return harness_fail(h, -EINVAL, "attach: addresses[%zu] is none", i);
		*(addr_is_v4(&address) ? &pod->ipv4 : &pod->ipv6) = address;
	}
	return 0;
}

static int read_labels(struct harness *h, const json_t *labels, struct local_pod *pod)
{
	const char *key;
	json_t *value;
	int r = 0;

	json_object_foreach ((json_t *)labels, key, value)
		if (r == 0)
			r = json_is_string(value)
				    ? labels_set(&pod->labels, key, json_string_value(value))
				    : -EINVAL;
	return r < 0 ? harness_fail(h, r, "attach: labels are texts by name") : 0;
}

static int op_attach(struct harness *h, const json_t *request, json_t *reply)
{
	const char *namespace = "default", *name = "", *container = NULL, *interface = "eth0",
		   *mac = "";
	struct local_pod pod = {.mtu = h->mtu};
	char usual[256], more;
	int r;

	json_unpack((json_t *)request, "{s?s, s?s, s?s, s?s, s?s, s?i, s?i}", "namespace",
		    &namespace, "name", &name, "container", &container, "interface", &interface,
		    "mac", &mac, "link", &pod.ifindex, "mtu", &pod.mtu);
	snprintf(usual, sizeof(usual), "%s-%s", namespace, name);
	pod.namespace = (char *)namespace;
	pod.name = (char *)name;
	pod.container_id = container ? (char *)container : usual;
	pod.ifname = (char *)interface;
	if (!*name || pod.ifindex < 1)
		return harness_fail(h, -EINVAL, "attach: name and link are needed");
	if (sscanf(mac, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx%c", &pod.mac[0], &pod.mac[1], &pod.mac[2],
		   &pod.mac[3], &pod.mac[4], &pod.mac[5], &more) != 6)
		return harness_fail(h, -EINVAL, "attach: mac \"%s\" is no Ethernet address", mac);
	r = read_addresses(h, json_object_get(request, "addresses"), &pod);
	if (r == 0)
		r = read_labels(h, json_object_get(request, "labels"), &pod);
	if (r == 0) {
		r = sandbox_attach(h->sandbox, &pod);
		if (r < 0)
			harness_fail(h, r, "attach %s/%s: %s", namespace, name,
				     r == -EBUSY ? "another pod has this link" : strerror(-r));
	}
	labels_clear(&pod.labels);
	return r;
}

static int op_detach(struct harness *h, const json_t *request, json_t *reply)
{
	const char *container = "", *interface = "eth0";

	json_unpack((json_t *)request, "{s?s, s?s}", "container", &container, "interface",
		    &interface);
	if (sandbox_detach(h->sandbox, container, interface) < 0)
		return harness_fail(h, -ENOENT,
				    "detach: there is no container %s with interface %s", container,
				    interface);
	return 0;
}

/* ---------------------------------------------------------------- passes */

static void add_problems(struct harness *h, json_t *reply)
{
	const struct policy_sync_problem *problems;
	const struct service_problem *refused;
	size_t count = policy_sync_problems(sandbox_policy_sync(h->sandbox), &problems), i;
	json_t *list = json_array();
	char subject[256];

	for (i = 0; i < count; i++)
		json_array_append_new(list, json_pack("{s:s, s:s}", "subject", problems[i].subject,
						      "reason", problems[i].reason));
	count = services_problems(sandbox_services(h->sandbox), &refused);
	for (i = 0; i < count; i++) {
		snprintf(subject, sizeof(subject), "service %s/%s", refused[i].namespace,
			 refused[i].name);
		json_array_append_new(list, json_pack("{s:s, s:s}", "subject", subject, "reason",
						      refused[i].reason));
	}
	json_object_set_new(reply, "problems", list);
}

/* What runs have followed step by step is what all objects together say. */
static int audit(struct harness *h)
{
	char *difference = NULL;
	int r = reconciler_audit(sandbox_reconciler(h->sandbox), &difference);

	if (r == 0 && difference)
		r = harness_fail(h, -EBADMSG, "audit: %s", difference);
	else if (r == -EAGAIN)
		r = 0;
	else if (r < 0)
		r = harness_fail(h, r, "audit: %s", strerror(-r));
	free(difference);
	return r;
}

static int reconcile(struct harness *h, bool finish, json_t *reply)
{
	bool again = false;
	int r = sandbox_run(h->sandbox, &again);

	if (r < 0)
		return harness_fail(h, r, "run: %s", strerror(-r));
	r = audit(h);
	if (r < 0)
		return r;
	if (finish) {
		again = sandbox_commit(h->sandbox);
		r = audit(h);
	}
	if (r < 0)
		return r;
	json_object_set_new(reply, "generation",
			    json_integer(maps_control(sandbox_maps(h->sandbox))->generation));
	json_object_set_new(reply, "again", json_boolean(again));
	add_problems(h, reply);
	return 0;
}

static int op_reconcile(struct harness *h, const json_t *request, json_t *reply)
{
	int finish = 1;

	json_unpack((json_t *)request, "{s?b}", "finish", &finish);
	return reconcile(h, finish, reply);
}

static int op_finish(struct harness *h, const json_t *request, json_t *reply)
{
	json_object_set_new(reply, "again", json_boolean(sandbox_commit(h->sandbox)));
	return 0;
}

static int op_restart(struct harness *h, const json_t *request, json_t *reply)
{
	int with_reconcile = 1, crash = 0, r;

	json_unpack((json_t *)request, "{s?b, s?b}", "reconcile", &with_reconcile, "crash", &crash);
	r = sandbox_restart(h->sandbox, crash);
	if (r < 0)
		return harness_fail(h, r, "restart: %s", strerror(-r));
	return with_reconcile ? reconcile(h, true, reply) : 0;
}

static int op_clear(struct harness *h, const json_t *request, json_t *reply)
{
	int r = sandbox_clear(h->sandbox);

	return r < 0 ? harness_fail(h, r, "clear: %s", strerror(-r)) : 0;
}

/* ---------------------------------------------------------------- requests */

static const struct {
	const char *name;
	harness_op run;
} ops[] = {
	{"open", harness_open},
	{"put", op_put},
	{"delete", op_delete},
	{"attach", op_attach},
	{"detach", op_detach},
	{"reconcile", op_reconcile},
	{"finish", op_finish},
	{"restart", op_restart},
	{"clear", op_clear},
	{"rules", harness_rules},
	{"counters", harness_counters},
	{"reasons", harness_reasons},
	{"maps", harness_maps},
	{"rule_packets", harness_rule_packets},
};

static int perform(struct harness *h, const char *op, const json_t *request, json_t *reply)
{
	size_t i;

	if (!h->sandbox && strcmp(op, "open") != 0)
		return harness_fail(h, -EINVAL, "%s: open comes first", op);
	for (i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
		if (strcmp(ops[i].name, op) == 0)
			return ops[i].run(h, request, reply);
	return harness_fail(h, -EINVAL, "there is no operation \"%s\"", op);
}

static int answer(struct harness *h, const json_t *request)
{
	CLEANUP(cleanup_json) json_t *reply = json_object();
	CLEANUP(cleanup_free) void *bytes = NULL;
	const char *op = "";
	size_t size = 0;
	int r;

	h->error[0] = '\0';
	json_unpack((json_t *)request, "{s?s}", "op", &op);
	if (h->sandbox && strcmp(op, "run") == 0)
		r = harness_run(h, request, stdin, reply, &bytes, &size);
	else if (h->sandbox && strcmp(op, "race") == 0)
		r = harness_race(h, request, stdin, reply, &bytes, &size);
	else
		r = perform(h, op, request, reply);
	if (r < 0) {
		json_object_clear(reply);
		json_object_set_new(reply, "error",
				    json_string(h->error[0] ? h->error : strerror(-r)));
	}
	json_object_set_new(reply, "ok", json_boolean(r == 0));
	json_dumpf(reply, stdout, JSON_COMPACT);
	putchar('\n');
	if (size)
		fwrite(bytes, size, 1, stdout);
	fflush(stdout);
	return r == -EPROTO ? r : 0; /* what comes next cannot be known */
}

int main(void)
{
	struct harness h = {};
	CLEANUP(cleanup_free) char *line = NULL;
	size_t room = 0;
	ssize_t length;
	int status = 0;

	log_set_level(LOG_LEVEL_WARNING);
	while (status == 0 && (length = getline(&line, &room, stdin)) > 0) {
		CLEANUP(cleanup_json)
		json_t *request = json_loadb(line, length, JSON_REJECT_DUPLICATES, NULL);

		if (!json_is_object(request)) {
			fprintf(stderr, "harness: a line is no JSON object\n");
			status = 2;
		} else if (answer(&h, request) < 0) {
			status = 2;
		}
	}
	harness_close(&h);
	return status;
}

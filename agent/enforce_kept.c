/* SPDX-License-Identifier: Apache-2.0 */
/* Labels and ports of containers whose Pod object went before them: kept on disk, so that a restart opens nothing (NP-24). */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/enforce_internal.h"
#include "agent/log.h"
#include "agent/state_file.h"

#define KEPT_MAX (16u << 20)
#define KEY_MAX  288

static const char *key_of(const struct enforced_pod *pod, char key[KEY_MAX])
{
	snprintf(key, KEY_MAX, "%s:%s", pod->container_id, pod->ifname);
	return key;
}

static void kept_path(const struct enforce *e, char *path, size_t size)
{
	snprintf(path, size, "%s/kept-pods.json", e->config->run_dir);
}

int kept_load(struct enforce *e)
{
	char path[300];
	json_t *kept = NULL;
	int r;

	kept_path(e, path, sizeof(path));
	r = state_file_read_json(path, KEPT_MAX, &kept);
	if (r == 0 && !json_is_object(kept)) {
		json_decref(kept);
		kept = NULL;
		r = -EBADMSG;
	}
	if (r < 0 && r != -ENOENT)
		log_warning("policy", "%s: cannot be used (%s): pods whose objects are gone have only their own labels", path,
			    strerror(-r));
	e->kept = kept ? kept : json_object();
	return e->kept ? 0 : -ENOMEM;
}

static void kept_save(const struct enforce *e)
{
	char path[300];
	int r;

	kept_path(e, path, sizeof(path));
	r = json_object_size(e->kept) ? state_file_write_json(path, e->kept) : state_file_remove(path);
	if (r < 0)
		log_error("policy", "%s: cannot be written: %s; a restart may judge pods whose objects are gone by other labels",
			  path, strerror(-r));
}

void kept_add(struct enforce *e, const struct enforced_pod *pod)
{
	json_t *labels = json_object(), *ports = json_array();
	char key[KEY_MAX];
	size_t i;

	for (i = 0; i < pod->object.labels.count; i++)
		json_object_set_new(labels, pod->object.labels.items[i].key,
				    json_string(pod->object.labels.items[i].value));
	for (i = 0; i < pod->object.pod.port_count; i++) {
		const struct named_port *port = &pod->object.pod.ports[i];

		json_array_append_new(ports, json_pack("{s:s?, s:i, s:i}", "name", port->name, "port", port->port,
						       "proto", port->proto));
	}
	json_object_set_new(e->kept, key_of(pod, key), json_pack("{s:o, s:o}", "labels", labels, "ports", ports));
	kept_save(e);
}

void kept_remove(struct enforce *e, const struct enforced_pod *pod)
{
	char key[KEY_MAX];

	if (json_object_del(e->kept, key_of(pod, key)) == 0)
		kept_save(e);
}

static int restore_ports(struct enforced_pod *pod, const json_t *list)
{
	struct named_port *ports = calloc(json_array_size(list) + 1, sizeof(*ports));
	size_t i, count = 0;

	if (!ports)
		return -ENOMEM;
	for (i = 0; i < json_array_size(list); i++) {
		const char *name = NULL;
		int number = 0, proto = 0;

		if (json_unpack(json_array_get(list, i), "{s?s, s:i, s:i}", "name", &name, "port", &number, "proto",
				&proto) < 0)
			continue;
		ports[count++] = (struct named_port){
			.name = name ? strdup(name) : NULL, .port = number, .proto = proto};
	}
	pod->object.pod.ports = ports;
	pod->object.pod.port_count = count;
	return 0;
}

int kept_restore(const struct enforce *e, struct enforced_pod *pod)
{
	char key[KEY_MAX];
	json_t *kept = json_object_get(e->kept, key_of(pod, key)), *value;
	const char *label;
	int r = 0;

	if (!kept)
		return 0;
	labels_clear(&pod->object.labels);
	json_object_foreach(json_object_get(kept, "labels"), label, value)
		if (r == 0 && json_is_string(value))
			r = labels_set(&pod->object.labels, label, json_string_value(value));
	return r < 0 ? r : restore_ports(pod, json_object_get(kept, "ports"));
}

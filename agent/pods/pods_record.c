/* SPDX-License-Identifier: Apache-2.0 */
/* A pod's record on disk. */
#include "agent/common/mac.h"
#include "agent/pods/pods_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/common/cleanup.h"
#include "agent/common/cni_deletion.h"
#include "agent/common/state_file.h"
#include "policy/objects/json.h"

#define RECORD_VERSION 1

/* A colon stands in neither name: no two pods share a file. */
static char *record_path(const char *directory, const struct local_pod *pod)
{
	char *path;

	if (asprintf(&path, "%s/%s:%s.json", directory, pod->container_id, pod->ifname) < 0)
		return NULL;
	return path;
}

static const char *addr_text(const struct polder_addr *addr, char *buffer)
{
	return !addr_is_zero(addr) ? addr_format(addr, buffer) : "";
}

json_t *pods_record_encode(const struct local_pod *pod)
{
	char v4[INET6_ADDRSTRLEN], v6[INET6_ADDRSTRLEN], mac[18];

	return json_pack(
		"{s:i, s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:s, s:s, s:s, s:i, s:i, s:s, "
		"s:I, s:b, s:b, s:o, s:o, s:I}",
		"version", RECORD_VERSION, "containerID", pod->container_id, "ifname", pod->ifname,
		"network", pod->network, "namespace", pod->namespace, "name", pod->name, "uid",
		pod->uid, "labels", json_of_labels(&pod->labels), "ipv4", addr_text(&pod->ipv4, v4),
		"ipv6", addr_text(&pod->ipv6, v6), "mac", mac_format(pod->mac, mac), "mtu",
		(int)pod->mtu, "ifindex", pod->ifindex, "link", pod->link, "created",
		(json_int_t)pod->created, "objectSeen", pod->object_seen, "labelsLost",
		pod->labels_lost, "ports", port_mappings_encode(&pod->ports), "bandwidth",
		bandwidth_encode(&pod->bandwidth), "netnsCookie", (json_int_t)pod->netns_cookie);
}

int pods_record_write(struct pods *pods, const struct local_pod *pod)
{
	CLEANUP(cleanup_json) json_t *record = pods_record_encode(pod);
	CLEANUP(cleanup_free) char *path = record_path(pods->directory, pod);
	CLEANUP(cleanup_free) char *text = record ? json_dumps(record, JSON_INDENT(1)) : NULL;
	int r;

	if (!text || !path)
		return -ENOMEM;
	r = state_file_write(path, text, strlen(text));
	if (r == 0)
		pods_copy_write(pods, pod, text);
	return r;
}

int pods_record_remove(struct pods *pods, const struct local_pod *pod)
{
	CLEANUP(cleanup_free) char *path = record_path(pods->directory, pod);
	int r = path ? state_file_remove(path) : -ENOMEM;

	if (r == 0)
		pods_copy_remove(pods, pod);
	return r;
}

size_t pods_restore_records(struct pods *pods)
{
	size_t restored = 0;

	if (mkdir(pods->directory, 0700) < 0 && errno != EEXIST)
		return 0;
	for (size_t i = 0; i < pods->count; i++) {
		CLEANUP(cleanup_free)
		char *path = record_path(pods->directory, pods->items[i]);

		restored += path && !pods->items[i]->gone && access(path, F_OK) < 0 &&
			    errno == ENOENT && pods_record_write(pods, pods->items[i]) == 0;
	}
	return restored;
}

/* "" is no address; the family must be the field's. */
static int decode_addr(const char *text, bool v4, struct polder_addr *ret)
{
	struct polder_addr addr;

	if (text[0] == '\0')
		return 0;
	if (addr_parse(text, &addr) < 0 || addr_is_v4(&addr) != v4)
		return -EBADMSG;
	*ret = addr;
	return 0;
}

static int decode_labels(const json_t *object, struct labels *labels)
{
	const char *key;
	json_t *value;

	json_object_foreach ((json_t *)object, key, value) {
		if (!json_is_string(value) || labels->count >= PODS_LABELS_MAX)
			return -EBADMSG;
		if (labels_set(labels, key, json_string_value(value)) < 0)
			return -ENOMEM;
	}
	return 0;
}

/* Records of before have none. Which addresses a port is published at was settled by the ADD. */
static int decode_ports(const json_t *list, struct port_mappings *ret)
{
	struct error error = {};
	int r;

	if (list && !json_is_array(list))
		return -EBADMSG;
	r = port_mappings_decode(list, "ports", ret, &error);
	for (size_t i = 0; i < ret->count && r == 0; i++)
		if (ret->items[i].every_family)
			r = -EBADMSG;
	return r == -ENOMEM || r == 0 ? r : -EBADMSG;
}

static int decode_bandwidth(const json_t *value, struct bandwidth *ret)
{
	struct error error;

	if (value && !json_is_object(value))
		return -EBADMSG;
	return bandwidth_decode(value, "bandwidth", ret, &error) < 0 ? -EBADMSG : 0;
}

struct record_text {
	const char *container_id, *ifname, *network, *namespace, *name, *uid, *ipv4, *ipv6, *mac,
		*link;
};

static int keep_texts(struct local_pod *pod, const struct record_text *text)
{
	if (!cni_container_id_valid(text->container_id) || !cni_ifname_valid(text->ifname) ||
	    !pods_link_name_is_ours(text->link) || decode_addr(text->ipv4, true, &pod->ipv4) < 0 ||
	    decode_addr(text->ipv6, false, &pod->ipv6) < 0 || mac_parse(text->mac, pod->mac) < 0)
		return -EBADMSG;
	if (addr_is_zero(&pod->ipv4) && addr_is_zero(&pod->ipv6))
		return -EBADMSG;
	snprintf(pod->link, sizeof(pod->link), "%s", text->link);
	pod->container_id = strdup(text->container_id);
	pod->ifname = strdup(text->ifname);
	pod->network = strdup(text->network);
	pod->namespace = strdup(text->namespace);
	pod->name = strdup(text->name);
	pod->uid = strdup(text->uid);
	if (!pod->container_id || !pod->ifname || !pod->network || !pod->namespace || !pod->name ||
	    !pod->uid)
		return -ENOMEM;
	return 0;
}

int pods_record_decode(const json_t *record, struct local_pod **ret)
{
	struct record_text text;
	struct local_pod *pod;
	json_t *labels, *ports = NULL, *bandwidth = NULL;
	json_int_t created, cookie = 0;
	int version, mtu, object_seen = 0, labels_lost = 0, r;

	/* What a newer agent has written is whole, and not ours to evaluate. */
	if (json_integer_value(json_object_get(record, "version")) > RECORD_VERSION)
		return -EPROTONOSUPPORT;
	pod = calloc(1, sizeof(*pod));
	if (!pod)
		return -ENOMEM;
	r = json_unpack((json_t *)record,
			"{s:i, s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:s, s:s, s:s, s:i, s:i, s:s, "
			"s:I, s?b, s?b, s?o, s?o, s?I}",
			"version", &version, "containerID", &text.container_id, "ifname",
			&text.ifname, "network", &text.network, "namespace", &text.namespace,
			"name", &text.name, "uid", &text.uid, "labels", &labels, "ipv4", &text.ipv4,
			"ipv6", &text.ipv6, "mac", &text.mac, "mtu", &mtu, "ifindex", &pod->ifindex,
			"link", &text.link, "created", &created, "objectSeen", &object_seen,
			"labelsLost", &labels_lost, "ports", &ports, "bandwidth", &bandwidth,
			"netnsCookie", &cookie);
	if (r < 0 || version != RECORD_VERSION || pod->ifindex < PODS_FIRST_IFINDEX ||
	    pod->ifindex >= PODS_FIRST_IFINDEX + PODS_IFINDEX_COUNT || mtu < 68 || mtu > 65535 ||
	    !json_is_object(labels))
		r = -EBADMSG;
	else
		r = keep_texts(pod, &text);
	if (r == 0)
		r = decode_labels(labels, &pod->labels);
	if (r == 0)
		r = decode_ports(ports, &pod->ports);
	if (r == 0)
		r = decode_bandwidth(bandwidth, &pod->bandwidth);
	if (r < 0) {
		local_pod_free(pod);
		return r;
	}
	pod->mtu = mtu;
	pod->created = created;
	pod->netns_cookie = (uint64_t)cookie;
	pod->object_seen = object_seen;
	pod->labels_lost = labels_lost;
	*ret = pod;
	return 0;
}

int pods_record_read(const char *directory, const char *file, struct local_pod **ret)
{
	CLEANUP(cleanup_json) json_t *record = NULL;
	CLEANUP(cleanup_free) char *path = NULL, *wanted = NULL;
	struct local_pod *pod;
	int r;

	if (asprintf(&path, "%s/%s", directory, file) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	r = state_file_read_json(path, PODS_RECORD_MAX, &record);
	if (r == 0)
		r = pods_record_decode(record, &pod);
	if (r < 0)
		return r;
	/* A record under another name would never be found again. */
	wanted = record_path(directory, pod);
	if (!wanted || strcmp(wanted, path) != 0) {
		r = wanted ? -EBADMSG : -ENOMEM;
		local_pod_free(pod);
		return r;
	}
	*ret = pod;
	return 0;
}

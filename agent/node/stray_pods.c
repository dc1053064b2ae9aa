/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/node/stray_pods.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/address.h"

struct stray {
	char *namespace, *name, *uid;
	struct polder_addr address;
	struct stray *next;
};

struct stray_pods {
	const struct config *config;
	stray_pods_listener found;
	void *data;
	struct stray *all, **last;
	size_t count;
};

int stray_pods_new(const struct config *config, stray_pods_listener found, void *data,
		   struct stray_pods **ret)
{
	struct stray_pods *pods = calloc(1, sizeof(*pods));

	if (!pods)
		return -ENOMEM;
	*pods = (struct stray_pods){.config = config, .found = found, .data = data};
	pods->last = &pods->all;
	*ret = pods;
	return 0;
}

static void stray_free(struct stray *stray)
{
	if (!stray)
		return;
	free(stray->namespace);
	free(stray->name);
	free(stray->uid);
	free(stray);
}

void stray_pods_free(struct stray_pods *pods)
{
	struct stray *stray;

	if (!pods)
		return;
	while ((stray = pods->all)) {
		pods->all = stray->next;
		stray_free(stray);
	}
	free(pods);
}

/* ---------------------------------------------------------------- is it one? */

static bool is_outside(const struct config *config, const struct polder_addr *addr)
{
	const struct prefix *range = addr_is_v4(addr) ? &config->pod_cidr_v4 : &config->pod_cidr_v6;

	return range->length == 0 || !prefix_contains(range, addr);
}

/* NULL: it is where it should be, another node's, or no pod of the network. */
static const struct polder_addr *outside_address(const struct config *config,
						 const struct object *object)
{
	const struct pod_object *pod = &object->pod;

	if (!pod->node_name || !config->node_name || pod->host_network || pod->finished ||
	    strcmp(pod->node_name, config->node_name) != 0)
		return NULL;
	for (size_t i = 0; i < pod->address_count; i++)
		if (is_outside(config, &pod->addresses[i]))
			return &pod->addresses[i];
	return NULL;
}

/* ---------------------------------------------------------------- those that are known */

static struct stray **find(struct stray_pods *pods, const struct object *object)
{
	struct stray **at = &pods->all;

	while (*at && (strcmp((*at)->name, object->name) != 0 ||
		       strcmp((*at)->namespace, object->namespace) != 0))
		at = &(*at)->next;
	return at;
}

static void forget(struct stray_pods *pods, struct stray **at)
{
	struct stray *stray = *at;

	if (!stray)
		return;
	*at = stray->next;
	if (pods->last == &stray->next)
		pods->last = at;
	pods->count--;
	stray_free(stray);
}

static struct stray_pod told(const struct stray *stray)
{
	return (struct stray_pod){.namespace = stray->namespace,
				  .name = stray->name,
				  .uid = stray->uid,
				  .address = stray->address};
}

static void keep(struct stray_pods *pods, const struct stray_pod *pod)
{
	struct stray *stray = calloc(1, sizeof(*stray));

	if (!stray)
		return;
	stray->namespace = strdup(pod->namespace);
	stray->name = strdup(pod->name);
	stray->uid = strdup(pod->uid);
	stray->address = pod->address;
	if (!stray->namespace || !stray->name || !stray->uid) {
		stray_free(stray);
		return;
	}
	*pods->last = stray;
	pods->last = &stray->next;
	pods->count++;
}

void stray_pods_object(struct stray_pods *pods, const struct object *object, bool deleted)
{
	const struct polder_addr *outside;
	struct stray **at;
	struct stray_pod pod;

	if (object->kind != OBJECT_POD)
		return;
	outside = deleted ? NULL : outside_address(pods->config, object);
	if (!outside && !pods->count)
		return;
	at = find(pods, object);
	if (*at && outside && strcmp((*at)->uid, object->uid) == 0 &&
	    memcmp(&(*at)->address, outside, sizeof(*outside)) == 0)
		return;
	forget(pods, at);
	if (!outside)
		return;
	pod = (struct stray_pod){.namespace = object->namespace,
				 .name = object->name,
				 .uid = object->uid,
				 .address = *outside};
	keep(pods, &pod);
	pods->found(&pod, pods->data);
}

/* ---------------------------------------------------------------- telling */

static const char *ranges_of(const struct config *config, char text[2 * PREFIX_TEXT_MAX + 2])
{
	char v4[PREFIX_TEXT_MAX] = "", v6[PREFIX_TEXT_MAX] = "";

	if (config->pod_cidr_v4.length)
		prefix_format(&config->pod_cidr_v4, v4);
	if (config->pod_cidr_v6.length)
		prefix_format(&config->pod_cidr_v6, v6);
	snprintf(text, 2 * PREFIX_TEXT_MAX + 2, "%s%s%s", v4, *v4 && *v6 ? "," : "", v6);
	return text;
}

const char *stray_pod_text(const struct stray_pods *pods, const struct stray_pod *pod,
			   char text[STRAY_POD_TEXT])
{
	char ranges[2 * PREFIX_TEXT_MAX + 2], address[INET6_ADDRSTRLEN];

	snprintf(text, STRAY_POD_TEXT,
		 "its address %s is outside of the pod ranges of its node %s (%s): other nodes do "
		 "not find it behind this one, and unless Polder has connected it no policy holds "
		 "for it. Look which network configuration of the container runtime comes first, "
		 "and make the pod again",
		 addr_format(&pod->address, address), pods->config->node_name,
		 ranges_of(pods->config, ranges));
	return text;
}

size_t stray_pods_list(const struct stray_pods *pods, size_t max, stray_pods_listener visit,
		       void *data)
{
	const struct stray *stray = pods->all;

	for (size_t i = 0; stray && i < max; i++, stray = stray->next) {
		const struct stray_pod pod = told(stray);

		visit(&pod, data);
	}
	return pods->count;
}

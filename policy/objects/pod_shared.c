/* SPDX-License-Identifier: Apache-2.0 */
/* What many pods say alike is kept once: those of one workload differ neither in namespace, labels
 * and ports nor, mostly, in their phase. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/hash_table.h"
#include "policy/objects/decode.h"

/* In memory followed by the labels, the ports and all texts. */
struct shared {
	struct hash_table_item by_texts; /* first: the table gives it back */
	uint32_t users;
	uint32_t label_count, port_count, length; /* of the texts */
	struct label labels[];			  /* point into the texts, as the ports do */
};

/* Of the process: who decodes objects does so in one thread, which frees the last share of each. */
static struct hash_table all;

static struct named_port *ports_of(struct shared *shared)
{
	return (struct named_port *)(shared->labels + shared->label_count);
}

static char *texts_of(struct shared *shared)
{
	return (char *)(ports_of(shared) + shared->port_count);
}

static size_t length_of(const struct object *pod)
{
	size_t length = strlen(pod->namespace) + strlen(pod->pod.phase) + 2;

	for (size_t i = 0; i < pod->labels.count; i++)
		length += strlen(pod->labels.items[i].key) + strlen(pod->labels.items[i].value) + 2;
	for (size_t i = 0; i < pod->pod.port_count; i++)
		length += pod->pod.ports[i].name ? strlen(pod->pod.ports[i].name) + 1 : 0;
	return length;
}

static char *copy_text(char **at, const char *text)
{
	char *copy = *at;

	*at = stpcpy(copy, text) + 1;
	return copy;
}

/* Nobody's yet. NULL: no memory. */
static struct shared *make(const struct object *pod)
{
	size_t length = length_of(pod), labels = pod->labels.count, ports = pod->pod.port_count;
	struct shared *shared = malloc(sizeof(*shared) + labels * sizeof(struct label) +
				       ports * sizeof(struct named_port) + length);
	char *at;

	if (!shared)
		return NULL;
	*shared = (struct shared){.label_count = (uint32_t)labels,
				  .port_count = (uint32_t)ports,
				  .length = (uint32_t)length};
	at = texts_of(shared);
	copy_text(&at, pod->namespace);
	copy_text(&at, pod->pod.phase);
	for (size_t i = 0; i < labels; i++) {
		shared->labels[i].key = copy_text(&at, pod->labels.items[i].key);
		shared->labels[i].value = copy_text(&at, pod->labels.items[i].value);
	}
	for (size_t i = 0; i < ports; i++) {
		struct named_port *port = ports_of(shared) + i;
		const struct named_port *from = &pod->pod.ports[i];

		*port = (struct named_port){.port = from->port, .proto = from->proto};
		if (from->name)
			port->name = copy_text(&at, from->name);
	}
	return shared;
}

/* The texts alone do not tell which ports have names. */
static bool same_ports(const struct named_port *a, const struct named_port *b, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (a[i].port != b[i].port || a[i].proto != b[i].proto || !a[i].name != !b[i].name)
			return false;
	return true;
}

static bool is_same(struct shared *a, struct shared *b)
{
	return a->label_count == b->label_count && a->port_count == b->port_count &&
	       a->length == b->length && memcmp(texts_of(a), texts_of(b), a->length) == 0 &&
	       same_ports(ports_of(a), ports_of(b), a->port_count);
}

static struct shared *find(struct shared *like, uint32_t hash)
{
	struct hash_table_item *item = hash_table_find(&all, hash);

	while (item && !is_same((struct shared *)item, like))
		item = hash_table_find_next(item);
	return (struct shared *)item;
}

/* What the pod had of its own goes. */
static void take(struct object *pod, struct shared *shared)
{
	labels_clear(&pod->labels);
	for (size_t i = 0; i < pod->pod.port_count; i++)
		free(pod->pod.ports[i].name);
	free(pod->pod.ports);
	free(pod->pod.phase);
	free(pod->namespace);
	pod->namespace = texts_of(shared);
	pod->pod.phase = pod->namespace + strlen(pod->namespace) + 1;
	pod->labels = (struct labels){.items = shared->labels, .count = shared->label_count};
	pod->pod.ports = shared->port_count ? ports_of(shared) : NULL;
	pod->is_shared = true;
	shared->users++;
}

int pod_share(struct object *pod)
{
	struct shared *made = make(pod), *shared;
	uint32_t hash;

	if (!made)
		return -ENOMEM;
	hash = hash_table_hash_of(texts_of(made), made->length);
	shared = find(made, hash);
	if (shared) {
		free(made);
	} else if (hash_table_add(&all, &made->by_texts, hash) == 0) {
		shared = made;
	} else {
		free(made);
		return -ENOMEM;
	}
	take(pod, shared);
	return 0;
}

void pod_unshare(struct object *pod)
{
	struct shared *shared =
		(struct shared *)((char *)pod->labels.items - offsetof(struct shared, labels));

	pod->is_shared = false;
	pod->labels = (struct labels){};
	pod->namespace = pod->pod.phase = NULL;
	pod->pod.ports = NULL;
	pod->pod.port_count = 0;
	if (--shared->users)
		return;
	hash_table_remove(&all, &shared->by_texts);
	free(shared);
	if (!all.count)
		hash_table_clear(&all);
}

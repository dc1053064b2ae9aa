/* SPDX-License-Identifier: Apache-2.0 */
/* Labels that many objects have are kept once: pods of one workload differ in none of them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/hash.h"
#include "policy/objects/decode.h"

struct shared_labels {
	UT_hash_handle hh; /* by the texts */
	size_t users;
	size_t length;	      /* of the texts */
	char *texts;	      /* "key\0value\0" for each, behind the items */
	struct label items[]; /* point into the texts */
};

/* Of the process: who decodes objects does so in one thread, which frees the last share of each. */
static struct shared_labels *all;

static size_t length_of(const struct labels *labels)
{
	size_t length = 0;

	for (size_t i = 0; i < labels->count; i++)
		length += strlen(labels->items[i].key) + strlen(labels->items[i].value) + 2;
	return length;
}

static char *copy_text(char **at, const char *text)
{
	char *copy = *at;

	*at = stpcpy(copy, text) + 1;
	return copy;
}

/* Nobody's yet. NULL: no memory. */
static struct shared_labels *make(const struct labels *labels)
{
	size_t length = length_of(labels), items = labels->count * sizeof(struct label);
	struct shared_labels *shared = malloc(sizeof(*shared) + items + length);
	char *at;

	if (!shared)
		return NULL;
	*shared = (struct shared_labels){.length = length};
	shared->texts = at = (char *)shared->items + items;
	for (size_t i = 0; i < labels->count; i++) {
		shared->items[i].key = copy_text(&at, labels->items[i].key);
		shared->items[i].value = copy_text(&at, labels->items[i].value);
	}
	return shared;
}

int labels_share(struct labels *labels)
{
	struct shared_labels *made = make(labels), *shared;
	size_t count = labels->count;

	if (!made)
		return -ENOMEM;
	HASH_FIND(hh, all, made->texts, made->length, shared);
	if (shared) {
		free(made);
	} else {
		shared = made;
		HASH_ADD_KEYPTR(hh, all, shared->texts, shared->length, shared);
		if (!HASH_ADDED(hh, shared)) {
			free(shared);
			return -ENOMEM;
		}
	}
	shared->users++;
	labels_clear(labels);
	*labels = (struct labels){.items = shared->items, .count = count};
	return 0;
}

void labels_unshare(struct labels *labels)
{
	struct shared_labels *shared =
		(struct shared_labels *)((char *)labels->items -
					 offsetof(struct shared_labels, items));

	*labels = (struct labels){};
	if (--shared->users)
		return;
	HASH_DEL(all, shared);
	free(shared);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Labels, sorted by key, and the selectors that match them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "policy/objects/objects.h"

/* The place of `key`, or where it belongs. */
static size_t find(const struct labels *labels, const char *key, bool *ret_found)
{
	size_t low = 0, high = labels->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = strcmp(labels->items[middle].key, key);

		if (order == 0) {
			*ret_found = true;
			return middle;
		}
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	*ret_found = false;
	return low;
}

const char *labels_get(const struct labels *labels, const char *key)
{
	bool found;
	size_t place = find(labels, key, &found);

	return found ? labels->items[place].value : NULL;
}

static int insert(struct labels *labels, size_t place, const char *key, char *value)
{
	struct label *items = reallocarray(labels->items, labels->count + 1, sizeof(*items));
	char *copy;

	if (!items)
		return -ENOMEM;
	labels->items = items;
	copy = strdup(key);
	if (!copy)
		return -ENOMEM;
	memmove(&items[place + 1], &items[place], (labels->count - place) * sizeof(*items));
	items[place] = (struct label){.key = copy, .value = value};
	labels->count++;
	return 0;
}

int labels_set(struct labels *labels, const char *key, const char *value)
{
	bool found;
	size_t place = find(labels, key, &found);
	char *copy = strdup(value);

	if (!copy)
		return -ENOMEM;
	if (found) {
		free(labels->items[place].value);
		labels->items[place].value = copy;
		return 0;
	}
	if (insert(labels, place, key, copy) < 0) {
		free(copy);
		return -ENOMEM;
	}
	return 0;
}

void labels_clear(struct labels *labels)
{
	for (size_t i = 0; i < labels->count; i++) {
		free(labels->items[i].key);
		free(labels->items[i].value);
	}
	free(labels->items);
	*labels = (struct labels){};
}

int labels_copy(const struct labels *labels, struct labels *ret)
{
	struct labels copy = {};
	int r = 0;

	for (size_t i = 0; i < labels->count && r == 0; i++)
		r = labels_set(&copy, labels->items[i].key, labels->items[i].value);
	if (r < 0) {
		labels_clear(&copy);
		return r;
	}
	*ret = copy;
	return 0;
}

bool labels_equal(const struct labels *a, const struct labels *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++)
		if (strcmp(a->items[i].key, b->items[i].key) != 0 ||
		    strcmp(a->items[i].value, b->items[i].value) != 0)
			return false;
	return true;
}

static bool is_one_of(const struct selector_term *term, const char *value)
{
	for (size_t i = 0; i < term->value_count; i++)
		if (strcmp(term->values[i], value) == 0)
			return true;
	return false;
}

static bool term_matches(const struct selector_term *term, const struct labels *labels)
{
	const char *value = labels_get(labels, term->key);

	switch (term->op) {
	case SELECTOR_IN:
		return value && is_one_of(term, value);
	case SELECTOR_NOT_IN:
		return !value || !is_one_of(term, value);
	case SELECTOR_EXISTS:
		return value;
	case SELECTOR_DOES_NOT_EXIST:
		return !value;
	}
	return false;
}

bool selector_matches(const struct selector *selector, const struct labels *labels)
{
	for (size_t i = 0; i < selector->count; i++)
		if (!term_matches(&selector->terms[i], labels))
			return false;
	return true;
}

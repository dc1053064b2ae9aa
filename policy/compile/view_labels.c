/* SPDX-License-Identifier: Apache-2.0 */
/* From a label to the identities that have it: a selector asks those, not all there are. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "policy/compile/view_internal.h"
#include "policy/objects/array.h"
#include "policy/objects/limits.h"

#define TEXT_MAX (LIMIT_LABEL_PREFIX + 1 + LIMIT_LABEL_NAME + 1 + LIMIT_LABEL_VALUE + 1)

/* 0: longer than any label can be. */
static size_t make_text(const char *key, const char *value, char text[TEXT_MAX])
{
	size_t key_length = strlen(key), value_length = strlen(value);

	if (key_length + 1 + value_length >= TEXT_MAX)
		return 0;
	memcpy(text, key, key_length + 1);
	memcpy(text + key_length + 1, value, value_length + 1);
	return key_length + 1 + value_length;
}

static bool is_text(const struct view_label *label, const char *text, size_t length)
{
	return label->length == length && memcmp(label->text, text, length) == 0;
}

static struct view_label *find(const struct view *view, const char *text, size_t length)
{
	struct hash_table_item *item =
		hash_table_find(&view->labels, hash_table_hash_of(text, length));

	while (item && !is_text((struct view_label *)item, text, length))
		item = hash_table_find_next(item);
	return (struct view_label *)item;
}

const struct view_label *view_find_label(const struct view *view, const char *key,
					 const char *value)
{
	char text[TEXT_MAX];
	size_t length = make_text(key, value, text);

	return length ? find(view, text, length) : NULL;
}

/* NULL: no memory. */
static struct view_label *need(struct view *view, const char *text, size_t length)
{
	struct view_label *label = find(view, text, length);

	if (label)
		return label;
	label = calloc(1, sizeof(*label) + length);
	if (!label)
		return NULL;
	memcpy(label->text, text, length);
	label->length = length;
	if (hash_table_add(&view->labels, &label->by_text, hash_table_hash_of(text, length)) == 0)
		return label;
	free(label);
	return NULL;
}

static void drop(struct view *view, struct view_label *label)
{
	hash_table_remove(&view->labels, &label->by_text);
	free(label->identities);
	free(label);
}

static int list_label(struct view *view, struct view_identity *identity, const struct label *from)
{
	char text[TEXT_MAX];
	size_t length = make_text(from->key, from->value, text);
	struct view_label *label = length ? need(view, text, length) : NULL;
	struct view_identity **grown;

	if (!label)
		return -ENOMEM;
	grown = array_grow(label->identities, label->count, &label->capacity,
			   sizeof(struct view_identity *));
	if (!grown)
		return -ENOMEM;
	label->identities = grown;
	grown[label->count++] = identity;
	return 0;
}

static void unlist_label(struct view *view, const struct view_identity *identity,
			 const struct label *from)
{
	char text[TEXT_MAX];
	struct view_label *label = find(view, text, make_text(from->key, from->value, text));

	for (size_t i = 0; label && i < label->count; i++)
		if (label->identities[i] == identity)
			label->identities[i--] = label->identities[--label->count];
	if (label && label->count == 0)
		drop(view, label);
}

int view_list_labels(struct view *view, struct view_identity *identity)
{
	const struct labels *labels = &identity->registered->labels;

	for (size_t i = 0; i < labels->count; i++)
		if (list_label(view, identity, &labels->items[i]) < 0) {
			view_unlist_labels(view, identity);
			return -ENOMEM;
		}
	return 0;
}

void view_unlist_labels(struct view *view, const struct view_identity *identity)
{
	const struct labels *labels = &identity->registered->labels;

	for (size_t i = 0; i < labels->count; i++)
		unlist_label(view, identity, &labels->items[i]);
}

void view_clear_labels(struct view *view)
{
	struct hash_table_item *item, *next;

	for (item = hash_table_first(&view->labels); item; item = next) {
		next = hash_table_next(&view->labels, item);
		drop(view, (struct view_label *)item);
	}
	hash_table_clear(&view->labels);
}

static size_t count_of(const struct view *view, const struct selector_term *term)
{
	size_t count = 0;

	for (size_t i = 0; i < term->value_count; i++) {
		const struct view_label *label = view_find_label(view, term->key, term->values[i]);

		count += label ? label->count : 0;
	}
	return count;
}

size_t view_rarest_term(const struct view *view, const struct selector *selector,
			const struct selector_term **ret)
{
	size_t fewest = SIZE_MAX;

	*ret = NULL;
	for (size_t i = 0; i < selector->count; i++) {
		size_t count;

		if (selector->terms[i].op != SELECTOR_IN)
			continue;
		count = count_of(view, &selector->terms[i]);
		if (count >= fewest)
			continue;
		fewest = count;
		*ret = &selector->terms[i];
	}
	return fewest;
}

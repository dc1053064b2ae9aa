/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What of a pod makes its identity: labels whose keys some selector of a policy names, and ports
 * whose names some rule does. All others tell no pods apart: a label that each pod has for itself
 * (of a StatefulSet, a Job) makes no identity for each.
 *
 * Another set of words makes other identities of all pods that have one of them. So a word that no
 * policy names any more counts for VIEW_WORD_RUNS runs still: a policy that comes and goes all the
 * time regroups its pods once. Of these there are VIEW_WORDS_KEPT at most.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "policy/compile/view_internal.h"

/* ---------------------------------------------------------------- what policies name */

static struct view_word *find(struct view_word *const *words, const char *text)
{
	struct view_word *word;

	HASH_FIND_STR(*words, text, word);
	return word;
}

/* NULL: no memory. */
static struct view_word *need(struct view_word **words, const char *text)
{
	struct view_word *word = find(words, text);

	if (word)
		return word;
	word = calloc(1, sizeof(*word) + strlen(text) + 1);
	if (!word)
		return NULL;
	strcpy(word->text, text);
	HASH_ADD_KEYPTR(hh, *words, word->text, strlen(word->text), word);
	if (HASH_ADDED(hh, word))
		return word;
	free(word);
	return NULL;
}

/* One more that names it, or one less. */
static int name_word(struct view *view, struct view_word **words, const char *text, bool named)
{
	struct view_word *word = named ? need(words, text) : find(words, text);

	if (!word)
		return named ? -ENOMEM : 0;
	if (named) {
		word->policies++;
		view->words_kept -= word->kept;
		word->kept = false;
	} else if (word->policies) {
		word->policies--;
	}
	view->words_changed |= (word->policies > 0 || word->kept) != word->counts;
	return 0;
}

static int name_selector(struct view *view, const struct selector *selector, bool named)
{
	int r = 0;

	for (size_t i = 0; i < selector->count && r == 0; i++)
		r = name_word(view, &view->label_keys, selector->terms[i].key, named);
	return r;
}

static int name_rule(struct view *view, const struct policy_rule *rule, bool named)
{
	int r = 0;

	for (size_t i = 0; i < rule->peer_count && r == 0; i++)
		if (rule->peers[i].has_pod_selector)
			r = name_selector(view, &rule->peers[i].pod_selector, named);
	for (size_t i = 0; i < rule->port_count && r == 0; i++)
		if (rule->ports[i].name)
			r = name_word(view, &view->port_names, rule->ports[i].name, named);
	return r;
}

int view_name_words(struct view *view, const struct network_policy_object *policy, bool named)
{
	int r = name_selector(view, &policy->pod_selector, named);

	for (size_t i = 0; i < policy->ingress_count && r == 0; i++)
		r = name_rule(view, &policy->ingress[i], named);
	for (size_t i = 0; i < policy->egress_count && r == 0; i++)
		r = name_rule(view, &policy->egress[i], named);
	return r;
}

/* ---------------------------------------------------------------- from one set of words to the
 * next */

/* Does it count from now on? */
static bool decide(struct view *view, struct view_word *word, bool drop)
{
	if (word->policies > 0) {
		word->kept = false;
		return true;
	}
	if (!word->counts)
		return word->kept; /* of view_keep_words() */
	if (!word->kept)
		word->kept_in = view->run;
	word->kept = !drop && view->run - word->kept_in < view->word_runs;
	return word->kept;
}

static bool update(struct view *view, struct view_word **words, bool drop)
{
	struct view_word *word, *next;
	bool changed = false;

	HASH_ITER (hh, *words, word, next) {
		bool counts = decide(view, word, drop);

		word->flipped = counts != word->counts;
		word->counts = counts;
		changed |= word->flipped;
		view->words_kept += word->kept;
		if (word->kept && word->kept_in + view->word_runs < view->words_due)
			view->words_due = word->kept_in + view->word_runs;
		if (word->counts || word->flipped)
			continue;
		HASH_DEL(*words, word);
		free(word);
	}
	return changed;
}

static size_t count_unnamed(struct view_word *const *words)
{
	const struct view_word *word;
	size_t count = 0;

	for (word = *words; word; word = word->hh.next)
		count += word->policies == 0 && word->counts;
	return count;
}

/* A policy that gave way to another version of itself names most words again. */
bool view_update_words(struct view *view)
{
	bool drop = false, changed;

	if (!view->words_changed && (!view->words_kept || view->run < view->words_due))
		return false;
	drop = count_unnamed(&view->label_keys) + count_unnamed(&view->port_names) >
	       VIEW_WORDS_KEPT;
	view->words_kept = 0;
	view->words_due = UINT64_MAX;
	changed = update(view, &view->label_keys, drop);
	changed |= update(view, &view->port_names, drop);
	view->words_changed = false;
	return changed;
}

static int keep(struct view *view, struct view_word **words, struct view_word *const *from)
{
	const struct view_word *word;

	for (word = *from; word; word = word->hh.next) {
		struct view_word *copy = word->counts ? need(words, word->text) : NULL;

		if (word->counts && !copy)
			return -ENOMEM;
		if (!copy)
			continue;
		copy->kept = true;
		view->words_kept++;
	}
	view->words_changed = true;
	return 0;
}

int view_keep_words(struct view *view, const struct view *from)
{
	int r = keep(view, &view->label_keys, &from->label_keys);

	return r < 0 ? r : keep(view, &view->port_names, &from->port_names);
}

static bool has_flipped(struct view_word *const *words, const char *text)
{
	const struct view_word *word = find(words, text);

	return word && word->flipped;
}

bool view_words_concern(const struct view *view, const struct object *pod)
{
	for (size_t i = 0; i < pod->labels.count; i++)
		if (has_flipped(&view->label_keys, pod->labels.items[i].key))
			return true;
	for (size_t i = 0; i < pod->pod.port_count; i++)
		if (pod->pod.ports[i].name &&
		    has_flipped(&view->port_names, pod->pod.ports[i].name))
			return true;
	return false;
}

static void clear(struct view_word **words)
{
	struct view_word *word, *next;

	HASH_ITER (hh, *words, word, next) {
		HASH_DEL(*words, word);
		free(word);
	}
}

void view_clear_words(struct view *view)
{
	clear(&view->label_keys);
	clear(&view->port_names);
}

/* ---------------------------------------------------------------- a pod's part of them */

static bool counts(struct view_word *const *words, const char *text)
{
	const struct view_word *word = find(words, text);

	return word && word->counts;
}

int view_take_labels(const struct view *view, const struct object *pod, struct labels *ret)
{
	ret->count = 0;
	ret->items = calloc(pod->labels.count + 1, sizeof(*ret->items));
	if (!ret->items)
		return -ENOMEM;
	for (size_t i = 0; i < pod->labels.count; i++)
		if (counts(&view->label_keys, pod->labels.items[i].key))
			ret->items[ret->count++] = pod->labels.items[i];
	return 0;
}

int view_take_ports(const struct view *view, const struct object *pod, struct named_port **ret,
		    size_t *ret_count)
{
	*ret_count = 0;
	*ret = calloc(pod->pod.port_count + 1, sizeof(**ret));
	if (!*ret)
		return -ENOMEM;
	for (size_t i = 0; i < pod->pod.port_count; i++)
		if (pod->pod.ports[i].name && counts(&view->port_names, pod->pod.ports[i].name))
			(*ret)[(*ret_count)++] = pod->pod.ports[i];
	return 0;
}

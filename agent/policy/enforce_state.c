/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers and what holds for pods that end, over a restart. */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/cleanup.h"
#include "agent/common/log.h"
#include "agent/common/state_file.h"
#include "agent/policy/enforce_internal.h"

#define STATE_MAX (64u << 20)

/* A rule set of the maps: known by its content, or only its number kept from use. */
static int know_ruleset(const struct ruleset_entry *entry, void *data)
{
	const struct enforce *e = data;
	uint64_t digest[2] = {};
	int r;

	if (e->state_text)
		memcpy(digest, entry->digest, sizeof(digest));
	r = policy_registry_know_ruleset(e->registry, entry->number, digest);
	/* The same content under two numbers: the second goes with the next sweep. */
	return r == -EEXIST ? 0 : r;
}

/* Numbers of before. Without them the maps' rule sets mean nothing any more: new ones are built
 * beside. */
int state_load(struct enforce *e)
{
	json_t *state = NULL;
	int r = e->state ? state_file_read_json(e->state, STATE_MAX, &state) : -ENOENT;

	if (r == 0) {
		r = policy_registry_import(e->registry, state);
		if (r == 0) {
			e->state_text = json_dumps(state, JSON_COMPACT | JSON_SORT_KEYS);
			e->held_before = json_incref(json_object_get(state, "held"));
		}
		json_decref(state);
	}
	if (r < 0 && r != -ENOENT)
		log_warning("policy", "%s: cannot be used (%s): identities are numbered anew",
			    e->state, strerror(-r));
	return ruleset_slots_each(e->slots, know_ruleset, e);
}

/* Takes the text. */
static int write_state(struct enforce *e, char *text)
{
	int r = e->state_text && strcmp(text, e->state_text) == 0
			? 0
			: state_file_write(e->state, text, strlen(text));

	if (r < 0)
		log_error("policy",
			  "%s: cannot be written: %s; changes of policy wait until it can",
			  e->state, strerror(-r));
	free(e->state_text);
	e->state_text = text;
	if (r < 0) {
		free(text);
		e->state_text = NULL;
	}
	return r;
}

/* Takes `held_text`. */
static int write_all(struct enforce *e, json_t *held, char *held_text)
{
	uint64_t revision = policy_registry_revision(e->registry);
	json_t *state = policy_registry_export(e->registry);
	char *text = state && json_object_set(state, "held", held) == 0
			     ? json_dumps(state, JSON_COMPACT | JSON_SORT_KEYS)
			     : NULL;
	int r = text ? write_state(e, text) : -ENOMEM;

	json_decref(state);
	if (r < 0) {
		free(held_text);
		return r;
	}
	free(e->held_text);
	e->held_text = held_text;
	e->state_revision = revision;
	e->state_changes = policy_registry_changes(e->registry);
	return 0;
}

static int save(struct enforce *e, bool needed)
{
	json_t *held = e->state ? held_export(e) : NULL;
	char *held_text = held ? json_dumps(held, JSON_COMPACT) : NULL;
	int r;

	if (!e->state)
		return 0;
	if (!held_text)
		r = -ENOMEM;
	else if (!needed && e->held_text && strcmp(held_text, e->held_text) == 0)
		r = 0;
	else
		r = write_all(e, held, TAKE_PTR(held_text));
	json_decref(held);
	free(held_text);
	return r;
}

int state_save(struct enforce *e)
{
	return save(e, e->state_revision != policy_registry_revision(e->registry));
}

int enforce_save(struct enforce *e)
{
	return save(e, e->state_changes != policy_registry_changes(e->registry));
}

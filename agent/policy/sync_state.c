/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers and what holds for pods that end, over a restart. */
#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/common/cleanup.h"
#include "agent/common/json_text.h"
#include "agent/common/log.h"
#include "agent/common/state_file.h"
#include "agent/policy/policy_sync_internal.h"

#define STATE_MAX (64u << 20)

/* A rule set of the maps: known by its content, or only its number kept from use. */
static int know_ruleset(const struct ruleset_entry *entry, void *data)
{
	const struct policy_sync *sync = data;
	uint64_t digest[2] = {};
	int r;

	if (sync->state_text)
		memcpy(digest, entry->digest, sizeof(digest));
	r = policy_registry_know_ruleset(sync->registry, entry->number, digest);
	/* The same content under two numbers: the second goes with the next pruning. */
	return r == -EEXIST ? 0 : r;
}

/*
 * Numbers that are lost are given anew; which pods policies hold that went is known from nowhere
 * else, and without it they would be open. So the state directory has a copy of that. NULL: there
 * is no such directory.
 */
static const char *copy_path(const struct policy_sync *sync, char path[PATH_MAX])
{
	if (!sync->state || !sync->config->state_dir ||
	    snprintf(path, PATH_MAX, "%s/held.json", sync->config->state_dir) >= PATH_MAX)
		return NULL;
	return path;
}

/* What fails is tried again the next time; that the directory cannot be written is told by those
 * who write more. Whether the copy is still there is for policy_sync_repair_copy(). */
static void copy_held(struct policy_sync *sync, const char *text)
{
	char path[PATH_MAX];

	if ((sync->held_copied && strcmp(sync->held_copied, text) == 0) || !copy_path(sync, path))
		return;
	free(sync->held_copied);
	sync->held_copied =
		state_file_write_unsynced(path, text, strlen(text)) == 0 ? strdup(text) : NULL;
}

/* 0 or -errno of what is whole and cannot be read now. */
static int load_copy_of_held(struct policy_sync *sync)
{
	char path[PATH_MAX];
	int r = copy_path(sync, path) ? state_file_read_json(path, STATE_MAX, &sync->held_before)
				      : -ENOENT;

	return r == -ENOMEM || r == -EMFILE || r == -ENFILE ? r : 0;
}

/* Numbers of before. Without them the maps' rule sets mean nothing any more: new ones are built
 * beside. */
int state_load(struct policy_sync *sync)
{
	CLEANUP(cleanup_free) char *text = NULL;
	json_t *state = NULL;
	int r = sync->state ? state_file_read(sync->state, STATE_MAX, &text, NULL) : -ENOENT;

	if (r == 0)
		r = json_text_load(text, strlen(text), JSON_REJECT_DUPLICATES, NULL, &state);
	if (r == 0) {
		r = policy_registry_import(sync->registry, state);
		if (r == 0) {
			sync->state_text = TAKE_PTR(text);
			sync->held_before = json_incref(json_object_get(state, "held"));
		}
		json_decref(state);
	}
	/* What is whole, and cannot be read at the moment, is not to be replaced. */
	if (r == -ENOMEM || r == -EMFILE || r == -ENFILE)
		return r;
	if (r < 0 && r != -ENOENT)
		log_warning("policy", "%s: cannot be used (%s): identities are numbered anew",
			    sync->state, strerror(-r));
	r = sync->held_before ? 0 : load_copy_of_held(sync);
	if (r < 0)
		return r;
	return ruleset_slots_each(sync->slots, know_ruleset, sync);
}

/* Takes the text: of a large cluster it is too large to be kept. */
static int write_state(struct policy_sync *sync, char *text)
{
	int r = sync->state_text && strcmp(text, sync->state_text) == 0
			? 0
			: state_file_write(sync->state, text, strlen(text));

	if (r < 0)
		log_error("policy",
			  "%s: cannot be written: %s; changes of policy wait until it can",
			  sync->state, strerror(-r));
	free(TAKE_PTR(sync->state_text));
	free(text);
	return r;
}

/* NULL: no memory. */
static char *state_text(const struct policy_sync *sync, const char *held_text)
{
	CLEANUP(cleanup_free) char *held = NULL;

	if (asprintf(&held, "\"held\":%s,", held_text) < 0) {
		held = NULL;
		return NULL;
	}
	return policy_registry_export(sync->registry, held);
}

/* Takes `held_text`. */
static int write_all(struct policy_sync *sync, char *held_text)
{
	uint64_t revision = policy_registry_revision(sync->registry);
	char *text = state_text(sync, held_text);
	int r = text ? write_state(sync, text) : -ENOMEM;

	if (r < 0) {
		free(held_text);
		return r;
	}
	free(sync->held_text);
	sync->held_text = held_text;
	sync->state_revision = revision;
	sync->state_changes = policy_registry_changes(sync->registry);
	return 0;
}

static int save(struct policy_sync *sync, bool needed)
{
	json_t *held = sync->state ? held_export(sync) : NULL;
	char *held_text = held ? json_dumps(held, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
	int r;

	if (!sync->state)
		return 0;
	/* The run directory was lost. */
	if (access(sync->state, F_OK) < 0 && errno == ENOENT) {
		free(sync->state_text);
		sync->state_text = NULL;
		needed = true;
	}
	if (held_text)
		copy_held(sync, held_text);
	if (!held_text)
		r = -ENOMEM;
	else if (!needed && sync->held_text && strcmp(held_text, sync->held_text) == 0)
		r = 0;
	else
		r = write_all(sync, TAKE_PTR(held_text));
	json_decref(held);
	free(held_text);
	return r;
}

int state_save(struct policy_sync *sync)
{
	return save(sync, sync->state_revision != policy_registry_revision(sync->registry));
}

void policy_sync_repair_copy(struct policy_sync *sync)
{
	char path[PATH_MAX];

	if (!sync->held_text)
		return;
	if (copy_path(sync, path) && access(path, F_OK) < 0)
		free(TAKE_PTR(sync->held_copied));
	copy_held(sync, sync->held_text);
}

int policy_sync_save(struct policy_sync *sync)
{
	return save(sync, sync->state_changes != policy_registry_changes(sync->registry));
}

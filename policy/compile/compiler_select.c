/* SPDX-License-Identifier: Apache-2.0 */
/* Which policies hold for a subject, and the rule set that they make. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/compile/compiler_internal.h"

static bool is_selected(const struct subject *subject, const struct view_policy *policy)
{
	const struct network_policy_object *spec = &policy->object->network_policy;
	const struct view_identity *identity = subject->identity;

	if (policy->deleted_at &&
	    (!subject->terminating || subject->terminating > policy->deleted_at))
		return false;
	if (!selector_matches(&spec->pod_selector, &identity->registered->labels))
		return false;
	if (spec->tier == TIER_NETWORK_POLICY)
		return subject->direction == EGRESS ? spec->isolates_egress
						    : spec->isolates_ingress;
	return policy->rule_count[subject->direction] > 0 &&
	       selector_matches(&spec->namespace_selector, &identity->namespace->labels);
}

static size_t select_cluster(struct policy_compiler *c, const struct subject *subject,
			     enum policy_tier tier, size_t count)
{
	for (size_t i = 0; i < c->view.cluster_count; i++)
		if (c->view.cluster[i]->object->network_policy.tier == tier &&
		    is_selected(subject, c->view.cluster[i]))
			c->selected[count++] = c->view.cluster[i];
	return count;
}

static int make_room(struct policy_compiler *c, size_t room)
{
	struct view_policy **grown;

	if (room <= c->selected_capacity)
		return 0;
	grown = reallocarray(c->selected, room, sizeof(struct view_policy *));
	if (!grown)
		return -ENOMEM;
	c->selected = grown;
	c->selected_capacity = room;
	return 0;
}

/*
 * In the order of evaluation. A NetworkPolicy is final for the pods it selects: then the Baseline
 * tier is not asked, and the isolating ones stand last. 0 or -ENOMEM.
 */
static int select_policies(struct policy_compiler *c, const struct subject *subject,
			   size_t *ret_count, size_t *ret_isolating)
{
	const struct view_namespace *namespace = subject->identity->namespace;
	size_t count, admin;
	int r = make_room(c, c->view.cluster_count + namespace->policy_count + 1);

	if (r < 0)
		return r;
	count = admin = select_cluster(c, subject, TIER_ADMIN, 0);
	for (size_t i = 0; i < namespace->policy_count; i++)
		if (is_selected(subject, namespace->policies[i]))
			c->selected[count++] = namespace->policies[i];
	*ret_isolating = count - admin;
	*ret_count = count > admin ? count : select_cluster(c, subject, TIER_BASELINE, count);
	return 0;
}

/* The key's bytes: direction, policies, and the subject's ports where they matter. The caller owns
 * it. */
static char *make_key(const struct policy_compiler *c, const struct subject *subject, size_t count,
		      size_t *ret_length)
{
	const struct registry_identity *registered = subject->identity->registered;
	const char *ports = registered->key + registered->ports_offset;
	bool named = false;
	size_t length, tail;
	char *key;

	for (size_t i = 0; subject->direction == INGRESS && i < count; i++)
		named |= c->selected[i]->named_ports[INGRESS];
	tail = named ? strlen(ports) : 0;
	length = 1 + count * sizeof(uint64_t) + tail;
	key = malloc(length);
	if (!key)
		return NULL;
	key[0] = (char)subject->direction;
	for (size_t i = 0; i < count; i++)
		memcpy(key + 1 + i * sizeof(uint64_t), &c->selected[i]->serial, sizeof(uint64_t));
	memcpy(key + length - tail, ports, tail);
	*ret_length = length;
	return key;
}

static void selection_free(struct compiled_selection *selection)
{
	if (!selection)
		return;
	for (size_t i = 0; i < selection->count; i++)
		free(selection->policies[i]);
	free(selection->policies);
	free(selection);
}

/* The NetworkPolicies among the selected. NULL: no memory. */
static struct compiled_selection *list_selection(const struct policy_compiler *c, size_t count,
						 size_t isolating)
{
	struct compiled_selection *selection = calloc(1, sizeof(*selection));

	if (selection)
		selection->policies = calloc(isolating, sizeof(char *));
	if (!selection || !selection->policies) {
		free(selection);
		return NULL;
	}
	for (size_t i = count - isolating; i < count; i++) {
		const struct object *policy = c->selected[i]->object;

		if (asprintf(&selection->policies[selection->count], "%s/%s", policy->namespace,
			     policy->name) < 0) {
			selection_free(selection);
			return NULL;
		}
		selection->count++;
	}
	return selection;
}

void live_ruleset_unname(struct policy_compiler *c, struct live_ruleset *set)
{
	struct numbered_ruleset *numbered = set->numbered;

	set->numbered = NULL;
	if (!numbered || --numbered->sets)
		return;
	c->numbered_count--;
	if (numbered->listed)
		return;
	numbered->listed = true;
	numbered->next = c->gone;
	c->gone = numbered;
}

void live_ruleset_free(struct policy_compiler *c, struct live_ruleset *set)
{
	live_ruleset_unname(c, set);
	if (set->subject)
		registry_release_identity(c->view.registry, set->subject);
	ruleset_clear(&set->set);
	selection_free(set->isolation);
	free(set->policies);
	free(set->key);
	free(set);
}

/* Takes the key, also where it fails. */
static int live_set_new(struct policy_compiler *c, const struct subject *subject, char *key,
			size_t key_length, size_t count, size_t isolating,
			struct live_ruleset **ret)
{
	struct live_ruleset *set = calloc(1, sizeof(*set));

	if (!set) {
		free(key);
		return -ENOMEM;
	}
	*set = (struct live_ruleset){
		.key = key, .key_length = key_length, .policy_count = count, .stale = true};
	set->policies = calloc(count, sizeof(struct view_policy *));
	if (isolating)
		set->isolation = list_selection(c, count, isolating);
	if (!set->policies || (isolating && !set->isolation)) {
		live_ruleset_free(c, set);
		return -ENOMEM;
	}
	memcpy(set->policies, c->selected, count * sizeof(struct view_policy *));
	HASH_ADD_KEYPTR(hh, c->sets, set->key, (unsigned int)key_length, set);
	if (!HASH_ADDED(hh, set)) {
		live_ruleset_free(c, set);
		return -ENOMEM;
	}
	set->subject = subject->identity->registered;
	registry_hold_identity(c->view.registry, set->subject);
	*ret = set;
	return 0;
}

int compiler_find_ruleset(struct policy_compiler *c, const struct subject *subject,
			  struct live_ruleset **ret)
{
	size_t count = 0, isolating = 0, length;
	struct live_ruleset *set;
	char *key;
	int r = select_policies(c, subject, &count, &isolating);

	*ret = NULL;
	if (r < 0 || count == 0)
		return r;
	key = make_key(c, subject, count, &length);
	if (!key)
		return -ENOMEM;
	HASH_FIND(hh, c->sets, key, (unsigned int)length, set);
	if (set)
		free(key);
	else
		r = live_set_new(c, subject, key, length, count, isolating, &set);
	if (r < 0)
		return r;
	set->users++;
	*ret = set;
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Rules, what they know of workloads, and when an alert is told. */
#include "policy/alerts/alerts_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "policy/objects/workload.h"

#define SECOND_NS 1000000000ull

/* What uthash takes beside the item itself, its share of the buckets included. */
#define HASH_SHARE 32

/* ---------------------------------------------------------------- telling */

static uint64_t rate_limit_ns(const struct alert_rule *rule)
{
	return rule->object->traffic_alert.rate_limit * SECOND_NS;
}

static void tell(struct alerts *alerts, struct alert_rule *rule, uint64_t count, bool several,
		 const struct alert_sample *newest)
{
	const struct alert alert = {.name = rule->object->name,
				    .rule = &rule->object->traffic_alert,
				    .count = count,
				    .several = several,
				    .newest = newest};

	rule->told++;
	alerts->env.tell(&alert, alerts->env.data);
}

/* What the rule's own limit has held back. */
static void tell_others(struct alerts *alerts, struct alert_rule *rule)
{
	if (rule->others)
		tell(alerts, rule, rule->others, true, &rule->others_newest);
	rule->others = 0;
}

/* May the rule tell of one workload more? */
static bool has_turn(struct alerts *alerts, struct alert_rule *rule, uint64_t now_ns)
{
	if (!rule->period_ns || now_ns >= rule->period_ns + rate_limit_ns(rule)) {
		tell_others(alerts, rule);
		rule->period_ns = now_ns;
		rule->told_now = 0;
	}
	if (rule->told_now == ALERTS_TOLD_MOST)
		return false;
	rule->told_now++;
	return true;
}

static void tell_state(struct alerts *alerts, struct alert_state *state, uint64_t count,
		       const struct alert_sample *newest, uint64_t now_ns)
{
	struct alert_rule *rule = state->rule;

	state->told_ns = now_ns;
	if (has_turn(alerts, rule, now_ns)) {
		tell(alerts, rule, count, false, newest);
		return;
	}
	rule->others += count;
	rule->others_newest = *newest;
}

static void stop_waiting(struct alerts *alerts, struct alert_state *state)
{
	if (!state->newest)
		return;
	DL_DELETE2(alerts->waiting, state, waiting_prev, waiting_next);
	alerts->bytes -= sizeof(*state->newest);
	free(state->newest);
	state->newest = NULL;
	state->waiting = 0;
}

static void tell_waiting(struct alerts *alerts, struct alert_state *state, uint64_t now_ns)
{
	if (state->waiting)
		tell_state(alerts, state, state->waiting, state->newest, now_ns);
	stop_waiting(alerts, state);
}

static void make_room(struct alerts *alerts, uint64_t bytes, const struct alert_state *used);

/* It is told later, with those that come until then. */
static void wait(struct alerts *alerts, struct alert_state *state,
		 const struct alert_sample *sample)
{
	if (!state->newest) {
		make_room(alerts, sizeof(*state->newest), state);
		state->newest = malloc(sizeof(*state->newest));
		if (!state->newest) {
			tell_state(alerts, state, 1, sample, sample->time_ns);
			return;
		}
		alerts->bytes += sizeof(*state->newest);
		DL_APPEND2(alerts->waiting, state, waiting_prev, waiting_next);
	}
	state->waiting++;
	*state->newest = *sample;
}

void alert_raise(struct alerts *alerts, struct alert_state *state,
		 const struct alert_sample *sample)
{
	struct alert_rule *rule = state->rule;

	rule->raised++;
	state->raised_ns = sample->time_ns;
	if (!state->told_ns || sample->time_ns >= state->told_ns + rate_limit_ns(rule)) {
		uint64_t count = state->waiting + 1;

		stop_waiting(alerts, state);
		tell_state(alerts, state, count, sample, sample->time_ns);
	} else {
		wait(alerts, state, sample);
	}
}

void alerts_tick(struct alerts *alerts, uint64_t now_ns)
{
	struct alert_state *state, *next;
	struct alert_rule *rule;

	for (state = alerts->waiting; state; state = next) {
		next = state->waiting_next;
		if (now_ns >= state->told_ns + rate_limit_ns(state->rule))
			tell_waiting(alerts, state, now_ns);
	}
	DL_FOREACH(alerts->rules, rule)
	{
		if (rule->others && now_ns >= rule->period_ns + rate_limit_ns(rule))
			tell_others(alerts, rule);
	}
}

void alerts_flush(struct alerts *alerts)
{
	struct alert_rule *rule;

	while (alerts->waiting)
		tell_waiting(alerts, alerts->waiting, alerts->waiting->newest->time_ns);
	DL_FOREACH(alerts->rules, rule)
	{
		tell_others(alerts, rule);
	}
}

/* ---------------------------------------------------------------- what is known of a workload */

static uint64_t state_bytes(const struct alert_state *state)
{
	return sizeof(*state) + state->key_length + HASH_SHARE;
}

static void state_free(struct alerts *alerts, struct alert_state *state)
{
	stop_waiting(alerts, state);
	HASH_DEL(alerts->states, state);
	DL_DELETE(alerts->by_use[state->is_outside], state);
	alerts->bytes -= state_bytes(state) + state->target_capacity * sizeof(*state->targets);
	state->rule->states--;
	free(state->targets);
	free(state);
}

/* Who may give. Addresses outside are the first: whoever makes them up must not have what was
 * learnt of pods forgotten. NULL: nobody. */
static struct alert_state *oldest_but(const struct alerts *alerts, const struct alert_state *used)
{
	for (int outside = 1; outside >= 0; outside--)
		if (alerts->by_use[outside] && alerts->by_use[outside] != used)
			return alerts->by_use[outside];
	return NULL;
}

/* Room for `bytes`, by others than the one that is in use. */
static void make_room(struct alerts *alerts, uint64_t bytes, const struct alert_state *used)
{
	struct alert_state *oldest;

	while (alerts->bytes + bytes > alerts->most_bytes && (oldest = oldest_but(alerts, used))) {
		if (oldest->newest)
			tell_waiting(alerts, oldest, oldest->newest->time_ns);
		state_free(alerts, oldest);
		alerts->forgotten++;
	}
}

int alert_state_grow(struct alerts *alerts, struct alert_state *state)
{
	size_t capacity = state->target_capacity ? 2 * state->target_capacity : 8;
	struct alert_target *targets;
	uint64_t more = (capacity - state->target_capacity) * sizeof(*targets);

	if (state->target_count < state->target_capacity)
		return 0;
	make_room(alerts, more, state);
	targets = reallocarray(state->targets, capacity, sizeof(*targets));
	if (!targets)
		return -ENOMEM;
	state->targets = targets;
	state->target_capacity = capacity;
	alerts->bytes += more;
	return 0;
}

/* An address that is no known pod's stands for itself, as the node's does. */
static size_t make_key(const struct alert_rule *rule, const struct alert_end *from,
		       char key[sizeof(rule->number) + FLOW_WORKLOAD_MAX])
{
	static const struct labels none;
	char *text = key + sizeof(rule->number);

	memcpy(key, &rule->number, sizeof(rule->number));
	if (from->namespace)
		return sizeof(rule->number) +
		       flow_workload(from->namespace, from->labels ? from->labels : &none, text);
	text[0] = '\0'; /* no namespace is called so */
	memcpy(text + 1, &from->addr, sizeof(from->addr));
	return sizeof(rule->number) + 1 + sizeof(from->addr);
}

static struct alert_state *state_new(struct alerts *alerts, struct alert_rule *rule,
				     const char *key, size_t length, bool outside)
{
	struct alert_state *state = calloc(1, sizeof(*state) + length);

	if (!state) {
		alerts->forgotten++;
		return NULL;
	}
	state->rule = rule;
	state->is_outside = outside;
	state->key_length = length;
	memcpy(state->key, key, length);
	HASH_ADD(hh, alerts->states, key, length, state);
	if (!HASH_ADDED(hh, state)) {
		free(state);
		alerts->forgotten++;
		return NULL;
	}
	DL_APPEND(alerts->by_use[outside], state);
	alerts->bytes += state_bytes(state);
	rule->states++;
	make_room(alerts, 0, state);
	return state;
}

struct alert_state *alert_state_of(struct alerts *alerts, struct alert_rule *rule,
				   const struct alert_end *from)
{
	char key[sizeof(rule->number) + FLOW_WORKLOAD_MAX];
	size_t length = make_key(rule, from, key);
	struct alert_state *state;

	HASH_FIND(hh, alerts->states, key, length, state);
	if (!state)
		return state_new(alerts, rule, key, length, !from->namespace && !from->node);
	DL_DELETE(alerts->by_use[state->is_outside], state);
	DL_APPEND(alerts->by_use[state->is_outside], state);
	return state;
}

/* ---------------------------------------------------------------- rules */

static struct alert_rule *find_rule(const struct alerts *alerts, const char *name)
{
	struct alert_rule *rule;

	DL_FOREACH(alerts->rules, rule)
	{
		if (strcmp(rule->object->name, name) == 0)
			return rule;
	}
	return NULL;
}

static void forget_states(struct alerts *alerts, const struct alert_rule *rule)
{
	struct alert_state *state, *next;

	for (int outside = 0; outside < 2; outside++)
		DL_FOREACH_SAFE(alerts->by_use[outside], state, next)
		{
			if (state->rule == rule)
				state_free(alerts, state);
		}
}

int alerts_set(struct alerts *alerts, const struct object *object)
{
	struct alert_rule *rule = find_rule(alerts, object->name);

	if (rule) {
		forget_states(alerts, rule);
		tell_others(alerts, rule);
		object_free((struct object *)rule->object);
	} else {
		rule = calloc(1, sizeof(*rule));
		if (!rule)
			return -ENOMEM;
		rule->number = ++alerts->numbers;
		DL_APPEND(alerts->rules, rule);
	}
	rule->object = object_share(object);
	rule->period_ns = 0;
	return 0;
}

static void rule_free(struct alerts *alerts, struct alert_rule *rule)
{
	forget_states(alerts, rule);
	DL_DELETE(alerts->rules, rule);
	object_free((struct object *)rule->object);
	free(rule);
}

void alerts_remove(struct alerts *alerts, const char *name)
{
	struct alert_rule *rule = find_rule(alerts, name);

	if (rule)
		rule_free(alerts, rule);
}

uint32_t alerts_wanted(const struct alerts *alerts)
{
	static const uint32_t wants[ALERT_KINDS] = {
		[ALERT_PEERS_OUTSIDE] = ALERTS_WANT_FLOWS | ALERTS_WANT_DROPS,
		[ALERT_FOREIGN_RESOLVER] = ALERTS_WANT_FLOWS | ALERTS_WANT_DROPS,
		[ALERT_SCAN] = ALERTS_WANT_DROPS,
		[ALERT_VOLUME] = ALERTS_WANT_TRAFFIC,
		[ALERT_NEW_PEER] = ALERTS_WANT_FLOWS | ALERTS_WANT_DROPS,
		[ALERT_NEW_PROCESS] = ALERTS_WANT_FLOWS | ALERTS_WANT_DROPS | ALERTS_WANT_PROCESSES,
		[ALERT_SHELL] = ALERTS_WANT_FLOWS | ALERTS_WANT_DROPS | ALERTS_WANT_PROCESSES,
		[ALERT_NEW_LISTENER] = ALERTS_WANT_LISTENERS,
	};
	const struct alert_rule *rule;
	uint32_t wanted = 0;

	DL_FOREACH(alerts->rules, rule)
	{
		wanted |= wants[rule->object->traffic_alert.alert];
	}
	return wanted;
}

void alerts_opening(struct alerts *alerts, const struct alert_opening *opening)
{
	struct alert_rule *rule;

	DL_FOREACH(alerts->rules, rule)
	{
		alert_rule_opening(alerts, rule, opening);
	}
}

void alerts_traffic(struct alerts *alerts, const struct alert_traffic *traffic)
{
	struct alert_rule *rule;

	DL_FOREACH(alerts->rules, rule)
	{
		alert_rule_traffic(alerts, rule, traffic);
	}
}

void alerts_listening(struct alerts *alerts, const struct alert_listening *listening)
{
	struct alert_rule *rule;

	DL_FOREACH(alerts->rules, rule)
	{
		alert_rule_listening(alerts, rule, listening);
	}
}

void alerts_present(struct alerts *alerts, const struct alert_end *end, uint64_t time_ns)
{
	struct alert_rule *rule;

	DL_FOREACH(alerts->rules, rule)
	{
		alert_rule_present(alerts, rule, end, time_ns);
	}
}

/* ---------------------------------------------------------------- all of it */

struct alerts *alerts_new(const struct alerts_env *env)
{
	struct alerts *alerts = calloc(1, sizeof(*alerts));

	if (!alerts)
		return NULL;
	alerts->env = *env;
	alerts->most_bytes = ALERTS_BYTES;
	return alerts;
}

void alerts_free(struct alerts *alerts)
{
	if (!alerts)
		return;
	while (alerts->rules)
		rule_free(alerts, alerts->rules);
	free(alerts);
}

void alerts_limit(struct alerts *alerts, uint64_t bytes)
{
	alerts->most_bytes = bytes;
}

void alerts_stats(const struct alerts *alerts, struct alerts_stats *ret)
{
	*ret = (struct alerts_stats){.workloads = HASH_COUNT(alerts->states),
				     .bytes = alerts->bytes,
				     .forgotten = alerts->forgotten};
}

void alerts_rules(const struct alerts *alerts,
		  void (*visit)(const struct alert_rule_stats *rule, void *data), void *data)
{
	const struct alert_rule *rule;

	DL_FOREACH(alerts->rules, rule)
	{
		const struct alert_rule_stats stats = {.name = rule->object->name,
						       .rule = &rule->object->traffic_alert,
						       .raised = rule->raised,
						       .told = rule->told,
						       .workloads = rule->states};

		visit(&stats, data);
	}
}

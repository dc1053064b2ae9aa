/* SPDX-License-Identifier: Apache-2.0 */
/* What each kind of rule looks for. Where memory is short more is told, not less. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/alerts/alerts_internal.h"
#include "policy/objects/digest.h"
#include "policy/objects/workload.h"

#define SECOND_NS	     1000000000ull
#define NAMESPACE_NAME_LABEL "kubernetes.io/metadata.name"
#define PORT_DNS	     53
#define PORT_DNS_TLS	     853
#define COMM_BYTES	     15 /* of a thread's name, as the kernel has it */

/* ---------------------------------------------------------------- whom a rule is about */

/* Objects of a directory may lack the label that an API server gives each namespace. */
static bool namespace_matches(const struct selector *selector, const struct labels *labels,
			      const char *name)
{
	static const struct labels none;
	struct labels copy = {};
	const char *said;
	bool matches;

	if (selector->count == 0)
		return true;
	labels = labels ? labels : &none;
	said = labels_get(labels, NAMESPACE_NAME_LABEL);
	if (said && strcmp(said, name) == 0)
		return selector_matches(selector, labels);
	if (labels_copy(labels, &copy) < 0)
		return true;
	matches = labels_set(&copy, NAMESPACE_NAME_LABEL, name) < 0 ||
		  selector_matches(selector, &copy);
	labels_clear(&copy);
	return matches;
}

static bool is_subject(const struct alerts *alerts, const struct traffic_alert_object *rule,
		       const struct alert_end *from)
{
	const struct alerts_env *env = &alerts->env;

	if (rule->any_subject)
		return true;
	if (!from->namespace)
		return false;
	if (rule->pod_selector.count > 0 &&
	    (!from->labels || !selector_matches(&rule->pod_selector, from->labels)))
		return false;
	return namespace_matches(&rule->namespace_selector,
				 env->namespace_labels(from->namespace, env->data),
				 from->namespace);
}

static bool is_meant(const struct traffic_alert_object *rule, const struct polder_addr *addr)
{
	for (size_t i = 0; i < rule->network_count; i++)
		if (prefix_contains(&rule->networks[i], addr))
			return true;
	return false;
}

/* ---------------------------------------------------------------- samples */

static void name_end(const struct alert_end *end, char ret[ALERT_NAME_MAX])
{
	if (end->namespace)
		snprintf(ret, ALERT_NAME_MAX, "%s/%s", end->namespace, end->name ? end->name : "");
}

/* As much as there is room for, in whole characters of UTF-8. */
static void keep_text(char *ret, size_t size, const char *text)
{
	size_t length = strnlen(text, size);

	if (length == size)
		for (length--; length > 0 && (text[length] & 0xc0) == 0x80;)
			length--;
	memcpy(ret, text, length);
	ret[length] = '\0';
}

static void keep_process(const struct alert_process *process, struct alert_sample *ret)
{
	ret->pid = process->pid;
	ret->uid = process->uid;
	keep_text(ret->comm, sizeof(ret->comm), process->comm);
	if (process->executable)
		keep_text(ret->executable, sizeof(ret->executable), process->executable);
}

static void sample_of(const struct alert_opening *opening, uint64_t amount,
		      struct alert_sample *ret)
{
	*ret = (struct alert_sample){.time_ns = opening->time_ns,
				     .amount = amount,
				     .from = opening->from.addr,
				     .to = opening->to.addr,
				     .port = opening->to.port,
				     .proto = opening->proto,
				     .denied = opening->denied};
	name_end(&opening->from, ret->pod);
	name_end(&opening->to, ret->peer);
	if (opening->service)
		snprintf(ret->service, sizeof(ret->service), "%s", opening->service);
	if (opening->process)
		keep_process(opening->process, ret);
}

static void raise(struct alerts *alerts, struct alert_state *state,
		  const struct alert_opening *opening, uint64_t amount)
{
	struct alert_sample sample;

	sample_of(opening, amount, &sample);
	alert_raise(alerts, state, &sample);
}

/* Is it surely one that the events have not told of? */
static bool is_news(const struct alert_state *state, const struct alert_opening *opening)
{
	uint64_t limit_ns = state->rule->object->traffic_alert.rate_limit * SECOND_NS;

	return !opening->found || !state->raised_ns ||
	       opening->time_ns >= state->raised_ns + limit_ns;
}

/* ---------------------------------------------------------------- peers and resolvers */

static void look_at_peer(struct alerts *alerts, struct alert_rule *rule,
			 const struct alert_opening *opening)
{
	struct alert_state *state;

	if (opening->to.inside || is_meant(&rule->object->traffic_alert, &opening->to.addr))
		return;
	state = alert_state_of(alerts, rule, &opening->from);
	if (state && is_news(state, opening))
		raise(alerts, state, opening, 0);
}

static bool is_dns(const struct alert_opening *opening)
{
	return (opening->proto == IPPROTO_UDP || opening->proto == IPPROTO_TCP) &&
	       (opening->asked_port == PORT_DNS || opening->asked_port == PORT_DNS_TLS);
}

static bool is_resolver(const struct traffic_alert_object *rule,
			const struct alert_opening *opening)
{
	for (size_t i = 0; opening->service && i < rule->service_count; i++)
		if (strcmp(rule->services[i], opening->service) == 0)
			return true;
	return is_meant(rule, &opening->asked) || is_meant(rule, &opening->to.addr);
}

static void look_at_resolver(struct alerts *alerts, struct alert_rule *rule,
			     const struct alert_opening *opening)
{
	struct alert_state *state;

	if (!is_dns(opening) || is_resolver(&rule->object->traffic_alert, opening))
		return;
	state = alert_state_of(alerts, rule, &opening->from);
	if (state && is_news(state, opening))
		raise(alerts, state, opening, 0);
}

/* ---------------------------------------------------------------- targets */

static uint64_t shorten(struct digest *digest)
{
	uint8_t bytes[DIGEST_BYTES];
	uint64_t number;

	digest_end(digest, bytes);
	memcpy(&number, bytes, sizeof(number));
	return number;
}

/* No port and address can be chosen such that they are taken for others. */
static uint64_t digest_of_target(const struct alert_opening *opening)
{
	struct digest digest;

	digest_begin(&digest);
	digest_add(&digest, &opening->to.addr, sizeof(opening->to.addr));
	digest_add_number(&digest, opening->proto);
	digest_add_number(&digest, opening->to.port);
	return shorten(&digest);
}

/* Pods of one workload are one peer. */
static uint64_t digest_of_peer(const struct alert_opening *opening)
{
	static const struct labels none;
	char workload[FLOW_WORKLOAD_MAX];
	const struct alert_end *to = &opening->to;
	struct digest digest;
	size_t length;

	if (!to->namespace)
		return digest_of_target(opening);
	digest_begin(&digest);
	length = flow_workload(to->namespace, to->labels ? to->labels : &none, workload);
	digest_add_number(&digest, length);
	digest_add(&digest, workload, length);
	digest_add_number(&digest, opening->proto);
	digest_add_number(&digest, to->port);
	return shorten(&digest);
}

/* Without those before `since_ns`. */
static void forget_targets(struct alert_state *state, uint64_t since_ns)
{
	size_t kept = 0;

	for (size_t i = 0; i < state->target_count; i++)
		if (state->targets[i].time_ns >= since_ns)
			state->targets[kept++] = state->targets[i];
	state->target_count = kept;
}

static struct alert_target *find_target(const struct alert_state *state, uint64_t digest)
{
	for (size_t i = 0; i < state->target_count; i++)
		if (state->targets[i].digest == digest)
			return &state->targets[i];
	return NULL;
}

static void look_for_scan(struct alerts *alerts, struct alert_rule *rule,
			  const struct alert_opening *opening)
{
	const struct traffic_alert_object *spec = &rule->object->traffic_alert;
	const uint64_t time_ns = opening->time_ns, span_ns = spec->seconds * SECOND_NS;
	struct alert_state *state = alert_state_of(alerts, rule, &opening->from);
	uint64_t digest = digest_of_target(opening);
	struct alert_target *known;

	if (!state)
		return;
	known = find_target(state, digest);
	if (known) {
		known->time_ns = time_ns;
		return;
	}
	forget_targets(state, time_ns > span_ns ? time_ns - span_ns : 0);
	if (state->target_count + 1 < spec->targets) {
		/* Without memory this one is not counted: the next ones may be. */
		if (alert_state_grow(alerts, state) == 0)
			state->targets[state->target_count++] =
				(struct alert_target){digest, time_ns};
		return;
	}
	state->target_count = 0;
	raise(alerts, state, opening, spec->targets);
}

/* ---------------------------------------------------------------- what is new */

/* Targets are sorted here. The place of `digest`, or where it belongs. */
static size_t place_of(const struct alert_state *state, uint64_t digest)
{
	size_t low = 0, high = state->target_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (state->targets[middle].digest < digest)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void learn_at(struct alerts *alerts, struct alert_state *state, size_t place,
		     const struct alert_target *target)
{
	if (state->target_count == ALERTS_PEERS_MOST || alert_state_grow(alerts, state) < 0)
		return;
	memmove(&state->targets[place + 1], &state->targets[place],
		(state->target_count - place) * sizeof(*target));
	state->targets[place] = *target;
	state->target_count++;
}

static bool is_learnt(const struct alert_state *state, uint64_t digest)
{
	size_t place = place_of(state, digest);

	return place < state->target_count && state->targets[place].digest == digest;
}

static void learn(struct alerts *alerts, struct alert_state *state, uint64_t digest,
		  uint64_t time_ns)
{
	const struct alert_target target = {digest, time_ns};

	if (!is_learnt(state, digest))
		learn_at(alerts, state, place_of(state, digest), &target);
}

/* Since when it learns, the first time from now on. */
static bool has_learnt(struct alert_state *state, uint64_t time_ns)
{
	uint64_t learning_ns = state->rule->object->traffic_alert.seconds * SECOND_NS;

	if (!state->begun_ns)
		state->begun_ns = time_ns;
	return time_ns >= state->begun_ns + learning_ns;
}

static void look_for_new_peer(struct alerts *alerts, struct alert_rule *rule,
			      const struct alert_opening *opening)
{
	struct alert_state *state = alert_state_of(alerts, rule, &opening->from);
	uint64_t digest = digest_of_peer(opening);
	bool is_over;

	if (!state)
		return;
	is_over = has_learnt(state, opening->time_ns);
	if (is_learnt(state, digest))
		return;
	learn(alerts, state, digest, opening->time_ns);
	if (is_over)
		raise(alerts, state, opening, 0);
}

/* ---------------------------------------------------------------- processes */

/* The last part of a path. */
static const char *file_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* A program file by its path is one thing, what a thread of a process without a known file calls
 * itself another one, of which the kernel has 15 bytes. */
static uint64_t digest_of_program(const char *path)
{
	struct digest digest;

	digest_begin(&digest);
	digest_add_number(&digest, 1);
	digest_add(&digest, path, strlen(path));
	return shorten(&digest);
}

static uint64_t digest_of_comm(const char *comm)
{
	struct digest digest;

	digest_begin(&digest);
	digest_add_number(&digest, 0);
	digest_add(&digest, comm, strnlen(comm, COMM_BYTES));
	return shorten(&digest);
}

/*
 * A process without a known file began before anybody looked, or very long ago, and its threads
 * have any names: it raises nothing. But what it is called is learnt, such that the program is no
 * news when it is begun anew.
 */
static void look_for_new_process(struct alerts *alerts, struct alert_rule *rule,
				 const struct alert_opening *opening)
{
	const struct alert_process *process = opening->process;
	struct alert_state *state = alert_state_of(alerts, rule, &opening->from);
	uint64_t digest;
	bool is_over;

	if (!state)
		return;
	is_over = has_learnt(state, opening->time_ns);
	if (!process->executable) {
		if (!is_over)
			learn(alerts, state, digest_of_comm(process->comm), opening->time_ns);
		return;
	}
	digest = digest_of_program(process->executable);
	if (is_learnt(state, digest))
		return;
	learn(alerts, state, digest, opening->time_ns);
	if (is_over && !is_learnt(state, digest_of_comm(file_name(process->executable))))
		raise(alerts, state, opening, 0);
}

static bool is_program(const struct alert_process *process, const char *program)
{
	const char *executable = process->executable ? process->executable : "";

	if (*program == '/')
		return strcmp(program, executable) == 0;
	return strcmp(program, file_name(executable)) == 0 || strcmp(program, process->comm) == 0;
}

static bool is_shell(const struct traffic_alert_object *rule, const struct alert_process *process)
{
	for (size_t i = 0; i < rule->program_count; i++)
		if (is_program(process, rule->programs[i]))
			return true;
	return false;
}

static void look_for_shell(struct alerts *alerts, struct alert_rule *rule,
			   const struct alert_opening *opening)
{
	struct alert_state *state;

	if (!is_shell(&rule->object->traffic_alert, opening->process))
		return;
	state = alert_state_of(alerts, rule, &opening->from);
	if (state && is_news(state, opening))
		raise(alerts, state, opening, 0);
}

/* ---------------------------------------------------------------- listeners */

static bool is_listener_subject(const struct alerts *alerts, const struct alert_rule *rule,
				const struct alert_end *end)
{
	const struct traffic_alert_object *spec = &rule->object->traffic_alert;

	if (spec->alert != ALERT_NEW_LISTENER)
		return false;
	if (end->node)
		return spec->nodes;
	return end->local && end->namespace && is_subject(alerts, spec, end);
}

static bool is_meant_port(const struct traffic_alert_object *rule, uint16_t port)
{
	for (size_t i = 0; i < rule->port_count; i++)
		if (port >= rule->ports[i].first && port <= rule->ports[i].last)
			return true;
	return false;
}

void alert_rule_present(struct alerts *alerts, struct alert_rule *rule, const struct alert_end *end,
			uint64_t time_ns)
{
	struct alert_state *state;

	if (!is_listener_subject(alerts, rule, end))
		return;
	state = alert_state_of(alerts, rule, end);
	if (state)
		(void)has_learnt(state, time_ns);
}

void alert_rule_listening(struct alerts *alerts, struct alert_rule *rule,
			  const struct alert_listening *listening)
{
	struct alert_sample sample = {.time_ns = listening->time_ns,
				      .from = listening->at.addr,
				      .to = listening->addr,
				      .port = listening->port,
				      .proto = IPPROTO_TCP};
	struct alert_state *state;
	bool is_over;

	if (!is_listener_subject(alerts, rule, &listening->at) ||
	    is_meant_port(&rule->object->traffic_alert, listening->port))
		return;
	state = alert_state_of(alerts, rule, &listening->at);
	if (!state)
		return;
	is_over = has_learnt(state, listening->time_ns);
	if (is_learnt(state, listening->port))
		return;
	learn(alerts, state, listening->port, listening->time_ns);
	if (!is_over)
		return;
	name_end(&listening->at, sample.pod);
	if (listening->process)
		keep_process(listening->process, &sample);
	alert_raise(alerts, state, &sample);
}

/* ---------------------------------------------------------------- volume */

void alert_rule_traffic(struct alerts *alerts, struct alert_rule *rule,
			const struct alert_traffic *traffic)
{
	const struct traffic_alert_object *spec = &rule->object->traffic_alert;
	const struct alert_end *to = &traffic->to;
	struct alert_opening opening = {.time_ns = traffic->time_ns,
					.from = traffic->from,
					.to = *to,
					.proto = traffic->proto};
	struct alert_state *state;
	uint64_t sum;

	if (spec->alert != ALERT_VOLUME || !traffic->from.local || to->inside ||
	    is_meant(spec, &to->addr) || !is_subject(alerts, spec, &traffic->from))
		return;
	state = alert_state_of(alerts, rule, &traffic->from);
	if (!state)
		return;
	if (!state->begun_ns || traffic->time_ns >= state->begun_ns + spec->seconds * SECOND_NS) {
		state->begun_ns = traffic->time_ns;
		state->bytes = 0;
	}
	sum = state->bytes + traffic->bytes;
	state->bytes = sum;
	if (sum < spec->bytes)
		return;
	state->begun_ns = 0;
	raise(alerts, state, &opening, sum);
}

/* ---------------------------------------------------------------- one rule */

void alert_rule_opening(struct alerts *alerts, struct alert_rule *rule,
			const struct alert_opening *opening)
{
	const struct traffic_alert_object *spec = &rule->object->traffic_alert;

	if (spec->alert == ALERT_VOLUME || spec->alert == ALERT_NEW_LISTENER)
		return;
	/* Who is denied may be of another node, or outside; what is opened is looked at where it is
	 * opened. */
	if (spec->alert == ALERT_SCAN ? !opening->denied
				      : !opening->from.local || !opening->from.namespace)
		return;
	if (!is_subject(alerts, spec, &opening->from))
		return;
	switch (spec->alert) {
	case ALERT_PEERS_OUTSIDE:
		look_at_peer(alerts, rule, opening);
		break;
	case ALERT_FOREIGN_RESOLVER:
		look_at_resolver(alerts, rule, opening);
		break;
	case ALERT_SCAN:
		look_for_scan(alerts, rule, opening);
		break;
	case ALERT_NEW_PEER:
		look_for_new_peer(alerts, rule, opening);
		break;
	case ALERT_NEW_PROCESS:
		if (opening->process)
			look_for_new_process(alerts, rule, opening);
		break;
	case ALERT_SHELL:
		if (opening->process)
			look_for_shell(alerts, rule, opening);
		break;
	case ALERT_VOLUME:
	case ALERT_NEW_LISTENER:
	case ALERT_KINDS:
		break;
	}
}

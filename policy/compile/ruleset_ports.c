/* SPDX-License-Identifier: Apache-2.0 */
/* Ports and ranges made disjoint, then cut into prefixes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "policy/compile/ruleset.h"
#include "policy/objects/limits.h"

/* At this port an allowance begins, or has ended. */
struct event {
	uint8_t proto;
	uint32_t at; /* to 65536 */
	size_t atom;
	int change;
};

struct scan {
	struct ruleset *set;
	struct event *events;
	size_t count, capacity;
	uint32_t *covers;
};

static int add_event(struct scan *scan, struct event event)
{
	struct event *events;

	if (scan->count == RULESET_MAX_BLOCKS)
		return -E2BIG;
	events = array_grow(scan->events, scan->count, &scan->capacity, sizeof(*events));
	if (!events)
		return -ENOMEM;
	scan->events = events;
	events[scan->count++] = event;
	return 0;
}

static int add_range(struct scan *scan, size_t atom, uint8_t proto, uint32_t first, uint32_t last)
{
	int r = add_event(scan,
			  (struct event){.proto = proto, .at = first, .atom = atom, .change = 1});

	if (r < 0)
		return r;
	return add_event(
		scan, (struct event){.proto = proto, .at = last + 1, .atom = atom, .change = -1});
}

/* A name in an ingress rule is the subject's own port. */
static int add_own_ports(struct scan *scan, size_t atom, const struct policy_port *wanted)
{
	const struct registry_identity *subject = scan->set->subject;
	int r = 0;

	if (scan->set->direction != INGRESS)
		return 0;
	for (size_t i = 0; r == 0 && i < subject->port_count; i++) {
		const struct named_port *port = &subject->ports[i];

		if (port->proto == wanted->proto && strcmp(port->name, wanted->name) == 0)
			r = add_range(scan, atom, port->proto, port->port, port->port);
	}
	return r;
}

static int add_rule(struct scan *scan, const struct ruleset_rule *entry)
{
	const struct policy_rule *rule = entry->rule->source;
	int r = 0;

	for (size_t i = 0; r == 0 && entry->plain != NO_ATOM && i < rule->port_count; i++) {
		const struct policy_port *port = &rule->ports[i];

		if (port->name)
			r = add_own_ports(scan, entry->plain, port);
		else if (port->any_port)
			r = add_range(scan, entry->plain, port->proto, 0, 65535);
		else
			r = add_range(scan, entry->plain, port->proto, port->first, port->last);
	}
	for (size_t i = entry->first_named; r == 0 && i < entry->first_named + entry->named_count;
	     i++)
		r = add_range(scan, i, scan->set->atoms[i].proto, scan->set->atoms[i].port,
			      scan->set->atoms[i].port);
	for (size_t i = 0; r == 0 && entry->unknown != NO_ATOM && i < rule->port_count; i++)
		if (rule->ports[i].name)
			r = add_range(scan, entry->unknown, rule->ports[i].proto, 0, 65535);
	return r;
}

static int emit(struct ruleset *set, struct ruleset_port port)
{
	struct ruleset_port *entries;

	if (set->port_count == RULESET_MAX_ENTRIES)
		return -E2BIG;
	entries = array_grow(set->port_entries, set->port_count, &set->port_capacity,
			     sizeof(*entries));
	if (!entries)
		return -ENOMEM;
	set->port_entries = entries;
	entries[set->port_count++] = port;
	return 0;
}

/* The fewest prefixes for the ports from `first` to before `end`. */
static int emit_range(struct ruleset *set, uint8_t proto, uint32_t first, uint32_t end,
		      struct class *class)
{
	while (first < end) {
		uint8_t length = 16;
		int r;

		while (length > 0) {
			uint32_t size = 1u << (16 - length + 1);

			if (first % size != 0 || first + size > end)
				break;
			length--;
		}
		r = emit(set, (struct ruleset_port){.length = (uint8_t)(16 + length),
						    .proto = proto,
						    .port = (uint16_t)first,
						    .class = class});
		if (r < 0)
			return r;
		first += 1u << (16 - length);
	}
	return 0;
}

static int compare_events(const void *a, const void *b)
{
	const struct event *x = a, *y = b;
	int order = (int)x->proto - (int)y->proto;

	return order ? order : (x->at > y->at) - (x->at < y->at);
}

static void apply(struct scan *scan, const struct event *event)
{
	scan->covers[event->atom] += (uint32_t)event->change;
	if (scan->covers[event->atom] > 0)
		bits_set(scan->set->scratch, event->atom);
	else
		bits_reset(scan->set->scratch, event->atom);
}

/* Ranges of one class that touch become one. Where only portless rules hold, the default entry
 * serves. */
static int scan_ports(struct scan *scan, struct class *everywhere)
{
	struct class *class = everywhere, *pending = everywhere;
	uint32_t begin = 0;
	int r = 0;

	for (size_t i = 0; r == 0 && i < scan->count;) {
		const struct event here = scan->events[i];

		while (i < scan->count && compare_events(&here, &scan->events[i]) == 0)
			apply(scan, &scan->events[i++]);
		r = class_of(&scan->set->ports, scan->set->scratch, &class);
		if (r < 0 || class == pending)
			continue;
		if (pending != everywhere)
			r = emit_range(scan->set, here.proto, begin, here.at, pending);
		pending = class;
		begin = here.at;
	}
	return r;
}

int ruleset_classify_ports(struct ruleset *set)
{
	struct scan scan = {.set = set};
	struct class *everywhere;
	bool any = false;
	int r = 0;

	scan.covers = calloc(set->atom_count + 1, sizeof(*scan.covers));
	if (!scan.covers)
		return -ENOMEM;
	memset(set->scratch, 0, set->words * sizeof(*set->scratch));
	for (size_t i = 0; r == 0 && i < set->rule_count; i++) {
		const struct ruleset_rule *entry = &set->rules[i];

		if (entry->plain != NO_ATOM && entry->rule->source->port_count == 0) {
			bits_set(set->scratch, entry->plain);
			any = true;
		}
		r = add_rule(&scan, entry);
	}
	if (r == 0)
		r = class_of(&set->ports, set->scratch, &everywhere);
	if (r == 0 && any)
		r = emit(set, (struct ruleset_port){.class = everywhere});
	if (r == 0 && scan.count > 0) {
		qsort(scan.events, scan.count, sizeof(*scan.events), compare_events);
		r = scan_ports(&scan, everywhere);
	}
	free(scan.events);
	free(scan.covers);
	return r;
}

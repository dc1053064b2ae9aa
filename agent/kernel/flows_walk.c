/* SPDX-License-Identifier: Apache-2.0 */
/* Looks at the flow tables, in slices: nothing is changed. */
#include "agent/common/clock.h"
#include "agent/kernel/flows_internal.h"

static bool visit_set(const struct flows *flows, const struct flow_table *table, uint32_t number,
		      void *set, uint32_t now, flows_visitor visit, void *data)
{
	struct flow_record record = {.family = table->family};
	static const struct flow_rules none;
	struct flow_rules_set rules;
	bool rules_read = false;

	for (uint32_t way = 0; way < FLOW_WAYS; way++) {
		if (flow_snapshot(table, flow_entry(table, set, way), &record.flow) < 0)
			continue;
		if (record.flow.content.state & FLOW_RULED && !rules_read) {
			flows_read_rules(flows, table, number, &rules);
			rules_read = true;
		}
		record.rules = record.flow.content.state & FLOW_RULED ? rules.way[way] : none;
		record.idle = flow_age(now, record.flow.content.last);
		if (!visit(&record, data))
			return false;
	}
	return true;
}

bool flows_walk(struct flows *flows, struct flows_cursor *cursor, uint64_t budget_ns,
		flows_visitor visit, void *data)
{
	struct flow_window window = {0};
	uint64_t began = clock_monotonic_ns();
	uint32_t now = flows_now();
	bool more = true;

	while (more && cursor->table < 2) {
		const struct flow_table *table = &flows->tables[cursor->table];
		void *set = flow_window_set(table, &window, cursor->set, FLOW_WINDOW_BYTES);

		more = set && visit_set(flows, table, cursor->set, set, now, visit, data);
		if (++cursor->set == table->sets) {
			flow_window_close(&window);
			cursor->set = 0;
			cursor->table++;
		}
		if (cursor->set % 8 == 0 && clock_monotonic_ns() - began >= budget_ns)
			break;
	}
	flow_window_close(&window);
	return !more || cursor->table == 2;
}

struct listing {
	flows_visitor visit;
	void *data;
	size_t left;
};

static bool list_one(const struct flow_record *record, void *data)
{
	struct listing *listing = data;

	return listing->visit(record, listing->data) && --listing->left > 0;
}

void flows_list(struct flows *flows, size_t limit, flows_visitor visit, void *data)
{
	struct listing listing = {visit, data, limit ? limit : SIZE_MAX};
	struct flows_cursor cursor = {0};

	flows_walk(flows, &cursor, UINT64_MAX, list_one, &listing);
}

void flows_note_unanswered(struct flow_scan *scan, const struct flow_table *table,
			   const void *entry)
{
	struct flows_unanswered *found = &scan->unanswered;
	const struct flow_tuple *t = entry;
	const struct flow_head *head = flow_entry_head(table, (void *)entry);
	struct polder_addr addresses[FLOW_ADDRESSES];
	struct flow_snapshot flow;

	if (head->action != FLOW_TO_HOST || head->state & (FLOW_REPLY | FLOW_REPLIED) ||
	    t->proto != IPPROTO_TCP || t->zone != ZONE_POD || head->packets < 2)
		return;
	if (!found->count++ && flow_snapshot(table, (void *)entry, &flow) == 0) {
		flow_addresses(table, &flow, addresses);
		found->from = addresses[0];
		found->to = addresses[1];
		found->port = ntohs(flow.tuple.dport_be);
	}
}

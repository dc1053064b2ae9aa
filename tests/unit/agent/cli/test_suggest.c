/* SPDX-License-Identifier: Apache-2.0 */
/* Policies out of several nodes' answers, and of more than one rule may hold. tests/golden has what
 * is written. */
#include "agent/cli/suggest.h"

#include "policy/objects/objects.h"
#include "tests/unit/unit.h"

static const struct suggest_options plain = {.range_v4 = 32, .range_v6 = 128, .enough_seconds = -1};

static json_t *web(void)
{
	return json_pack("{s:s, s:{s:s}, s:[], s:i}", "namespace", "demo", "labels", "app", "web",
			 "absent", "others", 0);
}

/* Takes `peer`. */
static json_t *seen(json_t *peer, int port, int count)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:i, s:s, s:i, s:o, s:o, s:i, s:i, s:i}", "type",
			 "seen", "direction", "ingress", "verdict", "allow", "proto", "tcp", "port",
			 port, "service", "", "service_port", 0, "subject", web(), "peer", peer,
			 "count", count, "first_seconds", 100 * count, "last_seconds", count);
}

static json_t *address(unsigned int number)
{
	return json_pack("{s:s, s:o, s:s, s:s}", "kind", "address", "ip",
			 json_sprintf("10.%u.%u.%u", number >> 16, number >> 8 & 255, number & 255),
			 "family", "ipv4", "node", "");
}

static json_t *answer(json_t *lines, int reach_seconds)
{
	return json_pack("{s:o, s:{s:b, s:b, s:i, s:i, s:i, s:i}}", "seen", lines, "end",
			 "recorded", 1, "watched", 0, "asked_seconds", -1, "reach_seconds",
			 reach_seconds, "forgotten", 0, "looked_up", 0);
}

/* The rules of the only policy; it has to be one that polderd takes. */
static const json_t *rules_of(const struct suggestions *suggestions)
{
	CU_ASSERT_FATAL(suggestions->count == 1 && suggestions->items[0].policy);
	char *text = json_dumps(suggestions->items[0].policy, 0);
	struct object_list list = {0};
	struct error error;

	CU_ASSERT_FATAL(text && objects_decode(text, strlen(text), &list, &error) == 0);
	CU_ASSERT(list.count == 1 && list.objects[0]->kind == OBJECT_NETWORK_POLICY);
	object_list_clear(&list);
	free(text);
	return json_object_get(json_object_get(suggestions->items[0].policy, "spec"), "ingress");
}

static void what_several_nodes_have_seen_is_one_policy(void)
{
	json_t *answers = json_pack(
		"[o, o]", answer(json_pack("[o]", seen(address(1), 80, 2)), 9000),
		answer(json_pack("[o, o]", seen(address(1), 80, 3), seen(address(2), 80, 1)),
		       5000));
	struct suggestions suggestions;
	const json_t *rules, *notes;

	suggestions_make(answers, &plain, &suggestions);
	rules = rules_of(&suggestions);
	CU_ASSERT(json_array_size(rules) == 1);
	CU_ASSERT(json_array_size(json_object_get(json_array_get(rules, 0), "from")) == 2);
	notes = json_array_get(suggestions.items[0].ingress_notes, 0);
	CU_ASSERT_FATAL(json_array_size(notes) == 2);
	CU_ASSERT_STRING_EQUAL(json_string_value(json_array_get(notes, 0)),
			       "TCP 80 from 10.0.0.1: 5 times, first 5m0s ago, last 2s ago");
	suggestions_clear(&suggestions);
	json_decref(answers);
}

static void the_node_that_watched_for_the_shortest_time_decides(void)
{
	json_t *answers =
		json_pack("[o, o]", answer(json_pack("[o]", seen(address(1), 80, 2)), 9000),
			  answer(json_pack("[o]", seen(address(1), 80, 3)), 60));
	struct suggest_options options = plain;
	struct suggestions suggestions;

	suggestions_make(answers, &options, &suggestions);
	CU_ASSERT(suggestions.count == 1 && !suggestions.items[0].policy);
	suggestions_clear(&suggestions);
	options.enough_seconds = 60;
	suggestions_make(answers, &options, &suggestions);
	CU_ASSERT(suggestions.count == 1 && suggestions.items[0].policy);
	suggestions_clear(&suggestions);
	json_decref(answers);
}

static void more_peers_than_a_rule_may_have_are_several_rules(void)
{
	const unsigned int count = 9000;
	json_t *lines = json_array(), *answers;
	struct suggestions suggestions;
	const json_t *rules;
	size_t peers = 0;

	for (unsigned int i = 0; i < count; i++)
		json_array_append_new(lines, seen(address(i), 80, 1));
	answers = json_pack("[o]", answer(lines, 9000));
	suggestions_make(answers, &plain, &suggestions);
	rules = rules_of(&suggestions);
	CU_ASSERT(json_array_size(rules) == 3);
	CU_ASSERT(json_array_size(suggestions.items[0].ingress_notes) == 3);
	for (size_t i = 0; i < json_array_size(rules); i++)
		peers += json_array_size(json_object_get(json_array_get(rules, i), "from"));
	CU_ASSERT_EQUAL(peers, count);
	suggestions_clear(&suggestions);
	json_decref(answers);
}

static void more_ports_than_a_rule_may_have_are_several_rules(void)
{
	const int count = 5000;
	json_t *lines = json_array(), *answers;
	struct suggestions suggestions;
	const json_t *rules;

	for (int i = 1; i <= count; i++)
		json_array_append_new(lines, seen(address(1), i, 1));
	answers = json_pack("[o]", answer(lines, 9000));
	suggestions_make(answers, &plain, &suggestions);
	rules = rules_of(&suggestions);
	CU_ASSERT(json_array_size(rules) == 2);
	suggestions_clear(&suggestions);
	json_decref(answers);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(what_several_nodes_have_seen_is_one_policy),
		UNIT_TEST(the_node_that_watched_for_the_shortest_time_decides),
		UNIT_TEST(more_peers_than_a_rule_may_have_are_several_rules),
		UNIT_TEST(more_ports_than_a_rule_may_have_are_several_rules),
	};

	return UNIT_RUN("suggest", tests);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Packets by rule: what programs denied, and what flows saw that are over. Those of living flows
 * stand in the flow table. */
#pragma once

#include "agent/kernel/maps.h"
#include "policy/compile/compile.h"

struct rule_counts;

/* Reads what the pinned map holds. 0 or -errno. */
int rule_counts_open(struct maps *maps, struct rule_counts **ret);
void rule_counts_close(struct rule_counts *counts); /* writes what is not written yet; takes NULL */

/*
 * The set's rules and its default count from now on: before it does. What finds no room in the map
 * is not counted. 0 or -ENOMEM.
 */
int rule_counts_hold(struct rule_counts *counts, const struct compiled_ruleset *set);
/* It went, as rule_counts_hold() saw it. */
void rule_counts_release(struct rule_counts *counts, const struct compiled_ruleset *set);
/* All sets went: those that are there are held again after this. */
void rule_counts_release_all(struct rule_counts *counts);
/* Forgets what no set holds. */
void rule_counts_prune(struct rule_counts *counts);
/* A flow that these rules allowed is over. */
void rule_counts_over(const struct flow_rules *rules, uint32_t packets, uint64_t bytes,
		      void *rule_counts);
/* To the map, so that a crash loses little. */
void rule_counts_flush(struct rule_counts *counts);

/* `rule`: a number, or RULE_DEFAULT | a rule set's number. Zero for what nobody counts. Without
 * living flows. */
struct rule_counter rule_counts_get(struct rule_counts *counts, uint32_t rule);
/* False: the map has no room for the rule (or nothing asks for it); what is counted for it is not
 * whole. */
bool rule_counts_counted(const struct rule_counts *counts, uint32_t key);
/* How many rules and default denies found no room. */
size_t rule_counts_uncounted(const struct rule_counts *counts);

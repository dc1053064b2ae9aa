/* SPDX-License-Identifier: Apache-2.0 */
/* What alerts.c and alert_kinds.c share: rules, and what each knows of a workload. */
#pragma once

#include "agent/common/hash.h"
#include "policy/alerts/alerts.h"

/* Of a denied address and port, or a peer, and when. */
struct alert_target {
	uint64_t digest;
	uint64_t time_ns;
};

/* Of one rule, about one workload, or an address outside. */
struct alert_state {
	UT_hash_handle hh;
	struct alert_rule *rule;
	bool is_outside; /* of no known pod, nor of the node */
	struct alert_state *prev,
		*next; /* by use: the one that was idle for longest is the first */
	struct alert_state *waiting_prev, *waiting_next;
	uint64_t raised_ns, told_ns; /* 0: never */
	uint64_t waiting;	     /* raised since it was told */
	struct alert_sample *newest; /* of these; NULL: none */
	uint64_t begun_ns;	     /* counting, or learning; 0: not yet */
	uint64_t bytes;
	struct alert_target *targets;
	size_t target_count, target_capacity;
	size_t key_length;
	char key[]; /* the rule's number, then the workload's name or the address */
};

struct alert_rule {
	const struct object *object; /* a share */
	struct alert_rule *prev, *next;
	uint64_t number;    /* never used twice */
	uint64_t period_ns; /* when the present time of the rate limit began */
	size_t told_now;    /* in it */
	uint64_t raised, told;
	uint64_t others; /* raised by workloads that are not told one by one any more */
	struct alert_sample others_newest;
	size_t states;
};

struct alerts {
	struct alerts_env env;
	uint64_t most_bytes, bytes, forgotten;
	uint64_t numbers; /* given to rules so far */
	struct alert_rule *rules;
	struct alert_state *states;    /* by key */
	struct alert_state *by_use[2]; /* those of pods, and of addresses outside */
	struct alert_state *waiting;   /* with something to tell */
};

/* What the rule knows of who sends; NULL: no memory. It has been used now. */
struct alert_state *alert_state_of(struct alerts *alerts, struct alert_rule *rule,
				   const struct alert_end *from);
/* Room for one target more; `state` may not be the only one that has to give. 0 or -ENOMEM. */
int alert_state_grow(struct alerts *alerts, struct alert_state *state);
void alert_raise(struct alerts *alerts, struct alert_state *state,
		 const struct alert_sample *sample);

/* alert_kinds.c: one rule. */
void alert_rule_opening(struct alerts *alerts, struct alert_rule *rule,
			const struct alert_opening *opening);
void alert_rule_listening(struct alerts *alerts, struct alert_rule *rule,
			  const struct alert_listening *listening);
void alert_rule_present(struct alerts *alerts, struct alert_rule *rule, const struct alert_end *end,
			uint64_t time_ns);
void alert_rule_traffic(struct alerts *alerts, struct alert_rule *rule,
			const struct alert_traffic *traffic);

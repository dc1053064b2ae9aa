/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who has spoken with whom, as far as a policy can name it: workloads rather than addresses of
 * pods, ports of those who were asked. Bounded by memory and by age; what was seen longest ago
 * makes room, so all that came since flow_history_reach() is there.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/common/address.h"
#include "policy/objects/objects.h"
#include "policy/objects/workload.h"

/* Of a workload or Service, shared by all that name it. */
struct flow_name {
	size_t length;
	const char *text; /* of a workload: see flow_workload(); of a Service "namespace/name" */
};

enum flow_peer {
	FLOW_PEER_POD,	   /* `peer` */
	FLOW_PEER_ADDRESS, /* `addr`: outside of the cluster, or a node */
	FLOW_PEER_UNKNOWN, /* of a pod range, but no pod that is known */
	FLOW_PEER_NODE,	   /* the pod's own node, as a client */
};

struct flow_seen {
	enum direction direction; /* as `subject` sees it */
	bool allowed;		  /* or denied by policy */
	enum flow_peer peer_kind;
	uint8_t proto;
	uint16_t port;	       /* of the pod that is asked, host byte order; 0: none */
	uint16_t service_port; /* that was asked for; 0: no Service's */
	struct polder_addr addr;
	struct flow_name subject, peer, service; /* length 0: none */
};

/*
 * The clock of histories: the monotonic one, moved so that times before the machine's start are
 * times as well. A file that outlives the start has them.
 */
#define FLOW_HISTORY_EPOCH (UINT64_C(1) << 61)
static inline uint64_t flow_history_clock(uint64_t monotonic_ns)
{
	return FLOW_HISTORY_EPOCH + monotonic_ns;
}

/* What the history says of it. */
struct flow_seen_counts {
	uint64_t first_ns, last_ns;
	uint64_t events; /* that were told */
	uint64_t found;	 /* the most that the flow table has had at once */
};

struct flow_history;

/* `most_bytes`: of all of it. `age_ns`: what was seen last before that is forgotten. NULL: no
 * memory. */
struct flow_history *flow_history_new(uint64_t most_bytes, uint64_t age_ns, uint64_t now_ns);
void flow_history_free(struct flow_history *history); /* takes NULL */

/*
 * `walk` 0: an event. Else the number of the walk over the flow table that found it: the same flow
 * is found by each. Strings are copied. 0 or -ENOMEM: then it counts as forgotten.
 */
int flow_history_add(struct flow_history *history, const struct flow_seen *seen, uint64_t time_ns,
		     uint32_t walk);
/* Forgets what is too old. */
void flow_history_expire(struct flow_history *history, uint64_t now_ns);

/* All that was seen since then is there, but for the gaps. */
uint64_t flow_history_reach(const struct flow_history *history);
/* Of a history that is new: a file has all since then. */
void flow_history_set_reach(struct flow_history *history, uint64_t reach_ns);

/* When nobody watched. */
struct flow_gap {
	uint64_t from_ns, to_ns;
};
#define FLOW_GAPS_MAX 64
/* Later than those that there are. Of too many the two oldest become one, which begins with the
 * first and ends with the second. */
void flow_history_add_gap(struct flow_history *history, struct flow_gap gap);
/* They stay the history's. Returns their number. */
size_t flow_history_gaps(const struct flow_history *history, const struct flow_gap **ret);
/* How long nobody watched since then. */
uint64_t flow_history_missed(const struct flow_history *history, uint64_t since_ns);

struct flow_history_stats {
	size_t entries;
	uint64_t bytes;
	uint64_t forgotten; /* entries, for want of room or memory */
};
void flow_history_stats(const struct flow_history *history, struct flow_history_stats *ret);

/* A copy, which later changes leave alone. */
struct flow_history_item {
	struct flow_seen seen;
	struct flow_seen_counts counts;
};
/* As it was copied, into a history that does not have it. As flow_history_add(). */
int flow_history_restore(struct flow_history *history, const struct flow_history_item *item);
struct flow_history_copy {
	struct flow_history_item *items; /* those seen last come last */
	size_t count;
	char *texts;
};
/* Those seen at `since_ns` or later. 0 or -ENOMEM. */
int flow_history_copy(const struct flow_history *history, uint64_t since_ns,
		      struct flow_history_copy *ret);
void flow_history_copy_clear(struct flow_history_copy *copy); /* takes a zeroed one */

/* SPDX-License-Identifier: Apache-2.0 */
/* The flow table's collector: frees what is over, repairs what a dead writer left, lists and counts
 * what is there. */
#pragma once

#include <uv.h>

#include "agent/common/address.h"
#include "agent/kernel/address_set.h"
#include "agent/kernel/flow_table.h"
#include "agent/kernel/maps.h"

struct flows;

/* `control` holds the hash's seed and lives as long as the collector; descriptors are borrowed. */
struct flows_maps {
	int fd_v4, fd_v6;
	uint32_t sets_v4, sets_v6; /* powers of two */
	const struct control *control;
	int fd_rules_v4, fd_rules_v6; /* maps flow_rules4 and flow_rules6; 0: none */
	int fd_tags_v4, fd_tags_v6;   /* maps flow_tags4 and flow_tags6; 0: none */
	int fd_usage;		      /* map flow_usage; 0: none */
	uint32_t usage_count;
	uint64_t (*clock_ns)(void); /* by which a writer is taken for dead, as clock_monotonic_ns(),
				       which NULL stands for */
};
struct flows_maps flows_maps_of(struct maps *maps);

struct flows *flows_new(const struct flows_maps *maps); /* NULL: no memory */
/* Called for each entry that is freed, with the rules that allowed the flow. */
typedef void (*flows_over)(const struct flow_rules *rules, uint32_t packets, uint64_t bytes,
			   void *data);
void flows_on_over(struct flows *flows, flows_over over, void *data);
/*
 * Entries of each family that a pod may have while the table is nearly full: a table divided by the
 * pods that there are. 0: one pod alone has no share to keep to.
 */
uint32_t flows_share(uint64_t capacity, size_t pods);

/* Takes NULL. Not before the handles of flows_stop() are closed. */
void flows_free(struct flows *flows);

/* A scan every FLOWS_INTERVAL_MS, in slices that leave the loop free after FLOWS_SLICE_NS. 0 or
 * -errno. */
#define FLOWS_INTERVAL_MS 5000
#define FLOWS_SLICE_NS	  500000
int flows_start(struct flows *flows, uv_loop_t *loop);
/* Closes the handles; `stopped` (may be NULL) runs when the loop has let go of them, at once if it
 * was never started. */
void flows_stop(struct flows *flows, void (*stopped)(void *data), void *data);

/*
 * One slice of a scan at the time `now` (flows_now(); the same for a whole scan): ends after
 * `budget_ns` or with the scan. True: the scan is complete.
 */
uint32_t flows_now(void);
bool flows_collect(struct flows *flows, uint32_t now, uint64_t budget_ns);

/* What flows are looked through for. Zeroed: nothing. */
struct flows_touched {
	struct address_set left; /* flows that name one of these are freed, before or after
				    translation, on either side */
	struct address_set
		changed; /* flows that name one of these are re-evaluated at their next packet */
	const struct prefix *ranges; /* and those that name an address in one of these: borrowed, */
	size_t range_count;	     /* and few: each flow's addresses are compared with all */
};
/*
 * One scan over the tables, at once. What a program writes meanwhile, by what it read before, is
 * seen or not: look again when it has ended. False: not whole: a part of a table could not be
 * mapped, or a writer did not let go of an entry. Every flow has to be re-evaluated then.
 */
bool flows_touch(struct flows *flows, const struct flows_touched *touched);

/* Frees the entry of a tuple and the one of its replies. Returns how many there were. */
size_t flows_delete_flow(struct flows *flows, uint8_t family, const struct flow_tuple *tuple);

struct flow_record {
	uint8_t family;
	struct flow_snapshot flow;
	struct flow_rules rules; /* that allowed it; 0: none */
	uint32_t idle;		 /* ticks */
};
/* False: no more. */
typedef bool (*flows_visitor)(const struct flow_record *record, void *data);
/* Where a walk is; zeroed: at the beginning. */
struct flows_cursor {
	uint32_t table, set;
};
/* Visits the entries of the next sets, for about `budget_ns`. True: the walk is over (or the
 * visitor ended it). */
bool flows_walk(struct flows *flows, struct flows_cursor *cursor, uint64_t budget_ns,
		flows_visitor visit, void *data);
/* At most `limit` entries (0: all) in one go. */
void flows_list(struct flows *flows, size_t limit, flows_visitor visit, void *data);

/* TCP connections of pods to the node itself whose SYN was repeated and that nobody has answered,
 * not even by a reset. */
struct flows_unanswered {
	uint64_t count;
	struct polder_addr from, to; /* of one of them */
	uint16_t port;		     /* that it asks for */
};

struct flows_stats {
	uint64_t entries_v4, entries_v6;   /* at the end of the last scan */
	uint64_t capacity_v4, capacity_v6; /* entries */
	uint64_t packets,
		bytes;	    /* of all flows, those that are over included; never less than before */
	uint64_t expired;   /* entries freed because nobody used them */
	uint64_t forgotten; /* entries freed with a pod */
	uint64_t doubted; /* entries that are to be re-evaluated because what is known of an address
			     changed */
	uint64_t repaired; /* entries whose writer had died */
	uint64_t scans;
	double last_scan_seconds;	    /* CPU's work in the last scan */
	struct flows_unanswered unanswered; /* in the last scan */
};
void flows_stats(const struct flows *flows, struct flows_stats *ret);

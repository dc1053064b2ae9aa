/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packets of pods that Polder let go and the kernel dropped, with the kernel's own reason. The
 * program that tells of them is attached as long as somebody watches, and costs nothing else.
 */
#pragma once

#include <jansson.h>
#include <uv.h>

#include "agent/kernel/kernel_drop_program.h"
#include "agent/observe/event_names.h"
#include "agent/observe/flow_filter.h"

struct kernel_drops;
/* All is borrowed. 0 or -errno. */
int kernel_drops_open(uv_loop_t *loop, const struct datapath *datapath,
		      const struct event_names *names, struct kernel_drops **ret);
/* Takes NULL. Detaches the program; nobody is called any more. The memory goes with the loop's next
 * turns, and before that the thread that loads it. */
void kernel_drops_close(struct kernel_drops *drops);

/* One packet. */
struct kernel_drop_told {
	const struct kernel_drop *drop;
	const char *reason;	   /* the kernel's name of it, without "kernel:" */
	struct polder_event event; /* who, whereto: as far as an event of Polder's says it */
};

struct kernel_watch_calls {
	/* From now on its drops are told; or, with `why`, never. Once, and not before
	 * kernel_drops_watch() has returned. */
	void (*began)(const char *why, void *data);
	void (*drop)(const struct kernel_drop_told *told, void *data);
	/* Once a second. So many were not told since then: the ring was full, or there were more
	 * than the rate allows. */
	void (*missed)(uint64_t lost, uint64_t limited, void *data);
	void *data;
};

struct kernel_watch;
/* What matches `filter`, which is the watch's from now on, on failure too (NULL: all). NULL: no
 * memory. */
struct kernel_watch *kernel_drops_watch(struct kernel_drops *drops, struct flow_filter *filter,
					const struct kernel_watch_calls *calls);
/* Takes NULL. May be called by what it calls. With the last one the program goes. */
void kernel_drops_unwatch(struct kernel_watch *watch);
const struct flow_filter *kernel_drops_filter(const struct kernel_watch *watch); /* NULL: all */
/* After `began`: packets by reason since the program is there, and those not told. 0 or -errno. */
int kernel_drops_counts(const struct kernel_watch *watch, uint64_t ret[KERNEL_DROP_COUNTS]);
/* The same: tells at once what waits in the ring. Not to be called by what it calls. */
void kernel_drops_flush(struct kernel_watch *watch);
/* The same: the kernel's name of a reason. */
const char *kernel_drops_reason(const struct kernel_watch *watch, uint32_t reason,
				char buffer[KERNEL_REASON_NAME_MAX]);

/* How many watch now. */
size_t kernel_drops_watchers(const struct kernel_drops *drops);

/* The document of one packet (docs/control-protocol.md, monitor); NULL: no memory. */
json_t *kernel_drop_document(const struct kernel_drop_told *told, const struct event_names *names);
/* The end that the drop is about: of the pod in whose namespace it was, else the receiver if it is
 * a pod, else the sender. `*ret_to`: it is the receiver. */
const struct polder_addr *kernel_drop_end(const struct kernel_drop_told *told,
					  const struct event_names *names, bool *ret_to);

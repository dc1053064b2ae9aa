/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TrafficAlerts at work: connections and bytes in, alerts out. No clock of its own, no kernel: an
 * agent asks it about what happens, polderctl about what was recorded. Memory is bounded: what a
 * rule knows of the workload that was idle for longest makes room.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy/objects/limits.h"
#include "policy/objects/objects.h"

#define ALERTS_BYTES (8u << 20) /* of all that rules know of workloads */
#define ALERTS_TOLD_MOST                                                                           \
	100 /* of one rule in the time of its rate limit; the rest are told as one */
#define ALERTS_PEERS_MOST 4096 /* that newPeer learns of one workload; more are new each time */

/* One end of a connection. Texts are the caller's, for the call. */
struct alert_end {
	struct polder_addr addr;
	uint16_t port;		      /* host byte order; 0: none */
	const char *namespace, *name; /* of the pod; NULL: none that is known */
	const struct labels *labels;  /* of it; NULL: not known, no selector of labels matches */
	bool local;		      /* a pod of this node */
	bool node;		      /* this node itself */
	bool inside; /* an address that pods have, whether its pod is known or not */
};

/* Who opened a connection. Texts are the caller's, for the call; they may be chosen by whoever is
 * looked at. */
struct alert_process {
	uint32_t pid, uid;
	const char *comm;	/* what the thread calls itself */
	const char *executable; /* its program file; NULL: not known */
};

struct alert_opening {
	uint64_t time_ns;
	struct alert_end from, to; /* `to`: after translation */
	struct polder_addr asked;  /* before it */
	uint16_t asked_port;
	const char *service; /* "namespace/name" of the one that was asked for; NULL: none */
	const struct alert_process *process; /* NULL: none is known */
	uint8_t proto;
	bool denied; /* by policy, at either end */
	bool found; /* in the flow table, by one who missed events: it may have been told already */
};

/* A TCP socket that listens, and not for this machine alone. */
struct alert_listening {
	uint64_t time_ns;
	struct alert_end at;	 /* whose it is */
	struct polder_addr addr; /* all 0: all of them */
	uint16_t port;
	const struct alert_process *process; /* NULL: none is known */
};

/* Bytes that have left since the last call that told of the same flow. */
struct alert_traffic {
	uint64_t time_ns;
	struct alert_end from, to;
	uint8_t proto;
	uint64_t bytes;
};

#define ALERT_NAME_MAX	  (LIMIT_NAMESPACE + 1 + LIMIT_NAME + 1)
#define ALERT_PROGRAM_MAX 256 /* bytes of a program file's path that are told */
#define ALERT_COMM_MAX	  64
/* What raised an alert. */
struct alert_sample {
	uint64_t time_ns;
	uint64_t amount; /* denied targets, bytes; else 0 */
	struct polder_addr from, to;
	uint16_t port;
	uint8_t proto;
	bool denied;
	char pod[ALERT_NAME_MAX], peer[ALERT_NAME_MAX]; /* "namespace/name"; "": no known pod */
	char service[ALERT_NAME_MAX];
	uint32_t pid, uid; /* of the process; pid 0: none is known */
	char comm[ALERT_COMM_MAX], executable[ALERT_PROGRAM_MAX];
};

struct alert {
	const char *name; /* of the TrafficAlert */
	const struct traffic_alert_object *rule;
	uint64_t count; /* so often it was raised, with this one, since it was told last */
	bool several;	/* by more workloads than are told one by one */
	const struct alert_sample *newest;
};

struct alerts_env {
	void (*tell)(const struct alert *alert, void *data);
	/* NULL: there is no such namespace, or it has none. */
	const struct labels *(*namespace_labels)(const char *name, void *data);
	void *data;
};

struct alerts;
struct alerts *alerts_new(const struct alerts_env *env);  /* NULL: no memory */
void alerts_free(struct alerts *alerts);		  /* takes NULL; what waits is not told */
void alerts_limit(struct alerts *alerts, uint64_t bytes); /* other than ALERTS_BYTES */

/* An object of kind TrafficAlert, of which it keeps a share, in the place of the one of its name,
 * whose knowledge of workloads goes. 0 or -ENOMEM: the one of before stays. */
int alerts_set(struct alerts *alerts, const struct object *rule);
void alerts_remove(struct alerts *alerts, const char *name);

/* What has to be told to them. */
enum alerts_want {
	ALERTS_WANT_FLOWS = 1, /* openings that are allowed */
	ALERTS_WANT_DROPS = 2, /* those that are denied */
	ALERTS_WANT_TRAFFIC = 4,
	ALERTS_WANT_PROCESSES = 8, /* with openings */
	ALERTS_WANT_LISTENERS = 16,
};
uint32_t alerts_wanted(const struct alerts *alerts);

void alerts_opening(struct alerts *alerts, const struct alert_opening *opening);
void alerts_traffic(struct alerts *alerts, const struct alert_traffic *traffic);
/* One that was there before may be told again. */
void alerts_listening(struct alerts *alerts, const struct alert_listening *listening);
/* It is here, a pod of this node or the node, and what listens there is told from now on: it is
 * learnt from now on whether anything does or not. May be told again. */
void alerts_present(struct alerts *alerts, const struct alert_end *end, uint64_t time_ns);
/* Tells what the rate limit has held back for long enough; `now_ns` is of the same clock. */
void alerts_tick(struct alerts *alerts, uint64_t now_ns);
/* Tells all of it. */
void alerts_flush(struct alerts *alerts);

struct alerts_stats {
	size_t workloads; /* that something is known of, by rule */
	uint64_t bytes;
	uint64_t forgotten; /* of these, for want of room or memory */
};
void alerts_stats(const struct alerts *alerts, struct alerts_stats *ret);
struct alert_rule_stats {
	const char *name;
	const struct traffic_alert_object *rule;
	uint64_t raised, told;
	size_t workloads;
};
/* In the order in which they came. */
void alerts_rules(const struct alerts *alerts,
		  void (*visit)(const struct alert_rule_stats *rule, void *data), void *data);

/* A sentence. The caller frees; NULL: no memory. */
char *alert_text(const struct alert *alert);
/* docs/control-protocol.md (alerts); `time` is the newest's, RFC 3339. NULL: no memory. */
json_t *alert_document(const struct alert *alert, const char *time);

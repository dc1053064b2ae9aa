/* SPDX-License-Identifier: Apache-2.0 */
/* Which flows and packets somebody wants: one filter for lists, streams, counts and exports. */
#pragma once

#include <jansson.h>

#include "agent/common/address.h"
#include "agent/common/error.h"
#include "agent/observe/event_names.h"

#define FLOW_FILTER_VALUES 64 /* of one key */

/* A pod or Service by its name, or addresses. */
struct flow_filter_term {
	char *name; /* "namespace/name"; NULL: `prefix` */
	struct prefix prefix;
};
struct flow_filter_terms {
	struct flow_filter_term items[FLOW_FILTER_VALUES];
	size_t count; /* 0: all match */
};
struct flow_filter_texts {
	char *items[FLOW_FILTER_VALUES];
	size_t count;
};
struct flow_filter_ports {
	uint16_t first, last;
};

/* A packet or flow matches each key that has values, by any of the key's values. Process and user
 * have to be those of one end. */
struct flow_filter {
	struct flow_filter_terms from, to; /* who sends, who is sent to */
	struct flow_filter_terms ips;	   /* at either end, before or after translation */
	struct flow_filter_texts pods, namespaces, policies;
	struct flow_filter_texts processes; /* thread's name, program file or its last part */
	uint32_t uids[FLOW_FILTER_VALUES];
	size_t uid_count;
	struct flow_filter_ports ports[FLOW_FILTER_VALUES];
	size_t port_count;
	uint64_t protos[4];			    /* bits by number; all 0: any */
	uint64_t reasons[(REASON_COUNT + 63) / 64]; /* the same */
	/* The kernel's own, without "kernel:", in capitals; "": any of them. With reasons of either
	 * kind the others are none that is wanted. */
	struct flow_filter_texts kernel_reasons;
	uint32_t verdicts; /* the same */
};

/*
 * From the object `filter` of a request (NULL, null: everything): keys pod, namespace, from, to,
 * ip, port, proto, verdict, reason, policy, process, uid, each a text or a list of texts. What
 * makes no sense is refused in words. 0, -EINVAL with `*ret_error`, -ENOMEM.
 */
int flow_filter_parse(const json_t *filter, struct flow_filter **ret, struct error *ret_error);
void flow_filter_free(struct flow_filter *filter); /* takes NULL */

/* What a filter is asked about. */
struct flow_end {
	struct polder_addr addr; /* all 0: none */
	__be16 port_be;
};
struct flow_subject {
	uint8_t family, proto, verdict, reason;
	struct flow_end from, to;
	struct flow_end from_becomes, to_becomes; /* by translation; all 0: nothing */
	uint32_t egress_rule, ingress_rule;	  /* that decided; 0: none */
	const char *kernel_reason; /* the kernel dropped it for that; NULL: it did not */
	uint64_t time_ns; /* of the packet, by the monotonic clock; 0: it may be of any time */
};
void flow_subject_of_event(const struct polder_event *event, struct flow_subject *ret);
/* The sender's socket has the tuple as it is before translation, the receiver's as it is after. */
void flow_subject_sockets(const struct flow_subject *subject, struct event_socket *ret_from,
			  struct event_socket *ret_to);

/* NULL matches everything. */
bool flow_filter_matches(const struct flow_filter *filter, const struct flow_subject *subject,
			 const struct event_names *names);
/* Does it ask for processes, which are known only while they are noted? */
bool flow_filter_asks_for_processes(const struct flow_filter *filter);
/* Can it match what the kernel drops? Policies and what is allowed are not the kernel's. */
bool flow_filter_wants_kernel(const struct flow_filter *filter);
/* What the programs have to tell of (enum event_mask) so that nothing is missed, out of `mask`. */
uint32_t flow_filter_mask(const struct flow_filter *filter, uint32_t mask);

/* For what has no packets any more, only names and numbers. */
bool flow_filter_has_reason(const struct flow_filter *filter, uint8_t reason); /* or wants any */
bool flow_filter_has_kernel_reason(const struct flow_filter *filter, const char *reason);
/* Is it asked for by its name? NULL: nothing is. */
bool flow_filter_names_kernel_reason(const struct flow_filter *filter, const char *reason);
bool flow_name_in_namespace(const char *name, const char *namespace);

/* Do protocols of this number have ports? */
bool flow_proto_has_ports(uint8_t proto);

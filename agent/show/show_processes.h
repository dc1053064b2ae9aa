/* SPDX-License-Identifier: Apache-2.0 */
/* Processes in words: from what programs have noted of a socket. */
#pragma once

#include <jansson.h>

#include "agent/observe/alert_listeners.h"
#include "agent/observe/event_names.h"

struct show_sources;
struct process_names;

/* What is known of cgroups; NULL: no memory. */
struct process_names *process_names_new(void);
void process_names_free(struct process_names *names); /* takes NULL */

/* For struct event_names; `data` is the struct show_sources. */
json_t *show_process(const struct event_socket *socket, void *data);
/* For struct alert_socket_env, the same. */
void show_places(void (*visit)(const struct alert_place *place, void *arg), void *arg, void *data);
int show_listeners(void (*visit)(const struct process_key *key, const struct process_note *note,
				 void *arg),
		   void *arg, void *data);
/* Text of others in JSON: what is no UTF-8 in it becomes U+FFFD. NULL: no memory. */
json_t *show_foreign_text(const char *text);

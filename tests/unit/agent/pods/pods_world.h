/* SPDX-License-Identifier: Apache-2.0 */
/* Containers in network namespaces of the test's own, and what the agent asks of pods. */
#pragma once

#include <jansson.h>

#include "agent/pods/pods.h"
#include "tests/unit/unit.h"

#define CONTAINERS 3
extern int containers[CONTAINERS];
extern struct netlink *nl;
extern struct config config;
extern struct pods *pods;
extern char run_dir[];
extern char copies[80], pool[80];
extern struct error error;
extern const struct pods_hooks hooks;

/* What the datapath was asked, and what it answers. */
extern struct pods_datapath {
	int connected, disconnected, checked;
	int connect_result, in_force_result, check_result;
	bool link_was_down;
} datapath;

/* Once for each program. 0; 77: not allowed to; 1. */
int pods_world_open(void);
void pods_world_close(void);
/* A namespace that is nobody else's; the thread stays in it. A descriptor or -errno. */
int make_container(void);

size_t record_count(void);
size_t link_count(void);
void open_with(const char *v4, const char *v6);
void begin(void);
void restart(void);
void end(void);
int wait_reachable(struct pod_adding *adding, json_t **ret_result);
bool comes_up(struct netlink *of, int ifindex);
json_t *add_args(const char *id, const char *config_text);
int begin_add(const char *id, int container, const char *config_text, struct pod_adding **ret);
int add_with(const char *id, int container, const char *config_text, json_t **ret);
int add(const char *id, int container);
int del(const char *id);
int check(const char *id, int container, json_t *prev_result);
int gc(const char *args_text);
int status(void);
const char *address_of(size_t index, char *buffer);
const char *text_at(const json_t *result, const char *list, size_t index, const char *key);

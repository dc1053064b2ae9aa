/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pods of this node whose addresses are outside of its pod ranges: something else has connected
 * them, or the ranges were others. Other nodes find no such pod behind this one, and what Polder
 * has not connected no policy protects. Told, and nothing else.
 */
#pragma once

#include <stddef.h>

#include "agent/config/config.h"
#include "policy/objects/objects.h"

struct stray_pods;

struct stray_pod {
	const char *namespace, *name, *uid;
	struct polder_addr address; /* the first one that is outside */
};
/* Is called for each that is found, once for an address. The texts are the call's. */
typedef void (*stray_pods_listener)(const struct stray_pod *pod, void *data);

/* Borrows `config`. 0 or -ENOMEM. */
int stray_pods_new(const struct config *config, stray_pods_listener found, void *data,
		   struct stray_pods **ret);
void stray_pods_free(struct stray_pods *pods); /* takes NULL */
/* A Pod as the store's listener hears of it; others are ignored. What finds no memory is told, and
 * not listed. */
void stray_pods_object(struct stray_pods *pods, const struct object *object, bool deleted);
/* In words, for whoever is told of it. */
#define STRAY_POD_TEXT 500
const char *stray_pod_text(const struct stray_pods *pods, const struct stray_pod *pod,
			   char text[STRAY_POD_TEXT]);
/* At most `max` calls, in the order in which they came; how many there are. */
size_t stray_pods_list(const struct stray_pods *pods, size_t max, stray_pods_listener visit,
		       void *data);

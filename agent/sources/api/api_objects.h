/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One resource's objects, from their texts to the store. An object that cannot be used is refused
 * alone: its last good version stays; a policy that never had one isolates what it selects. Each is
 * a problem of the store, "api:RESOURCE/NAMESPACE/NAME".
 */
#pragma once

#include "agent/store/store.h"

/* So many problems are told one by one. */
#define API_REFUSED_MAX 1000

struct api_objects;
struct refusal;

/* One is refused, in other words than before; its apiVersion and kind are the caller's to say. */
typedef void (*api_objects_refuser)(struct refusal *refusal, void *data);

/* `resource`: "pods"; the store's origin is "api:" and that. Both are kept. `on_refused` may be
 * NULL. 0 or -ENOMEM. */
int api_objects_new(struct store *store, enum object_kind kind, const char *resource,
		    api_objects_refuser on_refused, void *data, struct api_objects **ret);
void api_objects_free(struct api_objects *objects); /* takes NULL; leaves the store as it is */
const char *api_objects_origin(const struct api_objects *objects);

/* As watch_hooks. -ENOMEM: to be told again. */
int api_objects_list_begin(struct api_objects *objects);
int api_objects_put(struct api_objects *objects, const char *text, size_t length, bool whole);
int api_objects_remove(struct api_objects *objects, const char *text, size_t length, bool whole);
void api_objects_list_end(struct api_objects *objects);

/*
 * One that was kept on disk, unless the server has told of it already; `closed`: it stands for one
 * that was refused. 0; -EINVAL, -EFBIG: it makes no sense; -ENOMEM.
 */
int api_objects_recall(struct api_objects *objects, const char *text, size_t length, bool closed);
/* None of them counts. */
void api_objects_forget(struct api_objects *objects);
/* Is what the store has of this name there because the server's was refused? */
bool api_objects_is_closed(const struct api_objects *objects, const struct object *object);

/* Refused now. */
size_t api_objects_refused(const struct api_objects *objects);

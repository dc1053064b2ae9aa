/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/common/json_text.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

/* Of this thread, since it began to read a text. */
static _Thread_local bool refused;

/* Of this thread; NULL: everything is the heap's. */
static _Thread_local struct json_scratch *current;

static bool is_of(const struct json_scratch *scratch, const void *memory)
{
	return scratch && (uintptr_t)memory - (uintptr_t)scratch->memory < JSON_SCRATCH_SIZE;
}

/* NULL: there is no room. */
static void *take(struct json_scratch *scratch, size_t size)
{
	void *memory;

	if (size > JSON_SCRATCH_SIZE - scratch->used)
		return NULL;
	memory = (char *)scratch->memory + scratch->used;
	scratch->used += (size + 7) & ~(size_t)7;
	scratch->live++;
	return memory;
}

static void *allocate(size_t size)
{
	void *memory = current ? take(current, size) : NULL;

	if (!memory)
		memory = malloc(size);
	refused |= !memory;
	return memory;
}

static void release(void *memory)
{
	if (!is_of(current, memory)) {
		free(memory);
		return;
	}
	if (--current->live == 0)
		current->used = 0;
}

static void take_over(void)
{
	json_set_alloc_funcs(allocate, release);
}

void json_scratch_begin(struct json_scratch *scratch)
{
	assert(!current);
	scratch->used = scratch->live = 0;
	current = scratch;
}

void json_scratch_end(struct json_scratch *scratch)
{
	assert(current == scratch && scratch->live == 0);
	current = NULL;
}

int json_text_load(const char *text, size_t length, size_t flags, json_error_t *error, json_t **ret)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	json_error_t nobodys;
	json_t *value;

	pthread_once(&once, take_over);
	refused = false;
	value = json_loadb(text, length, flags, error ? error : &nobodys);
	if (value && !refused) {
		*ret = value;
		return 0;
	}
	json_decref(value);
	return refused ? -ENOMEM : -EBADMSG;
}

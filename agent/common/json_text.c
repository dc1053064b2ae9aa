/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/common/json_text.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

/* Of this thread, since it began to read a text. */
static _Thread_local bool refused;

static void *allocate(size_t size)
{
	void *memory = malloc(size);

	refused |= !memory;
	return memory;
}

static void take_over(void)
{
	json_set_alloc_funcs(allocate, free);
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

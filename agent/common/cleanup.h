/* SPDX-License-Identifier: Apache-2.0 */
/* Ownership in words: variables that free themselves, and how to hand them on. */
#pragma once

#include <jansson.h>
#include <stdlib.h>
#include <unistd.h>

#define CLEANUP(function) __attribute__((cleanup(function)))

/* Takes the value and leaves the variable empty, so that its cleanup does nothing. */
#define TAKE_PTR(variable)                                                                         \
	({                                                                                         \
		__typeof__(variable) *place_ = &(variable);                                        \
		__typeof__(variable) taken_ = *place_;                                             \
		*place_ = NULL;                                                                    \
		taken_;                                                                            \
	})
#define TAKE_FD(variable)                                                                          \
	({                                                                                         \
		int *place_ = &(variable);                                                         \
		int taken_ = *place_;                                                              \
		*place_ = -1;                                                                      \
		taken_;                                                                            \
	})

/* For `CLEANUP(cleanup_free) char *text = NULL;` */
static inline void cleanup_free(void *pointer)
{
	free(*(void **)pointer);
}

/* For `CLEANUP(cleanup_close) int fd = -1;` */
static inline void cleanup_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

/* For `CLEANUP(cleanup_json) json_t *value = NULL;` */
static inline void cleanup_json(json_t **value)
{
	json_decref(*value);
}

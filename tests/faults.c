/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/faults.h"

#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/log.h"

static size_t counted, failing;
static bool begun, running, failed;

static bool fails(void)
{
	if (!running || ++counted != failing)
		return false;
	failed = true;
	errno = ENOMEM;
	return true;
}

#define WRAP(type, name, parameters, arguments, nothing)                                           \
	type __real_##name parameters;                                                             \
	type __wrap_##name parameters;                                                             \
	type __wrap_##name parameters                                                              \
	{                                                                                          \
		return fails() ? (nothing) : __real_##name arguments;                              \
	}

WRAP(void *, malloc, (size_t size), (size), NULL)
WRAP(void *, calloc, (size_t count, size_t size), (count, size), NULL)
WRAP(void *, realloc, (void *old, size_t size), (old, size), NULL)
WRAP(void *, reallocarray, (void *old, size_t count, size_t size), (old, count, size), NULL)
WRAP(char *, strdup, (const char *text), (text), NULL)
WRAP(char *, strndup, (const char *text, size_t length), (text, length), NULL)
WRAP(FILE *, open_memstream, (char **text, size_t *size), (text, size), NULL)
WRAP(int, vasprintf, (char **text, const char *format, va_list args), (text, format, args), -1)

int __wrap_asprintf(char **text, const char *format, ...) __attribute__((format(printf, 2, 3)));
int __wrap_asprintf(char **text, const char *format, ...)
{
	va_list args;
	int r;

	if (fails())
		return -1;
	va_start(args, format);
	r = __real_vasprintf(text, format, args);
	va_end(args);
	return r;
}

/* A failure is told for each of thousands of allocations: nobody reads that. */
void __wrap_log_write(enum log_level level, const char *category, const char *format, ...);
void __wrap_log_write(enum log_level level, const char *category, const char *format, ...)
{
}

void faults_take_jansson(void)
{
	json_set_alloc_funcs(__wrap_malloc, free);
}

void faults_begin(size_t number)
{
	counted = 0;
	failing = number;
	failed = false;
	begun = running = true;
}

void faults_pause(void)
{
	running = false;
}

void faults_go_on(void)
{
	running = begun;
}

bool faults_end(void)
{
	begun = running = false;
	return failed;
}

size_t faults_counted(void)
{
	return counted;
}

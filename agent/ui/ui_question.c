/* SPDX-License-Identifier: Apache-2.0 */
/* Which of the control socket's operations the page may ask, and with what. None of them changes
 * anything. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/cleanup.h"
#include "agent/ui/ui_internal.h"

#define FILTER_PREFIX "filter."
/* A page that is left open is not to keep the agent busy with lists of any length. */
#define FLOWS_DEFAULT 1000
#define FLOWS_MAX     10000
/* Every flow costs an event while a try runs. */
#define TRY_SECONDS_DEFAULT 10
#define TRY_SECONDS_MAX	    60
#define ARGUMENTS_MAX	    64
/* Nothing is answered before they are over. */
#define WATCH_SECONDS_DEFAULT 10
#define WATCH_SECONDS_MAX     20

enum form { FORM_TEXT, FORM_NUMBER, FORM_TEXTS };

struct argument {
	const char *name;
	enum form form;
	json_int_t preset, most; /* of a number; preset 0: none */
};

struct operation {
	const char *name, *operation;
	bool is_stream, has_filter;
	struct argument arguments[5];
};

static const struct operation operations[] = {
	{.name = "status", .operation = "status"},
	{.name = "pods", .operation = "pods"},
	{.name = "nodes", .operation = "nodes"},
	{.name = "services", .operation = "services"},
	{.name = "load-balancers", .operation = "load-balancers"},
	{.name = "maps", .operation = "maps"},
	{.name = "latency", .operation = "latency"},
	{.name = "policies", .operation = "policies"},
	{.name = "policy", .operation = "policy", .arguments = {{"name", FORM_TEXT, 0, 0}}},
	{.name = "flows",
	 .operation = "flows",
	 .has_filter = true,
	 .arguments = {{"limit", FORM_NUMBER, FLOWS_DEFAULT, FLOWS_MAX},
		       {"since_seconds", FORM_NUMBER, 0, INT32_MAX},
		       {"sort", FORM_TEXT, 0, 0}}},
	{.name = "drops",
	 .operation = "drops",
	 .has_filter = true,
	 .arguments = {{"since_seconds", FORM_NUMBER, 0, INT32_MAX}}},
	/* The kernel's tracepoint is attached as long as the question waits for its answer. */
	{.name = "kernel-drops",
	 .operation = "drops.kernel",
	 .has_filter = true,
	 .arguments = {{"seconds", FORM_NUMBER, WATCH_SECONDS_DEFAULT, WATCH_SECONDS_MAX}}},
	{.name = "explain",
	 .operation = "explain",
	 .arguments = {{"from", FORM_TEXT, 0, 0},
		       {"to", FORM_TEXT, 0, 0},
		       {"proto", FORM_TEXT, 0, 0},
		       {"port", FORM_TEXT, 0, 0},
		       {"family", FORM_TEXT, 0, 0}}},
	{.name = "policy-try",
	 .operation = "policy.try",
	 .is_stream = true,
	 .arguments = {{"seconds", FORM_NUMBER, TRY_SECONDS_DEFAULT, TRY_SECONDS_MAX},
		       {"delete", FORM_TEXTS, 0, 0}}},
};

struct reading {
	const struct operation *operation;
	json_t *args;
	char *error;
	size_t count;
	int r;
};

static bool refuse(struct reading *reading, const char *key, const char *why)
{
	if (reading->r == 0)
		snprintf(reading->error, UI_ERROR_MAX, "%.60s: %s", key, why);
	reading->r = -EINVAL;
	return false;
}

static const struct argument *find_argument(const struct operation *operation, const char *key)
{
	const size_t most = sizeof(operation->arguments) / sizeof(operation->arguments[0]);

	for (size_t i = 0; i < most && operation->arguments[i].name; i++)
		if (strcmp(operation->arguments[i].name, key) == 0)
			return &operation->arguments[i];
	return NULL;
}

static bool set(struct reading *reading, json_t *object, const char *key, json_t *value)
{
	if (!value)
		return refuse(reading, key, "not UTF-8");
	if (json_object_set_new(object, key, value) < 0)
		return refuse(reading, key, "no memory");
	return true;
}

/* Each may stand several times. */
static bool append(struct reading *reading, json_t *object, const char *key, const char *value)
{
	json_t *list = json_object_get(object, key), *text = json_string(value);

	if (!text)
		return refuse(reading, key, "not UTF-8");
	if (!list && !set(reading, object, key, list = json_array())) {
		json_decref(text);
		return false;
	}
	return json_array_append_new(list, text) == 0 || refuse(reading, key, "no memory");
}

static bool set_filter(struct reading *reading, const char *key, const char *value)
{
	json_t *filter = json_object_get(reading->args, "filter");

	if (!filter && !set(reading, reading->args, "filter", filter = json_object()))
		return false;
	return append(reading, filter, key + strlen(FILTER_PREFIX), value);
}

static bool set_number(struct reading *reading, const struct argument *argument, const char *value)
{
	char *end;
	long long number = strtoll(value, &end, 10);
	char why[64];

	if (value[0] < '0' || value[0] > '9' || strlen(value) > 10 || *end ||
	    number > argument->most) {
		snprintf(why, sizeof(why), "expected a number from 0 to %lld",
			 (long long)argument->most);
		return refuse(reading, argument->name, why);
	}
	/* For the agent, a limit of 0 is none. */
	if (number == 0 && strcmp(argument->name, "limit") == 0)
		number = argument->most;
	return set(reading, reading->args, argument->name, json_integer(number));
}

static bool take_argument(const char *key, const char *value, void *data)
{
	struct reading *reading = data;
	const struct argument *argument = find_argument(reading->operation, key);

	if (++reading->count > ARGUMENTS_MAX)
		return refuse(reading, key, "more than 64 arguments");
	if (reading->operation->has_filter &&
	    strncmp(key, FILTER_PREFIX, strlen(FILTER_PREFIX)) == 0)
		return set_filter(reading, key, value);
	if (!argument)
		return refuse(reading, key, "unknown argument");
	if (argument->form == FORM_TEXTS)
		return append(reading, reading->args, key, value);
	if (json_object_get(reading->args, key))
		return refuse(reading, key, "given twice");
	if (argument->form == FORM_NUMBER)
		return set_number(reading, argument, value);
	return set(reading, reading->args, key, json_string(value));
}

static void preset(struct reading *reading)
{
	const struct argument *argument = reading->operation->arguments;
	const size_t most = sizeof(reading->operation->arguments) / sizeof(*argument);

	for (size_t i = 0; i < most && argument[i].name; i++)
		if (argument[i].preset && !json_object_get(reading->args, argument[i].name))
			set(reading, reading->args, argument[i].name,
			    json_integer(argument[i].preset));
}

static const struct operation *find_operation(const char *name)
{
	for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++)
		if (strcmp(operations[i].name, name) == 0)
			return &operations[i];
	return NULL;
}

int ui_question_read(const struct http_exchange *exchange, const char *name,
		     struct ui_question *ret, char error[UI_ERROR_MAX])
{
	CLEANUP(cleanup_json) json_t *args = json_object();
	struct reading reading = {.operation = find_operation(name), .args = args, .error = error};

	if (!args)
		return -ENOMEM;
	if (!reading.operation)
		return -ENOENT;
	if (!http_exchange_each_argument(exchange, take_argument, &reading) && reading.r == 0)
		refuse(&reading, "arguments", "a NUL stands in one");
	if (reading.r == 0)
		preset(&reading);
	if (reading.r < 0)
		return reading.r;
	ret->operation = reading.operation->operation;
	ret->is_stream = reading.operation->is_stream;
	ret->args = TAKE_PTR(args);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Requests and answers of the control socket as JSON lines. */
#include "agent/control/control_message.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/cleanup.h"
#include "agent/common/json_text.h"
#include "agent/control/control.h"

static int refuse(int code, char *error, size_t size, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

static int refuse(int code, char *error, size_t size, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(error, size, format, arguments);
	va_end(arguments);
	return code;
}

static int check_version(const json_t *root, char *error, size_t size)
{
	const json_t *version = json_object_get(root, "version");

	if (!json_is_integer(version))
		return refuse(CONTROL_BAD_VERSION, error, size,
			      "the request has no number \"version\"; this agent speaks version %d",
			      CONTROL_PROTOCOL_VERSION);
	if (json_integer_value(version) != CONTROL_PROTOCOL_VERSION)
		return refuse(CONTROL_BAD_VERSION, error, size,
			      "the request is of version %lld, this agent speaks version %d; "
			      "use programs of the agent's release",
			      (long long)json_integer_value(version), CONTROL_PROTOCOL_VERSION);
	return 0;
}

int control_message_parse(const char *line, size_t length, struct control_message *ret, char *error,
			  size_t size)
{
	CLEANUP(cleanup_json) json_t *root = NULL;
	json_error_t where;
	json_t *args;
	int code;

	if (json_text_load(line, length, JSON_REJECT_DUPLICATES, &where, &root) == -ENOMEM)
		return refuse(CONTROL_BAD_REQUEST, error, size, "no memory");
	if (!root)
		return refuse(CONTROL_BAD_REQUEST, error, size,
			      "the request is not JSON: %s at byte %d", where.text, where.position);
	if (!json_is_object(root))
		return refuse(CONTROL_BAD_REQUEST, error, size, "the request is not an object");
	code = check_version(root, error, size);
	if (code)
		return code;
	if (!json_is_string(json_object_get(root, "op")))
		return refuse(CONTROL_BAD_REQUEST, error, size, "the request has no string \"op\"");
	if (!json_object_get(root, "args") && json_object_set_new(root, "args", json_object()) < 0)
		return refuse(CONTROL_BAD_REQUEST, error, size, "no memory");
	args = json_object_get(root, "args");
	if (!json_is_object(args))
		return refuse(CONTROL_BAD_REQUEST, error, size, "\"args\" is not an object");

	ret->operation = json_string_value(json_object_get(root, "op"));
	ret->args = args;
	ret->root = TAKE_PTR(root);
	return 0;
}

void control_message_clear(struct control_message *message)
{
	json_decref(message->root);
	*message = (struct control_message){0};
}

/* Takes the reference of `root`. */
static char *format_line(json_t *root, size_t *ret_length)
{
	CLEANUP(cleanup_json) json_t *owned = root;
	char *line;
	size_t length;

	if (!root)
		return NULL;
	length = json_dumpb(root, NULL, 0, JSON_COMPACT);
	line = length ? malloc(length + 1) : NULL;
	if (!line)
		return NULL;
	json_dumpb(root, line, length, JSON_COMPACT);
	line[length] = '\n';
	*ret_length = length + 1;
	return line;
}

char *control_format_result(json_t *result, size_t *ret_length)
{
	if (!result)
		return control_format_error(12, "out of memory", NULL, ret_length);
	return format_line(json_pack("{s:i, s:b, s:o}", "version", CONTROL_PROTOCOL_VERSION, "ok",
				     1, "result", result),
			   ret_length);
}

/* A string of JSON must be UTF-8; what is not shows as '?'. */
static json_t *any_string(const char *text)
{
	CLEANUP(cleanup_free) char *copy = NULL;
	json_t *string = json_string(text);

	if (string)
		return string;
	copy = strdup(text);
	if (!copy)
		return NULL;
	for (char *c = copy; *c; c++) {
		if (*c & 0x80)
			*c = '?';
	}
	return json_string(copy);
}

char *control_format_error(int code, const char *message, const char *details, size_t *ret_length)
{
	json_t *error = json_pack("{s:i, s:o, s:o}", "code", code, "message", any_string(message),
				  "details", any_string(details ? details : ""));

	return format_line(json_pack("{s:i, s:b, s:o}", "version", CONTROL_PROTOCOL_VERSION, "ok",
				     0, "error", error),
			   ret_length);
}

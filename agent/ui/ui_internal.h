/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the page's server share. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "agent/observe/http.h"
#include "agent/observe/http_exchange.h"
#include "agent/ui/ui.h"

struct ui {
	struct ui_options options;
	struct http_service service;
	struct http_server *server;
};

/* The page's files, in the program itself: made by embed.py. */
struct ui_file {
	const char *path, *content_type;
	const char *bytes;
	size_t length;
};
extern const struct ui_file ui_files[];
extern const size_t ui_file_count;

/* ui_guard.c: NULL, or why the request is refused (403): what another site has a browser send. */
const char *ui_guard(const struct ui *ui, const struct http_exchange *exchange, bool is_question);
/* Is this Host one of the names? For tests too. */
bool ui_host_allowed(const struct ui_options *options, const char *host);

/* ui_question.c: the path behind "/api/" and the arguments as a request of the control socket. */
struct ui_question {
	const char *operation;
	bool is_stream; /* ends with a line of type "end" */
	json_t *args;	/* owned */
};
#define UI_ERROR_MAX 256
/* 0; -ENOENT: no such question; -EINVAL: `error` says why; -ENOMEM. */
int ui_question_read(const struct http_exchange *exchange, const char *name,
		     struct ui_question *ret, char error[UI_ERROR_MAX]);

/* ui_objects.c: YAML or JSON as a sealed descriptor of JSON, as policy.try takes it. 0, or -errno:
 * `error` says why. */
int ui_objects_pass(const char *text, size_t length, int *ret_fd, char error[UI_ERROR_MAX]);

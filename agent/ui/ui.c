/* SPDX-License-Identifier: Apache-2.0 */
/* Answers browsers: the page's files, and questions that are passed on to the control server by a
 * connection for each. */
#include "agent/ui/ui.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/common/cleanup.h"
#include "agent/control/control.h"
#include "agent/control/control_message.h"
#include "agent/ui/ui_internal.h"

#define API	       "/api/"
#define BODY_MAX       (256u << 10)
#define ANSWER_MS      30000
#define TRY_ANSWER_MS  120000
#define TRY_HEADER     "X-Polder"
#define CODE_NOT_FOUND 2
#define CODE_INVALID   22

/* What the page may do: ask where it came from, and nothing else. It is nobody's frame. */
static const char content_policy[] =
	"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
	"img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; "
	"require-trusted-types-for 'script'; trusted-types 'none'";

static const char *const headers[] = {
	"Content-Security-Policy",
	content_policy,
	"X-Content-Type-Options",
	"nosniff",
	"X-Frame-Options",
	"DENY",
	"Referrer-Policy",
	"no-referrer",
	"Cross-Origin-Opener-Policy",
	"same-origin",
	"Cross-Origin-Resource-Policy",
	"same-origin",
	"Cache-Control",
	"no-store",
	NULL,
};

/* ---------------------------------------------------------------- answers */

static void say(struct http_exchange *exchange, unsigned int status, const char *text)
{
	http_answer_static(exchange, status, HTTP_TYPE_TEXT, text, strlen(text));
}

/* In the form of the control socket's errors. */
static void fail(struct http_exchange *exchange, unsigned int status, int code, const char *message)
{
	size_t length = 0;
	char *line = control_format_error(code, message, NULL, &length);

	http_answer(exchange, status, HTTP_TYPE_JSON, line, length);
}

static bool begins(const char *head, size_t length, const char *with)
{
	return length >= strlen(with) && memcmp(head, with, strlen(with)) == 0;
}

static unsigned int status_of_code(int code)
{
	switch (code) {
	case ENOENT: /* an unknown operation, too */
		return 404;
	case CONTROL_BAD_REQUEST:
	case EINVAL:
	case E2BIG:
	case EFBIG:
		return 400;
	case EAGAIN:
	case EBUSY:
	case ENODATA:
		return 503;
	default:
		return 500;
	}
}

static unsigned int status_of(const char *head, size_t length)
{
	static const char failed[] = "{\"version\":1,\"ok\":false,\"error\":{\"code\":";
	char digits[8] = "";

	if (!begins(head, length, failed))
		return 200;
	for (size_t i = 0; i + 1 < sizeof(digits) && strlen(failed) + i < length; i++)
		digits[i] = head[strlen(failed) + i];
	return status_of_code(atoi(digits));
}

static bool is_only_line(const char *head, size_t length)
{
	(void)head;
	(void)length;
	return true;
}

static bool is_last_of_try(const char *head, size_t length)
{
	return begins(head, length, "{\"version\":1,\"ok\":false,") ||
	       begins(head, length, "{\"version\":1,\"ok\":true,\"result\":{\"type\":\"end\"");
}

/* ---------------------------------------------------------------- questions */

/* A new connection has room for a line of this size. */
static int send_line(int to, const char *line, size_t length, int passed)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {};
	struct iovec part = {(void *)line, length};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	ssize_t sent;

	if (passed >= 0) {
		message.msg_control = &control;
		message.msg_controllen = sizeof(control);
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.header), &passed, sizeof(passed));
	}
	sent = sendmsg(to, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
	return sent < 0 ? -errno : (size_t)sent == length ? 0 : -EMSGSIZE;
}

/* `*ret_fd`: where the answer comes. */
static int ask(const struct ui *ui, const struct ui_question *question, int passed, int *ret_fd)
{
	CLEANUP(cleanup_json)
	json_t *request = json_pack("{s:i, s:s, s:O}", "version", CONTROL_PROTOCOL_VERSION, "op",
				    question->operation, "args", question->args);
	CLEANUP(cleanup_free) char *text = request ? json_dumps(request, JSON_COMPACT) : NULL;
	CLEANUP(cleanup_free) char *line = NULL;
	CLEANUP(cleanup_close) int fd = -1;
	int r;

	if (!text || asprintf(&line, "%s\n", text) < 0)
		return -ENOMEM;
	r = control_connect(ui->options.control, &fd);
	if (r == 0)
		r = send_line(fd, line, strlen(line), passed);
	if (r == 0)
		*ret_fd = TAKE_FD(fd);
	return r;
}

static void pass_on(struct ui *ui, struct http_exchange *exchange,
		    const struct ui_question *question, int passed)
{
	struct http_lines lines = {
		.fd = -1,
		.most_ms = question->is_stream ? TRY_ANSWER_MS : ANSWER_MS,
		.content_type = HTTP_TYPE_JSON,
		.status = status_of,
		.is_last = question->is_stream ? is_last_of_try : is_only_line,
	};
	int r = ask(ui, question, passed, &lines.fd);

	if (r == 0)
		http_answer_lines(exchange, &lines);
	else
		fail(exchange, status_of_code(-r), -r, strerror(-r));
}

/* Simple requests, which another site may have a browser send, have no header of this name. */
static void pass_on_try(struct ui *ui, struct http_exchange *exchange,
			const struct ui_question *question)
{
	CLEANUP(cleanup_close) int objects = -1;
	char error[UI_ERROR_MAX] = "";
	const char *text;
	size_t length;
	int r;

	if (strcmp(http_exchange_method(exchange), "POST") != 0) {
		http_answer_header(exchange, "Allow", "POST");
		fail(exchange, 405, CODE_INVALID,
		     "a try is sent as POST, with the objects as body");
		return;
	}
	if (!http_exchange_header(exchange, TRY_HEADER)) {
		fail(exchange, 403, EACCES, "the header " TRY_HEADER " is missing");
		return;
	}
	text = http_exchange_body(exchange, &length);
	r = ui_objects_pass(text, length, &objects, error);
	if (r < 0)
		fail(exchange, r == -ENOMEM ? 500 : 400, -r, error);
	else
		pass_on(ui, exchange, question, objects);
}

static void answer_question(struct ui *ui, struct http_exchange *exchange, const char *name)
{
	char error[UI_ERROR_MAX] = "";
	struct ui_question question = {};
	int r = ui_question_read(exchange, name, &question, error);

	if (r == -ENOENT) {
		fail(exchange, 404, CODE_NOT_FOUND, "no such question");
	} else if (r < 0) {
		fail(exchange, r == -ENOMEM ? 500 : 400, -r, error[0] ? error : strerror(-r));
	} else if (question.is_stream) {
		pass_on_try(ui, exchange, &question);
	} else if (strcmp(http_exchange_method(exchange), "POST") == 0) {
		http_answer_header(exchange, "Allow", "GET, HEAD");
		fail(exchange, 405, CODE_INVALID, "this question is asked by GET");
	} else {
		pass_on(ui, exchange, &question, -1);
	}
	json_decref(question.args);
}

/* ---------------------------------------------------------------- files */

static void answer_file(struct http_exchange *exchange, const char *path)
{
	if (strcmp(http_exchange_method(exchange), "POST") == 0) {
		http_answer_header(exchange, "Allow", "GET, HEAD");
		say(exchange, 405, "only GET and HEAD\n");
		return;
	}
	for (size_t i = 0; i < ui_file_count; i++) {
		const struct ui_file *file = &ui_files[i];

		if (strcmp(file->path, path) != 0)
			continue;
		http_answer_static(exchange, 200, file->content_type, file->bytes, file->length);
		return;
	}
	say(exchange, 404, "no such page\n");
}

static bool is_known_method(const char *method)
{
	return strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0 ||
	       strcmp(method, "POST") == 0;
}

static void on_request(struct http_exchange *exchange, void *data)
{
	const char *path = http_exchange_path(exchange), *refusal;
	bool is_question = strncmp(path, API, strlen(API)) == 0;
	struct ui *ui = data;

	refusal = ui_guard(ui, exchange, is_question);
	if (refusal) {
		say(exchange, 403, refusal);
	} else if (!is_known_method(http_exchange_method(exchange))) {
		http_answer_header(exchange, "Allow", "GET, HEAD, POST");
		say(exchange, 405, "only GET, HEAD and POST\n");
	} else if (is_question) {
		answer_question(ui, exchange, path + strlen(API));
	} else {
		answer_file(exchange, path);
	}
}

/* ---------------------------------------------------------------- life */

int ui_new(uv_loop_t *loop, const struct ui_options *options, struct ui **ret)
{
	struct ui *ui = calloc(1, sizeof(*ui));
	int r;

	if (!ui)
		return -ENOMEM;
	ui->options = *options;
	ui->service = (struct http_service){
		.handler = on_request, .data = ui, .body_max = BODY_MAX, .headers = headers};
	r = http_server_new(loop, options->address, &ui->server);
	if (r < 0) {
		free(ui);
		return r;
	}
	http_serve_requests(ui->server, &ui->service);
	*ret = ui;
	return 0;
}

void ui_free(struct ui *ui)
{
	if (!ui)
		return;
	http_server_free(ui->server);
	free(ui);
}

uint16_t ui_port(const struct ui *ui)
{
	return http_server_port(ui->server);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The page's real server and control server, with answers from files: page_server DIR. An operation
 * answers DIR/OPERATION.json, a list cut to the limit that is asked for; policy.try the lines of
 * DIR/policy.try.json; what has no file is not there now. Prints its port, and ends with standard
 * input.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <uv.h>

#include "agent/control/control.h"
#include "agent/ui/ui.h"

static const char *directory;

static const char *const operations[] = {"status",   "pods",	"nodes",      "services",
					 "policies", "policy",	"flows",      "drops",
					 "explain",  "latency", "policy.try", "drops.kernel"};

/* Read again only if it is another file: 10,000 flows take a while. */
static json_t *load(const char *operation)
{
	static struct {
		json_t *document;
		ino_t inode;
	} known[sizeof(operations) / sizeof(operations[0])];
	size_t i = 0;
	struct stat status;
	char path[512];

	while (strcmp(operations[i], operation) != 0)
		i++;
	snprintf(path, sizeof(path), "%s/%s.json", directory, operation);
	if (stat(path, &status) < 0)
		return NULL;
	if (known[i].inode != status.st_ino) {
		json_decref(known[i].document);
		known[i].document = json_load_file(path, 0, NULL);
		known[i].inode = status.st_ino;
	}
	return json_incref(known[i].document);
}

static json_t *cut(json_t *list, size_t most)
{
	json_t *shorter = json_array(), *entry;
	size_t i;

	json_array_foreach (list, i, entry)
		if (i < most)
			json_array_append(shorter, entry);
	json_decref(list);
	return shorter;
}

/* What a question asks for is written down, for the tests to look at: never half of it. */
static void note(const char *operation, const json_t *args)
{
	char path[512], made[512];

	snprintf(path, sizeof(path), "%s/asked.%s", directory, operation);
	snprintf(made, sizeof(made), "%s/asked.new", directory);
	json_dump_file(args, made, JSON_COMPACT);
	rename(made, path);
}

static void on_question(struct control_request *request, const json_t *args, int netns_fd,
			void *data)
{
	json_t *answer = load(data), *limit = json_object_get(args, "limit");

	(void)netns_fd;
	note(data, args);
	if (!answer) {
		control_fail(request, ENODATA, "this is not there now", "nor later");
		return;
	}
	if (json_is_array(answer) && limit)
		answer = cut(answer, (size_t)json_integer_value(limit));
	control_reply(request, answer);
}

static void on_closed(struct control_request *request, void *data)
{
	(void)request;
	json_decref(data);
}

static void on_try(struct control_request *request, const json_t *args, int netns_fd, void *data)
{
	json_t *lines = load(data), *line;
	size_t i;

	(void)netns_fd;
	note(data, args);
	control_stream_begin(request, on_closed, lines);
	json_array_foreach (lines, i, line)
		control_stream_send(request, json_incref(line));
}

static void on_end(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer)
{
	(void)buffer;
	if (count < 0)
		uv_stop(stream->loop);
}

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buffer)
{
	static char bytes[64];

	(void)handle;
	(void)size;
	*buffer = uv_buf_init(bytes, sizeof(bytes));
}

static int serve(uv_loop_t *loop, struct control_server **ret_control, struct ui **ret_ui)
{
	struct ui_options options = {.address = "127.0.0.1:0"};
	char path[512];
	int r;

	snprintf(path, sizeof(path), "%s/control/polder.sock", directory);
	r = control_server_new(loop, path, ret_control);
	for (size_t i = 0; r == 0 && i < sizeof(operations) / sizeof(operations[0]); i++)
		r = control_register(*ret_control, operations[i],
				     strcmp(operations[i], "policy.try") == 0 ? on_try
									      : on_question,
				     (void *)operations[i]);
	options.control = *ret_control;
	return r < 0 ? r : ui_new(loop, &options, ret_ui);
}

int main(int argc, char **argv)
{
	struct control_server *control = NULL;
	struct ui *ui = NULL;
	uv_pipe_t input;
	uv_loop_t loop;
	int r;

	if (argc != 2)
		return 2;
	directory = argv[1];
	uv_loop_init(&loop);
	r = serve(&loop, &control, &ui);
	if (r < 0) {
		fprintf(stderr, "page_server: %s\n", strerror(-r));
		return 1;
	}
	printf("%u\n", ui_port(ui));
	fflush(stdout);
	uv_pipe_init(&loop, &input, 0);
	uv_pipe_open(&input, 0);
	uv_read_start((uv_stream_t *)&input, on_alloc, on_end);
	uv_run(&loop, UV_RUN_DEFAULT);
	ui_free(ui);
	control_server_free(control);
	uv_close((uv_handle_t *)&input, NULL);
	uv_run(&loop, UV_RUN_DEFAULT);
	uv_loop_close(&loop);
	return 0;
}

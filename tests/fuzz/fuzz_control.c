/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket's server: what a peer sends, in what pieces, and when it hangs up. */
#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/control/control.h"

static uv_loop_t loop;
static struct control_server *server;
static struct sockaddr_un address = {.sun_family = AF_UNIX};
static char directory[64];
static struct control_request *later;
static unsigned int streams;

static void on_now(struct control_request *request, const json_t *args, int netns_fd, void *data)
{
	control_reply(request, json_deep_copy(args));
}

static void on_later(struct control_request *request, const json_t *args, int netns_fd, void *data)
{
	if (later)
		control_fail(later, 1, "another one came", NULL);
	later = request;
}

static void on_closed(struct control_request *request, void *data)
{
	streams--;
}

static void on_stream(struct control_request *request, const json_t *args, int netns_fd, void *data)
{
	streams++;
	control_stream_begin(request, on_closed, NULL);
	control_stream_send(request, json_integer(streams));
}

static void end(void)
{
	control_server_free(server);
	uv_run(&loop, UV_RUN_DEFAULT);
	uv_loop_close(&loop);
	rmdir(directory);
}

static void begin(void)
{
	snprintf(directory, sizeof(directory), "/tmp/polder-fuzz-XXXXXX");
	MUST(mkdtemp(directory));
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/sock", directory);
	uv_loop_init(&loop);
	MUST(control_server_new(&loop, address.sun_path, &server) == 0);
	control_register(server, "a", on_now, NULL);
	control_register(server, "b", on_later, NULL);
	control_register(server, "c", on_stream, NULL);
	atexit(end);
}

static void turn(void)
{
	for (int i = 0; i < 3; i++)
		uv_run(&loop, UV_RUN_NOWAIT);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	size_t piece = size > 0 ? data[0] + 1u : 1;
	char answer[4096];

	if (!server)
		begin();
	MUST(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	for (size_t sent = size > 0; sent < size; sent += piece) {
		if (piece > size - sent)
			piece = size - sent;
		if (send(fd, data + sent, piece, MSG_NOSIGNAL) < 0)
			break;
		turn();
		while (recv(fd, answer, sizeof(answer), 0) > 0)
			;
	}
	close(fd);
	if (later) {
		control_reply(later, json_null());
		later = NULL;
	}
	turn();
	MUST(streams == 0);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Asks the agent, and says what, where and what to do when that does not work. */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/cli/cli.h"
#include "agent/cli/table.h"
#include "agent/common/control_client.h"

#define ANSWER_MAX (512u << 20)

void cli_error(const char *format, ...)
{
	char text[2048];
	va_list list;

	va_start(list, format);
	vsnprintf(text, sizeof(text), format, list);
	va_end(list);
	fflush(stdout);
	fprintf(stderr, "%s: ", cli_program());
	text_print(text, NULL, stderr);
	fputc('\n', stderr);
}

void cli_explain(const struct cli *cli, int error, char *message, size_t size)
{
	const char *socket = cli->socket;

	switch (-error) {
	case ENOENT:
	case ECONNREFUSED:
		snprintf(message, size,
			 "polderd is not listening at %s: is it running? systemctl status polderd; "
			 "another path: --socket or POLDER_SOCKET",
			 socket);
		return;
	case EACCES:
	case EPERM:
		snprintf(message, size, "no permission to connect to %s: run polderctl as root",
			 socket);
		return;
	case ENAMETOOLONG:
		snprintf(message, size,
			 "%s is too long for the path of a socket: the limit is 107 bytes", socket);
		return;
	case ETIMEDOUT:
		snprintf(message, size,
			 "polderd at %s does not answer: it is stuck or overloaded, see its log",
			 socket);
		return;
	case ECONNRESET:
	case EPIPE:
		snprintf(message, size,
			 "polderd at %s closed the connection: it was stopped, or you are not root",
			 socket);
		return;
	case EPROTO:
		snprintf(message, size,
			 "the answer from %s cannot be understood: is it polderd that listens "
			 "there, of the "
			 "same release?",
			 socket);
		return;
	default:
		snprintf(message, size, "the request to polderd at %s failed: %s", socket,
			 strerror(-error));
		return;
	}
}

static int exchange(const struct cli *cli, const char *operation, const json_t *args,
		    json_t **ret_result, struct error *ret_failure)
{
	struct control_client *client;
	int r;

	r = control_client_connect(cli->socket, ANSWER_MAX, CONTROL_CLIENT_CONNECT_MS, &client);
	if (r < 0)
		return r;
	r = control_client_send(client, operation, args, -1, cli->patience_ms);
	if (!r)
		r = control_client_receive(client, cli->patience_ms, ret_result, ret_failure);
	control_client_free(client);
	return r;
}

int cli_ask_quietly(const struct cli *cli, const char *operation, const json_t *args,
		    json_t **ret_result, char *message, size_t size)
{
	struct error failure;
	int r;

	if (cli->answer) {
		*ret_result = json_incref((json_t *)cli->answer);
		return 0;
	}
	r = exchange(cli, operation, args, ret_result, &failure);

	if (r == -EREMOTEIO)
		snprintf(message, size, "polderd at %s refused %s: %s%s%s (code %d)", cli->socket,
			 operation, failure.text, failure.details[0] ? ": " : "", failure.details,
			 failure.code);
	else if (r < 0)
		cli_explain(cli, r, message, size);
	return r;
}

int cli_ask(const struct cli *cli, const char *operation, const json_t *args, json_t **ret_result)
{
	char message[1536];
	int r = cli_ask_quietly(cli, operation, args, ret_result, message, sizeof(message));

	if (r < 0)
		cli_error("%s", message);
	return r;
}

bool cli_reader_is_gone(void)
{
	struct pollfd entry = {.fd = STDOUT_FILENO};

	return poll(&entry, 1, 0) > 0 && entry.revents & POLLERR;
}

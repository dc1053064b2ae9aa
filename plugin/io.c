/* SPDX-License-Identifier: Apache-2.0 */
/* JSON in on standard input, JSON out on standard output. */
#include "plugin/io.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/common/cni_code.h"
#include "agent/common/json_text.h"
#include "plugin/text.h"

#define DRAIN_MAX (64u << 20)

/* After a call that failed: was it a signal, or a pipe that its other end made non-blocking? Then
 * it is waited for. */
static bool may_go_on(int fd, short events)
{
	struct pollfd entry = {.fd = fd, .events = events};

	if (errno == EAGAIN)
		return poll(&entry, 1, -1) > 0 || errno == EINTR;
	return errno == EINTR;
}

/* Its writer may not look for an answer before it has written everything. */
static void drain_input(void)
{
	char buffer[16384];
	size_t drained = 0;
	ssize_t n;

	do {
		n = read(STDIN_FILENO, buffer, sizeof(buffer));
		if (n > 0)
			drained += (size_t)n;
	} while ((n > 0 || (n < 0 && may_go_on(STDIN_FILENO, POLLIN))) && drained < DRAIN_MAX);
}

int input_read(size_t max, char **ret, size_t *ret_length, struct error *ret_failure)
{
	size_t used = 0, room = 0;
	char *buffer = NULL, *larger;
	ssize_t n = 1;

	while (n && used <= max) {
		if (used == room) {
			room = room ? room * 2 : 16384;
			larger = realloc(buffer, room);
			if (!larger) {
				free(buffer);
				return error_set(ret_failure, -EINVAL, CNI_IO_FAILURE,
						 "out of memory");
			}
			buffer = larger;
		}
		n = read(STDIN_FILENO, buffer + used, room - used);
		if (n > 0)
			used += (size_t)n;
		if (n < 0 && !may_go_on(STDIN_FILENO, POLLIN)) {
			free(buffer);
			return error_set(ret_failure, -EINVAL, CNI_IO_FAILURE,
					 "the configuration on standard input cannot be read: %s",
					 strerror(errno));
		}
	}
	if (n)
		drain_input();
	*ret = buffer;
	*ret_length = used;
	return 0;
}

int input_parse(const char *text, size_t length, size_t max, json_t **ret,
		struct error *ret_failure)
{
	json_error_t error;
	json_t *root = NULL;
	char quoted[TEXT_QUOTE_MAX];

	if (length > max)
		return error_set(ret_failure, -EINVAL, CNI_DECODE,
				 "the configuration on standard input has more than %zu bytes",
				 max);
	if (json_text_load(text, length, JSON_REJECT_DUPLICATES, &error, &root) == -ENOMEM)
		return error_set(ret_failure, -ENOMEM, CNI_TRY_AGAIN, "out of memory");
	if (!root) {
		error_set(
			ret_failure, -EINVAL, CNI_DECODE,
			"the configuration on standard input is not valid JSON: line %d, column %d",
			error.line, error.column);
		error_details(ret_failure, "%s", text_quote(error.text, quoted));
		return -EINVAL;
	}
	if (!json_is_object(root)) {
		json_decref(root);
		return error_set(ret_failure, -EINVAL, CNI_DECODE,
				 "the configuration on standard input is not a JSON object");
	}
	*ret = root;
	return 0;
}

static int write_all(const char *text, size_t length)
{
	ssize_t n;

	while (length) {
		n = write(STDOUT_FILENO, text, length);
		if (n < 0 && !may_go_on(STDOUT_FILENO, POLLOUT))
			return -errno;
		if (n > 0) {
			text += n;
			length -= (size_t)n;
		}
	}
	return 0;
}

int output_print(const json_t *output, size_t max)
{
	char *text = json_dumps(output, JSON_COMPACT);
	size_t length;
	int r;

	if (!text)
		return -ENOMEM;
	length = strlen(text);
	text[length++] = '\n';
	r = length > max ? -EMSGSIZE : write_all(text, length);
	free(text);
	return r;
}

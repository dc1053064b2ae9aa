/* SPDX-License-Identifier: Apache-2.0 */
/* Lines on the control socket. */
#include "tests/fuzz/fuzz.h"

#include <jansson.h>

#include "agent/control/control_message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct control_message message = {0};
	char error[128] = "";
	size_t length = 0;
	char *line;

	if (control_message_parse((const char *)data, size, &message, error, sizeof(error)) == 0) {
		MUST(message.operation && json_is_object(message.args));
	} else {
		MUST(error[0]);
		line = control_format_error(CONTROL_BAD_REQUEST, error, NULL, &length);
		MUST(line && length > 0 && line[length - 1] == '\n');
		free(line);
	}
	control_message_clear(&message);
	return 0;
}

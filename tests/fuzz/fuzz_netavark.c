/* SPDX-License-Identifier: Apache-2.0 */
/* What podman and netavark write to the plugin's standard input, and on a second line the agent's
 * answer: whatever they say, the result is whole or there is none. */
#include "tests/fuzz/fuzz.h"

#include <jansson.h>
#include <string.h>

#include "agent/common/cni_deletion.h"
#include "netavark/create.h"
#include "netavark/request.h"
#include "netavark/status.h"
#include "plugin/io.h"

#define INPUT_MAX 65536

static json_t *parse(const char *text, size_t length)
{
	struct error failure = {0};
	json_t *root = NULL;

	if (input_parse(text, length, INPUT_MAX, &root, &failure) < 0)
		MUST(!root && failure.code > 0);
	return root;
}

static void create(json_t *network)
{
	struct ranges_of_agent ranges = {.known = true, .has_v6 = true};
	struct error failure = {0};
	struct options options;

	if (create_convert(network, &options, &failure) < 0) {
		MUST(failure.text[0]);
		return;
	}
	ranges.prefixes = json_pack("[s, s]", "10.77.0.0/24", "fd00:77::/112");
	MUST(options.agent.socket[0] == '/' && options.agent.timeout_ms > 0);
	if (create_place(network, &ranges, &failure) < 0)
		MUST(failure.text[0]);
	else
		MUST(json_is_object(json_object_get(network, "options")));
	ranges_clear(&ranges);
	options_clear(&options);
}

static void check_status(const struct request *request, const json_t *answer)
{
	struct error failure = {0};
	json_t *status = NULL;

	if (status_build(request, answer, &status, &failure) < 0)
		MUST(!status && failure.code > 0);
	else
		MUST(json_object_size(json_object_get(status, "interfaces")) == 1);
	json_decref(status);
}

static void setup(json_t *root, const json_t *answer)
{
	struct error failure = {0};
	struct request request;
	json_t *args;

	if (request_decode_setup(json_incref(root), &request, &failure) < 0) {
		MUST(failure.code > 0 && failure.text[0]);
		return;
	}
	MUST(cni_container_id_valid(request.attachment.container_id) &&
	     cni_ifname_valid(request.attachment.ifname));
	args = request_args(&request, "/run/netns/x");
	MUST(args != NULL);
	json_decref(args);
	check_status(&request, answer);
	request_clear(&request);
}

static void teardown(json_t *root)
{
	struct error failure = {0};
	struct request request;

	if (request_decode_teardown(json_incref(root), &request, &failure) < 0) {
		MUST(failure.code > 0 && failure.text[0]);
		return;
	}
	MUST(request.attachment.agent.socket[0] == '/');
	request_clear(&request);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data, *second = size ? memchr(text, '\n', size) : NULL;
	size_t length = second ? (size_t)(second - text) : size;
	json_t *root = parse(text, length);
	json_t *answer = second ? json_loadb(second + 1, size - length - 1, 0, NULL) : NULL;

	if (root) {
		setup(root, answer);
		teardown(root);
		create(root);
	}
	json_decref(answer);
	json_decref(root);
	return 0;
}

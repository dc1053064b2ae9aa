/* SPDX-License-Identifier: Apache-2.0 */
/* What the plugin does for each subcommand. */
#include "netavark/commands.h"

#include <errno.h>
#include <unistd.h>

#include "agent/common/cni_code.h"
#include "netavark/create.h"
#include "netavark/request.h"
#include "netavark/status.h"
#include "plugin/netns.h"
#include "plugin/log.h"

const char plugin_program[] = "polder-netavark";

static int create(json_t *network, struct error *ret_failure)
{
	struct ranges_of_agent ranges = {0};
	struct options options;
	int r = create_convert(network, &options, ret_failure);

	if (r < 0)
		return r;
	r = ranges_ask(&options.agent, create_needs_ranges(network), &ranges, ret_failure);
	if (!r)
		r = create_place(network, &ranges, ret_failure);
	ranges_clear(&ranges);
	options_clear(&options);
	return r;
}

int netavark_create(json_t *input, const char *netns, json_t **ret_output,
		    struct error *ret_failure)
{
	int r = create(input, ret_failure);

	if (r < 0)
		json_decref(input);
	else
		*ret_output = input;
	return r;
}

static int attach(const struct request *request, const char *netns, int netns_fd,
		  json_t **ret_output, struct error *ret_failure)
{
	json_t *args = request_args(request, netns), *answer = NULL;
	int r;

	if (!args)
		return error_set(ret_failure, -EINVAL, CNI_INVALID_ENVIRONMENT,
				 "the network namespace's path is not UTF-8, or out of memory");
	r = attachment_finish_note(&request->attachment, ret_failure);
	if (!r)
		r = attachment_add(&request->attachment, args, netns_fd, &answer, ret_failure);
	json_decref(args);
	if (r < 0)
		return r;
	r = status_build(request, answer, ret_output, ret_failure);
	json_decref(answer);
	if (r < 0)
		attachment_undo(&request->attachment);
	return r;
}

int netavark_setup(json_t *input, const char *netns, json_t **ret_output, struct error *ret_failure)
{
	struct request request;
	int netns_fd = -1, r;

	r = request_decode_setup(input, &request, ret_failure);
	if (r < 0)
		return r;
	r = netns_open(netns, "network namespace", &netns_fd, ret_failure);
	if (!r)
		r = attach(&request, netns, netns_fd, ret_output, ret_failure);
	if (netns_fd >= 0)
		close(netns_fd);
	request_clear(&request);
	return r;
}

int netavark_teardown(json_t *input, const char *netns, json_t **ret_output,
		      struct error *ret_failure)
{
	struct request request;
	int r = request_decode_teardown(input, &request, ret_failure);

	if (r < 0)
		return r;
	r = attachment_delete(&request.attachment, ret_failure);
	request_clear(&request);
	return r;
}

void netavark_undo_setup(json_t *input)
{
	struct request request;
	struct error failure;

	if (request_decode_teardown(json_incref(input), &request, &failure))
		return;
	attachment_undo(&request.attachment);
	request_clear(&request);
}

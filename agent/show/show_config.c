/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration in force. */
#include "agent/config/config_show.h"
#include "agent/show/show_internal.h"

void show_config(struct control_request *request, const json_t *args, int netns_fd, void *data)
{
	const struct show_sources *sources = data;

	(void)args;
	(void)netns_fd;
	show_reply(request, json_pack("{s:s, s:s, s:o}", "file",
				      sources->config->file ? sources->config->file : "",
				      "log_level_now", log_level_name(log_get_level()), "keys",
				      config_document(sources->config)));
}

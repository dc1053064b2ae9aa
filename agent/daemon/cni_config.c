/* SPDX-License-Identifier: Apache-2.0 */
/* The network configuration that container runtimes read: installed by the agent, for a runtime
 * uses the plugin as soon as it is there. It stays when the agent ends. */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "agent/daemon/agent.h"
#include "agent/common/cni_files.h"

static const char *name_of(const char *path)
{
	return strrchr(path, '/') + 1; /* it is absolute */
}

static void find_problem(const struct config *config, char *note, size_t size)
{
	char path[PATH_MAX];

	cni_files_find_rivals(config->cni_config_dir, name_of(config->cni_config), note, size);
	if (note[0] || snprintf(path, sizeof(path), "%s/%s", config->cni_config_dir,
				name_of(config->cni_config)) >= (int)sizeof(path))
		return;
	cni_files_find_doubled(path, note, size);
}

/* What is in their directory, looked at again and again: others write there, too. */
void agent_install_cni_config(struct agent *agent)
{
	const struct config *config = &agent->config;
	char note[sizeof(agent->cni_note)] = "";
	struct error error = {0};
	int r = 0;

	if (!config->cni_config)
		return;
	/* Before the first time that it is ready what was there stays: no pod could be connected.
	 */
	if (agent_ready(agent))
		r = cni_files_put_config(config->cni_config, config->cni_config_dir, &error);
	if (r > 0)
		log_info("agent", "installed %s in %s", name_of(config->cni_config),
			 config->cni_config_dir);
	if (r < 0)
		snprintf(note, sizeof(note), "%s; retried every 5 s", error.text);
	else
		find_problem(config, note, sizeof(note));
	if (note[0] && strcmp(note, agent->cni_note) != 0)
		log_warning("agent", "cni-config: %s", note);
	memcpy(agent->cni_note, note, sizeof(note));
}

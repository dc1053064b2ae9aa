/* SPDX-License-Identifier: Apache-2.0 */
/* Pins: those of another layout or another agent at the start, and those that somebody removes. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/daemon/agent.h"
#include "agent/kernel/bpffs.h"
#include "agent/kernel/cause.h"
#include "agent/kernel/foreign_programs.h"

/* ---------------------------------------------------------------- others' */

static int say_foreign(const struct foreign_program *program, size_t pods, const char *directory,
		       char *message, size_t size)
{
	char where[PATH_MAX] = "";
	const bool found = foreign_program_directory(program, where, sizeof(where)) == 0;

	snprintf(message, size,
		 "%zu links of pods, such as %s, run programs of another layout or another "
		 "polderd%s%.200s, not of %.200s; they stay in force. Start the polderd that made "
		 "them, or drain the node first: without pods this one takes over",
		 pods, program->link, found ? ", pinned in " : "", where, directory);
	return -EBUSY;
}

int agent_find_foreign(struct agent *agent, const char *directory, char *message, size_t size)
{
	const struct foreign_program *first = NULL;
	char cause[CAUSE_MAX];
	size_t pods = 0;
	int r = foreign_programs_find(agent->nl, directory, &agent->foreign, &agent->foreign_count);

	if (r < 0) {
		snprintf(message, size,
			 "the programs on this network namespace's links cannot be read: %s",
			 cause_of(r, cause));
		return r;
	}
	for (size_t i = 0; i < agent->foreign_count; i++) {
		const struct foreign_program *program = &agent->foreign[i];

		/* One for each pod. */
		if (!program->on_pod || strcmp(program->name, "from_pod") != 0)
			continue;
		first = first ? first : program;
		pods++;
	}
	return first ? say_foreign(first, pods, directory, message, size) : 0;
}

static bool is_layout(const char *name)
{
	if (name[0] != 'v' || !name[1])
		return false;
	for (const char *p = name + 1; *p; p++)
		if (!isdigit((unsigned char)*p))
			return false;
	return true;
}

/* Pins, and the directories `next` and `links`. */
static void remove_tree(const char *directory, int depth)
{
	DIR *dir = depth < 4 ? opendir(directory) : NULL;
	char path[PATH_MAX];
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.' ||
		    snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name) >= PATH_MAX)
			continue;
		if (unlink(path) < 0 && (errno == EISDIR || errno == EPERM))
			remove_tree(path, depth + 1);
	}
	if (dir)
		closedir(dir);
	rmdir(directory);
}

/* Links and cgroups have the new programs; nothing needs the old ones. */
static void remove_other_layouts(const struct agent *agent)
{
	char path[PATH_MAX], own[16];
	DIR *dir = opendir(agent->config.bpffs);
	struct dirent *entry;

	snprintf(own, sizeof(own), "v%d", POLDER_LAYOUT_VERSION);
	while (dir && (entry = readdir(dir))) {
		if (!is_layout(entry->d_name) || strcmp(entry->d_name, own) == 0 ||
		    snprintf(path, sizeof(path), "%s/%s", agent->config.bpffs, entry->d_name) >=
			    PATH_MAX)
			continue;
		remove_tree(path, 0);
		log_warning("agent", "%s: pins of another layout, which no pod uses, are removed",
			    path);
	}
	if (dir)
		closedir(dir);
}

size_t agent_replace_foreign(struct agent *agent)
{
	size_t count = agent->foreign_count;
	int r = foreign_programs_detach(agent->foreign, agent->foreign_count);

	if (r < 0)
		log_error("agent",
			  "programs of another polderd cannot be detached: %s; bpftool net shows "
			  "them",
			  strerror(-r));
	else if (agent->foreign_count)
		log_warning("agent",
			    "%zu programs of another layout or another polderd, such as %s on %s, "
			    "are replaced",
			    agent->foreign_count, agent->foreign[0].name, agent->foreign[0].link);
	free(agent->foreign);
	agent->foreign = NULL;
	agent->foreign_count = 0;
	remove_other_layouts(agent);
	return count;
}

/* ---------------------------------------------------------------- our own */

int agent_check_bpffs(const struct agent *agent, char *message, size_t size)
{
	if (!agent->config.in_cluster || bpffs_find(agent->config.bpffs))
		return 0;
	snprintf(message, size,
		 "%s: there is no BPF file system of the node; one that polderd mounts would go "
		 "with its pod, and every pin with it: mount one on the node (mount -t bpf bpf "
		 "/sys/fs/bpf), or let the init container do so (bpffs.mount of the chart)",
		 agent->config.bpffs);
	return -ENODEV;
}

void agent_repair_pins(struct agent *agent)
{
	char message[sizeof(agent->pins_note)] = "";
	size_t maps = 0, links = 0;
	int r;

	if (!agent->maps || !agent->datapath)
		return;
	r = agent_check_bpffs(agent, message, sizeof(message));
	if (r == 0)
		r = maps_repair(agent->maps, &maps, message, sizeof(message));
	if (r == 0) {
		r = datapath_repair_pins(agent->datapath, &links);
		if (r < 0)
			snprintf(message, sizeof(message), "links cannot be pinned in %s: %s",
				 agent->config.bpffs, strerror(-r));
	}
	if (maps + links)
		log_warning(
			"agent",
			"%s: %zu maps and %zu links had no pins (any more); pinned again, nothing "
			"was detached",
			agent->config.bpffs, maps, links);
	if (r < 0 && strcmp(message, agent->pins_note) != 0)
		log_error("agent",
			  "%s; programs stay attached as long as polderd runs, retried every 5 s",
			  message);
	snprintf(agent->pins_note, sizeof(agent->pins_note), "%s", r < 0 ? message : "");
}

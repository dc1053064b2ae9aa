/* SPDX-License-Identifier: Apache-2.0 */
/* Takes away everything that Polder has made on a machine, without an agent and without its
 * records: also after a crash, or with half of it gone. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct cleanup_options {
	const char *run_dir, *state_dir, *bpffs;
	const char *cni_config; /* name of the network configuration; NULL: 10-polder.conflist */
	const char *cni_config_dir, *cni_bin_dir; /* NULL: what is in there stays */
	bool dry_run;				  /* nothing is taken away; all of it is told */
	bool force;				  /* though an agent runs, or pods are connected */
};

/*
 * `kind` is "link", "rule", "route", "filter", "pin", "file" or "directory"; `result` is 0, or the
 * -errno of why it is still there.
 */
typedef void (*cleanup_listener)(const char *kind, const char *name, int result, void *data);

/*
 * In this order: network configurations whose first plugin is ours, so that no runtime asks for
 * more; links of pods, routing rules and routes, filters, pins (which detaches programs), files;
 * the plugin. -EBUSY with a message if an agent runs or pods are connected, unless forced. -EINVAL:
 * a directory is not one of Polder's. Else 0, or the first -errno; what can be taken away is, all
 * the same.
 */
int cleanup_run(const struct cleanup_options *options, cleanup_listener listener, void *data,
		char *message, size_t size);
/* How many links of pods there are. 0 or -errno. */
int cleanup_count_links(size_t *ret);

/* SPDX-License-Identifier: Apache-2.0 */
/* What container runtimes find of Polder on a node: the plugin and the network configuration. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "agent/common/error.h"

#define CNI_PLUGIN_NAME "polder-cni"
/* Stands in each build of the plugin: by this a file of that name is known to be one. */
#define CNI_PLUGIN_MARK "See polder-cni(8)."

/*
 * Puts the network configuration `source` into `directory`, under its own name, unless the same is
 * there: as a whole, so that no runtime ever reads a half of it. What is no configuration that
 * names the plugin is refused. 1: written; 0: it was there; -errno with `error`.
 */
int cni_files_put_config(const char *source, const char *directory, struct error *error);
/*
 * Who is connected by something else: in `note` (`size` bytes) the files of `directory` that
 * runtimes read before `name`, and what to do; "": none. Files that name the plugin, or one that
 * calls it (multus), do not count.
 */
void cni_files_find_rivals(const char *directory, const char *name, char *note, size_t size);
/*
 * What plugins behind ours in this configuration do twice or in vain: in `note` which, and what to
 * do; "": nothing.
 */
void cni_files_find_doubled(const char *path, char *note, size_t size);
/* Copies the plugin from `source` into `directory`, as a whole. As cni_files_put_config(). */
int cni_files_put_plugin(const char *source, const char *directory, struct error *error);

/* Is it a network configuration whose first plugin is ours? */
bool cni_files_is_our_config(const char *path);
/* Is it a regular file that is a build of our plugin? */
bool cni_files_is_our_plugin(const char *path);
/* What runtimes take for a network configuration, by its name. */
bool cni_files_is_config_name(const char *name);

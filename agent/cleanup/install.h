/* SPDX-License-Identifier: Apache-2.0 */
/* What a node needs before an agent in a pod can start: for the DaemonSet's init containers. */
#pragma once

#include "agent/common/error.h"

/* The plugin as it is in the image. */
#define INSTALL_PLUGIN "/opt/cni/bin/polder-cni"

/* Replaces the plugin in `directory` as a whole, unless it is the same. 1: done; 0: it was; -errno
 * with `error`. */
int install_plugin(const char *directory, struct error *error);
/*
 * Mounts a BPF file system at `directory` unless there is one, in the mount namespace of that file
 * (NULL: in our own), which the calling process stays in: what a container mounts in its own goes
 * with it. The same results.
 */
int install_bpffs(const char *directory, const char *mount_namespace, struct error *error);

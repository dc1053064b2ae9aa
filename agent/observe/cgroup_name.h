/* SPDX-License-Identifier: Apache-2.0 */
/* What the path of a cgroup says of its container, by the forms in which kubelet, containerd,
 * CRI-O, podman, Docker and systemd name them. */
#pragma once

#define CGROUP_POD_UID	 64
#define CGROUP_CONTAINER 80

struct cgroup_name {
	char pod_uid[CGROUP_POD_UID];	  /* as in the API, with dashes; "": no pod's */
	char container[CGROUP_CONTAINER]; /* the runtime's id; "": none */
};
void cgroup_name_parse(const char *path, struct cgroup_name *ret);

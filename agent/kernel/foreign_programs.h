/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Programs of Polder on this network namespace's links that are on other maps than ours: of another
 * layout, or of an agent with another directory for pins. Where they stand before ours, they
 * decide.
 */
#pragma once

#include "agent/kernel/netlink.h"

struct foreign_program {
	int ifindex;
	char link[IFNAMSIZ];
	char name[16]; /* from_pod, wire_xdp, ... */
	uint32_t id;   /* the kernel's number of the program */
	uint32_t map;  /* and of its map `drops` */
	bool on_pod;   /* else on an uplink */
};

/*
 * All of them, told by their names and maps; free(). Ours are those on a map pinned in `directory`,
 * or in its `next`. 0 or -errno.
 */
int foreign_programs_find(struct netlink *nl, const char *directory, struct foreign_program **ret,
			  size_t *ret_count);
/* Takes away those that are attached by tcx or XDP, whoever pinned them; clsact filters have the
 * places that ours take. 0 or the -errno of the first that stays. */
int foreign_programs_detach(const struct foreign_program *programs, size_t count);
/* The directory that its maps are pinned in, on any bpffs that can be seen from here. 0, -ENOENT.
 */
int foreign_program_directory(const struct foreign_program *program, char *ret, size_t size);

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Links of programs to network links and cgroups. Each is pinned, so that it outlives the agent,
 * and held open, so that it outlives its pin: who removes pins, or the file system that they are
 * on, detaches nothing while the agent runs.
 */
#pragma once

#include <linux/bpf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pinned_links;

/* `directory` takes the pins; it need not be there yet. 0 or -ENOMEM. */
int pinned_links_new(const char *directory, struct pinned_links **ret);
/* Closes them; what is pinned stays attached. Takes NULL. */
void pinned_links_free(struct pinned_links *links);

/* Where a program goes: the number of a network link, or a cgroup's descriptor. */
struct link_place {
	int target;
	enum bpf_attach_type type;
	uint32_t flags; /* of bpf(BPF_LINK_CREATE) */
};

/*
 * The program is attached there under the name of a pin. A link that there is gets it in one step,
 * so that no packet passes without; one whose network link or cgroup has gone, or that was
 * detached, is made anew; any other failure leaves the old program, which is better than none. 0 or
 * -errno. That it is attached but cannot be pinned is no failure: pinned_links_repair() tells.
 */
int pinned_links_put(struct pinned_links *links, const char *name, const struct link_place *place,
		     int program);
/* In any thread: a link that has no name yet, and goes with the descriptor that is returned;
 * -errno.
 */
int pinned_links_create(const struct link_place *place, int program);
/* Takes the descriptor of such a link under a name that has none; pins it. 0 or -ENOMEM: closed. */
int pinned_links_take(struct pinned_links *links, const char *name, int link);
/* Only replaces the program of a link that there is: -ENOENT, -errno. */
int pinned_links_update(struct pinned_links *links, const char *name, int program);
/* Detaches it, and removes the pin. Not there: nothing happens. */
void pinned_links_drop(struct pinned_links *links, const char *name);
/* What the kernel says of it. 0; -ENOENT: there is none; -errno: it could not be asked. */
int pinned_links_info(struct pinned_links *links, const char *name, struct bpf_link_info *ret);
/* Drops all, pinned by a former agent or held, that `keep` says no to. */
void pinned_links_sweep(struct pinned_links *links, bool (*keep)(const char *name, void *data),
			void *data);
/*
 * Pins again what has lost its pin, also if the directory has to be made anew (not what it is in).
 * `*ret_repaired`: how many. 0, or the -errno of the first that could not be pinned.
 */
int pinned_links_repair(struct pinned_links *links, size_t *ret_repaired);

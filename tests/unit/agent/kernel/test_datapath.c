/* SPDX-License-Identifier: Apache-2.0 */
/* Programs that are loaded when they are needed, and cannot be. Needs root and a bpffs of its own.
 */
#include "agent/kernel/datapath.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/config/config.h"
#include "agent/config/config_keys.h"
#include "agent/node/node.h"
#include "tests/unit/refuse.h"
#include "tests/unit/unit.h"

#define LOOPBACK 1

static char top[32], directory[64], message[512];
static struct config config;
static struct maps *maps;
static struct netlink *nl;

/* As each start of an agent does. */
static struct datapath *load(void)
{
	struct datapath_config constants;
	struct datapath *d = NULL;

	CU_ASSERT_FATAL(node_datapath_config(&config, maps, &constants) == 0);
	CU_ASSERT_FATAL(datapath_load(maps, nl, config_datapath_options(&config), &constants,
				      directory, &d, message, sizeof(message)) == 0);
	return d;
}

/* 0: nothing runs there. */
static uint32_t xdp_program(void)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, query);

	CU_ASSERT(bpf_xdp_query(LOOPBACK, 0, &query) == 0);
	return query.skb_prog_id;
}

/* In a child: of those that are loaded so far nothing else is asked. */
static bool attach_refused(struct datapath *d)
{
	const char *xdp = "";
	int r;

	if (!refuse_call(SYS_bpf, BPF_PROG_LOAD, EPERM))
		return false;
	r = datapath_attach_uplink(d, LOOPBACK, &xdp, message, sizeof(message));
	return r == -EPERM && strcmp(xdp, "off") == 0 &&
	       strstr(message, "program wire_xdp: the kernel refused to load it");
}

static void program_that_cannot_be_loaded_leaves_none_of_an_earlier_agent(void)
{
	struct datapath *d = load();
	const char *xdp;
	int status;
	pid_t child;

	CU_ASSERT(datapath_attach_uplink(d, LOOPBACK, &xdp, message, sizeof(message)) == 0);
	CU_ASSERT_STRING_EQUAL(xdp, "generic");
	CU_ASSERT(xdp_program() != 0);
	datapath_free(d);
	d = load();
	CU_ASSERT(xdp_program() != 0);
	child = fork();
	CU_ASSERT_FATAL(child >= 0);
	if (!child)
		_exit(attach_refused(d) ? 0 : 1);
	CU_ASSERT(waitpid(child, &status, 0) == child && status == 0);
	CU_ASSERT(xdp_program() == 0);
	datapath_keep_uplinks(d, NULL, 0);
	datapath_free(d);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(program_that_cannot_be_loaded_leaves_none_of_an_earlier_agent),
	};
	int failed;

	unit_directory(top);
	if (unshare(CLONE_NEWNET | CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("bpf", top, "bpf", 0, "") < 0) {
		fprintf(stderr, "skipped: needs root (CAP_SYS_ADMIN)\n");
		return 77;
	}
	snprintf(directory, sizeof(directory), "%s/links", top);
	config_defaults(&config);
	config.xdp = XDP_GENERIC;
	if (netlink_open(-1, &nl) < 0 ||
	    maps_open(config_map_sizes(&config), NULL, &maps, message, sizeof(message)) < 0) {
		fprintf(stderr, "the world cannot be made: %s\n", message);
		return 1;
	}
	failed = UNIT_RUN("datapath", tests);
	maps_close(maps);
	netlink_close(nl);
	umount2(top, MNT_DETACH);
	rmdir(top);
	return failed;
}

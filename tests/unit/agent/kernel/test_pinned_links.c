/* SPDX-License-Identifier: Apache-2.0 */
/* Links of programs that lose their pins, their directory or their target. Needs root and a bpffs
 * of its own. */
#include "agent/kernel/pinned_links.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/refuse.h"
#include "tests/unit/unit.h"

#define LOOPBACK 1

static char top[32], directory[64], pin[80];
static const struct link_place place = {
	.target = LOOPBACK, .type = BPF_XDP, .flags = XDP_FLAGS_SKB_MODE};

static int load(void)
{
	const struct bpf_insn pass[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = XDP_PASS},
		{.code = BPF_JMP | BPF_EXIT},
	};
	int fd = bpf_prog_load(BPF_PROG_TYPE_XDP, "pass", "Dual BSD/GPL", pass, 2, NULL);

	CU_ASSERT_FATAL(fd >= 0);
	return fd;
}

static uint32_t id_of(int program)
{
	struct bpf_prog_info info = {};
	uint32_t length = sizeof(info);

	CU_ASSERT(bpf_obj_get_info_by_fd(program, &info, &length) == 0);
	return info.id;
}

/* 0: nothing runs there. */
static uint32_t program_at_loopback(void)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, query);

	CU_ASSERT(bpf_xdp_query(LOOPBACK, 0, &query) == 0);
	return query.skb_prog_id;
}

static struct pinned_links *begin(void)
{
	struct pinned_links *links = NULL;

	CU_ASSERT_FATAL(pinned_links_new(directory, &links) == 0);
	return links;
}

static void end(struct pinned_links *links)
{
	pinned_links_drop(links, "x");
	CU_ASSERT(program_at_loopback() == 0);
	CU_ASSERT(access(pin, F_OK) < 0);
	pinned_links_free(links);
}

static void a_program_outlives_its_pin_and_gets_it_back(void)
{
	struct pinned_links *links = begin();
	int program = load();
	size_t repaired = 7;

	CU_ASSERT(pinned_links_put(links, "x", &place, program) == 0);
	CU_ASSERT(access(pin, F_OK) == 0);
	CU_ASSERT(pinned_links_repair(links, &repaired) == 0 && repaired == 0);
	CU_ASSERT(unlink(pin) == 0);
	CU_ASSERT(program_at_loopback() == id_of(program));
	CU_ASSERT(pinned_links_repair(links, &repaired) == 0 && repaired == 1);
	CU_ASSERT(access(pin, F_OK) == 0);
	/* With the directory. */
	CU_ASSERT(unlink(pin) == 0 && rmdir(directory) == 0);
	CU_ASSERT(pinned_links_repair(links, &repaired) == 0 && repaired == 1);
	/* And in the place of something else by its name. */
	CU_ASSERT(unlink(pin) == 0 && bpf_obj_pin(program, pin) == 0);
	CU_ASSERT(pinned_links_repair(links, &repaired) == 0 && repaired == 1);
	CU_ASSERT(program_at_loopback() == id_of(program));
	end(links);
	close(program);
}

static void the_next_agent_takes_it_over_in_one_step(void)
{
	struct pinned_links *links = begin();
	struct bpf_link_info before, after;
	int program = load(), next = load();

	CU_ASSERT(pinned_links_update(links, "x", program) == -ENOENT);
	CU_ASSERT(pinned_links_put(links, "x", &place, program) == 0);
	CU_ASSERT(pinned_links_info(links, "x", &before) == 0 && before.prog_id == id_of(program));
	pinned_links_free(links);
	CU_ASSERT(program_at_loopback() == id_of(program));
	links = begin();
	CU_ASSERT(pinned_links_put(links, "x", &place, next) == 0);
	CU_ASSERT(pinned_links_info(links, "x", &after) == 0 && after.prog_id == id_of(next));
	CU_ASSERT(before.id == after.id);
	end(links);
	close(program);
	close(next);
}

static void one_that_was_detached_is_made_anew(void)
{
	struct pinned_links *links = begin();
	int program = load(), link;

	CU_ASSERT(pinned_links_put(links, "x", &place, program) == 0);
	link = bpf_obj_get(pin);
	CU_ASSERT(link >= 0 && bpf_link_detach(link) == 0);
	close(link);
	CU_ASSERT(program_at_loopback() == 0);
	CU_ASSERT(pinned_links_put(links, "x", &place, program) == 0);
	CU_ASSERT(program_at_loopback() == id_of(program));
	end(links);
	close(program);
}

/* What the kernel refuses for another reason leaves the old program. */
static void a_refusal_detaches_nothing(void)
{
	struct pinned_links *links = begin();
	int program = load();

	CU_ASSERT(pinned_links_put(links, "x", &place, program) == 0);
	CU_ASSERT(pinned_links_put(links, "x", &place, STDERR_FILENO) < 0);
	CU_ASSERT(program_at_loopback() == id_of(program));
	CU_ASSERT(access(pin, F_OK) == 0);
	end(links);
	close(program);
}

/* Nor does a pin that cannot be opened for a moment stand for one that is not there: another link
 * beside it would run the program twice. */
static void a_pin_that_cannot_be_opened_is_not_called_missing(void)
{
	struct pinned_links *links = begin();
	struct bpf_link_info before, after;
	int program = load(), status;
	pid_t child;

	CU_ASSERT(pinned_links_put(links, "x", &place, program) == 0);
	CU_ASSERT(pinned_links_info(links, "x", &before) == 0);
	pinned_links_free(links);
	links = begin();
	child = fork();
	if (child == 0)
		_exit(!refuse_call(SYS_bpf, BPF_OBJ_GET, ENOMEM) ||
		      pinned_links_info(links, "x", &after) != -ENOMEM ||
		      pinned_links_put(links, "x", &place, program) != -ENOMEM);
	CU_ASSERT(waitpid(child, &status, 0) == child && status == 0);
	child = fork();
	if (child == 0)
		_exit(!refuse_call(SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, EINTR) ||
		      pinned_links_info(links, "x", &after) != -EINTR);
	CU_ASSERT(waitpid(child, &status, 0) == child && status == 0);
	CU_ASSERT(pinned_links_info(links, "x", &after) == 0 && after.id == before.id);
	end(links);
	close(program);
}

static void without_a_place_for_pins_it_is_attached_all_the_same(void)
{
	struct pinned_links *links = begin();
	int program = load();
	size_t repaired;

	CU_ASSERT(umount2(top, MNT_DETACH) == 0);
	CU_ASSERT(pinned_links_put(links, "x", &place, program) == 0);
	CU_ASSERT(program_at_loopback() == id_of(program));
	CU_ASSERT(pinned_links_repair(links, &repaired) < 0);
	CU_ASSERT(mount("bpf", top, "bpf", 0, "") == 0);
	CU_ASSERT(pinned_links_repair(links, &repaired) == 0 && repaired == 1);
	end(links);
	close(program);
}

static void a_pin_that_cannot_be_removed_goes_later(void)
{
	struct pinned_links *links = begin();
	int program = load();
	size_t repaired = 7;

	CU_ASSERT(pinned_links_put(links, "x", &place, program) == 0);
	CU_ASSERT_FATAL(mount("bpf", top, NULL, MS_REMOUNT | MS_RDONLY, NULL) == 0);
	pinned_links_drop(links, "x");
	CU_ASSERT(program_at_loopback() == 0 && access(pin, F_OK) == 0);
	CU_ASSERT(pinned_links_repair(links, &repaired) == -EROFS);
	CU_ASSERT_FATAL(mount("bpf", top, NULL, MS_REMOUNT, NULL) == 0);
	CU_ASSERT(pinned_links_repair(links, &repaired) == 0 && repaired == 0);
	CU_ASSERT(access(pin, F_OK) < 0);
	end(links);
	close(program);
}

static bool is_y(const char *name, void *data)
{
	return strcmp(name, "y") == 0;
}

static void what_nobody_keeps_is_detached(void)
{
	struct pinned_links *links = begin();
	int program = load();

	CU_ASSERT(pinned_links_put(links, "x", &place, program) == 0);
	pinned_links_free(links);
	/* Of a former agent. */
	links = begin();
	pinned_links_sweep(links, is_y, NULL);
	CU_ASSERT(program_at_loopback() == 0 && access(pin, F_OK) < 0);
	/* Of this one, without its pin. */
	CU_ASSERT(pinned_links_put(links, "x", &place, program) == 0);
	CU_ASSERT(unlink(pin) == 0);
	pinned_links_sweep(links, is_y, NULL);
	end(links);
	close(program);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(a_program_outlives_its_pin_and_gets_it_back),
		UNIT_TEST(the_next_agent_takes_it_over_in_one_step),
		UNIT_TEST(one_that_was_detached_is_made_anew),
		UNIT_TEST(a_refusal_detaches_nothing),
		UNIT_TEST(a_pin_that_cannot_be_opened_is_not_called_missing),
		UNIT_TEST(without_a_place_for_pins_it_is_attached_all_the_same),
		UNIT_TEST(a_pin_that_cannot_be_removed_goes_later),
		UNIT_TEST(what_nobody_keeps_is_detached),
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
	snprintf(pin, sizeof(pin), "%s/x", directory);
	failed = UNIT_RUN("pinned_links", tests);
	umount2(top, MNT_DETACH);
	rmdir(top);
	return failed;
}

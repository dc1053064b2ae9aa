/* SPDX-License-Identifier: Apache-2.0 */
/* Maps get their shapes from the programs' objects, and a pinned map of another shape is refused.
 * Needs root. */
#include "agent/kernel/maps.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/config/config.h"
#include "agent/kernel/bpffs.h"
#include "agent/kernel/program_object.h"
#include "tests/unit/refuse.h"
#include "tests/unit/unit.h"

struct world {
	char top[32];
	char directory[64];
	struct config config;
	struct maps *maps;
	char message[512];
};

static int open_maps(struct world *w)
{
	w->message[0] = '\0';
	return maps_open(config_map_sizes(&w->config), w->directory, &w->maps, w->message,
			 sizeof(w->message));
}

static void begin(struct world *w)
{
	*w = (struct world){.config = {.flows_v4 = 1024,
				       .flows_v6 = 1024,
				       .max_pods = 64,
				       .max_fragments = 64,
				       .max_socket_origins = 1024,
				       .max_rule_counters = 64,
				       .max_services = 64,
				       .max_backends = 64,
				       .max_addresses = 64,
				       .max_policy_entries = 64}};
	unit_directory(w->top);
	CU_ASSERT_FATAL(mount("bpf", w->top, "bpf", 0, NULL) == 0);
	snprintf(w->directory, sizeof(w->directory), "%s/maps", w->top);
}

static void end(struct world *w)
{
	maps_close(w->maps);
	umount(w->top);
	rmdir(w->top);
}

static struct bpf_map_info kernel_info(int fd)
{
	struct bpf_map_info info = {};
	uint32_t length = sizeof(info);

	CU_ASSERT(bpf_obj_get_info_by_fd(fd, &info, &length) == 0);
	return info;
}

/* Also of those that the programs read and the agent writes: each object was compiled by itself. */
static void maps_look_as_every_object_wants_them(void)
{
	struct bpf_object *object;
	struct world w;

	begin(&w);
	CU_ASSERT_FATAL(open_maps(&w) == 0);
	for (enum datapath_hook hook = 0; hook < DATAPATH_HOOKS; hook++) {
		CU_ASSERT_FATAL(program_object_open(hook, &object) == 0);
		for (enum map_index i = 0; i < MAP_COUNT; i++) {
			const struct bpf_map *map =
				bpf_object__find_map_by_name(object, maps_get(w.maps, i)->name);
			struct bpf_map_info info = kernel_info(maps_fd(w.maps, i));

			CU_ASSERT_FATAL(map != NULL);
			CU_ASSERT(info.type == bpf_map__type(map) &&
				  info.map_flags == bpf_map__map_flags(map));
			CU_ASSERT(info.key_size == bpf_map__key_size(map) &&
				  info.value_size == bpf_map__value_size(map));
		}
		bpf_object__close(object);
	}
	end(&w);
}

static void sizes_are_those_that_are_asked_for_or_the_objects_own(void)
{
	struct world w;

	begin(&w);
	w.config.max_services = 100;
	w.config.max_pods = 100;
	CU_ASSERT_FATAL(open_maps(&w) == 0);
	CU_ASSERT_EQUAL(maps_get(w.maps, MAP_SERVICES)->max_entries, 100);
	CU_ASSERT_EQUAL(maps_get(w.maps, MAP_PODS)->max_entries, 128);
	CU_ASSERT_EQUAL(maps_get(w.maps, MAP_COUNTERS)->max_entries, COUNTER_COUNT);
	CU_ASSERT_EQUAL(maps_get(w.maps, MAP_EVENT_BUDGETS)->max_entries, 1);
	end(&w);
}

/* Pins a map in the place of `services`, with some part of its shape changed. */
static void pin_other(struct world *w, const struct bpf_map_info *shape)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = shape->map_flags);
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/services", w->directory);
	fd = bpf_map_create(shape->type, "services", shape->key_size, shape->value_size, 64, &opts);
	CU_ASSERT_FATAL(fd >= 0);
	unlink(path);
	CU_ASSERT(bpf_obj_pin(fd, path) == 0);
	close(fd);
}

static void check_refused(struct world *w, const struct bpf_map_info *shape, const char *what)
{
	pin_other(w, shape);
	CU_ASSERT_EQUAL(open_maps(w), -EINVAL);
	CU_ASSERT(strstr(w->message, "map services: ") && strstr(w->message, what));
}

static void a_pinned_map_of_another_shape_is_refused_and_named(void)
{
	struct bpf_map_info right, other;
	struct world w;

	begin(&w);
	CU_ASSERT_FATAL(open_maps(&w) == 0);
	right = kernel_info(maps_fd(w.maps, MAP_SERVICES));
	maps_close(w.maps);
	w.maps = NULL;
	other = right;
	other.type = BPF_MAP_TYPE_LRU_HASH;
	other.map_flags &= ~BPF_F_NO_PREALLOC; /* not for this type */
	check_refused(&w, &other, "another type");
	other = right;
	other.key_size += 4;
	check_refused(&w, &other, "another key size");
	other = right;
	other.value_size += 4;
	check_refused(&w, &other, "another value size");
	other = right;
	other.map_flags &= ~BPF_F_RDONLY_PROG;
	check_refused(&w, &other, "another set of flags");
	pin_other(&w, &right);
	CU_ASSERT(open_maps(&w) == 0);
	end(&w);
}

/* As with a descriptor too few: what the pin holds is not known, and nothing takes its place. */
static void a_pin_that_cannot_be_opened_is_named_and_stays(void)
{
	char path[128];
	struct world w;

	begin(&w);
	CU_ASSERT_FATAL(bpffs_prepare(w.directory, w.message, sizeof(w.message)) == 0);
	snprintf(path, sizeof(path), "%s/services", w.directory);
	CU_ASSERT_FATAL(mkdir(path, 0700) == 0);
	CU_ASSERT(open_maps(&w) == -EACCES || open_maps(&w) == -EPERM);
	CU_ASSERT(strstr(w.message, "services") && strstr(w.message, "cannot be opened"));
	CU_ASSERT(!strstr(w.message, strerror(EEXIST)));
	CU_ASSERT_FATAL(rmdir(path) == 0);
	CU_ASSERT_FATAL(open_maps(&w) == 0);
	end(&w);
}

/* Of what nobody could ask nothing is known: least of all that pins need a file system. */
static void no_file_system_is_mounted_over_one_that_cannot_be_asked(void)
{
	struct stat before, after;
	struct world w;
	int status;
	pid_t child;

	begin(&w);
	CU_ASSERT_FATAL(open_maps(&w) == 0 && stat(w.directory, &before) == 0);
	child = fork();
	if (child == 0) {
		int r = refuse_call(SYS_statfs, REFUSE_ANY, EIO)
				? bpffs_prepare(w.directory, w.message, sizeof(w.message))
				: 0;

		_exit(r == -EIO && strstr(w.message, strerror(EIO)) ? 0 : 1);
	}
	CU_ASSERT(waitpid(child, &status, 0) == child && status == 0);
	CU_ASSERT(stat(w.directory, &after) == 0 && after.st_dev == before.st_dev);
	end(&w);
}

static void pins_are_not_replaced_for_want_of_a_descriptor(void)
{
	struct rlimit before, none;
	size_t repaired = 7;
	struct stat was, is;
	char path[128];
	struct world w;
	int lowest, r;

	begin(&w);
	CU_ASSERT_FATAL(open_maps(&w) == 0);
	snprintf(path, sizeof(path), "%s/services", w.directory);
	CU_ASSERT_FATAL(stat(path, &was) == 0 && getrlimit(RLIMIT_NOFILE, &before) == 0);
	lowest = dup(STDERR_FILENO);
	CU_ASSERT_FATAL(lowest >= 0);
	close(lowest);
	none = (struct rlimit){.rlim_cur = (rlim_t)lowest, .rlim_max = before.rlim_max};
	CU_ASSERT_FATAL(setrlimit(RLIMIT_NOFILE, &none) == 0);
	r = maps_repair(w.maps, &repaired, w.message, sizeof(w.message));
	CU_ASSERT_FATAL(setrlimit(RLIMIT_NOFILE, &before) == 0);
	CU_ASSERT_EQUAL(r, -EMFILE);
	CU_ASSERT(strstr(w.message, strerror(EMFILE)) != NULL);
	CU_ASSERT(stat(path, &is) == 0 && is.st_ino == was.st_ino);
	CU_ASSERT(maps_repair(w.maps, &repaired, w.message, sizeof(w.message)) == 0 &&
		  repaired == 0);
	end(&w);
}

static const struct unit_test tests[] = {
	UNIT_TEST(a_pin_that_cannot_be_opened_is_named_and_stays),
	UNIT_TEST(no_file_system_is_mounted_over_one_that_cannot_be_asked),
	UNIT_TEST(pins_are_not_replaced_for_want_of_a_descriptor),
	UNIT_TEST(maps_look_as_every_object_wants_them),
	UNIT_TEST(sizes_are_those_that_are_asked_for_or_the_objects_own),
	UNIT_TEST(a_pinned_map_of_another_shape_is_refused_and_named),
};

int main(void)
{
	if (geteuid() != 0) {
		fprintf(stderr, "skipped: a bpffs needs root\n");
		return 77;
	}
	return UNIT_RUN("maps", tests);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The programs' objects: loaded on the maps, with the constants of a start. */
#include <assert.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/kernel/cause.h"
#include "agent/kernel/datapath_internal.h"

/* Of kernels without tcx, beside EINVAL; not in the C library. */
#define ENOTSUPP 524
/* Of what may go well at once if it is done again. */
#define TRIES 5
/* Beside the caller's, at most: each takes memory of the kernel for what it verifies. */
#define LOAD_THREADS 3
#define MESSAGE_MAX  512

/* Gives an object its configuration. A string constant may stand behind it. */
static int set_constants(struct bpf_map *map, const struct datapath_config *constants)
{
	size_t size;
	const void *old = bpf_map__initial_value(map, &size);
	char *value;
	int r;

	if (!old || size < sizeof(*constants))
		return 0;
	value = malloc(size);
	if (!value)
		return -ENOMEM;
	memcpy(value, old, size);
	memcpy(value, constants, sizeof(*constants));
	r = bpf_map__set_initial_value(map, value, size);
	free(value);
	return r;
}

/* What tells of the traffic, and is not to tell of packets that were only tried. */
static bool is_own_apart(enum map_index index)
{
	return index == MAP_DROPS || index == MAP_COUNTERS || index == MAP_EVENTS ||
	       index == MAP_EVENT_BUDGETS;
}

/* What each object has for itself and is as large as `pods`: some budgets for uplinks, behind them
 * one for each pod's link. */
static int size_own_map(const struct datapath *d, struct bpf_map *map)
{
	uint32_t links = d->constants.pods_mask + 1;

	return strcmp(bpf_map__name(map), "reject_budgets") == 0
		       ? bpf_map__set_max_entries(map, REJECT_UPLINKS + links)
		       : 0;
}

/* Of the pinned map by that name; MAP_COUNT: there is none. */
static int index_of(const struct datapath *d, const char *name)
{
	int i = 0;

	while (i < MAP_COUNT && strcmp(name, maps_get(d->maps, i)->name) != 0)
		i++;
	return i;
}

/* Has the object's map the pinned one's descriptor? */
static bool is_shared(const struct datapath *d, const struct bpf_map *map)
{
	int i = index_of(d, bpf_map__name(map));

	/* Those of a capture have their keeper, and ordinary programs do not have them. */
	if (datapath_capture_map_of(d, bpf_map__name(map)) != CAPTURE_MAP_OTHER)
		return true;
	return i < MAP_COUNT && (!d->is_apart || !is_own_apart(i));
}

/* Gives an object's map the pinned one's descriptor, if there is one. */
static int share_map(struct datapath *d, struct bpf_map *map)
{
	int i = index_of(d, bpf_map__name(map)),
	    fd = datapath_capture_map_of(d, bpf_map__name(map));

	if (fd == CAPTURE_MAP_NONE)
		return bpf_map__set_autocreate(map, false);
	if (fd >= 0)
		return bpf_map__reuse_fd(map, fd);
	if (i == MAP_COUNT)
		return size_own_map(d, map);
	if (is_shared(d, map))
		return bpf_map__reuse_fd(map, maps_fd(d->maps, i));
	/* Nobody reads its events. */
	return i == MAP_EVENTS ? bpf_map__set_max_entries(map, (uint32_t)sysconf(_SC_PAGESIZE)) : 0;
}

/* Of the XDP programs the hook's own alone: each has a way back of its own, and to verify all takes
 * a third of a start. */
static bool is_needed(const struct datapath *d, enum datapath_hook hook,
		      const struct bpf_program *program)
{
	const char *name = bpf_program__name(program), *own = program_object_name(hook);

	if (datapath_is_capturing(name) != d->is_capture)
		return false;
	if (bpf_program__type(program) == BPF_PROG_TYPE_XDP)
		return strncmp(name, own, strlen(own)) == 0 &&
		       strcmp(name + strlen(own), d->is_capture ? CAPTURE_SUFFIX : "") == 0;
	return hook != DATAPATH_CLOSED || d->options.tunnel || !strstr(name, "tunnel");
}

static void leave_out(const struct datapath *d, enum datapath_hook hook, struct bpf_object *object)
{
	struct bpf_program *program;

	bpf_object__for_each_program(program, object)
	{
		if (!is_needed(d, hook, program))
			bpf_program__set_autoload(program, false);
	}
}

/* Not in the generic path: Linux 6.18 loses what it takes apart there. */
static void take_frags(const struct datapath *d, struct bpf_object *object)
{
	struct bpf_program *program;

	if (d->options.xdp == XDP_GENERIC)
		return;
	bpf_object__for_each_program(program, object)
	{
		if (bpf_program__type(program) == BPF_PROG_TYPE_XDP)
			bpf_program__set_flags(program,
					       bpf_program__flags(program) | BPF_F_XDP_HAS_FRAGS);
	}
}

static int prepare_object(struct datapath *d, enum datapath_hook hook, struct bpf_object *object)
{
	struct bpf_map *map;
	int r = 0;

	take_frags(d, object);
	leave_out(d, hook, object);

	bpf_object__for_each_map(map, object)
	{
		r = strstr(bpf_map__name(map), ".rodata") ? set_constants(map, &d->constants)
							  : share_map(d, map);
		if (r == 0 && hook == DATAPATH_LATENCY && !is_shared(d, map) &&
		    !bpf_map__is_internal(map))
			r = datapath_inherit_map(d, map);
		if (r < 0)
			break;
	}
	return r;
}

/* What test_run reads is among them. */
static bool is_objects_own(const struct bpf_map *map, const void *data)
{
	return !bpf_map__is_internal(map) && !is_shared(data, map);
}

static int try_load(struct datapath *d, enum datapath_hook hook)
{
	struct bpf_object *object = NULL;
	int r = program_object_open(hook, &object);

	if (r == 0)
		r = prepare_object(d, hook, object);
	if (r == 0)
		r = bpf_object__load(object);
	if (r == 0)
		r = loaded_object_new(object, is_objects_own, d, &d->objects[hook]);
	bpf_object__close(object);
	return r;
}

static int say_refused(enum datapath_hook hook, int r, char *message, size_t size)
{
	char cause[CAUSE_MAX];

	snprintf(message, size,
		 "program %s: the kernel refused to load it: %s (POLDER_LIBBPF_DEBUG=1 shows what "
		 "it says)",
		 program_object_name(hook), cause_of(r, cause));
	return r;
}

/* libbpf goes on without what it could not load of types, and ends with another error: what fails
 * twice is told. */
int datapath_load_object(struct datapath *d, enum datapath_hook hook, char *message, size_t size)
{
	int r = try_load(d, hook);

	if (r < 0)
		r = try_load(d, hook);
	if (r < 0)
		return say_refused(hook, r, message, size);
	program_object_put_away(hook);
	return 0;
}

/* 0 or -errno. */
int datapath_id_of(int fd, uint32_t *ret)
{
	struct bpf_prog_info info = {};
	uint32_t length = sizeof(info);

	if (bpf_obj_get_info_by_fd(fd, &info, &length) < 0)
		return -errno;
	*ret = info.id;
	return 0;
}

/* Again at once what says nothing of the program: a start is too much for it. */
static int note_id(int fd, uint32_t *ret)
{
	int r, tries = 0;

	do {
		r = datapath_id_of(fd, ret);
	} while (r < 0 && cause_may_pass(r) && ++tries < TRIES);
	return r;
}

/* Without their numbers nobody could tell them from those of others. */
static int note_own(struct datapath *d, enum datapath_hook hook, char *message, size_t size)
{
	char cause[CAUSE_MAX];
	const char *name;
	int r, fd;

	for (size_t i = 0; (name = loaded_object_each(d->objects[hook], i, &fd)); i++) {
		assert(d->own_count < OWN_PROGRAMS_MAX);
		r = note_id(fd, &d->own[d->own_count]);
		if (r < 0) {
			snprintf(message, size, "program %s: its number cannot be read: %s", name,
				 cause_of(r, cause));
			return r;
		}
		d->own_count++;
	}
	return 0;
}

int datapath_note_own(struct datapath *d, char *message, size_t size)
{
	int r = 0;

	for (enum datapath_hook hook = 0; hook < DATAPATH_HOOKS && r == 0; hook++)
		if (d->objects[hook])
			r = note_own(d, hook, message, size);
	return r;
}

/* What several threads load, each the next one that nobody has taken. */
struct loading {
	struct datapath *d;
	enum datapath_hook hooks[DATAPATH_HOOKS];
	size_t count;
	atomic_size_t next;
	int results[DATAPATH_HOOKS];
	char messages[DATAPATH_HOOKS][MESSAGE_MAX];
};

static void *load_some(void *data)
{
	struct loading *l = data;
	size_t i;

	while ((i = atomic_fetch_add(&l->next, 1)) < l->count)
		l->results[i] = datapath_load_object(l->d, l->hooks[i], l->messages[i],
						     sizeof(l->messages[i]));
	return NULL;
}

/* Verification is the most of a start, and one CPU's work for each object. Without threads the
 * caller's does it all. 0 or the first one's -errno with `message`. */
static int load_objects(struct loading *l, char *message, size_t size)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	pthread_t threads[LOAD_THREADS];
	int started = 0, r = 0;

	while (started < LOAD_THREADS && started + 1 < cpus &&
	       pthread_create(&threads[started], NULL, load_some, l) == 0)
		started++;
	load_some(l);
	while (started > 0)
		pthread_join(threads[--started], NULL);
	for (size_t i = 0; i < l->count && r == 0; i++) {
		r = l->results[i];
		if (r < 0)
			snprintf(message, size, "%s", l->messages[i]);
		else
			r = note_own(l->d, l->hooks[i], message, size);
	}
	return r;
}

/* A packet that is only tried is put in at pods' links or at an uplink. */
static bool is_tried(enum datapath_hook hook)
{
	return hook == DATAPATH_FROM_POD || hook == DATAPATH_TO_POD || hook == DATAPATH_FROM_WIRE ||
	       hook == DATAPATH_TO_WIRE;
}

/* Which of the XDP programs is needed an uplink tells: datapath_need(). */
static bool is_attached_from_the_start(const struct datapath *d, enum datapath_hook hook)
{
	return is_tried(hook) || hook == DATAPATH_SOCKETS || hook == DATAPATH_CLOSED ||
	       (d->options.tunnel && (hook == DATAPATH_FROM_TUNNEL || hook == DATAPATH_TO_TUNNEL));
}

/* 0 or -errno with `message`. */
static int load_for(struct datapath *d, bool attached, char *message, size_t size)
{
	struct loading *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return -ENOMEM;
	l->d = d;
	for (enum datapath_hook hook = 0; hook < DATAPATH_HOOKS; hook++)
		if (attached ? is_attached_from_the_start(d, hook) : is_tried(hook))
			l->hooks[l->count++] = hook;
	r = load_objects(l, message, size);
	free(l);
	return r;
}

/* The kernel read the program, or what it is made of, and would say the same again. */
static bool is_final(int r)
{
	return r == -EINVAL || r == -EACCES || r == -EPERM || r == -E2BIG || r == -EOPNOTSUPP ||
	       r == -ENOTSUPP;
}

int datapath_need(struct datapath *d, enum datapath_hook hook, char *message, size_t size)
{
	int r;

	if (d->objects[hook])
		return 0;
	if (d->refused[hook])
		return say_refused(hook, d->refused[hook], message, size);
	r = datapath_load_object(d, hook, message, size);
	if (r == 0)
		r = note_own(d, hook, message, size);
	if (r < 0) {
		loaded_object_free(d->objects[hook]);
		d->objects[hook] = NULL;
		d->refused[hook] = is_final(r) ? r : 0;
	}
	return r;
}

struct own_programs datapath_own(const struct datapath *d)
{
	return (struct own_programs){d->own, d->own_count, d->features.tcx};
}

int datapath_fd_of(const struct datapath *d, enum datapath_hook hook, const char *name)
{
	return loaded_object_program(d->objects[hook], name);
}

/* A program that says nothing, on the loopback link of this namespace, gone at once. 0 or -errno.
 */
static int try_tcx(void)
{
	const struct bpf_insn pass[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = -1},
		{.code = BPF_JMP | BPF_EXIT},
	};
	int prog, link, r;

	prog = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "probe_tcx", "Dual BSD/GPL", pass, 2, NULL);
	if (prog < 0)
		return -errno;
	link = bpf_link_create(prog, 1, TCX_INGRESS, NULL);
	r = link < 0 ? -errno : 0;
	close(prog);
	if (link >= 0)
		close(link);
	return r;
}

/*
 * Does the kernel take a tcx link? One that does not know it (before Linux 6.6, or built without)
 * says that the request makes no sense; whatever else it says is no reason to attach in another way
 * than before. 0 or -errno with `message`.
 */
static int probe_tcx(bool *ret, char *message, size_t size)
{
	char cause[CAUSE_MAX];
	int r, tries = 0;

	do {
		r = try_tcx();
	} while (r < 0 && cause_may_pass(r) && ++tries < TRIES);
	*ret = r == 0;
	if (r == 0 || r == -EINVAL || r == -EOPNOTSUPP || r == -ENOTSUPP)
		return 0;
	snprintf(message, size,
		 "whether the kernel has tcx cannot be tried: %s; --attach tcx or clsact chooses",
		 cause_of(r, cause));
	return r;
}

/* By which way TC programs are attached. 0 or -errno with `message`. */
static int choose_attach(struct datapath *d, char *message, size_t size)
{
	int r = 0;

	if (d->options.attach != ATTACH_CLSACT)
		r = probe_tcx(&d->features.tcx, message, size);
	if (r < 0 || d->options.attach != ATTACH_TCX || d->features.tcx)
		return r;
	snprintf(message, size,
		 "--attach tcx: this kernel has no tcx (Linux 6.6); use --attach auto");
	return -EOPNOTSUPP;
}

int datapath_load(struct maps *maps, struct netlink *nl, struct datapath_options options,
		  const struct datapath_config *constants, const char *directory,
		  struct datapath **ret, char *message, size_t size)
{
	struct datapath *d = calloc(1, sizeof(*d));
	int r = 0;

	if (!d)
		return -ENOMEM;
	d->maps = maps;
	d->constants = *constants;
	d->constants.made_packets = !directory;
	d->nl = nl;
	d->options = options;
	if (directory)
		r = pinned_links_new(directory, &d->links);
	if (r == 0 && directory && mkdir(directory, 0700) < 0 && errno != EEXIST) {
		r = -errno;
		snprintf(message, size, "%s: cannot create a directory for pins: %s", directory,
			 strerror(-r));
	}
	if (r == 0)
		r = load_for(d, directory != NULL, message, size);
	if (r == 0 && directory)
		r = choose_attach(d, message, size);
	if (r < 0) {
		datapath_free(d);
		return r;
	}
	*ret = d;
	return 0;
}

int datapath_load_apart(const struct datapath *d, struct datapath **ret, char *message, size_t size)
{
	struct datapath *apart = calloc(1, sizeof(*apart));
	int r = 0;

	if (!apart)
		return -ENOMEM;
	*apart = (struct datapath){.maps = d->maps,
				   .constants = d->constants,
				   .is_apart = true,
				   .options = d->options};
	apart->constants.made_packets = 1;
	/* One after the other: traffic needs the other CPUs. */
	for (enum datapath_hook hook = 0; hook < DATAPATH_HOOKS && r == 0; hook++)
		if (is_tried(hook))
			r = datapath_load_object(apart, hook, message, size);
	if (r < 0) {
		datapath_free(apart);
		return r;
	}
	*ret = apart;
	return 0;
}

void datapath_keep_apart(struct datapath *d, struct datapath *apart)
{
	if (d->apart)
		datapath_free(apart);
	else
		d->apart = apart;
}

struct datapath *datapath_apart(const struct datapath *d)
{
	return d->apart;
}

void datapath_free(struct datapath *d)
{
	int i;

	if (!d)
		return;
	datapath_free(d->apart);
	datapath_capture_close(d);
	for (i = 0; i < DATAPATH_HOOKS; i++)
		loaded_object_free(d->objects[i]);
	pinned_links_free(d->links);
	free(d->clsact);
	free(d);
}

const struct datapath_features *datapath_features(const struct datapath *d)
{
	return &d->features;
}

int datapath_program_fd(const struct datapath *d, enum datapath_hook hook)
{
	const char *name = program_object_name(hook);
	char capturing[PROGRAM_NAME_MAX];

	if (!d->objects[hook])
		return -ENOENT;
	snprintf(capturing, sizeof(capturing), "%s" CAPTURE_SUFFIX, name);
	return datapath_fd_of(d, hook, d->is_capture ? capturing : name);
}

int datapath_fd_in_force(const struct datapath *d, enum datapath_hook hook, const char *name)
{
	/* An object that has one program has its name. */
	if (d->capture && d->capture->objects[hook])
		return datapath_program_fd(d->capture, hook);
	return datapath_fd_of(d, hook, name);
}

int datapath_map_fd(const struct datapath *d, enum datapath_hook hook, const char *map)
{
	const struct loaded_object *object = d->objects[hook];
	int fd = object ? loaded_object_map(object, map) : -ENOENT, i = index_of(d, map);

	return object && fd < 0 && i < MAP_COUNT ? maps_fd(d->maps, i) : fd;
}

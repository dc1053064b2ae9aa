/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/show/show_processes.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/common/clock.h"
#include "agent/common/hash.h"
#include "agent/kernel/cgroup_tree.h"
#include "agent/kernel/process_file.h"
#include "agent/kernel/processes.h"
#include "agent/observe/cgroup_name.h"
#include "agent/show/show_internal.h"

#define WALK_NS	     1000000000 /* between two walks over the cgroups, at least */
#define POD_NS	     2000000000 /* a pod's name is looked for again: its object may come later */
#define CGROUPS_MOST (2 * CGROUP_TREE_MOST)
#define WALK_SHARE   50	 /* walks may take one part in so many of the time */
#define FILES	     256 /* a power of two */

struct cgroup {
	uint64_t id;
	char *path;
	struct cgroup_name name;
	char *pod; /* "namespace/name"; NULL: none was found, at `pod_ns` */
	uint64_t pod_ns;
	uint64_t walk; /* that saw it last */
	UT_hash_handle hh;
};

/* What /proc said of a process. */
struct file {
	uint32_t pid;
	uint64_t since_ns; /* of the note */
	uint64_t read_ns;
	char *path; /* NULL: nothing */
};

/* Those that have gone are kept as long as there is room: who asks later still gets their names. */
struct process_names {
	struct cgroup *cgroups; /* by id */
	uint64_t walks, next_walk_ns;
	struct file files[FILES]; /* by process */
};

struct process_names *process_names_new(void)
{
	return calloc(1, sizeof(struct process_names));
}

static void forget(struct process_names *names, struct cgroup *cgroup)
{
	HASH_DEL(names->cgroups, cgroup);
	free(cgroup->path);
	free(cgroup->pod);
	free(cgroup);
}

void process_names_free(struct process_names *names)
{
	struct cgroup *cgroup, *next;

	if (!names)
		return;
	HASH_ITER (hh, names->cgroups, cgroup, next)
		forget(names, cgroup);
	for (size_t i = 0; i < FILES; i++)
		free(names->files[i].path);
	free(names);
}

/* ---------------------------------------------------------------- text */

/* Bytes of the UTF-8 character at `text`; 0: it is none. */
static size_t character_length(const char *text)
{
	unsigned char first = (unsigned char)*text;
	size_t length = first < 0x80			? 1
			: first >= 0xc2 && first < 0xe0 ? 2
			: first >= 0xe0 && first < 0xf0 ? 3
			: first >= 0xf0 && first < 0xf5 ? 4
							: 0;
	json_t *character =
		length && strnlen(text, length) == length ? json_stringn(text, length) : NULL;

	if (!character)
		return 0;
	json_decref(character);
	return length;
}

json_t *show_foreign_text(const char *text)
{
	static const char replacement[] = "\xef\xbf\xbd";
	json_t *plain = json_string(text), *result;
	size_t length = 0;
	char *copy;

	if (plain)
		return plain;
	copy = malloc(strlen(text) * (sizeof(replacement) - 1) + 1);
	if (!copy)
		return NULL;
	while (*text) {
		size_t good = character_length(text);
		const char *from = good ? text : replacement;
		size_t count = good ? good : sizeof(replacement) - 1;

		memcpy(copy + length, from, count);
		length += count;
		text += good ? good : 1;
	}
	result = json_stringn(copy, length);
	free(copy);
	return result;
}

/* ---------------------------------------------------------------- cgroups */

static struct cgroup *cgroup_known(const struct process_names *names, uint64_t id)
{
	struct cgroup *cgroup;

	HASH_FIND(hh, names->cgroups, &id, sizeof(id), cgroup);
	return cgroup;
}

static void cgroup_add(struct process_names *names, uint64_t id, const char *path)
{
	struct cgroup *cgroup = calloc(1, sizeof(*cgroup));

	if (!cgroup)
		return;
	*cgroup = (struct cgroup){.id = id, .path = strdup(path), .walk = names->walks};
	cgroup_name_parse(path, &cgroup->name);
	if (cgroup->path)
		HASH_ADD(hh, names->cgroups, id, sizeof(id), cgroup);
	if (cgroup->path && HASH_ADDED(hh, cgroup))
		return;
	free(cgroup->path);
	free(cgroup);
}

static void see_cgroup(uint64_t id, const char *path, void *data)
{
	struct process_names *names = data;
	struct cgroup *cgroup = cgroup_known(names, id);

	if (cgroup && strcmp(cgroup->path, path) != 0) {
		forget(names, cgroup);
		cgroup = NULL;
	}
	if (cgroup)
		cgroup->walk = names->walks;
	else
		cgroup_add(names, id, path);
}

/* NULL: there is none, or nobody could look. */
static struct cgroup *cgroup_find(struct process_names *names, const char *root, uint64_t id)
{
	struct cgroup *cgroup = cgroup_known(names, id), *old, *next;
	uint64_t now = clock_monotonic_ns(), spent;

	if (cgroup || !root || now < names->next_walk_ns)
		return cgroup;
	names->walks++;
	(void)cgroup_tree_walk(root, see_cgroup, names);
	spent = clock_monotonic_ns() - now;
	names->next_walk_ns = now + (spent * WALK_SHARE > WALK_NS ? spent * WALK_SHARE : WALK_NS);
	if (HASH_COUNT(names->cgroups) > CGROUPS_MOST)
		HASH_ITER (hh, names->cgroups, old, next)
			if (old->walk != names->walks)
				forget(names, old);
	return cgroup_known(names, id);
}

/* Of pods with a network of their own the record tells, of others only the object. */
static char *pod_of(const struct show_sources *sources, const struct cgroup_name *name)
{
	const struct object *const *pods;
	char *text = NULL;
	size_t count;

	for (size_t i = 0; i < pods_count(sources->pods); i++) {
		const struct local_pod *pod = pods_at(sources->pods, i);

		if (!pod->gone &&
		    ((*name->pod_uid && strcmp(pod->uid, name->pod_uid) == 0) ||
		     (*name->container && strcmp(pod->container_id, name->container) == 0)))
			return asprintf(&text, "%s/%s", pod->namespace, pod->name) < 0 ? NULL
										       : text;
	}
	if (!*name->pod_uid)
		return NULL;
	pods = store_objects(sources->store, OBJECT_POD, &count);
	for (size_t i = 0; i < count; i++) {
		const struct object *pod = pods[i];

		if (strcmp(pod->uid, name->pod_uid) == 0 ||
		    (pod->pod.mirror_of && strcmp(pod->pod.mirror_of, name->pod_uid) == 0))
			return asprintf(&text, "%s/%s", pod->namespace, pod->name) < 0 ? NULL
										       : text;
	}
	return NULL;
}

static void add_cgroup(json_t *document, const struct show_sources *sources, uint64_t id)
{
	struct cgroup *cgroup =
		cgroup_find(sources->process_names, processes_cgroup(sources->datapath), id);
	uint64_t now = clock_monotonic_ns();

	if (!cgroup)
		return;
	json_object_set_new(document, "cgroup", show_foreign_text(cgroup->path));
	if (*cgroup->name.container)
		json_object_set_new(document, "container", json_string(cgroup->name.container));
	if (!cgroup->pod && (!cgroup->pod_ns || now - cgroup->pod_ns > POD_NS)) {
		cgroup->pod = pod_of(sources, &cgroup->name);
		cgroup->pod_ns = now;
	}
	if (cgroup->pod)
		json_object_set_new(document, "pod", json_string(cgroup->pod));
}

/* ---------------------------------------------------------------- program files */

/* Of a process there is one note for each connection: what was read in the last second holds. */
static const char *file_of(struct process_names *names, const struct process_note *note)
{
	struct file *file = &names->files[note->pid & (FILES - 1)];
	uint64_t now = clock_monotonic_ns();
	char path[PATH_MAX];

	if (file->read_ns && file->pid == note->pid && now - file->read_ns < WALK_NS &&
	    (file->path ? note->since_ns >= file->since_ns : note->since_ns == file->since_ns))
		return file->path;
	free(file->path);
	*file = (struct file){.pid = note->pid, .since_ns = note->since_ns, .read_ns = now};
	if (process_file_read(note->pid, note->since_ns, path, sizeof(path)))
		file->path = strdup(path);
	return file->path;
}

/* What /proc says is whole: the other is what the process was asked to begin. */
static void add_executable(json_t *document, const struct show_sources *sources,
			   const struct process_note *note)
{
	char begun[PROCESS_PATH];
	int r = processes_executable(sources->datapath, note, begun);
	const char *path = r == -ESTALE ? NULL : file_of(sources->process_names, note);

	if (!path && r == 0)
		path = begun;
	if (path)
		json_object_set_new(document, "executable", show_foreign_text(path));
}

/* ---------------------------------------------------------------- whose a socket is */

static bool is_nodes(const struct node *node, const struct polder_addr *addr)
{
	for (size_t i = 0; i < node->address_count; i++)
		if (memcmp(&node->addresses[i].addr, addr, sizeof(*addr)) == 0)
			return true;
	return false;
}

/* The namespace that has the address here; 0: none that is known. */
static uint64_t netns_at(const struct show_sources *sources, const struct polder_addr *addr)
{
	for (size_t i = 0; i < pods_count(sources->pods); i++) {
		const struct local_pod *pod = pods_at(sources->pods, i);

		if (!pod->gone && (memcmp(&pod->ipv4, addr, sizeof(*addr)) == 0 ||
				   memcmp(&pod->ipv6, addr, sizeof(*addr)) == 0))
			return pod->netns_cookie;
	}
	return is_nodes(sources->node, addr) ? processes_node_netns(sources->datapath) : 0;
}

static json_t *process_document(const struct show_sources *sources, const struct process_note *note)
{
	char comm[PROCESS_COMM + 1];
	json_t *document;

	snprintf(comm, sizeof(comm), "%.*s", PROCESS_COMM, note->comm);
	document = json_pack("{s:I, s:o, s:I, s:I}", "pid", (json_int_t)note->pid, "comm",
			     show_foreign_text(comm), "uid", (json_int_t)note->uid, "gid",
			     (json_int_t)note->gid);
	if (!document)
		return NULL;
	add_executable(document, sources, note);
	add_cgroup(document, sources, note->cgroup);
	return document;
}

/* Who came when the packet had been seen has not sent it. */
static bool is_later(const struct process_note *note, uint64_t monotonic_ns)
{
	struct timespec boot;
	uint64_t asleep;

	clock_gettime(CLOCK_BOOTTIME, &boot);
	asleep = (uint64_t)boot.tv_sec * 1000000000 + (uint64_t)boot.tv_nsec - clock_monotonic_ns();
	return note->since_ns > monotonic_ns + asleep;
}

json_t *show_process(const struct event_socket *socket, void *data)
{
	const struct show_sources *sources = data;
	struct process_end end = {
		.proto = socket->proto,
		.local = socket->local,
		.remote = socket->remote,
		.local_port_be = socket->local_port_be,
		.remote_port_be = socket->remote_port_be,
	};
	struct process_note note;

	if (!processes_are_on(sources->datapath) || addr_is_zero(&socket->local))
		return NULL;
	end.netns = netns_at(sources, &socket->local);
	if (!end.netns || !processes_find(sources->datapath, &end, &note) ||
	    (socket->time_ns && is_later(&note, socket->time_ns)))
		return NULL;
	return process_document(sources, &note);
}

/* ---------------------------------------------------------------- sockets that listen */

void show_places(void (*visit)(const struct alert_place *place, void *arg), void *arg, void *data)
{
	const struct show_sources *sources = data;
	struct alert_place place = {.netns = processes_node_netns(sources->datapath), .node = true};

	if (sources->node->address_count) {
		place.addr = sources->node->addresses[0].addr;
		visit(&place, arg);
	}
	for (size_t i = 0; i < pods_count(sources->pods); i++) {
		const struct local_pod *pod = pods_at(sources->pods, i);

		if (pod->gone || !pod->netns_cookie)
			continue;
		place = (struct alert_place){.netns = pod->netns_cookie,
					     .addr = addr_is_zero(&pod->ipv4) ? pod->ipv6
									      : pod->ipv4};
		visit(&place, arg);
	}
}

int show_listeners(void (*visit)(const struct process_key *key, const struct process_note *note,
				 void *arg),
		   void *arg, void *data)
{
	const struct show_sources *sources = data;

	return processes_listeners(sources->datapath, visit, arg);
}

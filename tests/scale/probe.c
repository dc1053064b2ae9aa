/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looks at elements of pinned maps until what is in force of them changes, and says when it did.
 *
 *     scale-probe PINS            standard input: struct wanted, one after the other; it ends with
 *                                 its input, two seconds later at most
 *     scale-probe PINS dump       addresses and Services as text
 *
 * It sleeps between looks, and longer when there is nothing to look for: the agent has to have its
 * CPU, and map locks, for itself.
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "datapath/abi.h"

#define OUTSTANDING_MAX 4096
#define LOOK_NS		50000
#define LAST_NS		2000000000ull

enum what { WHAT_ADDRESS, WHAT_SERVICE, WHAT_COUNT };

struct wanted {
	uint32_t id;
	uint32_t what; /* enum what */
	char key[24];
};

struct seen {
	uint64_t id;
	uint64_t ns; /* CLOCK_MONOTONIC */
};

/* What counts of an element; zero: there is none. */
struct value {
	uint32_t words[4];
};

struct outstanding {
	struct wanted wanted;
	struct value before;
};

static int maps[WHAT_COUNT], backends;
static const struct control *control;
static struct outstanding list[OUTSTANDING_MAX];
static size_t count;

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static int open_map(const char *pins, const char *name)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", pins, name);
	fd = bpf_obj_get(path);
	if (fd < 0) {
		fprintf(stderr, "scale-probe: %s: %s\n", path, strerror(errno));
		exit(1);
	}
	return fd;
}

static struct value address_value(const void *key)
{
	struct address_entry entry = {};
	struct value value = {};

	if (bpf_map_lookup_elem(maps[WHAT_ADDRESS], key, &entry) < 0 ||
	    !(entry.flags & (ADDRESS_POD | ADDRESS_NODE)))
		return value;
	value.words[0] = entry.identity[__atomic_load_n(&control->slot, __ATOMIC_ACQUIRE)];
	value.words[1] = entry.flags;
	return value;
}

static struct value service_value(const void *key)
{
	struct service_entry entry = {};
	struct value value = {};

	if (bpf_map_lookup_elem(maps[WHAT_SERVICE], key, &entry) < 0)
		return value;
	value.words[0] = entry.id;
	value.words[1] = entry.backend_first;
	value.words[2] = entry.backend_count;
	return value;
}

static struct value read_value(const struct wanted *wanted)
{
	return wanted->what == WHAT_ADDRESS ? address_value(wanted->key)
					    : service_value(wanted->key);
}

static void look(void)
{
	for (size_t i = 0; i < count;) {
		struct value value = read_value(&list[i].wanted);
		struct seen seen = {.id = list[i].wanted.id};

		if (memcmp(&value, &list[i].before, sizeof(value)) == 0) {
			i++;
			continue;
		}
		seen.ns = now_ns();
		fwrite(&seen, sizeof(seen), 1, stdout);
		list[i] = list[--count];
	}
}

/* False: the end. */
static bool take_wanted(void)
{
	struct wanted some[64];
	ssize_t length = read(STDIN_FILENO, some, sizeof(some));

	if (length <= 0)
		return false;
	for (size_t i = 0; i < (size_t)length / sizeof(*some) && count < OUTSTANDING_MAX; i++) {
		list[count].wanted = some[i];
		list[count].before = read_value(&some[i]);
		count++;
	}
	return true;
}

static void follow(void)
{
	const struct timespec pause = {.tv_nsec = LOOK_NS};
	struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
	uint64_t end = UINT64_MAX;

	prctl(PR_SET_TIMERSLACK, 1);
	while (now_ns() < end && (end == UINT64_MAX || count)) {
		if (end == UINT64_MAX && poll(&input, 1, count ? 0 : -1) > 0 && !take_wanted())
			end = now_ns() + LAST_NS;
		look();
		nanosleep(&pause, NULL);
	}
	fflush(stdout);
}

static const char *text_of(const struct polder_addr *addr, char text[INET6_ADDRSTRLEN])
{
	static const char mapped[12] = {[10] = (char)0xff, [11] = (char)0xff};

	if (memcmp(addr->bytes, mapped, sizeof(mapped)) == 0)
		return inet_ntop(AF_INET, addr->bytes + 12, text, INET6_ADDRSTRLEN);
	return inet_ntop(AF_INET6, addr->bytes, text, INET6_ADDRSTRLEN);
}

static void dump_addresses(void)
{
	struct address_key key, *previous = NULL;
	char text[INET6_ADDRSTRLEN];

	while (bpf_map_get_next_key(maps[WHAT_ADDRESS], previous, &key) == 0) {
		struct address_entry entry = {};

		previous = &key;
		if (bpf_map_lookup_elem(maps[WHAT_ADDRESS], &key, &entry) == 0)
			printf("address %s %u %u %u %u\n", text_of(&key.addr, text), key.prefixlen,
			       entry.identity[0], entry.identity[1], entry.flags);
	}
}

static void dump_services(void)
{
	struct service_key key, *previous = NULL;
	char text[INET6_ADDRSTRLEN];

	while (bpf_map_get_next_key(maps[WHAT_SERVICE], previous, &key) == 0) {
		struct service_entry entry = {};

		previous = &key;
		if (bpf_map_lookup_elem(maps[WHAT_SERVICE], &key, &entry) < 0)
			continue;
		printf("service %s %u %u", text_of(&key.addr, text), ntohs(key.port_be), key.proto);
		for (uint32_t i = 0; i < entry.backend_count; i++) {
			uint32_t index = entry.backend_first + i;
			struct backend backend = {};

			bpf_map_lookup_elem(backends, &index, &backend);
			printf(" %s", text_of(&backend.addr, text));
			printf("/%u", ntohs(backend.port_be));
		}
		printf("\n");
	}
}

int main(int argc, char **argv)
{
	int fd;

	if (argc < 2)
		return 2;
	maps[WHAT_ADDRESS] = open_map(argv[1], "addresses");
	maps[WHAT_SERVICE] = open_map(argv[1], "services");
	backends = open_map(argv[1], "backends");
	fd = open_map(argv[1], "control");
	control = mmap(NULL, sizeof(*control), PROT_READ, MAP_SHARED, fd, 0);
	if (control == MAP_FAILED) {
		fprintf(stderr, "scale-probe: control: %s\n", strerror(errno));
		return 1;
	}
	if (argc == 2) {
		follow();
		return 0;
	}
	dump_addresses();
	dump_services();
	return 0;
}

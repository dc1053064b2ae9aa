/* SPDX-License-Identifier: Apache-2.0 */
/* Loads the datapath's objects one by one with everything switched on, and says what the verifier
 * made of each program. */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <libgen.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "datapath/abi.h"

/* The verifier's complaint stands in its log's last lines. */
static char last_words[2048];

static int remember(enum libbpf_print_level level, const char *format, va_list arguments)
{
	size_t room = sizeof(last_words) - 1, used = strlen(last_words), length, kept;
	char *text;

	if (level == LIBBPF_DEBUG || vasprintf(&text, format, arguments) < 0)
		return 0;
	length = strlen(text);
	kept = length < room ? length : room;
	if (used + kept > room) {
		memmove(last_words, last_words + used + kept - room, room - kept);
		used = room - kept;
	}
	memcpy(last_words + used, text + length - kept, kept + 1);
	free(text);
	return 0;
}

/* `text` is an IPv4 address mapped into IPv6, or an IPv6 address; `length` counts the bits of 128.
 */
static void add_range(struct datapath_config *config, const char *text, int length)
{
	struct polder_range *range = &config->own_range[config->own_range_count++];
	int bit;

	inet_pton(AF_INET6, text, &range->addr);
	for (bit = 0; bit < length; bit++)
		range->mask.bytes[bit / 8] |= 0x80 >> bit % 8;
}

/* The node of guest-init: both families, masquerade and all ranges. The verifier takes the
 * constants for what they are, so they must be true ones. */
static void configure(struct bpf_object *object)
{
	struct datapath_config config = {
		.flow4_sets = 16384,
		.flow6_sets = 8192,
		.fragment_sets = 1024,
		.pods_mask = 4095,
		.gateway_mac = {2, 0x70, 0x6f, 0x6c, 0x64, 0x72},
		.masquerade_port_min = 10240,
		.masquerade_port_max = 29999,
		.node_port_min = 30000,
		.node_port_max = 32767,
		.masquerade_v4 = 1,
		.masquerade_v6 = 1,
		.gateway_ipv4_be = 0x0101fea9,
		.gateway_ipv6_be = {0x80fe, 0, 0, 1},
		.netns_cookie = 1,
	};
	struct bpf_map *map;

	add_range(&config, "::ffff:10.77.0.0", 120);
	add_range(&config, "fd00:77::", 112);
	/* Objects that do not look at the configuration have none. */
	bpf_object__for_each_map(map, object)
	{
		if (strstr(bpf_map__name(map), ".rodata"))
			bpf_map__set_initial_value(map, &config, sizeof(config));
	}
}

static void tell_programs(struct bpf_object *object)
{
	struct bpf_program *program;

	bpf_object__for_each_program(program, object)
	{
		struct bpf_prog_info info = {0};
		__u32 length = sizeof(info);

		if (bpf_obj_get_info_by_fd(bpf_program__fd(program), &info, &length) < 0)
			continue;
		printf("PROGRAM %s type %u verified %u instructions %u bytes %u\n",
		       bpf_program__name(program), info.type, info.verified_insns,
		       info.xlated_prog_len / 8, info.jited_prog_len);
	}
}

static int load(const char *path)
{
	struct bpf_object *object;
	char copy[256], *name;
	int r;

	snprintf(copy, sizeof(copy), "%s", path);
	name = basename(copy);
	name[strcspn(name, ".")] = '\0';
	last_words[0] = '\0';
	object = bpf_object__open_file(path, NULL);
	if (!object) {
		printf("not ok loads_%s - %s cannot be opened: %s\n", name, path, strerror(errno));
		return -errno;
	}
	configure(object);
	r = bpf_object__load(object);
	if (r < 0) {
		for (char *p = strtok(last_words, "\n"); p; p = strtok(NULL, "\n"))
			printf("LOG: %s\n", p);
		printf("not ok loads_%s - %s\n", name, strerror(-r));
	} else {
		printf("ok loads_%s\n", name);
		tell_programs(object);
	}
	bpf_object__close(object);
	fflush(stdout);
	return r;
}

int main(int argc, char **argv)
{
	int failed = 0;

	libbpf_set_print(remember);
	for (int i = 1; i < argc; i++)
		failed |= load(argv[i]) < 0;
	return failed;
}

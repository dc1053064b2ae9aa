/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kernel/kernel_drop_program.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/array.h"
#include "agent/kernel/cause.h"
#include "agent/kernel/datapath_internal.h"

#include "kernel_drop.skel.h"

#define PREFIX "SKB_DROP_REASON_"
/* Arguments of the tracepoint's functions: their own data, the packet, the place, and then: */
#define ARGUMENTS_WITH_REASON 4
#define ARGUMENTS_WITH_SOCKET 5
#define SUBSYSTEM_SHIFT	      16

struct kernel_drop_program {
	struct kernel_drop_bpf *object;
	struct bpf_link *link;
	char *names[KERNEL_REASONS]; /* NULL: the kernel has none of that number */
	bool has_socket;
	int cpus;
};

/* ---------------------------------------------------------------- what the kernel says of itself
 */

/* "SKB_CONSUMED" stays as it is. */
static const char *without_prefix(const char *name)
{
	return strncmp(name, PREFIX, strlen(PREFIX)) == 0 ? name + strlen(PREFIX) : name;
}

/* 0, -ENOENT: it has no reasons, -ENOMEM. */
static int read_names(const struct btf *btf, struct kernel_drop_program *program)
{
	int id = btf__find_by_name_kind(btf, "skb_drop_reason", BTF_KIND_ENUM);
	const struct btf_type *type = id < 0 ? NULL : btf__type_by_id(btf, (__u32)id);
	const struct btf_enum *values = type ? btf_enum(type) : NULL;

	for (int i = 0; type && i < btf_vlen(type); i++) {
		const char *name = without_prefix(btf__name_by_offset(btf, values[i].name_off));
		__s32 value = values[i].val;

		/* MAX is the number of them, and no reason. */
		if (value < 0 || value >= KERNEL_REASON_REST || strcmp(name, "MAX") == 0)
			continue;
		free(program->names[value]);
		program->names[value] = strdup(name);
		if (!program->names[value])
			return -ENOMEM;
	}
	return type ? 0 : -ENOENT;
}

/* How many arguments the tracepoint's functions get; 0: it is not known. */
static int count_arguments(const struct btf *btf)
{
	int id = btf__find_by_name_kind(btf, "btf_trace_kfree_skb", BTF_KIND_TYPEDEF);
	const struct btf_type *type = id < 0 ? NULL : btf__type_by_id(btf, (__u32)id);

	while (type && (btf_is_typedef(type) || btf_is_ptr(type)))
		type = btf__type_by_id(btf, type->type);
	return type && btf_is_func_proto(type) ? btf_vlen(type) : 0;
}

static int read_kernel(struct kernel_drop_program *program, char *message, size_t size)
{
	struct btf *btf = btf__load_vmlinux_btf();
	char cause[CAUSE_MAX];
	int r;

	if (!btf) {
		r = -errno;
		snprintf(message, size,
			 "the kernel's own drops cannot be told: its type information, "
			 "/sys/kernel/btf/vmlinux, cannot be read: %s (it is there in kernels with "
			 "CONFIG_DEBUG_INFO_BTF)",
			 cause_of(r, cause));
		return r == -ENOMEM ? r : -EOPNOTSUPP;
	}
	r = read_names(btf, program);
	if (r == 0 && count_arguments(btf) < ARGUMENTS_WITH_REASON)
		r = -ENOENT;
	program->has_socket = count_arguments(btf) >= ARGUMENTS_WITH_SOCKET;
	btf__free(btf);
	if (r == -ENOENT)
		snprintf(message, size,
			 "the kernel's own drops cannot be told: this kernel does not say why it "
			 "drops a packet, which Linux does since 5.17");
	else if (r < 0)
		snprintf(message, size, "polderd is out of memory");
	return r == -ENOENT ? -EOPNOTSUPP : r;
}

/* ---------------------------------------------------------------- the program */

/* Those that all programs share stand for the object's own of that name. */
static int share_maps(const struct datapath *datapath, struct bpf_object *object)
{
	struct bpf_map *map;
	int r = 0;

	bpf_object__for_each_map(map, object)
	{
		for (int i = 0; i < MAP_COUNT && r == 0; i++)
			if (strcmp(bpf_map__name(map), maps_get(datapath->maps, i)->name) == 0)
				r = bpf_map__reuse_fd(map, maps_fd(datapath->maps, i));
	}
	return r;
}

static int attach(const struct datapath *datapath, struct kernel_drop_program *program)
{
	const uint64_t none[KERNEL_REASONS / 64] = {0};
	int r;

	program->object = kernel_drop_bpf__open();
	if (!program->object)
		return -errno;
	program->object->rodata->config = datapath->constants;
	program->object->rodata_kernel_drop->has_socket = program->has_socket;
	r = share_maps(datapath, program->object->obj);
	if (r == 0)
		r = kernel_drop_bpf__load(program->object);
	if (r == 0)
		r = kernel_drop_program_want(program, none);
	if (r < 0)
		return r;
	program->link =
		bpf_program__attach_raw_tracepoint(program->object->progs.kernel_drop, "kfree_skb");
	return program->link ? 0 : -errno;
}

int kernel_drop_program_load(const struct datapath *datapath, struct kernel_drop_program **ret,
			     char *message, size_t size)
{
	struct kernel_drop_program *program = calloc(1, sizeof(*program));
	char cause[CAUSE_MAX];
	int r;

	message[0] = '\0';
	if (!program)
		return -ENOMEM;
	program->cpus = libbpf_num_possible_cpus();
	r = program->cpus < 0 ? program->cpus : read_kernel(program, message, size);
	if (r == 0)
		r = attach(datapath, program);
	if (r < 0) {
		if (!message[0])
			snprintf(message, size,
				 "the kernel's own drops cannot be told: the program for "
				 "skb:kfree_skb cannot be loaded: %s (POLDER_LIBBPF_DEBUG=1 shows "
				 "what the kernel says)",
				 cause_of(r, cause));
		kernel_drop_program_free(program);
		return r;
	}
	*ret = program;
	return 0;
}

void kernel_drop_program_free(struct kernel_drop_program *program)
{
	if (!program)
		return;
	bpf_link__destroy(program->link);
	kernel_drop_bpf__destroy(program->object);
	for (size_t i = 0; i < COUNT(program->names); i++)
		free(program->names[i]);
	free(program);
}

int kernel_drop_program_ring(const struct kernel_drop_program *program)
{
	return bpf_map__fd(program->object->maps.kernel_drops);
}

int kernel_drop_program_count(const struct kernel_drop_program *program, uint32_t which,
			      uint64_t *ret)
{
	int fd = bpf_map__fd(program->object->maps.kernel_drop_counts), r = 0;
	__u64 *values = calloc((size_t)program->cpus, sizeof(*values));
	uint64_t sum = 0;

	if (!values)
		return -ENOMEM;
	if (bpf_map_lookup_elem(fd, &which, values) < 0)
		r = -errno;
	for (int cpu = 0; cpu < program->cpus; cpu++)
		sum += values[cpu];
	free(values);
	if (r == 0)
		*ret = sum;
	return r;
}

int kernel_drop_program_counts(const struct kernel_drop_program *program,
			       uint64_t ret[KERNEL_DROP_COUNTS])
{
	int r = 0;

	for (uint32_t i = 0; i < KERNEL_DROP_COUNTS && r == 0; i++)
		r = kernel_drop_program_count(program, i, &ret[i]);
	return r;
}

/* ---------------------------------------------------------------- reasons */

const char *kernel_drop_reason_name(const struct kernel_drop_program *program, uint32_t reason,
				    char buffer[KERNEL_REASON_NAME_MAX])
{
	if (reason < KERNEL_REASONS && program->names[reason])
		return program->names[reason];
	if (reason >> SUBSYSTEM_SHIFT)
		snprintf(buffer, KERNEL_REASON_NAME_MAX, "SUBSYSTEM_%u_%u",
			 reason >> SUBSYSTEM_SHIFT, reason & ((1u << SUBSYSTEM_SHIFT) - 1));
	else
		snprintf(buffer, KERNEL_REASON_NAME_MAX, "REASON_%u", reason);
	return buffer;
}

int kernel_drop_reason_find(const struct kernel_drop_program *program, const char *name,
			    uint32_t *ret)
{
	for (uint32_t i = 0; i < KERNEL_REASONS; i++) {
		if (!program->names[i] || strcmp(program->names[i], name) != 0)
			continue;
		*ret = i;
		return 0;
	}
	return -ENOENT;
}

static const char *const vague[] = {"NOT_SPECIFIED", "OTHERHOST"};

bool kernel_drop_reason_is_vague(const char *name)
{
	for (size_t i = 0; i < COUNT(vague); i++)
		if (strcmp(name, vague[i]) == 0)
			return true;
	return false;
}

static void set_bit_of(const struct kernel_drop_program *program, const char *name, __u64 *words)
{
	uint32_t reason;

	/* An older kernel may not have it yet. */
	if (kernel_drop_reason_find(program, name, &reason) == 0)
		words[reason / 64] |= UINT64_C(1) << reason % 64;
}

int kernel_drop_program_want(const struct kernel_drop_program *program,
			     const uint64_t wanted[KERNEL_REASONS / 64])
{
	/* No drops, and of a packet that tcpdump or the like had no room for it was a copy. */
	static const char *const never[] = {"SKB_NOT_DROPPED_YET", "SKB_CONSUMED",
					    "PACKET_SOCK_ERROR"};
	static const char *const own[] = {"TC_INGRESS", "TC_EGRESS", "XDP"};
	struct kernel_drop_settings settings = {0};
	__u32 zero = 0;

	for (size_t i = 0; i < COUNT(vague); i++)
		set_bit_of(program, vague[i], settings.left_out);
	for (size_t i = 0; i < COUNT(settings.left_out); i++)
		settings.left_out[i] &= ~wanted[i];
	for (size_t i = 0; i < COUNT(never); i++)
		set_bit_of(program, never[i], settings.left_out);
	for (size_t i = 0; i < COUNT(own); i++)
		set_bit_of(program, own[i], settings.own);
	return bpf_map_update_elem(bpf_map__fd(program->object->maps.kernel_drop_settings), &zero,
				   &settings, BPF_ANY) < 0
		       ? -errno
		       : 0;
}

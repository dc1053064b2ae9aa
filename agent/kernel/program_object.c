/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kernel/program_object.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "datapath/abi.h"

#include "closed.skel.h"
#include "from_pod.skel.h"
#include "from_tunnel.skel.h"
#include "from_wire.skel.h"
#include "latency.skel.h"
#include "socket.skel.h"
#include "to_pod.skel.h"
#include "to_tunnel.skel.h"
#include "to_wire.skel.h"
#include "wire_xdp.skel.h"

static const struct {
	const char *name;
	const void *(*elf)(size_t *size);
} objects[DATAPATH_HOOKS] = {
	[DATAPATH_FROM_POD] = {"from_pod", from_pod_bpf__elf_bytes},
	[DATAPATH_TO_POD] = {"to_pod", to_pod_bpf__elf_bytes},
	[DATAPATH_FROM_WIRE] = {"from_wire", from_wire_bpf__elf_bytes},
	[DATAPATH_TO_WIRE] = {"to_wire", to_wire_bpf__elf_bytes},
	[DATAPATH_FROM_TUNNEL] = {"from_tunnel", from_tunnel_bpf__elf_bytes},
	[DATAPATH_TO_TUNNEL] = {"to_tunnel", to_tunnel_bpf__elf_bytes},
	[DATAPATH_WIRE_XDP] = {"wire_xdp", wire_xdp_bpf__elf_bytes},
	[DATAPATH_WIRE_XDP_VETH] = {"wire_xdp_veth", wire_xdp_bpf__elf_bytes},
	[DATAPATH_WIRE_XDP_CHECK] = {"wire_xdp_check", wire_xdp_bpf__elf_bytes},
	[DATAPATH_CLOSED] = {"closed", closed_bpf__elf_bytes},
	[DATAPATH_LATENCY] = {"latency", latency_bpf__elf_bytes},
	[DATAPATH_SOCKETS] = {"socket", socket_bpf__elf_bytes},
};

static int print_warnings_if_asked(enum libbpf_print_level level, const char *format, va_list args)
{
	if (level == LIBBPF_WARN && getenv("POLDER_LIBBPF_DEBUG"))
		return vfprintf(stderr, format, args);
	return 0;
}

const char *program_object_name(enum datapath_hook hook)
{
	return objects[hook].name;
}

int program_object_open(enum datapath_hook hook, struct bpf_object **ret)
{
	LIBBPF_OPTS(bpf_object_open_opts, opts, .object_name = objects[hook].name);
	size_t length;
	const void *elf = objects[hook].elf(&length);
	struct bpf_object *object;

	libbpf_set_print(print_warnings_if_asked);
	object = bpf_object__open_mem(elf, length, &opts);
	if (!object)
		return -errno;
	*ret = object;
	return 0;
}

void program_object_put_away(enum datapath_hook hook)
{
	const uintptr_t page = sysconf(_SC_PAGESIZE);
	uintptr_t begin, end;
	size_t length;

	begin = (uintptr_t)objects[hook].elf(&length);
	end = (begin + length) / page * page;
	begin = (begin + page - 1) / page * page;
	if (begin < end)
		(void)madvise((void *)begin, end - begin, MADV_DONTNEED);
}

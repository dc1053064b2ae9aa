/* SPDX-License-Identifier: Apache-2.0 */
/* Other nodes: peers of the world, and the tunnel that they are reached by. */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/kernel/datapath.h"
#include "tests/differential/harness.h"
#include "tunnel_entry.skel.h"

/* What the outer headers take, of IPv4 and IPv6. */
#define OVERHEAD_V4 50
#define OVERHEAD_V6 70

/* In a test-run a packet comes by no device: a program gives it the key, and goes on. */
static int load_entry(struct harness *h)
{
	int target = datapath_program_fd(sandbox_datapath(h->sandbox), DATAPATH_FROM_TUNNEL);
	uint32_t zero = 0;
	size_t size;
	const void *elf = tunnel_entry_bpf__elf_bytes(&size);

	h->entry = bpf_object__open_mem(elf, size, NULL);
	if (!h->entry || bpf_object__load(h->entry) < 0)
		return harness_fail(h, -errno, "tunnel_entry: %s", strerror(errno));
	if (bpf_map_update_elem(bpf_object__find_map_fd_by_name(h->entry, "target"), &zero, &target,
				BPF_ANY) < 0)
		return harness_fail(h, -errno, "tunnel_entry: its target: %s", strerror(errno));
	h->entry_program = bpf_program__fd(bpf_object__next_program(h->entry, NULL));
	return 0;
}

static int open_tunnel(struct harness *h)
{
	int r = datapath_need(sandbox_datapath(h->sandbox), DATAPATH_FROM_TUNNEL, h->error,
			      sizeof(h->error));

	if (r == 0)
		r = datapath_need(sandbox_datapath(h->sandbox), DATAPATH_TO_TUNNEL, h->error,
				  sizeof(h->error));
	return r < 0 ? r : load_entry(h);
}

int harness_open_peers(struct harness *h, const json_t *request)
{
	struct peers_tunnel tunnel = {};
	int known = 0, r = 0;

	json_unpack((json_t *)request, "{s?b}", "peers", &known);
	if (!known)
		return 0;
	if (h->config.tunnel != TUNNEL_NONE) {
		tunnel = (struct peers_tunnel){.ifindex = HARNESS_TUNNEL,
					       .mtu4 = h->mtu - OVERHEAD_V4,
					       .mtu6 = h->mtu - OVERHEAD_V6};
		r = open_tunnel(h);
	}
	if (r < 0)
		return r;
	r = sandbox_know_peers(h->sandbox, &tunnel);
	return r < 0 ? harness_fail(h, r, "peers: %s", strerror(-r)) : 0;
}

void harness_close_tunnel(struct harness *h)
{
	bpf_object__close(h->entry);
	h->entry = NULL;
}

int harness_tunnel_from(struct harness *h, uint8_t host)
{
	struct {
		struct polder_addr sender;
		uint32_t vni;
	} outer = {.vni = h->config.tunnel_vni};
	char text[32];
	uint32_t zero = 0;

	if (!h->entry)
		return -ENODEV;
	snprintf(text, sizeof(text), "192.168.7.%u", host);
	addr_parse(text, &outer.sender);
	return bpf_map_update_elem(bpf_object__find_map_fd_by_name(h->entry, "outer"), &zero,
				   &outer, BPF_ANY) < 0
		       ? -errno
		       : 0;
}

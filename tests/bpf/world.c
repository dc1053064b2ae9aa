/* SPDX-License-Identifier: Apache-2.0 */
/* Loads the programs as the agent does, but with maps that nobody else sees. */
#include "world.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "datapath/capture_abi.h"

#include "from_pod.skel.h"
#include "from_tunnel.skel.h"
#include "from_wire.skel.h"
#include "to_pod.skel.h"
#include "to_tunnel.skel.h"
#include "tunnel_entry.skel.h"
#include "to_wire.skel.h"
#include "wire_xdp.skel.h"

#define GENERATION_FIRST 2

const uint8_t world_gateway_mac[6] = {0x02, 0, 0, 0, 0, 0x01};
const uint8_t world_router_mac[6] = {0x02, 0, 0, 0, 0, 0xfe};

static const char links[] =
	"link set lo up\n"
	"link add pod11 index 11 mtu 1450 type veth peer name peer11\n"
	"link add pod12 index 12 mtu 1450 type veth peer name peer12\n"
	"link add pod13 index 13 mtu 1450 type veth peer name peer13\n"
	"link add up21 index 21 mtu 1500 type veth peer name wire21\n"
	"link add tun31 index 31 type vxlan external dstport 4789\n"
	"link set tun31 up\n"
	"link set pod11 up\nlink set pod12 up\nlink set pod13 up\nlink set up21 up\n"
	"link set peer11 up\nlink set peer12 up\nlink set peer13 up\nlink set wire21 up\n"
	"address add 192.168.7.1/24 dev up21\n"
	"address add fd00:7::1/64 dev up21 nodad\n";

static const char known_neighbours[] =
	"address replace 192.168.7.1/24 dev up21\n"
	"address replace fd00:7::1/64 dev up21 nodad\n"
	"neigh replace 192.168.7.4 lladdr 02:00:00:00:00:44 dev up21 nud permanent\n"
	"neigh replace fd00:7::4 lladdr 02:00:00:00:00:44 dev up21 nud permanent\n"
	"neigh replace 192.168.7.254 lladdr 02:00:00:00:00:fe dev up21 nud permanent\n"
	"neigh replace fd00:7::fe lladdr 02:00:00:00:00:fe dev up21 nud permanent\n"
	"route replace default via 192.168.7.254\n"
	"route replace default via fd00:7::fe\n";

_Noreturn static void give_up(const char *what, const char *object, int error)
{
	fprintf(stderr, "world: %s %s: %s\n", what, object, strerror(error < 0 ? -error : error));
	abort();
}

/* Runs `ip -batch -` on the text. 0 or -errno. */
static int ip_batch(const char *text)
{
	int ends[2], status;
	pid_t child;

	if (pipe(ends) < 0)
		return -errno;
	child = fork();
	if (child < 0)
		return -errno;
	if (!child) {
		dup2(ends[0], STDIN_FILENO);
		close(ends[0]);
		close(ends[1]);
		execlp("ip", "ip", "-batch", "-", (char *)NULL);
		_exit(127);
	}
	close(ends[0]);
	if (write(ends[1], text, strlen(text)) < 0)
		perror("world: ip");
	close(ends[1]);
	if (waitpid(child, &status, 0) < 0)
		return -errno;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EIO;
}

static int set_sysctl(const char *path)
{
	FILE *file = fopen(path, "w");

	if (!file)
		return -errno;
	fputs("1", file);
	return fclose(file) ? -errno : 0;
}

int world_know_neighbours(void)
{
	int r = set_sysctl("/proc/sys/net/ipv4/ip_forward");

	if (r == 0)
		r = set_sysctl("/proc/sys/net/ipv6/conf/all/forwarding");
	return r < 0 ? r : ip_batch(known_neighbours);
}

static void words_set(void *to, const char *text)
{
	struct polder_addr a = addr(text);

	memcpy(to, &a, sizeof(a));
}

static void range_set(struct polder_range *range, const char *text, int bits)
{
	range->addr = addr(text);
	if (addr_is_v4(&range->addr))
		bits += POLDER_V4_MAPPED_BITS;
	memset(&range->mask, 0, sizeof(range->mask));
	for (int i = 0; i < bits; i++)
		range->mask.bytes[i / 8] |= 0x80 >> i % 8;
}

static void config_fill(struct datapath_config *config, const struct world_options *options)
{
	memset(config, 0, sizeof(*config));
	config->flow4_sets = options->flow4_sets ? options->flow4_sets : 1024;
	config->flow6_sets = options->flow6_sets ? options->flow6_sets : 1024;
	config->fragment_sets = options->fragment_sets ? options->fragment_sets : 64;
	config->pods_mask = 4095;
	memcpy(config->gateway_mac, world_gateway_mac, 6);
	config->masquerade_port_min =
		options->masquerade_port_min ? options->masquerade_port_min : 40000;
	config->masquerade_port_max =
		options->masquerade_port_max ? options->masquerade_port_max : 49999;
	config->node_port_min = 30000;
	config->node_port_max = 32767;
	config->masquerade_v4 = config->masquerade_v6 = !options->no_masquerade;
	config->gateway_ipv4_be = addr("10.1.0.1").words_be[3];
	words_set(config->gateway_ipv6_be, "fd00:1::1");
	config->local_pods_mask = WORLD_LOCAL_PODS - 1;
	config->pod_range_ipv4_be = addr("10.1.0.0").words_be[3];
	config->pod_mask_ipv4_be = htonl(0xffffff00);
	memcpy(config->pod_range_ipv6_be, (struct polder_addr[]){addr("fd00:1::")}, 8);
	memset(config->pod_mask_ipv6_be, 0xff, 8);
	config->tunnel_vni = WORLD_VNI;
	config->tunnel_port_be = htons(WORLD_TUNNEL_PORT);
	config->stack_mark = WORLD_STACK_MARK;
	config->peer_mac_check = 1;
	config->made_packets = options->made_packets;
	config->own_range_count = 2;
	range_set(&config->own_range[0], "10.1.0.0", 24);
	range_set(&config->own_range[1], "fd00:1::", 64);
#ifndef __x86_64__
	config->weak_order = 1;
#endif
}

static const struct {
	const char *name;
	const void *(*elf)(size_t *size);
} hooks[HOOK_COUNT] = {
	[HOOK_FROM_POD] = {"from_pod", from_pod_bpf__elf_bytes},
	[HOOK_TO_POD] = {"to_pod", to_pod_bpf__elf_bytes},
	[HOOK_FROM_WIRE] = {"from_wire", from_wire_bpf__elf_bytes},
	[HOOK_TO_WIRE] = {"to_wire", to_wire_bpf__elf_bytes},
	[HOOK_FROM_TUNNEL] = {"from_tunnel", from_tunnel_bpf__elf_bytes},
	[HOOK_TO_TUNNEL] = {"to_tunnel", to_tunnel_bpf__elf_bytes},
	[HOOK_WIRE_XDP] = {"wire_xdp", wire_xdp_bpf__elf_bytes},
};

static int map_prepare(struct world *world, struct bpf_map *map,
		       const struct datapath_config *config)
{
	const char *name = bpf_map__name(map);
	size_t size;
	void *rodata;

	if (strstr(name, ".rodata")) {
		rodata = (void *)bpf_map__initial_value(map, &size);
		if (!rodata || size < sizeof(*config))
			return -EINVAL;
		memcpy(rodata, config, sizeof(*config));
		return 0;
	}
	for (int i = 0; i < HOOK_COUNT; i++) {
		struct bpf_map *known =
			world->objects[i] ? bpf_object__find_map_by_name(world->objects[i], name)
					  : NULL;

		if (known && bpf_map__fd(known) >= 0)
			return bpf_map__reuse_fd(map, bpf_map__fd(known));
	}
	if (!strcmp(name, "flows4") || !strcmp(name, "flow_tags4") || !strcmp(name, "flow_rules4"))
		return bpf_map__set_max_entries(map, config->flow4_sets);
	if (!strcmp(name, "flows6") || !strcmp(name, "flow_tags6") || !strcmp(name, "flow_rules6"))
		return bpf_map__set_max_entries(map, config->flow6_sets);
	if (!strcmp(name, "fragments"))
		return bpf_map__set_max_entries(map, config->fragment_sets);
	return 0;
}

/* POLDER_TEST_CAPTURE: the programs that capture, which decide the same, are put to the test. */
static bool is_capturing(void)
{
	return getenv("POLDER_TEST_CAPTURE");
}

/* The one entry program of two that is put to the test; of the other nothing is verified. */
static struct bpf_program *choose_program(struct bpf_object *object, int hook)
{
	struct bpf_program *program, *chosen = NULL;
	char name[64];

	snprintf(name, sizeof(name), "%s%s", hooks[hook].name, is_capturing() ? "_capture" : "");
	bpf_object__for_each_program(program, object)
	{
		if (!strcmp(bpf_program__name(program), name))
			chosen = program;
		else
			bpf_program__set_autoload(program, false);
	}
	return chosen;
}

static int hook_load(struct world *world, int hook, const struct datapath_config *config)
{
	struct bpf_program *program;
	struct bpf_object *object;
	struct bpf_map *map;
	const void *elf;
	size_t size;
	int r;

	elf = hooks[hook].elf(&size);
	object = bpf_object__open_mem(elf, size, NULL);
	if (!object)
		return -errno;
	bpf_object__for_each_map(map, object)
	{
		r = map_prepare(world, map, config);
		if (r < 0) {
			bpf_object__close(object);
			return r;
		}
	}
	program = choose_program(object, hook);
	r = program ? bpf_object__load(object) : -ENOENT;
	if (r < 0) {
		bpf_object__close(object);
		return r;
	}
	world->objects[hook] = object;
	world->programs[hook] = bpf_program__fd(program);
	return 0;
}

int world_map(const struct world *world, const char *name)
{
	for (int i = 0; i < HOOK_COUNT; i++) {
		int fd = bpf_object__find_map_fd_by_name(world->objects[i], name);

		if (fd >= 0)
			return fd;
	}
	give_up("no map", name, ENOENT);
}

void world_set(struct world *world, const char *map, const void *key, const void *value)
{
	if (bpf_map_update_elem(world_map(world, map), key, value, BPF_ANY))
		give_up("cannot write", map, errno);
}

void world_unset(struct world *world, const char *map, const void *key)
{
	if (bpf_map_delete_elem(world_map(world, map), key))
		give_up("cannot delete from", map, errno);
}

/* As the agent keeps both maps. */
static void set_local(struct world *world, const struct polder_addr *addr,
		      const struct address_entry *entry)
{
	uint32_t index = ntohl(addr->words_be[3]) % WORLD_LOCAL_PODS;
	struct local_pod_address local = {.addr = *addr};

	if (!(entry->flags & ADDRESS_POD && entry->flags & ADDRESS_LOCAL))
		return;
	local.entry = *entry;
	if (!addr_is_v4(addr))
		index += WORLD_LOCAL_PODS;
	world_set(world, "local_pods", &index, &local);
}

void world_set_address(struct world *world, const char *text, int bits,
		       const struct address_entry *entry)
{
	struct address_key key = {.addr = addr(text)};

	key.prefixlen = bits + (addr_is_v4(&key.addr) ? POLDER_V4_MAPPED_BITS : 0);
	world_set(world, "addresses", &key, entry);
	if (key.prefixlen == 128 && !world->trie_only)
		set_local(world, &key.addr, entry);
}

static void set_pod(struct world *world, int i, uint32_t egress, uint32_t ingress)
{
	const struct world_pod *pod = &world->pods[i];
	struct pod_entry entry = {
		.ifindex = pod->link,
		.flags = POD_READY | (pod->limited ? POD_LIMITED : 0),
		.mtu = WORLD_POD_MTU,
		.ipv4_be = pod->v4.words_be[3],
		.identity = {pod->identity, pod->identity},
		.egress_rules = {egress, egress},
		.ingress_rules = {ingress, ingress},
	};

	memcpy(entry.mac, pod->mac, 6);
	memcpy(entry.ipv6_be, &pod->v6, 16);
	world_set(world, "pods", &pod->link, &entry);
}

void world_set_rules(struct world *world, int pod, uint32_t egress, uint32_t ingress)
{
	set_pod(world, pod, egress, ingress);
}

void world_limit_pod(struct world *world, int pod, bool limited)
{
	world->pods[pod].limited = limited;
	set_pod(world, pod, RULESET_OPEN, RULESET_OPEN);
}

static void add_pod(struct world *world, int i)
{
	struct world_pod *pod = &world->pods[i];
	char v4[32], v6[48];
	struct address_entry entry = {.flags = ADDRESS_POD | ADDRESS_LOCAL};

	pod->link = 11 + i;
	pod->identity = IDENTITY_FIRST_POD + i;
	memcpy(pod->mac, (uint8_t[6]){0x02, 0, 0, 0, 0x01, 11 + i}, 6);
	snprintf(v4, sizeof(v4), "10.1.0.%d", 11 + i);
	snprintf(v6, sizeof(v6), "fd00:1::%d", 11 + i);
	pod->v4 = addr(v4);
	pod->v6 = addr(v6);
	entry.ifindex = pod->link;
	entry.identity[0] = entry.identity[1] = pod->identity;
	set_pod(world, i, RULESET_OPEN, RULESET_OPEN);
	world_set_address(world, v4, 32, &entry);
	world_set_address(world, v6, 128, &entry);
}

static void add_range(struct world *world, const char *v4, int bits4, const char *v6, int bits6,
		      uint32_t flags, uint32_t identity)
{
	struct address_entry entry = {.flags = flags, .identity = {identity, identity}};

	world_set_address(world, v4, bits4, &entry);
	world_set_address(world, v6, bits6, &entry);
}

void world_set_egress(struct world *world, const char *text, int bits,
		      const struct egress_route *way)
{
	struct address_key key = {.addr = addr(text)};

	key.prefixlen = bits + (addr_is_v4(&key.addr) ? POLDER_V4_MAPPED_BITS : 0);
	world_set(world, "egress_routes", &key, way);
}

static void add_ways(struct world *world)
{
	static const char *const nodes[] = {"192.168.7.1", "fd00:7::1"};
	static const char *const all[] = {"0.0.0.0", "::"};
	struct node_addresses node = {.ipv4_be = addr(nodes[0]).words_be[3]};
	uint32_t zero = 0;

	words_set(node.ipv6_be, nodes[1]);
	world_set(world, "this_node", &zero, &node);
	for (int i = 0; i < 2; i++) {
		struct egress_route way = {.source = addr(nodes[i]), .ifindex = WORLD_UPLINK};

		world_set_egress(world, all[i], 0, &way);
		world_set_egress(world, nodes[i], i ? 128 : 32, &way);
	}
}

static void control_write(struct world *world)
{
	uint32_t zero = 0;

	world_set(world, "control", &zero, &world->control);
}

static void world_fill(struct world *world)
{
	struct next_hop uplink = {
		.claim = HOP_READY, .ifindex = WORLD_UPLINK, .mtu = WORLD_UPLINK_MTU};
	uint32_t zero = 0;

	world->control = (struct control){
		.generation = GENERATION_FIRST,
		.hash_seed = {0x0123456789abcdefULL, 0xfedcba9876543210ULL},
	};
	control_write(world);
	world_set(world, "next_hops", &zero, &uplink);
	add_ways(world);
	for (int i = 0; i < WORLD_PODS; i++)
		add_pod(world, i);
	add_range(world, "10.1.0.0", 24, "fd00:1::", 64, ADDRESS_POD_RANGE | ADDRESS_LOCAL,
		  IDENTITY_UNKNOWN_POD);
	add_range(world, "10.2.0.0", 16, "fd00:2::", 64, ADDRESS_POD_RANGE, IDENTITY_UNKNOWN_POD);
	add_range(world, "10.2.0.5", 32, "fd00:2::5", 128, ADDRESS_POD, 300);
	add_range(world, "192.168.7.1", 32, "fd00:7::1", 128,
		  ADDRESS_NODE | ADDRESS_LOCAL | ADDRESS_NODE_PORTS, IDENTITY_HOST);
	add_range(world, "192.168.7.2", 32, "fd00:7::2", 128, ADDRESS_NODE, IDENTITY_REMOTE_NODE);
}

/* The program that gives packets a tunnel's key, before from_tunnel. */
static int entry_load(struct world *world)
{
	struct bpf_object *object = NULL;
	uint32_t zero = 0;
	size_t size;
	const void *elf = tunnel_entry_bpf__elf_bytes(&size);

	object = bpf_object__open_mem(elf, size, NULL);
	if (!object)
		return -errno;
	world->tunnel_entry = object;
	if (bpf_object__load(object) < 0 ||
	    bpf_map_update_elem(bpf_object__find_map_fd_by_name(object, "target"), &zero,
				&world->programs[HOOK_FROM_TUNNEL], BPF_ANY) < 0)
		return -errno;
	return 0;
}

/* Somebody wants all packets. */
static void begin_capture(struct world *world)
{
	const struct capture_filter all = {.active = 1, .snaplen = CAPTURE_SNAPLEN};
	uint32_t first = 0;

	if (is_capturing())
		world_set(world, "capture_filters", &first, &all);
}

int world_open(const struct world_options *options, struct world **ret_world)
{
	static const struct world_options defaults;
	struct datapath_config config;
	struct world *world;
	int r = 0;

	if (!options)
		options = &defaults;
	if (!options->outer_namespace && (unshare(CLONE_NEWNET) < 0 || (r = ip_batch(links)) < 0))
		return r < 0 ? r : -errno;
	world = calloc(1, sizeof(*world));
	if (!world)
		return -ENOMEM;
	config_fill(&config, options);
	for (int i = 0; i < HOOK_COUNT; i++) {
		r = hook_load(world, i, &config);
		if (r < 0) {
			world_close(&world);
			return r;
		}
	}
	r = entry_load(world);
	if (r < 0) {
		world_close(&world);
		return r;
	}
	world_fill(world);
	begin_capture(world);
	*ret_world = world;
	return 0;
}

void world_close(struct world **world)
{
	if (!*world)
		return;
	for (int i = 0; i < HOOK_COUNT; i++)
		bpf_object__close((*world)->objects[i]);
	bpf_object__close((*world)->tunnel_entry);
	free(*world);
	*world = NULL;
}

void world_move_generation(struct world *world, uint32_t by)
{
	world->control.generation += by;
	control_write(world);
}

void world_switch_slots(struct world *world)
{
	world->control.slot = !world->control.slot;
	control_write(world);
}

static void flows_clear(struct world *world, const char *name, size_t set_size)
{
	struct bpf_map *map = bpf_object__find_map_by_name(world->objects[HOOK_FROM_POD], name);
	size_t size = bpf_map__max_entries(map) * set_size;
	void *table = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);

	if (table == MAP_FAILED)
		give_up("cannot map", name, errno);
	memset(table, 0, size);
	munmap(table, size);
}

void world_forget_flows(struct world *world)
{
	static const struct fragment_set none;
	struct bpf_map *map =
		bpf_object__find_map_by_name(world->objects[HOOK_FROM_POD], "fragments");

	flows_clear(world, "flows4", sizeof(struct flow4_set));
	flows_clear(world, "flows6", sizeof(struct flow6_set));
	flows_clear(world, "flow_tags4", sizeof(uint64_t));
	flows_clear(world, "flow_tags6", sizeof(uint64_t));
	flows_clear(world, "flow_usage", sizeof(struct flow_usage));
	for (uint32_t i = 0; i < bpf_map__max_entries(map); i++)
		world_set(world, "fragments", &i, &none);
}

uint64_t world_counter(const struct world *world, enum polder_counter which)
{
	int cpus = libbpf_num_possible_cpus();
	uint64_t values[cpus], sum = 0;
	uint32_t key = which;

	if (bpf_map_lookup_elem(world_map(world, "counters"), &key, values))
		give_up("cannot read", "counters", errno);
	for (int i = 0; i < cpus; i++)
		sum += values[i];
	return sum;
}

struct drop_totals {
	uint64_t packets[REASON_COUNT * DROP_HOOKS];
};

static void drops_read(const struct world *world, struct drop_totals *totals)
{
	enum { COUNTERS = REASON_COUNT * DROP_HOOKS };
	int fd = world_map(world, "drops"), cpus = libbpf_num_possible_cpus();
	struct drop_counter values[COUNTERS * cpus];
	uint32_t keys[COUNTERS], next, count = COUNTERS;

	if (bpf_map_lookup_batch(fd, NULL, &next, keys, values, &count, NULL) && errno != ENOENT)
		give_up("cannot read", "drops", errno);
	memset(totals, 0, sizeof(*totals));
	for (uint32_t i = 0; i < count; i++)
		for (int cpu = 0; cpu < cpus; cpu++)
			totals->packets[keys[i]] += values[i * cpus + cpu].packets;
}

static struct world_result run_program(struct world *world, enum world_hook hook, int program,
				       struct __sk_buff *skb, const struct frame *frame)
{
	struct world_result result = {0};
	struct xdp_md xdp = {.data_end = frame->length, .ingress_ifindex = skb->ifindex};
	struct drop_totals before, after;
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame->bytes,
		    .data_size_in = frame->length, .data_out = result.out.bytes,
		    .data_size_out = sizeof(result.out.bytes), .ctx_in = skb,
		    .ctx_size_in = sizeof(*skb), .ctx_out = skb, .ctx_size_out = sizeof(*skb),
		    .repeat = 1);

	if (hook == HOOK_WIRE_XDP) {
		options.ctx_out = NULL;
		options.ctx_size_out = 0;
		options.ctx_in = &xdp;
		options.ctx_size_in = sizeof(xdp);
	}
	drops_read(world, &before);
	if (bpf_prog_test_run_opts(program, &options))
		give_up("cannot run", hooks[hook].name, errno);
	drops_read(world, &after);
	result.verdict = options.retval;
	result.out.length = options.data_size_out;
	for (uint32_t i = 0; i < REASON_COUNT * DROP_HOOKS; i++) {
		if (after.packets[i] == before.packets[i])
			continue;
		result.reason = i / DROP_HOOKS;
		result.hook = i % DROP_HOOKS;
		result.drops += after.packets[i] - before.packets[i];
	}
	return result;
}

static struct world_result run(struct world *world, enum world_hook hook, struct __sk_buff *skb,
			       const struct frame *frame)
{
	return run_program(world, hook, world->programs[hook], skb, frame);
}

struct world_result world_run_tunnelled(struct world *world, const char *sender, uint32_t vni,
					const struct frame *frame)
{
	struct __sk_buff skb = {.ifindex = WORLD_TUNNEL, .ingress_ifindex = WORLD_TUNNEL};
	struct {
		struct polder_addr sender;
		uint32_t vni;
	} outer = {addr(sender), vni};
	uint32_t zero = 0;

	if (bpf_map_update_elem(bpf_object__find_map_fd_by_name(world->tunnel_entry, "outer"),
				&zero, &outer, BPF_ANY))
		give_up("cannot write", "outer", errno);
	return run_program(world, HOOK_FROM_TUNNEL,
			   bpf_program__fd(bpf_object__next_program(world->tunnel_entry, NULL)),
			   &skb, frame);
}

struct world_result world_run(struct world *world, enum world_hook hook, uint32_t link,
			      uint32_t ingress, const struct frame *frame)
{
	struct __sk_buff skb = {.ifindex = link, .ingress_ifindex = ingress};

	return run(world, hook, &skb, frame);
}

struct world_result world_run_skb(struct world *world, enum world_hook hook, struct __sk_buff *skb,
				  const struct frame *frame)
{
	return run(world, hook, skb, frame);
}

struct world_result world_run_gso(struct world *world, enum world_hook hook, uint32_t link,
				  const struct frame *frame, uint32_t gso_segments,
				  uint32_t gso_size)
{
	struct __sk_buff skb = {.ifindex = link,
				.ingress_ifindex = link,
				.gso_segs = gso_segments,
				.gso_size = gso_size};

	return run(world, hook, &skb, frame);
}

bool world_run_linear(struct world *world, enum world_hook hook, uint32_t link,
		      const struct frame *frame, uint32_t linear, struct world_result *ret_result)
{
	struct __sk_buff skb = {.ifindex = link, .ingress_ifindex = link, .data_end = linear};
	LIBBPF_OPTS(bpf_test_run_opts, probe, .data_in = frame->bytes,
		    .data_size_in = frame->length, .ctx_in = &skb, .ctx_size_in = sizeof(skb));

	if (bpf_prog_test_run_opts(world->programs[hook], &probe))
		return false;
	*ret_result = run(world, hook, &skb, frame);
	return true;
}

int world_step(struct world *world, enum world_hook hook, uint32_t link, const struct frame *frame)
{
	struct __sk_buff skb = {.ifindex = link, .ingress_ifindex = link};
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame->bytes,
		    .data_size_in = frame->length, .ctx_in = &skb, .ctx_size_in = sizeof(skb),
		    .repeat = 1);

	return bpf_prog_test_run_opts(world->programs[hook], &options) ? -errno
								       : (int)options.retval;
}

int world_pass(struct world *world, enum world_hook hook, uint32_t link, const struct frame *frame,
	       struct frame *ret_out)
{
	struct __sk_buff skb = {.ifindex = link, .ingress_ifindex = link};
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame->bytes,
		    .data_size_in = frame->length, .data_out = ret_out->bytes,
		    .data_size_out = sizeof(ret_out->bytes), .ctx_in = &skb,
		    .ctx_size_in = sizeof(skb), .repeat = 1);

	if (bpf_prog_test_run_opts(world->programs[hook], &options))
		return -errno;
	ret_out->length = options.data_size_out;
	return options.retval;
}

uint64_t world_drops(const struct world *world, enum polder_reason reason)
{
	struct drop_totals totals;
	uint64_t sum = 0;

	drops_read(world, &totals);
	for (int i = 0; i < DROP_HOOKS; i++)
		sum += totals.packets[reason * DROP_HOOKS + i];
	return sum;
}

struct flow_tuple world_tuple(const struct frame_spec *spec, enum polder_zone zone)
{
	struct flow_tuple tuple = {.proto = spec->proto, .zone = zone};
	bool icmp = spec->proto == IPPROTO_ICMP || spec->proto == IPPROTO_ICMPV6;

	tuple.sport_be = htons(spec->sport);
	tuple.dport_be = htons(icmp ? spec->icmp_type << 8 : spec->dport);
	if (addr_is_v4(&spec->source)) {
		tuple.v4.saddr_be = spec->source.words_be[3];
		tuple.v4.daddr_be = spec->destination.words_be[3];
	} else {
		memcpy(tuple.v6.saddr_be, &spec->source, 16);
		memcpy(tuple.v6.daddr_be, &spec->destination, 16);
	}
	return tuple;
}

/* Both families' tables are read the same way: `each` sees the head of every entry of the tuple, or
 * with NULL of every entry. */
static size_t each_entry_in(struct world *world, bool v4, const struct flow_tuple *tuple,
			    void (*each)(struct flow_head *head, void *data), void *data)
{
	const char *name = v4 ? "flows4" : "flows6";
	size_t words = v4 ? FLOW_WORDS_V4 : FLOW_WORDS_V6;
	size_t step = v4 ? sizeof(struct flow4) : sizeof(struct flow6), count = 0;
	size_t ways = FLOW_WAYS * bpf_map__max_entries(bpf_object__find_map_by_name(
					  world->objects[HOOK_FROM_POD], name));
	uint8_t *table = mmap(NULL, ways * step, PROT_READ | PROT_WRITE, MAP_SHARED,
			      world_map(world, name), 0);

	if (table == MAP_FAILED)
		give_up("cannot map", name, errno);
	for (uint8_t *entry = table; entry < table + ways * step; entry += step) {
		struct flow_head *head = (struct flow_head *)(entry + words * sizeof(uint64_t));

		if (!head->generation ||
		    (tuple && memcmp(entry, tuple->words, words * sizeof(uint64_t)) != 0))
			continue;
		if (each)
			each(head, data);
		count++;
	}
	munmap(table, ways * step);
	return count;
}

static size_t each_entry_of(struct world *world, const struct flow_tuple *tuple,
			    void (*each)(struct flow_head *head, void *data), void *data)
{
	static const uint64_t zeros[FLOW_WORDS_V6 - FLOW_WORDS_V4];
	bool v4 = !memcmp(tuple->words + FLOW_WORDS_V4, zeros, sizeof(zeros));

	return each_entry_in(world, v4, tuple, each, data);
}

static void head_copy(struct flow_head *head, void *data)
{
	*(struct flow_head *)data = *head;
}

size_t world_flow_find(struct world *world, const struct flow_tuple *tuple,
		       struct flow_head *ret_head)
{
	return each_entry_of(world, tuple, ret_head ? head_copy : NULL, ret_head);
}

static void head_age(struct flow_head *head, void *data)
{
	head->last -= *(uint32_t *)data;
}

void world_flow_age(struct world *world, const struct flow_tuple *tuple, uint32_t ticks)
{
	if (!each_entry_of(world, tuple, head_age, &ticks))
		give_up("cannot age", "a flow that is not there", ENOENT);
}

void world_flows_age(struct world *world, uint32_t ticks)
{
	each_entry_in(world, true, NULL, head_age, &ticks);
	each_entry_in(world, false, NULL, head_age, &ticks);
}

static void head_hold(struct flow_head *head, void *data)
{
	(void)data;
	__atomic_fetch_or(&head->seq, 1, __ATOMIC_SEQ_CST);
}

void world_flow_hold(struct world *world, const struct flow_tuple *tuple)
{
	if (!each_entry_of(world, tuple, head_hold, NULL))
		give_up("cannot hold", "a flow that is not there", ENOENT);
}

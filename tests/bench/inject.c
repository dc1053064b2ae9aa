/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sends frames through a node on one CPU and counts them where they arrive, at the ingress of the
 * receiver's link.
 *
 * bench-inject LINK RECEIVER-NAMESPACE RECEIVER-LINK, run in the node's namespace. Each line of
 * standard input is a run: established|new COUNT SOURCE-MAC SOURCE-IP SOURCE-PORT DESTINATION-IP
 * DESTINATION-PORT and is answered by "SECONDS ARRIVED". With `new` each frame is a SYN from
 * another port, from SOURCE-PORT up.
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/pkt_cls.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/inject.h"
#include "tests/bpf/frame.h"

#include "inject.skel.h"

#define ARRIVAL_LIMIT 0.5 /* seconds that the last frames may take */

struct path {
	struct inject_bpf *bpf;
	uint32_t link;
	uint8_t mac[6]; /* of the link: the frames' destination */
	int receiver_namespace;
	uint32_t receiver_link;
};

_Noreturn static void fail(const char *what, int error)
{
	fprintf(stderr, "bench-inject: %s: %s\n", what, strerror(error < 0 ? -error : error));
	exit(1);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static uint64_t arrived(const struct path *path)
{
	int cpus = libbpf_num_possible_cpus();
	uint64_t counts[cpus], sum = 0;
	uint32_t zero = 0;

	if (bpf_map_lookup_elem(bpf_map__fd(path->bpf->maps.arrived), &zero, counts))
		fail("reading the count", errno);
	for (int i = 0; i < cpus; i++)
		sum += counts[i];
	return sum;
}

/* Attaches or removes the counting program, in the receiver's namespace. */
static void receiver(struct path *path, bool attach)
{
	DECLARE_LIBBPF_OPTS(bpf_tc_hook, hook, .attach_point = BPF_TC_INGRESS);
	DECLARE_LIBBPF_OPTS(bpf_tc_opts, options, .handle = 1, .priority = 1,
			    .prog_fd = bpf_program__fd(path->bpf->progs.arrive));
	int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), r;

	if (own < 0 || setns(path->receiver_namespace, CLONE_NEWNET) < 0)
		fail("entering the receiver's namespace", errno);
	hook.ifindex = path->receiver_link;
	if (attach) {
		r = bpf_tc_hook_create(&hook);
		if (r < 0 && r != -EEXIST)
			fail("preparing the receiver's link", r);
		r = bpf_tc_attach(&hook, &options);
		if (r < 0)
			fail("attaching to the receiver's link", r);
	} else {
		hook.attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS;
		bpf_tc_hook_destroy(&hook);
	}
	if (setns(own, CLONE_NEWNET) < 0)
		fail("coming back from the receiver's namespace", errno);
	close(own);
}

static void keep(const struct path *path, bool attach)
{
	int fd = attach ? bpf_program__fd(path->bpf->progs.keep) : -1;
	int r = bpf_xdp_attach(path->link, fd, XDP_FLAGS_DRV_MODE, NULL);

	if (r < 0 && attach)
		fail("attaching XDP to the link", r);
}

/* One run: seconds from the first frame to the last one's arrival. */
static double run(struct path *path, uint64_t count, struct inject *in, uint64_t *ret_arrived)
{
	uint64_t before = arrived(path), seen = before;
	struct xdp_md context = {.data_end = INJECT_LENGTH, .ingress_ifindex = path->link};
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = in->frame, .data_size_in = INJECT_LENGTH,
		    .ctx_in = &context, .ctx_size_in = sizeof(context), .repeat = (int)count,
		    .flags = BPF_F_TEST_XDP_LIVE_FRAMES);
	double begun, ended;
	uint32_t zero = 0;

	if (bpf_map_update_elem(bpf_map__fd(path->bpf->maps.injects), &zero, in, BPF_ANY))
		fail("writing the frame", errno);
	begun = now();
	if (bpf_prog_test_run_opts(bpf_program__fd(path->bpf->progs.inject), &options))
		fail("sending frames", errno);
	ended = now();
	while ((seen = arrived(path)) - before < count && now() - ended < ARRIVAL_LIMIT)
		sched_yield();
	if (seen - before == count)
		ended = now();
	*ret_arrived = seen - before;
	return ended - begun;
}

static void read_mac(const char *text, uint8_t mac[6])
{
	if (sscanf(text, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", mac, mac + 1, mac + 2, mac + 3, mac + 4,
		   mac + 5) != 6)
		fail(text, EINVAL);
}

static void answer(struct path *path, const char *line)
{
	char kind[16], mac[32], source[32], destination[32];
	unsigned long count, sport, dport;
	struct frame_spec spec = {
		.proto = IPPROTO_TCP, .flags = FRAME_DONT_FRAGMENT, .payload_length = 10};
	struct inject in = {0};
	struct frame frame;
	uint64_t reached;
	double seconds;

	if (sscanf(line, "%15s %lu %31s %31s %lu %31s %lu", kind, &count, mac, source, &sport,
		   destination, &dport) != 7)
		fail(line, EINVAL);
	in.fresh = !strcmp(kind, "new");
	in.port_first = in.port = sport;
	read_mac(mac, spec.mac_source);
	memcpy(spec.mac_destination, path->mac, 6);
	spec.source = addr(source);
	spec.destination = addr(destination);
	spec.sport = sport;
	spec.dport = dport;
	spec.tcp_flags = in.fresh ? 0x02 : 0x10;
	frame_make(&frame, &spec);
	memcpy(in.frame, frame.bytes, INJECT_LENGTH);
	seconds = run(path, count, &in, &reached);
	printf("%.9f %lu\n", seconds, reached);
	fflush(stdout);
}

static void find_mac(struct path *path, const char *link)
{
	struct ifreq request = {0};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", link);
	if (fd < 0 || ioctl(fd, SIOCGIFHWADDR, &request) < 0)
		fail(link, errno);
	memcpy(path->mac, request.ifr_hwaddr.sa_data, 6);
	close(fd);
}

static uint32_t link_in(int namespace, const char *name)
{
	int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	uint32_t index;

	if (own < 0 || setns(namespace, CLONE_NEWNET) < 0)
		fail("entering the receiver's namespace", errno);
	index = if_nametoindex(name);
	if (setns(own, CLONE_NEWNET) < 0 || !index)
		fail(name, ENODEV);
	close(own);
	return index;
}

int main(int argc, char **argv)
{
	struct path path = {0};
	char line[256];

	if (argc != 4) {
		fprintf(stderr, "usage: bench-inject LINK RECEIVER-NAMESPACE RECEIVER-LINK\n");
		return 2;
	}
	path.link = if_nametoindex(argv[1]);
	path.receiver_namespace = open(argv[2], O_RDONLY | O_CLOEXEC);
	if (!path.link || path.receiver_namespace < 0)
		fail(path.link ? argv[2] : argv[1], errno);
	find_mac(&path, argv[1]);
	path.receiver_link = link_in(path.receiver_namespace, argv[3]);
	path.bpf = inject_bpf__open_and_load();
	if (!path.bpf)
		fail("loading the programs", errno);
	while (fgets(line, sizeof(line), stdin)) {
		receiver(&path, true);
		keep(&path, true);
		answer(&path, line);
		keep(&path, false);
		receiver(&path, false);
	}
	inject_bpf__destroy(path.bpf);
	close(path.receiver_namespace);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sends frames from a pod's link as fast as one core can, and counts them at the ingress of the
 * receiver's link.
 *
 *   bench-forward RECEIVER-NAMESPACE ADDRESS PORT GATEWAY-MAC established|new COUNT
 *
 * Run in the sending pod's namespace; both pods' links are eth0. "established": acknowledgements of
 * a real connection to ADDRESS; "new": a SYN from another port each, from FIRST_PORT up. Prints
 * frames a second and how many of them arrived.
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/forward.h"

#include "forward.skel.h"

#define BATCH	      64
#define FIRST_PORT    1024
#define FRAMES_MAX    (65536 - FIRST_PORT)
#define ARRIVAL_LIMIT 0.5 /* seconds that the last frames may take */

struct frame {
	struct ether_header ethernet;
	struct iphdr ip;
	struct tcphdr tcp;
} __attribute__((packed));

_Static_assert(sizeof(struct frame) == FORWARD_LENGTH, "headers only");

_Noreturn static void fail(const char *what, int error)
{
	fprintf(stderr, "bench-forward: %s: %s\n", what, strerror(error < 0 ? -error : error));
	exit(1);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static uint32_t add_words(uint32_t sum, const void *data, size_t length)
{
	const uint8_t *bytes = data;

	for (size_t i = 0; i + 1 < length; i += 2)
		sum += bytes[i] << 8 | bytes[i + 1];
	return sum;
}

static uint16_t folded(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons(~sum);
}

static void write_sums(struct frame *frame)
{
	uint32_t sum = IPPROTO_TCP + sizeof(frame->tcp);

	frame->ip.check = 0;
	frame->ip.check = folded(add_words(0, &frame->ip, sizeof(frame->ip)));
	frame->tcp.check = 0;
	sum = add_words(sum, &frame->ip.saddr, 8);
	frame->tcp.check = folded(add_words(sum, &frame->tcp, sizeof(frame->tcp)));
}

/* Counts at RECEIVER's eth0; the program goes with its filter when detached. */
static void receiver(struct forward_bpf *bpf, int namespace, bool attach)
{
	DECLARE_LIBBPF_OPTS(bpf_tc_hook, hook, .attach_point = BPF_TC_INGRESS);
	DECLARE_LIBBPF_OPTS(bpf_tc_opts, options, .handle = 1, .priority = 1,
			    .prog_fd = bpf_program__fd(bpf->progs.arrive));
	int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), r;

	if (own < 0 || setns(namespace, CLONE_NEWNET) < 0)
		fail("entering the receiver's namespace", errno);
	hook.ifindex = if_nametoindex("eth0");
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

static uint64_t arrived(struct forward_bpf *bpf)
{
	uint64_t count;
	uint32_t zero = 0;

	if (bpf_map_lookup_elem(bpf_map__fd(bpf->maps.arrived), &zero, &count))
		fail("reading the count", errno);
	return count;
}

static int packet_socket(uint8_t mac[6])
{
	struct sockaddr_ll link = {.sll_family = AF_PACKET, .sll_ifindex = if_nametoindex("eth0")};
	struct ifreq request = {.ifr_name = "eth0"};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0), one = 1, size = 4 << 20;

	if (fd < 0 || bind(fd, (struct sockaddr *)&link, sizeof(link)) < 0 ||
	    setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof(one)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0 ||
	    ioctl(fd, SIOCGIFHWADDR, &request) < 0)
		fail("opening eth0", errno);
	memcpy(mac, request.ifr_hwaddr.sa_data, 6);
	return fd;
}

/* A connection with one exchange behind it, and where its stream stands. */
static int established(const struct sockaddr_in *address, struct frame *frame)
{
	struct sockaddr_in own;
	socklen_t own_size = sizeof(own), size = sizeof(uint32_t);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1, off = -1;
	uint32_t sequence[2];
	char byte = 'x';

	if (fd < 0 || connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ||
	    write(fd, &byte, 1) != 1 || read(fd, &byte, 1) != 1)
		fail("connecting", errno);
	if (getsockname(fd, (struct sockaddr *)&own, &own_size) < 0 ||
	    setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &on, sizeof(on)) < 0)
		fail("looking into the connection", errno);
	for (int queue = TCP_RECV_QUEUE; queue <= TCP_SEND_QUEUE; queue++)
		if (setsockopt(fd, IPPROTO_TCP, TCP_REPAIR_QUEUE, &queue, sizeof(queue)) < 0 ||
		    getsockopt(fd, IPPROTO_TCP, TCP_QUEUE_SEQ, &sequence[queue - TCP_RECV_QUEUE],
			       &size) < 0)
			fail("reading sequence numbers", errno);
	if (setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &off, sizeof(off)) < 0)
		fail("leaving the connection", errno);
	frame->tcp.source = own.sin_port;
	frame->tcp.ack_seq = htonl(sequence[0]);
	frame->tcp.seq = htonl(sequence[1]);
	frame->tcp.ack = 1;
	return fd;
}

static struct in_addr own_address(const struct sockaddr_in *to)
{
	struct sockaddr_in own;
	socklen_t size = sizeof(own);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (const struct sockaddr *)to, sizeof(*to)) < 0 ||
	    getsockname(fd, (struct sockaddr *)&own, &size) < 0)
		fail("finding the own address", errno);
	close(fd);
	return own.sin_addr;
}

/* Returns how many frames there are: one for all, or `count` that differ in their port. */
static size_t make_frames(struct frame *frames, bool new, size_t count)
{
	if (!new) {
		write_sums(&frames[0]);
		return 1;
	}
	for (size_t i = 0; i < count; i++) {
		frames[i] = frames[0];
		frames[i].tcp.source = htons(FIRST_PORT + i);
		frames[i].tcp.syn = 1;
		write_sums(&frames[i]);
	}
	return count;
}

static void send_all(int fd, struct frame *frames, size_t frame_count, size_t count)
{
	struct mmsghdr messages[BATCH] = {0};
	struct iovec vectors[BATCH];
	size_t sent = 0;

	while (sent < count) {
		int want = count - sent < BATCH ? (int)(count - sent) : BATCH, done;

		for (int i = 0; i < want; i++) {
			vectors[i] =
				(struct iovec){&frames[(sent + i) % frame_count], sizeof(*frames)};
			messages[i].msg_hdr.msg_iov = &vectors[i];
			messages[i].msg_hdr.msg_iovlen = 1;
		}
		done = sendmmsg(fd, messages, want, 0);
		if (done < 0 && errno != ENOBUFS && errno != EINTR)
			fail("sending", errno);
		sent += done > 0 ? done : 0;
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_in to = {.sin_family = AF_INET};
	struct frame *frames = calloc(FRAMES_MAX, sizeof(*frames)), *first = frames;
	bool new = argc == 7 && !strcmp(argv[5], "new");
	size_t count = argc == 7 ? strtoul(argv[6], NULL, 10) : 0, frame_count;
	int namespace, fd, connection = -1;
	struct forward_bpf *bpf;
	double begun, ended;
	uint8_t *mac;

	if (!frames || !count || (new &&count > FRAMES_MAX)) {
		fprintf(stderr, "usage: bench-forward RECEIVER-NAMESPACE ADDRESS PORT GATEWAY-MAC "
				"established|new COUNT\n");
		return 2;
	}
	namespace = open(argv[1], O_RDONLY | O_CLOEXEC);
	if (namespace < 0 || inet_pton(AF_INET, argv[2], &to.sin_addr) != 1)
		fail(argv[namespace < 0 ? 1 : 2], namespace < 0 ? errno : EINVAL);
	to.sin_port = htons(atoi(argv[3]));
	mac = first->ethernet.ether_dhost;
	if (sscanf(argv[4], "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", mac, mac + 1, mac + 2, mac + 3,
		   mac + 4, mac + 5) != 6)
		fail(argv[4], EINVAL);
	fd = packet_socket(first->ethernet.ether_shost);
	first->ethernet.ether_type = htons(ETHERTYPE_IP);
	first->ip = (struct iphdr){.version = 4,
				   .ihl = 5,
				   .tot_len = htons(40),
				   .frag_off = htons(IP_DF),
				   .ttl = 64,
				   .protocol = IPPROTO_TCP,
				   .saddr = own_address(&to).s_addr,
				   .daddr = to.sin_addr.s_addr};
	first->tcp = (struct tcphdr){.dest = to.sin_port, .doff = 5, .window = htons(501)};
	if (!new)
		connection = established(&to, first);
	frame_count = make_frames(frames, new, count);
	bpf = forward_bpf__open_and_load();
	if (!bpf)
		fail("loading the program that counts", errno);
	receiver(bpf, namespace, true);
	begun = now();
	send_all(fd, frames, frame_count, count);
	ended = now();
	while (arrived(bpf) < count && now() - ended < ARRIVAL_LIMIT)
		sched_yield();
	receiver(bpf, namespace, false);
	printf("%.1f %lu\n", count / (ended - begun), (unsigned long)arrived(bpf));
	forward_bpf__destroy(bpf);
	free(frames);
	if (connection >= 0)
		close(connection);
	close(fd);
	close(namespace);
	return 0;
}

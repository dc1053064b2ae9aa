/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The wire that a node's uplink is at: sends the node frames of clients for its node ports, and
 * takes what it forwards to other nodes, where it counts and drops it. All on the CPU that it runs
 * on, the node's work included, unless that is said.
 *
 * bench-wire LINK NODE-MAC CLIENT-MAC CLIENT NODE FIRST-NODE-PORT SERVICES ENDPOINT
 *
 * LINK is the uplink's other side, in the namespace that this runs in. SERVICES, a power of two,
 * have node ports in a row. Each line of standard input is answered by one:
 *
 *   open FLOWS           connections, their SYNs answered by the endpoint: how many came about
 *   send FLOWS COUNT     their frames in turn: "SECONDS FORWARDED OTHER"
 *   pace FLOWS RATE SECONDS    the same in bursts, so many a second: "SECONDS FORWARDED"
 *   flood FLOWS RATE SECONDS   the same from another CPU
 *   alone COUNT          frames for a link whose other side drops them: "SECONDS 0 0"
 *
 * bench-wire drop LINK   makes LINK drop all that comes in, until the end of its input; prints
 *                        "dropping", then how many frames came.
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <limits.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/wire.h"
#include "tests/bpf/frame.h"

#include "wire.skel.h"

#define FIRST_PORT    1024
#define FLOWS_MAX     31744 /* below the ports of processes */
#define SEQ	      1000
#define SYN	      0x02
#define ACK	      0x10
#define ARRIVAL_LIMIT 0.2 /* seconds that the last frames may take */

struct wire {
	struct wire_bpf *bpf;
	struct wire_run run;
	struct frame_spec spec;
};

_Noreturn static void fail(const char *what, int error)
{
	fprintf(stderr, "bench-wire: %s: %s\n", what, strerror(error < 0 ? -error : error));
	exit(1);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* On all CPUs. */
static struct wire_counts counted(const struct wire *wire)
{
	int cpus = libbpf_num_possible_cpus();
	struct wire_counts counts[cpus], sum = {0};
	uint32_t zero = 0;

	if (bpf_map_lookup_elem(bpf_map__fd(wire->bpf->maps.counts), &zero, counts))
		fail("reading the counts", errno);
	for (int i = 0; i < cpus; i++) {
		sum.forwarded += counts[i].forwarded;
		sum.answered += counts[i].answered;
		sum.other += counts[i].other;
		if (counts[i].ended > sum.ended)
			sum.ended = counts[i].ended;
	}
	return sum;
}

static void count_anew(const struct wire *wire, unsigned long expected)
{
	int cpus = libbpf_num_possible_cpus();
	struct wire_counts counts[cpus];
	uint32_t zero = 0;

	memset(counts, 0, sizeof(counts));
	for (int i = 0; i < cpus; i++)
		counts[i].expected = expected;
	if (bpf_map_update_elem(bpf_map__fd(wire->bpf->maps.counts), &zero, counts, BPF_ANY))
		fail("writing the counts", errno);
}

/* What is sent from now on: `flags` of TCP, `count` frames round so many flows from the first one.
 */
static void prepare(struct wire *wire, uint8_t flags, unsigned long flows, unsigned long count)
{
	struct frame frame;
	uint32_t zero = 0;

	if (!flows || flows > FLOWS_MAX)
		fail("number of flows", EINVAL);
	wire->spec.tcp_flags = flags;
	wire->spec.seq = flags == SYN ? SEQ : SEQ + 1;
	wire->spec.ack = flags == SYN ? 0 : WIRE_ANSWER_SEQ + 1;
	frame_make(&frame, &wire->spec);
	memcpy(wire->run.frame, frame.bytes, WIRE_LENGTH);
	wire->run.flows = flows;
	wire->run.next = 0;
	wire->run.answer = flags == SYN;
	wire->run.left = count;
	wire->run.begun = wire->run.sent = 0;
	count_anew(wire, count);
	if (bpf_map_update_elem(bpf_map__fd(wire->bpf->maps.runs), &zero, &wire->run, BPF_ANY))
		fail("writing the frame", errno);
}

static void send_frames(const struct wire *wire, unsigned long count)
{
	struct xdp_md context = {.data_end = WIRE_LENGTH};
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = wire->run.frame,
		    .data_size_in = WIRE_LENGTH, .ctx_in = &context, .ctx_size_in = sizeof(context),
		    .repeat = (int)count, .flags = BPF_F_TEST_XDP_LIVE_FRAMES);

	if (bpf_prog_test_run_opts(bpf_program__fd(wire->bpf->progs.send), &options) &&
	    errno != EINTR)
		fail("sending frames", errno);
}

static double seconds_of(const struct wire *wire, uint64_t ended)
{
	struct wire_run run;
	uint32_t zero = 0;

	if (bpf_map_lookup_elem(bpf_map__fd(wire->bpf->maps.runs), &zero, &run))
		fail("reading the times", errno);
	return ((ended ? ended : run.sent) - run.begun) / 1e9;
}

/* Seconds from the first frame to the last one's arrival, without the beginning and the end of a
 * test-run, which wait for grace periods; of frames that are lost, to when the last was sent. */
static double timed(struct wire *wire, uint8_t flags, unsigned long flows, unsigned long count,
		    struct wire_counts *ret_counts)
{
	double ended;

	prepare(wire, flags, flows, count);
	send_frames(wire, count);
	ended = now();
	while ((*ret_counts = counted(wire)).forwarded < count && now() - ended < ARRIVAL_LIMIT)
		sched_yield();
	return seconds_of(wire, ret_counts->ended);
}

static void open_flows(struct wire *wire, unsigned long flows)
{
	struct wire_counts counts;

	timed(wire, SYN, flows, flows, &counts);
	printf("%lu\n", (unsigned long)counts.answered);
	timed(wire, ACK, flows, flows, &counts);
}

/* The first time round wakes flows that slept, uncounted. */
static void send_flows(struct wire *wire, unsigned long flows, unsigned long count)
{
	struct wire_counts counts;
	double seconds;

	timed(wire, ACK, flows, flows, &counts);
	seconds = timed(wire, ACK, flows, count, &counts);
	printf("%.9f %lu %lu\n", seconds, (unsigned long)counts.forwarded,
	       (unsigned long)counts.other);
}

static void on_alarm(int number)
{
}

/* Any CPU but the one that this runs on, where the node works; before all processes there. */
static void leave_cpu(cpu_set_t *ret_before)
{
	struct sched_param first = {.sched_priority = 1};
	cpu_set_t others;

	CPU_ZERO(&others);
	for (long cpu = 0; cpu < sysconf(_SC_NPROCESSORS_ONLN); cpu++)
		if (cpu != sched_getcpu())
			CPU_SET(cpu, &others);
	if (sched_getaffinity(0, sizeof(*ret_before), ret_before) < 0 ||
	    sched_setaffinity(0, sizeof(others), &others) < 0 ||
	    sched_setscheduler(0, SCHED_FIFO, &first) < 0)
		fail("going to another CPU", errno);
}

static void come_back(const cpu_set_t *before)
{
	struct sched_param usual = {0};

	if (sched_setscheduler(0, SCHED_OTHER, &usual) < 0 ||
	    sched_setaffinity(0, sizeof(*before), before) < 0)
		fail("coming back from another CPU", errno);
}

/* One test-run, which a signal ends: each begins with a grace period. */
static void pace(struct wire *wire, unsigned long flows, double rate, double seconds)
{
	struct itimerval alarm = {.it_value.tv_sec = (time_t)seconds,
				  .it_value.tv_usec = (seconds - (time_t)seconds) * 1e6};
	double begun;

	wire->run.burst_ns = WIRE_BURST / rate * 1e9;
	wire->run.burst_left = 0;
	wire->run.due = now() * 1e9;
	prepare(wire, ACK, flows, INT_MAX);
	begun = now();
	setitimer(ITIMER_REAL, &alarm, NULL);
	send_frames(wire, INT_MAX);
	seconds = now() - begun;
	wire->run.burst_ns = 0;
	printf("%.3f %lu\n", seconds, (unsigned long)counted(wire).forwarded);
}

static void flood(struct wire *wire, unsigned long flows, double rate, double seconds)
{
	cpu_set_t cpus;

	leave_cpu(&cpus);
	pace(wire, flows, rate, seconds);
	come_back(&cpus);
}

static void alone(struct wire *wire, unsigned long count)
{
	prepare(wire, ACK, 1, count);
	send_frames(wire, count);
	printf("%.9f 0 0\n", seconds_of(wire, 0));
}

static void answer(struct wire *wire, const char *line)
{
	unsigned long flows, count;
	double rate, seconds;

	if (sscanf(line, "open %lu", &flows) == 1)
		open_flows(wire, flows);
	else if (sscanf(line, "send %lu %lu", &flows, &count) == 2)
		send_flows(wire, flows, count);
	else if (sscanf(line, "pace %lu %lf %lf", &flows, &rate, &seconds) == 3)
		pace(wire, flows, rate, seconds);
	else if (sscanf(line, "flood %lu %lf %lf", &flows, &rate, &seconds) == 3)
		flood(wire, flows, rate, seconds);
	else if (sscanf(line, "alone %lu", &count) == 1)
		alone(wire, count);
	else
		fail(line, EINVAL);
	fflush(stdout);
}

static void read_mac(const char *text, uint8_t mac[6])
{
	if (sscanf(text, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", mac, mac + 1, mac + 2, mac + 3, mac + 4,
		   mac + 5) != 6)
		fail(text, EINVAL);
}

static uint32_t read_address(const char *text)
{
	struct in_addr address;

	if (inet_pton(AF_INET, text, &address) != 1)
		fail(text, EINVAL);
	return address.s_addr;
}

static uint32_t attach(const char *link, const struct bpf_program *program)
{
	uint32_t index = if_nametoindex(link);
	int r;

	if (!index)
		fail(link, errno);
	r = bpf_xdp_attach(index, bpf_program__fd(program), XDP_FLAGS_DRV_MODE, NULL);
	if (r < 0)
		fail("attaching XDP to the link", r);
	return index;
}

static int drop_all(struct wire *wire, const char *link)
{
	uint32_t index = attach(link, wire->bpf->progs.drop);
	char line[16];

	printf("dropping\n");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin))
		;
	bpf_xdp_detach(index, XDP_FLAGS_DRV_MODE, NULL);
	printf("%lu\n", (unsigned long)counted(wire).forwarded);
	return 0;
}

static void read_arguments(struct wire *wire, char **argv)
{
	static const uint32_t mark_be[3] = {__builtin_bswap32(WIRE_MARK)};

	wire->spec = (struct frame_spec){.proto = IPPROTO_TCP,
					 .flags = FRAME_DONT_FRAGMENT,
					 .payload = mark_be,
					 .payload_length = 10,
					 .source = addr(argv[4]),
					 .destination = addr(argv[5]),
					 .sport = FIRST_PORT,
					 .dport = atoi(argv[6])};
	read_mac(argv[2], wire->spec.mac_destination);
	read_mac(argv[3], wire->spec.mac_source);
	wire->run.client_be = read_address(argv[4]);
	wire->run.node_be = read_address(argv[5]);
	wire->run.services = atoi(argv[7]);
	wire->run.endpoint_be = read_address(argv[8]);
	if (!wire->run.services || wire->run.services & (wire->run.services - 1))
		fail(argv[7], EINVAL);
}

int main(int argc, char **argv)
{
	struct wire wire = {.bpf = wire_bpf__open_and_load()};
	char line[256];

	if (!wire.bpf)
		fail("loading the programs", errno);
	if (argc == 3 && !strcmp(argv[1], "drop"))
		return drop_all(&wire, argv[2]);
	if (argc != 9) {
		fprintf(stderr, "usage: bench-wire LINK NODE-MAC CLIENT-MAC CLIENT NODE "
				"FIRST-NODE-PORT SERVICES ENDPOINT | drop LINK\n");
		return 2;
	}
	read_arguments(&wire, argv);
	signal(SIGALRM, on_alarm);
	wire.run.link = attach(argv[1], wire.bpf->progs.receive);
	while (fgets(line, sizeof(line), stdin))
		answer(&wire, line);
	bpf_xdp_detach(wire.run.link, XDP_FLAGS_DRV_MODE, NULL);
	wire_bpf__destroy(wire.bpf);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Packets of pods and uplinks with their verdicts, from the programs to a file or the terminal. */
#include <errno.h>
#include <fcntl.h>
#include <pcap/pcap.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "agent/cli/capture_file.h"
#include "agent/cli/capture_output.h"
#include "agent/cli/capture_ring.h"
#include "agent/cli/capture_terms.h"
#include "agent/cli/cli.h"
#include "agent/cli/format.h"
#include "agent/common/cleanup.h"
#include "agent/common/clock.h"
#include "agent/common/control_client.h"

#define ANSWER_MAX   (1u << 20)
#define DURATION_MAX 86400
#define SEND_MS	     5000
#define LOOK_MS	     50		/* how long a packet waits for a reader that looks by itself */
#define BATCH_BYTES  (4u << 20) /* put in the order of time together */
#define BATCH_MOST   8192

struct batched {
	uint64_t time_ns;
	size_t at, size;
};

struct capture {
	const struct cli *cli;
	char *expression; /* NULL: all */
	struct bpf_program program;
	bool has_program;
	uint32_t snaplen;
	uint64_t count_most;  /* 0: no limit */
	int64_t deadline_ms;  /* -1: none */
	uint64_t wall_offset; /* of the monotonic clock */
	const char *path;     /* of the file; NULL: lines */
	int fd;
	struct capture_ring *ring;
	struct capture_output *output;
	struct capture_names *names; /* NULL: none are asked for */
	struct control_client *client;
	json_int_t number; /* the agent's, of this capture */
	uint8_t *bytes;	   /* of a batch */
	size_t used;
	struct batched batch[BATCH_MOST];
	size_t batched;
	uint8_t *room; /* for a packet as it came */
	uint64_t packets, lost;
	int failed; /* -errno of the output */
};

static volatile sig_atomic_t ended;

static void on_signal(int number)
{
	(void)number;
	ended = 1;
}

/* ---------------------------------------------------------------- what is asked for */

static int parse_number(const struct cli *cli, enum cli_option option, uint64_t most, uint64_t *ret)
{
	const char *text = cli->values[option];
	char *end;
	unsigned long long value;

	if (!text)
		return CLI_OK;
	errno = 0;
	value = strtoull(text, &end, 10);
	if (end == text || *end || *text == '-' || errno || value < 1 || value > most) {
		cli_error("--%s %s: expected a number from 1 to %llu", cli_options[option].name,
			  text, (unsigned long long)most);
		return CLI_USAGE;
	}
	*ret = value;
	return CLI_OK;
}

/* The words of the expression are joined as tcpdump does it. */
static char *join(const struct cli_list *words)
{
	size_t length = 1;
	char *text;

	for (size_t i = 0; i < words->count; i++)
		length += strlen(words->items[i]) + 1;
	text = malloc(length);
	if (!text)
		return NULL;
	*text = '\0';
	for (size_t i = 0; i < words->count; i++) {
		if (i)
			strcat(text, " ");
		strcat(text, words->items[i]);
	}
	return text;
}

static int compile(struct capture *capture)
{
	pcap_t *pcap;
	int r;

	if (!capture->cli->arguments.count)
		return CLI_OK;
	capture->expression = join(&capture->cli->arguments);
	pcap = pcap_open_dead(DLT_EN10MB, CAPTURE_SNAPLEN);
	if (!capture->expression || !pcap) {
		cli_error("out of memory");
		return CLI_FAILED;
	}
	r = pcap_compile(pcap, &capture->program, capture->expression, 1, PCAP_NETMASK_UNKNOWN);
	if (r < 0)
		cli_error("expression \"%s\": %s; see pcap-filter(7)", capture->expression,
			  pcap_geterr(pcap));
	capture->has_program = r == 0;
	pcap_close(pcap);
	return r < 0 ? CLI_USAGE : CLI_OK;
}

static bool matches(const struct capture *capture, const struct capture_image *image)
{
	struct pcap_pkthdr header = {.caplen = image->captured, .len = image->length};

	return image->captured > 0 &&
	       (!capture->has_program ||
		pcap_offline_filter(&capture->program, &header, image->bytes));
}

static int parse(const struct cli *cli, struct capture *capture)
{
	uint64_t snaplen = CAPTURE_SNAPLEN;
	const char *duration = cli->values[CLI_DURATION];
	long seconds = duration ? cli_parse_time(duration, DURATION_MAX) : 0;
	int r;

	capture->cli = cli;
	capture->fd = -1;
	capture->path = cli->values[CLI_WRITE];
	capture->deadline_ms = -1;
	if (duration && seconds <= 0) {
		cli_error("--duration %s: expected a time such as 30s, 5m or 1h, at most 24h",
			  duration);
		return CLI_USAGE;
	}
	if (duration)
		capture->deadline_ms = clock_monotonic_ms() + seconds * 1000;
	r = parse_number(cli, CLI_COUNT, UINT64_MAX / 2, &capture->count_most);
	/* 262144 is what tcpdump takes for all. */
	if (!r)
		r = parse_number(cli, CLI_SNAPLEN, 262144, &snaplen);
	capture->snaplen = (uint32_t)(snaplen < CAPTURE_SNAPLEN ? snaplen : CAPTURE_SNAPLEN);
	return r ? r : compile(capture);
}

static json_t *request_args(const struct capture *capture)
{
	const struct cli *cli = capture->cli;
	const char *link = cli->values[CLI_INTERFACE];
	/* What the expression needs of a packet may lie behind what is kept. */
	json_t *args = json_pack(
		"{s:i, s:I, s:b}", "record", CAPTURE_VERSION, "snaplen",
		(json_int_t)(capture->snaplen < CAPTURE_HEAD ? CAPTURE_HEAD : capture->snaplen),
		"drops", cli->given[CLI_DROPS]);

	if (args && link && strcmp(link, "any"))
		json_object_set_new(args, "link", json_string(link));
	if (args && cli->values[CLI_POD])
		json_object_set_new(args, "pod", json_string(cli->values[CLI_POD]));
	if (args && capture->expression && capture_terms_add(capture->expression, args) < 0) {
		json_decref(args);
		return NULL;
	}
	return args;
}

/* ---------------------------------------------------------------- packets */

static uint64_t wall_offset(void)
{
	struct timespec wall, monotonic;

	clock_gettime(CLOCK_REALTIME, &wall);
	clock_gettime(CLOCK_MONOTONIC, &monotonic);
	return (uint64_t)(wall.tv_sec - monotonic.tv_sec) * UINT64_C(1000000000) +
	       (uint64_t)(wall.tv_nsec - monotonic.tv_nsec);
}

static bool is_enough(const struct capture *capture)
{
	return capture->failed || (capture->count_most && capture->packets >= capture->count_most);
}

static int read_batched(const struct capture *capture, size_t i, struct capture_packet *ret)
{
	const struct batched *b = &capture->batch[i];

	return capture_packet_read(capture->bytes + b->at, b->size, CAPTURE_SNAPLEN, capture->room,
				   ret);
}

static void want_names(struct capture *capture)
{
	struct capture_packet packet;
	struct polder_event event;

	for (size_t i = 0; i < capture->batched; i++) {
		if (read_batched(capture, i, &packet) < 0 ||
		    (!matches(capture, &packet.before) && !matches(capture, &packet.after)))
			continue;
		capture_packet_event(&packet, &event);
		capture_names_want(capture->names, &event);
	}
	capture_names_ask(capture->names);
}

static void limit(struct capture_image *image, uint32_t snaplen)
{
	if (image->captured > snaplen)
		image->captured = snaplen;
}

static void write_batched(struct capture *capture, size_t i)
{
	struct capture_packet packet;
	struct polder_event event;
	const json_t *names = NULL;
	bool before, after;

	if (read_batched(capture, i, &packet) < 0)
		return;
	before = matches(capture, &packet.before);
	after = matches(capture, &packet.after);
	if (!before && !after)
		return;
	if (capture->names) {
		capture_packet_event(&packet, &event);
		names = capture_names_of(capture->names, &event);
	}
	limit(&packet.before, capture->snaplen);
	limit(&packet.after, capture->snaplen);
	capture->failed = capture_output_packet(capture->output, &packet,
						packet.record.time_ns + capture->wall_offset,
						before, after, names);
	capture->packets += capture->failed == 0;
}

static int compare_time(const void *a, const void *b)
{
	const struct batched *x = a, *y = b;

	return x->time_ns < y->time_ns ? -1 : x->time_ns > y->time_ns;
}

static void write_batch(struct capture *capture)
{
	qsort(capture->batch, capture->batched, sizeof(*capture->batch), compare_time);
	if (capture->names)
		want_names(capture);
	for (size_t i = 0; i < capture->batched && !is_enough(capture); i++)
		write_batched(capture, i);
	capture->batched = capture->used = 0;
}

static bool take_record(const void *record, size_t size, void *data)
{
	struct capture *capture = data;
	struct batched *b;

	if (size > BATCH_BYTES || size < sizeof(uint64_t))
		return true;
	if (capture->batched == BATCH_MOST || capture->used + size > BATCH_BYTES)
		write_batch(capture);
	b = &capture->batch[capture->batched++];
	memcpy(capture->bytes + capture->used, record, size);
	memcpy(&b->time_ns, record, sizeof(b->time_ns));
	b->at = capture->used;
	b->size = size;
	capture->used += size;
	return !is_enough(capture);
}

/* What there is; CLI_OK or CLI_FAILED after a complaint. */
static int drain(struct capture *capture)
{
	int r = capture_ring_read(capture->ring, take_record, capture);

	write_batch(capture);
	if (r == 0 && !capture->failed)
		capture->failed = capture_output_flush(capture->output);
	if (r < 0) {
		cli_error("the ring cannot be read: %s", strerror(-r));
		return CLI_FAILED;
	}
	return CLI_OK;
}

/* ---------------------------------------------------------------- from begin to end */

static int open_file(struct capture *capture)
{
	if (!capture->path)
		return CLI_OK;
	if (strcmp(capture->path, "-") == 0) {
		if (isatty(STDOUT_FILENO)) {
			cli_error("-w -: standard output is a terminal: pipe it to a program "
				  "(| tshark -r -), or name a file");
			return CLI_USAGE;
		}
		capture->fd = dup(STDOUT_FILENO);
	} else {
		capture->fd = open(capture->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	}
	if (capture->fd >= 0)
		return CLI_OK;
	cli_error("%s cannot be written: %s", capture->path, strerror(errno));
	return CLI_FAILED;
}

static int prepare(struct capture *capture)
{
	char message[512];
	int r = open_file(capture);

	if (r)
		return r;
	if (capture_ring_new(&capture->ring, message, sizeof(message)) < 0) {
		cli_error("%s", message);
		return CLI_FAILED;
	}
	capture->bytes = malloc(BATCH_BYTES);
	capture->room = malloc(CAPTURE_SNAPLEN + CAPTURE_HEAD);
	r = capture->bytes && capture->room ? 0 : -ENOMEM;
	if (r == 0 && !capture->cli->given[CLI_NO_NAMES])
		r = capture_names_new(capture->cli, &capture->names);
	if (r == 0)
		r = capture_output_new(capture->cli, capture->fd, capture->snaplen,
				       &capture->output);
	if (r == 0)
		r = capture_output_flush(capture->output);
	if (r < 0)
		cli_error("%s: %s", capture->path ? capture->path : "capture", strerror(-r));
	return r < 0 ? CLI_FAILED : CLI_OK;
}

static void say_ended(const struct capture *capture, int r, const struct error *failure)
{
	char message[1536];

	if (r == -EREMOTEIO) {
		cli_error("polderd at %s refused: %s%s%s", capture->cli->socket, failure->text,
			  failure->details[0] ? ": " : "", failure->details);
		return;
	}
	cli_explain(capture->cli, r, message, sizeof(message));
	cli_error("%s", message);
}

static int begin(struct capture *capture)
{
	const struct cli *cli = capture->cli;
	CLEANUP(cleanup_json) json_t *args = request_args(capture);
	CLEANUP(cleanup_json) json_t *first = NULL;
	struct error failure;
	int r = args ? control_client_connect(cli->socket, ANSWER_MAX, CONTROL_CLIENT_CONNECT_MS,
					      &capture->client)
		     : -ENOMEM;

	if (!r)
		r = control_client_send(capture->client, "capture", args,
					capture_ring_map(capture->ring), SEND_MS);
	if (!r)
		r = control_client_receive(capture->client, cli->patience_ms, &first, &failure);
	if (r < 0) {
		say_ended(capture, r, &failure);
		return CLI_FAILED;
	}
	capture->number = field_number(first, "capture");
	fprintf(stderr, "%s: capturing; interrupt (Ctrl-C) to end\n", cli_program());
	return CLI_OK;
}

/* 0: it is there; -errno. */
static int look_for_agent(const struct capture *capture, struct error *failure)
{
	json_t *line = NULL;
	int r = control_client_receive(capture->client, 0, &line, failure);

	json_decref(line);
	return r == -ETIMEDOUT ? 0 : r;
}

static bool is_over(const struct capture *capture)
{
	return ended || is_enough(capture) ||
	       (capture->deadline_ms >= 0 && clock_monotonic_ms() >= capture->deadline_ms) ||
	       (capture->fd < 0 && cli_reader_is_gone());
}

/* The programs are away before the rest of the ring is read, so that nothing is missed. */
static int stop(struct capture *capture)
{
	json_t *args = json_pack("{s:I}", "capture", capture->number), *answer = NULL;
	const json_t *lost, *place;
	char message[1536];
	size_t i;
	int r = cli_ask_quietly(capture->cli, "capture.stop", args, &answer, message,
				sizeof(message));

	json_decref(args);
	if (r < 0) {
		capture->lost = capture_ring_lost(capture->ring);
		return CLI_OK;
	}
	lost = json_object_get(answer, "lost");
	json_array_foreach (lost, i, place) {
		capture->lost += (uint64_t)field_number(place, "packets");
		r = capture_output_lost(
			capture->output, NULL, (uint32_t)field_number(place, "link"),
			field_text(place, "hook"), (uint64_t)field_number(place, "packets"));
		if (r < 0 && !capture->failed)
			capture->failed = r;
	}
	json_decref(answer);
	return CLI_OK;
}

static int finish(struct capture *capture, int code)
{
	struct timespec now;
	int r;

	stop(capture);
	if (!is_enough(capture) && drain(capture))
		code = CLI_FAILED;
	clock_gettime(CLOCK_REALTIME, &now);
	r = capture_output_end(capture->output,
			       (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec);
	if (!capture->failed)
		capture->failed = r;
	fprintf(stderr, "%s: %llu packets captured, %llu lost for want of room\n", cli_program(),
		(unsigned long long)capture->packets, (unsigned long long)capture->lost);
	if (capture->failed == -EPIPE)
		return code; /* who read has had enough */
	if (capture->failed) {
		cli_error("%s cannot be written: %s; the packets before are in it",
			  capture->path ? capture->path : "standard output",
			  strerror(-capture->failed));
		return CLI_FAILED;
	}
	return code;
}

static int run(struct capture *capture)
{
	struct error failure;
	int code = CLI_OK, r;

	while (!is_over(capture)) {
		r = capture_ring_wait(capture->ring, LOOK_MS);
		if (r < 0 && r != -EINTR) {
			cli_error("the ring cannot be read: %s", strerror(-r));
			code = CLI_FAILED;
			break;
		}
		if (drain(capture)) {
			code = CLI_FAILED;
			break;
		}
		r = look_for_agent(capture, &failure);
		if (r < 0) {
			say_ended(capture, r, &failure);
			code = CLI_FAILED;
			break;
		}
	}
	return finish(capture, code);
}

static void capture_clear(struct capture *capture)
{
	if (capture->has_program)
		pcap_freecode(&capture->program);
	control_client_free(capture->client);
	capture_ring_free(capture->ring);
	capture_output_free(capture->output);
	capture_names_free(capture->names);
	if (capture->fd >= 0)
		close(capture->fd);
	free(capture->expression);
	free(capture->bytes);
	free(capture->room);
	free(capture);
}

/* ---------------------------------------------------------------- a file */

static int read_packets(struct capture *capture, struct capture_reader *reader)
{
	struct capture_read_packet packet;
	struct capture_image image;
	int r = 0;

	while (!ended && !is_enough(capture) && (r = capture_reader_next(reader, &packet)) > 0) {
		image = (struct capture_image){packet.bytes, packet.captured, packet.length};
		if (!matches(capture, &image))
			continue;
		capture->failed = capture_output_line(capture->cli, &image, packet.time_ns,
						      packet.interface, packet.comment);
		capture->packets++;
		fflush(stdout);
	}
	return r < 0 ? r : 0;
}

static int show_file(struct capture *capture)
{
	const char *path = capture->cli->values[CLI_READ];
	struct capture_reader *reader = NULL;
	int r;

	capture->fd = strcmp(path, "-") ? open(path, O_RDONLY | O_CLOEXEC) : dup(STDIN_FILENO);
	if (capture->fd < 0) {
		cli_error("%s: %s", path, strerror(errno));
		return CLI_FAILED;
	}
	r = capture_reader_new(capture->fd, &reader);
	if (r == 0)
		r = read_packets(capture, reader);
	capture_reader_free(reader);
	if (r == 0)
		return CLI_OK;
	cli_error("%s: %s", path,
		  r == -EBADMSG ? "not a pcapng file of this machine's byte order, or cut off or "
				  "damaged: packets before that place were shown"
				: strerror(-r));
	return CLI_FAILED;
}

static int check_options(const struct cli *cli)
{
	const enum cli_option live[] = {CLI_WRITE, CLI_INTERFACE, CLI_POD,
					CLI_DROPS, CLI_SNAPLEN,	  CLI_DURATION};

	if (cli->lists[CLI_POD].count > 1) {
		cli_error("--pod: a capture is of one pod, or of all");
		return CLI_USAGE;
	}
	for (size_t i = 0; cli->given[CLI_READ] && i < sizeof(live) / sizeof(*live); i++)
		if (cli->given[live[i]]) {
			cli_error("--%s does not go with --read: what is in a file is chosen by an "
				  "expression",
				  cli_options[live[i]].name);
			return CLI_USAGE;
		}
	return CLI_OK;
}

int cli_run_capture(struct cli *cli)
{
	struct capture *capture = calloc(1, sizeof(*capture));
	struct sigaction action = {.sa_handler = on_signal};
	int code;

	if (!capture) {
		cli_error("out of memory");
		return CLI_FAILED;
	}
	capture->fd = -1;
	capture->wall_offset = wall_offset();
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	code = check_options(cli);
	if (!code)
		code = parse(cli, capture);
	if (!code && cli->given[CLI_READ]) {
		code = show_file(capture);
	} else if (!code) {
		code = prepare(capture);
		if (!code)
			code = begin(capture);
		if (!code)
			code = run(capture);
	}
	capture_clear(capture);
	return code;
}

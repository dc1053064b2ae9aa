/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/cli/capture_output.h"

#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/cli/capture_file.h"
#include "agent/cli/format.h"
#include "agent/cli/table.h"
#include "agent/common/hash.h"
#include "agent/kernel/counters.h"

#define NAME_MAX_BYTES 128
#define LINE_MAX_BYTES 256

/* What tells one interface of the file from another. */
struct face_key {
	uint32_t ifindex;
	uint8_t hook;
	uint8_t xdp;
	uint8_t after;
	uint8_t zero;
};

struct face {
	struct face_key key;
	char name[NAME_MAX_BYTES];
	uint32_t number;
	uint64_t packets, lost;
	UT_hash_handle hh;
};

struct capture_output {
	const struct cli *cli;
	struct capture_file *file; /* NULL: lines */
	uint32_t snaplen;
	struct face *faces;
};

int capture_output_new(const struct cli *cli, int fd, uint32_t snaplen, struct capture_output **ret)
{
	struct capture_output *output = calloc(1, sizeof(*output));
	int r;

	if (!output)
		return -ENOMEM;
	output->cli = cli;
	output->snaplen = snaplen;
	r = fd >= 0 ? capture_file_new(fd, &output->file) : 0;
	if (r < 0) {
		free(output);
		return r;
	}
	*ret = output;
	return 0;
}

void capture_output_free(struct capture_output *output)
{
	struct face *face, *next;

	if (!output)
		return;
	HASH_ITER (hh, output->faces, face, next) {
		HASH_DEL(output->faces, face);
		free(face);
	}
	capture_file_free(output->file);
	free(output);
}

/* ---------------------------------------------------------------- interfaces */

static void name_link(uint32_t ifindex, const char *known, char *ret, size_t size)
{
	char name[IF_NAMESIZE];

	if (known && *known)
		snprintf(ret, size, "%s", known);
	else if (if_indextoname(ifindex, name))
		snprintf(ret, size, "%s", name);
	else
		snprintf(ret, size, "link%u", ifindex);
}

static int describe(struct capture_output *output, struct face *face)
{
	const char *text = face->key.after ? "packets as Polder's program lets them leave: "
					     "translated, or its answer"
					   : "packets as they come to Polder's program";

	return output->file
		       ? capture_file_interface(output->file, face->name, text, output->snaplen)
		       : 0;
}

/* NULL with `*ret_error`: it could not be added. */
static struct face *face_of(struct capture_output *output, const struct capture_record *record,
			    bool after, const char *link, int *ret_error)
{
	struct face_key key = {record->ifindex, record->hook, (record->flags & CAPTURE_XDP) != 0,
			       after, 0};
	char name[IF_NAMESIZE];
	struct face *face;

	HASH_FIND(hh, output->faces, &key, sizeof(key), face);
	if (face)
		return face;
	face = calloc(1, sizeof(*face));
	*ret_error = -ENOMEM;
	if (!face)
		return NULL;
	face->key = key;
	face->number = HASH_COUNT(output->faces);
	name_link(record->ifindex, link, name, sizeof(name));
	capture_interface_name(record, name, after, face->name, sizeof(face->name));
	HASH_ADD(hh, output->faces, key, sizeof(key), face);
	if (!HASH_ADDED(hh, face)) {
		free(face);
		return NULL;
	}
	*ret_error = describe(output, face);
	return *ret_error < 0 ? NULL : face;
}

/* ---------------------------------------------------------------- packets */

static int write_json(const struct capture_image *image, uint64_t time_ns, const char *interface,
		      const char *comment, const char *line)
{
	json_t *object = json_pack("{s:f, s:s, s:s, s:I, s:I, s:s}", "time", (double)time_ns / 1e9,
				   "interface", interface, "packet", line, "length",
				   (json_int_t)image->length, "captured",
				   (json_int_t)image->captured, "comment", comment);

	json_dumpf(object, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
	putchar('\n');
	json_decref(object);
	return ferror(stdout) ? -EPIPE : 0;
}

int capture_output_line(const struct cli *cli, const struct capture_image *image, uint64_t time_ns,
			const char *interface, const char *comment)
{
	char line[LINE_MAX_BYTES], time[32];

	capture_line(image, line, sizeof(line));
	if (cli->json)
		return write_json(image, time_ns, interface, comment, line);
	capture_time(time_ns, time, sizeof(time));
	printf("%s ", time);
	text_print(interface, NULL, stdout);
	printf(" %s", line);
	if (*comment) {
		fputs("  # ", stdout);
		text_print(comment, NULL, stdout);
	}
	putchar('\n');
	return ferror(stdout) ? -EPIPE : 0;
}

static int write_image(struct capture_output *output, const struct capture_packet *packet,
		       bool after, uint64_t time_ns, const char *link, const char *comment)
{
	const struct capture_image *image = after ? &packet->after : &packet->before;
	int r = 0;
	struct face *face = face_of(output, &packet->record, after, link, &r);

	if (!face)
		return r;
	face->packets++;
	if (!output->file)
		return capture_output_line(output->cli, image, time_ns, face->name, comment);
	return capture_file_packet(output->file, face->number, time_ns, image->bytes,
				   image->captured, image->length, comment);
}

int capture_output_packet(struct capture_output *output, const struct capture_packet *packet,
			  uint64_t time_ns, bool before, bool after, const json_t *names)
{
	const char *link = field_text(names, "link");
	char comment[CAPTURE_COMMENT_MAX];
	int r = 0;

	capture_comment(&packet->record, names, comment, sizeof(comment));
	if (before)
		r = write_image(output, packet, false, time_ns, link, comment);
	if (r == 0 && after)
		r = write_image(output, packet, true, time_ns, link, comment);
	return r;
}

int capture_output_flush(struct capture_output *output)
{
	if (output->file)
		return capture_file_flush(output->file);
	return fflush(stdout) ? -EPIPE : 0;
}

/* ---------------------------------------------------------------- the end */

int capture_output_lost(struct capture_output *output, const char *link_name, uint32_t link,
			const char *hook, uint64_t packets)
{
	struct capture_record record = {.ifindex = link};
	struct face *face;
	int r = 0;

	while (record.hook + 1 < DROP_HOOKS && strcmp(hook_name(record.hook), hook) != 0)
		record.hook++;
	face = face_of(output, &record, false, link_name, &r);
	if (face)
		face->lost += packets;
	return face ? 0 : r;
}

int capture_output_end(struct capture_output *output, uint64_t time_ns)
{
	struct face *face, *next;
	int r = 0;

	HASH_ITER (hh, output->faces, face, next) {
		if (r == 0 && output->file)
			r = capture_file_statistics(output->file, face->number, time_ns,
						    face->packets + face->lost, face->lost);
	}
	return r < 0 ? r : capture_output_flush(output);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Where captured packets go: lines, JSON, or a pcapng file. */
#pragma once

#include "agent/cli/capture_names.h"
#include "agent/cli/capture_packet.h"
#include "agent/cli/cli.h"

struct capture_output;

/* `fd`: of the file, which stays the caller's; -1: lines on standard output. 0 or -errno. */
int capture_output_new(const struct cli *cli, int fd, uint32_t snaplen,
		       struct capture_output **ret);
void capture_output_free(struct capture_output *output); /* takes NULL */

/* Writes the images that are wanted. `time_ns` since 1970. 0 or -errno. */
int capture_output_packet(struct capture_output *output, const struct capture_packet *packet,
			  uint64_t time_ns, bool before, bool after, const json_t *names);
/* What was lost at a link and hook, and then, once, the interfaces' numbers. 0 or -errno. */
int capture_output_lost(struct capture_output *output, const char *link_name, uint32_t link,
			const char *hook, uint64_t packets);
int capture_output_end(struct capture_output *output, uint64_t time_ns);
/* So that a reader has what there is. 0 or -errno. */
int capture_output_flush(struct capture_output *output);

/* A line for people, or a JSON object. 0, or -EPIPE when nobody reads. */
int capture_output_line(const struct cli *cli, const struct capture_image *image, uint64_t time_ns,
			const char *interface, const char *comment);

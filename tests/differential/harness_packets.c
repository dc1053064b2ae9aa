/* SPDX-License-Identifier: Apache-2.0 */
/* Packets as records of bytes, run one after the other. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/cleanup.h"
#include "tests/differential/harness.h"

#define BATCH_MAX (1u << 30)

#define ANSWER_EVALUATED 1
#define ANSWER_OPENED	 2

static_assert(sizeof(struct packet_record) == 16, "as protocol.md says");
static_assert(sizeof(struct answer_record) == 52, "as protocol.md says");
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error the records are little-endian
#endif

static void answer_fill(struct answer_record *answer, const struct test_result *result)
{
	const struct flow_verdict *j = &result->flow_verdict;

	*answer = (struct answer_record){
		.result = result->verdict,
		.reason = result->reason,
		.direction = result->hook,
		.verdict = result->outcome,
		.flags = (result->evaluated ? ANSWER_EVALUATED : 0) |
			 (result->opened ? ANSWER_OPENED : 0),
		.egress_rule = j->egress_rule,
		.ingress_rule = j->ingress_rule,
		.source_identity = j->source_identity,
		.destination_identity = j->destination_identity,
		.egress_ruleset = j->egress_ruleset,
		.ingress_ruleset = j->ingress_ruleset,
		.backend = j->backend,
		.backend_port_be = j->backend_port_be,
		.length = result->length,
	};
}

/* Runs the packet at `*at` and moves behind it. 0 or -EINVAL: the record is cut off. */
static int run_one(struct harness *h, const uint8_t **at, const uint8_t *end,
		   struct test_result *result)
{
	struct packet_record record;
	struct test_packet packet;
	int r;

	if (end - *at < (ptrdiff_t)sizeof(record))
		return -EINVAL;
	memcpy(&record, *at, sizeof(record));
	*at += sizeof(record);
	if (end - *at < record.length)
		return -EINVAL;
	packet = (struct test_packet){.hook = record.hook,
				      .link = record.link,
				      .ingress = record.ingress,
				      .mark = record.mark,
				      .frame = *at,
				      .length = record.length};
	*at += record.length;
	r = 0;
	if (record.hook == DATAPATH_FROM_TUNNEL) {
		packet.program = h->entry_program;
		r = harness_tunnel_from(h, record.flags);
	}
	if (r == 0)
		r = test_run(sandbox_test_run(h->sandbox), &packet, result);
	if (r < 0) {
		result->verdict = r;
		result->length = 0;
	}
	return 0;
}

static int run_all(struct harness *h, const uint8_t *records, size_t size, size_t count, FILE *out)
{
	const uint8_t *at = records, *end = records + size;
	struct answer_record answer;
	struct test_result result;
	size_t i;

	for (i = 0; i < count; i++) {
		if (run_one(h, &at, end, &result) < 0)
			return harness_fail(h, -EINVAL, "run: record %zu of %zu is cut off", i,
					    count);
		answer_fill(&answer, &result);
		if (fwrite(&answer, sizeof(answer), 1, out) != 1 ||
		    (result.length && fwrite(result.frame, result.length, 1, out) != 1))
			return harness_fail(h, -ENOMEM, "run: no memory for the answers");
	}
	return at == end ? 0
			 : harness_fail(h, -EINVAL, "run: %zu bytes behind the last record",
					(size_t)(end - at));
}

int harness_run(struct harness *h, const json_t *request, FILE *in, json_t *reply,
		void **ret_answers, size_t *ret_size)
{
	CLEANUP(cleanup_free) uint8_t *records = NULL;
	json_int_t count = -1, size = -1;
	char *answers = NULL;
	size_t length = 0;
	FILE *out;
	int r;

	json_unpack((json_t *)request, "{s:I, s:I}", "count", &count, "bytes", &size);
	if (count < 0 || size < 0 || size > BATCH_MAX)
		return harness_fail(h, -EPROTO, "run: count and bytes (at most %u) are needed",
				    BATCH_MAX);
	records = malloc(size + 1);
	if (!records || fread(records, 1, size, in) != (size_t)size)
		return harness_fail(h, -EPROTO, "run: the records end too early");
	out = open_memstream(&answers, &length);
	if (!out)
		return harness_fail(h, -ENOMEM, "run: no memory");
	r = run_all(h, records, size, count, out);
	if (fclose(out) != 0 && r == 0)
		r = harness_fail(h, -ENOMEM, "run: no memory for the answers");
	if (r < 0) {
		free(answers);
		return r;
	}
	json_object_set_new(reply, "count", json_integer(count));
	json_object_set_new(reply, "bytes", json_integer(length));
	*ret_answers = answers;
	*ret_size = length;
	return 0;
}

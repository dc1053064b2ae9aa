/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/observe/flow_bytes.h"

#include <stdlib.h>
#include <string.h>

#include "agent/common/hash.h"

struct flow_key {
	struct flow_tuple tuple;
	uint64_t family; /* hashed as it stands: no padding may differ */
};

struct counted_flow {
	UT_hash_handle hh;
	struct flow_key key;
	uint64_t bytes;
	uint32_t walk; /* that found it last */
};

struct flow_bytes {
	struct counted_flow *flows;
	size_t most_flows;
	uint32_t walk; /* the present one; 0: the first */
	uint64_t left_out;
};

struct flow_bytes *flow_bytes_new(size_t most_flows)
{
	struct flow_bytes *bytes = calloc(1, sizeof(*bytes));

	if (bytes)
		bytes->most_flows = most_flows;
	return bytes;
}

static void forget(struct flow_bytes *bytes, struct counted_flow *flow)
{
	HASH_DEL(bytes->flows, flow);
	free(flow);
}

void flow_bytes_free(struct flow_bytes *bytes)
{
	if (!bytes)
		return;
	while (bytes->flows)
		forget(bytes, bytes->flows);
	free(bytes);
}

static struct counted_flow *add(struct flow_bytes *bytes, const struct flow_key *key)
{
	struct counted_flow *flow = NULL;

	if (HASH_COUNT(bytes->flows) < bytes->most_flows)
		flow = calloc(1, sizeof(*flow));
	if (flow) {
		flow->key = *key;
		HASH_ADD(hh, bytes->flows, key, sizeof(flow->key), flow);
	}
	if (!flow || !HASH_ADDED(hh, flow)) {
		free(flow);
		bytes->left_out++;
		return NULL;
	}
	return flow;
}

uint64_t flow_bytes_of(struct flow_bytes *bytes, const struct flow_record *record)
{
	struct flow_key key;
	struct counted_flow *flow;
	uint64_t now = record->flow.bytes, before;

	memset(&key, 0, sizeof(key));
	key.tuple = record->flow.tuple;
	key.family = record->family;
	HASH_FIND(hh, bytes->flows, &key, sizeof(key), flow);
	if (flow) {
		before = flow->bytes;
	} else {
		flow = add(bytes, &key);
		if (!flow)
			return 0;
		before = bytes->walk ? 0 : now;
	}
	flow->walk = bytes->walk;
	flow->bytes = now;
	/* Less than before: another flow of the same tuple. */
	return now >= before ? now - before : now;
}

void flow_bytes_walked(struct flow_bytes *bytes)
{
	struct counted_flow *flow, *next;

	HASH_ITER (hh, bytes->flows, flow, next)
		if (flow->walk != bytes->walk)
			forget(bytes, flow);
	bytes->walk++;
	bytes->walk += !bytes->walk;
}

uint64_t flow_bytes_left_out(const struct flow_bytes *bytes)
{
	return bytes->left_out;
}

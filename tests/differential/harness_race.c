/* SPDX-License-Identifier: Apache-2.0 */
/* Packets of one world on two CPUs at once, and changes of the generation beside them. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/cleanup.h"
#include "tests/differential/harness.h"

#define RACE_PACKETS 16
#define RACE_BYTES   (RACE_PACKETS * TEST_FRAME_MAX)
#define RACE_CPUS    2
/* How long one side waits for the other before it lets somebody else have the CPU. */
#define SPINS 20000

struct race {
	const struct datapath *datapath;
	struct control *control;
	struct test_packet packets[RACE_PACKETS];
	struct test_result results[RACE_PACKETS];
	uint8_t cpu[RACE_PACKETS];
	size_t count;
	uint32_t delay[RACE_CPUS]; /* turns of an empty loop by which a side starts later */
	_Atomic int arrived;
	_Atomic int done;
};

struct side {
	struct race *race;
	int cpu;
};

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static void *run_side(void *data)
{
	struct side *side = data;
	struct race *race = side->race;
	size_t i;
	int r;

	pin(side->cpu);
	atomic_fetch_add(&race->arrived, 1);
	for (uint32_t spins = 0; atomic_load(&race->arrived) < RACE_CPUS; spins++)
		if (spins > SPINS)
			sched_yield();
	for (volatile uint32_t turns = race->delay[side->cpu]; turns; turns--)
		;
	for (i = 0; i < race->count; i++) {
		if (race->cpu[i] != side->cpu)
			continue;
		r = test_run_program(race->datapath, &race->packets[i], &race->results[i]);
		if (r < 0) {
			race->results[i].verdict = r;
			race->results[i].length = 0;
		}
	}
	atomic_fetch_add(&race->done, 1);
	return NULL;
}

/* Each flow is re-evaluated all the time, with the same outcome: the slot stays what it is. */
static void *move_generation(void *data)
{
	struct race *race = data;

	while (atomic_load(&race->done) < RACE_CPUS) {
		__atomic_fetch_add(&race->control->generation, 1, __ATOMIC_SEQ_CST);
		sched_yield();
	}
	return NULL;
}

static int race_run(struct harness *h, struct race *race, bool move)
{
	struct side sides[RACE_CPUS] = {{race, 0}, {race, 1}};
	pthread_t threads[RACE_CPUS + 1];
	int started = 0, r = 0;

	for (; started < RACE_CPUS && r == 0; started += r == 0)
		r = pthread_create(&threads[started], NULL, run_side, &sides[started]);
	if (r == 0 && move) {
		r = pthread_create(&threads[started], NULL, move_generation, race);
		started += r == 0;
	}
	if (r != 0)
		atomic_store(&race->arrived, RACE_CPUS); /* who waits goes on */
	while (started)
		pthread_join(threads[--started], NULL);
	return r ? harness_fail(h, -r, "race: threads: %s", strerror(r)) : 0;
}

/* The records of protocol.md; the packets' frames stay where they are. */
static int race_read(struct harness *h, struct race *race, const uint8_t *records, size_t size,
		     size_t count)
{
	const uint8_t *at = records, *end = records + size;
	struct packet_record record;

	for (race->count = 0; race->count < count; race->count++) {
		if (end - at < (ptrdiff_t)sizeof(record))
			return harness_fail(h, -EINVAL, "race: record %zu is cut off", race->count);
		memcpy(&record, at, sizeof(record));
		at += sizeof(record);
		if (end - at < record.length || record.flags >= RACE_CPUS)
			return harness_fail(h, -EINVAL,
					    "race: record %zu is cut off, or its CPU is not 0 or 1",
					    race->count);
		race->cpu[race->count] = record.flags;
		race->packets[race->count] = (struct test_packet){.hook = record.hook,
								  .link = record.link,
								  .ingress = record.ingress,
								  .mark = record.mark,
								  .frame = at,
								  .length = record.length};
		at += record.length;
	}
	return 0;
}

static int race_answers(struct harness *h, const struct race *race, json_t *reply,
			void **ret_answers, size_t *ret_size)
{
	struct answer_record answer;
	char *answers = NULL;
	size_t length = 0, i;
	FILE *out = open_memstream(&answers, &length);

	if (!out)
		return harness_fail(h, -ENOMEM, "race: no memory");
	for (i = 0; i < race->count; i++) {
		answer = (struct answer_record){.result = race->results[i].verdict,
						.length = race->results[i].length};
		fwrite(&answer, sizeof(answer), 1, out);
		fwrite(race->results[i].frame, race->results[i].length, 1, out);
	}
	if (fclose(out) != 0) {
		free(answers);
		return harness_fail(h, -ENOMEM, "race: no memory for the answers");
	}
	json_object_set_new(reply, "count", json_integer(race->count));
	json_object_set_new(reply, "bytes", json_integer(length));
	*ret_answers = answers;
	*ret_size = length;
	return 0;
}

int harness_race(struct harness *h, const json_t *request, FILE *in, json_t *reply,
		 void **ret_answers, size_t *ret_size)
{
	CLEANUP(cleanup_free) struct race *race = calloc(1, sizeof(*race));
	CLEANUP(cleanup_free) uint8_t *records = NULL;
	json_int_t count = -1, size = -1, first = 0, second = 0;
	int move = 0, r;

	json_unpack((json_t *)request, "{s:I, s:I, s?b, s?[I,I]}", "count", &count, "bytes", &size,
		    "move", &move, "delay", &first, &second);
	if (!race || count < 0 || count > RACE_PACKETS || size < 0 || size > RACE_BYTES)
		return harness_fail(h, -EPROTO, "race: count (at most %d) and bytes are needed",
				    RACE_PACKETS);
	records = malloc(size + 1);
	if (!records || fread(records, 1, size, in) != (size_t)size)
		return harness_fail(h, -EPROTO, "race: the records end too early");
	race->datapath = sandbox_datapath(h->sandbox);
	race->control = maps_control(sandbox_maps(h->sandbox));
	race->delay[0] = first;
	race->delay[1] = second;
	r = race_read(h, race, records, size, count);
	if (r == 0)
		r = race_run(h, race, move);
	return r < 0 ? r : race_answers(h, race, reply, ret_answers, ret_size);
}

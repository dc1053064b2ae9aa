/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/cli/capture_names.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/clock.h"
#include "agent/common/hash.h"

#define KNOWN_MAX     16384
#define AT_ONCE_MAX   64 /* events in one question: CAPTURE_DESCRIBE_MAX of the agent */
#define QUESTIONS_MAX 4	 /* between two looks at the ring */
/* A pod's address may be another's after a while. */
#define VALID_MS 10000

struct known {
	struct polder_event event; /* the key; without time and length */
	json_t *document;	   /* NULL: not answered */
	int64_t asked_ms;
	UT_hash_handle hh;
};

struct capture_names {
	const struct cli *cli;
	struct known *known;
	struct known *wanted[AT_ONCE_MAX * QUESTIONS_MAX];
	size_t count;
};

int capture_names_new(const struct cli *cli, struct capture_names **ret)
{
	struct capture_names *names = calloc(1, sizeof(*names));

	if (!names)
		return -ENOMEM;
	names->cli = cli;
	*ret = names;
	return 0;
}

static void forget_all(struct capture_names *names)
{
	struct known *known, *next;

	HASH_ITER (hh, names->known, known, next) {
		HASH_DEL(names->known, known);
		json_decref(known->document);
		free(known);
	}
	names->count = 0;
}

void capture_names_free(struct capture_names *names)
{
	if (!names)
		return;
	forget_all(names);
	free(names);
}

static struct known *find(const struct capture_names *names, const struct polder_event *event)
{
	struct known *known;

	HASH_FIND(hh, names->known, event, sizeof(*event), known);
	return known;
}

static struct known *add(struct capture_names *names, const struct polder_event *event)
{
	struct known *known = calloc(1, sizeof(*known));

	if (!known)
		return NULL;
	known->event = *event;
	HASH_ADD(hh, names->known, event, sizeof(known->event), known);
	if (HASH_ADDED(hh, known))
		return known;
	free(known);
	return NULL;
}

void capture_names_want(struct capture_names *names, const struct polder_event *event)
{
	struct known *known = find(names, event);
	int64_t now = clock_monotonic_ms();

	if ((known && now - known->asked_ms < VALID_MS) ||
	    names->count == sizeof(names->wanted) / sizeof(*names->wanted))
		return;
	if (!known && HASH_COUNT(names->known) >= KNOWN_MAX)
		forget_all(names);
	if (!known)
		known = add(names, event);
	if (!known)
		return;
	known->asked_ms = now;
	names->wanted[names->count++] = known;
}

static json_t *hex_of(const struct polder_event *event)
{
	static const char digits[] = "0123456789abcdef";
	const uint8_t *bytes = (const uint8_t *)event;
	char text[2 * sizeof(*event)];

	for (size_t i = 0; i < sizeof(*event); i++) {
		text[2 * i] = digits[bytes[i] >> 4];
		text[2 * i + 1] = digits[bytes[i] & 15];
	}
	return json_stringn(text, sizeof(text));
}

static void ask_some(struct capture_names *names, struct known *const *wanted, size_t count)
{
	json_t *events = json_array(), *args = json_pack("{s:O}", "events", events), *answer = NULL;
	const json_t *list;
	char message[1536];

	for (size_t i = 0; i < count; i++)
		json_array_append_new(events, hex_of(&wanted[i]->event));
	if (args && cli_ask_quietly(names->cli, "capture.describe", args, &answer, message,
				    sizeof(message)) == 0) {
		list = json_object_get(answer, "events");
		for (size_t i = 0; i < count && i < json_array_size(list); i++) {
			json_decref(wanted[i]->document);
			wanted[i]->document = json_incref(json_array_get(list, i));
		}
		json_decref(answer);
	}
	json_decref(events);
	json_decref(args);
}

void capture_names_ask(struct capture_names *names)
{
	for (size_t i = 0; i < names->count; i += AT_ONCE_MAX)
		ask_some(names, names->wanted + i,
			 names->count - i < AT_ONCE_MAX ? names->count - i : AT_ONCE_MAX);
	names->count = 0;
}

const json_t *capture_names_of(struct capture_names *names, const struct polder_event *event)
{
	const struct known *known = find(names, event);

	return known ? known->document : NULL;
}

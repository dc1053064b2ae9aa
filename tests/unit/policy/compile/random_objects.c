/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/policy/compile/random_objects.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint32_t random_pick(uint64_t *random, uint32_t count)
{
	*random = *random * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(*random >> 33) % count;
}

char *random_text(const char *format, ...)
{
	static char texts[64][1024];
	static unsigned int next;
	char *at = texts[next++ % 64];
	va_list args;

	va_start(args, format);
	vsnprintf(at, sizeof(texts[0]), format, args);
	va_end(args);
	return at;
}

const char *random_labels(uint64_t *random)
{
	return random_pick(random, 5) == 0
		       ? ""
		       : random_text("'app':'a%u','tier':'t%u'", random_pick(random, 3),
				     random_pick(random, 2));
}

const char *random_namespace_selector(uint64_t *random)
{
	return random_pick(random, 3)
		       ? random_text("{'matchLabels':{'team':'m%u'}}", random_pick(random, 2))
		       : "{}";
}

struct object *random_decode(const char *format, ...)
{
	struct error error = {};
	struct object_list list = {};
	struct object *object;
	va_list args;
	char *text;

	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		abort();
	va_end(args);
	for (char *c = text; *c; c++)
		if (*c == '\'')
			*c = '"';
	if (objects_decode(text, strlen(text), &list, &error) < 0 || list.count != 1) {
		fprintf(stderr, "%s: %s %s\n", text, error.path, error.text);
		abort();
	}
	object = list.objects[0];
	free(list.objects);
	free(text);
	return object;
}

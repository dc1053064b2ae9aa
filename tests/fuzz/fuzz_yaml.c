/* SPDX-License-Identifier: Apache-2.0 */
/* YAML files: whatever they hold, JSON of a bounded size comes out, or an error says why. */
#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <string.h>

#include "agent/yaml/yaml_text.h"
#include "policy/objects/objects.h"

/* Each value that an alias repeats was weighed with 8 bytes and its text, of which JSON makes at
 * most 6 bytes for one. */
#define JSON_MAX(size) (((size)*8 + YAML_ALIASED_MAX) * 6)

/* What comes out is what objects_decode() may be given: text that reads back the same. */
static void check_value(const json_t *value, size_t size)
{
	char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
	struct error error = {0};
	struct object_list list = {0};
	json_t *again;

	MUST(text && strlen(text) <= JSON_MAX(size));
	again = json_loads(text, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL);
	MUST(again && json_equal(value, again));
	json_decref(again);
	if (objects_decode(text, strlen(text), &list, &error) == 0)
		object_list_clear(&list);
	else
		MUST(error.text[0]);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error error = {0};
	struct yaml_text *yaml = NULL;
	char path[256];
	int line, column;
	int r = yaml_text_read((const char *)data, size, &yaml, &error);

	if (r < 0) {
		MUST(error.text[0] && memchr(error.text, '\0', sizeof(error.text)));
		MUST(error.line >= 0 && (size_t)error.line <= size + 1);
		return 0;
	}
	/* Any text may be asked for as a path. */
	snprintf(path, sizeof(path), "$.%.*s", (int)(size < 200 ? size : 200), (const char *)data);
	for (size_t i = 0; i < yaml_text_count(yaml); i++) {
		check_value(yaml_text_value(yaml, i), size);
		yaml_text_location(yaml, i, path, &line, &column);
		MUST(line >= 1 && (size_t)line <= size + 1 && column >= 1);
	}
	yaml_text_free(yaml);
	return 0;
}

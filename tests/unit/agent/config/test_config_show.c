/* SPDX-License-Identifier: Apache-2.0 */
/* What the configuration in force is, and where each value comes from. */
#include "agent/config/config_show.h"

#include <errno.h>

#include "tests/unit/unit.h"

static void write_file(const char *directory, char path[64], const char *text)
{
	snprintf(path, 64, "%s/polderd.json", directory);
	unit_write(path, text, strlen(text));
}

static const json_t *find(const json_t *document, const char *key)
{
	const json_t *item;
	size_t index;

	json_array_foreach (document, index, item) {
		if (strcmp(json_string_value(json_object_get(item, "key")), key) == 0)
			return item;
	}
	return NULL;
}

/* Is the key's value this JSON, from this source? */
static bool is(const json_t *document, const char *key, const char *value, const char *source)
{
	const json_t *item = find(document, key);
	json_t *wanted = json_loads(value, JSON_DECODE_ANY, NULL);
	bool same = item && json_equal(json_object_get(item, "value"), wanted) &&
		    strcmp(json_string_value(json_object_get(item, "source")), source) == 0;

	if (!same && item) {
		char *found = json_dumps(item, 0);

		printf("\n  %s\n", found);
		free(found);
	}
	json_decref(wanted);
	return same;
}

static void each_value_tells_where_it_comes_from(void)
{
	char directory[32], path[64], error[512];
	struct config config;
	json_t *document;

	unit_directory(directory);
	write_file(directory, path,
		   "{\"pod-cidr\": \"10.77.0.0/24,fd00:77::/112\", \"flows-v4\": 5000, "
		   "\"log-level\": \"debug\", \"uplink\": [\"eth7\"]}");
	char *argv[] = {"polderd",    "--config",    path, "--log-level",
			"error",      "--node-name", "n1", "--no-masquerade",
			"10.0.0.0/8", NULL};

	CU_ASSERT_FATAL(config_read(9, argv, &config, error, sizeof(error)) == 0);
	document = config_document(&config);
	CU_ASSERT(json_array_size(document) == config_key_count);
	CU_ASSERT(is(document, "pod-cidr", "[\"10.77.0.0/24\", \"fd00:77::/112\"]", "file"));
	/* As it is in force, not as it was written. */
	CU_ASSERT(is(document, "flows-v4", "8192", "file"));
	CU_ASSERT(is(document, "log-level", "\"error\"", "option"));
	CU_ASSERT(is(document, "node-name", "\"n1\"", "option"));
	CU_ASSERT(is(document, "no-masquerade", "[\"10.0.0.0/8\"]", "option"));
	CU_ASSERT(is(document, "uplink", "[\"eth7\"]", "file"));
	CU_ASSERT(is(document, "max-pods", "4096", "default"));
	CU_ASSERT(is(document, "masquerade", "true", "default"));
	CU_ASSERT(is(document, "stack-mark", "\"0x00400000\"", "default"));
	CU_ASSERT(is(document, "metrics-listen", "null", "default"));
	CU_ASSERT(is(document, "ui-listen", "\"none\"", "default"));
	CU_ASSERT(is(document, "ui-host", "[]", "default"));
	CU_ASSERT(strcmp(json_string_value(json_object_get(find(document, "uplink"), "file")),
			 path) == 0);
	json_decref(document);
	config_clear(&config);
	unit_remove_directory(directory);
}

static void every_key_has_a_value_to_show(void)
{
	for (size_t i = 0; i < config_key_count; i++) {
		if (!config_is_shown(&config_keys[i]))
			printf("\n  %s has none: see config_show.c\n", config_keys[i].name);
		CU_ASSERT(config_is_shown(&config_keys[i]));
	}
}

static void a_name_of_the_host_that_no_node_can_have_is_refused(void)
{
	struct config_source source = {.name = "command line"};
	struct config config;

	config_defaults(&config);
	for (const char *c = config.node_name; *c; c++)
		CU_ASSERT(!(*c >= 'A' && *c <= 'Z'));
	free(config.node_name);
	config.node_name = strdup("my_host");
	CU_ASSERT(config_check(&config, &source) == -EINVAL);
	CU_ASSERT(strstr(source.error, "my_host") && strstr(source.error, "--node-name"));
	config_clear(&config);
}

static void pins_have_room_for_their_paths(void)
{
	struct config_source source = {.name = "command line"};
	struct config config;
	char path[256];

	config_defaults(&config);
	memset(path, 'x', sizeof(path));
	path[0] = '/';
	path[250] = '\0';
	free(config.bpffs);
	config.bpffs = strdup(path);
	CU_ASSERT(config_check(&config, &source) == -EINVAL);
	CU_ASSERT(strstr(source.error, "--bpffs") != NULL);
	config.bpffs[200] = '\0';
	CU_ASSERT(config_check(&config, &source) == 0);
	config_clear(&config);
}

static void what_is_wrong_is_said_without_a_word_to_standard_error(void)
{
	char *argv[] = {"polderd", "--flows-v4", "many", NULL};
	char error[512] = "";
	struct config config;

	CU_ASSERT(config_read(3, argv, &config, error, sizeof(error)) < 0);
	CU_ASSERT(strstr(error, "flows-v4") && strstr(error, "many"));
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(each_value_tells_where_it_comes_from),
		UNIT_TEST(every_key_has_a_value_to_show),
		UNIT_TEST(a_name_of_the_host_that_no_node_can_have_is_refused),
		UNIT_TEST(pins_have_room_for_their_paths),
		UNIT_TEST(what_is_wrong_is_said_without_a_word_to_standard_error),
	};

	return UNIT_RUN("config_show", tests);
}

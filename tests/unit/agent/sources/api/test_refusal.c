/* SPDX-License-Identifier: Apache-2.0 */
/* The Event on an object that is refused, as the API takes it. */
#include "agent/sources/api/refusal.h"

#include <jansson.h>

#include "agent/common/cleanup.h"
#include "tests/unit/unit.h"

static struct refusal refuse(const char *kind, const char *namespace, const char *name)
{
	struct refusal refusal = {.api_version = "networking.k8s.io/v1",
				  .kind = kind,
				  .uid = "1-2",
				  .error = {.text = "is unknown", .path = "$.spec.ingres"}};

	snprintf(refusal.namespace, sizeof(refusal.namespace), "%s", namespace);
	snprintf(refusal.name, sizeof(refusal.name), "%s", name);
	return refusal;
}

static json_t *event(const struct refusal *refusal, const char *node)
{
	CLEANUP(cleanup_free) char *text = refusal_event(refusal, node, 2000000000);
	json_t *made;

	CU_ASSERT_PTR_NOT_NULL_FATAL(text);
	made = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(made);
	return made;
}

static const char *text_at(const json_t *event, const char *object, const char *key)
{
	if (object)
		event = json_object_get(event, object);
	return json_string_value(json_object_get(event, key));
}

static void copy_name(const struct refusal *refusal, const char *node, char text[300])
{
	CLEANUP(cleanup_json) json_t *made = event(refusal, node);

	snprintf(text, 300, "%s", text_at(made, "metadata", "name"));
}

static void event_names_the_object_the_place_and_what_to_do(void)
{
	const struct refusal refusal = refuse("NetworkPolicy", "shop", "front");
	CLEANUP(cleanup_json) json_t *made = event(&refusal, "node-1");

	CU_ASSERT_STRING_EQUAL(text_at(made, "metadata", "namespace"), "shop");
	CU_ASSERT_STRING_EQUAL(text_at(made, "involvedObject", "namespace"), "shop");
	CU_ASSERT_STRING_EQUAL(text_at(made, "involvedObject", "uid"), "1-2");
	CU_ASSERT_STRING_EQUAL(text_at(made, "involvedObject", "fieldPath"), "spec.ingres");
	CU_ASSERT_STRING_EQUAL(text_at(made, "source", "host"), "node-1");
	CU_ASSERT_STRING_EQUAL(text_at(made, NULL, "type"), "Warning");
	CU_ASSERT(strstr(text_at(made, NULL, "message"), "$.spec.ingres: is unknown") != NULL);
	CU_ASSERT(strstr(text_at(made, NULL, "message"), "apply it again") != NULL);
}

static void all_nodes_make_the_same_one_for_the_same_words(void)
{
	struct refusal refusal = refuse("NetworkPolicy", "shop", "front");
	char first[300], other[300];

	copy_name(&refusal, "node-1", first);
	copy_name(&refusal, "node-2", other);
	CU_ASSERT_STRING_EQUAL(first, other);
	snprintf(refusal.error.text, sizeof(refusal.error.text), "is a number");
	copy_name(&refusal, "node-1", other);
	CU_ASSERT_STRING_NOT_EQUAL(first, other);
	refusal = refuse("NetworkPolicy", "shop", "front");
	snprintf(refusal.uid, sizeof(refusal.uid), "1-3"); /* made anew */
	copy_name(&refusal, "node-1", other);
	CU_ASSERT_STRING_NOT_EQUAL(first, other);
}

static void object_whose_name_is_none_is_told_all_the_same(void)
{
	static const char *const odd[] = {"", "-", ".", "a..b", "a.-b", "a-.b", "A", "a_b", "a-"};
	char name[300];

	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		const struct refusal refusal = refuse("Pod", "n", odd[i]);

		copy_name(&refusal, "node-1", name);
		CU_ASSERT(strncmp(name, "object.", 7) == 0);
	}
}

static void object_without_a_namespace_is_told_in_default(void)
{
	const struct refusal refusal = refuse("Node", "", "node-7");
	CLEANUP(cleanup_json) json_t *made = event(&refusal, "node-1");

	CU_ASSERT_STRING_EQUAL(text_at(made, "metadata", "namespace"), "default");
	CU_ASSERT_PTR_NULL(text_at(made, "involvedObject", "namespace"));
}

/* 253 letters are a name, 1,024 a message; both are made of others' words. */
static void long_words_and_strange_letters_are_cut(void)
{
	struct refusal refusal = refuse("NetworkPolicy", "shop", "");
	char name[300];

	memset(refusal.name, 'a', LIMIT_NAME);
	refusal.name[235] = '.';
	memset(refusal.error.text, 0xc3, sizeof(refusal.error.text) - 1);
	memset(refusal.error.path + 2, '\n', sizeof(refusal.error.path) - 3);
	copy_name(&refusal, "node-1", name);
	CU_ASSERT(strlen(name) == 235 + 17 && name[235] == '.' && name[236] != 'a');
	CLEANUP(cleanup_json) json_t *made = event(&refusal, "node-1");
	CU_ASSERT(strlen(text_at(made, NULL, "message")) < 1024);
	memset(refusal.name, 'a', LIMIT_NAME);
	copy_name(&refusal, "node-1", name);
	CU_ASSERT(strlen(name) == 253);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(event_names_the_object_the_place_and_what_to_do),
		UNIT_TEST(all_nodes_make_the_same_one_for_the_same_words),
		UNIT_TEST(object_whose_name_is_none_is_told_all_the_same),
		UNIT_TEST(object_without_a_namespace_is_told_in_default),
		UNIT_TEST(long_words_and_strange_letters_are_cut),
	};

	return UNIT_RUN("sources/api/refusal", tests);
}

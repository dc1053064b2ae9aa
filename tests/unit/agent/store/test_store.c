/* SPDX-License-Identifier: Apache-2.0 */
/* The store: origins, conflicts, listeners, problems. */
#include "agent/store/store.h"

#include <errno.h>

#include "tests/unit/unit.h"

struct heard {
	char log[1024];
	const struct store *store;
};

static void hear(const struct object *object, bool deleted, void *data)
{
	struct heard *heard = data;
	size_t used = strlen(heard->log);

	snprintf(heard->log + used, sizeof(heard->log) - used, "%c%s/%s ", deleted ? '-' : '+',
		 object->namespace, object->name);
	CU_ASSERT((store_get(heard->store, object->kind, object->namespace, object->name) ==
		   object) == !deleted);
}

static struct store *make_store(struct heard *heard)
{
	struct store *store = store_new();

	CU_ASSERT_FATAL(store != NULL);
	*heard = (struct heard){.store = store};
	store_listen(store, hear, heard);
	return store;
}

static struct object_list decode(const char *text)
{
	struct object_list list = {};
	struct error error = {};
	int r = objects_decode(text, strlen(text), &list, &error);

	if (r < 0)
		printf("\n  %s: %s\n", error.path, error.text);
	CU_ASSERT_FATAL(r == 0);
	return list;
}

#define NAMESPACE(name, label)                                                                     \
	"{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"" name             \
	"\",\"labels\":{\"l\":\"" label "\"}}}"
#define POD(namespace, name, ip)                                                                     \
	"{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"namespace\":\"" namespace "\","     \
											   "\"nam"   \
											   "e\":"    \
											   "\"" name \
											   "\"},"    \
											   "\"spe"   \
											   "c\":{"   \
											   "\"con"   \
											   "taine"   \
											   "rs\":"   \
											   "[]},"    \
											   "\"sta"   \
											   "tus\""   \
											   ":{"      \
											   "\"pod"   \
											   "IP\":"   \
											   "\"" ip   \
											   "\"}}"

static int put(struct store *store, const char *origin, const char *text)
{
	struct object_list list = decode(text);
	int r = store_replace(store, origin, &list);

	if (r < 0)
		object_list_clear(&list);
	CU_ASSERT(list.count == 0);
	return r;
}

static const char *label_of(const struct store *store, const char *namespace)
{
	const struct object *object = store_get(store, OBJECT_NAMESPACE, "", namespace);
	const char *value = object ? labels_get(&object->labels, "l") : NULL;

	return value ? value : "(none)";
}

static bool heard_is(struct heard *heard, const char *log)
{
	bool same = strcmp(heard->log, log) == 0;

	if (!same)
		printf("\n  heard \"%s\", not \"%s\"\n", heard->log, log);
	heard->log[0] = '\0';
	return same;
}

static void tells_of_additions_changes_and_deletions(void)
{
	struct heard heard;
	struct store *store = make_store(&heard);

	CU_ASSERT(put(store, "a", "[" NAMESPACE("one", "1") "," NAMESPACE("two", "1") "]") == 0);
	CU_ASSERT(heard_is(&heard, "+/one +/two "));
	CU_ASSERT(put(store, "a", "[" NAMESPACE("two", "2") "," NAMESPACE("three", "1") "]") == 0);
	CU_ASSERT(heard_is(&heard, "+/two +/three -/one "));
	CU_ASSERT(store_count(store, OBJECT_NAMESPACE) == 2);
	CU_ASSERT(strcmp(label_of(store, "two"), "2") == 0);
	CU_ASSERT(put(store, "a", "[]") == 0);
	CU_ASSERT(heard_is(&heard, "-/two -/three "));
	CU_ASSERT(store_count(store, OBJECT_NAMESPACE) == 0);
	store_free(store);
}

static void is_silent_about_equal_objects(void)
{
	struct heard heard;
	struct store *store = make_store(&heard);
	const struct object *before;

	put(store, "a", NAMESPACE("one", "1"));
	before = store_get(store, OBJECT_NAMESPACE, "", "one");
	heard_is(&heard, "+/one ");
	put(store, "a", NAMESPACE("one", "1"));
	CU_ASSERT(heard_is(&heard, ""));
	CU_ASSERT(store_get(store, OBJECT_NAMESPACE, "", "one") == before);
	store_free(store);
}

static void keeps_objects_of_one_name_and_different_kinds_apart(void)
{
	struct heard heard;
	struct store *store = make_store(&heard);

	put(store, "a", "[" NAMESPACE("x", "1") "," POD("x", "x", "10.0.0.1") "]");
	put(store, "b", POD("y", "x", "10.0.0.1"));
	CU_ASSERT(store_count(store, OBJECT_NAMESPACE) == 1);
	CU_ASSERT(store_count(store, OBJECT_POD) == 2);
	CU_ASSERT(store_get(store, OBJECT_POD, "x", "x") != NULL);
	CU_ASSERT(store_get(store, OBJECT_POD, "", "x") == NULL);
	CU_ASSERT(store_get(store, OBJECT_SERVICE, "x", "x") == NULL);
	store_free(store);
}

static void lists_in_order_of_namespace_and_name(void)
{
	static const char *const expected[] = {"a/z", "a-b/a", "a-b/b", "b/a"};
	struct heard heard;
	struct store *store = make_store(&heard);
	const struct object *const *pods;
	char name[64];
	size_t count;

	put(store, "1", POD("b", "a", "10.0.0.1"));
	put(store, "2", "[" POD("a-b", "b", "10.0.0.2") "," POD("a-b", "a", "10.0.0.3") "]");
	put(store, "3", "[" POD("a", "gone", "10.0.0.4") "," POD("a", "z", "10.0.0.5") "]");
	put(store, "3", POD("a", "z", "10.0.0.5"));
	pods = store_objects(store, OBJECT_POD, &count);
	CU_ASSERT_FATAL(count == 4);
	for (size_t i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "%s/%s", pods[i]->namespace, pods[i]->name);
		CU_ASSERT(strcmp(name, expected[i]) == 0);
	}
	store_free(store);
}

/* The array follows what counts: a change, another origin's object, a deletion. */
static void list_is_of_what_counts(void)
{
	struct heard heard;
	struct store *store = make_store(&heard);
	const struct object *const *spaces;
	size_t count;

	spaces = store_objects(store, OBJECT_NAMESPACE, &count);
	CU_ASSERT(spaces != NULL && count == 0);
	put(store, "b", "[" NAMESPACE("one", "1") "," NAMESPACE("two", "1") "]");
	spaces = store_objects(store, OBJECT_NAMESPACE, &count);
	CU_ASSERT_FATAL(count == 2);
	CU_ASSERT(spaces[0] == store_get(store, OBJECT_NAMESPACE, "", "one"));
	CU_ASSERT(spaces == store_objects(store, OBJECT_NAMESPACE, &count));
	put(store, "a", NAMESPACE("one", "2"));
	spaces = store_objects(store, OBJECT_NAMESPACE, &count);
	CU_ASSERT_FATAL(count == 2);
	CU_ASSERT(strcmp(labels_get(&spaces[0]->labels, "l"), "2") == 0);
	CU_ASSERT(spaces[1] == store_get(store, OBJECT_NAMESPACE, "", "two"));
	put(store, "b", "[]");
	spaces = store_objects(store, OBJECT_NAMESPACE, &count);
	CU_ASSERT_FATAL(count == 1);
	CU_ASSERT(strcmp(labels_get(&spaces[0]->labels, "l"), "2") == 0);
	store_free(store);
}

static void lists_one_namespace_alone(void)
{
	struct heard heard;
	struct store *store = make_store(&heard);
	const struct object *const *pods;
	size_t count;

	put(store, "1", "[" POD("b", "a", "10.0.0.1") "," POD("a", "b", "10.0.0.2") "]");
	put(store, "2", "[" POD("a", "a", "10.0.0.3") "," POD("a-b", "a", "10.0.0.4") "]");
	pods = store_objects_in(store, OBJECT_POD, "a", &count);
	CU_ASSERT_FATAL(count == 2);
	CU_ASSERT(strcmp(pods[0]->name, "a") == 0 && strcmp(pods[1]->name, "b") == 0);
	pods = store_objects_in(store, OBJECT_POD, "a-b", &count);
	CU_ASSERT_FATAL(count == 1);
	CU_ASSERT(strcmp(pods[0]->namespace, "a-b") == 0);
	store_objects_in(store, OBJECT_POD, "", &count);
	CU_ASSERT(count == 0);
	store_objects_in(store, OBJECT_POD, "c", &count);
	CU_ASSERT(count == 0);
	store_objects_in(store, OBJECT_NODE, "a", &count);
	CU_ASSERT(count == 0);
	store_free(store);
}

/* What a user asks for may be longer than any name. */
static void name_longer_than_any_is_nobodys(void)
{
	struct heard heard;
	struct store *store = make_store(&heard);
	char name[2000];

	memset(name, 'a', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	put(store, "1", POD("a", "a", "10.0.0.1"));
	CU_ASSERT(store_get(store, OBJECT_POD, name, name) == NULL);
	CU_ASSERT(store_get(store, OBJECT_POD, "a", name) == NULL);
	CU_ASSERT(store_origin(store, OBJECT_POD, name, "a") == NULL);
	store_free(store);
}

static void write_conflict(const struct store_conflict *conflict, void *data)
{
	char *text = data;

	snprintf(text + strlen(text), 256 - strlen(text), "%s:%s>%s ", conflict->object->name,
		 conflict->origin, conflict->ignored);
}

static bool conflicts_are(const struct store *store, size_t count, const char *expected)
{
	char text[256] = "";

	store_conflicts(store, write_conflict, text);
	if (strcmp(text, expected) != 0)
		printf("\n  conflicts are \"%s\"\n", text);
	return strcmp(text, expected) == 0 && store_conflict_count(store) == count;
}

static void first_origin_by_name_counts(void)
{
	struct heard heard;
	struct store *store = make_store(&heard);

	put(store, "b", NAMESPACE("one", "of-b"));
	put(store, "c", NAMESPACE("one", "of-c"));
	CU_ASSERT(heard_is(&heard, "+/one "));
	put(store, "a", NAMESPACE("one", "of-a"));
	CU_ASSERT(heard_is(&heard, "+/one "));
	CU_ASSERT(strcmp(label_of(store, "one"), "of-a") == 0);
	CU_ASSERT(conflicts_are(store, 2, "one:a>b one:a>c "));

	put(store, "b", "[]");
	CU_ASSERT(heard_is(&heard, ""));
	put(store, "a", "[]");
	CU_ASSERT(heard_is(&heard, "+/one "));
	CU_ASSERT(strcmp(label_of(store, "one"), "of-c") == 0);
	put(store, "c", "[]");
	CU_ASSERT(heard_is(&heard, "-/one "));
	CU_ASSERT(conflicts_are(store, 0, ""));
	store_free(store);
}

static void object_that_moves_between_origins_stays_in_place(void)
{
	struct heard heard;
	struct store *store = make_store(&heard);
	const struct object *object;

	put(store, "b", NAMESPACE("one", "1"));
	object = store_get(store, OBJECT_NAMESPACE, "", "one");
	heard_is(&heard, "+/one ");
	put(store, "a", NAMESPACE("one", "1"));
	CU_ASSERT(store_get(store, OBJECT_NAMESPACE, "", "one") == object);
	put(store, "b", "[]");
	CU_ASSERT(store_get(store, OBJECT_NAMESPACE, "", "one") == object);
	put(store, "c", NAMESPACE("one", "1"));
	put(store, "a", "[]");
	CU_ASSERT(store_get(store, OBJECT_NAMESPACE, "", "one") == object);
	CU_ASSERT(heard_is(&heard, ""));
	CU_ASSERT(strcmp(label_of(store, "one"), "1") == 0);
	store_free(store);
}

static void hidden_candidate_changes_silently(void)
{
	struct heard heard;
	struct store *store = make_store(&heard);

	put(store, "a", NAMESPACE("one", "1"));
	put(store, "b", NAMESPACE("one", "2"));
	heard_is(&heard, "+/one ");
	put(store, "b", NAMESPACE("one", "3"));
	CU_ASSERT(heard_is(&heard, ""));
	CU_ASSERT(strcmp(label_of(store, "one"), "1") == 0);
	put(store, "a", NAMESPACE("one", "3"));
	CU_ASSERT(heard_is(&heard, "+/one "));
	put(store, "a", "[]");
	CU_ASSERT(heard_is(&heard, ""));
	CU_ASSERT(strcmp(label_of(store, "one"), "3") == 0);
	store_free(store);
}

/* Both objects in one list; decoding alone would refuse a double. */
static struct object_list join(const char *first, const char *second)
{
	struct object_list a = decode(first), b = decode(second), both = {.count = 2};

	both.objects = calloc(2, sizeof(*both.objects));
	both.objects[0] = a.objects[0];
	both.objects[1] = b.objects[0];
	a.count = b.count = 0;
	object_list_clear(&a);
	object_list_clear(&b);
	return both;
}

static void refuses_a_list_that_names_an_object_twice(void)
{
	struct object_list new = join(NAMESPACE("new", "1"), NAMESPACE("new", "2"));
	struct object_list old = join(NAMESPACE("one", "2"), NAMESPACE("one", "3"));
	struct heard heard;
	struct store *store = make_store(&heard);

	put(store, "a", NAMESPACE("one", "1"));
	heard_is(&heard, "+/one ");
	CU_ASSERT(store_replace(store, "a", &new) == -EEXIST);
	CU_ASSERT(store_replace(store, "b", &new) == -EEXIST);
	CU_ASSERT(store_replace(store, "a", &old) == -EEXIST);
	CU_ASSERT(new.count == 2 && old.count == 2);
	object_list_clear(&new);
	object_list_clear(&old);
	CU_ASSERT(heard_is(&heard, ""));
	CU_ASSERT(store_count(store, OBJECT_NAMESPACE) == 1);
	CU_ASSERT(strcmp(label_of(store, "one"), "1") == 0);
	CU_ASSERT(store_get(store, OBJECT_NAMESPACE, "", "new") == NULL);
	store_free(store);
}

static void write_problem(const char *origin, const struct error *error, void *data)
{
	char *text = data;

	snprintf(text + strlen(text), 256 - strlen(text), "%s:%s ", origin, error->text);
}

static bool problems_are(const struct store *store, size_t count, const char *expected)
{
	char text[256] = "";

	store_problems(store, write_problem, text);
	return strcmp(text, expected) == 0 && store_problem_count(store) == count;
}

static void problems_are_kept_apart_from_objects(void)
{
	struct error error = {.path = "$.spec", .text = "bad"};
	struct heard heard;
	struct store *store = make_store(&heard);

	put(store, "b", NAMESPACE("one", "1"));
	CU_ASSERT(store_set_problem(store, "b", &error) == 0);
	CU_ASSERT(store_set_problem(store, "a", &error) == 0);
	snprintf(error.text, sizeof(error.text), "worse");
	CU_ASSERT(store_set_problem(store, "a", &error) == 0);
	CU_ASSERT(problems_are(store, 2, "a:worse b:bad "));
	CU_ASSERT(store_count(store, OBJECT_NAMESPACE) == 1);

	store_set_problem(store, "a", NULL);
	store_set_problem(store, "b", NULL);
	store_set_problem(store, "never seen", NULL);
	CU_ASSERT(problems_are(store, 0, ""));
	CU_ASSERT(store_count(store, OBJECT_NAMESPACE) == 1);
	store_free(store);
}

static void holds_many_objects_of_many_origins(void)
{
	enum { COUNT = 3000 };
	struct store *store = store_new();
	const struct object *const *pods;
	char origin[32], text[512];
	size_t count;

	for (int i = 0; i < COUNT; i++) {
		int number = i * 7919 % COUNT;

		snprintf(origin, sizeof(origin), "%d.json", number);
		snprintf(text, sizeof(text),
			 "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":"
			 "\"n%05d\"}}",
			 number);
		CU_ASSERT(put(store, origin, text) == 0);
	}
	pods = store_objects(store, OBJECT_NAMESPACE, &count);
	CU_ASSERT_FATAL(count == COUNT);
	for (int i = 0; i < COUNT; i++)
		CU_ASSERT(atoi(pods[i]->name + 1) == i);
	for (int i = 0; i < COUNT; i += 2) {
		snprintf(origin, sizeof(origin), "%d.json", i);
		CU_ASSERT(put(store, origin, "[]") == 0);
	}
	pods = store_objects(store, OBJECT_NAMESPACE, &count);
	CU_ASSERT_FATAL(count == COUNT / 2);
	for (int i = 0; i < COUNT / 2; i++)
		CU_ASSERT(atoi(pods[i]->name + 1) == 2 * i + 1);
	store_free(store);
}

static void hear_words(const struct object *object, bool deleted, void *data)
{
	char *words = data;

	sprintf(words + strlen(words), "%c%s ", deleted ? '-' : '+', object->uid);
}

/* A StatefulSet's next pod has its predecessor's name. */
static void a_pod_of_another_uid_is_another_pod(void)
{
	static const char text[] =
		"{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"namespace\":\"n\","
		"\"name\":"
		"\"web-0\",\"uid\":\"%s\",\"labels\":{\"l\":\"%s\"}},\"spec\":{\"containers\":[]}}";
	static const char *const steps[][3] = {
		{"A", "1", "+A "}, {"A", "2", "+A "}, {"B", "2", "-A +B "},
		{"", "2", "+ "},   {"C", "2", "+C "}, {"C", "2", ""},
	};
	struct store *store = store_new();
	char words[64] = "", object[512];

	CU_ASSERT_FATAL(store != NULL);
	store_listen(store, hear_words, words);
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		words[0] = '\0';
		snprintf(object, sizeof(object), text, steps[i][0], steps[i][1]);
		CU_ASSERT(put(store, "a", object) == 0);
		CU_ASSERT_STRING_EQUAL(words, steps[i][2]);
	}
	store_free(store);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(tells_of_additions_changes_and_deletions),
		UNIT_TEST(is_silent_about_equal_objects),
		UNIT_TEST(keeps_objects_of_one_name_and_different_kinds_apart),
		UNIT_TEST(lists_in_order_of_namespace_and_name),
		UNIT_TEST(list_is_of_what_counts),
		UNIT_TEST(lists_one_namespace_alone),
		UNIT_TEST(name_longer_than_any_is_nobodys),
		UNIT_TEST(first_origin_by_name_counts),
		UNIT_TEST(object_that_moves_between_origins_stays_in_place),
		UNIT_TEST(hidden_candidate_changes_silently),
		UNIT_TEST(refuses_a_list_that_names_an_object_twice),
		UNIT_TEST(problems_are_kept_apart_from_objects),
		UNIT_TEST(a_pod_of_another_uid_is_another_pod),
		UNIT_TEST(holds_many_objects_of_many_origins),
	};

	return UNIT_RUN("store", tests);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The store, one object at a time: upsert, delete, batches, lists by mark and sweep, sources that
 * are synced; also without memory. */
#include <errno.h>
#include <time.h>

#include "agent/store/store.h"
#include "tests/faults.h"
#include "tests/unit/unit.h"

/* What a listener knows: the label of each namespace, by events alone. */
#define NAMES 40
struct mirror {
	const struct store *store;
	char label[NAMES][16]; /* "": there is none */
	size_t calls;
	char log[512];
	bool wrong; /* an event that says nothing new, or a deletion of what was never heard of */
};

/* Namespaces are called nNN. */
static size_t number_of(const struct object *object)
{
	return (size_t)atoi(object->name + 1) % NAMES;
}

static void hear(const struct object *object, bool deleted, void *data)
{
	struct mirror *mirror = data;
	char *label = mirror->label[number_of(object)];
	const char *value = labels_get(&object->labels, "l");
	size_t used = strlen(mirror->log);

	mirror->calls++;
	snprintf(mirror->log + used, sizeof(mirror->log) - used, "%c%s ", deleted ? '-' : '+',
		 object->name);
	mirror->wrong |= deleted && strcmp(label, value) != 0;
	mirror->wrong |=
		(store_get(mirror->store, object->kind, "", object->name) == object) == deleted;
	snprintf(label, 16, "%s", deleted ? "" : value);
}

static struct store *make_store(struct mirror *mirror)
{
	struct store *store = store_new();

	CU_ASSERT_FATAL(store != NULL);
	*mirror = (struct mirror){.store = store};
	store_listen(store, hear, mirror);
	return store;
}

static bool heard_is(struct mirror *mirror, const char *log)
{
	bool same = strcmp(mirror->log, log) == 0;

	if (!same)
		printf("\n  heard \"%s\", not \"%s\"\n", mirror->log, log);
	mirror->log[0] = '\0';
	return same && !mirror->wrong;
}

static struct object *make(const char *name, const char *label, const char *uid,
			   const char *version)
{
	struct object_list list = {};
	struct error error = {};
	struct object *object;
	char text[512];

	snprintf(text, sizeof(text),
		 "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"%s\","
		 "\"uid\":\"%s\","
		 "\"resourceVersion\":\"%s\",\"labels\":{\"l\":\"%s\"}}}",
		 name, uid, version, label);
	CU_ASSERT_FATAL(objects_decode(text, strlen(text), &list, &error) == 0 && list.count == 1);
	object = list.objects[0];
	list.count = 0;
	object_list_clear(&list);
	return object;
}

static void put(struct store *store, const char *origin, const char *name, const char *label)
{
	CU_ASSERT(store_upsert(store, origin, make(name, label, "u", "1")) == 0);
}

static int delete (struct store *store, const char *origin, const char *name)
{
	return store_delete(store, origin, OBJECT_NAMESPACE, "", name);
}

static const struct object *get(const struct store *store, const char *name)
{
	return store_get(store, OBJECT_NAMESPACE, "", name);
}

static const char *label_of(const struct store *store, const char *name)
{
	const struct object *object = get(store, name);

	return object ? labels_get(&object->labels, "l") : "(none)";
}

/* ---------------------------------------------------------------- one object */

static void one_object_comes_changes_and_goes(void)
{
	struct mirror mirror;
	struct store *store = make_store(&mirror);

	put(store, "a", "n1", "x");
	put(store, "a", "n2", "x");
	put(store, "a", "n1", "y");
	CU_ASSERT(heard_is(&mirror, "+n1 +n2 +n1 "));
	CU_ASSERT(strcmp(label_of(store, "n1"), "y") == 0 &&
		  store_count(store, OBJECT_NAMESPACE) == 2);
	CU_ASSERT(delete (store, "a", "n1") == 0);
	CU_ASSERT(heard_is(&mirror, "-n1 "));
	CU_ASSERT(delete (store, "a", "n1") == -ENOENT);
	CU_ASSERT(delete (store, "b", "n2") == -ENOENT);
	CU_ASSERT(store_delete(store, "a", OBJECT_NODE, "", "n2") == -ENOENT);
	CU_ASSERT(get(store, "n1") == NULL && store_count(store, OBJECT_NAMESPACE) == 1);
	CU_ASSERT(heard_is(&mirror, ""));
	store_free(store);
}

static void equal_object_leaves_its_version_and_nothing_else(void)
{
	struct mirror mirror;
	struct store *store = make_store(&mirror);
	const struct object *before;

	CU_ASSERT(store_upsert(store, "a", make("n1", "x", "u1", "7")) == 0);
	before = get(store, "n1");
	CU_ASSERT(heard_is(&mirror, "+n1 "));
	CU_ASSERT(store_upsert(store, "a", make("n1", "x", "u1", "9")) == 0);
	CU_ASSERT(get(store, "n1") == before && strcmp(before->resource_version, "9") == 0);
	CU_ASSERT(heard_is(&mirror, ""));
	/* Made anew by that name: another object, though it says the same. */
	CU_ASSERT(store_upsert(store, "a", make("n1", "x", "u2", "10")) == 0);
	CU_ASSERT(strcmp(get(store, "n1")->uid, "u2") == 0);
	CU_ASSERT(heard_is(&mirror, "+n1 "));
	store_free(store);
}

static void each_origin_has_its_own_version(void)
{
	struct mirror mirror;
	struct store *store = make_store(&mirror);

	CU_ASSERT(store_upsert(store, "b", make("n1", "x", "u", "b1")) == 0);
	CU_ASSERT(store_upsert(store, "a", make("n1", "x", "u", "a1")) == 0);
	CU_ASSERT(strcmp(store_origin(store, OBJECT_NAMESPACE, "", "n1"), "a") == 0);
	CU_ASSERT(strcmp(store_get_from(store, "a", OBJECT_NAMESPACE, "", "n1")->resource_version,
			 "a1") == 0);
	CU_ASSERT(strcmp(store_get_from(store, "b", OBJECT_NAMESPACE, "", "n1")->resource_version,
			 "b1") == 0);
	CU_ASSERT(store_get_from(store, "c", OBJECT_NAMESPACE, "", "n1") == NULL);
	CU_ASSERT(store_get_from(store, "a", OBJECT_NAMESPACE, "", "n2") == NULL);
	CU_ASSERT(delete (store, "a", "n1") == 0);
	CU_ASSERT(strcmp(get(store, "n1")->resource_version, "b1") == 0);
	CU_ASSERT(heard_is(&mirror, "+n1 "));
	store_free(store);
}

static void longer_name_than_any_is_refused(void)
{
	struct mirror mirror;
	struct store *store = make_store(&mirror);
	struct object *object = make("n1", "x", "u", "1");

	free(object->name);
	object->name = calloc(1, 1001);
	memset(object->name, 'a', 1000);
	CU_ASSERT(store_upsert(store, "a", object) == -EINVAL);
	object_free(object);
	CU_ASSERT(heard_is(&mirror, "") && store_count(store, OBJECT_NAMESPACE) == 0);
	store_free(store);
}

/* ---------------------------------------------------------------- batches */

static void batch_is_heard_at_its_end(void)
{
	struct mirror mirror;
	struct store *store = make_store(&mirror);

	put(store, "a", "n1", "x");
	put(store, "a", "n2", "x");
	heard_is(&mirror, "+n1 +n2 ");
	store_batch_begin(store);
	CU_ASSERT(delete (store, "a", "n1") == 0);
	put(store, "a", "n3", "x");
	put(store, "a", "n2", "y");
	put(store, "a", "n2", "z");
	store_batch_begin(store);
	put(store, "b", "n4", "x");
	store_batch_end(store);
	CU_ASSERT(heard_is(&mirror, ""));
	CU_ASSERT(get(store, "n1") == NULL && strcmp(label_of(store, "n2"), "z") == 0);
	CU_ASSERT(store_count(store, OBJECT_NAMESPACE) == 3);
	store_batch_end(store);
	CU_ASSERT(heard_is(&mirror, "+n3 +n2 +n4 -n1 "));
	store_batch_begin(store);
	store_batch_end(store);
	CU_ASSERT(heard_is(&mirror, ""));
	store_free(store);
}

static void batch_is_silent_about_what_is_the_same_again(void)
{
	struct mirror mirror;
	struct store *store = make_store(&mirror);
	const struct object *before;

	put(store, "a", "n1", "x");
	put(store, "a", "n2", "x");
	before = get(store, "n1");
	heard_is(&mirror, "+n1 +n2 ");
	store_batch_begin(store);
	delete (store, "a", "n1");
	put(store, "a", "n1", "x");
	put(store, "a", "n2", "y");
	put(store, "a", "n2", "x");
	put(store, "a", "n3", "x");
	delete (store, "a", "n3");
	store_batch_end(store);
	CU_ASSERT(heard_is(&mirror, ""));
	CU_ASSERT(get(store, "n1") == before);
	CU_ASSERT(store_objects(store, OBJECT_NAMESPACE, &(size_t){0})[0] == before);
	store_batch_begin(store);
	delete (store, "a", "n1");
	put(store, "b", "n1", "y");
	delete (store, "a", "n2");
	put(store, "b", "n2", "x");
	store_batch_end(store);
	CU_ASSERT(heard_is(&mirror, "+n1 "));
	store_free(store);
}

static void what_was_known_lives_until_the_batch_ends(void)
{
	struct mirror mirror;
	struct store *store = make_store(&mirror);
	const struct object *known;

	put(store, "a", "n1", "x");
	known = get(store, "n1");
	store_batch_begin(store);
	put(store, "a", "n1", "y");
	delete (store, "a", "n1");
	CU_ASSERT(strcmp(labels_get(&known->labels, "l"), "x") == 0);
	store_batch_end(store);
	CU_ASSERT(heard_is(&mirror, "+n1 -n1 "));
	store_free(store);
}

/* ---------------------------------------------------------------- lists */

static void list_deletes_what_it_does_not_name(void)
{
	struct mirror mirror;
	struct store *store = make_store(&mirror);

	put(store, "a", "n1", "x");
	put(store, "a", "n2", "x");
	put(store, "a", "n3", "x");
	put(store, "b", "n4", "x");
	heard_is(&mirror, "+n1 +n2 +n3 +n4 ");
	CU_ASSERT(store_list_begin(store, "a") == 0);
	put(store, "a", "n1", "x");
	CU_ASSERT(store_list_keep(store, "a", OBJECT_NAMESPACE, "", "n2") == 0);
	CU_ASSERT(store_list_keep(store, "a", OBJECT_NAMESPACE, "", "n4") == -ENOENT);
	put(store, "a", "n5", "x");
	put(store, "b", "n6", "x"); /* another origin's change meanwhile */
	CU_ASSERT(heard_is(&mirror, "+n5 +n6 "));
	store_list_end(store, "a");
	CU_ASSERT(heard_is(&mirror, "-n3 "));
	CU_ASSERT(store_count(store, OBJECT_NAMESPACE) == 5);
	CU_ASSERT(store_list_begin(store, "a") == 0);
	store_list_end(store, "a");
	CU_ASSERT(heard_is(&mirror, "-n1 -n2 -n5 "));
	store_free(store);
}

static void list_that_breaks_off_deletes_nothing(void)
{
	struct mirror mirror;
	struct store *store = make_store(&mirror);

	put(store, "a", "n1", "x");
	put(store, "a", "n2", "x");
	CU_ASSERT(store_list_begin(store, "a") == 0);
	put(store, "a", "n1", "y");
	store_list_cancel(store, "a");
	store_list_cancel(store, "nobody");
	CU_ASSERT(heard_is(&mirror, "+n1 +n2 +n1 "));
	/* Begun anew: what the first attempt named is not named by the second. */
	CU_ASSERT(store_list_begin(store, "a") == 0);
	put(store, "a", "n2", "x");
	CU_ASSERT(store_list_begin(store, "a") == 0);
	put(store, "a", "n1", "y");
	store_list_end(store, "a");
	CU_ASSERT(heard_is(&mirror, "-n2 "));
	store_free(store);
}

static void object_that_another_origin_has_too_survives_the_list(void)
{
	struct mirror mirror;
	struct store *store = make_store(&mirror);

	put(store, "a", "n1", "of-a");
	put(store, "b", "n1", "of-b");
	heard_is(&mirror, "+n1 ");
	CU_ASSERT(store_conflict_count(store) == 1);
	CU_ASSERT(store_list_begin(store, "a") == 0);
	store_list_end(store, "a");
	CU_ASSERT(heard_is(&mirror, "+n1 ") && strcmp(label_of(store, "n1"), "of-b") == 0);
	CU_ASSERT(store_conflict_count(store) == 0);
	store_free(store);
}

static void synced_is_each_source_that_is_expected(void)
{
	struct mirror mirror;
	struct store *store = make_store(&mirror);

	CU_ASSERT(store_synced(store));
	CU_ASSERT(store_expect(store, "directory") == 0 && store_expect(store, "api/pods") == 0);
	store_set_synced(store, "nobody expects it");
	CU_ASSERT(!store_synced(store));
	store_set_synced(store, "directory");
	CU_ASSERT(!store_synced(store));
	CU_ASSERT(store_list_begin(store, "api/pods") == 0);
	CU_ASSERT(!store_synced(store));
	store_list_cancel(store, "api/pods");
	CU_ASSERT(!store_synced(store));
	CU_ASSERT(store_list_begin(store, "api/pods") == 0);
	store_list_end(store, "api/pods");
	CU_ASSERT(store_synced(store));
	store_free(store);
}

/* ---------------------------------------------------------------- anything */

#define ORIGINS 4
static const char *const origins[ORIGINS] = {"a", "b", "c", "d"};

/* What each origin gave, kept as simply as can be. */
struct model {
	char label[ORIGINS][NAMES][16];
};

static const char *model_label(const struct model *model, size_t name)
{
	for (size_t i = 0; i < ORIGINS; i++)
		if (model->label[i][name][0])
			return model->label[i][name];
	return "";
}

static bool is_model(const struct store *store, const struct model *model)
{
	size_t count, found = 0, given = 0;
	const struct object *const *objects = store_objects(store, OBJECT_NAMESPACE, &count);

	for (size_t i = 0; i < NAMES; i++) {
		const char *label = model_label(model, i);

		for (size_t j = 0; j < ORIGINS; j++)
			given += model->label[j][i][0] != '\0';
		if (!label[0])
			continue;
		if (found == count || number_of(objects[found]) != i ||
		    strcmp(labels_get(&objects[found]->labels, "l"), label) != 0 ||
		    get(store, objects[found]->name) != objects[found])
			return false;
		found++;
	}
	return found == count && store_conflict_count(store) == given - count;
}

static bool mirror_is_model(const struct mirror *mirror, const struct model *model)
{
	for (size_t i = 0; i < NAMES; i++)
		if (strcmp(mirror->label[i], model_label(model, i)) != 0)
			return false;
	return !mirror->wrong;
}

static unsigned int seed = 1;

static unsigned int draw(unsigned int below)
{
	seed = seed * 1103515245 + 12345;
	return (seed >> 16) % below;
}

/* One change of either kind; with a failing allocation the store is as before or as after. */
static void change_something(struct store *store, struct model *model, bool without_memory)
{
	unsigned int origin = draw(ORIGINS), number = draw(NAMES);
	char *label = model->label[origin][number], name[8], value[16];
	struct object *object;
	int r;

	snprintf(name, sizeof(name), "n%02u", number);
	if (draw(3) == 0) {
		faults_begin(1);
		CU_ASSERT((delete (store, origins[origin], name) == 0) == (label[0] != '\0'));
		CU_ASSERT(!faults_end()); /* needs no memory */
		label[0] = '\0';
		return;
	}
	snprintf(value, sizeof(value), "v%u", draw(3));
	object = make(name, value, "u", "1");
	faults_begin(without_memory ? 1 + draw(6) : 0);
	r = store_upsert(store, origins[origin], object);
	CU_ASSERT(faults_end() == (r < 0));
	if (r == 0)
		snprintf(label, 16, "%s", value);
	else
		object_free(object);
}

static void replace_all(struct store *store, struct model *model, bool without_memory)
{
	unsigned int origin = draw(ORIGINS), count = draw(NAMES);
	struct object_list list = {.objects = calloc(NAMES, sizeof(*list.objects))};
	char labels[NAMES][16] = {}, name[8];
	int r;

	for (unsigned int i = draw(NAMES); list.count < count; i++) {
		snprintf(name, sizeof(name), "n%02u", i % NAMES);
		snprintf(labels[i % NAMES], 16, "v%u", draw(3));
		list.objects[list.count++] = make(name, labels[i % NAMES], "u", "1");
	}
	faults_begin(without_memory ? 1 + draw(30) : 0);
	r = store_replace(store, origins[origin], &list);
	CU_ASSERT(faults_end() == (r < 0));
	CU_ASSERT(r < 0 ? list.count == count : list.count == 0);
	if (r == 0)
		memcpy(model->label[origin], labels, sizeof(labels));
	object_list_clear(&list);
}

static void list_anew(struct store *store, struct model *model)
{
	unsigned int origin = draw(ORIGINS);
	char named[NAMES] = {}, name[8];

	CU_ASSERT(store_list_begin(store, origins[origin]) == 0);
	for (unsigned int i = 0; i < NAMES / 2; i++) {
		unsigned int number = draw(NAMES);

		snprintf(name, sizeof(name), "n%02u", number);
		if (draw(2)) {
			named[number] |= store_list_keep(store, origins[origin], OBJECT_NAMESPACE,
							 "", name) == 0;
			continue;
		}
		snprintf(model->label[origin][number], 16, "v%u", draw(3));
		put(store, origins[origin], name, model->label[origin][number]);
		named[number] = 1;
	}
	store_list_end(store, origins[origin]);
	for (unsigned int i = 0; i < NAMES; i++)
		if (!named[i])
			model->label[origin][i][0] = '\0';
}

static void run_steps(unsigned int steps, bool without_memory)
{
	static struct model model;
	struct mirror mirror;
	struct store *store = make_store(&mirror);

	model = (struct model){};
	for (unsigned int i = 0; i < steps; i++) {
		bool batch = draw(4) == 0;

		if (batch)
			store_batch_begin(store);
		for (unsigned int j = batch ? draw(12) : 1; j > 0; j--) {
			unsigned int what = draw(20);

			if (what == 0)
				replace_all(store, &model, without_memory);
			else if (what == 1)
				list_anew(store, &model);
			else
				change_something(store, &model, without_memory);
			if (draw(3) == 0)
				CU_ASSERT(is_model(store, &model));
		}
		if (batch)
			store_batch_end(store);
		CU_ASSERT(mirror_is_model(&mirror, &model));
		mirror.log[0] = '\0';
	}
	CU_ASSERT(is_model(store, &model));
	CU_ASSERT(mirror.calls > steps / 4);
	store_free(store);
}

static void any_order_of_changes_ends_as_told(void)
{
	run_steps(4000, false);
}

static void changes_without_memory_are_done_or_not(void)
{
	run_steps(4000, true);
}

/* ---------------------------------------------------------------- many */

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* An order in which nothing comes sorted. Prints what it takes; what it must not be is quadratic.
 */
static void fifty_thousand_objects_come_change_and_go(void)
{
	enum { COUNT = 50000 };
	static struct object *made[COUNT], *changed[COUNT];
	struct store *store = store_new();
	const struct object *const *objects;
	double start, one;
	char name[16];
	size_t count;

	for (int i = 0; i < COUNT; i++) {
		snprintf(name, sizeof(name), "n%05d", i * 7919 % COUNT);
		made[i] = make(name, "x", "u", "1");
		changed[i] = make(name, "y", "u", "2");
	}
	start = seconds();
	for (int i = 0; i < COUNT; i++)
		CU_ASSERT_FATAL(store_upsert(store, "api/namespaces", made[i]) == 0);
	objects = store_objects(store, OBJECT_NAMESPACE, &count);
	printf("\n    %d come in %.1f ms", COUNT, (seconds() - start) * 1e3);
	CU_ASSERT_FATAL(count == COUNT);
	for (int i = 0; i < COUNT; i++)
		CU_ASSERT(atoi(objects[i]->name + 1) == i);
	start = seconds();
	for (int i = 0; i < COUNT; i++)
		CU_ASSERT_FATAL(store_upsert(store, "api/namespaces", changed[i]) == 0);
	printf(", change in %.1f ms", (seconds() - start) * 1e3);
	one = seconds();
	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "n%05d", i * 7919 % COUNT);
		CU_ASSERT(store_delete(store, "api/namespaces", OBJECT_NAMESPACE, "", name) == 0);
		store_objects(store, OBJECT_NAMESPACE, &count);
		CU_ASSERT(store_upsert(store, "api/namespaces", make(name, "y", "u", "3")) == 0);
		store_objects(store, OBJECT_NAMESPACE, &count);
	}
	printf(", one comes or goes and all are read: %.3f ms", (seconds() - one) * 1e3 / 200);
	start = seconds();
	for (int i = 0; i < COUNT; i++) {
		snprintf(name, sizeof(name), "n%05d", i * 6007 % COUNT);
		CU_ASSERT_FATAL(store_delete(store, "api/namespaces", OBJECT_NAMESPACE, "", name) ==
				0);
	}
	printf(", go in %.1f ms\n", (seconds() - start) * 1e3);
	CU_ASSERT(store_count(store, OBJECT_NAMESPACE) == 0);
	store_free(store);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(one_object_comes_changes_and_goes),
		UNIT_TEST(equal_object_leaves_its_version_and_nothing_else),
		UNIT_TEST(each_origin_has_its_own_version),
		UNIT_TEST(longer_name_than_any_is_refused),
		UNIT_TEST(batch_is_heard_at_its_end),
		UNIT_TEST(batch_is_silent_about_what_is_the_same_again),
		UNIT_TEST(what_was_known_lives_until_the_batch_ends),
		UNIT_TEST(list_deletes_what_it_does_not_name),
		UNIT_TEST(list_that_breaks_off_deletes_nothing),
		UNIT_TEST(object_that_another_origin_has_too_survives_the_list),
		UNIT_TEST(synced_is_each_source_that_is_expected),
		UNIT_TEST(any_order_of_changes_ends_as_told),
		UNIT_TEST(changes_without_memory_are_done_or_not),
		UNIT_TEST(fifty_thousand_objects_come_change_and_go),
	};

	return UNIT_RUN("store_objects", tests);
}

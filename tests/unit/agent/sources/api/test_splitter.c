/* SPDX-License-Identifier: Apache-2.0 */
/* Objects out of a text that arrives in pieces. */
#include "agent/sources/api/splitter.h"

#include <errno.h>

#include "agent/sources/api/json_span.h"
#include "tests/unit/unit.h"

#define LIST                                                                                       \
	"{ \"kind\":\"PodList\", \"apiVersion\":\"v1\",\"metadata\":{\"resourceVersion\":\"7\","   \
	"\"items\":[{\"no\":1}]},\n\"items\":[ {\"a\":\"]}\\\"{\"} ,{\"b\":[{},{\"c\":{}}]}, {} "  \
	"],"                                                                                       \
	"\"tail\":\"items\" }"
#define LIST_REST                                                                                  \
	"{ \"kind\":\"PodList\", \"apiVersion\":\"v1\",\"metadata\":{\"resourceVersion\":\"7\","   \
	"\"items\":[{\"no\":1}]},\n\"items\":[],\"tail\":\"items\" }"
#define LIST_ITEMS  "{\"a\":\"]}\\\"{\"}|{\"b\":[{},{\"c\":{}}]}|{}|"
#define EVENTS	    "{\"type\":\"ADDED\"}\n {\"x\":\"\\\\\"}{\"y\":[]}\r\n"
#define EVENT_ITEMS "{\"type\":\"ADDED\"}|{\"x\":\"\\\\\"}|{\"y\":[]}|"

struct taken {
	char text[4096];
	size_t count, last_length;
	bool whole;
	int answer;
};

static int take(const char *text, size_t length, bool whole, void *data)
{
	struct taken *taken = data;

	CU_ASSERT(text[length] == '\0');
	taken->count++;
	taken->last_length = length;
	taken->whole = whole;
	if (strlen(taken->text) + length + 2 < sizeof(taken->text))
		sprintf(taken->text + strlen(taken->text), "%s|", text);
	return taken->answer;
}

/* Fed in pieces of `size`. What the last one answered. */
static int feed(enum splitter_form form, const char *text, size_t size, struct taken *taken,
		bool *ret_whole, char *rest)
{
	struct splitter *splitter = splitter_new(form, take, taken);
	size_t length = strlen(text), rest_length = 0;
	int r = 0;

	for (size_t at = 0; at < length && r == 0; at += size)
		r = splitter_feed(splitter, text + at, length - at < size ? length - at : size);
	*ret_whole = splitter_is_whole(splitter);
	if (rest)
		strcpy(rest, splitter_rest(splitter, &rest_length));
	splitter_free(splitter);
	return r;
}

static void every_split_of_a_list_gives_the_same(void)
{
	for (size_t size = 1; size <= sizeof(LIST); size++) {
		struct taken taken = {};
		char rest[512];
		bool whole;

		CU_ASSERT(feed(SPLIT_LIST, LIST, size, &taken, &whole, rest) == 0);
		CU_ASSERT(whole);
		CU_ASSERT_STRING_EQUAL(taken.text, LIST_ITEMS);
		CU_ASSERT_STRING_EQUAL(rest, LIST_REST);
	}
}

static void every_split_of_events_gives_the_same(void)
{
	for (size_t size = 1; size <= sizeof(EVENTS); size++) {
		struct taken taken = {};
		bool whole;

		CU_ASSERT(feed(SPLIT_VALUES, EVENTS, size, &taken, &whole, NULL) == 0);
		CU_ASSERT(whole);
		CU_ASSERT_STRING_EQUAL(taken.text, EVENT_ITEMS);
	}
}

/* Wherever it is cut: what came whole came, and the text is not. */
static void list_that_is_cut_off_is_not_whole(void)
{
	char text[sizeof(LIST)];

	for (size_t length = 1; length < sizeof(LIST) - 1; length++) {
		struct taken taken = {};
		bool whole;

		memcpy(text, LIST, length);
		text[length] = '\0';
		CU_ASSERT(feed(SPLIT_LIST, text, 5, &taken, &whole, NULL) == 0);
		CU_ASSERT(!whole);
		CU_ASSERT(strncmp(taken.text, LIST_ITEMS, strlen(taken.text)) == 0);
	}
}

static void event_that_is_cut_off_is_not_given(void)
{
	struct taken taken = {};
	bool whole;

	CU_ASSERT(feed(SPLIT_VALUES, "{\"a\":1}\n{\"b\":", 3, &taken, &whole, NULL) == 0);
	CU_ASSERT(!whole);
	CU_ASSERT_STRING_EQUAL(taken.text, "{\"a\":1}|");
}

static void lists_without_items_are_whole(void)
{
	static const char *const texts[] = {"{}", "{\"items\":[]}", "{\"items\":null}\n",
					    "{\"items\":\"[\"}",
					    "{\"kind\":\"Status\",\"code\":410}"};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct taken taken = {};
		bool whole;

		CU_ASSERT(feed(SPLIT_LIST, texts[i], 1, &taken, &whole, NULL) == 0);
		CU_ASSERT(whole && taken.count == 0);
	}
}

static void what_is_no_list_or_event_is_refused(void)
{
	static const char *const lists[] = {
		"[{}]",	 "x",  "{\"items\":[1]}",   "{\"items\":[{},]}",  "{\"items\":[{} {}]}",
		"{} {}", "\"", "{\"items\":[,{}]}", "{\"items\":[[{}]]}", "{\"items\":[{}}",
	};
	static const char *const events[] = {"[]", "1", "null", "{},{}", "<html>", "}"};
	bool whole;

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		struct taken taken = {};

		CU_ASSERT(feed(SPLIT_LIST, lists[i], 1, &taken, &whole, NULL) == -EBADMSG);
	}
	for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
		struct taken taken = {};

		CU_ASSERT(feed(SPLIT_VALUES, events[i], 1, &taken, &whole, NULL) == -EBADMSG);
	}
}

static void nesting_without_end_is_refused(void)
{
	char text[2 * SPLITTER_DEPTH_MAX + 1];
	struct taken taken = {};
	bool whole;

	memset(text, '{', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	CU_ASSERT(feed(SPLIT_VALUES, text, 100, &taken, &whole, NULL) == -EBADMSG);
	CU_ASSERT(feed(SPLIT_LIST, text, 100, &taken, &whole, NULL) == -EBADMSG);
}

static void taker_ends_it(void)
{
	struct taken taken = {.answer = -ECANCELED};
	bool whole;

	CU_ASSERT(feed(SPLIT_VALUES, EVENTS, 100, &taken, &whole, NULL) == -ECANCELED);
	CU_ASSERT(taken.count == 1);
}

/* Only its beginning is kept, and the next one is whole again. */
static void object_that_is_too_large_is_given_by_its_head(void)
{
	static const char head[] = "{\"metadata\":{\"name\":\"large\"},\"p\":\"";
	static char block[1 << 16];
	struct taken taken = {};
	struct splitter *splitter = splitter_new(SPLIT_VALUES, take, &taken);

	memset(block, 'x', sizeof(block));
	CU_ASSERT(splitter_feed(splitter, head, strlen(head)) == 0);
	for (size_t i = 0; i < SPLITTER_OBJECT_MAX / sizeof(block) + 3; i++)
		CU_ASSERT(splitter_feed(splitter, block, sizeof(block)) == 0);
	CU_ASSERT(taken.count == 0);
	CU_ASSERT(splitter_feed(splitter, "\"}", 2) == 0);
	CU_ASSERT(taken.count == 1 && !taken.whole && taken.last_length <= SPLITTER_HEAD);
	CU_ASSERT(splitter_feed(splitter, "{\"a\":1}", 7) == 0);
	CU_ASSERT(taken.count == 2 && taken.whole && taken.last_length == 7);
	splitter_free(splitter);
}

static void what_stands_around_items_is_limited(void)
{
	static char block[1 << 16];
	struct taken taken = {};
	struct splitter *splitter = splitter_new(SPLIT_LIST, take, &taken);
	int r = splitter_feed(splitter, "{\"p\":\"", 6);

	memset(block, 'x', sizeof(block));
	for (size_t i = 0; i < SPLITTER_REST_MAX / sizeof(block) + 1 && r == 0; i++)
		r = splitter_feed(splitter, block, sizeof(block));
	CU_ASSERT(r == -EBADMSG);
	splitter_free(splitter);
}

/* ---------------------------------------------------------------- parts of a text */

static struct span whole(const char *text)
{
	return (struct span){text, strlen(text), true};
}

static void finds_members_wherever_they_stand(void)
{
	struct span meta;
	char text[32];

	CU_ASSERT(span_member(whole(" { \"a\" : [ {\"metadata\":1} , \"}\" ] , \"metadata\" : "
				    "{\"name\":\"n\",\"namespace\" : \"ns\"} , \"b\":tr"),
			      "metadata", &meta));
	CU_ASSERT(meta.whole);
	CU_ASSERT(span_text(meta, "namespace", text, sizeof(text)) && strcmp(text, "ns") == 0);
	CU_ASSERT(!span_text(meta, "uid", text, sizeof(text)));
	CU_ASSERT(!span_text(meta, "name", text, 1));
}

static void finds_members_in_a_text_that_is_cut_off(void)
{
	static const char full[] = "{\"metadata\":{\"name\":\"web\",\"labels\":{\"a\":\"b\"}}}";
	char name[16], text[sizeof(full)];
	struct span meta;

	for (size_t length = 0; length < sizeof(full); length++) {
		bool found;

		memcpy(text, full, length);
		found = span_member((struct span){text, length, false}, "metadata", &meta) &&
			span_text(meta, "name", name, sizeof(name));
		CU_ASSERT(found == (length >= strlen("{\"metadata\":{\"name\":\"web\"")));
		CU_ASSERT(!found || strcmp(name, "web") == 0);
	}
}

static void what_is_no_string_is_none(void)
{
	static const char *const texts[] = {"{\"a\":1}",  "{\"a\":null}", "{\"a\":\"\\u0041\"}",
					    "{\"a\":{}}", "{\"a\":\"x",	  "[\"a\"]",
					    "{a:\"x\"}",  "{\"a\"",	  ""};
	char text[16];

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		CU_ASSERT(!span_text(whole(texts[i]), "a", text, sizeof(text)));
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(every_split_of_a_list_gives_the_same),
		UNIT_TEST(every_split_of_events_gives_the_same),
		UNIT_TEST(list_that_is_cut_off_is_not_whole),
		UNIT_TEST(event_that_is_cut_off_is_not_given),
		UNIT_TEST(lists_without_items_are_whole),
		UNIT_TEST(what_is_no_list_or_event_is_refused),
		UNIT_TEST(nesting_without_end_is_refused),
		UNIT_TEST(taker_ends_it),
		UNIT_TEST(object_that_is_too_large_is_given_by_its_head),
		UNIT_TEST(what_stands_around_items_is_limited),
		UNIT_TEST(finds_members_wherever_they_stand),
		UNIT_TEST(finds_members_in_a_text_that_is_cut_off),
		UNIT_TEST(what_is_no_string_is_none),
	};

	return UNIT_RUN("sources/api/splitter", tests);
}

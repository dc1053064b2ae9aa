/* SPDX-License-Identifier: Apache-2.0 */
/* Lines of objects in a file: what a crash cuts off, what is damaged, what is left out. */
#include "agent/sources/api/kept_file.h"

#include <errno.h>
#include <fcntl.h>

#include "tests/unit/unit.h"

static char directory[32], path[64];
/* Few enough that none of them is written before the test does it. */
static struct kept_lines text;

static void write_file(size_t length)
{
	unit_write(path, text.text, length);
}

static void clear(void)
{
	free(text.text);
	text = (struct kept_lines){.fd = -1};
}

static void begin(void)
{
	clear();
	kept_add_head(&text);
}

struct words {
	char text[4096];
	size_t used;
};

static int add_words(const struct kept_object *object, void *data)
{
	struct words *words = data;

	CU_ASSERT(strlen(object->json) == object->length);
	words->used +=
		(size_t)snprintf(words->text + words->used, sizeof(words->text) - words->used,
				 "%u:%s%s ", object->kind, object->json, object->closed ? "!" : "");
	return 0;
}

/* What the file says, "KIND:JSON" of each with ! for closed, and W. */
static const char *content(void)
{
	static struct words words;
	struct kept_content content;
	int r = kept_file_read(path, &content);

	words = (struct words){};
	if (r == 0) {
		r = kept_file_each(&content, add_words, &words);
		if (content.whole)
			strcpy(words.text + words.used, "W");
		kept_content_clear(&content);
	}
	if (r < 0)
		snprintf(words.text, sizeof(words.text), "%s", strerrorname_np(-r));
	return words.text;
}

static void last_word_about_an_object_counts(void)
{
	begin();
	kept_add_object(&text, 2, "n", "a", "{1}", false);
	kept_add_object(&text, 2, "", "a", "{2}", true);
	kept_add_object(&text, 3, "n", "a", "{3 4}", false);
	kept_add_object(&text, 2, "n", "b", "{5}", false);
	kept_add_whole(&text);
	kept_add_deletion(&text, 2, "n", "b");
	kept_add_object(&text, 2, "n", "a", "{6}", false);
	kept_add_deletion(&text, 5, "n", "never");
	kept_add_object(&text, 4, "n", "c", "{7}", false);
	kept_add_deletion(&text, 4, "n", "c");
	kept_add_object(&text, 4, "n", "c", "{8}", false);
	write_file(text.length);
	CU_ASSERT_STRING_EQUAL(content(), "2:{6} 2:{2}! 3:{3 4} 4:{8} W");
}

static void file_of_another_format_is_refused(void)
{
	CU_ASSERT_STRING_EQUAL(content(), "2:{6} 2:{2}! 3:{3 4} 4:{8} W");
	clear();
	kept_add_whole(&text);
	write_file(text.length);
	CU_ASSERT_STRING_EQUAL(content(), "EBADMSG");
	write_file(0);
	CU_ASSERT_STRING_EQUAL(content(), "EBADMSG");
	unlink(path);
	CU_ASSERT_STRING_EQUAL(content(), "ENOENT");
	begin();
	write_file(text.length);
	CU_ASSERT_STRING_EQUAL(content(), "");
}

/* Three objects and the mark that these were all. */
static void write_three(void)
{
	begin();
	kept_add_object(&text, 2, "n", "a", "{1}", false);
	kept_add_object(&text, 2, "n", "b", "{2}", false);
	kept_add_whole(&text);
	kept_add_object(&text, 2, "n", "c", "{3}", false);
	write_file(text.length);
}

static const char *const states[] = {"", "2:{1} ", "2:{1} 2:{2} ", "2:{1} 2:{2} W",
				     "2:{1} 2:{2} 2:{3} W"};

static size_t lines_in(size_t length)
{
	size_t lines = 0;

	for (size_t i = 0; i < length; i++)
		lines += text.text[i] == '\n';
	return lines;
}

static void cut_at_each_byte_it_is_the_state_of_a_moment_before(void)
{
	write_three();
	for (size_t cut = 0; cut <= text.length; cut++) {
		size_t lines = lines_in(cut);

		write_file(cut);
		CU_ASSERT_STRING_EQUAL(content(), lines ? states[lines - 1] : "EBADMSG");
	}
}

/* The last line may be a crash's, and so may what damage to the end of the one before makes one of
 * two; any other is damage. */
static void changed_at_each_byte_it_is_refused_or_older(void)
{
	write_three();
	for (size_t at = 0; at < text.length; at++) {
		const char *expected = lines_in(at) == 4       ? states[3]
				       : lines_in(at + 1) == 4 ? states[2]
							       : "EBADMSG";

		for (int bit = 0; bit < 8; bit++) {
			text.text[at] ^= (char)(1 << bit);
			write_file(text.length);
			CU_ASSERT_STRING_EQUAL(content(), expected);
			text.text[at] ^= (char)(1 << bit);
		}
	}
}

static void zeros_behind_it_are_a_crashs(void)
{
	write_three();
	CU_ASSERT(truncate(path, (off_t)text.length + 5000) == 0);
	CU_ASSERT_STRING_EQUAL(content(), states[4]);
}

static void compacted_it_says_the_same_in_fewer_bytes(void)
{
	struct kept_content before, after;
	char said[4096];

	begin();
	for (int i = 0; i < 1000; i++) {
		char name[16], json[32];

		snprintf(name, sizeof(name), "p%d", i % 7);
		snprintf(json, sizeof(json), "{\"i\":%d}", i);
		kept_add_object(&text, 2, "n", name, json, i % 2);
		if (i == 500)
			kept_add_whole(&text);
	}
	kept_add_deletion(&text, 2, "n", "p3");
	write_file(text.length);
	CU_ASSERT_FATAL(kept_file_read(path, &before) == 0);
	snprintf(said, sizeof(said), "%s", content());
	CU_ASSERT(kept_file_compact(path) == 0);
	CU_ASSERT_FATAL(kept_file_read(path, &after) == 0);
	CU_ASSERT(before.live == 6 && after.live == 6 && after.whole);
	CU_ASSERT_STRING_EQUAL(content(), said);
	CU_ASSERT(after.valid < 400 && before.valid > 20000);
	kept_content_clear(&before);
	kept_content_clear(&after);
}

static void damaged_file_is_not_compacted(void)
{
	write_three();
	text.text[text.length / 2] ^= 1;
	write_file(text.length);
	CU_ASSERT(kept_file_compact(path) == -EBADMSG);
	CU_ASSERT_STRING_EQUAL(content(), "EBADMSG");
	clear();
}

static int is_long(const struct kept_object *object, void *data)
{
	size_t length = object->kind % 10 ? 3000 : 199999;

	(void)data;
	CU_ASSERT(object->length == length && strlen(object->json) == length);
	CU_ASSERT(object->json[0] == 'a' + (int)object->kind % 26);
	CU_ASSERT(object->json[length - 1] == object->json[0]);
	return 0;
}

/* Longer than what is written at once, in all and some of them each. */
static void what_is_long_is_read_as_it_was_written(void)
{
	static char json[200000];
	struct kept_content content;
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	CU_ASSERT_FATAL(fd >= 0);
	clear();
	text.fd = fd;
	kept_add_head(&text);
	for (unsigned int i = 0; i < 300; i++) {
		memset(json, 'a' + (int)i % 26, sizeof(json) - 1);
		json[i % 10 ? 3000 : sizeof(json) - 1] = '\0';
		kept_add_object(&text, i, "n", "a", json, false);
	}
	kept_add_whole(&text);
	CU_ASSERT(text.written > 6000000 && text.room < 500000);
	CU_ASSERT(kept_lines_end(&text) == 0);
	close(fd);
	CU_ASSERT_FATAL(kept_file_read(path, &content) == 0);
	CU_ASSERT(content.live == 300 && content.whole && content.valid == text.written);
	CU_ASSERT(kept_file_each(&content, is_long, NULL) == 0);
	kept_content_clear(&content);
}

static void what_cannot_be_written_is_told(void)
{
	int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);

	CU_ASSERT_FATAL(fd >= 0);
	clear();
	text.fd = fd;
	for (int i = 0; i < 10000; i++)
		kept_add_object(&text, 2, "n", "a", "{1}", false);
	CU_ASSERT(text.result == -ENOSPC && text.written == 0);
	CU_ASSERT(kept_lines_end(&text) == -ENOSPC);
	close(fd);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(last_word_about_an_object_counts),
		UNIT_TEST(file_of_another_format_is_refused),
		UNIT_TEST(cut_at_each_byte_it_is_the_state_of_a_moment_before),
		UNIT_TEST(changed_at_each_byte_it_is_refused_or_older),
		UNIT_TEST(zeros_behind_it_are_a_crashs),
		UNIT_TEST(compacted_it_says_the_same_in_fewer_bytes),
		UNIT_TEST(damaged_file_is_not_compacted),
		UNIT_TEST(what_is_long_is_read_as_it_was_written),
		UNIT_TEST(what_cannot_be_written_is_told),
	};

	int r;

	snprintf(path, sizeof(path), "%s/objects", unit_directory(directory));
	r = UNIT_RUN("sources/api/kept_file", tests);
	unit_remove_directory(directory);
	return r;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* YAML read event by event into JSON values, with the line of each. */
#include "agent/yaml/yaml_text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "agent/yaml/yaml_scalar.h"
#include "agent/common/cleanup.h"
#include "agent/common/hash.h"
#include "policy/objects/limits.h"
#include "policy/objects/objects.h"

#define OF_ALL_VALUES 8 /* bytes that each value takes beside its text, at least */

/* One entry of a mapping, or one item of a sequence (`key` NULL). */
struct child {
	char *key;
	yaml_mark_t mark; /* of the key, if there is one */
	struct node *value;
	bool merge; /* key "<<" */
};

/* A value where it is written. An alias is the node that it names. */
struct node {
	json_t *json;
	yaml_mark_t mark;
	yaml_node_type_t type;
	bool plain;    /* a scalar without quotes */
	bool complete; /* not while its children are read */
	size_t weight; /* bytes with all that aliases repeat in it */
	unsigned int height;
	struct child *children;
	size_t count, capacity;
	struct node *next; /* of all nodes */
};

struct anchor {
	char *name;
	struct node *node;
	UT_hash_handle hh;
};

struct yaml_text {
	struct node *nodes;
	struct node **documents;
	size_t count, capacity;
};

struct reader {
	yaml_parser_t parser;
	struct yaml_text *text;
	struct anchor *anchors; /* of this document */
	size_t values, aliased;
	struct error *error;
};

static int fail(struct reader *reader, int code, const yaml_mark_t *mark, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

static int fail(struct reader *reader, int code, const yaml_mark_t *mark, const char *format, ...)
{
	struct error *error = reader->error;
	va_list args;

	*error = (struct error){.path = "$"};
	if (mark) {
		error->line = (int)mark->line + 1;
		error->column = (int)mark->column + 1;
	}
	va_start(args, format);
	vsnprintf(error->text, sizeof(error->text), format, args);
	va_end(args);
	return code;
}

static int no_memory(struct reader *reader)
{
	return fail(reader, -ENOMEM, NULL, "out of memory");
}

/* What the parser complains of. */
static int fail_parser(struct reader *reader)
{
	const yaml_parser_t *parser = &reader->parser;
	bool placed = parser->error != YAML_READER_ERROR;
	const char *tab = "";

	if (parser->error == YAML_MEMORY_ERROR)
		return no_memory(reader);
	if (parser->problem && strstr(parser->problem, "cannot start any token"))
		tab = "; a tab cannot indent, and values that begin with @, ` or % need quotes";
	return fail(reader, -EINVAL, placed ? &parser->problem_mark : NULL, "not YAML: %s%s%s%s%s",
		    parser->problem ? parser->problem : "cannot be parsed",
		    parser->context ? " (" : "", parser->context ? parser->context : "",
		    parser->context ? ")" : "", tab);
}

static int next_event(struct reader *reader, yaml_event_t *ret)
{
	return yaml_parser_parse(&reader->parser, ret) ? 0 : fail_parser(reader);
}

/* ---------------------------------------------------------------- nodes */

static struct node *node_new(struct reader *reader, yaml_node_type_t type, const yaml_mark_t *mark)
{
	struct node *node = calloc(1, sizeof(*node));

	if (!node)
		return NULL;
	node->type = type;
	node->mark = *mark;
	node->weight = OF_ALL_VALUES;
	node->next = reader->text->nodes;
	reader->text->nodes = node;
	return node;
}

static void node_free(struct node *node)
{
	for (size_t i = 0; i < node->count; i++)
		free(node->children[i].key);
	free(node->children);
	json_decref(node->json);
	free(node);
}

static struct child *add_child(struct node *node)
{
	size_t capacity = node->capacity ? node->capacity * 2 : 4;
	struct child *children;

	if (node->count == node->capacity) {
		children = reallocarray(node->children, capacity, sizeof(*children));
		if (!children)
			return NULL;
		node->children = children;
		node->capacity = capacity;
	}
	node->children[node->count] = (struct child){0};
	return &node->children[node->count++];
}

static void weigh(struct node *node, const struct node *child)
{
	node->weight += child->weight;
	if (child->height + 1 > node->height)
		node->height = child->height + 1;
}

static int check_tag(struct reader *reader, const yaml_event_t *event)
{
	const yaml_char_t *tag = event->type == YAML_SCALAR_EVENT ? event->data.scalar.tag
				 : event->type == YAML_SEQUENCE_START_EVENT
					 ? event->data.sequence_start.tag
					 : event->data.mapping_start.tag;

	if (!tag)
		return 0;
	return fail(reader, -EINVAL, &event->start_mark,
		    "has the tag %.80s, and tags are not supported; a quoted value is a string, an "
		    "unquoted one a "
		    "number "
		    "or truth",
		    (const char *)tag);
}

static int add_anchor(struct reader *reader, const yaml_char_t *name, struct node *node)
{
	struct anchor *anchor;

	if (!name)
		return 0;
	HASH_FIND_STR(reader->anchors, (const char *)name, anchor);
	if (anchor) { /* the later one counts from here on */
		anchor->node = node;
		return 0;
	}
	anchor = calloc(1, sizeof(*anchor));
	if (anchor)
		anchor->name = strdup((const char *)name);
	if (!anchor || !anchor->name) {
		free(anchor);
		return no_memory(reader);
	}
	anchor->node = node;
	HASH_ADD_KEYPTR(hh, reader->anchors, anchor->name, strlen(anchor->name), anchor);
	if (HASH_ADDED(hh, anchor))
		return 0;
	free(anchor->name);
	free(anchor);
	return no_memory(reader);
}

static void clear_anchors(struct reader *reader)
{
	struct anchor *anchor, *next;

	HASH_ITER (hh, reader->anchors, anchor, next) {
		HASH_DEL(reader->anchors, anchor);
		free(anchor->name);
		free(anchor);
	}
}

static int read_alias(struct reader *reader, const yaml_event_t *event, unsigned int depth,
		      struct node **ret)
{
	const char *name = (const char *)event->data.alias.anchor;
	struct anchor *anchor;

	HASH_FIND_STR(reader->anchors, name, anchor);
	if (!anchor)
		return fail(reader, -EINVAL, &event->start_mark,
			    "no anchor &%.80s is defined before this", name);
	if (!anchor->node->complete)
		return fail(reader, -EINVAL, &event->start_mark, "*%.80s would contain itself",
			    name);
	if (depth + anchor->node->height > LIMIT_DEPTH)
		return fail(reader, -EFBIG, &event->start_mark,
			    "*%.80s is nested too deeply here; the limit is %d levels", name,
			    LIMIT_DEPTH);
	reader->aliased += anchor->node->weight;
	if (reader->aliased > YAML_ALIASED_MAX)
		return fail(reader, -EFBIG, &event->start_mark,
			    "aliases expand to more than the limit of %u bytes", YAML_ALIASED_MAX);
	*ret = anchor->node;
	return 0;
}

static int read_scalar(struct reader *reader, const yaml_event_t *event, struct node *node)
{
	const char *text = (const char *)event->data.scalar.value, *reason;
	size_t length = event->data.scalar.length;
	int r;

	if (memchr(text, '\0', length))
		return fail(reader, -EINVAL, &event->start_mark,
			    "must not contain the character NUL");
	node->plain = event->data.scalar.plain_implicit;
	node->weight += length;
	if (!node->plain) {
		node->json = json_stringn(text, length);
		return node->json ? 0 : no_memory(reader);
	}
	r = yaml_scalar_resolve(text, length, &node->json, &reason);
	if (r == -EINVAL)
		return fail(reader, r, &event->start_mark, "%.80s %s", text, reason);
	return r < 0 ? no_memory(reader) : 0;
}

static int read_node(struct reader *reader, const yaml_event_t *event, unsigned int depth,
		     struct node **ret);

static int read_sequence(struct reader *reader, struct node *node, unsigned int depth)
{
	node->json = json_array();
	if (!node->json)
		return no_memory(reader);
	for (;;) {
		yaml_event_t event;
		struct child *child;
		struct node *item;
		int r = next_event(reader, &event);

		if (r < 0)
			return r;
		if (event.type == YAML_SEQUENCE_END_EVENT) {
			yaml_event_delete(&event);
			return 0;
		}
		r = read_node(reader, &event, depth + 1, &item);
		child = r == 0 ? add_child(node) : NULL;
		if (child)
			*child = (struct child){.mark = event.start_mark, .value = item};
		yaml_event_delete(&event);
		if (r < 0)
			return r;
		if (!child || json_array_append(node->json, item->json) < 0)
			return no_memory(reader);
		weigh(node, item);
	}
}

/* ---------------------------------------------------------------- mappings */

/* Keys are strings: a number or truth becomes its text, as kubectl has it. */
static int key_text(struct reader *reader, const struct node *node, const yaml_mark_t *mark,
		    char **ret)
{
	char *text = NULL;

	if (json_is_string(node->json))
		text = strdup(json_string_value(node->json));
	else if (json_is_boolean(node->json))
		text = strdup(json_is_true(node->json) ? "true" : "false");
	else if (json_is_integer(node->json) &&
		 asprintf(&text, "%" JSON_INTEGER_FORMAT, json_integer_value(node->json)) < 0)
		text = NULL;
	else if (!json_is_integer(node->json))
		return fail(reader, -EINVAL, mark, "a key must be a string: put it in quotes");
	if (!text)
		return no_memory(reader);
	*ret = text;
	return 0;
}

static bool is_merge(const struct node *key)
{
	return key->plain && json_is_string(key->json) &&
	       strcmp(json_string_value(key->json), "<<") == 0;
}

/* What `<<` brings; the first one to bring a key counts. */
static int merge_one(struct reader *reader, const json_t *own, json_t *merged, json_t *from,
		     const yaml_mark_t *mark)
{
	const char *key;
	json_t *value;

	if (!json_is_object(from))
		return fail(reader, -EINVAL, mark, "<< takes a mapping or a list of mappings");
	json_object_foreach (from, key, value)
		if (json_object_get(own, key))
			return fail(reader, -EINVAL, mark,
				    "<< merges the key %.80s, which is already set above: parsers "
				    "differ on "
				    "which one counts; write << first",
				    key);
	return json_object_update_missing(merged, from) < 0 ? no_memory(reader) : 0;
}

static int merge(struct reader *reader, const json_t *own, json_t *merged,
		 const struct child *child)
{
	json_t *value = child->value->json;
	int r = 0;

	if (!json_is_array(value))
		return merge_one(reader, own, merged, value, &child->mark);
	for (size_t i = 0; r == 0 && i < json_array_size(value); i++)
		r = merge_one(reader, own, merged, json_array_get(value, i), &child->mark);
	return r;
}

static int add_entry(struct reader *reader, struct node *node, json_t *merged,
		     const struct child *child)
{
	const yaml_mark_t *mark = &child->mark;

	for (size_t i = 0; child->merge && i + 1 < node->count; i++)
		if (node->children[i].merge)
			return fail(reader, -EINVAL, mark,
				    "<< is given twice; use one << with a list");
	if (child->merge)
		return merge(reader, node->json, merged, child);
	if (json_object_get(node->json, child->key))
		return fail(reader, -EINVAL, mark, "the key %.80s is given twice", child->key);
	return json_object_set(node->json, child->key, child->value->json) < 0 ? no_memory(reader)
									       : 0;
}

static int read_value(struct reader *reader, unsigned int depth, struct node **ret)
{
	yaml_event_t event;
	int r = next_event(reader, &event);

	if (r < 0)
		return r;
	r = read_node(reader, &event, depth, ret);
	yaml_event_delete(&event);
	return r;
}

static int read_entry(struct reader *reader, const yaml_event_t *event, unsigned int depth,
		      struct node *node, json_t *merged)
{
	CLEANUP(cleanup_free) char *text = NULL;
	struct node *key, *value;
	struct child *child;
	int r = read_node(reader, event, depth + 1, &key);

	if (r == 0)
		r = key_text(reader, key, &event->start_mark, &text);
	if (r == 0)
		r = read_value(reader, depth + 1, &value);
	if (r < 0)
		return r;
	child = add_child(node);
	if (!child)
		return no_memory(reader);
	*child = (struct child){TAKE_PTR(text), event->start_mark, value, is_merge(key)};
	weigh(node, key);
	weigh(node, value);
	return add_entry(reader, node, merged, child);
}

static int read_mapping(struct reader *reader, struct node *node, unsigned int depth)
{
	CLEANUP(cleanup_json) json_t *merged = json_object();
	int r = 0;

	node->json = json_object();
	if (!node->json || !merged)
		return no_memory(reader);
	for (;;) {
		yaml_event_t event;
		bool end;

		r = next_event(reader, &event);
		if (r < 0)
			return r;
		end = event.type == YAML_MAPPING_END_EVENT;
		if (!end)
			r = read_entry(reader, &event, depth, node, merged);
		yaml_event_delete(&event);
		if (r < 0)
			return r;
		if (end)
			break;
	}
	return json_object_update_missing(node->json, merged) < 0 ? no_memory(reader) : 0;
}

static int read_node(struct reader *reader, const yaml_event_t *event, unsigned int depth,
		     struct node **ret)
{
	static const yaml_node_type_t types[] = {
		[YAML_SCALAR_EVENT] = YAML_SCALAR_NODE,
		[YAML_SEQUENCE_START_EVENT] = YAML_SEQUENCE_NODE,
		[YAML_MAPPING_START_EVENT] = YAML_MAPPING_NODE,
	};
	const yaml_char_t *anchor;
	struct node *node;
	int r;

	if (event->type == YAML_ALIAS_EVENT)
		return read_alias(reader, event, depth, ret);
	if (depth > LIMIT_DEPTH)
		return fail(reader, -EFBIG, &event->start_mark,
			    "is nested too deeply; the limit is %d levels", LIMIT_DEPTH);
	if (++reader->values > YAML_VALUES_MAX)
		return fail(reader, -EFBIG, &event->start_mark,
			    "has more than the limit of %d values; JSON files may have more",
			    YAML_VALUES_MAX);
	r = check_tag(reader, event);
	if (r < 0)
		return r;
	node = node_new(reader, types[event->type], &event->start_mark);
	if (!node)
		return no_memory(reader);
	anchor = node->type == YAML_SCALAR_NODE	    ? event->data.scalar.anchor
		 : node->type == YAML_SEQUENCE_NODE ? event->data.sequence_start.anchor
						    : event->data.mapping_start.anchor;
	r = add_anchor(reader, anchor, node);
	if (r == 0)
		r = node->type == YAML_SCALAR_NODE     ? read_scalar(reader, event, node)
		    : node->type == YAML_SEQUENCE_NODE ? read_sequence(reader, node, depth)
						       : read_mapping(reader, node, depth);
	node->complete = true;
	if (r == 0)
		*ret = node;
	return r;
}

/* ---------------------------------------------------------------- documents */

static int add_document(struct reader *reader, struct node *root)
{
	struct yaml_text *text = reader->text;
	size_t capacity = text->capacity ? text->capacity * 2 : 8;
	struct node **documents;

	if (text->count == text->capacity) {
		documents = reallocarray(text->documents, capacity, sizeof(struct node *));
		if (!documents)
			return no_memory(reader);
		text->documents = documents;
		text->capacity = capacity;
	}
	text->documents[text->count++] = root;
	return 0;
}

static int read_stream(struct reader *reader)
{
	for (;;) {
		yaml_event_t event;
		yaml_event_type_t type;
		struct node *root;
		int r = next_event(reader, &event);

		if (r < 0)
			return r;
		type = event.type;
		yaml_event_delete(&event);
		if (type == YAML_STREAM_END_EVENT)
			return 0;
		if (type != YAML_DOCUMENT_START_EVENT)
			continue; /* the stream's start, a document's end */
		r = read_value(reader, 1, &root);
		clear_anchors(reader);
		if (r == 0)
			r = add_document(reader, root);
		if (r < 0)
			return r;
	}
}

int yaml_text_read(const char *text, size_t length, struct yaml_text **ret, struct error *ret_error)
{
	struct error error;
	struct reader reader = {.error = &error};
	int r;

	reader.text = calloc(1, sizeof(*reader.text));
	if (!reader.text || !yaml_parser_initialize(&reader.parser)) {
		free(reader.text);
		reader.error = ret_error;
		return no_memory(&reader);
	}
	if (length > OBJECT_TEXT_MAX) {
		r = fail(&reader, -EFBIG, NULL, "the text has %zu bytes; the limit is %u", length,
			 OBJECT_TEXT_MAX);
	} else {
		yaml_parser_set_input_string(&reader.parser, (const unsigned char *)text, length);
		r = read_stream(&reader);
	}
	clear_anchors(&reader);
	yaml_parser_delete(&reader.parser);
	if (r == 0) {
		*ret = reader.text;
		return 0;
	}
	yaml_text_free(reader.text);
	*ret_error = error;
	return r;
}

void yaml_text_free(struct yaml_text *yaml)
{
	struct node *next;

	if (!yaml)
		return;
	for (struct node *node = yaml->nodes; node; node = next) {
		next = node->next;
		node_free(node);
	}
	free(yaml->documents);
	free(yaml);
}

size_t yaml_text_count(const struct yaml_text *yaml)
{
	return yaml->count;
}

json_t *yaml_text_value(const struct yaml_text *yaml, size_t document)
{
	return yaml->documents[document]->json;
}

/* ---------------------------------------------------------------- lines */

/* A path names a key as it may be shown: cut, and with some characters as '?'. */
static bool is_shown_as(const char *key, const char *shown, size_t length)
{
	size_t i;

	for (i = 0; i < length; i++)
		if (!key[i] || (key[i] != shown[i] && shown[i] != '?'))
			return false;
	return !key[i] || length >= 64;
}

/* The entry of a key; those that << brings come last. */
static const struct child *find_entry(const struct node *node, const char *key, size_t length)
{
	const struct child *found = NULL;

	for (size_t i = 0; !found && i < node->count; i++)
		if (node->children[i].key && !node->children[i].merge &&
		    is_shown_as(node->children[i].key, key, length))
			found = &node->children[i];
	for (size_t i = 0; !found && i < node->count; i++) {
		const struct node *source = node->children[i].value;

		if (!node->children[i].merge)
			continue;
		if (source->type == YAML_MAPPING_NODE)
			found = find_entry(source, key, length);
		for (size_t j = 0;
		     !found && source->type == YAML_SEQUENCE_NODE && j < source->count; j++)
			found = find_entry(source->children[j].value, key, length);
	}
	return found;
}

/* The child that the path's next step leads to; moves past the step. NULL: none. */
static const struct child *take_step(const struct node *node, const char **path)
{
	const char *step = *path, *end;
	size_t index;

	if (*step == '.') {
		step++;
		end = step + strcspn(step, ".[");
		*path = end;
		return find_entry(node, step, (size_t)(end - step));
	}
	if (step[0] != '[')
		return NULL;
	if (step[1] == '"') {
		end = strstr(step + 2, "\"]");
		if (!end)
			return NULL;
		*path = end + 2;
		return find_entry(node, step + 2, (size_t)(end - step) - 2);
	}
	index = strtoul(step + 1, (char **)&end, 10);
	if (*end != ']' || node->type != YAML_SEQUENCE_NODE || index >= node->count)
		return NULL;
	*path = end + 1;
	return &node->children[index];
}

void yaml_text_location(const struct yaml_text *yaml, size_t document, const char *path,
			int *ret_line, int *ret_column)
{
	const struct node *node = yaml->documents[document];
	const struct child *child;
	yaml_mark_t mark = node->mark;

	path += *path == '$';
	while (*path && (child = take_step(node, &path))) {
		mark = child->mark;
		node = child->value;
	}
	*ret_line = (int)mark.line + 1;
	*ret_column = (int)mark.column + 1;
}

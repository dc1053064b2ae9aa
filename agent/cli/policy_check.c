/* SPDX-License-Identifier: Apache-2.0 */
/* polderctl policy check: validates resource files without an agent. */
#include "agent/cli/policy_check.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/cli/cli.h"
#include "agent/cli/table.h"
#include "agent/common/cleanup.h"

/* A good object, for what concerns several of them. */
struct check_object {
	char *key;  /* what must differ: kind, namespace, name */
	char *rank; /* tier and priority of a ClusterNetworkPolicy; NULL */
	char *text; /* "NetworkPolicy demo/web" */
	char *file, *path;
	size_t file_number, document; /* from 1 */
	int line, column;
	size_t order; /* as they came */
};

/* ---------------------------------------------------------------- faults */

static void fault_clear(struct check_fault *fault)
{
	free(fault->file);
	free(fault->object);
	free(fault->path);
	free(fault->reason);
}

static void object_clear(struct check_object *object)
{
	free(object->key);
	free(object->rank);
	free(object->text);
	free(object->file);
	free(object->path);
}

/* Takes nothing: strings are copied. */
static int add_fault(struct check *check, const struct check_fault *fault)
{
	struct check_fault *faults, copy = *fault;

	faults = reallocarray(check->faults, check->fault_count + 1, sizeof(*faults));
	if (!faults)
		return -ENOMEM;
	check->faults = faults;
	copy.file = strdup(fault->file);
	copy.object = strdup(fault->object ? fault->object : "");
	copy.path = strdup(fault->path);
	copy.reason = strdup(fault->reason);
	if (!copy.file || !copy.object || !copy.path || !copy.reason) {
		fault_clear(&copy);
		return -ENOMEM;
	}
	faults[check->fault_count++] = copy;
	if (fault->warning)
		check->warnings++;
	else
		check->errors++;
	return 0;
}

static int add_fault_at(const struct check_location *location, bool warning, const char *path,
			char *reason)
{
	struct check_fault fault = {
		.warning = warning,
		.file = location->file->name,
		.document = location->file->documents[location->document].number,
		.object = (char *)location->object,
		.path = (char *)path,
		.reason = reason,
	};

	resource_file_location(location->file, location->document, path, &fault.line,
			       &fault.column);
	return add_fault(location->check, &fault);
}

int check_warn(const struct check_location *location, const char *path, const char *format, ...)
{
	char reason[512];
	va_list args;

	va_start(args, format);
	vsnprintf(reason, sizeof(reason), format, args);
	va_end(args);
	return add_fault_at(location, true, path, reason);
}

void check_clear(struct check *check)
{
	for (size_t i = 0; i < check->fault_count; i++)
		fault_clear(&check->faults[i]);
	for (size_t i = 0; i < check->object_count; i++)
		object_clear(&check->objects[i]);
	free(check->faults);
	free(check->objects);
	*check = (struct check){0};
}

/* ---------------------------------------------------------------- one object */

/* Tier and priority as one text; NULL: it has none, or no memory. */
static char *rank_of(const json_t *value)
{
	const char *kind = json_string_value(json_object_get(value, "kind"));
	const json_t *spec = json_object_get(value, "spec");
	const char *tier = json_string_value(json_object_get(spec, "tier"));
	const json_t *priority = json_object_get(spec, "priority");
	char *text;

	if (!kind || strcmp(kind, "ClusterNetworkPolicy") != 0 || !tier ||
	    !json_is_integer(priority))
		return NULL;
	return asprintf(&text, "%lld in the %s tier", (long long)json_integer_value(priority),
			tier) < 0
		       ? NULL
		       : text;
}

static int add_object(const struct check_location *location, const char *path, const json_t *value,
		      const struct object *object)
{
	struct check *check = location->check;
	struct check_object *objects, *entry;

	objects = reallocarray(check->objects, check->object_count + 1, sizeof(*objects));
	if (!objects)
		return -ENOMEM;
	check->objects = objects;
	entry = &objects[check->object_count];
	*entry = (struct check_object){
		.rank = rank_of(value),
		.text = strdup(location->object),
		.file = strdup(location->file->name),
		.path = strdup(path),
		.file_number = check->files,
		.document = location->file->documents[location->document].number,
		.order = check->object_count,
	};
	if (asprintf(&entry->key, "%d\001%s\001%s", (int)object->kind, object->namespace,
		     object->name) < 0)
		entry->key = NULL;
	resource_file_location(location->file, location->document, path, &entry->line,
			       &entry->column);
	check->object_count++;
	return entry->key && entry->text && entry->file && entry->path ? 0 : -ENOMEM;
}

/* "NetworkPolicy demo/web" as far as it can be told. The caller owns it. */
static char *describe(const json_t *value)
{
	const json_t *metadata = json_object_get(value, "metadata");
	const char *kind = json_string_value(json_object_get(value, "kind"));
	const char *namespace = json_string_value(json_object_get(metadata, "namespace"));
	const char *name = json_string_value(json_object_get(metadata, "name"));
	char *text;

	if (!kind)
		return strdup("");
	if (asprintf(&text, "%.64s%s%.64s%s%.253s", kind, name || namespace ? " " : "",
		     namespace ? namespace : "", namespace ? "/" : "", name ? name : "") < 0)
		return NULL;
	return text;
}

/* The error of an envelope with one item speaks of item 0; the file calls it otherwise. */
static void rebase(const char *path, const char *envelope, const char *real, char *buffer,
		   size_t size)
{
	size_t length = strlen(envelope);

	if (strncmp(path, envelope, length) == 0)
		snprintf(buffer, size, "%s%s", real, path + length);
	else
		snprintf(buffer, size, "%s", path);
}

static int take_objects(const struct check_location *location, const char *path,
			const json_t *value, const struct object_list *list)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < list->count; i++)
		r = add_object(location, path, value, list->objects[i]);
	/* A list in a list has no object of its own. */
	if (r == 0 && list->count == 1 && !json_object_get(value, "items"))
		r = check_object_warnings(location, path, value);
	location->check->skipped += list->skipped;
	return r;
}

/*
 * Decodes `whole`, which is the object `value` at `path`, or an envelope around it in which it
 * stands at `envelope`.
 */
static int check_value(const struct check_location *where, const json_t *whole,
		       const char *envelope, const char *path, const json_t *value)
{
	CLEANUP(cleanup_free) char *text = json_dumps(whole, JSON_COMPACT | JSON_ENCODE_ANY);
	CLEANUP(cleanup_free) char *object = describe(value);
	struct check_location location = *where;
	struct object_list list = {0};
	struct error error = {0};
	char real[sizeof(error.path) + 64];
	int r;

	if (!text || !object)
		return -ENOMEM;
	location.object = object;
	r = objects_decode(text, strlen(text), &list, &error);
	if (r == -ENOMEM)
		return r;
	if (r < 0) {
		rebase(error.path, envelope, path, real, sizeof(real));
		return add_fault_at(&location, false, real, error.text);
	}
	r = take_objects(&location, path, value, &list);
	object_list_clear(&list);
	return r;
}

/* ---------------------------------------------------------------- one file */

/* Each item in an envelope of its own: a fault of one does not hide those of others. */
static int check_items(const struct check_location *location, const json_t *list,
		       const json_t *items, const char *path)
{
	CLEANUP(cleanup_json) json_t *envelope = list ? json_copy((json_t *)list) : json_array();
	size_t errors = location->check->errors;
	char real[64], first[64];
	int r = envelope ? 0 : -ENOMEM;

	snprintf(first, sizeof(first), "%s[0]", path);
	if (r == 0 && list) { /* the list itself */
		if (json_object_set_new(envelope, "items", json_array()) < 0)
			return -ENOMEM;
		r = check_value(location, envelope, "$", "$", list);
		if (r < 0 || location->check->errors > errors)
			return r;
	}
	for (size_t i = 0; r == 0 && i < json_array_size(items); i++) {
		json_t *item = json_array_get(items, i);
		json_t *one = list ? json_object_get(envelope, "items") : envelope;

		if (json_array_clear(one) < 0 || json_array_append(one, item) < 0)
			return -ENOMEM;
		snprintf(real, sizeof(real), "%s[%zu]", path, i);
		r = check_value(location, envelope, first, real, item);
	}
	return r;
}

static bool is_list(const json_t *value)
{
	const char *kind = json_string_value(json_object_get(value, "kind"));
	size_t length = kind ? strlen(kind) : 0;

	return length >= 4 && strcmp(kind + length - 4, "List") == 0 &&
	       json_is_array(json_object_get(value, "items"));
}

static int check_document(const struct check_location *location)
{
	const json_t *value = location->file->documents[location->document].value;

	if (json_is_array(value))
		return check_items(location, NULL, value, "$");
	if (is_list(value))
		return check_items(location, value, json_object_get(value, "items"), "$.items");
	return check_value(location, value, "$", "$", value);
}

static int add_file_fault(struct check *check, const char *path, const struct error *error)
{
	struct check_fault fault = {
		.file = strcmp(path, "-") == 0 ? "standard input" : (char *)path,
		.line = error->line,
		.column = error->column,
		.path = (char *)error->path,
		.reason = (char *)error->text,
	};

	return add_fault(check, &fault);
}

int check_file(struct check *check, const char *path)
{
	struct resource_file file = {0};
	struct error error = {0};
	int r = resource_file_read(path, &file, &error);

	check->files++;
	if (r == -ENOMEM)
		return r;
	if (r < 0) {
		check->unreadable |= r == -EIO;
		return add_file_fault(check, path, &error);
	}
	for (size_t i = 0; r == 0 && i < file.count; i++) {
		struct check_location location = {
			.check = check, .file = &file, .document = i, .object = ""};

		r = check_document(&location);
	}
	resource_file_clear(&file);
	return r;
}

/* ---------------------------------------------------------------- all files */

static int compare_keys(const void *a, const void *b)
{
	const struct check_object *x = *(const struct check_object *const *)a,
				  *y = *(const struct check_object *const *)b;
	int order = strcmp(x->key, y->key);

	return order ? order : (x->order > y->order) - (x->order < y->order);
}

static int compare_ranks(const void *a, const void *b)
{
	const struct check_object *x = *(const struct check_object *const *)a,
				  *y = *(const struct check_object *const *)b;
	int order = strcmp(x->rank ? x->rank : "", y->rank ? y->rank : "");

	return order ? order : (x->order > y->order) - (x->order < y->order);
}

static int add_pair(struct check *check, bool warning, const struct check_object *object,
		    const char *path, const char *format, ...)
	__attribute__((format(printf, 5, 6)));

static int add_pair(struct check *check, bool warning, const struct check_object *object,
		    const char *path, const char *format, ...)
{
	struct check_fault fault = {
		.warning = warning,
		.file = object->file,
		.document = object->document,
		.line = object->line,
		.column = object->column,
		.object = object->text,
		.path = (char *)path,
	};
	va_list args;
	int r;

	va_start(args, format);
	r = vasprintf(&fault.reason, format, args);
	va_end(args);
	if (r < 0)
		return -ENOMEM;
	r = add_fault(check, &fault);
	free(fault.reason);
	return r;
}

static int compare_duplicates(struct check *check, const struct check_object *a,
			      const struct check_object *b)
{
	if (strcmp(a->key, b->key) != 0)
		return 0;
	if (a->file_number == b->file_number)
		return add_pair(check, false, b, b->path,
				"is defined twice in this file (see document %zu)", a->document);
	return add_pair(check, true, b, b->path,
			"is defined in %s too: in a resources directory, the file whose name sorts "
			"first counts",
			a->file);
}

static int compare_priorities(struct check *check, const struct check_object *a,
			      const struct check_object *b)
{
	char path[256];

	if (!a->rank || !b->rank || strcmp(a->rank, b->rank) != 0 || strcmp(a->key, b->key) == 0)
		return 0;
	snprintf(path, sizeof(path), "%s.spec.priority", b->path);
	return add_pair(check, true, b, path,
			"%.60s is also the priority of %s: their names decide the order", b->rank,
			a->text);
}

int check_together(struct check *check)
{
	size_t count = check->object_count;
	CLEANUP(cleanup_free)
	const struct check_object **sorted = calloc(count + 1, sizeof(*sorted));
	int r = sorted ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < count; i++)
		sorted[i] = &check->objects[i];
	if (r == 0)
		qsort(sorted, count, sizeof(*sorted), compare_keys);
	for (size_t i = 1; r == 0 && i < count; i++)
		r = compare_duplicates(check, sorted[i - 1], sorted[i]);
	if (r == 0)
		qsort(sorted, count, sizeof(*sorted), compare_ranks);
	for (size_t i = 1; r == 0 && i < count; i++)
		r = compare_priorities(check, sorted[i - 1], sorted[i]);
	return r;
}

/* ---------------------------------------------------------------- the command */

/* FILE:LINE:COLUMN: warning: OBJECT: PATH: REASON, as compilers have it. */
void check_print_fault(const struct check_fault *fault, FILE *out)
{
	text_print(fault->file, NULL, out);
	if (fault->line)
		fprintf(out, ":%d:%d", fault->line, fault->column);
	fputs(fault->warning ? ": warning: " : ": error: ", out);
	if (fault->document > 1)
		fprintf(out, "document %zu: ", fault->document);
	if (*fault->object) {
		text_print(fault->object, NULL, out);
		fputs(": ", out);
	}
	text_print(fault->path, NULL, out);
	fputc(' ', out);
	text_print(fault->reason, NULL, out);
	fputc('\n', out);
}

static json_t *fault_document(const struct check_fault *fault)
{
	return json_pack("{s:s, s:s, s:I, s:i, s:i, s:s, s:s, s:s}", "severity",
			 fault->warning ? "warning" : "error", "file", fault->file, "document",
			 (json_int_t)fault->document, "line", fault->line, "column", fault->column,
			 "object", fault->object, "path", fault->path, "reason", fault->reason);
}

static void print_json(const struct check *check, bool good)
{
	json_t *list = json_array(), *document;

	for (size_t i = 0; i < check->fault_count; i++)
		json_array_append_new(list, fault_document(&check->faults[i]));
	document = json_pack("{s:b, s:I, s:I, s:I, s:I, s:I, s:o}", "good", good, "files",
			     (json_int_t)check->files, "objects", (json_int_t)check->object_count,
			     "skipped", (json_int_t)check->skipped, "errors",
			     (json_int_t)check->errors, "warnings", (json_int_t)check->warnings,
			     "faults", list);
	cli_print_json(document);
	json_decref(document);
}

static const char *plural(size_t count)
{
	return count == 1 ? "" : "s";
}

static void print_table(const struct check *check)
{
	for (size_t i = 0; i < check->fault_count; i++)
		check_print_fault(&check->faults[i], stdout);
	printf("%zu file%s, %zu object%s good, %zu of other kinds skipped, %zu error%s, %zu "
	       "warning%s\n",
	       check->files, plural(check->files), check->object_count, plural(check->object_count),
	       check->skipped, check->errors, plural(check->errors), check->warnings,
	       plural(check->warnings));
}

static int check_words(struct check *check, const struct cli *cli)
{
	struct resource_paths paths = {0};
	int r = 0;

	for (size_t i = 0; r == 0 && i < cli->arguments.count; i++) {
		r = resource_paths_add(&paths, cli->arguments.items[i]);
		if (r < 0 && r != -ENOMEM) {
			cli_error("%s: cannot be read: %s", cli->arguments.items[i], strerror(-r));
			check->unreadable = true;
			r = 0;
		}
	}
	for (size_t i = 0; r == 0 && i < paths.count; i++)
		r = check_file(check, paths.items[i]);
	if (r == 0)
		r = check_together(check);
	if (r == 0 && paths.count == 0 && !check->unreadable) {
		cli_error("the directory has no file that ends in .json, .yaml or .yml");
		check->unreadable = true;
	}
	resource_paths_clear(&paths);
	return r;
}

int cli_run_policy_check(struct cli *cli)
{
	struct check check = {0};
	int code = CLI_OK;

	if (check_words(&check, cli) < 0) {
		cli_error("out of memory");
		check_clear(&check);
		return CLI_USAGE;
	}
	if (check.errors || (check.warnings && cli->given[CLI_STRICT]))
		code = CLI_FAILED;
	if (check.unreadable)
		code = CLI_USAGE;
	if (cli->json)
		print_json(&check, code == CLI_OK);
	else
		print_table(&check);
	check_clear(&check);
	return code;
}

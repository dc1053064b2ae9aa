/* SPDX-License-Identifier: Apache-2.0 */
/* What stands in the page's editor, for a try. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent/common/cleanup.h"
#include "agent/common/error.h"
#include "agent/common/file.h"
#include "agent/ui/ui_internal.h"
#include "agent/yaml/yaml_text.h"

static int fail(char error[UI_ERROR_MAX], const char *what, int r)
{
	snprintf(error, UI_ERROR_MAX, "%s: %s", what, strerror(-r));
	return r;
}

/* A document is an object, or a list of them; null: it is empty. */
static int add_document(json_t *list, json_t *document)
{
	if (json_is_null(document))
		return 0;
	return json_is_array(document) ? json_array_extend(list, document)
				       : json_array_append(list, document);
}

/* JSON is YAML too. */
static int read_documents(const char *text, size_t length, json_t *list, char error[UI_ERROR_MAX])
{
	struct yaml_text *yaml = NULL;
	struct error why = {};
	int r = yaml_text_read(text, length, &yaml, &why);

	if (r < 0) {
		snprintf(error, UI_ERROR_MAX, "line %d: %.200s", why.line,
			 why.text[0] ? why.text : strerror(-r));
		return r;
	}
	for (size_t i = 0; r == 0 && i < yaml_text_count(yaml); i++)
		if (add_document(list, yaml_text_value(yaml, i)) < 0)
			r = fail(error, "the objects cannot be read", -ENOMEM);
	yaml_text_free(yaml);
	return r;
}

static int seal(const char *text, int *ret_fd)
{
	CLEANUP(cleanup_close)
	int fd = memfd_create("polder-objects", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int r = fd < 0 ? -errno : file_write_all(fd, text, strlen(text));

	if (r == 0 &&
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
		r = -errno;
	if (r == 0)
		*ret_fd = TAKE_FD(fd);
	return r;
}

int ui_objects_pass(const char *text, size_t length, int *ret_fd, char error[UI_ERROR_MAX])
{
	CLEANUP(cleanup_json) json_t *list = json_array();
	CLEANUP(cleanup_free) char *json = NULL;
	int r = list ? read_documents(text, length, list, error)
		     : fail(error, "the objects cannot be read", -ENOMEM);

	if (r < 0)
		return r;
	json = json_dumps(list, JSON_COMPACT);
	r = json ? seal(json, ret_fd) : -ENOMEM;
	return r < 0 ? fail(error, "the objects cannot be passed on", r) : 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Resource files: whatever they hold, objects come out whole or an error says where and why. */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "policy/objects/objects.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct object_list list = {0};
	struct error error = {0};
	int r = objects_decode((const char *)data, size, &list, &error);

	if (r < 0) {
		MUST(list.count == 0 && !list.objects);
		MUST(error.text[0]);
		MUST(memchr(error.text, '\0', sizeof(error.text)));
		MUST(memchr(error.path, '\0', sizeof(error.path)));
		return 0;
	}
	for (size_t i = 0; i < list.count; i++) {
		const struct object *object = list.objects[i];

		MUST(object->name && object->namespace && object->uid);
		MUST(object->kind < OBJECT_KIND_COUNT);
		MUST(object_equal(object, object));
	}
	object_list_clear(&list);
	return 0;
}

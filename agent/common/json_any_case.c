/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/common/json_any_case.h"

#include <strings.h>

static json_t *find(const json_t *object, const char *key)
{
	json_t *value = json_object_get(object, key);
	const char *name;

	if (value)
		return value;
	json_object_foreach ((json_t *)object, name, value) {
		if (strcasecmp(name, key) == 0)
			return value;
	}
	return NULL;
}

json_t *json_get_any_case(const json_t *object, const char *key)
{
	json_t *value = find(object, key);

	return json_is_null(value) ? NULL : value;
}

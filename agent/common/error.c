/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/common/error.h"

#include <stdarg.h>
#include <stdio.h>

int error_set(struct error *error, int r, int code, const char *format, ...)
{
	va_list list;

	*error = (struct error){.code = code};
	va_start(list, format);
	vsnprintf(error->text, sizeof(error->text), format, list);
	va_end(list);
	return r;
}

int error_at(struct error *error, int r, const char *path, const char *format, ...)
{
	va_list list;

	*error = (struct error){.code = -r};
	snprintf(error->path, sizeof(error->path), "%s", path);
	va_start(list, format);
	vsnprintf(error->text, sizeof(error->text), format, list);
	va_end(list);
	return r;
}

void error_details(struct error *error, const char *format, ...)
{
	va_list list;

	va_start(list, format);
	vsnprintf(error->details, sizeof(error->details), format, list);
	va_end(list);
}

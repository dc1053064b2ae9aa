/* SPDX-License-Identifier: Apache-2.0 */
/* What is written for people. */
#include "plugin/log.h"

#include <stdarg.h>
#include <stdio.h>

void plugin_log(const char *format, ...)
{
	char line[2048];
	va_list list;

	va_start(list, format);
	vsnprintf(line, sizeof(line), format, list);
	va_end(list);
	for (char *p = line; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = '?';
	fprintf(stderr, "%s: %s\n", plugin_program, line);
}

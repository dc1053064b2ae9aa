/* SPDX-License-Identifier: Apache-2.0 */
/* How alerts are written for people. */
#pragma once

#include <jansson.h>

/* One line of a document as alert_document() makes it. */
void alert_print(const json_t *alert);

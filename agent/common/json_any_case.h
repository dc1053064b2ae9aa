/* SPDX-License-Identifier: Apache-2.0 */
/* Keys of container runtimes, which differ in capitals: containerd sends "PortMappings". */
#pragma once

#include <jansson.h>

/* The key as it is written goes before all others. NULL: not there, or null, or no object. */
json_t *json_get_any_case(const json_t *object, const char *key);

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Elements of an array; not of a pointer. */
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

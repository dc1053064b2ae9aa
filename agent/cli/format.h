/* SPDX-License-Identifier: Apache-2.0 */
/* How the fields of the agent's documents are written for people. */
#pragma once

#include <jansson.h>
#include <stdio.h>

#define FORMAT_MAX 128

/* A field by its path ("pool.ipv4.used"); NULL if it is not there. */
const json_t *field(const json_t *object, const char *path);
/* A string, "" if it is none. */
const char *field_text(const json_t *object, const char *path);
json_int_t field_number(const json_t *object, const char *path);

/* Each writes into `buffer` of FORMAT_MAX bytes and returns it. */
/* Strings, numbers and truth (yes, no); "" for others. Strings are cut. */
const char *format_scalar(const json_t *value, char *buffer);
/* "10.0.0.1:80", "[fd00::1]:80", "10.0.0.1" for port 0. */
const char *format_endpoint(const char *address, json_int_t port, char *buffer);
/* "3d4h", "5m10s", "12s". */
const char *format_duration(json_int_t seconds, char *buffer);
/* "1.5 MiB". */
const char *format_bytes(json_int_t bytes, char *buffer);

/*
 * A process: 'pid 12 uid 0 pod demo/web container 0a1b2c3d4e5f "curl" "/usr/bin/curl"', what it has
 * named itself behind what it cannot choose, and in quotes. NULL: "". The caller frees. Never NULL.
 */
char *format_process(const json_t *process);

/* A list of strings with commas, at most `most` of them ("a,b +3"); the caller frees. Never NULL.
 */
char *format_list(const json_t *list, size_t most);

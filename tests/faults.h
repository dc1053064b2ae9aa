/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Allocations that fail. The program is linked with --wrap for each function of faults.c, so that
 * every allocation of the project's own code is counted, and one of them fails; jansson's are added
 * by faults_take_jansson().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Before any use of jansson. */
void faults_take_jansson(void);
/* From now on allocations are counted; the `number`th fails (0: none), once. */
void faults_begin(size_t number);
/* No allocation counts, none fails, until faults_go_on(). */
void faults_pause(void);
void faults_go_on(void);
/* Ends it. Has an allocation failed? */
bool faults_end(void);
/* So many allocations were counted since faults_begin(). */
size_t faults_counted(void);

/* SPDX-License-Identifier: Apache-2.0 */
/* Objects and pods for tests that drive a private world themselves. Whatever fails ends the test.
 */
#pragma once

#include "agent/reconcile/trial.h"

/* Says it and exits with 2. */
_Noreturn void trial_give_up(const char *what, const char *why);

/* Adds or replaces objects: JSON with ' for ". */
void trial_put_text(struct trial *trial, const char *text);

/* Pods of this node by number: 10.1.0.(10 + N) and fd00:1::(10 + N), at link HARNESS_FIRST_POD + N.
 */
void trial_pod_address(int number, bool v4, struct polder_addr *ret);
void trial_pod_mac(int number, uint8_t mac[6]);
/* With label t=NAME. */
void trial_attach_pod(struct trial *trial, int number, const char *namespace, const char *name);

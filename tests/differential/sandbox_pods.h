/* SPDX-License-Identifier: Apache-2.0 */
/* Objects and pods for tests that drive a private world themselves. Whatever fails ends the test.
 */
#pragma once

#include "agent/reconcile/sandbox.h"

/* Says it and exits with 2. */
_Noreturn void sandbox_give_up(const char *what, const char *why);

/* Adds or replaces objects: JSON with ' for ". */
void sandbox_put_text(struct sandbox *sandbox, const char *text);

/* Pods of this node by number: 10.1.0.(10 + N) and fd00:1::(10 + N), at link HARNESS_FIRST_POD + N.
 */
void sandbox_pod_address(int number, bool v4, struct polder_addr *ret);
void sandbox_pod_mac(int number, uint8_t mac[6]);
/* With label t=NAME. */
void sandbox_attach_pod(struct sandbox *sandbox, int number, const char *namespace,
			const char *name);

/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 (FIPS 180-4): rule sets of different users must never be taken for one another. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct digest {
	uint32_t state[8];
	uint64_t length;
	uint8_t block[64];
};

#define DIGEST_BYTES 32

void digest_begin(struct digest *digest);
void digest_add(struct digest *digest, const void *data, size_t length);
void digest_end(struct digest *digest, uint8_t ret[DIGEST_BYTES]);

/* What is added is told apart from its neighbours: numbers have a fixed size, texts their length
 * before them. */
void digest_add_number(struct digest *digest, uint64_t number);
void digest_add_text(struct digest *digest, const char *text); /* NULL is not "" */

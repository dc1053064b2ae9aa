/* SPDX-License-Identifier: Apache-2.0 */
/* What the store consists of. */
#pragma once

#include "agent/common/hash.h"
#include "agent/common/hash_table.h"
#include "agent/store/store.h"
#include "agent/store/store_index.h"

#define LISTENERS_MAX 8

/* One object as one origin gives it. */
struct candidate {
	struct origin *origin;
	struct entry *entry;
	struct object *object;	/* NULL: only room was made */
	uint64_t round;		/* that named it last */
	struct candidate *next; /* of the entry, in the order of their origins' names: the first one
				   with an object counts */
	struct candidate *previous_of_origin, *next_of_origin;
};

/* All objects of one kind, namespace and name. */
struct entry {
	struct hash_table_item by_name; /* first: the table gives it back */
	uint8_t kind;
	bool changed;		/* by the batch */
	bool silent;		/* it says the same again as before the batch */
	struct index_item item; /* its object, in the index or not, is one of those that it has, or
				   is to have, and has its name. NULL: it came and went in the
				   batch, and is found no more */
	struct candidate *candidates;
	struct candidate only;	 /* of which there is mostly one; origin NULL: not in use */
	struct object *reported; /* shared: what counted before the batch; NULL: nothing did, or the
				 batch has not changed it */
	struct entry *next_changed;
};

struct origin {
	UT_hash_handle hh;		     /* by name */
	struct candidate *candidates, *last; /* in the order they came */
	struct error *problem;		     /* NULL: none */
	uint64_t list_round;		     /* 0: no list is on its way */
	bool expected, synced;
	char name[];
};

struct store {
	struct hash_table entries;
	struct origin *origins;
	struct store_index kinds[OBJECT_KIND_COUNT];
	struct {
		store_listener call;
		void *data;
	} listeners[LISTENERS_MAX];
	size_t listener_count;
	uint64_t round;
	unsigned int batches; /* begun, one in the other */
	bool telling;
	struct entry *changed, *last_changed;
	size_t given;	 /* candidates with an object */
	size_t problems; /* origins with one */
};

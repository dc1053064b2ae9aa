/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/announce/claims.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/hash.h"

const char *const claim_state_names[CLAIM_STATES] = {"watched", "probed", "held"};

struct claim {
	UT_hash_handle hh;
	struct polder_addr addr;
	int link;
	bool may, marked;
	unsigned int place;
	uint64_t score;	 /* this node's */
	uint64_t may_ms; /* since when it may */
	enum claim_state state;
	uint64_t term; /* the latest that is known */
	int64_t since;
	int error;

	/* Another node that holds it. */
	char holder[LIMIT_NAME + 1]; /* "": none is known */
	uint64_t holder_score;
	bool heard; /* it is there, as far as is known */
	uint64_t heard_ms;
	uint64_t free_ms;  /* else: since when it is nobody's */
	uint64_t rival_ms; /* when another one asked last; 0: never */

	unsigned int probes;
	uint64_t due_ms; /* the next probe, or telling */
	bool answered, was_answered;
	uint8_t answer[6];
	unsigned int tells; /* that are left */
};

struct recalled {
	UT_hash_handle hh;
	struct polder_addr addr;
	int link;
	uint64_t term;
	int64_t since;
};

struct claims {
	char node[LIMIT_NAME + 1];
	uint64_t node_hash;
	uint64_t return_ms;
	uint64_t started_ms;
	uint64_t beat_ms; /* the next one */
	struct claim_hooks hooks;
	struct claim *all;
	struct recalled *recalled;
	struct claim_counts counts;
};

/* ---------------------------------------------------------------- life */

struct claims *announce_claims_new(const char *node, uint64_t return_ms,
				   const struct claim_hooks *hooks, uint64_t now)
{
	struct claims *claims = calloc(1, sizeof(*claims));

	if (!claims)
		return NULL;
	snprintf(claims->node, sizeof(claims->node), "%s", node);
	claims->node_hash = claim_node_hash(node);
	claims->return_ms = return_ms;
	claims->started_ms = now;
	claims->hooks = *hooks;
	return claims;
}

static void forget_recalled(struct claims *claims)
{
	struct recalled *one, *next;

	HASH_ITER (hh, claims->recalled, one, next) {
		HASH_DEL(claims->recalled, one);
		free(one);
	}
}

void announce_claims_free(struct claims *claims)
{
	struct claim *claim, *next;

	if (!claims)
		return;
	HASH_ITER (hh, claims->all, claim, next) {
		HASH_DEL(claims->all, claim);
		free(claim);
	}
	forget_recalled(claims);
	free(claims);
}

/* ---------------------------------------------------------------- places */

/* The finalizer of splitmix64. */
static uint64_t mix(uint64_t value)
{
	value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9u;
	value = (value ^ value >> 27) * 0x94d049bb133111ebu;
	return value ^ value >> 31;
}

/* FNV-1a. */
uint64_t claim_node_hash(const char *node)
{
	uint64_t hash = 0xcbf29ce484222325u;

	for (; *node; node++)
		hash = (hash ^ (uint8_t)*node) * 0x100000001b3u;
	return mix(hash);
}

uint64_t claim_score(uint64_t node_hash, const struct polder_addr *addr)
{
	uint64_t score = node_hash;

	for (size_t i = 0; i < 4; i++)
		score = mix(score + ntohl(addr->words_be[i]) + 0x9e3779b97f4a7c15u);
	return score;
}

static uint64_t wait_of(const struct claim *claim)
{
	unsigned int place = claim->place;

	return (place < CLAIM_PLACES_MOST ? place : CLAIM_PLACES_MOST) * CLAIM_PLACE_MS;
}

/* ---------------------------------------------------------------- words */

static void say(struct claims *claims, const struct claim *claim, enum claim_word word)
{
	const struct claim_entry entry = {
		.addr = claim->addr, .term = claim->term, .since = claim->since, .word = word};

	claims->hooks.say(claim->link, &entry, claims->hooks.data);
}

static void watch(struct claim *claim, uint64_t free_ms)
{
	claim->state = CLAIM_WATCHED;
	claim->heard = false;
	claim->free_ms = free_ms;
}

static void hold(struct claims *claims, struct claim *claim, uint64_t term, int64_t since,
		 uint64_t now)
{
	claim->error =
		claims->hooks.hold(&claim->addr, claim->link, term, since, claims->hooks.data);
	if (claim->error < 0) {
		watch(claim, now + CLAIM_FAILED_MS);
		return;
	}
	claim->state = CLAIM_HELD;
	claim->term = term;
	claim->since = since;
	claim->holder[0] = '\0';
	claim->heard = claim->was_answered = false;
	say(claims, claim, WORD_HOLD);
}

static void take_over(struct claims *claims, struct claim *claim, uint64_t now)
{
	hold(claims, claim, claim->term + 1, claims->hooks.time(claims->hooks.data), now);
	if (claim->state != CLAIM_HELD)
		return;
	claims->counts.taken++;
	claim->tells = CLAIM_TELLS;
	claim->due_ms = now;
}

static void let_go(struct claims *claims, struct claim *claim, uint64_t now)
{
	if (claim->state == CLAIM_HELD) {
		claims->hooks.release(&claim->addr, claims->hooks.data);
		say(claims, claim, WORD_RELEASE);
		claims->counts.released++;
		watch(claim, now);
	} else if (claim->state == CLAIM_PROBED) {
		watch(claim, now);
	}
}

/* ---------------------------------------------------------------- which there are */

int announce_claims_recall(struct claims *claims, const struct polder_addr *addr, int link,
			   uint64_t term, int64_t since)
{
	struct recalled *one = calloc(1, sizeof(*one));

	if (!one)
		return -ENOMEM;
	*one = (struct recalled){.addr = *addr, .link = link, .term = term, .since = since};
	HASH_ADD(hh, claims->recalled, addr, sizeof(one->addr), one);
	if (HASH_ADDED(hh, one))
		return 0;
	free(one);
	return -ENOMEM;
}

/* Who holds it already says so before long. */
static struct claim *add(struct claims *claims, const struct polder_addr *addr, uint64_t now)
{
	uint64_t listened = claims->started_ms + CLAIM_LOST_MS;
	struct claim *claim = calloc(1, sizeof(*claim));

	if (!claim)
		return NULL;
	claim->addr = *addr;
	claim->score = claim_score(claims->node_hash, addr);
	claim->free_ms = now + CLAIM_BEAT_MS;
	if (claim->free_ms < listened)
		claim->free_ms = listened;
	HASH_ADD(hh, claims->all, addr, sizeof(claim->addr), claim);
	if (HASH_ADDED(hh, claim))
		return claim;
	free(claim);
	return NULL;
}

static void change(struct claims *claims, struct claim *claim, const struct claim_want *want,
		   uint64_t now)
{
	bool may = want->may && want->link;

	if (!may || (claim->link && claim->link != want->link))
		let_go(claims, claim, now);
	if (may && (!claim->may || claim->link != want->link))
		claim->may_ms = now;
	claim->may = may;
	claim->link = want->link;
	claim->place = want->place;
}

static void go_on(struct claims *claims, struct claim *claim, uint64_t now)
{
	struct recalled *one;

	HASH_FIND(hh, claims->recalled, &claim->addr, sizeof(claim->addr), one);
	if (one && claim->may && one->link == claim->link)
		hold(claims, claim, one->term, one->since, now);
	else if (one)
		claims->hooks.release(&claim->addr, claims->hooks.data);
}

/* What nobody wants any more of what the agent before held. */
static void release_unwanted(struct claims *claims)
{
	const struct recalled *one;
	const struct claim *claim;

	for (one = claims->recalled; one; one = one->hh.next) {
		HASH_FIND(hh, claims->all, &one->addr, sizeof(one->addr), claim);
		if (!claim)
			claims->hooks.release(&one->addr, claims->hooks.data);
	}
	forget_recalled(claims);
}

int announce_claims_set(struct claims *claims, const struct claim_want *wants, size_t count,
			uint64_t now)
{
	struct claim *claim, *next;
	int r = 0;

	for (claim = claims->all; claim; claim = claim->hh.next)
		claim->marked = false;
	for (size_t i = 0; i < count; i++) {
		HASH_FIND(hh, claims->all, &wants[i].addr, sizeof(wants[i].addr), claim);
		if (!claim && !(claim = add(claims, &wants[i].addr, now))) {
			r = -ENOMEM;
			continue;
		}
		claim->marked = true;
		change(claims, claim, &wants[i], now);
		go_on(claims, claim, now);
	}
	HASH_ITER (hh, claims->all, claim, next) {
		if (claim->marked)
			continue;
		let_go(claims, claim, now);
		HASH_DEL(claims->all, claim);
		free(claim);
	}
	if (r == 0)
		release_unwanted(claims);
	return r;
}

/* ---------------------------------------------------------------- what is heard */

/* Does the other one's claim go before ours? */
static bool loses(const struct claims *claims, const struct claim *claim, const char *node,
		  uint64_t score, uint64_t term)
{
	if (term != claim->term)
		return term > claim->term;
	if (score != claim->score)
		return score < claim->score;
	return strcmp(node, claims->node) < 0;
}

static void note_holder(struct claim *claim, const char *node, uint64_t score,
			const struct claim_entry *entry, uint64_t now)
{
	snprintf(claim->holder, sizeof(claim->holder), "%s", node);
	claim->holder_score = score;
	claim->state = CLAIM_WATCHED;
	claim->term = entry->term;
	claim->since = entry->since;
	claim->heard = true;
	claim->was_answered = false;
	claim->heard_ms = now;
}

static void heard_hold(struct claims *claims, struct claim *claim, const char *node,
		       const struct claim_entry *entry, uint64_t now)
{
	uint64_t score = claim_score(claim_node_hash(node), &claim->addr);
	bool same = strcmp(claim->holder, node) == 0;

	if (claim->state == CLAIM_HELD) {
		if (loses(claims, claim, node, score, entry->term)) {
			claims->hooks.release(&claim->addr, claims->hooks.data);
			claims->counts.lost++;
			note_holder(claim, node, score, entry, now);
		} else if (!claim->tells) {
			/* Hosts may have heard the other one last. */
			say(claims, claim, WORD_HOLD);
			claim->tells = 2;
			claim->due_ms = now;
		}
		return;
	}
	/* A node that has been away too long; whoever holds it will tell it. */
	if (!same && claim->heard && now - claim->heard_ms < CLAIM_LOST_MS &&
	    entry->term < claim->term)
		return;
	note_holder(claim, node, score, entry, now);
}

static void heard_probe(struct claims *claims, struct claim *claim, const char *node, uint64_t now)
{
	uint64_t score = claim_score(claim_node_hash(node), &claim->addr);

	if (claim->state == CLAIM_HELD) {
		say(claims, claim, WORD_HOLD);
	} else if (claim->state == CLAIM_WATCHED) {
		claim->rival_ms = now;
	} else if (loses(claims, claim, node, score, claim->term)) {
		claim->rival_ms = now;
		watch(claim, now);
	}
}

void announce_claims_heard(struct claims *claims, int link, const char *node,
			   const struct claim_entry *entry, uint64_t now)
{
	struct claim *claim;

	HASH_FIND(hh, claims->all, &entry->addr, sizeof(entry->addr), claim);
	if (!claim || claim->link != link || strcmp(node, claims->node) == 0 ||
	    entry->term >= CLAIM_TERM_MOST)
		return;
	if (entry->word == WORD_HOLD) {
		heard_hold(claims, claim, node, entry, now);
	} else if (entry->word == WORD_PROBE) {
		heard_probe(claims, claim, node, now);
	} else if (entry->word == WORD_RELEASE && claim->heard &&
		   strcmp(claim->holder, node) == 0) {
		claim->holder[0] = '\0';
		watch(claim, now);
	}
}

void announce_claims_answered(struct claims *claims, int link, const struct polder_addr *addr,
			      const uint8_t mac[6], uint64_t now)
{
	struct claim *claim;

	(void)now;
	HASH_FIND(hh, claims->all, addr, sizeof(*addr), claim);
	if (!claim || claim->state != CLAIM_PROBED || claim->link != link)
		return;
	claim->answered = true;
	memcpy(claim->answer, mac, sizeof(claim->answer));
}

/* ---------------------------------------------------------------- what is due */

static uint64_t later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* When this node asks whether anybody answers for it; UINT64_MAX: not now. */
static uint64_t probe_due(const struct claim *claim)
{
	uint64_t free_ms = claim->heard ? claim->heard_ms + CLAIM_LOST_MS : claim->free_ms;
	uint64_t due = free_ms + wait_of(claim);

	if (!claim->may)
		return UINT64_MAX;
	return claim->rival_ms ? later(due, claim->rival_ms + CLAIM_RIVAL_MS) : due;
}

/* When this node, which is better placed, takes it back from one that is there. */
static uint64_t return_due(const struct claims *claims, const struct claim *claim)
{
	if (!claim->may || !claim->heard || !claims->return_ms ||
	    claim->holder_score <= claim->score)
		return UINT64_MAX;
	return claim->may_ms + claims->return_ms +
	       claim->place * (uint64_t)(CLAIM_LOST_MS + CLAIM_RIVAL_MS);
}

static void probe(struct claims *claims, struct claim *claim, uint64_t now)
{
	if (claim->state != CLAIM_PROBED) {
		claim->state = CLAIM_PROBED;
		claim->probes = 0;
		claim->answered = false;
	}
	claim->probes++;
	claim->due_ms = now + CLAIM_PROBE_MS;
	say(claims, claim, WORD_PROBE);
	claims->hooks.probe(&claim->addr, claim->link, claims->hooks.data);
}

static void judge_probe(struct claims *claims, struct claim *claim, uint64_t now)
{
	claim->was_answered = claim->answered;
	if (claim->answered) {
		claims->counts.answered++;
		watch(claim, now + CLAIM_AGAIN_MS);
	} else if (claim->probes < CLAIM_PROBES) {
		probe(claims, claim, now);
	} else {
		take_over(claims, claim, now);
	}
}

static void tell(struct claims *claims, struct claim *claim, uint64_t now)
{
	claims->hooks.tell(&claim->addr, claim->link, claims->hooks.data);
	claim->tells--;
	claim->due_ms = now + CLAIM_TELL_MS;
}

static void run(struct claims *claims, struct claim *claim, uint64_t now)
{
	if (claim->state == CLAIM_WATCHED && probe_due(claim) <= now)
		probe(claims, claim, now);
	else if (claim->state == CLAIM_WATCHED && return_due(claims, claim) <= now)
		take_over(claims, claim, now);
	else if (claim->state == CLAIM_PROBED && (claim->answered || claim->due_ms <= now))
		judge_probe(claims, claim, now);
	if (claim->state == CLAIM_HELD && claim->tells && claim->due_ms <= now)
		tell(claims, claim, now);
}

static uint64_t due_of(const struct claims *claims, const struct claim *claim)
{
	uint64_t one, other;

	switch (claim->state) {
	case CLAIM_WATCHED:
		one = probe_due(claim);
		other = return_due(claims, claim);
		return one < other ? one : other;
	case CLAIM_PROBED:
		return claim->answered ? 0 : claim->due_ms;
	default:
		return claim->tells ? claim->due_ms : UINT64_MAX;
	}
}

static void beat(struct claims *claims, uint64_t now)
{
	const struct claim *claim;

	claims->beat_ms = now + CLAIM_BEAT_MS;
	for (claim = claims->all; claim; claim = claim->hh.next)
		if (claim->state == CLAIM_HELD)
			say(claims, claim, WORD_HOLD);
}

uint64_t announce_claims_run(struct claims *claims, uint64_t now)
{
	uint64_t due = UINT64_MAX;
	struct claim *claim;
	bool held = false;

	for (claim = claims->all; claim; claim = claim->hh.next)
		run(claims, claim, now);
	if (claims->beat_ms <= now)
		beat(claims, now);
	for (claim = claims->all; claim; claim = claim->hh.next) {
		uint64_t one = due_of(claims, claim);

		due = one < due ? one : due;
		held |= claim->state == CLAIM_HELD;
	}
	return held && claims->beat_ms < due ? claims->beat_ms : due;
}

/* ---------------------------------------------------------------- how it stands */

void announce_claims_each(const struct claims *claims, uint64_t now,
			  void (*visit)(const struct claim_view *view, void *data), void *data)
{
	for (const struct claim *claim = claims->all; claim; claim = claim->hh.next) {
		bool held = claim->state == CLAIM_HELD;
		struct claim_view view = {.addr = claim->addr,
					  .link = claim->link,
					  .state = claim->state,
					  .may = claim->may,
					  .place = claim->place,
					  .holder = held ? claims->node : claim->holder,
					  .term = claim->term,
					  .answered = claim->was_answered,
					  .answer = claim->answer,
					  .error = claim->error};

		if (held || claim->holder[0])
			view.since = claim->since;
		if (!held && claim->holder[0])
			view.silent_ms = now - claim->heard_ms;
		visit(&view, data);
	}
}

struct claim_counts announce_claims_counts(const struct claims *claims)
{
	return claims->counts;
}

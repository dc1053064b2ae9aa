/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/services/service_weights.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/common/address.h"
#include "agent/common/maglev.h"

struct weight_rule {
	const char *pod; /* NULL: an address */
	size_t length;	 /* of it */
	bool begins;	 /* it is the beginning of names */
	struct polder_addr addr;
	uint16_t weight;
};

/* Without blanks around it, in place. */
static char *trim(char *text)
{
	char *end;

	text += strspn(text, " \t\n");
	end = text + strlen(text);
	while (end > text && strchr(" \t\n", end[-1]))
		*--end = '\0';
	return text;
}

static int parse_weight(const char *text, uint16_t *ret)
{
	unsigned long value;

	if (!text[0] || strlen(text) > 3 || strspn(text, "0123456789") != strlen(text))
		return -EINVAL;
	value = strtoul(text, NULL, 10);
	if (value > MAGLEV_WEIGHT_MAX)
		return -EINVAL;
	*ret = (uint16_t)value;
	return 0;
}

/* Takes the item apart. 0, or -EINVAL with a reason. */
static int parse_rule(char *item, struct weight_rule *ret, char *reason, size_t size)
{
	char *equals = strrchr(item, '='), *name;
	size_t length;

	if (!equals) {
		snprintf(reason, size, "\"%.64s\" has no weight: NAME=N is required", trim(item));
		return -EINVAL;
	}
	*equals = '\0';
	name = trim(item);
	length = strlen(name);
	if (parse_weight(trim(equals + 1), &ret->weight) < 0) {
		snprintf(reason, size,
			 "the weight of \"%.64s\" is \"%.32s\": a whole number from 0 to %d is "
			 "required",
			 name, trim(equals + 1), MAGLEV_WEIGHT_MAX);
		return -EINVAL;
	}
	if (addr_parse(name, &ret->addr) == 0)
		return 0;
	if (!length || strcspn(name, "*") < length - 1) {
		snprintf(reason, size,
			 "\"%.64s\" is neither an address nor a pod's name, nor the beginning of "
			 "one with a * behind it",
			 name);
		return -EINVAL;
	}
	ret->begins = name[length - 1] == '*';
	ret->pod = name;
	ret->length = length - ret->begins;
	return 0;
}

int weights_parse(const char *text, struct service_weights *ret, char *reason, size_t size)
{
	struct service_weights w = {.text = strdup(text)};
	char *next = w.text, *item;
	size_t commas = 0;
	int r = 0;

	for (const char *c = text; *c; c++)
		commas += *c == ',';
	w.rules = calloc(commas + 1, sizeof(*w.rules));
	if (!w.text || !w.rules)
		r = -ENOMEM;
	while (r == 0 && (item = strsep(&next, ",")))
		if (trim(item)[0])
			r = parse_rule(item, &w.rules[w.count++], reason, size);
	if (r < 0)
		weights_clear(&w);
	else
		*ret = w;
	return r;
}

void weights_clear(struct service_weights *w)
{
	free(w->text);
	free(w->rules);
	*w = (struct service_weights){};
}

static bool fits(const struct weight_rule *rule, const struct polder_addr *addr, const char *pod)
{
	if (!rule->pod)
		return memcmp(&rule->addr, addr, sizeof(*addr)) == 0;
	if (!pod)
		return false;
	return strncmp(pod, rule->pod, rule->length) == 0 && (rule->begins || !pod[rule->length]);
}

int weights_find(const struct service_weights *w, const struct polder_addr *addr, const char *pod)
{
	for (size_t i = 0; w && i < w->count; i++)
		if (fits(&w->rules[i], addr, pod))
			return w->rules[i].weight;
	return WEIGHT_NONE;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Pods of this node whose addresses are outside of its ranges. */
#include "agent/node/stray_pods.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/faults.h"
#include "tests/unit/unit.h"

struct world {
	struct config config;
	struct stray_pods *pods;
	size_t found;
	char last[200]; /* NAMESPACE/NAME, and what is said of it */
	char text[STRAY_POD_TEXT];
};

static void on_found(const struct stray_pod *pod, void *data)
{
	struct world *w = data;

	w->found++;
	snprintf(w->last, sizeof(w->last), "%s/%s", pod->namespace, pod->name);
	stray_pod_text(w->pods, pod, w->text);
}

static void begin(struct world *w)
{
	*w = (struct world){.config = {.node_name = "n1"}};
	CU_ASSERT_FATAL(prefix_parse("10.1.0.0/24", &w->config.pod_cidr_v4) == 0);
	CU_ASSERT_FATAL(prefix_parse("fd00:1::/64", &w->config.pod_cidr_v6) == 0);
	CU_ASSERT_FATAL(stray_pods_new(&w->config, on_found, w, &w->pods) == 0);
}

/* `more`: of its spec; `phase`, `ips`: of its status. */
static void hear_kind(struct world *w, const char *kind, const char *name, const char *uid,
		      const char *more, const char *status, bool deleted)
{
	struct object_list list = {};
	struct error error;
	char text[600];

	snprintf(text, sizeof(text),
		 "{\"apiVersion\":\"v1\",\"kind\":\"%s\",\"metadata\":{\"name\":\"%s\","
		 "\"namespace\":\"a\",\"uid\":\"%s\"},\"spec\":{%s},\"status\":{%s}}",
		 kind, name, uid, more, status);
	CU_ASSERT_FATAL(objects_decode(text, strlen(text), &list, &error) == 0 && list.count == 1);
	stray_pods_object(w->pods, list.objects[0], deleted);
	object_list_clear(&list);
}

static void hear(struct world *w, const char *name, const char *uid, const char *more,
		 const char *status)
{
	hear_kind(w, "Pod", name, uid, more, status, false);
}

#define HERE	 "\"nodeName\":\"n1\""
#define THERE	 "\"nodeName\":\"n2\""
#define IP(text) "\"phase\":\"Running\",\"podIP\":\"" text "\",\"podIPs\":[{\"ip\":\"" text "\"}]"

static void count_one(const struct stray_pod *pod, void *data)
{
	++*(size_t *)data;
}

static size_t listed(const struct world *w, size_t max)
{
	size_t count = 0;

	stray_pods_list(w->pods, max, count_one, &count);
	return count;
}

static void pod_outside_of_its_nodes_ranges_is_told_once(void)
{
	struct world w;

	begin(&w);
	hear(&w, "in4", "1", HERE, IP("10.1.0.5"));
	hear(&w, "in6", "1", HERE, IP("fd00:1::5"));
	CU_ASSERT(w.found == 0);
	hear(&w, "out4", "1", HERE, IP("10.88.0.5"));
	CU_ASSERT(w.found == 1 && strcmp(w.last, "a/out4") == 0);
	CU_ASSERT(strstr(w.text, "10.88.0.5") && strstr(w.text, "n1 (10.1.0.0/24,fd00:1::/64)"));
	hear(&w, "out6", "1", HERE, IP("fd00:2::5"));
	CU_ASSERT(w.found == 2);
	hear(&w, "out4", "1", HERE, IP("10.88.0.5"));
	CU_ASSERT(w.found == 2 && listed(&w, 9) == 2 && listed(&w, 1) == 1);
	/* Another address, and the same name made anew, are news. */
	hear(&w, "out4", "1", HERE, IP("10.88.0.6"));
	hear(&w, "out4", "2", HERE, IP("10.88.0.6"));
	CU_ASSERT(w.found == 4 && listed(&w, 9) == 2);
	stray_pods_free(w.pods);
}

static void second_address_counts_as_well(void)
{
	struct world w;

	begin(&w);
	hear(&w, "both", "1", HERE,
	     "\"phase\":\"Running\",\"podIPs\":[{\"ip\":\"10.1.0.5\"},{\"ip\":\"fd00:9::5\"}]");
	CU_ASSERT(w.found == 1 && strstr(w.text, "fd00:9::5") != NULL);
	stray_pods_free(w.pods);
}

static void pods_that_need_no_address_of_the_range_are_not_told(void)
{
	struct world w;

	begin(&w);
	hear(&w, "elsewhere", "1", THERE, IP("10.88.0.5"));
	hear(&w, "nowhere", "1", "", IP("10.88.0.5"));
	hear(&w, "host", "1", HERE ",\"hostNetwork\":true", IP("192.168.7.1"));
	hear(&w, "done", "1", HERE,
	     "\"phase\":\"Succeeded\",\"podIP\":\"10.88.0.5\",\"podIPs\":[{\"ip\":\"10.88.0.5\"}]");
	hear(&w, "pending", "1", HERE, "\"phase\":\"Pending\"");
	hear_kind(&w, "Service", "a-service", "1", HERE, "", false);
	CU_ASSERT(w.found == 0 && listed(&w, 9) == 0);
	stray_pods_free(w.pods);
}

static void pod_is_forgotten_when_it_goes_moves_or_ends(void)
{
	struct world w;

	begin(&w);
	for (int i = 0; i < 4; i++) {
		char name[16];

		snprintf(name, sizeof(name), "p%d", i);
		hear(&w, name, "1", HERE, IP("10.88.0.5"));
	}
	CU_ASSERT(listed(&w, 9) == 4);
	hear_kind(&w, "Pod", "p3", "1", HERE, IP("10.88.0.5"), true);
	hear(&w, "p0", "1", HERE, IP("10.1.0.7"));
	CU_ASSERT(listed(&w, 9) == 2);
	/* Behind one that has gone from the end. */
	hear(&w, "p4", "1", HERE, IP("10.88.0.9"));
	CU_ASSERT(listed(&w, 9) == 3);
	hear_kind(&w, "Pod", "p1", "1", HERE, IP("10.88.0.5"), true);
	hear_kind(&w, "Pod", "p2", "1", HERE, IP("10.88.0.5"), true);
	hear_kind(&w, "Pod", "p4", "1", HERE, IP("10.88.0.9"), true);
	CU_ASSERT(listed(&w, 9) == 0);
	hear(&w, "p5", "1", HERE, IP("10.88.0.9"));
	CU_ASSERT(listed(&w, 9) == 1);
	stray_pods_free(w.pods);
}

static void node_of_one_family_has_no_range_of_the_other(void)
{
	struct world w;

	begin(&w);
	w.config.pod_cidr_v6 = (struct prefix){};
	hear(&w, "in4", "1", HERE, IP("10.1.0.5"));
	CU_ASSERT(w.found == 0);
	hear(&w, "six", "1", HERE, IP("fd00:1::5"));
	CU_ASSERT(w.found == 1 && strstr(w.text, "(10.1.0.0/24)") != NULL);
	stray_pods_free(w.pods);
}

static void without_memory_it_is_told_all_the_same(void)
{
	struct object_list list = {};
	struct error error;
	const char *text =
		"{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"out\","
		"\"namespace\":\"a\"},\"spec\":{" HERE "},\"status\":{" IP("10.88.0.5") "}}";
	bool failed = true;
	size_t number;

	CU_ASSERT_FATAL(objects_decode(text, strlen(text), &list, &error) == 0);
	for (number = 1; failed; number++) {
		struct world w;

		begin(&w);
		faults_begin(number);
		stray_pods_object(w.pods, list.objects[0], false);
		failed = faults_end();
		CU_ASSERT(w.found == 1 && listed(&w, 9) == !failed);
		stray_pods_free(w.pods);
	}
	CU_ASSERT(number == 6);
	object_list_clear(&list);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(pod_outside_of_its_nodes_ranges_is_told_once),
		UNIT_TEST(second_address_counts_as_well),
		UNIT_TEST(pods_that_need_no_address_of_the_range_are_not_told),
		UNIT_TEST(pod_is_forgotten_when_it_goes_moves_or_ends),
		UNIT_TEST(node_of_one_family_has_no_range_of_the_other),
		UNIT_TEST(without_memory_it_is_told_all_the_same),
	};

	return UNIT_RUN("pods outside of their node's ranges", tests);
}

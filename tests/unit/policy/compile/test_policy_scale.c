/* SPDX-License-Identifier: Apache-2.0 */
/* Large and hostile input: bounded in time and memory, and closed where it does not fit. */
#include <sys/resource.h>
#include <time.h>

#include "tests/unit/policy/compile/policy_world.h"
#include "tests/unit/unit.h"

/* Generous: sanitizers and busy machines. What a plain build needs is printed. */
#define SECONDS_AT_MOST 20.0

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Compiles again what the world holds, and says how long that takes. */
static void measure(struct world *w, const char *what)
{
	struct policy_input input = {
		.pods = w->by_kind[OBJECT_POD],
		.subject = w->subject,
		.pod_count = w->count[OBJECT_POD],
		.policies = w->by_kind[OBJECT_NETWORK_POLICY],
		.policy_count = w->count[OBJECT_NETWORK_POLICY],
		.cluster_policies = w->by_kind[OBJECT_CLUSTER_NETWORK_POLICY],
		.cluster_policy_count = w->count[OBJECT_CLUSTER_NETWORK_POLICY],
		.nodes = w->by_kind[OBJECT_NODE],
		.node_count = w->count[OBJECT_NODE],
	};
	struct compiled_policy *policy;
	struct rusage usage;
	double begin = now(), seconds;

	CU_ASSERT_EQUAL(policy_compile(w->registry, &input, &policy), 0);
	seconds = now() - begin;
	getrusage(RUSAGE_SELF, &usage);
	printf("\n    %s: %.3f s, %zu rule sets, peak %ld MiB ", what, seconds,
	       policy->ruleset_count, usage.ru_maxrss / 1024);
	CU_ASSERT(seconds < SECONDS_AT_MOST);
	compiled_policy_free(policy);
}

static void ten_thousand_pods_under_a_thousand_policies(void)
{
	char *text;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	struct world *w;

	for (int i = 0; i < 10000; i++)
		fprintf(out, POD("n%d", "p%d", "'app':'a%d','tier':'t%d'", "10.%d.%d.%d") ",",
			i % 20, i, i % 500, i % 5, 1 + i / 60000, i / 250, 1 + i % 250);
	for (int i = 0; i < 1000; i++)
		fprintf(out,
			"%s" NETPOL("n%d", "q%d",
				    "'podSelector':{'matchLabels':{'%s':'%s%d'}},'policyTypes':['"
				    "Ingress','Egress'],"
				    "'ingress':[{'from':[{'podSelector':{'matchLabels':{'tier':'t%"
				    "d'}}},"
				    "{'namespaceSelector':{'matchLabels':{'kubernetes.io/"
				    "metadata.name':'n%d'}}}],"
				    "'ports':[{'port':%d},{'port':1000,'endPort':%d}]}],"
				    "'egress':[{'to':[{'ipBlock':{'cidr':'10.%d.0.0/"
				    "16','except':['10.%d.%d.0/"
				    "24']}}]},{'ports':[{'port':53,'protocol':'UDP'}]}]"),
			i ? "," : "", i % 20, i, i % 3 ? "app" : "tier", i % 3 ? "a" : "t",
			i % 3 ? i % 500 : i % 5, i % 5, i % 20, 80 + i % 10, 1000 + i, 1 + i % 200,
			1 + i % 200, i % 256);
	fclose(out);
	w = world_new(text, NULL);
	free(text);
	CU_ASSERT_EQUAL(w->policy->identity_count, 500);
	measure(w, "10,000 pods, 1,000 policies");
	world_free(w);
}

static void a_thousand_blocks_in_each_of_many_policies(void)
{
	char *text;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	struct world *w;
	uint32_t state = 1;

	fprintf(out, POD("x", "a", "", "10.0.0.1"));
	for (int i = 0; i < 200; i++) {
		fprintf(out,
			",{'apiVersion':'networking.k8s.io/"
			"v1','kind':'NetworkPolicy','metadata':{'namespace':'x','name':'p%d'},"
			"'spec':{'ingress':[{'from':[",
			i);
		for (int j = 0; j < 1000; j++) {
			state = state * 1664525 + 1013904223;
			fprintf(out, "%s{'ipBlock':{'cidr':'%u.%u.%u.0/%u'}}", j ? "," : "",
				1 + (state >> 24) % 100, state >> 16 & 255, state >> 8 & 255,
				12 + (state >> 4) % 13);
		}
		fprintf(out, "],'ports':[{'port':%d}]}]}}", i + 1);
	}
	fclose(out);
	w = world_new(text, NULL);
	free(text);
	measure(w, "200 policies of 1,000 overlapping blocks");
	CU_ASSERT(world_pod(w, "x/a")->ingress_ruleset == RULESET_CAPACITY ||
		  world_pod(w, "x/a")->ingress_ruleset >= RULESET_FIRST);
	world_free(w);
}

static void disjoint_blocks_grow_evenly(void)
{
	char *text;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	struct world *w;

	fprintf(out, POD("x", "a", "", "10.0.0.1"));
	for (int i = 0; i < 100; i++) {
		fprintf(out,
			",{'apiVersion':'networking.k8s.io/"
			"v1','kind':'NetworkPolicy','metadata':{'namespace':'x','name':'p%d'},"
			"'spec':{'ingress':[{'from':[",
			i);
		for (int j = 0; j < 1000; j++)
			fprintf(out, "%s{'ipBlock':{'cidr':'%d.%d.%d.0/24'}}", j ? "," : "", 1 + i,
				j / 250, j % 250);
		fprintf(out, "]}]}}");
	}
	fclose(out);
	w = world_new(text, NULL);
	free(text);
	measure(w, "100 policies of 1,000 disjoint blocks");
	CU_ASSERT_EQUAL(world_ruleset(w, world_pod(w, "x/a")->ingress_ruleset)->prefix_count,
			100000);
	world_free(w);
}

static void what_does_not_fit_passes_nothing(void)
{
	char *text;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	struct world *w;

	fprintf(out, POD("x", "a", "", "10.0.0.1") "," POD("y", "b", "", "10.0.0.2") ",");
	for (int i = 0; i < 5; i++) {
		fprintf(out,
			"%s{'apiVersion':'networking.k8s.io/"
			"v1','kind':'NetworkPolicy','metadata':{'namespace':'x','name':'p%d'},"
			"'spec':{'policyTypes':['Ingress','Egress'],'ingress':[",
			i ? "," : "", i);
		for (int j = 0; j < 4000; j++)
			fprintf(out, "%s{'ports':[{'port':%d}]}", j ? "," : "", 1 + i * 4000 + j);
		fprintf(out, "]}}");
	}
	fclose(out);
	w = world_new(text, NULL);
	free(text);
	CU_ASSERT_EQUAL(world_pod(w, "x/a")->ingress_ruleset, RULESET_CAPACITY);
	CU_ASSERT(world_pod(w, "x/a")->egress_ruleset >= RULESET_FIRST);
	CU_ASSERT_EQUAL(world_pod(w, "y/b")->ingress_ruleset, RULESET_OPEN);
	world_free(w);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(ten_thousand_pods_under_a_thousand_policies),
		UNIT_TEST(a_thousand_blocks_in_each_of_many_policies),
		UNIT_TEST(disjoint_blocks_grow_evenly),
		UNIT_TEST(what_does_not_fit_passes_nothing),
	};

	return UNIT_RUN("policy/scale", tests);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Which endpoint a new flow gets: each as likely, or the one that its cell of the table names. */
#include "suite.h"

#define ENDPOINTS 7
#define FLOWS	  100000
#define SOME	  16000

static const char *const vip[2] = {"10.96.0.1", "fd00:96::1"};

/* Endpoints of the second pod, at ports from 8080 on. */
static void set_endpoints(enum suite_version v)
{
	struct world_backend backends[ENDPOINTS];

	for (int i = 0; i < ENDPOINTS; i++)
		backends[i] = (struct world_backend){pod_text[1][v], 8080 + i, BACKEND_ACTIVE};
	world_set_service(world, 1, vip[v], IPPROTO_UDP, 80, backends, ENDPOINTS);
}

static void set_table(enum suite_version v, const uint16_t *table, uint32_t size)
{
	struct world_frontend f = {
		.id = 1, .addr = vip[v], .proto = IPPROTO_UDP, .port = 80, .table_size = size};

	for (int i = 0; i < 4; i++) {
		f.backends[i].addr = pod_text[1][v];
		f.backends[i].port = 8080 + i;
	}
	memcpy(f.table, table, size * sizeof(*table));
	world_set_frontend(world, &f);
}

/* The endpoint of a new flow; ENDPOINTS: it got none. */
static int choice_of(enum suite_version v, uint16_t sport)
{
	struct frame_spec spec = spec_of_pod(0, v, vip[v], IPPROTO_UDP, sport, 80), got;
	struct world_result result = {};
	struct frame frame;

	frame_make(&frame, &spec);
	if (world_pass(world, HOOK_FROM_POD, world->pods[0].link, &frame, &result.out) !=
	    TC_ACT_REDIRECT)
		return ENDPOINTS;
	got = seen(&result);
	return got.dport >= 8080 && got.dport < 8080 + ENDPOINTS ? got.dport - 8080 : ENDPOINTS;
}

/* Flows from as many source ports as there are, the table emptied now and then. */
static void choose_many(enum suite_version v, int flows, int counts[ENDPOINTS + 1])
{
	memset(counts, 0, (ENDPOINTS + 1) * sizeof(*counts));
	for (int i = 0; i < flows; i++) {
		if (i % 256 == 0)
			world_forget_flows(world);
		counts[choice_of(v, 1024 + i % 60000)]++;
	}
}

/* By how much counts differ from shares of them; `shares` add up to 1. */
static double chi_square(const int *counts, const double *shares, int classes, int all)
{
	double sum = 0, expected;

	for (int i = 0; i < classes; i++) {
		expected = shares[i] * all;
		sum += (counts[i] - expected) * (counts[i] - expected) / expected;
	}
	return sum;
}

/* SV-01. With six degrees of freedom an even choice exceeds 38.3 once in a million times. */
static void each_endpoint_is_as_likely(void)
{
	double shares[ENDPOINTS];
	int counts[ENDPOINTS + 1];

	for (int i = 0; i < ENDPOINTS; i++)
		shares[i] = 1.0 / ENDPOINTS;
	EACH_VERSION(v)
	{
		set_endpoints(v);
		choose_many(v, FLOWS, counts);
		CU_ASSERT_EQUAL(counts[ENDPOINTS], 0);
		CU_ASSERT(chi_square(counts, shares, ENDPOINTS, FLOWS) < 38.3);
	}
}

/* Cells are as likely each; with two degrees of freedom the limit is 27.6. */
static void endpoints_are_chosen_as_often_as_cells_name_them(void)
{
	static const uint16_t table[8] = {0, 2, 2, 1, 2, 2, 1, 2};
	static const double shares[3] = {1.0 / 8, 2.0 / 8, 5.0 / 8};
	int counts[ENDPOINTS + 1];

	EACH_VERSION(v)
	{
		set_table(v, table, 8);
		choose_many(v, SOME, counts);
		CU_ASSERT_EQUAL(counts[0] + counts[1] + counts[2], SOME);
		CU_ASSERT(chi_square(counts, shares, 3, SOME) < 27.6);
	}
}

static const struct suite_test tests[] = {
	SUITE_TEST(each_endpoint_is_as_likely),
	SUITE_TEST(endpoints_are_chosen_as_often_as_cells_name_them),
};

int main(void)
{
	return SUITE_RUN("choice of endpoints", tests);
}

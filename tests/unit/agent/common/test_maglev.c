/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tables of consistent hashing: what they hold, and how even and how steady they are beside what
 * the paper says (Eisenbud et al., NSDI 2016, 3.4 and 5.3). With an argument the figures of
 * docs/services-benchmark.md are printed, and nothing is tested.
 */
#include "agent/common/maglev.h"

#include <arpa/inet.h>
#include <time.h>

#include "tests/unit/unit.h"

#define MANY 1000

/* 10.N.x.y:8080, or fd00:N::x with `v6`. */
static struct backend endpoint(uint32_t number, bool v6)
{
	struct backend b = {.port_be = htons(8080)};

	if (v6) {
		b.addr.words_be[0] = htonl(0xfd000000);
		b.addr.words_be[3] = htonl(number + 1);
	} else {
		b.addr.words_be[2] = htonl(0xffff);
		b.addr.words_be[3] = htonl(0x0a000000 + number + 1);
	}
	return b;
}

static void make(struct backend *list, uint32_t count, bool v6)
{
	for (uint32_t i = 0; i < count; i++)
		list[i] = endpoint(i, v6);
}

static void fill(const struct backend *list, const uint16_t *weights, uint32_t count, uint32_t size,
		 uint16_t *cells)
{
	if (maglev_fill(list, weights, count, size, cells) < 0)
		abort();
}

static void count_cells(const uint16_t *cells, uint32_t size, uint32_t count, uint32_t *ret)
{
	memset(ret, 0, count * sizeof(*ret));
	for (uint32_t i = 0; i < size; i++) {
		if (cells[i] >= count)
			abort();
		ret[cells[i]]++;
	}
}

/* ---------------------------------------------------------------- what a table is */

static void knows_primes(void)
{
	uint32_t below, above;

	CU_ASSERT(!maglev_is_prime(0) && !maglev_is_prime(1) && maglev_is_prime(2));
	CU_ASSERT(maglev_is_prime(3) && !maglev_is_prime(4) && maglev_is_prime(16381));
	CU_ASSERT(!maglev_is_prime(16383) && maglev_is_prime(65537) && maglev_is_prime(655373));
	CU_ASSERT(!maglev_is_prime(1048575) && maglev_is_prime(MAGLEV_SIZE_MAX));
	CU_ASSERT(!maglev_is_prime(1018081)); /* 1009 * 1009 */
	maglev_primes_around(16384, &below, &above);
	CU_ASSERT(below == 16381 && above == 16411);
}

static void one_endpoint_has_every_cell(void)
{
	struct backend list[1] = {endpoint(0, false)};
	uint16_t cells[7];

	fill(list, NULL, 1, 7, cells);
	for (int i = 0; i < 7; i++)
		CU_ASSERT(cells[i] == 0);
}

/* Other nodes, and later versions, have to come to the same: so the very cells are held here. */
static void is_the_same_on_every_node_and_in_every_version(void)
{
	struct backend list[3] = {endpoint(0, false), endpoint(1, false), endpoint(0, true)};
	static const uint32_t expected[11] = {2, 2, 1, 0, 2, 0, 0, 1, 1, 0, 1};
	uint16_t cells[11];

	fill(list, NULL, 3, 11, cells);
	for (int i = 0; i < 11; i++)
		CU_ASSERT(cells[i] == expected[i]);
}

static void does_not_depend_on_the_order_of_endpoints(void)
{
	static struct backend list[100], turned[100];
	static uint16_t weights[100], turned_weights[100];
	static uint16_t cells[1021], other[1021];

	make(list, 100, true);
	for (uint32_t i = 0; i < 100; i++) {
		weights[i] = 1 + i % 5;
		turned[i] = list[(i + 37) % 100];
		turned_weights[i] = 1 + (i + 37) % 100 % 5;
	}
	fill(list, weights, 100, 1021, cells);
	fill(turned, turned_weights, 100, 1021, other);
	for (uint32_t i = 0; i < 1021; i++)
		CU_ASSERT(memcmp(&list[cells[i]], &turned[other[i]], sizeof(*list)) == 0);
}

static void tells_ports_of_one_address_apart(void)
{
	struct backend list[2] = {endpoint(0, false), endpoint(0, false)};
	uint16_t cells[1021];
	uint32_t counts[2];

	list[1].port_be = htons(8081);
	fill(list, NULL, 2, 1021, cells);
	count_cells(cells, 1021, 2, counts);
	CU_ASSERT(counts[0] == 511 && counts[1] == 510);
}

static void as_many_endpoints_as_cells_have_one_each(void)
{
	static struct backend list[1021];
	static uint16_t cells[1021];
	static uint32_t counts[1021];

	make(list, 1021, false);
	fill(list, NULL, 1021, 1021, cells);
	count_cells(cells, 1021, 1021, counts);
	for (uint32_t i = 0; i < 1021; i++)
		CU_ASSERT(counts[i] == 1);
}

/* ---------------------------------------------------------------- weights */

static void cells_are_in_proportion_to_weights(void)
{
	static const uint16_t weights[4] = {1, 2, 5, 92};
	struct backend list[4];
	static uint16_t cells[16381];
	uint32_t counts[4];

	make(list, 4, false);
	fill(list, weights, 4, 16381, cells);
	count_cells(cells, 16381, 4, counts);
	for (int i = 0; i < 4; i++) {
		double share = 16381.0 * weights[i] / 100;

		/* One round more or less. */
		CU_ASSERT(counts[i] > share - 2 && counts[i] < share + 2);
	}
}

static void an_endpoint_of_weight_0_has_no_cell(void)
{
	static const uint16_t weights[3] = {1, 0, 1};
	struct backend list[3];
	static uint16_t cells[1021];
	uint32_t counts[3];

	make(list, 3, true);
	fill(list, weights, 3, 1021, cells);
	count_cells(cells, 1021, 3, counts);
	CU_ASSERT(counts[1] == 0 && counts[0] == 511 && counts[2] == 510);
}

static void equal_weights_are_none(void)
{
	static struct backend list[50];
	static uint16_t weights[50];
	static uint16_t cells[1021], other[1021];

	make(list, 50, false);
	for (int i = 0; i < 50; i++)
		weights[i] = MAGLEV_WEIGHT_MAX;
	fill(list, weights, 50, 1021, cells);
	fill(list, NULL, 50, 1021, other);
	CU_ASSERT(memcmp(cells, other, sizeof(cells)) == 0);
}

/* ---------------------------------------------------------------- how good it is */

struct evenness {
	double most, least; /* by the mean */
};

static struct evenness evenness_of(const uint16_t *cells, uint32_t size, uint32_t count)
{
	static uint32_t counts[MANY];
	uint32_t most = 0, least = UINT32_MAX;

	count_cells(cells, size, count, counts);
	for (uint32_t i = 0; i < count; i++) {
		most = counts[i] > most ? counts[i] : most;
		least = counts[i] < least ? counts[i] : least;
	}
	return (struct evenness){(double)most * count / size, (double)least * count / size};
}

static void no_endpoint_has_more_than_one_cell_more_than_another(void)
{
	static const uint32_t sizes[] = {1021, 4093, 16381, 65537};
	static struct backend list[MANY];
	static uint16_t cells[65537];

	for (uint32_t count = 3; count <= MANY; count = count * 4 / 3) {
		make(list, count, count & 1);
		for (int i = 0; i < 4; i++) {
			struct evenness e;

			fill(list, NULL, count, sizes[i], cells);
			e = evenness_of(cells, sizes[i], count);
			CU_ASSERT((e.most - e.least) * sizes[i] / count < 1.5);
		}
	}
}

/* Of the cells that are not the one's that goes: how many become another's. */
static double disruption(const uint16_t *before, const uint16_t *after, uint32_t size,
			 uint32_t gone)
{
	uint32_t moved = 0, all = 0;

	for (uint32_t i = 0; i < size; i++) {
		uint32_t now = after[i] + (after[i] >= gone);

		all += before[i] != gone;
		moved += before[i] != gone && now != before[i];
	}
	return (double)moved / all;
}

/* The worst, and the mean in `*ret_mean`, of `tries` endpoints that go, one at a time. */
static double disruption_of(uint32_t count, uint32_t size, uint32_t tries, double *ret_mean)
{
	static struct backend list[MANY], rest[MANY];
	static uint16_t before[655373], after[655373];
	double worst = 0, sum = 0;

	make(list, count, false);
	fill(list, NULL, count, size, before);
	for (uint32_t try = 0; try < tries; try++) {
		uint32_t gone = try * count / tries;
		double moved;

		memcpy(rest, list, gone * sizeof(*list));
		memcpy(rest + gone, list + gone + 1, (count - gone - 1) * sizeof(*list));
		fill(rest, NULL, count - 1, size, after);
		moved = disruption(before, after, size, gone);
		worst = moved > worst ? moved : worst;
		sum += moved;
	}
	*ret_mean = sum / tries;
	return worst;
}

static void most_cells_stay_when_an_endpoint_goes(void)
{
	static const struct {
		uint32_t count, size;
		double most;
	} cases[] = {{3, 16381, 0.001}, {10, 16381, 0.01}, {100, 16381, 0.02}, {1000, 65537, 0.01}};
	double mean;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		CU_ASSERT(disruption_of(cases[i].count, cases[i].size, 3, &mean) < cases[i].most);
}

/* ---------------------------------------------------------------- figures */

static double milliseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

static double time_of(const struct backend *list, uint32_t count, uint32_t size, uint16_t *cells)
{
	double best = 1e9, took;

	for (int i = 0; i < 9; i++) {
		took = milliseconds();
		fill(list, NULL, count, size, cells);
		took = milliseconds() - took;
		best = took < best ? took : best;
	}
	return best;
}

static void print_figures(void)
{
	static const uint32_t sizes[] = {1021, 16381, 65537, 655373},
			      counts[] = {3, 10, 30, 100, 300, 1000};
	static struct backend list[MANY];
	static uint16_t cells[655373];

	printf("| endpoints | cells | most / mean | least / mean | others' cells that move when "
	       "one "
	       "goes: mean | worst | to make, ms |\n| ---: | ---: | ---: | ---: | ---: | ---: | "
	       "---: |\n");
	for (int s = 0; s < 4; s++)
		for (int c = 0; c < 6; c++) {
			struct evenness e;
			double mean, worst;

			make(list, counts[c], false);
			fill(list, NULL, counts[c], sizes[s], cells);
			e = evenness_of(cells, sizes[s], counts[c]);
			worst = disruption_of(counts[c], sizes[s], counts[c] < 20 ? counts[c] : 20,
					      &mean);
			printf("| %u | %u | %.4f | %.4f | %.2f %% | %.2f %% | %.3f |\n", counts[c],
			       sizes[s], e.most, e.least, mean * 100, worst * 100,
			       time_of(list, counts[c], sizes[s], cells));
		}
}

static const struct unit_test tests[] = {
	UNIT_TEST(knows_primes),
	UNIT_TEST(one_endpoint_has_every_cell),
	UNIT_TEST(is_the_same_on_every_node_and_in_every_version),
	UNIT_TEST(does_not_depend_on_the_order_of_endpoints),
	UNIT_TEST(tells_ports_of_one_address_apart),
	UNIT_TEST(as_many_endpoints_as_cells_have_one_each),
	UNIT_TEST(cells_are_in_proportion_to_weights),
	UNIT_TEST(an_endpoint_of_weight_0_has_no_cell),
	UNIT_TEST(equal_weights_are_none),
	UNIT_TEST(no_endpoint_has_more_than_one_cell_more_than_another),
	UNIT_TEST(most_cells_stay_when_an_endpoint_goes),
};

int main(int argc, char **argv)
{
	if (argc > 1) {
		print_figures();
		return 0;
	}
	return UNIT_RUN("maglev", tests);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* An API server's source, before the server has been asked. */
#include "agent/sources/api/api_source.h"

#include "tests/unit/unit.h"

#define START_MS 50

/* What the agent does before it follows a server holds the loop up, whose clock stands still. */
static void time_of_the_start_is_not_the_servers(void)
{
	const struct api_options options = {
		.kubeconfig = "/nowhere/kubeconfig", .silence_ms = 20000, .node = "n1"};
	struct api_source *source = NULL;
	struct store *store = store_new();
	struct api_status status;
	uint64_t begun, passed;
	uv_loop_t loop;

	CU_ASSERT_FATAL(store && uv_loop_init(&loop) == 0);
	usleep(START_MS * 1000);
	begun = uv_hrtime();
	CU_ASSERT_FATAL(api_source_new(&loop, &options, store, NULL, NULL, &source) == 0);
	uv_run(&loop, UV_RUN_NOWAIT);
	api_source_status(source, &status);
	passed = (uv_hrtime() - begun) / 1000000;
	/* Both clocks count whole milliseconds. */
	CU_ASSERT(status.since_ms <= passed + 1);
	CU_ASSERT(!status.connected && status.error[0]);
	api_source_free(source);
	uv_run(&loop, UV_RUN_DEFAULT);
	CU_ASSERT(uv_loop_close(&loop) == 0);
	store_free(store);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(time_of_the_start_is_not_the_servers),
	};

	return UNIT_RUN("api_source", tests);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* polderctl: asks the node agent and shows what it says. */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "agent/cli/cli.h"
#include "agent/cli/cluster.h"
#include "agent/common/streams.h"

/* A reader that has had enough (head) is no failure worth words; a full disk is. */
static int finish(int code)
{
	errno = 0;
	if (!fflush(stdout) && !ferror(stdout))
		return code;
	if (!cli_reader_is_gone())
		cli_error("standard output cannot be written: %s",
			  errno ? strerror(errno) : "an earlier write was refused");
	return code ? code : CLI_FAILED;
}

/* kubectl starts kubectl-polder for "kubectl polder". */
static bool is_plugin_name(const char *program)
{
	const char *slash = strrchr(program, '/');

	return strcmp(slash ? slash + 1 : program, "kubectl-polder") == 0;
}

static int run(struct cli *cli)
{
	const struct cli_command *command = cli->command;

	if (!cli->plugin)
		return command->run(cli);
	return command->run_in_cluster ? command->run_in_cluster(cli) : cluster_run(cli);
}

int main(int argc, char **argv)
{
	struct cli cli = {0};
	int code;

	streams_fill();
	if (argc > 0 && is_plugin_name(argv[0]))
		cli_set_plugin();
	signal(SIGPIPE, SIG_IGN);
	code = cli_parse(argc, argv, &cli);
	if (!code && !cli.given[CLI_HELP]) {
		if (cli.given[CLI_VERSION])
			puts("polderctl " POLDER_VERSION);
		else
			code = run(&cli);
	}
	cli_clear(&cli);
	return finish(code);
}

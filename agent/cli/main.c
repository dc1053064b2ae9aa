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

static bool is_named(const char *program, const char *name)
{
	const char *slash = strrchr(program, '/');

	return strcmp(slash ? slash + 1 : program, name) == 0;
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
	signal(SIGPIPE, SIG_IGN);
	/* kubectl starts these for "kubectl polder", and for the completion of its words. */
	if (argc > 0 && is_named(argv[0], "kubectl-polder"))
		cli_set_plugin();
	if (argc > 0 && is_named(argv[0], "kubectl_complete-polder"))
		return finish(cli_complete(argc - 1, argv + 1));
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

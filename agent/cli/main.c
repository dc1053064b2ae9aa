/* SPDX-License-Identifier: Apache-2.0 */
/* polderctl: asks the node agent and shows what it says. */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "agent/cli/cli.h"
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

int main(int argc, char **argv)
{
	struct cli cli = {0};
	int code;

	streams_fill();
	signal(SIGPIPE, SIG_IGN);
	code = cli_parse(argc, argv, &cli);
	if (!code && !cli.given[CLI_HELP]) {
		if (cli.given[CLI_VERSION])
			puts("polderctl " POLDER_VERSION);
		else
			code = cli.command->run(&cli);
	}
	cli_clear(&cli);
	return finish(code);
}

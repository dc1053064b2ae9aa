/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What may follow on a command line of "kubectl polder". kubectl's own completion starts
 * kubectl_complete-polder with the words that stand there, the last of which is not finished, and
 * reads one candidate a line, then a colon and a number (github.com/spf13/cobra:
 * ShellCompDirective) that says what the shell does if there is none.
 */
#include <string.h>

#include "agent/cli/cli.h"

/* The shell offers files, or nothing. */
#define FILES	 0
#define NO_FILES 4

struct line {
	const char *words[2]; /* the command as far as it is there */
	size_t count;
	const char *current;			/* begun; "": not even that */
	const struct cli_option_spec *awaiting; /* whose value comes; NULL: none */
};

static const struct cli_option_spec *option_of(const char *word)
{
	for (int i = 0; i < CLI_OPTION_COUNT; i++) {
		const struct cli_option_spec *spec = &cli_options[i];

		if (strncmp(word, "--", 2) == 0
			    ? strcmp(word + 2, spec->name) == 0
			    : spec->letter && word[1] == spec->letter && !word[2])
			return spec;
	}
	return NULL;
}

static bool takes_next_word(const char *word)
{
	const struct cli_option_spec *spec = option_of(word);

	return spec && spec->value == CLI_VALUE_REQUIRED;
}

static void read_line(int count, char **words, struct line *ret)
{
	*ret = (struct line){.current = count ? words[count - 1] : ""};
	for (int i = 0; i + 1 < count; i++) {
		if (words[i][0] != '-') {
			if (ret->count < 2)
				ret->words[ret->count] = words[i];
			ret->count++;
			continue;
		}
		if (!takes_next_word(words[i]))
			continue;
		if (i + 2 == count)
			ret->awaiting = option_of(words[i]);
		i++;
	}
}

static void offer(const char *word, const char *begun)
{
	if (strncmp(word, begun, strlen(begun)) == 0)
		printf("%s\n", word);
}

/* Of words with blanks between. */
static void offer_each(const char *choices, const char *begun)
{
	char word[64];
	size_t length;

	for (; choices && *choices; choices += length + strspn(choices + length, " ")) {
		length = strcspn(choices, " ");
		snprintf(word, sizeof(word), "%.*s", (int)length, choices);
		offer(word, begun);
	}
}

static bool is_file(const char *name)
{
	return name && (strcmp(name, "FILE") == 0 || strcmp(name, "PATH") == 0);
}

/* The command that the words name, if they name one already. */
static const struct cli_command *command_of(const struct line *line)
{
	for (size_t i = 0; i < cli_command_count; i++) {
		const struct cli_command *command = &cli_commands[i];

		if (line->count < (command->verb ? 2u : 1u) ||
		    strcmp(line->words[0], command->noun) != 0)
			continue;
		if (!command->verb || strcmp(line->words[1], command->verb) == 0)
			return command;
	}
	return NULL;
}

static void offer_commands(const struct line *line)
{
	for (size_t i = 0; i < cli_command_count; i++) {
		const struct cli_command *command = &cli_commands[i];

		if (line->count == 0) {
			if (i == 0 || strcmp(cli_commands[i - 1].noun, command->noun) != 0)
				offer(command->noun, line->current);
		} else if (line->count == 1 && command->verb &&
			   strcmp(line->words[0], command->noun) == 0) {
			offer(command->verb, line->current);
		}
	}
}

static void offer_options(const struct line *line)
{
	const struct cli_command *command = command_of(line);
	cli_option_set options = CLI_EVERYWHERE | CLI_OF_PLUGIN | (command ? command->options : 0);
	char word[64];

	for (int i = 0; i < CLI_OPTION_COUNT; i++) {
		if (!(options & CLI_BIT(i)))
			continue;
		snprintf(word, sizeof(word), "--%s", cli_options[i].name);
		offer(word, line->current);
	}
}

/* What the shell is to do where nothing is offered. */
static int complete(const struct line *line)
{
	const struct cli_command *command = command_of(line);
	size_t named = command && command->verb ? 2 : 1;

	if (line->awaiting) {
		offer_each(line->awaiting->choices, line->current);
		return is_file(line->awaiting->value_name) ? FILES : NO_FILES;
	}
	if (line->current[0] == '-') {
		offer_options(line);
		return NO_FILES;
	}
	if (!command) {
		offer_commands(line);
		return NO_FILES;
	}
	if (line->count == named || command->arity >= CLI_ONCE_OR_MORE) {
		offer_each(command->choices, line->current);
		return is_file(command->argument) ? FILES : NO_FILES;
	}
	return NO_FILES;
}

int cli_complete(int count, char **words)
{
	struct line line;

	read_line(count, words, &line);
	printf(":%d\n", complete(&line));
	return CLI_OK;
}

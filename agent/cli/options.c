/* SPDX-License-Identifier: Apache-2.0 */
/* From the command line to one invocation. */
#include "agent/cli/cli.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#define PATIENCE_MS 30000
#define LONG_ONLY   256 /* getopt's value of an option: its letter, or this plus its number */

static bool is_plugin;

const char *cli_program(void)
{
	return is_plugin ? "kubectl polder" : "polderctl";
}

void cli_set_plugin(void)
{
	is_plugin = true;
}

bool cli_is_choice(const char *choices, const char *word)
{
	size_t length = strlen(word);
	const char *p = choices;

	if (!length || strchr(word, ' '))
		return false;
	while ((p = strstr(p, word))) {
		if ((p == choices || p[-1] == ' ') && (!p[length] || p[length] == ' '))
			return true;
		p += length;
	}
	return false;
}

/* For who captures, letters mean what they mean to tcpdump. */
static bool captures;

static bool has_letter(int option)
{
	bool of_capture = option == CLI_NO_NAMES || option == CLI_WRITE;
	bool of_others = option == CLI_NAMESPACE || option == CLI_WATCH;

	return cli_options[option].letter && !(captures ? of_others : of_capture);
}

static void fill_getopt(struct option *ret_long, char *ret_short)
{
	const struct cli_option_spec *spec;

	*ret_short++ = ':';
	for (int i = 0; i < CLI_OPTION_COUNT; i++) {
		spec = &cli_options[i];
		ret_long[i] = (struct option){
			.name = spec->name,
			.has_arg = spec->value == CLI_VALUE_NONE       ? no_argument
				   : spec->value == CLI_VALUE_OPTIONAL ? optional_argument
								       : required_argument,
			.val = LONG_ONLY + i,
		};
		if (!has_letter(i))
			continue;
		*ret_short++ = spec->letter;
		if (spec->value == CLI_VALUE_REQUIRED)
			*ret_short++ = ':';
	}
	*ret_short = '\0';
	ret_long[CLI_OPTION_COUNT] = (struct option){0};
}

static int option_number(int value)
{
	if (value >= LONG_ONLY)
		return value - LONG_ONLY;
	for (int i = 0; i < CLI_OPTION_COUNT; i++)
		if (has_letter(i) && cli_options[i].letter == value)
			return i;
	return -1;
}

static int add_to_list(struct cli_list *list, const char *value)
{
	char **items = reallocarray(list->items, list->count + 1, sizeof(*items));

	if (!items) {
		cli_error("out of memory");
		return CLI_FAILED;
	}
	list->items = items;
	items[list->count++] = (char *)value;
	return CLI_OK;
}

void cli_clear(struct cli *cli)
{
	for (int i = 0; i < CLI_OPTION_COUNT; i++)
		free(cli->lists[i].items);
	*cli = (struct cli){0};
}

static int take_option(struct cli *cli, int number, const char *value)
{
	const struct cli_option_spec *spec = &cli_options[number];

	if (spec->choices && value && !cli_is_choice(spec->choices, value)) {
		cli_error("--%s %s: expected one of: %s", spec->name, value, spec->choices);
		return CLI_USAGE;
	}
	cli->given[number] = true;
	cli->values[number] = value;
	return spec->repeatable ? add_to_list(&cli->lists[number], value) : CLI_OK;
}

/* Is the command, the first word that is no option's, `capture`? Nothing is moved or said. */
static bool is_capture(int argc, char **argv)
{
	struct option long_options[CLI_OPTION_COUNT + 1];
	char short_options[2 * CLI_OPTION_COUNT + 3] = "+";

	captures = false;
	fill_getopt(long_options, short_options + 1);
	optind = 0;
	opterr = 0;
	while (getopt_long(argc, argv, short_options, long_options, NULL) != -1)
		;
	return optind < argc && strcmp(argv[optind], "capture") == 0;
}

static int parse_options(int argc, char **argv, struct cli *cli)
{
	struct option long_options[CLI_OPTION_COUNT + 1];
	char short_options[2 * CLI_OPTION_COUNT + 2];
	int value, number, r = CLI_OK;

	captures = is_capture(argc, argv);
	fill_getopt(long_options, short_options);
	optind = 0;
	while (!r && (value = getopt_long(argc, argv, short_options, long_options, NULL)) != -1) {
		number = option_number(value);
		if (number >= 0) {
			r = take_option(cli, number, optarg);
			continue;
		}
		if (value == ':')
			cli_error("option %s needs a value: see polderctl --help",
				  argv[optind - 1]);
		else
			cli_error("unknown option %s, or one that takes no value: see polderctl "
				  "--help",
				  argv[optind - 1]);
		r = CLI_USAGE;
	}
	return r;
}

static const struct cli_command *find_command(const char *noun, const char *verb, bool *ret_noun)
{
	const struct cli_command *command;

	*ret_noun = false;
	for (size_t i = 0; i < cli_command_count; i++) {
		command = &cli_commands[i];
		if (strcmp(noun, command->noun))
			continue;
		*ret_noun = true;
		if (!command->verb || (verb && !strcmp(verb, command->verb)))
			return command;
	}
	return NULL;
}

static int parse_words(int count, char **words, struct cli *cli)
{
	const struct cli_command *command;
	bool is_noun, one;
	int used;

	command = find_command(words[0], count > 1 ? words[1] : NULL, &is_noun);
	if (!command) {
		if (is_noun && count < 2)
			cli_error("missing subcommand after \"%s\": see polderctl %s --help",
				  words[0], words[0]);
		else
			cli_error("unknown command \"%s%s%s\": see polderctl --help", words[0],
				  is_noun ? " " : "", is_noun ? words[1] : "");
		return CLI_USAGE;
	}
	used = command->verb ? 2 : 1;
	one = command->arity == CLI_ONCE || command->arity == CLI_AT_MOST_ONCE;
	if (command->argument && count > used) {
		cli->argument = words[used];
		cli->arguments.items = words + used;
		cli->arguments.count = one ? 1 : (size_t)(count - used);
		used += (int)cli->arguments.count;
	}
	if (count > used) {
		cli_error("unexpected argument \"%s\": see polderctl --help", words[used]);
		return CLI_USAGE;
	}
	cli->command = command;
	return CLI_OK;
}

static int check_argument(const struct cli *cli)
{
	const struct cli_command *command = cli->command;

	if (!command->argument || (!cli->argument && (command->arity == CLI_ANY_NUMBER ||
						      command->arity == CLI_AT_MOST_ONCE)))
		return CLI_OK;
	if (!cli->argument) {
		cli_error("%s is missing: see polderctl --help", command->argument);
		return CLI_USAGE;
	}
	if (command->choices && !cli_is_choice(command->choices, cli->argument)) {
		cli_error("%s \"%s\": expected one of: %s", command->argument, cli->argument,
			  command->choices);
		return CLI_USAGE;
	}
	return CLI_OK;
}

static int check_options(const struct cli *cli)
{
	cli_option_set allowed =
		cli->command->options | CLI_EVERYWHERE | (cli->plugin ? CLI_OF_PLUGIN : 0);
	const char *output = cli->values[CLI_OUTPUT];

	for (int i = 0; i < CLI_OPTION_COUNT; i++)
		if (cli->given[i] && !(allowed & CLI_BIT(i))) {
			cli_error(CLI_OF_PLUGIN & CLI_BIT(i)
					  ? "option --%s is for a cluster: kubectl polder --help"
					  : "option --%s is not valid for this command: see "
					    "polderctl --help",
				  cli_options[i].name);
			return CLI_USAGE;
		}
	if (output && cli->format == CLI_NAMES && !(allowed & CLI_BIT(CLI_NO_HEADERS))) {
		cli_error("-o name is for lists of things that have names: see polderctl --help");
		return CLI_USAGE;
	}
	return CLI_OK;
}

static enum cli_format find_format(const char *name)
{
	static const char *const names[] = {
		[CLI_TABLE] = "table", [CLI_WIDE] = "wide", [CLI_YAML] = "yaml",
		[CLI_NAMES] = "name",  [CLI_JSON] = "json", [CLI_JSONL] = "jsonl"};

	for (size_t i = 0; name && i < sizeof(names) / sizeof(*names); i++)
		if (!strcmp(name, names[i]))
			return (enum cli_format)i;
	return CLI_TABLE;
}

static void fill_defaults(struct cli *cli)
{
	const char *environment = getenv("POLDER_SOCKET");
	const char *output = cli->values[CLI_OUTPUT];

	cli->socket = cli->values[CLI_SOCKET];
	if (!cli->socket)
		cli->socket = environment && *environment ? environment : CLI_DEFAULT_SOCKET;
	cli->format = find_format(output);
	cli->json = cli->format == CLI_JSON || cli->format == CLI_JSONL || cli->format == CLI_YAML;
	cli_set_format(cli->format);
	cli->patience_ms = PATIENCE_MS;
	cli->plugin = is_plugin;
}

int cli_parse(int argc, char **argv, struct cli *ret)
{
	struct cli cli = {0};
	bool is_noun;
	int r = parse_options(argc, argv, &cli);

	if (r) {
		cli_clear(&cli);
		return r;
	}
	fill_defaults(&cli);
	if (cli.given[CLI_HELP]) { /* as much of the command as there is */
		cli_print_help(
			optind < argc && (find_command(argv[optind], NULL, &is_noun) || is_noun)
				? argv[optind]
				: NULL,
			optind + 1 < argc ? argv[optind + 1] : NULL, stdout);
		*ret = cli;
		return CLI_OK;
	}
	if (optind < argc)
		r = parse_words(argc - optind, argv + optind, &cli);
	else if (!cli.given[CLI_VERSION]) {
		cli_print_help(NULL, NULL, stderr);
		r = CLI_USAGE;
	}
	if (!r && cli.command && !cli.given[CLI_VERSION]) {
		r = check_options(&cli);
		if (!r)
			r = check_argument(&cli);
	}
	if (!r)
		*ret = cli;
	else
		cli_clear(&cli);
	return r;
}

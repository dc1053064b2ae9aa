/* SPDX-License-Identifier: Apache-2.0 */
/* Completion scripts for bash, zsh and fish, made from the table of commands. */
#include <string.h>

#include "agent/cli/cli.h"

/*
 * Values that are names of what the agent knows: the nouns whose lists have them. Only names of
 * plain characters are offered: shells expand what they are given.
 */
static const struct {
	const char *value, *nouns;
} named_values[] = {
	{"[NS/]POD", "pod"},	       {"[NS/]POLICY", "policy"}, {"NS/POD|IP", "pod"},
	{"NS/NAME|IP", "pod service"}, {"NS/POD", "pod"},	  {"NS/NAME", "service"},
	{"[NS/]NAME", "policy"},
};

/* NULL: it is no name. */
static const char *nouns_of(const char *value)
{
	for (size_t i = 0; value && i < sizeof(named_values) / sizeof(*named_values); i++)
		if (!strcmp(value, named_values[i].value))
			return named_values[i].nouns;
	return NULL;
}

/* Does an earlier command have the same noun? */
static bool noun_seen(size_t index)
{
	for (size_t i = 0; i < index; i++)
		if (!strcmp(cli_commands[i].noun, cli_commands[index].noun))
			return true;
	return false;
}

static void print_nouns(void)
{
	for (size_t i = 0, first = 1; i < cli_command_count; i++)
		if (!noun_seen(i)) {
			printf("%s%s", first ? "" : " ", cli_commands[i].noun);
			first = 0;
		}
}

static void print_verbs(const char *noun)
{
	for (size_t i = 0, first = 1; i < cli_command_count; i++)
		if (cli_commands[i].verb && !strcmp(cli_commands[i].noun, noun)) {
			printf("%s%s", first ? "" : " ", cli_commands[i].verb);
			first = 0;
		}
}

static void print_option_words(cli_option_set options)
{
	const struct cli_option_spec *spec;

	for (int i = 0; i < CLI_OPTION_COUNT; i++) {
		spec = &cli_options[i];
		if (!(options & CLI_BIT(i)))
			continue;
		if (spec->letter)
			printf(" -%c", spec->letter);
		printf(" --%s", spec->name);
	}
}

/* The options that take the next word, as a shell's pattern. */
static void print_value_options(void)
{
	const struct cli_option_spec *spec;
	bool first = true;

	for (int i = 0; i < CLI_OPTION_COUNT; i++) {
		spec = &cli_options[i];
		if (spec->value != CLI_VALUE_REQUIRED)
			continue;
		if (spec->letter)
			printf("%s-%c", first ? "" : " | ", spec->letter);
		else if (!first)
			printf(" | ");
		printf("%s--%s", spec->letter ? " | " : "", spec->name);
		first = false;
	}
}

/* case arms: the words so far, and what may follow. `indent` stands before each. */
static void print_word_arms(const char *indent)
{
	const struct cli_command *command;

	printf("%s'') choices='", indent);
	print_nouns();
	printf("' ;;\n");
	for (size_t i = 0; i < cli_command_count; i++) {
		command = &cli_commands[i];
		if (command->verb && !noun_seen(i)) {
			printf("%s'%s') choices='", indent, command->noun);
			print_verbs(command->noun);
			printf("' ;;\n");
		}
		if (command->choices)
			printf("%s'%s%s%s') choices='%s' ;;\n", indent, command->noun,
			       command->verb ? " " : "", command->verb ? command->verb : "",
			       command->choices);
		if (nouns_of(command->argument))
			printf("%s'%s %s') choices=$(_polderctl_names %s) ;;\n", indent,
			       command->noun, command->verb, nouns_of(command->argument));
	}
}

/* Commands whose argument is a file. `complete` is what the shell does for one. */
static void print_file_arms(const char *indent, const char *complete)
{
	const struct cli_command *command;

	for (size_t i = 0; i < cli_command_count; i++) {
		command = &cli_commands[i];
		if (!command->argument || strcmp(command->argument, "FILE"))
			continue;
		printf("%s'%s%s%s'*) %s ;;\n", indent, command->noun, command->verb ? " " : "",
		       command->verb ? command->verb : "", complete);
	}
}

/* The options whose value is a file's name, as a shell's pattern. */
static void print_file_options(void)
{
	const char *separator = "";

	for (int i = 0; i < CLI_OPTION_COUNT; i++) {
		const char *name = cli_options[i].value_name;

		if (!name || (strcmp(name, "PATH") && strcmp(name, "FILE")))
			continue;
		printf("%s--%s", separator, cli_options[i].name);
		separator = " | ";
	}
}

static void print_option_arms(const char *indent)
{
	const struct cli_command *command;

	for (size_t i = 0; i < cli_command_count; i++) {
		command = &cli_commands[i];
		if (!command->options)
			continue;
		printf("%s'%s%s%s'*) choices+='", indent, command->noun, command->verb ? " " : "",
		       command->verb ? command->verb : "");
		print_option_words(command->options);
		printf("' ;;\n");
	}
}

static void print_choice_arms(const char *indent)
{
	const struct cli_option_spec *spec;

	for (int i = 0; i < CLI_OPTION_COUNT; i++) {
		spec = &cli_options[i];
		if (nouns_of(spec->value_name))
			printf("%s--%s) choices=$(_polderctl_names %s) ;;\n", indent, spec->name,
			       nouns_of(spec->value_name));
		if (spec->value != CLI_VALUE_REQUIRED || !spec->choices)
			continue;
		if (spec->letter)
			printf("%s-%c | --%s) choices='%s' ;;\n", indent, spec->letter, spec->name,
			       spec->choices);
		else
			printf("%s--%s) choices='%s' ;;\n", indent, spec->name, spec->choices);
	}
}

/* For bash and zsh. */
static void print_names_function(void)
{
	printf("_polderctl_names()\n{\n"
	       "\tlocal noun\n"
	       "\tfor noun in \"$@\"; do\n"
	       "\t\tpolderctl \"$noun\" list -o name 2>/dev/null |\n"
	       "\t\t\tsed -n \"s,^$noun/\\([A-Za-z0-9._/-]*\\)\\$,\\1,p\"\n"
	       "\tdone | sort -u\n"
	       "}\n");
}

static void print_bash(void)
{
	printf("# bash completion for polderctl, made by: polderctl completion bash\n");
	print_names_function();
	printf("_polderctl()\n{\n"
	       "\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
	       "\tlocal words=() choices='' i\n"
	       "\tfor ((i = 1; i < COMP_CWORD; i++)); do\n"
	       "\t\tcase ${COMP_WORDS[i]} in\n\t\t");
	print_value_options();
	printf(") ((i++)) ;;\n"
	       "\t\t-*) ;;\n"
	       "\t\t*) words+=(\"${COMP_WORDS[i]}\") ;;\n"
	       "\t\tesac\n\tdone\n"
	       "\tcase $prev in\n\t");
	print_file_options();
	printf(")\n"
	       "\t\tmapfile -t COMPREPLY < <(compgen -f -- \"$cur\")\n"
	       "\t\treturn\n\t\t;;\n");
	print_choice_arms("\t");
	printf("\t*)\n\t\tif [[ $cur == -* ]]; then\n\t\t\tchoices='");
	print_option_words(CLI_EVERYWHERE);
	printf("'\n\t\t\tcase \"${words[*]}\" in\n");
	print_option_arms("\t\t\t");
	printf("\t\t\tesac\n\t\telse\n\t\t\tcase \"${words[*]}\" in\n");
	print_file_arms("\t\t\t", "mapfile -t COMPREPLY < <(compgen -f -- \"$cur\"); return");
	print_word_arms("\t\t\t");
	printf("\t\t\tesac\n\t\tfi\n\t\t;;\n\tesac\n"
	       "\tmapfile -t COMPREPLY < <(compgen -W \"$choices\" -- \"$cur\")\n"
	       "}\n"
	       "complete -F _polderctl polderctl\n");
}

static void print_zsh(void)
{
	printf("#compdef polderctl\n"
	       "# zsh completion for polderctl, made by: polderctl completion zsh\n");
	print_names_function();
	printf("_polderctl()\n{\n"
	       "\tlocal cur=${words[CURRENT]} prev=${words[CURRENT-1]} choices='' i\n"
	       "\tlocal -a given\n"
	       "\tfor ((i = 2; i < CURRENT; i++)); do\n"
	       "\t\tcase ${words[i]} in\n\t\t(");
	print_value_options();
	printf(") ((i++)) ;;\n"
	       "\t\t(-*) ;;\n"
	       "\t\t(*) given+=(${words[i]}) ;;\n"
	       "\t\tesac\n\tdone\n"
	       "\tcase $prev in\n\t");
	print_file_options();
	printf(")\n\t\t_files\n\t\treturn\n\t\t;;\n");
	print_choice_arms("\t");
	printf("\t*)\n\t\tif [[ $cur == -* ]]; then\n\t\t\tchoices='");
	print_option_words(CLI_EVERYWHERE);
	printf("'\n\t\t\tcase \"${given[*]}\" in\n");
	print_option_arms("\t\t\t");
	printf("\t\t\tesac\n\t\telse\n\t\t\tcase \"${given[*]}\" in\n");
	print_file_arms("\t\t\t", "_files; return");
	print_word_arms("\t\t\t");
	printf("\t\t\tesac\n\t\tfi\n\t\t;;\n\tesac\n"
	       "\tcompadd -- ${=choices}\n"
	       "}\n"
	       "_polderctl \"$@\"\n");
}

/* ---------------------------------------------------------------- fish */

/* In single quotes. */
static void print_fish_text(const char *text)
{
	putchar('\'');
	for (; *text; text++) {
		if (*text == '\'' || *text == '\\')
			putchar('\\');
		putchar(*text);
	}
	putchar('\'');
}

static void print_fish_condition(const struct cli_command *command)
{
	printf(" -n '__fish_seen_subcommand_from %s", command->noun);
	if (command->verb)
		printf("; and __fish_seen_subcommand_from %s", command->verb);
	putchar('\'');
}

static void print_fish_value(const struct cli_option_spec *spec)
{
	const char *name = spec->value_name;

	if (spec->value == CLI_VALUE_NONE)
		return;
	if (name && (!strcmp(name, "PATH") || !strcmp(name, "FILE")))
		printf(" -r -F");
	else if (spec->value == CLI_VALUE_REQUIRED)
		printf(" -x");
	if (spec->choices)
		printf(" -a '%s'", spec->choices);
	else if (nouns_of(name))
		printf(" -a '(__polderctl_names %s)'", nouns_of(name));
}

static void print_fish_options(const struct cli_command *command, cli_option_set options)
{
	const struct cli_option_spec *spec;

	for (int i = 0; i < CLI_OPTION_COUNT; i++) {
		spec = &cli_options[i];
		if (!(options & CLI_BIT(i)))
			continue;
		printf("complete -c polderctl");
		if (command)
			print_fish_condition(command);
		printf(" -l %s", spec->name);
		if (spec->letter)
			printf(" -s %c", spec->letter);
		print_fish_value(spec);
		printf(" -d ");
		print_fish_text(spec->help);
		putchar('\n');
	}
}

static void print_fish_verbs(const struct cli_command *command)
{
	printf("complete -c polderctl -n '__fish_seen_subcommand_from %s; and not "
	       "__fish_seen_subcommand_from ",
	       command->noun);
	print_verbs(command->noun);
	printf("' -a '");
	print_verbs(command->noun);
	printf("'\n");
}

static void print_fish_argument(const struct cli_command *command)
{
	const char *nouns = nouns_of(command->argument);
	bool file = !strcmp(command->argument, "FILE");

	if (!file && !nouns && !command->choices)
		return;
	printf("complete -c polderctl");
	print_fish_condition(command);
	if (file)
		printf(" -F\n");
	else if (nouns)
		printf(" -a '(__polderctl_names %s)'\n", nouns);
	else
		printf(" -a '%s'\n", command->choices);
}

static void print_fish(void)
{
	printf("# fish completion for polderctl, made by: polderctl completion fish\n"
	       "function __polderctl_names\n"
	       "\tfor noun in $argv\n"
	       "\t\tpolderctl $noun list -o name 2>/dev/null | string replace -rf "
	       "\"^$noun/([A-Za-z0-9._/-]*)\\$\" '$1'\n"
	       "\tend\n"
	       "end\n"
	       "complete -c polderctl -f\n"
	       "complete -c polderctl -n __fish_use_subcommand -a '");
	print_nouns();
	printf("'\n");
	print_fish_options(NULL, CLI_EVERYWHERE);
	for (size_t i = 0; i < cli_command_count; i++) {
		if (cli_commands[i].verb && !noun_seen(i))
			print_fish_verbs(&cli_commands[i]);
		if (cli_commands[i].argument)
			print_fish_argument(&cli_commands[i]);
		print_fish_options(&cli_commands[i], cli_commands[i].options);
	}
}

int cli_run_completion(struct cli *cli)
{
	if (!strcmp(cli->argument, "zsh"))
		print_zsh();
	else if (!strcmp(cli->argument, "fish"))
		print_fish();
	else
		print_bash();
	return CLI_OK;
}

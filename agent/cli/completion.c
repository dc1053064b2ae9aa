/* SPDX-License-Identifier: Apache-2.0 */
/* Completion scripts for bash and zsh, made from the table of commands. */
#include <string.h>

#include "agent/cli/cli.h"

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

static void print_option_words(uint64_t options)
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
		if (spec->value != CLI_VALUE_REQUIRED || !spec->choices)
			continue;
		if (spec->letter)
			printf("%s-%c | --%s) choices='%s' ;;\n", indent, spec->letter, spec->name,
			       spec->choices);
		else
			printf("%s--%s) choices='%s' ;;\n", indent, spec->name, spec->choices);
	}
}

static void print_bash(void)
{
	printf("# bash completion for polderctl, made by: polderctl completion bash\n"
	       "_polderctl()\n{\n"
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
	       "# zsh completion for polderctl, made by: polderctl completion zsh\n"
	       "_polderctl()\n{\n"
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

int cli_run_completion(struct cli *cli)
{
	if (!strcmp(cli->argument, "zsh"))
		print_zsh();
	else
		print_bash();
	return CLI_OK;
}

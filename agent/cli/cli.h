/* SPDX-License-Identifier: Apache-2.0 */
/* polderctl's commands and options: one table from which parsing, help, usage and completion are
 * made. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define CLI_DEFAULT_SOCKET "/run/polder/polder.sock"

/* Exit codes. */
enum { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2, CLI_DIFFERS = 3 };

enum cli_option {
	CLI_SOCKET,
	CLI_OUTPUT,
	CLI_HELP,
	CLI_VERSION,
	CLI_WAIT,
	CLI_LIMIT,
	CLI_DROPS,
	CLI_FLOWS,
	CLI_ALERTS,
	CLI_STRICT,
	CLI_FOR,
	CLI_COMMIT,
	CLI_DELETE,
	CLI_FROM,
	CLI_TO,
	CLI_PROTO,
	CLI_PORT,
	CLI_FAMILY,
	CLI_WITH,
	CLI_DRY_RUN,
	CLI_FORCE,
	CLI_CHECK,
	CLI_CONFIG,
	CLI_RUN_DIR,
	CLI_STATE_DIR,
	CLI_BPFFS,
	CLI_CNI_CONFIG_DIR,
	CLI_CNI_BIN_DIR,
	CLI_HOLD,
	CLI_MOUNT_NAMESPACE,
	CLI_IMAGE,
	CLI_OUTSIDE,
	CLI_SIZE,
	CLI_NAME,
	CLI_NODE,
	CLI_ALL_NODES,
	CLI_NAMESPACE,
	CLI_CONTEXT,
	CLI_KUBECONFIG,
	CLI_AGENT_NAMESPACE,
	CLI_POD,
	CLI_IP,
	CLI_VERDICT,
	CLI_REASON,
	CLI_POLICY,
	CLI_LAST,
	CLI_SINCE,
	CLI_WATCH,
	CLI_SORT,
	CLI_NO_HEADERS,
	CLI_NO_RECONNECT,
	CLI_INTERFACE,
	CLI_WRITE,
	CLI_READ,
	CLI_COUNT,
	CLI_SNAPLEN,
	CLI_DURATION,
	CLI_NO_NAMES,
	CLI_ENOUGH,
	CLI_RANGE,
	CLI_KERNEL,
	CLI_PROCESS,
	CLI_UID,
	CLI_OPTION_COUNT,
};
/* A set of options, a bit for each. */
__extension__ typedef unsigned __int128 cli_option_set;
_Static_assert(CLI_OPTION_COUNT <= 128, "each option has a bit");
#define CLI_BIT(option) ((cli_option_set)1 << (option))
#define CLI_EVERYWHERE                                                                             \
	(CLI_BIT(CLI_SOCKET) | CLI_BIT(CLI_OUTPUT) | CLI_BIT(CLI_HELP) | CLI_BIT(CLI_VERSION))
/* Of all commands, as kubectl's plugin. */
#define CLI_OF_PLUGIN                                                                              \
	(CLI_BIT(CLI_NODE) | CLI_BIT(CLI_ALL_NODES) | CLI_BIT(CLI_NAMESPACE) |                     \
	 CLI_BIT(CLI_CONTEXT) | CLI_BIT(CLI_KUBECONFIG) | CLI_BIT(CLI_AGENT_NAMESPACE))
/* Which flows, packets or drops. */
#define CLI_OF_FILTER                                                                              \
	(CLI_BIT(CLI_POD) | CLI_BIT(CLI_NAMESPACE) | CLI_BIT(CLI_FROM) | CLI_BIT(CLI_TO) |         \
	 CLI_BIT(CLI_IP) | CLI_BIT(CLI_PORT) | CLI_BIT(CLI_PROTO) | CLI_BIT(CLI_VERDICT) |         \
	 CLI_BIT(CLI_REASON) | CLI_BIT(CLI_POLICY) | CLI_BIT(CLI_PROCESS) | CLI_BIT(CLI_UID))

enum cli_value { CLI_VALUE_NONE, CLI_VALUE_REQUIRED, CLI_VALUE_OPTIONAL };

struct cli_option_spec {
	const char *name;
	char letter; /* 0: none */
	enum cli_value value;
	const char *value_name;
	const char *choices; /* with blanks between; NULL: free */
	const char *help;
	bool repeatable; /* its values are kept in struct cli's `lists` */
};
extern const struct cli_option_spec cli_options[CLI_OPTION_COUNT];

/* The values of an option that may stand several times, in their order. */
struct cli_list {
	char **items;
	size_t count;
};

enum cli_format {
	CLI_TABLE,
	CLI_WIDE,
	CLI_YAML,
	CLI_NAMES,
	CLI_JSON,
	CLI_JSONL,
};

/* One invocation. Strings belong to argv or the environment; arrays are freed by cli_clear(). */
struct cli {
	const struct cli_command *command;
	bool given[CLI_OPTION_COUNT];
	const char *values[CLI_OPTION_COUNT]; /* NULL: not given, or without a value */
	struct cli_list lists[CLI_OPTION_COUNT];
	const char *argument;	   /* the first one; NULL: none */
	struct cli_list arguments; /* all of them; the array is argv's */
	const char *socket;
	enum cli_format format;
	bool json;	 /* for programs: JSON, or YAML of the same */
	int patience_ms; /* for one answer */
	bool plugin;	 /* called as kubectl-polder: commands run in the agents' pods */
	/* As the plugin: the nodes' answers, which cli_ask() gives instead of asking; borrowed. */
	const json_t *answer;
};

/* How often a command takes its argument. */
enum cli_arity { CLI_ONCE, CLI_AT_MOST_ONCE, CLI_ONCE_OR_MORE, CLI_ANY_NUMBER };

struct cli_command {
	const char *noun;
	const char *verb;     /* NULL: the noun alone */
	const char *argument; /* its name; NULL: none */
	const char *choices;  /* of the argument, with blanks between; NULL: free */
	const char *summary;
	cli_option_set options;	     /* beyond CLI_EVERYWHERE */
	int (*run)(struct cli *cli); /* an exit code */
	enum cli_arity arity;
	const char *exit_status; /* what its exit status means, where it is not as for all; NULL */
	/* As the plugin; NULL: run in the agents' pods. */
	int (*run_in_cluster)(struct cli *cli);
};
extern const struct cli_command cli_commands[];
extern const size_t cli_command_count;

/* "polderctl" or "kubectl polder". */
const char *cli_program(void);
void cli_set_plugin(void);

/* Parses and says what is wrong on standard error. CLI_OK, or CLI_USAGE. `--help` and `--version`
 * need no command. */
int cli_parse(int argc, char **argv, struct cli *ret);
void cli_clear(struct cli *cli); /* takes a zeroed one */
/* Is `word` one of the blank-separated `choices`? */
bool cli_is_choice(const char *choices, const char *word);

/* Help for `noun` and `verb`; NULL: all. */
void cli_print_help(const char *noun, const char *verb, FILE *out);
int cli_run_completion(struct cli *cli);
/* What may follow these words of a command line of "kubectl polder", for kubectl's own completion.
 * An exit code. */
int cli_complete(int count, char **words);

/* To standard error, with the program's name and a newline; outside strings in it are escaped. */
void cli_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* One request, one answer. 0 and a new reference, or -errno after a complaint. `args` (may be NULL)
 * is borrowed. */
int cli_ask(const struct cli *cli, const char *operation, const json_t *args, json_t **ret_result);
/* As cli_ask() without a word; the complaint is written to `message`. */
int cli_ask_quietly(const struct cli *cli, const char *operation, const json_t *args,
		    json_t **ret_result, char *message, size_t size);
/* What to tell about an error of control_client_connect(), _send() or _receive(). */
void cli_explain(const struct cli *cli, int error, char *message, size_t size);

/* Nobody reads standard output any more (a pipe whose other end is closed). */
bool cli_reader_is_gone(void);

/* For programs, in the form that was asked for: JSON, indented or a line for each element of a
 * list, or YAML. ASCII. */
void cli_print_json(const json_t *value);
void cli_print_line(const json_t *value); /* one of many: JSON in one line, or a YAML document */
void cli_set_format(enum cli_format format);
/* As YAML; strings that could be read as something else stand in quotes. */
void cli_print_yaml(const json_t *value, FILE *out);
bool cli_yaml_is_plain(const char *text); /* a string that needs no quotes there */

/* "30s", "5m", "1h", "90". Seconds, or -1: it is none, or beyond `most`. */
long cli_parse_time(const char *text, long most);
/* A number from `least` to `most`. False after a complaint that names the option. */
bool cli_parse_number(const struct cli *cli, enum cli_option option, long least, long most,
		      json_int_t *ret);
/* `since_seconds` of a request, from --since, at most `most`. CLI_OK or, after a
 * complaint, CLI_USAGE. */
int cli_add_since(const struct cli *cli, long most, json_t *args);
/* The object `filter` of a request, from the options; NULL: none. CLI_OK or, after a complaint,
 * CLI_USAGE. */
int cli_filter(const struct cli *cli, json_t **ret);

int cli_run_status(struct cli *cli);
int cli_run_pods(struct cli *cli);
int cli_run_nodes(struct cli *cli);
int cli_run_load_balancers(struct cli *cli);
int cli_run_services(struct cli *cli);
int cli_run_policies(struct cli *cli);
int cli_run_policy_check(struct cli *cli);
int cli_run_policy_try(struct cli *cli);
int cli_run_policy_show(struct cli *cli);
int cli_run_policy_suggest(struct cli *cli);
int cli_run_flow_history(struct cli *cli);
/* The request policy.suggest, of the argument [NS[/POD]], --for and --since. NULL after a
 * complaint. */
json_t *cli_seen_args(const struct cli *cli, json_int_t *ret_seconds);
/* Its lines, into {"seen": [], "end": {}}. 0, or -errno after a complaint. */
int cli_ask_seen(const struct cli *cli, const json_t *args, json_int_t seconds, json_t *answer);
int cli_run_explain(struct cli *cli);
int cli_run_flows(struct cli *cli);
int cli_run_latency(struct cli *cli);
int cli_run_drop_list(struct cli *cli);
int cli_run_alert_list(struct cli *cli);
int cli_run_alert_test(struct cli *cli);
int cli_run_identities(struct cli *cli);
int cli_run_rulesets(struct cli *cli);
int cli_run_addresses(struct cli *cli);
int cli_run_backends(struct cli *cli);
int cli_run_ipam(struct cli *cli);
int cli_run_pod_show(struct cli *cli);
int cli_run_service_show(struct cli *cli);
int cli_run_version(struct cli *cli);
int cli_run_maps(struct cli *cli);
int cli_run_metrics(struct cli *cli);
int cli_run_install(struct cli *cli);
int cli_run_cleanup(struct cli *cli);
int cli_run_drain(struct cli *cli);
int cli_run_config(struct cli *cli);
int cli_run_log_level(struct cli *cli);
int cli_run_sysdump(struct cli *cli);
int cli_run_monitor(struct cli *cli);
int cli_run_capture(struct cli *cli);
/* The answer of `explain` for people. */
void cli_print_explain(const json_t *answer);
/* The exit status that an answer is: 0 allowed, 1 denied, 2 unknown. */
int cli_explain_status(const json_t *answer);
/* The arguments of the request `explain`: the options, and objects of --with. NULL after a
 * complaint. */
json_t *cli_explain_args(const struct cli *cli);

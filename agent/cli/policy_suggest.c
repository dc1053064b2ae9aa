/* SPDX-License-Identifier: Apache-2.0 */
/* polderctl policy suggest: the NetworkPolicies that allow what was seen. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/cli/cli.h"
#include "agent/cli/format.h"
#include "agent/cli/suggest.h"
#include "agent/common/cleanup.h"
#include "agent/common/clock.h"
#include "agent/common/control_client.h"

#define LINE_MAX_BYTES (1u << 20)
#define SEND_MS	       5000
#define LOOK_MS	       500   /* how often to look whether anybody still reads */
#define GRACE_MS       30000 /* for the flow table and the lines, beyond the time asked for */
#define FOR_MAX	       86400

/* ---------------------------------------------------------------- the question */

static bool parse_time(const struct cli *cli, enum cli_option option, long most, json_int_t *ret)
{
	if (!cli->given[option])
		return true;
	*ret = cli_parse_time(cli->values[option], most);
	if (*ret < 0)
		cli_error("--%s %s: expected a time such as 30s, 5m, 1h or 0, at most %ld hours",
			  cli_options[option].name, cli->values[option], most / 3600);
	return *ret >= 0;
}

/* "24", "24,64", ",64". */
static bool parse_range(const char *text, struct suggest_options *options)
{
	char *end;
	long value;

	if (isdigit((unsigned char)*text)) {
		value = strtol(text, &end, 10);
		if (value > 32)
			return false;
		options->range_v4 = (int)value;
		text = end;
	}
	if (*text == ',' && isdigit((unsigned char)text[1])) {
		value = strtol(text + 1, &end, 10);
		if (value > 128)
			return false;
		options->range_v6 = (int)value;
		text = end;
	}
	return !*text;
}

static bool parse_options(const struct cli *cli, struct suggest_options *ret)
{
	*ret = (struct suggest_options){.range_v4 = 32, .range_v6 = 128, .enough_seconds = -1};
	if (!parse_time(cli, CLI_ENOUGH, INT32_MAX, &ret->enough_seconds))
		return false;
	if (!cli->given[CLI_RANGE] ||
	    (*cli->values[CLI_RANGE] && parse_range(cli->values[CLI_RANGE], ret)))
		return true;
	cli_error("--range %s: expected a length from 0 to 32, with a comma one from 0 to 128 for "
		  "IPv6",
		  cli->values[CLI_RANGE]);
	return false;
}

json_t *cli_seen_args(const struct cli *cli, json_int_t *ret_seconds)
{
	const char *name = cli->argument ? cli->argument : "", *slash = strchr(name, '/');
	json_t *args = json_object();
	json_int_t seconds = 0;

	if (cli->given[CLI_FOR] && cli->given[CLI_SINCE])
		cli_error("--for and --since: give one of them: what comes, or what was");
	if ((cli->given[CLI_FOR] && cli->given[CLI_SINCE]) ||
	    !parse_time(cli, CLI_FOR, FOR_MAX, &seconds) || cli_add_since(cli, INT32_MAX, args)) {
		json_decref(args);
		return NULL;
	}
	json_object_set_new(args, "seconds", json_integer(seconds));
	if (*name)
		json_object_set_new(args, "namespace",
				    slash ? json_stringn(name, (size_t)(slash - name))
					  : json_string(name));
	if (slash)
		json_object_set_new(args, "pod", json_string(slash + 1));
	*ret_seconds = seconds;
	return args;
}

/* ---------------------------------------------------------------- the answer */

/* A line of the stream; true: it was the last one. `*ret_r` is set where it tells of a failure. */
static bool take_line(json_t *answer, json_t *line, int *ret_r, struct error *failure)
{
	const char *type = field_text(line, "type");

	if (strcmp(type, "seen") == 0)
		json_array_append(json_object_get(answer, "seen"), line);
	if (strcmp(type, "failed") == 0)
		*ret_r = error_set(failure, -EREMOTEIO, EIO, "%s", field_text(line, "reason"));
	if (strcmp(type, "end") == 0)
		json_object_set(answer, "end", line);
	return strcmp(type, "end") == 0;
}

/* 0, or what control_client_receive() says. */
static int receive(struct control_client *client, json_int_t seconds, json_t *answer,
		   struct error *failure)
{
	int64_t deadline = clock_monotonic_ms() + seconds * 1000 + GRACE_MS;
	bool end = false;
	json_t *line;
	int r = 0;

	while (r == 0 && !end) {
		r = control_client_receive(client, LOOK_MS, &line, failure);
		if (r == -ETIMEDOUT && clock_monotonic_ms() < deadline) {
			r = cli_reader_is_gone() ? -EPIPE : 0;
			continue;
		}
		if (r == 0) {
			end = take_line(answer, line, &r, failure);
			json_decref(line);
		}
	}
	return r;
}

int cli_ask_seen(const struct cli *cli, const json_t *args, json_int_t seconds, json_t *answer)
{
	struct control_client *client = NULL;
	struct error failure = {0};
	char message[1536];
	int r = control_client_connect(cli->socket, LINE_MAX_BYTES, CONTROL_CLIENT_CONNECT_MS,
				       &client);

	if (r == 0)
		r = control_client_send(client, "policy.suggest", args, -1, SEND_MS);
	if (r == 0)
		r = receive(client, seconds, answer, &failure);
	control_client_free(client);
	if (r == -EREMOTEIO) {
		cli_error("polderd at %s refused policy.suggest: %s (code %d)", cli->socket,
			  failure.text, failure.code);
	} else if (r < 0) {
		cli_explain(cli, r, message, sizeof(message));
		cli_error("%s", message);
	}
	return r;
}

/* Of this node; as the plugin, of all that were asked. NULL after a complaint. */
static json_t *answers_of(const struct cli *cli, int *ret_code)
{
	json_t *answer, *args;
	json_int_t seconds;

	if (cli->answer)
		return json_incref((json_t *)cli->answer);
	args = cli_seen_args(cli, &seconds);
	if (!args) {
		*ret_code = CLI_USAGE;
		return NULL;
	}
	answer = json_pack("{s:[], s:{}}", "seen", "end");
	if (cli_ask_seen(cli, args, seconds, answer) < 0) {
		*ret_code = CLI_FAILED;
		json_decref(answer);
		answer = NULL;
	}
	json_decref(args);
	return answer ? json_pack("[o]", answer) : NULL;
}

/* ---------------------------------------------------------------- the command */

/* A List that policy check and policy try take, with what it was made of. */
static void print_json(const struct suggestions *suggestions, const json_t *answers)
{
	json_t *list = suggestions_list(suggestions);
	const json_t *first = json_array_get(answers, 0);

	if (json_array_size(answers) == 1) {
		json_object_set(list, "seen", json_object_get(first, "seen"));
		json_object_set(list, "end", json_object_get(first, "end"));
	}
	cli_print_json(list);
	json_decref(list);
}

static bool has_policy(const struct suggestions *suggestions)
{
	for (size_t i = 0; i < suggestions->count; i++)
		if (suggestions->items[i].policy)
			return true;
	return false;
}

int cli_run_policy_suggest(struct cli *cli)
{
	struct suggest_options options;
	struct suggestions suggestions;
	json_t *answers;
	int code = CLI_USAGE;

	if (!parse_options(cli, &options))
		return CLI_USAGE;
	answers = answers_of(cli, &code);
	if (!answers)
		return code;
	suggestions_make(answers, &options, &suggestions);
	if (cli->json)
		print_json(&suggestions, answers);
	else
		suggestions_print(&suggestions, stdout);
	code = has_policy(&suggestions) ? CLI_OK : CLI_DIFFERS;
	suggestions_clear(&suggestions);
	json_decref(answers);
	return code;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* From options to what the agent is asked for. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/cli/cli.h"

long cli_parse_time(const char *text, long most)
{
	char *end;
	long value = strtol(text, &end, 10);
	long unit = *end == 'h' ? 3600 : *end == 'm' ? 60 : 1;

	if (!isdigit((unsigned char)text[0]) || value > most)
		return -1;
	if (*end && (!strchr("smh", *end) || end[1]))
		return -1;
	return value * unit > most ? -1 : value * unit;
}

bool cli_parse_number(const struct cli *cli, enum cli_option option, long least, long most,
		      json_int_t *ret)
{
	const char *text = cli->values[option];
	char *end;
	long value;

	errno = 0;
	value = strtol(text, &end, 10);
	if (!isdigit((unsigned char)text[0]) || *end || errno || value < least || value > most) {
		cli_error("--%s %s: expected a number from %ld to %ld", cli_options[option].name,
			  text, least, most);
		return false;
	}
	*ret = value;
	return true;
}

int cli_add_since(const struct cli *cli, long most, json_t *args)
{
	long seconds;

	if (!cli->given[CLI_SINCE])
		return CLI_OK;
	seconds = cli_parse_time(cli->values[CLI_SINCE], most);
	if (seconds < 0) {
		cli_error("--since %s: expected a time such as 30s or 5m, at most %ld minutes",
			  cli->values[CLI_SINCE], most / 60);
		return CLI_USAGE;
	}
	json_object_set_new(args, "since_seconds", json_integer(seconds));
	return CLI_OK;
}

/* A name alone is one of the namespace that is given as well. NULL after a complaint. */
static json_t *full_name(const struct cli *cli, enum cli_option option, const char *text)
{
	const struct cli_list *namespaces = &cli->lists[CLI_NAMESPACE];

	if (strchr(text, '/') || namespaces->count != 1) {
		/* Of a policy: a ClusterNetworkPolicy. */
		if (strchr(text, '/') || option == CLI_POLICY)
			return json_string(text);
		cli_error("--%s %s: expected NAMESPACE/NAME, or NAME and one -n NAMESPACE",
			  cli_options[option].name, text);
		return NULL;
	}
	return json_sprintf("%s/%s", namespaces->items[0], text);
}

static int add_values(const struct cli *cli, enum cli_option option, json_t *filter)
{
	const struct cli_list *list = &cli->lists[option];
	bool named = option == CLI_POD || option == CLI_POLICY;
	json_t *values = json_array(), *value;

	for (size_t i = 0; i < list->count; i++) {
		value = named ? full_name(cli, option, list->items[i])
			      : json_string(list->items[i]);
		if (!value) {
			if (!named)
				cli_error("--%s: the value is no text in UTF-8",
					  cli_options[option].name);
			json_decref(values);
			return CLI_USAGE;
		}
		json_array_append_new(values, value);
	}
	json_object_set_new(filter, cli_options[option].name, values);
	return CLI_OK;
}

int cli_filter(const struct cli *cli, json_t **ret)
{
	json_t *filter = json_object();
	int r = CLI_OK;

	/* The filter's keys are the options' names. */
	for (int i = 0; i < CLI_OPTION_COUNT && !r; i++)
		if (CLI_OF_FILTER & CLI_BIT(i) && cli->lists[i].count)
			r = add_values(cli, i, filter);
	if (r || !json_object_size(filter)) {
		json_decref(filter);
		filter = NULL;
	}
	if (!r)
		*ret = filter;
	return r;
}

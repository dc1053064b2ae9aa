/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration file's JSON, values put to keys, and what keys mean together. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "agent/common/cleanup.h"
#include "agent/common/json_text.h"
#include "agent/config/config_balancers.h"
#include "agent/config/config_keys.h"
#include "agent/config/config_parse.h"
#include "agent/config/config_ui.h"

/* Puts place and key before the reason. */
static int explain(struct config_source *source, const char *key, const char *value)
{
	char reason[sizeof(source->error)];

	memcpy(reason, source->error, sizeof(reason));
	if (value)
		snprintf(source->error, sizeof(source->error), "%.150s: %s%s \"%.80s\": %.240s",
			 source->name, source->file ? "key " : "--", key, value, reason);
	else
		snprintf(source->error, sizeof(source->error), "%.150s: %s%s: %.240s", source->name,
			 source->file ? "key " : "--", key, reason);
	return -EINVAL;
}

static int set_pair(struct config *config, const struct config_key *key, const char *text,
		    struct config_source *source)
{
	const char *comma = strchr(text, ',');
	char first[128];
	int r;

	if (!comma)
		return key->set(config, text, source);
	if (comma - text >= (ptrdiff_t)sizeof(first)) {
		snprintf(source->error, sizeof(source->error), "%s is required", key->value);
		return -EINVAL;
	}
	snprintf(first, sizeof(first), "%.*s", (int)(comma - text), text);
	r = key->set(config, first, source);
	return r < 0 ? r : key->set(config, comma + 1, source);
}

int config_set(struct config *config, const struct config_key *key, const char *text,
	       struct config_source *source)
{
	int r = key->form == FORM_PAIR ? set_pair(config, key, text, source)
				       : key->set(config, text, source);

	return r < 0 ? explain(source, key->name, text) : 0;
}

static int wrong_type(const struct config_key *key, const json_t *value,
		      struct config_source *source)
{
	static const char *const wanted[] = {
		[FORM_TEXT] = "a string",
		[FORM_NUMBER] = "a whole number",
		[FORM_YES_NO] = "true or false",
		[FORM_FLAG] = "true or false",
		[FORM_PAIR] = "a string, or an array of one or two strings,",
		[FORM_LIST] = "an array of strings",
	};
	static const char *const found[] = {
		[JSON_OBJECT] = "an object", [JSON_ARRAY] = "an array",	 [JSON_STRING] = "a string",
		[JSON_INTEGER] = "a number", [JSON_REAL] = "a fraction", [JSON_TRUE] = "true",
		[JSON_FALSE] = "false",	     [JSON_NULL] = "null",
	};

	snprintf(source->error, sizeof(source->error), "%s is required, not %s", wanted[key->form],
		 found[json_typeof(value)]);
	return explain(source, key->name, NULL);
}

static int apply_array(struct config *config, const struct config_key *key, const json_t *array,
		       struct config_source *source)
{
	size_t index;
	json_t *item;

	if (key->form == FORM_PAIR && (json_array_size(array) < 1 || json_array_size(array) > 2))
		return wrong_type(key, array, source);
	json_array_foreach (array, index, item) {
		int r;

		if (!json_is_string(item))
			return wrong_type(key, item, source);
		r = key->set(config, json_string_value(item), source);
		if (r < 0)
			return explain(source, key->name, json_string_value(item));
	}
	return 0;
}

static int apply_value(struct config *config, const struct config_key *key, const json_t *value,
		       struct config_source *source)
{
	bool list = key->form == FORM_LIST || key->form == FORM_PAIR;
	bool yes_no = key->form == FORM_YES_NO || key->form == FORM_FLAG;
	char number[32];

	if (list && json_is_array(value))
		return apply_array(config, key, value, source);
	if (yes_no && json_is_boolean(value))
		return config_set(config, key, json_is_true(value) ? "yes" : "no", source);
	if (key->form == FORM_NUMBER && json_is_integer(value)) {
		snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(value));
		return config_set(config, key, number, source);
	}
	if (json_is_string(value) && key->form != FORM_NUMBER && key->form != FORM_FLAG)
		return config_set(config, key, json_string_value(value), source);
	return wrong_type(key, value, source);
}

int config_apply_text(struct config *config, const char *text, size_t length,
		      struct config_source *source)
{
	CLEANUP(cleanup_json) json_t *root = NULL;
	json_error_t error;
	const char *name;
	json_t *value;

	if (json_text_load(text, length, JSON_REJECT_DUPLICATES, &error, &root) == -ENOMEM) {
		snprintf(source->error, sizeof(source->error), "%.200s: out of memory",
			 source->name);
		return -ENOMEM;
	}
	if (!root) {
		snprintf(source->error, sizeof(source->error),
			 "%.200s:%d:%d: %.200s; a JSON object is required", source->name,
			 error.line, error.column, error.text);
		return -EINVAL;
	}
	if (!json_is_object(root)) {
		snprintf(source->error, sizeof(source->error),
			 "%.200s: not a JSON object; write {\"key\": value, ...}", source->name);
		return -EINVAL;
	}
	json_object_foreach (root, name, value) {
		const struct config_key *key = config_find_key(name);
		int r;

		if (!key) {
			snprintf(source->error, sizeof(source->error),
				 "%.200s: unknown key \"%.100s\"; the keys are the long options of "
				 "polderd --help",
				 source->name, name);
			return -EINVAL;
		}
		r = apply_value(config, key, value, source);
		if (r < 0)
			return r;
		config->origins[key - config_keys] = CONFIG_FILE;
	}
	return 0;
}

/* ---------------------------------------------------------------- keys together */

#define BPFFS_MOST 200

static int check_overlap(const struct prefix *range, const struct polder_addr *node,
			 struct config_source *source)
{
	char range_text[PREFIX_TEXT_MAX], node_text[INET6_ADDRSTRLEN];

	if (range->length == 0 || !prefix_contains(range, node))
		return 0;
	snprintf(source->error, sizeof(source->error),
		 "--node-ip %s is in --pod-cidr %s; the address of a node cannot be that of a pod: "
		 "use another range",
		 addr_format(node, node_text), prefix_format(range, range_text));
	return -EINVAL;
}

static int check_api(const struct config *config, struct config_source *source)
{
	const char *wrong = NULL;

	if (config->kubeconfig && config->in_cluster)
		wrong = "--kubeconfig and --in-cluster exclude each other: give one of both";
	else if (config->context && !config->kubeconfig)
		wrong = "--context names a context of --kubeconfig, which is not given";
	else if (config->api_server_count && !config->kubeconfig && !config->in_cluster)
		wrong = "--api-server needs credentials: give --kubeconfig or --in-cluster";
	if (!wrong)
		return 0;
	snprintf(source->error, sizeof(source->error), "%s", wrong);
	return -EINVAL;
}

static int check_cni(const struct config *config, struct config_source *source)
{
	if (!config->cni_config == !config->cni_config_dir)
		return 0;
	snprintf(source->error, sizeof(source->error),
		 "--cni-config and --cni-config-dir are given together: what is installed, and "
		 "where");
	return -EINVAL;
}

/* A reply to a masqueraded flow would be taken for a node port's. */
static int check_node_ports(const struct config *config, struct config_source *source)
{
	if (config->node_port_min > config->masquerade_port_max ||
	    config->masquerade_port_min > config->node_port_max)
		return 0;
	snprintf(source->error, sizeof(source->error),
		 "--node-port-range %u-%u overlaps --masquerade-ports %u-%u: give ranges that do "
		 "not meet; the node ports' is the API server's --service-node-port-range",
		 config->node_port_min, config->node_port_max, config->masquerade_port_min,
		 config->masquerade_port_max);
	return -EINVAL;
}

static int check_tables(const struct config *config, struct config_source *source)
{
	if (config->maglev_table_size <= config->max_service_cells)
		return 0;
	snprintf(source->error, sizeof(source->error),
		 "--maglev-table-size %u is more than --max-service-cells %u: no table would have "
		 "room; give at least as many cells as one table has for each Service with "
		 "balancing maglev",
		 config->maglev_table_size, config->max_service_cells);
	return -EINVAL;
}

/* What nobody keeps cannot be written. */
static int check_history(const struct config *config, struct config_source *source)
{
	if (!config->flow_history_file || config->flow_history)
		return 0;
	return bad(
		source,
		"--flow-history-file %s: there is no history to be kept in it: set --flow-history, "
		"the MiB that it may have",
		config->flow_history_file);
}

int config_check(const struct config *config, struct config_source *source)
{
	int r = check_overlap(&config->pod_cidr_v4, &config->node_ip_v4, source);

	if (r == 0)
		r = check_overlap(&config->pod_cidr_v6, &config->node_ip_v6, source);
	if (r == 0)
		r = check_api(config, source);
	if (r == 0)
		r = check_cni(config, source);
	if (r == 0)
		r = check_node_ports(config, source);
	if (r == 0)
		r = config_check_pools(config, source);
	if (r == 0)
		r = config_check_ui(config, source);
	if (r == 0)
		r = check_tables(config, source);
	if (r == 0)
		r = check_history(config, source);
	if (r < 0)
		return r;
	if (!config_is_node_name(config->node_name)) {
		snprintf(source->error, sizeof(source->error),
			 "the host's name \"%.100s\" cannot be a node's name (1 to 253 characters "
			 "a-z, "
			 "0-9, '-' and '.'): give --node-name",
			 config->node_name);
		return -EINVAL;
	}
	if (strlen(config->run_dir) + strlen("/polder.sock") >=
	    sizeof(((struct sockaddr_un *)0)->sun_path)) {
		snprintf(source->error, sizeof(source->error),
			 "--run-dir %.120s... is too long; the socket in it may have 107 bytes: "
			 "give a path of at most 95",
			 config->run_dir);
		return -EINVAL;
	}
	/* Pins of links stand in it with a longer path than the directory's. */
	if (strlen(config->bpffs) > BPFFS_MOST) {
		snprintf(source->error, sizeof(source->error),
			 "--bpffs %.120s... is too long; the pins in it may have 255 bytes: give a "
			 "path of at most %d",
			 config->bpffs, BPFFS_MOST);
		return -EINVAL;
	}
	if (config->resources && strcmp(config->resources, config->run_dir) == 0) {
		snprintf(source->error, sizeof(source->error),
			 "--resources and --run-dir are the same directory, %.200s; use two",
			 config->run_dir);
		return -EINVAL;
	}
	if (!config->state_dir)
		return 0;
	if (strcmp(config->state_dir, config->run_dir) == 0 ||
	    (config->resources && strcmp(config->resources, config->state_dir) == 0)) {
		snprintf(source->error, sizeof(source->error),
			 "--state-dir and --%s are the same directory, %.200s; use two",
			 strcmp(config->state_dir, config->run_dir) == 0 ? "run-dir" : "resources",
			 config->state_dir);
		return -EINVAL;
	}
	return 0;
}

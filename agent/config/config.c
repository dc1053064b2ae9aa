/* SPDX-License-Identifier: Apache-2.0 */
/* Defaults, the command line, the file: the later ones win. */
#include "agent/config/config.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <linux/magic.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "agent/common/cleanup.h"
#include "agent/common/file.h"
#include "agent/config/config_keys.h"
#include "agent/config/config_ui.h"

#define OPTIONS_MAX 256
#define RUN_DIR	    "/run/polder"
#define STATE_DIR   "/var/lib/polder"

/* What the command line holds, in its order. */
struct given {
	const struct config_key *key;
	const char *text;
};

struct command_line {
	const char *file;
	bool help, version, check;
	struct given given[OPTIONS_MAX];
	size_t count;
};

static bool is_cgroup2(const char *path)
{
	struct statfs status;

	return statfs(path, &status) == 0 && status.f_type == CGROUP2_SUPER_MAGIC;
}

void config_defaults(struct config *config)
{
	char host[HOST_NAME_MAX + 1] = "";

	gethostname(host, sizeof(host) - 1);
	/* As the kubelet names its node: names of Node objects have no capitals. */
	for (char *c = host; *c; c++)
		*c = (char)tolower((unsigned char)*c);
	*config = (struct config){
		.node_name = strdup(host[0] ? host : "localhost"),
		.run_dir = strdup(RUN_DIR),
		.bpffs = strdup("/sys/fs/bpf/polder"),
		.sysctl_dir = strdup("/proc/sys/net"),
		.api_silence = 20,
		.tunnel_port = 4789,
		.tunnel_vni = 1,
		.announce_return = 300,
		.peer_mac_check = true,
		.masquerade = true,
		.masquerade_port_min = 10240,
		.masquerade_port_max = 29999,
		.balancing = BALANCING_RANDOM,
		.maglev_table_size = 16381,
		.node_port_min = 30000,
		.node_port_max = 32767,
		.stack_mark = 0x00400000,
		.flows_v4 = 131072,
		.flows_v6 = 65536,
		.max_services = 65536,
		.max_backends = 262144,
		.max_service_cells = 1048576,
		.max_service_sources = 65536,
		.max_service_clients = 65536,
		.max_addresses = 131072,
		.max_policy_entries = 262144,
		.max_pods = 4096,
		.max_fragments = 8192,
		.max_socket_origins = 65536,
		.max_rule_counters = 32768,
		.events_per_second = 10000,
		.flow_export_rate = 1000,
		.flow_export_size = 64,
		.flow_history_age = 1440,
		.rejects_per_second = 1000,
		.log_level = LOG_LEVEL_INFO,
	};
	if (is_cgroup2("/sys/fs/cgroup/unified"))
		config->cgroup = strdup("/sys/fs/cgroup/unified");
	else if (is_cgroup2("/sys/fs/cgroup"))
		config->cgroup = strdup("/sys/fs/cgroup");
}

void config_clear(struct config *config)
{
	free(config->node_name);
	free(config->resources);
	free(config->kubeconfig);
	free(config->context);
	free(config->flow_export);
	free(config->flow_history_file);
	free(config->run_dir);
	free(config->state_dir);
	free(config->socket);
	free(config->bpffs);
	free(config->cgroup);
	free(config->cni_config);
	free(config->cni_config_dir);
	free(config->sysctl_dir);
	free(config->metrics_listen);
	free(config->health_listen);
	free(config->ui_listen);
	config_clear_ui_hosts(config);
	free(config->file);
	for (size_t i = 0; i < config->uplink_count; i++)
		free(config->uplinks[i]);
	for (size_t i = 0; i < config->api_server_count; i++)
		free(config->api_servers[i]);
	*config = (struct config){0};
}

static void print_help(void)
{
	printf("Usage: polderd [--config FILE] [OPTION]...\n"
	       "The node agent of Polder: container networking with eBPF.\n\n"
	       "  --config FILE                  JSON object whose keys are the options below\n"
	       "  --check-config                 read file and options, say what is wrong, and "
	       "exit\n"
	       "  --help                         show this help\n"
	       "  --version                      show the version\n\n"
	       "Each of these is also a key of the file; the command line takes precedence:\n");
	for (size_t i = 0; i < config_key_count; i++) {
		char option[64];

		snprintf(option, sizeof(option), "--%s %s", config_keys[i].name,
			 config_keys[i].value ? config_keys[i].value : "");
		printf("  %-30s %s%s\n", option,
		       strlen(option) > 30 ? "\n                                 " : "",
		       config_keys[i].help);
	}
	printf("\nSee polderd(8) and polderd.conf(5).\n");
}

/* Keys come last: a small number could be ':' or '?', which getopt_long() answers for what is
 * wrong. */
enum { OPTION_CONFIG = 1000, OPTION_CHECK, OPTION_HELP, OPTION_VERSION, OPTION_KEYS };

static int add_given(struct command_line *line, const struct config_key *key, const char *text,
		     struct config_source *source)
{
	for (size_t i = 0; i < line->count && key->form != FORM_LIST; i++) {
		if (line->given[i].key != key)
			continue;
		snprintf(source->error, sizeof(source->error),
			 "--%s is given twice, but can be given only once", key->name);
		return -EINVAL;
	}
	if (line->count == OPTIONS_MAX) {
		snprintf(source->error, sizeof(source->error), "more than %d options; use --config",
			 OPTIONS_MAX);
		return -EINVAL;
	}
	line->given[line->count++] = (struct given){key, text};
	return 0;
}

static int read_options(int argc, char **argv, const struct option *options,
			struct command_line *line, struct config_source *source)
{
	int option;

	optind = 0; /* a new scan, also of an argument vector that another one was before */
	opterr = 0;
	while ((option = getopt_long(argc, argv, "+:", options, NULL)) != -1) {
		const char *word = optind > 0 && optind <= argc ? argv[optind - 1] : "";
		int r = 0;

		if (option == OPTION_HELP) {
			line->help = true;
		} else if (option == OPTION_VERSION) {
			line->version = true;
		} else if (option == OPTION_CHECK) {
			line->check = true;
		} else if (option == OPTION_CONFIG && line->file) {
			snprintf(source->error, sizeof(source->error),
				 "--config is given twice, but can be given only once");
			return -EINVAL;
		} else if (option == OPTION_CONFIG) {
			line->file = optarg;
		} else if (option == ':') {
			snprintf(source->error, sizeof(source->error), "%.100s needs a value",
				 word);
			return -EINVAL;
		} else if (option == '?') {
			snprintf(source->error, sizeof(source->error),
				 "unknown or ambiguous option %.100s; see polderd --help", word);
			return -EINVAL;
		} else {
			r = add_given(line, &config_keys[option - OPTION_KEYS],
				      optarg ? optarg : "yes", source);
		}
		if (r < 0)
			return r;
	}
	if (optind < argc) {
		snprintf(source->error, sizeof(source->error),
			 "unexpected argument \"%.100s\"; see polderd --help", argv[optind]);
		return -EINVAL;
	}
	return 0;
}

static int parse_command_line(int argc, char **argv, struct command_line *line,
			      struct config_source *source)
{
	CLEANUP(cleanup_free)
	struct option *options = calloc(config_key_count + 5, sizeof(*options));
	size_t i;

	if (!options)
		return -ENOMEM;
	for (i = 0; i < config_key_count; i++)
		options[i] = (struct option){config_keys[i].name,
					     config_keys[i].form == FORM_FLAG ? no_argument
									      : required_argument,
					     NULL, OPTION_KEYS + (int)i};
	options[i++] = (struct option){"config", required_argument, NULL, OPTION_CONFIG};
	options[i++] = (struct option){"check-config", no_argument, NULL, OPTION_CHECK};
	options[i++] = (struct option){"help", no_argument, NULL, OPTION_HELP};
	options[i++] = (struct option){"version", no_argument, NULL, OPTION_VERSION};
	return read_options(argc, argv, options, line, source);
}

static int read_config_file(const char *path, char **ret, size_t *ret_length,
			    struct config_source *source)
{
	CLEANUP(cleanup_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
	int r = fd < 0 ? -errno : file_read_all(fd, CONFIG_FILE_MAX, ret, ret_length);

	if (r < 0)
		snprintf(source->error, sizeof(source->error),
			 "%.200s: cannot be read: %s; give a JSON file of at most %u bytes", path,
			 strerror(-r), CONFIG_FILE_MAX);
	return r;
}

static int apply_file(struct config *config, const char *path, char *error, size_t size)
{
	struct config_source source = {.name = path, .file = true};
	CLEANUP(cleanup_free) char *text = NULL;
	size_t length = 0;
	int r;

	r = read_config_file(path, &text, &length, &source);
	if (r == 0)
		r = config_apply_text(config, text, length, &source);
	if (r < 0)
		snprintf(error, size, "%s", source.error);
	return r;
}

static int apply_options(struct config *config, const struct command_line *line,
			 struct config_source *source)
{
	/* A list on the command line takes the place of the file's. */
	for (size_t i = 0; i < line->count; i++) {
		if (line->given[i].key->clear)
			line->given[i].key->clear(config);
	}
	for (size_t i = 0; i < line->count; i++) {
		const struct config_key *key = line->given[i].key;
		int r = config_set(config, key, line->given[i].text, source);

		if (r < 0)
			return r;
		config->origins[key - config_keys] = CONFIG_OPTION;
	}
	return 0;
}

/* Agents with run directories of their own share nothing else by default. */
static int default_state_dir(struct config *config)
{
	char *path;

	if (config->state_dir)
		return 0;
	if (strcmp(config->run_dir, RUN_DIR) == 0)
		path = strdup(STATE_DIR);
	else if (asprintf(&path, STATE_DIR "/run:%s", config->run_dir + 1) < 0)
		path = NULL;
	if (!path)
		return -ENOMEM;
	/* A colon may stand in the name of a directory, but two agents would have to mean it. */
	for (char *slash = path + strlen(STATE_DIR "/"); strcmp(path, STATE_DIR) != 0 && *slash;
	     slash++)
		if (*slash == '/')
			*slash = ':';
	config->state_dir = path;
	return 0;
}

static int load(const struct command_line *line, struct config *config,
		struct config_source *source)
{
	int r = 0;

	config_defaults(config);
	if (!config->node_name || !config->run_dir || !config->bpffs)
		return -ENOMEM;
	if (line->file) {
		config->file = strdup(line->file);
		r = config->file
			    ? apply_file(config, line->file, source->error, sizeof(source->error))
			    : -ENOMEM;
	}
	if (r == 0)
		r = apply_options(config, line, source);
	if (r == 0)
		r = default_state_dir(config);
	if (r == 0)
		r = config_check(config, source);
	if (r == 0 && asprintf(&config->socket, "%s/polder.sock", config->run_dir) < 0) {
		config->socket = NULL;
		r = -ENOMEM;
	}
	return r;
}

/* Says what is valid, and what a start would find missing. */
static void print_checked(const struct config *config)
{
	printf("polderd: the configuration is valid%s%s\n", config->file ? ": " : "",
	       config->file ? config->file : "");
	if (config->resources && access(config->resources, R_OK | X_OK) < 0)
		printf("polderd: note: resources %s: %s; polderd waits for it\n", config->resources,
		       strerror(errno));
	if (config->kubeconfig && access(config->kubeconfig, R_OK) < 0)
		printf("polderd: note: kubeconfig %s: %s; polderd waits for it\n",
		       config->kubeconfig, strerror(errno));
	for (size_t i = 0; i < config->uplink_count; i++)
		if (!if_nametoindex(config->uplinks[i]))
			printf("polderd: note: uplink %s: there is no such link now\n",
			       config->uplinks[i]);
}

/* As config_read(); and what the options ask for beside. */
static int read_line(int argc, char **argv, struct command_line *line, struct config *ret,
		     struct config_source *source)
{
	struct config config = {0};
	int r = parse_command_line(argc, argv, line, source);

	if (r == 0 && !line->help && !line->version)
		r = load(line, &config, source);
	if (r < 0) {
		if (!source->error[0])
			snprintf(source->error, sizeof(source->error), "%s", strerror(-r));
		config_clear(&config);
		return r;
	}
	*ret = config;
	return 0;
}

int config_read(int argc, char **argv, struct config *ret, char *error, size_t size)
{
	struct config_source source = {.name = "command line"};
	struct command_line line = {0};
	int r = read_line(argc, argv, &line, ret, &source);

	if (r < 0)
		snprintf(error, size, "%s", source.error);
	return r;
}

int config_load(int argc, char **argv, struct config *ret, bool *ret_exit)
{
	struct config_source source = {.name = "command line"};
	struct command_line line = {0};
	struct config config = {0};
	int r = read_line(argc, argv, &line, &config, &source);

	if (r < 0) {
		fprintf(stderr, "polderd: %s\n", source.error);
		return r;
	}
	if (line.help)
		print_help();
	else if (line.version)
		printf("polderd %s\n", POLDER_VERSION);
	else if (line.check)
		print_checked(&config);
	*ret_exit = line.help || line.version || line.check;
	if (*ret_exit)
		config_clear(&config);
	else
		*ret = config;
	return 0;
}

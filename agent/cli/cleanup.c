/* SPDX-License-Identifier: Apache-2.0 */
/* The commands around the end of a node: may polderd be replaced, and what has to be taken away. */
#include "agent/cleanup/cleanup.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/cleanup/install.h"
#include "agent/cli/cli.h"
#include "agent/cli/format.h"
#include "agent/cli/table.h"

#define DEFAULT_CONFIG	  "/etc/polder/polderd.json"
#define DEFAULT_RUN_DIR	  "/run/polder"
#define DEFAULT_STATE_DIR "/var/lib/polder"
#define DEFAULT_BPFFS	  "/sys/fs/bpf/polder"

/* ---------------------------------------------------------------- cleanup */

struct cleaned {
	json_t *list; /* NULL: lines for people */
	bool dry_run;
	size_t count, failed;
};

static void on_cleaned(const char *kind, const char *name, int result, void *data)
{
	struct cleaned *cleaned = data;
	const char *state = result < 0 ? "failed" : cleaned->dry_run ? "found" : "deleted";
	const char *reason = result < 0 ? strerror(-result) : "";

	cleaned->count++;
	cleaned->failed += result < 0;
	if (cleaned->list)
		json_array_append_new(cleaned->list,
				      json_pack("{s:s, s:s, s:s, s:s}", "kind", kind, "name", name,
						"state", state, "reason", reason));
	else if (result < 0)
		cli_error("%s %s: %s", kind, name, reason);
	else {
		printf("%s: %s ", state, kind);
		text_print(name, NULL, stdout);
		putchar('\n');
	}
}

/* What the agent's configuration says, if there is one. NULL after a complaint. */
static json_t *read_config(const struct cli *cli)
{
	const char *path = cli->values[CLI_CONFIG];
	json_error_t error;
	json_t *config;

	if (!path && access(DEFAULT_CONFIG, F_OK) < 0)
		return json_object();
	config = json_load_file(path ? path : DEFAULT_CONFIG, JSON_REJECT_DUPLICATES, &error);
	if (json_is_object(config))
		return config;
	cli_error("%s: %s; give --run-dir, --state-dir and --bpffs, and --config of an empty "
		  "object",
		  path ? path : DEFAULT_CONFIG, config ? "not a JSON object" : error.text);
	json_decref(config);
	return NULL;
}

static const char *directory(const struct cli *cli, enum cli_option option, const json_t *config,
			     const char *fallback)
{
	const char *found = json_string_value(json_object_get(config, cli_options[option].name));

	return cli->values[option] ? cli->values[option] : found ? found : fallback;
}

static const char *base_name(const char *path)
{
	const char *slash = path ? strrchr(path, '/') : NULL;

	return slash ? slash + 1 : path;
}

/* An agent with a run directory of its own has its state in there, if nothing else is said. */
static struct cleanup_options make_options(const struct cli *cli, const json_t *config)
{
	const char *run_dir = directory(cli, CLI_RUN_DIR, config, DEFAULT_RUN_DIR);
	bool own = strcmp(run_dir, DEFAULT_RUN_DIR) != 0;

	return (struct cleanup_options){
		.run_dir = run_dir,
		.state_dir = directory(cli, CLI_STATE_DIR, config, own ? NULL : DEFAULT_STATE_DIR),
		.bpffs = directory(cli, CLI_BPFFS, config, DEFAULT_BPFFS),
		.cni_config = base_name(json_string_value(json_object_get(config, "cni-config"))),
		.cni_config_dir = directory(cli, CLI_CNI_CONFIG_DIR, config, NULL),
		.cni_bin_dir = cli->values[CLI_CNI_BIN_DIR],
		.dry_run = cli->given[CLI_DRY_RUN],
		.force = cli->given[CLI_FORCE],
	};
}

/* The first process of a container is ended by no signal that it does not wait for. */
static void hold(void)
{
	sigset_t signals;
	int number;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	fflush(stdout);
	(void)sigwait(&signals, &number);
}

int cli_run_cleanup(struct cli *cli)
{
	json_t *config = read_config(cli);
	struct cleaned cleaned = {.list = cli->json ? json_array() : NULL,
				  .dry_run = cli->given[CLI_DRY_RUN]};
	struct cleanup_options options;
	char message[512] = "";
	int r;

	if (!config)
		return CLI_FAILED;
	options = make_options(cli, config);
	r = cleanup_run(&options, on_cleaned, &cleaned, message, sizeof(message));
	if (message[0])
		cli_error("%s", message);
	else if (cli->json)
		cli_print_json(cleaned.list);
	else if (!cleaned.count)
		puts("nothing of Polder is left");
	json_decref(cleaned.list);
	json_decref(config);
	if (r == 0 && cli->given[CLI_HOLD])
		hold();
	return r < 0 ? CLI_FAILED : CLI_OK;
}

/* ---------------------------------------------------------------- install */

static int tell_installed(int r, const char *what, const char *where, const struct error *error)
{
	if (r < 0)
		cli_error("%s", error->text);
	else
		printf("%s: %s %s\n", r ? "installed" : "there already", what, where);
	return r < 0 ? CLI_FAILED : CLI_OK;
}

int cli_run_install(struct cli *cli)
{
	const char *plugins = cli->values[CLI_CNI_BIN_DIR], *bpffs = cli->values[CLI_BPFFS];
	struct error error = {0};
	int r = CLI_OK;

	if (!plugins && !bpffs) {
		cli_error("install: give --cni-bin-dir, --bpffs or both");
		return CLI_USAGE;
	}
	if (plugins)
		r = tell_installed(install_plugin(plugins, &error), "plugin in", plugins, &error);
	if (bpffs && r == CLI_OK)
		r = tell_installed(install_bpffs(bpffs, cli->values[CLI_MOUNT_NAMESPACE], &error),
				   "BPF file system", bpffs, &error);
	return r;
}

/* ---------------------------------------------------------------- drain */

static void print_drain(const json_t *pods, size_t links, bool asked)
{
	const json_t *pod;
	size_t index;

	if (!links && !json_array_size(pods)) {
		puts("drained: no pod is connected to this node");
		return;
	}
	json_array_foreach (pods, index, pod) {
		printf("connected: pod ");
		text_print(field_text(pod, "namespace"), NULL, stdout);
		putchar('/');
		text_print(field_text(pod, "name"), NULL, stdout);
		printf(", link ");
		text_print(field_text(pod, "link"), NULL, stdout);
		putchar('\n');
	}
	printf("not drained: %zu pods, %zu links%s\n", json_array_size(pods), links,
	       asked ? "" : "; polderd does not answer, so pods cannot be named");
}

int cli_run_drain(struct cli *cli)
{
	char message[1536];
	json_t *pods = NULL;
	size_t links = 0;
	bool asked, drained;
	int r;

	if (!cli->given[CLI_CHECK]) {
		cli_error(
			"drain: --check is required: polderctl evicts no pods, the cluster's tools "
			"do (kubectl drain)");
		return CLI_USAGE;
	}
	asked = cli_ask_quietly(cli, "pods", NULL, &pods, message, sizeof(message)) == 0;
	r = cleanup_count_links(&links);
	if (r < 0 && !asked) {
		cli_error("links cannot be listed: %s", strerror(-r));
		return CLI_FAILED;
	}
	drained = !links && !json_array_size(pods);
	if (cli->json) {
		json_t *document = json_pack("{s:b, s:I, s:b, s:O?}", "drained", drained, "links",
					     (json_int_t)links, "agent", asked, "pods", pods);

		cli_print_json(document);
		json_decref(document);
	} else {
		print_drain(pods, links, asked);
	}
	json_decref(pods);
	return drained ? CLI_OK : CLI_FAILED;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The table of commands and options, and the help that is made from it. */
#include "agent/cli/cli.h"

#include <string.h>

#include "agent/cli/cluster.h"
#include "agent/cli/connectivity.h"

const struct cli_option_spec cli_options[CLI_OPTION_COUNT] = {
	[CLI_SOCKET] = {.name = "socket",
			.value = CLI_VALUE_REQUIRED,
			.value_name = "PATH",
			.help = "polderd's control socket (POLDER_SOCKET; " CLI_DEFAULT_SOCKET ")"},
	[CLI_OUTPUT] = {.name = "output",
			.letter = 'o',
			.value = CLI_VALUE_REQUIRED,
			.value_name = "FORMAT",
			.choices = "table wide yaml name json jsonl",
			.help = "table and wide for people, json, jsonl (one object a line) and "
				"yaml for programs, name for scripts"},
	[CLI_HELP] = {.name = "help", .letter = 'h', .help = "show this help"},
	[CLI_VERSION] = {.name = "version", .help = "show polderctl's version"},
	[CLI_WAIT] = {.name = "wait",
		      .value = CLI_VALUE_OPTIONAL,
		      .value_name = "SECONDS",
		      .help = "wait until the agent is ready, at most SECONDS (default 60)"},
	[CLI_LIMIT] = {.name = "limit",
		       .value = CLI_VALUE_REQUIRED,
		       .value_name = "N",
		       .help = "show at most N flows; 0: all (default 1000)"},
	[CLI_DROPS] = {.name = "drops", .help = "show dropped packets"},
	[CLI_FLOWS] = {.name = "flows", .help = "show new and re-evaluated flows"},
	[CLI_ALERTS] = {.name = "alerts", .help = "show what TrafficAlerts tell"},
	[CLI_STRICT] = {.name = "strict", .help = "treat warnings as errors"},
	[CLI_FOR] = {.name = "for",
		     .value = CLI_VALUE_REQUIRED,
		     .value_name = "TIME",
		     .help = "how long to watch: 30s, 5m, 1h; of policies 0: existing flows only "
			     "(default of try: 30s, of suggest: the history, of drop list "
			     "--kernel: 10s)"},
	[CLI_COMMIT] = {.name = "commit", .help = "apply the objects when the time is over"},
	[CLI_DELETE] = {.name = "delete",
			.value = CLI_VALUE_REQUIRED,
			.value_name = "KIND/NAMESPACE/NAME",
			.help = "stage the deletion of this object; may be repeated",
			.repeatable = true},
	[CLI_FROM] = {.name = "from",
		      .value = CLI_VALUE_REQUIRED,
		      .value_name = "NS/POD|IP",
		      .repeatable = true,
		      .help = "the source: a pod or an address; as a filter also a range"},
	[CLI_TO] = {.name = "to",
		    .value = CLI_VALUE_REQUIRED,
		    .value_name = "NS/NAME|IP",
		    .repeatable = true,
		    .help = "the destination: a pod, a Service or an address; as a filter also a "
			    "range"},
	[CLI_PROTO] = {.name = "proto",
		       .value = CLI_VALUE_REQUIRED,
		       .value_name = "PROTO",
		       .choices = "tcp udp sctp icmp icmpv6 TCP UDP SCTP ICMP ICMPv6",
		       .repeatable = true,
		       .help = "protocol (default tcp; of filters: all)"},
	[CLI_PORT] =
		{.name = "port",
		 .value = CLI_VALUE_REQUIRED,
		 .value_name = "PORT",
		 .repeatable = true,
		 .help = "destination port: a number, or a port name of the pod or Service; as "
			 "a filter a number or range at either end"},
	[CLI_FAMILY] = {.name = "family",
			.value = CLI_VALUE_REQUIRED,
			.value_name = "FAMILY",
			.choices = "ipv4 ipv6",
			.help = "address family, where both ends have both (default ipv4)"},
	[CLI_WITH] = {.name = "with",
		      .value = CLI_VALUE_REQUIRED,
		      .value_name = "FILE",
		      .repeatable = true,
		      .help = "assume that the objects of this file are in force; may be repeated"},
	[CLI_DRY_RUN] = {.name = "dry-run", .help = "show what would be deleted"},
	[CLI_FORCE] =
		{.name = "force",
		 .help = "cleanup: even if polderd runs or pods are connected, which lose their "
			 "network; connectivity: remove what another run has left first"},
	[CLI_CHECK] = {.name = "check", .help = "only say whether pods are connected"},
	[CLI_CONFIG] = {.name = "config",
			.value = CLI_VALUE_REQUIRED,
			.value_name = "FILE",
			.help = "polderd's configuration, for its directories "
				"(/etc/polder/polderd.json)"},
	[CLI_RUN_DIR] = {.name = "run-dir",
			 .value = CLI_VALUE_REQUIRED,
			 .value_name = "PATH",
			 .help = "polderd's run directory (the configuration's, /run/polder)"},
	[CLI_STATE_DIR] =
		{.name = "state-dir",
		 .value = CLI_VALUE_REQUIRED,
		 .value_name = "PATH",
		 .help = "polderd's state directory (the configuration's, /var/lib/polder)"},
	[CLI_BPFFS] = {.name = "bpffs",
		       .value = CLI_VALUE_REQUIRED,
		       .value_name = "PATH",
		       .help = "polderd's pins (the configuration's, /sys/fs/bpf/polder)"},
	[CLI_CNI_CONFIG_DIR] = {.name = "cni-config-dir",
				.value = CLI_VALUE_REQUIRED,
				.value_name = "PATH",
				.help = "delete Polder's network configurations in this directory, "
					"too (the configuration's)"},
	[CLI_CNI_BIN_DIR] = {.name = "cni-bin-dir",
			     .value = CLI_VALUE_REQUIRED,
			     .value_name = "PATH",
			     .help = "the runtime's directory of plugins"},
	[CLI_MOUNT_NAMESPACE] = {.name = "mount-namespace",
				 .value = CLI_VALUE_REQUIRED,
				 .value_name = "FILE",
				 .help = "where the BPF file system is mounted, such as "
					 "/proc/1/ns/mnt of the node (this process's)"},
	[CLI_HOLD] = {.name = "hold",
		      .help = "when all is deleted, stay until a signal ends it: in a DaemonSet"},
	[CLI_IMAGE] = {.name = "image",
		       .value = CLI_VALUE_REQUIRED,
		       .value_name = "IMAGE",
		       .help = "image of the test's pods (default: the agent's)"},
	[CLI_OUTSIDE] = {.name = "outside",
			 .value = CLI_VALUE_REQUIRED,
			 .value_name = "IP[:PORT]",
			 .help = "also connect to this address outside the cluster (port 443)"},
	[CLI_SIZE] = {.name = "size",
		      .value = CLI_VALUE_REQUIRED,
		      .value_name = "BYTES",
		      .help = "what is sent and must come back; mtu: several around it; 0: only "
			      "connect"},
	[CLI_NAME] = {.name = "name",
		      .value = CLI_VALUE_REQUIRED,
		      .value_name = "NAME",
		      .help = "ask the DNS server for this name"},
	[CLI_NODE] = {.name = "node",
		      .value = CLI_VALUE_REQUIRED,
		      .value_name = "NODE",
		      .help = "ask the agent of this node alone"},
	[CLI_ALL_NODES] = {.name = "all-nodes",
			   .help = "ask the agents of all nodes (default, but for explain)"},
	[CLI_NAMESPACE] =
		{.name = "namespace",
		 .letter = 'n',
		 .value = CLI_VALUE_REQUIRED,
		 .value_name = "NAMESPACE",
		 .repeatable = true,
		 .help = "as a filter: of pods and Services in this namespace; of a plugin's "
			 "other commands: as --agent-namespace"},
	[CLI_CONTEXT] = {.name = "context",
			 .value = CLI_VALUE_REQUIRED,
			 .value_name = "NAME",
			 .help = "the kubeconfig's context, for kubectl"},
	[CLI_AGENT_NAMESPACE] = {.name = "agent-namespace",
				 .value = CLI_VALUE_REQUIRED,
				 .value_name = "NAMESPACE",
				 .help = "where the agents' pods are (default: looked for "
					 "everywhere)"},
	[CLI_POD] = {.name = "pod",
		     .value = CLI_VALUE_REQUIRED,
		     .value_name = "[NS/]POD",
		     .repeatable = true,
		     .help = "only of this pod, whichever end it is"},
	[CLI_IP] = {.name = "ip",
		    .value = CLI_VALUE_REQUIRED,
		    .value_name = "IP|CIDR",
		    .repeatable = true,
		    .help = "only with this address at either end, or one of this range"},
	[CLI_VERDICT] = {.name = "verdict",
			 .value = CLI_VALUE_REQUIRED,
			 .value_name = "VERDICT",
			 .choices = "allow drop reject",
			 .repeatable = true,
			 .help = "only with this verdict"},
	[CLI_REASON] = {.name = "reason",
			.value = CLI_VALUE_REQUIRED,
			.value_name = "REASON",
			.repeatable = true,
			.help = "only what was dropped for this reason"},
	[CLI_POLICY] = {.name = "policy",
			.value = CLI_VALUE_REQUIRED,
			.value_name = "[NS/]POLICY",
			.repeatable = true,
			.help = "only what this policy decided"},
	[CLI_LAST] = {.name = "last",
		      .value = CLI_VALUE_REQUIRED,
		      .value_name = "N",
		      .help = "monitor: the last N events first (1000 at most); flow list: the N "
			      "flows that were used last"},
	[CLI_SINCE] = {.name = "since",
		       .value = CLI_VALUE_REQUIRED,
		       .value_name = "TIME",
		       .help = "only of this time until now: 30s, 5m, 1h"},
	[CLI_WATCH] = {.name = "watch",
		       .letter = 'w',
		       .value = CLI_VALUE_OPTIONAL,
		       .value_name = "SECONDS",
		       .help = "show it again every SECONDS (default 2) until it is interrupted"},
	[CLI_SORT] = {.name = "sort",
		      .value = CLI_VALUE_REQUIRED,
		      .value_name = "KEY",
		      .choices = "bytes packets use",
		      .help = "the most first; use: what was used last first"},
	[CLI_NO_HEADERS] = {.name = "no-headers", .help = "tables without their first line"},
	[CLI_NO_RECONNECT] = {.name = "no-reconnect",
			      .help = "end when polderd ends, instead of waiting for the next one"},
	[CLI_ENOUGH] = {.name = "enough",
			.value = CLI_VALUE_REQUIRED,
			.value_name = "TIME",
			.help = "leave a direction open that has been watched for less (default "
				"1h; with --for: 0)"},
	[CLI_RANGE] = {.name = "range",
		       .value = CLI_VALUE_REQUIRED,
		       .value_name = "N[,N]",
		       .help = "put addresses outside together in blocks of this length, of IPv4 "
			       "and IPv6 (default 32,128)"},
	[CLI_KERNEL] = {.name = "kernel",
			.help = "what the kernel dropped after Polder let it go, with the kernel's "
				"reason; nothing else"},
	[CLI_PROCESS] = {.name = "process",
			 .value = CLI_VALUE_REQUIRED,
			 .value_name = "NAME",
			 .repeatable = true,
			 .help = "only of processes of this name or program file (a path, or its "
				 "last part), whichever end they are"},
	[CLI_UID] = {.name = "uid",
		     .value = CLI_VALUE_REQUIRED,
		     .value_name = "N",
		     .repeatable = true,
		     .help = "only of processes of this user of the node, whichever end they are"},
	[CLI_KUBECONFIG] = {.name = "kubeconfig",
			    .value = CLI_VALUE_REQUIRED,
			    .value_name = "FILE",
			    .help = "the kubeconfig, for kubectl (KUBECONFIG)"},
	[CLI_INTERFACE] = {.name = "interface",
			   .letter = 'i',
			   .value = CLI_VALUE_REQUIRED,
			   .value_name = "LINK",
			   .help = "only this link: an uplink, a pod's, the tunnel's device "
				   "(default any)"},
	[CLI_WRITE] = {.name = "write",
		       .letter = 'w',
		       .value = CLI_VALUE_REQUIRED,
		       .value_name = "FILE",
		       .help = "write pcapng to FILE; -: to standard output"},
	[CLI_READ] = {.name = "read",
		      .letter = 'r',
		      .value = CLI_VALUE_REQUIRED,
		      .value_name = "FILE",
		      .help = "show the packets of a pcapng file; -: of standard input"},
	[CLI_COUNT] = {.name = "count",
		       .letter = 'c',
		       .value = CLI_VALUE_REQUIRED,
		       .value_name = "N",
		       .help = "end after N packets"},
	[CLI_SNAPLEN] = {.name = "snaplen",
			 .letter = 's',
			 .value = CLI_VALUE_REQUIRED,
			 .value_name = "N",
			 .help = "keep N bytes of each packet (default 65000, which is the most)"},
	[CLI_DURATION] = {.name = "duration",
			  .value = CLI_VALUE_REQUIRED,
			  .value_name = "TIME",
			  .help = "end after TIME: 30s, 5m, 1h"},
	[CLI_NO_NAMES] = {.name = "no-names",
			  .letter = 'n',
			  .help = "do not ask for the names of pods and policies"},
};

const struct cli_command cli_commands[] = {
	{.noun = "status",
	 .summary = "Show the state of the agent and its problems",
	 .options = CLI_BIT(CLI_WAIT),
	 .run = cli_run_status},
	{.noun = "pod",
	 .verb = "list",
	 .summary = "List the pods of this node with addresses, identity and isolation",
	 .options = CLI_BIT(CLI_NO_HEADERS),
	 .run = cli_run_pods},
	{.noun = "pod",
	 .verb = "show",
	 .argument = "NS/POD",
	 .summary = "Describe a pod of this node: its network, its Services, what it loses",
	 .run = cli_run_pod_show},
	{.noun = "node",
	 .verb = "list",
	 .summary = "List other nodes with addresses, pod ranges and how they are reached",
	 .options = CLI_BIT(CLI_NO_HEADERS),
	 .run = cli_run_nodes},
	{.noun = "service",
	 .verb = "list",
	 .summary = "List Services with their backends",
	 .options = CLI_BIT(CLI_NO_HEADERS),
	 .run = cli_run_services},
	{.noun = "service",
	 .verb = "show",
	 .argument = "NS/NAME",
	 .summary = "Describe a Service: its addresses and ports, and their endpoints with pods",
	 .run = cli_run_service_show},
	{.noun = "load-balancer",
	 .verb = "list",
	 .summary = "List addresses of load balancers and which node announces each",
	 .options = CLI_BIT(CLI_NO_HEADERS),
	 .run = cli_run_load_balancers},
	{.noun = "policy",
	 .verb = "list",
	 .summary = "List network policies and how many pods of this node they select",
	 .options = CLI_BIT(CLI_NO_HEADERS),
	 .run = cli_run_policies},
	{.noun = "policy",
	 .verb = "check",
	 .argument = "FILE",
	 .arity = CLI_ONCE_OR_MORE,
	 .summary = "Validate resource files (JSON or YAML) without an agent; -: standard input",
	 .options = CLI_BIT(CLI_STRICT),
	 .exit_status = "0 all valid, 1 something is invalid, 2 a file cannot be read",
	 .run = cli_run_policy_check,
	 .run_in_cluster = cli_run_policy_check},
	{.noun = "policy",
	 .verb = "try",
	 .argument = "FILE",
	 .arity = CLI_ANY_NUMBER,
	 .summary = "Show which flows would get a different verdict with these objects",
	 .options = CLI_BIT(CLI_FOR) | CLI_BIT(CLI_COMMIT) | CLI_BIT(CLI_DELETE),
	 .exit_status = "0 no verdict would change, or committed; 3 some would change",
	 .run = cli_run_policy_try,
	 .run_in_cluster = cluster_run_policy_try},
	{.noun = "policy",
	 .verb = "show",
	 .argument = "[NS/]NAME",
	 .summary = "Describe a policy, with the packets that each rule has decided",
	 .run = cli_run_policy_show},
	{.noun = "policy",
	 .verb = "suggest",
	 .argument = "NS[/POD]",
	 .arity = CLI_AT_MOST_ONCE,
	 .summary = "Write the NetworkPolicies that allow what was seen, and no more",
	 .options =
		 CLI_BIT(CLI_FOR) | CLI_BIT(CLI_SINCE) | CLI_BIT(CLI_ENOUGH) | CLI_BIT(CLI_RANGE),
	 .exit_status = "0 written; 1 failed; 3 not enough was seen for any policy",
	 .run = cli_run_policy_suggest},
	{.noun = "explain",
	 .summary = "Explain whether a connection is allowed, and which policy decides",
	 .options = CLI_BIT(CLI_FROM) | CLI_BIT(CLI_TO) | CLI_BIT(CLI_PROTO) | CLI_BIT(CLI_PORT) |
		    CLI_BIT(CLI_FAMILY) | CLI_BIT(CLI_WITH),
	 .exit_status = "0 allowed, 1 denied, 2 unknown",
	 .run = cli_run_explain,
	 .run_in_cluster = cluster_run_explain},
	{.noun = "flow",
	 .verb = "list",
	 .summary = "List the flows in the flow table, with their pods, Services and policies",
	 .options = CLI_BIT(CLI_LIMIT) | CLI_OF_FILTER | CLI_BIT(CLI_LAST) | CLI_BIT(CLI_SINCE) |
		    CLI_BIT(CLI_WATCH) | CLI_BIT(CLI_SORT) | CLI_BIT(CLI_NO_HEADERS),
	 .run = cli_run_flows},
	{.noun = "flow",
	 .verb = "history",
	 .argument = "NS[/POD]",
	 .arity = CLI_AT_MOST_ONCE,
	 .summary = "List who has spoken with whom, by workload and port, as far back as is known",
	 .options = CLI_BIT(CLI_SINCE),
	 .run = cli_run_flow_history},
	{.noun = "latency",
	 .argument = "NS/NAME[:PORT]",
	 .arity = CLI_AT_MOST_ONCE,
	 .summary =
		 "Show how fast connections of pods, Services and the node are, and how they end",
	 .options = CLI_BIT(CLI_NO_HEADERS),
	 .run = cli_run_latency},
	{.noun = "drop",
	 .verb = "list",
	 .summary = "List what was dropped by reason, pod and policy, and what to do about it",
	 .options = CLI_OF_FILTER | CLI_BIT(CLI_SINCE) | CLI_BIT(CLI_NO_HEADERS) |
		    CLI_BIT(CLI_KERNEL) | CLI_BIT(CLI_FOR),
	 .run = cli_run_drop_list},
	{.noun = "alert",
	 .verb = "list",
	 .summary = "List the TrafficAlerts with what each has raised, and what they told last",
	 .options = CLI_BIT(CLI_NO_HEADERS),
	 .run = cli_run_alert_list},
	{.noun = "alert",
	 .verb = "test",
	 .argument = "FILE",
	 .arity = CLI_ONCE_OR_MORE,
	 .summary = "Show what TrafficAlerts would tell of recorded events: a file of monitor -o "
		    "jsonl (-: standard input), then files of objects; needs no agent",
	 .exit_status = "0 none told, 3 some told, 1 failed",
	 .run = cli_run_alert_test,
	 .run_in_cluster = cli_run_alert_test},
	{.noun = "monitor",
	 .summary = "Print drops, flows and alerts as they happen, one per line",
	 .options = CLI_BIT(CLI_DROPS) | CLI_BIT(CLI_FLOWS) | CLI_BIT(CLI_KERNEL) |
		    CLI_BIT(CLI_ALERTS) | CLI_OF_FILTER | CLI_BIT(CLI_LAST) | CLI_BIT(CLI_SINCE) |
		    CLI_BIT(CLI_NO_RECONNECT),
	 .run = cli_run_monitor,
	 .run_in_cluster = cluster_run_monitor},
	{.noun = "capture",
	 .argument = "EXPRESSION",
	 .arity = CLI_ANY_NUMBER,
	 .summary = "Capture packets with their verdicts, as pcap-filter(7) has it or all; one per "
		    "line, or as pcapng",
	 .options = CLI_BIT(CLI_INTERFACE) | CLI_BIT(CLI_POD) | CLI_BIT(CLI_DROPS) |
		    CLI_BIT(CLI_WRITE) | CLI_BIT(CLI_READ) | CLI_BIT(CLI_COUNT) |
		    CLI_BIT(CLI_SNAPLEN) | CLI_BIT(CLI_DURATION) | CLI_BIT(CLI_NO_NAMES),
	 .run = cli_run_capture,
	 .run_in_cluster = cluster_run_capture},
	{.noun = "identity",
	 .verb = "list",
	 .summary = "List identities: pods whose namespace and labels are the same",
	 .options = CLI_BIT(CLI_NO_HEADERS),
	 .run = cli_run_identities},
	{.noun = "ruleset",
	 .verb = "list",
	 .summary = "List the rule sets in the maps and how many pods of this node have them",
	 .options = CLI_BIT(CLI_NO_HEADERS),
	 .run = cli_run_rulesets},
	{.noun = "address",
	 .verb = "list",
	 .summary = "List the addresses and ranges that the programs know",
	 .options = CLI_BIT(CLI_NO_HEADERS),
	 .run = cli_run_addresses},
	{.noun = "backend",
	 .verb = "list",
	 .summary = "List endpoints of Services, a line for each port",
	 .options = CLI_BIT(CLI_NO_HEADERS),
	 .run = cli_run_backends},
	{.noun = "ipam",
	 .verb = "list",
	 .summary = "List the addresses that pods of this node have been given",
	 .options = CLI_BIT(CLI_NO_HEADERS),
	 .run = cli_run_ipam},
	{.noun = "map",
	 .verb = "list",
	 .summary = "List the BPF maps with their size and use",
	 .options = CLI_BIT(CLI_NO_HEADERS),
	 .run = cli_run_maps},
	{.noun = "version",
	 .summary = "Show the versions of polderctl, polderd and its layout, and if they differ",
	 .exit_status = "0 the same version, 3 they differ",
	 .run = cli_run_version},
	{.noun = "metrics",
	 .summary = "Print the metrics in Prometheus text format",
	 .run = cli_run_metrics},
	{.noun = "config",
	 .verb = "show",
	 .summary = "Show the configuration in force, and where each value comes from",
	 .run = cli_run_config},
	{.noun = "drain",
	 .summary = "Say which pods are still connected to this node",
	 .options = CLI_BIT(CLI_CHECK),
	 .exit_status = "0 none is connected, 1 some are",
	 .run = cli_run_drain},
	{.noun = "sysdump",
	 .argument = "FILE",
	 .arity = CLI_AT_MOST_ONCE,
	 .summary = "Put what a search for a fault needs into one archive, without secrets; -: "
		    "standard output",
	 .run = cli_run_sysdump,
	 .run_in_cluster = cluster_run_sysdump},
	{.noun = "connectivity",
	 .verb = "serve",
	 .summary = "Send back what comes by TCP and UDP: the server of connectivity's pods",
	 .options = CLI_BIT(CLI_PORT),
	 .run = cli_run_connectivity_serve,
	 .run_in_cluster = cli_run_connectivity_serve},
	{.noun = "connectivity",
	 .verb = "probe",
	 .summary = "Ask such a server, or a DNS server; the outcome is JSON",
	 .options = CLI_BIT(CLI_TO) | CLI_BIT(CLI_PORT) | CLI_BIT(CLI_PROTO) | CLI_BIT(CLI_SIZE) |
		    CLI_BIT(CLI_NAME),
	 .exit_status = "0 answered, 1 not",
	 .run = cli_run_connectivity_probe,
	 .run_in_cluster = cli_run_connectivity_probe},
	{.noun = "connectivity",
	 .summary =
		 "Make pods on two nodes of a cluster, and try who reaches whom (kubectl polder)",
	 .options = CLI_BIT(CLI_IMAGE) | CLI_BIT(CLI_OUTSIDE) | CLI_BIT(CLI_FORCE),
	 .exit_status = "0 all as expected, 1 not",
	 .run = cli_run_connectivity,
	 .run_in_cluster = cluster_run_connectivity},
	{.noun = "cleanup",
	 .summary = "Delete all that Polder has made on this node; needs no agent",
	 .options = CLI_BIT(CLI_DRY_RUN) | CLI_BIT(CLI_FORCE) | CLI_BIT(CLI_CONFIG) |
		    CLI_BIT(CLI_RUN_DIR) | CLI_BIT(CLI_STATE_DIR) | CLI_BIT(CLI_BPFFS) |
		    CLI_BIT(CLI_CNI_CONFIG_DIR) | CLI_BIT(CLI_CNI_BIN_DIR) | CLI_BIT(CLI_HOLD),
	 .run = cli_run_cleanup,
	 .run_in_cluster = cluster_refuse_here},
	{.noun = "install",
	 .summary = "Copy the CNI plugin of this image to a node, mount a BPF file system there",
	 .options = CLI_BIT(CLI_CNI_BIN_DIR) | CLI_BIT(CLI_BPFFS) | CLI_BIT(CLI_MOUNT_NAMESPACE),
	 .run = cli_run_install,
	 .run_in_cluster = cluster_refuse_here},
	{.noun = "log",
	 .verb = "level",
	 .argument = "LEVEL",
	 .choices = "error warning info debug",
	 .summary = "Set the log level of the agent",
	 .run = cli_run_log_level},
	{.noun = "completion",
	 .argument = "SHELL",
	 .choices = "bash zsh fish",
	 .summary = "Print the completion script for a shell",
	 .run = cli_run_completion,
	 .run_in_cluster = cli_run_completion},
};
const size_t cli_command_count = sizeof(cli_commands) / sizeof(*cli_commands);

static bool is_optional(const struct cli_command *command)
{
	return command->arity == CLI_ANY_NUMBER || command->arity == CLI_AT_MOST_ONCE;
}

static void print_usage(const struct cli_command *command, FILE *out)
{
	fprintf(out, "  %s %s", cli_program(), command->noun);
	if (command->verb)
		fprintf(out, " %s", command->verb);
	if (command->argument)
		fprintf(out, is_optional(command) ? " [%s]%s" : " %s%s", command->argument,
			command->arity == CLI_ONCE || command->arity == CLI_AT_MOST_ONCE ? ""
											 : "...");
	fprintf(out, "\n      %s", command->summary);
	if (command->choices)
		fprintf(out, " (%s)", command->choices);
	fputc('\n', out);
	if (command->exit_status)
		fprintf(out, "      Exit status: %s\n", command->exit_status);
}

static void print_option(const struct cli_option_spec *spec, FILE *out)
{
	char left[64];
	const char *before = spec->value == CLI_VALUE_OPTIONAL ? "[=" : " ";

	snprintf(left, sizeof(left), "%c%c%s--%s%s%s%s", spec->letter ? '-' : ' ',
		 spec->letter ? spec->letter : ' ', spec->letter ? ", " : "  ", spec->name,
		 spec->value_name ? before : "", spec->value_name ? spec->value_name : "",
		 spec->value == CLI_VALUE_OPTIONAL ? "]" : "");
	fprintf(out, "  %-24s %s", left, spec->help);
	if (spec->choices)
		fprintf(out, " (%s)", spec->choices);
	fputc('\n', out);
}

static void print_options(const char *heading, uint64_t options, FILE *out)
{
	if (!options)
		return;
	fprintf(out, "\n%s:\n", heading);
	for (int i = 0; i < CLI_OPTION_COUNT; i++)
		if (options & CLI_BIT(i))
			print_option(&cli_options[i], out);
}

void cli_print_help(const char *noun, const char *verb, FILE *out)
{
	const struct cli_command *command;
	uint64_t options = 0;

	fprintf(out, "Usage: %s [OPTIONS] COMMAND\n\nCommands:\n", cli_program());
	for (size_t i = 0; i < cli_command_count; i++) {
		command = &cli_commands[i];
		if (noun && strcmp(noun, command->noun))
			continue;
		if (noun && verb && command->verb && strcmp(verb, command->verb))
			continue;
		print_usage(command, out);
		options |= command->options;
	}
	print_options("Options of these commands", options, out);
	print_options("Options of all commands", CLI_EVERYWHERE, out);
	print_options("Options as a plugin of kubectl (kubectl polder ...)", CLI_OF_PLUGIN, out);
	fputs("\nExit status: 0 done, 1 failed, 2 wrong usage. See polderctl(8).\n", out);
}

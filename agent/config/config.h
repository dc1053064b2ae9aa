/* SPDX-License-Identifier: Apache-2.0 */
/* polderd's configuration: one file, and every key also as a long option. */
#pragma once

#include "agent/common/address_range.h"
#include "agent/common/log.h"
#include "agent/kernel/datapath_options.h"
#include "agent/kernel/map_sizes.h"
#include "policy/objects/objects.h"

#define CONFIG_MAX_UPLINKS     8
#define CONFIG_MAX_RANGES      16
#define CONFIG_MAX_API_SERVERS 8
#define CONFIG_MAX_POOLS       64
#define CONFIG_MAX_UI_HOSTS    16

/* How other nodes' pods are reached: by routes alone, by the tunnel, or by it where the other node
 * is no neighbour. */
enum tunnel_mode { TUNNEL_NONE, TUNNEL_VXLAN, TUNNEL_AUTO };

/* What is served of a Service for who is outside goes to an endpoint of another node translated
 * both ways, or is answered by that node itself. */
enum forwarding_mode { FORWARDING_SNAT, FORWARDING_DSR };
enum flow_export_events { EXPORT_ALL, EXPORT_DROPS, EXPORT_FLOWS };

/* How an endpoint is chosen: each as likely, or by a table in which few change theirs when the
 * endpoints do. */
enum balancing { BALANCING_RANDOM, BALANCING_MAGLEV };

/* Where a key's value comes from. */
enum config_origin { CONFIG_DEFAULT, CONFIG_FILE, CONFIG_OPTION };
#define CONFIG_KEYS_MAX 96

struct config {
	char *node_name;  /* --node-name; default: the host's name */
	char *resources;  /* --resources DIR; NULL: none */
	char *kubeconfig; /* --kubeconfig FILE; NULL: none */
	char *context;	  /* --context NAME; NULL: the file's current one */
	bool in_cluster;  /* --in-cluster: the service account of the pod that polderd runs in */
	char *api_servers[CONFIG_MAX_API_SERVERS]; /* --api-server URL, repeatable */
	size_t api_server_count;
	uint32_t api_silence; /* --api-silence N seconds, default 20 */
	char *run_dir;	      /* --run-dir, default /run/polder */
	char *state_dir;  /* --state-dir DIR, default /var/lib/polder; with another run_dir than the
			     default one, a directory in that, named by the run_dir */
	char *socket;	  /* run_dir/polder.sock */
	char *bpffs;	  /* --bpffs DIR, default /sys/fs/bpf/polder */
	char *cgroup;	  /* --cgroup DIR; NULL: no socket programs. Default: the first of
			     /sys/fs/cgroup/unified, /sys/fs/cgroup that is cgroup2 */
	char *cni_config; /* --cni-config FILE; NULL: none is installed */
	char *cni_config_dir;			/* --cni-config-dir DIR; NULL: none */
	char *sysctl_dir;			/* --sysctl-dir DIR, default /proc/sys/net */
	struct prefix pod_cidr_v4, pod_cidr_v6; /* --pod-cidr v4[,v6]; length 0: none */
	struct polder_addr node_ip_v4,
		node_ip_v6;		   /* --node-ip; all zero: taken from the first uplink */
	char *uplinks[CONFIG_MAX_UPLINKS]; /* --uplink IF, repeatable; none: the link of the default
					      route, if any */
	size_t uplink_count;
	enum tunnel_mode tunnel; /* --tunnel none|vxlan|auto, default none */
	uint16_t tunnel_port;	 /* --tunnel-port, default 4789 */
	uint32_t tunnel_vni;	 /* --tunnel-vni, default 1 */
	bool peer_mac_check;	 /* --peer-mac-check yes|no, default yes */
	bool pod_cidr_of_node;	 /* no key: the ranges are the own Node object's */
	bool masquerade;	 /* --masquerade yes|no, default yes */
	struct prefix no_masquerade[CONFIG_MAX_RANGES]; /* --no-masquerade CIDR, repeatable */
	size_t no_masquerade_count;
	uint16_t masquerade_port_min,
		masquerade_port_max;	 /* --masquerade-ports MIN-MAX, default 10240-29999 */
	enum forwarding_mode forwarding; /* --forwarding snat|dsr, default snat */
	struct prefix node_port_addresses[CONFIG_MAX_RANGES]; /* --node-port-addresses CIDR,
								 repeatable; none: all of the
								 uplinks */
	size_t node_port_address_count;
	enum balancing balancing;	       /* --balancing random|maglev, default random */
	uint32_t maglev_table_size;	       /* --maglev-table-size, a prime, default 16381 */
	uint16_t node_port_min, node_port_max; /* --node-port-range MIN-MAX, default 30000-32767 */
	char *metrics_listen;		       /* --metrics-listen ADDR:PORT; NULL: none */
	char *health_listen;		       /* --health-listen ADDR:PORT; NULL: none */
	char *ui_listen;		       /* --ui-listen ADDR:PORT|unix:PATH; NULL: none */
	char *ui_hosts[CONFIG_MAX_UI_HOSTS];   /* --ui-host NAME, repeatable */
	size_t ui_host_count;
	uint32_t stack_mark;	 /* --stack-mark, one bit; default 0x00400000 */
	enum attach_mode attach; /* --attach auto|tcx|clsact */
	enum xdp_mode xdp;	 /* --xdp auto|native|generic|off */
	uint32_t flows_v4; /* --flows-v4 N entries, rounded up to a power of two; default 131072 */
	uint32_t flows_v6; /* --flows-v6 N, default 65536 */
	uint32_t max_services;	      /* --max-services (ports of Services), default 65536 */
	uint32_t max_backends;	      /* --max-backends, default 262144 */
	uint32_t max_service_cells;   /* --max-service-cells (of tables), default 1048576 */
	uint32_t max_service_sources; /* --max-service-sources (ranges), default 65536 */
	uint32_t max_service_clients; /* --max-service-clients (with affinity), default 65536 */
	uint32_t max_addresses;	      /* --max-addresses, default 131072 */
	uint32_t max_policy_entries;  /* --max-policy-entries (each policy map), default 262144 */
	uint32_t max_pods; /* --max-pods, rounded up to a power of two; default 4096. Once the maps
			      are open: what they have room for */
	uint32_t max_fragments; /* --max-fragments, rounded up to a power of two; default 8192 */
	uint32_t max_socket_origins; /* --max-socket-origins, default 65536 */
	uint32_t max_rule_counters;  /* --max-rule-counters (rules), default 32768 */
	uint16_t pod_mtu;	     /* --pod-mtu; 0: the uplink's */
	struct address_range pools[CONFIG_MAX_POOLS]; /* --load-balancer-pools, repeatable */
	size_t pool_count;
	bool announce;		     /* --load-balancer-announce l2|none, default none */
	uint32_t announce_return;    /* --load-balancer-return SECONDS, default 300; 0: never */
	uint32_t events_per_second;  /* --events-per-second for each CPU, default 10000; 0: no limit
				      */
	uint32_t rejects_per_second; /* --rejects-per-second for each pod link and uplink, default
					1000; 0: no limit */
	bool latency;		     /* --latency yes|no, default no: connections are measured */
	bool processes;	   /* --processes yes|no, default no: who opened a flow is noted */
	char *flow_export; /* --flow-export FILE|unix:PATH; NULL: none */
	enum flow_export_events flow_export_events; /* --flow-export-events drops|flows|all, default
						       all */
	uint32_t flow_export_rate; /* --flow-export-rate, lines a second, default 1000; 0: no
				      limit */
	uint32_t flow_export_size; /* --flow-export-size, MiB of a file, default 64; 0: no limit */
	uint32_t flow_history;	   /* --flow-history, MiB, default 0: none */
	uint32_t flow_history_age; /* --flow-history-age, minutes, default 1440 */
	char *flow_history_file;   /* --flow-history-file; NULL: in memory only */
	enum log_level log_level;  /* --log-level, default info */
	char *file;		   /* --config FILE; NULL: none */
	uint8_t origins[CONFIG_KEYS_MAX]; /* enum config_origin, in the order of config_keys */
};

/*
 * Reads `--config FILE` (JSON object; keys are the long options' names, repeatable ones take an
 * array) and the options, which win. Does --help, --version and --check-config itself (*ret_exit is
 * then true).
 * On error prints what, where and what to do to standard error. 0 or -errno. config_clear() frees;
 * takes a zeroed struct.
 */
int config_load(int argc, char **argv, struct config *ret, bool *ret_exit);
/* As config_load(), without a word: on failure `error` says what, where and what to do. */
int config_read(int argc, char **argv, struct config *ret, char *error, size_t size);
void config_clear(struct config *config);

/* Does --node-port-addresses let a node's address serve node ports? Without it any may. */
bool config_node_ports_at(const struct config *config, const struct polder_addr *addr);
struct map_sizes config_map_sizes(const struct config *config);
/* Borrows the cgroup's path. */
struct datapath_options config_datapath_options(const struct config *config);

/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/config/config_show.h"

#include <stdio.h>
#include <string.h>

const char *config_origin_name(enum config_origin origin)
{
	static const char *const names[] = {
		[CONFIG_DEFAULT] = "default", [CONFIG_FILE] = "file", [CONFIG_OPTION] = "option"};

	return names[origin];
}

/* ---------------------------------------------------------------- values */

static json_t *text_or_null(const char *text)
{
	return text ? json_string(text) : json_null();
}

static json_t *node_name(const struct config *config)
{
	return text_or_null(config->node_name);
}

static json_t *resources(const struct config *config)
{
	return text_or_null(config->resources);
}

static json_t *run_dir(const struct config *config)
{
	return text_or_null(config->run_dir);
}

static json_t *state_dir(const struct config *config)
{
	return text_or_null(config->state_dir);
}

static json_t *bpffs(const struct config *config)
{
	return text_or_null(config->bpffs);
}

static json_t *cgroup(const struct config *config)
{
	return json_string(config->cgroup ? config->cgroup : "none");
}

static json_t *sysctl_dir(const struct config *config)
{
	return text_or_null(config->sysctl_dir);
}

static json_t *cni_config(const struct config *config)
{
	return text_or_null(config->cni_config);
}

static json_t *cni_config_dir(const struct config *config)
{
	return text_or_null(config->cni_config_dir);
}

static json_t *metrics_listen(const struct config *config)
{
	return text_or_null(config->metrics_listen);
}

static json_t *health_listen(const struct config *config)
{
	return text_or_null(config->health_listen);
}

static json_t *ui_listen(const struct config *config)
{
	return json_string(config->ui_listen ? config->ui_listen : "none");
}

static json_t *ui_host(const struct config *config)
{
	json_t *list = json_array();

	for (size_t i = 0; i < config->ui_host_count; i++)
		json_array_append_new(list, json_string(config->ui_hosts[i]));
	return list;
}

static void add_prefix(json_t *list, const struct prefix *prefix)
{
	char text[PREFIX_TEXT_MAX];

	if (prefix->length)
		json_array_append_new(list, json_string(prefix_format(prefix, text)));
}

static json_t *pod_cidr(const struct config *config)
{
	json_t *list = json_array();

	add_prefix(list, &config->pod_cidr_v4);
	add_prefix(list, &config->pod_cidr_v6);
	return list;
}

static void add_address(json_t *list, const struct polder_addr *addr)
{
	char text[INET6_ADDRSTRLEN];

	if (!addr_is_zero(addr))
		json_array_append_new(list, json_string(addr_format(addr, text)));
}

static json_t *node_ip(const struct config *config)
{
	json_t *list = json_array();

	add_address(list, &config->node_ip_v4);
	add_address(list, &config->node_ip_v6);
	return list;
}

static json_t *uplink(const struct config *config)
{
	json_t *list = json_array();

	for (size_t i = 0; i < config->uplink_count; i++)
		json_array_append_new(list, json_string(config->uplinks[i]));
	return list;
}

static json_t *ranges(const struct prefix *items, size_t count)
{
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++)
		add_prefix(list, &items[i]);
	return list;
}

static json_t *no_masquerade(const struct config *config)
{
	return ranges(config->no_masquerade, config->no_masquerade_count);
}

static json_t *node_port_addresses(const struct config *config)
{
	return ranges(config->node_port_addresses, config->node_port_address_count);
}

static json_t *node_port_range(const struct config *config)
{
	return json_sprintf("%u-%u", config->node_port_min, config->node_port_max);
}

static json_t *forwarding(const struct config *config)
{
	return json_string(config->forwarding == FORWARDING_DSR ? "dsr" : "snat");
}

static json_t *pools(const struct config *config)
{
	char text[ADDRESS_RANGE_TEXT_MAX];
	json_t *list = json_array();

	for (size_t i = 0; i < config->pool_count; i++)
		json_array_append_new(list,
				      json_string(address_range_format(&config->pools[i], text)));
	return list;
}

static json_t *announce(const struct config *config)
{
	return json_string(config->announce ? "l2" : "none");
}

static json_t *balancing(const struct config *config)
{
	return json_string(config->balancing == BALANCING_MAGLEV ? "maglev" : "random");
}

static json_t *latency(const struct config *config)
{
	return json_boolean(config->latency);
}

static json_t *processes(const struct config *config)
{
	return json_boolean(config->processes);
}

static json_t *masquerade(const struct config *config)
{
	return json_boolean(config->masquerade);
}

static json_t *masquerade_ports(const struct config *config)
{
	return json_sprintf("%u-%u", config->masquerade_port_min, config->masquerade_port_max);
}

static json_t *stack_mark(const struct config *config)
{
	return json_sprintf("0x%08x", config->stack_mark);
}

static json_t *attach(const struct config *config)
{
	static const char *const names[] = {
		[ATTACH_AUTO] = "auto", [ATTACH_TCX] = "tcx", [ATTACH_CLSACT] = "clsact"};

	return json_string(names[config->attach]);
}

static json_t *xdp(const struct config *config)
{
	static const char *const names[] = {[XDP_AUTO] = "auto",
					    [XDP_NATIVE] = "native",
					    [XDP_GENERIC] = "generic",
					    [XDP_OFF] = "off"};

	return json_string(names[config->xdp]);
}

static json_t *flow_export(const struct config *config)
{
	return json_string(config->flow_export ? config->flow_export : "none");
}

static json_t *flow_history_file(const struct config *config)
{
	return json_string(config->flow_history_file ? config->flow_history_file : "none");
}

static json_t *flow_export_events(const struct config *config)
{
	static const char *const names[] = {
		[EXPORT_ALL] = "all", [EXPORT_DROPS] = "drops", [EXPORT_FLOWS] = "flows"};

	return json_string(names[config->flow_export_events]);
}

static json_t *log_level(const struct config *config)
{
	return json_string(log_level_name(config->log_level));
}

static json_t *tunnel(const struct config *config)
{
	static const char *const names[] = {
		[TUNNEL_NONE] = "none", [TUNNEL_VXLAN] = "vxlan", [TUNNEL_AUTO] = "auto"};

	return json_string(names[config->tunnel]);
}

static json_t *peer_mac_check(const struct config *config)
{
	return json_boolean(config->peer_mac_check);
}

static json_t *kubeconfig(const struct config *config)
{
	return text_or_null(config->kubeconfig);
}

static json_t *context(const struct config *config)
{
	return text_or_null(config->context);
}

static json_t *in_cluster(const struct config *config)
{
	return json_boolean(config->in_cluster);
}

static json_t *api_server(const struct config *config)
{
	json_t *list = json_array();

	for (size_t i = 0; i < config->api_server_count; i++)
		json_array_append_new(list, json_string(config->api_servers[i]));
	return list;
}

/* Keys whose value is one number of struct config. */
#define NUMBER(field)                                                                              \
	static json_t *field(const struct config *config)                                          \
	{                                                                                          \
		return json_integer(config->field);                                                \
	}
NUMBER(api_silence)
NUMBER(tunnel_port)
NUMBER(tunnel_vni)
NUMBER(announce_return)
NUMBER(flows_v4)
NUMBER(flows_v6)
NUMBER(max_services)
NUMBER(max_backends)
NUMBER(maglev_table_size)
NUMBER(max_service_cells)
NUMBER(max_service_sources)
NUMBER(max_service_clients)
NUMBER(max_addresses)
NUMBER(max_policy_entries)
NUMBER(max_pods)
NUMBER(max_fragments)
NUMBER(max_socket_origins)
NUMBER(max_rule_counters)
NUMBER(pod_mtu)
NUMBER(events_per_second)
NUMBER(flow_export_rate)
NUMBER(flow_export_size)
NUMBER(flow_history)
NUMBER(flow_history_age)
NUMBER(rejects_per_second)

static const struct getter {
	const char *key;
	json_t *(*get)(const struct config *config);
	bool reloads;
} getters[] = {
	{"node-name", node_name, false},
	{"resources", resources, false},
	{"kubeconfig", kubeconfig, false},
	{"context", context, false},
	{"in-cluster", in_cluster, false},
	{"api-server", api_server, false},
	{"api-silence", api_silence, false},
	{"sysctl-dir", sysctl_dir, false},
	{"cni-config", cni_config, false},
	{"cni-config-dir", cni_config_dir, false},
	{"run-dir", run_dir, false},
	{"state-dir", state_dir, false},
	{"bpffs", bpffs, false},
	{"cgroup", cgroup, false},
	{"pod-cidr", pod_cidr, false},
	{"node-ip", node_ip, false},
	{"uplink", uplink, false},
	{"tunnel", tunnel, false},
	{"tunnel-port", tunnel_port, false},
	{"tunnel-vni", tunnel_vni, false},
	{"peer-mac-check", peer_mac_check, false},
	{"load-balancer-pools", pools, false},
	{"load-balancer-announce", announce, false},
	{"load-balancer-return", announce_return, false},
	{"masquerade", masquerade, false},
	{"no-masquerade", no_masquerade, false},
	{"masquerade-ports", masquerade_ports, false},
	{"forwarding", forwarding, false},
	{"balancing", balancing, false},
	{"maglev-table-size", maglev_table_size, false},
	{"node-port-addresses", node_port_addresses, false},
	{"node-port-range", node_port_range, false},
	{"stack-mark", stack_mark, false},
	{"metrics-listen", metrics_listen, true},
	{"health-listen", health_listen, true},
	{"ui-listen", ui_listen, true},
	{"ui-host", ui_host, true},
	{"attach", attach, false},
	{"xdp", xdp, false},
	{"flows-v4", flows_v4, false},
	{"flows-v6", flows_v6, false},
	{"max-services", max_services, false},
	{"max-backends", max_backends, false},
	{"max-service-cells", max_service_cells, false},
	{"max-service-sources", max_service_sources, false},
	{"max-service-clients", max_service_clients, false},
	{"max-addresses", max_addresses, false},
	{"max-policy-entries", max_policy_entries, false},
	{"max-pods", max_pods, false},
	{"max-fragments", max_fragments, false},
	{"max-socket-origins", max_socket_origins, false},
	{"max-rule-counters", max_rule_counters, false},
	{"pod-mtu", pod_mtu, false},
	{"events-per-second", events_per_second, true},
	{"flow-export", flow_export, false},
	{"flow-export-events", flow_export_events, false},
	{"flow-export-rate", flow_export_rate, false},
	{"flow-export-size", flow_export_size, false},
	{"flow-history", flow_history, false},
	{"flow-history-age", flow_history_age, false},
	{"flow-history-file", flow_history_file, false},
	{"rejects-per-second", rejects_per_second, true},
	{"latency", latency, true},
	{"processes", processes, true},
	{"log-level", log_level, true},
};

static const struct getter *find_getter(const struct config_key *key)
{
	for (size_t i = 0; i < sizeof(getters) / sizeof(getters[0]); i++)
		if (strcmp(getters[i].key, key->name) == 0)
			return &getters[i];
	return NULL;
}

json_t *config_value(const struct config *config, const struct config_key *key)
{
	const struct getter *getter = find_getter(key);

	return getter ? getter->get(config) : json_null();
}

bool config_is_shown(const struct config_key *key)
{
	return find_getter(key);
}

bool config_reloads(const struct config_key *key)
{
	const struct getter *getter = find_getter(key);

	return getter && getter->reloads;
}

enum config_origin config_origin_of(const struct config *config, const struct config_key *key)
{
	return (enum config_origin)config->origins[key - config_keys];
}

json_t *config_document(const struct config *config)
{
	json_t *list = json_array();

	for (size_t i = 0; i < config_key_count; i++) {
		const struct config_key *key = &config_keys[i];
		enum config_origin origin = config_origin_of(config, key);

		json_array_append_new(
			list,
			json_pack("{s:s, s:o, s:s, s:s, s:b}", "key", key->name, "value",
				  config_value(config, key), "source", config_origin_name(origin),
				  "file", origin == CONFIG_FILE && config->file ? config->file : "",
				  "reload", config_reloads(key)));
	}
	return list;
}

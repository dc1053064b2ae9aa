/* SPDX-License-Identifier: Apache-2.0 */
/* Keys that give maps their sizes: from a text to a field, see struct config_key. */
#pragma once

#include "agent/config/config_keys.h"

int config_set_flows_v4(struct config *config, const char *text, struct config_source *source);
int config_set_flows_v6(struct config *config, const char *text, struct config_source *source);
int config_set_max_services(struct config *config, const char *text, struct config_source *source);
int config_set_max_backends(struct config *config, const char *text, struct config_source *source);
int config_set_max_service_cells(struct config *config, const char *text,
				 struct config_source *source);
int config_set_max_service_sources(struct config *config, const char *text,
				   struct config_source *source);
int config_set_max_service_clients(struct config *config, const char *text,
				   struct config_source *source);
int config_set_maglev_table_size(struct config *config, const char *text,
				 struct config_source *source);
int config_set_max_addresses(struct config *config, const char *text, struct config_source *source);
int config_set_max_policy_entries(struct config *config, const char *text,
				  struct config_source *source);
int config_set_max_pods(struct config *config, const char *text, struct config_source *source);
int config_set_max_fragments(struct config *config, const char *text, struct config_source *source);
int config_set_max_socket_origins(struct config *config, const char *text,
				  struct config_source *source);
int config_set_max_rule_counters(struct config *config, const char *text,
				 struct config_source *source);

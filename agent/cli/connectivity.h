/* SPDX-License-Identifier: Apache-2.0 */
/* The connectivity test: probes from pod to pod, what they ought to come to, and the objects that
 * are made for it. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cli;

#define CONNECTIVITY_NAMESPACE "polder-connectivity"
#define CONNECTIVITY_PORT      8080
#define CONNECTIVITY_POD_NAME  "polder.dev/connectivity" /* the label with a pod's name */

/* The pods: who asks, who may not once there are policies, and servers on both nodes. */
enum connectivity_pod { POD_CLIENT, POD_STRANGER, POD_NEAR, POD_FAR, CONNECTIVITY_PODS };
extern const char *const connectivity_pod_names[CONNECTIVITY_PODS];

/* Which objects are in force. */
enum connectivity_phase {
	PHASE_OPEN,    /* no policy */
	PHASE_INGRESS, /* servers allow the client alone */
	PHASE_EGRESS,  /* besides, the client may reach the near server alone */
	CONNECTIVITY_PHASES,
};

/* --port, or the test's own. False after a complaint. */
bool connectivity_port(const struct cli *cli, uint16_t *ret);

/* Objects as lists for `kubectl create`; the caller owns them. `nodes`: of the client and of the
 * far server; NULL: there is no other node. */
json_t *connectivity_namespace(void);
json_t *connectivity_objects(const char *const nodes[2], const char *image);
json_t *connectivity_policies(enum connectivity_phase phase);

int cli_run_connectivity_serve(struct cli *cli);
int cli_run_connectivity_probe(struct cli *cli);
int cli_run_connectivity(struct cli *cli);
int cluster_run_connectivity(struct cli *cli);

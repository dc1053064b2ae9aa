/* SPDX-License-Identifier: Apache-2.0 */
/* The objects that the connectivity test makes, all in one namespace of their own. */
#include "agent/cli/connectivity.h"

#include <stdio.h>
#include <stdlib.h>

#include "agent/common/array.h"

const char *const connectivity_pod_names[CONNECTIVITY_PODS] = {
	[POD_CLIENT] = "client",
	[POD_STRANGER] = "stranger",
	[POD_NEAR] = "near",
	[POD_FAR] = "far",
};

static json_t *make(json_t *value)
{
	if (!value)
		abort();
	return value;
}

static json_t *list_of(json_t *items)
{
	return make(
		json_pack("{s:s, s:s, s:o}", "apiVersion", "v1", "kind", "List", "items", items));
}

json_t *connectivity_namespace(void)
{
	return make(json_pack("{s:s, s:s, s:{s:s, s:{s:s, s:s}}}", "apiVersion", "v1", "kind",
			      "Namespace", "metadata", "name", CONNECTIVITY_NAMESPACE, "labels",
			      CONNECTIVITY_POD_NAME, "test", "pod-security.kubernetes.io/enforce",
			      "restricted"));
}

static json_t *metadata(const char *name, const char *label)
{
	return make(json_pack("{s:s, s:s, s:{s:s}}", "name", name, "namespace",
			      CONNECTIVITY_NAMESPACE, "labels", CONNECTIVITY_POD_NAME, label));
}

/* Without rights, a file system to write to, or a token. */
static json_t *container(const char *image)
{
	return make(json_pack(
		"{s:s, s:s, s:s, s:[s, s, s], s:[{s:i, s:s}, {s:i, s:s}], s:{s:{s:i}, s:i}, "
		"s:{s:b, s:b, s:b, s:i, s:{s:[s]}, s:{s:s}}}",
		"name", "test", "image", image, "imagePullPolicy", "IfNotPresent", "command",
		"polderctl", "connectivity", "serve", "ports", "containerPort", CONNECTIVITY_PORT,
		"protocol", "TCP", "containerPort", CONNECTIVITY_PORT, "protocol", "UDP",
		"readinessProbe", "tcpSocket", "port", CONNECTIVITY_PORT, "periodSeconds", 1,
		"securityContext", "allowPrivilegeEscalation", 0, "readOnlyRootFilesystem", 1,
		"runAsNonRoot", 1, "runAsUser", 65534, "capabilities", "drop", "ALL",
		"seccompProfile", "type", "RuntimeDefault"));
}

/* On its node whatever the scheduler thinks of it. */
static json_t *pod(const char *name, const char *node, const char *image)
{
	return make(json_pack("{s:s, s:s, s:o, s:{s:s, s:b, s:b, s:i, s:[{s:s}], s:[o]}}",
			      "apiVersion", "v1", "kind", "Pod", "metadata", metadata(name, name),
			      "spec", "nodeName", node, "automountServiceAccountToken", 0,
			      "enableServiceLinks", 0, "terminationGracePeriodSeconds", 1,
			      "tolerations", "operator", "Exists", "containers", container(image)));
}

static json_t *service(const char *name)
{
	return make(json_pack(
		"{s:s, s:s, s:o, s:{s:s, s:{s:s}, s:[{s:s, s:i, s:s}, {s:s, s:i, s:s}]}}",
		"apiVersion", "v1", "kind", "Service", "metadata", metadata(name, name), "spec",
		"ipFamilyPolicy", "PreferDualStack", "selector", CONNECTIVITY_POD_NAME, name,
		"ports", "name", "tcp", "port", CONNECTIVITY_PORT, "protocol", "TCP", "name", "udp",
		"port", CONNECTIVITY_PORT, "protocol", "UDP"));
}

json_t *connectivity_objects(const char *const nodes[2], const char *image)
{
	json_t *items = json_array();

	for (int i = 0; i < CONNECTIVITY_PODS; i++) {
		const char *node = nodes[i == POD_FAR];

		if (!node)
			continue;
		json_array_append_new(items, pod(connectivity_pod_names[i], node, image));
		if (i == POD_NEAR || i == POD_FAR)
			json_array_append_new(items, service(connectivity_pod_names[i]));
	}
	return list_of(items);
}

/* What selects a pod by its name. */
static json_t *selector(const char *name)
{
	return make(json_pack("{s:{s:s}}", "matchLabels", CONNECTIVITY_POD_NAME, name));
}

static json_t *servers(void)
{
	return make(json_pack("{s:[{s:s, s:s, s:[s, s]}]}", "matchExpressions", "key",
			      CONNECTIVITY_POD_NAME, "operator", "In", "values",
			      connectivity_pod_names[POD_NEAR], connectivity_pod_names[POD_FAR]));
}

static json_t *policy(const char *name, json_t *spec)
{
	return make(json_pack("{s:s, s:s, s:o, s:o}", "apiVersion", "networking.k8s.io/v1", "kind",
			      "NetworkPolicy", "metadata", metadata(name, name), "spec",
			      make(spec)));
}

json_t *connectivity_policies(enum connectivity_phase phase)
{
	json_t *items = json_array();
	const char *client = connectivity_pod_names[POD_CLIENT];
	const char *near = connectivity_pod_names[POD_NEAR];

	if (phase == PHASE_INGRESS) {
		json_array_append_new(
			items,
			policy("default-deny", json_pack("{s:o, s:[s]}", "podSelector", servers(),
							 "policyTypes", "Ingress")));
		json_array_append_new(
			items, policy("allow-client",
				      json_pack("{s:o, s:[s], s:[{s:[{s:o}]}]}", "podSelector",
						servers(), "policyTypes", "Ingress", "ingress",
						"from", "podSelector", selector(client))));
	} else if (phase == PHASE_EGRESS) {
		json_array_append_new(
			items, policy("client-to-near",
				      json_pack("{s:o, s:[s], s:[{s:[{s:o}]}]}", "podSelector",
						selector(client), "policyTypes", "Egress", "egress",
						"to", "podSelector", selector(near))));
	}
	return list_of(items);
}

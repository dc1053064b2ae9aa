/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/differential/sandbox_pods.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/differential/harness.h"

_Noreturn void sandbox_give_up(const char *what, const char *why)
{
	fprintf(stderr, "%s: %s\n", what, why);
	exit(2);
}

void sandbox_put_text(struct sandbox *sandbox, const char *text)
{
	struct error error = {};
	struct object_list list = {};
	char *json = strdup(text), *c;
	size_t i;

	for (c = json; *c; c++)
		*c = *c == '\'' ? '"' : *c;
	if (objects_decode(json, strlen(json), &list, &error) < 0)
		sandbox_give_up(error.path, error.text);
	for (i = 0; i < list.count; i++)
		if (sandbox_put(sandbox, list.objects[i]) < 0)
			sandbox_give_up("put", "no memory");
	list.count = 0;
	object_list_clear(&list);
	free(json);
}

void sandbox_pod_address(int number, bool v4, struct polder_addr *ret)
{
	char text[64];

	snprintf(text, sizeof(text), v4 ? "10.1.0.%d" : "fd00:1::%d", 10 + number);
	addr_parse(text, ret);
}

void sandbox_pod_mac(int number, uint8_t mac[6])
{
	memcpy(mac, (uint8_t[6]){2, 0, 0, 0, 0, 10 + number}, 6);
}

void sandbox_attach_pod(struct sandbox *sandbox, int number, const char *namespace,
			const char *name)
{
	struct local_pod pod = {.namespace = (char *)namespace,
				.name = (char *)name,
				.ifname = "eth0",
				.ifindex = HARNESS_FIRST_POD + number,
				.mtu = 1500};
	char container[16];

	snprintf(container, sizeof(container), "c%d", number);
	pod.container_id = container;
	sandbox_pod_address(number, true, &pod.ipv4);
	sandbox_pod_address(number, false, &pod.ipv6);
	sandbox_pod_mac(number, pod.mac);
	labels_set(&pod.labels, "t", name);
	if (sandbox_attach(sandbox, &pod) < 0)
		sandbox_give_up(namespace, "a pod cannot be attached");
	labels_clear(&pod.labels);
}

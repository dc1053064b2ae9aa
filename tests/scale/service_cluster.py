# SPDX-License-Identifier: Apache-2.0
"""A cluster of Services with many endpoints, all of them on other nodes; of its pods only EndpointSlices tell."""

import cluster

SAMPLE = 50       # of so many changes one is looked for, where there are many
MANY = 100        # changes a second


class ServiceCluster(cluster.Cluster):
    replicas = 10
    ahead = 2.0

    def _make(self, pods, services, policies, own_pods):
        for number in range(self.namespaces):
            name = f"team-{number:03d}"
            self._keep("namespaces", ("", name), self.fill["namespace"](
                name=name, uid=cluster.uid("namespace", number), version=self._version(), team=f"team-{number % 20}"))
        for node in self.nodes:
            self.put_node(node)
        for number in range(pods):
            self._new_pod(number % self.deployments, self.nodes[1 + number % (len(self.nodes) - 1)], True).state = "running"
        self._make_services(services)

    def changes(self, rate, seconds):
        """Each a Service's EndpointSlice with another address in the place of one; Services in turn."""
        step = SAMPLE if rate > MANY else 1
        for number in range(round(rate * seconds)):
            self.turn += 1
            service = self.turn * 7919 % self.services
            pod = self.of[service][self.turn % len(self.of[service])]
            pod.ip = f"10.250.{self.turn >> 8 & 255}.{self.turn & 255}" if self.turn < 65536 else \
                f"10.251.{self.turn >> 8 & 255}.{self.turn & 255}"
            seen = (cluster.SERVICE, cluster.service_key(self.service_ip(service))) if number % step == 0 else None
            yield number / rate, "endpointslices", "MODIFIED", self.put_slice(service), seen

    def expected(self):
        return {**super().expected(), "pods": {}}

# SPDX-License-Identifier: Apache-2.0
"""Nodes whose agents follow a real API server, at the outside's address, as what deploy/kubernetes makes of them."""

import os

from lib.traffic import V4, wait_until
from lib.world import OUTSIDE_IP

from api_world import PORT, ApiWorld
import control_plane
import tools

ENVIRONMENT = "POLDER_KUBERNETES_TOOLS"  # names the directory of Tools, inside
MANIFESTS = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "deploy", "kubernetes")
CNP_RESOURCE = {
    "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
    "metadata": {"name": "clusternetworkpolicies.policy.networking.k8s.io", "annotations": {
        "api-approved.kubernetes.io": "https://github.com/kubernetes-sigs/network-policy-api/pull/30"}},
    "spec": {"group": "policy.networking.k8s.io", "scope": "Cluster",
             "names": {"plural": "clusternetworkpolicies", "singular": "clusternetworkpolicy", "kind": "ClusterNetworkPolicy",
                       "listKind": "ClusterNetworkPolicyList", "shortNames": ["cnp"]},
             "versions": [{"name": "v1alpha2", "served": True, "storage": True, "schema": {"openAPIV3Schema": {
                 "type": "object", "required": ["spec"], "properties": {
                     "spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}}}}]}}


class Objects:
    """What api_world.ApiResources wants of a store, at a real server."""

    def __init__(self, client):
        self.client = client

    def put(self, made):
        self.client.put(made)
        _, resource, namespaced = control_plane.RESOURCES[made["kind"]]
        meta = made["metadata"]
        return resource, (meta.get("namespace", "default") if namespaced else "", meta["name"])

    def delete(self, resource, key):
        self.client.delete(control_plane.KINDS[resource], key[1], key[0])


class KubernetesWorld(ApiWorld):
    """`nodes` of them; options of polderd beside."""

    def _make_api(self):
        plane = control_plane.ControlPlane(tools.Tools(os.environ[ENVIRONMENT]), self.outside, os.path.join(self.workdir, "plane"),
                                           self.authority, OUTSIDE_IP[V4], PORT)
        self.plane, self.etcd, self.server, self.kubectl = plane, plane.etcd, plane.server, plane.kubectl
        self.cleanup.callback(plane.stop)
        plane.start()
        self.kubectl("apply", "-f", os.path.join(MANIFESTS, "rbac.yaml"))
        self.store = Objects(plane.client)

    def _restore_api(self):
        for daemon in (self.etcd, self.server):
            if daemon.alive():
                daemon.resume()
            else:
                daemon.start()
        self.plane.wait_ready()
        self._remove_strangers()
        for made in [made for some in self.resources.kept.values() for made in some]:
            for item in made["items"] if made["kind"] == "List" else [made]:
                self.store.put(item)

    def _remove_strangers(self):
        """What kubectl made, and the module's setup did not."""
        kept = {key for _, keys in self.resources.names.values() for key in keys}
        for kind, (prefix, resource, _) in control_plane.RESOURCES.items():
            try:
                items = self.plane.client.ask("GET", f"{prefix}/{resource}")["items"]
            except control_plane.Refused:
                continue  # no such kind
            for meta in (item["metadata"] for item in items):
                if (resource, (meta.get("namespace", ""), meta["name"])) not in kept:
                    self.plane.client.delete(kind, meta["name"], meta.get("namespace", ""))

    def wait_objects(self, resource, count, timeout=20):
        """So many of them are known to each agent."""
        for node in self.nodes:
            wait_until(lambda n=node: n.agent.ctl_json("status")["objects"].get(resource) == count,
                       lambda n=node: f"{n}: {count} {resource}; {n.agent.ctl_json('status')['objects']}", timeout, 0.05)

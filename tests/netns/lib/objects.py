# SPDX-License-Identifier: Apache-2.0
"""Kubernetes objects as Python dictionaries, in the JSON that kubectl prints."""


def namespace(name, /, **labels):
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def node(name, pod_cidrs, addresses):
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
            "spec": {"podCIDR": pod_cidrs[0], "podCIDRs": pod_cidrs},
            "status": {"addresses": [{"type": "InternalIP", "address": a} for a in addresses]
                       + [{"type": "Hostname", "address": name}]}}


def pod(name, ns="default", labels=None, node_name=None, ips=(), ports=(), **more):
    """`ports`: (name, number, protocol) of the container. `more`: phase, init_containers, host_network."""
    container = {"name": "main", "image": "localhost/none",
                 "ports": [{"name": n, "containerPort": p, "protocol": proto}
                           for n, p, proto in ports]}
    made = {"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": ns, "uid": f"uid-{ns}-{name}",
                         "labels": labels or {}},
            "spec": {"containers": [container]},
            "status": {"phase": more.get("phase", "Running")}}
    if more.get("init_containers"):
        made["spec"]["initContainers"] = more["init_containers"]
    if more.get("host_network"):
        made["spec"]["hostNetwork"] = True
    if node_name:
        made["spec"]["nodeName"] = node_name
    if ips:
        made["status"]["podIP"] = ips[0]
        made["status"]["podIPs"] = [{"ip": ip} for ip in ips]
    return made


def service_port(port, target=None, proto="TCP", name=None):
    made = {"port": port, "protocol": proto, "targetPort": port if target is None else target}
    if name:
        made["name"] = name
    return made


def service(name, cluster_ips, ports, selector=None, ns="default", **spec):
    made = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": ns},
            "spec": {"type": "ClusterIP", "clusterIP": cluster_ips[0],
                     "clusterIPs": list(cluster_ips),
                     "ipFamilies": ["IPv6" if ":" in ip else "IPv4" for ip in cluster_ips],
                     "ports": ports, **spec}}
    if selector is not None:
        made["spec"]["selector"] = selector
    return made


def endpoint(address, node_name=None, **conditions):
    made = {"addresses": [address], "conditions": conditions or {"ready": True}}
    if node_name:
        made["nodeName"] = node_name
    return made


def slice_port(port, proto="TCP", name=""):
    return {"name": name, "port": port, "protocol": proto}


def endpoint_slice(name, service_name, endpoints, ports, ns="default"):
    family = "IPv6" if endpoints and ":" in endpoints[0]["addresses"][0] else "IPv4"
    return {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": family,
            "metadata": {"name": name, "namespace": ns,
                         "labels": {"kubernetes.io/service-name": service_name}},
            "endpoints": endpoints, "ports": ports}


def policy(name, pod_selector=None, ns="default", **spec):
    """spec: policyTypes, ingress, egress; what is not given is absent. ns=None: no namespace."""
    metadata = {"name": name}
    if ns is not None:
        metadata["namespace"] = ns
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata,
            "spec": {"podSelector": pod_selector or {}, **spec}}


def cluster_policy(name, subject=None, tier="Admin", priority=0, **spec):
    """spec: ingress, egress. Without a subject: all pods of all namespaces."""
    return {"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy",
            "metadata": {"name": name},
            "spec": {"tier": tier, "priority": priority,
                     "subject": subject or {"namespaces": {}}, **spec}}


def alert(name, **spec):
    return {"apiVersion": "polder.dev/v1alpha1", "kind": "TrafficAlert", "metadata": {"name": name}, "spec": spec}


def cluster_rule(action, *peers, egress=False, protocols=None, name=None):
    """A rule of a ClusterNetworkPolicy; no peer: all pods of all namespaces."""
    made = {"action": action, "to" if egress else "from": list(peers) or [{"namespaces": {}}]}
    if protocols is not None:
        made["protocols"] = protocols
    if name is not None:
        made["name"] = name
    return made


def labels(**match):
    return {"matchLabels": match}


def expression(key, operator, *values):
    made = {"key": key, "operator": operator}
    if values:
        made["values"] = list(values)
    return {"matchExpressions": [made]}


def item_list(objects):
    return {"apiVersion": "v1", "kind": "List", "items": objects}

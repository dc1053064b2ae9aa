# SPDX-License-Identifier: Apache-2.0
"""
Objects as a Kubernetes 1.36 API server sends them, managedFields and all: a pod of a ReplicaSet under a kubelet, its EndpointSlice, a
Service, a Node with images and conditions, a NetworkPolicy. What differs from object to object stands as @name@; filling() makes bytes of it.
"""

import json
import re

TIME = "2026-11-22T16:40:36Z"


def _managed(manager, fields, version="v1", **more):
    return {"manager": manager, "operation": "Update", "apiVersion": version, "time": TIME, "fieldsType": "FieldsV1",
            "fieldsV1": fields, **more}


def _set(*names, **more):
    return {".": {}, **{f"f:{name}": {} for name in names}, **more}


def _applied(**made):
    return {"kubectl.kubernetes.io/last-applied-configuration": json.dumps(made, separators=(",", ":")) + "\n"}


def _replica_set_fields():
    probe = _set("failureThreshold", "periodSeconds", "successThreshold", "timeoutSeconds")
    probe["f:httpGet"] = _set("path", "port", "scheme")
    container = _set("command", "image", "imagePullPolicy", "name", "resources", "terminationMessagePath", "terminationMessagePolicy")
    container["f:ports"] = {".": {}, 'k:{"containerPort":8080,"protocol":"TCP"}': _set("containerPort", "name", "protocol")}
    container["f:readinessProbe"] = probe
    return {"f:metadata": {"f:generateName": {}, "f:labels": _set("app", "tier", "track", "pod-template-hash"),
                           "f:ownerReferences": {".": {}, 'k:{"uid":"@owner@"}': {}}},
            "f:spec": {"f:containers": {'k:{"name":"c"}': container}, "f:dnsPolicy": {}, "f:enableServiceLinks": {},
                       "f:restartPolicy": {}, "f:schedulerName": {}, "f:securityContext": {}, "f:terminationGracePeriodSeconds": {}}}


def _kubelet_fields(*ips):
    def condition(name, *more):
        return {f'k:{{"type":"{name}"}}': _set("lastProbeTime", "lastTransitionTime", "observedGeneration", "status", "type", *more)}
    conditions = {**condition("ContainersReady"), **condition("Initialized"), **condition("PodReadyToStartContainers"),
                  'k:{"type":"PodScheduled"}': {"f:observedGeneration": {}}, **condition("Ready")}
    return {"f:status": {"f:conditions": conditions, "f:containerStatuses": {}, "f:hostIP": {}, "f:hostIPs": {},
                         "f:observedGeneration": {}, "f:phase": {}, "f:podIP": {},
                         "f:podIPs": {".": {}, **{f'k:{{"ip":"{ip}"}}': _set("ip") for ip in ips}}, "f:resources": {},
                         "f:startTime": {}}}


def _condition(name, status="True"):
    return {"type": name, "observedGeneration": 1, "status": status, "lastProbeTime": None, "lastTransitionTime": TIME}


def _token_volume():
    sources = [{"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
               {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
               {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}}]
    return {"name": "kube-api-access-q2q6h", "projected": {"sources": sources, "defaultMode": 420}}


def _pod_spec(node):
    mounts = [{"name": "kube-api-access-q2q6h", "readOnly": True, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]
    probe = {"httpGet": {"path": "/i.html", "port": 8080, "scheme": "HTTP"}, "timeoutSeconds": 1, "periodSeconds": 1,
             "successThreshold": 1, "failureThreshold": 3}
    container = {"name": "c", "image": "registry.example/team/@app@:1.27.3",
                 "command": ["sh", "-c", "echo ok > /srv/i.html; exec httpd -f -p 8080 -h /srv"],
                 "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}], "resources": {}, "volumeMounts": mounts,
                 "readinessProbe": probe, "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                 "imagePullPolicy": "IfNotPresent"}
    tolerations = [{"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
                   for key in ("not-ready", "unreachable")]
    return {"volumes": [_token_volume()], "containers": [container], "restartPolicy": "Always", "terminationGracePeriodSeconds": 30,
            "dnsPolicy": "ClusterFirst", "serviceAccountName": "default", "serviceAccount": "default",
            **({"nodeName": "@node@"} if node else {}), "securityContext": {}, "schedulerName": "default-scheduler",
            "tolerations": tolerations, "priority": 0, "enableServiceLinks": True, "preemptionPolicy": "PreemptLowerPriority"}


def _running_status(ips):
    names = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
    container = {"name": "c", "state": {"running": {"startedAt": TIME}}, "lastState": {}, "ready": True, "restartCount": 0,
                 "image": "registry.example/team/@app@:1.27.3",
                 "imageID": "sha256:c97ec23a4441cf28fa49cd87d71fd16d4de9b613d938a7bb307c776b2ee1cf21",
                 "containerID": "containerd://0b09d4e6b3f817b5f17f05d68be019ad1653db793a9e03518e7e890db9893d84", "started": True,
                 "resources": {}, "volumeMounts": [{"name": "kube-api-access-q2q6h", "readOnly": True, "recursiveReadOnly": "Disabled",
                                                    "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]}
    return {"observedGeneration": 1, "phase": "Running", "conditions": [_condition(name) for name in names],
            "hostIP": "@hostip@", "hostIPs": [{"ip": "@hostip@"}], "podIP": ips[0], "podIPs": [{"ip": ip} for ip in ips],
            "startTime": TIME, "containerStatuses": [container], "qosClass": "BestEffort", "resources": {}}


def pod(dual, running=True, bound=True, terminating=False):
    """Placeholders: name, set, ns, uid, version, app, tier, track, hash, owner, node, hostip, ip, ip6."""
    ips = ["@ip@", "@ip6@"] if dual else ["@ip@"]
    meta = {"name": "@name@", "generateName": "@set@-", "namespace": "@ns@", "uid": "@uid@", "resourceVersion": "@version@",
            "generation": 1, "creationTimestamp": TIME,
            **({"deletionTimestamp": TIME, "deletionGracePeriodSeconds": 30} if terminating else {}),
            "labels": {"app": "@app@", "pod-template-hash": "@hash@", "tier": "@tier@", "track": "@track@"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "@set@", "uid": "@owner@", "controller": True,
                                 "blockOwnerDeletion": True}],
            "managedFields": [_managed("kube-controller-manager", _replica_set_fields()),
                              *([_managed("kubelet", _kubelet_fields(*ips), subresource="status")] if running else [])]}
    status = _running_status(ips) if running else {"phase": "Pending", "qosClass": "BestEffort"}
    return {"kind": "Pod", "apiVersion": "v1", "metadata": meta, "spec": _pod_spec(bound), "status": status}


def node(dual):
    """Placeholders: name, uid, version, ip, range, ip6, range6, beat."""
    ranges, ips = (["@range@", "@range6@"], ["@ip@", "@ip6@"]) if dual else (["@range@"], ["@ip@"])
    conditions = [{"type": name, "status": status, "lastHeartbeatTime": "@beat@", "lastTransitionTime": TIME, "reason": reason,
                   "message": f"kubelet has {reason}"}
                  for name, status, reason in (("MemoryPressure", "False", "KubeletHasSufficientMemory"),
                                               ("DiskPressure", "False", "KubeletHasNoDiskPressure"),
                                               ("PIDPressure", "False", "KubeletHasSufficientPID"),
                                               ("Ready", "True", "KubeletReady"))]
    size = {"cpu": "16", "ephemeral-storage": "203056560Ki", "hugepages-1Gi": "0", "hugepages-2Mi": "0", "memory": "65852184Ki",
            "pods": "110"}
    images = [{"names": [f"registry.example/team/image-{i}@sha256:{i:064x}", f"registry.example/team/image-{i}:1.{i}.0"],
               "sizeBytes": 18000000 + i} for i in range(30)]
    fields = {"f:status": {"f:conditions": {f'k:{{"type":"{c["type"]}"}}': _set("lastHeartbeatTime", "lastTransitionTime", "message",
                                                                               "reason", "status", "type") for c in conditions},
                           "f:images": {}, "f:addresses": {}, "f:nodeInfo": {}}}
    info = {"machineID": "@uid@", "systemUUID": "@uid@", "bootID": "@uid@", "kernelVersion": "6.12.48+deb13-amd64",
            "osImage": "Debian GNU/Linux 13 (trixie)", "containerRuntimeVersion": "containerd://2.1.4", "kubeletVersion": "v1.36.1",
            "kubeProxyVersion": "", "operatingSystem": "linux", "architecture": "amd64"}
    labels = {"beta.kubernetes.io/arch": "amd64", "beta.kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
              "kubernetes.io/hostname": "@name@", "kubernetes.io/os": "linux", "topology.kubernetes.io/zone": "zone-a"}
    return {"kind": "Node", "apiVersion": "v1",
            "metadata": {"name": "@name@", "uid": "@uid@", "resourceVersion": "@version@", "creationTimestamp": TIME, "labels": labels,
                         "annotations": {"node.alpha.kubernetes.io/ttl": "300"},
                         "managedFields": [_managed("kubelet", fields, subresource="status")]},
            "spec": {"podCIDR": ranges[0], "podCIDRs": ranges},
            "status": {"capacity": size, "allocatable": size, "conditions": conditions,
                       "addresses": [*({"type": "InternalIP", "address": ip} for ip in ips), {"type": "Hostname", "address": "@name@"}],
                       "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}}, "nodeInfo": info, "images": images}}


def namespace():
    return {"kind": "Namespace", "apiVersion": "v1",
            "metadata": {"name": "@name@", "uid": "@uid@", "resourceVersion": "@version@", "creationTimestamp": TIME,
                         "labels": {"kubernetes.io/metadata.name": "@name@", "team": "@team@"},
                         "managedFields": [_managed("kubectl-create", {"f:metadata": {"f:labels": _set("kubernetes.io/metadata.name", "team")}})]},
            "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}


def service():
    ports = [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": 8080}]
    fields = {"f:metadata": {"f:annotations": _set("kubectl.kubernetes.io/last-applied-configuration")},
              "f:spec": {"f:internalTrafficPolicy": {}, "f:ports": {".": {}, 'k:{"port":80,"protocol":"TCP"}': _set("name", "port", "protocol", "targetPort")},
                         "f:selector": {}, "f:sessionAffinity": {}, "f:type": {}}}
    applied = _applied(apiVersion="v1", kind="Service", metadata={"annotations": {}, "name": "@name@", "namespace": "@ns@"},
                       spec={"ports": ports, "selector": {"app": "@app@"}})
    return {"kind": "Service", "apiVersion": "v1",
            "metadata": {"name": "@name@", "namespace": "@ns@", "uid": "@uid@", "resourceVersion": "@version@", "creationTimestamp": TIME,
                         "annotations": applied, "managedFields": [_managed("kubectl-client-side-apply", fields)]},
            "spec": {"ports": ports, "selector": {"app": "@app@"}, "clusterIP": "@ip@", "clusterIPs": ["@ip@"], "type": "ClusterIP",
                     "sessionAffinity": "None", "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "internalTrafficPolicy": "Cluster"},
            "status": {"loadBalancer": {}}}


def endpoint():
    """Placeholders: ip, ready, terminating, ns, pod, uid, node."""
    return {"addresses": ["@ip@"], "conditions": {"ready": "@ready@", "serving": True, "terminating": "@terminating@"},
            "targetRef": {"kind": "Pod", "namespace": "@ns@", "name": "@pod@", "uid": "@uid@"}, "nodeName": "@node@"}


def slice_of():
    """Placeholders: name, service, ns, uid, owner, version, endpoints."""
    fields = {"f:addressType": {}, "f:endpoints": {},
              "f:metadata": {"f:annotations": _set("endpoints.kubernetes.io/last-change-trigger-time"), "f:generateName": {},
                             "f:labels": _set("endpointslice.kubernetes.io/managed-by", "kubernetes.io/service-name"),
                             "f:ownerReferences": {".": {}, 'k:{"uid":"@owner@"}': {}}}, "f:ports": {}}
    return {"kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1",
            "metadata": {"name": "@name@", "generateName": "@service@-", "namespace": "@ns@", "uid": "@uid@",
                         "resourceVersion": "@version@", "generation": 6, "creationTimestamp": TIME,
                         "labels": {"endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
                                    "kubernetes.io/service-name": "@service@"},
                         "annotations": {"endpoints.kubernetes.io/last-change-trigger-time": TIME},
                         "ownerReferences": [{"apiVersion": "v1", "kind": "Service", "name": "@service@", "uid": "@owner@",
                                              "controller": True, "blockOwnerDeletion": True}],
                         "managedFields": [_managed("kube-controller-manager", fields, "discovery.k8s.io/v1")]},
            "addressType": "IPv4", "endpoints": "@endpoints@", "ports": [{"name": "http", "protocol": "TCP", "port": 8080}]}


def policy(spec):
    fields = {"f:metadata": {"f:annotations": _set("kubectl.kubernetes.io/last-applied-configuration")},
              "f:spec": {"f:egress": {}, "f:ingress": {}, "f:podSelector": {}, "f:policyTypes": {}}}
    meta = {"name": "@name@", "namespace": "@ns@"}
    return {"kind": "NetworkPolicy", "apiVersion": "networking.k8s.io/v1",
            "metadata": {**meta, "uid": "@uid@", "resourceVersion": "@version@", "generation": 1, "creationTimestamp": TIME,
                         "annotations": _applied(apiVersion="networking.k8s.io/v1", kind="NetworkPolicy", metadata=meta, spec=spec),
                         "managedFields": [_managed("kubectl-client-side-apply", fields, "networking.k8s.io/v1")]},
            "spec": spec}


def filling(shape, raw=()):
    """A function from the placeholders' values to bytes; those in `raw` are no strings but JSON."""
    text = json.dumps(shape, separators=(",", ":")).replace("%", "%%")
    for name in raw:
        text = text.replace(f'"@{name}@"', f"@{name}@")
    text = re.sub("@([a-z0-9]+)@", r"%(\1)s", text)
    return lambda **values: (text % values).encode()

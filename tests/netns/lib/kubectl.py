# SPDX-License-Identifier: Apache-2.0
"""The real kubectl, with `exec` into the namespaces of a World, and a server that tells it of pods and nodes."""

import http.server
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
import urllib.parse

from .agent import POLDERCTL

LABELS = {"app.kubernetes.io/name": "polder"}


def agent_pod(node, name=None, namespace="polder-system", phase="Running", state=None, labels=None, **metadata):
    """An agent's Pod as an API server tells of it."""
    name = name or f"polder-{node}"
    state = state or ({"running": {"startedAt": "2026-01-01T00:00:00Z"}} if phase == "Running"
                      else {"waiting": {"reason": "ImagePullBackOff"}})
    return {"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "labels": LABELS if labels is None else labels, **metadata},
            "spec": {"nodeName": node, "containers": [{"name": "polderd", "image": "polder:test"}]},
            "status": {"phase": phase, "containerStatuses": [
                {"name": "polderd", "ready": phase == "Running", "state": state}]}}


class Server(http.server.ThreadingHTTPServer):
    """As much of an API server as `kubectl get` of pods and nodes needs."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.pods, self.nodes, self.services, self.namespaces, self.networkpolicies = [], [], [], [], []
        self.changes = queue.Queue()  # ("POST" or "DELETE", object, threading.Event that ends the wait)
        self.logs = ""          # of each container
        self.forbidden = set()  # resources that answer 403
        self.thread = threading.Thread(target=self.serve_forever, daemon=True)
        self.thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request, client_address):
        """A kubectl that was interrupted: nothing to say."""

    def close(self):
        self.shutdown()
        self.server_close()


def _resource(name, kind, namespaced):
    return {"name": name, "singularName": kind.lower(), "namespaced": namespaced, "kind": kind, "verbs": ["create", "delete", "get", "list"],
            "shortNames": []}


DISCOVERY = {
    "/api": {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []},
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": [
        {"name": "networking.k8s.io", "preferredVersion": {"groupVersion": "networking.k8s.io/v1", "version": "v1"},
         "versions": [{"groupVersion": "networking.k8s.io/v1", "version": "v1"}]}]},
    "/apis/networking.k8s.io/v1": {"kind": "APIResourceList", "groupVersion": "networking.k8s.io/v1", "resources": [
        _resource("networkpolicies", "NetworkPolicy", True)]},
    "/version": {"major": "1", "minor": "36", "gitVersion": "v1.36.0"},
    "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": [
        _resource("pods", "Pod", True), _resource("nodes", "Node", False), _resource("services", "Service", True), _resource("namespaces", "Namespace", False)]},
}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, code, value):
        text = isinstance(value, str)
        body = (value if text else json.dumps(value)).encode()
        self.send_response(code)
        self.send_header("Content-Type", "text/plain" if text else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, code, reason, text):
        self.answer(code, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": text,
                           "reason": reason, "code": code})

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        query = urllib.parse.parse_qs(url.query)
        if url.path in DISCOVERY:
            self.answer(200, DISCOVERY[url.path])
            return
        parts = url.path.removeprefix("/api/v1/").removeprefix("/apis/networking.k8s.io/v1/").split("/")
        namespace = parts[1] if parts[0] == "namespaces" and len(parts) > 2 else None
        resource = parts[-1]
        if resource in self.server.forbidden:
            self.refuse(403, "Forbidden", f'{resource} is forbidden: User "jane" cannot list resource "{resource}" in API '
                                          'group "" at the cluster scope')
        elif url.path.endswith("/log"):
            self.answer(200, self.server.logs)
        elif parts[-2:-1] == ["pods"]:
            for pod in self.server.pods:
                if (pod["metadata"]["namespace"], pod["metadata"]["name"]) == (namespace, resource):
                    self.answer(200, pod)
                    return
            self.refuse(404, "NotFound", f'pods "{resource}" not found')
        elif resource in ("pods", "nodes", "services", "namespaces", "networkpolicies"):
            self.answer(200, {"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"},
                              "items": [item for item in getattr(self.server, resource)
                                        if chosen(item, namespace, query)]})
        else:
            self.refuse(404, "NotFound", "the server could not find the requested resource")


    def do_POST(self):
        made = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        resource = urllib.parse.urlsplit(self.path).path.split("/")[-1]
        have, name = getattr(self.server, resource), made["metadata"]["name"]
        if any((item["metadata"]["name"], item["metadata"].get("namespace")) == (name, made["metadata"].get("namespace"))
               for item in have):
            self.refuse(409, "AlreadyExists", f'{resource} "{name}" already exists')
            return
        have.append(made)
        self.change("POST", made)
        self.answer(201, made)

    def do_DELETE(self):
        if "Content-Length" in self.headers:
            self.rfile.read(int(self.headers["Content-Length"]))
        resource, name = urllib.parse.urlsplit(self.path).path.split("/")[-2:]
        have = getattr(self.server, resource)
        found = [item for item in have if item["metadata"]["name"] == name]
        if not found:
            self.refuse(404, "NotFound", f'{resource} "{name}" not found')
            return
        self.change("DELETE", found[0])
        have.remove(found[0])
        self.answer(200, found[0])

    def change(self, verb, item):
        """Who runs the world does what the change asks for."""
        done = threading.Event()
        self.server.changes.put((verb, item, done))
        done.wait(60)


def chosen(item, namespace, query):
    metadata = item["metadata"]
    wanted = dict(part.split("=", 1) for part in query.get("labelSelector", [""])[0].split(",") if part)
    fields = dict(part.split("=", 1) for part in query.get("fieldSelector", [""])[0].split(",") if part)
    return ((namespace is None or metadata.get("namespace") == namespace)
            and all(metadata.get("labels", {}).get(key) == value for key, value in wanted.items())
            and fields.get("metadata.name", metadata["name"]) == metadata["name"]
            and all(item["spec"].get("nodeName") == value for key, value in fields.items() if key == "spec.nodeName"))


class Controllers:
    """What a cluster's controllers and kubelets do about the objects that kubectl makes in a namespace."""

    def __init__(self, world, kubectl):
        self.world, self.kubectl = world, kubectl
        self.pods, self.servers, self.files, self.numbers = [], [], [], 50

    def work(self, seconds):
        """Does what there is to do within this time."""
        try:
            verb, item, done = self.kubectl.server.changes.get(timeout=seconds)
        except queue.Empty:
            return
        try:
            if verb == "POST":
                getattr(self, "make_" + item["kind"].lower())(item)
            else:
                self.remove_all()
        finally:
            done.set()

    def put(self, item, made=None):
        name = f"made-{item['kind'].lower()}-{item['metadata']['name']}"
        self.world.resources.put(name, made or item)
        self.files.append(name)

    def make_namespace(self, item):
        self.put(item)

    def make_networkpolicy(self, item):
        self.put(item)

    def make_service(self, item):
        self.numbers += 1
        item["spec"]["clusterIPs"] = [self.world.service_ip(self.numbers, family) for family in (4, 6)]
        item["spec"]["clusterIP"] = item["spec"]["clusterIPs"][0]
        item["spec"].setdefault("type", "ClusterIP")
        self.put(item)

    def make_pod(self, item):
        metadata, spec = item["metadata"], item["spec"]
        node = next(node for node in self.world.nodes if node.name == spec["nodeName"])
        container = spec["containers"][0]
        pod = self.world.pod(metadata["name"], metadata["namespace"], node, labels=metadata["labels"])
        self.pods.append(pod)
        assert container["command"][0] == "polderctl", container
        server = subprocess.Popen(pod.netns.command(POLDERCTL, *container["command"][1:]), stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE)
        self.servers.append(server)
        server.stdout.readline()
        item["status"] = {"phase": "Running", "podIPs": [{"ip": ip} for ip in pod.ips.values()], "containerStatuses": [
            {"name": container["name"], "ready": True, "state": {"running": {}}}]}
        self.kubectl.pods[f"{metadata['namespace']}/{metadata['name']}"] = {"prefix": pod.netns.command()}
        self.kubectl.write_pods()

    def remove_all(self):
        for server in self.servers:
            server.kill()
            server.wait()
            server.stdout.close()
        for pod in self.pods:
            self.kubectl.pods.pop(f"{pod.ns}/{pod.name}", None)
            pod.delete()
        for name in self.files:
            self.world.resources.delete(name)
        server = self.kubectl.server
        server.pods[:] = [pod for pod in server.pods if pod["metadata"]["namespace"] == "polder-system"]
        server.services.clear()
        server.networkpolicies.clear()
        self.kubectl.write_pods()
        self.pods, self.servers, self.files = [], [], []


class Kubectl:
    """`kubectl polder` of the tree's polderctl, over the nodes of a World."""

    def __init__(self, world):
        self.real = shutil.which("kubectl")
        self.directory = os.path.join(world.workdir, "kubectl")
        os.mkdir(self.directory)
        os.symlink(os.path.join(os.path.dirname(os.path.abspath(__file__)), "kubectl_in_nodes.py"),
                   os.path.join(self.directory, "kubectl"))
        for name in ("kubectl-polder", "kubectl_complete-polder"):
            os.symlink(POLDERCTL, os.path.join(self.directory, name))
        self.server = Server()
        world.cleanup.callback(self.server.close)
        self.pods = {}
        self.kubeconfig = os.path.join(self.directory, "config")
        self.write_kubeconfig(self.kubeconfig, self.server.url)
        for node in world.nodes:
            self.add_agent(node)

    def add_agent(self, node):
        pod = agent_pod(node.name)
        self.server.pods.append(pod)
        self.server.nodes.append({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": node.name}, "spec": {}, "status": {"addresses": [
                {"type": "Hostname", "address": node.name},
                *({"type": "InternalIP", "address": address} for address in node.ips.values())]}})
        self.pods[f"polder-system/{pod['metadata']['name']}"] = {
            "prefix": node.netns.command(), "environment": {"POLDER_SOCKET": node.agent.socket}}
        self.write_pods()

    def write_pods(self):
        with open(os.path.join(self.directory, "pods.json"), "w", encoding="utf-8") as file:
            json.dump({"kubectl": self.real, "pods": self.pods, "programs": {"polderctl": POLDERCTL}}, file)

    @staticmethod
    def write_kubeconfig(path, url, context="test"):
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"apiVersion": "v1", "kind": "Config", "current-context": context,
                       "clusters": [{"name": "c", "cluster": {"server": url}}], "users": [{"name": "u", "user": {}}],
                       "contexts": [{"name": context, "context": {"cluster": "c", "user": "u"}}]}, file)

    def environment(self, **more):
        return {**os.environ, "PATH": f"{self.directory}:{os.environ['PATH']}", "KUBECONFIG": self.kubeconfig,
                "HOME": self.directory, "POLDER_TEST_PODS": os.path.join(self.directory, "pods.json"), **more}

    def polder(self, *args, stdin=None, timeout=60, **more):
        """`kubectl polder ARGS`, started by the real kubectl."""
        return subprocess.run([os.path.join(self.directory, "kubectl"), "polder", *args], input=stdin, text=True,
                              capture_output=True, timeout=timeout, env=self.environment(**more), check=False,
                              cwd=self.directory)

    def start(self, output, *args):
        """The same in the background; what it prints goes to the file `output`."""
        with open(output, "w", encoding="utf-8") as file:
            return subprocess.Popen([os.path.join(self.directory, "kubectl"), "polder", *args],
                                    stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=self.environment())


def main():
    """Serves a file of objects, to try by hand."""
    server = Server()
    with open(sys.argv[1], encoding="utf-8") as file:
        server.pods = json.load(file)
    print(server.url, flush=True)
    server.thread.join()


if __name__ == "__main__":
    main()

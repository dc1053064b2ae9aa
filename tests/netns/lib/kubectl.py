# SPDX-License-Identifier: Apache-2.0
"""The real kubectl, with `exec` into the namespaces of a World, and a server that tells it of pods and nodes."""

import http.server
import json
import os
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
        self.pods, self.nodes = [], []
        self.logs = ""          # of each container
        self.forbidden = set()  # resources that answer 403
        self.thread = threading.Thread(target=self.serve_forever, daemon=True)
        self.thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def close(self):
        self.shutdown()
        self.server_close()


def _resource(name, kind, namespaced):
    return {"name": name, "singularName": kind.lower(), "namespaced": namespaced, "kind": kind, "verbs": ["get", "list"],
            "shortNames": []}


DISCOVERY = {
    "/api": {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []},
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
    "/version": {"major": "1", "minor": "36", "gitVersion": "v1.36.0"},
    "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": [
        _resource("pods", "Pod", True), _resource("nodes", "Node", False), _resource("services", "Service", True)]},
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
        parts = url.path.removeprefix("/api/v1/").split("/")
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
        elif resource in ("pods", "nodes"):
            self.answer(200, {"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"},
                              "items": [item for item in getattr(self.server, resource)
                                        if chosen(item, namespace, query)]})
        else:
            self.refuse(404, "NotFound", "the server could not find the requested resource")


def chosen(item, namespace, query):
    metadata = item["metadata"]
    wanted = dict(part.split("=", 1) for part in query.get("labelSelector", [""])[0].split(",") if part)
    fields = dict(part.split("=", 1) for part in query.get("fieldSelector", [""])[0].split(",") if part)
    return ((namespace is None or metadata.get("namespace") == namespace)
            and all(metadata.get("labels", {}).get(key) == value for key, value in wanted.items())
            and all(item["spec"].get("nodeName") == value for key, value in fields.items() if key == "spec.nodeName"))


class Kubectl:
    """`kubectl polder` of the tree's polderctl, over the nodes of a World."""

    def __init__(self, world):
        self.real = shutil.which("kubectl")
        self.directory = os.path.join(world.workdir, "kubectl")
        os.mkdir(self.directory)
        os.symlink(os.path.join(os.path.dirname(os.path.abspath(__file__)), "kubectl_in_nodes.py"),
                   os.path.join(self.directory, "kubectl"))
        os.symlink(POLDERCTL, os.path.join(self.directory, "kubectl-polder"))
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
        self.server.nodes.append({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node.name}, "spec": {}})
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

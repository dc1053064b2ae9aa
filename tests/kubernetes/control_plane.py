# SPDX-License-Identifier: Apache-2.0
"""etcd, the API server and kubectl in a network namespace: started, stopped, killed, emptied, put back. A client for many objects."""

import concurrent.futures
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import time

from lib.netns import CommandError, run
from lib.traffic import wait_until

CLIENT_PORT, PEER_PORT = 2379, 2380
RESOURCES = {  # kind: (prefix of its path, resource, in namespaces)
    "Namespace": ("/api/v1", "namespaces", False), "Node": ("/api/v1", "nodes", False), "Pod": ("/api/v1", "pods", True),
    "Service": ("/api/v1", "services", True), "EndpointSlice": ("/apis/discovery.k8s.io/v1", "endpointslices", True),
    "NetworkPolicy": ("/apis/networking.k8s.io/v1", "networkpolicies", True),
    "ClusterNetworkPolicy": ("/apis/policy.networking.k8s.io/v1alpha2", "clusternetworkpolicies", False),
    "TrafficAlert": ("/apis/polder.dev/v1alpha1", "trafficalerts", False),
}
KINDS = {resource: kind for kind, (_, resource, _) in RESOURCES.items()}


class Daemon:
    """A process in a namespace, with a log of its own."""

    def __init__(self, netns, directory, name):
        self.netns, self.name = netns, name
        self.log_path = os.path.join(directory, name + ".log")
        self.process = None

    def run(self, *command):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.netns.command(*command), stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def log_tail(self, size=1500):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return f"{self.name}: {file.read()[-size:]}"

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def send(self, number):
        self.process.send_signal(number)

    def pause(self):
        """It answers nothing, and its connections stay."""
        self.send(signal.SIGSTOP)

    def resume(self):
        self.send(signal.SIGCONT)

    def stop(self, number=signal.SIGKILL):
        if self.alive():
            self.resume()
            self.send(number)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)

    def wait_port(self, address, port, timeout=20):
        """Somebody takes connections there."""
        def listening():
            assert self.alive(), f"ended with status {self.process.returncode}: {self.log_tail()}"
            with contextlib.closing(self.netns.socket(socket.AF_INET, socket.SOCK_STREAM)) as sock:
                sock.settimeout(1)
                return sock.connect_ex((address, port)) == 0
        wait_until(listening, lambda: f"{address}:{port}; {self.log_tail()}", timeout, 0.02)


class Etcd(Daemon):
    """etcd with its data in `directory`; nothing is written through, so it is quick."""

    def __init__(self, tools, netns, directory):
        super().__init__(netns, directory, "etcd")
        self.tools, self.directory = tools, directory
        self.data = os.path.join(directory, "etcd")
        self.url = f"http://127.0.0.1:{CLIENT_PORT}"

    def start(self):
        self.run(self.tools.etcd, "--name=test", "--data-dir", self.data, "--unsafe-no-fsync", "--log-level=warn",
                 "--listen-client-urls", self.url, "--advertise-client-urls", self.url,
                 "--listen-peer-urls", f"http://127.0.0.1:{PEER_PORT}", "--snapshot-count=10000")
        self.wait_port("127.0.0.1", CLIENT_PORT)

    def ctl(self, *args):
        return self.netns.run(self.tools.etcdctl, "--endpoints", self.url, *args).stdout

    def revision(self):
        return json.loads(self.ctl("get", "--write-out=json", "nothing"))["header"]["revision"]

    def compact(self):
        """All history is gone, and its room given back."""
        self.ctl("compact", "--physical", str(self.revision()))
        self.ctl("defrag")

    def snapshot(self, name="snapshot"):
        path = os.path.join(self.directory, name)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        self.ctl("snapshot", "save", path)
        return path

    def restore(self, path):
        """Puts the state of a snapshot back: etcd has to be stopped, and is started by the caller."""
        shutil.rmtree(self.data)
        run([self.tools.etcdutl, "snapshot", "restore", path, "--data-dir", self.data])


class ApiServer(Daemon):
    """tests/kubernetes/testserver at `address`. `tokens` are {token: (user, groups)}."""

    def __init__(self, tools, netns, directory, etcd, address, port, certificate):
        super().__init__(netns, directory, "apiserver")
        self.tools, self.etcd, self.address, self.port = tools, etcd, address, port
        self.certificate, self.options = certificate, []
        self.tokens_path = os.path.join(directory, "tokens.csv")

    @property
    def url(self):
        return f"https://{self.address}:{self.port}"

    def tokens(self, tokens):
        """Known after the next start."""
        with open(self.tokens_path, "w", encoding="ascii") as file:
            for number, (token, (user, groups)) in enumerate(tokens.items()):
                file.write(f'{token},{user},{number},"{",".join(groups)}"\n')

    def start(self):
        crt, key = self.certificate
        self.run(self.tools.testserver, "-etcd", self.etcd.url, "-address", self.address, "-port", str(self.port), "-cert", crt,
                 "-key", key, "-tokens", self.tokens_path, *self.options)
        self.wait_port(self.address, self.port)


class Refused(CommandError):
    """The server said no."""

    def __init__(self, code, message):
        self.code = code
        super().__init__(f"{code}: {message}")


class Client:
    """JSON over one connection to the server."""

    def __init__(self, server, authority, token):
        self.server, self.token = server, token
        self.context = ssl.create_default_context(cafile=authority)
        self.connection = None

    def _connect(self):
        made = http.client.HTTPConnection(self.server.address, self.server.port, timeout=30)
        sock = self.server.netns.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.settimeout(30)
        sock.connect((self.server.address, self.server.port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.sock = self.context.wrap_socket(sock, server_hostname=self.server.address)
        return made

    def ask(self, method, path, body=None, kind="application/json"):
        """The answer as an object; Refused for a status of 400 and more."""
        headers = {"Authorization": "Bearer " + self.token, "Accept": "application/json"}
        data = None if body is None else json.dumps(body)
        if data is not None:
            headers["Content-Type"] = kind
        for attempt in range(2):
            try:
                self.connection = self.connection or self._connect()
                self.connection.request(method, path, data, headers)
                answer = self.connection.getresponse()
                text = answer.read()
                break
            except (OSError, http.client.HTTPException):
                self.close()  # a connection of a server that is no more
                if attempt:
                    raise
        made = json.loads(text) if text.startswith(b"{") else {"text": text.decode(errors="replace")}
        if answer.status >= 400:
            raise Refused(answer.status, made.get("message", made))
        return made

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    @staticmethod
    def path(made, *more):
        """Of the collection that the object belongs to."""
        prefix, resource, namespaced = RESOURCES[made["kind"]]
        inside = f"/namespaces/{made['metadata'].get('namespace', 'default')}" if namespaced else ""
        return "/".join([prefix + inside, resource, *more])

    def put(self, made):
        """Creates or replaces it, its status as well: the server strips that of what is created, and gives the uid."""
        made = {**made, "metadata": {key: value for key, value in made["metadata"].items() if key != "uid"}}
        name = made["metadata"]["name"]
        try:
            self.ask("PUT", self.path(made, name), made)
        except Refused as refused:
            if refused.code != 404:
                raise
            self.ask("POST", self.path(made), made)
        if made.get("status") and made["kind"] in ("Pod", "Node", "Service"):
            self.ask("PUT", self.path(made, name, "status"), made)

    def delete(self, kind, name, namespace="default"):
        """At once, as by a kubelet that is done with it. True if it was there."""
        made = {"kind": kind, "metadata": {"name": name, "namespace": namespace}}
        try:
            self.ask("DELETE", self.path(made, name), {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0})
        except Refused as refused:
            if refused.code != 404:
                raise
            return False
        return True


class Kubectl:
    """kubectl with an administrator's kubeconfig, in the server's namespace."""

    def __init__(self, tools, netns, directory, kubeconfig):
        self.tools, self.netns = tools, netns
        self.environment = {"PATH": "/usr/bin:/bin", "HOME": directory, "KUBECONFIG": kubeconfig}

    def __call__(self, *args, objects=None, check=True, timeout=30):
        """Its output as text. `objects` go to standard input as one List: `kubectl("apply", objects=[...])`."""
        words = list(args)
        text = None
        if objects is not None:
            text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
            words += ["-f", "-"]
        done = run(self.netns.command(self.tools.kubectl, *words), stdin=text, env=self.environment, check=check, timeout=timeout)
        return done.stdout + ("" if check else done.stderr)

    def json(self, *args):
        return json.loads(self(*args, "-o", "json"))


class ControlPlane:
    """All of it at `address`:`port` of a namespace; `authority` as tests/api/api_server.py has it."""

    ADMIN = {"admin": ("admin", ("system:masters",))}
    # Who polderd is: what deploy/kubernetes gives it, and no more.
    AGENT = {"token-1": ("system:serviceaccount:kube-system:polder", ("system:serviceaccounts",))}

    def __init__(self, tools, netns, directory, authority, address, port=6443):
        os.makedirs(directory)
        self.authority, self.directory = authority, directory
        self.etcd = Etcd(tools, netns, directory)
        self.server = ApiServer(tools, netns, directory, self.etcd, address, port, authority.issue("apiserver", (address,)))
        self.server.tokens({**self.ADMIN, **self.AGENT})
        kubeconfig = os.path.join(directory, "admin.kubeconfig")
        with open(kubeconfig, "w", encoding="ascii") as file:
            json.dump(self.kubeconfig("admin"), file)
        self.kubectl = Kubectl(tools, netns, directory, kubeconfig)
        self.client = self.new_client()

    def kubeconfig(self, token):
        return {"apiVersion": "v1", "kind": "Config", "current-context": "test",
                "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
                "clusters": [{"name": "test", "cluster": {"server": self.server.url,
                                                          "certificate-authority": self.authority.certificate}}],
                "users": [{"name": "test", "user": {"token": token}}]}

    def new_client(self, token="admin"):
        return Client(self.server, self.authority.certificate, token)

    def start(self):
        self.etcd.start()
        self.server.start()
        self.wait_ready()

    def wait_ready(self, timeout=30):
        """The server can use etcd, and has all its parts."""
        def ready():
            with contextlib.suppress(Refused, OSError, http.client.HTTPException):
                return self.client.ask("GET", "/readyz")
            return False
        wait_until(ready, lambda: f"a ready API server; {self.server.log_tail()}", timeout, 0.05)

    def stop(self, number=signal.SIGKILL):
        self.client.close()
        self.server.stop(number)
        self.etcd.stop(number)

    def put_back(self, snapshot):
        """The server and etcd are killed, and begin anew with an older state: resource versions go backwards."""
        self.stop()
        self.etcd.restore(snapshot)
        self.start()

    def load(self, made, connections=4):
        """Creates many objects, by several connections. The seconds that it took."""
        begun, parts = time.monotonic(), [made[i::connections] for i in range(connections)]

        def put_all(part):
            client = self.new_client()
            for item in part:
                client.ask("POST", client.path(item), item)
                if item.get("status") and item["kind"] in ("Pod", "Node"):
                    client.ask("PUT", client.path(item, item["metadata"]["name"], "status"), item)
            client.close()
        with concurrent.futures.ThreadPoolExecutor(connections) as pool:
            for done in [pool.submit(put_all, part) for part in parts]:
                done.result()
        return time.monotonic() - begun

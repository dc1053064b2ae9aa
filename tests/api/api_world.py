# SPDX-License-Identifier: Apache-2.0
"""A node whose agent follows an API server at the outside's address; what tests put into resources is put there."""

import contextlib
import json
import os
import socket
import time

from lib import objects
from lib.netns import run
from lib.traffic import V4, wait_until
from lib.world import OUTSIDE_IP, World

import api_server

PORT = 6443
TOKEN = "token-1"
SECOND_ADDRESS = "172.30.0.2"  # of the outside, too


class ApiResources:
    """What lib.agent.Resources does with files, done with objects of a server."""

    def __init__(self, store):
        self.store, self.names, self.kept, self.directory = store, {}, {}, None

    def put(self, name, *made):
        items = made[0]["items"] if made[0].get("kind") == "List" else made
        keys = [self.store.put(item) for item in items]
        for resource, key in self.names.get(name, ({}, []))[1]:
            if (resource, key) not in keys:
                self.store.delete(resource, key)
        self.names[name] = list(made), keys

    def delete(self, name):
        for resource, key in self.names.pop(name, ([], []))[1]:
            self.store.delete(resource, key)

    def files(self):
        return set(self.names)

    def keep(self):
        self.kept = {name: made for name, (made, _) in self.names.items()}

    def restore(self):
        changed = False
        for name in self.files() - set(self.kept):
            self.delete(name)
            changed = True
        for name, made in self.kept.items():
            if name not in self.names or self.names[name][0] != made:
                self.put(name, *made)
                changed = True
        return changed


class ApiWorld(World):
    """`protocols` of the server; options of polderd beside. The agent is started by the world."""

    in_force = 10  # on a busy machine a connection may be lost, and its watch waits its back-off out

    @staticmethod
    def late(changes):
        """Half of them: those of an outage wait for a back-off."""
        return changes // 2

    def __init__(self, protocols=("h2", "http/1.1"), silence=4, start=True, nodes=1, **options):
        self.protocols = protocols
        super().__init__(nodes=nodes, start=False, resources=None, api_silence=silence, **options)
        try:
            for node in self.nodes if start else ():
                node.agent.start()
                node.before = node.ruler()
        except BaseException:
            self.close()
            raise

    def _make_outside(self):
        super()._make_outside()
        self.outside.ip(f"addr add {SECOND_ADDRESS}/24 dev eth0")
        self.authority = api_server.Authority(self.workdir)
        self._make_api()
        self.resources = ApiResources(self.store)
        self.resources.put("namespaces", objects.namespace("default"), objects.namespace("kube-system"))
        self.write_kubeconfig()

    def _make_api(self):
        """A server that listens, and its `store`."""
        self.certificate = self.authority.issue("server", (OUTSIDE_IP[V4], SECOND_ADDRESS, "10.96.0.1", "api.test"))
        self.store = api_server.Store()
        self.api = self.server()
        self.cleanup.callback(self.api.stop)
        self.listen()

    def _make(self, nodes, options):
        options["kubeconfig"] = "in-cluster" not in options and "pending" or None
        super()._make(nodes, options)
        if options["kubeconfig"]:
            for node in self.nodes:
                node.agent.options["kubeconfig"] = self.kubeconfig

    def server(self, certificate=None, **options):
        context = self.authority.context(*(certificate or self.certificate), **options)
        made = api_server.ApiServer(self.store, context, self.protocols)
        made.token = TOKEN
        return made

    def listen(self, server=None, address=OUTSIDE_IP[V4], port=PORT):
        listener = self.outside.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        (server or self.api).listen(listener)

    @property
    def kubeconfig(self):
        return os.path.join(self.workdir, "kubeconfig")

    @property
    def token_file(self):
        return os.path.join(self.workdir, "token")

    def write_kubeconfig(self, server=f"https://{OUTSIDE_IP[V4]}:{PORT}", cluster=None, user=None, token=TOKEN):
        with open(self.token_file + ".new", "w", encoding="ascii") as file:
            file.write(token + "\n")
        os.rename(self.token_file + ".new", self.token_file)
        made = {"apiVersion": "v1", "kind": "Config", "current-context": "test",
                "contexts": [{"name": "test", "context": {"cluster": "test", "user": "polder"}}],
                "clusters": [{"name": "test", "cluster": cluster or {
                    "server": server, "certificate-authority-data": api_server.read_base64(self.authority.certificate)}}],
                "users": [{"name": "polder", "user": user or {"tokenFile": "token"}}]}
        with open(self.kubeconfig + ".new", "w", encoding="ascii") as file:
            json.dump(made, file)
        os.rename(self.kubeconfig + ".new", self.kubeconfig)

    @property
    def kept_file(self):
        return os.path.join(self.node.agent.options["state-dir"], "api-objects")

    def forget_kept(self):
        """What the next start waits for is the server."""
        self.node.agent.stop()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.kept_file)

    # ---- what polderd says

    def api_status(self, node=None):
        return (node or self.node).agent.ctl_json("status")["api"]

    def resource_status(self, name):
        return next(r for r in self.api_status()["resources"] if r["name"] == name)

    def problems(self):
        return [f"{p['source']} {p['path']} {p['reason']}" for p in self.node.agent.ctl_json("status")["problems"]]

    def wait_problem(self, *words, timeout=5):
        return wait_until(lambda: [p for p in self.problems() if all(word in p for word in words)],
                          lambda: f"a problem with {words}; there are {self.problems()}", timeout)[0]

    def wait_no_problem(self, timeout=10):
        wait_until(lambda: not self.problems(), lambda: f"no problem; there are {self.problems()}", timeout)

    def wait_connected(self, connected=True, timeout=15):
        for node in [node for node in self.nodes if node.agent.alive()]:
            wait_until(lambda n=node: self.api_status(n)["connected"] == connected,
                       lambda n=node: f"{n}: connected {connected}: {self.api_status(n)}", timeout)

    def wait_current(self, timeout=15):
        for node in self.nodes:
            wait_until(lambda n=node: all(r["current"] for r in self.api_status(n)["resources"]),
                       lambda n=node: f"{n}: current resources: {self.api_status(n)}", timeout)

    def metric(self, name, **labels):
        return self.node.agent.metrics().get((name, tuple(sorted(labels.items()))))

    def wait_listed(self, resource, since, timeout=15):
        wait_until(lambda: self.api.asked(resource, since, sendInitialEvents="true") or self.api.asked(resource, since, watch=None),
                   lambda: f"a list of {resource}", timeout)

    # ---- the world's own

    def policy_names(self):
        return {key for made, keys in self.resources.names.values() for resource, key in keys if resource == "networkpolicies"}

    def _restore_api(self):
        """The server is as it was before the test."""
        api = self.api
        api.streaming, api.bookmarks, api.token, api.page, api.expire_tokens = True, 1.0, TOKEN, 500, 0
        api.forbidden, api.absent = set(), {"clusternetworkpolicies", "trafficalerts"}
        api.refuse = api.before_patch = api.after_patch = None
        api.paused.clear()
        run(self.outside.command("nft", "flush", "ruleset"), check=False)
        if api.listener is None:
            self.listen()

    def end_of_test(self):
        self._restore_api()
        self.write_kubeconfig()
        for agent in [node.agent for node in self.nodes]:
            if agent.alive() and agent.options["kubeconfig"] not in (None, self.kubeconfig):
                agent.stop()
            agent.options["kubeconfig"] = agent.options["kubeconfig"] and self.kubeconfig
            if agent.alive():
                agent.process.send_signal(1)
        self.wait_connected()
        super().end_of_test()
        self._check_requests()

    def _check_requests(self):
        """No agent has asked the test's own server for what none may."""
        api = getattr(self, "api", None)
        if api:
            wrong, api.wrong = api.wrong, []
            assert not wrong, wrong

    def wait_policy(self, name, there=True, timeout=10):
        for node in self.nodes:
            wait_until(lambda n=node: (name in {p["name"] for p in n.agent.ctl_json("policy", "list")}) == there,
                       lambda n=node: f"{n}: policy {name} {'in' if there else 'not in'} force; {self.problems()}", timeout)

    @staticmethod
    def now():
        return time.monotonic()

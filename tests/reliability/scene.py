# SPDX-License-Identifier: Apache-2.0
"""A node with pods that talk, one that policy keeps away and that tries without end, and what must hold whatever is done to the node."""

import contextlib
import json
import os
import re
import socket
import subprocess
import threading
import time

from lib import objects
from lib.cni import CniError
from lib.netns import CommandError
from lib.objects import labels, policy
from lib.traffic import BOTH, Connection, Sender, UdpClient, wait_until
from lib.world import OUTSIDE_IP, World

MARK = b"nobody allowed this"
HERE = os.path.dirname(os.path.abspath(__file__))
# Seconds: the agent looks every 5 s, and tries again what failed after as many; on a busy machine it takes longer.
REPAIRED = 30


class Control:
    """A connection to the control socket. Its requests take no process."""

    def __init__(self, path, timeout=10):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(timeout)
        self.sock.connect(path)

    def ask(self, operation, **arguments):
        self.sock.sendall(json.dumps({"version": 1, "op": operation, "args": arguments}).encode() + b"\n")
        data = b""
        while not data.endswith(b"\n"):
            part = self.sock.recv(1 << 20)
            if not part:
                raise ConnectionResetError("the agent hung up")
            data += part
        return json.loads(data)

    def result(self, operation, **arguments):
        answer = self.ask(operation, **arguments)
        if not answer["ok"]:
            raise CommandError(f"{operation}: {answer['error']}")
        return answer["result"]

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Leaks:
    """How many frames with the mark have reached a link; nothing else is kept of what passes."""

    def __init__(self, netns):
        self.sock = netns.packet_socket("eth0")
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)

    def count(self):
        """Since the last call."""
        found = 0
        while True:
            try:
                frame, address = self.sock.recvfrom(2048)
            except BlockingIOError:
                return found
            found += address[2] != socket.PACKET_OUTGOING and MARK in frame

    def close(self):
        self.sock.close()


class Scene:
    """
    client talks with server, by its address and by its Service, over connections that stay; stranger sends to server without
    end, which a policy denies. `options` are the agent's.
    """

    def __init__(self, nodes=1, **options):
        self.stack = contextlib.ExitStack()
        self.trouble = []
        try:
            self.world = World(nodes=nodes, **options)
            self.stack.callback(self.world.close)
            self._pods()
            self._talk()
        except BaseException:
            self.stack.close()
            raise

    def _pods(self):
        world = self.world
        self.node, self.agent, self.resources = world.node, world.node.agent, world.resources
        self.client = world.pod("client", labels={"app": "client"})
        self.server = world.pod("server", labels={"app": "server"})
        self.stranger = world.pod("stranger", labels={"app": "stranger"})
        for where in (self.client, self.server, world.outside):
            world.serve(where, 8080)
            world.serve(where, 5353, "UDP")
        self.vip = world.service("server", 1, [
            objects.service_port(80, 8080, name="tcp"), objects.service_port(53, 5353, "UDP", name="udp")], {"app": "server"})

    def _talk(self):
        """The one that is kept away is heard until it is: a harness that hears nothing would find nothing."""
        self.leaks = Leaks(self.server.netns)
        self.stack.callback(self.leaks.close)
        targets = [(self.stranger, address, port, MARK.decode()) for family in BOTH
                   for address, port in ((self.server.ips[family], 5353), (self.vip[family], 53))]
        self.stack.enter_context(Sender(*targets, pause=0.001))
        wait_until(self.leaks.count, "what nobody denies yet arrives", 5)
        self.resources.put("policies", policy("server", labels(app="server"), policyTypes=["Ingress"], ingress=[
            {"from": [{"podSelector": labels(app="client")}]}]))
        self.world.policies_in_force()
        self.verdicts(within=1)
        self.flows = {}
        for family in BOTH:
            for address, tcp, udp in ((self.server.ips[family], 8080, 5353), (self.vip[family], 80, 53),
                                      (OUTSIDE_IP[family], 8080, 5353)):
                self.flows[f"tcp {address}"] = self.stack.enter_context(Connection(self.client, address, tcp))
                self.flows[f"udp {address}"] = self.stack.enter_context(UdpClient(self.client, address, udp))
            self.flows[f"node tcp {self.vip[family]}"] = self.stack.enter_context(Connection(self.node, self.vip[family], 80))
        for flow in self.flows.values():
            flow.ask()
        time.sleep(0.05)
        self.leaks.count()
        self.stop = threading.Event()
        self.talker = threading.Thread(target=self._keep_talking)
        self.talker.start()
        self.stack.callback(self._end)

    def _keep_talking(self):
        while not self.stop.is_set():
            for name, flow in list(self.flows.items()):
                error = self._ask(flow)
                if error and not self.stop.is_set():
                    self.trouble.append(f"{name}: {error}")
            self.stop.wait(0.02)

    @staticmethod
    def _ask(flow):
        """Patiently, for this machine may have no time: a datagram that is not answered is sent again."""
        error = None
        for timeout in (1.5, 3, 5) if isinstance(flow, UdpClient) else (10,):
            try:
                flow.ask(timeout)
                return None
            except (OSError, ValueError) as found:
                error = str(found) or type(found).__name__
        return error

    def _end(self):
        self.stop.set()
        self.talker.join()

    def close(self):
        self.stack.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # ---- what must hold

    def check(self, alive=True):
        """Since the last call nothing came through that is denied, no connection broke, and the agent lives if it should."""
        leaks, trouble = self.leaks.count(), self.trouble[:]
        del self.trouble[:len(trouble)]
        assert not leaks, f"{leaks} denied packets came through"
        assert not trouble, f"established flows: {'; '.join(trouble[:3])}"
        if alive:
            assert self.agent.alive(), f"polderd ended: {self.agent.log_tail(5)}"
        self.agent.check_log()

    def verdicts(self, within=0):
        """Of new flows."""
        cells = []
        for family in BOTH:
            cells += [(self.client, self.server.ips[family], 8080, "open"), (self.client, self.vip[family], 80, "open"),
                      (self.client, OUTSIDE_IP[family], 8080, "open"), (self.stranger, self.server.ips[family], 8080, "timeout"),
                      (self.stranger, self.vip[family], 80, "timeout")]
        self.world.expect(*cells, within=within)

    def control(self):
        return Control(self.agent.socket)

    def status(self):
        with self.control() as control:
            return control.result("status")

    def problems(self):
        return [f"{one['source']}: {one['reason']}" for one in self.status()["problems"]]

    # ---- the log

    @contextlib.contextmanager
    def telling(self, *patterns, timeout=REPAIRED):
        """Within the block, or soon, the log or the status says what matches each of these."""
        begin = len(self.agent.log())
        yield
        missing = list(patterns)

        def told():
            text = self.agent.log()[begin:]
            if any(not re.search(one, text) for one in missing):
                with contextlib.suppress(OSError, CommandError):
                    text += "\n".join(self.problems())
            missing[:] = [one for one in missing if not re.search(one, text)]
            return not missing
        wait_until(told, lambda: f"nothing says {missing}; the log: {self.agent.log()[begin:][-600:]}", timeout, 0.1)

    # ---- pods

    def may_connect(self, name):
        """An ADD, and its DEL: None, or the plugin's error in words."""
        try:
            self.world.pod(name).delete()
        except CniError as error:
            self._forget(name)
            return str(error)
        return None

    def plugin_fails(self, name):
        """An ADD that has to be refused: the plugin's error in words."""
        error = self.may_connect(name)
        assert error, "the pod was connected"
        return error

    def connects(self, name):
        """A pod can be connected, reaches what it may, and goes again."""
        pod = self.pod(name, app="client")
        try:
            for family in BOTH:
                self.world.expect((pod, self.server.ips[family], 8080, "open"), within=1)
        finally:
            pod.delete()

    def start(self):
        """The agent, not in the time that other tests have: this machine may be busy."""
        self.agent.start(wait=False)
        self.agent.wait_ready(90)

    def pod(self, name, **labels):
        """As a runtime does, it tries again where this machine was too busy to bring a link up in time."""
        for attempt in range(5):
            try:
                return self.world.pod(f"{name}-{attempt}" if attempt else name, labels=labels)
            except CniError as error:
                if "in time" not in str(error) or attempt == 4:
                    raise
                self._forget(name)
        return None

    def _forget(self, name):
        for pod in [one for one in self.world.pods if one.name.startswith(name)]:
            with contextlib.suppress(CniError):
                pod.call("DEL").result()
            pod.result = None
            pod.delete()

    def deny(self, name, label):
        """A policy that nothing may reach pods of this label."""
        self.resources.put(name, policy(name, labels(app=label), policyTypes=["Ingress"], ingress=[]))


def build_shim():
    """The library of shim.c, for LD_PRELOAD."""
    from lib.agent import BUILD
    path = os.path.join(BUILD, "tests", "reliability", "libshim.so")
    if not os.path.exists(path):
        raise FileNotFoundError(f"{path}: run ninja -C {BUILD}")
    return path


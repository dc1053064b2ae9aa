# SPDX-License-Identifier: Apache-2.0
"""The node on which things are tried: pods, policies and a Service, and traffic that never ends."""

import atexit
import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time

import calls
from lib import objects
from lib.agent import POLDER_CNI
from lib.cni import CniCall, cni_args
from lib.netns import CommandError, Namespace
from lib.objects import labels, policy
from lib.traffic import BOTH, SOCKET_FAMILY, V4, V6, Timeout
from lib.world import OUTSIDE_IP, World, _difference, _tree

TCP_PORT, UDP_PORT, MOVED_PORT, TOGGLED_PORT, LABELS_PORT = 8080, 5353, 5400, 9000, 9100
PR_SET_CHILD_SUBREAPER = 36
BOX_IP = {V4: "10.244.4.200", V6: "fd44:0:0:1::c8"}
STARTS = 90       # seconds in which a start ends somehow, on a busy machine
ARRIVES = 0.5     # seconds in which a datagram arrives that may
STAYS_OUT = 0.03  # and one that comes through would have come


class Traffic:
    """flows.py, with sockets of the node's pods."""

    def __init__(self, ground):
        self.fds, self.spec = [], {"flows": [], "denied": [], "knocks": [], "echoes": []}
        self.describe(ground)
        path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "flows.py")
        self.process = subprocess.Popen([sys.executable, path], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True,
                                        pass_fds=[sock.fileno() for sock in self.fds])
        self.process.stdin.write(json.dumps(self.spec) + "\n")
        self.process.stdin.flush()
        for sock in self.fds:
            sock.close()
        if self.process.stdout.readline() != "begun\n":
            raise CommandError("the traffic did not begin: see above")
        # Packets sent, answers seen, since forget(); the longest wait for an answer, in seconds.
        self.denied = self.answers = 0
        self.longest = 0.0

    def make(self, kind, name, where, family, proto, **more):
        number = {"TCP": 1, "UDP": 2}[proto]
        sock = where.socket(SOCKET_FAMILY[family], number)
        self.fds.append(sock)
        self.spec[kind].append({"fd": sock.fileno(), "name": f"{name}/v{family}", "proto": proto,
                                **more})
        return sock

    def echo(self, where, name, family, known):
        for proto, port in (("TCP", TCP_PORT), ("UDP", UDP_PORT)):
            sock = self.make("echoes", f"{name} {proto}", where, family, proto, known=known)
            sock.setsockopt(1, 2, 1)
            if family == V6:
                sock.setsockopt(41, 26, 1)
            sock.bind(("0.0.0.0" if family == V4 else "::", port))

    def flow(self, source, name, family, address, tcp=TCP_PORT, udp=UDP_PORT):
        for proto, port in (("TCP", tcp), ("UDP", udp)):
            self.make("flows", f"{source} to {name} {proto}", source, family, proto,
                      to=[address, port])

    def deny(self, source, name, family, address, tcp=TCP_PORT, udp=UDP_PORT):
        self.make("denied", f"{source} to {name}", source, family, "UDP", to=[address, udp])
        self.make("knocks", f"{source} to {name}", source, family, "TCP", to=[address, tcp])

    def describe(self, ground):
        client, server, outside = ground.client, ground.server, ground.world.outside
        for family in BOTH:
            pod, vip, far = server.ips[family], ground.vip[family], OUTSIDE_IP[family]
            own = ground.node.ips[family]
            self.echo(server, "server", family, [client.ips[family], own])
            self.echo(client, "client", family, [far])
            self.echo(outside, "outside", family, [own])
            self.echo(ground.box, "box", family, ["nobody"])
            self.flow(client, "server", family, pod)
            self.flow(client, "the Service", family, vip, 80, 53)
            self.flow(client, "outside", family, far)
            self.flow(ground.node, "the Service", family, vip, 80, 53)
            self.flow(outside, "client", family, client.ips[family])
            self.deny(ground.stranger, "server", family, pod)
            self.deny(ground.stranger, "the Service", family, vip, 80, 53)
            self.deny(ground.caged, "server", family, pod)
            self.deny(ground.caged, "outside", family, far)
            self.deny(outside, "server", family, pod)
            self.deny(ground.box, "server", family, pod)
            self.deny(ground.box, "outside", family, far)
            self.deny(client, "box", family, BOX_IP[family])
            self.deny(outside, "box", family, BOX_IP[family])

    def report(self):
        """What was seen since the last report, as a list of what is wrong."""
        self.process.stdin.write("report\n")
        self.process.stdin.flush()
        if not select.select([self.process.stdout], [], [], 10)[0]:
            return ["the traffic does not answer"]
        seen = json.loads(self.process.stdout.readline())
        self.denied += seen["denied"]
        self.answers += seen["answers"]
        self.longest = max(self.longest, seen["longest"])
        lost = [f"lost datagrams: {one}" for one in seen["lost"]]
        return ([f"denied packet came through: {one}" for one in seen["leaks"]]
                + [f"connection broken: {one}" for one in seen["broken"]] + lost)

    def forget(self):
        """Counts begin anew."""
        self.denied = self.answers = 0
        self.longest = 0.0

    def close(self):
        self.process.kill()
        self.process.wait()


class Orphan:
    """A process that a trace has left: our child from then on. As a Popen."""

    def __init__(self, pid):
        self.pid, self.returncode = pid, None

    def poll(self, options=os.WNOHANG):
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, options)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout=None):
        deadline = time.monotonic() + (timeout or 3600)
        while self.poll() is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(0.002)
        return self.returncode

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)


class Told:
    """What polderd tells a service manager: READY=1, without being asked."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(path)
        self.sock.setblocking(False)
        os.environ["NOTIFY_SOCKET"] = path

    def drain(self):
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(self.sock.recv(4096).decode(errors="replace"))
        return found

    def ready(self, running, timeout):
        """True once READY=1 came; False if `running` says that nobody will send it, or the time is over."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            alive = running()
            if any("READY=1" in text for text in self.drain()):
                return True
            if not alive:
                return False
            select.select([self.sock], [], [], 0.02)
        return False

    def close(self):
        self.sock.close()
        os.environ.pop("NOTIFY_SOCKET", None)


class Ground:
    """
    One node: `client` may talk with `server`, directly and through the Service; `stranger` may not, nor may the
    outside; `caged` may send nowhere; `box` is a namespace that is connected and disconnected, under addresses that
    are known before, and then may neither send nor be sent to. What is switched is on or off, and shows in packets.
    """

    def __init__(self, traffic=True, nodes=1, **options):
        self.world = World(nodes=nodes, start=False, **options)
        self.switches = {"policy": False, "service": False, "labels": False}
        self.before, self.traffic = {}, None
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        try:
            self.told = Told(os.path.join(self.world.workdir, "notify"))
            self.world.cleanup.callback(self.told.close)
            for node in self.world.nodes:
                self.start_agent(node.agent)
            self.make_pods()
            self.make_objects()
            self.make_box()
            self.make_probes()
            if traffic:
                self.traffic = Traffic(self)
                self.world.cleanup.callback(self.traffic.close)
        except BaseException:
            self.world.close()
            raise

    def close(self):
        self.world.close()

    # ---- what there is

    def make_pods(self):
        world = self.world
        self.node, self.agent = world.node, world.node.agent
        self.node.netns.sysctl(**{"net/ipv4/ip_forward": 1, "net/ipv6/conf/all/forwarding": 1})
        self.client = world.pod("client", labels={"app": "client"})
        self.server = world.pod("server", labels={"app": "server"})
        self.friend = world.pod("friend", labels={"app": "stranger"})
        self.stranger = world.pod("stranger", labels={"app": "stranger"})
        self.caged = world.pod("caged", labels={"app": "caged"})

    def make_objects(self):
        world = self.world
        self.put_switch("policy", False)
        self.write_policies()
        self.vip = world.service("web", 1, [
            objects.service_port(80, TCP_PORT, name="tcp"),
            objects.service_port(53, UDP_PORT, "UDP", name="udp")], {"app": "server"})
        self.moved_vip = {family: world.service_ip(2, family) for family in BOTH}
        self.put_switch("service", False)
        world.policies_in_force()

    def write_policies(self):
        self.world.resources.put("policies", objects.item_list([
            policy("server", labels(app="server"), policyTypes=["Ingress"], ingress=[
                {"from": [{"podSelector": labels(app="client")}],
                 "ports": [{"port": TCP_PORT}, {"port": UDP_PORT, "protocol": "UDP"},
                           {"port": MOVED_PORT, "endPort": MOVED_PORT + 1, "protocol": "UDP"}]}]),
            policy("caged", labels(app="caged"), policyTypes=["Egress"]),
            policy("box", labels(app="box"), policyTypes=["Egress", "Ingress"])]))

    def make_box(self):
        world = self.world
        self.box = Namespace("n1-box", world.unique, self.node.factory)
        world.cleanup.callback(self.box.delete)
        self.box.sysctl(**{"net/ipv6/conf/all/accept_dad": 0,
                           "net/ipv6/conf/default/accept_dad": 0})
        self.box.ip("link set lo up")
        self.box_id, self.box_result = f"{world.unique}-box", None
        world.resources.put("pod-default-box", objects.pod(
            "box", labels={"app": "box"}, node_name=self.node.name, ips=list(BOX_IP.values())))
        self.config = self.node.cni_config(
            "1.1.0", capabilities={"ips": True}, runtimeConfig={"ips": list(BOX_IP.values())},
            args={"labels": [{"key": "app", "value": "box"}]})

    def make_probes(self):
        """Sockets whose datagrams show what the switches are."""
        self.senders = {(where, family): self.own_socket(where, family)
                        for where in (self.client, self.friend) for family in BOTH}
        self.listeners = {(port, family): self.own_socket(self.server, family, port)
                          for port in (MOVED_PORT, MOVED_PORT + 1, TOGGLED_PORT, LABELS_PORT)
                          for family in BOTH}
        self.probes = 0

    def own_socket(self, where, family, port=0):
        sock = where.socket(SOCKET_FAMILY[family], socket.SOCK_DGRAM)
        self.world.cleanup.callback(sock.close)
        if family == V6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(("0.0.0.0" if family == V4 else "::", port))
        sock.setblocking(False)
        return sock

    # ---- what can be switched

    def put_switch(self, which, on):
        """Writes the object; nobody waits for it."""
        self.switches[which] = on
        if which == "policy":
            self.world.resources.put("switch", policy(
                "switch", labels(app="server"), policyTypes=["Ingress"], ingress=[
                    {"from": [{"podSelector": labels(app="client")}], "ports": [
                        {"port": TOGGLED_PORT if on else TOGGLED_PORT + 1, "protocol": "UDP"}]},
                    {"from": [{"podSelector": labels(app="friend")}], "ports": [
                        {"port": LABELS_PORT, "protocol": "UDP"}]}]))
        elif which == "service":
            self.world.resources.put("moved", objects.service(
                "moved", list(self.moved_vip.values()),
                [objects.service_port(53, MOVED_PORT + on, "UDP")], {"app": "server"}))
        else:
            self.friend.relabel(app="friend" if on else "stranger")

    def arrives(self, source, family, address, port, listening, expected):
        """Does a datagram come to the listening port? Waits as long as the expectation may take."""
        self.probes += 1
        text, deadline = b"probe %d" % self.probes, time.monotonic() + (ARRIVES if expected else STAYS_OUT)
        listener, again = self.listeners[listening, family], 0
        while time.monotonic() < deadline:
            if time.monotonic() >= again:
                with contextlib.suppress(OSError):
                    self.senders[source, family].sendto(text, (address, port))
                again = time.monotonic() + 0.1
            if select.select([listener], [], [], 0.01)[0] and listener.recv(100) == text:
                return True
        return False

    def wrong_switches(self):
        wrong = []
        for family in BOTH:
            pod, vip = self.server.ips[family], self.moved_vip[family]
            for which, source, address, port, listening in (
                    ("policy", self.client, pod, TOGGLED_PORT, TOGGLED_PORT),
                    ("labels", self.friend, pod, LABELS_PORT, LABELS_PORT)):
                on = self.switches[which]
                if self.arrives(source, family, address, port, listening, on) != on:
                    wrong.append(f"{which} is not {'on' if on else 'off'} for v{family}")
            now = MOVED_PORT + self.switches["service"]
            if not self.arrives(self.client, family, vip, 53, now, True):
                wrong.append(f"the Service is not the one of before or after the change for v{family}")
        return wrong

    # ---- the agent

    def agent_arguments(self, agent=None):
        """polderd and its options, without what brings it into its namespace."""
        agent = agent or self.agent
        return agent.command()[len(agent.node.process_command()):]

    def kill_agent(self, agent=None):
        agent = agent or self.agent
        agent.end_expected = True
        if agent.alive():
            agent.process.kill()
        if agent.process:
            agent.process.wait(10)

    def start_agent(self, agent=None, timeout=STARTS):
        """Starts it and waits until it is ready."""
        agent = agent or self.agent
        self.told.drain()
        agent.start(wait=False)
        if not self.told.ready(agent.alive, timeout):
            state = "is not ready" if agent.alive() else f"ended with status {agent.process.returncode}"
            raise CommandError(f"polderd {state}: {agent.log_tail(5)}")

    def start_traced(self, rule=None, describe=False, agent=None, timeout=STARTS):
        """
        A start under a trace, until it is ready or has ended: (what was seen, is it ready). Where
        it still runs it is the node's agent, and traced no more.
        """
        agent = agent or self.agent
        self.told.drain()
        with open(agent.log_path, "ab") as log:
            trace = calls.Trace(self.list_path(), rule, self.agent_arguments(agent), describe=describe,
                                wrap=agent.node.process_command, stdin=subprocess.DEVNULL, stdout=log,
                                stderr=log)
        ready = self.told.ready(trace.running, timeout)
        result = trace.end()
        if result.how == "left":
            agent.process, agent.end_expected = Orphan(result.status), False
        return result, ready and result.how == "left"

    def trace_agent(self, rule=None, describe=False):
        return calls.Trace(self.list_path(), rule, pid=self.agent.process.pid, describe=describe)

    def list_path(self):
        return os.path.join(self.world.workdir, "calls")

    # ---- the box, by the plugin

    def plugin(self, command, config=None, **more):
        """The running call, as the runtime makes it."""
        return CniCall(command, config or self.config, **self.plugin_options(command), **more)

    def plugin_options(self, command):
        if command == "GC":
            return {"env": {"CNI_IFNAME": None, "CNI_CONTAINERID": None, "CNI_NETNS": None}}
        return {"container_id": self.box_id, "netns": self.box.path,
                "args": cni_args("default", "box")}

    def plugin_config(self, command):
        if command == "CHECK":
            return {**self.config, "prevResult": self.box_result}
        if command == "GC":
            valid = [{"containerID": pod.container_id, "ifname": "eth0"} for pod in self.world.pods]
            return {**self.config, "cni.dev/valid-attachments": valid}
        return self.config

    def call(self, command, timeout=70):
        """(exit status, the answer) of a whole call."""
        status, out, err = self.plugin(command, self.plugin_config(command)).finish(timeout)
        try:
            answer = json.loads(out) if out.strip() else {}
        except ValueError:
            answer = {"msg": out}
        if status == 0 and command == "ADD":
            self.box_result = answer
        elif command in ("DEL", "GC") and status == 0:
            self.box_result = None
        return status, {**answer, "stderr": err.strip()}

    def must(self, command):
        """What is wrong with the call, as a list."""
        status, answer = self.call(command)
        for _ in range(3):
            # A kernel without a CPU for a second is no fault of an ADD's.
            if status == 0 or "in time" not in answer.get("details", ""):
                break
            self.call("DEL")
            status, answer = self.call(command)
        return [] if status == 0 else [f"{command} again: {answer.get('msg')} "
                                       f"{answer.get('details', '')} {answer['stderr']}"]

    def box_links(self):
        return [link["ifname"] for link in self.box.ip_json("link", "show")]

    # ---- what must be so

    def measure(self, node=None):
        """All that may be left behind. The agent runs."""
        self.told.drain()  # what nobody takes would be a fault of the service manager's
        node = node or self.node
        found = node.ruler()
        found["state"] = [name for name in _tree(node.agent.options["state-dir"])
                          if not name.startswith("last-good/")]
        if node is self.node:  # whose the box is
            found["box"] = self.box_links()
        del found["maps"]["rule_counters"]  # packets fill it, when a rule is first met
        return found

    def remember(self):
        """As it is now it must be again whenever the switches are like this and the box is away."""
        self.before[tuple(self.switches.items())] = self.measure()

    def left_behind(self, patience=3):
        """What differs from what was remembered."""
        before, deadline = self.before[tuple(self.switches.items())], time.monotonic() + patience
        while True:
            now = self.measure()
            different = {key: _difference(before[key], now[key]) for key in before
                         if before[key] != now[key]}
            if not different:
                return []
            if time.monotonic() > deadline:
                return [f"left behind: {key} {value}" for key, value in different.items()]
            time.sleep(0.05)

    def wrong_now(self, box=False, patience=3):
        """
        Everything that is wrong; the agent runs. `box`: it is connected. `patience`: seconds until
        nothing is left behind, and what was switched shows.
        """
        deadline = time.monotonic() + patience
        wrong = self.traffic.report() if self.traffic else []
        if not self.agent.alive():
            return wrong + [f"polderd ended with status {self.agent.process.returncode}: "
                            f"{self.agent.log_tail(3)}"]
        if not box:
            wrong += self.left_behind(patience)
        switches = self.wrong_switches()
        while switches and time.monotonic() < deadline:
            time.sleep(0.05)
            switches = self.wrong_switches()
        return wrong + switches

    # ---- faults that must be seen

    def leave_something(self):
        with open(os.path.join(self.agent.options["run-dir"], "pods", ".left.json.tmp"), "wb"):
            pass
        self.node.netns.ip("route add blackhole 203.0.113.77/32")

    def take_it_away(self):
        os.unlink(os.path.join(self.agent.options["run-dir"], "pods", ".left.json.tmp"))
        self.node.netns.ip("route del blackhole 203.0.113.77/32")

    def break_a_connection(self):
        """The server's end of one is taken away by the kernel."""
        self.server.netns.run("ss", "-K", "sport", "=", f":{TCP_PORT}")


_shared = []


def shared(begin):
    """The node of all short parts, made by begin() for the first of them, and taken down when the program ends."""
    if not _shared:
        _shared.append(begin())
        atexit.register(_shared[0].close)
    return _shared[0]

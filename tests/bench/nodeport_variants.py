# SPDX-License-Identifier: Apache-2.0
"""What forwards packets for node ports to another node's endpoints: Polder in XDP, Polder in TC, kube-proxy's rules.

A node, another one whose address the endpoints have, and a client beyond the router, on one link (tests/netns/lib/world.py). The other
node is a plain one, and the same beside each."""

import contextlib
import os
import subprocess

import rules
from lib import objects
from lib.netns import Namespace, run
from lib.traffic import V4, wait_until
from lib.world import OUTSIDE_IP, WORLD_IP, World
from variants import SERVICE_PORT, endpoint_port, service_ip

SERVICES = 1000
FIRST_NODE_PORT = 30000
MIDDLE = SERVICES // 2  # its endpoint is a server; those behind it get frames
SPREAD = 8              # so many Services have the frames' flows
ENDPOINT = "10.244.8.9"
CLIENT = "198.51.100.77"  # of frames that are made: beyond the router, as WORLD_IP


def node_port(number):
    return FIRST_NODE_PORT + number


def napi_threads():
    """Numbers of the threads that poll links."""
    found = set()
    for entry in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if entry.isdigit() and open(f"/proc/{entry}/comm", encoding="ascii").read().startswith("napi/"):
                found.add(int(entry))
    return found


class Forwarding:
    """`kind`: "Polder" or "nftables"; `xdp`: whether Polder may forward there."""

    def __init__(self, name, kind, xdp=True):
        self.name, self.in_xdp, self.pollers = name, kind == "Polder" and xdp, set()
        self.world = World(nodes=2, start=False, **({} if xdp else {"xdp": "off"}))
        try:
            self._connect()
            if kind == "Polder":
                self._start_polder()
            else:
                self._load_rules()
        except BaseException:
            self.close()
            raise

    def _connect(self):
        """As cards are: links that poll, and frames with whole sums."""
        world = self.world
        self.node, self.other = world.nodes
        self.link = f"p-{self.node.label}"
        for netns, link in ((world.fabric, self.link), (self.node.netns, "eth0")):
            netns.run("ethtool", "-K", link, "gro", "on")
        for netns in (world.outside, self.node.netns, self.other.netns):
            netns.run("ethtool", "-K", "eth0", "tx", "off")
        self.node.netns.sysctl(**{"net/ipv4/ip_forward": 1})
        self.other.netns.ip(f"address add {ENDPOINT}/32 dev lo")
        # The client that is timed is beyond the router, as far as the node knows: else each packet would have the node's stack think of a redirect.
        world.outside.ip(f"route replace {OUTSIDE_IP[V4].rsplit('.', 1)[0]}.0/24 dev eth0 src {WORLD_IP[V4]}")
        world.outside.sysctl(**{"net/ipv4/tcp_tw_reuse": 1})

    def _start_polder(self):
        for number in range(SERVICES):
            port = {**objects.service_port(SERVICE_PORT, endpoint_port(number, SERVICES)), "nodePort": node_port(number)}
            self.world.resources.put(
                f"service-{number}", objects.service(f"service-{number}", [service_ip(number)], [port], ns="bench", type="NodePort"),
                objects.endpoint_slice(f"service-{number}-a", f"service-{number}", [objects.endpoint(ENDPOINT, self.other.name)],
                                       [objects.slice_port(endpoint_port(number, SERVICES))], ns="bench"))
        self.node.agent.start()

    def _load_rules(self):
        services = [rules.Service(i, service_ip(i), (ENDPOINT,), endpoint_port(i, SERVICES)) for i in range(SERVICES)]
        text = rules.make("nftables", services) + rules.nftables_node_ports({i: node_port(i) for i in range(SERVICES)})
        self.node.netns.run(*rules.COMMAND["nftables"], stdin=text, timeout=300)
        # Injected segments have no true sequence numbers.
        self.node.netns.sysctl(**{"net/netfilter/nf_conntrack_tcp_be_liberal": 1})

    def target(self):
        """Address and port of the Service whose endpoint is a server."""
        return self.node.ips[V4], node_port(MIDDLE)

    def wire_arguments(self):
        return [self.link, self.node.netns.mac(), self.world.outside.mac(), CLIENT, self.node.ips[V4], str(node_port(MIDDLE + 1)),
                str(SPREAD), ENDPOINT]

    def wait_for_server(self):
        address, port = self.target()

        def answers():
            done = run(self.world.outside.command("/bin/bash", "-c", f"exec 3<>/dev/tcp/{address}/{port}"), check=False)
            return done.returncode == 0
        wait_until(answers, f"{self.name}: {address}:{port} reaches the server", 60, 0.2)

    @contextlib.contextmanager
    def polled_by_thread(self, cpu):
        """The node's link is polled by the kernel's own thread, which runs on this CPU before all processes, whoever sends."""
        def set_threaded(value):
            run(["ip", "netns", "exec", self.node.netns.name, "sh", "-c", f"echo {value} > /sys/class/net/eth0/threaded"])
        if not self.pollers:
            before = napi_threads()
            set_threaded(1)
            self.pollers = napi_threads() - before
            for pid in self.pollers:
                os.sched_setaffinity(pid, {cpu})
                os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(1))
        set_threaded(1)
        try:
            yield
        finally:
            set_threaded(0)

    def xdp_frames(self):
        """How many frames the uplink's driver got back from XDP to be sent."""
        text = self.node.netns.run("ethtool", "-S", "eth0").stdout
        return sum(int(line.split(":")[1]) for line in text.splitlines() if "_xdp_redirect:" in line)

    def close(self):
        self.world.close()


class Alone:
    """Two ends of a link, one of which drops all that comes: what making frames and bringing them to a link costs by itself."""

    name = "frames alone"

    def __init__(self, unique, program):
        self.stack = contextlib.ExitStack()
        self.fabric, self.node = Namespace("alone-f", unique), Namespace("alone-n", unique)
        self.stack.callback(self.node.delete)
        self.stack.callback(self.fabric.delete)
        self.fabric.ip(f"link add wire type veth peer name eth0 netns {self.node.name}", "link set wire up")
        self.node.ip("link set eth0 up")
        self.process = subprocess.Popen(self.node.command(program, "drop", "eth0"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.stack.callback(self._end)
        if self.process.stdout.readline().strip() != "dropping":
            raise RuntimeError("frames alone: the link does not drop frames")

    def wire_arguments(self):
        return ["wire", self.node.mac(), self.fabric.mac("wire"), CLIENT, "192.0.2.1", "30000", "1", "192.0.2.2"]

    def _end(self):
        self.process.stdin.close()
        self.process.wait(10)

    def close(self):
        self.stack.close()

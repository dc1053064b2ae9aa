# SPDX-License-Identifier: Apache-2.0
"""What is compared: a client and a server behind one node, connected by routing, kube-proxy's rules, or Polder."""

import ctypes
import mmap
import os
import socket
import struct
import time

import rules
from lib import objects
from lib.netns import Namespace, run
from lib.traffic import wait_until
from lib.world import World

SERVER_PORT = 8080
SERVICE_PORT = 80
CHANGED_PORT = 9999
BPF_MAP_LOOKUP_ELEM, BPF_OBJ_GET, SYSCALL_BPF = 1, 7, 321 if os.uname().machine == "x86_64" else 280
FLOW_TABLES = ("flows4", "flow_tags4", "flow_usage")  # in the order they are emptied; not every layout has all of them


def pinned_path(bpffs, name):
    return next((os.path.join(base, name) for base, _, names in os.walk(bpffs) if name in names), None)


def array_length(fd):
    """Bytes of an array's memory: elements stand at multiples of eight."""
    with open(f"/proc/self/fdinfo/{fd}", encoding="utf-8") as file:
        info = dict(line.split(":", 1) for line in file)
    return -(-int(info["value_size"]) // 8) * 8 * int(info["max_entries"])


def bpf(command, attributes):
    """-1 with errno."""
    return ctypes.CDLL(None, use_errno=True).syscall(SYSCALL_BPF, command, attributes, len(attributes))


def open_map(path):
    text = ctypes.create_string_buffer(path.encode())
    fd = bpf(BPF_OBJ_GET, struct.pack("QII112x", ctypes.addressof(text), 0, 0))
    if fd < 0:
        raise OSError(ctypes.get_errno(), f"cannot open {path}")
    return fd


def open_array(path, access):
    """A pinned array's memory: looking at it costs nothing."""
    fd = open_map(path)
    try:
        return mmap.mmap(fd, -(-array_length(fd) // mmap.PAGESIZE) * mmap.PAGESIZE, mmap.MAP_SHARED, access)
    finally:
        os.close(fd)


class ServiceEntry:
    """What stands in the maps for a Service's address and port; it names another range of endpoints after each change."""

    def __init__(self, bpffs, address, port):
        self.fd = open_map(pinned_path(bpffs, "services"))
        mapped = bytes(10) + b"\xff\xff" + socket.inet_aton(address)
        self.key = ctypes.create_string_buffer(struct.pack("!16sHBB", mapped, port, socket.IPPROTO_TCP, 0), 20)
        self.value = ctypes.create_string_buffer(64)

    def read(self):
        """None: there is none."""
        found = bpf(BPF_MAP_LOOKUP_ELEM, struct.pack("IxxxxQQQ96x", self.fd, ctypes.addressof(self.key), ctypes.addressof(self.value), 0))
        return self.value.raw if found == 0 else None

    def close(self):
        os.close(self.fd)


def service_ip(number):
    return f"10.96.{number // 250}.{number % 250 + 1}"


def other_port(turn):
    """The port that the middle Service's endpoint gets at a change."""
    return CHANGED_PORT if turn % 2 == 0 else SERVER_PORT


def endpoint_port(number, services):
    """The server answers on the middle Service's; the others' differ, so that flows to one endpoint are never the same there."""
    return SERVER_PORT if number == services // 2 else 10000 + number


class Variant:
    """`services` 0: the client speaks to the server's own address."""

    def __init__(self, name, services=0):
        self.name, self.services = name, services
        self.load_seconds = self.changed_at = None

    def target(self, turn=0):
        """Address and port that the client speaks to: a Service in the middle, for later turns its neighbours."""
        if not self.services:
            return self.server_ip, SERVER_PORT
        return service_ip((self.services // 2 + turn) % self.services), SERVICE_PORT

    def forget_flows(self):
        """So that frames of a new flow meet none of an earlier turn."""


class Routed(Variant):
    """Three namespaces; the middle one is the node. `kind` None, "conntrack", "iptables", "nftables"."""

    def __init__(self, name, unique, kind=None, services=0):
        super().__init__(name, services)
        self.kind = kind
        label = name.replace(" ", "").replace(",", "")
        self.client, self.node, self.server = (Namespace(f"{label}-{part}", unique)
                                               for part in ("c", "n", "s"))
        self.client_ip, self.server_ip = "10.1.0.2", "10.2.0.2"
        self._plug(self.client, "client", "10.1.0")
        self._plug(self.server, "server", "10.2.0")
        self.node.sysctl(**{"net/ipv4/ip_forward": 1})
        self.client.ip("route add default via 10.1.0.1")
        self.server.ip("route add default via 10.2.0.1")
        self.link = "client"
        self.server_link, self.server_path = "eth0", self.server.path
        self.client_mac = self.client.mac("eth0")
        self._neighbours()
        if kind:
            self._load()

    def _plug(self, netns, link, network):
        netns.ip("link set lo up")
        self.node.ip(f"link add {link} type veth peer name eth0 netns {netns.name}",
                     f"address add {network}.1/24 dev {link}", f"link set {link} up", "link set lo up")
        netns.ip(f"address add {network}.2/24 dev eth0", "link set eth0 up")

    def _neighbours(self):
        """Permanent: none is asked for while time is taken."""
        for netns, link, network in ((self.client, "client", "10.1.0"), (self.server, "server", "10.2.0")):
            netns.ip(f"neigh replace {network}.1 lladdr {self.node.mac(link)} dev eth0 nud permanent")
            self.node.ip(f"neigh replace {network}.2 lladdr {netns.mac('eth0')} dev {link} nud permanent")

    def _load(self):
        services = [rules.Service(i, service_ip(i), (self.server_ip,), endpoint_port(i, self.services))
                    for i in range(self.services)]
        text = rules.make(self.kind, services)
        begun = time.monotonic()
        self.node.run(*rules.COMMAND[self.kind], stdin=text, timeout=300)
        self.load_seconds = time.monotonic() - begun
        # Injected segments have no true sequence numbers.
        self.node.sysctl(**{"net/netfilter/nf_conntrack_tcp_be_liberal": 1})

    def change_endpoint(self, turn):
        """Seconds until the Service's endpoint is another one in the kernel."""
        number = self.services // 2
        text = rules.change(self.kind, rules.Service(number, service_ip(number), (self.server_ip,), other_port(turn)))
        begun = self.changed_at = time.monotonic()
        self.node.run(*rules.CHANGE_COMMAND[self.kind], stdin=text, timeout=60)
        return time.monotonic() - begun

    def forget_flows(self):
        if self.kind:
            self.node.run("conntrack", "-F", check=False)

    def close(self):
        for netns in (self.client, self.node, self.server):
            netns.delete()


def service_objects(number, endpoint, services, port=None):
    port = port or endpoint_port(number, services)
    service = objects.service(f"service-{number}", [service_ip(number)],
                              [objects.service_port(SERVICE_PORT, port)], ns="bench")
    piece = objects.endpoint_slice(f"service-{number}-a", f"service-{number}",
                                   [objects.endpoint(endpoint)], [objects.slice_port(port)], ns="bench")
    return [service, piece]


def policies():
    """Client and server are isolated both ways and may do what they do; others are there besides."""
    def peer(app):
        return [{"podSelector": objects.labels(app=app)}]
    port = [{"protocol": "TCP", "port": SERVER_PORT}, {"protocol": "TCP", "port": CHANGED_PORT, "endPort": 32000}]
    made = [objects.policy("server", objects.labels(app="server"), "bench", policyTypes=["Ingress", "Egress"],
                           ingress=[{"from": peer("client"), "ports": port}]),
            objects.policy("client", objects.labels(app="client"), "bench", policyTypes=["Ingress", "Egress"],
                           egress=[{"to": peer("server"), "ports": port}])]
    for number in range(20):
        made.append(objects.policy(f"other-{number}", objects.labels(app="server"), "bench", policyTypes=["Ingress"],
                                   ingress=[{"from": [{"ipBlock": {"cidr": f"192.0.2.{number * 8}/29"}}],
                                             "ports": [{"protocol": "TCP", "port": 9000 + number}]}]))
    return made


class Polder(Variant):
    """The real agent and plugin; a file for each Service, as a controller would write them."""

    def __init__(self, name, services, policy):
        super().__init__(name, services)
        self.world = World(start=False)
        self.agent = self.world.node.agent
        resources = self.world.resources
        self.endpoint = "10.244.4.2"
        for number in range(services):
            resources.put(f"service-{number}", *service_objects(number, self.endpoint, services))
        if policy:
            resources.put("policies", *policies())
        begun = time.monotonic()
        self.agent.start()
        self.load_seconds = time.monotonic() - begun
        paths = [pinned_path(self.world.node.bpffs, name) for name in FLOW_TABLES]
        self.tables = [open_array(path, mmap.PROT_READ | mmap.PROT_WRITE) for path in paths if path]
        self.pass_seconds = []
        self._connect_pods()

    def _connect_pods(self):
        world = self.world
        server = world.pod("server", "bench", labels={"app": "server"})
        client = world.pod("client", "bench", labels={"app": "client"})
        self.client, self.node, self.server = client.netns, world.node.netns, server.netns
        self.client_ip, self.server_ip = client.ips[4], server.ips[4]
        self.link = client.host_link
        self.server_link, self.server_path = "eth0", server.netns.path
        self.client_mac = client.mac
        if self.server_ip != self.endpoint:
            self.endpoint = self.server_ip
            for number in range(self.services):
                world.resources.put(f"service-{number}", *service_objects(number, self.endpoint, self.services))
        self._wait_for_services()

    def _wait_for_services(self):
        address, port = self.target()

        def answers():
            done = run(self.client.command("/bin/bash", "-c", f"exec 3<>/dev/tcp/{address}/{port}"), check=False)
            return done.returncode == 0 or "refused" in done.stderr
        wait_until(answers, f"{self.name}: {address}:{port} reaches the server", 60, 0.2)

    def change_endpoint(self, turn):
        """Seconds until the Service's entry in the maps names the changed endpoint: it is written last of all."""
        number, port = self.services // 2, other_port(turn)
        made = service_objects(number, self.endpoint, self.services, port)
        self._settle()
        entry = ServiceEntry(self.world.node.bpffs, service_ip(number), SERVICE_PORT)
        before = entry.read()
        begun = self.changed_at = time.monotonic()
        self.world.resources.put(f"service-{number}", *made)
        while entry.read() == before:
            if time.monotonic() - begun > 10:
                raise TimeoutError(f"{self.name}: the change of an endpoint did not reach the maps")
            time.sleep(0.0002)
        seconds = time.monotonic() - begun
        entry.close()
        self.pass_seconds.append(self.agent.metrics()["polder_reconcile_seconds", ()])
        active = [backend["port"] for service in self.agent.ctl_json("service", "list")
                  if service["name"] == f"service-{number}" for backend in service["backends"]
                  if backend["state"] == "active"]
        if active != [port]:
            raise RuntimeError(f"{self.name}: the Service's entry changed, but the endpoint's port is {active}")
        return seconds

    def _settle(self):
        """What the last change left to be done later is done."""
        def reconciles():
            return self.agent.metrics()["polder_reconciles_total", ()]
        since, last = time.monotonic(), reconciles()
        while time.monotonic() - since < 0.3:
            time.sleep(0.02)
            now = reconciles()
            if now != last:
                since, last = time.monotonic(), now

    def forget_flows(self):
        for table in self.tables:
            table[:] = bytes(len(table))

    def resident(self):
        """MiB, without the maps of the kernel that the agent has in its address space: they are there without it, too."""
        pages, name = 0, ""
        with open(f"/proc/{self.agent.process.pid}/smaps", encoding="utf-8") as file:
            for line in file:
                words = line.split()
                if "-" in words[0] and not words[0].endswith(":"):
                    name = words[-1]
                elif words[0] == "Rss:" and name != "anon_inode:bpf-map":
                    pages += int(words[1])
        return pages / 1024

    def close(self):
        self.world.close()

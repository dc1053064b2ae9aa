# SPDX-License-Identifier: Apache-2.0
"""A small network: nodes on one link, the outside behind a router, pods, and what they all serve."""

import contextlib
import json
import os
import re
import shutil
import tempfile

from . import objects, verdicts
from .agent import Agent, Resources
from .cni import CniCall, cni_args
from .netns import CommandError, Namespace, SocketFactory, run
from .traffic import BOTH, PATIENCE, V4, V6, Server, ServerLoop, Timeout, wait_until
from .verdicts import IN_FORCE

NODE_LINK = {V4: "172.30.0", V6: "fd30:"}
OUTSIDE_IP = {V4: "172.30.0.1", V6: "fd30::1"}  # the router's address on the nodes' link
WORLD_IP = {V4: "198.51.100.1", V6: "2001:db8:51::1"}  # an address beyond that link
FAR_IP = {V4: "203.0.113.2", V6: "2001:db8:f::2"}  # beyond the router, behind a narrow link
FAR_ROUTER_IP = {V4: "203.0.113.1", V6: "2001:db8:f::1"}
FAR_MTU = 1300  # of the router's side only: the far end offers a segment size that does not fit
SERVICE_NET = {V4: "10.96.", V6: "fd96::"}


def cgroup2_root():
    for path in ("/sys/fs/cgroup/unified", "/sys/fs/cgroup"):
        if os.path.exists(os.path.join(path, "cgroup.procs")) \
                and os.path.exists(os.path.join(path, "cgroup.controllers")):
            return path
    raise RuntimeError("no cgroup2 hierarchy at /sys/fs/cgroup/unified or /sys/fs/cgroup")


def remove_leftover_cgroups():
    """
    Empty ones of runs whose process is no more. In a sandbox of tests/run, which cleans up itself, the processes of another suite
    that runs are not to be seen: nothing is removed there.
    """
    if "POLDER_TEST_NETWORK" in os.environ:
        return
    root = cgroup2_root()
    for name in os.listdir(root):
        match = re.fullmatch(r"polder-test-(\d+)x.*", name)
        if match and not os.path.exists(f"/proc/{match[1]}"):
            with contextlib.suppress(OSError):
                os.rmdir(os.path.join(root, name))


class Pod:
    """A network namespace that polder-cni connected to a node."""

    def __init__(self, world, node, name, ns, labels=None, ports=(), config=None, object_first=True,
                 with_object=True):
        self.world, self.node, self.name, self.ns = world, node, name, ns
        self.labels, self.ports = dict(labels or {}), ports
        self.container_id = f"{world.unique}{node.label}{ns}{name}".replace("_", "-")
        self.config = config or node.cni_config()
        self.with_object = with_object
        self.netns = Namespace(f"{node.label}-{ns}-{name}", world.unique, node.factory)
        self.netns.ip("link set lo up")
        self.ips, self.result = {}, None
        if with_object and object_first:
            self.write_object()

    def __repr__(self):
        return f"{self.ns}/{self.name}"

    def write_object(self, **more):
        self.world.resources.put(f"pod-{self.ns}-{self.name}", objects.pod(
            self.name, self.ns, self.labels, self.node.name, list(self.ips.values()), self.ports,
            **more))

    def relabel(self, **labels):
        self.labels = labels
        self.write_object()

    def call(self, command, config=None, **options):
        values = {"container_id": self.container_id, "netns": self.netns.path,
                  "args": cni_args(self.ns, self.name), **options}
        return CniCall(command, config or self.config, **values)

    def add(self):
        self.take(self.call("ADD").result())

    def take(self, result):
        self.result = result
        for ip in self.result["ips"]:
            address = ip["address"].split("/")[0]
            self.ips[V6 if ":" in address else V4] = address
        self.mac = next(i["mac"] for i in result["interfaces"] if i.get("sandbox"))
        if self.with_object:
            self.write_object()

    def delete(self, keep_object=False):
        if self.result is not None:
            self.result = None
            self.call("DEL").result()
        if not keep_object:
            self.world.resources.delete(f"pod-{self.ns}-{self.name}")
        self.netns.delete()
        if self in self.world.pods:
            self.world.pods.remove(self)

    def check(self):
        return self.call("CHECK", {**self.config, "prevResult": self.result}).result()

    @property
    def host_link(self):
        """The host side's name."""
        peer = self.netns.ip_json("link", "show", "dev", "eth0")[0]["link_index"]
        for link in self.node.netns.ip_json("link", "show"):
            if link["ifindex"] == peer:
                return link["ifname"]
        raise Timeout(f"{self}: no host side with index {peer}")

    def gateway_mac(self):
        return self.node.netns.mac(self.host_link)

    # a pod can be used wherever a namespace sends
    def socket(self, *args):
        return self.netns.socket(*args)

    def packet_socket(self, *args):
        return self.netns.packet_socket(*args)


class Node:
    """A node: its namespace with the uplink eth0, its cgroup, its pins, its agent."""

    def __init__(self, world, number, options):
        self.world, self.number, self.label = world, number, f"n{number}"
        self.name = f"node{number}"
        self.ips = {V4: f"{NODE_LINK[V4]}.{10 + number}", V6: f"{NODE_LINK[V6]}:{10 + number:x}"}
        self.pod_cidr = {V4: f"10.244.{number * 4}.0/22", V6: f"fd44:0:0:{number}::/64"}
        self.cgroup = os.path.join(cgroup2_root(), f"polder-test-{world.unique}-{self.label}")
        world.cleanup.callback(self.remove_cgroup)
        os.makedirs(self.cgroup)
        self.factory = SocketFactory(self.cgroup)
        world.cleanup.callback(self.factory.close)
        self.netns = Namespace(self.label, world.unique, self.factory)
        world.cleanup.callback(self.netns.delete)
        self.bpffs = os.path.join(world.bpffs, self.label)
        self.agent = Agent(self, world.workdir, {
            "node-name": self.name, "resources": world.resources.directory,
            "run-dir": os.path.join(world.workdir, f"run-{self.label}"),
            "state-dir": os.path.join(world.workdir, f"state-{self.label}"), "bpffs": self.bpffs,
            "cgroup": self.cgroup, "pod-cidr": ",".join(self.pod_cidr.values()), "uplink": "eth0",
            "node-ip": ",".join(self.ips.values()), **options})
        self.before = None

    def __repr__(self):
        return self.label

    def process_command(self, *args):
        """The command as a process of the node: in its namespace and its cgroup."""
        script = 'echo $$ > "$1/cgroup.procs" && shift && exec "$@"'
        return ["/bin/sh", "-c", script, "sh", self.cgroup, *self.netns.command(*args)]

    def remove_cgroup(self):
        def gone():
            try:
                os.rmdir(self.cgroup)
            except FileNotFoundError:
                return True
            except OSError:
                return False
            return True
        with contextlib.suppress(Timeout):
            wait_until(gone, "empty cgroup")

    def cni_config(self, version="1.0.0", **more):
        return {"cniVersion": version, "name": "polder", "type": "polder-cni",
                "socket": self.agent.socket, **more}

    def socket(self, *args):
        return self.netns.socket(*args)

    def packet_socket(self, *args):
        return self.netns.packet_socket(*args)

    def ruler(self):
        """What must be the same again when all pods are gone."""
        links = sorted(link["ifname"] for link in self.netns.ip_json("link", "show"))
        routes = []
        for family in ("-4", "-6"):
            for route in self.netns.ip_json(family, "route", "show", "table", "all"):
                if route.get("type") != "multicast" and "cache" not in route.get("flags", []):
                    routes.append(f"{route['dst']} {route.get('dev')} {route.get('table', '')}")
        neighbours = sorted(f"{n['dst']} {n['dev']}" for n in self.netns.ip_json("neigh", "show")
                            if "PERMANENT" in n["state"])
        addresses = sorted(f"{a['local']} {link['ifname']}"
                           for link in self.netns.ip_json("addr", "show")
                           for a in link["addr_info"])
        return {"links": links, "routes": sorted(routes), "neighbours": neighbours,
                "addresses": addresses, "pins": sorted(re.sub(r"(_tunnel-)\d+$", r"\1N", pin) for pin in _tree(self.bpffs)),
                "files": _tree(self.agent.options["run-dir"]), "maps": self.map_fill()}

    def wait_as(self, before):
        """Waits until all that ruler() measures is as it was; maps may hold less than they did."""
        more = {}

        def same():
            now = self.ruler()
            now["maps"] = {name: max(fill or 0, before["maps"].get(name) or 0)
                           for name, fill in now["maps"].items()}
            was = {**before, "maps": {name: fill or 0 for name, fill in before["maps"].items()}}
            more.clear()
            more.update({key: _difference(was[key], now[key]) for key in was
                         if was[key] != now[key]})
            return not more
        wait_until(same, lambda: f"left: {more}", interval=0.1)

    def map_fill(self):
        """Entries of each map that pods and objects fill; flows and caches age by themselves, ways out follow the node's routes
        a moment later."""
        found = {}
        for entry in self.agent.ctl_json("map", "list"):
            name = entry["name"]
            if not any(word in name for word in ("flow", "fragment", "origin", "event", "egress")):
                found[name] = next((entry[key] for key in ("used", "entries", "fill")
                                    if key in entry),
                                   None)
        return found


def _tree(directory):
    return sorted(os.path.relpath(os.path.join(base, name), directory)
                  for base, dirs, files in os.walk(directory) for name in dirs + files)


class World:
    """See the module. `options` go to every agent; `nodes` is their number."""

    in_force = IN_FORCE  # seconds within which the verdicts are right

    @staticmethod
    def late(changes):
        """How many of a module's changes may take longer than verdicts.IN_TIME: one, which the machine held up."""
        return min(1, changes - 1)

    def __init__(self, nodes=1, start=True, **options):
        # The process tells whose leftovers they are; the rest tells runs in different process namespaces apart.
        self.unique = f"{os.getpid()}x{os.urandom(3).hex()}"
        self.cleanup = contextlib.ExitStack()
        self.pods, self.servers = [], []
        self.agreed = []  # seconds that each expect() of the test took until its verdicts were right
        self.policy_round = 0
        self.test_pods_from = self.test_servers_from = 0
        try:
            self._make(nodes, {key.replace("_", "-"): value for key, value in options.items()})
            if start:
                for node in self.nodes:
                    node.agent.start()
                    node.before = node.ruler()
        except BaseException:
            self.close()
            raise

    def _make(self, nodes, options):
        self.workdir = tempfile.mkdtemp(prefix="polder-netns-")
        os.chmod(self.workdir, 0o700)
        self.cleanup.callback(self._remove_workdir)
        self.bpffs = os.path.join(self.workdir, "bpf")
        os.mkdir(self.bpffs)
        run(["mount", "-t", "bpf", "bpf", self.bpffs])
        self.cleanup.callback(run, ["umount", "-l", self.bpffs], check=False)
        self.loop = ServerLoop()
        self.cleanup.callback(self.loop.close)
        self.resources = Resources(os.path.join(self.workdir, "resources"))
        self._make_outside()
        self.nodes = [Node(self, number, options) for number in range(1, nodes + 1)]
        self.node = self.nodes[0]
        for node in self.nodes:
            self._connect(node)
        self.resources.put("nodes", objects.item_list(
            [objects.node(n.name, list(n.pod_cidr.values()), list(n.ips.values()))
             for n in self.nodes]))
        self.cleanup.callback(self._end_agents)

    def _namespace(self, label):
        made = Namespace(label, self.unique)
        self.cleanup.callback(made.delete)
        made.sysctl(**{"net/ipv6/conf/all/accept_dad": 0, "net/ipv6/conf/default/accept_dad": 0})
        return made

    def _make_outside(self):
        self.fabric = self._namespace("fabric")
        self.fabric.ip("link add br0 type bridge mcast_snooping 0 forward_delay 0",
                       "link set br0 up")
        self.outside, self.far = self._namespace("outside"), self._namespace("far")
        self._plug(self.outside, "outside")
        self.outside.ip(
            "link set lo up", "link set eth0 up", f"addr add {OUTSIDE_IP[V4]}/24 dev eth0",
            f"addr add {OUTSIDE_IP[V6]}/64 dev eth0 nodad", f"addr add {WORLD_IP[V4]}/32 dev lo",
            f"addr add {WORLD_IP[V6]}/128 dev lo",
            f"link add eth1 mtu {FAR_MTU} type veth peer eth0 netns {self.far.name}",
            f"addr add {FAR_ROUTER_IP[V4]}/24 dev eth1",
            f"addr add {FAR_ROUTER_IP[V6]}/64 dev eth1 nodad", "link set eth1 up")
        self.far.ip("link set lo up", "link set eth0 mtu 1500 up",
                    f"addr add {FAR_IP[V4]}/24 dev eth0",
                    f"addr add {FAR_IP[V6]}/64 dev eth0 nodad",
                    f"route add default via {FAR_ROUTER_IP[V4]} mtu {FAR_MTU} advmss 1460",
                    f"route add default via {FAR_ROUTER_IP[V6]} mtu {FAR_MTU} advmss 1440")
        # icmp_ratelimit and icmp_msgs_per_sec would swallow answers that tests wait for.
        self.outside.sysctl(**{"net/ipv4/ip_forward": 1, "net/ipv6/conf/all/forwarding": 1,
                               "net/ipv4/icmp_ratelimit": 0, "net/ipv6/icmp/ratelimit": 0})

    def _plug(self, netns, port):
        """A link eth0 in the namespace, on the nodes' bridge."""
        netns.ip(f"link add eth0 type veth peer p-{port} netns {self.fabric.name}")
        self.fabric.ip(f"link set p-{port} master br0 up")

    def _connect(self, node):
        netns = node.netns
        netns.sysctl(**{"net/ipv6/conf/all/accept_dad": 0, "net/ipv6/conf/default/accept_dad": 0})
        self._plug(netns, node.label)
        netns.ip("link set lo up", "link set eth0 up", f"addr add {node.ips[V4]}/24 dev eth0",
                 f"addr add {node.ips[V6]}/64 dev eth0 nodad",
                 f"route add default via {OUTSIDE_IP[V4]}",
                 f"route add default via {OUTSIDE_IP[V6]}")
        for family, prefix in node.pod_cidr.items():
            self.outside.ip(f"route add {prefix} via {node.ips[family]}")
            for other in self.nodes_so_far(node):
                other.netns.ip(f"route add {prefix} via {node.ips[family]}")
                netns.ip(f"route add {other.pod_cidr[family]} via {other.ips[family]}")

    def nodes_so_far(self, node):
        return [other for other in self.nodes if other.number < node.number]

    def _end_agents(self):
        for node in self.nodes:
            with contextlib.suppress(Exception):
                node.agent.stop()

    def _remove_workdir(self):
        keep = os.environ.get("POLDER_KEEP_LOGS")
        if keep:
            os.makedirs(keep, exist_ok=True)
            for node in getattr(self, "nodes", []):
                with contextlib.suppress(FileNotFoundError):
                    shutil.copy(node.agent.log_path, os.path.join(
                        keep, f"{os.path.basename(self.workdir)}-{node.label}.log"))
        shutil.rmtree(self.workdir, ignore_errors=True)

    # ---- pods and servers

    def pod(self, name, ns="default", node=None, **options):
        """A connected pod. Removed after the test or module that made it."""
        pod = Pod(self, node or self.node, name, ns, **options)
        self.pods.append(pod)
        self.cleanup.callback(pod.netns.delete)
        pod.add()
        return pod

    def serve(self, where, port, proto="TCP", families=BOTH, name=None, address=None):
        """Servers on a pod, node or namespace; they tell `name` (by default the owner's)."""
        label = name or (where.name if isinstance(where, (Pod, Node)) else where.label)
        made = [Server(self.loop, where, label, proto, port, family, address)
                for family in families]
        if where is self.outside and proto == "UDP":
            # An answer from the wildcard address would leave with the link's.
            made += [Server(self.loop, where, label, proto, port, family, WORLD_IP[family])
                     for family in families]
        self.servers += made
        return made

    def end_of_setup(self):
        self.resources.keep()
        self.test_pods_from, self.test_servers_from = len(self.pods), len(self.servers)

    def end_of_test(self):
        """
        Takes away what a test made, so that the next one finds the module's state. An error if polderd ended by itself, or if a
        sanitizer found something in it.
        """
        wrong = self.agents_wrong(Agent.check_alive)
        for server in self.servers[self.test_servers_from:]:
            server.close()
        del self.servers[self.test_servers_from:]
        for node in self.nodes:
            if not node.agent.alive():
                node.agent.start()
        for pod in self.pods[self.test_pods_from:]:
            pod.delete()
        names = self.policy_names()
        if self.resources.restore() and names != self.policy_names():
            self.policies_in_force()
        wrong += self.agents_wrong(Agent.check_log)
        assert not wrong, "; ".join(wrong)

    def agents_wrong(self, check):
        """What the check says of each agent that does not pass it."""
        wrong = []
        for node in self.nodes:
            try:
                check(node.agent)
            except CommandError as error:
                wrong.append(f"{node}: {error}")
        return wrong

    def end_agents(self):
        """All agents end on SIGTERM with status 0, and none has written what a sanitizer writes."""
        wrong = self.agents_wrong(Agent.stop) + self.agents_wrong(Agent.check_log)
        assert not wrong, "; ".join(wrong)

    def finish(self):
        """Deletes pods and objects; returns what differs from the time before the first pod."""
        for server in self.servers:
            server.close()
        for pod in list(self.pods):
            pod.delete()
        for name in self.resources.files() - {"nodes"}:
            self.resources.delete(name)
        differences = {}

        def clean():
            differences.clear()
            for node in self.nodes:
                now = node.ruler()
                for key, before in node.before.items():
                    if now[key] != before:
                        differences[f"{node}: {key}"] = _difference(before, now[key])
            return not differences
        with contextlib.suppress(Timeout):
            wait_until(clean, "clean", interval=0.1)
        return differences

    def close(self):
        self.cleanup.close()

    # ---- objects

    def service_ip(self, number, family):
        return f"{SERVICE_NET[V4]}0.{number}" if family == V4 else f"{SERVICE_NET[V6]}{number:x}"

    def service(self, name, number, ports, selector=None, **options):
        """A Service of both families; `number` makes its addresses. Waits until agents know it."""
        ips = [self.service_ip(number, family) for family in BOTH]
        ns = options.get("ns", "default")
        self.resources.put(f"service-{ns}-{name}",
                           objects.service(name, ips, ports, selector, **options))
        for node in self.nodes:
            wait_until(lambda n=node: any(s.get("name") == name and s.get("namespace") == ns
                                          for s in n.agent.ctl_json("service", "list")),
                       f"{node}: Service {ns}/{name} in the list")
        return dict(zip(BOTH, ips))

    def policy_names(self):
        """(namespace, name) of the policies that the directory holds."""
        names = set()
        for file in self.resources.files():
            with open(self.resources.path(file), encoding="utf-8") as opened:
                try:
                    made = json.load(opened)
                except ValueError:
                    continue
            for item in made.get("items", [made]) if isinstance(made, dict) else made:
                if item.get("kind") == "NetworkPolicy":
                    meta = item["metadata"]
                    names.add((meta.get("namespace", "default"), meta["name"]))
        return names

    def policies(self, *policies):
        """These policies and no others of earlier calls; a new name each time tells when they are read."""
        self.policy_round += 1
        for policy in policies:
            policy["metadata"]["name"] += f"-{self.policy_round}"
        if policies:
            self.resources.put("policies", objects.item_list(list(policies)))
        else:
            self.resources.delete("policies")
        self.policies_in_force()

    def cluster_policies(self, *policies):
        """These ClusterNetworkPolicies and no others of earlier calls; expect() waits for what they do."""
        if policies:
            self.resources.put("cluster-policies", objects.item_list(list(policies)))
        else:
            self.resources.delete("cluster-policies")

    def policies_in_force(self):
        wanted = self.policy_names()
        for node in self.nodes:
            wait_until(lambda n=node: {(p["namespace"], p["name"])
                                       for p in n.agent.ctl_json("policy", "list")
                                       if p["namespace"]} == wanted,
                       f"{node}: policies {sorted(wanted)} in the list")

    # ---- verdicts

    def expect(self, *cells, within=None):
        """
        Each cell is (source, target or address, port, verdict[, proto]) for a family's address. All are tried at once, again and
        again until all verdicts are as expected, which has to be so `within` seconds, those without a CPU not counted; else
        AssertionError with those that differ, or with the time that it took. within=0: they are so now.
        """
        within = self.in_force if within is None else within
        cells = [(*cell, "TCP")[:5] for cell in cells]
        if within:
            pids = [node.agent.process.pid for node in self.nodes if node.agent.alive()]
            found = verdicts.Agreement(cells, self.pods, pids, max(PATIENCE, 2 * within))
            if found.seconds is not None:
                took = max(0, found.seconds - found.waited)
                self.agreed.append(took)
                assert took <= within, (f"the verdicts were right after {took:.2f} s, not within {within} s "
                                        f"(and {found.waited:.2f} s without a CPU)")
                return
        wrong = verdicts.once(cells, self.pods).differences()
        if within and not wrong:
            raise AssertionError(f"the verdicts were not right after {PATIENCE} s")
        assert not wrong, "; ".join(f"{source} -> {address} {proto}/{port}: {got}, expected {expected}"
                                    for (source, address, port, expected, proto), got in wrong)


def _difference(before, now):
    if isinstance(before, dict):
        return {key: f"{before.get(key)} -> {now.get(key)}" for key in {**before, **now}
                if before.get(key) != now.get(key)}
    return {"new": [x for x in now if x not in before],
            "missing": [x for x in before if x not in now]}

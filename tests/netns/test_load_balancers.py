# SPDX-License-Identifier: Apache-2.0
"""Addresses of load balancers, asked for by a host of the nodes' own network: one node answers, and another one when it is lost."""

import contextlib
import json
import os
import struct
import time

from lib import objects, packets
from lib.traffic import BOTH, V4, V6, ping, reach, wait_until

POOLS = {V4: "172.30.0.200-172.30.0.207", V6: "fd30::200-fd30::207"}
WORLD = {"nodes": 3, "load_balancer_pools": list(POOLS.values()), "load_balancer_announce": "l2", "metrics_listen": "127.0.0.1:9180"}
BOUND = 2.0     # of the design: what is measured is told, and a busy machine has more
PATIENCE = 20
ND_SOLICITATION, ND_ADVERTISEMENT = 135, 136


def setup(world):
    world.web = world.pod("web", node=world.nodes[1])
    world.serve(world.web, 8080)


def balancer(world, name, families=BOTH, **spec):
    number = 1 + sum(name.encode()) % 200
    ips = [f"10.96.7.{number}" if family == V4 else f"fd96::7:{number}" for family in families]
    made = objects.service(name, ips, [{"port": 80, "targetPort": 8080, "protocol": "TCP"}], type="LoadBalancer", **spec)
    slices = [objects.endpoint_slice(f"{name}-{family}", name, [objects.endpoint(world.web.ips[family], world.nodes[1].name)],
                                     [objects.slice_port(8080)]) for family in families]
    world.resources.put(name, made, *slices)


def listed(node):
    return node.agent.ctl_json("load-balancer", "list")


def announced(node, service):
    """Its addresses by family, as far as this node announces them."""
    return {V6 if ":" in one["address"] else V4: one["address"] for one in listed(node)
            if one["name"] == service and one["state"] == "announced"}


def alive(world):
    return [node for node in world.nodes if node.agent.alive()]


def holders(world, service, families=BOTH):
    """The node of each family, once there is one; and its addresses."""
    found = {}

    def there():
        found.clear()
        for node in alive(world):
            for family, address in announced(node, service).items():
                if family not in families:
                    continue
                found.setdefault(family, []).append((node, address))
        return set(found) == set(families) and all(len(one) == 1 for one in found.values())
    wait_until(there, lambda: f"one announcer of {service}: {found}; {[listed(node) for node in alive(world)]}", interval=0.05)
    return {family: one[0] for family, one in found.items()}


class Asker:
    """A host on the nodes' link that asks by bytes, whatever its own stack has learned."""

    def __init__(self, world):
        self.mac = world.outside.mac()
        self.socket = world.outside.packet_socket("eth0")
        self.world = world

    def close(self):
        self.socket.close()

    def ask(self, address, source=None):
        """Sends one question."""
        if ":" in address:
            source = source or "fd30::1"
            target = packets.address_bytes(address)
            group = "ff02::1:ff%02x:%02x%02x" % tuple(target[13:])
            body = struct.pack("!BBHI", ND_SOLICITATION, 0, 0, 0) + target + b"\x01\x01" + packets.mac_bytes(self.mac)
            check = packets.checksum(packets.pseudo_header(source, group, packets.ICMP6, len(body)) + body)
            body = body[:2] + struct.pack("!H", check) + body[4:]
            frame = packets.ethernet("33:33:" + ":".join("%02x" % byte for byte in packets.address_bytes(group)[12:]), self.mac,
                                     packets.ETH_IP6, packets.ipv6(source, group, packets.ICMP6, body, hop_limit=255))
        else:
            arp = struct.pack("!HHBBH6s4s6s4s", 1, packets.ETH_IP4, 6, 4, 1, packets.mac_bytes(self.mac),
                              packets.address_bytes(source or "172.30.0.1"), bytes(6), packets.address_bytes(address))
            frame = packets.ethernet("ff:ff:ff:ff:ff:ff", self.mac, packets.ETH_ARP, arp)
        self.socket.send(frame)

    def answers(self, address, seconds):
        """MAC addresses of who answers within the time."""
        found, end = [], time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                frame = self.socket.recv(2048)
            except (TimeoutError, BlockingIOError):
                break
            mac = read_answer(frame, address)
            if mac and mac != self.mac:
                found.append(mac)
        return found


def read_answer(frame, address):
    """Whose answer for the address it is; None: another frame. What is told to all is none."""
    kind = struct.unpack("!H", frame[12:14])[0]
    wanted = packets.address_bytes(address)
    if kind == packets.ETH_ARP and frame[20:22] == b"\0\x02" and frame[28:32] == wanted and frame[38:42] != wanted:
        return ":".join("%02x" % byte for byte in frame[22:28])
    if kind == packets.ETH_IP6 and frame[20] == packets.ICMP6 and frame[54] == ND_ADVERTISEMENT and frame[62:78] == wanted \
            and frame[58] & 0x40:
        return ":".join("%02x" % byte for byte in frame[6:12])
    return None


@contextlib.contextmanager
def asking(world):
    asker = Asker(world)
    try:
        yield asker
    finally:
        asker.close()


def who_answers(world, address, seconds=0.5):
    with asking(world) as asker:
        asker.ask(address)
        return asker.answers(address, seconds)


def check_one_answers(world, service):
    for family, (node, address) in holders(world, service).items():
        assert who_answers(world, address) == [node.netns.mac()], (family, address, node)


def lose(world, node):
    """Its agent, its programs and its link, all at once."""
    world.fabric.ip(f"link set p-{node.label} down")
    node.agent.kill()


def find_again(world, node):
    world.fabric.ip(f"link set p-{node.label} up")
    node.agent.start()


def measure(world, address, since, old):
    """Until another MAC address answers."""
    with asking(world) as asker:
        while time.monotonic() - since < PATIENCE:
            asker.ask(address)
            found = [mac for mac in asker.answers(address, 0.05) if mac != old]
            if found:
                return time.monotonic() - since
    raise AssertionError(f"{address}: nobody answers {PATIENCE} s after its node was lost")


def test_one_node_answers_for_each_address(world):
    balancer(world, "one")
    check_one_answers(world, "one")


def test_outside_reaches_the_service_by_its_address(world):
    """By nothing but the address: its stack asks who has it, and another node answers when that one is lost."""
    balancer(world, "reached")
    for family in BOTH:
        node, address = holders(world, "reached")[family]
        wait_until(lambda to=address: reach(world.outside, to, 80, timeout=2).verdict == "open", f"an answer of {address}")
        assert ping(world.outside, address) == "open", address
        if node is world.nodes[1]:
            continue  # the endpoint's own
        lose(world, node)
        wait_until(lambda to=address: reach(world.outside, to, 80, timeout=2).verdict == "open", f"another node at {address}")
        find_again(world, node)


def test_addresses_are_spread_over_the_nodes(world):
    names = [f"spread-{number}" for number in range(6)]
    for name in names:
        balancer(world, name)
    used = {node.name for name in names for node, _ in holders(world, name).values()}
    assert len(used) >= 2, used


def test_every_node_says_who_announces(world):
    balancer(world, "told")
    for family, (holder, address) in holders(world, "told").items():
        def others_know():
            return all(any(one["address"] == address and one["node"] == holder.name and one["since"] for one in listed(node))
                       for node in world.nodes)
        wait_until(others_know, lambda: f"{family}: {[listed(node) for node in world.nodes]}")
    status = holder.agent.ctl_json("status")["load_balancers"]
    assert status["announce"] == "l2" and status["announced"] >= 1 and status["refused"] == 0, status
    assert "announced by this node" in holder.agent.ctl("status").stdout


def test_lost_node_is_replaced(world):
    balancer(world, "lost")
    for family in BOTH:
        node, address = holders(world, "lost")[family]
        mac, since = node.netns.mac(), time.monotonic()
        lose(world, node)
        took = measure(world, address, since, mac)
        print(f"IPv{family}: another node answers {took:.2f} s after the loss; the bound is {BOUND} s")
        assert holders(world, "lost", [family])[family][0] is not node
        find_again(world, node)
        check_one_answers(world, "lost")


def test_node_that_comes_back_takes_nothing_back_at_once(world):
    balancer(world, "back", [V4])
    node, address = holders(world, "back", [V4])[V4]
    lose(world, node)
    wait_until(lambda: any(V4 in announced(other, "back") for other in alive(world)), "another announcer")
    second = holders(world, "back", [V4])[V4][0]
    find_again(world, node)
    time.sleep(3)
    assert holders(world, "back", [V4])[V4][0] is second is not node
    assert who_answers(world, address) == [second.netns.mac()]


def test_restart_of_the_agent_moves_nothing(world):
    balancer(world, "restart")
    for family in BOTH:
        node, address = holders(world, "restart")[family]
        since = next(one["since"] for one in listed(node) if one["address"] == address)
        moved = sum(other.agent.metrics()[("polder_load_balancer_moves_total", (("kind", "taken"),))] for other in world.nodes
                    if other is not node)
        node.agent.stop()
        time.sleep(3)  # three times what makes a node look lost
        assert who_answers(world, address) == [node.netns.mac()], family
        node.agent.start()
        assert holders(world, "restart", [family])[family][0] is node
        assert next(one["since"] for one in listed(node) if one["address"] == address) == since
        assert moved == sum(other.agent.metrics()[("polder_load_balancer_moves_total", (("kind", "taken"),))]
                            for other in world.nodes if other is not node)


def test_take_over_is_told_to_all_hosts(world):
    balancer(world, "gratuitous")
    for family in BOTH:
        node, address = holders(world, "gratuitous")[family]
        packets_seen = []
        with asking(world) as asker:
            lose(world, node)
            end = time.monotonic() + PATIENCE
            while time.monotonic() < end and len(packets_seen) < 2:
                asker.socket.settimeout(1)
                with contextlib.suppress(TimeoutError, BlockingIOError):
                    frame = asker.socket.recv(2048)
                    if is_told(frame, address) and frame[6:12] != packets.mac_bytes(node.netns.mac()):
                        packets_seen.append(frame[6:12])
        find_again(world, node)
        assert len(packets_seen) == 2, (family, packets_seen)


def is_told(frame, address):
    kind, wanted = struct.unpack("!H", frame[12:14])[0], packets.address_bytes(address)
    if kind == packets.ETH_ARP:
        return frame[28:32] == wanted and frame[38:42] == wanted and frame[:6] == b"\xff" * 6
    return kind == packets.ETH_IP6 and frame[20] == packets.ICMP6 and frame[54] == ND_ADVERTISEMENT and frame[62:78] == wanted \
        and frame[58] == 0x20


def test_local_policy_leaves_it_to_a_node_with_endpoints(world):
    balancer(world, "local", externalTrafficPolicy="Local")
    for family, (node, address) in holders(world, "local").items():
        assert node is world.nodes[1], family
        reason = next(one["reason"] for one in listed(world.nodes[0]) if one["address"] == address)
        assert "no endpoint of it is on this node" in reason


def test_address_of_another_host_is_not_announced(world):
    """Somebody has taken an address of the pool."""
    world.outside.ip("addr add 172.30.0.203/32 dev eth0")
    try:
        balancer(world, "taken", [V4], loadBalancerIP="172.30.0.203")
        wait_until(lambda: any("172.30.0.203" in problem["reason"] and world.outside.mac() in problem["reason"]
                               for node in world.nodes for problem in node.agent.ctl_json("status")["problems"]),
                   lambda: f"a problem: {[listed(node) for node in world.nodes]}")
        assert not any(announced(node, "taken") for node in world.nodes)
    finally:
        world.outside.ip("addr del 172.30.0.203/32 dev eth0")
    node, address = holders(world, "taken", [V4])[V4]
    assert address == "172.30.0.203" and who_answers(world, address) == [node.netns.mac()]


def test_pool_that_is_full_is_told(world):
    names = [f"full-{number}" for number in range(9)]
    for name in names:
        balancer(world, name, [V4])
    wait_until(lambda: any("no IPv4 address" in problem["reason"] for problem in world.node.agent.ctl_json("status")["problems"]),
               lambda: f"a problem: {world.node.agent.ctl_json('status')}")
    assert world.node.agent.ctl_json("status")["load_balancers"]["refused"] == 1
    world.resources.delete(names[0])
    wait_until(lambda: world.node.agent.ctl_json("status")["load_balancers"]["refused"] == 0, "an address for the last one")


def test_deleted_service_is_announced_no_more(world):
    balancer(world, "gone")
    addresses = [address for _, address in holders(world, "gone").values()]
    world.resources.delete("gone")
    for address in addresses:
        wait_until(lambda wanted=address: not who_answers(world, wanted, 0.2), f"no answer for {address}")


def test_addresses_are_kept_over_a_restart(world):
    balancer(world, "kept")
    before = {family: address for family, (_, address) in holders(world, "kept").items()}
    path = os.path.join(world.node.agent.options["state-dir"], "load-balancers.json")
    with open(path, encoding="ascii") as file:
        assert set(json.loads(file.read().split("\n", 1)[1])["default/kept"]) == set(before.values())
    for node in world.nodes:
        node.agent.stop()
    for node in world.nodes:
        node.agent.start()
    assert {family: address for family, (_, address) in holders(world, "kept").items()} == before

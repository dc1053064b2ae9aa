# SPDX-License-Identifier: Apache-2.0
"""Choice of endpoints on real traffic: weights, Maglev's tables by annotation and by default, what a change of them leaves alone."""

import json
import math

from lib import frontends, objects
from lib.runner import each_family, limit
from lib.traffic import BOTH, V4, V6, Connection, UdpClient, wait_until

WORLDS = {"random": {"nodes": 2}, "maglev": {"nodes": 2, "balancing": "maglev"}}
FIRST = 120  # of the Services' numbers
NUMBERS = {}
WEIGHTS = {"web-a": 5, "web-b": 3, "web-c": 1, "web-d": 1, "web-e": 0}
CELLS = 16381
FLOWS = 600
CHANCE = 1e-11  # of one share to be out of its bounds; a run compares fewer than a hundred
UNEVEN = 0.01  # what a table's own shares may be off
ROOM = 100  # questions that wait for their answers at once
WITHIN = 5


def setup(world):
    world.n1, world.n2 = world.nodes
    world.web = [world.pod(name, labels={"app": "web"}, node=world.nodes[number % 2]) for number, name in enumerate(WEIGHTS)]
    world.client = world.pod("client")
    for pod in world.web:
        world.serve(pod, 8080)
        world.serve(pod, 5353, "UDP")
    by_node(world, world.n1)


def by_node(world, node):
    """By which node the outside reaches external addresses."""
    world.outside.ip(f"route replace {frontends.EXTERNAL[V4]}0/24 via {node.ips[V4]}", f"route replace {frontends.EXTERNAL[V6]}/64 via {node.ips[V6]}")


def number_of(name):
    return FIRST + NUMBERS.setdefault(name, len(NUMBERS))


def external(name, family):
    return f"{frontends.EXTERNAL[family]}{number_of(name) if family == V4 else format(number_of(name), 'x')}"


def put(world, name, selector=None, **annotations):
    """A Service with an external address; annotations of polder.dev/."""
    made = objects.service(name, [world.service_ip(number_of(name), family) for family in BOTH],
                           [objects.service_port(80, 8080, name="tcp"), objects.service_port(53, 5353, "UDP", name="udp")], selector,
                           externalIPs=[external(name, family) for family in BOTH])
    made["metadata"]["annotations"] = {f"polder.dev/{key}": value for key, value in annotations.items()}
    world.resources.put(f"service-{name}", made)


def put_endpoints(world, name, pods, family):
    """Its slice; waits until both nodes have it, and tables of it if it has any."""
    world.resources.put(f"slice-{name}-{family}", objects.endpoint_slice(
        f"{name}-{family}", name, [objects.endpoint(pod.ips[family], pod.node.name) for pod in pods],
        [objects.slice_port(8080, name="tcp"), objects.slice_port(5353, "UDP", name="udp")]))
    wait_in_force(world, name, family, {pod.ips[family] for pod in pods})


def frontends_of(node, name, family):
    return [one for one in node.agent.ctl_json("service", "list") if one["name"] == name and (":" in one["address"]) == (family == V6)]


def wait_in_force(world, name, family, addresses):
    def in_force(node):
        found = frontends_of(node, name, family)
        return len(found) == 4 and all({b["address"] for b in one["backends"] if b["state"] == "active"} == addresses for one in found)

    for node in world.nodes:
        wait_until(lambda n=node: in_force(n), lambda n=node: f"{n}: {name} has its endpoints: {frontends_of(n, name, family)}", WITHIN)


def table_cells(node, name, family):
    return {one["table_cells"] for one in frontends_of(node, name, family)}


def answers(source, address, ports):
    """Who answers a datagram from each of these ports."""
    found, ports = {}, list(ports)
    for first in range(0, len(ports), ROOM):
        clients = {port: UdpClient(source, address, 53, connect=True, source_port=port) for port in ports[first:first + ROOM]}
        try:
            for client in clients.values():
                client.send()
            for port, client in clients.items():
                found[port] = server_of(client)
        finally:
            for client in clients.values():
                client.close()
    return found


def server_of(client):
    """Of what has been asked; a datagram that was lost on the way is sent again."""
    for _ in range(4):
        try:
            return json.loads(client.receive(1)[0])["server"]
        except TimeoutError:
            client.send()
    raise AssertionError(f"no answer to {client.target}")


def tail(count, chance, most):
    """The chance that of `count` flows at most `most` go where each goes by `chance`."""
    terms = (math.lgamma(count + 1) - math.lgamma(i + 1) - math.lgamma(count - i + 1) + i * math.log(chance) + (count - i) * math.log1p(-chance)
             for i in range(most + 1))
    return sum(math.exp(term) for term in terms)


def bounds(count, chance):
    """How many of `count` flows may go where each goes by a chance that is known to one hundredth."""
    low, high = 0, count
    while low < count and tail(count, chance * (1 - UNEVEN), low) < CHANCE / 2:
        low += 1
    while high > 0 and tail(count, 1 - min(chance * (1 + UNEVEN), 1 - 1e-9), count - high) < CHANCE / 2:
        high -= 1
    return low, high


def check_shares(found, weights, who):
    total = sum(weights.values())
    for name, weight in weights.items():
        seen = sum(server == name for server in found.values())
        low, high = bounds(len(found), weight / total) if weight else (0, 0)
        assert low <= seen <= high, f"{who}: {name} with {weight} of {total} got {seen} of {len(found)}, expected {low} to {high}"


def test_bounds_are_those_of_the_binomial_distribution(world):
    """Worked out by the sum of exact fractions; too wide ones would find nothing."""
    del world
    exact = sum(math.comb(60, i) * 3 ** i * 7 ** (60 - i) for i in range(6)) / 10 ** 60
    assert abs(tail(60, 0.3, 5) / exact - 1) < 1e-9
    low, high = bounds(600, 0.3)
    assert 90 < low < 140 and 220 < high < 270, (low, high)


@each_family
@limit(60)
def test_endpoints_get_flows_by_their_weights_from_everywhere(world, family):
    put(world, "weighted", {"app": "web"}, weights="web-a=5, web-b=3, web-e=0, web-*=1")
    wait_in_force(world, "weighted", family, {pod.ips[family] for pod in world.web})
    assert table_cells(world.n1, "weighted", family) == {CELLS}
    check_shares(answers(world.outside, external("weighted", family), range(20000, 20000 + FLOWS)), WEIGHTS, "outside")
    for source in (world.client, world.n1):
        address = world.service_ip(number_of("weighted"), family)
        check_shares(answers(source, address, range(20000, 20000 + FLOWS)), WEIGHTS, source)


@each_family
@limit(60)
def test_without_weights_each_gets_as_many(world, family):
    put(world, "even", {"app": "web"})
    wait_in_force(world, "even", family, {pod.ips[family] for pod in world.web})
    expected = {CELLS} if world.n1.agent.options.get("balancing") == "maglev" else {0}
    assert table_cells(world.n1, "even", family) == expected
    same = {name: 1 for name in WEIGHTS}
    check_shares(answers(world.outside, external("even", family), range(21000, 21000 + FLOWS)), same, "outside")
    check_shares(answers(world.client, world.service_ip(number_of("even"), family), range(21000, 21000 + FLOWS)), same, "pod")


@each_family
def test_an_annotation_says_otherwise_than_the_default(world, family):
    for name, kind, cells in (("by-table", "maglev", CELLS), ("by-chance", "random", 0)):
        put(world, name, {"app": "web"}, balancing=kind)
        wait_in_force(world, name, family, {pod.ips[family] for pod in world.web})
        assert table_cells(world.n1, name, family) == {cells}, name


@each_family
@limit(90)
def test_all_nodes_choose_the_same_and_few_flows_change_when_an_endpoint_goes(world, family):
    """The other node knows none of the flows: by the table alone it says where each goes."""
    name, gone, stay = "maglev", world.web[1], [world.web[0], *world.web[2:]]
    address = external(name, family)
    put(world, name, balancing="maglev")
    put_endpoints(world, name, world.web, family)
    here, later = range(22000, 22000 + FLOWS), range(23000, 23000 + FLOWS)
    first, before = answers(world.outside, address, here), answers(world.outside, address, later)
    try:
        by_node(world, world.n2)
        assert answers(world.outside, address, here) == first
        put_endpoints(world, name, stay, family)
        after = answers(world.outside, address, later)
    finally:
        by_node(world, world.n1)
    others = [port for port in later if before[port] != gone.name]
    moved = [port for port in others if after[port] != before[port]]
    assert gone.name not in after.values()
    # By chance three of four would be elsewhere. A table of this size moves 1 to 2 of a hundred.
    assert len(moved) <= len(others) // 10, f"{len(moved)} of {len(others)}"
    check_shares(after, {pod.name: 1 for pod in stay}, "outside")


@each_family
@limit(60)
def test_flows_stay_with_endpoints_that_stay(world, family):
    """Whatever the table becomes. TCP to the one that goes is reset, datagrams get another."""
    name, gone, stay = "staying", world.web[2], world.web[:2] + world.web[3:]
    address, ports = external(name, family), range(24000, 24100)
    put(world, name, balancing="maglev")
    put_endpoints(world, name, world.web, family)
    before = answers(world.outside, address, ports)
    connections = [Connection(world.outside, address, 80, source_port=port) for port in range(25000, 25040)]
    try:
        servers = [connection.ask()["server"] for connection in connections]
        assert {gone.name} < set(servers), servers
        put_endpoints(world, name, stay, family)
        for connection, server in zip(connections, servers):
            if server == gone.name:
                # Flows are walked after the maps have been written.
                wait_until(lambda c=connection: c.state() == "reset", f"a connection to {server}, which has gone, is reset", WITHIN)
            else:
                assert connection.ask()["server"] == server
    finally:
        for connection in connections:
            connection.close()
    after = answers(world.outside, address, ports)
    assert gone.name not in after.values(), after
    moved = {port: (before[port], after[port]) for port in ports if before[port] not in (gone.name, after[port])}
    assert not moved, moved

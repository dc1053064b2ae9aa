# SPDX-License-Identifier: Apache-2.0
"""Containers of podman and containerd live on Polder: addresses, traffic, Services, policy, their habits."""

import json
import os
import signal

from lib import objects
from lib.objects import labels, policy
from lib.runner import each_family, limit
from lib.traffic import BOTH, ping, reach, wait_until
from lib.world import OUTSIDE_IP

WORLD = {"nodes": 1}


def setup(world):
    world.serve(world.outside, 8080)


def pod_object(world, name, **match):
    """Labels for a container, by the name that its runtime tells Polder."""
    world.resources.put(f"pod-{name}", objects.pod(name, labels=match, node_name=world.node.name))


class Running:
    """Containers that are removed at the end of the block, whatever happens in it."""

    def __init__(self, *starts):
        self.starts, self.containers = starts, []

    def __enter__(self):
        try:
            for start in self.starts:
                self.containers.append(start())
        except BaseException:
            self.__exit__()
            raise
        return self.containers

    def __exit__(self, *_):
        for container in self.containers:
            container.remove()


def podman_server(world, name):
    return lambda: world.podman.serve(name)


def podman_client(world, name):
    return lambda: world.podman.start(name)


def ctr_server(world, name):
    return lambda: world.containerd.serve(name)


def ctr_client(world, name):
    return lambda: world.containerd.start(name)


def wait_serving(source, container, port=8080):
    """The server has started to listen."""
    for address in container.addresses().values():
        wait_until(lambda a=address: reach(source, a, port, timeout=0.3).verdict != "refused",
                   f"{container.name} serves", 5)


@limit(150)
def test_podman_container_gets_both_families_and_a_default_route(world):
    with Running(podman_client(world, "plain")) as (plain,):
        addresses = plain.addresses()
        assert set(addresses) == set(BOTH), addresses
        assert "default" in plain.exec("ip", "route").stdout
        assert "default" in plain.exec("ip", "-6", "route").stdout
        shown = json.loads(world.podman.call("inspect",
                                             "plain").stdout)[0]["NetworkSettings"]["Networks"]
        assert shown["polder"]["IPAddress"] == addresses[4], shown
        assert shown["polder"]["GlobalIPv6Address"] == addresses[6], shown
        assert shown["polder"]["MacAddress"], shown


@limit(150)
def test_podman_container_reaches_the_outside_the_node_and_is_reached(world):
    with Running(podman_server(world, "web")) as (web,):
        wait_serving(world.node, web)
        for family, address in web.addresses().items():
            assert web.exec("ping", "-c", "1", "-W", "2", OUTSIDE_IP[family],
                            check=False).returncode == 0
            assert ping(world.node, address) == "open" and ping(world.outside, address) == "open"
            assert web.exec("nc", "-w", "2", OUTSIDE_IP[family], "8080",
                            check=False).returncode == 0


@limit(150)
def test_podman_containers_reach_each_other(world):
    with Running(podman_server(world, "one"), podman_client(world, "two")) as (one, two):
        wait_serving(world.node, one)
        for address in one.addresses().values():
            assert two.fetch(address, 8080) == "one"


@limit(150)
def test_podman_takes_results_of_every_version_it_can(world):
    podman = world.podman
    try:
        for version in ("0.3.1", "0.4.0", "1.0.0"):
            podman.write_network(version)
            with Running(podman_client(world, "v" + version.replace(".", "-"))) as (container,):
                assert set(container.addresses()) == set(BOTH), version
    finally:
        podman.write_network("1.0.0")


@limit(150)
def test_podman_rm_leaves_nothing(world):
    world.podman.call("version")
    before = world.node.ruler()
    with Running(podman_server(world, "gone")) as (gone,):
        assert gone.addresses()
        assert world.node.ruler() != before
    world.wait_as_before(before)


@limit(150)
def test_podman_container_restarts(world):
    with Running(podman_server(world, "again")) as (again,):
        world.podman.call("restart", "-t", "0", "again")
        wait_serving(world.node, again)
        for family, address in again.addresses().items():
            assert ping(world.outside, address) == "open", family


@limit(150)
def test_podman_network_reload_keeps_address_and_traffic(world):
    with Running(podman_server(world, "reloaded"),
                 podman_client(world, "asker")) as (reloaded, asker):
        wait_serving(world.node, reloaded)
        before = reloaded.addresses()
        world.podman.call("network", "reload", "reloaded")
        after = reloaded.addresses()
        assert set(after) == set(BOTH), after
        assert after[4] == before[4], f"{before} -> {after}"
        wait_serving(world.node, reloaded)
        for address in after.values():
            assert asker.fetch(address, 8080) == "reloaded"
        names = [p["name"] for p in world.node.agent.ctl_json("pod", "list")]
        assert sorted(names) == ["asker", "reloaded"], names


@limit(150)
def test_ctr_container_gets_addresses_and_reaches_everything(world):
    shown = world.containerd.run_once("once", "ip -o addr show dev eth0; ping -c 1 -W 2 "
                                      f"{OUTSIDE_IP[4]} && ping -c 1 -W 2 {OUTSIDE_IP[6]} && echo reached").stdout
    assert "10.244." in shown and "fd44:" in shown and "reached" in shown, shown
    wait_until(lambda: not world.node.agent.ctl_json("pod", "list"), "no pod is left", 5)


@limit(150)
def test_ctr_run_rm_leaves_nothing(world):
    world.containerd.ctr("version")
    before = world.node.ruler()
    world.containerd.run_once("brief", "true")
    world.wait_as_before(before)


@limit(150)
def test_ctr_container_killed_without_del_is_noticed_and_cleaned(world):
    world.containerd.ctr("version")
    before = world.node.ruler()
    killed = world.containerd.serve("killed")
    assert set(killed.addresses()) == set(BOTH)
    assert world.node.ruler() != before
    world.containerd.kill("killed")
    world.wait_as_before(before)
    # The name and the addresses can be had again.
    with Running(ctr_client(world, "killed")) as (again,):
        assert set(again.addresses()) == set(BOTH)


@each_family
@limit(150)
def test_podman_and_containerd_reach_each_other_through_a_service_under_a_policy(world, family):
    # containerd names a container by its namespace and id, podman by its name.
    pod_object(world, "p-server", app="web")
    pod_object(world, "default-c-server", app="web")
    pod_object(world, "p-friend", role="friend")
    pod_object(world, "default-c-friend", role="friend")
    vip = world.service("web", 1, [objects.service_port(80, 8080)], {"app": "web"})[family]
    with Running(podman_server(world, "p-server"), ctr_server(world, "c-server"),
                 podman_client(world, "p-friend"), ctr_client(world, "c-friend"),
                 podman_client(world, "p-stranger"), ctr_client(world, "c-stranger")) as \
            (p_server, c_server, p_friend, c_friend, p_stranger, c_stranger):
        for server in (p_server, c_server):
            wait_serving(world.node, server)
        for client in (p_friend, c_friend, p_stranger, c_stranger):
            seen = {client.fetch(vip, 80) for _ in range(12)}
            assert seen == {"p-server", "c-server"}, f"{client.name}: {seen}"
        world.policies(policy("web", labels(app="web"), policyTypes=["Ingress"], ingress=[
            {"from": [{"podSelector": labels(role="friend")}], "ports": [{"port": 8080}]}]))
        for client in (p_stranger, c_stranger):
            wait_until(lambda c=client: c.fetch(vip, 80, 1) is None, f"{client.name} is shut out",
                       5)
            for server in (p_server, c_server):
                assert client.fetch(server.addresses()[family], 8080, 1) is None
        for client in (p_friend, c_friend):
            seen = {client.fetch(vip, 80) for _ in range(12)}
            assert seen == {"p-server", "c-server"}, f"{client.name}: {seen}"


@limit(150)
def test_containers_go_on_while_the_agent_is_killed_and_are_there_when_it_is_back(world):
    with Running(podman_server(world, "steady"),
                 ctr_client(world, "steady-client")) as (server, client):
        wait_serving(world.node, server)
        address = server.addresses()[4]
        assert client.fetch(address, 8080) == "steady"
        world.node.agent.kill(signal.SIGKILL)
        assert client.fetch(address, 8080) == "steady"
        world.node.agent.start()
        assert client.fetch(address, 8080) == "steady"
        names = sorted(p["name"] for p in world.node.agent.ctl_json("pod", "list"))
        assert names == ["default-steady-client", "steady"], names


@limit(150)
def test_container_removed_while_the_agent_is_away_is_cleaned_when_it_is_back(world):
    world.podman.call("version")
    before = world.node.ruler()
    with Running(podman_server(world, "late")):
        world.node.agent.stop()
    world.node.agent.start()
    world.wait_as_before(before)


@limit(150)
def test_container_is_refused_clearly_while_the_agent_is_away(world):
    podman = world.podman
    world.node.agent.stop()
    try:
        done = podman.call("run", "--rm", "--name", "early", "--network", "polder", "--no-hosts",
                           "localhost/polder-busybox:1", "true", check=False)
        assert done.returncode != 0 and "polder" in done.stderr, done.stderr
    finally:
        world.node.agent.start()
        podman.call("rm", "-f", "-i", "early", check=False)
    with Running(podman_client(world, "early")) as (early,):
        assert set(early.addresses()) == set(BOTH)


def test_no_packet_filter_rule_was_made(world):
    """Neither iptables nor nftables: the node's table of rules is empty."""
    for program in ("nft", "iptables-save", "ip6tables-save"):
        path = next((p for p in (f"/usr/sbin/{program}", f"/sbin/{program}") if os.path.exists(p)),
                    None)
        if path:
            args = [path, "list", "ruleset"] if program == "nft" else [path]
            shown = world.node.netns.run(*args, check=False).stdout
            rules = [line for line in shown.splitlines() if line.startswith("-A") or "rule" in line]
            assert not rules, rules

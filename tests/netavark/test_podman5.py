# SPDX-License-Identifier: Apache-2.0
"""Containers of podman 5 live on Polder by netavark: addresses, names, policy, Services, ports, their habits, a reboot."""

import contextlib
import itertools
import json
import os
import shutil

from lib import objects
from lib.nat import forwards, publish
from lib.objects import labels, policy
from lib.runner import each_family, limit
from lib.traffic import BOTH, V4, V6, reach, wait_until
from lib.world import OUTSIDE_IP
from publishing import LOOPBACK, PUBLISHED, TCP_PORT, expect_answers_until_it_ends, expect_localhost_alone, fetch, published
from runtimes import IMAGE

WORLD = {"nodes": 1}


def setup(world):
    world.serve(world.outside, 8080)


@contextlib.contextmanager
def running(world, *starts):
    """Containers, each of (how, name, options), that are removed at the end whatever happens."""
    containers = []
    try:
        for how, name, *options in starts:
            containers.append(getattr(world.podman, how)(name, **(options[0] if options else {})))
        yield containers
    finally:
        for _, name, *_ in starts:
            world.podman.call("rm", "-f", "-i", "-t", "0", name)


@contextlib.contextmanager
def network(world, name, *words):
    world.podman.create(name, *words)
    try:
        yield json.loads(world.podman.call("network", "inspect", name).stdout)[0]
    finally:
        world.podman.call("network", "rm", name)


def wait_serving(world, container, port=8080):
    for address in container.addresses().values():
        wait_until(lambda a=address: reach(world.node, a, port, timeout=0.3).verdict != "refused", f"{container.name} serves", 5)


def pod_names(world):
    return sorted(pod["name"] for pod in world.node.agent.ctl_json("pod", "list"))


def test_podman_knows_the_plugin_and_what_it_makes(world):
    shown = json.loads(world.podman.call("info", "--format", "json").stdout)
    assert "polder-netavark" in shown["plugins"]["network"], shown["plugins"]
    assert shown["host"]["networkBackend"] == "netavark"
    with network(world, "made", "--opt", "mtu=1400", "--label", "app=web") as made:
        assert made["ipv6_enabled"] and not made["dns_enabled"] and made["ipam_options"] == {"driver": "none"}, made
        assert made["options"]["label.app"] == "web" and made["options"]["mtu"] == "1400", made


def test_podman_says_why_a_network_is_refused(world):
    for words, said in [(("--opt", "isolate=true"), "unknown option isolate"), (("--internal",), "NetworkPolicy"),
                        (("--opt", "mtu=70000"), "68 to 65535"), (("--label", "a=b c"), "label"),
                        (("--subnet", "192.0.2.0/24"), "--pod-cidr"), (("--interface-name", "br7"), "--interface-name"),
                        (("--route", "192.0.2.0/24,10.244.4.1"), "--route"), (("--ipam-driver", "dhcp"), "--ipam-driver")]:
        done = world.podman.create("refused", *words, check=False)
        assert done.returncode and said in done.stderr, f"{words}: {done.stderr}"


@limit(90)
def test_container_gets_both_families_routes_and_is_shown(world):
    with running(world, ("start", "plain")) as (plain,):
        addresses = plain.addresses()
        assert set(addresses) == set(BOTH), addresses
        assert "default" in plain.exec("ip", "route").stdout and "default" in plain.exec("ip", "-6", "route").stdout
        shown = world.podman.inspect("plain")["NetworkSettings"]["Networks"]["polder"]
        assert (shown["IPAddress"], shown["GlobalIPv6Address"]) == (addresses[V4], addresses[V6]), shown
        assert shown["MacAddress"] in plain.exec("ip", "link", "show", "dev", "eth0").stdout and shown["Gateway"] == "169.254.1.1", shown
        assert pod_names(world) == ["plain"]


@limit(90)
def test_options_of_network_and_container_are_in_force(world):
    with network(world, "narrow", "--opt", "mtu=1400", "--dns", "10.96.0.10", "--opt", "dns-search=demo.svc", "--opt", "namespace=demo"):
        with running(world, ("start", "small", {"network": "narrow"}),
                     ("start", "smaller", {"network": "narrow:mtu=1300,label.app=web,interface_name=net7"})) as (small, smaller):
            assert "mtu 1400" in small.exec("ip", "link", "show", "dev", "eth0").stdout
            assert "mtu 1300" in smaller.exec("ip", "link", "show", "dev", "net7").stdout
            resolv = small.exec("cat", "/etc/resolv.conf").stdout
            assert "nameserver 10.96.0.10" in resolv and "demo.svc" in resolv, resolv
            pods = {pod["name"]: pod for pod in world.node.agent.ctl_json("pod", "list")}
            assert pods["small"]["namespace"] == "demo" and pods["smaller"]["labels"] == {"app": "web"}, pods
        refused = world.podman.refusal("run", "--rm", "--network", "narrow:bogus=1", IMAGE, "true")
        assert "unknown option bogus" in refused, refused


@limit(90)
def test_containers_reach_each_other_the_outside_and_the_node(world):
    with running(world, ("serve", "one"), ("start", "two")) as (one, two):
        wait_serving(world, one)
        for family, address in one.addresses().items():
            assert two.fetch(address, 8080) == "one"
            assert reach(world.outside, address, 8080).verdict == "open"
            assert two.exec("nc", "-w", "2", OUTSIDE_IP[family], "8080", check=False).returncode == 0, family


@limit(90)
def test_static_addresses_and_mac_are_given_and_their_second_use_refused(world):
    wanted = {V4: "10.244.5.77", V6: "fd44:0:0:1::77"}
    words = ("--ip", wanted[V4], "--ip6", wanted[V6], "--mac-address", "02:00:00:00:00:77")
    with running(world, ("start", "fixed", {"args": words})) as (fixed,):
        assert fixed.addresses() == wanted
        assert "02:00:00:00:00:77" in fixed.exec("ip", "link", "show", "dev", "eth0").stdout
        world.podman.call("restart", "-t", "0", "fixed")
        assert fixed.addresses() == wanted
        for address, said in [(wanted[V4], "in use by another pod"), ("192.0.2.7", "not in the node's pod range")]:
            refused = world.podman.refusal("run", "--rm", "--network", "polder", "--ip", address, IMAGE, "true")
            assert said in refused, refused


@limit(90)
def test_subnets_inside_of_the_pod_range_are_podmans_to_give(world):
    with network(world, "part", "--subnet", "10.244.6.0/28", "--subnet", "fd44:0:0:1:0:0:6::/112"):
        with running(world, ("serve", "a", {"network": "part"}), ("start", "b", {"network": "part"})) as (a, b):
            found = [container.addresses() for container in (a, b)]
            assert all(one[V4].startswith("10.244.6.") and one[V6].startswith("fd44::1:0:0:6:") for one in found), found
            wait_serving(world, a)
            assert b.fetch(found[0][V4], 8080) == "a" and b.fetch(found[0][V6], 8080) == "a"


@limit(90)
def test_service_and_policy_by_labels_hold(world):
    vips = world.service("web", 1, [objects.service_port(80, 8080)], {"app": "web"})
    with network(world, "servers", "--label", "app=web"), network(world, "friends", "--opt", "label.role=friend"):
        with running(world, ("serve", "server", {"network": "servers"}), ("start", "friend", {"network": "friends"}),
                     ("start", "stranger")) as (server, friend, stranger):
            wait_serving(world, server)
            for client, vip in itertools.product((friend, stranger), vips.values()):
                wait_until(lambda c=client, v=vip: c.fetch(v, 80, 1) == "server", f"{client.name} reaches the Service", 5)
            world.policies(policy("web", labels(app="web"), policyTypes=["Ingress"],
                                  ingress=[{"from": [{"podSelector": labels(role="friend")}], "ports": [{"port": 8080}]}]))
            for family, vip in vips.items():
                address = server.addresses()[family]
                wait_until(lambda v=vip: stranger.fetch(v, 80, 1) is None, "the stranger is shut out", 5)
                assert stranger.fetch(address, 8080, 1) is None
                assert friend.fetch(vip, 80) == "server" and friend.fetch(address, 8080) == "server"


@each_family
@limit(120)
def test_published_port_answers_everybody_and_goes_with_its_container(world, family):
    expect_answers_until_it_ends(world, family)


@each_family
@limit(120)
def test_port_published_at_an_address_answers_there_alone(world, family):
    expect_localhost_alone(world, family)
    own, others = world.node.ips[family], world.node.ips[V4 if family == V6 else V6]
    with published(world, ("-p", f"{f'[{own}]' if family == V6 else own}:{TCP_PORT}:8080")) as (_, other):
        assert fetch(world.outside, own) == "web" and fetch(other, own) == "web"
        assert fetch(world.outside, others) is None, "the other family's address"
        assert fetch(world.node, LOOPBACK[family]) is None


@limit(120)
def test_published_port_follows_a_restart_and_is_one_containers(world):
    address = world.node.ips[V4]
    with published(world) as (web, _):
        refused = world.podman.refusal("run", "--rm", "--network", "polder", *PUBLISHED[:2], IMAGE, "true")
        assert str(TCP_PORT) in refused, refused
        world.podman.call("restart", "-t", "0", "web")
        wait_serving(world, web)
        assert fetch(world.outside, address) == "web"
        world.podman.call("stop", "-t", "0", "web")
        assert fetch(world.outside, address) is None, "a container that has ended"


@limit(90)
def test_published_ports_can_be_refused_or_left_to_a_rule_of_the_administrator(world):
    with network(world, "shut", "--opt", "ports=refuse"):
        refused = world.podman.refusal("run", "--rm", "--network", "shut", "-p", "18080:8080", IMAGE, "true")
        assert "18080" in refused and "ports=refuse" in refused, refused
    before = world.node.netns.run("nft", "list", "ruleset").stdout
    forwards(world.node)
    try:
        with network(world, "open", "--opt", "ports=ignore"):
            with running(world, ("serve", "web", {"network": "open", "args": ("-p", "18080:8080")})) as (web,):
                wait_serving(world, web)
                assert world.node.netns.run("nft", "list", "ruleset").stdout == before, "a rule was made"
                assert reach(world.outside, world.node.ips[V4], 18080, timeout=0.5).verdict != "open"
                web.ips = web.addresses()
                with publish(world.node, {("TCP", 18080): 8080}, web):
                    for address in world.node.ips.values():
                        assert reach(world.outside, address, 18080).verdict == "open", address
    finally:
        forwards(world.node, False)


@limit(90)
def test_container_restarts_reloads_connects_and_leaves_nothing(world):
    podman = world.podman
    before = world.node.ruler()
    with network(world, "second"):
        with running(world, ("serve", "web")) as (web,):
            podman.call("restart", "-t", "0", "web")
            wait_serving(world, web)
            kept = web.addresses()
            podman.call("network", "reload", "web")
            assert web.addresses() == kept
            wait_serving(world, web)
            podman.call("network", "connect", "second", "web")
            assert "eth1" in web.exec("ip", "-o", "addr").stdout
            assert pod_names(world) == ["web", "web"]
            podman.call("network", "disconnect", "second", "web")
            assert "eth1" not in web.exec("ip", "-o", "addr").stdout
            assert pod_names(world) == ["web"]
            wait_serving(world, web)
    world.node.wait_as(before)


@limit(90)
def test_containers_of_a_pod_share_its_addresses(world):
    podman = world.podman
    podman.call("pod", "create", "--name", "group", "--network", "polder", "--infra-image", IMAGE,
                "--infra-command", "/bin/sleep 1000000")
    try:
        podman.call("run", "-d", "--name", "member", "--pod", "group", IMAGE, "/bin/sleep", "1000000")
        shown = podman.exec("member", "ip", "-o", "addr", "show", "dev", "eth0").stdout
        assert "10.244." in shown, shown
        assert len(pod_names(world)) == 1, pod_names(world)
    finally:
        podman.call("pod", "rm", "-f", "-t", "0", "group")
    wait_until(lambda: not pod_names(world), "no pod is left", 5)


@limit(90)
def test_agent_that_is_away_stops_no_removal_and_no_traffic(world):
    before = world.node.ruler()
    with running(world, ("serve", "steady"), ("start", "asker"), ("start", "late")) as (steady, asker, _):
        wait_serving(world, steady)
        address = steady.addresses()[V4]
        world.node.agent.stop()
        try:
            assert asker.fetch(address, 8080) == "steady"
            refused = world.podman.refusal("run", "--rm", "--name", "early", "--network", "polder", IMAGE, "true")
            assert "polderd is not listening" in refused, refused
            world.podman.call("rm", "-f", "-t", "0", "late")
        finally:
            world.node.agent.start()
        wait_until(lambda: pod_names(world) == ["asker", "steady"], lambda: f"the removal is finished: {pod_names(world)}", 10)
        assert asker.fetch(address, 8080) == "steady"
    world.node.wait_as(before)


@limit(120)
def test_containers_start_again_after_a_reboot_of_the_host(world):
    podman, node = world.podman, world.node
    with running(world, ("serve", "web"), ("start", "asker"), ("start", "gone")) as (web, asker, _):
        wait_serving(world, web)
        node.agent.kill()
        podman.halt()
        reboot(node)
        podman.boot()
        node.agent.start()
        podman.call("rm", "gone")
        for container in (web, asker):
            podman.call("start", container.name)
        wait_serving(world, web)
        for address in web.addresses().values():
            assert asker.fetch(address, 8080) == "web"
        wait_until(lambda: pod_names(world) == ["asker", "web"], lambda: f"pods: {pod_names(world)}", 5)
    wait_until(lambda: not pod_names(world), "no pod is left", 5)


def reboot(node):
    """What a host forgets: pins, what stands in /run, links."""
    for base in (node.bpffs, node.agent.options["run-dir"]):
        for name in os.listdir(base):
            path = os.path.join(base, name)
            shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
    for link in node.netns.ip_json("link", "show"):
        if link["ifname"].startswith("pld"):
            node.netns.run("ip", "link", "del", link["ifname"], check=False)

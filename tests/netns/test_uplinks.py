# SPDX-License-Identifier: Apache-2.0
"""The node's links, addresses and default routes come, go and change under running pods."""

import contextlib
import json
import os
import signal
import socket

from lib.cni import CniCall
from lib.netns import run
from lib.runner import each_family, in_worlds, limit
from lib.traffic import BOTH, V4, V6, Capture, Connection, UdpClient, ping, reach, wait_until
from lib.world import NODE_LINK, OUTSIDE_IP, WORLD_IP

BITS = {V4: 24, V6: 64}
LASTS = 130
WORLDS = {
    "automatic": {"uplink": None, "node_ip": None},
    "named": {"node_ip": None, "metrics_listen": "127.0.0.1:9180"},
}


def setup(world):
    world.link = world.node.netns.ip_json("link", "show", "dev", "eth0")[0]
    world.a = world.pod("a")
    world.serve(world.outside, 8080)
    world.serve(world.outside, 5353, "UDP")


# ---- the node's network, changed and put back

def add_address(world, family, address, *more):
    nodad = " nodad" if family == V6 else ""
    world.node.netns.ip(f"addr add {address}/{BITS[family]} dev eth0{nodad} {' '.join(more)}")


def default_route(world, family, verb="add", dev="eth0", via=None):
    world.node.netns.ip(f"route {verb} default via {via or OUTSIDE_IP[family]} dev {dev}")


def plug(world, index="", name="eth0"):
    """An uplink as the world makes it, with addresses and default routes."""
    netns = world.node.netns
    netns.ip(f"link add {name} {index} address {world.link['address']} type veth peer p-again netns {world.fabric.name}")
    world.fabric.ip("link set p-again master br0 up")
    netns.ip(f"link set {name} up")
    for family in BOTH:
        nodad = " nodad" if family == V6 else ""
        netns.ip(f"addr add {world.node.ips[family]}/{BITS[family]} dev {name}{nodad}",
                 f"route replace default via {OUTSIDE_IP[family]} dev {name}")


@contextlib.contextmanager
def restored(world):
    """The node's network is as it was at the end, whatever happened to it."""
    try:
        yield
    finally:
        netns = world.node.netns
        links = {link["ifname"] for link in netns.ip_json("link", "show")}
        if "eth0" in links and netns.ip_json("link", "show", "dev", "eth0")[0]["ifindex"] != world.link["ifindex"]:
            netns.ip("link del eth0")
            links.remove("eth0")
        if "eth0" not in links:
            plug(world, f"index {world.link['ifindex']}")  # pins have the number in their names
        netns.ip("link set eth0 mtu 1500 up", "addr flush dev eth0 scope global")
        for family in BOTH:
            add_address(world, family, world.node.ips[family])
            default_route(world, family, "replace")
        for family in BOTH:
            wait_out(world, family)
        wait_until(lambda: world.node.agent.ctl_json("status")["ready"], "ready again")


def seen_as(world, family, address=None, proto="TCP"):
    """The address that the outside sees the pod by; None: no answer."""
    probe = reach(world.a, address or WORLD_IP[family], 8080 if proto == "TCP" else 5353, proto, timeout=0.3)
    return probe.answer["peer"] if probe.answer else None


def wait_out(world, family, source=None, address=None, proto="TCP"):
    source = source or world.node.ips[family]
    seen = []

    def right():
        seen[:] = [seen_as(world, family, address, proto)]
        return seen[0] == source
    wait_until(right, lambda: f"seen as {source}; it was {seen}", interval=0.05)


def expect_refused(world, family, reason, address=None):
    """
    Packets go nowhere, the pod is told, and they are counted. The answer to a first SYN comes while connect() still has
    the socket, and IPv6 heeds only that to the second, a second later.
    """
    seen = []

    def refused():
        seen[:] = [reach(world.a, address or WORLD_IP[family], 8080, timeout=1.5).verdict, world.node.agent.drops_by_reason()]
        return seen[0] == "unreachable"
    wait_until(refused, lambda: f"{reason}: the pod is told; it was {seen}", interval=0.05)
    with world.node.agent.dropping(reason):
        assert refused()


def status(world):
    return world.node.agent.ctl_json("status")


def uplinks(world):
    return {uplink["link"]: uplink for uplink in status(world)["uplinks"]}


def wait_status(world, link, state):
    wait_until(lambda: uplinks(world).get(link, {}).get("state") == state,
               lambda: f"{link} is {state}: {uplinks(world)}", interval=0.05)


# ---- links that come and go

@each_family
def test_pod_reaches_the_outside_from_the_moment_a_default_route_comes(world, family):
    """A machine that boots before DHCP has answered (F1)."""
    with restored(world):
        world.node.agent.stop()
        for one in BOTH:
            default_route(world, one, "del")
        world.node.netns.ip("addr flush dev eth0 scope global")
        world.node.agent.start(wait=False)
        world.node.agent.wait_answer()
        expect_refused(world, family, "no_route")
        assert any(OUTSIDE_IP and "route" in problem["reason"] for problem in status(world)["problems"]), status(world)
        add_address(world, family, world.node.ips[family])
        default_route(world, family)
        wait_out(world, family)


@each_family
def test_packets_wait_for_the_uplinks_address_and_never_leave_with_the_pods(world, family):
    """The link is there, its address comes later (F2). IPv6: it has a link-local one all the time."""
    with restored(world):
        netns = world.node.netns
        netns.ip("addr flush dev eth0 scope global")
        netns.run("ip", f"-{family}", "route", "replace", "default", "dev", "eth0")
        with Capture(world.outside) as capture:
            expect_refused(world, family, "no_node_address")
            capture.none(lambda p: p.source == world.a.ips[family], 0.3)
        assert any("address" in problem["reason"] for problem in status(world)["problems"]), status(world)["problems"]
        add_address(world, family, world.node.ips[family])
        default_route(world, family, "replace")
        wait_out(world, family)


@each_family
def test_new_address_is_the_source_and_the_old_one_a_strangers(world, family):
    """DHCP gives another address, and the old one to another host (F3)."""
    old, new = world.node.ips[family], f"{NODE_LINK[family]}{'.' if family == V4 else ':'}77"
    netns, bits = world.node.netns, BITS[family]
    with restored(world):
        with UdpClient(world.a, WORLD_IP[family], 5353) as client, \
                Connection(world.a, WORLD_IP[family], 8080) as connection:
            assert client.ask()["peer"] == old
            connection.ask()
            netns.ip(f"addr del {old}/{bits} dev eth0")
            add_address(world, family, new)
            default_route(world, family, "replace")
            wait_out(world, family, new)
            wait_out(world, family, new, proto="UDP")
            with Capture(world.outside) as capture:
                wait_until(lambda: client.state(0.2) == "open", "the datagrams go on")
                assert client.ask()["peer"] == new
                wait_until(lambda: connection.state(0.5) != "open", "no connection goes on with a foreign address")
                capture.none(lambda p: p.source == old, 0.1)
        nodad = " nodad" if family == V6 else ""
        world.outside.ip(f"addr add {old}/{bits} dev eth0{nodad}")
        try:
            for tool in (world.node.netns, world.outside):
                tool.run("ip", "neigh", "flush", "all", check=False)
            server = world.serve(world.outside, 8081, "TCP", [family], address=old)
            assert reach(world.a, old, 8081, timeout=1).verdict == "open"
            before = world.node.agent.drops("martian_source")
            assert reach(world.node, old, 8081, timeout=1).verdict == "open"
            assert world.node.agent.drops("martian_source") == before
            for one in server:
                one.close()
        finally:
            world.outside.ip(f"addr del {old}/{bits} dev eth0")
            for tool in (world.node.netns, world.outside):
                tool.run("ip", "neigh", "flush", "all", check=False)


@each_family
def test_uplink_that_is_made_again_under_its_name_works_again(world, family):
    """A driver is loaded anew, a bridge or bond made anew (F4)."""
    with restored(world):
        wait_out(world, family)
        world.node.netns.ip("link del eth0")
        wait_status(world, "eth0", "missing")
        now = status(world)
        assert not now["ready"], "ready while the pods are cut off"
        assert uplinks(world)["eth0"]["since"] and uplinks(world)["eth0"]["reason"], uplinks(world)
        assert any("eth0" in problem["source"] for problem in now["problems"]), now["problems"]
        expect_refused(world, family, "no_route")
        plug(world)
        wait_out(world, family)
        wait_status(world, "eth0", "ready")


@each_family
def test_connection_outlives_an_uplink_that_goes_down_and_up(world, family):
    with restored(world):
        netns = world.node.netns
        keep = "net/ipv6/conf/eth0/keep_addr_on_down"
        netns.sysctl(**{keep: 1})
        with Connection(world.a, WORLD_IP[family], 8080) as connection:
            connection.ask()
            netns.ip("link set eth0 down")
            wait_status(world, "eth0", "down")
            expect_refused(world, family, "no_route")
            netns.ip("link set eth0 up")
            for one in BOTH:
                with contextlib.suppress(Exception):
                    default_route(world, one, "replace")
            wait_out(world, family)
            connection.ask(timeout=5)


@each_family
@in_worlds("automatic")
def test_default_route_that_moves_to_another_link_is_followed(world, family):
    """F5. The old uplink's programs go."""
    netns, address = world.node.netns, f"{NODE_LINK[family]}{'.' if family == V4 else ':'}78"
    with restored(world):
        wait_out(world, family)
        netns.ip(f"link add eth9 type veth peer p-other netns {world.fabric.name}")
        try:
            world.fabric.ip("link set p-other master br0 up")
            nodad = " nodad" if family == V6 else ""
            netns.ip("link set eth9 up", "addr flush dev eth0 scope global")
            for one in BOTH:
                netns.run("ip", f"-{one}", "route", "del", "default", check=False)
            netns.ip(f"addr add {address}/{BITS[family]} dev eth9{nodad}")
            default_route(world, family, "replace", "eth9")
            wait_out(world, family, address)
            assert "eth0" not in uplinks(world) and uplinks(world)["eth9"]["state"] == "ready"
            pins = [pin for pin in pinned(world) if "wire" in pin]
            index = netns.ip_json("link", "show", "dev", "eth9")[0]["ifindex"]
            assert pins and all(pin.endswith(f"-{index}") for pin in pins), pins
        finally:
            netns.ip("link del eth9")


def pinned(world):
    return [name for _, _, names in os.walk(world.node.bpffs) for name in names]


@each_family
@in_worlds("named")
def test_named_uplink_that_is_renamed_is_missing_until_its_name_is_back(world, family):
    netns = world.node.netns
    with restored(world):
        netns.ip("link set eth0 down", "link set eth0 name eth7", "link set eth7 up")
        try:
            wait_status(world, "eth0", "missing")
            expect_refused(world, family, "no_route")
        finally:
            netns.ip("link set eth7 down", "link set eth7 name eth0", "link set eth0 up")
        for one in BOTH:
            with contextlib.suppress(Exception):
                add_address(world, one, world.node.ips[one])
            default_route(world, one, "replace")
        wait_status(world, "eth0", "ready")
        wait_out(world, family)


# ---- which address

@each_family
def test_source_is_the_one_that_the_kernel_chooses_for_the_destination(world, family):
    """A virtual address stands first on the link, a second network has an address of its own (F9)."""
    netns, outside = world.node.netns, world.outside
    vip, second, peer = {V4: ("192.0.2.200", "10.55.0.10", "10.55.0.1"),
                         V6: ("2001:db8:aaaa::1", "fd55::10", "fd55::1")}[family]
    bits, host = BITS[family], {V4: 32, V6: 128}[family]
    nodad = " nodad" if family == V6 else ""
    with restored(world):
        netns.ip("addr flush dev eth0 scope global")
        netns.ip(f"addr add {vip}/{host} dev eth0{nodad}",
                 f"addr add {world.node.ips[family]}/{bits} dev eth0{nodad}",
                 f"addr add {second}/{bits} dev eth0{nodad}")
        default_route(world, family, "replace")
        outside.ip(f"addr add {peer}/{bits} dev eth0{nodad}", f"route replace {vip}/{host} dev eth0")
        try:
            wait_out(world, family, kernels_source(world, family, WORLD_IP[family]))
            wait_out(world, family, second, peer)
            netns.ip(f"addr del {vip}/{host} dev eth0")  # another host has it now
            wait_out(world, family, kernels_source(world, family, WORLD_IP[family]))
        finally:
            outside.ip(f"route del {vip}/{host} dev eth0", f"addr del {peer}/{bits} dev eth0")


def kernels_source(world, family, address):
    return world.node.netns.ip_json(f"-{family}", "route", "get", address)[0]["prefsrc"]


@each_family
def test_source_of_a_route_is_honoured(world, family):
    """What the administrator or DHCP wrote beside a route (`src`)."""
    other = f"{NODE_LINK[family]}{'.' if family == V4 else ':'}79"
    with restored(world):
        add_address(world, family, other)
        target = f"{WORLD_IP[family]}/{32 if family == V4 else 128}"
        world.node.netns.ip(f"route add {target} via {OUTSIDE_IP[family]} dev eth0 src {other}")
        try:
            wait_out(world, family, other)
            wait_out(world, family, kernels_source(world, family, OUTSIDE_IP[family]), OUTSIDE_IP[family])
        finally:
            world.node.netns.ip(f"route del {target}")


def test_deprecated_and_temporary_addresses_are_no_sources(world):
    """F10, and privacy addresses (RFC 8981) that go within days."""
    netns, good = world.node.netns, world.node.ips[V6]
    with restored(world):
        netns.ip("addr add fd30::dead/64 dev eth0 nodad preferred_lft 0")
        wait_out(world, V6, good)
        netns.ip(f"addr change {good}/64 dev eth0 nodad valid_lft 600 preferred_lft 0",
                 "addr add fd30::77/64 dev eth0 nodad")
        wait_out(world, V6, "fd30::77")
        netns.ip("addr del fd30::77/64 dev eth0")
        wait_out(world, V6, kernels_source(world, V6, WORLD_IP[V6]))  # better than none


def test_ipv6_source_goes_by_the_destinations_label_and_prefix(world):
    """RFC 6724: a ULA for a ULA, a global address for a global one, the longer prefix."""
    netns, outside = world.node.netns, world.outside
    with restored(world):
        netns.ip("addr add 2001:db8:51:1::10/64 dev eth0 nodad")
        outside.ip("route replace 2001:db8:51:1::/64 dev eth0")
        try:
            wait_out(world, V6, "2001:db8:51:1::10", WORLD_IP[V6])
            wait_out(world, V6, world.node.ips[V6], OUTSIDE_IP[V6])
        finally:
            outside.ip("route del 2001:db8:51:1::/64 dev eth0")


# ---- sizes and types

@each_family
def test_uplinks_mtu_is_followed_and_who_sends_more_is_told(world, family):
    """F13: with or without Don't Fragment."""
    with restored(world):
        wait_out(world, family)
        world.node.netns.ip("link set eth0 mtu 1300")
        wait_until(lambda: uplinks(world)["eth0"]["mtu"] == 1300, "the MTU in status")
        for fragment in (False, True) if family == V4 else (False,):
            world.a.netns.run("ip", "route", "flush", "cache")
            with UdpClient(world.a, WORLD_IP[family], 5353) as client:
                client.sock.setsockopt(*{V4: (0, 10), V6: (41, 23)}[family], 0 if fragment else 2)
                with world.node.agent.dropping("packet_too_big"):
                    client.send(b"x" * 1400)
                def fits():
                    client.send(b"who\n" + b"x" * 1400)
                    return client.state(0.3) == "open"
                if fragment:
                    wait_until(fits, "fragments of the size that was told")


def test_link_without_ethernet_is_refused_by_name_and_type(world):
    """F11"""
    netns = world.node.netns
    agent = world.node.agent
    before = agent.options["uplink"]
    netns.run("ip", "tuntap", "add", "tun7", "mode", "tun")
    try:
        netns.ip("link set tun7 up")
        agent.stop()
        agent.options["uplink"] = ["eth0", "tun7"]
        agent.start(wait=False)
        agent.wait_answer()
        wait_status(world, "tun7", "refused")
        reason = uplinks(world)["tun7"]["reason"]
        assert "tun" in reason and "Ethernet" in reason, reason
        assert not status(world)["ready"]
        wait_out(world, V4)
    finally:
        agent.stop()
        agent.options["uplink"] = before
        netns.ip("link del tun7")
        agent.start()


def test_bridges_port_is_refused_by_name(world):
    netns = world.node.netns
    agent = world.node.agent
    before = agent.options["uplink"]
    netns.ip("link add br7 type bridge", "link add port7 type veth peer port7x", "link set port7 master br7 up")
    try:
        agent.stop()
        agent.options["uplink"] = ["eth0", "port7"]
        agent.start(wait=False)
        agent.wait_answer()
        wait_status(world, "port7", "refused")
        assert "br7" in uplinks(world)["port7"]["reason"], uplinks(world)
    finally:
        agent.stop()
        agent.options["uplink"] = before
        netns.ip("link del port7", "link del br7")
        agent.start()


@each_family
def test_mtu_can_be_raised_while_the_program_is_in_the_driver(world, family):
    """F12: to jumbo frames, on both sides of the link; and such frames arrive."""
    peer = world.node.netns.ip_json("link", "show", "dev", "eth0")[0]["link_index"]
    peer = next(link["ifname"] for link in world.fabric.ip_json("link", "show") if link["ifindex"] == peer)
    with restored(world):
        wait_out(world, family)
        assert uplinks(world)["eth0"]["xdp"] == "native", uplinks(world)
        try:
            world.fabric.ip(f"link set {peer} mtu 9000", "link set p-outside mtu 9000", "link set br0 mtu 9000")
            world.outside.ip("link set eth0 mtu 9000")
            world.node.netns.ip("link set eth0 mtu 9000")
            wait_until(lambda: uplinks(world)["eth0"]["mtu"] == 9000, "the MTU in status")
            assert uplinks(world)["eth0"]["xdp"] == "native", uplinks(world)
            assert ping(world.outside, world.node.ips[family], size=8000) == "open"
            wait_out(world, family)
        finally:
            world.outside.ip("link set eth0 mtu 1500")
            world.fabric.ip(f"link set {peer} mtu 1500", "link set p-outside mtu 1500", "link set br0 mtu 1500")


# ---- what stands at the start

def restart_with(world, **options):
    world.node.agent.stop()
    world.node.agent.options.update({name.replace("_", "-"): value for name, value in options.items()})
    world.node.agent.start()


def filters(world, link):
    netns = world.node.netns
    return [name for hook in ("ingress", "egress")
            for name in netns.run("tc", "filter", "show", "dev", link, hook).stdout.split() if "wire" in name]


def test_programs_of_links_that_are_no_uplinks_any_more_go_at_the_start(world):
    """B9: one of two uplinks is taken out of the list, with tcx and with clsact."""
    netns = world.node.netns
    before = dict(world.node.agent.options)
    netns.ip("link add port8 type veth peer port8x", "link set port8 up", "link set port8x up")
    index = netns.ip_json("link", "show", "dev", "port8")[0]["ifindex"]
    try:
        restart_with(world, uplink=["eth0", "port8"])
        assert f"from_wire-{index}" in pinned(world), pinned(world)
        restart_with(world, uplink=before["uplink"])
        assert not [pin for pin in pinned(world) if pin.endswith(f"-{index}")], pinned(world)
        assert "xdp" not in netns.ip_json("link", "show", "dev", "port8")[0]
        restart_with(world, uplink=["eth0", "port8"], attach="clsact")
        assert filters(world, "port8") and filters(world, "eth0")
        restart_with(world, uplink=before["uplink"])
        assert filters(world, "eth0") and not filters(world, "port8"), filters(world, "port8")
    finally:
        world.node.agent.options.clear()
        world.node.agent.options.update(before)
        world.node.agent.restart()
        netns.ip("link del port8")


@in_worlds("named")
def test_readiness_cni_status_and_metrics_know_that_an_uplink_is_gone(world):
    agent, config = world.node.agent, world.node.cni_config("1.1.0")

    def answers(ready, cni, metric):
        reached = http_status(world, "/readyz"), cni_status(config), \
            agent.metrics().get(("polder_uplink_ready", (("link", "eth0"),)))
        return reached == (ready, cni, metric)
    with restored(world):
        assert answers(200, 0, 1)
        world.node.netns.ip("link del eth0")
        wait_until(lambda: answers(503, 51, 0), "not ready, code 51")
        assert http_status(world, "/healthz") == 200
        plug(world)
        wait_until(lambda: answers(200, 0, 1), "ready again")


def cni_status(config):
    status, out, _ = CniCall("STATUS", config).finish()
    return json.loads(out)["code"] if status else 0


def http_status(world, path):
    with world.node.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.settimeout(3)
        sock.connect(("127.0.0.1", 9180))
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        return int(sock.recv(4096).split()[1])


@in_worlds("named")
def test_uplink_that_is_gone_keeps_no_other_from_repair(world):
    """A7: and is told once."""
    netns, agent = world.node.netns, world.node.agent
    before = dict(agent.options)
    netns.ip("link add aport type veth peer aportx", "link set aport up", "link set aportx up")
    try:
        restart_with(world, uplink=["aport", "eth0"])
        mark = len(agent.log())
        netns.ip("link del aport")
        wait_status(world, "aport", "missing")
        index = netns.ip_json("link", "show", "dev", "eth0")[0]["ifindex"]
        pin = next(os.path.join(base, name) for base, _, names in os.walk(world.node.bpffs)
                   for name in names if name == f"from_wire-{index}")
        run(["bpftool", "link", "detach", "pinned", pin], check=False)
        os.unlink(pin)
        wait_until(lambda: f"from_wire-{index}" in pinned(world), "the other uplink's program is back", interval=0.2)
        for family in BOTH:
            wait_out(world, family)
        told = [line for line in agent.log()[mark:].splitlines() if "aport" in line]
        assert len(told) == 1, told
    finally:
        agent.options.clear()
        agent.options.update(before)
        agent.restart()


@limit(120)
def test_overrun_of_the_kernels_messages_loses_no_uplink(world):
    """A6: an uplink is made anew while more happens than the socket holds."""
    netns, agent = world.node.netns, world.node.agent
    with restored(world):
        agent.process.send_signal(signal.SIGSTOP)
        try:
            for burst in range(40):
                netns.ip(*[f"addr {verb} 10.99.{burst}.{n}/32 dev lo" for n in range(200) for verb in ("add", "del")])
            netns.ip("link del eth0")
            plug(world)
        finally:
            agent.process.send_signal(signal.SIGCONT)
        for family in BOTH:
            wait_out(world, family)


def test_address_that_comes_while_the_agent_starts_is_the_nodes(world):
    """A5: from its first look on nothing is missed."""
    agent, netns = world.node.agent, world.node.netns
    agent.stop()
    agent.start(wait=False)
    try:
        for number in range(40):
            netns.ip(f"addr add 10.66.0.{number + 1}/32 dev eth0")
        agent.wait_ready()
        world.serve(world.node, 8090, "TCP", [V4])
        def reached():
            return all(reach(world.a, f"10.66.0.{n + 1}", 8090, timeout=0.3).verdict == "open" for n in range(0, 40, 3))
        wait_until(reached, "the node's new addresses are the node's")
    finally:
        for number in range(40):
            netns.run("ip", "addr", "del", f"10.66.0.{number + 1}/32", "dev", "eth0", check=False)


def test_address_that_is_renewed_changes_nothing(world):
    """A8: a router's advertisement renews a lifetime; nothing is re-evaluated."""
    netns = world.node.netns
    with restored(world):
        netns.ip("addr add fd30::88/64 dev eth0 nodad valid_lft 600 preferred_lft 500")
        wait_until(lambda: "fd30::88" in str(netns.ip_json("addr", "show", "dev", "eth0")), "the address")
        generation = wait_quiet(world)
        for lifetime in range(501, 531):
            netns.ip(f"addr change fd30::88/64 dev eth0 nodad valid_lft 600 preferred_lft {lifetime}")
        reach(world.a, WORLD_IP[V6], 8080)
        assert wait_quiet(world) == generation


def wait_quiet(world):
    """The generation, once it stands."""
    last = [None]

    def stands():
        now = status(world)["generation"]
        same, last[0] = now == last[0], now
        return same
    wait_until(stands, "the generation stands", interval=0.3)
    return last[0]

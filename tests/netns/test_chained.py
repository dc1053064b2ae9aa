# SPDX-License-Identifier: Apache-2.0
"""Plugins behind polder-cni in the list: what they change is followed, or told."""

import json
import os

from lib.cni import CniCall, cni_args
from lib.netns import inside
from lib.runner import Skip, each_family, limit
from lib.traffic import BOTH, reach, wait_until
from lib.world import OUTSIDE_IP

WORLD = {}
PLUGINS = "/usr/lib/cni"
OTHER_MAC = "c2:00:5e:00:53:01"
GATEWAY_MAC = "02:70:6f:6c:64:72"


def setup(world):
    world.a = world.pod("a")
    for where in (world.a, world.node, world.outside):
        world.serve(where, 8080)


def behind(world, pod, name, command="ADD", result=None, **config):
    """What the plugin makes of the pod's result."""
    path = os.path.join(PLUGINS, name)
    if not os.path.exists(path):
        raise Skip(f"no {path}: deploy/install-deps test")
    with inside(world.node.netns.path):
        return CniCall(command, {"cniVersion": "1.0.0", "name": "polder", "type": name, "dataDir": world.workdir,
                                 "prevResult": result or pod.result, **config},
                       container_id=pod.container_id, netns=pod.netns.path, args=cni_args(pod.ns, pod.name), plugin=path)


def answers(world, pod, family):
    """To the outside, from the node, to and from another pod."""
    return all(reach(*way, 8080, timeout=0.3).verdict == "open" for way in (
        (pod, OUTSIDE_IP[family]), (pod, world.node.ips[family]), (pod, world.a.ips[family]),
        (world.a, pod.ips[family]), (world.node, pod.ips[family])))


def tuned(world, name, mac=OTHER_MAC):
    pod = world.pod(name)
    world.serve(pod, 8080)
    pod.result = behind(world, pod, "tuning", mac=mac).result()
    assert pod.netns.mac() == mac
    return pod


def shown_mac(world, pod):
    return next(p["mac"] for p in world.node.agent.ctl_json("pod", "list") if p["name"] == pod.name)


@each_family
def test_mac_address_that_tuning_gives_is_taken_over_at_once(world, family):
    pod = tuned(world, f"tuned{family}")
    wait_until(lambda: answers(world, pod, family), "the pod is reached and reaches", 2.5, 0.05)
    pod.check()
    assert shown_mac(world, pod) == OTHER_MAC
    assert f"is {OTHER_MAC} now" in world.node.agent.log()


def test_mac_address_that_tuning_gave_outlives_a_restart(world):
    pod = tuned(world, "restarted")
    wait_until(lambda: shown_mac(world, pod) == OTHER_MAC, "taken over", 2.5, 0.05)
    world.node.agent.restart()
    assert shown_mac(world, pod) == OTHER_MAC
    for family in BOTH:
        assert answers(world, pod, family), family
    pod.check()


@limit(60)
def test_mac_address_that_changes_later_is_taken_over_soon(world):
    pod = world.pod("later")
    world.serve(pod, 8080)
    world.node.agent.restart()  # it has not seen the pod begin
    pod.netns.ip(f"link set eth0 address {OTHER_MAC}")
    assert reach(pod, OUTSIDE_IP[4], 8080, timeout=0.3).verdict == "timeout"
    wait_until(lambda: answers(world, pod, 4), "taken over", interval=0.3)
    assert shown_mac(world, pod) == OTHER_MAC


def test_forged_frame_does_not_change_the_address(world):
    before = world.a.netns.mac()
    sock = world.a.packet_socket("eth0", 0)
    with sock, world.node.agent.dropping("source_mac"):
        sock.send(bytes.fromhex(GATEWAY_MAC.replace(":", "")) + bytes.fromhex(OTHER_MAC.replace(":", "")) + b"\x08\0" + bytes(46))
    assert shown_mac(world, world.a) == before


def test_check_finds_a_mac_address_that_is_not_the_results_or_is_the_gateways(world):
    pod = world.pod("odd")
    for mac, words in ((OTHER_MAC, "another MAC address"), (GATEWAY_MAC, "gateway's MAC address")):
        pod.netns.ip(f"link set eth0 address {mac}")
        result = json.loads(json.dumps(pod.result))
        if mac == GATEWAY_MAC:
            next(i for i in result["interfaces"] if i.get("sandbox"))["mac"] = mac
        status, out, _ = pod.call("CHECK", {**pod.config, "prevResult": result}).finish()
        assert status and words in json.loads(out)["msg"], out


def queue_problems(world, pod):
    return [p["reason"] for p in world.node.agent.ctl_json("status")["problems"] if p["source"] == f"pod default/{pod.name}"]


@limit(60)
def test_limit_of_the_plugin_bandwidth_is_refused_in_words(world):
    """Packets that Polder forwards pass by the queues of links: what does not limit must not look as if it did."""
    pod = world.pod("limited")
    rates = {"ingressRate": 1_000_000, "ingressBurst": 1_000_000, "egressRate": 1_000_000, "egressBurst": 1_000_000}
    result = behind(world, pod, "bandwidth", **rates).result()
    try:
        status, out, _ = pod.call("CHECK", {**pod.config, "prevResult": pod.result}).finish()
        assert status and "tbf" in json.loads(out)["msg"] and "bandwidth" in json.loads(out)["msg"], out
        wait_until(lambda: queue_problems(world, pod), "the status says so", interval=0.3)
        reason, = queue_problems(world, pod)
        assert "tbf" in reason and pod.host_link in reason, reason
        assert "tbf" in world.node.agent.log()
    finally:
        behind(world, pod, "bandwidth", "DEL", result, **rates).finish()
        for queue in ("root", "ingress"):
            world.node.netns.run("tc", "qdisc", "del", "dev", pod.host_link, queue, check=False)
    pod.check()
    wait_until(lambda: not queue_problems(world, pod), "all is well again", interval=0.3)

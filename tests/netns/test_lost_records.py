# SPDX-License-Identifier: Apache-2.0
"""Run and state directory are lost together: links and pinned maps are enough to know the pods again."""

import os
import shutil
import signal

from lib.objects import labels, policy
from lib.runner import limit
from lib.traffic import BOTH, Connection
from lib.world import OUTSIDE_IP


def lose_everything(world):
    world.agent.kill(signal.SIGKILL)
    for option in ("run-dir", "state-dir"):
        shutil.rmtree(world.agent.options[option])


def records(world):
    return {(pod["namespace"], pod["name"]): pod for pod in world.agent.ctl_json("pod", "list")}


def setup(world):
    world.agent = world.node.agent
    world.serve(world.outside, 8080)
    world.resources.put("policies", policy("server", labels(app="server"), policyTypes=["Ingress"],
                                           ingress=[{"from": [{"podSelector": labels(app="client")}]}]))


def config_with_labels(world, **values):
    return world.node.cni_config(args={"cni": {"labels": [{"key": key, "value": value}
                                                          for key, value in values.items()]}})


@limit(60)
def test_pods_are_known_again_by_their_links_and_connections_go_on(world):
    client = world.pod("client", labels={"app": "client"})
    stranger = world.pod("stranger", labels={"app": "stranger"})
    server = world.pod("server", labels={"app": "server"})
    bare = world.pod("bare", with_object=False)
    for pod in (server, bare):
        world.serve(pod, 8080)
    connections = [Connection(client.netns, server.ips[family], 8080) for family in BOTH]
    before = records(world)
    lose_everything(world)
    world.agent.start()
    after = records(world)
    for key in ("containerID", "ifname", "network", "uid", "ips", "mac", "link", "mtu"):
        assert {name: pod.get(key) for name, pod in before.items()} == \
            {name: pod.get(key) for name, pod in after.items()}, key
    for connection in connections:
        assert connection.ask()
        connection.close()
    for family in BOTH:
        world.expect((client, server.ips[family], 8080, "open"), (stranger, server.ips[family], 8080, "timeout"),
                     (bare, server.ips[family], 8080, "timeout"), (client, bare.ips[family], 8080, "open"),
                     (bare, OUTSIDE_IP[family], 8080, "open"))
    client.check()
    # Another restart has records again; a deletion takes all away.
    world.agent.restart()
    assert set(records(world)) == set(after)
    late = world.pod("late", labels={"app": "client"})
    assert late.ips[4] not in [pod.ips[4] for pod in (client, stranger, server, bare)]
    link = server.host_link
    server.delete()
    assert link not in [at["ifname"] for at in world.node.netns.ip_json("link", "show")]
    assert ("default", "server") not in records(world)


@limit(60)
def test_pod_whose_labels_are_lost_is_isolated_until_its_object_comes(world):
    """The labels stood in the configuration: what policy would hold for it is not known any more."""
    client = world.pod("client", labels={"app": "client"})
    server = world.pod("server", with_object=False, config=config_with_labels(world, app="server"))
    world.serve(server, 8080)
    for family in BOTH:
        world.expect((client, server.ips[family], 8080, "open"))
    lose_everything(world)
    world.agent.start()
    for family in BOTH:
        world.expect((client, server.ips[family], 8080, "timeout"), (server, OUTSIDE_IP[family], 8080, "timeout"))
    problems = [p for p in world.agent.ctl_json("status")["problems"] if p["source"] == "pod default/server"]
    assert "labels" in problems[0]["reason"], problems
    world.agent.restart()
    for family in BOTH:
        world.expect((client, server.ips[family], 8080, "timeout"))
    server.labels = {"app": "server"}
    server.write_object()
    for family in BOTH:
        world.expect((client, server.ips[family], 8080, "open"), within=2)
    assert not [p for p in world.agent.ctl_json("status")["problems"] if p["source"] == "pod default/server"]


@limit(60)
def test_links_of_another_agents_pods_are_not_taken(world):
    """Pins are what tells: without them the links say a name, but nobody knows what was in force."""
    pod = world.pod("kept")
    link = pod.host_link
    lose_everything(world)
    shutil.move(world.node.bpffs, world.node.bpffs + "-away")
    os.makedirs(world.node.bpffs)
    try:
        world.agent.start(wait=False)
        assert world.agent.wait_end() != 0
        assert link in world.agent.log_tail(3) or "links of pods" in world.agent.log_tail(3)
        assert link in [at["ifname"] for at in world.node.netns.ip_json("link", "show")]
    finally:
        os.rmdir(world.node.bpffs)
        shutil.move(world.node.bpffs + "-away", world.node.bpffs)
    world.agent.start()
    assert ("default", "kept") in records(world)

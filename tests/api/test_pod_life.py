# SPDX-License-Identifier: Apache-2.0
"""A pod's life as an API server tells it: late objects, changes of labels, its end and the next one of its name."""

from lib import objects
from lib.cni import cni_args
from lib.objects import labels, policy
from lib.traffic import BOTH, wait_until
from lib.world import OUTSIDE_IP, Pod

FRIENDS = [{"from": [{"podSelector": labels(role="friend")}]}]


def setup(world):
    world.a = world.pod("a", labels={"app": "a"})
    world.b = world.pod("b", labels={"app": "b"})
    world.serve(world.b, 8080)
    expect(world, (world.a, world.b, "open"))


def expect(world, *wanted, port=8080):
    world.expect(*((source, target.ips[family], port, verdict) for source, target, verdict in wanted for family in BOTH))


def only_friends(name="friends", **more):
    return policy(name, labels(app="b"), policyTypes=["Ingress"], ingress=FRIENDS, **more)


def test_pod_whose_object_is_late_is_isolated_until_it_comes(world):
    late = world.pod("late", labels={"app": "late"}, with_object=False)
    world.serve(late, 8080)
    expect(world, (world.a, late, "timeout"), (late, world.b, "timeout"))
    problem = world.wait_problem("pod default/late")
    assert "isolated until" in problem, problem
    # As long as it takes, over a restart.
    world.node.agent.restart()
    expect(world, (world.a, late, "timeout"), (late, world.b, "timeout"))
    late.with_object = True
    late.write_object()
    expect(world, (world.a, late, "open"), (late, world.b, "open"))
    world.wait_no_problem()
    # One whose labels are known by its configuration is nobody's late pod.
    config = world.node.cni_config(args={"labels": [{"key": "app", "value": "tool"}]})
    tool = world.pod("tool", config=config, with_object=False)
    expect(world, (tool, world.b, "open"))


def test_labels_of_pods_and_namespaces_change(world):
    world.resources.put("team", objects.namespace("team", kind="other"))
    guest = world.pod("guest", "team", labels={"role": "none"})
    world.resources.put("rules", policy("rules", labels(app="b"), policyTypes=["Ingress"], ingress=[{"from": [
        {"podSelector": labels(role="friend"), "namespaceSelector": labels(kind="friends")}]}]))
    expect(world, (guest, world.b, "timeout"))
    guest.relabel(role="friend")
    expect(world, (guest, world.b, "timeout"))
    world.resources.put("team", objects.namespace("team", kind="friends"))
    expect(world, (guest, world.b, "open"))
    guest.relabel(role="none")
    expect(world, (guest, world.b, "timeout"))
    guest.relabel(role="friend")
    expect(world, (guest, world.b, "open"))
    world.resources.put("team", objects.namespace("team"))
    expect(world, (guest, world.b, "timeout"))


class Sandbox(Pod):
    """A container of a pod, by its uid; whoever writes the object is the test."""

    def __init__(self, world, uid, name="web-0", pod_labels=None):
        self.uid = uid
        super().__init__(world, world.node, f"{name}-{uid}", "default", pod_labels, with_object=False)
        self.name = name
        world.cleanup.callback(self.netns.delete)
        world.pods.append(self)

    def call(self, command, config=None, **options):
        return super().call(command, config, args=cni_args(self.ns, self.name, self.uid), **options)


def told(world, pod, phase="Running", deleted=True, ready=True):
    """The pod's object as a kubelet leaves it in this part of its end."""
    made = objects.pod(pod.name, pod.ns, pod.labels, pod.node.name, list(pod.ips.values()), phase=phase)
    if deleted:
        made["metadata"].update(deletionTimestamp="2026-01-02T03:04:05Z", deletionGracePeriodSeconds=30)
    made["status"]["conditions"] = [{"type": "Ready", "status": "True" if ready else "False"}]
    world.resources.put(f"pod-{pod.ns}-{pod.name}", made)


def endpoints(world, pod, **conditions):
    world.resources.put("slice", objects.endpoint_slice(
        "web-1", "web", [objects.endpoint(pod.ips[4], world.node.name, **conditions)], [objects.slice_port(8080)]))


def test_pod_that_ends_keeps_policy_and_endpoint_until_it_is_gone(world):
    """MODIFIED with a deletionTimestamp, MODIFIED to Failed with its podIP, DELETED, and then the container goes."""
    going = Sandbox(world, "uid-default-going", "going", {"app": "going"})
    going.write_object()
    going.add()
    world.serve(going, 8080)
    friend = world.pod("friend", labels={"role": "friend"})
    vip = world.service("web", 3, [objects.service_port(80, 8080)], {"app": "going"})[4]
    endpoints(world, going, ready=True, serving=True, terminating=False)
    world.resources.put("rules", policy("rules", labels(app="going"), policyTypes=["Ingress"], ingress=FRIENDS))
    isolated = [(world.a, going, "timeout"), (friend, going, "open")]
    expect(world, *isolated)
    world.expect((friend, vip, 80, "open"), (world.a, vip, 80, "timeout"))
    told(world, going)
    endpoints(world, going, ready=False, serving=True, terminating=True)
    expect(world, *isolated)
    world.expect((friend, vip, 80, "open"), (world.a, vip, 80, "timeout"))
    # Its policy goes first, as with a namespace.
    world.resources.delete("rules")
    expect(world, *isolated)
    world.expect((friend, vip, 80, "open"), (world.a, vip, 80, "timeout"))
    told(world, going, phase="Failed", ready=False)
    expect(world, (world.a, going, "timeout"))
    world.node.agent.restart()
    expect(world, (world.a, going, "timeout"))
    world.resources.delete("slice")
    world.resources.delete("pod-default-going")
    world.expect((friend, vip, 80, "refused"))
    expect(world, (world.a, going, "timeout"))
    going.delete()


def test_finished_pod_lends_nothing_to_who_has_its_address_next(world):
    """It keeps its podIP until it is deleted."""
    world.resources.put("friends", only_friends())
    expect(world, (world.a, world.b, "timeout"))
    for phase in ("Succeeded", "Failed"):
        world.resources.put("done", objects.pod("done", labels={"role": "friend"}, node_name=world.node.name,
                                                ips=list(world.a.ips.values()), phase=phase))
        wait_until(lambda: world.node.agent.ctl_json("status")["objects"]["pods"] == 3, "its object", 5)
        expect(world, (world.a, world.b, "timeout"))
    world.a.relabel(app="a", role="friend")
    expect(world, (world.a, world.b, "open"))
    world.resources.delete("done")
    expect(world, (world.a, world.b, "open"))


def test_pod_in_the_hosts_network_is_no_peer_by_its_labels(world):
    world.resources.put("friends", only_friends())
    world.resources.put("host", objects.pod("host", labels={"role": "friend"}, node_name="elsewhere",
                                            ips=list(OUTSIDE_IP.values()), host_network=True))
    world.a.relabel(app="a", role="friend")
    expect(world, (world.a, world.b, "open"), (world.outside, world.b, "timeout"))


def test_named_ports_of_sidecars_count_and_those_of_init_containers_do_not(world):
    world.serve(world.b, 9000)
    world.serve(world.b, 9001)
    world.resources.put("named", policy("named", labels(app="b"), policyTypes=["Ingress"], ingress=[
        {"ports": [{"port": "side"}, {"port": "first"}]}]))
    expect(world, (world.a, world.b, "timeout"), port=9000)
    world.b.write_object(init_containers=[
        {"name": "proxy", "restartPolicy": "Always", "ports": [{"name": "side", "containerPort": 9000}]},
        {"name": "init", "ports": [{"name": "first", "containerPort": 9001}]}])
    expect(world, (world.a, world.b, "open"), port=9000)
    expect(world, (world.a, world.b, "timeout"), port=9001)


def web_0(world, uid, role):
    made = objects.pod("web-0", labels={"role": role}, node_name=world.node.name)
    made["metadata"]["uid"] = uid
    world.resources.put("web-0", made)


def test_next_pod_of_a_name_comes_before_the_last_ones_container_is_gone(world):
    world.resources.put("friends", only_friends())
    web_0(world, "1", "friend")
    old = Sandbox(world, "1")
    old.add()
    expect(world, (old, world.b, "open"))
    # The container may be first, or the object; each has what is its own.
    new = Sandbox(world, "2")
    new.add()
    expect(world, (new, world.b, "timeout"), (old, world.b, "open"))
    world.resources.delete("web-0")
    expect(world, (new, world.b, "timeout"), (old, world.b, "open"))
    web_0(world, "2", "friend")
    expect(world, (new, world.b, "open"), (old, world.b, "open"))
    old.delete()
    expect(world, (new, world.b, "open"))
    web_0(world, "2", "foe")
    expect(world, (new, world.b, "timeout"))
    new.delete()

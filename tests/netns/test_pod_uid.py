# SPDX-License-Identifier: Apache-2.0
"""Two pods of one name, as a StatefulSet makes them: the old container is not yet gone when the next one comes. Each has its own pod's object."""

from lib import objects
from lib.cni import cni_args
from lib.objects import labels, policy
from lib.runner import each_family, limit
from lib.traffic import BOTH, wait_until
from lib.world import Pod

ALLOW = [{"from": [{"podSelector": labels(role="old")}]}]


class Sandbox(Pod):
    """A container of the pod web-0, by its uid; whoever writes the object is the test."""

    def __init__(self, world, uid):
        self.uid = uid
        super().__init__(world, world.node, "web-0-" + uid, "default", with_object=False)
        self.name = "web-0"
        world.cleanup.callback(self.netns.delete)
        world.pods.append(self)

    def call(self, command, config=None, **options):
        return super().call(command, config, args=cni_args(self.ns, self.name, self.uid), **options)


def put(world, uid, role, ips=(), **metadata):
    made = objects.pod("web-0", "default", {"role": role, "app": "web"}, world.node.name, list(ips))
    made["metadata"].update({"uid": uid, **metadata})
    world.resources.put("web-0", made)


def setup(world):
    world.server = world.pod("server", labels={"app": "server"})
    world.client = world.pod("client", labels={"app": "client"})
    world.serve(world.server, 8080)
    world.vip = world.service("web", 5, [{"name": "web", "port": 80, "targetPort": 8080, "protocol": "TCP"}],
                              {"app": "web"})
    world.resources.put("policies", policy("server", labels(app="server"), policyTypes=["Ingress"], ingress=ALLOW))
    world.policies_in_force()


def sandbox(world, uid):
    made = Sandbox(world, uid)
    made.add()
    return made


def reaches(world, pod, verdict):
    for family in BOTH:
        world.expect((pod, world.server.ips[family], 8080, verdict))


def end(world):
    world.resources.delete("web-0")


@limit(60)
def test_old_container_keeps_its_rights_and_the_new_one_has_its_own(world):
    put(world, "A", "old")
    old = sandbox(world, "A")
    reaches(world, old, "open")
    put(world, "B", "new")
    reaches(world, old, "open")
    new = sandbox(world, "B")
    reaches(world, new, "timeout")
    reaches(world, old, "open")
    world.node.agent.restart()
    reaches(world, new, "timeout")
    reaches(world, old, "open")
    shown = {p["uid"]: p["labels"]["role"] for p in world.node.agent.ctl_json("pod", "list") if p["name"] == "web-0"}
    assert shown == {"A": "old", "B": "new"}, shown
    old.delete()
    reaches(world, new, "timeout")
    end(world)


@limit(60)
def test_new_container_gets_nothing_of_the_old_pods_object(world):
    put(world, "A", "old")
    new = sandbox(world, "B")
    reaches(world, new, "timeout")
    put(world, "B", "old")
    reaches(world, new, "open")
    end(world)


@each_family
@limit(60)
def test_only_the_pod_that_is_there_is_an_endpoint(world, family):
    put(world, "A", "old")
    old = sandbox(world, "A")
    world.serve(old, 8080, name="old")
    wait_until(lambda: len(backends(world, family)) == 1, "one endpoint")
    put(world, "B", "new")
    new = sandbox(world, "B")
    world.serve(new, 8080, name="new")
    wait_until(lambda: backends(world, family) == {new.ips[family]},
               lambda: f"the new one alone, there are {backends(world, family)}")
    world.expect((world.client, world.vip[family], 80, "open"))
    end(world)


def backends(world, family):
    return {backend["address"] for service in world.node.agent.ctl_json("service", "list")
            if service["name"] == "web" and (":" in service["address"]) == (family == 6)
            for backend in service["backends"] if backend["state"] == "active"}


@limit(60)
def test_static_pod_is_known_by_the_object_that_mirrors_it(world):
    put(world, "A", "old", annotations={"kubernetes.io/config.mirror": "0123abcd", "kubernetes.io/config.source": "file"})
    reaches(world, sandbox(world, "0123abcd"), "open")
    end(world)


@limit(60)
def test_object_without_uid_is_known_by_its_name(world):
    put(world, "", "old")
    reaches(world, sandbox(world, "A"), "open")
    end(world)


@limit(60)
def test_explain_agrees_that_a_pod_waits_for_its_object(world):
    put(world, "A", "old")
    made = sandbox(world, "B")
    for family in BOTH:
        for ends in ((made.ips[family], "default/server"), ("default/client", made.ips[family])):
            said = world.node.agent.ctl("explain", "--from", ends[0], "--to", ends[1], "--port", "8080", "--family",
                                        f"ipv{family}", check=False).stdout
            assert "pod_not_ready" in said.splitlines()[0] and "DIFFERENT" not in said, said
    end(world)

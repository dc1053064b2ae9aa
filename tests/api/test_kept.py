# SPDX-License-Identifier: Apache-2.0
"""Objects on disk: a polderd that starts while no API server is reached has those that it had."""

import contextlib
import os
import re
import signal
import time

from lib import objects
from lib.objects import labels, policy
from lib.runner import limit
from lib.traffic import wait_until

# So long the server may stay away at a start before what was kept is put in force.
AWAY = 5


def setup(world):
    world.a = world.pod("a", labels={"app": "a"})
    world.b = world.pod("b", labels={"app": "b"})
    world.serve(world.b, 8080)
    world.expect((world.a, world.b.ips[4], 8080, "open"))


def content(world):
    with contextlib.suppress(FileNotFoundError), open(world.kept_file, encoding="utf-8") as file:
        return file.read()
    return ""


def wait_kept(world, *texts):
    """Each of them in the last line of its object, and all of the world."""
    def there():
        text = content(world)
        return re.search("^[0-9a-f]{8} W$", text, re.M) and all(re.search(wanted, text, re.M) for wanted in texts)
    wait_until(there, lambda: f"{texts} in {content(world)[-2000:]}", 10)


def only_a(name="only"):
    return policy(name, labels(app="b"), ingress=[{"from": [{"podSelector": labels(app="a")}]}], policyTypes=["Ingress"])


def deny(name):
    return policy(name, labels(app="b"), policyTypes=["Ingress"])


def start_without_server(world, end=signal.SIGTERM):
    world.node.agent.kill(end)
    world.api.stop()
    world.node.agent.start()


@limit(90)
def test_known_pods_start_and_what_was_known_is_in_force_without_a_server(world):
    world.resources.put("only", only_a())
    for name, app in (("friend", "a"), ("foe", "c")):
        world.resources.put(f"object-{name}", objects.pod(name, labels={"app": app}, node_name=world.node.name))
    wait_kept(world, "default/only", "default/friend", "default/foe")
    begun = world.now()
    start_without_server(world)
    assert AWAY <= world.now() - begun < AWAY + 10
    status = world.node.agent.ctl_json("status")
    assert status["ready"] and status["api"]["kept"]["in_force"] and status["api"]["kept"]["age_seconds"] < 60, status["api"]
    assert "from the disk" in world.node.agent.ctl("status").stdout
    problem = world.wait_problem("api:objects")
    assert "api-objects" in problem and time.strftime("20%y-") in problem, problem
    assert world.metric("polder_api_kept_in_force") == 1
    # Its object is known, or is not: then it is isolated.
    friend, foe = (world.pod(name, with_object=False) for name in ("friend", "foe"))
    late = world.pod("late", labels={"app": "a"}, with_object=False)
    world.expect((world.a, world.b.ips[4], 8080, "open"), (friend, world.b.ips[4], 8080, "open"), (friend, world.b.ips[6], 8080, "open"),
                 (foe, world.b.ips[4], 8080, "timeout"), (late, world.b.ips[4], 8080, "timeout"))
    # What came and went meanwhile follows, without a moment in which nothing is in force.
    world.store.delete("networkpolicies", ("default", "only"))
    world.store.put(deny("after"))
    world.listen()
    world.wait_policy("after", timeout=15)
    world.wait_policy("only", there=False)
    late.with_object = True
    late.write_object()
    world.wait_no_problem()
    world.expect((friend, world.b.ips[4], 8080, "timeout"))
    assert world.metric("polder_api_kept_in_force") == 0
    world.store.delete("networkpolicies", ("default", "after"))
    world.expect((friend, world.b.ips[4], 8080, "open"))
    # And is kept in turn.
    wait_kept(world, "D [0-9]+ default/only", "D [0-9]+ default/after")


@limit(90)
def test_agent_that_is_killed_has_kept_what_it_knew(world):
    world.resources.put("deny", deny("deny"))
    wait_kept(world, "default/deny")
    with open(world.kept_file, "ab") as file:  # a crash of the machine cuts off in the middle of a line
        file.write(b"12345678 P 5 default/de")
    start_without_server(world, signal.SIGKILL)
    world.expect((world.a, world.b.ips[4], 8080, "timeout"))
    assert "deny" in [p["name"] for p in world.node.agent.ctl_json("policy", "list")]
    world.listen()
    world.wait_no_problem(20)
    # Lines that follow are whole.
    world.resources.put("more", deny("more"))
    wait_kept(world, "default/more")
    start_without_server(world)
    assert {"deny", "more"} <= {p["name"] for p in world.node.agent.ctl_json("policy", "list")}


@limit(90)
def test_file_that_is_damaged_opens_nothing_and_is_put_aside(world):
    world.resources.put("deny", deny("deny"))
    world.resources.put("object", objects.pod("late", labels={"app": "a"}, node_name=world.node.name))
    wait_kept(world, "default/deny", "default/late")
    world.expect((world.a, world.b.ips[4], 8080, "timeout"))
    world.node.agent.stop()
    world.api.stop()
    with open(world.kept_file, "r+b") as file:
        file.seek(len(file.read()) // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    world.node.agent.start(wait=False)
    wait_until(lambda: "damaged" in world.node.agent.log_tail(50), "a message", 30)
    time.sleep(AWAY + 2)
    assert not world.node.agent.ctl_json("status")["ready"]
    assert os.path.exists(world.kept_file + ".bad")
    os.unlink(world.kept_file + ".bad")
    world.expect((world.a, world.b.ips[4], 8080, "timeout"), within=0)
    world.listen()
    world.wait_connected()
    world.node.agent.wait_ready()
    world.expect((world.a, world.b.ips[4], 8080, "timeout"), within=0)
    wait_kept(world, "default/deny")


@limit(90)
def test_last_good_version_of_a_refused_object_outlives_the_agent(world):
    world.resources.put("only", only_a())
    never = deny("never")
    never["spec"] = {"podSelector": labels(app="a"), "policyTypes": ["Ingress"], "ingres": [{}]}
    world.resources.put("never", never)
    wait_kept(world, "P [0-9]+ default/only", "C [0-9]+ default/never")
    bad = only_a()
    bad["spec"]["ingres"] = [{}]
    world.resources.put("only", bad)
    world.wait_problem("api:networkpolicies/default/only")
    world.node.agent.restart()
    world.wait_problem("api:networkpolicies/default/only")
    world.expect((world.a, world.b.ips[4], 8080, "open"))
    # One that never had a valid version isolates as before, without the server too.
    start_without_server(world)
    world.wait_problem("api:networkpolicies/default/never")
    world.serve(world.a, 8080)
    world.expect((world.a, world.b.ips[4], 8080, "open"), (world.b, world.a.ips[4], 8080, "timeout"))
    world.listen()
    world.wait_connected()
    world.resources.delete("never")
    world.resources.put("only", only_a())
    world.wait_no_problem(15)
    world.expect((world.b, world.a.ips[4], 8080, "open"))


def test_file_that_cannot_be_written_is_told_and_written_later(world):
    path = world.kept_file
    wait_kept(world)
    os.unlink(path)
    os.mkdir(path)
    try:
        world.resources.put("deny", deny("deny"))
        problem = world.wait_problem("api:kept")
        assert "api-objects" in problem, problem
        world.expect((world.a, world.b.ips[4], 8080, "timeout"))
    finally:
        os.rmdir(path)
    # It is tried again each minute; a restart is quicker.
    world.node.agent.restart()
    wait_kept(world, "default/deny")
    world.wait_no_problem()

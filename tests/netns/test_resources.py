# SPDX-License-Identifier: Apache-2.0
"""The resources directory: every way files change, and every way they can be wrong."""

import json
import os
import shutil
import threading
import time

from lib import objects
from lib.objects import labels, policy
from lib.runner import limit
from lib.traffic import Capture, reach, wait_until

WORLD = {"nodes": 1}


def setup(world):
    world.a = world.pod("a", labels={"app": "a"})
    world.b = world.pod("b", labels={"app": "b"})
    world.c = world.pod("c", labels={"app": "c"})
    for pod in (world.a, world.b, world.c):
        world.serve(pod, 8080)
    # What must stay in force whatever else is wrong.
    world.resources.put("canary", policy("canary", labels(app="c"), policyTypes=["Ingress"]))
    world.vip = world.service("canary", 1, [objects.service_port(80, 8080)], {"app": "b"})[4]
    world.policies_in_force()
    expect_open(world)
    canaries(world)


def deny(name="deny"):
    return policy(name, labels(app="b"), policyTypes=["Ingress"])


def expect_open(world):
    world.expect((world.a, world.b.ips[4], 8080, "open"), (world.a, world.b.ips[6], 8080, "open"))


def expect_shut(world):
    world.expect((world.a, world.b.ips[4], 8080, "timeout"),
                 (world.a, world.b.ips[6], 8080, "timeout"))


def canaries(world):
    """The policy on c is in force; b is reached by the node through the Service."""
    world.expect((world.a, world.c.ips[4], 8080, "timeout"))
    world.expect((world.node, world.vip, 80, "open"))


def problems(world):
    return world.node.agent.ctl_json("status")["problems"]


def wait_problem(world, *words):
    """A problem whose source, path or reason hold all the words."""
    def found():
        return [p for p in problems(world) if all(word in json.dumps(p) for word in words)]
    return wait_until(found, lambda: f"a problem with {words}; there are {problems(world)}")[0]


def wait_no_problem(world):
    wait_until(lambda: not problems(world), lambda: f"no problem; there are {problems(world)}")


def in_place(world, name, text, mode="w"):
    with open(world.resources.path(name), mode, encoding="utf-8") as file:
        file.write(text)


def test_atomic_rename_into_place(world):
    world.resources.put("deny", deny())
    expect_shut(world)
    canaries(world)


def test_write_in_place(world):
    in_place(world, "deny", json.dumps(deny()))
    expect_shut(world)
    in_place(world, "deny",
             json.dumps({**deny(), "spec": {"podSelector": {}, "policyTypes": ["Ingress"],
                                                           "ingress": [{}]}}))
    expect_open(world)


def test_editors_save_by_backup_and_new_file(world):
    path = world.resources.path("deny")
    world.resources.put("deny", deny())
    expect_shut(world)
    # vim: the old file becomes a backup, the new one is written under the name, the backup goes.
    os.rename(path, path + "~")
    in_place(world, "deny", json.dumps(deny("deny-2")))
    os.unlink(path + "~")
    wait_until(lambda: "deny-2" in {p["name"] for p in world.node.agent.ctl_json("policy", "list")},
               "the new version")
    expect_shut(world)


def test_editors_save_never_opens_what_is_denied_before_and_after(world):
    path = world.resources.path("deny")
    world.resources.put("deny", deny())
    expect_shut(world)
    stop = threading.Event()
    sock = world.a.socket(2, 2)

    def shout():
        while not stop.is_set():
            sock.sendto(b"denied", (world.b.ips[4], 5353))
            time.sleep(0.0005)
    with Capture(world.b.netns) as capture:
        thread = threading.Thread(target=shout)
        thread.start()
        try:
            for _ in range(30):
                os.rename(path, path + "~")
                os.rename(path + "~", path + ".swp")
                in_place(world, "deny", json.dumps(deny()))
                os.unlink(path + ".swp")
                wait_until(lambda: world.node.agent.ctl_json("policy", "list"), "policies")
        finally:
            stop.set()
            thread.join()
            sock.close()
        leaks = capture.matching(lambda p: p.payload == b"denied")
        assert not leaks, f"{len(leaks)} packets came through"


def test_half_written_file_is_not_believed(world):
    world.resources.put("deny", deny())
    expect_shut(world)
    text = json.dumps({**deny(), "spec": {"podSelector": labels(app="b"),
                                          "policyTypes": ["Ingress"],
                                          "ingress": [{}]}})
    with open(world.resources.path("deny"), "w", encoding="utf-8") as file:
        file.write(text[:len(text) // 2])
        file.flush()
        os.fsync(file.fileno())
        expect_shut(world)
    wait_problem(world, "deny.json")
    expect_shut(world)
    in_place(world, "deny", text)
    expect_open(world)
    wait_no_problem(world)


def test_empty_file_is_a_problem_and_the_last_good_version_stays(world):
    world.resources.put("deny", deny())
    expect_shut(world)
    in_place(world, "deny", "")
    wait_problem(world, "deny.json")
    expect_shut(world)


def test_deleted_file_takes_its_objects_along(world):
    world.resources.put("deny", deny())
    expect_shut(world)
    world.resources.delete("deny")
    expect_open(world)
    canaries(world)


def test_file_moved_out_and_back(world):
    world.resources.put("deny", deny())
    expect_shut(world)
    away = os.path.join(world.workdir, "away.json")
    os.rename(world.resources.path("deny"), away)
    expect_open(world)
    os.rename(away, world.resources.path("deny"))
    expect_shut(world)


def test_deleted_directory_changes_nothing_until_it_is_back(world):
    directory = world.resources.directory
    world.resources.put("deny", deny())
    expect_shut(world)
    os.rename(directory, directory + ".gone")
    wait_problem(world, os.path.basename(directory))
    expect_shut(world)
    canaries(world)
    os.rename(directory + ".gone", directory)
    wait_no_problem(world)
    expect_shut(world)
    world.resources.delete("deny")
    expect_open(world)
    canaries(world)


def test_directory_removed_with_its_files_and_made_again(world):
    """File by file it is emptied first, as rm -r does: those are deletions. Then new files are read."""
    directory = world.resources.directory
    world.resources.put("deny", deny())
    expect_shut(world)
    shutil.copytree(directory, directory + ".copy")
    shutil.rmtree(directory)
    wait_problem(world, os.path.basename(directory))
    os.rename(directory + ".copy", directory)
    wait_no_problem(world)
    expect_shut(world)
    canaries(world)


def test_single_object_list_and_array(world):
    for made in (deny(), objects.item_list([deny()]), [deny()],
                 {"kind": "NetworkPolicyList", "apiVersion": "networking.k8s.io/v1", "items": [
                     {key: value for key, value in deny().items()
                      if key not in ("kind", "apiVersion")}]}):
        world.resources.put_text("deny", json.dumps(made))
        expect_shut(world)
        world.resources.delete("deny")
        expect_open(world)


def test_files_that_are_not_ours_are_nothing(world):
    directory = world.resources.directory
    for name in (".deny.json", "deny.yaml", "deny.json.bak", "deny.json~", "deny"):
        with open(os.path.join(directory, name), "w", encoding="utf-8") as file:
            json.dump(deny(name.strip(".").replace("~", "x")), file)
    os.makedirs(os.path.join(directory, "folder"), exist_ok=True)
    with open(os.path.join(directory, "folder", "deny.json"), "w", encoding="utf-8") as file:
        json.dump(deny("folder"), file)
    try:
        world.resources.put("marker", policy("marker", labels(app="nobody"),
                                             policyTypes=["Ingress"]))
        wait_until(lambda: "marker" in {p["name"]
                                        for p in world.node.agent.ctl_json("policy", "list")},
                   "the marker")
        expect_open(world)
        assert not problems(world), problems(world)
    finally:
        for name in (".deny.json", "deny.yaml", "deny.json.bak", "deny.json~", "deny",
                     "folder/deny.json"):
            os.unlink(os.path.join(directory, name))
        os.rmdir(os.path.join(directory, "folder"))


BAD = {
    "broken": ('{"kind": "NetworkPolicy",', ()),
    "wrong-type": (json.dumps({**deny(), "spec": {"podSelector": [], "policyTypes": ["Ingress"]}}),
                   ("podSelector",)),
    "duplicate-key": ('{"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"name":"deny"},'
                      '"spec":{"podSelector":{},"podSelector":{"matchLabels":{"app":"b"}}}}', ()),
    "unknown-field": (json.dumps({**deny(), "spec": {**deny()["spec"], "ingres": [{}]}}),
                      ("ingres",)),
    "unknown-peer-field": (json.dumps(policy("deny", labels(app="b"), ingress=[
        {"from": [{"podSelectors": {}}]}])), ("podSelectors",)),
    "block-and-selector": (json.dumps(policy("deny", labels(app="b"), ingress=[
        {"from": [{"ipBlock": {"cidr": "0.0.0.0/0"}, "podSelector": {}}]}])), ("from[0]",)),
    "bad-cidr": (json.dumps(policy("deny", labels(app="b"), ingress=[
        {"from": [{"ipBlock": {"cidr": "10.0.0.0/33"}}]}])), ("cidr",)),
    "except-outside": (json.dumps(policy("deny", labels(app="b"), ingress=[
        {"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/24"]}}]}])), ("except",)),
    "bad-port": (json.dumps(policy("deny", labels(app="b"),
                                   ingress=[{"ports": [{"port": 70000}]}])),
                 ("port",)),
    "end-port-without-number": (json.dumps(policy("deny", labels(app="b"), ingress=[
        {"ports": [{"port": "web", "endPort": 90}]}])), ("endPort",)),
    "end-port-below": (json.dumps(policy("deny", labels(app="b"), ingress=[
        {"ports": [{"port": 90, "endPort": 80}]}])), ("endPort",)),
    "bad-protocol": (json.dumps(policy("deny", labels(app="b"), ingress=[
        {"ports": [{"port": 80, "protocol": "ICMP"}]}])), ("protocol",)),
    "bad-operator": (json.dumps(policy("deny", {"matchExpressions": [
        {"key": "app", "operator": "Is", "values": ["b"]}]})), ("operator",)),
    "bad-type": (json.dumps({**deny(), "spec": {"podSelector": {}, "policyTypes": ["Inbound"]}}),
                 ("policyTypes",)),
    "no-name": (json.dumps({**deny(), "metadata": {}}), ("name",)),
    "a-string": ('"hello"', ()),
    "twice": (json.dumps([deny(), deny()]), ("deny",)),
    "trailing": (json.dumps(deny()) + "}", ()),
    "deep": ("[" * 100000, ()),
    "not-utf8": ('{"kind":"\udcff"}', ()),
}


def test_bad_content_is_refused_with_file_and_reason_and_the_last_good_version_stays(world):
    world.resources.put("deny", deny())
    expect_shut(world)
    for name, (text, words) in BAD.items():
        data = text.encode("utf-8", "surrogateescape")
        hidden = os.path.join(world.resources.directory, ".bad")
        with open(hidden, "wb") as file:
            file.write(data)
        os.rename(hidden, world.resources.path("deny"))
        try:
            problem = wait_problem(world, "deny.json", *words)
        except Exception as error:
            raise AssertionError(f"{name}: {error}") from None
        assert problem.get("reason"), f"{name}: {problem}"
        world.expect((world.a, world.b.ips[4], 8080, "timeout"))
        world.resources.put("deny", deny())
        wait_no_problem(world)
    canaries(world)


def test_bad_object_in_a_list_names_its_place(world):
    world.resources.put_text("deny", json.dumps(objects.item_list([
        policy("good", labels(app="b"), policyTypes=["Ingress"]),
        policy("bad", labels(app="b"), ingress=[{"ports": [{"port": 80}, {"port": "x" * 40}]}])])))
    problem = wait_problem(world, "deny.json")
    assert "items[1]" in problem["path"] and "ports[1]" in problem["path"], problem
    expect_open(world)


def test_bad_file_at_start_changes_nothing_until_it_is_mended(world):
    """Of a file that no good version is known of nobody can say what it may close."""
    agent = world.node.agent
    agent.stop()
    world.resources.put_text("broken", "{")
    agent.start(wait=False)
    agent.wait_answer()
    wait_problem(world, "broken.json")
    assert not agent.ctl_json("status")["ready"]
    canaries(world)
    expect_open(world)
    world.resources.put("broken", deny("mended"))
    agent.wait_ready()
    canaries(world)
    expect_shut(world)


def test_other_kinds_and_unknown_metadata_are_tolerated(world):
    made = deny()
    made["metadata"]["managedFields"] = [{"anything": {"f:x": {}}}]
    made["metadata"]["annotations"] = {"a": "b"}
    made["status"] = {}
    world.resources.put("deny", made,
                        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"},
                                       "data": {"a": "b"}},
                        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}})
    expect_shut(world)
    assert not problems(world), problems(world)


def test_object_in_two_files_counts_once_and_the_other_takes_over(world):
    allow = {**deny(), "spec": {"podSelector": labels(app="b"), "policyTypes": ["Ingress"],
                                "ingress": [{}]}}
    world.resources.put("deny-1", deny())
    expect_shut(world)
    world.resources.put("deny-2", allow)
    expect_shut(world)
    world.resources.delete("deny-1")
    expect_open(world)


def test_file_over_the_limit_is_refused(world):
    path = world.resources.path("huge")
    with open(path, "wb") as file:
        file.truncate(100 << 20)
    wait_problem(world, "huge.json")
    canaries(world)
    world.resources.delete("huge")
    wait_no_problem(world)


def test_unreadable_and_odd_files_are_problems(world):
    os.makedirs(world.resources.path("directory"))
    os.mkfifo(world.resources.path("fifo"))
    try:
        wait_problem(world, "fifo.json")
        world.resources.put("deny", deny())
        expect_shut(world)
        canaries(world)
    finally:
        os.rmdir(world.resources.path("directory"))
        os.unlink(world.resources.path("fifo"))
    wait_no_problem(world)


def test_names_from_outside_make_no_second_log_line(world):
    before = len(world.node.agent.log())
    name = "evil\nERROR polderd: forged"
    with open(os.path.join(world.resources.directory, name + ".json"), "w",
              encoding="utf-8") as file:
        file.write("{")
    wait_problem(world, "forged")
    os.unlink(os.path.join(world.resources.directory, name + ".json"))
    wait_no_problem(world)
    added = world.node.agent.log()[before:]
    assert not any(line.startswith("ERROR polderd: forged") for line in added.splitlines()), added


@limit(120)
def test_many_files_at_once(world):
    for number in range(300):
        world.resources.put(f"many-{number}", policy(f"many-{number}", labels(n=str(number)),
                                                     policyTypes=["Ingress"]))
    world.resources.put("deny", deny())
    wait_until(lambda: len(world.node.agent.ctl_json("policy", "list")) == 302, "302 policies")
    expect_shut(world)
    for number in range(300):
        world.resources.delete(f"many-{number}")
    wait_until(lambda: len(world.node.agent.ctl_json("policy", "list")) == 2, "2 policies")
    canaries(world)


def test_two_pods_with_one_address_are_a_problem_and_widen_nothing(world):
    """Another object claims b's address with a's labels: what a may do, it may not."""
    world.resources.put("allow-a",
                        policy("only-a", labels(app="c"), policyTypes=["Ingress"], ingress=[
        {"from": [{"podSelector": labels(app="a")}]}]))
    world.expect((world.a, world.c.ips[4], 8080, "open"),
                 (world.b, world.c.ips[4], 8080, "timeout"))
    world.resources.put("thief", objects.pod("thief", labels={"app": "a"}, node_name="elsewhere",
                                             ips=[world.b.ips[4], world.b.ips[6]]))
    world.resources.put("marker", policy("marker", labels(app="nobody"), policyTypes=["Ingress"]))
    wait_until(lambda: "marker" in {p["name"] for p in world.node.agent.ctl_json("policy", "list")},
               "the marker")
    world.expect((world.b, world.c.ips[4], 8080, "timeout"),
                 (world.b, world.c.ips[6], 8080, "timeout"),
                 (world.a, world.c.ips[4], 8080, "open"))
    assert reach(world.a, world.b.ips[4], 8080).verdict == "open"

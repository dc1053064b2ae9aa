# SPDX-License-Identifier: Apache-2.0
"""What the agent keeps on disk is cut, changed or gone: it starts, says so, and opens nothing that was denied."""

import contextlib
import ipaddress
import json
import os
import shutil
import signal

from lib import objects
from lib.netns import run
from lib.objects import expression, labels, policy
from lib.runner import limit
from lib.traffic import BOTH, Connection, is_cut, reach, wait_until
from lib.world import OUTSIDE_IP

LASTS = 150

ALLOW_CLIENT = [{"from": [{"podSelector": labels(app="client")}]}]


def setup(world):
    world.agent = world.node.agent
    world.client = world.pod("client", labels={"app": "client"})
    world.stranger = world.pod("stranger", labels={"app": "stranger"})
    world.server = world.pod("server", labels={"app": "server"})
    world.serve(world.server, 8080)
    world.serve(world.outside, 8080)
    world.resources.put("policies", policy("server", labels(app="server"), policyTypes=["Ingress"],
                                           ingress=ALLOW_CLIENT))
    world.policies_in_force()
    check(world)


def check(world, within=0):
    for family in BOTH:
        world.expect((world.client, world.server.ips[family], 8080, "open"),
                     (world.client, OUTSIDE_IP[family], 8080, "open"), within=within)
        world.expect((world.stranger, world.server.ips[family], 8080, "timeout"),
                     (world.outside, world.server.ips[family], 8080, "timeout"), within=within)


def path(world, *names):
    where = "state-dir" if names[0] == "last-good" else "run-dir"
    return os.path.join(world.agent.options[where], *names)


def copies(world):
    """Names of the good files' copies, whether they are on the disk already or not."""
    return sorted({name.split(".")[0] for name in os.listdir(path(world, "last-good"))
                   if not name.endswith(".bad")})


def read(name):
    with open(name, "rb") as file:
        return file.read()


def write(name, content):
    with open(name, "wb") as file:
        file.write(content)


def damages(content):
    """Empty, cut in the middle and at its last byte, a bit flipped at such places, something else. tests/reliability has each byte."""
    for at in (0, len(content) // 2, len(content) - 1):
        yield f"cut at {at}", content[:at]
        changed = bytearray(content)
        changed[at] ^= 1 << at % 8
        yield f"bit flipped at {at}", bytes(changed)
    yield "other", b"polder-state 1 2 00000000\n{}"


# ------------------------------------------------------------------ resource files


def test_policy_file_that_is_broken_at_start_keeps_its_last_good_version(world):
    for number in (signal.SIGTERM, signal.SIGKILL):
        world.agent.kill(number)
        world.resources.put_text("policies", '{"kind": "NetworkPolicy", "spec": {')
        world.agent.start()
        check(world)
        problems = world.agent.ctl_json("status")["problems"]
        assert [p for p in problems if "policies.json" in p["source"]], problems
    assert "last valid version" in world.agent.log()
    # Whole again, it counts again.
    world.resources.put("policies", policy("open", labels(app="server"), policyTypes=["Ingress"],
                                           ingress=[{}]))
    world.policies_in_force()
    for family in BOTH:
        world.expect((world.stranger, world.server.ips[family], 8080, "open"))


def test_policy_file_deleted_while_the_agent_is_away_is_deleted(world):
    world.agent.stop()
    world.resources.delete("policies")
    world.agent.start()
    world.expect((world.stranger, world.server.ips[4], 8080, "open"))
    # A broken file of the same name is a new one, of which nobody knows what it denies: nothing changes.
    world.agent.stop()
    world.resources.put_text("policies", "{")
    world.agent.start(wait=False)
    world.agent.wait_answer()
    wait_until(lambda: world.agent.ctl_json("status")["problems"], "the problem")
    world.expect((world.stranger, world.server.ips[4], 8080, "open"))
    assert not world.agent.ctl_json("status")["ready"]
    world.resources.delete("policies")
    world.agent.wait_ready()


def test_damaged_copy_of_a_good_file_is_put_aside_and_told(world):
    world.agent.stop()
    before = copies(world)
    for name in os.listdir(path(world, "last-good")):
        content = read(path(world, "last-good", name))
        write(path(world, "last-good", name), content[:-1])
    world.agent.start()
    # The files themselves are whole: new copies stand in their place.
    check(world)
    assert copies(world) == before


def test_resources_directory_missing_at_start_leaves_all_in_force(world):
    directory = world.resources.directory
    world.agent.stop()
    os.rename(directory, directory + ".away")
    try:
        world.agent.start(wait=False)
        world.agent.wait_answer()
        check(world)
        assert not world.agent.ctl_json("status")["synced"]
        assert os.listdir(path(world, "last-good"))
    finally:
        os.rename(directory + ".away", directory)
    world.agent.wait_ready()
    check(world)


# ------------------------------------------------------------------ the agent's own files


@limit(180)
def test_damaged_numbers_open_nothing(world):
    world.agent.stop()
    name = path(world, "policy.json")
    good = read(name)
    for what, content in damages(good):
        write(name, content)
        world.agent.start()
        check(world)
        if content[:-1] != good[:-1]:
            assert "policy.json" in world.agent.log_tail(40), f"{what}: not a word about it"
        world.agent.kill(signal.SIGKILL)
    os.unlink(name)
    world.agent.start()
    check(world)


@limit(180)
def test_damaged_record_is_put_aside_and_its_copy_taken(world):
    for what in range(4):
        victim = world.pod(f"victim{what}", labels={"app": "client"})
        name = path(world, "pods", f"{victim.container_id}:eth0.json")
        world.agent.kill(signal.SIGKILL)
        good = read(name)
        content = list(dict(damages(good)).values())[(0, 3, 4, -1)[what]]
        write(name, content)
        world.agent.start()
        check(world)
        assert os.path.exists(name + ".bad"), os.listdir(path(world, "pods"))
        assert victim.container_id in world.agent.log()
        world.expect((victim, world.server.ips[4], 8080, "open"))
        os.unlink(name + ".bad")
        victim.delete()


def test_damaged_record_without_a_copy_is_made_again_from_its_link(world):
    pod = world.pod("found", labels={"app": "client"})
    name = path(world, "pods", f"{pod.container_id}:eth0.json")
    world.agent.kill(signal.SIGKILL)
    write(name, read(name)[:-2])
    os.unlink(os.path.join(world.agent.options["state-dir"], "pods", os.path.basename(name)))
    world.agent.start()
    check(world)
    for family in BOTH:
        world.expect((pod, world.server.ips[family], 8080, "open"))
    os.unlink(name + ".bad")
    pod.delete()


def test_damaged_record_without_copy_and_mark_cuts_its_pod_off_and_nothing_else(world):
    victim = world.pod("victim", labels={"app": "client"})
    world.node.netns.ip(f"link set {victim.host_link} alias somebody")
    name = path(world, "pods", f"{victim.container_id}:eth0.json")
    world.agent.kill(signal.SIGKILL)
    write(name, read(name)[:-2])
    os.unlink(os.path.join(world.agent.options["state-dir"], "pods", os.path.basename(name)))
    world.agent.start()
    check(world)
    assert reach(victim, world.server.ips[4], 8080, timeout=0.3).verdict != "open"
    assert os.path.exists(name + ".bad"), os.listdir(path(world, "pods"))
    assert victim.container_id in world.agent.log()
    os.unlink(name + ".bad")
    victim.delete()


def test_record_of_another_pod_is_not_believed(world):
    world.agent.stop()
    name = path(world, "pods", f"{world.client.container_id}:eth0.json")
    copy = path(world, "pods", "somebody-else:eth0.json")
    write(copy, read(name))
    world.agent.start()
    check(world)
    assert {p["name"] for p in world.agent.ctl_json("pod", "list")} == {"client", "server", "stranger"}
    assert os.path.exists(copy + ".bad")
    os.unlink(copy + ".bad")


@contextlib.contextmanager
def read_only(world, *names):
    """The directories cannot be written to, by root neither."""
    mounted = []
    try:
        for name in names:
            run(["mount", "--bind", path(world, name), path(world, name)])
            mounted.append(path(world, name))
            run(["mount", "-o", "remount,bind,ro", path(world, name)])
        yield
    finally:
        for name in mounted:
            run(["umount", "-l", name])


def test_copies_in_the_run_directory_count_after_an_upgrade(world):
    """An agent of before kept them there, as one does whose state directory cannot be used."""
    old = os.path.join(world.agent.options["run-dir"], "last-good")
    world.agent.stop()
    shutil.move(path(world, "last-good"), old)
    world.resources.put_text("policies", "{ damaged")
    world.agent.start()
    check(world)
    assert copies(world) and not os.path.exists(old)
    world.agent.restart(signal.SIGKILL)
    check(world)


def test_directories_that_cannot_be_written_stop_no_start(world):
    world.agent.stop()
    with read_only(world, "pods", "last-good"):
        world.agent.start()
        check(world)
        try:
            world.pod("late")
        except Exception as error:
            assert "record" in str(error) or "ead-only" in str(error), error
        else:
            raise AssertionError("a pod that no restarted agent would know was connected")
        world.resources.put("more", policy("more", labels(app="client"), policyTypes=["Egress"]))
        world.expect((world.client, OUTSIDE_IP[4], 8080, "timeout"))
        assert "no copy can be kept" in world.agent.log()
        world.resources.delete("more")
        world.expect((world.client, OUTSIDE_IP[4], 8080, "open"))
        world.agent.stop()
    world.agent.start()
    check(world)


def test_pod_whose_object_went_first_stays_isolated_over_a_restart(world):
    for number in (signal.SIGTERM, signal.SIGKILL):
        world.resources.delete("pod-default-server")
        check(world)
        world.agent.restart(number)
        check(world)
    world.server.write_object()
    # Also where both happen while nobody watches.
    world.agent.kill(signal.SIGKILL)
    world.resources.delete("pod-default-server")
    world.agent.start()
    check(world)
    world.server.write_object()


# ------------------------------------------------------------------ labels of namespaces


def test_namespace_that_loses_its_label_loses_its_class_at_once(world):
    """Another namespace keeps the label, so that the rule set goes on under its number."""
    world.resources.put("namespaces", objects.namespace("red", team="a"),
                        objects.namespace("blue", team="a"))
    red, blue = world.pod("p", ns="red"), world.pod("p", ns="blue")
    world.policies(policy("team", labels(app="server"), policyTypes=["Ingress"], ingress=[
        {"from": [{"namespaceSelector": expression("team", "In", "a")}]}]))
    for _ in range(3):
        for family in BOTH:
            world.expect((red, world.server.ips[family], 8080, "open"),
                         (blue, world.server.ips[family], 8080, "open"))
        with Connection(red, world.server.ips[4], 8080) as connection:
            connection.ask()
            world.resources.put("namespaces", objects.namespace("red"),
                                objects.namespace("blue", team="a"))
            wait_until(lambda: is_cut(connection), "the connection is cut")
        world.expect((red, world.server.ips[6], 8080, "timeout"))
        world.expect((blue, world.server.ips[6], 8080, "open"))
        world.resources.put("namespaces", objects.namespace("red", team="a"),
                            objects.namespace("blue", team="a"))


# ------------------------------------------------------------------ the node's own addresses

NODE_AND_LOCAL = 1 << 2 | 1 << 3  # of the map's flags: this node's, a node's own


def flags_in_map(world):
    """Address: flags, of the map's entries for single addresses."""
    pin = next(os.path.join(base, "addresses") for base, _, files in os.walk(world.node.bpffs) if "addresses" in files)
    found = {}
    for element in json.loads(run(["bpftool", "-j", "map", "dump", "pinned", pin]).stdout):
        key, value = (bytes(int(byte, 16) for byte in element[part]) for part in ("key", "value"))
        if int.from_bytes(key[:4], "little") == 128:
            address = ipaddress.IPv6Address(key[4:20])
            found[str(address.ipv4_mapped or address)] = int.from_bytes(value[8:12], "little")
    return found


def own_addresses(world):
    """All that others might reach; the gateway's, which is the same for all pods of all nodes, is none."""
    return {address["local"] for link in world.node.netns.ip_json("addr", "show") for address in link["addr_info"]
            if address["scope"] == "global" and link["ifname"] != "lo" or address["local"].startswith(("192.0.2.", "2001:db8:2:"))}


def test_all_addresses_of_the_node_are_in_the_map_whenever_they_came(world):
    node = world.node.netns

    def marked():
        return {address for address, flags in flags_in_map(world).items() if flags & NODE_AND_LOCAL == NODE_AND_LOCAL}

    def expect(*more):
        wanted = {*world.node.ips.values(), *more}
        assert wanted <= own_addresses(world), (wanted, own_addresses(world))
        wait_until(lambda: own_addresses(world) <= marked(), lambda: f"missing: {own_addresses(world) - marked()}")

    expect()
    node.ip("link add more0 type veth peer more1", "link set more0 up", "link set more1 up",
            "addr add 192.0.2.1/24 dev more0", "addr add 2001:db8:2::1/64 dev more0 nodad",
            "addr add 192.0.2.130/25 dev more1", "addr add 2001:db8:2:1::1/64 dev more1 nodad")
    came = ["192.0.2.1", "2001:db8:2::1", "192.0.2.130", "2001:db8:2:1::1"]
    expect(*came)
    node.ip("addr add 192.0.2.2/24 dev more0", "addr add 192.0.2.99/32 dev lo", "addr add 2001:db8:2:2::1/128 dev lo",
            "addr add 192.0.2.200/32 dev eth0", "addr add 2001:db8:2:3::1/128 dev eth0 nodad")
    came += ["192.0.2.2", "192.0.2.99", "2001:db8:2:2::1", "192.0.2.200", "2001:db8:2:3::1"]
    expect(*came)
    world.agent.restart()
    expect(*came)
    node.ip("link del more0", "addr del 192.0.2.99/32 dev lo", "addr del 2001:db8:2:2::1/128 dev lo",
            "addr del 192.0.2.200/32 dev eth0", "addr del 2001:db8:2:3::1/128 dev eth0")
    wait_until(lambda: not marked() & set(came), lambda: f"left: {marked() & set(came)}")
    expect()

# SPDX-License-Identifier: Apache-2.0
"""The real plugin against the real agent: CN-01 to CN-12, and the habits of the runtimes that call it."""

import glob
import json
import os
import socket
import threading
import time

from lib.cni import CniCall, CniError, cni_args
from lib.netns import Namespace, run
from lib.objects import labels, policy
from lib.runner import limit
from lib.traffic import Capture, ping, reach, wait_until

LASTS = 105
WORLD = {"nodes": 1}
VERSIONS = ("0.3.1", "0.4.0", "1.0.0", "1.1.0")


def setup(world):
    world.friend = world.pod("friend")
    world.serve(world.friend, 8080)


def fresh(world, name="sandbox"):
    """A namespace that no ADD has seen. Goes with the world."""
    netns = Namespace(name, world.unique, world.node.factory)
    world.cleanup.callback(netns.delete)
    netns.ip("link set lo up")
    return netns


class Sandbox:
    """A namespace and an id, as a runtime holds them. Deleted at the end of the block."""

    def __init__(self, world, name="box", config=None, ifname="eth0"):
        self.world, self.name, self.ifname = world, name, ifname
        self.netns = fresh(world, f"{name}-{os.urandom(3).hex()}")
        self.container_id = f"{name}-{self.netns.name}"
        self.config = config or world.node.cni_config()

    def call(self, command, **options):
        values = {"config": self.config, "container_id": self.container_id,
                  "netns": self.netns.path,
                  "ifname": self.ifname, "args": cni_args("default", self.name), **options}
        return CniCall(command, **values)

    def add(self, **options):
        return self.call("ADD", **options).result()

    def delete(self, **options):
        return self.call("DEL", **options).result()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.delete()
        self.netns.delete()


def records(world):
    return sorted(os.listdir(os.path.join(world.node.agent.options["run-dir"], "pods")))


def error_of(call):
    """The error object of a call that must fail."""
    status, out, err = call.finish()
    assert status != 0, f"succeeded: {out}"
    made = json.loads(out)
    assert isinstance(made.get("code"), int) and made.get("msg"), out
    assert "cniVersion" in made, out
    return made


def addresses(result):
    return [ip["address"].split("/")[0] for ip in result["ips"]]


def test_cn01_result_alone_is_on_standard_output(world):
    with Sandbox(world) as box:
        status, out, _ = box.call("ADD").finish()
        assert status == 0
        result = json.loads(out)
        assert result["cniVersion"] == "1.0.0"
        inside = [i for i in result["interfaces"] if i.get("sandbox")]
        assert len(inside) == 1 and inside[0]["name"] == "eth0", result["interfaces"]
        assert inside[0]["sandbox"] == box.netns.path
        assert inside[0]["mac"] == box.netns.mac()
        index = result["interfaces"].index(inside[0])
        assert sorted("6" if ":" in ip["address"] else "4" for ip in result["ips"]) == ["4", "6"]
        assert all(ip["interface"] == index for ip in result["ips"]), result["ips"]
        assert {r["dst"] for r in result["routes"]} == {"0.0.0.0/0", "::/0"}, result["routes"]
        status, out, _ = box.call("DEL").finish()
        assert status == 0 and out.strip() in ("", "{}"), out


def test_cn01_pod_is_usable_at_once(world):
    """No wait for duplicate address detection: the first packets of both families are answered."""
    with Sandbox(world) as box:
        box.add()
        for family in (4, 6):
            assert ping(box.netns, world.friend.ips[family]) == "open"
            assert reach(box.netns, world.friend.ips[family], 8080).verdict == "open"


def test_result_has_the_version_of_the_configuration(world):
    for version in VERSIONS:
        with Sandbox(world, config=world.node.cni_config(version)) as box:
            result = box.add()
            assert result["cniVersion"] == version, result["cniVersion"]
            wants_version = version.startswith("0.")
            assert all(("version" in ip) == wants_version for ip in result["ips"]), result["ips"]
            assert all("mtu" not in i for i in result["interfaces"]) or version == "1.1.0"


def test_version_lists_what_is_supported(world):
    made = CniCall("VERSION", {"cniVersion": "1.0.0"}, container_id="", netns="dummy",
                   ifname="dummy",
                   env={"CNI_PATH": "dummy"}).result()
    assert made["cniVersion"] == "1.0.0" and set(VERSIONS) <= set(made["supportedVersions"]), made


def test_cn02_error_codes(world):
    box = Sandbox(world)
    good = box.config
    for what, code, call in (
            ("unknown version", 1, box.call("ADD", config={**good, "cniVersion": "9.9.9"})),
            ("no namespace", 4, box.call("ADD", netns="")),
            ("no container id", 4, box.call("ADD", container_id="")),
            ("no interface name", 4, box.call("ADD", ifname="")),
            ("not JSON", 6, box.call("ADD", config="{nonsense")),
            ("empty", 6, box.call("ADD", config=""))):
        made = error_of(call)
        assert made["code"] == code, f"{what}: {made}"
    made = error_of(box.call("ADD", config={**good, "socket": "/nonexistent/polder.sock"}))
    assert made["code"] == 11, made
    made = error_of(CniCall("STATUS", {**world.node.cni_config("1.1.0"),
                                       "socket": "/nonexistent/s"}))
    assert made["code"] == 50, made
    made = error_of(CniCall("NONSENSE", good))
    assert made["code"] == 4, made
    box.netns.delete()


def test_cn02_namespace_that_is_none_is_an_error(world):
    box = Sandbox(world)
    before = records(world)
    for path in ("/nonexistent/netns", "/etc/hostname", world.workdir):
        made = error_of(box.call("ADD", netns=path))
        assert made["code"] in (3, 4, 5), made
    assert records(world) == before
    box.netns.delete()


def test_cn03_add_fails_where_the_interface_exists_and_leaves_nothing(world):
    box = Sandbox(world)
    box.netns.ip("link add eth0 type veth peer other")
    before = world.node.ruler()
    error_of(box.call("ADD"))
    after = world.node.ruler()
    assert before == after, {k: (before[k], after[k]) for k in before if before[k] != after[k]}
    names = sorted(link["ifname"] for link in box.netns.ip_json("link", "show"))
    assert names == ["eth0", "lo", "other"], names
    box.netns.delete()


def test_cn03_second_add_of_one_container_leaves_the_first_alone(world):
    with Sandbox(world) as box:
        first = addresses(box.add())
        status, out, _ = box.call("ADD").finish()
        if status == 0:
            assert addresses(json.loads(out)) == first
        assert reach(box.netns, world.friend.ips[4], 8080).verdict == "open"


def test_cn04_del_is_idempotent(world):
    box = Sandbox(world)
    box.delete()
    result = box.add()
    for options in ({}, {}, {"netns": ""}, {"netns": None}, {"netns": "/nonexistent"},
                    {"config": {**box.config, "prevResult": {}}},
                    {"config": {**box.config, "prevResult": result}}):
        box.delete(**options)
    assert not any(box.container_id in name for name in records(world))
    box.netns.delete()
    box.delete()


def test_cn04_del_without_a_namespace_frees_everything(world):
    """containerd says CNI_NETNS='' when the task is dead already."""
    box = Sandbox(world)
    before = world.node.ruler()
    box.add()
    box.delete(netns="")
    world.node.wait_as(before)
    box.netns.delete()


def test_cn04_late_del_frees_nothing_that_another_pod_has(world):
    first = Sandbox(world, "first")
    held = first.add()
    first.delete()
    others = [Sandbox(world, f"next{n}") for n in range(3)]
    try:
        given = [addresses(box.add()) for box in others]
        first.call("DEL", config={**first.config, "prevResult": held}).result()
        for box, ips in zip(others, given):
            for ip in ips:
                assert ping(world.friend, ip) == "open", ip
        more = Sandbox(world, "more")
        with more:
            assert not set(addresses(more.add())) & {ip for ips in given for ip in ips}
    finally:
        for box in others:
            box.delete()
            box.netns.delete()
        first.netns.delete()


def test_cn05_del_works_while_the_agent_is_down_and_is_finished_later(world):
    box = Sandbox(world)
    before = world.node.ruler()
    box.add()
    world.node.agent.stop()
    box.delete()
    box.delete()
    box.netns.delete()
    world.node.agent.start()
    wait_until(lambda: not any(box.container_id in name for name in records(world)),
               "the record goes")
    after = world.node.ruler()
    assert before == after, {k: (before[k], after[k]) for k in before if before[k] != after[k]}


def test_cn05_add_while_the_agent_is_down_says_try_again(world):
    box = Sandbox(world)
    world.node.agent.stop()
    made = error_of(box.call("ADD"))
    assert made["code"] == 11, made
    world.node.agent.start()
    box.add()
    box.delete()
    box.netns.delete()


def check_fails(world, pod, breaks, what):
    pod.check()
    breaks()
    try:
        pod.check()
    except CniError as error:
        assert error.object.get("msg"), error
        return
    raise AssertionError(f"CHECK finds nothing wrong with {what}")


def test_cn06_check_finds_a_missing_address(world):
    for family in (4, 6):
        pod = world.pod(f"checked{family}")
        address = next(ip["address"] for ip in pod.result["ips"]
                       if (":" in ip["address"]) == (family == 6))
        check_fails(world, pod, lambda: pod.netns.ip(f"addr del {address} dev eth0"),
                    f"v{family} address")


def test_cn06_check_finds_a_missing_route(world):
    for family in ("-4", "-6"):
        pod = world.pod("routed" + family)
        check_fails(world, pod, lambda: pod.netns.run("ip", family, "route", "del", "default"),
                    "the route")


def test_cn06_check_finds_a_missing_interface(world):
    pod = world.pod("cut")
    check_fails(world, pod, lambda: pod.netns.ip("link del eth0"), "the interface")


def test_cn06_check_finds_a_detached_program_or_it_is_back(world):
    """Whoever detaches it: CHECK says so, or the agent has attached it again; open it never stays."""
    pod = world.pod("bare")
    pod.check()
    link = pod.host_link
    before = attached(world, link)
    detach(world, link)
    try:
        pod.check()
    except CniError:
        return
    assert attached(world, link) == before, f"{attached(world, link)} instead of {before}"


def attached(world, link):
    shown = json.loads(world.node.netns.run("bpftool", "-j", "net", "show", "dev", link).stdout
                       or "[]")
    pins = sorted(os.listdir(world.node.bpffs)) if os.path.isdir(world.node.bpffs) else []
    return len(json.dumps(shown)), pins


def detach(world, link):
    """By tc where clsact is used; by removing what bpftool can name of the link's pins."""
    run(["tc", "-n", world.node.netns.name, "qdisc", "del", "dev", link, "clsact"], check=False)
    ifindex = str(world.node.netns.ifindex(link))
    for base, _, files in os.walk(world.node.bpffs):
        for name in files:
            if ifindex in name or link in name:
                run(["bpftool", "link", "detach", "pinned", os.path.join(base, name)], check=False)


def test_cn07_gc_frees_what_is_not_listed(world):
    boxes = [Sandbox(world, f"gc{n}") for n in range(4)]
    for box in boxes:
        box.add()
    valid = [{"containerID": box.container_id, "ifname": "eth0"} for box in boxes[:2]]
    valid.append({"containerID": world.friend.container_id, "ifname": "eth0"})
    config = {**world.node.cni_config("1.1.0"), "cni.dev/valid-attachments": valid}
    CniCall("GC", config).result()
    names = records(world)
    for box in boxes[:2]:
        assert any(box.container_id in name for name in names), f"{box.name} must stay"
        assert reach(box.netns, world.friend.ips[4], 8080).verdict == "open"
    for box in boxes[2:]:
        assert not any(box.container_id in name for name in names), f"{box.name} must go"
    for box in boxes:
        box.delete()
        box.netns.delete()


def test_cn07_gc_without_a_list_does_nothing(world):
    """cnitool gc sends none; a wrong type is no list either."""
    before = records(world)
    for more in ({}, {"cni.dev/valid-attachments": "none"}, {"cni.dev/valid-attachments": {}}):
        CniCall("GC", {**world.node.cni_config("1.1.0"), **more}).finish()
        assert records(world) == before, more


def test_cn07_gc_of_another_network_leaves_ours_alone(world):
    before = records(world)
    CniCall("GC", {**world.node.cni_config("1.1.0"), "name": "elsewhere",
                   "cni.dev/valid-attachments": []}).finish()
    assert records(world) == before


def test_cn08_works_first_in_a_list(world):
    """The result is what portmap, bandwidth and tuning take as prevResult."""
    with Sandbox(world) as box:
        result = box.add()
        tuning = os.path.join("/usr/lib/cni", "tuning")
        if os.path.exists(tuning):
            chained = CniCall("ADD", {"cniVersion": "1.0.0", "name": "polder", "type": "tuning",
                                      "sysctl": {"net.core.somaxconn": "500"},
                                      "prevResult": result},
                              container_id=box.container_id, netns=box.netns.path,
                              plugin=tuning).result()
            assert addresses(chained) == addresses(result)


def test_cn08_chained_behind_another_plugin_passes_prev_result_on_or_says_why(world):
    box = Sandbox(world)
    previous = {"cniVersion": "1.0.0", "interfaces": [], "ips": [], "routes": [],
                "dns": {"nameservers": ["192.0.2.53"]}}
    status, out, _ = box.call("ADD", config={**box.config, "prevResult": previous}).finish()
    made = json.loads(out)
    if status == 0:
        assert made["dns"] == previous["dns"], made
    else:
        assert made["code"] and made["msg"]
    box.delete()
    box.netns.delete()


def test_cn09_labels_from_the_configuration_count_for_policy(world):
    world.policies(policy("in", labels(tier="closed"), policyTypes=["Ingress"]))
    items = [{"key": "tier", "value": "closed"}]
    for args in ({"labels": items}, {"cni": {"labels": items}}):
        with Sandbox(world, config=world.node.cni_config(args=args)) as box:
            ips = addresses(box.add())
            world.serve(box.netns, 8081, name="closed")
            world.expect(*[(world.friend, ip, 8081, "timeout") for ip in ips])
    with Sandbox(world) as box:
        ips = addresses(box.add())
        world.serve(box.netns, 8081, name="open")
        world.expect(*[(world.friend, ip, 8081, "open") for ip in ips])


def test_cn09_capabilities_in_either_spelling_are_served_or_refused_by_name(world):
    for key, mapping in (("portMappings",
                          {"hostPort": 18080, "containerPort": 80, "protocol": "tcp"}),
                         ("portMappings",
                          {"HostPort": 18080, "ContainerPort": 80, "Protocol": "tcp",
                                           "HostIP": ""}),
                         ("PortMappings",
                          {"HostPort": 18080, "ContainerPort": 80, "Protocol": "tcp"})):
        box = Sandbox(world)
        config = {**box.config, "capabilities": {"portMappings": True},
                  "runtimeConfig": {key: [mapping]}}
        status, out, _ = box.call("ADD", config=config).finish()
        if status != 0:
            made = json.loads(out)
            assert "portMappings" in made["msg"] + made.get("details", ""), made
        box.delete()
        box.netns.delete()


def test_runtime_config_that_asks_for_nothing_is_no_reason_to_refuse(world):
    for runtime_config in ({}, {"portMappings": []}, {"portMappings": None},
                           {"dns": {"Servers": None}},
                           {"aliases": {"polder": ["x"]}}, {"aliases": ["x"]}):
        config = {**world.node.cni_config(), "capabilities": {"portMappings": True, "dns": True},
                  "runtimeConfig": runtime_config}
        with Sandbox(world, config=config) as box:
            box.add()


def test_requested_address_and_mac_are_given(world):
    wanted = "10.244.6.66"
    config = {**world.node.cni_config(), "capabilities": {"ips": True, "mac": True},
              "runtimeConfig": {"ips": [wanted, wanted], "mac": "02:11:22:33:44:55"}}
    with Sandbox(world, config=config) as box:
        status, out, _ = box.call("ADD").finish()
        made = json.loads(out)
        if status != 0:
            assert "ips" in made["msg"] or "mac" in made["msg"], made
            return
        assert wanted in addresses(made), made["ips"]
        assert box.netns.mac() == "02:11:22:33:44:55"


def test_container_ignores_redirects(world):
    """The gateway is its only next hop. IPv4 listens where either the link or all links are told to."""
    keys = ("net/ipv4/conf/eth0/accept_redirects", "net/ipv4/conf/all/accept_redirects", "net/ipv6/conf/eth0/accept_redirects")
    with Sandbox(world) as box:
        box.netns.sysctl(**{f"net/{family}/conf/{which}/accept_redirects": 1
                            for family in ("ipv4", "ipv6") for which in ("all", "default")})
        box.add()
        assert {key: box.netns.sysctl_get(key) for key in keys} == dict.fromkeys(keys, "0")
        # Links of others keep what they have.
        assert box.netns.sysctl_get("net/ipv4/conf/lo/accept_redirects") == "1"


@limit(170)
def test_cn10_256_adds_and_dels_at_once(world):
    before = world.node.ruler()
    # On a busy machine the last one waits for longer than a plugin does by default.
    boxes = [Sandbox(world, f"par{n}", config=world.node.cni_config(timeout=600)) for n in range(256)]
    calls = [box.call("ADD").begin() for box in boxes]
    results = [call.finish(600) for call in calls]
    failed = [(status, out, err) for status, out, err in results if status != 0]
    assert not failed, f"{len(failed)} ADDs failed, the first with {failed[0]}"
    given = [ip for _, out, _ in results for ip in addresses(json.loads(out))]
    assert len(given) == len(set(given)) == 512, f"{len(given)} addresses, {len(set(given))} different"
    for box, (_, out, _) in list(zip(boxes, results))[::32]:
        for ip in addresses(json.loads(out)):
            assert ping(world.friend, ip) == "open", f"{box.name} at {ip}"
    calls = [box.call("DEL").begin() for box in boxes]
    failed = [made for made in (call.finish(600) for call in calls) if made[0] != 0]
    assert not failed, f"{len(failed)} DELs failed, the first with {failed[0]}"
    for box in boxes:
        box.netns.delete()
    world.node.wait_as(before)


def pins_by_program(world):
    """{program: how many links of pods have it}"""
    names = [os.path.basename(path).split("-")[0] for path in glob.glob(f"{world.node.bpffs}/v*/links/*_pod-*")]
    return {name: names.count(name) for name in ("from_pod", "to_pod", "closed_from_pod", "closed_to_pod")}


def test_cn10_pod_that_comes_alone_has_all_its_programs_at_once(world):
    before = pins_by_program(world)
    with Sandbox(world, "alone") as box:
        box.add()
        assert pins_by_program(world) == {name: count + 1 for name, count in before.items()}


@limit(60)
def test_cn10_pods_that_come_together_have_what_closes_their_links_soon(world):
    """And all that evaluates at once."""
    before = pins_by_program(world)
    boxes = [Sandbox(world, f"together-{number}") for number in range(16)]
    mark = len(world.node.agent.log())
    for call in [box.call("ADD").begin() for box in boxes]:
        call.result()
    now, all_there = pins_by_program(world), {name: count + 16 for name, count in before.items()}
    assert all(now[name] == all_there[name] for name in ("from_pod", "to_pod")), now
    wait_until(lambda: pins_by_program(world) == all_there, lambda: str(pins_by_program(world)), interval=0.05)
    assert "cannot be attached" not in world.node.agent.log()[mark:]
    for box in boxes:
        box.delete()
        box.netns.delete()


@limit(60)
def test_cn10_containers_that_go_while_their_programs_are_attached_leave_nothing(world):
    """A thread attaches them, one pod after the other; whoever waits for it may be gone by then."""
    before = world.node.ruler()
    boxes = [Sandbox(world, f"going-{number}") for number in range(12)]
    calls = [box.call("ADD").begin() for box in boxes]
    for box in boxes:
        box.netns.delete()
    for call in calls:
        call.finish()
    for box in boxes:
        box.delete()
    world.node.wait_as(before)
    with Sandbox(world, "next") as box:
        box.add()


@limit(60)
def test_cn10_agent_that_is_stopped_while_programs_are_attached_answers_and_leaves_nothing(world):
    before, known = world.node.ruler(), records(world)
    boxes = [Sandbox(world, f"stopped-{number}") for number in range(12)]
    calls = [box.call("ADD").begin() for box in boxes]
    wait_until(lambda: records(world) != known, "the first has a record", interval=0.002)
    world.node.agent.stop()
    for call in calls:
        call.finish()
    world.node.agent.start()
    for box in boxes:
        box.delete()
        box.netns.delete()
    world.node.wait_as(before)


@limit(120)
def test_cn10_adds_and_dels_of_the_same_containers_at_once(world):
    before = world.node.ruler()
    boxes = [Sandbox(world, f"mix{n}") for n in range(24)]
    for _ in range(3):
        calls = [box.call(command).begin() for box in boxes for command in ("ADD", "DEL", "ADD")]
        for call in calls:
            call.finish()
    for box in boxes:
        box.delete()
        assert [link["ifname"] for link in box.netns.ip_json("link", "show")] == ["lo"]
        box.netns.delete()
    world.node.wait_as(before)


def test_cn11_bad_names_are_refused(world):
    before = records(world)
    box = Sandbox(world)
    for container_id in ("../escape", "a/b", ".hidden", "-x", "a b", "a\nb", "x" * 5000, "ü",
                         "a;b"):
        made = error_of(box.call("ADD", container_id=container_id))
        assert made["code"] == 4, f"{container_id!r}: {made}"
    for ifname in ("../eth0", "a/b", "x" * 16, "a b", ".", "..", "a:b", "\x01", "eth\n0"):
        made = error_of(box.call("ADD", ifname=ifname))
        assert made["code"] == 4, f"{ifname!r}: {made}"
    assert records(world) == before
    box.netns.delete()


def test_cn11_no_shell_is_started(world):
    """Neither the plugin nor the agent executes anything: their traces hold no exec besides the plugin's own."""
    box = Sandbox(world, "$(touch")
    box.container_id = "shell"
    marker = os.path.join(world.workdir, "executed")
    args = f"K8S_POD_NAMESPACE=default;K8S_POD_NAME=$(touch {marker});X=`touch {marker}`"
    box.call("ADD", args=args).finish()
    box.delete()
    assert not os.path.exists(marker)
    box.netns.delete()


def test_cn12_program_is_attached_before_the_interface_is_up(world):
    """A namespace that sends without pause from before ADD: nothing that policy denies ever gets out."""
    world.policies(policy("out", labels(tier="quiet"), policyTypes=["Egress"]))
    config = world.node.cni_config(args={"labels": [{"key": "tier", "value": "quiet"}]})
    for number in range(4):
        box = Sandbox(world, f"eager{number}", config)
        stop = threading.Event()
        socks = [box.netns.socket(socket.AF_INET, socket.SOCK_DGRAM),
                 box.netns.socket(socket.AF_INET6, socket.SOCK_DGRAM)]

        def shout():
            while not stop.is_set():
                for sock, address in zip(socks, (world.friend.ips[4], world.friend.ips[6])):
                    try:
                        sock.sendto(b"eager", (address, 8080))
                    except OSError:
                        pass
                time.sleep(0.0002)
        thread = threading.Thread(target=shout)
        with Capture(world.friend.netns) as capture, world.node.agent.dropping("policy_denied_egress"):
            thread.start()
            try:
                box.add()
                capture.none(lambda p: p.payload == b"eager", 0.2)
            finally:
                stop.set()
                thread.join()
                for sock in socks:
                    sock.close()
        box.delete()
        box.netns.delete()


def test_vanished_namespace_without_del_is_noticed(world):
    """ctr run -d never sends DEL."""
    before = world.node.ruler()
    box = Sandbox(world, "vanishing")
    box.add()
    # The factory's sockets keep no namespace alive: none was made there.
    box.netns.delete()
    # The kernel takes namespaces down one after the other, those of other tests first.
    world.node.wait_as(before)
    with Sandbox(world, "after") as after:
        after.add()
    assert not any(box.container_id in name for name in records(world))


def test_address_of_a_deleted_pod_carries_nothing_to_the_next(world):
    world.policies(policy("in", labels(tier="closed"), policyTypes=["Ingress"]))
    closed = world.node.cni_config(args={"labels": [{"key": "tier", "value": "closed"}]})
    wanted = {"ips": ["10.244.6.77"]}
    for config, verdict in ((closed, "timeout"), (world.node.cni_config(), "open"),
                            (closed, "timeout")):
        box = Sandbox(world, "reuse",
                      {**config, "capabilities": {"ips": True}, "runtimeConfig": wanted})
        with box:
            status, out, _ = box.call("ADD").finish()
            if status != 0:
                return
            ip = addresses(json.loads(out))[0]
            world.serve(box.netns, 8081, name="reuse")
            world.expect((world.friend, ip, 8081, verdict))


def test_status_says_that_adds_can_be_served(world):
    status, out, err = CniCall("STATUS", world.node.cni_config("1.1.0"),
                               env={"CNI_IFNAME": "", "CNI_NETNS": ""}).finish()
    assert status == 0, f"{out} {err}"


def test_several_interfaces_of_one_container(world):
    with Sandbox(world, "double") as box:
        first = box.add()
        second = box.add(ifname="eth1")
        try:
            assert not set(addresses(first)) & set(addresses(second))
            for ip in addresses(first):
                assert ping(world.friend, ip) == "open", f"{ip} of eth0"
        finally:
            box.delete(ifname="eth1")
        assert reach(box.netns, world.friend.ips[4], 8080).verdict == "open", "eth0 without eth1"

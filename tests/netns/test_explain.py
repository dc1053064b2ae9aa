# SPDX-License-Identifier: Apache-2.0
"""polderctl explain: what it says is what happens, and the three ways say the same."""

import json
import os
import subprocess
import time

from lib import objects
from lib.agent import POLDERCTL
from lib.netns import run
from lib.objects import cluster_policy, labels, policy
from lib.runner import each_family
from lib.traffic import Connection, reach, wait_until
from lib.world import OUTSIDE_IP, WORLD_IP

LASTS = 90
WORLD = {"nodes": 2}
NAMES = {4: "ipv4", 6: "ipv6"}


def setup(world):
    world.n1, world.n2 = world.nodes
    world.resources.put("namespaces", objects.namespace("a", team="red"),
                        objects.namespace("b", team="blue"))
    ports = (("http", 8080, "TCP"),)
    world.cli = world.pod("cli", "a", labels={"app": "cli"})
    world.web = world.pod("web", "a", labels={"app": "web"}, ports=ports)
    world.web2 = world.pod("web2", "a", labels={"app": "web", "second": "yes"}, ports=ports)
    world.other = world.pod("cli", "b", labels={"app": "cli"})
    world.far = world.pod("far", "b", labels={"app": "far"}, node=world.n2)
    for where in (world.web, world.web2, world.other, world.far, world.n1, world.outside):
        world.serve(where, 8080)
    world.vip = world.service("front", 10, [objects.service_port(80, 8080, name="http")],
                              selector={"app": "web"}, ns="a")
    world.service("nobody", 11, [objects.service_port(80)], selector={"app": "nobody"}, ns="a")


def name(end, family):
    if isinstance(end, str):
        return end
    return end.ips[family] if end.__class__.__name__ == "Node" else f"{end.ns}/{end.name}"


def ask(world, source, target, family, port=8080, proto="tcp", node=None, more=()):
    """What explain says; its exit status agrees with it."""
    args = ["explain", "--from", name(source, family), "--to", name(target, family), "--proto", proto,
            "--family", NAMES[family], *more]
    if port:
        args += ["--port", str(port)]
    done = (node or world.n1).agent.ctl("-o", "json", *args, check=False)
    assert done.returncode in (0, 1), done.stderr
    answer = json.loads(done.stdout)
    assert answer["verdict"] == ("allowed", "denied")[done.returncode], answer
    text = (node or world.n1).agent.ctl(*args, check=False)
    assert text.returncode == done.returncode, text.stderr
    assert text.stdout.startswith(("ALLOWED ", "DENIED ")[done.returncode]), text.stdout
    return answer


def agrees(answer, *methods):
    assert answer["agree"] is True and answer["differences"] == [], answer["differences"]
    for method in methods or ("objects", "maps", "program"):
        assert answer["methods"][method]["asked"], (method, answer["methods"][method])
    return answer


def says(answer, **expected):
    got = {key: answer[key] for key in expected}
    assert got == expected, (got, expected)
    return answer


def in_force(world, *policies):
    world.policies(*policies)
    return [p["metadata"]["namespace"] + "/" + p["metadata"]["name"] for p in policies]


def put_cluster_policies(world, *policies):
    """Written, and in force; changes of before are not waited for in its place."""
    wait_until(lambda: all(is_quiet(node) for node in world.nodes), "no reconcile")
    before = [reconciles(node) for node in world.nodes]
    world.resources.put("cluster-policies", objects.item_list(list(policies)))
    wait_until(lambda: all(reconciles(node) > then for node, then in zip(world.nodes, before)), "a reconcile")


def reconciles(node):
    return node.agent.metrics()["polder_reconciles_total", ()]


def is_quiet(node):
    before = reconciles(node)
    time.sleep(0.3)
    return reconciles(node) == before


@each_family
def test_open_pods_are_allowed_by_nobody(world, family):
    answer = agrees(ask(world, world.cli, world.web, family))
    says(answer, verdict="allowed", reason="none", policy=None, rule=None, direction=None, backend=None)
    assert answer["egress"]["basis"] == answer["ingress"]["basis"] == "open"
    assert answer["from"]["labels"] == {"app": "cli"} and answer["to"]["name"] == "a/web"
    assert answer["from"]["identity"] >= 256 and answer["to"]["identity"] >= 256
    assert reach(world.cli, world.web.ips[family], 8080).verdict == "open"


@each_family
def test_a_default_deny_names_the_policies_that_isolate(world, family):
    names = in_force(world, policy("q", labels(app="web"), "a"), policy("p", {}, "a"),
                     policy("elsewhere", {}, "b"))
    answer = agrees(ask(world, world.cli, world.web, family))
    says(answer, verdict="denied", reason="policy_denied_ingress", rule=None, direction="ingress",
         default_deny=True, isolated_by=sorted(names[:2]), policy=min(names[:2]))
    says(agrees(ask(world, world.cli, world.other, family)), isolated_by=[names[2]])


@each_family
def test_the_rule_that_allows_is_named(world, family):
    names = in_force(world, policy("p", labels(app="web"), "a", ingress=[
        {"ports": [{"port": 1}]},
        {"from": [{"podSelector": labels(app="cli")}], "ports": [{"port": "http"}]}]))
    says(agrees(ask(world, world.cli, world.web, family)), verdict="allowed", policy=names[0], rule=1,
         direction="ingress", rule_path="spec.ingress[1]", default_deny=False)
    says(agrees(ask(world, world.cli, world.web, family, port=8081)), verdict="denied", rule=None,
         policy=names[0])
    says(agrees(ask(world, world.other, world.web, family)), verdict="denied")
    # A name instead of the number.
    says(agrees(ask(world, world.cli, world.web, family, port="http")), port=8080, rule=1)


@each_family
def test_egress_is_told_before_ingress(world, family):
    names = in_force(world, policy("out", labels(app="cli"), "a", policyTypes=["Egress"], egress=[
        {"to": [{"podSelector": labels(second="yes")}]}]))
    says(agrees(ask(world, world.cli, world.web, family)), verdict="denied", direction="egress",
         reason="policy_denied_egress", policy=names[0], isolated_by=names)
    says(agrees(ask(world, world.cli, world.web2, family)), verdict="allowed", direction="egress",
         policy=names[0], rule=0, rule_path="spec.egress[0]")


@each_family
def test_a_service_is_followed_to_its_endpoints(world, family):
    names = in_force(world, policy("p", labels(second="yes"), "a"))
    answer = agrees(ask(world, world.cli, "a/front", family, port=80))
    says(answer, verdict="denied", mixed=True, policy=names[0])
    assert answer["backend"] == {"ip": world.web2.ips[family], "port": 8080, "pod": "a/web2",
                                 "node": world.n1.name}
    assert {(b["pod"], b["verdict"]) for b in answer["backends"]} == {("a/web", "allowed"),
                                                                    ("a/web2", "denied")}
    in_force(world)
    answer = agrees(ask(world, world.cli, "service:a/front", family, port="http"))
    says(answer, verdict="allowed", mixed=False, chosen="program")
    assert answer["backend"]["pod"] in ("a/web", "a/web2")
    # The address is the Service, too; a node chooses an endpoint as well.
    says(agrees(ask(world, world.cli, world.vip[family], family, port=80)), verdict="allowed")
    answer = agrees(ask(world, world.n1, world.vip[family], family, port=80), "objects", "maps")
    assert answer["service"]["name"] == "a/front" and len(answer["backends"]) == 2


@each_family
def test_a_service_that_leads_nowhere_is_denied(world, family):
    says(agrees(ask(world, world.cli, "a/nobody", family, port=80)), verdict="denied",
         reason="service_without_endpoint", policy=None, backend=None)
    says(agrees(ask(world, world.cli, "a/front", family, port=81)), verdict="denied",
         reason="service_without_port")
    says(agrees(ask(world, OUTSIDE_IP[family], "a/front", family, port=80)), verdict="denied",
         reason="cluster_ip_from_outside")


@each_family
def test_a_pod_reaches_itself_through_its_service(world, family):
    in_force(world, policy("p", {}, "a"))
    answer = agrees(ask(world, world.web, "a/front", family, port=80), "objects", "maps")
    verdicts = {b["pod"]: b["verdict"] for b in answer["backends"]}
    assert verdicts == {"a/web": "allowed", "a/web2": "denied"}, verdicts
    says(agrees(ask(world, world.web, world.web, family), "objects"), verdict="allowed")


@each_family
def test_outside_and_node(world, family):
    names = in_force(world, policy("p", labels(app="web"), "a", policyTypes=["Ingress", "Egress"], ingress=[
        {"from": [{"ipBlock": {"cidr": OUTSIDE_IP[family] + ("/32" if family == 4 else "/128")}}]}],
        egress=[{"to": [{"ipBlock": {"cidr": world.n1.ips[family] + ("/32" if family == 4 else "/128")}}]}]))
    says(agrees(ask(world, OUTSIDE_IP[family], world.web, family)), verdict="allowed", policy=names[0],
         rule=0, direction="ingress")
    says(agrees(ask(world, WORLD_IP[family], world.web, family)), verdict="denied", direction="ingress")
    says(agrees(ask(world, world.web, WORLD_IP[family], family)), verdict="denied", direction="egress")
    says(agrees(ask(world, world.web, world.n1, family)), verdict="allowed", direction="egress")
    # The node itself is never asked; another node is.
    answer = agrees(ask(world, world.n1, world.web, family))
    says(answer, verdict="allowed", policy=None)
    assert answer["ingress"]["basis"] == "not_asked"
    says(agrees(ask(world, world.n2, world.web, family)), verdict="denied")
    says(agrees(ask(world, world.cli, WORLD_IP[family], family)), verdict="allowed")


@each_family
def test_what_another_node_evaluates_rests_on_the_objects(world, family):
    names = in_force(world, policy("p", {}, "b", ingress=[{"from": [{"podSelector": {}}]}]))
    answer = agrees(ask(world, world.cli, world.far, family))
    says(answer, verdict="denied", direction="ingress", policy=names[0], isolated_by=names)
    assert answer["ingress"]["here"] is False
    assert answer["methods"]["program"]["verdict"] == "allowed"  # as far as this node goes
    says(agrees(ask(world, world.other, world.far, family)), verdict="allowed", rule=0)
    # On the other node the same question is about a packet from the wire.
    answer = agrees(ask(world, world.cli, world.far, family, node=world.n2))
    says(answer, verdict="denied", direction="ingress")
    answer = agrees(ask(world, world.cli, world.web, family, node=world.n2), "objects")
    says(answer, verdict="allowed")
    assert not answer["methods"]["maps"]["asked"] and "neither end" in answer["methods"]["maps"]["note"]


@each_family
def test_icmp_needs_a_rule_without_ports(world, family):
    in_force(world, policy("p", labels(app="web"), "a", ingress=[{"ports": [{"port": 8080}]}]))
    says(agrees(ask(world, world.cli, world.web, family, port=None, proto="icmp")), verdict="denied",
         proto="icmp" if family == 4 else "icmpv6")
    in_force(world, policy("p", labels(app="web"), "a", ingress=[{}]))
    says(agrees(ask(world, world.cli, world.web, family, port=None, proto="icmp")), verdict="allowed", rule=0)


@each_family
def test_other_protocols(world, family):
    in_force(world, policy("p", labels(app="web"), "a", ingress=[{"ports": [{"protocol": "SCTP"}]}]))
    says(agrees(ask(world, world.cli, world.web, family, proto="sctp")), verdict="allowed", rule=0)
    says(agrees(ask(world, world.cli, world.web, family, proto="udp")), verdict="denied")
    says(agrees(ask(world, world.cli, WORLD_IP[family], family, proto="sctp")), verdict="allowed")


@each_family
def test_cluster_policies_are_named_with_their_rules(world, family):
    names = in_force(world, policy("p", labels(app="web"), "a"))
    put_cluster_policies(
        world,
        cluster_policy("admin", priority=7, ingress=[
            {"name": "skip-red", "action": "Pass", "from": [{"namespaces": labels(team="red")}]},
            {"name": "stop", "action": "Deny", "from": [{"namespaces": {}}],
             "protocols": [{"tcp": {"destinationPort": {"number": 8080}}}]}]),
        cluster_policy("base", tier="Baseline", egress=[
            {"name": "no-dns", "action": "Deny", "to": [{"networks": ["0.0.0.0/0", "::/0"]}],
             "protocols": [{"udp": {"destinationPort": {"number": 53}}}]}]))
    answer = says(agrees(ask(world, world.other, world.web, family)), verdict="denied", policy="admin",
                  rule=1, rule_name="stop", action="Deny", tier="Admin", direction="ingress",
                  default_deny=False, rule_path="spec.ingress[1]")
    answer = says(agrees(ask(world, world.cli, world.web, family)), verdict="denied", policy=names[0],
                  default_deny=True)
    assert answer["ingress"]["passed_by"] == "admin" and answer["ingress"]["passed_rule"] == 0
    says(agrees(ask(world, world.cli, world.other, family, port=53, proto="udp")), policy="base",
         verdict="denied", rule_name="no-dns", tier="Baseline", direction="egress")
    # A pod and itself through a Service: NetworkPolicy is not asked, cluster policies are.
    answer = agrees(ask(world, world.web, "a/front", family, port=80), "objects", "maps")
    assert {b["pod"]: b["verdict"] for b in answer["backends"]}["a/web"] == "allowed"
    put_cluster_policies(world, cluster_policy("admin", priority=7, ingress=[
        {"action": "Deny", "from": [{"namespaces": {}}]}]))
    answer = agrees(ask(world, world.web, "a/front", family, port=80), "objects", "maps")
    assert {b["pod"]: b["policy"] for b in answer["backends"]}["a/web"] == "admin"


class Monitor:
    """polderctl monitor while the block lasts."""

    def __init__(self, world, agent, *options):
        self.path = os.path.join(world.workdir, "events")
        self.agent = agent
        self.command = [POLDERCTL, "--socket", agent.socket, "monitor", *options]

    def __enter__(self):
        with open(self.path, "wb") as out:
            self.process = subprocess.Popen(self.command, stdout=out)
        wait_until(lambda: self.agent.metrics().get(("polder_event_subscribers", ())) == 1, "a subscriber")
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait(5)

    def text(self):
        with open(self.path, encoding="utf-8") as file:
            return file.read()

    def lines(self):
        return [json.loads(line) for line in self.text().splitlines() if line.endswith("}")]

    def to_port(self, port):
        return [e for e in self.lines() if e.get("destination", {}).get("port") == port]


@each_family
def test_leaves_no_flow_and_no_event(world, family):
    monitor = world.n1.agent
    with Monitor(world, monitor, "-o", "json") as events:
        for target in (world.web, world.far, WORLD_IP[family], world.n1):
            agrees(ask(world, world.cli, target, family, port=4711))
        in_force(world, policy("p", {}, "a"))
        agrees(ask(world, world.cli, world.web, family, port=4711))
        in_force(world)
        # A real packet is told.
        assert reach(world.cli, world.web.ips[family], 8080).verdict == "open"
        wait_until(lambda: events.to_port(8080), "the real packet's event")
        assert not events.to_port(4711), events.to_port(4711)
    flows = monitor.ctl_json("flow", "list", "--limit", "0")
    assert not [f for f in flows if 4711 in (f["source_port"], f["destination_port"])], flows


def programs_of(pid):
    """The programs that a process has loaded: {number: digest of the instructions}."""
    found = {}
    for number in os.listdir(f"/proc/{pid}/fdinfo"):
        try:
            with open(f"/proc/{pid}/fdinfo/{number}", encoding="ascii") as file:
                fields = dict(line.split(":", 1) for line in file if ":" in line)
        except OSError:
            continue  # closed meanwhile
        if "prog_id" in fields and "prog_tag" in fields:
            found[fields["prog_id"].strip()] = fields["prog_tag"].strip()
    return found


def waits_fast(agent):
    return next(item for item in agent.ctl_json("status")["features"] if item["name"] == "program_wait")["note"] == ""


def test_runs_other_programs_than_the_packets_do(world):
    """Two loads of one program share the node's maps but not what each keeps while a packet is at hand, counts and tells."""
    in_force(world, policy("p", {}, "a"))
    world.n1.agent.restart()
    wait_until(lambda: waits_fast(world.n1.agent), "how to wait for programs is proven, by one that is loaded for a moment")
    attached = programs_of(world.n1.agent.process.pid)
    assert attached
    denied = world.n1.agent.drops_by_reason().get("policy_denied_ingress", 0)
    for _ in range(3):
        says(agrees(ask(world, world.cli, world.web, 4)), verdict="denied", reason="policy_denied_ingress")
    after = programs_of(world.n1.agent.process.pid)
    more = {number: tag for number, tag in after.items() if number not in attached}
    assert set(attached) <= set(after), (attached, after)
    assert len(more) == 4 and set(more.values()) <= set(attached.values()), (attached, more)
    assert world.n1.agent.drops_by_reason().get("policy_denied_ingress", 0) == denied
    in_force(world)


@each_family
def test_a_flow_that_exists_is_told_and_left_alone(world, family):
    with Connection(world.cli, world.web.ips[family], 8080) as connection:
        connection.ask()
        answer = agrees(ask(world, world.cli, world.web, family))
        port = connection.sock.getsockname()[1]
        flow = next(f for f in answer["flows"] if f["source_port"] == port)
        assert flow["packets"] > 0 and flow["reply_packets"] > 0 and flow["established"], flow
        connection.ask()


@each_family
def test_monitor_names_what_decides(world, family):
    names = in_force(world, policy("q", labels(app="web"), "a"), policy("p", {}, "a"))
    put_cluster_policies(world, cluster_policy("admin", ingress=[
        {"name": "stop-blue", "action": "Deny", "from": [{"namespaces": labels(team="blue")}]}]))
    with Monitor(world, world.n1.agent, "--drops", "-o", "json") as events:
        assert reach(world.cli, world.web.ips[family], 8080, timeout=0.3).verdict == "timeout"
        wait_until(lambda: events.to_port(8080), "a drop")
        drop = events.to_port(8080)[0]
        assert drop["reason"] == "policy_denied_ingress" and drop["egress_policy"] is None, drop
        told = drop["ingress_policy"]
        assert told["default_deny"] and told["isolated_by"] == sorted(names), told
        assert told["policy"] == sorted(names)[0] and told["rule"] is None, told
    with Monitor(world, world.n1.agent, "--drops", "-o", "json") as events:
        assert reach(world.other, world.web.ips[family], 8080, timeout=0.3).verdict == "timeout"
        # One of the client before may still come.
        wait_until(lambda: [e for e in events.to_port(8080) if not e["ingress_policy"]["default_deny"]], events.text)
        told = [e for e in events.to_port(8080) if not e["ingress_policy"]["default_deny"]][0]["ingress_policy"]
        assert (told["policy"], told["rule"], told["rule_name"], told["direction"], told["default_deny"]) == \
            ("admin", 0, "stop-blue", "ingress", False), told
    with Monitor(world, world.n1.agent, "--drops") as events:
        reach(world.cli, world.web.ips[family], 8080, timeout=0.3)
        reach(world.other, world.web.ips[family], 8080, timeout=0.3)
        wait_until(lambda: f"ingress default deny {','.join(sorted(names))}" in events.text() and
                   'ingress admin rule 0 "stop-blue"' in events.text(), events.text)


def show(world, name_):
    return world.n1.agent.ctl_json("policy", "show", name_)


@each_family
def test_policy_show_counts_packets_of_each_rule(world, family):
    names = in_force(world, policy("p", labels(app="web"), "a", ingress=[
        {"from": [{"podSelector": labels(app="nobody")}], "ports": [{"port": 1, "endPort": 9}]},
        {"from": [{"podSelector": labels(app="cli")}], "ports": [{"port": "http"}]}]))
    shown = show(world, names[0])
    says(shown, kind="NetworkPolicy", policy=names[0], namespace="a", tier="NetworkPolicy", priority=None,
         types=["Ingress"], subject="pods with app=web in a")
    assert [p["pod"] for p in shown["pods"]] == ["a/web", "a/web2"]
    assert [r["text"] for r in shown["rules"]] == [
        "from pods with app=nobody in a: TCP 1-9", "from pods with app=cli in a: TCP http"]
    assert [r["packets"] for r in shown["rules"]] == [0, 0] and shown["default_deny"]["egress"] is None
    before = shown["default_deny"]["ingress"]["packets"]
    with Connection(world.cli, world.web.ips[family], 8080) as connection:
        connection.ask()
        shown = show(world, names[0])
        living = shown["rules"][1]["packets"]
        assert shown["rules"][0]["packets"] == 0 and living >= 4 and shown["rules"][1]["bytes"] > 200, shown
    reach(world.other, world.web.ips[family], 8080, timeout=0.3)
    shown = show(world, names[0])
    assert shown["default_deny"]["ingress"]["packets"] > before, shown
    assert shown["rules"][1]["packets"] >= living, shown
    text = world.n1.agent.ctl("policy", "show", names[0]).stdout
    assert "pods with app=web in a" in text and "spec.ingress[1]" in text and "TCP http" in text, text
    assert "default ingress" in text, text


def test_policy_show_tells_names_apart(world):
    put_cluster_policies(world, cluster_policy("same", priority=3, egress=[
        {"name": "to-nodes", "action": "Pass", "to": [{"nodes": {}}]}]))
    shown = show(world, "same")
    says(shown, kind="ClusterNetworkPolicy", policy="same", tier="Admin", priority=3, types=["Egress"],
         subject="all pods in all namespaces", default_deny={"ingress": None, "egress": None})
    assert (shown["rules"][0]["rule_name"], shown["rules"][0]["action"], shown["rules"][0]["text"],
            shown["rules"][0]["packets"]) == ("to-nodes", "Pass", "to all nodes: every port and protocol", None)
    assert len(shown["pods"]) == 4, shown["pods"]
    world.resources.put("policies", objects.item_list([policy("same", {}, "a"), policy("same", {}, "b")]))
    wait_until(lambda: len([p for p in world.n1.agent.ctl_json("policy", "list") if p["name"] == "same"]) >= 2,
               "policies")
    done = world.n1.agent.ctl("policy", "show", "same", check=False)
    assert done.returncode == 1 and "cluster/same, a/same, b/same" in done.stderr, done
    says(show(world, "cluster/same"), kind="ClusterNetworkPolicy")
    says(show(world, "b/same"), kind="NetworkPolicy", policy="b/same")
    done = world.n1.agent.ctl("policy", "show", "a/nope", check=False)
    assert done.returncode == 1 and "a/nope" in done.stderr, done


@each_family
def test_a_deleted_policy_that_holds_a_pod_that_ends_is_told(world, family):
    ending = world.pod("ending", "a", labels={"app": "ending"})
    names = in_force(world, policy("p", labels(app="ending"), "a"))
    says(agrees(ask(world, world.cli, ending, family)), verdict="denied", isolated_by=names)
    pod = objects.pod("ending", "a", {"app": "ending"}, world.n1.name, list(ending.ips.values()))
    pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    before = reconciles(world.n1)
    world.resources.put("pod-a-ending", pod)
    wait_until(lambda: reconciles(world.n1) > before, "a reconcile")
    in_force(world)
    says(agrees(ask(world, world.cli, ending, family)), verdict="denied", isolated_by=names, default_deny=True)


@each_family
def test_a_deny_that_is_taken_to_hold_for_an_unknown_pod_says_why(world, family):
    late = world.pod("late", "b", labels={"app": "late"}, node=world.n2, with_object=False)
    world.serve(late, 8080)
    put_cluster_policies(world, cluster_policy("p", {"namespaces": labels(team="red")}, ingress=[
        {"action": "Deny", "from": [{"namespaces": labels(team="green")}]}], egress=[
        {"action": "Pass", "to": [{"namespaces": labels(team="green")}]},
        {"action": "Accept", "to": [{"networks": ["0.0.0.0/0", "::/0"]}]}]))
    names = in_force(world, policy("q", labels(app="web"), "a", policyTypes=["Egress"]))
    told = f"{late.ips[family]} is in a pod range and has no known Pod object: "
    answer = says(agrees(ask(world, late.ips[family], world.web, family)), verdict="denied", policy="p", rule=0,
                  action="Deny", direction="ingress")
    assert answer["ingress"]["presumed"] and answer["from"]["identity"] == 4, answer
    assert answer["ingress"]["note"] == told + "denies by selector apply to it", answer["ingress"]
    assert reach(late, world.web.ips[family], 8080, timeout=0.3).verdict == "timeout"
    text = world.n1.agent.ctl("explain", "--from", late.ips[family], "--to", "a/web", "--port", "8080", check=False).stdout
    assert told in text, text
    answer = says(agrees(ask(world, world.web, late.ips[family], family)), verdict="denied", policy=names[0],
                  default_deny=True, direction="egress")
    assert answer["egress"]["passed_by"] == "p" and answer["egress"]["presumed"], answer["egress"]
    assert answer["egress"]["note"] == told + "a Pass by selector applies to it", answer["egress"]
    assert reach(world.web, late.ips[family], 8080, timeout=0.3).verdict == "timeout"
    # What is known of others, and once the object is there, says nothing of that.
    for source, verdict in ((world.cli, "allowed"), (world.far, "allowed"), (world.n2, "allowed")):
        answer = says(agrees(ask(world, source, world.web, family)), verdict=verdict)
        assert answer["ingress"]["note"] is None and not answer["ingress"]["presumed"]
    late.write_object()
    wait_until(lambda: ask(world, late.ips[family], world.web, family)["verdict"] == "allowed", "the object is known")
    assert agrees(ask(world, late, world.web, family))["ingress"]["note"] is None
    assert reach(late, world.web.ips[family], 8080).verdict == "open"


@each_family
def test_a_change_by_hand_in_the_maps_is_told(world, family):
    in_force(world, policy("p", labels(app="web"), "a", ingress=[{"from": [{"podSelector": labels(app="cli")}]}]))
    agrees(ask(world, world.cli, world.web, family))
    pin = next(os.path.join(base, "ruleset_tables") for base, _, files in os.walk(world.n1.bpffs)
               if "ruleset_tables" in files)
    dump = [element for element in json.loads(run(["bpftool", "-j", "map", "dump", "pinned", pin]).stdout)
            if any(byte != "0x00" for byte in element["value"])]
    assert dump
    for element in dump:
        run(["bpftool", "map", "update", "pinned", pin, "key", "hex", *[byte[2:] for byte in element["key"]],
             "value", "hex", *["00"] * len(element["value"])])
    answer = ask(world, world.cli, world.web, family)
    assert answer["agree"] is False and len(answer["differences"]) == 2, answer
    # What is in force counts.
    says(answer, verdict="denied", reason="policy_denied_ingress")
    assert answer["methods"]["objects"]["verdict"] == "allowed"
    assert answer["methods"]["maps"]["verdict"] == answer["methods"]["program"]["verdict"] == "denied"
    text = world.n1.agent.ctl("explain", "--from", "a/cli", "--to", "a/web", "--port", "8080", "--family",
                              NAMES[family], check=False).stdout
    assert "DIFFERENT" in text, text
    for element in dump:
        run(["bpftool", "map", "update", "pinned", pin, "key", "hex", *[b[2:] for b in element["key"]],
             "value", "hex", *[b[2:] for b in element["value"]]])
    agrees(ask(world, world.cli, world.web, family))


@each_family
def test_as_if_objects_were_in_force(world, family):
    path = os.path.join(world.workdir, "with.yaml")
    with open(path, "w", encoding="utf-8") as file:
        file.write("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n"
                   "metadata: {name: closed, namespace: a}\nspec: {podSelector: {matchLabels: {app: web}}}\n")
    wait_until(lambda: is_quiet(world.n1), "what the test before has left is in force")
    before = world.n1.agent.ctl_json("status")["generation"]
    answer = agrees(ask(world, world.cli, world.web, family, more=["--with", path]))
    says(answer, verdict="denied", policy="a/closed", isolated_by=["a/closed"], hypothetical=True)
    answer = agrees(ask(world, world.cli, "a/front", family, port=80, more=["--with", path]))
    says(answer, verdict="denied", mixed=False)
    says(agrees(ask(world, OUTSIDE_IP[family], world.web, family, more=["--with", path])), verdict="denied")
    # Nothing of it is in force.
    says(agrees(ask(world, world.cli, world.web, family)), verdict="allowed", hypothetical=False)
    assert world.n1.agent.ctl_json("status")["generation"] == before
    assert reach(world.cli, world.web.ips[family], 8080).verdict == "open"
    with open(path, "w", encoding="utf-8") as file:
        file.write("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n"
                   "metadata: {name: closed, namespace: a}\nspec: {podSelectr: {}}\n")
    done = world.n1.agent.ctl("explain", "--from", "a/cli", "--to", "a/web", "--port", "80", "--with", path,
                              check=False)
    assert done.returncode == 2 and "podSelectr" in done.stderr, done


def test_what_cannot_be_told_has_status_2(world):
    world.resources.put("twin", objects.service("cli", [world.service_ip(77, 4)],
                                                [objects.service_port(80)], ns="a"))
    wait_until(lambda: any(s["name"] == "cli" for s in world.n1.agent.ctl_json("service", "list")),
               "Service a/cli")
    for args, words in (
            (["--from", "a/nope", "--to", "a/web", "--port", "1"], "a/nope"),
            (["--from", "a/cli", "--to", "a/nope", "--port", "1"], "no such pod or Service"),
            (["--from", "b/cli", "--to", "a/cli", "--port", "80"], "both a pod and a Service"),
            (["--from", "a/cli", "--to", "a/web", "--port", "0"], "1 to 65535"),
            (["--from", "a/cli", "--to", "pod:a/web"], "port is missing"),
            (["--from", "a/cli", "--to", "127.0.0.1", "--port", "1"], "loopback"),
            (["--from", "a/cli", "--to", "2001:db8::1", "--port", "1", "--family", "ipv4"], "IPv4"),
            (["--from", "service:a/front", "--to", "a/cli", "--port", "1"], "a Service cannot be the source"),
            (["--from", "a/cli", "--to", "pod:a/web", "--proto", "icmp", "--port", "1"], "no ports"),
            (["--from", "a/cli", "--to", "pod:a/web", "--port", "nosuch"], "nosuch"),
            (["--from", "a/cli", "--port", "1"], "--to"),
            (["--from", "10.244.4.250", "--to", "pod:a/web", "--port", "1"], "no pod has it")):
        done = world.n1.agent.ctl("explain", *args, check=False)
        assert done.returncode == 2 and words in done.stderr and not done.stdout, (args, done)
    done = run([POLDERCTL, "--socket", "/nowhere/polder.sock", "explain", "--from", "a/cli", "--to", "a/web",
                "--port", "1"], check=False)
    assert done.returncode == 2 and "not listening" in done.stderr, done


@each_family
def test_what_it_says_is_what_happens(world, family):
    """Every pair, under policies of all kinds."""
    rules = (
        [policy("p", labels(app="web"), "a", ingress=[{"from": [{"namespaceSelector": labels(team="blue")}]}])],
        [policy("p", {}, "b", policyTypes=["Egress"], egress=[
            {"to": [{"ipBlock": {"cidr": world.web.ips[family] + ("/32" if family == 4 else "/128")}}]}])],
        [policy("p", labels(app="web"), "a", ingress=[{"ports": [{"port": 8000, "endPort": 8100}]}]),
         policy("q", labels(app="cli"), "a", policyTypes=["Egress"])])
    for case in rules:
        in_force(world, *case)
        cells = []
        for source in (world.cli, world.other, world.web, world.n1, OUTSIDE_IP[family]):
            for target in (world.web, world.web2, world.other):
                if source is target:
                    continue
                answer = agrees(ask(world, source, target, family))
                sender = world.outside if isinstance(source, str) else source
                cells.append((sender, target.ips[family], 8080,
                              "open" if answer["verdict"] == "allowed" else "timeout", "TCP"))
        world.expect(*cells)

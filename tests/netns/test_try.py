# SPDX-License-Identifier: Apache-2.0
"""polderctl policy try: what would change is told, nothing changes, and a commit puts it in force."""

import itertools
import json
import os
import subprocess

from lib import objects
from lib.agent import POLDERCTL
from lib.objects import labels
from lib.policies import ALL_PREFIX, OPEN, SHUT, A, Matrix, egress, ingress, peers, six_pods, tcp
from lib.runner import each_family
from lib.traffic import Connection, UdpClient, reach, wait_until
from lib.world import OUTSIDE_IP

WORLD = {"nodes": 2}
PORT = 4711  # the source of the probes that a test asks about
RED = {"namespaceSelector": labels(team="red")}


def setup(world):
    six_pods(world)
    world.service("web", 20, [{"port": 8000, "targetPort": 80}], selector={"pod": "a"}, ns="x")


def write(world, *made, name="staged.json"):
    path = os.path.join(world.workdir, name)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(objects.item_list(list(made)), file)
    return path


class Try:
    """What a try says: lines by their type, and the exit status."""

    def __init__(self, world, *words, seconds="0"):
        command = [POLDERCTL, "--socket", world.n1.agent.socket, "-o", "json", "policy", "try", "--for", seconds, *words]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.flows, self.objects, self.end, self.commit, self.code, self.error = [], [], None, None, None, ""
        self.begin = self.take(self.process.stdout.readline())

    def take(self, text):
        line = json.loads(text) if text else {"type": "nothing"}
        if line["type"] == "flow":
            self.flows.append(line)
        elif line["type"] == "end":
            self.end = line
        elif line["type"] == "commit":
            self.commit = line
        return line

    def finish(self):
        for text in self.process.stdout:
            self.take(text)
        self.error = self.process.stderr.read()
        self.code = self.process.wait(timeout=20)
        self.close()
        return self

    def kill(self):
        self.process.kill()
        self.process.wait(timeout=20)
        self.close()

    def close(self):
        self.process.stdout.close()
        self.process.stderr.close()

    def of(self, source, target, family=4, client=None, port=None):
        """The flows of two pods in one family; from one client's socket or one source port alone, if it is given."""
        return [flow for flow in self.flows if flow["source"]["pod"] == f"{source.ns}/{source.name}"
                and (flow["backend"] or flow["destination"])["pod"] == f"{target.ns}/{target.name}"
                and flow["family"] == f"ipv{family}"
                and (not client or flow["source"]["port"] == client.sock.getsockname()[1])
                and (not port or flow["source"]["port"] == port)]


def attempt(world, *words, seconds="0"):
    return Try(world, *words, seconds=seconds).finish()


@each_family
def test_live_flow_that_would_be_denied_is_told_and_left_alone(world, family):
    path = write(world, ingress("deny", A))
    with Connection(world.ya, world.xa.ips[family], 80) as connection:
        connection.ask()
        generation = world.n1.agent.ctl_json("status")["generation"]
        told = attempt(world, path)
        assert told.code == 3, (told.code, told.error)
        flow, = told.of(world.ya, world.xa, family, connection)
        assert flow["change"] == "denied" and flow["proto"] == "tcp" and flow["destination"]["port"] == 80, flow
        assert flow["before"]["verdict"] == "allow" and flow["after"]["verdict"] == "deny", flow
        assert flow["after"]["ingress"] == {"verdict": "deny", "basis": "default_deny", "isolated_by": ["x/deny"]}, flow
        assert flow["after"]["egress"]["basis"] == "open", flow
        connection.ask()
    assert told.end["denied"] >= 1 and told.end["allowed"] == 0 and told.end["lost"] == 0, told.end
    assert told.begin["objects"] == [{"kind": "NetworkPolicy", "namespace": "x", "name": "deny", "change": "new"}], told.begin
    assert world.n1.agent.ctl_json("status")["generation"] == generation
    assert world.n1.agent.ctl_json("policy", "list") == []
    Matrix(world, family).expect((world.ya, world.xa, OPEN))


@each_family
def test_flow_of_a_pod_whose_object_is_late_is_evaluated_as_an_unknown_pods(world, family):
    late = world.pod("late", "z", labels={"pod": "late"}, node=world.n2, with_object=False)
    path = write(world, objects.cluster_policy("deny", {"namespaces": labels(team="red")}, ingress=[
        objects.cluster_rule("Deny", {"namespaces": labels(team="green")})]))
    with Connection(late, world.xa.ips[family], 80) as connection, Connection(world.za, world.xa.ips[family], 80) as known:
        connection.ask()
        known.ask()
        told = attempt(world, path)
        port = connection.sock.getsockname()[1]
        flow, = [flow for flow in told.flows if flow["source"]["port"] == port and flow["family"] == f"ipv{family}"]
        assert flow["change"] == "denied" and flow["after"]["ingress"]["policy"] == "deny", flow
        assert told.of(world.za, world.xa, family, known) == []
        world.resources.put("staged", json.loads(open(path, encoding="utf-8").read()))
        wait_until(lambda: connection.state(0.2) == "timeout", "what was told")
        known.ask()


@each_family
def test_flow_that_stays_allowed_is_not_told(world, family):
    path = write(world, ingress("let", A, rules=[peers({"namespaceSelector": labels(team="blue")}, ports=[tcp(80)])]))
    with Connection(world.ya, world.xa.ips[family], 80) as one, Connection(world.za, world.xa.ips[family], 80) as other:
        one.ask()
        other.ask()
        told = attempt(world, path)
        assert told.of(world.ya, world.xa, family) == []
        flow, = told.of(world.za, world.xa, family, other)
        assert flow["change"] == "denied", flow
        assert told.end["other_rule"] >= 1, told.end


@each_family
def test_new_flows_that_would_be_allowed_name_both_reasons(world, family):
    world.policies(ingress("deny", A), ingress("deny-too", A))
    Matrix(world, family).expect((world.ya, world.xa, SHUT), (world.za, world.xa, SHUT))
    names = sorted(f"x/{p['name']}" for p in world.n1.agent.ctl_json("policy", "list"))
    path = write(world, ingress("open", A, rules=[peers(RED), peers({"podSelector": {}, "namespaceSelector": labels(team="blue")},
                                                                    ports=[tcp(80)])]))
    told = Try(world, path, seconds="2s")
    assert reach(world.ya, world.xa.ips[family], 80, timeout=0.3, source_port=PORT).verdict == SHUT
    assert reach(world.za, world.xa.ips[family], 80, timeout=0.3, source_port=PORT).verdict == SHUT
    told.finish()
    assert told.code == 3, (told.code, told.error)
    flow, = told.of(world.ya, world.xa, family, port=PORT)
    assert flow["change"] == "allowed", flow
    assert flow["before"]["ingress"]["isolated_by"] == names, flow
    assert flow["after"]["ingress"] == {"verdict": "allow", "basis": "rule", "policy": "x/open", "rule": 1}, flow
    assert told.of(world.za, world.xa, family) == []
    assert told.end["new_flows"] >= 2, told.end
    Matrix(world, family).expect((world.ya, world.xa, SHUT))


@each_family
def test_services_are_evaluated_at_their_endpoint(world, family):
    path = write(world, egress("out", A, ns="y", rules=[peers({"namespaceSelector": labels(team="red")}, key="to", ports=[tcp(81)])]))
    with Connection(world.ya, world.service_ip(20, family), 8000) as connection:
        connection.ask()
        flow, = attempt(world, path).of(world.ya, world.xa, family, connection)
    assert flow["destination"]["ip"] == world.service_ip(20, family) and flow["destination"]["port"] == 8000, flow
    assert flow["backend"]["port"] == 80 and flow["after"]["egress"]["isolated_by"] == ["y/out"], flow


@each_family
def test_masqueraded_flow_to_the_outside_is_evaluated(world, family):
    path = write(world, egress("out", A, ns="y", rules=[peers({"ipBlock": {"cidr": ALL_PREFIX[family]}}, key="to", ports=[tcp(443)])]))
    with Connection(world.ya, OUTSIDE_IP[family], 80) as connection:
        connection.ask()
        told = attempt(world, path)
    flow, = [f for f in told.flows if f["destination"]["ip"] == OUTSIDE_IP[family]]
    assert flow["source"]["pod"] == "y/a" and flow["change"] == "denied", flow


def test_probes_of_the_own_node_never_change(world):
    path = write(world, ingress("deny", A))
    with Connection(world.n1, world.xa.ips[4], 80) as connection:
        connection.ask()
        told = attempt(world, path)
        assert not [f for f in told.flows if f["source"]["ip"] in world.n1.ips.values()], told.flows


@each_family
def test_removal_is_tried(world, family):
    world.policies(ingress("deny", A))
    Matrix(world, family).expect((world.ya, world.xa, SHUT))
    name = world.n1.agent.ctl_json("policy", "list")[0]["name"]
    told = Try(world, "--delete", f"NetworkPolicy/x/{name}", seconds="2s")
    assert reach(world.ya, world.xa.ips[family], 80, timeout=0.3, source_port=PORT).verdict == SHUT
    told.finish()
    flow, = told.of(world.ya, world.xa, family, port=PORT)
    assert flow["change"] == "allowed" and flow["after"]["ingress"]["basis"] == "open", flow
    assert told.begin["objects"][0]["change"] == "removed"


def test_replacement_stands_in_for_the_live_object(world):
    world.policies(ingress("deny", A))
    Matrix(world, 4).expect((world.ya, world.xa, SHUT))
    live = world.n1.agent.ctl_json("policy", "list")[0]["name"]
    path = write(world, ingress(live, A, rules=[{}]))
    told = Try(world, path, seconds="2s")
    assert told.begin["objects"][0]["change"] == "changed", told.begin
    assert reach(world.ya, world.xa.ips[4], 80, timeout=0.3, source_port=PORT).verdict == SHUT
    flow, = told.finish().of(world.ya, world.xa, port=PORT)
    assert flow["after"]["ingress"]["policy"] == f"x/{live}" and flow["after"]["ingress"]["rule"] == 0, flow


def test_labels_of_pods_and_namespaces_are_tried(world):
    world.policies(ingress("only-red", A, rules=[peers(RED)]))
    Matrix(world, 4).expect((world.ya, world.xa, SHUT))
    told = Try(world, write(world, objects.namespace("y", team="red")), seconds="2s")
    assert reach(world.ya, world.xa.ips[4], 80, timeout=0.3, source_port=PORT).verdict == SHUT
    flow, = told.finish().of(world.ya, world.xa, port=PORT)
    assert flow["change"] == "allowed" and flow["after"]["ingress"]["rule"] == 0, flow


def test_cluster_policies_are_tried(world):
    path = write(world, objects.cluster_policy("guard", ingress=[
        {"name": "red-may", "action": "Accept", "from": [{"namespaces": labels(team="red")}]},
        {"name": "nobody", "action": "Deny", "from": [{"namespaces": {}}]}]))
    with Connection(world.ya, world.xa.ips[4], 80) as cut, Connection(world.xb, world.xa.ips[4], 80) as stays:
        cut.ask()
        stays.ask()
        told = attempt(world, path)
        flow, = told.of(world.ya, world.xa, client=cut)
        assert flow["after"]["ingress"] == {"verdict": "deny", "basis": "rule", "policy": "guard", "rule": 1}, flow
        assert told.of(world.xb, world.xa) == []
        cut.ask()


def test_udp_and_both_directions_of_one_flow_are_told_once(world):
    path = write(world, egress("out", A, ns="y"))
    with UdpClient(world.ya, world.xa.ips[4], 80) as client:
        for _ in range(3):
            client.ask()
        told = attempt(world, path)
        flow, = [f for f in told.of(world.ya, world.xa) if f["proto"] == "udp"]
        assert flow["after"]["egress"]["isolated_by"] == ["y/out"], flow


def test_change_of_the_live_objects_meanwhile_is_taken_in(world):
    told, ports = Try(world, write(world, ingress("open", A, rules=[{}])), seconds="3s"), itertools.count(PORT)
    world.policies(ingress("deny", A))
    Matrix(world, 4).expect((world.ya, world.xa, SHUT))
    while told.process.poll() is None:  # the first of them may still be compared under the objects of before
        assert reach(world.ya, world.xa.ips[4], 80, timeout=0.3, source_port=next(ports)).verdict == SHUT
    told.finish()
    assert told.end["rebuilt"] >= 1, told.end
    assert {flow["change"] for flow in told.of(world.ya, world.xa)} == {"allowed"}, told.flows


def test_nothing_to_tell_is_0(world):
    told = attempt(world, write(world, ingress("nobody", labels(no="body"))))
    assert told.code == 0 and told.flows == [] and told.end["denied"] == 0, (told.code, told.end)
    told = attempt(world, write(world, ingress("nobody", labels(no="body"))), seconds="1s")
    assert told.code == 0, (told.code, told.error)


def test_people_read_what_would_change(world):
    path = write(world, ingress("deny", A))
    with Connection(world.ya, world.xa.ips[4], 80) as connection:
        connection.ask()
        done = world.n1.agent.ctl("policy", "try", path, "--for", "0", check=False)
    assert done.returncode == 3, done.stderr
    assert done.stdout.startswith("new       NetworkPolicy x/deny\n"), done.stdout
    assert "    current  allow: no policy\n    staged   deny: ingress default deny of x/deny\n" in done.stdout, done.stdout
    assert " would be denied, 0 would be allowed," in done.stdout, done.stdout


def test_yaml_is_taken(world):
    path = os.path.join(world.workdir, "staged.yaml")
    with open(path, "w", encoding="utf-8") as file:
        file.write("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: deny, namespace: x}\n"
                   "spec:\n  podSelector:\n    matchLabels: {pod: a}\n")
    with Connection(world.ya, world.xa.ips[4], 80) as connection:
        connection.ask()
        assert attempt(world, path).of(world.ya, world.xa)


def test_what_is_wrong_is_refused_before_anything_is_tried(world):
    bad = ingress("bad", A)
    bad["spec"]["ingres"] = []
    for words, part in [([write(world, bad, name="bad.json")], "$.items[0].spec.ingres is an unknown field"),
                        (["--delete", "NetworkPolicy/x/nobody"], "NetworkPolicy x/nobody not found"),
                        (["--delete", "NetworkPolicy/x"], "is not KIND/NAMESPACE/NAME"),
                        (["--delete", "Deployment/x/y"], "of a kind that Polder supports"),
                        ([write(world, name="empty.json")], "nothing to try"),
                        (["/nowhere/x.yaml"], "No such file")]:
        told = attempt(world, *words)
        assert told.code == 1 and part in told.error, (words, told.code, told.error)
    assert world.n1.agent.ctl("policy", "try", check=False).returncode == 2
    assert world.n1.agent.ctl("policy", "try", "--for", "soon", "x", check=False).returncode == 2


def test_client_that_goes_away_ends_the_try(world):
    path = write(world, ingress("deny", A))
    for _ in range(6):
        told = Try(world, path, seconds="1h")
        assert told.begin["type"] == "begin", told.finish().error
        told.kill()
    several = [Try(world, path, seconds="1h") for _ in range(4)]
    try:
        refused = attempt(world, path)
        assert refused.code == 1 and "tries are running" in refused.error, refused.error
    finally:
        for told in several:
            told.kill()
    wait_until(lambda: attempt(world, path).code != 1, "a try when the others have gone")


@each_family
def test_commit_puts_the_objects_in_force(world, family):
    before = world.resources.files()
    told = attempt(world, write(world, ingress(f"deny-{family}", A)), "--commit")
    assert told.code == 0, told.error
    made, = world.resources.files() - before
    assert made.startswith("polder-try-") and told.commit["file"] == world.resources.path(made), told.commit
    assert told.commit["in_force"] is True
    assert reach(world.ya, world.xa.ips[family], 80, timeout=0.3, source_port=PORT).verdict == SHUT
    # The same again: it has a file now, and that one is the truth.
    again = attempt(world, write(world, ingress(f"deny-{family}", A)), "--commit")
    assert again.code == 1 and f"NetworkPolicy x/deny-{family} is defined in {world.resources.path(made)}" in again.error, again.error
    assert world.resources.files() == before | {made}


def test_commit_never_overrides_another_file(world):
    world.policies(ingress("deny", A))
    name = world.n1.agent.ctl_json("policy", "list")[0]["name"]
    before = world.resources.files()
    for words in [(write(world, ingress("fresh", A), ingress(name, A, rules=[{}])),), ("--delete", f"NetworkPolicy/x/{name}")]:
        told = attempt(world, *words, "--commit")
        assert told.code == 1 and f"is defined in {world.resources.path('policies')}" in told.error, told.error
        assert "Nothing was written" in told.error
    assert world.resources.files() == before
    Matrix(world, 4).expect((world.ya, world.xa, SHUT))

# SPDX-License-Identifier: Apache-2.0
"""What is written wrongly, or not at all, at each place of a policy: refused, or what the API says, never more (NP-27)."""

import copy
import json
import time

from lib import objects
from lib.objects import labels
from lib.policies import OPEN, SHUT, blocks, ingress, peers, six_pods
from lib.traffic import Probe, run_probes, wait_until
from lib.world import OUTSIDE_IP

WORLD = {"nodes": 2}
TARGETS = 56
ABSENT = object()
FORMS = {"absent": ABSENT, "null": None, "[]": [], "{}": {}}
PEERS = [
    {"namespaceSelector": {"matchLabels": {"team": "red"}},
     "podSelector": {"matchExpressions": [{"key": "role", "operator": "In", "values": ["front"]}]}},
    {"ipBlock": {"cidr": "172.30.0.0/24", "except": ["172.30.0.0/28"]}},
    {"ipBlock": {"cidr": "fd30::/64", "except": ["fd30::/124"]}}]
PORTS = [{"protocol": "TCP", "port": 80, "endPort": 80}]

# What passes, of: a (the peer and port of the rule), b (a pod of that namespace without the label), c (a labelled pod of another
# namespace), o (the address that is excepted), p (a: another port), u (a: UDP). The base allows a.
ALL, NONE, BASE = "abcopu", "", "a"
REFUSED = "refused"
# The place below the direction's section, and what each form means there: absent, null, [], {}.
IN_SECTION = {
    "": (NONE, NONE, NONE, REFUSED),
    "0": (NONE, REFUSED, REFUSED, ALL),
    "0.PEERS": ("abco", "abco", "abco", REFUSED),
    "0.PEERS.0": (NONE, REFUSED, REFUSED, REFUSED),
    "0.PEERS.0.namespaceSelector": (NONE, NONE, REFUSED, "ac"),
    "0.PEERS.0.namespaceSelector.matchLabels": ("ac", "ac", REFUSED, "ac"),
    "0.PEERS.0.namespaceSelector.matchLabels.team": ("ac", REFUSED, REFUSED, REFUSED),
    "0.PEERS.0.podSelector": ("ab", "ab", REFUSED, "ab"),
    "0.PEERS.0.podSelector.matchExpressions": ("ab", "ab", "ab", REFUSED),
    "0.PEERS.0.podSelector.matchExpressions.0": ("ab", REFUSED, REFUSED, REFUSED),
    "0.PEERS.0.podSelector.matchExpressions.0.key": (REFUSED,) * 4,
    "0.PEERS.0.podSelector.matchExpressions.0.operator": (REFUSED,) * 4,
    "0.PEERS.0.podSelector.matchExpressions.0.values": (REFUSED,) * 4,
    "0.PEERS.0.podSelector.matchExpressions.0.values.0": (REFUSED,) * 4,
    "0.PEERS.FAMILY": (BASE, REFUSED, REFUSED, REFUSED),
    "0.PEERS.FAMILY.ipBlock": (REFUSED,) * 4,
    "0.PEERS.FAMILY.ipBlock.cidr": (REFUSED,) * 4,
    "0.PEERS.FAMILY.ipBlock.except": ("ao", "ao", "ao", REFUSED),
    "0.PEERS.FAMILY.ipBlock.except.0": ("ao", REFUSED, REFUSED, REFUSED),
    "0.ports": ("apu", "apu", "apu", REFUSED),
    "0.ports.0": ("apu", REFUSED, REFUSED, "ap"),
    "0.ports.0.protocol": (BASE, BASE, REFUSED, REFUSED),
    "0.ports.0.port": (REFUSED,) * 4,
    "0.ports.0.endPort": (BASE, BASE, REFUSED, REFUSED),
}
# Places of the whole policy: (in, out) of each form.
IN_SPEC = {
    "policyTypes": ((BASE, BASE), (BASE, BASE), (BASE, BASE), REFUSED),
    "policyTypes.0": ((ALL, BASE), REFUSED, REFUSED, REFUSED),
    "policyTypes.1": ((BASE, ALL), REFUSED, REFUSED, REFUSED),
}


def setup(world):
    six_pods(world)
    world.resources.put("t", objects.namespace("t"))
    world.targets = []
    for number in range(TARGETS):
        pod = world.pod(f"t{number}", "t", labels={"t": f"t{number}"})
        pod.family = 4 + 2 * (number % 2)
        for port, proto in ((80, "TCP"), (81, "TCP"), (80, "UDP")):
            world.serve(pod, port, proto, [pod.family])
        world.targets.append(pod)


def base(number):
    spec = {"podSelector": {"matchLabels": {"t": f"t{number}"}},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": PEERS, "ports": PORTS}], "egress": [{"to": PEERS, "ports": PORTS}]}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": f"m{number}", "namespace": "t"},
            "spec": json.loads(json.dumps(spec))}  # no part of it stands in two places


def changed(made, path, value):
    """The object with the value at the path (from spec on); ABSENT takes it away."""
    *way, last = path.split(".")
    place = made["spec"]
    for step in way:
        place = place[int(step) if isinstance(place, list) else step]
    last = int(last) if isinstance(place, list) else last
    if value is ABSENT:
        del place[last]
    else:
        place[last] = copy.deepcopy(value)
    return made


class Mutant:
    """A policy for one target, and what must pass into and out of it."""

    def __init__(self, path, form, wanted):
        self.path, self.form, self.wanted = path, form, wanted
        self.pod = None

    def __str__(self):
        return f"{self.path}: {self.form}"

    def place_on(self, pod):
        self.pod = pod
        return self

    def made(self):
        number = self.pod.name[1:]
        family = "1" if self.pod.family == 4 else "2"
        return changed(base(number), self.path.replace("FAMILY", family), FORMS[self.form])

    def passes(self):
        return (BASE, BASE) if self.wanted == REFUSED else self.wanted


def mutants():
    for section, key in (("ingress", "from"), ("egress", "to")):
        for place, outcomes in IN_SECTION.items():
            path = section + ("." + place.replace("PEERS", key) if place else "")
            for form, wanted in zip(FORMS, outcomes):
                if wanted != REFUSED:
                    wanted = (wanted, BASE) if section == "ingress" else (BASE, wanted)
                yield Mutant(path, form, wanted)
    for path, outcomes in IN_SPEC.items():
        for form, wanted in zip(FORMS, outcomes):
            yield Mutant(path, form, wanted)


def probes_of(world, pod):
    """(direction, letter, probe) of all that may pass into and out of the target."""
    family, ip = pod.family, pod.ips[pod.family]
    for letter, peer, port, proto in (("a", world.xa, 80, "TCP"), ("b", world.xb, 80, "TCP"),
                                      ("c", world.ya, 80, "TCP"), ("o", None, 80, "TCP"),
                                      ("p", world.xa, 81, "TCP"), ("u", world.xa, 80, "UDP")):
        theirs = peer.ips[family] if peer else OUTSIDE_IP[family]
        yield 0, letter, Probe(peer or world.outside, ip, port, proto)
        yield 1, letter, Probe(pod, theirs, port, proto)


def what_passes(world, pods):
    """Of each pod (letters in, letters out)."""
    found = {}
    for first in range(0, len(pods), 20):
        part = {pod: list(probes_of(world, pod)) for pod in pods[first:first + 20]}
        run_probes([probe for probes in part.values() for *_, probe in probes], 0.35)
        for pod, probes in part.items():
            found[pod] = tuple("".join(sorted(letter for way, letter, probe in probes
                                              if way == direction and probe.verdict == OPEN))
                               for direction in (0, 1))
    return found


def check(world, mutants_of_round):
    """All that differ from what is wanted after some time, in one message."""
    wrong = list(mutants_of_round)
    deadline = time.monotonic() + 2.5
    while wrong and time.monotonic() < deadline:
        found = what_passes(world, [m.pod for m in wrong])
        wrong = [m for m in wrong if found[m.pod] != m.passes()]
    assert not wrong, "; ".join(f"{m} passes {found[m.pod]}, expected {m.passes()}" for m in wrong)


def problem_files(world):
    """name of the file -> what the status says of it"""
    return {p["source"].rsplit("/", 1)[-1].removesuffix(".json"): json.dumps(p)
            for p in world.n1.agent.ctl_json("status")["problems"]}


def test_np27_absent_null_and_empty_at_every_place_mean_what_the_api_says(world):
    """At each JSON path of a policy each of the four forms; what the API refuses leaves the last good version in force."""
    todo = list(mutants())
    assert len(todo) > 190
    for first in range(0, len(todo), TARGETS):
        part = [mutant.place_on(pod) for mutant, pod in zip(todo[first:], world.targets)]
        for pod in world.targets:
            world.resources.put(pod.name, base(pod.name[1:]))
        world.policies_in_force()
        wait_until(lambda: not problem_files(world), lambda: str(problem_files(world)))
        check(world, [Mutant("base", "", (BASE, BASE)).place_on(m.pod) for m in part[:4]])
        for mutant in part:
            world.resources.put(mutant.pod.name, mutant.made())
        refused = {m.pod.name: m for m in part if m.wanted == REFUSED}
        wait_until(lambda names=refused: set(problem_files(world)) == set(names),
                   lambda names=refused, made=part: "refused and should not be, or not refused: "
                   + ", ".join(str(m) for m in made
                               if (m.pod.name in names) != (m.pod.name in problem_files(world))))
        told = problem_files(world)
        for name, mutant in refused.items():
            section = mutant.path.split(".")[0]
            assert "$.spec." + section in told[name], f"{mutant}: {told[name]}"
        check(world, part)


def test_np27_policy_without_a_selector_is_for_all_pods_of_its_namespace(world):
    """podSelector absent, null or {}, and its matchLabels: every pod is denied; no form makes it a policy for nobody."""
    one, other = world.targets[0], world.targets[1]
    for path in ("podSelector", "podSelector.matchLabels", "podSelector.matchLabels.t"):
        for form in ("absent", "null", "{}"):
            world.resources.put("all", base(0))
            check(world, [Mutant(path, "base", (BASE, BASE)).place_on(one),
                          Mutant(path, "base", (ALL, ALL)).place_on(other)])
            world.resources.put("all", changed(base(0), path, FORMS[form]))
            refused = path.endswith(".t") and form != "absent"
            check(world, [Mutant(path, form, (BASE, BASE)).place_on(one),
                          Mutant(path, form, (ALL, ALL) if refused else (BASE, BASE))
                          .place_on(other)])


def test_np27_policy_without_a_spec_opens_nothing_that_was_closed(world):
    """Refused, or a policy that lets nothing in."""
    target = world.targets[0]
    deny = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    made = base(0)
    for form, spec in FORMS.items():
        made["spec"] = deny
        world.resources.put("whole", made)
        check(world, [Mutant("spec", "base", (NONE, NONE)).place_on(target)])
        made["spec"] = spec
        if spec is ABSENT:
            del made["spec"]
        world.resources.put("whole", made)
        wait_until(lambda: "whole" in problem_files(world) or
                   what_passes(world, [target])[target][0] == NONE, f"spec {form}")
        assert what_passes(world, [target])[target][0] == NONE, f"spec {form}"


def unknown_fields():
    """One policy for each of its objects, with a field there that the API does not know."""
    def places(value, path):
        if isinstance(value, dict):
            yield path
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(inner, (dict, list)):
                yield from places(inner, f"{path}.{key}")
    for path in places(base(0)["spec"], "spec"):
        if not path.endswith("matchLabels"):
            yield path


def test_np27_unknown_field_anywhere_in_the_spec_refuses_the_whole(world):
    """Also where the rest of the change would allow more."""
    paths = list(unknown_fields())
    assert len(paths) >= 15
    part = [Mutant(path, "unknown", REFUSED).place_on(pod)
            for path, pod in zip(paths, world.targets)]
    for mutant in part:
        world.resources.put(mutant.pod.name, base(mutant.pod.name[1:]))
    check(world, part)
    for mutant in part:
        made = base(mutant.pod.name[1:])
        place = made
        for step in mutant.path.split("."):
            place = place[int(step) if isinstance(place, list) else step]
        place["allowEverything"] = True
        made["spec"]["ingress"].append({})
        world.resources.put(mutant.pod.name, made)
    wait_until(lambda: set(problem_files(world)) == {m.pod.name for m in part},
               lambda: f"refused: {sorted(problem_files(world))}")
    assert all("allowEverything" in text for text in problem_files(world).values())
    check(world, part)


def nested(depth):
    return "[" * depth + "]" * depth


def spec_text(**more):
    spec = {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{}], **more}
    return json.dumps(spec)


def bad_texts():
    """name, text of a file that would open everything if it were believed, and what the message says"""
    def of(spec, head='"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", '
                      '"metadata": {"name": "deny", "namespace": "t"}, '):
        return "{" + head + '"spec": ' + spec + "}"

    def port(**fields):
        return of(spec_text(ingress=[{}, {"ports": [fields]}]))

    def selector(**match):
        return of(spec_text(ingress=[{}, {"from": [{"podSelector": match}]}]))
    yield "endport_below_port", port(port=80, endPort=79), "endPort"
    yield "endport_without_port", port(endPort=79), "endPort"
    yield "endport_with_a_name", port(port="web", endPort=90), "endPort"
    yield "port_zero", port(port=0), "port"
    yield "port_over_65535", port(port=65536), "port"
    yield "port_wraps_16_bits", port(port=65536 + 80), "port"
    yield "port_wraps_32_bits", port(port=(1 << 32) + 80), "port"
    yield "port_negative", port(port=-80), "port"
    yield "port_is_a_fraction", port(port=80.5), "port"
    yield "port_is_a_boolean", port(port=True), "port"
    yield "port_of_20_digits", of(spec_text().replace("[{}]", '[{}, {"ports": [{"port": ' + "9" * 20
                                                    + "}]}]")), ""
    yield "number_of_5000_digits", of(spec_text(generation=0).replace('"generation": 0',
                                                                     '"x": ' + "9" * 5000)), ""
    yield "protocol_unknown", port(port=80, protocol="ICMP"), "protocol"
    yield "protocol_in_small_letters", port(port=80, protocol="tcp"), "protocol"
    yield "cidr_of_33_bits", of(spec_text(ingress=[{}, {"from": [{"ipBlock": {
        "cidr": "10.0.0.0/33"}}]}])), "cidr"
    yield "cidr_without_length", of(spec_text(ingress=[{}, {"from": [{"ipBlock": {
        "cidr": "10.0.0.0"}}]}])), "cidr"
    yield "cidr_with_a_space", of(spec_text(ingress=[{}, {"from": [{"ipBlock": {
        "cidr": "0.0.0.0/0 "}}]}])), "cidr"
    yield "except_outside_of_its_block", of(spec_text(ingress=[{}, {"from": [{"ipBlock": {
        "cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"]}}]}])), "except"
    yield "except_of_the_other_family", of(spec_text(ingress=[{}, {"from": [{"ipBlock": {
        "cidr": "0.0.0.0/0", "except": ["fd30::/64"]}}]}])), "except"
    yield "block_beside_a_selector", of(spec_text(ingress=[{}, {"from": [
        {"ipBlock": {"cidr": "0.0.0.0/0"}, "podSelector": {}}]}])), "ipBlock"
    yield "operator_unknown", selector(matchExpressions=[
        {"key": "a", "operator": "Gt", "values": ["1"]}]), "operator"
    yield "values_with_exists", selector(matchExpressions=[
        {"key": "a", "operator": "Exists", "values": ["1"]}]), "values"
    yield "label_key_of_64_kb", selector(matchLabels={"k" * 65536: "v"}), "matchLabels"
    yield "label_value_of_64_kb", selector(matchLabels={"k": "v" * 65536}), "matchLabels"
    yield "policy_type_unknown", of(spec_text(policyTypes=["Ingress", "Both"])), "policyTypes"
    yield "key_twice", of(spec_text().replace('"ingress": [{}]',
                                              '"ingress": [], "ingress": [{}]')), "duplicate"
    yield "spec_twice", of('{"podSelector": {}}, "spec": ' + spec_text()), "duplicate"
    yield "nested_3000_deep", of(spec_text(ingress=[{}]).replace("[{}]", nested(3000))), ""
    yield "nested_100000_deep", of(nested(100000)), ""
    yield "rules_over_the_limit", of(spec_text(ingress=[{}] * 5000)), "ingress"
    yield "ports_over_the_limit", of(spec_text(ingress=[{}, {"ports": [{"port": 80}] * 5000}])), \
        "ports"
    yield "terms_over_the_limit", selector(matchExpressions=[
        {"key": "a", "operator": "Exists"}] * 2000), "matchExpressions"
    yield "text_behind_the_object", of(spec_text()) + " {}", ""
    yield "name_of_300_letters", of(spec_text()).replace('"deny"', '"' + "d" * 300 + '"'), "name"
    yield "bytes_that_are_no_utf8", of(spec_text()).replace('"name": "deny"',
                                                            '"name": "deny\udcff"'), ""
    yield "cut_off", of(spec_text())[:-1], ""


def test_np27_what_makes_no_sense_is_refused_and_told_and_the_last_good_version_stays(world):
    target = world.targets[0]
    deny = ingress("deny", {}, "t")
    shut = [Mutant("deny", "", (NONE, ALL)).place_on(target)]
    world.resources.put("bad", deny)
    check(world, shut)
    for name, text, said in bad_texts():
        world.resources.put_bytes("bad", text.encode("utf-8", "surrogateescape"))
        wait_until(lambda: "bad" in problem_files(world), f"{name} is refused")
        told = problem_files(world)["bad"]
        assert said in told and len(told) < 2000, f"{name}: {told}"
        probe = Probe(world.xa, target.ips[target.family], 80)
        run_probes([probe], 0.06)
        assert probe.verdict == SHUT, f"{name}: {probe.verdict}"
        world.resources.put("bad", deny)
        wait_until(lambda: not problem_files(world), f"after {name} no problem is left")
    check(world, shut)


def test_np27_one_bad_policy_in_a_list_refuses_the_file_and_no_other(world):
    target, other = world.targets[0], world.targets[1]
    good = ingress("good", labels(t="t0"), "t")
    world.resources.put("list", good)
    world.resources.put("other", ingress("other", labels(t="t1"), "t",
                                         [peers(*blocks(world.xb))]))
    wanted = [Mutant("list", "", (NONE, ALL)).place_on(target),
              Mutant("other", "", ("b", ALL)).place_on(other)]
    check(world, wanted)
    opened = ingress("good", labels(t="t0"), "t", [{}])
    bad = ingress("bad", {}, "t", [{"ports": [{"port": 80, "endPort": 79}]}])
    world.resources.put("list", opened, bad)
    wait_until(lambda: "items[1]" in problem_files(world).get("list", ""),
               lambda: str(problem_files(world)))
    check(world, wanted)
    world.resources.put("list", opened)
    check(world, [Mutant("list", "mended", (ALL, ALL)).place_on(target), wanted[1]])

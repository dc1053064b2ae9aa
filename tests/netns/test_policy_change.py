# SPDX-License-Identifier: Apache-2.0
"""Policies, labels and pods that come, change and go under traffic: NP-21 to NP-24, NP-29, and no mixture of versions."""

import itertools
import os
import random
import threading
import time

from lib import objects
from lib.busy import Clock
from lib.objects import labels
from lib.policies import (FULL, OPEN, SHUT, A, B, Matrix, blocks, egress, ingress, peers, six_pods,
                          tcp)
from lib.runner import each_family, limit
from lib.traffic import BOTH, PATIENCE, Capture, Connection, Sender, wait_until
from lib.verdicts import IN_TIME
from lib.world import OUTSIDE_IP, Pod

WORLD = {"nodes": 2}
setup = six_pods
SWAP_SECONDS = 20
SWITCHES, GENERATION = ("polder_policy_switches_total", ()), ("polder_generation", ())
EVERY = {"namespaceSelector": {}}


def udp(port):
    return {"port": port, "protocol": "UDP"}


def count_of(packet, text):
    """The number in `text N`; None for other packets."""
    words = (packet.payload or b"").split()
    return int(words[1]) if len(words) == 2 and words[0] == text.encode() else None


# ------------------------------------------------------------------ NP-21


def new_pod(world, name, **options):
    """A pod without a connection; add() makes it."""
    pod = Pod(world, world.n1, name, "x", **options)
    world.pods.append(pod)
    world.cleanup.callback(pod.netns.delete)
    return pod


@each_family
def test_np21_container_that_sends_from_its_first_instant_sends_only_what_is_allowed(world, family):
    """The process is there before the interface, and tries all the time."""
    target = world.xb.ips[family]
    world.policies(egress(pod=labels(fresh="yes"), rules=[
        peers({"podSelector": B}, key="to", ports=[udp(81)])]))
    Matrix(world, family).expect((world.xa, world.xb, OPEN))
    for number in range(5):
        pod = new_pod(world, f"eager{number}", labels={"fresh": "yes"})
        with Capture(world.xb.netns) as capture, Capture(world.outside) as beyond, \
                Sender((pod, target, 80, "denied"), (pod, target, 81, "allowed"),
                       (pod, OUTSIDE_IP[family], 81, "denied"),
                       (pod, world.za.ips[family], 81, "denied"), pause=0.0002):
            pod.add()
            capture.wait(lambda p: count_of(p, "allowed") is not None, "what is allowed", count=20)
            for place in (capture, beyond):
                leaked = place.matching(lambda p: count_of(p, "denied") is not None)
                assert not leaked, f"{pod}: {len(leaked)} packets came through, first {leaked[0]}"


# ------------------------------------------------------------------ NP-23


class Ticker:
    """Datagrams and bytes of a TCP connection to a pod each ms; tells when the last one came through, and the first."""

    def __init__(self, world, source, target):
        self.target = target
        self.capture = Capture(target.netns)
        self.sender = Sender(*[(source, target.ips[family], 5000, f"tick{family}")
                               for family in BOTH], pause=0.001)
        self.connections = [Connection(source, target.ips[family], 80) for family in BOTH]
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.write)
        self.thread.start()

    def write(self):
        for connection in self.connections:
            connection.sock.setblocking(False)
        while not self.stop.is_set():
            for connection in self.connections:
                try:
                    connection.sock.send(b".")
                except OSError:
                    pass
            time.sleep(0.001)

    def came(self, seconds):
        """(family, protocol) of what came in that time."""
        self.capture.read()
        self.capture.packets.clear()
        time.sleep(seconds)
        seen = set()
        for packet in self.capture.read():
            family = 6 if ":" in str(packet.source) else 4
            if count_of(packet, f"tick{family}") is not None:
                seen.add((family, "UDP"))
            elif packet.dport == 80 and packet.payload:
                seen.add((family, "TCP"))
        return seen

    def close(self):
        self.stop.set()
        self.thread.join()
        self.sender.close()
        self.capture.close()
        for connection in self.connections:
            connection.close()


def time_until(ticker, wanted, clock):
    """Seconds of the clock until in 10 ms exactly that comes through, less those 10 ms."""
    while ticker.came(0.01) != wanted:
        assert not clock.is_over(PATIENCE), f"{wanted} was not so after {PATIENCE} s"
    return max(0.0, clock.seconds() - 0.01)


def told(name, took):
    took = sorted(took)
    print(f"  {name}: median {took[len(took) // 2] * 1000:.0f} ms, longest {took[-1] * 1000:.0f} ms "
          f"of {len(took)}")
    assert took[len(took) // 2] <= IN_TIME, f"{name}: {[round(t, 3) for t in took]}"


UDP_BOTH = {(4, "UDP"), (6, "UDP")}


@limit(90)
def test_np23_change_cuts_and_opens_established_flows_within_the_bound(world):
    """From the rename of the file to the last packet; by a policy, by a pod's labels, by a namespace's labels."""
    guest = world.pod("guest", "x", labels={"kind": "none"}, node=world.n2)
    open_names = objects.namespace("x", team="red"), objects.namespace("z")
    shut_names = objects.namespace("x", team="grey"), objects.namespace("z")
    deny = ingress("deny", B)
    allow_kind = ingress("kind", B, rules=[peers({"podSelector": labels(kind="none")})])
    allow_team = ingress("team", B, rules=[peers({"namespaceSelector": labels(team="red")})])
    changes = (("a policy comes", [], lambda: world.resources.put("change", deny),
                "a policy goes", lambda: world.resources.delete("change")),
               ("labels of a pod go", [allow_kind], lambda: guest.relabel(kind="other"),
                "labels of a pod come", lambda: guest.relabel(kind="none")),
               ("labels of a namespace go", [allow_team],
                lambda: world.resources.put("namespaces", *shut_names),
                "labels of a namespace come",
                lambda: world.resources.put("namespaces", *open_names)))
    for cut_name, policies, cut, open_name, undo in changes:
        undo()
        world.policies(*policies)
        cuts, opens = [], []
        for _ in range(5):
            ticker = Ticker(world, guest, world.xb)
            try:
                wait_until(lambda t=ticker: t.came(0.02) == UDP_BOTH | {(4, "TCP"), (6, "TCP")},
                           "all flows pass")
                clock = Clock()
                cut()
                cuts.append(time_until(ticker, set(), clock))
                clock = Clock()
                undo()
                wait_until(lambda t=ticker: UDP_BOTH <= t.came(0.005), "UDP passes again", interval=0)
                opens.append(max(0.0, clock.seconds() - 0.005))
            finally:
                ticker.close()
        told(cut_name, cuts)
        told(open_name, opens)


# ------------------------------------------------------------------ NP-24


def terminating(pod):
    """Its object as the API server shows it from the deletion on until the kubelet is done."""
    made = objects.pod(pod.name, pod.ns, pod.labels, pod.node.name, list(pod.ips.values()),
                       pod.ports)
    made["metadata"].update(deletionTimestamp="2026-01-02T03:04:05Z",
                            deletionGracePeriodSeconds=30)
    pod.world.resources.put(f"pod-{pod.ns}-{pod.name}", made)


def going_pods(world):
    """One that terminates and one that stays, in a namespace of their own."""
    world.resources.put("leaving", objects.namespace("leaving", team="old"))
    going, staying = (world.pod(name, "leaving", labels={"app": "db"})
                      for name in ("going", "staying"))
    for pod in (going, staying):
        world.serve(pod, 80)
    return going, staying


def test_np24_terminating_pod_stays_isolated_when_its_policy_goes(world):
    m = Matrix(world)
    going, staying = going_pods(world)
    world.resources.put("old", ingress("old", labels(app="db"), "leaving",
                                       [peers({"namespaceSelector": labels(team="blue")})]),
                        egress("old-out", labels(app="db"), "leaving"))
    m.expect((world.xa, going, SHUT), (world.ya, going, OPEN), (going, world.xa, SHUT),
             (world.xa, staying, SHUT), (staying, world.xa, SHUT))
    terminating(going)
    m.expect((world.xa, going, SHUT), (world.ya, going, OPEN), (going, world.xa, SHUT))
    world.resources.delete("old")
    m.expect((world.xa, staying, OPEN), (staying, world.xa, OPEN), (world.xa, going, SHUT),
             (going, world.xa, SHUT), (going, OUTSIDE_IP, SHUT), (world.outside, going, SHUT))
    world.resources.delete("pod-leaving-going")
    world.resources.delete("leaving")
    m.expect((world.xa, staying, OPEN), (world.xa, going, SHUT), (going, world.xa, SHUT))
    world.n1.agent.restart()
    m.expect((world.xa, staying, OPEN), (world.xa, going, SHUT), (going, world.xa, SHUT))


def test_np24_pod_that_terminates_in_the_change_that_takes_its_policy_stays_isolated(world):
    """`kubectl delete namespace`: all objects go in any order, or at once."""
    m = Matrix(world)
    going, staying = going_pods(world)
    pods = ["pod-leaving-going", "pod-leaving-staying"]
    for name in pods:
        world.resources.delete(name)
    pod_objects = [objects.pod(p.name, p.ns, p.labels, p.node.name, list(p.ips.values()))
                   for p in (going, staying)]
    deny = ingress("old", {}, "leaving")
    world.resources.put("all", *pod_objects, deny)
    m.expect((world.xa, going, SHUT), (world.xa, staying, SHUT))
    with Capture(going.netns) as capture, \
            Sender(*[(world.xa, going.ips[family], 5000, "denied") for family in BOTH]):
        pod_objects[0]["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:05Z"
        world.resources.put("all", *pod_objects)
        world.resources.delete("leaving")
        m.expect((world.xa, staying, OPEN), (world.xa, going, SHUT))
        world.resources.delete("all")
        m.expect((world.xa, going, SHUT))
        leaked = capture.matching(lambda p: count_of(p, "denied") is not None)
        assert not leaked, f"{len(leaked)} packets came through"


def test_np24_pod_whose_object_went_while_the_agent_was_away_stays_isolated(world):
    m = Matrix(world)
    going, staying = going_pods(world)
    world.resources.put("old", ingress("old", labels(app="db"), "leaving"))
    m.expect((world.xa, going, SHUT), (world.xa, staying, SHUT))
    world.n1.agent.stop()
    world.resources.delete("pod-leaving-going")
    world.n1.agent.start()
    m.expect((world.xa, going, SHUT), (world.xa, staying, SHUT))
    world.resources.delete("old")
    m.expect((world.xa, staying, OPEN), (world.xa, going, SHUT))


def test_np24_completed_pod_lends_its_labels_to_nobody(world):
    """Its object stays, with the address that the next pod has got."""
    m = Matrix(world)
    world.policies(ingress(pod=B, rules=[peers({"podSelector": labels(job="done")})]),
                   ingress("job", labels(job="done")))
    job = world.pod("job", "x", labels={"job": "done"})
    m.expect((job, world.xb, OPEN), (world.xa, world.xb, SHUT))
    world.serve(job, 80)
    ips = list(job.ips.values())
    for phase in ("Succeeded", "Failed"):
        world.resources.put("finished", objects.pod(f"job-{phase.lower()}", "x", {"job": "done"},
                                                    world.n1.name, [world.xc.ips[4], world.xc.ips[6],
                                                                    *ips], phase=phase))
        job.relabel(job="other")
        m.expect((job, world.xb, SHUT), (world.xc, world.xb, SHUT), (world.xa, job, OPEN))
        job.relabel(job="done")
        m.expect((job, world.xb, OPEN), (world.xa, job, SHUT), (world.xc, world.xb, SHUT))


def test_address_reuse_gives_the_next_pod_nothing_of_the_last(world):
    """Neither what it might do, nor its flows; also while the old object is still there."""
    m = Matrix(world)
    wanted = {"capabilities": {"ips": True},
              "runtimeConfig": {"ips": ["10.244.6.78", "fd44:0:0:1::678"]}}
    config = world.n1.cni_config(**wanted)
    world.policies(ingress(pod=B, rules=[peers({"podSelector": labels(kind="guest")})]),
                   egress("guests", labels(kind="guest"), rules=[peers({"podSelector": B},
                                                                       key="to")]))
    guest = world.pod("guest", "x", labels={"kind": "guest"}, config=config)
    assert list(guest.ips.values()) == wanted["runtimeConfig"]["ips"], guest.ips
    m.expect((guest, world.xb, OPEN), (guest, world.xa, SHUT))
    with Connection(guest, world.xb.ips[4], 80, source_port=4444) as flow:
        flow.ask()
        guest.delete(keep_object=True)
    thief = world.pod("thief", "x", labels={"kind": "thief"}, config=config)
    assert thief.ips == guest.ips
    m.expect((thief, world.xb, SHUT), (thief, world.xa, OPEN))
    with Capture(world.xb.netns) as capture, Sender((thief, world.xb.ips[4], 80, "stolen")):
        with world.n1.agent.dropping("policy_denied_ingress"):
            pass  # once it sends
        capture.none(lambda p: count_of(p, "stolen") is not None, 0.2)
    world.resources.delete("pod-x-guest")
    m.expect((thief, world.xb, SHUT), (thief, world.xa, OPEN))


# ------------------------------------------------------------------ NP-29


def arrival_files(world):
    """name -> objects: what holds in the end, in five files."""
    def pod_object(pod, **kind):
        return objects.pod(pod.name, pod.ns, {**pod.labels, **kind}, pod.node.name,
                           list(pod.ips.values()), pod.ports)
    return {
        "namespaces": [objects.namespace("x", team="red"), objects.namespace("y", team="green"),
                       objects.namespace("z", team="green")],
        "policy-in": [ingress("in", B, rules=[
            peers({"namespaceSelector": labels(team="green"),
                   "podSelector": labels(kind="guest")}, ports=[tcp(80)]),
            peers(*blocks(world.xc), ports=[tcp(81)])]), ingress("all", {})],
        "policy-out": [egress("out", labels(kind="guest"), "y", [
            peers({"namespaceSelector": labels(team="red"), "podSelector": B}, key="to",
                  ports=[{"port": "serve-80"}])])],
        "pod-y-a": [pod_object(world.ya, kind="guest")],
        "pod-z-a": [pod_object(world.za, kind="guest")],
    }


def other_files(world):
    """Under the same names something else."""
    def pod_object(pod, **kind):
        return objects.pod(pod.name, pod.ns, kind, pod.node.name, list(pod.ips.values()))
    return {
        "namespaces": [objects.namespace("x", team="green"), objects.namespace("y", team="blue")],
        "policy-in": [ingress("all", B, "x", [{}]), ingress("in", {}, "y")],
        "policy-out": [egress("out", {}, "x", [peers(*blocks(world.ya), key="to")])],
        "pod-y-a": [pod_object(world.ya, kind="none")],
        "pod-z-a": [pod_object(world.za, kind="host")],
    }


@limit(90)
def test_np29_order_and_interleaving_of_arrival_change_no_verdict(world):
    """Five files in 24 of their orders, some while others are taken away, some over a restart."""
    seed = int.from_bytes(os.urandom(4), "big")
    print(f"  np29: seed {seed}")
    chance = random.Random(seed)
    cells = [(world.ya, world.xb, OPEN), (world.ya, world.xb, SHUT, 81), (world.ya, world.xa, SHUT),
             (world.za, world.xb, OPEN), (world.za, world.xb, SHUT, 81), (world.xc, world.xb, SHUT),
             (world.xc, world.xb, OPEN, 81), (world.yb, world.xb, SHUT), (world.xb, world.ya, OPEN),
             (world.ya, OUTSIDE_IP, SHUT), (world.yb, OUTSIDE_IP, OPEN), (world.xa, world.xc, SHUT)]
    wanted, other = arrival_files(world), other_files(world)
    orders = list(itertools.permutations(wanted))
    for number, order in enumerate(chance.sample(orders, 24)):
        for name in chance.sample(sorted(other), 5):
            if chance.random() < 0.3:
                world.resources.delete(name)
            else:
                world.resources.put(name, *other[name])
        time.sleep(chance.choice((0, 0.01, 0.1)))
        for place, name in enumerate(order):
            world.resources.put(name, *chance.sample(wanted[name], len(wanted[name])))
            time.sleep(chance.choice((0, 0, 0.003, 0.02)))
            if number % 8 == 7 and place == 2:
                chance.choice(world.nodes).agent.restart()
        try:
            Matrix(world).expect(*cells)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, order {order}: {error}") from None


# ------------------------------------------------------------------ no mixture of versions


def version_of(world, number, guest):
    """
    Objects of one of two versions. Each allows what makes its parts useful to the other: whoever meets the peers of one with the
    ports of the other, the labels of one with the rules of the other, or the egress of one with the ingress of the
    other, gets through although both versions deny it.
    """
    first = number % 2 == 0
    a, ya = peers({"podSelector": A}, ports=[udp(6001)]), \
        peers({"namespaceSelector": labels(name="y")}, ports=[udp(5001)])
    c, a_other = peers({"podSelector": labels(pod="c")}, ports=[udp(5001)]), \
        peers({"podSelector": A}, ports=[udp(7001)])
    by_block = [peers({"ipBlock": {"cidr": f"{pod.ips[family]}/{FULL[family]}"}}, ports=[udp(port)])
                for pod, port in (((world.xa, 6002), (world.za, 5002)) if first else
                                  ((world.za, 7002), (world.xc, 5002))) for family in BOTH]
    team = peers({"namespaceSelector": labels(team="two" if first else "one")}, ports=[udp(5003)])
    kind = peers({**EVERY, "podSelector": labels(kind="two" if first else "one")},
                 ports=[udp(5004)])
    always = peers({"podSelector": A} if first else blocks(world.xa)[0],
                   *([] if first else blocks(world.xa)[1:]), ports=[udp(5005)])
    rules = [a, ya] if first else [c, a_other]
    now = "one" if first else "two"
    return [
        objects.namespace("x", name="x"), objects.namespace("y", name="y", team=now),
        objects.namespace("z", name="z"),
        objects.pod(guest.name, guest.ns, {"kind": now}, guest.node.name, list(guest.ips.values())),
        ingress("in", B, rules=[*rules, *by_block, team, kind, always]),
        # Of za and xa: the one closes its way out, then the other its way in.
        egress("ends-out", A, "z", [] if first else [{}]),
        ingress("ends-in", A, "x", [{}] if first else []),
    ]


@limit(90)
def test_no_packet_meets_a_mixture_of_two_versions(world):
    """One file, swapped as often as it goes, under datagrams that every version denies and some that every one allows."""
    world.resources.delete("namespaces")
    guest = world.pod("guest", "z", with_object=False)
    world.resources.put("swap", *version_of(world, 0, guest))
    m = Matrix(world)
    m.expect((world.ya, world.xb, SHUT), (world.za, world.xa, SHUT), (guest, world.xb, SHUT))
    targets = [(source, target.ips[family], port, text) for family in BOTH
               for source, target, port, text in (
                   (world.xa, world.xb, 5001, "mixed1"), (world.xa, world.xb, 5002, "mixed2"),
                   (world.ya, world.xb, 5003, "mixed3"), (guest, world.xb, 5004, "mixed4"),
                   (world.za, world.xa, 5006, "mixed5"), (world.xa, world.xb, 5005, f"all{family}"))]
    seen, mixed, swaps = {4: set(), 6: set()}, [], 0
    metrics = world.n1.agent.metrics
    switches, generation = metrics()[SWITCHES], metrics()[GENERATION]

    def collect():
        for place in captures:
            for packet in place.read():
                text = (packet.payload or b"").split(b" ")[0]
                if text.startswith(b"mixed"):
                    mixed.append(packet)
                elif text in (b"all4", b"all6"):
                    seen[int(text[3:])].add(int(packet.payload.split()[1]))
            place.packets.clear()
    with Capture(world.xb.netns) as at_b, Capture(world.xa.netns) as at_a, \
            Sender(*targets, pause=0.0003):
        captures = (at_a, at_b)
        ends = time.monotonic() + SWAP_SECONDS
        while time.monotonic() < ends and not mixed:
            swaps += 1
            world.resources.put("swap", *version_of(world, swaps, guest))
            time.sleep(0.002)
            collect()
        world.resources.put("swap", *version_of(world, 0, guest))
        time.sleep(0.1)
        collect()
    in_force = metrics()[SWITCHES] - switches
    print(f"  {swaps} swaps, {in_force:.0f} in force one after the other, {len(seen[4]) + len(seen[6])} "
          "packets that both versions allow")
    assert not mixed, f"{len(mixed)} packets met a mixture: {mixed[:3]} {mixed[0].payload}"
    assert in_force > SWAP_SECONDS * 5, f"only {in_force} versions were in force"
    assert metrics()[GENERATION] == generation
    for family, numbers in seen.items():
        lost = max(numbers) - min(numbers) + 1 - len(numbers)
        assert numbers and not lost, f"v{family}: {lost} of {len(numbers)} that both allow were lost"

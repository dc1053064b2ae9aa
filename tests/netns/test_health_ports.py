# SPDX-License-Identifier: Apache-2.0
"""Health check node ports (SV-10): what a load balancer is told of a node, while endpoints come and go."""

import json
import threading
import time

from lib import objects
from lib.runner import each_family, limit
from lib.traffic import BOTH, V4, V6, reach, wait_until

WORLD = {"nodes": 2}
PORT = 32100
BALANCER = {V4: "192.0.2.80", V6: "2001:db8:80::80"}


def setup(world):
    world.web = world.pod("web")
    world.far = world.pod("far", node=world.nodes[1])
    for pod in (world.web, world.far):
        world.serve(pod, 8080)
    for family in BOTH:
        world.outside.ip(f"route add {BALANCER[family]} via {world.node.ips[family]}")
    service(world)
    endpoints(world, "ready")


def service(world, name="lb", number=7, port=PORT, **spec):
    made = objects.service(name, [world.service_ip(number, family) for family in BOTH], [objects.service_port(80, 8080)],
                           type="LoadBalancer", externalTrafficPolicy="Local", healthCheckNodePort=port, **spec)
    made["status"] = {"loadBalancer": {"ingress": [{"ip": address} for address in BALANCER.values()]}}
    world.resources.put(f"service-default-{name}", made)
    return made


CONDITIONS = {"ready": {"ready": True, "serving": True, "terminating": False},
              "terminating": {"ready": False, "serving": True, "terminating": True},
              "silent": {"ready": False, "serving": False, "terminating": True}}


def endpoints(world, state, name="lb"):
    """The local one in this state, or gone; the other node's is ready."""
    for family in BOTH:
        listed = [objects.endpoint(world.far.ips[family], "node2")]
        if state != "gone":
            listed.append(objects.endpoint(world.web.ips[family], "node1", **CONDITIONS[state]))
        world.resources.put(f"slice-{name}-{family}", objects.endpoint_slice(
            f"{name}-{family}", name, listed, [objects.slice_port(8080)]))


def ask(world, node=None, family=V4, port=PORT, path="/", where=None):
    """Status, headers and body; None: nobody answers."""
    address = (node or world.node).ips[family]
    host = f"[{address}]" if ":" in address else address
    done = (where or world.outside).run("curl", "-s", "-i", "-m", "2", f"http://{host}:{port}{path}", check=False)
    if done.returncode:
        return None
    head, _, body = done.stdout.replace("\r", "").partition("\n\n")
    return int(head.split()[1]), dict(line.split(": ", 1) for line in head.splitlines()[1:]), body


def status(world, **options):
    answer = ask(world, **options)
    return answer and answer[0]


@each_family
def test_sv10_node_with_ready_endpoints_says_so_in_kube_proxys_words(world, family):
    wait_until(lambda: status(world, family=family) == 200, "healthy")
    for path in ("/", "/healthz", "/any/path?x=1"):
        code, headers, body = ask(world, family=family, path=path)
        assert code == 200 and headers["Content-Type"] == "application/json"
        assert headers["X-Load-Balancing-Endpoint-Weight"] == "1", headers
        assert json.loads(body) == {"service": {"namespace": "default", "name": "lb"}, "localEndpoints": 1,
                                    "serviceProxyHealthy": True}
    assert status(world, family=family, where=world.web.netns) == 200, "a pod may ask, too"
    assert status(world, node=world.nodes[1], family=family) == 200


@each_family
def test_sv10_terminating_endpoints_serve_and_count_no_more(world, family):
    wait_until(lambda: status(world) == 200, "healthy")
    for state, served in (("terminating", "open"), ("silent", "timeout"), ("gone", "timeout"), ("ready", "open")):
        endpoints(world, state)
        wanted = 200 if state == "ready" else 503
        wait_until(lambda w=wanted: status(world, family=family) == w, f"{state}: {wanted}")
        code, headers, body = ask(world, family=family)
        count = int(state == "ready")
        assert (json.loads(body)["localEndpoints"], headers["X-Load-Balancing-Endpoint-Weight"]) == (count, str(count)), state
        timeout = None if served == "open" else 0.5
        wait_until(lambda t=timeout, s=served: reach(world.outside, BALANCER[family], 80, timeout=t).verdict == s, f"{state}: {served}")


def test_sv10_port_is_gone_with_its_service_and_with_the_policy(world):
    other = 32101
    made = service(world, "more", 8, other)
    wait_until(lambda: status(world, port=other) == 503, "served, without endpoints")
    made["spec"]["externalTrafficPolicy"] = "Cluster"
    world.resources.put("service-default-more", made)
    wait_until(lambda: ask(world, port=other) is None, "gone with the policy")
    service(world, "more", 8, other + 1)
    wait_until(lambda: status(world, port=other + 1) == 503, "another port")
    assert ask(world, port=other) is None
    world.resources.delete("service-default-more")
    wait_until(lambda: ask(world, port=other + 1) is None, "gone with the Service")
    assert status(world) == 200, "others are undisturbed"


@limit(60)
def test_sv10_port_of_somebody_else_is_told_and_tried_again(world):
    taken = 32105
    listener = world.node.socket(2, 1)
    listener.bind(("0.0.0.0", taken))
    listener.listen(1)

    def problems():
        return [p for p in world.node.agent.ctl_json("status")["problems"]
                if "taken" in p["source"] and str(taken) in p["reason"] and "in use" in p["reason"]]

    try:
        service(world, "taken", 9, taken)
        wait_until(problems, "the problem is told")
    finally:
        listener.close()
    wait_until(lambda: status(world, port=taken) == 503, "it is served once it is free", interval=0.1)
    assert not problems()
    world.resources.delete("service-default-taken")


class Draining:
    """New connections from outside, one after the other in each thread, and what became of them."""

    def __init__(self, world, family):
        self.world, self.family, self.stop = world, family, threading.Event()
        self.state, self.found = "ready", {}
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.connect) for _ in range(4)]
        for thread in self.threads:
            thread.start()

    def connect(self):
        while not self.stop.is_set():
            state = self.state
            verdict = reach(self.world.outside, BALANCER[self.family], 80).verdict
            with self.lock:
                count = self.found.setdefault((state, verdict), 0)
                self.found[state, verdict] = count + 1

    def step(self, state, seconds):
        self.state = state
        endpoints(self.world, state)
        time.sleep(seconds)

    def close(self):
        self.stop.set()
        for thread in self.threads:
            thread.join()


@each_family
@limit(90)
def test_b7_draining_refuses_no_new_connection_until_the_endpoint_is_gone(world, family):
    wait_until(lambda: status(world) == 200, "healthy")
    draining = Draining(world, family)
    try:
        for state in ("ready", "terminating"):
            draining.step(state, 1.0)
            wanted = 200 if state == "ready" else 503
            wait_until(lambda w=wanted: status(world) == w, f"{state}: {wanted}")
            world.node.agent.restart()
            wait_until(lambda w=wanted: status(world) == w, f"{state}, after a restart: {wanted}")
            time.sleep(0.5)
        before = dict(draining.found)
    finally:
        draining.close()
        endpoints(world, "ready")
    assert sum(count for (_, verdict), count in before.items() if verdict == "open") > 20, before
    assert {verdict for _, verdict in before} == {"open"}, before

# SPDX-License-Identifier: Apache-2.0
"""Servers, credentials and streams that are wrong: said in words, and what is in force stays."""

import json
import os
import socket
import threading

from lib import objects
from lib.objects import labels, policy
from lib.runner import limit
from lib.traffic import wait_until

import api_server
from api_world import PORT, SECOND_ADDRESS
from lib.world import OUTSIDE_IP

SILENCE = 3
WORLD = {"silence": SILENCE}
SERVER = f"https://{OUTSIDE_IP[4]}:{PORT}"


def setup(world):
    world.a = world.pod("a", labels={"app": "a"})
    world.b = world.pod("b", labels={"app": "b"})
    world.serve(world.b, 8080)
    # What must stay in force whatever else is wrong.
    world.resources.put("canary", policy("canary", labels(app="b"), policyTypes=["Ingress"]))
    canary(world)


def canary(world, **options):
    world.expect((world.a, world.b.ips[4], 8080, "timeout"), **options)


def other(name="other", **more):
    return policy(name, labels(app="nobody"), policyTypes=["Ingress"], **more)


def second_server(world, certificate=None, **options):
    """At the other address, instead of the one of before."""
    if hasattr(world, "second"):
        world.second.stop()
    world.second = world.server(certificate, **options)
    world.listen(world.second, SECOND_ADDRESS)
    return world.second


def again(world):
    """polderd reads its kubeconfig, and has to connect anew."""
    world.node.agent.process.send_signal(1)
    world.api.cut()


# ---- who and whom


def authority_data(world):
    return api_server.read_base64(world.authority.certificate)


def test_kubeconfig_that_is_wrong_is_told_with_its_place(world):
    wrong = {
        "not base64": {"cluster": {"server": SERVER, "certificate-authority-data": "%%%"}},
        "cannot be read": {"cluster": {"server": SERVER, "certificate-authority": "missing.crt"}},
        "credential plugins are not supported": {"user": {"exec": {"command": "aws", "apiVersion": "v1"}}},
        "belong together": {"user": {"client-certificate-data": authority_data(world)}},
    }
    for words, parts in wrong.items():
        world.write_kubeconfig(**parts)
        world.node.agent.process.send_signal(1)
        problem = world.wait_problem("api:credentials", words.removeprefix("not "))
        assert world.workdir in problem, problem
        assert world.api_status()["connected"], "the credentials of before are used"
    with open(world.kubeconfig, "w", encoding="ascii") as file:
        file.write("apiVersion: v1\nclusters:\n- name: [\n")
    world.node.agent.process.send_signal(1)
    world.wait_problem("api:credentials", "line 4")
    canary(world)
    world.write_kubeconfig()
    world.node.agent.process.send_signal(1)
    world.wait_no_problem()


def test_kubeconfig_that_comes_later_is_waited_for(world):
    missing = os.path.join(world.workdir, "later")
    world.node.agent.options["kubeconfig"] = missing
    world.node.agent.stop()
    world.node.agent.start(wait=False)
    wait_until(lambda: os.path.exists(world.node.agent.socket), "the control socket", 5)
    world.wait_problem("api:credentials", missing)
    assert not world.node.agent.ctl_json("status")["ready"]
    canary(world)
    os.link(world.kubeconfig, missing)
    world.node.agent.process.send_signal(1)
    world.node.agent.wait_ready()
    world.node.agent.stop()
    os.unlink(missing)


def test_certificates_that_cannot_be_trusted_are_refused(world):
    stranger = api_server.Authority(world.workdir, "stranger")
    cases = {
        "expired": world.authority.issue("expired", (SECOND_ADDRESS,), days=-1),
        "issuer": stranger.issue("foreign", (SECOND_ADDRESS,)),
        "match": world.authority.issue("elsewhere", ("192.0.2.77",)),
    }
    for words, certificate in cases.items():
        server = second_server(world, certificate)
        world.write_kubeconfig(server=f"https://{SECOND_ADDRESS}:{PORT}")
        again(world)
        problem = world.wait_problem("api:connection", words)
        assert SECOND_ADDRESS in problem, problem
        canary(world, within=0)
        server.stop()


def test_client_certificates_are_used(world):
    certificate, key = world.authority.issue("polder-client")
    server = second_server(world, client_authority=world.authority.certificate)
    server.token = None
    world.write_kubeconfig(server=f"https://{SECOND_ADDRESS}:{PORT}",
                           user={"client-certificate": certificate, "client-key-data": api_server.read_base64(key)})
    again(world)
    wait_until(lambda: world.api_status()["server"].startswith(f"https://{SECOND_ADDRESS}"), "the other server", 5)
    world.wait_current()
    server.stop()


def test_tls_server_name_stands_for_the_address(world):
    certificate = world.authority.issue("named", ("kubernetes.test",))
    server = second_server(world, certificate)
    world.write_kubeconfig(cluster={"server": f"https://{SECOND_ADDRESS}:{PORT}", "tls-server-name": "kubernetes.test",
                                    "certificate-authority": world.authority.certificate})
    again(world)
    wait_until(lambda: server.asked("pods"), "requests at the other address", 10)
    world.wait_current()
    server.stop()


def answer_all(world, answer):
    """A listener at the second address that says this to whoever connects."""
    if hasattr(world, "second"):
        world.second.stop()
    listener = world.outside.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((SECOND_ADDRESS, PORT))
    listener.listen(16)

    def serve():
        while True:
            try:
                client, _ = listener.accept()
                client.sendall(answer)
                client.close()
            except OSError:
                return
    threading.Thread(target=serve, daemon=True).start()
    return listener


def test_server_that_speaks_no_tls_is_told(world):
    listener = answer_all(world, b"220 mail.example ESMTP\r\n")
    world.write_kubeconfig(server=f"https://{SECOND_ADDRESS}:{PORT}")
    again(world)
    world.wait_problem("api:connection", SECOND_ADDRESS, "SSL")
    canary(world, within=0)
    listener.close()


def test_pages_for_people_are_no_answers(world):
    for code in (200, 404):
        def page(request, code=code):
            request.text(code, "<html><body>Please log in</body></html>", "text/html")
            return True
        world.api.refuse = page
        world.api.cut()
        world.wait_problem("no API server" if code == 200 else "404", timeout=10)
        canary(world, within=0)
        world.api.refuse = None
        world.api.cut()
        world.wait_current()


def test_resource_that_is_forbidden_is_named(world):
    world.api.forbidden = {"networkpolicies"}
    world.api.cut()
    problem = world.wait_problem("networkpolicies.networking.k8s.io cannot be read", "403", "rbac.yaml")
    assert "cannot list resource" in problem, problem
    world.resources.put("web", objects.pod("web", labels={"app": "web"}, node_name="elsewhere", ips=["10.99.0.1"]))
    canary(world)
    assert not world.resource_status("networkpolicies")["current"] and world.resource_status("pods")["current"]
    world.api.forbidden = set()
    world.node.agent.process.send_signal(1)
    world.wait_current()
    world.wait_no_problem()


# ---- streams


def line(kind, made):
    return api_server.line(kind, made)


def versioned(world, made):
    with world.store.lock:
        world.store.revision += 1
        made["metadata"]["resourceVersion"] = str(world.store.revision)
    return made


@limit(90)
def test_watches_that_make_no_sense_change_nothing_and_are_begun_anew(world):
    good = other("good")
    streams = {
        "no JSON": b"this is not JSON\n",
        "an array": b"[1, 2]\n",
        "no object": b'{"type":"ADDED"}\n',
        "unknown type": line("CHANGED", good),
        "type is a number": b'{"type":7,"object":{"metadata":{"name":"x"}}}\n',
        "deleted without name": line("DELETED", {"kind": "NetworkPolicy", "metadata": {}}),
        "error without code": line("ERROR", {"kind": "Status", "message": "no"}),
        "deep": b'{"type":"ADDED","object":' + b'{"a":' * 2000,
        "zero bytes": b"\0" * 1000,
        "control characters": b'{"type":"ADDED","object":{"metadata":{"name":"\1"}}}}\n',
    }
    names = list(streams)
    resources = ("pods", "nodes", "services", "endpointslices", "networkpolicies")
    for some in (names[:5], names[5:]):
        world.wait_current(30)
        asked = {resource: len(world.api.asked(resource)) for resource in resources}
        for name, resource in zip(some, resources):
            world.api.inject(resource, streams[name])
        for name, resource in zip(some, resources):
            wait_until(lambda r=resource: len(world.api.asked(r)) > asked[r], f"another watch after: {name}", 10)
        canary(world, within=0)
    world.api.inject("networkpolicies", line("ADDED", good)[:-40])
    world.api.cut()
    world.wait_current(30)
    world.resources.put("other", other())
    world.wait_policy("other")
    assert "good" not in {p["name"] for p in world.node.agent.ctl_json("policy", "list")}


def test_bytes_one_by_one_are_an_object(world):
    made = versioned(world, other("slow"))
    data = line("ADDED", made)
    for i in range(len(data)):
        world.api.inject("networkpolicies", data[i:i + 1])
    world.wait_policy("slow")
    world.api.inject("networkpolicies", line("DELETED", versioned(world, made)))
    world.wait_policy("slow", there=False)


def test_events_twice_and_out_of_order_come_right(world):
    first, second = versioned(world, other("twice")), versioned(world, other("second"))
    world.store.objects["networkpolicies"]["default", "twice"] = first
    world.store.objects["networkpolicies"]["default", "second"] = second
    since = world.now()
    for made in (second, second, first):
        world.api.inject("networkpolicies", line("ADDED", made))
    world.wait_policy("twice")
    world.wait_policy("second")
    world.wait_listed("networkpolicies", since)
    for name in ("twice", "second"):
        world.store.delete("networkpolicies", ("default", name))
        world.wait_policy(name, there=False)


def test_bookmarks_of_any_kind_are_taken(world):
    for annotations in (None, {"k8s.io/initial-events-end": "true"}):
        for _ in range(2):
            world.api.inject("networkpolicies", line("BOOKMARK", {
                "kind": "NetworkPolicy", "metadata": {"resourceVersion": str(world.store.revision),
                                                      **({"annotations": annotations} if annotations else {})}}))
    world.resources.put("other", other())
    world.wait_policy("other")
    canary(world)


def resident(world):
    with open(f"/proc/{world.node.agent.process.pid}/status", encoding="ascii") as file:
        return int(next(text for text in file if text.startswith("VmHWM")).split()[1]) / 1024


def reset_peak(world):
    with open(f"/proc/{world.node.agent.process.pid}/clear_refs", "w", encoding="ascii") as file:
        file.write("5")


def test_object_of_a_hundred_megabytes_is_refused_alone(world):
    made = versioned(world, other("large"))
    data = line("ADDED", made)
    head, tail = data[:-2], data[-2:]
    reset_peak(world)
    before = resident(world)
    world.api.inject("networkpolicies", head[:-1] + b',"padding":"')
    for _ in range(100):
        world.api.inject("networkpolicies", b"x" * (1 << 20))
    world.api.inject("networkpolicies", b'"}' + tail)
    world.wait_problem("api:networkpolicies/default/large", "bytes", timeout=30)
    grown = resident(world) - before
    assert grown < 40, f"{grown:.0f} MB"
    world.resources.put("other", other())
    world.wait_policy("other")
    world.api.inject("networkpolicies", line("DELETED", versioned(world, made)))
    world.wait_no_problem()


def many_pods(count):
    for i in range(count):
        made = objects.pod(f"pod-{i}", f"ns-{i % 50}", {"app": f"app-{i % 200}", "pod": f"{i}"}, f"node-{i % 100}",
                           [f"10.{100 + i // 65536}.{i // 256 % 256}.{i % 256}"])
        made["metadata"]["managedFields"] = [{"manager": "kubelet", "fieldsV1": {f"f:{j}": {"x": "y" * 40} for j in range(40)}}]
        yield made


@limit(120)
def test_ten_thousand_pods_are_never_in_memory_whole(world):
    world.api.streaming = False
    pods, made = world.store.objects["pods"], list(many_pods(10000))
    for number, pod in enumerate(made):
        pod["metadata"]["resourceVersion"] = str(number + 1)
        pods[pod["metadata"]["namespace"], pod["metadata"]["name"]] = pod
    size = len(json.dumps(made[0])) / 100
    world.node.agent.stop()
    world.node.agent.start(wait=False)
    world.node.agent.wait_ready(60)
    peak = resident(world)
    print(f"# 10,000 pods, {size:.0f} MB of JSON: {peak:.0f} MB resident at most", flush=True)
    for key in [key for key in pods if key[1].startswith("pod-")]:
        del pods[key]
    assert peak < 110, f"{peak:.0f} MB"
    assert world.node.agent.ctl_json("status")["objects"]["pods"] >= 10000
    world.node.agent.stop()

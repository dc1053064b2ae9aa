# SPDX-License-Identifier: Apache-2.0
"""Servers and credentials that are wrong: said in words, and what is in force stays."""

import contextlib
import os
import shutil
import socket
import threading

from lib import objects
from lib.objects import labels, policy
from lib.runner import Skip, limit
from lib.traffic import wait_until

import api_server
from api_world import PORT, SECOND_ADDRESS
from lib.world import OUTSIDE_IP

SILENCE = 3
PROXY_PORT = 3128
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
    world.forget_kept()
    world.node.agent.start(wait=False)
    world.node.agent.wait_answer()
    world.wait_problem("api:credentials", missing, timeout=15)
    assert not world.node.agent.ctl_json("status")["ready"]
    canary(world)
    os.link(world.kubeconfig, missing)
    world.node.agent.process.send_signal(1)
    world.node.agent.wait_ready()
    world.forget_kept()
    os.unlink(missing)


SERVICE_ACCOUNT = "/run/secrets/kubernetes.io"


def test_service_account_of_a_pod_is_used_and_its_token_read_again(world):
    if os.path.exists(SERVICE_ACCOUNT):
        raise Skip(f"{SERVICE_ACCOUNT} is there: this machine is a pod itself")
    directory, agent = os.path.join(SERVICE_ACCOUNT, "serviceaccount"), world.node.agent
    config = os.path.join(world.workdir, "in-cluster.json")
    os.makedirs(directory)
    shutil.copy(world.authority.certificate, os.path.join(directory, "ca.crt"))
    with open(os.path.join(directory, "token"), "w", encoding="ascii") as file:
        file.write("of-the-pod")
    with open(config, "w", encoding="ascii") as file:
        file.write('{"in-cluster": true}')
    kept = agent.options
    try:
        world.api.token = "of-the-pod"
        agent.stop()
        agent.options = {**kept, "kubeconfig": None, "config": config}
        os.environ.update(KUBERNETES_SERVICE_HOST=OUTSIDE_IP[4], KUBERNETES_SERVICE_PORT=str(PORT))
        agent.start()
        assert world.api_status()["server"] == SERVER
        canary(world, within=0)
        world.api.token = "next"
        with open(os.path.join(directory, "token"), "w", encoding="ascii") as file:
            file.write("next")
        world.api.cut()
        world.resources.put("other", policy("other", labels(app="nobody"), policyTypes=["Ingress"]))
        world.wait_policy("other")
    finally:
        agent.stop()
        agent.options = kept
        shutil.rmtree(SERVICE_ACCOUNT)
        for name in ("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"):
            os.environ.pop(name, None)


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
    wait_until(lambda: server.asked("pods"), "requests at the other address", 10)
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


def pipe(source, sink):
    with contextlib.suppress(OSError):
        while (data := source.recv(65536)):
            sink.sendall(data)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def start_proxy(world, asked):
    """A proxy for CONNECT at the second address; it keeps what it is asked for."""
    listener = world.outside.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((SECOND_ADDRESS, PROXY_PORT))
    listener.listen(16)

    def serve(client):
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(4096)
        asked.append(head.decode().split(" ")[1])
        server = world.outside.socket(socket.AF_INET, socket.SOCK_STREAM)
        server.connect((OUTSIDE_IP[4], PORT))
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        threading.Thread(target=pipe, args=(server, client), daemon=True).start()
        pipe(client, server)

    def accept():
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=serve, args=(client,), daemon=True).start()
    threading.Thread(target=accept, daemon=True).start()
    return listener


def test_proxy_of_the_kubeconfig_is_asked(world):
    asked = []
    listener = start_proxy(world, asked)
    world.write_kubeconfig(cluster={"server": SERVER, "proxy-url": f"http://{SECOND_ADDRESS}:{PROXY_PORT}",
                                    "certificate-authority": world.authority.certificate})
    again(world)
    wait_until(lambda: asked, "a connection by the proxy", 10)
    world.wait_current()
    assert set(asked) == {f"{OUTSIDE_IP[4]}:{PORT}"}, asked
    listener.close()


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


@limit(60)
def test_resource_that_is_forbidden_is_named(world):
    world.api.forbidden = {"networkpolicies"}
    world.api.cut()
    problem = world.wait_problem("networkpolicies.networking.k8s.io cannot be read", "403", "rbac.yaml",
                                 timeout=35)  # as long as a watch waits at most after what tests before did
    assert "cannot list resource" in problem, problem
    world.resources.put("web", objects.pod("web", labels={"app": "web"}, node_name="elsewhere", ips=["10.99.0.1"]))
    canary(world)
    assert not world.resource_status("networkpolicies")["current"] and world.resource_status("pods")["current"]
    world.api.forbidden = set()
    world.node.agent.process.send_signal(1)
    world.wait_current()
    world.wait_no_problem()


@limit(60)
def test_resources_that_were_forbidden_at_the_start_are_no_problem_once_they_are_listed(world):
    """A streaming list does not end with its objects: the answer goes on for minutes."""
    world.api.forbidden = set(api_server.RESOURCES)
    world.node.agent.stop()
    world.node.agent.start(wait=False)
    world.node.agent.wait_answer()
    world.wait_problem("pods cannot be read", "403")
    canary(world, within=0)
    world.api.forbidden = set()
    world.node.agent.process.send_signal(1)
    world.node.agent.wait_ready()
    world.wait_no_problem(5)

# SPDX-License-Identifier: Apache-2.0
"""polderd's page for browsers: what it answers, and whom it refuses."""

import contextlib
import json
import os
import re
import select
import socket
import stat
import sys
import threading
import urllib.parse

from lib.objects import labels, policy, service, service_port
from lib.runner import each_family
from lib.traffic import BOTH, V4, Connection, reach, wait_until

sys.path.append(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "page"))
import data

PORT = 9966
WORLD = {"nodes": 1, "ui_listen": f"127.0.0.1:{PORT}", "ui_host": "node.test", "latency": "yes"}
REPLY = re.compile(rb"HTTP/1.1 (\d+)")


def setup(world):
    world.n1 = world.nodes[0]
    world.client = world.pod("client", labels={"app": "client"})
    world.server = world.pod("server", labels={"app": "server"})
    world.stranger = world.pod("stranger", labels={"app": "stranger"})
    world.serve(world.server, 8080)
    world.resources.put("policies", policy("server", labels(app="server"), policyTypes=["Ingress"], ingress=[
        {"from": [{"podSelector": labels(app="client")}]}]))
    world.policies_in_force()
    for family in BOTH:
        world.expect((world.client, world.server.ips[family], 8080, "open"), (world.stranger, world.server.ips[family], 8080, "timeout"))


class Answer:
    def __init__(self, data):
        head, _, body = data.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        self.status = int(REPLY.match(lines[0]).group(1)) if lines[0] else 0
        self.headers = {name.strip().lower(): value.strip() for name, _, value in (line.decode().partition(":") for line in lines[1:])}
        self.whole = True
        if self.headers.get("transfer-encoding") == "chunked":
            body, self.whole = unchunk(body)
        self.body = body

    def json(self):
        return json.loads(self.body)

    def result(self):
        answer = self.json()
        assert self.status == 200 and self.whole and answer["ok"], (self.status, answer)
        return answer["result"]

    def error(self):
        answer = self.json()
        assert self.status >= 400 and not answer["ok"], (self.status, answer)
        return answer["error"]["message"]


def unchunk(data):
    text = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        count = int(size, 16)
        if count == 0:
            return text, True
        text += data[:count]
        data = data[count + 2:]
    return text, False


def connect(world, path=None):
    if path:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.connect(path)
    else:
        sock = world.n1.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.connect(("127.0.0.1", PORT))
    sock.settimeout(30)
    return sock


def send(sock, path, method="GET", host=f"localhost:{PORT}", headers=(), body=b""):
    """`host`: a text, None for no such header, a list for several."""
    hosts = host if isinstance(host, list) else [] if host is None else [host]
    lines = [f"{method} {path} HTTP/1.1", *(f"Host: {name}" for name in hosts), *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    sock.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


def read(sock):
    data = b""
    while part := sock.recv(65536):
        data += part
    return Answer(data)


def ask(world, path, unix=None, **request):
    with connect(world, unix) as sock:
        send(sock, path, **request)
        return read(sock)


def query(name, /, **arguments):
    pairs = [(key.replace("__", "."), value) for key, value in arguments.items()]
    return f"/api/{name}?{urllib.parse.urlencode(pairs)}"


def attempt(world, *objects, seconds=0, headers=("X-Polder: try",), text=None):
    body = (text if text is not None else json.dumps(objects)).encode()
    return ask(world, f"/api/policy-try?seconds={seconds}", method="POST", headers=headers, body=body)


def lines_of(answer):
    return [json.loads(line)["result"] for line in answer.body.splitlines()]


CLOSED = policy("closed", labels(app="server"), policyTypes=["Ingress"])


def test_the_page_may_load_its_own_files_alone(world):
    page = ask(world, "/")
    text = page.body.decode()
    assert page.status == 200 and page.headers["content-type"] == "text/html; charset=utf-8", page.headers
    rules = page.headers["content-security-policy"]
    for rule in ("default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"):
        assert rule in rules and "unsafe" not in rules, rules
    for name, value in (("x-content-type-options", "nosniff"), ("referrer-policy", "no-referrer"), ("cache-control", "no-store")):
        assert page.headers[name] == value, page.headers
    assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|\sstyle=|https?://|<base", text), "nothing inline, nothing from elsewhere"
    waiting, seen = re.findall(r'(?:src|href)="(/[^"]*)"', text), set()
    assert any(path.endswith(".js") for path in waiting) and any(path.endswith(".css") for path in waiting), waiting
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        file = ask(world, path)
        kind = "text/css" if path.endswith(".css") else "text/javascript"
        assert file.status == 200 and file.headers["content-type"].startswith(kind), (path, file.status, file.headers)
        assert file.headers["content-security-policy"] == rules
        script = file.body.decode()
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|@import|url\((?!#)", script), path
        waiting += [f"/{name}" for name in re.findall(r"from '\./([\w.]+)'", script)]
    assert len(seen) > 5, seen


def test_a_name_that_leads_here_is_not_enough(world):
    """DNS rebinding: another site's name may have this address, but the browser sends that name."""
    for host in ("localhost", f"LOCALHOST:{PORT}", "127.0.0.1:1", f"[::1]:{PORT}", "node.test", "NODE.test:80"):
        assert ask(world, "/", host=host).status == 200, host
        assert ask(world, "/api/pods", host=host).status == 200, host
    for host in ("evil.example", f"evil.example:{PORT}", "localhost.evil.example", "127.0.0.1.evil.example", "[::1].evil.example", "localhost:x",
                 "localhost:", "localhost:80:80", "[::1", "xnode.test", "node.testx", "0.0.0.0", "[::]", ""):
        for path in ("/", "/main.js", "/api/pods"):
            refused = ask(world, path, host=host)
            assert refused.status == 403 and b"ui-host" in refused.body, (host, refused.status, refused.body)
    assert ask(world, "/api/pods", host=["localhost", "evil.example"]).status in (400, 403)
    assert ask(world, "/api/pods", host=None).status in (400, 403)


def test_other_sites_get_no_answer(world):
    own = f"http://localhost:{PORT}"
    for headers in ([f"Origin: {own}"], ["Sec-Fetch-Site: same-origin"], ["Sec-Fetch-Site: none"]):
        assert ask(world, "/api/pods", headers=headers).status == 200, headers
    for headers in (["Origin: http://evil.example"], ["Origin: null"], ["Origin: http://localhost:1"], ["Sec-Fetch-Site: cross-site"],
                    ["Sec-Fetch-Site: same-site"], [f"Origin: {own}", "Origin: http://evil.example"]):
        refused = ask(world, "/api/pods", headers=headers)
        assert refused.status == 403 and b"another site" in refused.body, (headers, refused.status)
        assert not any(name.startswith("access-control") for name in refused.headers), refused.headers
    assert attempt(world, CLOSED, headers=()).status == 403, "a form of another site can send a body, but no header of its own"
    asked = ask(world, "/api/policy-try", method="OPTIONS", headers=["Access-Control-Request-Headers: x-polder"])
    assert asked.status == 405 and not any(name.startswith("access-control") for name in asked.headers), asked.headers


def test_only_questions_that_change_nothing_are_passed_on(world):
    for name in ("cni.add", "cni.del", "cni.gc", "policy.commit", "policy-commit", "log.level", "log-level", "monitor", "metrics", "config",
                 "policy.try", "", "pods/x", "../pods", "flows%2f"):
        for method in ("GET", "POST"):
            assert ask(world, f"/api/{name}", method=method, headers=["X-Polder: try"]).status == 404, name
    for method in ("PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "NONSENSE"):
        refused = ask(world, "/api/pods", method=method)
        assert refused.status in (400, 405), (method, refused.status)
    assert ask(world, "/api/pods", method="POST", body=b"{}").headers["allow"] == "GET, HEAD"
    assert ask(world, "/", method="POST").status == 405
    refused = ask(world, "/api/policy-try")
    assert refused.status == 405 and refused.headers["allow"] == "POST"
    head = ask(world, "/api/pods", method="HEAD")
    assert head.status == 200 and head.body == b""


def test_answers_are_those_of_the_control_socket(world):
    ctl = world.n1.agent.ctl_json
    for path, words in (("pods", ("pod", "list")), ("services", ("service", "list")), ("policies", ("policy", "list"))):
        assert ask(world, f"/api/{path}").result() == ctl(*words), path
    assert ask(world, "/api/status").result()["node"] == ctl("status")["node"]
    name = f"{world.server.ns}/server"
    page = ask(world, query("policy", name=name)).result()
    assert page["policy"] == name and [pod["pod"] for pod in page["pods"]] == [str(world.server)], page
    missing = ask(world, query("policy", name="no/such"))
    assert missing.status == 404 and "no/such" in missing.error(), missing.body


@each_family
def test_flows_drops_and_verdicts_have_their_names(world, family):
    address = world.server.ips[family]
    world.expect((world.client, address, 8080, "open"))
    flows = ask(world, query("flows", filter__from=str(world.client), filter__to=str(world.server))).result()
    found = [flow for flow in flows if not flow["reply"] and flow["destination"] == address]
    assert found and found[0]["ingress_policy"]["policy"] == f"{world.server.ns}/server", flows
    assert all(str(world.client) in (flow["source_pod"], flow["destination_pod"]) for flow in flows)
    assert len(ask(world, query("flows", limit=1)).result()) == 1

    def dropped():
        reach(world.stranger, address, 8080, timeout=0.05)
        rows = ask(world, query("drops", filter__policy=f"{world.server.ns}/server")).result()["drops"]
        return [row for row in rows if row["pod"] == str(world.server) and row["example"]["destination"]["ip"] == address]
    wait_until(dropped, "the drop is told")
    told = ask(world, query("explain", **{"from": str(world.stranger), "to": address, "proto": "tcp", "port": "8080"})).result()
    assert told["verdict"] == "denied" and told["policy"] == f"{world.server.ns}/server" and told["agree"], told


def attached(agent):
    """Does the agent hold a program at the tracepoint of the kernel's drops?"""
    directory = f"/proc/{agent.process.pid}/fdinfo"
    for name in os.listdir(directory):
        with contextlib.suppress(FileNotFoundError), open(f"{directory}/{name}", encoding="ascii") as file:
            if any(line.startswith("tp_name:") and line.split()[1] == "kfree_skb" for line in file):
                return True
    return False


def kernel_drops(world, family):
    """The answer to who watches while a pod asks for what nobody serves."""
    with connect(world) as sock:
        send(sock, query("kernel-drops", seconds=1, filter__pod=str(world.client)))
        wait_until(lambda: attached(world.n1.agent), "somebody watches")
        sock.setblocking(False)
        while not select.select([sock], [], [], 0.05)[0]:
            reach(world.client, world.server.ips[family], 8081, proto="UDP", timeout=0.05)
        sock.settimeout(30)
        return read(sock).result()


@each_family
def test_the_kernels_drops_are_counted_while_somebody_waits_for_them_and_no_longer(world, family):
    assert not attached(world.n1.agent)
    told = kernel_drops(world, family)
    assert told["type"] == "end" and [row for row in told["answer"]["drops"] if row["reason"] == "kernel:NO_SOCKET" and row["pod"] == str(world.server)], told
    wait_until(lambda: not attached(world.n1.agent), "nobody watches")
    with connect(world) as sock:
        send(sock, query("kernel-drops", seconds=20))
        wait_until(lambda: attached(world.n1.agent), "somebody watches")
    wait_until(lambda: not attached(world.n1.agent), "who has hung up does not watch")


def fields(value, path=""):
    """The names of all members, of lists the first entry's; what is null has none. Names of labels are anybody's."""
    if isinstance(value, list):
        return fields(value[0], path + "[]") if value else set()
    if not isinstance(value, dict) or path.endswith(".labels"):
        return set()
    return set().union(*({f"{path}.{name}"} | fields(member, f"{path}.{name}") for name, member in value.items()))


def test_what_the_browsers_tests_answer_has_the_fields_of_real_answers(world):
    world.resources.put("service", service("web", ["10.96.0.9"], [service_port(80, 8080)], selector={"app": "server"}))
    wait_until(lambda: [one for one in ask(world, "/api/services").result() if one["name"] == "web" and one["backends"]], "the Service is there")
    world.expect((world.client, world.server.ips[V4], 8080, "open"))

    def dropped():
        reach(world.stranger, world.server.ips[V4], 8080, timeout=0.05)
        return [row for row in ask(world, "/api/drops").result()["drops"] if row["policy"]]
    wait_until(dropped, "the drop is told")
    real = {name: ask(world, f"/api/{name}").result() for name in ("status", "pods", "services", "policies")}
    real["flows"] = [flow for flow in ask(world, query("flows", filter__to=str(world.server))).result() if flow["ingress_policy"]]
    real["drops"] = ask(world, query("drops", filter__policy=f"{world.server.ns}/server")).result()
    real["policy"] = ask(world, query("policy", name=f"{world.server.ns}/server")).result()
    real["explain"] = ask(world, query("explain", **{"from": str(world.stranger), "to": str(world.server), "proto": "tcp", "port": "8080"})).result()
    real["drops.kernel"] = kernel_drops(world, V4)
    made = data.answers(many=False, hostile=False)
    with Connection(world.client, world.server.ips[V4], 8080) as connection:
        connection.ask()

        def measured():
            return set().union(*(fields([row]) for row in ask(world, "/api/latency").result()))
        wait_until(lambda: not fields(made["latency"]) - measured(), lambda: f"without {fields(made['latency']) - measured()}")
    for name, answer in real.items():
        unknown = fields(made[name]) - fields(answer)
        assert not unknown, (name, sorted(unknown), answer)
    world.resources.delete("service")


def test_what_makes_no_sense_is_refused_with_a_reason(world):
    for path, reason in ((query("flows", limit=10001), "limit: expected a number from 0 to 10000"), (query("flows", limit="-1"), "limit"),
                         (query("flows", limit="1x"), "limit"), (query("flows", limit=""), "limit"), ("/api/flows?limit=1&limit=2", "given twice"),
                         (query("flows", nonsense=1), "nonsense: unknown argument"), (query("pods", filter__pod="x"), "unknown argument"),
                         (query("flows", filter__port="x"), "filter port"), (query("flows", filter__nonsense="x"), "nonsense"),
                         (query("flows", sort="name"), "sort"), ("/api/policy?name=%ff%fe", "not UTF-8"), ("/api/policy?name=a%00b", "NUL"),
                         (query("explain", to="x/y"), "from is missing"), ("/api/flows?" + "&".join(["filter.pod=a/b"] * 65), "64"),
                         (query("drops", since_seconds=99999), "since"), (query("kernel-drops", seconds=21), "from 0 to 20"),
                         (query("kernel-drops", seconds=0), "seconds"), (query("kernel-drops", filter__policy="a/b"), "have no policy")):
        refused = ask(world, path)
        assert refused.status == 400 and reason in refused.error(), (path, refused.status, refused.body)
    assert ask(world, "/api/flows?filter.pod=" + "a" * 20000).status in (400, 414, 431)
    assert attempt(world, text="x" * (257 << 10)).status == 413
    broken = attempt(world, text="kind: NetworkPolicy\n  metadata: [")
    assert broken.status == 400 and "line" in broken.error(), broken.body
    for text in ("kind: NoSuchThing", "[1, 2]", '{"kind": "NetworkPolicy"}'):
        refused = attempt(world, text=text)
        assert refused.status in (400, 500) and refused.error(), (text, refused.status, refused.body)
    assert attempt(world, CLOSED, seconds=61).status == 400


def test_a_try_tells_what_would_change_and_changes_nothing(world):
    for family in BOTH:
        world.expect((world.client, world.server.ips[family], 8080, "open"))
    lasting = [Connection(world.client, world.server.ips[family], 8080) for family in BOTH]
    before = ask(world, "/api/policies").result()
    yaml = (f"# a comment\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: server, namespace: {world.server.ns}}}\n"
            "spec:\n  podSelector: {matchLabels: {app: server}}\n  policyTypes: [Ingress]\n---\n")
    for answer in (attempt(world, text=yaml), attempt(world, policy("server", labels(app="server"), policyTypes=["Ingress"]))):
        lines = lines_of(answer)
        assert answer.status == 200 and answer.whole and (lines[0]["type"], lines[-1]["type"]) == ("begin", "end"), answer.body
        assert lines[0]["objects"][0]["change"] == "changed", lines[0]
        denied = [line for line in lines if line["type"] == "flow" and line["change"] == "denied"]
        assert {line["family"] for line in denied} == {"ipv4", "ipv6"} and lines[-1]["denied"] == len(denied), lines
    assert ask(world, "/api/policies").result() == before
    for connection in lasting:
        assert connection.ask()
        connection.close()


def test_who_leaves_ends_the_try(world):
    """Four tries may run at once: the next four find room since those before have ended, each when the agent sees its reader gone."""
    for _ in range(3):
        socks = [wait_until(lambda: begun_try(world), "there is room for another try") for _ in range(4)]
        refused = attempt(world, CLOSED)
        assert refused.status == 503 and "4 tries are running" in refused.error(), refused.body
        for sock in socks:
            sock.close()
    wait_until(lambda: attempt(world, CLOSED).status == 200, "the tries have ended")


def begun_try(world):
    """A try of a minute whose answer has begun; None when too many are running."""
    sock = connect(world)
    send(sock, "/api/policy-try?seconds=60", method="POST", headers=["X-Polder: try"], body=json.dumps([CLOSED]).encode())
    begun = sock.recv(1024)
    if begun.startswith(b"HTTP/1.1 200 OK"):
        return sock
    sock.close()
    assert begun.startswith(b"HTTP/1.1 503 "), begun
    return None


def test_hostile_names_are_json_and_no_more(world):
    """What a name can hold is for the page to show; here it is a string of JSON, in a type that no browser takes for a page."""
    name = "</script><img src=x onerror=alert(1)>\u202e\""
    refused = ask(world, query("policy", name=name))
    assert refused.headers["content-type"] == "application/json" and refused.headers["x-content-type-options"] == "nosniff"
    assert refused.status in (400, 404) and refused.error(), refused.body
    filtered = ask(world, query("flows", filter__pod=name))
    assert filtered.status == 400 and json.loads(filtered.body), filtered.body


def test_slow_and_idle_clients_keep_nobody_out(world):
    slow = [connect(world) for _ in range(80)]
    try:
        for sock in slow[:40]:
            sock.sendall(b"GET /api/flows HTTP/1.1\r\nHost: localhost\r\n")
        assert ask(world, "/api/pods").status == 200
        assert world.n1.agent.ctl_json("status")["ready"]
    finally:
        for sock in slow:
            sock.close()
    results = []
    readers = [threading.Thread(target=lambda: results.append(ask(world, "/api/flows?limit=10000").status)) for _ in range(12)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(60)
    assert results == [200] * 12, results


def test_a_unix_socket_is_roots_alone(world):
    path = os.path.join(world.workdir, "ui.sock")
    agent = world.n1.agent
    agent.stop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as left:
        left.bind(path)
    agent.options.update({"ui-listen": f"unix:{path}", "ui-host": None})
    agent.start()
    mode = os.stat(path).st_mode
    assert stat.S_ISSOCK(mode) and mode & 0o777 == 0o600, oct(mode)
    assert ask(world, "/api/pods", unix=path, host="localhost").status == 200
    assert ask(world, "/api/pods", unix=path, host="node.test").status == 403
    agent.stop()
    assert not os.path.exists(path)
    agent.options.update({"ui-listen": f"127.0.0.1:{PORT}", "ui-host": "node.test"})
    agent.start()
    assert reach(world.client, world.server.ips[V4], 8080)

# SPDX-License-Identifier: Apache-2.0
"""
An API server for tests: lists, pages, watches, streaming lists and bookmarks of the objects that it is given, over HTTP/1.1 and
HTTP/2 with TLS; and every way that a server can be wrong. Answers are those that a real one of version 1.36 was seen to give.
"""

import base64
import contextlib
import copy
import json
import os
import queue
import re
import socket
import ssl
import subprocess
import threading
import time
import urllib.parse

import wire

RESOURCES = {
    "namespaces": ("/api/v1/namespaces", "v1", "Namespace", False),
    "nodes": ("/api/v1/nodes", "v1", "Node", False),
    "pods": ("/api/v1/pods", "v1", "Pod", True),
    "services": ("/api/v1/services", "v1", "Service", True),
    "endpointslices": ("/apis/discovery.k8s.io/v1/endpointslices", "discovery.k8s.io/v1", "EndpointSlice", True),
    "networkpolicies": ("/apis/networking.k8s.io/v1/networkpolicies", "networking.k8s.io/v1", "NetworkPolicy", True),
    "clusternetworkpolicies": ("/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies",
                               "policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy", False),
    "trafficalerts": ("/apis/polder.dev/v1alpha1/trafficalerts", "polder.dev/v1alpha1", "TrafficAlert", False),
}
KINDS = {kind: name for name, (_, _, kind, _) in RESOURCES.items()}
INITIAL_END = {"k8s.io/initial-events-end": "true"}


def status(code, reason, message):
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": reason,
            "code": code}


def lease_of(path):
    """(namespace, name or "") of a path of Leases; None: it is none."""
    match = re.fullmatch(r"/apis/coordination\.k8s\.io/v1/namespaces/([^/]+)/leases(?:/([^/]+))?", path)
    return match and (match[1], match[2] or "")


def line(kind, made):
    return json.dumps({"type": kind, "object": made}, separators=(",", ":")).encode() + b"\n"


class Store:
    """Objects by resource, their revisions, and what has happened since the history begins."""

    def __init__(self):
        self.lock = threading.RLock()
        self.objects = {name: {} for name in RESOURCES}
        self.revision = 1000
        self.floor = 0      # older revisions are forgotten
        self.events = []    # (revision, resource, type, object)
        self.watchers = []
        self.told = {}      # Events by namespace and name
        self.leases = {}    # by namespace and name

    def put(self, made, resource=None):
        """Objects whose resource is given may be anything."""
        made = copy.deepcopy(made)
        resource = resource or KINDS[made["kind"]]
        meta = made.setdefault("metadata", {})
        if RESOURCES[resource][3]:
            meta.setdefault("namespace", "default")
        key = (meta.get("namespace", ""), meta["name"])
        with self.lock:
            self.revision += 1
            meta["resourceVersion"] = str(self.revision)
            meta.setdefault("uid", f"uid-{resource}-{'-'.join(key)}")
            kind = "MODIFIED" if key in self.objects[resource] else "ADDED"
            self.objects[resource][key] = made
            self._tell(resource, kind, made)
        return resource, key

    def delete(self, resource, key):
        with self.lock:
            made = self.objects[resource].pop(key, None)
            if made is None:
                return
            self.revision += 1
            made = copy.deepcopy(made)
            made["metadata"]["resourceVersion"] = str(self.revision)
            self._tell(resource, "DELETED", made)

    def quietly(self, resource, *, put=None, delete=None):
        """A change that no watch tells: it happened while nobody listened, or in a state that was put back."""
        with self.lock:
            watchers, self.watchers = self.watchers, []
            try:
                if put is not None:
                    self.put(put, resource)
                if delete is not None:
                    self.delete(resource, delete)
            finally:
                self.watchers = watchers

    def _tell(self, resource, kind, made):
        self.events.append((self.revision, resource, kind, made))
        for wanted, events in self.watchers:
            if wanted == resource:
                events.put((kind, made))

    def compact(self):
        """What was known is too old now."""
        with self.lock:
            self.revision += 10
            self.floor = self.revision
            self.events = []

    def listed(self, resource):
        _, version, kind, _ = RESOURCES[resource]
        for key in sorted(self.objects[resource]):
            made = self.objects[resource][key]
            yield {name: value for name, value in made.items() if name not in ("kind", "apiVersion")} \
                if made.get("kind") == kind and made.get("apiVersion") == version else made


def merged(made, patch):
    """RFC 7386."""
    for key, value in patch.items():
        if value is None:
            made.pop(key, None)
        elif isinstance(value, dict):
            made[key] = merged(made.get(key) or {}, value)
        else:
            made[key] = value
    return made


def patched(made, kind, patch):
    """What a JSON patch of tests and removals, a strategic merge patch of conditions, or a merge patch of a load balancer's status
    makes of an object; None: it does not fit."""
    made = copy.deepcopy(made)
    if kind == "application/merge-patch+json":
        assert set(patch) == {"metadata", "status"} and set(patch["metadata"]) == {"resourceVersion"}, patch
        assert set(patch["status"]) == {"loadBalancer"}, patch
        return merged(made, patch) if made["metadata"]["resourceVersion"] == patch["metadata"]["resourceVersion"] else None
    if kind == "application/strategic-merge-patch+json":
        assert set(patch) == {"status"} and set(patch["status"]) == {"conditions"}, patch
        there = made.setdefault("status", {}).setdefault("conditions", [])
        for new in patch["status"]["conditions"]:
            there[:] = [old for old in there if old["type"] != new["type"]] + [new]
        return made
    assert kind == "application/json-patch+json", kind
    for step in patch:
        *parents, last = step["path"].strip("/").split("/")
        at = made
        try:
            for part in parents:
                at = at[int(part)] if isinstance(at, list) else at[part]
            last = int(last) if isinstance(at, list) else last
            if step["op"] == "test" and at[last] != step["value"]:
                return None
        except (KeyError, IndexError):
            return None
        if step["op"] == "remove":
            del at[last]
    return made


class ApiServer:
    """
    Serves a Store. What tests change while it runs: `streaming`, `bookmarks` (seconds between them), `token` (None: none is asked
    for), `forbidden`, `absent` (resources), `refuse` (a function of the request that answers itself and returns True),
    `before_patch` (called with the store locked, once), `after_patch` (called before
    the answer, once), `paused` (requests are read, nothing is answered), `page` (at most so many objects), `expire_tokens` (so many continue tokens are too old).
    """

    def __init__(self, store, context, protocols=("h2", "http/1.1")):
        self.store, self.context = store, context
        if context:
            context.set_alpn_protocols(list(protocols))
        self.streaming, self.bookmarks, self.token, self.page = True, 1.0, None, 500
        self.forbidden, self.absent = set(), {"clusternetworkpolicies", "trafficalerts"}
        self.refuse = self.before_patch = self.after_patch = None
        self.paused = threading.Event()
        self.expire_tokens = 0
        self.wrong = []     # what no agent may ask for
        self.requests = []  # (time, resource or path, query)
        self.connections = set()
        self.listener = None
        self.protocols = set()

    # ---- life

    def listen(self, listener):
        """Takes a bound socket."""
        self.listener = listener
        listener.listen(64)
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _accept(self, listener):
        while True:
            try:
                raw, peer = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(raw, peer), daemon=True).start()

    def _serve(self, raw, peer):
        with contextlib.suppress(OSError, ssl.SSLError, wire.Closed):
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            stream = wire.Tls(raw, self.context) if self.context else wire.Plain(raw)
            protocol = stream.protocol()
            self.protocols.add(protocol or "http/1.1")
            connection = wire.Http2(stream) if protocol == "h2" else wire.Http1(stream)
            connection.peer = peer
            self.connections.add(connection)
            try:
                connection.run(self._answer)
            finally:
                self.connections.discard(connection)
                connection.kill()
                raw.close()

    def stop(self):
        """As a process that is killed: connections end where they are."""
        if self.listener:
            with contextlib.suppress(OSError):
                self.listener.shutdown(socket.SHUT_RDWR)
            self.listener.close()
            self.listener = None
        self.cut()

    def cut(self):
        for connection in list(self.connections):
            connection.kill()

    def peers(self):
        return [connection.peer for connection in list(self.connections)]

    # ---- requests

    def asked(self, resource, since=0.0, **wanted):
        """The queries for a resource, with these members, since a time."""
        return [query for when, name, query in list(self.requests) if name == resource and when >= since
                and all(query.get(key) == value for key, value in wanted.items())]

    def _answer(self, request):
        path, _, text = request.path.partition("?")
        query = dict(urllib.parse.parse_qsl(text, keep_blank_values=True))
        resource = next((name for name, (at, *_) in RESOURCES.items() if at == path), path)
        self.requests.append((time.monotonic(), resource if request.method == "GET" else f"{request.method} {path}", query))
        request.resource, request.query = resource, query
        while self.paused.is_set():
            time.sleep(0.05)
        if self.token is not None and request.headers.get("authorization") != f"Bearer {self.token}":
            request.json(401, status(401, "Unauthorized", "Unauthorized"))
            return
        if self.refuse and self.refuse(request):
            return
        if request.method != "GET":
            try:
                self._write(request, path)
            except (AssertionError, KeyError, ValueError) as error:
                self.wrong.append(f"{request.method} {request.path} {request.body[:2000]}: {error!r}")
                request.json(400, status(400, "BadRequest", repr(error)))
        elif path == "/version":
            request.json(200, {"major": "1", "minor": "36"})
        elif resource in self.forbidden:
            request.json(403, status(403, "Forbidden", f'{resource} is forbidden: User "polder" cannot list resource "{resource}"'))
        elif (lease := lease_of(path)) and lease[1]:
            self._get_lease(request, lease)
        elif resource not in RESOURCES or resource in self.absent:
            request.text(404, "404 page not found\n")
        elif query.get("watch") == "true":
            self._watch(request)
        else:
            self._list(request)

    def _write(self, request, path):
        """Nodes and Services' statuses are patched, Events created, Leases both: an agent has no more to write."""
        parts = path.strip("/").split("/")
        forbidden = {"PATCH": "/".join(parts[2::2]), "POST": parts[-1]}.get(request.method)
        if lease_of(path):
            forbidden = "leases"
        elif parts[4:5] == ["services"]:
            forbidden = "services/status"
        if forbidden in self.forbidden:
            request.json(403, status(403, "Forbidden", f'{forbidden} is forbidden: User "polder" cannot write them'))
        elif request.method == "PATCH" and parts[:3] == ["api", "v1", "nodes"] and parts[4:] in ([], ["status"]):
            self._patch(request, parts[3])
        elif request.method == "POST" and parts[:3] == ["api", "v1", "namespaces"] and parts[4:] == ["events"]:
            self._create_event(request, parts[3])
        elif request.method == "PATCH" and parts[:3] == ["api", "v1", "namespaces"] and parts[4:5] == ["services"] \
                and parts[6:] == ["status"]:
            self._patch_service(request, (parts[3], parts[5]))
        elif request.method in ("POST", "PUT") and lease_of(path):
            self._put_lease(request, lease_of(path))
        else:
            self.wrong.append(f"{request.method} {path}")
            request.json(405, status(405, "MethodNotAllowed", f"{request.method} {path} is nothing that an agent does"))

    def _patch(self, request, name):
        with self.store.lock:
            if self.before_patch:
                call, self.before_patch = self.before_patch, None
                call()
            made = self.store.objects["nodes"].get(("", name))
            if made is None:
                request.json(404, status(404, "NotFound", f'nodes "{name}" not found'))
                return
            made = patched(made, request.headers["content-type"], json.loads(request.body))
            if made is not None:
                made = self.store.objects["nodes"][self.store.put(made)[1]]
        if self.after_patch:
            call, self.after_patch = self.after_patch, None
            call()
        if made is None:
            request.json(422, status(422, "Invalid", "the server rejected our request due to an error in our request"))
        else:
            request.json(200, made)

    def _patch_service(self, request, key):
        with self.store.lock:
            if self.before_patch:
                call, self.before_patch = self.before_patch, None
                call()
            made = self.store.objects["services"].get(key)
            if made is None:
                request.json(404, status(404, "NotFound", f'services "{key[1]}" not found'))
                return
            changed = patched(made, request.headers["content-type"], json.loads(request.body))
            if changed is not None:
                changed = self.store.objects["services"][self.store.put(changed)[1]]
        if changed is None:
            request.json(409, status(409, "Conflict", f'Operation cannot be fulfilled on services "{key[1]}": the object has been modified'))
        else:
            request.json(200, changed)

    def _get_lease(self, request, key):
        made = self.store.leases.get(key)
        if "leases" in self.forbidden:
            request.json(403, status(403, "Forbidden", 'leases is forbidden: User "polder" cannot get them'))
        elif made is None:
            request.json(404, status(404, "NotFound", f'leases.coordination.k8s.io "{key[1]}" not found'))
        else:
            request.json(200, made)

    def _put_lease(self, request, key):
        made = json.loads(request.body)
        namespace, name = key[0], made["metadata"]["name"]
        assert made["kind"] == "Lease" and made["metadata"]["namespace"] == namespace, made
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", made["spec"]["renewTime"]), made
        with self.store.lock:
            there = self.store.leases.get((namespace, name))
            if request.method == "POST" and there:
                request.json(409, status(409, "AlreadyExists", f'leases "{name}" already exists'))
                return
            if request.method == "PUT" and (not there
                                            or there["metadata"]["resourceVersion"] != made["metadata"]["resourceVersion"]):
                request.json(409, status(409, "Conflict", "the object has been modified; please apply your changes"))
                return
            self.store.revision += 1
            made["metadata"]["resourceVersion"] = str(self.store.revision)
            self.store.leases[(namespace, name)] = made
        request.json(201 if request.method == "POST" else 200, made)

    def _create_event(self, request, namespace):
        made = json.loads(request.body)
        about, name = made["involvedObject"], made["metadata"]["name"]
        assert made["kind"] == "Event" and made["metadata"]["namespace"] == namespace, made
        assert about.get("namespace", "default") == namespace and len(made["message"]) <= 1024, made
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", name) and len(name) <= 253, name
        with self.store.lock:
            known = (namespace, name) in self.store.told
            self.store.told.setdefault((namespace, name), made)
        if known:
            request.json(409, status(409, "AlreadyExists", f'events "{name}" already exists'))
        else:
            request.json(201, made)

    def _list(self, request):
        resource, store = request.resource, self.store
        _, version, kind, _ = RESOURCES[resource]
        limit = min(int(request.query.get("limit") or self.page or 10 ** 9), self.page or 10 ** 9)
        token, begin = request.query.get("continue"), 0
        if not request.query.get("limit") and not token:
            limit = 10 ** 9
        with store.lock:
            items, revision = list(store.listed(resource)), store.revision
        wanted = request.query.get("fieldSelector", "").removeprefix("metadata.name=")
        if wanted:
            items = [made for made in items if made["metadata"]["name"] == wanted]
        if token:
            if self.expire_tokens > 0:
                self.expire_tokens -= 1
                request.json(410, status(410, "Expired", "The provided continue parameter is too old to display a consistent list "
                                         "result. You can start a new list without the continue parameter."))
                return
            begin, revision = (int(part) for part in base64.urlsafe_b64decode(token).split(b"/"))
        meta = {"resourceVersion": str(revision)}
        if begin + limit < len(items):
            meta["continue"] = base64.urlsafe_b64encode(b"%d/%d" % (begin + limit, revision)).decode()
            meta["remainingItemCount"] = len(items) - begin - limit
        body = {"kind": kind + "List", "apiVersion": version, "metadata": meta, "items": items[begin:begin + limit]}
        request.json(200, body, packed="gzip" in request.headers.get("accept-encoding", ""))

    def _watch(self, request):
        resource, store, query = request.resource, self.store, request.query
        stream = query.get("sendInitialEvents") == "true"
        if stream and not self.streaming:
            request.json(422, status(422, "Invalid", "ListOptions.meta.k8s.io \"\" is invalid: sendInitialEvents: Forbidden: "
                                     "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled"))
            return
        events = queue.Queue()
        entry = (resource, events)
        with store.lock:
            since = int(query.get("resourceVersion") or 0)
            past = [event for event in store.events if event[1] == resource and event[0] > since]
            gone = not stream and since < store.floor
            initial, revision = [copy.copy(made) for made in store.objects[resource].values()], store.revision
            store.watchers.append(entry)
        try:
            request.head(200, {"content-type": "application/json"})
            if gone:
                request.send(line("ERROR", status(410, "Expired", f"too old resource version: {since} ({store.floor})")))
                return
            if stream:
                for made in initial:
                    request.send(line("ADDED", made))
                request.send(self._bookmark(resource, revision, INITIAL_END))
            else:
                for _, _, kind, made in past:
                    request.send(line(kind, made))
            self._follow(request, events)
        finally:
            with store.lock, contextlib.suppress(ValueError):
                store.watchers.remove(entry)
            request.end()

    def _bookmark(self, resource, revision, annotations=None):
        _, version, kind, _ = RESOURCES[resource]
        meta = {"resourceVersion": str(revision)}
        if annotations:
            meta["annotations"] = annotations
        return line("BOOKMARK", {"kind": kind, "apiVersion": version, "metadata": meta})

    def _follow(self, request, events):
        begun = time.monotonic()
        seconds = int(request.query.get("timeoutSeconds") or 300)
        future = int(request.query.get("resourceVersion") or 0) > self.store.revision
        while time.monotonic() - begun < seconds and not request.gone():
            try:
                kind, made = events.get(timeout=self.bookmarks)
            except queue.Empty:
                if not future and not self.paused.is_set():
                    request.send(self._bookmark(request.resource, self.store.revision))
                continue
            if kind == "raw":
                request.send(made)
            elif not future:
                request.send(line(kind, made))

    def inject(self, resource, raw):
        """Bytes into all watches of the resource."""
        with self.store.lock:
            for wanted, events in self.store.watchers:
                if wanted == resource:
                    events.put(("raw", raw))


# ---- certificates


class Authority:
    """A certificate authority of openssl's in a directory."""

    def __init__(self, directory, name="test"):
        self.directory, self.name = directory, name
        self.key, self.certificate = self._path("ca.key"), self._path("ca.crt")
        _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", self.key,
                 "-out", self.certificate, "-days", "2", "-subj", f"/CN={name} authority", "-addext", "basicConstraints=critical,CA:TRUE",
                 "-addext", "keyUsage=critical,keyCertSign")

    def _path(self, name):
        return os.path.join(self.directory, f"{self.name}-{name}")

    def issue(self, name, addresses=(), days=2):
        """(certificate, key) for a server with these addresses, or for a client without. Fewer than 0 days: expired."""
        key, request, made = (self._path(f"{name}.{ending}") for ending in ("key", "csr", "crt"))
        extensions = self._path(f"{name}.ext")
        names = ",".join(("IP:" if all(c in "0123456789abcdef.:" for c in a) and not a.isalpha() else "DNS:") + a for a in addresses)
        with open(extensions, "w", encoding="ascii") as file:
            file.write(f"subjectAltName={names}\n" if names else "extendedKeyUsage=clientAuth\n")
        _openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-out", request,
                 "-subj", f"/O=system:nodes/CN={name}")
        if days > 0:
            _openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key, "-CAcreateserial", "-out", made,
                     "-days", str(days), "-extfile", extensions)
        else:
            self._issue_expired(request, made, extensions)
        return made, key

    def _issue_expired(self, request, made, extensions):
        config, database = self._path("ca.cnf"), self._path("index.txt")
        open(database, "w", encoding="ascii").close()
        with open(config, "w", encoding="ascii") as file:
            file.write(f"[ca]\ndefault_ca=d\n[d]\ndatabase={database}\nnew_certs_dir={self.directory}\nrand_serial=yes\n"
                       f"default_md=sha256\npolicy=p\ncopy_extensions=copy\n[p]\ncommonName=supplied\norganizationName=optional\n")
        _openssl("ca", "-batch", "-config", config, "-in", request, "-out", made, "-cert", self.certificate, "-keyfile", self.key,
                 "-startdate", "20200101000000Z", "-enddate", "20200102000000Z", "-extfile", extensions, "-notext")

    def context(self, certificate, key, client_authority=None):
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(certificate, key)
        if client_authority:
            made.load_verify_locations(client_authority)
            made.verify_mode = ssl.CERT_REQUIRED
        return made


def _openssl(*args):
    done = subprocess.run(["openssl", *args], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"openssl {args[0]}: {done.stderr}")


def read_base64(path):
    with open(path, "rb") as file:
        return base64.b64encode(file.read()).decode()

# SPDX-License-Identifier: Apache-2.0
"""HTTP/1.1 and HTTP/2 as a server speaks them: requests that answer themselves, from any thread."""

import contextlib
import gzip
import json
import socket
import ssl
import threading

try:
    import h2.config
    import h2.connection
    import h2.events
    import h2.exceptions
except ImportError:  # of Debian's python3-h2
    h2 = None


class Closed(Exception):
    """The other side is gone, or this one is."""


class Plain:
    """A socket without TLS."""

    def __init__(self, raw):
        self.raw, self.recv, self.sendall = raw, raw.recv, raw.sendall

    @staticmethod
    def protocol():
        return None


class Tls:
    """TLS on a socket that one thread may read while others write, which the ssl module's own sockets do not allow."""

    def __init__(self, raw, context):
        self.raw, self.lock = raw, threading.RLock()
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=True)
        self._until_read(self.tls.do_handshake)
        self._flush()

    def protocol(self):
        return self.tls.selected_alpn_protocol()

    def _flush(self):
        data = self.outgoing.read()
        if data:
            self.raw.sendall(data)

    def _until_read(self, call):
        while True:
            with self.lock:
                try:
                    return call()
                except ssl.SSLWantReadError:
                    self._flush()
            data = self.raw.recv(65536)
            if not data:
                raise Closed()
            with self.lock:
                self.incoming.write(data)

    def recv(self, size):
        try:
            return self._until_read(lambda: self.tls.read(size))
        except (Closed, ssl.SSLError):
            return b""

    def sendall(self, data):
        with self.lock:
            if data:
                self.tls.write(data)
            self._flush()


class Request:
    """One request. head(), send() and end() in this order; or one of json(), text(), which are all three."""

    def __init__(self, method, path, headers):
        self.method, self.path, self.headers, self.body = method, path, headers, b""
        self.resource, self.query = None, {}

    def json(self, code, made, packed=False, **headers):
        body = json.dumps(made, separators=(",", ":")).encode()
        sent = {"content-type": "application/json", **{key.replace("_", "-"): str(value) for key, value in headers.items()}}
        if packed:
            body, sent["content-encoding"] = gzip.compress(body, 1), "gzip"
        self.head(code, sent)
        self.send(body)
        self.end()

    def text(self, code, body, content_type="text/plain; charset=utf-8"):
        self.head(code, {"content-type": content_type})
        self.send(body.encode())
        self.end()


class Http1Request(Request):
    def __init__(self, connection, method, path, headers):
        super().__init__(method, path, headers)
        self.connection = connection

    def head(self, code, headers):
        lines = [f"HTTP/1.1 {code} X", "Transfer-Encoding: chunked", *(f"{key}: {value}" for key, value in headers.items())]
        self.connection.write("\r\n".join(lines).encode() + b"\r\n\r\n")

    def send(self, body):
        if body:
            self.connection.write(b"%x\r\n%s\r\n" % (len(body), body))

    def raw(self, data):
        self.connection.write(data)

    def end(self):
        with contextlib.suppress(Closed):
            self.connection.write(b"0\r\n\r\n")

    def gone(self):
        return self.connection.closed


class Http1:
    """One connection, one request after the other."""

    def __init__(self, stream):
        self.stream, self.closed, self.buffer = stream, False, b""

    def write(self, data):
        try:
            self.stream.sendall(data)
        except (OSError, ValueError) as error:
            self.closed = True
            raise Closed() from error

    def kill(self):
        self.closed = True
        with contextlib.suppress(OSError):
            self.stream.raw.shutdown(socket.SHUT_RDWR)

    def _head(self):
        while b"\r\n\r\n" not in self.buffer:
            got = self.stream.recv(65536)
            if not got:
                return None
            self.buffer += got
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        return head.decode().split("\r\n")

    def _body(self, length):
        while len(self.buffer) < length:
            got = self.stream.recv(65536)
            if not got:
                raise Closed()
            self.buffer += got
        body, self.buffer = self.buffer[:length], self.buffer[length:]
        return body

    def run(self, answer):
        while not self.closed:
            lines = self._head()
            if not lines:
                return
            fields = (text.partition(":") for text in lines[1:])
            headers = {name.strip().lower(): value.strip() for name, _, value in fields}
            request = Http1Request(self, *lines[0].split(" ")[:2], headers)
            request.body = self._body(int(headers.get("content-length") or 0))
            answer(request)


class Http2Request(Request):
    def __init__(self, connection, stream_id, method, path, headers):
        super().__init__(method, path, headers)
        self.connection, self.id = connection, stream_id

    def head(self, code, headers):
        self.connection.headers(self.id, [(":status", str(code)), *headers.items()])

    def send(self, body):
        self.connection.data(self.id, body)

    def end(self):
        with contextlib.suppress(Closed):
            self.connection.finish(self.id)

    def gone(self):
        return self.connection.closed or self.id in self.connection.ended


class Http2:
    """One connection; each request has a thread."""

    def __init__(self, stream):
        self.stream, self.closed, self.ended = stream, False, set()
        self.connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self.condition = threading.Condition()
        self.connection.initiate_connection()
        self._flush()

    def _flush(self):
        try:
            self.stream.sendall(self.connection.data_to_send())
        except (OSError, ValueError) as error:
            self.closed = True
            raise Closed() from error

    def kill(self):
        self.closed = True
        with contextlib.suppress(OSError):
            self.stream.raw.shutdown(socket.SHUT_RDWR)
        with self.condition:
            self.condition.notify_all()

    def _do(self, call):
        with self.condition:
            if self.closed:
                raise Closed()
            try:
                call()
            except (h2.exceptions.ProtocolError, KeyError) as error:
                raise Closed() from error
            self._flush()

    def headers(self, stream_id, headers):
        self._do(lambda: self.connection.send_headers(stream_id, headers))

    def finish(self, stream_id):
        self._do(lambda: self.connection.end_stream(stream_id))

    def data(self, stream_id, body):
        while body:
            with self.condition:
                window = 0
                while not window:
                    if self.closed or stream_id in self.ended:
                        raise Closed()
                    try:
                        window = min(self.connection.local_flow_control_window(stream_id),
                                     self.connection.max_outbound_frame_size)
                    except h2.exceptions.ProtocolError as error:
                        raise Closed() from error
                    if not window:
                        self.condition.wait(1)
                self.connection.send_data(stream_id, body[:window])
                self._flush()
            body = body[window:]

    def run(self, answer):
        def one(request):
            with contextlib.suppress(Closed):
                answer(request)
        asked = {}
        while not self.closed:
            got = self.stream.recv(65536)
            if not got:
                return
            with self.condition:
                try:
                    events = self.connection.receive_data(got)
                except h2.exceptions.ProtocolError:
                    return
                self._flush()
                self.condition.notify_all()
            for event in events:
                if isinstance(event, h2.events.RequestReceived):
                    headers = dict(event.headers)
                    asked[event.stream_id] = Http2Request(self, event.stream_id, headers[":method"], headers[":path"], headers)
                elif isinstance(event, h2.events.DataReceived):
                    asked[event.stream_id].body += event.data
                    self._do(lambda e=event: self.connection.acknowledge_received_data(e.flow_controlled_length, e.stream_id))
                elif isinstance(event, h2.events.StreamEnded):
                    threading.Thread(target=one, args=(asked.pop(event.stream_id),), daemon=True).start()
                elif isinstance(event, h2.events.StreamReset):
                    self.ended.add(event.stream_id)

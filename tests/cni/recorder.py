# SPDX-License-Identifier: Apache-2.0
"""A control socket that records each request and answers as the test says."""
import array
import json
import os
import socket
import threading


class Recorder:
    """`answer(op, args)` returns a result, an Error, a list of lines to stream, HANG or HANG_UP."""

    def __init__(self, path, answer):
        self.path, self.answer = path, answer
        self.requests, self.inodes = [], []
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        if os.path.exists(path):
            os.unlink(path)
        self.listener.bind(path)
        self.listener.listen(64)
        self.connections = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        for one in [self.listener, *self.connections]:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            one.close()
        if os.path.exists(self.path):
            os.unlink(self.path)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def operations(self):
        return [request["op"] for request in self.requests]

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        data = b""
        while True:
            try:
                part, ancillary, _, _ = connection.recvmsg(65536, socket.CMSG_LEN(4))
            except OSError:
                return
            for _, _, content in ancillary:
                for descriptor in array.array("i", content):
                    self.inodes.append(os.fstat(descriptor).st_ino)
                    os.close(descriptor)
            if not part:
                return
            data += part
            while b"\n" in data:
                line, data = data.split(b"\n", 1)
                if not self._reply(connection, json.loads(line)):
                    connection.close()
                    return

    def _reply(self, connection, request):
        self.requests.append(request)
        result = self.answer(request["op"], request["args"])
        if result is HANG:
            return True
        if result is HANG_UP:
            return False
        lines = result.lines if isinstance(result, Stream) else [result]
        try:
            for line in lines:
                connection.sendall(encode(line))
        except OSError:
            return False
        return not (isinstance(result, Stream) and result.ends)


class Error:
    def __init__(self, code, message="refused", details=""):
        self.value = {"code": code, "message": message, "details": details}


class Stream:
    def __init__(self, lines, ends=False):
        self.lines, self.ends = lines, ends


class Raw:
    def __init__(self, data):
        self.data = data


HANG, HANG_UP = object(), object()


def encode(line):
    if isinstance(line, Raw):
        return line.data
    if isinstance(line, Error):
        return json.dumps({"version": 1, "ok": False, "error": line.value}).encode() + b"\n"
    return json.dumps({"version": 1, "ok": True, "result": line}).encode() + b"\n"

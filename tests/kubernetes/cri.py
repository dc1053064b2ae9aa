# SPDX-License-Identifier: Apache-2.0
"""containerd's CRI over gRPC, as a kubelet drives it: sandboxes of pods, and containers in them."""

import contextlib
import hashlib
import importlib
import io
import json
import os
import re
import shutil
import socket
import sys
import tarfile

from lib.agent import POLDER_CNI
from lib.netns import inside, run
from lib.runner import Skip
from lib.traffic import V4, V6

import runtimes

LOOPBACK = "/usr/lib/cni/loopback"
IMAGE = "localhost/polder-pause:1"


def libraries(description, directory):
    """(grpc, module of CRI's messages): made by protoc of the description."""
    runtimes.need("protoc")
    try:
        import grpc
        import google.protobuf  # noqa: F401
    except ImportError as error:
        raise Skip(f"{error.name} is not installed: deploy/install-deps test") from None
    with open(description, encoding="utf-8") as file, open(os.path.join(directory, "api.proto"), "w", encoding="utf-8") as own:
        # A hint for those who print messages, and unknown to protoc of bookworm.
        own.write(re.sub(r" *\[ *debug_redact *= *true *\]", "", file.read()))
    run(["protoc", "--proto_path", directory, "--python_out", directory, "api.proto"])
    sys.path.insert(0, directory)
    try:
        return grpc, importlib.import_module("api_pb2")
    finally:
        sys.path.remove(directory)


def image_archive(path):
    """An image of busybox that does nothing by itself, in the layout of OCI: no registry is asked."""
    runtimes.need("busybox")
    blobs = {}

    def blob(data, **more):
        name = hashlib.sha256(data).hexdigest()
        blobs["blobs/sha256/" + name] = data
        return {"digest": "sha256:" + name, "size": len(data), **more}
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for name in ("bin", "dev", "etc", "proc", "sys", "tmp", "www"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        tar.add(os.path.realpath(shutil.which("busybox")), "bin/busybox")
        for name in ("sh", "sleep"):
            entry = tarfile.TarInfo("bin/" + name)
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(entry)
    made = blob(layer.getvalue(), mediaType="application/vnd.oci.image.layer.v1.tar")
    config = blob(json.dumps({"architecture": "amd64", "os": "linux", "config": {"Entrypoint": ["/bin/sleep", "1000000"]},
                              "rootfs": {"type": "layers", "diff_ids": [made["digest"]]}}).encode(),
                  mediaType="application/vnd.oci.image.config.v1+json")
    manifest = blob(json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config,
                                "layers": [made]}).encode(), mediaType="application/vnd.oci.image.manifest.v1+json",
                    annotations={"io.containerd.image.name": IMAGE})
    blobs["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [manifest]}).encode()
    blobs["oci-layout"] = b'{"imageLayoutVersion": "1.0.0"}'
    with tarfile.open(path, "w") as tar:
        for name, data in blobs.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return path


class Sandbox:
    """A pod's sandbox. What sends and serves can stand in it."""

    def __init__(self, cri, identity, config):
        self.cri, self.id, self.config = cri, identity, config
        self.ns, self.name = config["metadata"]["namespace"], config["metadata"]["name"]
        self.label, self.removed = self.name, False
        answer = cri.call("PodSandboxStatus", pod_sandbox_id=identity, verbose=True)
        self.status = answer.status
        found = [self.status.network.ip, *[more.ip for more in self.status.network.additional_ips]]
        self.ips = {V6 if ":" in ip else V4: ip for ip in found}
        spec = json.loads(answer.info["info"])["runtimeSpec"]
        self.netns = next(space["path"] for space in spec["linux"]["namespaces"] if space["type"] == "network")

    def __repr__(self):
        return f"{self.ns}/{self.name}"

    def socket(self, *args):
        with inside(self.netns):
            return socket.socket(*args)

    def stop(self):
        self.cri.call("StopPodSandbox", pod_sandbox_id=self.id)

    def remove(self):
        """As a kubelet does, which stops it before. Once."""
        if not self.removed:
            self.stop()
            self.cri.call("RemovePodSandbox", pod_sandbox_id=self.id)
            self.removed = True

    def start_container(self, name, *command):
        """The identity of a container that runs this."""
        made = self.cri.call("CreateContainer", pod_sandbox_id=self.id, sandbox_config=self.config, config={
            "metadata": {"name": name}, "image": {"image": IMAGE}, "command": list(command), "log_path": name + ".log",
            "linux": {"resources": {}}}).container_id
        self.cri.call("StartContainer", container_id=made)
        return made

    def execute(self, container, *command):
        """(exit status, output) of a command in a container."""
        answer = self.cri.call("ExecSync", container_id=container, cmd=list(command), timeout=10)
        return answer.exit_code, answer.stdout.decode()


class Cri(runtimes.Containerd):
    """containerd with Polder as its CNI plugin, in directories of its own."""

    def __init__(self, world):
        runtimes.need("containerd", "ctr", "runc", "containerd-shim-runc-v2")
        self.messages = os.path.join(world.workdir, "messages")
        os.makedirs(self.messages, exist_ok=True)
        self.grpc, self.api = libraries(world.plane.etcd.tools.cri, self.messages)
        self.pods = os.path.join(world.workdir, "pods")
        super().__init__(world, image_archive(os.path.join(world.workdir, "pause.tar")))
        self.channel = self.grpc.insecure_channel("unix:" + self.socket)

    def _own_mounts(self):
        """None: CRI is told where its plugins and their configuration are."""
        bin_dir = os.path.join(self.base, "bin")
        os.makedirs(bin_dir)
        shutil.copy(POLDER_CNI, bin_dir)
        if not os.path.exists(LOOPBACK):
            raise Skip(f"{LOOPBACK} is not there (containernetworking-plugins): deploy/install-deps test")
        shutil.copy(LOOPBACK, bin_dir)  # CRI of containerd 1.6 asks for it before all others
        config = self.node.cni_config()
        with open(os.path.join(self.base, "net.d", "05-polder.conflist"), "w", encoding="ascii") as file:
            json.dump({"cniVersion": config.pop("cniVersion"), "name": config.pop("name"), "plugins": [config]}, file)

    def _config(self):
        return super()._config() + f"""sandbox_image = "{IMAGE}"
disable_cgroup = true
stream_server_address = "127.0.0.1"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{self.base}/bin"
conf_dir = "{self.base}/net.d"
"""

    def command(self, *args):
        return self.node.process_command(*args)

    def ctr(self, *args, **options):
        if args[:2] == ("images", "import"):
            args = ("images", "import", "--snapshotter", "native", *args[2:])
        return super().ctr("--namespace", "k8s.io", *args, **options)

    def call(self, method, service="RuntimeService", **fields):
        """An answer, or grpc.RpcError with what CRI says."""
        request = getattr(self.api, method + "Request")
        ask = self.channel.unary_unary(f"/runtime.v1.{service}/{method}", request_serializer=request.SerializeToString,
                                       response_deserializer=getattr(self.api, method + "Response").FromString)
        return ask(request(**fields), timeout=60)

    def run(self, name, ns="default", uid="", attempt=0):
        """The sandbox of a pod, which `uid` names as the API server does."""
        config = {"metadata": {"name": name, "namespace": ns, "uid": uid or f"uid-{ns}-{name}", "attempt": attempt},
                  "hostname": name, "log_directory": os.path.join(self.pods, f"{ns}_{name}"),
                  "labels": {"io.kubernetes.pod.name": name, "io.kubernetes.pod.namespace": ns},
                  "linux": {"security_context": {"namespace_options": {"pid": 1}}}}
        return Sandbox(self, self.call("RunPodSandbox", config=config).pod_sandbox_id, config)

    def conditions(self):
        """{type: (true or not, message)} of CRI's status."""
        return {c.type: (c.status, c.message) for c in self.call("Status").status.conditions}

    def close(self):
        with contextlib.suppress(Exception):
            for sandbox in self.call("ListPodSandbox").items:
                self.call("StopPodSandbox", pod_sandbox_id=sandbox.id)
                self.call("RemovePodSandbox", pod_sandbox_id=sandbox.id)
        if hasattr(self, "channel"):
            self.channel.close()
        super().close()

# SPDX-License-Identifier: Apache-2.0
"""
etcd, kubectl and CRI's description of Debian sid, and an API server built there from Debian's packages of Kubernetes' library.

The server takes about five minutes of one CPU to build, so all of it is kept: below $XDG_CACHE_HOME/polder, or
/var/cache/polder-tests, in a directory named after what it is built from (our sources and this file; the packages' versions stand in
its file PACKAGES). `--fresh` builds anew with the packages of today.
"""

import contextlib
import fcntl
import glob
import hashlib
import os
import re
import shutil
import subprocess
import tempfile

import debian_packages
from debian_packages import Missing

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCES = os.path.join(HERE, "testserver")
LIBRARIES = ["golang-go", "golang-k8s-apiserver-dev", "golang-k8s-apiextensions-apiserver-dev", "golang-k8s-kube-openapi-dev"]
READY = ["etcd-server", "etcd-client", "kubectl", "golang-k8s-cri-api-dev"]
BUILDS = re.compile(r"golang-.*-dev|golang-[0-9.]+-(go|src)")
# What libraries depend on for parts that are not used here: 190 of 230 MB. All are fetched if one turns out to be needed.
# One is an older CRI with the same paths as the one above.
UNUSED = re.compile(r"golang-(github-(kubernetes-cri-api|cloudflare-circl|klauspost|pierrec-lz4|aws-aws-sdk|nxadm-tail|pjbgf-sha1cd|google-pprof"
                    r"|nats-io|charmbracelet|apache-arrow|envoyproxy|jung-kurt|pelletier|sergi-go-diff|lucasb-eyer|protonmail"
                    r"|mmcloughlin)|google-(cloud|api)|gonum|mongodb|golang-x-image).*")
PROGRAMS = ["usr/bin/etcd", "usr/bin/etcdctl", "usr/bin/etcdutl", "usr/bin/kubectl"]
CRI = "usr/share/gocode/src/k8s.io/cri-api/pkg/apis/runtime/v1/api.proto"
DESCRIBED = ["k8s.io/api/" + group for group in (
    "apps/v1", "coordination/v1", "core/v1", "discovery/v1", "events/v1", "networking/v1", "policy/v1", "rbac/v1", "scheduling/v1")] \
    + ["k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"] + ["k8s.io/apimachinery/pkg/" + name for name in (
        "apis/meta/v1", "runtime", "version", "api/resource", "util/intstr")]
FETCH_LIMIT, BUILD_LIMIT = 180, 1200  # seconds


class Tools:
    """Paths of what is there, in `directory`."""

    def __init__(self, directory):
        self.directory = directory
        for name in ("etcd", "etcdctl", "etcdutl", "kubectl", "testserver"):
            setattr(self, name, os.path.join(directory, name))
        self.cri = os.path.join(directory, "cri", "api.proto")

    def packages(self):
        """{name: version} of what it was made from."""
        with open(os.path.join(self.directory, "PACKAGES"), encoding="ascii") as file:
            return dict(line.split() for line in file)


def cache():
    own = os.environ.get("XDG_CACHE_HOME")
    return os.path.join(own, "polder") if own else "/var/cache/polder-tests"


def digest():
    total = hashlib.sha256()
    for path in sorted(glob.glob(os.path.join(SOURCES, "*.go"))) + [os.path.abspath(__file__)]:
        with open(path, "rb") as file:
            total.update(os.path.basename(path).encode() + b"\0" + file.read())
    return total.hexdigest()[:16]


def get(fresh=False):
    """The Tools: those of the cache, or built now. Missing: the mirror cannot be reached, or its packages do not do."""
    base = cache()
    os.makedirs(base, exist_ok=True)
    kept = os.path.join(base, "kubernetes-" + digest())
    with open(kept + ".lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run builds the same
        if fresh:
            shutil.rmtree(kept, ignore_errors=True)
        if not os.path.isdir(kept):
            work = tempfile.mkdtemp(prefix="kubernetes-building-", dir=base)
            try:
                os.rename(_make(work), kept)
            finally:
                shutil.rmtree(work, ignore_errors=True)
        _forget_others(base, kept)
    return Tools(kept)


def _forget_others(base, kept):
    """Of each state of the sources there is one directory of 200 MB: the five last ones stay."""
    others = sorted(glob.glob(os.path.join(base, "kubernetes-" + "[0-9a-f]" * 16)), key=os.path.getmtime)
    for path in [path for path in others if path != kept][:-4]:
        shutil.rmtree(path, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.unlink(path + ".lock")


# ---- packages


class Packages:
    """Debian sid's, by an apt of our own below `work`; unpacked into `root`."""

    def __init__(self, work):
        self.work, self.root, self.names = work, os.path.join(work, "root"), []
        self.options = debian_packages.apt_options(os.path.join(work, "apt"), ["sid"])
        os.mkdir(self.root)
        os.mkdir(os.path.join(work, "archives"))

    def apt(self, program, *words):
        try:
            done = subprocess.run([program, "-q", *self.options, *words], cwd=os.path.join(self.work, "archives"), text=True,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=FETCH_LIMIT,
                                  check=False)
        except subprocess.TimeoutExpired:
            raise Missing(f"the mirror did not give packages of Debian sid in {FETCH_LIMIT} s") from None
        if done.returncode:
            why = (done.stderr.strip().splitlines() or ["apt said nothing"])[-1]
            raise Missing(f"packages of Debian sid cannot be fetched: {why}")
        return done.stdout

    def closure(self, names):
        """All packages of Go's sources that these need, and Go."""
        out = self.apt("apt-get", "-y", "install", "--simulate", "--no-install-recommends", *names)
        return [name for name in re.findall(r"^Inst (\S+)", out, re.M) if BUILDS.fullmatch(name)]

    def unpack(self, names):
        self.apt("apt-get", "download", *names)
        archives = os.path.join(self.work, "archives")
        for package in os.listdir(archives):
            subprocess.check_call(["nice", "-n", "19", "dpkg-deb", "-x", package, self.root], cwd=archives)
            self.names.append(tuple(package.split("_")[:2]))
            os.unlink(os.path.join(archives, package))


# ---- building


class Go:
    """Go of the packages, with what they unpacked as its only sources: no module is looked for anywhere."""

    def __init__(self, work, root):
        self.root, self.own = os.path.join(root, *self._home(root)), os.path.join(work, "own")
        os.makedirs(os.path.join(self.own, "src"), exist_ok=True)
        processors = os.environ.get("POLDER_GO_JOBS") or str(os.cpu_count())
        self.environment = {
            "PATH": os.path.join(self.root, "bin") + ":/usr/bin:/bin", "HOME": work, "GOROOT": self.root, "GO111MODULE": "off",
            "GOPATH": self.own + ":" + os.path.join(root, "usr/share/gocode"), "GOCACHE": os.path.join(work, "cache"),
            "GOFLAGS": "-p=" + processors, "GOTOOLCHAIN": "local", "GOTELEMETRY": "off", "CGO_ENABLED": "0", "GOGC": "400"}

    @staticmethod
    def _home(root):
        found = sorted(os.listdir(os.path.join(root, "usr/lib")), key=lambda name: [int(n) for n in re.findall(r"\d+", name)])
        return "usr/lib", next(name for name in reversed(found) if name.startswith("go-"))

    def run(self, *command):
        """None, or why it failed."""
        try:
            done = subprocess.run(["nice", "-n", "19", *command], env=self.environment, cwd=self.own, text=True, check=False,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=BUILD_LIMIT)
        except subprocess.TimeoutExpired:
            return f"{command[0]} was not done in {BUILD_LIMIT} s"
        return done.stdout.strip() or f"status {done.returncode}" if done.returncode else None


def _make(work):
    """A directory with everything, below `work`."""
    packages = Packages(work)
    packages.apt("apt-get", "update")
    needed = packages.closure(LIBRARIES)
    later = [name for name in needed if UNUSED.fullmatch(name)]
    packages.unpack([name for name in needed if name not in later] + READY)
    made = os.path.join(work, "made")
    os.makedirs(os.path.join(made, "cri"))
    shutil.copy(os.path.join(packages.root, CRI), os.path.join(made, "cri"))
    why = _build(work, packages)
    if why and "cannot find package" in why:
        packages.unpack(later)
        why = _build(work, packages)
    if why:
        print("".join(f"# {line}\n" for line in why.splitlines()[-20:]), end="", flush=True)
        raise Missing(f"the API server cannot be built from Debian sid's packages: {why.splitlines()[-1]}")
    for path in PROGRAMS:
        shutil.copy(os.path.join(packages.root, path), made)
    shutil.move(os.path.join(work, "testserver"), made)
    with open(os.path.join(made, "PACKAGES"), "w", encoding="ascii") as file:
        file.writelines(f"{name} {version.replace('%3a', ':')}\n" for name, version in sorted(packages.names))
    return made


def _build(work, packages):
    """None, or why it failed. The OpenAPI document comes of the types' sources, by the generator that Kubernetes uses."""
    go = Go(work, packages.root)
    sources = os.path.join(go.own, "src", "testserver")
    shutil.rmtree(sources, ignore_errors=True)
    shutil.copytree(SOURCES, sources)
    os.makedirs(os.path.join(sources, "openapi"))
    header, generator = os.path.join(work, "header"), os.path.join(work, "openapi-gen")
    open(header, "w", encoding="ascii").close()
    version = dict(packages.names)["golang-k8s-apiserver-dev"].split("-")[0]
    return go.run("go", "build", "-o", generator, "k8s.io/kube-openapi/cmd/openapi-gen") \
        or go.run(generator, "--output-dir", os.path.join(sources, "openapi"), "--output-pkg", "testserver/openapi",
                  "--output-file", "generated.go", "--go-header-file", header, "--report-filename", os.devnull, *DESCRIBED) \
        or go.run("go", "build", "-ldflags", "-s -w -X main.version=1." + version.split(".", 1)[1], "-o",
                  os.path.join(work, "testserver"), "testserver")

# SPDX-License-Identifier: Apache-2.0
"""A root directory with podman 5, netavark and what they need, from Debian trixie."""

import glob
import os
import shutil
import subprocess

import debian_packages
from debian_packages import Missing

WANTED = ["podman", "netavark", "conmon", "runc"]
# What they depend on and nobody calls here: half a minute of an emulated machine.
UNUSED = ("gnupg", "gpg", "dirmngr", "pinentry", "libldap", "libsasl2", "perl", "debconf", "dpkg", "tar_")
FETCH_LIMIT = 120  # seconds


def apt(base, *words):
    options = debian_packages.apt_options(os.path.join(base, "apt"), ["trixie"])
    try:
        done = subprocess.run(["apt-get", "-q", "-y", *options, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=FETCH_LIMIT, check=False)
    except subprocess.TimeoutExpired:
        raise Missing(f"the mirror did not give podman 5 of trixie in {FETCH_LIMIT} s") from None
    if done.returncode:
        raise Missing(f"podman 5 of trixie cannot be fetched: {(done.stdout.strip().splitlines() or ['apt said nothing'])[-1]}")


def make_root(base):
    """The path of the root, below `base`. Missing: the mirror cannot be reached, or has it not."""
    busybox = shutil.which("busybox")
    if not busybox:
        raise Missing("busybox-static is not installed: deploy/install-deps test")
    apt(base, "update")
    apt(base, "install", "--download-only", "--no-install-recommends", *WANTED)
    root = os.path.join(base, "root")
    os.mkdir(root)
    for package in glob.glob(os.path.join(base, "apt", "cache", "archives", "*.deb")):
        if not os.path.basename(package).startswith(UNUSED):
            subprocess.check_call(["dpkg-deb", "-x", package, root])
    shutil.rmtree(os.path.join(base, "apt"))
    complete(root, busybox)
    return root


def complete(root, busybox):
    """What the packages' scripts would have made."""
    for name in ("bin", "sbin", "lib", "lib64"):
        if not os.path.exists(os.path.join(root, name)):
            os.symlink("usr/" + name, os.path.join(root, name))
    for name in ("proc", "sys", "dev", "run", "tmp", "mnt", "root", "var/tmp", "etc/containers"):
        os.makedirs(os.path.join(root, name), exist_ok=True)
    shutil.copy(busybox, os.path.join(root, "usr/bin/busybox"))
    for name, text in {"passwd": "root:x:0:0:root:/root:/bin/sh\n", "group": "root:x:0:\n", "hosts": "",
                       "resolv.conf": "nameserver 192.0.2.53\n",
                       "containers/policy.json": '{"default": [{"type": "insecureAcceptAnything"}]}'}.items():
        with open(os.path.join(root, "etc", name), "w", encoding="ascii") as file:
            file.write(text)

# SPDX-License-Identifier: Apache-2.0
"""Calls of the real polder-cni, as a container runtime makes them."""

import contextlib
import json
import os
import subprocess

from .agent import PATIENCE, POLDER_CNI


class CniError(Exception):
    """The plugin's error object."""

    def __init__(self, returncode, out, err):
        self.returncode, self.out, self.err = returncode, out, err
        try:
            self.object = json.loads(out)
        except ValueError:
            self.object = {}
        self.code = self.object.get("code")
        super().__init__(f"exit {returncode}, code {self.code}: {self.object.get('msg')} "
                         f"{self.object.get('details', '')} {err.strip()}")


class CniCall:
    """
    One run of the plugin: environment and configuration go in, output comes back. `start` is called
    as subprocess.Popen is, and may have the plugin traced.
    """

    def __init__(self, command, config, container_id="", netns="", ifname="eth0", args="",
                 plugin=POLDER_CNI, env=None, start=subprocess.Popen):
        environment = {"PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin"), "CNI_COMMAND": command,
                       "CNI_CONTAINERID": container_id, "CNI_NETNS": netns, "CNI_IFNAME": ifname,
                       "CNI_ARGS": args, "CNI_PATH": os.path.dirname(plugin)}
        environment.update(env or {})
        environment = {key: value for key, value in environment.items() if value is not None}
        self.input = config if isinstance(config, str) else json.dumps(config)
        self.process = start([plugin], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True, env=environment)

    def begin(self):
        """Gives it the configuration now, so that it goes on beside others; else finish() does."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(self.input)
            self.process.stdin.close()
        self.process.stdin = self.input = None
        return self

    def finish(self, timeout=PATIENCE):
        """(exit status, standard output, standard error)"""
        out, err = self.process.communicate(self.input, timeout=timeout)
        return self.process.returncode, out, err

    def result(self, timeout=PATIENCE):
        """The result as an object ({} where there is none), or CniError."""
        status, out, err = self.finish(timeout)
        if status != 0:
            raise CniError(status, out, err)
        return json.loads(out) if out.strip() else {}


def cni_args(ns, name, uid=None):
    text = f"IgnoreUnknown=1;K8S_POD_NAMESPACE={ns};K8S_POD_NAME={name}"
    return text + (f";K8S_POD_UID={uid}" if uid else "")

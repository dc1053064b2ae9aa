# SPDX-License-Identifier: Apache-2.0
"""Network namespaces for plugins to look at."""
import subprocess


class Namespace:
    """A network namespace for as long as its process lives."""

    def __enter__(self):
        self.process = subprocess.Popen(["unshare", "-n", "sh", "-c", "echo; exec sleep 600"], stdout=subprocess.PIPE)
        self.process.stdout.readline()
        self.path = f"/proc/{self.process.pid}/ns/net"
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

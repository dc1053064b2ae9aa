# SPDX-License-Identifier: Apache-2.0
"""Debian's packages of another release, by an apt of our own: the machine's lists and state stay as they are."""

import os
import re
import subprocess


class Missing(Exception):
    """Something is not to be had: what and why."""


def mirror():
    """Where apt gets Debian's main packages from."""
    text = subprocess.check_output(
        ['apt-get', 'indextargets', '--format', '$(RELEASE)\t$(COMPONENT)\t$(REPO_URI)', 'Created-By: Packages'],
        text=True, stdin=subprocess.DEVNULL)
    rows = [line.split('\t') for line in text.splitlines()]
    with open('/etc/os-release', encoding='utf-8') as file:
        release = re.search(r'^VERSION_CODENAME=(\S+)', file.read(), re.M)
    wanted = {'stable', 'sid', release.group(1) if release else 'bookworm'}
    for codename, component, uri in rows:
        if component == 'main' and codename in wanted:
            return uri
    raise Missing("apt knows no mirror with Debian's main packages: see /etc/apt/sources.list")


def apt_options(home, releases):
    """Of commands of an apt that has its state in `home`. Signatures and digests are checked."""
    for part in ('lists/partial', 'cache/archives/partial', 'sources', 'preferences'):
        os.makedirs(os.path.join(home, part), exist_ok=True)
    with open(os.path.join(home, 'sources', 'debian.sources'), 'w', encoding='utf-8') as file:
        file.write(f'Types: deb\nURIs: {mirror()}\nSuites: {" ".join(releases)}\nComponents: main\n'
                   'Architectures: amd64\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n')
    options = {'Dir::Etc::sourcelist': '/dev/null', 'Dir::Etc::sourceparts': home + '/sources',
               'Dir::Etc::preferences': '/dev/null', 'Dir::Etc::preferencesparts': home + '/preferences',
               'Dir::State::lists': home + '/lists', 'Dir::State::status': '/dev/null', 'Dir::Cache': home + '/cache',
               'Acquire::Languages': 'none', 'Acquire::Retries': '3', 'APT::Sandbox::User': 'root',
               'Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled': 'false'}
    return [word for key, value in options.items() for word in ('-o', f'{key}={value}')]

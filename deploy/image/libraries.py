# SPDX-License-Identifier: Apache-2.0
"""The libraries of the image: which a program needs, where they come from, and those that are built for it."""

import concurrent.futures
import glob
import hashlib
import os
import re
import shutil
import subprocess

# Debian's name of each architecture, the GNU triplet, meson's name of the CPU family.
PLATFORMS = {'linux/amd64': ('amd64', 'x86_64-linux-gnu', 'x86_64'), 'linux/arm64': ('arm64', 'aarch64-linux-gnu', 'aarch64')}

# polderd speaks HTTP and HTTPS, by HTTP/1.1 and HTTP/2, with gzip, through proxies, and serves plain HTTP.
CURL = ('--disable-static --enable-shared --disable-dependency-tracking --enable-versioned-symbols --enable-threaded-resolver --with-openssl '
        '--with-nghttp2 --with-zlib --without-ca-bundle --with-ca-path=/etc/ssl/certs --without-zstd --without-brotli --without-libpsl '
        '--without-libidn2 --without-librtmp --without-libssh2 --without-gssapi --disable-ldap --disable-ldaps --disable-ftp --disable-file '
        '--disable-rtsp --disable-dict --disable-telnet --disable-tftp --disable-pop3 --disable-imap --disable-smb --disable-smtp '
        '--disable-gopher --disable-mqtt --disable-cookies --disable-ntlm --disable-alt-svc --disable-hsts --disable-netrc --disable-doh '
        '--disable-unix-sockets --disable-websockets --disable-manual')
MICROHTTPD = ('--disable-static --enable-shared --disable-dependency-tracking --disable-https --disable-doc --disable-examples --disable-curl '
              '--disable-postprocessor --disable-bauth --disable-dauth')
# polderctl compiles expressions, and never opens a device.
PCAP = '--disable-dbus --disable-usb --disable-bluetooth --disable-rdma --disable-remote --without-libnl --without-dag --without-septel --without-snf'
# Source package, Debian's patches that are taken back, options of configure, directory and target of make.
BUILT = [('curl', 2, CURL, 'lib', 'libcurl.la'), ('libmicrohttpd', 0, MICROHTTPD, 'src/microhttpd', 'libmicrohttpd.la'),
         ('libpcap', 0, PCAP, '.', 'libpcap.so')]
# By which names programs ask, where Debian's differ from upstream's.
SONAMES = {'libpcap.so.1': 'libpcap.so.0.8'}
# What a build for another architecture needs of that one.
DEVELOPMENT = ('libc6-dev linux-libc-dev libgcc-12-dev libbpf-dev libelf-dev zlib1g-dev libmnl-dev libjansson-dev libyaml-dev libuv1-dev '
               'libmicrohttpd-dev libcurl4-openssl-dev libpcap0.8-dev libssl-dev libnghttp2-dev uthash-dev').split()


class Failure(Exception):
    """What could not be done, and what to do."""


def native():
    machine = os.uname().machine
    return next((name for name, (_, triplet, _) in PLATFORMS.items() if triplet.startswith(machine)), 'linux/amd64')


def call(command, log, **options):
    with open(log, 'ab') as file:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, check=False, **options)
    if done.returncode:
        with open(log, encoding='utf-8', errors='replace') as file:
            last = [line for line in file.read().splitlines() if line.strip()][-3:]
        raise Failure(f'{" ".join(command[:3])} failed, see {log}: {" / ".join(last)}')


class Apt:
    """An apt of our own: the machine's lists and state stay as they are. Signatures and digests are checked."""

    def __init__(self, home, architecture):
        self.home = home
        for part in ('lists/partial', 'cache/archives/partial', 'sources', 'preferences', 'archives'):
            os.makedirs(os.path.join(home, part), exist_ok=True)
        with open(os.path.join(home, 'sources', 'debian.sources'), 'w', encoding='utf-8') as file:
            for release, uri in self.mirrors():
                file.write(f'Types: deb deb-src\nURIs: {uri}\nSuites: {release}\nComponents: main\nArchitectures: {architecture}\n'
                           'Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n')
        values = {'Dir::Etc::sourcelist': '/dev/null', 'Dir::Etc::sourceparts': home + '/sources', 'Dir::Etc::preferences': '/dev/null',
                  'Dir::Etc::preferencesparts': home + '/preferences', 'Dir::State::lists': home + '/lists',
                  'Dir::State::status': '/dev/null', 'Dir::Cache': home + '/cache', 'Acquire::Languages': 'none', 'Acquire::Retries': '3',
                  'APT::Sandbox::User': 'root', 'Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled': 'false',
                  'APT::Architecture': architecture, 'APT::Architectures': architecture}
        self.options = [word for key, value in values.items() for word in ('-o', f'{key}={value}')]
        self.log = os.path.join(home, 'apt.log')

    @staticmethod
    def mirrors():
        """(release, URI) of Debian's main packages, security updates among them, as the machine's apt has them."""
        with open('/etc/os-release', encoding='utf-8') as file:
            codename = re.search(r'^VERSION_CODENAME=(\S+)', file.read(), re.M)
        codename = codename.group(1) if codename else 'bookworm'
        text = subprocess.check_output(['apt-get', 'indextargets', '--format', '$(RELEASE)\t$(COMPONENT)\t$(REPO_URI)',
                                        'Created-By: Packages'], text=True, stdin=subprocess.DEVNULL)
        rows = {tuple(line.split('\t')) for line in text.splitlines()}
        found = sorted((release, uri) for release, component, uri in rows
                       if component == 'main' and (release == codename or release.startswith(codename + '-')))
        if not found:
            raise Failure(f'apt knows no mirror with {codename}\'s main packages: see /etc/apt/sources.list')
        return found

    def update(self):
        call(['apt-get', *self.options, 'update'], self.log)

    def version(self, source):
        """The newest version of a source package."""
        text = subprocess.check_output(['apt-cache', *self.options, 'showsrc', '--only-source', source], text=True)
        versions = re.findall(r'^Version: (\S+)', text, re.M)
        if not versions:
            raise Failure(f'the mirror has no source package {source}')
        newest = versions[0]
        for version in versions[1:]:
            if subprocess.call(['dpkg', '--compare-versions', version, 'gt', newest]) == 0:
                newest = version
        return newest

    def unpack_source(self, source, version, directory):
        call(['apt-get', *self.options, '--download-only', 'source', f'{source}={version}'], self.log, cwd=os.path.dirname(directory))
        description = glob.glob(os.path.join(os.path.dirname(directory), f'{source}_*.dsc'))
        call(['dpkg-source', '--no-check', '-x', description[0], directory], self.log)

    def drop_patches(self, directory, count):
        """Takes back the last ones of the series: of curl, those that make the other two flavours, of other symbol versions."""
        patches = os.path.join(directory, 'debian', 'patches')
        with open(os.path.join(patches, 'series'), encoding='utf-8') as file:
            names = [line.strip() for line in file if line.strip() and not line.startswith('#')]
        for name in reversed(names[len(names) - count:]):
            call(['patch', '-R', '-p1', '--no-backup-if-mismatch', '-i', os.path.join(patches, name)], self.log, cwd=directory)

    def unpack(self, packages, root):
        call(['apt-get', *self.options, '-y', '--no-install-recommends', '--download-only', 'install', *packages], self.log)
        for archive in sorted(glob.glob(os.path.join(self.home, 'cache', 'archives', '*.deb'))):
            call(['dpkg-deb', '-x', archive, root], self.log)


class Target:
    """What is built for: this machine's architecture with what is installed, another one with a cross compiler and a root of its own."""

    def __init__(self, platform, cache):
        self.architecture, self.triplet, self.family = PLATFORMS[platform]
        self.cross = platform != native()
        self.directory = os.path.join(os.path.abspath(cache), self.architecture)
        mark = hashlib.sha256(repr(DEVELOPMENT).encode()).hexdigest()[:8]
        self.root = os.path.join(self.directory, f'root-{mark}') if self.cross else '/'
        os.makedirs(self.directory, exist_ok=True)
        self.apt = Apt(os.path.join(self.directory, 'apt'), self.architecture)

    def tool(self, name):
        return f'{self.triplet}-{name}' if self.cross else name

    def prepare(self):
        if self.cross and not shutil.which(self.tool('gcc')):
            raise Failure(f'{self.tool("gcc")} is not installed: apt-get install gcc-{self.triplet.replace("_", "-")}')
        self.apt.update()
        if self.cross and not os.path.isdir(self.root):
            self.apt.unpack(DEVELOPMENT, self.root + '.new')
            os.rename(self.root + '.new', self.root)

    def library_directories(self):
        return [os.path.join(self.root, part, self.triplet) for part in ('lib', 'usr/lib')]

    def place(self, name):
        """Where the dynamic loader looks for a library, or where programs look for the loader."""
        if name.startswith('/'):
            return 'usr/' + name.lstrip('/')
        return os.path.join('usr/lib', self.triplet, name)

    def environment(self):
        # No debugging information: it would be stripped.
        flags = {name: subprocess.check_output(['dpkg-buildflags', '--get', name], text=True,
                                               env={**os.environ, 'DEB_BUILD_MAINT_OPTIONS': 'hardening=+all'}).strip()
                 for name in ('CFLAGS', 'CPPFLAGS', 'LDFLAGS')}
        flags['CFLAGS'] = re.sub(r'(^|\s)-g(?=\s|$)', ' ', re.sub(r'-ffile-prefix-map=\S+', '', flags['CFLAGS'])) + ' -g0'
        if self.cross:
            flags.update(CC=f'{self.tool("gcc")} --sysroot={self.root}', PKG_CONFIG_SYSROOT_DIR=self.root,
                         PKG_CONFIG_LIBDIR=f'{self.root}/usr/lib/{self.triplet}/pkgconfig:{self.root}/usr/share/pkgconfig')
        return {**os.environ, **flags}

    def build_programs(self, source, build):
        """The directory with the programs: that of the machine's own build, or one that is made for the other architecture."""
        if not self.cross:
            return build
        build = os.path.join(self.directory, 'programs')
        cross = os.path.join(self.directory, 'cross.ini')
        with open(cross, 'w', encoding='ascii') as file:
            file.write(f"[binaries]\nc = ['{self.tool('gcc')}', '--sysroot={self.root}']\nar = '{self.tool('ar')}'\n"
                       f"strip = '{self.tool('strip')}'\npkgconfig = 'pkg-config'\n[properties]\nsys_root = '{self.root}'\n"
                       f"pkg_config_libdir = '{self.root}/usr/lib/{self.triplet}/pkgconfig'\n[host_machine]\nsystem = 'linux'\n"
                       f"cpu_family = '{self.family}'\ncpu = '{self.family}'\nendian = 'little'\n")
        log = os.path.join(self.directory, 'programs.log')
        if not os.path.exists(os.path.join(build, 'build.ninja')):
            call(['meson', 'setup', build, source, '--cross-file', cross, '-Dtests=disabled'], log)
        # clang, which makes the BPF objects, knows the host's asm/ headers only.
        call(['ninja', '-C', build, 'agent/polderd', 'agent/cli/polderctl', 'cni/polder-cni'], log,
             env={**os.environ, 'CPATH': f'{self.root}/usr/include/{self.triplet}'})
        return build


def soname_of(library):
    text = subprocess.check_output(['readelf', '-dW', library], text=True, env={**os.environ, 'LC_ALL': 'C'})
    found = re.search(r'Library soname: \[([^\]]+)\]', text)
    return found.group(1) if found else os.path.basename(library)


def build_one(target, prefix, part, version):
    package, patches, options, directory, wanted = part
    tree = os.path.join(prefix, 'work', package, 'tree')
    os.makedirs(os.path.dirname(tree))
    target.apt.unpack_source(package, version, tree)
    target.apt.drop_patches(tree, patches)
    log = os.path.join(prefix, f'{package}.log')
    host = [f'--host={target.triplet}'] if target.cross else []
    call(['./configure', *host, *options.split()], log, cwd=tree, env=target.environment())
    call(['make', f'-j{os.cpu_count()}', '-C', directory, wanted], log, cwd=tree, env=target.environment())
    # libtool makes the links that programs ask for; others leave that to their installation.
    for library in glob.glob(os.path.join(tree, directory, '.libs', '*.so.*')) + glob.glob(os.path.join(tree, 'libpcap.so.*')):
        soname = soname_of(library)
        for name in {os.path.basename(library), soname, SONAMES.get(soname, soname)}:
            shutil.copy(library, os.path.join(prefix, 'lib', name), follow_symlinks=True)
    notice = os.path.join(prefix, 'doc', package)
    os.makedirs(notice)
    shutil.copy(os.path.join(tree, 'debian', 'copyright'), notice)


def build(target):
    """Builds the libraries, or finds them as they were built before from the same versions. Returns the directory of lib/."""
    versions = {part[0]: target.apt.version(part[0]) for part in BUILT}
    mark = hashlib.sha256(repr((BUILT, sorted(versions.items()))).encode()).hexdigest()[:16]
    prefix = os.path.join(target.directory, f'libraries-{mark}')
    if os.path.isdir(prefix):
        return prefix
    new = prefix + '.new'
    shutil.rmtree(new, ignore_errors=True)
    os.makedirs(os.path.join(new, 'lib'))
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for done in [pool.submit(build_one, target, new, part, versions[part[0]]) for part in BUILT]:
            done.result()
    shutil.rmtree(os.path.join(new, 'work'))
    os.rename(new, prefix)
    return prefix


def read_elf(path):
    """(libraries that an ELF file names, its interpreter or None)"""
    text = subprocess.check_output(['readelf', '-dlW', path], text=True, env={**os.environ, 'LC_ALL': 'C'}, stderr=subprocess.DEVNULL)
    interpreter = re.search(r'\[Requesting program interpreter: ([^\]]+)\]', text)
    return re.findall(r'\(NEEDED\)\s+Shared library: \[([^\]]+)\]', text), interpreter and interpreter.group(1)


def needed(programs, target, directories):
    """{name: path} of all libraries that the programs need, and theirs; the loader by its whole path."""
    found, waiting = {}, list(programs)
    while waiting:
        names, interpreter = read_elf(waiting.pop())
        if interpreter and interpreter not in found:
            found[interpreter] = os.path.realpath(os.path.join(target.root, interpreter.lstrip('/')))
        for name in names:
            if name in found or name in map(os.path.basename, found):
                continue
            path = next((os.path.join(d, name) for d in directories if os.path.exists(os.path.join(d, name))), None)
            if not path:
                raise Failure(f'{name} is not in {", ".join(directories)}')
            found[name] = os.path.realpath(path)
            waiting.append(found[name])
    return found

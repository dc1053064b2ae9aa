#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Builds Polder and runs the test suites, as many programs at a time as there are CPUs for. See tests/README.md."""

import argparse
import glob
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

SOURCE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(SOURCE, 'build')
BUILD_ASAN = os.path.join(SOURCE, 'build-asan')
LOGS = os.path.join(BUILD, 'test-logs')


class Suite:
    """`limit` is in seconds for each program of the suite; `network`: it needs the machine's own network; `cpus`: how many each
    program keeps busy, a half where it mostly waits. Meson tests that are not is_parallel have all of them."""

    def __init__(self, name, limit, what, meson=None, sanitized=False, network=False, cpus=1):
        self.name = name
        self.limit = limit
        self.what = what
        self.meson = meson  # the label of the tests in meson.build files
        self.sanitized = sanitized
        self.network = network
        self.cpus = cpus

    def program(self):
        path = os.path.join(SOURCE, 'tests', self.name, 'run')
        return path if os.access(path, os.X_OK) else None


# In the order in which they are begun. netns takes as much of a CPU as others leave: what waits runs beside it, and what never waits
# comes when it is done; those that need two CPUs are the last.
SUITES = [
    Suite('netns', 3600, 'real packets between network namespaces'),
    Suite('kernel', 1200, 'booted kernels: programs load, attach and forward', network=True),
    Suite('unit', 180, 'functions of the user space (CUnit)', meson='unit', cpus=0.5),
    Suite('e2e', 1200, 'podman and containerd', cpus=0.5),
    Suite('reliability', 900, 'agent and plugin killed, their system calls failing, while pods talk'),
    Suite('api', 300, 'polderd follows an API server that is wrong in every way', cpus=0.5),
    Suite('netavark', 600, 'podman 5 and netavark of Debian trixie', network=True, cpus=0.5),
    Suite('lint', 1500, 'static analysis and the rules of the tree'),
    Suite('kubernetes', 1800, 'a real API server, etcd and kubectl: polderd follows them; containerd runs pods as a kubelet has it do',
          network=True),
    Suite('package', 600, 'the Debian package is built, installed, upgraded, removed and purged', network=True),
    Suite('tryout', 300, 'deploy/try-out says what the example policies mean, on a node and in a cluster', cpus=0.5),
    Suite('asan', 300, 'the unit and golden tests with address and undefined behaviour checks', meson='unit golden',
          sanitized=True, cpus=0.5),
    Suite('mutation', 600, 'ten small faults, put into the policy compiler, are caught'),
    Suite('page', 300, 'the page for browsers in headless Chromium and Firefox'),
    Suite('image', 300, 'the image is built, and run by podman as the manifest says', network=True),
    Suite('scale', 180, 'polderd in a large cluster: lists, thousands of changes, memory, CPU'),
    Suite('golden', 180, 'JSON in, map entries out', meson='golden'),
    Suite('docs', 120, 'man pages and pages say what the sources say', meson='docs'),
    Suite('oracle', 60, 'the independent evaluation of policies, against cases made by hand'),
    Suite('install', 120, 'what meson install puts where'),
    Suite('bpf', 300, 'the loaded programs on made packets', meson='bpf'),
    Suite('differential', 600, 'random worlds: agent and programs against the oracle, packet by packet', cpus=2),
    Suite('fuzz', 600, 'each parser against random input for a few seconds', cpus=2),
]

# A program of a suite has its own processes, mounts, /run, bpffs and (mostly) network: nothing of it can stay behind.
SANDBOX = '''
mount -t proc proc /proc || exit 99
mount -t bpf -o mode=0700 bpf /sys/fs/bpf || exit 99
if [ "$POLDER_TEST_NETWORK" = own ]; then
	mount -t tmpfs -o mode=0755 tmpfs /run || exit 99
	mkdir -p /run/netns /run/lock
	ip link set lo up || exit 99
fi
"$@"
'''


class Tally:
    def __init__(self):
        self.passed = 0
        self.failures = []
        self.skipped = []

    def add(self, suite, results):
        for state, name, why in results:
            if state == 'ok':
                self.passed += 1
            elif state == 'skip':
                self.skipped.append((suite, name, why))
            else:
                self.failures.append((suite, name, why))


RESULT_LINE = re.compile(r'^(ok|not ok|skip)\s+(?:\d+\s+-\s+)?(\S.*?)\s*$')
CUNIT_TESTS = re.compile(r'^\s*tests\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s*$', re.M)
CUNIT_FAILED = re.compile(r'^\s*Test: (.*?) ?\.\.\.\s*FAILED', re.M)


def parse_lines(text):
    results = []
    for line in text.splitlines():
        match = RESULT_LINE.match(line)
        if match:
            name, _, why = match.group(2).partition(' - ')
            if match.group(1) == 'ok' and '# SKIP' in name + why:
                results.append(('skip', name.split(' # ')[0], (name + why).split('# SKIP', 1)[1].strip()))
            else:
                results.append((match.group(1), name, why))
    return results


def parse_cunit(text, program):
    results = []
    for total, ran, passed, failed, inactive in CUNIT_TESTS.findall(text):
        results += [('ok', f'{program}: {i}', '') for i in range(int(passed))]
        names = CUNIT_FAILED.findall(text)[:int(failed)]
        names += ['a test'] * (int(failed) - len(names))
        results += [('not ok', f'{program}: {name}', 'see its output') for name in names]
        if int(ran) < int(total):
            results.append(('not ok', f'{program}: all tests run', f'{ran} of {total} ran'))
    return results


def parse_unittest(text, program):
    """Python's unittest: how many ran, and which ones failed or were skipped."""
    results = []
    for ran, verdict in re.findall(r'^Ran (\d+) tests? in .*\n\n(OK|FAILED)', text, re.M):
        failed = re.findall(r'^(?:FAIL|ERROR): (\S+)', text, re.M)
        skipped = re.findall(r"\.\.\. skipped ['\"](.*)['\"]$", text, re.M)  # told with verbosity=2
        count = sum(int(number) for number in re.findall(r'^(?:OK|FAILED) \(.*?skipped=(\d+)', text, re.M))
        skipped += ['see its output'] * (count - len(skipped))
        results += [('not ok', f'{program}: {name}', 'see its output') for name in failed]
        results += [('skip', f'{program}: a test', why) for why in skipped]
        results += [('ok', program, '')] * max(int(ran) - len(failed) - len(skipped), 0)
        if verdict == 'FAILED' and not failed:
            results.append(('not ok', program, 'see its output'))
    return results


def evaluate(text, status, program):
    """The results that one program reported, and its own failure if it had one."""
    results = parse_lines(text) or parse_cunit(text, program) or parse_unittest(text, program)
    failed = any(state == 'not ok' for state, _, _ in results)
    skipped = status == 77 and all(state == 'skip' for state, _, _ in results)
    if status == 'timeout':
        results.append(('not ok', program, 'took longer than its time limit'))
    elif skipped and not results:
        results.append(('skip', program, text.strip().splitlines()[-1] if text.strip() else 'no reason given'))
    elif not results:
        results.append(('not ok', program, f'reported no test (exit {status})'))
    elif status != 0 and not failed and not skipped:
        results.append(('not ok', program, f'exit {status} although no test failed'))
    return results


class Program:
    """One program of a suite. It runs in a sandbox and writes to a file of its own."""

    def __init__(self, suite, name, command, env, directory=SOURCE, alone=False):
        self.suite, self.name, self.command = suite, name, command
        self.directory = directory
        self.cpus = sys.maxsize if alone else suite.cpus
        self.environment = dict(env, POLDER_TEST_NETWORK='machine' if suite.network else 'own', POLDER_CPUS=str(max(1, suite.cpus)),
                                POLDER_BUILD=BUILD_ASAN if suite.sanitized else BUILD)
        self.log = os.path.join(LOGS, f'{suite.name}.{name}.part')
        self.process = self.began = None

    def start(self):
        wrap = ['unshare', '--mount', '--pid', '--fork', '--kill-child', '--propagation', 'private']
        if not self.suite.network:
            wrap.append('--net')
        with open(self.log, 'wb') as out:
            self.process = subprocess.Popen(wrap + ['--', '/bin/sh', '-c', SANDBOX, 'sh'] + self.command,
                                            cwd=self.directory, env=self.environment, stdin=subprocess.DEVNULL,
                                            stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
        self.began = time.monotonic()

    def ended(self):
        """(exit status, seconds of CPU) once it has ended, else None. One that is late is ended: 'timeout'."""
        pid, status, usage = os.wait4(self.process.pid, os.WNOHANG)
        late = not pid and time.monotonic() - self.began > self.suite.limit
        if late:
            pid, status, usage = self.kill()
        if not pid:
            return None
        self.process.returncode = os.waitstatus_to_exitcode(status)
        return 'timeout' if late else self.process.returncode, usage.ru_utime + usage.ru_stime

    def kill(self):
        self.process.kill()  # the sandbox's first process dies with it, and all others with that one
        return os.wait4(self.process.pid, 0)

    def text(self):
        with open(self.log, 'rb') as written:
            return written.read().decode(errors='replace')


def environment():
    env = {key: value for key, value in os.environ.items() if not key.startswith(('MESON', 'NINJA'))}
    env['PATH'] = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
    env['LC_ALL'] = 'C.UTF-8'
    env['POLDER_SOURCE'] = SOURCE
    env['POLDER_BUILD'] = BUILD
    env['PYTHONDONTWRITEBYTECODE'] = '1'
    env['ASAN_OPTIONS'] = 'detect_leaks=1:abort_on_error=0'
    env['UBSAN_OPTIONS'] = 'print_stacktrace=1:halt_on_error=1'
    return env


def step(title, command, log, env):
    """A part of the build. Returns True or shows what went wrong."""
    began = time.monotonic()
    with open(log, 'ab') as out:
        status = subprocess.call(command, cwd=SOURCE, env=env, stdin=subprocess.DEVNULL, stdout=out,
                                 stderr=subprocess.STDOUT)
    print(f'{title}: {"done" if status == 0 else "FAILED"} ({time.monotonic() - began:.0f} s)', flush=True)
    if status != 0:
        with open(log, encoding='utf-8', errors='replace') as text:
            sys.stdout.write(''.join(text.readlines()[-80:]))
    return status == 0


def meson_build(directory, options, targets, env):
    log = os.path.join(LOGS, os.path.basename(directory) + '.log')
    open(log, 'w', encoding='utf-8').close()
    if not os.path.exists(os.path.join(directory, 'build.ninja')):
        shutil.rmtree(os.path.join(directory, 'meson-private'), ignore_errors=True)
        if not step(f'configure {os.path.basename(directory)}', ['meson', 'setup', directory] + options, log, env):
            return False
    # What meson tells of targets is as old as its last run: one that a changed meson.build brings would be left out.
    if targets and not step(f'look at {os.path.basename(directory)}', ['ninja', '-C', directory, 'build.ninja'], log, env):
        return False
    wanted = targets() if targets else []
    if targets and not wanted:
        return True
    return step(f'build {os.path.basename(directory)}', ['ninja', '-C', directory] + wanted, log, env)


def meson_tests(directory, labels):
    text = subprocess.check_output(['meson', 'introspect', '--tests', directory], text=True, env=environment())
    found = []
    for test in json.loads(text):
        names = [suite.split(':')[-1] for suite in test['suite']]
        if any(label in names for label in labels.split()):
            found.append(test)
    return found


def asan_targets():
    """What the sanitized tests run, by its path in the build directory."""
    text = subprocess.check_output(['meson', 'introspect', '--targets', BUILD_ASAN], text=True, env=environment())
    files = {target['id']: target['filename'] for target in json.loads(text)}
    needed = set()
    for test in meson_tests(BUILD_ASAN, 'unit golden'):
        for target in test['depends']:
            needed.update(os.path.relpath(path, BUILD_ASAN) for path in files.get(target, []))
    return sorted(needed)


def programs_of(suite, env):
    found = []
    if suite.meson:
        build = BUILD_ASAN if suite.sanitized else BUILD
        for test in meson_tests(build, suite.meson):
            found.append(Program(suite, test['name'], test['cmd'], dict(env, **test['env']), test['workdir'] or build,
                                 not test['is_parallel']))
    if suite.program():
        found.append(Program(suite, suite.name, [suite.program()], env))
    return found


class SuiteRun:
    """What is known of a suite while its programs run."""

    def __init__(self, suite, programs):
        self.suite, self.left = suite, len(programs)
        self.began, self.seconds, self.cpu = None, 0, 0
        self.results, self.shown = [], []
        self.log = os.path.join(LOGS, suite.name + '.log')
        open(self.log, 'w', encoding='utf-8').close()
        for part in glob.glob(os.path.join(LOGS, f'{suite.name}.*.part')):
            os.unlink(part)
        if not programs:
            why = f'there is no test: neither tests/{suite.name}/run nor a meson test of it'
            self.results.append(('not ok', suite.name, why))

    def take(self, program, status, cpu):
        """A program has ended."""
        text = program.text()
        with open(self.log, 'a', encoding='utf-8') as out:
            out.write(text)
        os.unlink(program.log)
        evaluated = evaluate(text, status, program.name)
        if any(state == 'not ok' for state, _, _ in evaluated):
            self.shown.append(f'--- output of {program.name} ({self.suite.name})\n{text.rstrip()}\n---')
        self.results += evaluated
        self.began = min(self.began or program.began, program.began)
        self.seconds, self.cpu = time.monotonic() - self.began, self.cpu + cpu
        self.left -= 1

    def conclude(self, tally):
        tally.add(self.suite.name, self.results)
        states = [state for state, _, _ in self.results]
        self.shown.append(f'{self.suite.name:12} {states.count("ok")} passed, {states.count("not ok")} failed, '
                          f'{states.count("skip")} skipped ({self.seconds:.0f} s, {self.cpu:.0f} s of CPU)')
        print('\n'.join(self.shown), flush=True)


def run_programs(programs, cpus, on_end):
    """As many at a time as there are CPUs for, in their order; one that finds too few of them free lets others go first."""
    def share(program):
        return 1 if cpus == 1 else min(program.cpus, cpus)

    waiting, running = list(programs), []
    try:
        while waiting or running:
            free = cpus - sum(map(share, running))
            fitting = next((program for program in waiting if share(program) <= free), None)
            if fitting:
                waiting.remove(fitting)
                running.append(fitting)
                fitting.start()
                continue
            time.sleep(0.02)
            for program in list(running):
                ended = program.ended()
                if ended:
                    running.remove(program)
                    on_end(program, *ended)
    finally:
        for program in running:
            program.kill()


def run_suites(chosen, env, cpus, tally):
    """All programs of the suites. What is told of a suite is told when its last one has ended."""
    found = {suite: programs_of(suite, env) for suite in chosen}
    runs = {suite: SuiteRun(suite, programs) for suite, programs in found.items()}

    def take(program, status, cpu):
        run = runs[program.suite]
        run.take(program, status, cpu)
        if not run.left:
            run.conclude(tally)

    for run in runs.values():
        if not run.left:
            run.conclude(tally)
    run_programs([program for suite in chosen for program in found[suite]], cpus, take)


def cgroups():
    """Control groups are nobody's but the kernel's: what a suite left empty is taken away."""
    found = set()
    for root in ('/sys/fs/cgroup/unified', '/sys/fs/cgroup'):
        if os.path.exists(os.path.join(root, 'cgroup.controllers')):
            for directory, _, _ in os.walk(root):
                found.add(directory)
            break
    return found


def remove_cgroups(before):
    for directory in sorted(cgroups() - before, key=len, reverse=True):
        try:
            os.rmdir(directory)
        except OSError:
            pass  # in use by somebody else


def build_all(chosen, env):
    os.makedirs(LOGS, exist_ok=True)
    if not meson_build(BUILD, [], None, env):
        return False
    if any(suite.sanitized for suite in chosen):
        # What the sanitizers tell is told by lines (-g1); all that a debugger wants besides is a quarter of the compiler's time.
        options = ['-Db_sanitize=address,undefined', '-Db_lundef=false', '-Doptimization=1', '-Dc_args=-g1',
                   f'-Ddatapath_objects={BUILD}/datapath']
        return meson_build(BUILD_ASAN, options, asan_targets, env)
    return True


def arguments():
    parser = argparse.ArgumentParser(prog='tests/run', description='Installs, builds and runs all tests of Polder.')
    parser.add_argument('--no-install', action='store_true', help='do not install packages first')
    parser.add_argument('--suite', action='append', metavar='NAME', help='only this suite (repeatable)')
    parser.add_argument('--cpus', type=int, default=len(os.sched_getaffinity(0)), metavar='N',
                        help='run as many programs at a time as N CPUs are enough for (the number of CPUs; 1: one after the other)')
    parser.add_argument('--list', action='store_true', help='list the suites and end')
    return parser.parse_args()


def main():
    args = arguments()
    if args.list:
        for suite in SUITES:
            print(f'{suite.name:12} {suite.what}')
        return 0
    known = {suite.name: suite for suite in SUITES}
    for name in args.suite or []:
        if name not in known:
            print(f'tests/run: no suite {name!r}: --list shows them', file=sys.stderr)
            return 2
    if os.geteuid() != 0:
        print('tests/run: not root: network namespaces and BPF programs need it', file=sys.stderr)
        return 2
    chosen = [suite for suite in SUITES if not args.suite or suite.name in args.suite]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    tally = Tally()
    env = environment()
    if build_all(chosen, env):
        groups = cgroups()
        try:
            run_suites(chosen, env, max(args.cpus, 1), tally)
        finally:
            remove_cgroups(groups)
    else:
        tally.failures.append(('build', 'build', f'see above and {LOGS}'))
    for suite, name, why in tally.skipped:
        print(f'skipped: {suite}: {name} - {why}')
    for suite, name, why in tally.failures:
        print(f'FAILED: {suite}: {name} - {why}')
    print(f'{tally.passed} passed, {len(tally.failures)} failed, {len(tally.skipped)} skipped', flush=True)
    return 1 if tally.failures else 0


if __name__ == '__main__':
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit('tests/run: interrupted')

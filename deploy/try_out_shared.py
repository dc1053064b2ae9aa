# SPDX-License-Identifier: Apache-2.0
"""What the try-outs of deploy/try-out share: namespaces, processes, pods, and the table of who reaches whom."""

import collections
import glob
import json
import os
import shutil
import signal
import subprocess
import sys
import time

SOURCE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.environ.get('POLDER_BUILD', os.path.join(SOURCE, 'build'))
EXAMPLES = os.path.join(SOURCE, 'deploy', 'examples')

RUN = '/run/polder-try'
PODS = RUN + '/pods'  # those that are connected, and to which agent
PREFIX = 'polder-try-'
OUTSIDE = PREFIX + 'outside'

# Documentation ranges (RFC 5737, RFC 3849): nothing real is shadowed.
OUTSIDE_ADDRESSES = ['192.0.2.254', '2001:db8:2::fe']
MONITOR = ['198.51.100.10', '2001:db8:51::10']
STRANGER = ['198.51.100.200', '2001:db8:51::c8']

# Who asks: addresses to ask from; the control group of a node's processes.
Place = collections.namedtuple('Place', 'name namespace addresses cgroup', defaults=[None])
# Who is asked: `node` is the namespace of a pod's node.
Target = collections.namedtuple('Target', 'name addresses port node', defaults=[None])


class Node(collections.namedtuple('Node', 'name namespace addresses ranges directory')):
    """`directory` has its agent's files; the control group is below that of the try-out."""

    @property
    def socket(self):
        return self.directory + '/agent/polder.sock'

    @property
    def cgroup(self):
        return group() + self.directory.removeprefix(RUN)


# Who reaches whom by the examples' policies. Everything else is a no.
EXPECTED = {
    'shop/web': {'shop/db:5432', 'shop/cache:6379', 'guest/visitor:8080', 'Service shop/web:80', 'Service shop/bank:443',
                 'outside:443'},
    'shop/db': {'shop/cache:6379'},
    'shop/cache': {'shop/web:8080', 'Service shop/web:80', 'Service shop/bank:443', 'outside:443'},
    'guest/visitor': {'shop/web:8080', 'Service shop/web:80'},
    'monitoring (outside)': {'shop/web:8080', 'shop/cache:6379', 'guest/visitor:8080'},
    'stranger (outside)': {'shop/web:8080', 'guest/visitor:8080'},
    'the node': {'shop/web:8080', 'shop/db:5432', 'shop/cache:6379', 'guest/visitor:8080', 'Service shop/web:80',
                 'Service shop/bank:443', 'outside:443'},
}


PODS_BY_ADDRESS = {}


class Failure(Exception):
    """What went wrong, where, and what to do."""


def run(*command, check=True, **kwargs):
    result = subprocess.run(command, stdin=kwargs.pop('stdin', subprocess.DEVNULL) if 'input' not in kwargs else None,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False, **kwargs)
    if check and result.returncode != 0:
        raise Failure(f'{" ".join(command)}: exit {result.returncode}: {(result.stderr or result.stdout).strip()}')
    return result.stdout


def ip(*arguments, namespace=None, check=True):
    prefix = ['ip', '-n', namespace] if namespace else ['ip']
    return run(*prefix, *arguments, check=check)


def inside(namespace):
    """In front of a command: nsenter, not `ip netns exec`, which would hide /sys/fs/bpf and the control groups."""
    return ['nsenter', f'--net=/run/netns/{namespace}', '--']


def built(name):
    for path in glob.glob(os.path.join(BUILD, '**', name), recursive=True):
        if os.path.isfile(path) and os.access(path, os.X_OK) and '/kernels/' not in path:
            return path
    raise Failure(f'{name} is not in {BUILD}: build it with ninja -C {BUILD}')


def spawn(command, log, **kwargs):
    """A process that outlives this one; --down ends it by the number kept here."""
    with open(os.path.join(RUN, log), 'ab') as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                   start_new_session=True, **kwargs)
    remember(process.pid)
    return process


def remember(pid):
    """A process for --down to end."""
    with open(os.path.join(RUN, 'pids'), 'a', encoding='utf-8') as file:
        file.write(f'{pid} {start_time(pid)}\n')


def start_time(pid):
    """Tells a process from a later one of the same number; '' when there is none."""
    try:
        with open(f'/proc/{pid}/stat', encoding='utf-8') as file:
            fields = file.read().rsplit(')', 1)[1].split()
            return '' if fields[0] == 'Z' else fields[19]
    except OSError:
        return ''


def wait_until(question, seconds, what):
    deadline = time.monotonic() + seconds
    while not question():
        if time.monotonic() > deadline:
            raise Failure(f'{what}: not so after {seconds} seconds')
        time.sleep(0.05)


# ---------------------------------------------------------------- up and down

def load_examples():
    objects = []
    for path in sorted(glob.glob(EXAMPLES + '/*.json')):
        with open(path, encoding='utf-8') as file:
            objects += json.load(file)['items']
    return objects


def make_namespace(name):
    ip('netns', 'add', name)
    ip('link', 'set', 'lo', 'up', namespace=name)


def address(namespace, link, addresses):
    ip('addr', 'add', addresses[0] + '/24', 'dev', link, namespace=namespace)
    ip('addr', 'add', addresses[1] + '/64', 'dev', link, 'nodad', namespace=namespace)
    ip('link', 'set', link, 'up', namespace=namespace)


def address_outside():
    """Its end of the wire, and the two networks behind it."""
    address(OUTSIDE, 'wire0', OUTSIDE_ADDRESSES)
    for each in MONITOR + STRANGER:
        ip('addr', 'add', each, 'dev', 'lo', *(['nodad'] if ':' in each else []), namespace=OUTSIDE)


def address_uplink(node):
    """The node's end, and the ways between the node's pods and the outside."""
    address(node.namespace, 'uplink0', node.addresses)
    for family, gateway in enumerate(OUTSIDE_ADDRESSES):
        ip('route', 'add', 'default', 'via', gateway, namespace=node.namespace)
        ip('route', 'add', node.ranges[family], 'via', node.addresses[family], namespace=OUTSIDE)


def cgroup_root():
    with open('/proc/mounts', encoding='utf-8') as file:
        for line in file:
            fields = line.split()
            if fields[2] == 'cgroup2' and os.access(fields[1], os.W_OK):
                return fields[1]
    raise Failure('no cgroup2 is mounted: mount -t cgroup2 none /sys/fs/cgroup')


def group():
    """
    The control group of this try-out. Its name is its own: where /run is private to a sandbox another try-out may run on the same
    machine, and control groups are all of it.
    """
    path = RUN + '/cgroup'
    try:
        with open(path, encoding='ascii') as file:
            name = file.read()
    except FileNotFoundError:
        name = 'polder-try-' + os.urandom(4).hex()
        with open(path, 'w', encoding='ascii') as file:
            file.write(name)
    return os.path.join(cgroup_root(), name)


def start_agent(node, *options):
    """polderd of a node, ready; `options` say where its objects and its pod ranges are from."""
    os.makedirs(node.directory + '/bpf')
    run('mount', '-t', 'bpf', '-o', 'mode=0700', 'polder-try', node.directory + '/bpf')
    os.makedirs(node.cgroup, exist_ok=True)
    log = os.path.join(node.directory, 'polderd.log')
    process = spawn(inside(node.namespace) + [
        built('polderd'), '--node-name', node.name, '--run-dir', node.directory + '/agent', '--state-dir', node.directory + '/state',
        '--bpffs', node.directory + '/bpf', '--cgroup', node.cgroup, '--node-ip', ','.join(node.addresses), '--uplink', 'uplink0',
        *options], log)
    wait_until(lambda: os.path.exists(node.socket) or process.poll() is not None, 30, f'{node.socket} is there')
    result = subprocess.run([built('polderctl'), '--socket', node.socket, 'status', '--wait=40'], stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False)
    if result.returncode != 0 or process.poll() is not None:
        with open(log, encoding='utf-8', errors='replace') as file:
            raise Failure(f'the agent of {node.name} did not become ready: {result.stdout.strip()}\n{file.read()}')


def connect_pod(node, pod):
    """A namespace, connected by CNI, with a server on the pod's port. Returns place and target."""
    namespace, name = pod['metadata']['namespace'], pod['metadata']['name']
    with open(PODS, 'a', encoding='utf-8') as file:
        file.write(f'{node.socket} {namespace} {name}\n')
    make_namespace(PREFIX + name)
    addresses = [entry['address'].split('/')[0] for entry in cni(node.socket, 'ADD', namespace, name)['ips']]
    port = pod['spec']['containers'][0]['ports'][0]['containerPort']
    serve(PREFIX + name, port, f'{namespace}/{name}')
    PODS_BY_ADDRESS.update({address: f'{namespace}/{name}' for address in addresses})
    return (Place(f'{namespace}/{name}', PREFIX + name, addresses),
            Target(f'{namespace}/{name}:{port}', addresses, port, node.namespace))


def other_targets(objects):
    """Services, and the outside, which serves from now on."""
    serve(OUTSIDE, 443, 'outside')
    made = [(f'{item["metadata"]["namespace"]}/{item["metadata"]["name"]}', item['spec']) for item in objects if item['kind'] == 'Service']
    return [Target(f'Service {name}:{spec["ports"][0]["port"]}', spec['clusterIPs'], spec['ports'][0]['port']) for name, spec in made] \
        + [Target('outside:443', MONITOR, 443)]


def cni(agent, command, namespace, name):
    environment = {'PATH': os.environ['PATH'], 'CNI_COMMAND': command, 'CNI_CONTAINERID': f'{namespace}-{name}',
                   'CNI_NETNS': f'/run/netns/{PREFIX}{name}', 'CNI_IFNAME': 'eth0', 'CNI_PATH': '/opt/cni/bin',
                   'CNI_ARGS': f'IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name}'}
    configuration = {'cniVersion': '1.0.0', 'name': 'polder-try', 'type': 'polder-cni', 'socket': agent}
    result = subprocess.run([built('polder-cni')], input=json.dumps(configuration), env=environment, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60, check=False)
    if result.returncode != 0:
        raise Failure(f'polder-cni {command} of {namespace}/{name}: {(result.stdout + result.stderr).strip()}')
    return json.loads(result.stdout) if result.stdout.strip() else {}


# Answers each connection with its own name and who asked.
SERVER = '''
import socket, sys
server = socket.create_server(("::", int(sys.argv[1])), family=socket.AF_INET6, dualstack_ipv6=True, backlog=64)
print("ready", flush=True)
while True:
    peer, _ = server.accept()
    peer.settimeout(2)
    try:
        peer.sendall(sys.argv[2].encode())
    except OSError:
        pass
    peer.close()
'''

# Asks all targets at once: who answers within the limit.
CLIENT = '''
import json, socket, sys, threading
asks, answers = json.load(sys.stdin), []
def ask(number, source, address, port):
    try:
        with socket.create_connection((address, port), timeout=1.5, source_address=(source, 0)) as peer:
            answers.append((number, peer.recv(100).decode()))
    except OSError as error:
        answers.append((number, ""))
threads = [threading.Thread(target=ask, args=(number, *each)) for number, each in enumerate(asks)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(json.dumps(sorted(answers)))
'''


def serve(namespace, port, name):
    log = f'server-{namespace}.log'
    spawn(inside(namespace) + [sys.executable, '-c', SERVER, str(port), name], log)

    def ready():
        with open(os.path.join(RUN, log), encoding='utf-8') as file:
            return 'ready' in file.read()
    wait_until(ready, 10, f'the server of {name} listens')


def is_up():
    return os.path.exists(RUN)


def end_processes():
    try:
        with open(RUN + '/pids', encoding='utf-8') as file:
            known = [line.split() for line in file if len(line.split()) == 2]
    except OSError:
        return
    for sign in (signal.SIGTERM, signal.SIGKILL):
        alive = [int(pid) for pid, started in known if start_time(pid) == started]
        for pid in alive:
            os.kill(pid, sign)
        deadline = time.monotonic() + 5
        while any(start_time(pid) for pid in alive) and time.monotonic() < deadline:
            time.sleep(0.02)


def take_down():
    """Everything that an earlier run made, also when that ended in the middle."""
    if not is_up():
        return
    for agent, namespace, name in connected_pods():
        try:
            cni(agent, 'DEL', namespace, name)
        except (Failure, OSError, subprocess.SubprocessError, ValueError) as error:
            print(f'try-out: {error}', file=sys.stderr)
    end_processes()
    for line in run('ip', 'netns', 'list', check=False).splitlines():
        if line.startswith(PREFIX):
            ip('netns', 'delete', line.split()[0], check=False)
    for path in glob.glob(RUN + '/**/bpf', recursive=True):
        if os.path.ismount(path):
            run('umount', path, check=False)
    try:
        for path in [*glob.glob(group() + '/*/'), group()]:
            os.rmdir(path)
    except (OSError, Failure):
        pass
    shutil.rmtree(RUN)


def connected_pods():
    """(agent's socket, namespace, name) of those whose agent is there."""
    try:
        with open(PODS, encoding='utf-8') as file:
            return [words for words in (line.split() for line in file) if len(words) == 3 and os.path.exists(words[0])]
    except OSError:
        return []


# ---------------------------------------------------------------- who reaches whom

def probe(place, targets):
    """Asks every target from one place, both families at once. Returns {target: [(family, source, address, answer)]}."""
    asks, names = [], []
    for target in targets:
        if target.addresses == place.addresses or (place.namespace == OUTSIDE and not reachable_from_outside(target)):
            continue
        for family in range(len(target.addresses)):
            asks.append((place.addresses[family], target.addresses[family], target.port))
            names.append(target.name)

    def enter():
        if place.cgroup:
            with open(os.path.join(place.cgroup, 'cgroup.procs'), 'w', encoding='utf-8') as file:
                file.write('0')

    answers = json.loads(subprocess.run(inside(place.namespace) + [sys.executable, '-c', CLIENT], input=json.dumps(asks),
                                        preexec_fn=enter, stdout=subprocess.PIPE, text=True, timeout=60,
                                        check=True).stdout)
    found = collections.defaultdict(list)
    for number, answer in answers:
        found[names[number]].append((*asks[number], bool(answer)))
    return found


def reachable_from_outside(target):
    """ClusterIPs serve pods and nodes only, and the outside does not ask itself."""
    return not target.name.startswith(('Service', 'outside'))


class Monitor:
    """polderctl monitor while the probes run: what was decided about each connection, and by which policy."""

    def __init__(self, node):
        self.path = os.path.join(node.directory, 'events.jsonl')
        self.out = open(self.path, 'wb')
        self.process = subprocess.Popen([built('polderctl'), '--socket', node.socket, '-o', 'json', 'monitor', '--flows', '--drops'],
                                        stdin=subprocess.DEVNULL, stdout=self.out, stderr=subprocess.STDOUT)

    def end(self):
        time.sleep(0.3)  # what is still on its way from the ring buffer
        self.process.terminate()
        self.process.wait(10)
        self.out.close()
        events = []
        with open(self.path, encoding='utf-8', errors='replace') as file:
            for line in file:
                try:
                    events.append(json.loads(line))
                except ValueError:
                    print(f'try-out: polderctl monitor said: {line.strip()}', file=sys.stderr)
        return events


def index_events(events):
    """
    What was decided of each connection by who asked whom on which port, by the nodes of both ends; a drop counts more than what came
    before it. Of a Service's connection the receiving node knows the endpoint only.
    """
    found = {}
    for event in events:
        source, destination = event.get('source') or {}, event.get('destination') or {}
        merge(found, (source.get('ip'), destination.get('ip'), destination.get('port')), event)
    for key, event in list(found.items()):
        backend = event.get('backend') or {}
        at_end = found.get((key[0], backend.get('ip'), backend.get('port')))
        if at_end is not None and at_end is not event:
            merge(found, key, {**at_end, 'backend': backend})
    return found


def merge(found, key, event):
    known = found.get(key)
    if known is None or (event.get('type') == 'drop') != (known.get('type') == 'drop'):
        if known is None or event.get('type') == 'drop':
            found[key] = event
    else:
        found[key] = {**known, **{name: value for name, value in event.items() if value}}


def allowed_by(event):
    """Which rules an allowed connection met, as they stand in the policies' JSON."""
    parts = []
    for key in ('egress_policy', 'ingress_policy'):
        if event.get(key):
            parts.append(f'{event[key].get("rule_path")} of {event[key].get("policy")}')
    return ', '.join(parts)


def why_allowed(event, place, target):
    if place.cgroup and target.node == place.namespace:
        return 'a node always reaches its own pods'
    if place.cgroup and target.node is None:
        return 'translated at the node\'s socket' if target.name.startswith('Service') else 'policies are about pods'
    if event is None:
        return 'no event was seen'
    backend = event.get('backend') or {}
    if backend.get('ip') in (place.addresses or []):
        return f'{place.name} is the endpoint itself'
    end = (event.get('destination') or {}).get('pod') or pod_at(backend.get('ip'))
    return allowed_by(event) or f'no policy isolates {end or place.name + " on the way out"}'


def why_denied(event, place, target):
    if event is None:
        return 'no event was seen'
    reason = event.get('reason', '?')
    direction = {'policy_denied_ingress': 'ingress', 'policy_denied_egress': 'egress'}.get(reason)
    decided = direction and event.get(f'{direction}_policy')
    if decided and decided.get('default_deny'):
        pod = (event.get('destination') or {}).get('pod') or pod_at((event.get('backend') or {}).get('ip')) \
            or target.name.split(':')[0]
        names = decided.get('isolated_by') or []
        return (f'{place.name if direction == "egress" else pod} is isolated by {" and ".join(names)}, '
                f'{"which does" if len(names) == 1 else "which do"} not allow it')
    if decided:
        return f'denied by {decided.get("rule_path")} ({decided.get("rule_name")}) of {decided.get("policy")}'
    return reason


def pod_at(address):
    return PODS_BY_ADDRESS.get(address)


def word(answers):
    """Both families as one word, when they agree."""
    if len(set(answers)) == 1:
        return 'yes' if answers[0] else 'no'
    return 'v4 only' if answers[0] else 'v6 only'


def print_table(places, targets, found, events, expected):
    """The matrix, then every connection with its reason. Returns the answers that are not what `expected(place, target)` says."""
    width = max(len(place.name) for place in places) + 2
    print('\nWho reaches whom (TCP, IPv4 and IPv6):\n')
    print(' ' * width + '  '.join(target.name for target in targets))
    wrong = []
    for place in places:
        cells = []
        for target in targets:
            asked = found[place.name].get(target.name)
            answer = word([entry[3] for entry in asked]) if asked else '-'
            cells.append(answer.ljust(len(target.name)))
            meant = 'yes' if expected(place, target) else 'no'
            if asked and answer != meant:
                wrong.append(f'{place.name} to {target.name}: {answer}, but the policies mean {meant}')
        print(place.name.ljust(width) + '  '.join(cells).rstrip())
    print('\nAnd why:\n')
    decided = index_events(events)
    for place in places:
        for target in targets:
            asked = found[place.name].get(target.name)
            if asked:
                event = next((decided[entry[:3]] for entry in asked if entry[:3] in decided), None)
                answers = [entry[3] for entry in asked]
                reason = (why_allowed if any(answers) else why_denied)(event, place, target)
                print(f'{place.name:{width}}{target.name:24}{word(answers):8}{reason}')
    return wrong


def show(bring_up, tell_how_to_go_on, once, errors=()):
    """
    `bring_up()` returns the answers that are wrong. With `once` it is all taken down then, else `tell_how_to_go_on()` says what can
    be done with it. `errors` are what else may be raised than here. Returns the exit status.
    """
    try:
        wrong = bring_up()
        if wrong:
            raise Failure('not as the policies mean:\n  ' + '\n  '.join(wrong))
        if not once:
            tell_how_to_go_on()
    except (Failure, OSError, subprocess.SubprocessError, *errors) as error:
        print(f'try-out: {error}', file=sys.stderr)
        if is_up() and not once:
            print(f'try-out: logs are below {RUN}; take it all down with deploy/try-out --down', file=sys.stderr)
        return 1
    finally:
        if once:
            take_down()
    return 0

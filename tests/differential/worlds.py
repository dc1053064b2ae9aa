# SPDX-License-Identifier: Apache-2.0
"""Random objects: namespaces, nodes, pods, policies and Services with every odd form that the API allows."""

PORTS = [80, 443, 53, 8080, 8081, 1, 65535, 1024, 5353]
PORT_NAMES = ['http', 'dns', 'metrics', 'a']
LABELS = {'app': ['web', 'db', 'cache', ''], 'tier': ['front', 'back'], 'env': ['prod', 'dev', 'test'],
          'example.com/role': ['a', 'b'], 'name': ['x', 'y'], 'kubernetes.io/metadata.name': ['n0', 'n1']}
UNKNOWN_PODS = ['10.1.1.250', '10.1.2.251', 'fd00:1:0:1::250', 'fd00:1:0:2::251']  # in pod ranges, of no object
OUTSIDE = ['198.51.100.1', '198.51.100.77', '203.0.113.9', '8.8.8.8', '10.1.9.9', '2001:db8::1', '2001:db8::77', 'fd00:1:0:9::9',
           '2001:db8:1::1', *UNKNOWN_PODS]
CIDRS = ['0.0.0.0/0', '0.0.0.0/1', '128.0.0.0/1', '10.0.0.0/8', '10.1.0.7/4', '10.1.0.0/24', '10.1.0.0/28', '10.1.0.16/28',
         '10.1.1.0/24', '10.1.1.248/29', '10.1.0.99/16', '192.168.7.0/24', '192.168.7.1/32', '192.168.7.2/32', '198.51.100.0/24', '198.51.100.77/26',
         '198.51.100.1/32', '203.0.113.0/31', '203.0.113.8/30', '::/0', '::/1', '8000::/1', 'fd00::/16', 'fd00:1::/64',
         'fd00:1::7/48', 'fd00:1::/124', 'fd00:1:0:1::/64', 'fd00:1:0:2::250/124', 'fd00:7::1/128', 'fd00:7::2/127', '2001:db8::/32', '2001:db8::1/128',
         '2001:db8::77/122']


def chance(rng, percent):
    return rng.random() * 100 < percent


def pick_labels(rng, keys=None):
    labels = {}
    for key in rng.sample(sorted(LABELS), rng.choice([0, 1, 1, 2, 2, 3])):
        if keys is None or key in keys:
            labels[key] = rng.choice(LABELS[key])
    return labels


def nothing(rng):
    """Three ways to say nothing: absent is the caller's."""
    return rng.choice([None, [], ...])


def put_or_leave(target, key, value):
    if value is not ...:
        target[key] = value


def selector(rng, depth=True):
    kind = rng.random()
    if kind < 0.25:
        return {}
    spec = {}
    if kind < 0.75:
        key = rng.choice(sorted(LABELS))
        spec['matchLabels'] = {key: rng.choice(LABELS[key])}
        if chance(rng, 20):
            other = rng.choice(sorted(LABELS))
            spec['matchLabels'][other] = rng.choice(LABELS[other])
    if kind >= 0.6 and depth:
        spec['matchExpressions'] = []
        for _ in range(rng.choice([1, 1, 2])):
            key, operator = rng.choice(sorted(LABELS) + ['absent']), rng.choice(['In', 'NotIn', 'Exists', 'DoesNotExist'])
            term = {'key': key, 'operator': operator}
            if operator in ('In', 'NotIn'):
                values = LABELS.get(key, ['z'])
                term['values'] = rng.sample(values, rng.randint(1, min(2, len(values))))
            elif chance(rng, 30):
                term['values'] = rng.choice([[], None])
            spec['matchExpressions'].append(term)
    elif chance(rng, 10):
        spec['matchExpressions'] = rng.choice([[], None])
    return spec


def name_selector(rng, names):
    return {'matchLabels': {'kubernetes.io/metadata.name': rng.choice(names)}}


class Maker:
    """Names and addresses that were given out, and the objects as they stand."""

    def __init__(self, rng):
        self.rng = rng
        self.namespaces = [f'n{i}' for i in range(rng.randint(2, 5))] + (['default'] if chance(rng, 25) else [])
        self.objects = {}
        self.attached = {}  # container: (namespace, name, slot, addresses)
        self.free_slots = list(range(16))
        self.next_host = 5
        self.next_remote = 20
        self.numbers = 0

    def number(self):
        self.numbers += 1
        return self.numbers

    def keep(self, obj):
        meta = obj['metadata']
        self.objects[obj['kind'], meta.get('namespace', ''), meta['name']] = obj
        return obj

    def of_kind(self, kind):
        return [obj for (k, _, _), obj in self.objects.items() if k == kind]

    # ---------------------------------------------------------------- namespaces, nodes, pods

    def namespace(self, name):
        meta = {'name': name}
        put_or_leave(meta, 'labels', self.rng.choice([None, ..., {}, pick_labels(self.rng), pick_labels(self.rng),
                                                      pick_labels(self.rng)]))
        return self.keep({'apiVersion': 'v1', 'kind': 'Namespace', 'metadata': meta})

    def nodes(self):
        rng = self.rng
        for index, extra in ((1, None), (2, None), (3, '203.0.113.3')):
            addresses = [{'type': 'Hostname', 'address': f'n{index}'},
                         {'type': 'InternalIP', 'address': f'192.168.7.{index}'},
                         {'type': 'InternalIP', 'address': f'fd00:7::{index}'}]
            if extra:
                addresses.append({'type': 'ExternalIP', 'address': extra})
            v6 = 'fd00:1::/64' if index == 1 else f'fd00:1:0:{index - 1}::/64'
            yield self.keep({'apiVersion': 'v1', 'kind': 'Node',
                             'metadata': {'name': f'n{index}', 'labels': pick_labels(rng)},
                             'spec': {'podCIDRs': [f'10.1.{index - 1}.0/24', v6]}, 'status': {'addresses': addresses}})

    def containers(self):
        rng, used, number = self.rng, set(), 0
        for _ in range(rng.choice([0, 1, 1, 2])):
            ports = []
            for _ in range(rng.choice([0, 1, 2, 3])):
                name, proto = rng.choice(PORT_NAMES), rng.choice(['TCP', 'TCP', 'UDP', 'SCTP'])
                if (name, proto) in used:
                    continue
                used.add((name, proto))
                port = {'name': name, 'containerPort': rng.choice(PORTS)}
                if proto != 'TCP' or chance(rng, 50):
                    port['protocol'] = proto
                if chance(rng, 10):
                    del port['name']
                ports.append(port)
            number += 1
            container = {'name': f'c{number}', 'image': 'x'}
            if ports or chance(rng, 50):
                container['ports'] = ports
            yield container

    def pod(self, name, namespace, node, addresses, host_network=False, phase='Running'):
        rng = self.rng
        meta = {'name': name, 'namespace': namespace, 'uid': f'u-{name}'}
        put_or_leave(meta, 'labels', pick_labels(rng) if chance(rng, 90) else rng.choice([None, ..., {}]))
        containers = list(self.containers())
        spec = {'nodeName': node, 'containers': containers or [{'name': 'c', 'image': 'x'}]}
        if len(containers) > 1 and chance(rng, 40):
            sidecar = containers.pop()
            if chance(rng, 70):
                sidecar['restartPolicy'] = 'Always'
            spec['containers'], spec['initContainers'] = containers, [sidecar]
        if host_network:
            spec['hostNetwork'] = True
        status = {'phase': phase, 'podIPs': [{'ip': text} for text in addresses]}
        if addresses:
            status['podIP'] = addresses[0]
        if chance(rng, 70):
            status['conditions'] = [{'type': 'Ready', 'status': 'True' if chance(rng, 80) else 'False'}]
        return self.keep({'apiVersion': 'v1', 'kind': 'Pod', 'metadata': meta, 'spec': spec, 'status': status})

    def local_addresses(self):
        host = self.next_host
        self.next_host += 1
        return self.families(f'10.1.0.{host}', f'fd00:1::{host:x}')

    def families(self, v4, v6):
        return self.rng.choice([[v4, v6], [v4, v6], [v4, v6], [v6, v4], [v4], [v6]])

    def local_pod(self, addresses=None):
        """Steps that connect a pod; its object comes before, after or never."""
        rng = self.rng
        slot = self.free_slots.pop(0)
        name, namespace = f'p{self.number()}', rng.choice(self.namespaces)
        addresses = addresses or self.local_addresses()
        container = f'c-{name}'
        steps = [{'op': 'attach', 'container': container, 'namespace': namespace, 'name': name, 'slot': slot,
                  'addresses': addresses, 'labels': pick_labels(rng) if chance(rng, 30) else {}}]
        self.attached[container] = (namespace, name, slot, addresses)
        if chance(rng, 92):
            obj = self.pod(name, namespace, 'n1', addresses if chance(rng, 85) else [])
            steps.insert(rng.randint(0, 1), {'op': 'put', 'objects': [obj]})
        return steps

    def remote_pod(self):
        rng, index = self.rng, self.rng.randint(1, 2)
        host = self.next_remote
        self.next_remote += 1
        addresses = self.families(f'10.1.{index}.{host}', f'fd00:1:0:{index}::{host:x}')
        return self.pod(f'r{self.number()}', rng.choice(self.namespaces), f'n{index + 1}', addresses)

    def host_pod(self):
        index = self.rng.randint(1, 3)
        return self.pod(f'h{self.number()}', self.rng.choice(self.namespaces), f'n{index}',
                        [f'192.168.7.{index}', f'fd00:7::{index}'], host_network=True)

    def finished_pod(self):
        """Its address belongs to another pod by now."""
        others = [at[3] for at in self.attached.values()]
        addresses = self.rng.choice(others) if others and chance(self.rng, 60) else ['10.1.1.77', 'fd00:1:0:1::77']
        node = 'n1' if addresses[0].startswith(('10.1.0.', 'fd00:1::')) else 'n2'
        return self.pod(f'f{self.number()}', self.rng.choice(self.namespaces), node, addresses,
                        phase=self.rng.choice(['Succeeded', 'Failed']))

    def some_address(self, v4=None):
        """An address of any kind, rather a pod's."""
        rng = self.rng
        pool = list(OUTSIDE) + ['192.168.7.1', '192.168.7.2', 'fd00:7::1', 'fd00:7::3', '10.1.0.200', 'fd00:1::200',
                                '10.1.1.200']
        for obj in self.of_kind('Pod'):
            pool += [item['ip'] for item in obj['status']['podIPs']] * 3
        pool = [text for text in pool if v4 is None or (':' not in text) == v4]
        return rng.choice(pool)

    def cidr(self):
        rng = self.rng
        if chance(rng, 30):
            text = self.some_address()
            return text + ('/128' if ':' in text else '/32')
        return rng.choice(CIDRS)

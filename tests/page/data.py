# SPDX-License-Identifier: Apache-2.0
"""A node with much traffic, and with names that are meant to do harm. The same each time."""

import random

HOSTILE = ['<img src=x onerror="window.hacked=1">', '</title><script>window.hacked=1</script>', '"><svg onload=window.hacked=1>', "javascript:window.hacked=1",
           'left\u202eright', 'zero\u200bwidth', 'tab\there', '../../etc', '%2f%00', 'a' * 253, '{{7*7}}', '\U000e0041tag', 'ünïcödé-日本語']
NAMESPACES = ['shop', 'payments', 'search', 'monitoring', 'kube-system', 'batch']
APPS = ['web', 'api', 'cache', 'db', 'worker']
SINCE = '2026-11-28T10:00:00Z'


def pods(many):
    made = []
    for namespace in NAMESPACES[:6 if many else 4]:
        for app in APPS if many else APPS[:3]:
            for replica in range(8 if many else 2):
                made.append((namespace, f'{app}-{replica}', app))
    return made


def addresses(number):
    return [f'10.244.{number // 250}.{number % 250 + 2}', f'fd00:77::{number + 2:x}']


def pod_document(number, namespace, name, app, extra=None):
    return {'namespace': namespace, 'name': name, 'uid': f'uid-{number}', 'container_id': f'{number:064x}', 'ifname': 'eth0', 'link': f'pld{number:08x}',
            'ifindex': number + 10, 'ips': addresses(number), 'mac': '0a:58:0a:f4:00:05', 'identity': 300 + number,
            'ingress': {'ruleset': 17, 'isolated': app != 'worker'}, 'egress': {'ruleset': 0, 'isolated': False}, 'state': 'ready',
            'labels': {'app': app, 'tier': 'x', **(extra or {})}}


def judged(policy, rule=0, direction='ingress'):
    return {'policy': policy, 'rule': rule, 'rule_path': f'spec.{direction}[{rule}]', 'rule_name': '', 'direction': direction, 'default_deny': False, 'isolated_by': []}


def flow(source, target, number, service='', reply=False):
    chance = random.Random(number)
    port, size = 1024 + number % 60000, int(10 ** chance.uniform(2, 9))
    made = {'family': 'ipv4', 'proto': chance.choice(['tcp', 'tcp', 'tcp', 'udp']), 'zone': 0, 'source': source[1], 'source_port': port, 'destination': target[1],
            'destination_port': 8080, 'new_source': '', 'new_source_port': 0, 'new_destination': '', 'new_destination_port': 0, 'action': 'pod', 'node': None,
            'state': ['replied', 'established'], 'reply': reply, 'generation': 7, 'current': True, 'idle_seconds': number % 300, 'packets': size // 800 + 1,
            'bytes': size, 'source_pod': source[0], 'destination_pod': target[0], 'service': service, 'verdict': 'allow', 'egress_policy': None,
            'ingress_policy': judged('shop/web-allow') if number % 3 else None}
    if service:
        made.update(destination='10.96.0.9', destination_port=80, new_destination=target[1], new_destination_port=8080)
    return made


def flows(documents):
    chance, made = random.Random(1), []
    ends = [(f"{pod['namespace']}/{pod['name']}", pod['ips'][0]) for pod in documents]
    outside = [('', f'203.0.113.{i}') for i in range(40)]
    apps = [end for end in ends if 'web' in end[0] or 'api' in end[0]]
    for number in range(10000):
        source = chance.choice(ends if number % 5 else outside)
        target = chance.choice(apps if number % 4 else ends + outside[:2])
        namespace = target[0].split('/')[0] if target[0] else ''
        service = f'{namespace}/{target[0].split("/")[1].split("-")[0]}' if namespace in NAMESPACES and number % 2 else ''
        if source != target:
            made.append(flow(source, target, number, service, reply=number % 10 == 9))
    return made


def event(source, target, reason):
    return {'time': SINCE, 'type': 'drop', 'verdict': 'drop', 'reason': reason, 'hook': 'from_pod', 'family': 'ipv4', 'proto': 'tcp',
            'source': {'ip': source[1], 'port': 40000, 'pod': source[0], 'identity': 4}, 'destination': {'ip': target[1], 'port': 5432, 'pod': target[0], 'identity': 9}}


# A shop as it should be; "" is the outside.
TALKS = [('', 'shop/web'), ('shop/web', 'shop/api'), ('shop/api', 'shop/cache'), ('shop/api', 'payments/api'), ('payments/api', 'payments/cache'), ('shop/web', 'search/api'),
         ('search/api', 'search/cache'), ('monitoring/web', 'monitoring/api')]


def few_flows(documents):
    made = []
    for source_app, service in TALKS:
        sources = [(f"{pod['namespace']}/{pod['name']}", pod['ips'][0]) for pod in documents if f"{pod['namespace']}/{pod['labels']['app']}" == source_app]
        targets = [(f"{pod['namespace']}/{pod['name']}", pod['ips'][0]) for pod in documents if f"{pod['namespace']}/{pod['labels']['app']}" == service]
        for source in sources or [('', f'203.0.113.{i}') for i in range(3)]:
            made += [flow(source, target, len(made) + i, service) for i, target in enumerate(targets)]
    return made + [flow(('payments/api-0', addresses(8)[0]), ('', '192.0.2.80'), 90), flow(('monitoring/web-0', addresses(18)[0]), ('shop/api-0', addresses(2)[0]), 91)]


def drops(documents, hostile):
    ends = [(f"{pod['namespace']}/{pod['name']}", pod['ips'][0]) for pod in documents]
    rows = [(ends[0], ends[4 % len(ends)], 'policy_denied_ingress', 'shop/web-allow', 1200), (ends[1], ends[8 % len(ends)], 'policy_denied_ingress', 'payments/db', 41),
            (('', '198.51.100.7'), ends[2], 'policy_denied_ingress', 'shop/web-allow', 7), (ends[-1], ends[0], *((HOSTILE[0], HOSTILE[2]) if hostile else ('policy_denied_ingress', 'shop/web-allow')), 3)]
    return {'since': SINCE, 'lost_events': 0, 'limited_events': 0, 'rows_left_out': 0, 'counted': True,
            'drops': [{'reason': reason, 'direction': 'from_pod', 'pod': target[0], 'policy': policy, 'packets': packets, 'seconds': 3, 'last': SINCE,
                       'example': event(source, target, reason)} for source, target, reason, policy, packets in rows],
            'reasons': [{'reason': 'policy_denied_ingress', 'direction': 'from_pod', 'packets': 1248, 'told': 1248, 'means': "no rule of the destination's policies allows it",
                         'remedy': 'What the policies of the destination say. polderctl explain says why.'}]}


def kernel_drops(documents, hostile):
    ends = [(f"{pod['namespace']}/{pod['name']}", pod['ips'][0]) for pod in documents]
    rows = [(ends[0], ends[4 % len(ends)], 'kernel:NO_SOCKET', 12), (ends[-1], ends[1], HOSTILE[0] if hostile else 'kernel:SOCKET_RCVBUFF', 3)]
    return {'type': 'end', 'answer': {
        'since': SINCE, 'lost_events': 0, 'limited_events': 0, 'rows_left_out': 0, 'counted': True, 'kernel': True,
        'drops': [{'reason': reason, 'direction': 'to_pod', 'pod': target[0], 'policy': '', 'packets': packets, 'seconds': 3, 'last': SINCE,
                   'example': event(source, target, reason)} for source, target, reason, packets in rows],
        'reasons': [{'reason': reason, 'direction': '', 'packets': packets, 'told': packets, 'means': 'nothing listens on the port', 'remedy': 'Start the server.'}
                    for _, _, reason, packets in rows]}}


def policies(hostile):
    names = [('shop', 'web-allow'), ('payments', 'db')] + ([('shop', name) for name in HOSTILE] if hostile else [])
    made = [{'kind': 'NetworkPolicy', 'namespace': namespace, 'name': name, 'tier': 'NetworkPolicy', 'types': ['Ingress'], 'selected_pods': 2, 'rules': 1}
            for namespace, name in names]
    return made + [{'kind': 'ClusterNetworkPolicy', 'namespace': '', 'name': 'baseline', 'tier': 'Baseline', 'priority': 0, 'types': ['Ingress', 'Egress'], 'selected_pods': 30, 'rules': 4}]


def policy(hostile):
    name = HOSTILE[0] if hostile else 'web-allow'
    return {'kind': 'NetworkPolicy', 'policy': f'shop/{name}', 'namespace': 'shop', 'name': name, 'tier': 'NetworkPolicy', 'priority': None, 'types': ['Ingress'],
            'subject': 'pods with app=web in shop', 'pods': [{'pod': 'shop/web-0', 'ips': addresses(0), 'ingress_ruleset': 17, 'egress_ruleset': 0}],
            'rules': [{'direction': 'ingress', 'rule': 0, 'rule_path': 'spec.ingress[0]', 'rule_name': '', 'action': 'Allow', 'text': 'from pods with app=api in shop: TCP 8080',
                       'counted': True, 'packets': 123456, 'bytes': 98765432}],
            'default_deny': {'ingress': {'counted': True, 'packets': 1200, 'bytes': 88800, 'text': 'everything else'}, 'egress': None}}


def histogram():
    return {'count': 1000, 'sum_us': 250000, 'p50_us': 120.0, 'p90_us': 600.0, 'p99_us': 4100.0,
            'buckets': [{'most_us': 2 ** i, 'count': 1 + abs(200 - 40 * abs(i - 7))} for i in (4, 5, 6, 7, 10)] + [{'most_us': None, 'count': 1}]}


def latency():
    return [{'kind': kind, 'namespace': namespace, 'name': name, 'port': port, 'connect': histogram(), 'round_trip': histogram(), 'first_byte': histogram(),
             'answer': histogram(), 'retransmitted': 3, 'resets': 1, 'timeouts': 0, 'failed': 2}
            for kind, namespace, name, port in (('node', '', '', 0), ('pod', 'shop', 'web-0', 0), ('service', 'shop', 'web', 80))]


def explained():
    end = {'kind': 'pod', 'name': 'shop/api-0', 'ip': '10.244.0.5', 'labels': {'app': 'api'}, 'node': 'node1', 'local': True, 'identity': 256}
    side = {'allowed': True, 'basis': 'open', 'here': True, 'node': 'node1', 'policies': [], 'policy': None, 'isolated_by': []}
    method = {'asked': True, 'verdict': 'denied', 'reason': 'policy_denied_ingress', 'note': ''}
    return {'verdict': 'denied', 'reason': 'policy_denied_ingress', 'direction': 'ingress', 'policy': 'shop/web-allow', 'rule': None, 'default_deny': True,
            'isolated_by': ['shop/web-allow'], 'backend': None, 'mixed': False, 'from': end, 'to': {**end, 'name': 'shop/web-0'}, 'way': None, 'family': 'ipv4', 'proto': 'tcp',
            'port': 80, 'service': None, 'chosen': 'program', 'backends': [], 'egress': side,
            'ingress': {**side, 'allowed': False, 'basis': 'default_deny', 'isolated_by': ['shop/web-allow']},
            'methods': {'objects': method, 'maps': method, 'program': {**method, 'asked': False, 'note': 'why not'}}, 'agree': True, 'differences': [], 'flows': []}


def tried():
    ends = {'source': {'ip': '10.244.0.5', 'port': 40000, 'pod': 'shop/api-0'}, 'destination': {'ip': '10.96.0.9', 'port': 80, 'pod': ''},
            'backend': {'ip': '10.244.0.6', 'port': 8080, 'pod': f'shop/{HOSTILE[0]}'}}
    before = {'verdict': 'allow', 'egress': {'verdict': 'allow', 'basis': 'open'}, 'ingress': {'verdict': 'allow', 'basis': 'rule', 'policy': 'shop/web-allow', 'rule': 0}}
    after = {'verdict': 'deny', 'egress': {'verdict': 'allow', 'basis': 'open'}, 'ingress': {'verdict': 'deny', 'basis': 'default_deny', 'isolated_by': ['shop/web']}}
    return [{'type': 'begin', 'seconds': 10, 'objects': [{'kind': 'NetworkPolicy', 'namespace': 'shop', 'name': 'web', 'change': 'new'}], 'ignored': 0},
            {'type': 'flow', 'change': 'denied', 'family': 'ipv4', 'proto': 'tcp', **ends, 'before': before, 'after': after},
            {'type': 'end', 'live_flows': 12, 'new_flows': 3, 'denied': 1, 'allowed': 0, 'other_rule': 2, 'lost': 0, 'rebuilt': 0}]


def answers(many=True, hostile=True):
    """What each operation answers."""
    documents = [pod_document(number, *pod) for number, pod in enumerate(pods(many))]
    if hostile:
        documents += [pod_document(1000 + i, 'evil', name, 'web', {f'label/{i}': name, name: 'x'}) for i, name in enumerate(HOSTILE)]
    services = [{'namespace': namespace, 'name': app, 'address': '10.96.0.9', 'port': 80, 'protocol': 'TCP', 'port_name': 'http', 'kind': 'ClusterIP',
                 'backends': [{'address': addresses(0)[0], 'port': 8080, 'state': 'active'}], 'local_backends': [], 'service_port': 80}
                for namespace in NAMESPACES for app in ('web', 'api')]
    return {'status': {'node': HOSTILE[1] if hostile else 'node1', 'node_ips': ['192.0.2.1', '2001:db8::1']}, 'pods': documents, 'nodes': [], 'services': services,
            'flows': flows(documents) if many else few_flows(documents), 'drops': drops(documents, hostile), 'drops.kernel': kernel_drops(documents, hostile), 'policies': policies(hostile), 'policy': policy(hostile), 'latency': latency(),
            'explain': explained(), 'policy.try': tried()}

# SPDX-License-Identifier: Apache-2.0
"""Random policies and Services over the objects of worlds.Maker."""

from worlds import OUTSIDE, PORT_NAMES, PORTS, chance, name_selector, nothing, put_or_leave, selector

SOURCE_RANGES = ['0.0.0.0/0', '198.51.100.0/24', '198.51.100.77/32', '203.0.113.0/28', '10.1.1.0/24', '8.0.0.0/7', '192.168.7.2/32',
                 '::/0', '2001:db8::/64', '2001:db8::77/128', '2001:db8:1::/48', 'fd00::/8', 'fd00:1:0:1::/64']
BELOW = {'0.0.0.0/0': ['10.0.0.0/8', '10.1.0.0/25', '198.51.100.0/24', '203.0.113.9/32'],
         '10.0.0.0/8': ['10.1.0.0/24', '10.1.1.0/24', '10.1.0.8/29'], '10.1.0.0/24': ['10.1.0.4/30', '10.1.0.8/32', '10.1.0.0/24'],
         '::/0': ['fd00:1::/64', '2001:db8::/33', 'fd00:1::8/125'], 'fd00::/16': ['fd00:1::/64', 'fd00:1:0:1::/64'],
         'fd00:1::/64': ['fd00:1::8/126', 'fd00:1::7/128'], '198.51.100.0/24': ['198.51.100.64/26']}


def block(maker):
    rng = maker.rng
    if chance(rng, 40):
        wide = rng.choice(sorted(BELOW))
        spec = {'cidr': wide, 'except': rng.sample(BELOW[wide], rng.randint(1, min(3, len(BELOW[wide]))))}
        return {'ipBlock': spec}
    spec = {'cidr': maker.cidr()}
    if chance(rng, 20):
        spec['except'] = rng.choice([None, []])
    return {'ipBlock': spec}


def network_peer(maker):
    rng = maker.rng
    kind = rng.random()
    if kind < 0.30:
        return {'podSelector': selector(rng)}
    if kind < 0.50:
        return {'namespaceSelector': selector(rng) if chance(rng, 70) else name_selector(rng, maker.namespaces)}
    if kind < 0.65:
        return {'namespaceSelector': selector(rng), 'podSelector': selector(rng)}
    return block(maker)


def network_port(rng):
    spec = {}
    proto = rng.choice(['TCP', 'TCP', 'UDP', 'SCTP', None, ...])
    put_or_leave(spec, 'protocol', proto)
    kind = rng.random()
    if kind < 0.15:
        put_or_leave(spec, 'port', rng.choice([None, ...]))
    elif kind < 0.4:
        spec['port'] = rng.choice(PORT_NAMES)
    else:
        spec['port'] = rng.choice(PORTS)
        if chance(rng, 30):
            spec['endPort'] = min(65535, spec['port'] + rng.choice([0, 1, 100, 8000, 65535]))
        elif chance(rng, 10):
            spec['endPort'] = None
    return spec


def network_rule(maker, peers):
    rng, rule = maker.rng, {}
    if chance(rng, 85):
        rule[peers] = [network_peer(maker) for _ in range(rng.choice([1, 1, 2, 3]))]
    else:
        put_or_leave(rule, peers, nothing(rng))
    if chance(rng, 60):
        rule['ports'] = [network_port(rng) for _ in range(rng.choice([1, 1, 2, 3]))]
    else:
        put_or_leave(rule, 'ports', nothing(rng))
    return rule


def network_policy(maker, name=None, namespace=None):
    rng = maker.rng
    spec = {'podSelector': selector(rng)}
    if chance(rng, 5):
        put_or_leave(spec, 'podSelector', rng.choice([None, ...]))
    for direction, peers in (('ingress', 'from'), ('egress', 'to')):
        if chance(rng, 65):
            count = rng.choice([1, 1, 2, 3]) if chance(rng, 97) else 40
            spec[direction] = [network_rule(maker, peers) for _ in range(count)]
        else:
            put_or_leave(spec, direction, rng.choice([None, [], ..., ..., [{}]]))
    if spec.get('podSelector', 0) is ...:
        del spec['podSelector']
    put_or_leave(spec, 'policyTypes', rng.choice([..., ..., None, [], ['Ingress'], ['Egress'], ['Ingress', 'Egress'],
                                                  ['Egress', 'Ingress']]))
    namespace = namespace or rng.choice(maker.namespaces)
    meta = {'name': name or f'np{maker.number()}', 'namespace': namespace}
    obj = {'apiVersion': 'networking.k8s.io/v1', 'kind': 'NetworkPolicy', 'metadata': meta, 'spec': spec}
    if namespace == 'default' and chance(rng, 50):
        del meta['namespace']
        maker.objects['NetworkPolicy', 'default', meta['name']] = obj
        return obj
    return maker.keep(obj)


# ---------------------------------------------------------------- ClusterNetworkPolicy

def cluster_peer(maker, egress, named):
    rng, kind = maker.rng, maker.rng.random()
    if egress and not named and kind < 0.15:
        return {'nodes': selector(rng)}
    if egress and not named and kind < 0.4:
        return {'networks': sorted({maker.cidr() for _ in range(rng.choice([1, 1, 2, 4]))})}
    if kind < 0.45 and not named:
        return rng.choice([{'future': {'x': 1}}, {'domainNames': ['example.com']}] if egress else
                          [{'future': {'x': 1}}, {'serviceAccounts': {}}])
    if kind < 0.7:
        return {'namespaces': selector(rng) if chance(rng, 70) else name_selector(rng, maker.namespaces)}
    return {'pods': {'namespaceSelector': selector(rng), 'podSelector': selector(rng)}}


def cluster_protocol(rng, named):
    if named and chance(rng, 60):
        return {'destinationNamedPort': rng.choice(PORT_NAMES)}
    proto = rng.choice(['tcp', 'tcp', 'udp', 'sctp'])
    if chance(rng, 4):
        return rng.choice([{'quic': {'destinationPort': {'number': 443}}}, {'tcp': {'destinationPort': {}}},
                           {'udp': {'sourcePort': {'number': 53}}}, {'tcp': {'destinationPort': {'set': [80, 81]}}}])
    if chance(rng, 30):
        start = rng.choice([1, 50, 80, 1024, 8000, 65534])
        return {proto: {'destinationPort': {'range': {'start': start, 'end': min(65535, start + rng.choice([1, 100, 9000]))}}}}
    return {proto: {'destinationPort': {'number': rng.choice(PORTS)}}}


def cluster_rule(maker, direction):
    rng, rule = maker.rng, {'action': maker.rng.choice(['Accept', 'Accept', 'Deny', 'Deny', 'Pass'])}
    named = chance(rng, 20)
    if chance(rng, 30):
        rule['name'] = f'rule {maker.number()}'
    peers = [cluster_peer(maker, direction == 'egress', named) for _ in range(rng.choice([1, 1, 2, 3]))]
    rule['from' if direction == 'ingress' else 'to'] = peers
    if named or chance(rng, 50):
        rule['protocols'] = [cluster_protocol(rng, named) for _ in range(rng.choice([1, 1, 2, 3]))]
    return rule


def cluster_policy(maker, name=None):
    rng = maker.rng
    subject = {'namespaces': selector(rng)} if chance(rng, 55) else \
        {'pods': {'namespaceSelector': selector(rng), 'podSelector': selector(rng)}}
    spec = {'tier': rng.choice(['Admin', 'Admin', 'Baseline']), 'priority': rng.choice([0, 1, 5, 5, 10, 10, 999, 1000]),
            'subject': subject}
    for direction in ('ingress', 'egress'):
        if chance(rng, 70):
            spec[direction] = [cluster_rule(maker, direction) for _ in range(rng.choice([1, 2, 3, 5]))]
        elif chance(rng, 30):
            spec[direction] = []
    return maker.keep({'apiVersion': 'policy.networking.k8s.io/v1alpha2', 'kind': 'ClusterNetworkPolicy',
                       'metadata': {'name': name or f'cnp{maker.number()}'}, 'spec': spec})


# ---------------------------------------------------------------- what the API refuses

def refused_network(rng):
    """A spec of a NetworkPolicy with one thing wrong."""
    peer = rng.choice([
        {}, {'podSelector': {}, 'ipBlock': {'cidr': '10.0.0.0/8'}}, {'ipBlock': {'cidr': '10.0.0.0/33'}}, {'ipBlock': {}},
        {'ipBlock': {'cidr': '10.0.0.0/8', 'except': ['11.0.0.0/8']}}, {'ipBlock': {'cidr': 'fd00::/8', 'except': ['10.0.0.0/8']}},
        {'ipBlock': {'cidr': '10.1.0.0/16', 'except': ['10.0.0.0/8']}}, {'podSelector': {'matchLables': {}}}, {'future': {}},
        {'podSelector': {'matchExpressions': [{'key': 'a', 'operator': 'Gt', 'values': ['1']}]}}, [],
        {'podSelector': {'matchExpressions': [{'key': 'a', 'operator': 'In', 'values': []}]}}, {'podSelector': []},
        {'podSelector': {'matchLabels': {'a': 1}}}])
    port = rng.choice([{'protocol': 'ICMP'}, {'port': 80, 'endPort': 79}, {'port': 'http', 'endPort': 80}, {'endPort': 80},
                       {'port': 0}, {'port': 65536}, {'port': -1}, {'port': 80, 'name': 'x'}, {'protocol': 6}, {'port': True}, 80])
    return rng.choice([
        {'podSelector': {}, 'ingress': [{'from': [{'podSelector': {}}, peer]}]}, {'podSelector': {}, 'egress': [{'to': [peer]}]},
        {'podSelector': {}, 'ingress': [{'ports': [port]}]}, {'podSelector': {}, 'egress': [{}, {'ports': [{'port': 1}, port]}]},
        {'podSelector': {}, 'ingress': [{'to': []}]}, {'podSelector': {}, 'Ingress': [{}]}, {'podSelector': {}, 'ingress': {}},
        {'podSelector': {}, 'policyTypes': ['ingress']}, {'podSelector': {}, 'policyTypes': 'Ingress'},
        {'podSelector': {}, 'ingress': ['all']}, {'podSelector': {'matchLabels': []}}])


def refused_cluster(rng):
    peers = [{'namespaces': {}}]
    spec = {'tier': 'Admin', 'priority': 1, 'subject': {'namespaces': {}}}
    port = rng.choice([{'tcp': {'destinationPort': {'range': {'start': 80, 'end': 80}}}}, {'tcp': {'destinationPort': {'number': 0}}},
                       {'udp': {'destinationPort': {'range': {'start': 81, 'end': 80}}}}, {'tcp': {'destinationPort': {'number': 65536}}},
                       {'sctp': {'destinationPort': {'number': 1, 'range': {'start': 1, 'end': 2}}}}])
    change = rng.choice([
        {'tier': 'Platform'}, {'tier': None}, {'priority': 1001}, {'priority': -1}, {'priority': '1'}, {'subject': {}},
        {'subject': {'namespaces': {}, 'pods': {'namespaceSelector': {}, 'podSelector': {}}}}, {'subject': None},
        {'ingress': [{'action': 'Allow', 'from': peers}]}, {'ingress': [{'from': peers}]}, {'ingress': [{'action': 'Deny', 'from': []}]},
        {'ingress': [{'action': 'Deny'}]}, {'egress': [{'action': 'Deny', 'to': peers * 26}]},
        {'ingress': [{'action': 'Deny', 'from': peers}] * 26}, {'egress': [{'action': 'Deny', 'to': [{'networks': ['10.0.0.0']}]}]},
        {'egress': [{'action': 'Deny', 'to': [{'networks': []}]}]}, {'ingress': [{'action': 'Deny', 'from': peers, 'protocols': [port]}]},
        {'egress': [{'action': 'Accept', 'to': [{'networks': ['10.0.0.0/8']}], 'protocols': [{'destinationNamedPort': 'http'}]}]},
        {'egress': [{'action': 'Accept', 'to': [{'nodes': {}}], 'protocols': [{'destinationNamedPort': 'http'}]}]}])
    return dict(spec, **change)


def refused_policy(maker):
    """Under the name of a policy that is in force, where there is one: that one has to stay so."""
    rng, kind = maker.rng, maker.rng.choice(['NetworkPolicy', 'ClusterNetworkPolicy'])
    present = maker.of_kind(kind)
    meta = dict(rng.choice(present)['metadata']) if present else {'name': 'none', 'namespace': maker.namespaces[0]}
    if kind == 'ClusterNetworkPolicy':
        return {'apiVersion': 'policy.networking.k8s.io/v1alpha2', 'kind': kind, 'metadata': {'name': meta['name']},
                'spec': refused_cluster(rng)}
    return {'apiVersion': 'networking.k8s.io/v1', 'kind': kind, 'metadata': meta, 'spec': refused_network(rng)}


# ---------------------------------------------------------------- Services

def service(maker, number, name=None):
    """A Service and its slices (none: the node finds the pods by the selector)."""
    rng = maker.rng
    namespace = rng.choice(maker.namespaces)
    name = name or f's{number}'
    ips = rng.choice([[f'10.96.0.{number}', f'fd00:96::{number:x}'], [f'10.96.0.{number}'], [f'fd00:96::{number:x}']])
    ports, used = [], set()
    for index in range(rng.choice([1, 1, 2, 3])):
        port, proto = rng.choice([80, 443, 53, 8080]), rng.choice(['TCP', 'TCP', 'TCP', 'UDP', 'UDP', 'SCTP'])
        if (port, proto) in used:
            continue
        used.add((port, proto))
        item = {'name': f'q{index}', 'port': port, 'protocol': proto}
        if proto == 'TCP' and chance(rng, 50):
            del item['protocol']
        if chance(rng, 80):
            item['targetPort'] = rng.choice(PORTS[:7]) if chance(rng, 65) else rng.choice(PORT_NAMES)
        ports.append(item)
    spec = {'type': 'ClusterIP', 'clusterIP': ips[0], 'clusterIPs': ips, 'ports': ports}
    if chance(rng, 45):
        spec['selector'] = {'app': rng.choice(['web', 'db', 'cache'])}
    obj = {'apiVersion': 'v1', 'kind': 'Service', 'metadata': {'name': name, 'namespace': namespace}, 'spec': spec}
    if chance(rng, 60):
        expose(rng, number, obj)
    terms(rng, obj)
    maker.keep(obj)
    return [obj] + ([] if spec.get('selector') and chance(rng, 70) else slices(maker, obj))


def expose(rng, number, obj):
    """To who is outside: by node ports, external addresses, a load balancer's, with those of somebody else beside them."""
    spec = obj['spec']
    v4, v6 = any('.' in text for text in spec['clusterIPs']), any(':' in text for text in spec['clusterIPs'])

    def own(v4_text, v6_text):
        return [text for text, has in ((v4_text, v4), (v6_text, v6)) if has]

    spec['type'] = rng.choice(['ClusterIP', 'NodePort', 'NodePort', 'LoadBalancer', 'LoadBalancer'])
    if spec['type'] == 'ClusterIP' or chance(rng, 25):
        spec['externalIPs'] = own(f'203.0.113.{100 + number}', f'2001:db8:f::{number:x}')
    if spec['type'] != 'ClusterIP':
        for index, port in enumerate(spec['ports']):
            if chance(rng, 90):
                port['nodePort'] = 30000 + 10 * number + index
    if spec['type'] == 'LoadBalancer':
        ingress = [rng.choice([{'ip': text}, {'ip': text, 'ipMode': 'VIP'}])
                   for text in own(f'198.51.100.{200 + number}', f'2001:db8:e::{number:x}')]
        ingress += rng.choice([[], [], [{'hostname': 'lb.example.com'}],
                               [{'ip': f'198.51.100.{220 + number}', 'ipMode': 'Proxy'}]])
        obj['status'] = {'loadBalancer': {'ingress': ingress}}


def terms(rng, obj):
    """How a Service is served: traffic policies, affinity, ranges, forwarding, choice."""
    spec = obj['spec']
    for key, values in (('internalTrafficPolicy', [..., ..., ..., 'Cluster', 'Local']),
                        ('externalTrafficPolicy', [..., 'Cluster', 'Local', 'Local']),
                        ('sessionAffinity', [..., ..., 'None', 'ClientIP']),
                        ('sessionAffinityConfig', [..., ..., {'clientIP': {'timeoutSeconds': 600}}]),
                        ('loadBalancerSourceRanges', [..., ..., None, [], ranges(rng), ranges(rng)])):
        spec.pop(key, None)
        if key == 'externalTrafficPolicy' and spec['type'] == 'ClusterIP' and 'externalIPs' not in spec:
            continue
        put_or_leave(spec, key, rng.choice(values))
    notes = {}
    put_or_leave(notes, 'polder.dev/forwarding', rng.choice([..., ..., 'snat', 'dsr']))
    put_or_leave(notes, 'polder.dev/balancing', rng.choice([..., ..., 'random', 'maglev']))
    obj['metadata'].pop('annotations', None)
    put_or_leave(obj['metadata'], 'annotations', notes or ...)


def ranges(rng):
    found = rng.sample(SOURCE_RANGES, rng.choice([1, 1, 2, 3]))
    return [f' {text}\t' if chance(rng, 10) else text for text in found]


def slices(maker, obj):
    """EndpointSlices for a Service, as a controller of any mood would make them."""
    rng, found = maker.rng, []
    namespace, name = obj['metadata']['namespace'], obj['metadata']['name']
    for index in range(rng.choice([1, 2, 2, 3])):
        v4 = ':' not in rng.choice(obj['spec']['clusterIPs'])
        endpoints = []
        for _ in range(rng.choice([0, 1, 2, 3])):
            where = maker.some_address(v4) if chance(rng, 85) else rng.choice([t for t in OUTSIDE if (':' not in t) == v4])
            endpoint = {'addresses': [where]}
            put_or_leave(endpoint, 'nodeName', rng.choice([..., ..., None, 'n1', 'n2', 'n3']))
            state = rng.random()
            if state < 0.6:
                endpoint['conditions'] = rng.choice([{'ready': True}, {}, {'ready': None}, {'ready': True, 'serving': True}])
            elif state < 0.75:
                endpoint['conditions'] = {'ready': False, 'serving': True, 'terminating': True}
            elif state < 0.9:
                endpoint['conditions'] = {'ready': False, 'serving': False, 'terminating': chance(rng, 50)}
            endpoints.append(endpoint)
        ports = [{'name': port['name'], 'protocol': port.get('protocol', 'TCP'), 'port': rng.choice(PORTS[:7])}
                 for port in obj['spec']['ports'] if chance(rng, 90)]
        found.append(maker.keep({'apiVersion': 'discovery.k8s.io/v1', 'kind': 'EndpointSlice',
                                 'metadata': {'name': f'{name}-{index}', 'namespace': namespace,
                                              'labels': {'kubernetes.io/service-name': name}},
                                 'addressType': 'IPv4' if v4 else 'IPv6', 'endpoints': endpoints, 'ports': ports}))
    return found

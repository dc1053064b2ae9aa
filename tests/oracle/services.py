# SPDX-License-Identifier: Apache-2.0
"""Services: which endpoints a new flow to a Service's address may go to, and with which ones an old flow may stay."""

from labels import PROTOCOLS, Block, Selector, address, is_ipv4


CLUSTER_IP, NODE_PORT, EXTERNAL_IP, LOAD_BALANCER = 'ClusterIP', 'NodePort', 'ExternalIP', 'LoadBalancer'
AFFINITY_DEFAULT = 10800


class Terms:
    """What a Service says for all of its ports. `forwarding`: what holds where it says nothing."""

    def __init__(self, service, forwarding):
        spec, meta = service.get('spec') or {}, service['metadata']
        said = (meta.get('annotations') or {}).get('polder.dev/forwarding')
        self.name = meta.get('namespace') or 'default', meta['name']
        self.type = spec.get('type') or CLUSTER_IP
        self.external_local = spec.get('externalTrafficPolicy') == 'Local'
        self.internal_local = spec.get('internalTrafficPolicy') == 'Local'
        self.handed_on = (said if said in ('snat', 'dsr') else forwarding) == 'dsr'
        self.by_table = self.handed_on or (meta.get('annotations') or {}).get('polder.dev/balancing') == 'maglev'
        self.affinity = 0
        if spec.get('sessionAffinity') == 'ClientIP':
            config = (spec.get('sessionAffinityConfig') or {}).get('clientIP') or {}
            self.affinity = config.get('timeoutSeconds') or AFFINITY_DEFAULT
        self.ranges = [Block(text.strip()) for text in spec.get('loadBalancerSourceRanges') or []]


class Endpoint:
    """One copy of an endpoint, or all of them: it is as ready as the readiest, and here if any copy says so."""

    def __init__(self, ready, serving, here):
        self.ready, self.serving, self.here = bool(ready), bool(serving), here


class Endpoints:
    """Of one port in one family, for all of the Service's addresses. Endpoints are pairs of address and port."""

    def __init__(self, key, found, terms):
        self.key = key
        ready = {where for where, endpoint in found.items() if endpoint.ready}
        serving = {where for where, endpoint in found.items() if endpoint.serving}
        here = {where for where, endpoint in found.items() if endpoint.here}
        self.cluster = frozenset(ready or serving)                # for new flows (SV-06)
        if terms.external_local or terms.internal_local:
            self.local = frozenset(here & ready or here & serving)
        else:
            self.local = frozenset(self.cluster & here)
        self.active = self.cluster | self.local
        self.leaving = frozenset(set(found) - self.active)        # only for flows that are there already


class Frontend:
    """What stands behind one address, protocol and port."""

    def __init__(self, kind, terms, endpoints):
        self.kind, self.terms, self.endpoints = kind, terms, endpoints
        self.service, self.fresh = terms.name, endpoints.cluster

    @property
    def external(self):
        """May who is outside of the cluster use it?"""
        return self.kind != CLUSTER_IP

    def admits(self, number):
        """May a client outside, as far as the load balancer's source ranges go (SV-16)?"""
        ranges = self.terms.ranges if self.kind == LOAD_BALANCER else ()
        return not ranges or any(number in block for block in ranges)


def better(endpoints, where, endpoint):
    """A duplicate across slices counts as its readier copy."""
    old = endpoints.get(where, endpoint)
    best = max(old, endpoint, key=lambda one: (one.ready, one.serving))
    endpoints[where] = Endpoint(best.ready, best.serving, old.here or endpoint.here)


def from_slices(world, service, port, slices, ipv4):
    """{(address, port): Endpoint} of one Service's port and family."""
    endpoints = {}
    everybody = service['spec'].get('publishNotReadyAddresses')
    for item in slices:
        if (item.get('addressType') == 'IPv4') != ipv4:
            continue
        number = next((p.get('port') for p in item.get('ports') or []
                       if (p.get('name') or '') == (port.get('name') or '') and
                       (p.get('protocol') or 'TCP') == (port.get('protocol') or 'TCP')), None)
        if not number:
            continue
        for endpoint in item.get('endpoints') or []:
            conditions = endpoint.get('conditions') or {}
            ready, serving = conditions.get('ready'), conditions.get('serving')
            ready = True if ready is None else ready
            serving = ready if serving is None else serving
            if everybody and not conditions.get('terminating'):
                ready = True
            # The addresses of one endpoint are interchangeable; consumers use the first (API text).
            where = address(endpoint['addresses'][0])
            node = endpoint.get('nodeName')
            here = node == world.node if node else world.is_here(where)
            better(endpoints, (where, number), Endpoint(ready, serving, here))
    return endpoints


def from_pods(world, service, port, pods, ipv4):
    """A Service with a selector and without slices: the pods that the node knows."""
    spec = service['spec']
    selector, proto = Selector({'matchLabels': spec['selector']}), PROTOCOLS[port.get('protocol') or 'TCP']
    target = port.get('targetPort') or port['port']
    endpoints = {}
    for pod in pods:
        if pod.namespace != (service['metadata'].get('namespace') or 'default') or not selector.matches(pod.labels):
            continue
        number = target
        if isinstance(target, str):
            number = next((n for name, p, n in pod.named_ports if name == target and p == proto), None)
        where = next((addr for addr in pod.addresses if is_ipv4(addr) == ipv4), None)
        if number is None or where is None:
            continue
        able = pod.ready or bool(spec.get('publishNotReadyAddresses'))
        here = pod.container is not None or pod.node == world.node
        better(endpoints, (where, number), Endpoint(able and not pod.terminating, able, here))
    return endpoints


def cluster_ips(spec):
    texts = spec.get('clusterIPs') or ([spec['clusterIP']] if spec.get('clusterIP') else [])
    return [address(text) for text in texts if text != 'None']


def places(service, terms):
    """(address, kind) of all the addresses that the Service is given. Of one that is a load balancer's too, the ranges count."""
    spec = service.get('spec') or {}
    found = {number: CLUSTER_IP for number in cluster_ips(spec)}
    if terms.type == LOAD_BALANCER:
        for item in ((service.get('status') or {}).get('loadBalancer') or {}).get('ingress') or []:
            if item.get('ip') and item.get('ipMode', 'VIP') == 'VIP':
                found.setdefault(address(item['ip']), LOAD_BALANCER)
    for text in spec.get('externalIPs') or []:
        found.setdefault(address(text), EXTERNAL_IP)
    return found.items()


class Tables:
    """Frontends by (address, protocol, port) and (IPv4, protocol, node port); all addresses, and those that are ClusterIPs."""

    def __init__(self):
        self.frontends, self.node_ports, self.addresses, self.cluster_ips = {}, {}, set(), set()


def endpoints_of(world, service, port, slices, ipv4):
    if slices or not service['spec'].get('selector'):
        return from_slices(world, service, port, slices, ipv4)
    return from_pods(world, service, port, world.all_pods(), ipv4)


def add_service(world, tables, service, slices):
    spec, terms = service['spec'], Terms(service, world.forwarding)
    given = list(places(service, terms))
    tables.addresses.update(number for number, _ in given)
    tables.cluster_ips.update(number for number, kind in given if kind == CLUSTER_IP)
    for ipv4 in {is_ipv4(number) for number in cluster_ips(spec)}:
        for port in spec.get('ports') or []:
            proto = PROTOCOLS[port.get('protocol') or 'TCP']
            found = Endpoints((*terms.name, port['port'], proto, ipv4), endpoints_of(world, service, port, slices, ipv4), terms)
            for number, kind in given:
                if is_ipv4(number) == ipv4:
                    tables.frontends[number, proto, port['port']] = Frontend(kind, terms, found)
            if terms.type in (NODE_PORT, LOAD_BALANCER) and port.get('nodePort'):
                tables.node_ports[ipv4, proto, port['nodePort']] = Frontend(NODE_PORT, terms, found)


def frontends(world):
    """Tables of all Services. Each address, and each node port, is one Service's: who gets what two of them want is not asked here."""
    tables = Tables()
    for service in world.of_kind('Service'):
        if (service.get('spec') or {}).get('type') == 'ExternalName':
            continue
        namespace, name = service['metadata'].get('namespace') or 'default', service['metadata']['name']
        add_service(world, tables, service,
                    [item for item in world.of_kind('EndpointSlice')
                     if (item['metadata'].get('namespace') or 'default') == namespace and
                     (item['metadata'].get('labels') or {}).get('kubernetes.io/service-name') == name])
    return tables

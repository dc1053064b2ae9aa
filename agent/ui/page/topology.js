// SPDX-License-Identifier: Apache-2.0
// Who talks to whom, out of lists of flows and drops; and where each stands on the map. The same
// lists give the same map.

const OUTSIDE_MOST = 24;
const EDGES_MOST = 600;
// Beyond so many pods and Services each namespace is one node, unless somebody wants it otherwise.
export const PODS_MOST = 120;

const byKey = (a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0);
const heaviest = (a, b) => b.bytes - a.bytes || b.drops - a.drops || byKey(a, b);

function namespaceOf(name) {
	return name.includes('/') ? name.slice(0, name.indexOf('/')) : '';
}

class Graph {
	constructor(own) {
		this.own = new Set(own);
		this.nodes = new Map();
		this.edges = new Map();
	}

	node(kind, name, group) {
		const key = `${kind}:${name}`;
		if (!this.nodes.has(key))
			this.nodes.set(key, {key, kind, name, group, bytes: 0, flows: 0, drops: 0});
		return this.nodes.get(key);
	}

	pod(name) {
		return this.node('pod', name, namespaceOf(name));
	}

	service(name) {
		return this.node('service', name, namespaceOf(name));
	}

	end(podName, ip) {
		if (podName)
			return this.pod(podName);
		if (this.own.has(ip))
			return this.node('node', 'this node', null);
		return this.node('outside', ip, undefined);
	}

	edge(from, to, dropped) {
		const key = `${dropped ? 'drop' : 'flow'} ${from.key} ${to.key}`;
		if (!this.edges.has(key))
			this.edges.set(key, {key, from, to, dropped, bytes: 0, flows: 0, drops: 0, reasons: new Set()});
		return this.edges.get(key);
	}

	add(from, to, flow) {
		const edge = this.edge(from, to, false);
		edge.flows++;
		edge.bytes += flow.bytes;
		return edge;
	}
}

// The replies of a connection are an entry of their own: their bytes are the connection's.
function addFlows(graph, flows) {
	const pairs = new Map();
	for (const flow of flows) {
		if (flow.reply)
			continue;
		const from = graph.end(flow.source_pod, flow.source);
		const to = graph.end(flow.destination_pod, flow.new_destination || flow.destination);
		let edge;
		if (flow.service) {
			const middle = graph.service(flow.service);
			graph.add(from, middle, flow);
			edge = graph.add(middle, to, flow);
		} else {
			edge = graph.add(from, to, flow);
		}
		pairs.set(`${from.key} ${to.key}`, edge);
	}
	for (const flow of flows) {
		if (!flow.reply)
			continue;
		const server = graph.end(flow.source_pod, flow.source), client = graph.end(flow.destination_pod, flow.new_destination || flow.destination);
		const edge = pairs.get(`${client.key} ${server.key}`);
		if (edge)
			edge.bytes += flow.bytes;
	}
}

function addDrops(graph, drops) {
	for (const drop of drops) {
		const example = drop.example;
		if (!example?.source?.ip || !example.destination?.ip)
			continue;
		const edge = graph.edge(graph.end(example.source.pod, example.source.ip), graph.end(example.destination.pod, example.destination.ip), true);
		edge.drops += drop.packets;
		edge.reasons.add(drop.reason);
	}
}

// Lighter addresses of the outside become one node.
function foldOutside(graph) {
	const outside = [...graph.nodes.values()].filter((node) => node.kind === 'outside').sort(heaviest);
	if (outside.length <= OUTSIDE_MOST)
		return (node) => node;
	const rest = graph.node('outside', `${outside.length - OUTSIDE_MOST + 1} others`, undefined);
	const folded = new Set(outside.slice(OUTSIDE_MOST - 1));
	return (node) => (folded.has(node) ? rest : node);
}

function foldNamespaces(graph) {
	return (node) => (node.group === undefined || node.group === null ? node : graph.node('namespace', node.group, node.group));
}

function rename(graph, fold) {
	const folded = new Graph([]);
	for (const edge of graph.edges.values()) {
		const [from, to] = [edge.from, edge.to].map((node) => {
			const other = fold(node);
			return folded.node(other.kind, other.name, other.group);
		});
		const sum = folded.edge(from, to, edge.dropped);
		for (const what of ['bytes', 'flows', 'drops'])
			sum[what] += edge[what];
		edge.reasons.forEach((reason) => sum.reasons.add(reason));
	}
	return folded;
}

function weigh(graph) {
	for (const node of graph.nodes.values())
		node.bytes = node.flows = node.drops = 0;
	for (const edge of graph.edges.values())
		for (const node of new Set([edge.from, edge.to]))
			for (const what of ['bytes', 'flows', 'drops'])
				node[what] += edge[what];
}

// level: "pods", "namespaces", or "auto". `own`: the node's addresses. `pods`: names of those that are
// to be there, whether they talk or not.
export function topology({flows, drops, own, pods, level}) {
	let graph = new Graph(own);
	pods.forEach((name) => graph.pod(name));
	addFlows(graph, flows);
	addDrops(graph, drops);
	const inside = [...graph.nodes.values()].filter((node) => node.kind === 'pod' || node.kind === 'service').length;
	const coarse = level === 'namespaces' || (level === 'auto' && inside > PODS_MOST);
	const names = [...graph.nodes.values()].filter((node) => node.kind === 'pod');
	if (coarse)
		graph = rename(graph, foldNamespaces(graph));
	else
		names.forEach((node) => graph.nodes.set(node.key, node));
	weigh(graph);
	const silent = [...graph.nodes.values()].filter((node) => node.kind === 'pod');
	graph = rename(graph, foldOutside(graph));
	silent.forEach((node) => graph.node(node.kind, node.name, node.group));
	if (coarse)
		names.forEach((node) => graph.node('namespace', node.group, node.group));
	weigh(graph);
	const edges = [...graph.edges.values()].sort(heaviest);
	return {nodes: [...graph.nodes.values()].sort(byKey), edges: edges.filter((edge, i) => i < EDGES_MOST || edge.dropped),
		hidden: edges.filter((edge, i) => i >= EDGES_MOST && !edge.dropped).length, coarse};
}

const CELL = {width: 150, height: 30, gap: 10};
const BOX = {pad: 10, title: 22, gap: 26};

function groupsOf(nodes) {
	const groups = new Map();
	for (const node of nodes) {
		const name = node.kind === 'outside' ? 'outside' : node.kind === 'node' ? 'this node' : node.kind === 'namespace' ? 'namespaces' : node.group;
		const key = node.kind === 'outside' ? '0' : node.kind === 'node' ? '1' : node.kind === 'namespace' ? '2' : `3${name}`;
		if (!groups.has(key))
			groups.set(key, {key, name, nodes: []});
		groups.get(key).nodes.push(node);
	}
	return [...groups.values()].sort(byKey);
}

// Boxes of namespaces beside and below each other, in the order of their names; within, a grid.
export function layout(nodes, width) {
	const room = Math.max(CELL.width + 2 * BOX.pad, width - 2);
	let x = 1, y = 1, shelf = 0, right = 0;
	const groups = groupsOf(nodes).map((group) => {
		const most = Math.max(1, Math.floor((room - 2 * BOX.pad + CELL.gap) / (CELL.width + CELL.gap)));
		const columns = Math.min(most, Math.max(1, Math.round(Math.sqrt(group.nodes.length) / 2)));
		const rows = Math.ceil(group.nodes.length / columns);
		const box = {width: columns * (CELL.width + CELL.gap) - CELL.gap + 2 * BOX.pad,
			height: BOX.title + rows * (CELL.height + CELL.gap) - CELL.gap + 2 * BOX.pad};
		if (x > 1 && x + box.width > room) {
			x = 1;
			y += shelf + BOX.gap;
			shelf = 0;
		}
		const placed = {...group, ...box, x, y};
		x += box.width + BOX.gap;
		shelf = Math.max(shelf, box.height);
		right = Math.max(right, placed.x + box.width);
		placed.nodes = group.nodes.map((node, i) => ({node, width: CELL.width, height: CELL.height,
			x: placed.x + BOX.pad + (i % columns) * (CELL.width + CELL.gap),
			y: placed.y + BOX.pad + BOX.title + Math.floor(i / columns) * (CELL.height + CELL.gap)}));
		return placed;
	});
	return {groups, width: right + 1, height: y + shelf + 1};
}

// From the middle of `place` towards a point, where its border is.
function border(place, towards) {
	const middle = {x: place.x + place.width / 2, y: place.y + place.height / 2};
	const dx = towards.x - middle.x, dy = towards.y - middle.y;
	const scale = Math.min(dx ? place.width / 2 / Math.abs(dx) : Infinity, dy ? place.height / 2 / Math.abs(dy) : Infinity);
	return Number.isFinite(scale) ? {x: middle.x + dx * scale, y: middle.y + dy * scale} : middle;
}

// Bent to its right: both directions between two nodes are seen. `bend` keeps drops from lying on flows.
export function curve(from, to, bend) {
	if (from === to) {
		const x = from.x + from.width - 24;
		return `M${x},${from.y} c-4,-18 22,-18 16,0`;
	}
	const a = {x: from.x + from.width / 2, y: from.y + from.height / 2}, b = {x: to.x + to.width / 2, y: to.y + to.height / 2};
	const control = {x: (a.x + b.x) / 2 - (b.y - a.y) * bend, y: (a.y + b.y) / 2 + (b.x - a.x) * bend};
	const start = border(from, control), end = border(to, control);
	return `M${start.x.toFixed(1)},${start.y.toFixed(1)} Q${control.x.toFixed(1)},${control.y.toFixed(1)} ${end.x.toFixed(1)},${end.y.toFixed(1)}`;
}

// SPDX-License-Identifier: Apache-2.0
// Who talks to whom, out of lists of flows and drops; and where each stands on the map. The same
// lists give the same map.

const OUTSIDE_MOST = {pods: 24, namespaces: 12};
const EDGES_MOST = 600;
const DROPS_MOST = 300;
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

// Multicast, broadcast and link-local: what kernels say of themselves (MLD, router solicitation), which
// is dropped without end, and is nobody's talk.
const OF_THE_LINK = /^(fe[89ab][0-9a-f]:|ff[0-9a-f]{2}:|22[4-9]\.|23[0-9]\.|255\.255\.255\.255$)/i;

function addDrops(graph, drops) {
	for (const drop of drops) {
		const example = drop.example;
		if (!example?.source?.ip || !example.destination?.ip || OF_THE_LINK.test(example.destination.ip))
			continue;
		const edge = graph.edge(graph.end(example.source.pod, example.source.ip), graph.end(example.destination.pod, example.destination.ip), true);
		edge.drops += drop.packets;
		edge.reasons.add(drop.reason);
	}
}

// Lighter addresses of the outside become one node.
function foldOutside(graph, most) {
	const outside = [...graph.nodes.values()].filter((node) => node.kind === 'outside').sort(heaviest);
	if (outside.length <= most)
		return (node) => node;
	const rest = graph.node('outside', `${outside.length - most + 1} others`, undefined);
	const folded = new Set(outside.slice(most - 1));
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

// Of many edges the heaviest are drawn.
function pick(edges) {
	const flows = edges.filter((edge) => !edge.dropped).sort(heaviest), drops = edges.filter((edge) => edge.dropped).sort((a, b) => b.drops - a.drops || byKey(a, b));
	return [...flows.slice(0, EDGES_MOST), ...drops.slice(0, DROPS_MOST)];
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
	if (coarse)
		graph = rename(graph, foldNamespaces(graph));
	weigh(graph);
	graph = rename(graph, foldOutside(graph, coarse ? OUTSIDE_MOST.namespaces : OUTSIDE_MOST.pods));
	const kept = new Set(pods.map((name) => (coarse ? graph.node('namespace', namespaceOf(name), namespaceOf(name)) : graph.pod(name)).key));
	weigh(graph);
	const edges = pick([...graph.edges.values()]);
	edges.forEach((edge) => kept.add(edge.from.key).add(edge.to.key));
	return {nodes: [...graph.nodes.values()].filter((node) => kept.has(node.key)).sort(byKey), edges, hidden: graph.edges.size - edges.length, coarse};
}

const CELL = {width: 150, narrow: 100, height: 30, gap: 10, aisle: 34, wide: 110};
const BOX = {pad: 10, title: 22, gap: 44, spread: 80};
// Where there is less room, boxes are narrow enough for two beside each other.
const ROOM_NARROW = 460;
// An arrow within a column bows out so far, at the right border too.
const BOW = {narrow: 18, wide: 42};

const SIDE = {outside: 'outside', node: 'this node'};

function groupsOf(nodes) {
	const groups = new Map();
	for (const node of nodes) {
		const name = SIDE[node.kind] ?? (node.kind === 'namespace' ? 'namespaces' : node.group);
		const key = node.kind in SIDE ? `0${node.kind === 'node' ? 1 : 0}` : node.kind === 'namespace' ? '1' : `2${name}`;
		if (!groups.has(key))
			groups.set(key, {key, name, side: node.kind in SIDE, nodes: []});
		groups.get(key).nodes.push(node);
	}
	return [...groups.values()].sort(byKey);
}

// A grid from `left`. {places, width, rows}
function grid(nodes, left, {cell, aisle}, most, want = Math.round(Math.sqrt(nodes.length) / 2)) {
	const columns = Math.max(1, Math.min(most, want)), step = cell + aisle;
	return {places: nodes.map((node, i) => ({node, x: left + (i % columns) * step, y: Math.floor(i / columns) * (CELL.height + CELL.gap)})),
		width: columns * step - aisle, rows: Math.ceil(nodes.length / columns)};
}

// Services stand before the pods: who asks them comes from the left most often.
function boxOf(group, cell, room) {
	const all = group.key === '1', aisle = all ? CELL.wide : CELL.aisle, sizes = {cell, aisle};
	const most = group.side ? 1 : Math.max(1, Math.floor((room - 2 * BOX.pad + aisle) / (cell + aisle)));
	const services = group.nodes.filter((node) => node.kind === 'service'), others = group.nodes.filter((node) => node.kind !== 'service');
	const apart = most > 1 && services.length && others.length;
	const before = grid(apart ? services : [], 0, sizes, Math.floor(most / 2));
	const left = apart ? before.width + aisle : 0;
	const rest = grid(apart ? others : [...services, ...others], left, sizes, apart ? Math.ceil(most / 2) : most, all ? Math.round(Math.sqrt(group.nodes.length)) : undefined);
	return {...group, places: [...before.places, ...rest.places], width: left + rest.width + 2 * BOX.pad,
		height: BOX.title + Math.max(before.rows, rest.rows) * (CELL.height + CELL.gap) - CELL.gap + 2 * BOX.pad};
}

// Beside each other from `left` to `room`, and below. What room is left is between them.
function shelve(boxes, left, top, room) {
	let x = left, y = top, shelf = 0, row = 0;
	for (const box of boxes) {
		if (x > left && x + box.width > room) {
			x = left;
			y += shelf + BOX.gap / 2;
			shelf = row = 0;
		}
		Object.assign(box, {x, y, row: row++});
		x += box.width + BOX.gap;
		shelf = Math.max(shelf, box.height);
	}
	const most = Math.max(1, ...boxes.map((box) => box.row)), free = room - Math.max(0, ...boxes.map((box) => box.x + box.width));
	for (const box of boxes)
		box.x += box.row * Math.max(0, Math.min(BOX.spread, free / most));
}

// The outside and this node at the left, the boxes of namespaces at their right, in the order of their
// names; within, a grid.
export function layout(nodes, width) {
	const free = width < ROOM_NARROW ? BOW.narrow : BOW.wide;
	const room = Math.max(2 * (CELL.narrow + 2 * BOX.pad) + BOX.gap / 2, width - 2 - free);
	const cell = room < ROOM_NARROW ? Math.floor((room - 4 * BOX.pad - BOX.gap / 2) / 2) : CELL.width;
	const groups = groupsOf(nodes), side = groups.filter((group) => group.side).map((group) => boxOf(group, cell, room));
	const left = side.length ? 1 + cell + 2 * BOX.pad + (room < ROOM_NARROW ? BOX.gap / 2 : 2 * BOX.gap) : 1;
	const inside = groups.filter((group) => !group.side).map((group) => boxOf(group, cell, room - left));
	shelve(side, 1, 1, 1);
	shelve(inside, left, 1, room);
	const boxes = [...side, ...inside];
	for (const box of boxes)
		box.places = box.places.map(({node, x, y}) => ({node, width: cell, height: CELL.height, x: box.x + BOX.pad + x, y: box.y + BOX.pad + BOX.title + y}));
	return {groups: boxes, width: Math.max(...boxes.map((box) => box.x + box.width)) + free, height: Math.max(...boxes.map((box) => box.y + box.height)) + 1};
}

// From side to side, so that arrows lie between the columns and not across the names; ends of the two
// directions, and of drops, do not lie on each other.
export function curve(from, to, dropped) {
	if (from === to) {
		const x = from.x + from.width - 24;
		return `M${x},${from.y} c-2,-13 18,-13 14,0`;
	}
	const towards = to.x >= from.x + from.width ? 1 : to.x + to.width <= from.x ? -1 : 0, beside = towards === 0;
	const offset = (towards < 0 || (beside && to.y < from.y) ? 4 : -4) + (dropped ? 7 * (towards < 0 ? 1 : -1) : 0);
	const a = {x: from.x + (towards < 0 ? 0 : from.width), y: from.y + from.height / 2 + offset};
	const b = {x: to.x + (towards > 0 ? 0 : to.width), y: to.y + to.height / 2 + offset};
	const bow = from.width < CELL.width ? BOW.narrow : BOW.wide;
	// Of a curve's handles three quarters are seen.
	const reach = beside ? Math.min(bow * 4 / 3 - 2, 16 + Math.abs(b.y - a.y) / 8) : Math.max(16, Math.abs(b.x - a.x) / 2);
	const c = {x: a.x + (towards < 0 ? -reach : reach), y: a.y}, d = {x: b.x + (towards > 0 ? -reach : reach), y: b.y};
	return `M${[a, c, d, b].map((point) => `${point.x.toFixed(1)},${point.y.toFixed(1)}`).join(' ').replace(' ', ' C')}`;
}

// SPDX-License-Identifier: Apache-2.0
// The map: namespaces as boxes, pods and Services in them, an arrow for each pair that talks, red
// where packets were dropped.
import {ask} from './api.js';
import {bytes, choice, count, el, link, parts, svg, swap, table, text} from './common.js';
import {curve, layout, topology} from './topology.js';

const LETTER = 7.2;
const FLOWS = 10000;

function clip(label, width) {
	const shown = text(label), most = Math.floor((width - 8) / LETTER);
	return shown.length > most ? `${shown.slice(0, most - 1)}…` : shown;
}

function short(node, width) {
	const slash = node.kind === 'pod' || node.kind === 'service' ? node.name.indexOf('/') : -1;
	return clip(node.name.slice(slash + 1) || 'default', width);
}

function target(node) {
	switch (node.kind) {
	case 'pod':
		return link('pod', ...parts(node.name));
	case 'namespace':
		return link('flows', 'namespace', node.name);
	case 'service':
		return link('flows', 'to', node.name);
	case 'outside':
		return node.name.includes(' ') ? link('flows') : link('flows', 'ip', node.name);
	default:
		return link('flows');
	}
}

function weight(edge) {
	return (1.2 + Math.min(3.2, Math.max(0, Math.log10(1 + edge.bytes) - 3) / 2)).toFixed(1);
}

function told(edge) {
	const what = edge.dropped ? `${count(edge.drops)} packets dropped (${[...edge.reasons].sort().join(', ')})`
		: `${count(edge.flows)} flows, ${bytes(edge.bytes)}`;
	return `${edge.from.name} → ${edge.to.name}: ${what}`;
}

export class MapView {
	constructor() {
		this.level = 'auto';
		this.drawing = el('div', {class: 'map'});
		this.note = el('p', {class: 'faint'});
		this.list = el('div');
		this.details = el('details', {ontoggle: () => this.tell()}, el('summary', {}, 'The same as a table'), this.list);
		const form = el('form', {class: 'bar', onsubmit: (event) => event.preventDefault(), onchange: (event) => this.setLevel(event.target.value)},
			choice('Show', 'level', [['auto', 'pods, if there are few'], ['pods', 'pods and Services'], ['namespaces', 'namespaces']], 'auto'),
			el('p', {class: 'legend'}, el('span', {class: 'key flow'}), 'flows ', el('span', {class: 'key drop'}), 'drops of the last hour'));
		this.element = el('section', {}, el('h2', {}, 'Map'), form, this.note, this.drawing, this.details);
		this.sizes = new ResizeObserver(() => this.width !== this.drawing.clientWidth && this.draw());
		this.sizes.observe(this.drawing);
	}

	end() {
		this.sizes.disconnect();
	}

	setLevel(level) {
		this.level = level;
		this.draw();
	}

	async refresh(signal) {
		const [status, pods, flows, drops] = await Promise.all([ask('status', {}, signal), ask('pods', {}, signal),
			ask('flows', {limit: FLOWS, sort: 'bytes'}, signal), ask('drops', {since_seconds: 3540}, signal)]);
		this.data = {flows, drops: drops.drops, own: status.node_ips, pods: pods.map((pod) => `${pod.namespace}/${pod.name}`)};
		this.draw();
	}

	draw() {
		if (!this.data)
			return;
		this.width = this.drawing.clientWidth;
		this.graph = topology({...this.data, level: this.level});
		const {nodes, edges, hidden, coarse} = this.graph;
		this.note.textContent = text(`${count(nodes.length)} ${coarse ? 'namespaces and addresses' : 'pods, Services and addresses'}, `
			+ `${count(this.data.flows.length)} flows${this.data.flows.length >= FLOWS ? ' (the largest)' : ''}`
			+ (hidden ? `; ${count(hidden)} lighter connections are left out of the drawing` : ''));
		const focused = document.activeElement?.dataset?.key;
		this.drawing.replaceChildren(nodes.length ? this.picture(nodes, edges) : el('p', {class: 'faint'}, 'There are no pods and no flows.'));
		if (focused)
			[...this.drawing.querySelectorAll('a')].find((one) => one.dataset.key === focused)?.focus({preventScroll: true});
		this.tell();
	}

	picture(nodes, edges) {
		const {groups, width, height} = layout(nodes, this.width);
		const places = new Map(groups.flatMap((group) => group.places.map((place) => [place.node.key, place])));
		this.lines = edges.map((edge) => ({edge, path: svg('path', {class: edge.dropped ? 'edge drop' : 'edge', 'stroke-width': edge.dropped ? 2 : weight(edge),
			d: curve(places.get(edge.from.key), places.get(edge.to.key), edge.dropped),
			'marker-end': edge.dropped ? 'url(#tip-drop)' : 'url(#tip)'}, svg('title', {}, told(edge)))}));
		this.marks = new Map();
		return svg('svg', {viewBox: `0 0 ${width} ${height}`, width, height, role: 'group', 'aria-label': 'who talks to whom'},
			svg('defs', {}, ['tip', 'tip-drop'].map((id) => svg('marker', {id, class: id, viewBox: '0 0 8 8', refX: 7, refY: 4, markerWidth: 9, markerHeight: 9,
				markerUnits: 'userSpaceOnUse', orient: 'auto'}, svg('path', {d: 'M0,0 L8,4 L0,8 z'})))),
			groups.map((group) => svg('rect', {class: 'group', x: group.x, y: group.y, width: group.width, height: group.height, rx: 8})),
			this.lines.map((line) => line.path),
			groups.map((group) => svg('text', {class: 'group', x: group.x + 10, y: group.y + 20}, clip(group.name || 'default', group.width - 12), svg('title', {}, group.name))),
			groups.flatMap((group) => group.places.map((place) => this.mark(place))));
	}

	mark({node, x, y, width, height}) {
		const label = `${node.kind} ${node.name}: ${count(node.flows)} flows, ${bytes(node.bytes)}${node.drops ? `, ${count(node.drops)} packets dropped` : ''}`;
		const mark = svg('a', {href: target(node), class: `mark ${node.kind}${node.drops ? ' dropping' : ''}`, 'data-key': node.key, 'aria-label': text(label),
			onfocus: () => this.light(node), onblur: () => this.light(null), onmouseenter: () => this.light(node), onmouseleave: () => this.light(null)},
		svg('title', {}, label), svg('rect', {x, y, width, height, rx: node.kind === 'service' ? height / 2 : 5}),
		svg('text', {x: x + width / 2, y: y + height / 2 + 4.5}, short(node, width)));
		this.marks.set(node.key, mark);
		return mark;
	}

	// The connections of one node stand out.
	light(node) {
		const near = new Set(node ? [node.key] : []);
		for (const {edge, path} of this.lines) {
			const its = node && (edge.from.key === node.key || edge.to.key === node.key);
			path.classList.toggle('lit', Boolean(its));
			if (its)
				[edge.from.key, edge.to.key].forEach((key) => near.add(key));
		}
		this.marks.forEach((mark, key) => mark.classList.toggle('lit', near.has(key)));
		this.drawing.classList.toggle('dimmed', Boolean(node));
	}

	tell() {
		if (!this.details.open || !this.graph)
			return;
		swap(this.list, table('Who talks to whom', ['From', 'To', 'Flows', 'Bytes', 'Dropped packets', 'Reasons'],
			this.graph.edges.map((edge) => [edge.from.name, edge.to.name, count(edge.flows), bytes(edge.bytes), edge.dropped ? count(edge.drops) : '',
				[...edge.reasons].sort().join(', ')])));
	}
}

// SPDX-License-Identifier: Apache-2.0
// Pods, policies, Services: lists, and a page for each.
import {ask} from './api.js';
import {bytes, count, definitions, el, anchor, endpoint, field, pod, policy, swap, table} from './common.js';
import {dropsTable} from './flows.js';

const ROWS_MOST = 500;

const nameOf = (object) => (object.namespace ? `${object.namespace}/${object.name}` : object.name);

function labels(object) {
	return el('ul', {class: 'labels'}, Object.entries(object ?? {}).map(([key, value]) => el('li', {}, value ? `${key}=${value}` : key)));
}

// A list may have thousands of entries; an element for each cell of them would stop the browser.
class ListView {
	constructor(title) {
		this.list = el('div');
		this.name = el('input', {name: 'name', autocomplete: 'off', spellcheck: 'false', maxlength: 256, oninput: () => this.draw()});
		this.element = el('section', {}, el('h2', {}, title), el('form', {class: 'filters', onsubmit: (event) => event.preventDefault()}, field('Name contains', this.name)), this.list);
		this.all = [];
	}

	// `what` is asked for, and named so; row(object): its cells.
	listOf(what, noun, columns, row) {
		Object.assign(this, {what, noun, columns, row});
	}

	async refresh(signal) {
		this.all = await ask(this.what, {}, signal);
		this.draw();
	}

	draw() {
		const found = this.all.filter((one) => nameOf(one).includes(this.name.value.trim())), more = found.length - ROWS_MOST;
		swap(this.list, table(`${this.noun}: ${count(found.length)}`, this.columns, found.slice(0, ROWS_MOST).map(this.row)),
			more > 0 ? el('p', {}, `${count(more)} more are not shown: say what the name contains`) : '');
	}
}

const isolated = (one) => ['ingress', 'egress'].filter((way) => one[way].isolated).join(', ');

export class PodsView extends ListView {
	constructor() {
		super('Pods of this node');
		this.listOf('pods', 'Pods', ['Pod', 'Addresses', 'State', 'Isolated', 'Labels'], (one) => [pod(nameOf(one)), one.ips.join(' '),
			el('span', {class: one.state === 'ready' ? '' : 'red'}, one.state), isolated(one), labels(one.labels)]);
	}
}

function whereTo(flow) {
	if (flow.service)
		return [`${flow.service}:${flow.destination_port}, endpoint `, flow.destination_pod ? pod(flow.destination_pod) : endpoint(flow.new_destination, flow.new_destination_port)];
	return flow.destination_pod ? [pod(flow.destination_pod), `:${flow.destination_port}`] : endpoint(flow.destination, flow.destination_port);
}

function flowsTable(caption, flows) {
	return table(caption, ['Proto', 'From', 'To', 'Packets', 'Bytes'], flows.filter((flow) => !flow.reply).map((flow) => [flow.proto,
		flow.source_pod ? pod(flow.source_pod) : endpoint(flow.source), whereTo(flow), count(flow.packets), bytes(flow.bytes)]));
}

export class PodView {
	constructor(parts) {
		this.name = parts.join('/');
		this.body = el('div');
		this.element = el('section', {}, el('h2', {}, 'Pod ', this.name), el('p', {}, anchor('its flows', 'flows', 'pod', this.name), ', ',
			anchor('its drops', 'drops', 'pod', this.name)), this.body);
	}

	async refresh(signal) {
		const [pods, services, flows, drops] = await Promise.all([ask('pods', {}, signal), ask('services', {}, signal),
			ask('flows', {limit: 200, sort: 'bytes', filter: {pod: this.name}}, signal), ask('drops', {filter: {pod: this.name}}, signal)]);
		const found = pods.find((one) => nameOf(one) === this.name);
		const serving = found ? services.filter((one) => [...one.backends, ...one.local_backends].some((backend) => found.ips.includes(backend.address))) : [];
		swap(this.body,
			found ? this.about(found) : el('p', {}, 'The pod is not one of this node: what is known here are its flows with pods of this node.'),
			table('Services that it serves', ['Service', 'Address', 'Kind'], serving.map((one) => [nameOf(one), `${one.protocol} ${endpoint(one.address, one.port)}`, one.kind])),
			flowsTable('Its largest flows', flows), dropsTable('What it lost', drops.drops));
	}

	about(found) {
		const way = (one) => (one.isolated ? `isolated: its policies decide (rule set ${one.ruleset})` : 'open: no policy isolates it');
		return definitions(['State', found.state], ['Addresses', found.ips.join(', ')], ['Link', found.link], ['MAC address', found.mac],
			['Container', found.container_id], ['Identity', String(found.identity)], ['Ingress', way(found.ingress)], ['Egress', way(found.egress)], ['Labels', labels(found.labels)]);
	}
}

export class PoliciesView extends ListView {
	constructor() {
		super('Policies');
		this.listOf('policies', 'Policies', ['Policy', 'Kind', 'Tier', 'Decides on', 'Pods of this node', 'Rules'], (one) => [
			one.kind === 'NetworkPolicy' ? policy(nameOf(one)) : anchor(one.name, 'policy', 'cluster', one.name), one.kind,
			one.priority === undefined || one.priority === null ? one.tier : `${one.tier}, priority ${one.priority}`, one.types.join(', '), count(one.selected_pods), count(one.rules)]);
	}
}

export class PolicyView {
	constructor(parts) {
		this.name = parts.join('/');
		this.body = el('div');
		this.element = el('section', {}, el('h2', {}, 'Policy ', this.name), this.body);
	}

	async refresh(signal) {
		const found = await ask('policy', {name: this.name}, signal);
		const drops = await ask('drops', {filter: {policy: found.policy}}, signal);
		const rules = found.rules.map((rule) => [rule.direction, rule.rule_name || rule.rule_path, rule.action, rule.text, rule.counted ? count(rule.packets) : '–',
			rule.counted ? bytes(rule.bytes) : '–']);
		for (const direction of ['ingress', 'egress']) {
			const rest = found.default_deny?.[direction];
			if (rest)
				rules.push([direction, 'default deny', el('span', {class: 'red'}, 'Deny'), rest.text, rest.counted ? count(rest.packets) : '–', rest.counted ? bytes(rest.bytes) : '–']);
		}
		swap(this.body,
			definitions(['Kind', found.kind], ['Tier', found.tier, found.priority === null ? '' : `, priority ${found.priority}`], ['Selects', found.subject],
				['Decides on', found.types.join(', ')]),
			table('Rules, with what they decided', ['Direction', 'Rule', 'Action', 'What', 'Packets', 'Bytes'], rules),
			table('Pods of this node that it selects', ['Pod', 'Addresses', 'Ingress rule set', 'Egress rule set'],
				found.pods.map((one) => [pod(one.pod), one.ips.join(' '), String(one.ingress_ruleset), String(one.egress_ruleset)])),
			dropsTable('What it denied', drops.drops));
	}
}

export class ServicesView extends ListView {
	constructor() {
		super('Services');
		this.listOf('services', 'Ports of Services', ['Service', 'Kind', 'Address', 'Endpoints', 'Of this node'], (one) => [
			anchor(nameOf(one), 'flows', 'to', nameOf(one)), one.kind, `${one.protocol} ${endpoint(one.address, one.port)}`,
			one.backends.length ? count(one.backends.length) : el('span', {class: 'red'}, 'none'), count(one.local_backends.length)]);
	}
}

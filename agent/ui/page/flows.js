// SPDX-License-Identifier: Apache-2.0
// Flows and drops, filtered by the agent.
import {ask} from './api.js';
import {ago, basis, bytes, choice, count, definitions, el, endpoint, failure, field, pod, seconds, swap, table, text} from './common.js';
import {LongTable} from './table.js';

const LIMITS = [['1000', '1,000 flows'], ['10000', '10,000 flows']];
const ORDERS = [['bytes', 'largest first'], ['packets', 'most packets first'], ['use', 'last used first']];
const PROTOS = [['', 'any'], ...['tcp', 'udp', 'sctp', 'icmp', 'icmpv6'].map((name) => [name, name])];
const TIMES = [['', 'whenever'], ['30', '30 seconds'], ['300', '5 minutes'], ['3540', 'an hour']];
const FILTERS = [['pod', 'Pod', 'demo/web'], ['namespace', 'Namespace', 'demo'], ['from', 'From', 'pod, Service, address'], ['to', 'To', 'pod, Service, address'],
	['ip', 'Address', '10.0.0.0/8'], ['port', 'Port', '80 or 8000-8100'], ['policy', 'Policy', 'demo/deny']];
const DROP_FILTERS = [['pod', 'Pod', 'demo/web'], ['namespace', 'Namespace', 'demo'], ['reason', 'Reason', 'policy_denied_ingress'], ['policy', 'Policy', 'demo/deny']];

function input(name, placeholder, value) {
	return el('input', {name, placeholder, value, autocomplete: 'off', spellcheck: 'false', maxlength: 256});
}

function filterForm(filters, preset, more, changed) {
	const form = el('form', {class: 'filters', onsubmit: (event) => {
		event.preventDefault();
		changed();
	}, onchange: changed},
	filters.map(([name, label, example]) => field(label, input(name, example, preset[name]))), more,
	el('button', {type: 'submit'}, 'Apply'),
	el('button', {type: 'reset', onclick: () => setTimeout(() => {
		form.querySelectorAll('input').forEach((one) => (one.value = ''));
		changed();
	})}, 'Clear'));
	return form;
}

function filterOf(form, names) {
	const data = new FormData(form);
	return Object.fromEntries(names.map((name) => [name, String(data.get(name) ?? '').trim()]).filter(([, value]) => value));
}

const sourceOf = (flow) => flow.source_pod || flow.source;
// Replies of a Service's connection go to who asked.
const asksService = (flow) => flow.service && !flow.reply;
const targetOf = (flow) => (asksService(flow) ? flow.service : flow.destination_pod || flow.destination);

function policies(flow) {
	return [flow.egress_policy, flow.ingress_policy].filter((one) => one).map((one) => one.policy).join(', ');
}

function way(flow) {
	return {pod: 'a pod of this node', wire: 'the wire', host: 'this node', stack: "the node's stack", tunnel: 'the tunnel'}[flow.action] ?? flow.action;
}

function flowDetails(flow) {
	return definitions(
		['Protocol', `${flow.proto} over ${flow.family}`, flow.reply ? ' (replies)' : ''],
		['From', pod(flow.source_pod), ' ', endpoint(flow.source, flow.source_port)],
		['To', asksService(flow) ? flow.service : pod(flow.destination_pod), ' ', endpoint(flow.destination, flow.destination_port)],
		flow.new_source ? ['Source becomes', endpoint(flow.new_source, flow.new_source_port)] : null,
		flow.new_destination ? ['Destination becomes', pod(flow.destination_pod), ' ', endpoint(flow.new_destination, flow.new_destination_port)] : null,
		['Leaves by', way(flow), flow.node ? ` (node ${flow.node})` : ''],
		['Allowed by', flow.egress_policy ? ['egress: ', basis(flow.egress_policy), ' '] : '', flow.ingress_policy ? ['ingress: ', basis(flow.ingress_policy)] : '',
			flow.egress_policy || flow.ingress_policy ? '' : 'no policy has a say'],
		['State', flow.state.join(', '), flow.current ? '' : '; is evaluated again with its next packet'],
		['Packets', count(flow.packets)], ['Bytes', `${count(flow.bytes)} (${bytes(flow.bytes)})`], ['Last used', `${seconds(flow.idle_seconds)} ago`]);
}

export class FlowsView {
	// `parts` of the address are pairs: filter, value.
	constructor(parts, context) {
		const preset = {};
		for (let i = 0; i + 1 < parts.length; i += 2)
			preset[parts[i]] = parts[i + 1];
		this.note = el('p', {class: 'faint'});
		this.form = filterForm(FILTERS, preset, [choice('Protocol', 'proto', PROTOS, ''), choice('Used within', 'since', TIMES, ''),
			choice('Order', 'sort', ORDERS, 'bytes'), choice('Show', 'limit', LIMITS, '1000')], () => context.again());
		this.table = new LongTable('Flows', [
			{name: 'Proto', value: (flow) => (flow.reply ? `${flow.proto} reply` : flow.proto)},
			{name: 'From', value: sourceOf, show: (flow) => `${sourceOf(flow)}${flow.source_port ? `:${flow.source_port}` : ''}`},
			{name: 'To', value: targetOf, show: (flow) => `${targetOf(flow)}${flow.destination_port ? `:${flow.destination_port}` : ''}`},
			{name: 'Endpoint', value: (flow) => (asksService(flow) ? flow.destination_pod || flow.new_destination : '')},
			{name: 'Policy', value: policies},
			{name: 'Packets', number: true, value: (flow) => flow.packets, show: (flow) => count(flow.packets)},
			{name: 'Bytes', number: true, value: (flow) => flow.bytes, show: (flow) => bytes(flow.bytes)},
			{name: 'Idle', number: true, value: (flow) => flow.idle_seconds, show: (flow) => seconds(flow.idle_seconds)},
		], (flow) => this.open(flow));
		this.details = el('aside', {class: 'details', 'aria-label': 'The chosen flow', hidden: true});
		this.element = el('section', {}, el('h2', {}, 'Flows'), this.form, this.note, el('div', {class: 'beside'}, this.table.element, this.details));
	}

	end() {
		this.table.end();
	}

	async refresh(signal) {
		const data = new FormData(this.form), limit = Number(data.get('limit'));
		const flows = await ask('flows', {limit, sort: data.get('sort'), since_seconds: data.get('since'),
			filter: {...filterOf(this.form, FILTERS.map(([name]) => name)), proto: data.get('proto')}}, signal);
		this.table.set(flows);
		this.note.textContent = `${count(flows.length)} entries; each direction of a connection is one${flows.length >= limit ? `. There are more: these are the first ${count(limit)} by the order` : ''}`;
	}

	open(flow) {
		this.details.hidden = false;
		this.details.replaceChildren(el('h3', {}, 'Flow'), flowDetails(flow),
			el('button', {type: 'button', onclick: () => {
				this.details.hidden = true;
				this.table.element.focus();
			}}, 'Close'));
	}
}

function exampleOf(drop) {
	const example = drop.example;
	return example?.source ? `${example.proto} ${example.source.pod || endpoint(example.source.ip, example.source.port)} → `
		+ `${example.destination.pod || example.destination.ip}${example.destination.port ? `:${example.destination.port}` : ''}` : '';
}

export function dropsTable(caption, drops) {
	return table(caption, ['Reason', 'Pod', 'Policy', 'Packets', 'Last', 'For example'], drops.map((drop) => [el('span', {class: 'red'}, drop.reason),
		drop.pod.includes('/') ? pod(drop.pod) : drop.pod, drop.policy.split(',').join(', '), count(drop.packets), ago(drop.last), exampleOf(drop)]));
}

const WATCH_SECONDS = 10, BETWEEN_MS = 1000;

// What the kernel dropped is counted only while somebody watches: while the button is pressed and the tab is shown. Nobody else has polderd attach its program.
class KernelDrops {
	// filter(): of which pod or namespace.
	constructor(filter) {
		this.filter = filter;
		this.button = el('button', {type: 'button', 'aria-pressed': 'false', onclick: () => (this.on ? this.end() : this.begin())}, 'Watch');
		this.list = el('div', {'aria-live': 'polite'});
		this.element = el('section', {}, el('h3', {}, 'What the kernel drops'),
			el('p', {class: 'faint'}, 'Packets of pods that Polder let go, with the reason of the kernel. They are counted only while they are watched here.'), this.button, this.list);
		this.seen = () => (document.hidden ? this.asking?.abort() : this.watch());
	}

	begin() {
		this.on = true;
		this.button.textContent = 'Stop';
		this.button.setAttribute('aria-pressed', 'true');
		document.addEventListener('visibilitychange', this.seen);
		this.watch();
	}

	end() {
		this.on = false;
		this.button.textContent = 'Watch';
		this.button.setAttribute('aria-pressed', 'false');
		document.removeEventListener('visibilitychange', this.seen);
		this.asking?.abort();
	}

	// Another filter counts anew.
	changed() {
		if (this.on && JSON.stringify(this.filter()) !== this.counted) {
			this.asking?.abort();
			this.watch();
		}
	}

	reset() {
		this.counted = JSON.stringify(this.filter());
		Object.assign(this, {rows: new Map(), reasons: new Map(), seconds: 0, missing: 0});
		this.list.replaceChildren(el('p', {}, `Watching: the first answer comes after ${WATCH_SECONDS} seconds`));
	}

	async watch() {
		const mine = this.asking = new AbortController();
		if (JSON.stringify(this.filter()) !== this.counted)
			this.reset();
		try {
			while (this.asking === mine && !mine.signal.aborted) {
				const told = await ask('kernel-drops', {seconds: WATCH_SECONDS, filter: this.filter()}, mine.signal);
				if (told.type !== 'end')
					throw new Error(told.reason);
				this.take(told.answer);
				await new Promise((done) => setTimeout(done, BETWEEN_MS));
			}
		} catch (error) {
			if (error.name === 'AbortError' || this.asking !== mine)
				return;
			this.end();
			this.counted = null;
			this.list.replaceChildren(failure(error));
		}
	}

	take(answer) {
		const add = (map, key, one) => map.set(key, {...one, packets: one.packets + (map.get(key)?.packets ?? 0)});
		answer.drops.forEach((drop) => add(this.rows, `${drop.reason} ${drop.direction} ${drop.pod}`, drop));
		answer.reasons.forEach((reason) => add(this.reasons, reason.reason, reason));
		this.seconds += WATCH_SECONDS;
		this.missing += answer.lost_events + answer.limited_events;
		swap(this.list, dropsTable(`Dropped by the kernel in ${seconds(this.seconds)} of watching`, most(this.rows)),
			this.missing ? el('p', {class: 'faint'}, `${count(this.missing)} packets had no room or were over the rate limit: they are in the numbers of the reasons alone`) : '',
			table('The same by reason', ['Reason', 'Packets', 'Meaning', 'What to do'],
				most(this.reasons).map((reason) => [reason.reason, count(reason.packets), reason.means, reason.remedy])));
	}
}

const most = (map) => [...map.values()].sort((a, b) => b.packets - a.packets);

export class DropsView {
	constructor(parts, context) {
		const preset = parts.length > 1 ? {[parts[0]]: parts[1]} : {};
		this.form = filterForm(DROP_FILTERS, preset, [choice('Within', 'since', TIMES.map(([key, name]) => [key, key ? name : 'since polderd started']), '')], () => context.again());
		this.list = el('div');
		this.kernel = new KernelDrops(() => filterOf(this.form, ['pod', 'namespace']));
		this.element = el('section', {}, el('h2', {}, 'Drops'), this.form, this.list, this.kernel.element);
	}

	end() {
		this.kernel.end();
	}

	async refresh(signal) {
		this.kernel.changed();
		const told = await ask('drops', {since_seconds: new FormData(this.form).get('since'), filter: filterOf(this.form, DROP_FILTERS.map(([name]) => name))}, signal);
		const missing = told.lost_events + told.limited_events;
		swap(this.list, dropsTable(`Dropped since ${text(told.since)}`, told.drops),
			missing || told.rows_left_out ? el('p', {class: 'faint'}, `${count(missing)} events had no room or were over the rate limit, ${count(told.rows_left_out)} rows are left out: the packets below are exact`) : '',
			el('h3', {}, 'What the reasons mean'),
			table('Packets by reason, as the programs count them', ['Reason', 'Where', 'Packets', 'Meaning', 'What to do'],
				told.reasons.map((reason) => [reason.reason, reason.direction, count(reason.packets), reason.means, reason.remedy])));
	}
}

// SPDX-License-Identifier: Apache-2.0
// May one reach the other, and why.
import {ask} from './api.js';
import {basis, choice, count, definitions, el, endpoint, failure, field, pod, say, table} from './common.js';

const PROTOS = ['tcp', 'udp', 'sctp', 'icmp', 'icmpv6'].map((name) => [name, name]);
const FAMILIES = [['', 'the one both have'], ['ipv4', 'IPv4'], ['ipv6', 'IPv6']];

function end(told) {
	return [told.kind === 'pod' && told.name ? pod(told.name) : told.name ?? told.kind, ' ', told.ip ?? '', told.node ? ` on ${told.node}` : ''];
}

function side(told) {
	const words = {rule: 'by a rule: ', default_deny: 'by default: ', open: 'nothing selects the pod, or nothing matched and nothing isolates it',
		not_asked: 'nobody is asked: no pod at this end'};
	return [told.allowed ? 'allowed, ' : 'denied, ', words[told.basis] ?? told.basis, told.policy || told.isolated_by?.length ? basis({...told, default_deny: told.basis === 'default_deny'}) : ''];
}

export class ExplainView {
	constructor(parts) {
		const text = (name, value, hint) => el('input', {name, value, placeholder: hint, autocomplete: 'off', spellcheck: 'false', maxlength: 512});
		this.answer = el('div', {'aria-live': 'polite'});
		this.form = el('form', {class: 'filters', onsubmit: (event) => {
			event.preventDefault();
			this.explain();
		}}, field('From', text('from', parts[0], 'demo/cli or 10.0.0.5')), field('To', text('to', parts[1], 'demo/web, a Service, an address')),
		choice('Protocol', 'proto', PROTOS, 'tcp'), field('Port', text('port', parts[2], '80 or a name')), choice('Family', 'family', FAMILIES, ''),
		el('button', {type: 'submit'}, 'Explain'));
		this.element = el('section', {}, el('h2', {}, 'Explain'), el('p', {class: 'faint'}, 'The objects, the maps and the program in the kernel are asked the same question. ',
			'A packet that was made for it counts in the counters of rules.'), this.form, this.answer);
	}

	end() {
		this.asking?.abort();
	}

	async explain() {
		const args = Object.fromEntries([...new FormData(this.form)].map(([key, value]) => [key, value.trim()]));
		this.asking?.abort();
		this.asking = new AbortController();
		try {
			const told = await ask('explain', args, this.asking.signal);
			this.answer.replaceChildren(...this.told(told));
			say(`${told.verdict}: ${told.reason}`);
		} catch (error) {
			if (error.name !== 'AbortError')
				this.answer.replaceChildren(failure(error));
		}
	}

	told(told) {
		const allowed = told.verdict === 'allowed';
		const backends = told.backends ?? [];
		return [el('p', {class: `verdict ${allowed ? 'green' : 'red'}`}, told.verdict, allowed ? '' : ` (${told.reason})`),
			told.agree ? '' : el('p', {class: 'trouble'}, 'The ways to ask do not agree: ', (told.differences ?? []).join('; ')),
			definitions(['From', end(told.from)], ['To', end(told.to)], ['Question', `${told.proto} ${told.port ?? ''} over ${told.family}`],
				told.service ? ['Service', `${told.service.name} ${endpoint(told.service.address, told.service.port)} (${told.service.kind}, endpoints: ${count(told.service.endpoints)})`] : null,
				told.backend ? ['Endpoint', pod(told.backend.pod), ' ', endpoint(told.backend.ip, told.backend.port)] : null,
				['Egress of the source', side(told.egress)], ['Ingress of the destination', side(told.ingress)]),
			table('Who was asked', ['Way', 'Verdict', 'Reason', 'Note'], Object.entries(told.methods ?? {}).map(([name, method]) => [name,
				method.asked ? method.verdict : 'not asked', method.reason ?? '', method.note ?? ''])),
			backends.length > 1 ? table('Endpoints', ['Endpoint', 'Pod', 'Verdict', 'Reason', 'Policy'], backends.map((one) => [endpoint(one.ip, one.port),
				one.pod ? pod(one.pod) : '', one.verdict, one.reason, one.policy ?? ''])) : '',
			told.flows?.length ? table('Flows that there are', ['Source port', 'Packets', 'Replies', 'Idle'], told.flows.map((flow) => [String(flow.source_port),
				count(flow.packets), count(flow.reply_packets), `${flow.idle_seconds} s`])) : ''];
	}
}

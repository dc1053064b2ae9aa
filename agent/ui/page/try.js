// SPDX-License-Identifier: Apache-2.0
// A policy is written here, and tried: which flows would be decided otherwise. Nothing is put in force.
import {attempt} from './api.js';
import {basis, choice, count, el, endpoint, failure, field, pod, say, text} from './common.js';

const EXAMPLE = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: web
  namespace: default
spec:
  podSelector:
    matchLabels:
      app: web
  policyTypes: [Ingress]
  ingress:
  - from:
    - podSelector:
        matchLabels:
          app: client
    ports:
    - port: 8080
`;
const KEPT = 'polder.try';
const SECONDS = [['0', 'the flows that there are'], ['10', 'and new ones for 10 s'], ['30', 'and new ones for 30 s'], ['60', 'and new ones for a minute']];
const ROWS_MOST = 1000;

function side(direction, told) {
	switch (told.basis) {
	case 'rule':
		return [`${direction} `, basis({policy: told.policy}), ` spec.${direction}[${told.rule}] `];
	case 'default_deny':
		return [`${direction} default deny of `, (told.isolated_by ?? []).join(', '), ' '];
	case 'closed':
		return `${direction}: the rule set exceeds its limits `;
	case 'waiting':
		return `${direction}: the pod's object has not come `;
	default:
		return '';
	}
}

function verdict(told) {
	return [el('span', {class: told.verdict === 'allow' ? 'green' : 'red'}, told.verdict), ' ', side('egress', told.egress), side('ingress', told.ingress)];
}

function end(told) {
	return [told.pod ? [pod(told.pod), ' '] : '', endpoint(told.ip, told.port)];
}

// What was written stays while the tab is open.
function keep(value) {
	try {
		sessionStorage.setItem(KEPT, value);
	} catch {
		// A browser that keeps nothing.
	}
}

function kept() {
	try {
		return sessionStorage.getItem(KEPT);
	} catch {
		return null;
	}
}

export class TryView {
	constructor() {
		this.editor = el('textarea', {name: 'objects', rows: 18, spellcheck: 'false', autocapitalize: 'off', autocomplete: 'off',
			oninput: () => keep(this.editor.value)});
		this.editor.value = kept() ?? EXAMPLE;
		this.button = el('button', {type: 'submit'}, 'Try');
		this.form = el('form', {class: 'try', onsubmit: (event) => {
			event.preventDefault();
			this.run();
		}}, field('Policies, in YAML or JSON', this.editor, 'Tab leaves the editor. Several documents are divided by ---'),
		el('div', {class: 'filters'}, choice('Look at', 'seconds', SECONDS, '10'),
			field('As if these were deleted', el('input', {name: 'delete', placeholder: 'NetworkPolicy/demo/old …', autocomplete: 'off', spellcheck: 'false'})),
			this.button));
		this.answer = el('div', {'aria-live': 'polite'});
		this.element = el('section', {}, el('h2', {}, 'Try a policy'),
			el('p', {class: 'faint'}, 'Nothing is changed: polderd compiles the policies beside those in force and says which flows of this node would be decided otherwise. ',
				el('code', {}, 'kubectl apply'), ', or ', el('code', {}, 'polderctl policy try --commit'), ', puts them in force.'), this.form, this.answer);
	}

	end() {
		this.trying?.abort();
	}

	async run() {
		if (this.trying) {
			this.trying.abort();
			return;
		}
		const data = new FormData(this.form), trying = this.trying = new AbortController();
		this.button.textContent = 'Stop';
		this.rows = el('tbody');
		this.shown = 0;
		this.answer.replaceChildren(el('p', {}, 'Compiling …'));
		try {
			await attempt({seconds: data.get('seconds'), delete: String(data.get('delete')).split(/\s+/)}, this.editor.value, (line) => this.take(line), trying.signal);
		} catch (error) {
			this.answer.append(error.name === 'AbortError' ? el('p', {}, 'Stopped.') : failure(error));
		}
		this.trying = null;
		this.button.textContent = 'Try';
	}

	take(line) {
		if (line.type === 'begin')
			this.begin(line);
		else if (line.type === 'flow')
			this.flow(line);
		else
			this.finish(line);
	}

	begin(line) {
		this.note = el('p', {}, 'Looking at flows …');
		this.answer.replaceChildren(el('ul', {}, line.objects.map((object) => el('li', {}, `${object.change}: ${object.kind} `, object.namespace ? `${object.namespace}/` : '', object.name))),
			line.ignored ? el('p', {class: 'faint'}, `${count(line.ignored)} Services and EndpointSlices are ignored: endpoints do not change in a try`) : '', this.note,
			el('div', {class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Flows that would change'}, el('table', {},
				el('caption', {}, 'Flows that would change'),
				el('thead', {}, el('tr', {}, ['Would be', 'Proto', 'From', 'To', 'Now', 'Then'].map((name) => el('th', {scope: 'col'}, name)))), this.rows)));
	}

	flow(line) {
		if (++this.shown > ROWS_MOST)
			return;
		this.rows.append(el('tr', {}, [el('strong', {class: line.change === 'denied' ? 'red' : 'green'}, line.change), line.proto, end(line.source),
			[end(line.destination), line.backend ? [' via ', end(line.backend)] : ''], verdict(line.before), verdict(line.after)].map((cell) => el('td', {}, cell))));
	}

	finish(line) {
		const words = `${count(line.live_flows)} existing and ${count(line.new_flows)} new flows: ${count(line.denied)} would be denied, ${count(line.allowed)} would be allowed, `
			+ `${count(line.other_rule)} would keep their verdict by another rule`;
		this.note.textContent = text(words + (line.lost ? `; ${count(line.lost)} events were lost: there may be more` : ''));
		say(words);
	}
}

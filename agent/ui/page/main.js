// SPDX-License-Identifier: Apache-2.0
// Which view is shown, by the address's part behind #, and how often it is asked for again.
import {ask} from './api.js';
import {choice, el, link, text} from './common.js';
import {ExplainView} from './explain.js';
import {DropsView, FlowsView} from './flows.js';
import {LatencyView} from './latency.js';
import {MapView} from './map.js';
import {PodView, PodsView, PoliciesView, PolicyView, ServicesView} from './objects.js';
import {TryView} from './try.js';

const VIEWS = [['map', 'Map', MapView], ['flows', 'Flows', FlowsView], ['drops', 'Drops', DropsView], ['pods', 'Pods', PodsView],
	['services', 'Services', ServicesView], ['policies', 'Policies', PoliciesView], ['latency', 'Latency', LatencyView], ['explain', 'Explain', ExplainView],
	['try', 'Try a policy', TryView]];
const PAGES = {pod: [PodView, 'pods'], policy: [PolicyView, 'policies']};
const TIMES = [['0', 'when asked'], ['2000', 'every 2 s'], ['5000', 'every 5 s'], ['15000', 'every 15 s']];

const main = document.getElementById('main'), trouble = document.getElementById('trouble');
const links = new Map(VIEWS.map(([name, label]) => [name, el('a', {href: link(name)}, label)]));
let view = null, timer = null, asking = null, every = 5000;

function decode(part) {
	try {
		return decodeURIComponent(part);
	} catch {
		return part;
	}
}

function complain(error) {
	trouble.hidden = !error;
	trouble.textContent = error ? text(error.details ? `${error.message} – ${error.details}` : error.message) : '';
}

// One at a time; the next one is asked for after so long, and not while nobody looks.
async function refresh() {
	clearTimeout(timer);
	asking?.abort();
	const mine = asking = new AbortController(), shown = view;
	try {
		await shown?.refresh?.(mine.signal);
		if (asking === mine)
			complain(null);
	} catch (error) {
		if (error.name === 'AbortError' || asking !== mine)
			return;
		complain(error);
	}
	if (asking === mine && every && view.refresh && !document.hidden)
		timer = setTimeout(refresh, every);
}

function show() {
	const [name, ...parts] = location.hash.replace(/^#\/?/, '').split('/').map(decode);
	const [page, tab] = PAGES[name] ?? [];
	const [own, label, made] = VIEWS.find(([key]) => key === (tab ?? name)) ?? VIEWS[0];
	const first = !view;
	view?.end?.();
	view = new (page ?? made)(parts, {again: refresh});
	links.forEach((one, key) => (key === own ? one.setAttribute('aria-current', 'page') : one.removeAttribute('aria-current')));
	document.title = text(`${page ? parts.join('/') : label} – Polder`);
	main.replaceChildren(view.element);
	complain(null);
	if (!first)
		main.focus();
	refresh();
}

function setEvery(event) {
	every = Number(event.target.value);
	refresh();
}

async function tellNode() {
	try {
		const status = await ask('status');
		document.getElementById('node').textContent = document.getElementById('node').title = text(status.node);
	} catch (error) {
		complain(error);
	}
}

document.getElementById('views').append(...[...links.values()].map((one) => el('li', {}, one)));
document.getElementById('refresh').append(el('form', {onsubmit: (event) => event.preventDefault(), onchange: setEvery}, choice('Ask again', 'every', TIMES, '5000')));
addEventListener('hashchange', show);
// The part behind # is the view's.
document.querySelector('.skip').addEventListener('click', (event) => {
	event.preventDefault();
	main.focus();
});
document.addEventListener('visibilitychange', () => document.hidden || refresh());
tellNode();
show();

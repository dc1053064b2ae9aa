// SPDX-License-Identifier: Apache-2.0
// Elements and texts. Whatever comes from the node is text, and becomes nothing else: there is no
// way here to make elements of a string.

const SVG = 'http://www.w3.org/2000/svg';

function fill(element, properties, children) {
	for (const [name, value] of Object.entries(properties ?? {})) {
		if (value === undefined || value === null || value === false)
			continue;
		if (name.startsWith('on'))
			element.addEventListener(name.slice(2), value);
		else
			element.setAttribute(name, value === true ? '' : String(value));
	}
	for (const child of children.flat(Infinity))
		if (child !== undefined && child !== null && child !== false)
			element.append(child instanceof Node ? child : text(child));
	return element;
}

export function el(tag, properties, ...children) {
	return fill(document.createElement(tag), properties, children);
}

export function svg(tag, properties, ...children) {
	return fill(document.createElementNS(SVG, tag), properties, children);
}

// Control characters and those that turn the direction of writing round can make one name look like
// another: they are shown by their numbers.
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff\ufff9-\ufffb]|\udb40[\udc00-\udfff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

export function text(value) {
	return String(value ?? '').replace(UNSEEN, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);
}

export function count(number) {
	return typeof number === 'number' ? number.toLocaleString('en') : '–';
}

export function bytes(number) {
	if (typeof number !== 'number')
		return '–';
	const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
	let unit = 0;
	while (number >= 1024 && unit < units.length - 1) {
		number /= 1024;
		unit++;
	}
	return `${unit && number < 100 ? number.toFixed(1) : Math.round(number)} ${units[unit]}`;
}

export function seconds(number) {
	if (typeof number !== 'number')
		return '–';
	if (number < 120)
		return `${Math.round(number)} s`;
	return number < 7200 ? `${Math.round(number / 60)} min` : `${Math.round(number / 3600)} h`;
}

export function ago(time) {
	const at = Date.parse(time);
	return Number.isNaN(at) ? '–' : `${seconds(Math.max(0, (Date.now() - at) / 1000))} ago`;
}

export function endpoint(ip, port) {
	if (!ip)
		return '';
	return port ? (ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`) : ip;
}

// "#/pod/demo/web": each part of a name is encoded for itself.
export function link(view, ...parts) {
	return `#/${[view, ...parts].map(encodeURIComponent).join('/')}`;
}

export function anchor(label, view, ...parts) {
	return el('a', {href: link(view, ...parts)}, label);
}

// "namespace/name" as two parts; a name alone as one.
export function parts(name) {
	const slash = name.indexOf('/');
	return slash < 0 ? [name] : [name.slice(0, slash), name.slice(slash + 1)];
}

export function pod(name) {
	return name ? anchor(name, 'pod', ...parts(name)) : '';
}

export function policy(name) {
	return name ? anchor(name, 'policy', ...parts(name)) : '';
}

// What decided, as of a flow or a drop.
export function basis(verdict) {
	if (!verdict)
		return '';
	const names = verdict.default_deny && verdict.isolated_by?.length ? verdict.isolated_by : [verdict.policy];
	const rule = verdict.default_deny ? ' (default deny)' : verdict.rule_path ? ` ${verdict.rule_path}` : '';
	return [names.map((name, i) => [i ? ', ' : '', policy(name)]), rule];
}

// Puts other elements there. Who stands on one of the same name stays on it, and tables where they
// were moved to.
export function swap(container, ...children) {
	const name = (one) => one.getAttribute('href') ?? one.getAttribute('aria-label');
	const active = document.activeElement, key = container.contains(active) ? name(active) : null;
	const moved = [...container.querySelectorAll('.scroll')].map((one) => one.scrollLeft);
	container.replaceChildren(...children);
	container.querySelectorAll('.scroll').forEach((one, i) => (one.scrollLeft = moved[i] ?? 0));
	if (key)
		[...container.querySelectorAll('a, [tabindex]')].find((one) => name(one) === key)?.focus({preventScroll: true});
}

export function definitions(...pairs) {
	return el('dl', {}, pairs.filter((pair) => pair).map(([name, ...value]) => [el('dt', {}, name), el('dd', {}, value)]));
}

export function table(caption, columns, rows) {
	return el('div', {class: 'scroll', tabindex: 0, role: 'region', 'aria-label': caption},
		el('table', {},
			el('caption', {}, caption),
			el('thead', {}, el('tr', {}, columns.map((column) => el('th', {scope: 'col'}, column)))),
			el('tbody', {}, rows.length ? rows.map((cells) => el('tr', {}, cells.map((cell) => el('td', {}, cell))))
				: el('tr', {}, el('td', {colspan: columns.length, class: 'faint'}, 'none')))));
}

export function field(label, input, hint) {
	return el('label', {class: 'field'}, el('span', {}, label), input, hint ? el('small', {}, hint) : null);
}

export function choice(label, name, options, value) {
	return field(label, el('select', {name},
		options.map(([key, shown]) => el('option', {value: key, selected: key === value}, shown))));
}

// For those who do not see the page change.
export function say(message) {
	document.getElementById('said').textContent = text(message);
}

export function failure(error) {
	return el('p', {class: 'trouble', role: 'alert'}, error.message, error.details ? ` – ${error.details}` : '');
}

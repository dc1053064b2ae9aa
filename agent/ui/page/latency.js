// SPDX-License-Identifier: Apache-2.0
// How long connections took, where the agent measures it.
import {ask} from './api.js';
import {count, el, svg, swap, table} from './common.js';

const MEASURES = [['connect', 'To connect'], ['round_trip', 'Round trip'], ['first_byte', 'To the first byte'], ['answer', 'To answer']];
const COUNTS = [['retransmitted', 'retransmitted'], ['resets', 'resets'], ['timeouts', 'timeouts'], ['failed', 'failed']];

function duration(us) {
	if (typeof us !== 'number')
		return 'more';
	if (us < 1000)
		return `${Math.round(us)} µs`;
	return us < 1e6 ? `${(us / 1000).toPrecision(3)} ms` : `${(us / 1e6).toPrecision(3)} s`;
}

// Empty buckets are not told: each ends at twice the one before, the last but one at MOST.
const MOST = 2 ** 26;
const ROWS_MOST = 200;

function withEmpty(buckets) {
	const all = [];
	for (const bucket of buckets) {
		for (let end = all.at(-1)?.most_us * 2; end < (bucket.most_us ?? MOST * 2); end *= 2)
			all.push({most_us: end, count: 0});
		all.push(bucket);
	}
	return all;
}

// Bars of counts, each bucket as wide as the next.
function histogram(name, measured) {
	const buckets = withEmpty(measured.buckets ?? []), most = Math.max(1, ...buckets.map((bucket) => bucket.count));
	const width = 220, height = 64, bar = Math.min(20, width / Math.max(1, buckets.length));
	const label = `${name}: ${count(measured.count)} measured, half within ${duration(measured.p50_us)}, 99 % within ${duration(measured.p99_us)}`;
	return el('figure', {}, el('figcaption', {}, label),
		svg('svg', {viewBox: `0 0 ${width} ${height}`, class: 'histogram', role: 'img', 'aria-label': label},
			buckets.map((bucket, i) => svg('rect', {x: (i * bar + 0.5).toFixed(1), width: Math.max(1, bar - 1).toFixed(1), height: Math.max(1, bucket.count / most * (height - 2)).toFixed(1),
				y: (height - Math.max(1, bucket.count / most * (height - 2))).toFixed(1)}, svg('title', {}, `up to ${duration(bucket.most_us)}: ${count(bucket.count)}`)))));
}

export class LatencyView {
	constructor() {
		this.body = el('div');
		this.element = el('section', {}, el('h2', {}, 'Latency'), this.body);
	}

	async refresh(signal) {
		let rows;
		try {
			rows = await ask('latency', {}, signal);
		} catch (error) {
			if (error.status !== 404 && error.status !== 503)
				throw error;
			swap(this.body, el('p', {}, error.status === 404 ? 'This polderd does not measure the latency of connections.' : `${error.message}. `, error.details ?? ''));
			return;
		}
		const told = rows.filter((row) => MEASURES.some(([key]) => row[key]?.count) || COUNTS.some(([key]) => row[key]));
		swap(this.body, ...(told.length ? told.slice(0, ROWS_MOST).map((row) => this.row(row)) : [el('p', {class: 'faint'}, 'No connection was measured yet.')]),
			told.length > ROWS_MOST ? el('p', {}, `${count(told.length - ROWS_MOST)} more are not shown: polderctl latency has them`) : '');
	}

	row(row) {
		const name = row.kind === 'node' ? 'This node' : `${row.namespace}/${row.name}${row.port ? `:${row.port}` : ''}`;
		const measured = MEASURES.filter(([key]) => row[key]?.count);
		return el('article', {class: 'measured'}, el('h3', {}, name, ' ', el('small', {}, row.kind)),
			el('div', {class: 'figures'}, measured.map(([key, label]) => histogram(label, row[key]))),
			table(`Numbers of ${name}`, ['Measure', 'Count', 'p50', 'p90', 'p99'], measured.map(([key, label]) => [label, count(row[key].count),
				...['p50_us', 'p90_us', 'p99_us'].map((part) => duration(row[key][part]))])),
			el('p', {}, COUNTS.filter(([key]) => key in row).map(([key, label]) => `${count(row[key])} ${label}`).join(', ')));
	}
}

// SPDX-License-Identifier: Apache-2.0
// A table of any length: only the rows that can be seen are elements. Arrow keys, Page Up and Down,
// Home and End move the row; Enter opens it.
import {el, text} from './common.js';

const MARGIN = 8;

export class LongTable {
	// Columns: {name, value(row) for sorting, show(row) for the cell (default: the value), number}.
	constructor(label, columns, open) {
		this.columns = columns;
		this.open = open;
		this.rows = [];
		this.sorted = [];
		this.order = null;
		this.at = 0;
		this.body = el('tbody');
		this.above = el('tbody', {'aria-hidden': true}, el('tr', {}, el('td', {colspan: columns.length})));
		this.below = el('tbody', {'aria-hidden': true}, el('tr', {}, el('td', {colspan: columns.length})));
		this.heads = columns.map((column, i) => el('th', {scope: 'col', class: column.number ? 'number' : null},
			el('button', {type: 'button', onclick: () => this.sortBy(i)}, column.name)));
		this.table = el('table', {'aria-label': label, 'aria-rowcount': 1},
			el('thead', {}, el('tr', {'aria-rowindex': 1}, this.heads)), this.above, this.body, this.below);
		this.element = el('div', {class: 'long', tabindex: 0, role: 'region', 'aria-label': `${label}: arrow keys move, Enter opens a row`,
			onscroll: () => this.later(), onkeydown: (event) => this.onKey(event)}, this.table);
		this.sizes = new ResizeObserver(() => this.later());
		this.sizes.observe(this.element);
	}

	end() {
		this.sizes.disconnect();
	}

	set(rows) {
		this.rows = rows;
		this.sort();
		this.later();
	}

	sortBy(index) {
		const down = this.order?.index === index ? !this.order.down : Boolean(this.columns[index].number);
		this.order = {index, down};
		this.heads.forEach((head, i) => {
			if (i === index)
				head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
			else
				head.removeAttribute('aria-sort');
		});
		this.sort();
		this.draw();
	}

	// Values are taken once each: a comparison does not make texts.
	sort() {
		if (!this.order) {
			this.sorted = this.rows;
		} else {
			const {index, down} = this.order, value = this.columns[index].value;
			const keyed = this.rows.map((row) => [value(row), row]);
			keyed.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0) * (down ? -1 : 1));
			this.sorted = keyed.map(([, row]) => row);
		}
		this.at = Math.min(this.at, Math.max(0, this.sorted.length - 1));
	}

	later() {
		this.asked ??= requestAnimationFrame(() => {
			this.asked = null;
			this.draw();
		});
	}

	height() {
		const head = this.table.tHead.offsetHeight;
		this.rowHeight ||= this.body.rows[0]?.getBoundingClientRect().height;
		return {row: this.rowHeight || 28, head};
	}

	draw() {
		const {row, head} = this.height(), box = this.element;
		const first = Math.max(0, Math.floor(box.scrollTop / row) - MARGIN);
		const shown = Math.ceil((box.clientHeight - head) / row) + 2 * MARGIN;
		const last = Math.min(this.sorted.length, first + Math.max(shown, 2 * MARGIN));
		this.table.setAttribute('aria-rowcount', this.sorted.length + 1);
		this.body.replaceChildren(...this.sorted.slice(first, last).map((one, i) => this.line(one, first + i)));
		this.above.rows[0].cells[0].style.height = `${first * row}px`;
		this.below.rows[0].cells[0].style.height = `${Math.max(0, this.sorted.length - last) * row}px`;
	}

	line(row, index) {
		return el('tr', {'aria-rowindex': index + 2, class: index === this.at ? 'current' : null, onclick: () => this.choose(index),
			'aria-selected': index === this.at ? 'true' : null},
		this.columns.map((column) => {
			const shown = column.show ? column.show(row) : column.value(row);
			return el('td', {class: column.number ? 'number' : null, title: typeof shown === 'string' ? text(shown) : null}, shown);
		}));
	}

	choose(index) {
		this.at = index;
		this.draw();
		this.open?.(this.sorted[index]);
	}

	onKey(event) {
		if (event.target !== this.element)
			return;
		const {row, head} = this.height(), page = Math.max(1, Math.floor((this.element.clientHeight - head) / row) - 1);
		const steps = {ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity};
		if (event.key === 'Enter' && this.sorted.length)
			this.choose(this.at);
		else if (event.key in steps && !event.altKey && !event.ctrlKey && !event.metaKey)
			this.move(Math.min(this.sorted.length - 1, Math.max(0, this.at + steps[event.key])));
		else
			return;
		event.preventDefault();
	}

	move(index) {
		const {row, head} = this.height(), box = this.element, top = index * row, room = box.clientHeight - head - row;
		this.at = Math.max(0, index);
		if (top < box.scrollTop)
			box.scrollTop = top;
		else if (top > box.scrollTop + room)
			box.scrollTop = top - room;
		this.draw();
	}
}

// SPDX-License-Identifier: Apache-2.0
// Questions to polderd. See docs/page.md and docs/control-protocol.md.

export class Refusal extends Error {
	constructor(status, error) {
		super(error?.message || `polderd answered with status ${status}`);
		this.status = status;
		this.details = error?.details ?? '';
	}
}

// "filter" is an object of its own; what is empty is not asked.
function query(args) {
	const pairs = new URLSearchParams();
	const add = (key, value) => {
		for (const one of Array.isArray(value) ? value : [value])
			if (one !== undefined && one !== null && one !== '')
				pairs.append(key, one);
	};
	for (const [key, value] of Object.entries(args ?? {}))
		if (key === 'filter')
			Object.entries(value).forEach(([name, one]) => add(`filter.${name}`, one));
		else
			add(key, value);
	return pairs.size ? `?${pairs}` : '';
}

async function refusal(response) {
	const body = await response.text();
	try {
		return new Refusal(response.status, JSON.parse(body).error);
	} catch {
		return new Refusal(response.status, {message: body.trim()});
	}
}

async function send(path, options) {
	let response;
	try {
		response = await fetch(path, {credentials: 'omit', cache: 'no-store', redirect: 'error', ...options});
	} catch (error) {
		if (error.name === 'AbortError')
			throw error;
		throw new Refusal(0, {message: 'polderd does not answer: it has ended, or the way to it'});
	}
	if (!response.ok)
		throw await refusal(response);
	return response;
}

// polderd ends an answer that it cannot finish.
async function whole(read) {
	try {
		return await read();
	} catch (error) {
		if (error.name === 'AbortError')
			throw error;
		throw new Refusal(0, {message: 'the answer was cut off: ask again'});
	}
}

export async function ask(name, args, signal) {
	const response = await send(`/api/${name}${query(args)}`, {signal});
	const answer = await whole(() => response.json());
	if (!answer.ok)
		throw new Refusal(500, answer.error);
	return answer.result;
}

// Tells `line` of each line of a try, until its end.
export async function attempt(args, objects, line, signal) {
	const response = await send(`/api/policy-try${query(args)}`, {method: 'POST', body: objects, signal, headers: {'X-Polder': 'try'}});
	const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
	let rest = '';
	for (;;) {
		const {value, done} = await whole(() => reader.read());
		if (done)
			return;
		const lines = (rest + value).split('\n');
		rest = lines.pop();
		for (const one of lines) {
			const answer = JSON.parse(one);
			if (!answer.ok)
				throw new Refusal(500, answer.error);
			line(answer.result);
		}
	}
}

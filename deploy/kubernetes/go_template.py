# SPDX-License-Identifier: Apache-2.0
"""As much of Helm's template language (Go's text/template with functions of sprig) as the chart uses; what it does not know is an error."""

import hashlib
import json
import re


class TemplateError(Exception):
    """Where, and what is wrong."""


ACTION = re.compile(r'\{\{(-(?=\s))?(.*?)((?<=\s)-)?\}\}', re.S)
WORD = re.compile(r'\s*("(?:[^"\\]|\\.)*"|\(|\)|\||:=|=|,|[$.]?[\w.$-]*[\w.$-]|\.)')


def split(text):
    """('text', ...) and ('action', ...), with the white space trimmed that markers ask for."""
    parts, at, trim = [], 0, False
    for match in ACTION.finditer(text):
        before = text[at:match.start()]
        before = before.lstrip() if trim else before
        parts.append(('text', before.rstrip() if match.group(1) else before))
        parts.append(('action', match.group(2).strip()))
        at, trim = match.end(), bool(match.group(3))
    parts.append(('text', text[at:].lstrip() if trim else text[at:]))
    return parts


def words_of(text):
    words, at = [], 0
    while text[at:].strip():
        match = WORD.match(text, at)
        if not match:
            raise TemplateError(f'cannot read {text!r} from column {at + 1}')
        words.append(match.group(1))
        at = match.end()
    return words


def go_json(value, **layout):
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, **layout)
    return text.replace('<', '\\u003c').replace('>', '\\u003e').replace('&', '\\u0026')


def show(value):
    if value is None:
        return ''
    return {True: 'true', False: 'false'}[value] if isinstance(value, bool) else str(value)


def nindent(count, text):
    return '\n' + '\n'.join(' ' * count + line for line in text.split('\n'))


def with_key(made, key, value):
    made[key] = value
    return made


FUNCTIONS = {
    'toJson': lambda value: go_json(value, separators=(',', ':')),
    'toPrettyJson': lambda value: go_json(value, indent=2),
    'default': lambda fallback, value=None: value or fallback,
    'nindent': nindent,
    'printf': lambda form, *values: re.sub('%[vsd]', '%s', form) % tuple(map(show, values)),
    'sha256sum': lambda text: hashlib.sha256(text.encode()).hexdigest(),
    'dict': lambda *pairs: dict(zip(pairs[::2], pairs[1::2])),
    'set': with_key,
    'not': lambda value: not value,
}


class Templates:
    """Several files that define templates for each other."""

    def __init__(self, files):
        self.defined, self.files = {}, {}
        for name, text in files.items():
            parts = split(text)
            self.files[name], rest = self.parse(parts, 0, ())
            if rest != len(parts):
                raise TemplateError(f'{name}: an end too many')

    def parse(self, parts, at, ends):
        """(nodes, where the action that ended them stands)"""
        nodes = []
        while at < len(parts):
            kind, text = parts[at]
            word = text.split(None, 1)[0] if kind == 'action' and text else ''
            if kind == 'action' and word in ends:
                return nodes, at
            at += 1
            if kind == 'text':
                nodes.append((kind, text))
            elif text.startswith('/*'):
                continue
            elif word in ('if', 'range', 'with', 'define'):
                node, at = self.parse_block(word, text[len(word):], parts, at)
                nodes += node
            elif word in ('end', 'else'):
                raise TemplateError(f'{word} without a beginning')
            else:
                nodes.append((kind, words_of(text)))
        if ends:
            raise TemplateError('an end is missing')
        return nodes, at

    def parse_block(self, word, rest, parts, at):
        body, at = self.parse(parts, at, ('end', 'else'))
        otherwise = []
        if parts[at][1].startswith('else'):
            if parts[at][1] != 'else':
                raise TemplateError(f'{parts[at][1]}: write an if of its own')
            otherwise, at = self.parse(parts, at + 1, ('end',))
        if word == 'define':
            self.defined[json.loads(rest)] = body
            return [], at + 1
        return [(word, words_of(rest), body, otherwise)], at + 1

    def render(self, name, data):
        return self.run(self.files[name], data, {'$': data})

    def run(self, nodes, dot, variables):
        return ''.join(self.run_node(node, dot, variables) for node in nodes)

    def run_node(self, node, dot, variables):
        kind, words = node[0], node[1]
        if kind == 'text':
            return words
        if kind == 'action':
            return self.run_action(words, dot, variables)
        names = []
        if ':=' in words:
            names = [word for word in words[:words.index(':=')] if word != ',']
            words = words[words.index(':=') + 1:]
        value = self.pipeline(words, dot, variables)
        if not value:
            return self.run(node[3], dot, variables)
        if kind == 'if':
            return self.run(node[2], dot, variables)
        if kind == 'with':
            return self.run(node[2], value, variables)
        items = sorted(value.items()) if isinstance(value, dict) else list(enumerate(value))
        made = []
        for item in items:
            inner = Scope(variables, dict(zip(names, item[2 - len(names):])))
            made.append(self.run(node[2], item[1], inner))
        return ''.join(made)

    def run_action(self, words, dot, variables):
        if len(words) > 1 and words[1] in (':=', '='):
            variables[words[0]] = self.pipeline(words[2:], dot, variables)
            return ''
        return show(self.pipeline(words, dot, variables))

    def pipeline(self, words, dot, variables):
        """Commands between `|`, each of which gets the result of the one before as its last argument."""
        value, first, depth, command = None, True, 0, []
        for word in [*words, '|']:
            depth += (word == '(') - (word == ')')
            if word != '|' or depth:
                command.append(word)
                continue
            value = self.command(command, dot, variables, [] if first else [value])
            first, command = False, []
        if depth:
            raise TemplateError(f'{" ".join(words)}: a parenthesis is not closed')
        return value

    def command(self, words, dot, variables, piped):
        arguments, at = [], 0
        function = words[0] if words and re.fullmatch(r'[a-zA-Z]\w*', words[0]) and words[0] not in ('true', 'false') else None
        at = 1 if function else 0
        while at < len(words):
            if words[at] == '(':
                end = self.closing(words, at)
                arguments.append(self.pipeline(words[at + 1:end], dot, variables))
                at = end + 1
            else:
                arguments.append(self.value(words[at], dot, variables))
                at += 1
        arguments += piped
        if function == 'include':
            return self.run(self.defined[arguments[0]], arguments[1], {'$': arguments[1]})
        if function:
            if function not in FUNCTIONS:
                raise TemplateError(f'function {function} is not known here')
            return FUNCTIONS[function](*arguments)
        if len(arguments) != 1:
            raise TemplateError(f'{" ".join(words)}: one value is expected')
        return arguments[0]

    @staticmethod
    def closing(words, at):
        depth = 0
        for i in range(at, len(words)):
            depth += (words[i] == '(') - (words[i] == ')')
            if not depth:
                return i
        raise TemplateError(f'{" ".join(words)}: a parenthesis is not closed')

    @staticmethod
    def value(word, dot, variables):
        if word[0] == '"' or re.fullmatch(r'-?\d+|true|false', word):
            return json.loads(word)
        name, *path = word.split('.')
        if name and name not in variables:
            raise TemplateError(f'{word}: no such variable')
        found = variables[name] if name else dot
        for part in filter(None, path):
            if not isinstance(found, dict):
                raise TemplateError(f'{word}: what has no members has no {part}')
            found = found.get(part)
        return found


class Scope(dict):
    """Variables of a block; those from outside are assigned where they are."""

    def __init__(self, outer, own):
        super().__init__({**outer, **own})
        self.outer, self.own = outer, set(own)

    def __setitem__(self, name, value):
        super().__setitem__(name, value)
        if name not in self.own and name in self.outer:
            self.outer[name] = value

#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes files as a C source, so that the program has them in itself: embed.py FILE... >OUT.c"""

import os
import sys

TYPES = {'.html': 'text/html; charset=utf-8', '.css': 'text/css; charset=utf-8', '.js': 'text/javascript; charset=utf-8'}


def path_of(name):
    return '/' if name == 'index.html' else f'/{name}'


def as_array(data):
    """A trailing NUL makes an empty file an array, too."""
    return '\n'.join('\t' + ''.join(f'{byte},' for byte in data[at:at + 32]) for at in range(0, len(data), 32)) + '\n\t0,'


def main(files):
    files = sorted(files, key=os.path.basename)
    print('/* SPDX-License-Identifier: Apache-2.0 */\n/* Made by agent/ui/embed.py. */\n#include "agent/ui/ui_internal.h"\n')
    rows = []
    for number, file in enumerate(files):
        with open(file, 'rb') as stream:
            data = stream.read()
        name = os.path.basename(file)
        print(f'static const unsigned char file_{number}[] = {{ /* {name} */\n{as_array(data)}\n}};\n')
        rows.append(f'\t{{"{path_of(name)}", "{TYPES[os.path.splitext(name)[1]]}", (const char *)file_{number}, {len(data)}}},')
    print('const struct ui_file ui_files[] = {\n' + '\n'.join(rows) + '\n};')
    print('const size_t ui_file_count = sizeof(ui_files) / sizeof(ui_files[0]);')


if __name__ == '__main__':
    main(sys.argv[1:])

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Size and start-up of the programs that pool once, to JSON: start.py FOLDER OUTPUT

For each start_* program of the folder: the bytes of the stripped executable, the shared libraries that it loads and
start_nothing does not, and the shortest time of many from just before its start to its first result.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time

ROUNDS = 60


def stripped_size(path):
    with tempfile.NamedTemporaryFile() as copy:
        subprocess.run(['strip', '-o', copy.name, path], check=True)
        return os.path.getsize(copy.name)


def libraries(path):
    """File -> bytes."""
    output = subprocess.run(['ldd', path], check=True, stdout=subprocess.PIPE, text=True).stdout
    return {file: os.path.getsize(file) for file in re.findall(r'=> (/\S+)', output)}


def first_result_ns(path):
    begin = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    output = subprocess.run([path], check=True, stdout=subprocess.PIPE, text=True,
                            env={**os.environ, 'OMP_NUM_THREADS': '1'}).stdout
    return int(output) - begin


def main():
    folder, output = sys.argv[1:]
    programs = sorted(name for name in os.listdir(folder) if re.fullmatch(r'start_\w+', name))
    rows = {}
    for name in programs:
        path = os.path.join(folder, name)
        rows[name.removeprefix('start_')] = {'bytes': stripped_size(path), 'libraries': libraries(path), 'ns': []}
    for _ in range(ROUNDS):  # interleaved, so that a busy moment meets them all
        for name in programs:
            rows[name.removeprefix('start_')]['ns'].append(first_result_ns(os.path.join(folder, name)))
    nothing = dict(rows['nothing']['libraries'])
    for row in rows.values():
        row['ns'] = min(row['ns'])
        row['libraries'] = {os.path.basename(file): size for file, size in row['libraries'].items() if file not in nothing}
    with open(output, 'w', encoding='utf-8') as file:
        json.dump(rows, file, indent=1)


if __name__ == '__main__':
    main()

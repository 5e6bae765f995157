#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Turns the JSON of peakpool_bench and start.py into report.md and charts: report.py FOLDER

Reads best.json, avx2.json, cold.json and start.json there, whichever exist.
"""

import csv
import json
import math
import os
import statistics
import sys

PEERS = ['onednn', 'xnnpack', 'torch', 'opencv']
MODES = ['forward', 'forward+indices', 'backward']
LAYOUTS = ['nchw', 'nhwc']
MODE_TITLES = {'forward': 'values', 'forward+indices': 'values + indices', 'backward': 'backward'}
# Time over speed of light, geometric mean of the ordinary workloads.
MEAN_GOALS = {'forward': 1.25, 'forward+indices': 1.4, 'backward': 1.5}
CLIFF_GOAL = 4.0  # slowest over median
WIDE_GOALS = {'forward': 3.0, 'forward+indices': 4.5, 'backward': 4.0}
TYPED_GOALS = {(element, 'forward'): 1.4 for element in ('i8', 'u8', 'f16', 'bf16')}


class Row:
    def __init__(self, entry):
        self.name = entry['name'].replace('/manual_time', '')
        self.parts = self.name.split('/')
        self.error = entry.get('error_message') if entry.get('error_occurred') else None
        self.label = entry.get('label', '')
        scale = {'ns': 1, 'us': 1e3, 'ms': 1e6, 's': 1e9}[entry.get('time_unit', 'ns')]
        self.ns = entry.get('real_time', 0) * scale
        self.ratio = entry.get('ratio')
        self.ratio_median = entry.get('ratio_median')
        self.sol_ns = entry.get('sol_ns')
        self.bytes = entry.get('bytes')
        self.peers = {peer: entry[peer + '_ns'] for peer in PEERS if peer + '_ns' in entry}

    def fastest_peer(self):
        return min(self.peers, key=self.peers.get) if self.peers else None

    def peer_ratio(self):
        return self.ns / self.peers[self.fastest_peer()] if self.peers and not self.error else None


def load(path):
    with open(path, encoding='utf-8') as file:
        data = json.load(file)
    return data['context'], [Row(entry) for entry in data['benchmarks']]


def kinds(path):
    """Workload name -> 'ordinary', 'wide', 'dilated' or 'tiny'; and whether its windows overlap at stride 1."""
    result = {}
    with open(path, encoding='utf-8') as file:
        for line in csv.reader(line for line in file if not line.startswith('#')):
            name, kernel, stride, dilation = line[0], line[7], line[8], line[11]
            k = max(map(int, kernel.split('x')))
            s = min(map(int, stride.split('x')))
            d = max(map(int, dilation.split('x')))
            kind = 'tiny' if name.startswith('tiny_4x4') else 'dilated' if d > 1 else 'wide' if k >= 5 and s == 1 else 'ordinary'
            result[name] = (kind, k == 3 and s == 1)
    return result


def mean(values):
    values = [v for v in values if v]
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None


def number(value, digits=2):
    if value is None:
        return '–'
    return f'{value:.{digits}f}' if value < 100 else f'{value:.0f}'


def time(ns):
    return f'{ns:.1f} ns' if ns < 1e3 else f'{ns / 1e3:.1f} µs' if ns < 1e6 else f'{ns / 1e6:.2f} ms'


def table(header, rows):
    lines = ['| ' + ' | '.join(header) + ' |', '|' + '---|' * len(header)]
    return '\n'.join(lines + ['| ' + ' | '.join(row) + ' |' for row in rows]) + '\n'


class Report:
    def __init__(self, context, rows, kind, title):
        self.context, self.rows, self.kind, self.title = context, rows, kind, title
        self.by_name = {row.name: row for row in rows}

    def workload_rows(self, mode, element, layout, kind, threads='t1'):
        return [r for r in self.rows if not r.error and len(r.parts) == 5 and r.parts[0] == mode and r.parts[1] == element
                and r.parts[2] == layout and r.parts[4] == threads and self.kind.get(r.parts[3], ('', ''))[0] == kind]

    def goals(self):
        lines = []

        def add(what, value, goal, note='', at_least=False):
            if value is None:
                return
            sign, met = ('≥ ', goal and value >= goal) if at_least else ('≤ ', goal and value <= goal)
            lines.append([what, number(value), f'{sign}{goal:g}' if goal else '', '' if not goal else 'yes' if met else '**no**',
                          note])

        elements = ['f32', 'i8', 'u8', 'f16', 'bf16', 'f64']
        for element in elements:
            for mode in MODES:
                for layout in LAYOUTS:
                    rows = self.workload_rows(mode, element, layout, 'ordinary')
                    if not rows:
                        continue
                    goal = MEAN_GOALS[mode] if element == 'f32' else TYPED_GOALS.get((element, mode))
                    worst = max(rows, key=lambda r: r.ratio)
                    add(f'{element} {layout} {MODE_TITLES[mode]}, geometric mean of {len(rows)}',
                        mean([r.ratio for r in rows]), goal, f'worst {worst.parts[3]} {number(worst.ratio)}')
        for mode in MODES:
            for layout in LAYOUTS:
                rows = self.workload_rows(mode, 'f32', layout, 'wide')
                if rows:
                    worst = max(rows, key=lambda r: r.ratio)
                    add(f'f32 {layout} {MODE_TITLES[mode]}, wide windows, worst', worst.ratio, WIDE_GOALS[mode], worst.parts[3])
        for row in self.rows:
            if row.error or row.ratio is None:
                continue
            if row.parts[0] == 'dilation_2_over_1':
                add(row.name, row.ratio, 1.3)
            if row.parts[0] == 'threads_2_over_1':
                add(f'{row.name}, speed-up', 1 / row.ratio, 1.8, at_least=True)
        for mode, goal in (('forward', 1.5), ('forward+indices', 2.0)):
            for layout in LAYOUTS:
                wide, narrow = (self.by_name.get(f'kernel_size/{mode}/f32/{layout}/k{k}/t1') for k in ('31', '05'))
                if wide and narrow and not wide.error and not narrow.error:
                    add(f'{layout} {MODE_TITLES[mode]}, k = 31 over k = 5', wide.ns / narrow.ns, goal)
        cliffs, median = self.cliffs()
        if cliffs:
            add(f'slowest of {len(cliffs)} random problems over the median', cliffs[0].ns / cliffs[0].bytes / median, CLIFF_GOAL,
                cliffs[0].parts[1])
        for row in self.rows:
            if row.parts[0] == 'plan_create' and not row.error:
                add(f'{row.name}, ns', row.ns, 1000)
            if row.parts[0] == 'forward' and row.parts[1] == 'f32' and row.parts[3:] == ['tiny_4x4', 't1'] and not row.error:
                add(f'{row.name}, ns', row.ns, 25)
        return table(['goal', 'measured', 'wanted', 'met', ''], lines) if lines else ''

    def single_rows(self):
        """Ordinary f32 and small-type rows over the limit for a single row."""
        lines = []
        for row in self.rows:
            if row.error or len(row.parts) != 5 or row.parts[0] not in MODES or row.parts[4] != 't1' or row.ratio is None:
                continue
            kind, three_by_one = self.kind.get(row.parts[3], ('', False))
            limit = 3.0 if row.parts[0] == 'backward' else 2.4 if three_by_one and row.parts[0] == 'forward+indices' else 2.0
            if kind == 'ordinary' and row.ratio > limit:
                lines.append([row.name, number(row.ratio), f'{limit:g}', time(row.ns)])
        lines.sort(key=lambda line: -float(line[1]))
        return table(['row', 'time / SoL', 'limit', 'time'], lines) if lines else 'None.\n'

    def cliffs(self):
        """The random problems, slowest first, and their median in ns per byte."""
        rows = sorted((r for r in self.rows if r.parts[0] == 'cliff' and not r.error), key=lambda r: -r.ns / r.bytes)
        return rows, statistics.median(r.ns / r.bytes for r in rows) if rows else None

    def slowest(self):
        rows, median = self.cliffs()
        if not rows:
            return 'Not measured.\n'
        over = [r.ns / r.bytes / median for r in rows]
        summary = (f'{len(rows)} random problems of about {statistics.mean(r.bytes for r in rows) / 1e6:.1f} MB each, one thread: '
                   f'median {median * 1e3:.0f} ps per byte moved, the slowest {number(over[0])} times the median, '
                   f'{sum(x > CLIFF_GOAL for x in over)} over {CLIFF_GOAL:g} times. The 15 slowest:\n')
        lines = [[row.parts[1], number(x), f'{row.ns / row.bytes * 1e3:.0f}', row.label] for row, x in zip(rows[:15], over)]
        return summary + '\n' + table(['problem', 'over the median', 'ps per byte', 'algorithm'], lines)

    def slower(self):
        rows = [r for r in self.rows if r.peer_ratio() is not None and r.peer_ratio() > 1]
        rows.sort(key=lambda r: -r.peer_ratio())
        lines = [[r.name, number(r.peer_ratio()), r.fastest_peer(), number(r.ratio), time(r.ns)] for r in rows]
        return table(['row', 'time / fastest peer', 'peer', 'time / SoL', 'time'], lines) if lines else 'None.\n'

    def overview(self):
        names = [n for n in self.kind if any(len(r.parts) == 5 and r.parts[3] == n and r.parts[1] == 'f32' for r in self.rows)]
        columns = [(mode, layout) for mode in MODES for layout in LAYOUTS]
        lines = []
        for name in names:
            line = [name]
            for mode, layout in columns:
                row = self.by_name.get(f'{mode}/f32/{layout}/{name}/t1')
                if row is None:
                    line.append('')
                elif row.error:
                    line.append('refused')
                else:
                    peer = f'; {number(row.peer_ratio())} {row.fastest_peer()}' if row.peers else ''
                    line.append(number(row.ratio) + peer)
            lines.append(line)
        header = ['workload'] + [f'{layout} {MODE_TITLES[mode]}' for mode, layout in columns]
        return table(header, lines) if lines else ''

    def every_row(self):
        lines = []
        for row in self.rows:
            if row.error:
                lines.append([row.name, 'refused', '', '', '', row.error])
            else:
                peers = ', '.join(f'{peer} {number(row.ns / ns)}' for peer, ns in sorted(row.peers.items(), key=lambda p: p[1]))
                lines.append([row.name, time(row.ns), number(row.ratio), number(row.ratio_median), peers, row.label])
        return table(['row', 'time', 'ratio', 'median ratio', 'time / peer', 'loops and implementations'], lines)

    def differences(self):
        lines = [[row.name, row.label] for row in self.rows if ' differs at ' in row.label]
        return table(['row', 'what'], lines) if lines else 'None.\n'

    def text(self):
        versions = ', '.join(f'{key} {value}' for key, value in sorted(self.context.items())
                             if key in PEERS + ['peakpool', 'target', 'cache_state'])
        caches = ', '.join(f"L{c['level']} {c['type']} {c['size'] // 1024} KiB" for c in self.context['caches'])
        refused = sum(1 for row in self.rows if row.error)
        return '\n'.join([
            f'# {self.title}\n',
            f"{self.context.get('date', '')}, {cpu_name()}, {self.context['num_cpus']} CPUs, {caches}, load "
            f"{self.context.get('load_avg')}. {versions}.\n",
            f'{len(self.rows)} rows, {refused} refused. Times are the shortest of many interleaved rounds. SoL, the speed of '
            'light, is a loop that reads the inputs once and writes the outputs once; below 1 is possible only by noise or by '
            'a better loop.\n',
            '## Goals\n', self.goals(),
            '## Single rows over their limit\n', self.single_rows(),
            '## Cliffs\n', self.slowest(),
            '## Rows where a peer is faster\n', self.slower(),
            '## f32, one thread: time / SoL; time / fastest peer\n', self.overview(),
            '## Results that differ from a peer\'s\n', self.differences(),
            '## Every row\n', self.every_row(),
        ])


START_TITLES = {'nothing': 'nothing at all', 'peakpool': 'peakpool, one forward', 'peakpool_all': 'peakpool, every entry point',
                'onednn': 'oneDNN', 'xnnpack': 'XNNPACK'}


def start(path):
    """What start.py measured."""
    with open(path, encoding='utf-8') as file:
        rows = json.load(file)
    nothing = rows['nothing']
    lines = []
    for name, title in START_TITLES.items():
        if name in rows:
            row = rows[name]
            libraries = ', '.join(f'{library} {size / 1e6:.2f} MB' for library, size in sorted(row['libraries'].items()))
            lines.append([title, f"{(row['bytes'] - nothing['bytes']) / 1e6:.3f} MB", libraries, f"{row['ns'] / 1e6:.2f} ms"])
    return '\n'.join([
        '# Size and start-up\n',
        'A program that pools one small f32 tensor: what a library adds to its stripped executable, which shared libraries '
        'it loads besides, and the shortest time from just before its start to its first result.\n',
        table(['program', 'added', 'shared libraries', 'to the first result'], lines)])


def cpu_name():
    try:
        with open('/proc/cpuinfo', encoding='utf-8') as file:
            for line in file:
                if line.startswith('model name'):
                    return line.split(':', 1)[1].strip()
    except OSError:
        pass
    return 'unknown CPU'


def charts(folder, prefix, report):
    import matplotlib
    matplotlib.use('Agg')
    import matplotlib.pyplot as plt

    made = []
    for what, title in (('sol', 'time / speed of light (1 is the limit)'), ('peer', 'time / fastest peer (below 1 is faster)')):
        figure, axes = plt.subplots(3, 1, figsize=(12, 13), sharex=True, constrained_layout=True)
        names = [n for n, (kind, _) in report.kind.items() if kind != 'tiny']
        drawn = False
        for axis, mode in zip(axes, MODES):
            for shift, layout in enumerate(LAYOUTS):
                values = []
                for name in names:
                    row = report.by_name.get(f'{mode}/f32/{layout}/{name}/t1')
                    value = None if row is None or row.error else row.ratio if what == 'sol' else row.peer_ratio()
                    values.append(value or math.nan)
                    drawn = drawn or bool(value)
                axis.bar([i + 0.4 * shift - 0.2 for i in range(len(names))], values, width=0.4, label=layout)
            axis.axhline(1, color='black', linewidth=1)
            axis.set_yscale('log')
            axis.yaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))
            axis.yaxis.set_major_formatter(matplotlib.ticker.FormatStrFormatter('%g'))
            axis.yaxis.set_minor_formatter(matplotlib.ticker.NullFormatter())
            axis.set_title(MODE_TITLES[mode])
            axis.grid(axis='y', alpha=0.3)
        if drawn:
            axes[0].legend()
        axes[-1].set_xticks(range(len(names)), names, rotation=60, ha='right')
        figure.suptitle(f'f32, one thread, {report.context["target"]}: {title}')
        if drawn:
            made.append(f'{prefix}-{what}.svg')
            figure.savefig(os.path.join(folder, made[-1]))
        plt.close(figure)

    figure, axes = plt.subplots(1, 2, figsize=(12, 5), sharey=True, constrained_layout=True)
    drawn = False
    for axis, mode in zip(axes, MODES[:2]):
        for layout, style in zip(LAYOUTS, ('-', '--')):
            lines = {}
            for row in report.rows:
                if row.parts[:4] == ['kernel_size', mode, 'f32', layout] and not row.error:
                    k = int(row.parts[4][1:])
                    for side, ns in [('peakpool', row.ns), ('speed of light', row.sol_ns), *row.peers.items()]:
                        lines.setdefault(side, []).append((k, ns / 1e3))
            for side, points in lines.items():
                drawn = True
                color = {'peakpool': 'C3', 'speed of light': 'black'}.get(side, f'C{[0, 1, 2, 4][PEERS.index(side)]}' if side in PEERS else 'C5')
                axis.plot(*zip(*sorted(points)), style, marker='.', color=color, label=f'{side} {layout}')
        axis.set_yscale('log')
        axis.set_xlabel('k')
        axis.set_title(f'{MODE_TITLES[mode]}, f32 16x256x256, stride 1')
        axis.grid(alpha=0.3)
    axes[0].set_ylabel('µs')
    if drawn:
        axes[0].legend(fontsize=8)
        made.append(f'{prefix}-kernel-size.svg')
        figure.savefig(os.path.join(folder, made[-1]))
    plt.close(figure)
    return made


def main():
    folder = sys.argv[1]
    kind = kinds(os.path.join(os.path.dirname(os.path.abspath(__file__)), 'workloads.csv'))
    text = []
    for name in ('best', 'avx2', 'cold'):
        path = os.path.join(folder, name + '.json')
        if not os.path.exists(path):
            continue
        context, rows = load(path)
        report = Report(context, rows, kind, f"peakpool on target {context['target']}, {context['cache_state']} caches")
        pictures = charts(folder, name, report)
        text += [report.text(), '\n'.join(f'![{picture}]({picture})' for picture in pictures), '']
    if os.path.exists(os.path.join(folder, 'start.json')):
        text.append(start(os.path.join(folder, 'start.json')))
    path = os.path.join(folder, 'report.md')
    with open(path, 'w', encoding='utf-8') as file:
        file.write('\n'.join(text))
    print(path)


if __name__ == '__main__':
    main()

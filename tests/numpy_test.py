#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The command line against im2col, argmax and col2im written in NumPy: numpy_test.py PEAKPOOL

Every value, index and gradient must be equal. Exit code 77 where NumPy is not installed.
"""
import itertools
import math
import pathlib
import subprocess
import sys
import tempfile

try:
    import numpy as np
except ImportError:
    print("skipped: NumPy is not installed")
    sys.exit(77)


class Problem:
    """One geometry over an (N, C, spatial...) array."""

    def __init__(self, shape, kernel, stride=None, pads=None, dilation=None, ceil=False):
        self.shape, self.rank = shape, len(shape) - 2
        one = (1,) * self.rank
        self.kernel, self.stride, self.dilation = kernel, stride or kernel, dilation or one
        self.pads = pads or (0,) * (2 * self.rank)  # ONNX order
        self.ceil = ceil

    def flags(self):
        def join(values):
            return ",".join(str(value) for value in values)

        return ["--kernel", join(self.kernel), "--stride", join(self.stride), "--pad", join(self.pads), "--dilation",
                join(self.dilation), "--rounding", "ceil" if self.ceil else "floor"]

    def output(self):
        sizes = []
        for a in range(self.rank):
            size, before, after = self.shape[2 + a], self.pads[a], self.pads[self.rank + a]
            room = size + before + after - (self.kernel[a] - 1) * self.dilation[a] - 1
            count = (math.ceil(room / self.stride[a]) if self.ceil else room // self.stride[a]) + 1
            if self.ceil and (count - 1) * self.stride[a] >= size + before:
                count -= 1
            sizes.append(count)
        return tuple(sizes)

    def columns(self):
        """im2col's index matrix: for each output (rows) and tap (columns) the flat position in the plane, -1 padding."""
        spatial = self.shape[2:]
        outputs, taps = self.output(), self.kernel
        positions = np.zeros((math.prod(outputs), math.prod(taps)), np.int64)
        inside = np.ones_like(positions, bool)
        for a in range(self.rank):
            o = np.arange(outputs[a]).reshape([-1 if i == a else 1 for i in range(self.rank)])
            t = np.arange(taps[a]).reshape([-1 if i == a else 1 for i in range(self.rank)])
            o = np.broadcast_to(o, outputs).reshape(-1, 1)
            t = np.broadcast_to(t, taps).reshape(1, -1)
            at = o * self.stride[a] - self.pads[a] + t * self.dilation[a]
            inside &= (at >= 0) & (at < spatial[a])
            positions = positions * spatial[a] + at
        return np.where(inside, positions, -1)

    def forward(self, x):
        """Values, tap numbers, flat positions; each (N, C, outputs)."""
        columns = self.columns()
        planes = x.reshape(self.shape[0], self.shape[1], -1)
        inside = columns >= 0
        # Rank elements so that any type has room for a padding below everything: argmax over ranks, NaN last and equal.
        _, ranks = np.unique(planes, return_inverse=True, equal_nan=True)
        ranks = ranks.reshape(planes.shape).astype(np.int64)
        matrix = np.where(inside, ranks[:, :, columns], -1)
        taps = matrix.argmax(axis=-1)
        positions = np.take_along_axis(np.broadcast_to(columns, matrix.shape), taps[..., None], -1)[..., 0]
        values = np.take_along_axis(planes, positions, -1)
        if np.issubdtype(x.dtype, np.floating):
            values = np.where(values == 0, x.dtype.type(0), np.where(np.isnan(values), x.dtype.type(np.nan), values))
        return values, taps, positions

    def backward(self, dy, positions):
        """col2im: sums in float32 (float64 for float64), in ascending output order."""
        n, c = self.shape[:2]
        wide = np.float64 if dy.dtype == np.float64 else np.float32
        dx = np.zeros((n * c, math.prod(self.shape[2:])), wide)
        rows = np.arange(n * c)
        dy, positions = dy.reshape(n * c, -1), positions.reshape(n * c, -1)
        for o in range(dy.shape[1]):
            dx[rows, positions[:, o]] += dy[:, o].astype(wide)
        return dx.astype(dy.dtype).reshape(self.shape)


PROBLEMS = [
    Problem((2, 3, 12, 14), (2, 2)),
    Problem((1, 4, 11, 13), (3, 3), (2, 2), (1, 1, 1, 1)),
    Problem((1, 4, 11, 13), (3, 3), (2, 2), (0, 1, 2, 1), ceil=True),
    Problem((2, 2, 9, 40), (3, 3), (1, 1), (1, 1, 1, 1)),
    Problem((1, 2, 10, 17), (2, 3), (1, 2), (1, 0, 0, 2)),
    Problem((1, 3, 15, 16), (3, 2), (2, 1), (2, 1, 2, 1), (2, 3)),
    Problem((1, 2, 20, 21), (7, 7), (3, 3), (3, 3, 3, 3), ceil=True),
    Problem((1, 1, 40, 33), (17, 16), (1, 1), (8, 8, 8, 8)),
    Problem((2, 3, 50), (3,), (2,), (1, 1)),
    Problem((1, 2, 6, 7, 9), (2, 3, 3), (1, 2, 2), (0, 1, 1, 1, 1, 1)),
]
TYPES = ["f2", "f4", "f8", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"]
FORMATS = ["window", "plane", "plane-i32", "tensor", "tensor-colmajor"]


def draw(random, dtype, shape):
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        x = random.integers(-4, 5, shape).astype(dtype) / dtype.type(2)
        for value in (np.nan, -np.nan, np.inf, -np.inf, -0.0):
            x[random.random(shape) < 0.04] = value
        return x
    bounds = np.iinfo(dtype)
    x = random.integers(bounds.min, bounds.max, shape, dtype, endpoint=True)
    return np.where(random.random(shape) < 0.3, bounds.max, x).astype(dtype)


def expected_index(problem, layout_format, taps, positions):
    n, c = problem.shape[:2]
    spatial = problem.shape[2:]
    plane = np.arange(n * c).reshape(n, c, 1) * math.prod(spatial)
    if layout_format == "window":
        count = math.prod(problem.kernel)
        return taps.astype("u1" if count <= 256 else "u2" if count <= 65536 else "u4")
    if layout_format == "plane":
        return positions.astype("i8")
    if layout_format == "plane-i32":
        return positions.astype("i4")
    if layout_format == "tensor":
        return plane + positions
    at = np.unravel_index(positions, spatial)
    return plane + np.ravel_multi_index(at, spatial, order="F")


class Runner:
    def __init__(self, tool, folder):
        self.tool, self.folder = tool, pathlib.Path(folder)
        self.passed = self.failed = 0

    def run(self, *arguments):
        done = subprocess.run([self.tool, *map(str, arguments)], cwd=self.folder, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=120)
        if done.returncode != 0:
            print(f"exit code {done.returncode}: peakpool {' '.join(map(str, arguments))}\n{done.stdout}")
        return done.returncode == 0

    def same(self, what, actual, expected):
        ok = actual.dtype == expected.dtype and actual.shape == expected.shape and \
            actual.tobytes() == expected.tobytes()
        if not ok:
            print(f"differs: {what}: {actual.dtype} {actual.shape}, expected {expected.dtype} {expected.shape}")
            if actual.shape == expected.shape:
                wrong = np.argwhere(actual != expected)
                print(f"  {len(wrong)} values, first at {wrong[:1].tolist()}")
        return ok

    def check(self, ok):
        self.passed += ok
        self.failed += not ok

    def compare(self, problem, dtype, layout_format, last, algorithm, random):
        n, c = problem.shape[:2]
        outputs = problem.output()

        def arrange(array):  # to the layout on disk
            return np.ascontiguousarray(np.moveaxis(array, 1, -1) if last else array)

        x = draw(random, dtype, problem.shape)
        values, taps, positions = problem.forward(x)
        index = expected_index(problem, layout_format, taps, positions).reshape(n, c, *outputs)
        what = f"{dtype} {problem.shape} {' '.join(problem.flags())} {layout_format} last={last} {algorithm}"
        np.save(self.folder / "x.npy", arrange(x))
        flags = problem.flags() + ["--layout", "channels-last" if last else "channels-first", "--algorithm", algorithm]
        if not self.run("pool", "x.npy", "y.npy", *flags):
            return self.check(False)
        values = arrange(values.reshape(n, c, *outputs).astype(dtype))
        ok = self.same(what + ", values", np.load(self.folder / "y.npy"), values)
        if not self.run("pool", "x.npy", "y.npy", "--indices", "i.npy", "--index-format", layout_format, *flags):
            return self.check(False)
        ok &= self.same(what + ", values with indices", np.load(self.folder / "y.npy"), values)
        ok &= self.same(what + ", indices", np.load(self.folder / "i.npy"), arrange(index))
        if np.dtype(dtype).kind == "f":
            dy = random.standard_normal((n, c, *outputs)).astype(dtype)
            np.save(self.folder / "dy.npy", arrange(dy))
            shape = ",".join(map(str, arrange(x).shape))
            if not self.run("backward", "dy.npy", "i.npy", "dx.npy", "--input-shape", shape, "--index-format",
                            layout_format, *flags):
                return self.check(False)
            ok &= self.same(what + ", dx", np.load(self.folder / "dx.npy"), arrange(problem.backward(dy, positions)))
        self.check(ok)


def main():
    tool = str(pathlib.Path(sys.argv[1]).resolve())
    random = np.random.default_rng(5)
    with tempfile.TemporaryDirectory() as folder:
        runner = Runner(tool, folder)
        for (i, problem), last in itertools.product(enumerate(PROBLEMS), (False, True)):
            for j, layout_format in enumerate(FORMATS):
                dtype = TYPES[(i * len(FORMATS) + j + last) % len(TYPES)]
                for name in dict.fromkeys(("f4", dtype)):
                    algorithm = "im2col" if (i + j) % 4 == 3 else "auto"
                    runner.compare(problem, name, layout_format, last, algorithm, random)
    print(f"{runner.passed} passed, {runner.failed} failed")
    return 1 if runner.failed or not runner.passed else 0


sys.exit(main())

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The drop-in for PyTorch against PyTorch's own kernels: torch_test.py LIBRARY

A second process without the library computes the stock results. Values, indices, gradients, strides, and the types and
messages of errors must be equal, but for what peakpool promises and PyTorch does not: zero results are +0, NaN results
the canonical NaN, the index of a window without a tap is -1, and bfloat16 gradients are summed in float32
and have exact indices.
"""
import itertools
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import unittest
import warnings

try:
    import torch
    import torch.nn.functional as F
except ImportError:
    print("skipped: PyTorch is not installed for this Python")
    sys.exit(77)

CASES = 2000
LIBRARY = None  # loaded, unless this is the stock process
POOL = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
ADAPTIVE = {1: F.adaptive_max_pool1d, 2: F.adaptive_max_pool2d, 3: F.adaptive_max_pool3d}
UNPOOL = {1: F.max_unpool1d, 2: F.max_unpool2d, 3: F.max_unpool3d}
LAYOUTS = ["dense", "channels_last", "sliced", "channels_last_sliced", "stepped", "transposed", "some_channels",
           "expanded_batch", "expanded_width", "overlapping", "unbatched"]


def elements(rng, count, dtype):
    """Small integers, hence ties and zeros of both signs; sometimes NaN and infinities."""
    generator = torch.Generator().manual_seed(rng.randrange(1 << 30))
    kind = rng.random()
    if kind < 0.3:
        x = torch.randn(count, generator=generator, dtype=torch.float32)
    else:
        x = torch.randint(-3, 4, (count,), generator=generator).float() * rng.choice([1.0, -1.0])
    if kind > 0.6:
        for value, share in ((float("nan"), rng.choice([0.01, 0.3])), (float("-inf"), 0.1), (float("inf"), 0.01)):
            x[torch.rand(count, generator=generator) < share] = value
    if kind > 0.95:
        x.fill_(float("-inf"))
    return x.to(dtype)


def tensor(rng, shape, layout, dtype):
    """A tensor of the shape N, C, spatial (N is dropped from unbatched ones) in the layout."""
    rank = len(shape) - 2

    def dense(sizes):
        count = 1
        for size in sizes:
            count *= size
        return elements(rng, count, dtype).view(sizes)

    channels_last = {2: torch.channels_last, 3: torch.channels_last_3d}.get(rank, torch.contiguous_format)
    wide = shape[:2] + [size + 3 for size in shape[2:]]
    inside = (slice(None), slice(None)) + tuple(slice(1, 1 + size) for size in shape[2:])
    if layout == "channels_last":
        return dense(shape).contiguous(memory_format=channels_last)
    if layout == "sliced":
        return dense(wide)[inside]
    if layout == "channels_last_sliced":
        return dense(wide).contiguous(memory_format=channels_last)[inside]
    if layout == "stepped":
        return dense(shape[:-1] + [2 * shape[-1]])[..., ::2]
    if layout == "transposed":
        axis = rng.randrange(len(shape) - 1)
        sizes = list(shape)
        sizes[axis], sizes[-1] = sizes[-1], sizes[axis]
        return dense(sizes).transpose(axis, -1)
    if layout == "some_channels":
        return dense([shape[0], shape[1] + 2] + shape[2:])[:, 1:1 + shape[1]]
    if layout == "expanded_batch":
        return dense([1] + shape[1:]).expand(shape)
    if layout == "expanded_width":
        return dense(shape[:-1] + [1]).expand(shape)
    if layout == "overlapping":
        x = dense(shape[:2] + [sum(shape[2:])] + shape[3:])
        return x.as_strided(shape, x.stride()) if rank > 1 else x.as_strided(shape, [x.stride(0), 1, 1])
    if layout == "unbatched":
        return dense(shape[1:])
    return dense(shape)


def case(number):
    """One random call. The same in both processes."""
    rng = random.Random(number)
    rank = rng.choice([1, 2, 2, 2, 3])

    def axes(low, high):
        return [rng.randint(low, high) for _ in range(rank)]

    batch = rng.choice([0, 1, 2, 3] if rng.random() < 0.2 else [1, 2])
    shape = [batch, rng.choice([1, 2, 3, 5, 16, 33])] + axes(1, {1: 70, 2: 20, 3: 9}[rank])
    dtype = rng.choice([torch.float32, torch.float32, torch.float64, torch.bfloat16])
    layout = rng.choice(LAYOUTS)
    if dtype == torch.bfloat16 and (rank == 3 or layout == "overlapping"):  # refused; not kept by a conversion
        dtype = torch.float32
    kernel = axes(1, 4) if rng.random() < 0.7 else [rng.randint(1, 7)] * rank
    options = {
        "kernel_size": kernel if rng.random() < 0.8 else kernel[0],
        "stride": rng.choice([None, axes(1, 3), rng.randint(1, 4)]),
        "padding": [rng.randint(0, k // 2) for k in kernel] if rng.random() < 0.7 else 0,
        "dilation": rng.choice([1, 1, axes(1, 3)]),
        "ceil_mode": rng.random() < 0.4,
    }
    if isinstance(options["kernel_size"], int) and not isinstance(options["padding"], int):
        options["padding"] = options["padding"][0]
    c = {
        "rank": rank,
        "x": tensor(rng, shape, layout, dtype),
        "kind": rng.choice(["pool", "pool", "indices", "indices", "adaptive", "unpool"]),
        "mode": rng.choice(["grad", "grad", "no_grad", "inference"]),
        "options": options,
        "output_size": [rng.randint(1, size + 1) for size in shape[2:]],
    }
    c["empty"] = has_empty_window(c)
    if c["empty"] and c["mode"] == "grad":
        c["mode"] = "no_grad"
    return c


def call(c, x):
    """y and what else the call returns."""
    if c["kind"] == "pool":
        return [POOL[c["rank"]](x, **c["options"])]
    if c["kind"] == "indices":
        return list(POOL[c["rank"]](x, return_indices=True, **c["options"]))
    if c["kind"] == "adaptive":
        return list(ADAPTIVE[c["rank"]](x, c["output_size"], return_indices=True))
    # Unpooling what was pooled with windows side by side; float32 only, so that PyTorch takes it.
    y, index = ADAPTIVE[c["rank"]](x.detach().float().nan_to_num(0, 0, 0), c["output_size"], return_indices=True)
    unpooled = UNPOOL[c["rank"]](y, index, 1, output_size=x.shape[-c["rank"]:])
    return [unpooled, index]


def gradient(c, x, dy):
    """The gradient of the call, and the call's outputs."""
    x = x.detach().requires_grad_()
    outputs = call(c, x)
    if not outputs[0].requires_grad:
        return outputs
    return outputs + list(torch.autograd.grad(outputs[0], x, dy(outputs[0])))


def run(c):
    """The tensors that come out, with their strides, or the error."""
    x = c["x"]
    type_of_y = torch.float32 if c["kind"] == "unpool" else x.dtype
    if x.dtype == torch.bfloat16 and LIBRARY is None and (c["kind"] == "adaptive" or c["mode"] == "grad"):
        # PyTorch rounds each addition to bfloat16, and in adaptive pooling the indices too.
        x = x.float()
    generator = torch.Generator().manual_seed(7)

    def dy(y):
        generator.manual_seed(7)
        return torch.randn(y.shape, generator=generator).to(torch.bfloat16).to(y.dtype)

    try:
        if c["mode"] == "grad":
            outputs = gradient(c, x, dy)
        elif c["mode"] == "no_grad":
            with torch.no_grad():
                outputs = call(c, x)
        else:
            with torch.inference_mode():
                outputs = call(c, x.clone(memory_format=torch.preserve_format))
        return [y.detach().to(type_of_y) if y.dtype.is_floating_point else y for y in outputs]
    except Exception as error:  # the type and message are compared
        return [type(error), str(error).splitlines()[0]]


def has_empty_window(c):
    """Dilation can leave a window without a tap. PyTorch's index is then outside the plane, and so is its gradient."""
    if c["kind"] not in ("pool", "indices") or c["options"]["dilation"] == 1:
        return False
    try:
        return bool((POOL[c["rank"]](torch.zeros(c["x"].shape), **c["options"]) != 0).any())
    except RuntimeError:
        return False


def profiled(function):
    """What it returns, and how often each of peakpool's executions is in PyTorch's profile of it."""
    with torch.autograd.profiler.profile() as profile:
        result = function()
    counts = {"forward": 0, "backward": 0, "unpool": 0}
    for event in profile.function_events:
        if event.name.startswith("peakpool::") and event.name[10:] in counts:
            counts[event.name[10:]] += 1
    return result, counts


def errors():
    """Calls that PyTorch refuses. The same words are wanted."""
    x = torch.zeros(1, 2, 8, 8)
    line, volume = torch.zeros(1, 2, 8), torch.zeros(1, 2, 8, 8, 8)
    index = torch.zeros(1, 2, 4, 4, dtype=torch.long)
    nn, aten = torch._C._nn, torch.ops.aten
    calls = {
        "padding beyond half the kernel": lambda: F.max_pool2d(x, 3, 1, 2),
        "padding beyond half the kernel, 1-D": lambda: F.max_pool1d(line, 3, 1, 2),
        "padding beyond half the kernel, 3-D": lambda: F.max_pool3d(volume, 3, 1, 2),
        "negative padding": lambda: F.max_pool2d(x, 3, 1, -1),
        "kernel 0": lambda: F.max_pool2d(x, 0),
        "stride 0": lambda: F.max_pool2d(x, 2, 0),
        "stride 0, 1-D": lambda: F.max_pool1d(line, 2, 0),
        "dilation 0": lambda: F.max_pool2d(x, 2, 2, 0, 0),
        "kernel beyond int": lambda: F.max_pool2d(x, 1 << 40),
        "kernel larger than the input": lambda: F.max_pool2d(x, 9),
        "kernel larger than the input, 1-D": lambda: F.max_pool1d(line, 18, 1),
        "kernel larger than the input, 3-D": lambda: F.max_pool3d(volume, 9),
        "dilated kernel larger than the input": lambda: F.max_pool2d(x, 5, 1, 0, 2),
        "three kernel sizes": lambda: F.max_pool2d(x, (2, 2, 2)),
        "three paddings": lambda: F.max_pool2d(x, 2, 2, (0, 0, 0)),
        "two dimensions": lambda: F.max_pool2d(x[0, 0], 2),
        "five dimensions": lambda: F.max_pool2d(volume, 2),
        "one dimension": lambda: F.max_pool1d(line[0, 0], 2),
        "no channels": lambda: F.max_pool2d(x[:, :0], 2),
        "no width": lambda: F.max_pool2d(x[..., :0], 2),
        "no width, 1-D": lambda: F.max_pool1d(line[..., :0], 2),
        "no depth": lambda: F.max_pool3d(volume[:, :, :0], 2),
        "half": lambda: F.max_pool2d(x.half(), 2),
        "int32": lambda: F.max_pool2d(x.int(), 2),
        "uint8": lambda: F.max_pool2d(x.byte(), 2),
        "bool": lambda: F.max_pool2d(x.bool(), 2),
        "complex": lambda: F.max_pool2d(x.cfloat(), 2),
        "int64, 1-D": lambda: F.max_pool1d(line.long(), 2),
        "bfloat16, 3-D": lambda: F.max_pool3d(volume.bfloat16(), 2),
        "sparse": lambda: F.max_pool2d(x.to_sparse(), 2),
        "adaptive, no width": lambda: F.adaptive_max_pool2d(x[..., :0], 2),
        "adaptive, negative size": lambda: F.adaptive_max_pool2d(x, -1),
        "adaptive, three sizes": lambda: nn.adaptive_max_pool2d(x, (1, 1, 1)),
        "adaptive, two dimensions": lambda: F.adaptive_max_pool2d(x[0, 0], 2),
        "adaptive, half": lambda: F.adaptive_max_pool3d(volume.half(), 2),
        "unpool, index beyond the plane": lambda: F.max_unpool2d(x[..., :4, :4], index + 64, 2),
        "unpool, index beyond the plane, channels-last":
            lambda: F.max_unpool2d(x[..., :4, :4].contiguous(memory_format=torch.channels_last), index + 64, 2),
        "unpool, negative index": lambda: F.max_unpool2d(x[..., :4, :4], index - 1, 2),
        "unpool, negative index, 3-D":
            lambda: F.max_unpool3d(volume[..., :4, :4, :4], torch.full((1, 2, 4, 4, 4), -5), 2),
        "unpool, other shape": lambda: F.max_unpool2d(x, index, 2),
        "unpool, int32 indices": lambda: F.max_unpool2d(x[..., :4, :4], index.int(), 2),
        "unpool, bfloat16": lambda: F.max_unpool2d(x[..., :4, :4].bfloat16(), index, 2),
        "unpool, stride 0": lambda: nn.max_unpool3d(volume, volume.long(), (8, 8, 8), (0, 1, 1), (0, 0, 0)),
        "gradient of another type":
            lambda: aten.max_pool2d_with_indices_backward(x[..., :4, :4].double(), x, [2], [], [0], [1], False, index),
        "gradient of another shape":
            lambda: aten.max_pool2d_with_indices_backward(x, x, [2], [], [0], [1], False, index),
        "out of another type":
            lambda: torch.ops.aten.max_pool2d_with_indices.out(x, [2], out=x.double(), indices=index.clone()),
    }
    results = {}
    for name, function in calls.items():
        try:
            function()
            results[name] = "no error"
        except Exception as error:  # the type and message are compared
            results[name] = type(error).__name__ + ": " + str(error).splitlines()[0]
    return results


def shapes():
    """The output size, or the error, of every small axis: PyTorch's rule for padding, dilation and ceil mode."""
    results = {}
    for size, kernel, stride, dilation, ceil in itertools.product(range(1, 9), range(1, 5), range(1, 4), range(1, 4),
                                                                  (False, True)):
        for padding in range(kernel // 2 + 1):
            key = (size, kernel, stride, padding, dilation, ceil)
            try:
                x = torch.zeros(1, 1, size, 1)
                y = F.max_pool2d(x, (kernel, 1), (stride, 1), (padding, 0), (dilation, 1), ceil)
                results[key] = tuple(y.shape), y.flatten().tolist()
            except RuntimeError as error:
                results[key] = str(error).splitlines()[0]
    return results


def stock():
    return {"cases": [run(case(number)) for number in range(CASES)], "errors": errors(), "shapes": shapes()}


class Against(unittest.TestCase):
    """Stock PyTorch."""

    stock = None

    def compare(self, ours, theirs, empty):
        self.assertEqual(len(ours), len(theirs))
        for mine, his in zip(ours, theirs):
            if isinstance(mine, (type, str)) or isinstance(his, (type, str)):
                self.assertEqual(mine, his)
                continue
            self.assertEqual((mine.dtype, mine.shape, mine.stride()), (his.dtype, his.shape, his.stride()))
            if mine.dtype == torch.long and empty:
                mine, his = mine[mine >= 0], his[mine >= 0]
            same = (mine == his) | ((mine != mine) & (his != his))
            self.assertTrue(same.all(), (mine[~same], his[~same]))
            if mine is ours[0]:
                self.assertFalse((torch.signbit(mine) & (mine == 0)).any(), "a zero result is -0")

    def test_random_calls(self):
        ran = {}

        def compare_all():
            for number in range(CASES):
                c = case(number)
                with self.subTest(number=number, kind=c["kind"], mode=c["mode"], shape=tuple(c["x"].shape),
                                  strides=c["x"].stride(), dtype=c["x"].dtype, options=c["options"],
                                  output_size=c["output_size"]):
                    ours = run(c)
                    theirs = self.stock["cases"][number]
                    self.compare(ours, theirs, c["empty"])
                    if not isinstance(ours[0], type):
                        for name in ["forward"] + (["backward"] if len(ours) > 2 and c["kind"] != "unpool" else []):
                            ran[name] = ran.get(name, 0) + 1

        _, counts = profiled(compare_all)
        self.assertGreaterEqual(counts["forward"], ran["forward"])
        self.assertGreaterEqual(counts["backward"], ran["backward"])
        self.assertGreater(ran["forward"], CASES // 2)  # the others are refused by both

    def test_output_sizes(self):
        self.assertEqual(shapes(), self.stock["shapes"])

    def test_errors(self):
        ours = errors()
        for name, error in self.stock["errors"].items():
            with self.subTest(name):
                self.assertEqual(ours[name], error)
                self.assertNotEqual(error, "no error")


NAN = float("nan")


class Semantics(unittest.TestCase):
    """Where PyTorch's rules, or what its types promise, are not peakpool's."""

    def test_index_of_nan_is_the_last_one(self):
        for dtype in (torch.float32, torch.float64, torch.bfloat16):
            x = torch.tensor([[1, NAN, 3, NAN], [5, NAN, 7, 8]]).to(dtype)
            for format in (torch.contiguous_format, torch.channels_last):
                nchw = x.expand(1, 20, 2, 4).contiguous(memory_format=format)
                y, index = F.max_pool2d(nchw, 2, return_indices=True)
                self.assertTrue(y.isnan().all())
                self.assertEqual(index[0, 19].tolist(), [[5, 3]])
                y, index = F.adaptive_max_pool2d(nchw, (1, 3), return_indices=True)
                self.assertEqual(index[0, 19].tolist(), [[5, 5, 3]])
        y, index = F.max_pool3d(torch.full((1, 1, 3, 3, 3), NAN), 3, 2, 1, return_indices=True)
        self.assertEqual(index.flatten().tolist(), [13, 14, 16, 17, 22, 23, 25, 26])
        y, index = F.max_pool1d(torch.tensor([[NAN, 1, NAN, 2, 9, 9]]), 3, return_indices=True)
        self.assertEqual(index.tolist(), [[2, 4]])

    def test_zeros_are_positive_and_nans_canonical(self):
        bits = torch.tensor([[-2**31, -2**31, 0x7F800001, 0x7FC00000 - 2**31]], dtype=torch.int32)
        y = F.max_pool1d(bits.view(torch.float32), 2)
        self.assertEqual(y.view(torch.int32).tolist(), [[0, 0x7FC00000]])

    def test_no_batch(self):
        for channels_last in (False, True):
            x = torch.zeros(0, 3, 8, 8)
            if channels_last:
                x = x.contiguous(memory_format=torch.channels_last)
            x.requires_grad_()
            y, index = F.max_pool2d(x, 2, return_indices=True)
            self.assertEqual((y.shape, index.shape), ((0, 3, 4, 4),) * 2)
            y.sum().backward()
            self.assertEqual(x.grad.shape, x.shape)
            self.assertEqual(F.max_unpool2d(y, index, 2).shape, x.shape)
        self.assertEqual(F.max_pool1d(torch.zeros(0, 3, 8), 2).shape, (0, 3, 4))
        self.assertEqual(F.max_pool3d(torch.zeros(0, 3, 8, 8, 8), 2).shape, (0, 3, 4, 4, 4))

    def test_unbatched(self):
        x = torch.randn(3, 6, 6, requires_grad=True)
        y, index = F.max_pool2d(x, 2, return_indices=True)
        batched = F.max_pool2d(x[None], 2)
        self.assertEqual((y.shape, index.shape), ((3, 3, 3),) * 2)
        self.assertTrue(torch.equal(y, batched[0]))
        self.assertEqual(F.max_unpool2d(y, index, 2).shape, x.shape)

    def test_window_without_a_tap(self):
        """PyTorch's index of it is outside the plane, where its backward would write."""
        x = torch.ones(1, 1, 2, 2, requires_grad=True)
        y, index = F.max_pool2d(x, 2, 1, 1, 3, return_indices=True)
        self.assertEqual(y.flatten().tolist(), [float("-inf")])
        self.assertEqual(index.flatten().tolist(), [-1])
        y.sum().backward()
        self.assertEqual(x.grad.abs().sum(), 0)
        x.grad = None
        torch.ops.peakpool.max_pool2d_compact(x, 2, 1, 1, 3)[0].sum().backward()
        self.assertEqual(x.grad.abs().sum(), 0)

    def test_untrusted_indices(self):
        x, dy = torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 2, 2)
        backward = torch.ops.aten.max_pool2d_with_indices_backward

        def gradient(indices):
            return backward(dy, x, [2], [], [0], [1], False, torch.tensor(indices).view(1, 1, 2, 2))

        self.assertEqual(gradient([0, 2, 8, 10]).flatten().nonzero().flatten().tolist(), [0, 2, 8, 10])
        # In the plane, but in no window of theirs: PyTorch adds there all the same.
        self.assertEqual(gradient([15, 15, 15, -1]).flatten().tolist(), [0] * 15 + [3])
        for outside in (16, 1 << 40, -2):
            with self.assertRaisesRegex(IndexError, "max pooling backward: .*" + str(outside)):
                gradient([0, 2, 8, outside])

    def test_unpooling_is_deterministic(self):
        """The last of several outputs for one place wins, so that there is nothing to warn of."""
        torch.use_deterministic_algorithms(True)
        try:
            y = torch.arange(4.0).view(1, 1, 2, 2)
            x = F.max_unpool2d(y, torch.full((1, 1, 2, 2), 5), 2)
            self.assertEqual(x.flatten().tolist(), [0] * 5 + [3] + [0] * 10)
        finally:
            torch.use_deterministic_algorithms(False)

    def test_given_outputs(self):
        x = torch.randn(2, 3, 8, 8)
        want = F.max_pool2d(x, 2, return_indices=True)
        for format in (torch.contiguous_format, torch.channels_last):
            y = torch.full((2, 3, 4, 4), 7.0).contiguous(memory_format=format)
            index = torch.zeros(2, 3, 4, 4, dtype=torch.long).contiguous(memory_format=format)
            got = torch._C._nn.max_pool2d_with_indices(x, 2, out=(y, index))
            self.assertEqual((got[0].data_ptr(), got[1].data_ptr()), (y.data_ptr(), index.data_ptr()))
            self.assertTrue(torch.equal(y, want[0]) and torch.equal(index, want[1]))
        y = torch.empty(0)
        torch._C._nn.adaptive_max_pool2d(x, (4, 4), out=(y, torch.empty(0, dtype=torch.long)))
        self.assertTrue(torch.equal(y, want[0]))
        dx = torch.empty(2, 3, 8, 8)
        torch.ops.aten.max_pool2d_with_indices_backward.grad_input(want[0], x, [2], [2], [0], [1], False, want[1],
                                                                   grad_input=dx)
        self.assertTrue(torch.equal(dx, F.max_unpool2d(*want, 2)))
        torch.ops.aten.max_unpool2d.out(want[0], want[1], [8, 8], out=dx.zero_())
        self.assertTrue(torch.equal(dx, F.max_unpool2d(*want, 2)))


class Paths(unittest.TestCase):
    """Peakpool runs, once per pooling, whichever way PyTorch is called."""

    def check(self, function, forward=0, backward=0, unpool=0):
        result, counts = profiled(function)
        self.assertEqual(counts, {"forward": forward, "backward": backward, "unpool": unpool})
        return result

    def test_functions_and_modules(self):
        for rank, module in ((1, torch.nn.MaxPool1d), (2, torch.nn.MaxPool2d), (3, torch.nn.MaxPool3d)):
            x = torch.randn([2, 3] + [8] * rank)
            leaf = x.clone().requires_grad_()
            self.check(lambda: POOL[rank](x, 2), forward=1)
            self.check(lambda: POOL[rank](x, 2, return_indices=True), forward=1)
            self.check(lambda: module(2)(leaf).sum().backward(), forward=1, backward=1)
            self.check(lambda: ADAPTIVE[rank](leaf, 3).sum().backward(), forward=1, backward=1)
            y, index = POOL[rank](x, 2, return_indices=True)
            y.requires_grad_()
            self.check(lambda: UNPOOL[rank](y, index, 2).sum().backward(), unpool=1)
            with torch.no_grad():
                self.check(lambda: module(2)(leaf), forward=1)
                self.check(lambda: module(2, return_indices=True)(leaf), forward=1)
            with torch.inference_mode():
                self.check(lambda: module(2)(leaf), forward=1)
                self.check(lambda: module(2)(leaf * 1), forward=1)

    def test_layouts(self):
        x = torch.randn(2, 8, 9, 10)
        for view in (x, x.contiguous(memory_format=torch.channels_last), x[:, 1:5], x[..., 1:-1], x[..., ::2],
                     x.transpose(1, 3), x.transpose(2, 3), x[:1].expand(4, 8, 9, 10)):
            with self.subTest(strides=view.stride()):
                y = self.check(lambda: F.max_pool2d(view, 3, 2, 1), forward=1)
                self.assertTrue(torch.equal(y, F.max_pool2d(view.contiguous(), 3, 2, 1)))
                leaf = view.detach().requires_grad_()
                self.check(lambda: torch.autograd.grad(F.max_pool2d(leaf, 3, 2, 1).sum(), leaf), forward=1, backward=1)

    def test_left_to_pytorch(self):
        x = torch.randn(1, 3, 8, 8)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # named tensors are experimental
            named = torch.randn(1, 3, 8, 8, names=("N", "C", "H", "W"))
        self.assertEqual(self.check(lambda: F.max_pool2d(named, 2)).names, ("N", "C", "H", "W"))
        self.check(lambda: F.max_pool2d(x.to_mkldnn(), 2))
        quantized = torch.quantize_per_tensor(x, 0.1, 0, torch.quint8)
        self.assertTrue(self.check(lambda: F.max_pool2d(quantized, 2)).is_quantized)
        self.check(lambda: F.max_pool2d(x.to("meta"), 2))

    def test_torchscript(self):
        model = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.MaxPool2d(2), torch.nn.AdaptiveMaxPool2d(2))
        x = torch.randn(2, 1, 10, 10)
        want = model(x)
        script = torch.jit.script(model.eval())
        for scripted in (script, torch.jit.trace(model, x), torch.jit.freeze(script)):
            for _ in range(3):  # the executor specialises the graph meanwhile
                y = self.check(lambda: scripted(x), forward=2)
                self.assertTrue(torch.equal(y, want))
        leaf = x.clone().requires_grad_()
        scripted = torch.jit.script(torch.nn.MaxPool2d(3, 2, 1))
        for _ in range(3):
            self.check(lambda: torch.autograd.grad(scripted(leaf).sum(), leaf), forward=1, backward=1)

    def test_autograd(self):
        x = torch.randn(1, 2, 6, 6, dtype=torch.float64, requires_grad=True)
        volume = torch.randn(1, 1, 4, 4, 4, dtype=torch.float64, requires_grad=True)
        for function, input in ((lambda x: F.max_pool2d(x, 3, 2, 1), x), (lambda x: F.adaptive_max_pool2d(x, 4), x),
                                (lambda x: F.max_pool3d(x, 2), volume), (lambda x: F.max_pool1d(x[0], 2), x[..., 0])):
            input = input.detach().requires_grad_()
            self.assertTrue(torch.autograd.gradcheck(function, input))
            self.assertTrue(torch.autograd.gradgradcheck(function, input))
        with torch.autograd.forward_ad.dual_level():
            dual = torch.autograd.forward_ad.make_dual(x.detach(), torch.ones_like(x))
            y = self.check(lambda: F.max_pool2d(dual, 2), forward=1)
            self.assertEqual(torch.autograd.forward_ad.unpack_dual(y).tangent.unique().tolist(), [1])

    def test_autocast(self):
        conv = torch.nn.Conv2d(1, 4, 3)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = self.check(lambda: F.max_pool2d(conv(torch.randn(1, 1, 8, 8)), 2), forward=1)
        self.assertEqual(y.dtype, torch.bfloat16)


class Compact(unittest.TestCase):
    """torch.ops.peakpool.max_pool2d_compact."""

    def test_is_max_pool2d(self):
        pool = torch.ops.peakpool.max_pool2d_compact
        for number in range(300):
            rng = random.Random(number)
            shape = [rng.choice([0, 1, 2]), rng.choice([1, 3, 16]), rng.randint(3, 20), rng.randint(3, 20)]
            x = tensor(rng, shape, rng.choice(LAYOUTS), rng.choice([torch.float32, torch.float64]))
            kernel = [rng.randint(1, 3), rng.randint(1, 3)]
            options = [kernel, rng.choice([[], [1, 2], [3, 3]]), [k // 2 for k in kernel], [1, 1], rng.random() < 0.5]
            a, b = x.detach().requires_grad_(), x.detach().requires_grad_()
            with self.subTest(number=number, shape=x.shape, options=options):
                y, index = pool(a, *options)
                want, plane = F.max_pool2d(b, *options, return_indices=True)
                self.assertEqual((index.dtype, index.requires_grad, index.shape), (torch.uint8, False, y.shape))
                self.assertEqual(y.stride(), want.stride())
                self.assertTrue(torch.equal(y.nan_to_num(5), want.nan_to_num(5)))
                if not y.numel():
                    continue
                dy = torch.randn(y.shape).to(y.dtype)
                dx, want_dx = torch.autograd.grad(y, a, dy)[0], torch.autograd.grad(want, b, dy)[0]
                self.assertTrue(torch.equal(dx, want_dx))
                self.assertEqual(dx.stride(), want_dx.stride())
                with torch.no_grad():
                    again, _ = pool(x, *options)
                self.assertTrue(torch.equal(again.nan_to_num(5), y.nan_to_num(5)))

    def test_derivatives(self):
        x = torch.randn(2, 2, 6, 6, dtype=torch.float64, requires_grad=True)
        for options in ((2,), (3, 2, 1), (3, 1, 1), (2, 1, 0, 2)):
            function = lambda x: torch.ops.peakpool.max_pool2d_compact(x, *options)[0]
            self.assertTrue(torch.autograd.gradcheck(function, x))
            self.assertTrue(torch.autograd.gradgradcheck(function, x))

    def test_keeps_one_byte_per_output(self):
        def kept(function):
            bytes = 0

            def pack(t):
                nonlocal bytes
                bytes += t.numel() * t.element_size()
                return t

            x = torch.randn(2, 3, 32, 32, requires_grad=True)
            with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
                function(x).sum().backward()
            return bytes

        outputs = 2 * 3 * 16 * 16
        self.assertEqual(kept(lambda x: torch.ops.peakpool.max_pool2d_compact(x, 2)[0]), outputs)
        self.assertEqual(kept(lambda x: F.max_pool2d(x, 2)), outputs)
        with_indices = lambda x: F.max_pool2d(x, 2, return_indices=True)[0]
        self.assertEqual(kept(with_indices), 4 * 4 * outputs + 8 * outputs)

    def test_more_types(self):
        for dtype in (torch.float16, torch.bfloat16):
            x = torch.randn(2, 3, 8, 8).to(dtype).requires_grad_()
            y, _ = torch.ops.peakpool.max_pool2d_compact(x, 3, 2, 1)
            self.assertTrue(torch.equal(y.float(), F.max_pool2d(x.float(), 3, 2, 1)))
            y.sum().backward()
            self.assertEqual(x.grad.float().sum(), y.numel())
        for dtype in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64):
            x = torch.randint(0, 100, (2, 3, 8, 8)).to(dtype)
            y, index = torch.ops.peakpool.max_pool2d_compact(x, 2)
            self.assertTrue(torch.equal(y.float(), F.max_pool2d(x.float(), 2)))

    def test_errors(self):
        pool, x = torch.ops.peakpool.max_pool2d_compact, torch.zeros(1, 1, 40, 40)
        for arguments, words in (((x, 3, 1, 2), "pad should be at most half of kernel size"), ((x, 41), "Output size"),
                                 ((x, 17), "window-u8: holds 256 taps, the window has 289"),
                                 ((x.cfloat(), 2), "not implemented for 'ComplexFloat'")):
            with self.assertRaisesRegex(RuntimeError, words):
                pool(*arguments)

    def test_torchscript(self):
        @torch.jit.script
        def model(x: torch.Tensor) -> torch.Tensor:
            return torch.ops.peakpool.max_pool2d_compact(x, [2, 2])[0]

        x = torch.randn(1, 2, 8, 8, requires_grad=True)
        self.assertTrue(torch.equal(model(x), F.max_pool2d(x, 2)))
        model(x).sum().backward()
        self.assertEqual(x.grad.sum(), 32)


class Process(unittest.TestCase):
    """What loading the library does to the process."""

    def run_python(self, program):
        return subprocess.run([sys.executable, "-c", program, LIBRARY], check=True, capture_output=True, text=True)

    def test_threads_are_pytorchs_own(self):
        for threads in (1, 2):
            done = self.run_python(f"""
import os, sys, torch
def count(): return len(os.listdir("/proc/self/task"))
torch.set_num_threads({threads})
torch.ops.load_library(sys.argv[1])
x = torch.randn(4, 16, 200, 200, requires_grad=True)
before = count()
torch.nn.functional.max_pool2d(x.detach(), 3, 2, 1)
print(count() - before)
x.exp().detach()
before = count()
torch.nn.functional.max_pool2d(x.detach(), 3, 2, 1)
torch.nn.functional.max_pool2d(x.detach(), 3, 2, 1, return_indices=True)
print(count() - before)
""")
            # The first call may start PyTorch's pool, nothing else does.
            self.assertEqual(done.stdout.split(), [str(threads - 1), "0"])

    def test_readme(self):
        readme = (pathlib.Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")
        program, = [block for block in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "load_library" in block]
        done = self.run_python("import sys\n" + re.sub(r'"[^"]*libpeakpool_torch.so"', "sys.argv[1]", program))
        self.assertEqual((done.stdout, done.stderr), ("['peakpool::forward', 'peakpool::backward']\n", ""))

    def test_loading_is_silent(self):
        done = self.run_python("import sys, torch; torch.ops.load_library(sys.argv[1])")
        self.assertEqual((done.stdout, done.stderr), ("", ""))


if __name__ == "__main__":
    if sys.argv[1] == "--stock":
        torch.save(stock(), sys.argv[2])
        sys.exit()
    LIBRARY = sys.argv.pop(1)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "stock.pt")
        subprocess.run([sys.executable, __file__, "--stock", path], check=True)
        Against.stock = torch.load(path)
    torch.ops.load_library(LIBRARY)
    unittest.main()

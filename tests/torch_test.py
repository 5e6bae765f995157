#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The drop-in for PyTorch against PyTorch's own kernels: torch_test.py LIBRARY

A second process without the library computes the stock results. Values, indices, gradients, strides, and the types and
messages of errors must be equal, but for what peakpool promises and PyTorch does not: zero results are +0, NaN results
the canonical NaN, the index of a window without a tap is -1, and bfloat16 gradients are summed in float32
and have exact indices.
"""
import os
import random
import subprocess
import sys
import tempfile
import unittest

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
    shape = [batch, rng.choice([1, 2, 3, 5, 16, 33])] + [rng.randint(1, {1: 70, 2: 20, 3: 9}[rank]) for _ in range(rank)]
    dtype = rng.choice([torch.float32, torch.float32, torch.float64, torch.bfloat16])
    if rank == 3 and dtype == torch.bfloat16:
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
        "x": tensor(rng, shape, rng.choice(LAYOUTS), dtype),
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
    """Dilation can leave a window without a tap: PyTorch's index is then outside of the plane, and so is its gradient."""
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


def stock():
    return {"cases": [run(case(number)) for number in range(CASES)], "errors": errors()}


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

    def test_errors(self):
        ours = errors()
        for name, error in self.stock["errors"].items():
            with self.subTest(name):
                self.assertEqual(ours[name], error)
                self.assertNotEqual(error, "no error")


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

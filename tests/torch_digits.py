#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Trains a small network on handwritten digits: torch_digits.py LIBRARY [PROCESSES]

Once with stock PyTorch, once with the drop-in, once with max_pool2d_compact. Every loss of every step must be the same,
bit for bit. With two PROCESSES the same under torch.distributed: gloo on loopback, DistributedDataParallel. Prints the
time in the pooling layers side by side.
"""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

try:
    import torch
    import torch.nn.functional as F
    from sklearn.datasets import load_digits
except ImportError as error:
    print(f"skipped: {error.name} is not installed for this Python")
    sys.exit(77)

STEPS = 120
BATCH = 64


class Net(torch.nn.Module):
    def __init__(self, pool):
        super().__init__()
        self.pool = pool
        self.conv1 = torch.nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = torch.nn.Conv2d(16, 32, 3, padding=1)
        self.fc = torch.nn.Linear(32 * 8 * 8, 10)

    def forward(self, x):
        x = self.pool(F.relu(self.conv1(x)), 3, 2, 1)
        x = self.pool(F.relu(self.conv2(x)), 2, 2, 0)
        return self.fc(x.flatten(1))


def compact(x, kernel, stride, padding):
    return torch.ops.peakpool.max_pool2d_compact(x, kernel, stride, padding)[0]


def digits(layout):
    data = load_digits()
    x = torch.tensor(data.images, dtype=torch.float32)[:, None] / 16
    x = F.interpolate(x, size=(32, 32), mode="bilinear", align_corners=False)
    return x.contiguous(memory_format=getattr(torch, layout)), torch.tensor(data.target)


def train(variant, layout, library, rank, processes, folder):
    """One process's part: a share of each batch. The first one writes what happened."""
    if variant != "stock":
        torch.ops.load_library(library)
    torch.manual_seed(1)
    torch.set_num_threads(1)  # so that the sums in PyTorch's own layers do not depend on the machine
    if processes > 1:
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
        torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank,
                                             world_size=processes)
    model = Net(compact if variant == "compact" else F.max_pool2d).to(memory_format=getattr(torch, layout))
    if processes > 1:
        model = torch.nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    x, target = digits(layout)
    order = torch.randperm(len(x))
    share = BATCH // processes
    losses = []
    with torch.autograd.profiler.profile() as profile:
        for step in range(STEPS):
            begin = step * BATCH % (len(x) - BATCH) + rank * share
            chosen = order[begin:begin + share]
            loss = F.cross_entropy(model(x[chosen]), target[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            mean = loss.detach() / processes
            if processes > 1:
                torch.distributed.all_reduce(mean)
            losses.append(mean.item())
    with torch.no_grad():
        correct = (model(x).argmax(1) == target).float().mean().item()
    calls = {"forward": [], "backward": []}
    executions = 0
    for event in profile.function_events:
        if event.name in ("aten::max_pool2d", "peakpool::max_pool2d_compact"):
            calls["forward"].append(event.cpu_time_total)
        if event.name.startswith("autograd::engine::evaluate_function: ") and re.search("MaxPool|peakpool", event.name):
            calls["backward"].append(event.cpu_time_total)
        executions += event.name in ("peakpool::forward", "peakpool::backward")
    if rank == 0:
        # Each layer at its best: the steps are alike, the machine is not idle.
        microseconds = {name: min(times[0::2]) + min(times[1::2]) for name, times in calls.items()}
        result = {"losses": losses, "correct": correct, "microseconds": microseconds, "executions": executions}
        (pathlib.Path(folder) / "result").write_text(json.dumps(result), encoding="utf-8")


def main(library, processes=1):
    failed = False
    for layout in ("contiguous_format", "channels_last")[:2 if processes == 1 else 1]:
        stock = None
        for variant in ("stock", "drop-in", "compact"):
            with tempfile.TemporaryDirectory() as folder:
                workers = [subprocess.Popen([sys.executable, __file__, variant, layout, library, str(rank),
                                             str(processes), folder]) for rank in range(processes)]
                if any([worker.wait() for worker in workers]):
                    sys.exit(f"{variant}: a process failed")
                result = json.loads((pathlib.Path(folder) / "result").read_text(encoding="utf-8"))
            stock = stock or result
            same = result["losses"] == stock["losses"]
            wanted = 0 if variant == "stock" else 4 * STEPS  # two layers, forward and backward
            failed |= not same or result["executions"] != wanted or result["correct"] < 0.9
            times = ", ".join(f"{name} {best:.0f} us" for name, best in result["microseconds"].items())
            print(f"{layout}, {processes} process(es), {variant}: loss {result['losses'][0]:.4f} to "
                  f"{result['losses'][-1]:.4f} in {STEPS} steps, {'the same' if same else 'NOT THE SAME'} as stock; "
                  f"{result['correct']:.1%} of the digits right; both pooling layers: {times}; "
                  f"{result['executions']} executions of peakpool (expected {wanted})", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    if len(sys.argv) > 3:
        train(*sys.argv[1:4], int(sys.argv[4]), int(sys.argv[5]), sys.argv[6])
    else:
        main(sys.argv[1], *map(int, sys.argv[2:]))

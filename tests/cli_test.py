#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The command line's manners: cli_test.py PEAKPOOL

Bad input gives exit code 2, one line that names the argument and its value, and no output file. Good input gives exit code
0, and replaces the output.
"""
import os
import pathlib
import struct
import subprocess
import sys
import tempfile


def npy(descr, shape, data, fortran=False, version=(1, 0)):
    """A .npy file, by hand, so that broken ones can be made and NumPy is not needed."""
    header = "{'descr': %r, 'fortran_order': %r, 'shape': %s, }" % (descr, fortran, tuple(shape))
    header += " " * (-(len(header) + 11) % 64) + "\n"
    return b"\x93NUMPY" + bytes(version) + struct.pack("<H", len(header)) + header.encode() + data


FLOATS = struct.pack("<16f", *range(16))
GOOD = npy("<f4", (1, 1, 4, 4), FLOATS)
PNG = (b"\x89PNG\r\n\x1a\n" + b"\x00\x00\x00\rIHDR")  # cut short

# Name, arguments, what the line must say. OUT and the like are files that must not appear.
BAD = [
    ("missing input", "pool missing.npy OUT.npy --kernel 2", ["missing.npy"]),
    ("input is a folder", "pool . OUT.npy --kernel 2", ["."]),
    ("empty file", "pool empty.npy OUT.npy --kernel 2", ["empty.npy"]),
    ("not an array", "pool text.npy OUT.npy --kernel 2", ["text.npy"]),
    ("truncated header", "pool short_header.npy OUT.npy --kernel 2", ["short_header.npy"]),
    ("truncated data", "pool truncated.npy OUT.npy --kernel 2", ["truncated.npy"]),
    ("bytes after the data", "pool trailing.npy OUT.npy --kernel 2", ["trailing.npy"]),
    ("Fortran order", "pool fortran.npy OUT.npy --kernel 2", ["fortran.npy", "ortran"]),
    ("big endian", "pool big.npy OUT.npy --kernel 2", ["big.npy", ">f4"]),
    ("complex type", "pool complex.npy OUT.npy --kernel 2", ["complex.npy", "c8"]),
    ("object type", "pool object.npy OUT.npy --kernel 2", ["object.npy", "O"]),
    ("too few axes", "pool flat.npy OUT.npy --kernel 2", ["flat.npy", "16"]),
    ("negative shape", "pool negative.npy OUT.npy --kernel 2", ["negative.npy"]),
    ("endless shape", "pool endless.npy OUT.npy --kernel 2", ["endless.npy"]),
    ("unknown .npy version", "pool version.npy OUT.npy --kernel 2", ["version.npy"]),
    ("kernel of zero", "pool good.npy OUT.npy --kernel 0", ["kernel[0]", "0"]),
    ("kernel beyond the input", "pool good.npy OUT.npy --kernel 5", ["kernel[0]", "5"]),
    ("kernel that is no number", "pool good.npy OUT.npy --kernel two", ["--kernel", "two"]),
    ("kernel with too many values", "pool good.npy OUT.npy --kernel 2,2,2", ["--kernel", "2,2,2"]),
    ("kernel beyond 64 bits", "pool good.npy OUT.npy --kernel 99999999999999999999", ["--kernel", "9999"]),
    ("negative pad", "pool good.npy OUT.npy --kernel 2 --pad=-1", ["padding[0].before", "-1"]),
    ("pad with three values", "pool good.npy OUT.npy --kernel 2 --pad 1,1,1", ["--pad", "1,1,1"]),
    ("empty window", "pool good.npy OUT.npy --kernel 2 --stride 1 --pad 2", ["padding[0]", "window 0"]),
    ("stride of zero", "pool good.npy OUT.npy --kernel 2 --stride 0", ["stride[0]", "0"]),
    ("dilation of zero", "pool good.npy OUT.npy --kernel 2 --dilation 0", ["dilation[0]", "0"]),
    ("size that does not divide", "pool good.npy OUT.npy --kernel 3 --stride 2 --rounding exact", ["stride[0]", "2"]),
    ("unknown rounding", "pool good.npy OUT.npy --kernel 2 --rounding up", ["--rounding", "up"]),
    ("unknown layout", "pool good.npy OUT.npy --kernel 2 --layout nchw", ["--layout", "nchw"]),
    ("unknown algorithm", "pool good.npy OUT.npy --kernel 2 --algorithm fast", ["--algorithm", "fast"]),
    ("unknown index format", "pool good.npy OUT.npy --kernel 2 --indices IDX.npy --index-format bits",
     ["--index-format", "bits"]),
    ("unknown auto pad", "pool good.npy OUT.npy --kernel 2 --auto-pad same", ["--auto-pad", "same"]),
    ("no threads", "pool good.npy OUT.npy --kernel 2 --threads 0", ["--threads", "0"]),
    ("no kernel", "pool good.npy OUT.npy", ["--kernel"]),
    ("unknown flag", "pool good.npy OUT.npy --kernel 2 --karnel 3", ["--karnel"]),
    ("unknown command", "polo good.npy OUT.npy", ["polo"]),
    ("no command", "", ["subcommand"]),
    ("bf16 of floats", "pool good.npy OUT.npy --kernel 2 --dtype bf16", ["good.npy", "bf16"]),
    ("unwritable output", "pool good.npy nowhere/OUT.npy --kernel 2", ["nowhere/OUT.npy"]),
    ("output is a folder", "pool good.npy folder --kernel 2", ["folder"]),
    ("unwritable indices", "pool good.npy OUT.npy --kernel 2 --indices nowhere/IDX.npy", ["nowhere/IDX.npy"]),
    ("indices over output", "pool good.npy OUT.npy --kernel 2 --indices OUT.npy", ["OUT.npy"]),
    ("missing gradient", "backward missing.npy index.npy OUT.npy --input-shape 1,1,4,4 --kernel 2", ["missing.npy"]),
    ("gradient of integers", "backward ints.npy index.npy OUT.npy --input-shape 1,1,4,4 --kernel 2", ["i32"]),
    ("gradient of another shape", "backward good.npy index.npy OUT.npy --input-shape 1,1,4,4 --kernel 2", ["good.npy"]),
    ("indices of another shape", "backward dy.npy index_wide.npy OUT.npy --input-shape 1,1,4,4 --kernel 2",
     ["index_wide.npy"]),
    ("indices of another type", "backward dy.npy dy.npy OUT.npy --input-shape 1,1,4,4 --kernel 2", ["dy.npy"]),
    ("invalid index", "backward dy.npy index_bad.npy OUT.npy --input-shape 1,1,4,4 --kernel 2", ["index"]),
    ("shape of two axes", "backward dy.npy index.npy OUT.npy --input-shape 4,4 --kernel 2", ["--input-shape", "4,4"]),
    ("missing picture", "picture missing.png OUT.png --kernel 2", ["missing.png"]),
    ("truncated picture", "picture truncated.png OUT.png --kernel 2", ["truncated.png"]),
    ("not a picture", "picture text.npy OUT.png --kernel 2", ["text.npy"]),
    ("unreadable problem", "explain f31", ["f31"]),
    ("no cases", "verify --cases 0", ["--cases", "0"]),
    ("unknown target", "verify --cases 1 --target AVX9", ["AVX9"]),
]


def main():
    tool = str(pathlib.Path(sys.argv[1]).resolve())
    failures = []
    passed = 0
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.mkdir("folder")
        files = {
            "good.npy": GOOD,
            "empty.npy": b"",
            "text.npy": b"This is no array.\n",
            "short_header.npy": GOOD[:40],
            "truncated.npy": GOOD[:-4],
            "trailing.npy": GOOD + b"\0",
            "fortran.npy": npy("<f4", (1, 1, 4, 4), FLOATS, fortran=True),
            "big.npy": npy(">f4", (1, 1, 4, 4), FLOATS),
            "complex.npy": npy("<c8", (1, 1, 2, 4), FLOATS),
            "object.npy": npy("|O", (1, 1, 2, 4), FLOATS),
            "flat.npy": npy("<f4", (16,), FLOATS),
            "negative.npy": npy("<f4", (1, -1, 4, 4), FLOATS),
            "endless.npy": npy("<f4", (2**40, 2**40, 4, 4), FLOATS),
            "version.npy": npy("<f4", (1, 1, 4, 4), FLOATS, version=(9, 0)),
            "dy.npy": npy("<f4", (1, 1, 2, 2), FLOATS[:16]),
            "ints.npy": npy("<i4", (1, 1, 2, 2), bytes(16)),
            "index.npy": npy("|u1", (1, 1, 2, 2), bytes(4)),
            "index_bad.npy": npy("|u1", (1, 1, 2, 2), bytes([0, 1, 4, 0])),
            "index_wide.npy": npy("|u1", (1, 1, 2, 3), bytes(6)),
            "truncated.png": PNG,
        }
        for name, data in files.items():
            pathlib.Path(name).write_bytes(data)

        def run(arguments):
            done = subprocess.run([tool] + arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)
            return done.returncode, done.stdout.decode(), done.stderr.decode()

        def tree():
            return sorted(str(path) for path in pathlib.Path(".").rglob("*"))

        def expect(name, ok, detail):
            nonlocal passed
            if ok:
                passed += 1
            else:
                failures.append(f"{name}: {detail}")

        before = tree()
        for name, arguments, says in BAD:
            code, out, err = run(arguments.split())
            problems = []
            if code != 2:
                problems.append(f"exit code {code}, expected 2")
            if len(err.splitlines()) != 1:
                problems.append(f"{len(err.splitlines())} lines on stderr, expected 1")
            problems += [f"does not say {word}" for word in says if word not in err]
            if tree() != before:
                problems.append(f"left {sorted(set(tree()) - set(before))}")
                for path in set(tree()) - set(before):
                    os.remove(path)
            expect(name, not problems, f"peakpool {arguments}\n  {'; '.join(problems)}\n  {err.strip()}")

        # An output that exists stays as it was when the command fails, and is replaced when it succeeds.
        pathlib.Path("old.npy").write_bytes(b"old")
        run(["pool", "good.npy", "old.npy", "--kernel", "9"])
        expect("a failure leaves the old output", pathlib.Path("old.npy").read_bytes() == b"old", "it changed")
        code, out, err = run(["pool", "good.npy", "old.npy", "--kernel", "2"])
        expect("a success prints one line", code == 0 and len(out.splitlines()) == 1 and err == "", (code, out, err))
        expect("the line holds the problem", "f32 nchw 1x1x4x4 k2" in out, out)
        y = pathlib.Path("old.npy").read_bytes()
        expect("a success replaces the output", y[-16:] == struct.pack("<4f", 5, 7, 13, 15), y)
        expect("nothing else is left", tree() == sorted(before + ["old.npy"]), tree())
        code, out, err = run(["pool", "good.npy", "good.npy", "--kernel", "2"])
        expect("the output may replace the input", code == 0, err)

        for arguments in (["--help"], ["--version"], ["info"], ["pool", "--help"], ["verify", "--cases", "50"],
                          ["explain", "f32 nchw 1x64x112x112 k3 s2 p1 window-u8"]):
            code, out, err = run(arguments)
            expect(" ".join(arguments), code == 0 and out != "", f"exit code {code}: {out}{err}")
    print("\n".join(failures))
    print(f"{passed} passed, {len(failures)} failed")
    return 1 if failures else 0


sys.exit(main())

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Installs the library and links a C and a C++ program to it through pkg-config --static: install_test.py BUILD CC CXX"""
import pathlib
import sys
import tempfile

from staged import Staged, run

PROGRAMS = {
    "consumer.c": """#include <peakpool/peakpool.h>
#include <stdio.h>
int main(void) {
  const float x[16] = {1, 2, 3, 4, 8, 7, 6, 5, 1, 1, 1, 1, 1, 9, 1, 1};
  float y[4];
  peakpool_problem problem;
  peakpool_plan* plan;
  if (peakpool_parse("f32 nchw 1x1x4x4 k2", &problem) != PEAKPOOL_OK) return 1;
  if (peakpool_plan_create(&problem, &plan) != PEAKPOOL_OK) return 1;
  if (peakpool_forward(plan, x, y, NULL, NULL) != PEAKPOOL_OK) return 1;
  peakpool_plan_destroy(plan);
  printf("%g %g %g %g\\n", y[0], y[1], y[2], y[3]);
  return 0;
}
""",
    "consumer.cc": """#include <peakpool/peakpool.hpp>
#include <cstdio>
int main() {
  const float x[16] = {1, 2, 3, 4, 8, 7, 6, 5, 1, 1, 1, 1, 1, 9, 1, 1};
  float y[4];
  const peakpool::Plan plan("f32 nchw 1x1x4x4 k2");
  if (!plan || plan.forward(x, y) != PEAKPOOL_OK) return 1;
  std::printf("%g %g %g %g\\n", y[0], y[1], y[2], y[3]);
}
""",
}


def main():
    build, cc, cxx = sys.argv[1:]
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        staged = Staged(build, pathlib.Path(folder) / "stage")
        installed = sorted(str(path.relative_to(staged.folder)) for path in staged.folder.rglob("*") if path.is_file())
        print("\n".join(installed))
        for name in ("libpeakpool.a", "peakpool.h", "peakpool.hpp"):
            if not any(path.endswith("/" + name) for path in installed):
                print(f"{name} is not installed")
                failed += 1
        for name, text in PROGRAMS.items():
            source = pathlib.Path(folder) / name
            source.write_text(text, encoding="utf-8")
            executable = source.with_suffix(".out")
            ok, output = staged.build(source, executable, cc, cxx)
            if not ok:
                print(f"{name}: does not build\n{output}")
                failed += 1
                continue
            code, output = run([str(executable)])
            if code != 0 or output != "8 6 9 1\n":
                print(f"{name}: exit code {code}, printed {output!r}")
                failed += 1
            if "libpeakpool" in run(["ldd", str(executable)])[1]:
                print(f"{name}: is not linked statically")
                failed += 1
    print(f"{failed} failed")
    return 1 if failed else 0


sys.exit(main())

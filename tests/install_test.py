#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Builds the programs of tests/consumer against peakpool as its users do: install_test.py HOW SOURCE BUILD CC CXX

HOW is
  static  BUILD is installed, and found by pkg-config --static and by CMake
  shared  SOURCE is built as a Meson subproject and shared library, installed with it, and found by pkg-config and CMake
"""
import pathlib
import re
import shutil
import sys
import tempfile

from staged import Staged, build_with_subproject, compiler_environment, need, need_programs, run

CONSUMERS = ["consumer_c", "consumer_cc", "consumer_bare"]
BARE = ["-fno-exceptions", "-fno-rtti"]
failures = []


def check(ok, what):
    if not ok:
        failures.append(what)
        print("FAILED: " + what)


class Test:
    def __init__(self, source, build, cc, cxx, folder):
        self.source, self.build, self.cc, self.cxx, self.folder = pathlib.Path(source), build, cc, cxx, folder
        self.consumer = self.source / "tests" / "consumer"

    def check_run(self, executable, environment, shared):
        code, output = run([str(executable)], env=environment)
        check(code == 0 and output == "8 6 9 1\n", f"{executable}: exit code {code}, printed {output!r}")
        linked = "libpeakpool" in run(["ldd", str(executable)], env=environment)[1]
        check(linked == shared, f"{executable}: is linked {'' if linked else 'not '}with a shared libpeakpool")

    def check_consumers(self, staged, shared):
        """By pkg-config, where the compiler of each language links on its own; and by CMake."""
        link = [] if shared else ["--static"]
        for name, source, compiler, flags in (("consumer_c", "consumer.c", self.cc, ["-pedantic"]),
                                              ("consumer_cc", "consumer.cc", self.cxx, ["-pedantic"]),
                                              ("consumer_bare", "consumer.cc", self.cxx, BARE)):
            executable = self.folder / f"pkg-config-{name}"
            ok, output = staged.build(self.consumer / source, executable, compiler, flags, link)
            check(ok, f"{name} by pkg-config: does not build\n{output}")
            if ok:
                self.check_run(executable, staged.environment, shared)
        for build, options, names in (("cmake", [], CONSUMERS), ("cmake-c", ["-DC_ONLY=ON"], CONSUMERS[:1])):
            staged.cmake(self.consumer, self.folder / build, self.cc, self.cxx, *options)
            for name in names:
                self.check_run(self.folder / build / name, staged.environment, shared)
        code, output = run(["cmake", "-S", str(self.consumer), "-B", str(self.folder / "cmake-newer"),
                            f"-DCMAKE_PREFIX_PATH={staged.prefix}", "-DVERSION=0.2"],
                           env=compiler_environment(self.cc, self.cxx))
        check(code != 0 and "0.2" in output, f"CMake takes this version for 0.2:\n{output}")

    def check_headers(self, staged):
        """What they include, all the way down, is theirs and the language's; but tbb.hpp is about oneTBB."""
        for header in ("peakpool.h", "peakpool.hpp"):
            path = staged.file(header)
            text = need([*self.cxx.split(), "-x", "c++", "-std=c++17", "-M", f"-I{path.parents[1]}", str(path)])
            included = re.findall(r"\S*/(?:hwy|tbb|oneapi|omp)[/.]\S*", text)
            check(not included, f"{header} includes {included}")

    def exported(self, library):
        lines = need(["nm", "--dynamic", "--defined-only", str(library)]).splitlines()
        return {line.split()[-1].split("@")[0] for line in lines} - {"PEAKPOOL_1"}

    def declared(self, staged):
        return set(re.findall(r"\b(peakpool_\w+)\(", re.sub(r"//.*", "", staged.file("peakpool.h").read_text())))

    def static(self):
        staged = Staged(self.build, self.folder / "stage")
        print("\n".join(sorted(str(path.relative_to(staged.folder)) for path in staged.folder.rglob("*"))))
        for name in ("libpeakpool.a", "peakpool.hpp", "peakpoolConfig.cmake", "peakpoolConfigVersion.cmake"):
            staged.file(name)
        self.check_headers(staged)
        self.check_consumers(staged, shared=False)
        # A shared library of the user's that contains peakpool does not hand it on.
        library = self.folder / "libhost.so"
        ok, output = staged.build(self.consumer / "consumer.cc", library, self.cxx, ["-shared", "-fPIC"])
        check(ok, f"a shared library with peakpool inside: does not build\n{output}")
        if ok:
            inside = [name for name in self.exported(library) if "peakpool" in name and not name.startswith("_Z")]
            check(not inside, f"a shared library with peakpool inside exports {inside}")


    def shared(self):
        build, project = self.folder / "build", self.folder / "project"
        shutil.copytree(self.consumer, project)
        build_with_subproject(project, build, self.source, self.cc, self.cxx, "-Dpeakpool:default_library=shared",
                              "-Dwerror=true")
        for name in CONSUMERS:
            self.check_run(build / name, None, shared=True)
        for unasked in ("tools/peakpool", "tests/c_test"):
            check(not (build / "subprojects" / "peakpool" / unasked).exists(), f"builds {unasked} unasked")
        staged = Staged(str(build), self.folder / "stage")
        library = staged.file("libpeakpool.so").resolve()
        self.check_consumers(staged, shared=True)
        exported, declared = self.exported(library), self.declared(staged)
        check(len(declared) > 20 and exported == declared, f"exported but not declared: {exported - declared}, declared "
              f"but not exported: {declared - exported}")
        soname = re.search(r"SONAME\s+(\S+)", need(["objdump", "-p", str(library)])).group(1)
        header = staged.file("peakpool.h").read_text()
        version = re.search(r"define PEAKPOOL_ABI_VERSION (\d+)", header).group(1)
        check(soname == f"libpeakpool.so.{version}", f"{soname} is not the header's ABI version {version}")


def main():
    how, source, build, cc, cxx = sys.argv[1:]
    need_programs("cmake", "pkg-config")
    with tempfile.TemporaryDirectory() as folder:
        getattr(Test(source, build, cc, cxx, pathlib.Path(folder)), how)()
    print(f"{len(failures)} failed")
    return 1 if failures else 0


sys.exit(main())

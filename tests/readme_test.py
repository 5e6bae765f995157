#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Builds and runs the README's code against an installation: readme_test.py SOURCE BUILD CC CXX

A ```c or ```cpp block is a whole program, or statements that are put into a main(). A ```cmake or ```meson block is a
project whose main.cc is the first ```cpp block, peakpool being installed or a subproject; the latter is compiled, not
linked. What is linked must run. An HTML comment in the line above changes that: <!-- flags: FLAGS --> are the
compiler's as well, for a ```c or ```cpp block; <!-- run --> runs a ```sh block in the folder of that main.cc, with
pkg-config knowing the installation; <!-- not a test --> leaves a block alone.
"""
import pathlib
import re
import shlex
import sys
import tempfile

from staged import Staged, build_with_subproject, compiler_environment, need_programs, run

FENCE = re.compile(
    r"(?P<before>[^\n]*)\n+^[ ]*```[ ]*(?P<language>c|cpp|cmake|meson|sh)[ ]*\n(?P<code>.*?)^[ ]*```[ ]*$",
    re.MULTILINE | re.DOTALL)
NEEDED = ("c", "cpp", "cmake", "meson", "sh")


def program(code, language):
    """The block as a whole program."""
    if re.search(r"\bmain\s*\(", code):
        return code
    lines = code.splitlines()
    head = [line for line in lines if line.startswith("#")]
    body = [line for line in lines if not line.startswith("#")]
    return "\n".join(head + ["int main(void) {" if language == "c" else "int main() {"] + body + ["return 0;", "}", ""])


class Blocks:
    def __init__(self, source, cc, cxx, staged):
        self.source, self.cc, self.cxx, self.staged = pathlib.Path(source), cc, cxx, staged
        self.main = None  # the first C++ program

    def build(self, language, code, comment, folder):
        """Builds folder/main. (ok, output)"""
        if language in ("c", "cpp"):
            code = program(code, language)
            if language == "cpp" and self.main is None:
                self.main = code
            file = folder / f"main.{language}"
            file.write_text(code, encoding="utf-8")
            flags = re.search(r"<!-- flags: (.*?) -->", comment)
            flags = [f"-I{self.source}"] + (shlex.split(flags[1]) if flags else [])
            return self.staged.build(file, folder / "main", self.cc if language == "c" else self.cxx, flags)
        (folder / "main.cc").write_text(self.main, encoding="utf-8")
        if language == "sh":
            environment = dict(self.staged.environment, **compiler_environment(self.cc, self.cxx))
            code, output = run(["sh", "-euc", code], cwd=folder, env=environment)
            return code == 0, output
        try:
            if language == "cmake":
                (folder / "CMakeLists.txt").write_text(code, encoding="utf-8")
                self.staged.cmake(folder, folder, self.cc, self.cxx)
            else:
                project = folder / "project"
                project.mkdir()
                (project / "meson.build").write_text(code, encoding="utf-8")
                (folder / "main.cc").rename(project / "main.cc")
                # Building peakpool takes longest of all that is tested here, and install_test does.
                build_with_subproject(project, folder / "build", self.source, self.cc, self.cxx,
                                      targets=["main.p/main.cc.o"])
        except RuntimeError as error:
            return False, str(error)
        return True, ""


def main():
    source, build, cc, cxx = sys.argv[1:]
    need_programs("cmake", "pkg-config")
    readme = pathlib.Path(source) / "README.md"
    text = readme.read_text(encoding="utf-8")
    found = dict.fromkeys(NEEDED, 0)
    failed = 0
    with tempfile.TemporaryDirectory() as temporary:
        blocks = Blocks(source, cc, cxx, Staged(build, pathlib.Path(temporary) / "stage"))
        for match in FENCE.finditer(text):
            language, comment = match["language"], match["before"]
            if "<!-- not a test -->" in comment or (language == "sh" and "<!-- run -->" not in comment):
                continue
            found[language] += 1
            where = f"README.md:{text.count(chr(10), 0, match.start('code')) + 1}"
            folder = pathlib.Path(temporary) / f"block{match.start()}"
            folder.mkdir()
            ok, output = blocks.build(language, match["code"], comment, folder)
            if not ok:
                print(f"{where}: does not build\n{output}")
                failed += 1
                continue
            if language == "meson":
                continue
            code, output = run([str(folder / "main")], cwd=folder, env=blocks.staged.environment)
            print(f"{where}: {output.strip()}")
            if code != 0:
                print(f"{where}: exit code {code}")
                failed += 1
    for language, count in found.items():
        if count == 0:
            print(f"README.md: no {language} block is a test")
            failed += 1
    print(f"{sum(found.values())} blocks, {failed} failed")
    return 1 if failed else 0


sys.exit(main())

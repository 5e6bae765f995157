#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compiles and runs the README's code against an installation: readme_test.py README BUILD CC CXX

Every ```c and ```cpp block is a whole program, or statements that are put into a main(). A block right after the HTML
comment <!-- not a test --> is left alone.
"""
import pathlib
import re
import sys
import tempfile

from staged import Staged, run

FENCE = re.compile(
    r"(?P<before>[^\n]*)\n+^[ ]*```[ ]*(?P<language>c|cpp|c\+\+|cc)[ ]*\n(?P<code>.*?)^[ ]*```[ ]*$",
    re.MULTILINE | re.DOTALL)


def program(code, language):
    """The block as a whole program."""
    if re.search(r"\bmain\s*\(", code):
        return code
    lines = code.splitlines()
    head = [line for line in lines if line.startswith("#")]
    body = [line for line in lines if not line.startswith("#")]
    return "\n".join(head + ["int main(void) {" if language == "c" else "int main() {"] + body + ["return 0;", "}", ""])


def main():
    readme, build, cc, cxx = sys.argv[1:]
    if not pathlib.Path(readme).exists():
        print(f"{readme}: there is no README")
        return 1
    text = pathlib.Path(readme).read_text(encoding="utf-8")
    found = {"c": 0, "cpp": 0}
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        staged = Staged(build, pathlib.Path(folder) / "stage")
        for match in FENCE.finditer(text):
            if "<!-- not a test -->" in match["before"]:
                continue
            language = "c" if match["language"] == "c" else "cpp"
            found[language] += 1
            where = f"{readme}:{text.count(chr(10), 0, match.start('code')) + 1}"
            source = pathlib.Path(folder) / f"block.{language}"
            source.write_text(program(match["code"], language), encoding="utf-8")
            executable = pathlib.Path(folder) / "block"
            ok, output = staged.build(source, executable, cc, cxx)
            if not ok:
                print(f"{where}: does not compile\n{output}")
                failed += 1
                continue
            code, output = run([str(executable)], cwd=folder)
            print(output, end="")
            if code != 0:
                print(f"{where}: exit code {code}")
                failed += 1
    for language, count in found.items():
        if count == 0:
            print(f"{readme}: no {language} block found")
            failed += 1
    print(f"{sum(found.values())} blocks, {failed} failed")
    return 1 if failed else 0


sys.exit(main())

# SPDX-License-Identifier: Apache-2.0
"""An installation of the built library under a temporary folder, as a user's compiler sees it."""
import os
import pathlib
import shlex
import subprocess


def run(command, **options):
    """Runs a command to its end; (exit code, everything it printed)."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, **options)
    return done.returncode, done.stdout


class Staged:
    """`meson install` of a build folder into `folder`."""

    def __init__(self, build, folder):
        self.folder = pathlib.Path(folder)
        code, output = run(["meson", "install", "-C", build, "--no-rebuild", "--quiet", "--destdir", str(folder)])
        if code != 0:
            raise RuntimeError("meson install failed\n" + output)
        files = list(self.folder.rglob("peakpool.pc"))
        if len(files) != 1:
            raise RuntimeError("peakpool.pc is not among the installed files")
        self.environment = dict(os.environ)
        path = [str(files[0].parent), self.environment.get("PKG_CONFIG_PATH", "")]
        self.environment["PKG_CONFIG_PATH"] = ":".join(part for part in path if part)
        # A staged installation is a system root to pkg-config: it prefixes what the file says.
        self.environment["PKG_CONFIG_SYSROOT_DIR"] = str(self.folder)

    def flags(self, *options):
        code, output = run(["pkg-config", *options, "peakpool"], env=self.environment)
        if code != 0:
            raise RuntimeError("pkg-config failed\n" + output)
        return shlex.split(output)

    def build(self, source, executable, cc, cxx):
        """Compiles one file, C by the C compiler, and links it as pkg-config --static says. (ok, output)"""
        is_c = pathlib.Path(source).suffix == ".c"
        compiler = shlex.split(cc) + ["-std=c99"] if is_c else shlex.split(cxx) + ["-std=c++17"]
        object_file = str(executable) + ".o"
        code, output = run(compiler + ["-Wall", "-Wextra", "-Werror", "-c", str(source), "-o", object_file] +
                           self.flags("--cflags"))
        if code != 0:
            return False, output
        # The library is C++, so the C++ compiler links.
        code, output = run(shlex.split(cxx) + [object_file, "-o", str(executable)] + self.flags("--static", "--libs"))
        return code == 0, output

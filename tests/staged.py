# SPDX-License-Identifier: Apache-2.0
"""An installation of the built library under a temporary folder, as a user's compiler and build system see it."""
import os
import pathlib
import shlex
import shutil
import subprocess
import sys


def run(command, **options):
    """Runs a command to its end; (exit code, everything it printed)."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600, **options)
    return done.returncode, done.stdout


def need(command, **options):
    """The same for a command that must succeed; what it printed."""
    code, output = run(command, **options)
    if code != 0:
        raise RuntimeError(" ".join(map(str, command)) + f": exit code {code}\n" + output)
    return output


def need_programs(*names):
    """Ends the test as skipped where one is missing."""
    for name in names:
        if shutil.which(name) is None:
            print(f"skipped: {name} is not installed")
            sys.exit(77)


def compiler_environment(cc, cxx):
    return dict(os.environ, CC=cc, CXX=cxx)


class Staged:
    """`meson install` of a build folder into `folder`."""

    def __init__(self, build, folder):
        self.folder = pathlib.Path(folder)
        need(["meson", "install", "-C", build, "--no-rebuild", "--quiet", "--destdir", str(folder)])
        pc = self.file("peakpool.pc")
        self.prefix = self.file("peakpool.h").parents[2]
        self.libdir = pc.parents[1]
        self.environment = dict(os.environ)
        path = [str(pc.parent), self.environment.get("PKG_CONFIG_PATH", "")]
        self.environment["PKG_CONFIG_PATH"] = ":".join(part for part in path if part)
        # A staged installation is a system root to pkg-config: it prefixes what the file says.
        self.environment["PKG_CONFIG_SYSROOT_DIR"] = str(self.folder)
        self.environment["LD_LIBRARY_PATH"] = str(self.libdir)

    def file(self, name):
        """The one installed file of this name."""
        found = list(self.folder.rglob(name))
        if len(found) != 1:
            raise RuntimeError(f"{name} is installed {len(found)} times")
        return found[0]

    def flags(self, *options):
        return shlex.split(need(["pkg-config", *options, "peakpool"], env=self.environment))

    def build(self, source, executable, compiler, flags=(), link=("--static",)):
        """Compiles and links one file by its own language's compiler, with pkg-config's flags. (ok, output)"""
        standard = "-std=c99" if pathlib.Path(source).suffix == ".c" else "-std=c++17"
        command = shlex.split(compiler) + [standard, "-Wall", "-Wextra", "-Werror", *flags, str(source), "-o",
                                           str(executable)]
        code, output = run(command + self.flags("--cflags") + self.flags(*link, "--libs"))
        return code == 0, output

    def cmake(self, source, build, cc, cxx, *options):
        """Configures and builds a CMake project that finds the installation."""
        need(["cmake", "-G", "Ninja", "-S", str(source), "-B", str(build), f"-DCMAKE_PREFIX_PATH={self.prefix}",
              "-DCMAKE_BUILD_TYPE=Release", *options], env=compiler_environment(cc, cxx))
        need(["cmake", "--build", str(build)])


def build_with_subproject(source, build, peakpool, cc, cxx, *options, targets=()):
    """Builds the Meson project in `source`, which has the source tree `peakpool` as its subproject.

    Without vector code, which is all that takes long to build and is no concern of how a program is put together.
    """
    subprojects = pathlib.Path(source) / "subprojects"
    subprojects.mkdir()
    (subprojects / "peakpool").symlink_to(pathlib.Path(peakpool).resolve())
    (subprojects / "peakpool.wrap").write_text("[wrap-file]\ndirectory = peakpool\n[provide]\n"
                                               "dependency_names = peakpool\n", encoding="utf-8")
    need(["meson", "setup", str(build), str(source), "-Dpeakpool:cpp_args=-DHWY_COMPILE_ONLY_SCALAR",
          "-Ddebug=false", "-Doptimization=0", *options], env=compiler_environment(cc, cxx))
    need(["ninja", "-C", str(build), *targets])

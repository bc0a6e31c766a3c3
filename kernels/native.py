"""Builds the C++ kernels on the user's machine at first use, caches them, and calls them through ctypes.

No torch headers are involved: a kernel is a C function over data pointers and sizes, so a build takes about a second.
The cache key is a hash of the sources, the flags, the compiler and the CPU's instruction set; the sources use vector
types that every ISA can lower, so choosing AVX-512, AVX2 or the baseline is choosing a flag.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

NO_COMPILER = (
    "No C++ compiler was found, so the slow reference kernels run. Install one with `pip install ziglang`, "
    "or the system's g++ or clang++, and start again."
)
_building = threading.Lock()
HEADERS = tuple(sorted(Path(__file__).parent.glob("*.h")))


@functools.cache
def find_compiler() -> tuple[str, ...] | None:
    """The command of a C++17 compiler (g++, clang++, c++, or the `ziglang` wheel), or None."""
    for name in ("g++", "clang++", "c++"):
        path = shutil.which(name)
        if path:
            return (path,)
    if importlib.util.find_spec("ziglang"):
        return (sys.executable, "-m", "ziglang", "c++")
    return None


@functools.cache
def instruction_set() -> str:
    """The x86-64 level to compile for ("x86-64-v4" = AVX-512, "-v3" = AVX2, "x86-64"), or "native" elsewhere."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return "native"
    match torch.backends.cpu.get_cpu_capability():
        case "AVX512":
            return "x86-64-v4"
        case "AVX2":
            return "x86-64-v3"
        case _:
            return "x86-64"


def flags(isa: str) -> list[str]:
    """Compiler flags: IEEE semantics stay (no fast-math: NaN must stay visible), only errno is given up."""
    arguments = ["-std=c++17", "-O3", "-fPIC", "-shared", "-pthread", "-fno-math-errno", "-fno-trapping-math"]
    arguments += [f"-march={isa}", "-Wno-psabi"]
    if isa == "x86-64-v4":
        arguments.append("-mprefer-vector-width=512")
    return arguments


def cache_folder() -> Path:
    """Where built kernels are kept for this user."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "fieldbench" / "kernels"
    if sys.platform == "win32":
        return Path.home() / "AppData" / "Local" / "fieldbench" / "kernels"
    return Path.home() / ".cache" / "fieldbench" / "kernels"


def build(source: Path, isa: str | None = None, folder: Path | None = None) -> Path:
    """Compile `source` (a .cpp file) for `isa` into the cache `folder` and return the shared library's path.

    Safe when several processes build at once: each compiles to a private file and renames it into place.
    Raises RuntimeError with the compiler's own words when the build fails, or naming the remedy without a compiler.
    """
    compiler = find_compiler()
    if compiler is None:
        raise RuntimeError(NO_COMPILER)
    isa = isa or instruction_set()
    arguments = flags(isa)
    key = hashlib.sha256()
    for part in (*compiler, *arguments, platform.machine(), platform.system()):
        key.update(part.encode() + b"\0")
    for file in (source, *HEADERS):
        key.update(file.read_bytes())
    folder = folder or cache_folder()
    target = folder / f"{source.parent.name}-{isa}-{key.hexdigest()[:16]}.so"
    with _building:
        if not target.exists():
            compile_to(target, source, [*compiler, *arguments, f"-I{Path(__file__).parent}"])
    return target


def compile_to(target: Path, source: Path, command: list[str]) -> None:
    """Compile `source` by `command` into a private file beside `target`, and rename it into place."""
    folder = target.parent
    folder.mkdir(parents=True, exist_ok=True)
    handle, private = tempfile.mkstemp(suffix=".so", dir=folder)
    os.close(handle)
    try:
        command = [*command, str(source), "-o", private]
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode != 0:
            raise RuntimeError(f"compiling {source.name} failed ({' '.join(command)}):\n{result.stderr[-4000:]}")
        os.replace(private, target)
    finally:
        Path(private).unlink(missing_ok=True)


def build_ahead(operators: Sequence[str]) -> threading.Thread:
    """Begin to compile what these need and the cache has not, in the background: while a scene is read, say.

    The thread ends when all is done.
    What fails is told by whoever needs the kernel.
    """

    def work() -> None:
        for operator in operators:
            with contextlib.suppress(RuntimeError, OSError):
                build(Path(__file__).parent / operator / "cpu.cpp")

    thread = threading.Thread(target=work, name="fieldbench-build", daemon=True)
    thread.start()
    return thread


class NativeLibrary:
    """The functions of one C++ source, built and loaded at the first call.

    Argument rules: a Tensor becomes a pointer (it must be contiguous and on the CPU), None a null pointer, bool and
    int an int64, float a float32. Every function gets the number of threads as its last int64 argument.
    """

    def __init__(self, source: Path, isa: str | None = None) -> None:
        self.source = source
        self.isa = isa

    @functools.cached_property
    def _library(self) -> ctypes.CDLL:
        return ctypes.CDLL(str(build(self.source, self.isa)))

    def call(self, function: str, *arguments: Tensor | int | float | None, threads: int | None = None) -> int:
        """Call the C function and return its int64 result; `threads` defaults to torch's own number."""
        native = getattr(self._library, function)
        native.restype = ctypes.c_int64
        threads = threads or torch.get_num_threads()
        return native(*(_to_c(function, a) for a in arguments), ctypes.c_int64(threads))


def _to_c(function: str, argument: Tensor | int | float | None) -> ctypes.c_void_p | ctypes.c_int64 | ctypes.c_float:
    match argument:
        case Tensor():
            if not argument.is_contiguous() or argument.device.type != "cpu":
                raise ValueError(
                    f"{function}: expected a contiguous CPU tensor, got {argument.shape} {argument.device}"
                )
            return ctypes.c_void_p(argument.data_ptr())
        case None:
            return ctypes.c_void_p(None)
        case float():
            return ctypes.c_float(argument)
        case _:
            return ctypes.c_int64(int(argument))

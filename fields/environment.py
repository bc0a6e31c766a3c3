"""What a machine offers to Fieldbench: processor, memory, disk, compiler and kernels, optional packages.

Nothing is imported to find out whether it is there; torch is loaded already when a command runs.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

import kernels
from kernels import native
from scenes.doctor import Finding
from scenes.doctor.finding import carried_out

GIB = 2**30
LITTLE_DISK, LITTLE_MEMORY = 2 * GIB, 2 * GIB
"""Bytes: a run of 100,000 Gaussians with its checkpoints and report takes a tenth of this disk; torch alone takes
a seventh of this memory."""
ISA_NAMES = {"x86-64-v4": "AVX-512", "x86-64-v3": "AVX2", "x86-64": "the x86-64 baseline", "native": "this processor"}


@dataclass(frozen=True)
class Extra:
    """An optional package. extra: its name in brackets for pip, empty if it belongs to none. use: what it is for."""

    package: str
    extra: str
    use: str

    @property
    def advice(self) -> str:
        """The line that installs it."""
        if not self.extra:
            return f"pip install {self.package}, the version for torch {torch.__version__}: another would replace it"
        return f"in Fieldbench's folder, pip install -e '.[{self.extra}]'"


EXTRAS = (
    Extra("viser", "web", "the viewer in a browser"),
    Extra("PyQt6", "desktop", "the viewer in a window"),
    Extra("pycolmap", "sfm", "camera poses from photos"),
    Extra("torchmetrics", "metrics", "LPIPS"),
    Extra("torchvision", "", "LPIPS, for its backbone"),
    Extra("tensorboard", "tensorboard", "train --tensorboard"),
    Extra("trimesh", "shape", "meshes"),
    Extra("libigl", "shape", "signed distances to meshes"),
    Extra("matplotlib", "plot", "plots of benchmarks"),
    Extra("OpenEXR", "exr", "EXR pictures"),
    Extra("pyarrow", "flow", "Argoverse 2 point clouds"),
    Extra("h5py", "flow", "OpenSceneFlow point clouds"),
)


def examine_environment(say: Callable[[str], None] = lambda _: None) -> list[Finding]:
    """Findings on this machine; `say` is told what is being looked at."""
    found = [check_python()]
    for subject, check in (
        ("device", check_device),
        ("processor", check_processor),
        ("memory", check_memory),
        ("disk", check_disk),
        ("kernels", lambda: check_kernels(say)),
        ("video", check_video),
    ):
        found += carried_out(subject, check)
    return found + [check_extra(extra) for extra in EXTRAS]


def check_python() -> Finding:
    """Interpreter and torch."""
    return Finding("ok", "python", f"{platform.python_version()}, torch {torch.__version__}, {platform.system()}")


def check_device() -> list[Finding]:
    """GPUs that torch sees, or why it sees none."""
    if torch.cuda.is_available():
        names = []
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            names.append(f"{properties.name} with {properties.total_memory / GIB:.0f} GiB")
        text = f"CUDA {torch.version.cuda}: {', '.join(names)}"
        if any(Path(kernels.__file__).parent.glob("*/gpu.py")):
            return [Finding("ok", "device", text)]
        return [Finding("note", "device", text, "kernels for it are to come: --device cpu is faster until then")]
    if torch.version.cuda is None and shutil.which("nvidia-smi"):
        text = "this machine seems to have an NVIDIA GPU, but torch is built for the CPU alone"
        return [Finding("note", "device", text, "to use it, install a CUDA build of torch (pytorch.org says how)")]
    if torch.version.cuda is not None:
        text = f"torch is built for CUDA {torch.version.cuda} but sees no GPU, so the CPU trains"
        return [Finding("note", "device", text, "if there is one, check that nvidia-smi runs, and its driver's age")]
    return [Finding("ok", "device", "the CPU (torch is built for it alone)")]


def check_processor() -> list[Finding]:
    """Cores, threads, and what a container grants."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads, granted = torch.get_num_threads(), granted_cores()
    text = f"{cores} cores, {threads} threads"
    if granted is not None and threads > granted + 1:
        advice = f"set OMP_NUM_THREADS={max(1, round(granted))}, or the threads wait for each other"
        return [Finding("warning", "processor", f"{text}, but the container grants {granted:.1f} cores", advice)]
    return [Finding("ok", "processor", text)]


def granted_cores() -> float | None:
    """The container's limit of processor time in cores; None without one."""
    with contextlib.suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return int(quota) / int(period)
    return None


def check_memory() -> list[Finding]:
    """Free memory."""
    free = free_memory()
    if free is None:
        return []
    if free < LITTLE_MEMORY:
        advice = "close other programs, or train with a smaller --max-size and --max-gaussians"
        return [Finding("warning", "memory", f"only {free / GIB:.1f} GiB free", advice)]
    return [Finding("ok", "memory", f"{free / GIB:.1f} GiB free")]


def free_memory() -> int | None:
    """Bytes that may still be used: of the machine, or of the container if that is less; None where unknown."""
    found = []
    with contextlib.suppress(OSError, ValueError, KeyError):
        entries = dict(line.split(":") for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
        found.append(int(entries["MemAvailable"].split()[0]) * 1024)
    with contextlib.suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        most = int((group / "memory.max").read_text(encoding="ascii"))
        used = int((group / "memory.current").read_text(encoding="ascii"))
        cached = dict(line.split() for line in (group / "memory.stat").read_text(encoding="ascii").splitlines())
        found.append(most - used + int(cached.get("inactive_file", 0)))  # which gives way when it is needed
    return min(found, default=None)


def check_disk(folder: Path = Path("runs")) -> list[Finding]:
    """Room and permission where runs go."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    text = f"{free / GIB:.1f} GiB free where runs go ({folder}/)"
    try:
        with tempfile.TemporaryFile(dir=place):  # permissions alone do not tell of read-only disks, or of root
            pass
    except OSError as error:
        advice = "start from a folder of yours, or give --out"
        return [Finding("warning", "disk", f"{folder}/ cannot be written here ({error.strerror})", advice)]
    if free < LITTLE_DISK:
        return [Finding("warning", "disk", text, "free some, or give --out on another disk")]
    return [Finding("ok", "disk", text)]


def check_kernels(say: Callable[[str], None] = lambda _: None) -> list[Finding]:
    """The compiler, and whether every kernel builds and loads."""
    compiler = native.find_compiler()
    if compiler is None:
        text = "no C++ compiler found, so the slow reference code would run"
        return [Finding("warning", "kernels", text, "pip install ziglang, or install the system's g++ or clang++")]
    name = "ziglang" if "ziglang" in compiler else Path(compiler[0]).name
    sources = sorted(Path(kernels.__file__).parent.glob("*/*.cpp"))
    for source in sources:
        say(f"building the kernel {source.parent.name}")
        try:
            ctypes.CDLL(str(native.build(source)))
        except (RuntimeError, OSError) as error:
            reason = " ".join(str(error).split())
            advice = "try another compiler (pip install ziglang when the system's is too old or broken)"
            if isinstance(error, OSError):
                advice = "kernels are kept in the user's cache folder: it must be writable, not full, and not noexec"
            text = f"{source.parent.name} does not build with {name}: {reason[:400]}"
            return [Finding("problem", "kernels", text, advice)]
    isa = ISA_NAMES[native.instruction_set()]
    return [Finding("ok", "kernels", f"all {len(sources)} build with {name} for {isa}, and load")]


def check_video() -> list[Finding]:
    """The ffmpeg that writes videos."""
    advice = "render to a folder of PNG frames, or pip install --force-reinstall imageio-ffmpeg"
    if importlib.util.find_spec("imageio_ffmpeg") is None:
        return [Finding("note", "video", "imageio-ffmpeg is not installed: no MP4", advice)]
    import imageio_ffmpeg

    try:
        return [Finding("ok", "video", f"MP4 by {Path(imageio_ffmpeg.get_ffmpeg_exe()).name}")]
    except RuntimeError as error:
        return [Finding("note", "video", f"no ffmpeg for MP4 ({error})", advice)]


def check_extra(extra: Extra) -> Finding:
    """An optional package and its version."""
    try:
        return Finding("ok", "optional", f"{extra.package} {importlib.metadata.version(extra.package)} ({extra.use})")
    except importlib.metadata.PackageNotFoundError:
        return Finding("note", "optional", f"{extra.package} is not installed ({extra.use})", extra.advice)

"""What a measured figure names: the processor and the commit of this checkout."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
from pathlib import Path


def processor_name() -> str:
    """The processor's model, as the system tells it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def machine_name() -> str:
    """Processor and number of cores, for the record beside a measurement."""
    return f"{processor_name()}, {os.cpu_count()} cores"


def source_commit() -> str | None:
    """Commit of the program's own checkout, with "+changes" when files differ from it; None outside of git."""
    root = Path(__file__).parent.parent

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, timeout=10, check=True)
        return done.stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != root.resolve():
            return None  # installed inside somebody else's checkout
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None

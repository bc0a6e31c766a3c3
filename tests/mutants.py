"""python -m tests.mutants: plant small faults in the kernels, one at a time, and show that the tests catch every one.

Each fault is a change of text in one file of a copy of the source. The tests named beside it must pass without it and
fail with it (a crash or a hang counts as caught); a fault that survives means that a test is missing: exit code 1.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import tyro

from tests.faults import FAULTS, Fault

ROOT = Path(__file__).parents[1]
SECONDS = 300


@dataclass(frozen=True)
class Options:
    """Plant faults in the kernels and run the tests that must catch them."""

    only: str = ""
    """Only the faults whose file or description holds this text."""
    jobs: int = os.cpu_count() or 1
    """Faults at a time."""


def run_tests(copy: Path, fault: Fault) -> int:
    """Exit code of pytest over the fault's tests in `copy`; 124 when they do not end."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *fault.tests]
    # Built kernels are cached by their content, in one folder for all copies.
    environment = {**os.environ, "HOME": str(copy.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        return subprocess.run(command, cwd=copy, env=environment, capture_output=True, timeout=SECONDS).returncode
    except subprocess.TimeoutExpired:
        return 124


def make_copy(folder: Path, name: str) -> Path:
    """A copy of what the kernels' tests need."""
    copy = folder / name
    copy.mkdir()
    ignore = shutil.ignore_patterns("__pycache__")
    for part in ("kernels", "render", "tests"):
        shutil.copytree(ROOT / part, copy / part, ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", copy)
    return copy


def plant(folder: Path, number: int, fault: Fault) -> str:
    """Plant one fault and run its tests: "caught", "SURVIVED", or what makes the fault itself invalid."""
    text = (ROOT / fault.file).read_text()
    if text.count(fault.old) != 1:
        return f"INVALID: {fault.old!r} occurs {text.count(fault.old)} times in {fault.file}, expected once"
    copy = make_copy(folder, f"fault{number}")
    (copy / fault.file).write_text(text.replace(fault.old, fault.new))
    code = run_tests(copy, fault)
    shutil.rmtree(copy)
    if code == 0:
        return "SURVIVED"
    # 1: tests failed; negative: killed by a signal; 124: hung. Others are pytest's own errors.
    return "caught" if code in (1, 124) or code < 0 else f"INVALID: pytest ended with {code}"


def main(options: Options) -> None:
    """Check that the tests pass as they are, then plant the faults."""
    faults = [f for f in FAULTS if options.only in f.file or options.only in f.what]
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(options.jobs) as pool:
        folder = Path(name)
        sound = make_copy(folder, "sound")
        distinct = list({fault.tests: fault for fault in faults}.values())
        for fault, code in zip(distinct, pool.map(lambda f: run_tests(sound, f), distinct), strict=True):
            if code != 0:
                raise SystemExit(f"{' '.join(fault.tests)} fails without any fault (pytest ended with {code})")
        results = pool.map(lambda pair: plant(folder, *pair), enumerate(faults))
        missed = 0
        for fault, result in zip(faults, results, strict=True):
            missed += result != "caught"
            print(f"{result}: {fault.file}: {fault.what}", flush=True)
    print(f"{len(faults) - missed} of {len(faults)} faults caught")
    if missed:
        raise SystemExit(1)


if __name__ == "__main__":
    main(tyro.cli(Options))

"""python -m kernels.compile: compile every Triton kernel ahead of time, without a GPU, and print what each one needs.

The operators' `configurations()` (in their `cases.py`) are run under the interpreter once, recording every launch; each
distinct one is then compiled for every architecture with the signature and the constants it was launched with. The exit
code is 1 when a kernel exceeds the shared memory of an architecture, or spills registers beyond `MOST_SPILLED`.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import tyro

SHARED_LIMIT = {80: 166_912, 89: 101_376, 90: 232_448, 100: 232_448}
"""Bytes of shared memory that one block may use, by architecture (CUDA programming guide, compute capabilities)."""
MOST_SPILLED = {80: 64, 89: 64, 90: 0, 100: 64}
"""Bytes of stack a thread may use; a spill of a few registers outside the inner loop costs nothing that shows."""


@dataclass(frozen=True)
class Options:
    """Compile the kernels of all operators."""

    op: tuple[str, ...] = ()
    """Only these operators; all when left out."""
    arch: tuple[int, ...] = tuple(SHARED_LIMIT)
    """Compute capabilities times ten."""
    write: Path | None = None
    """Folder for the Markdown table."""


class Resources(NamedTuple):
    """What one compiled kernel needs: registers and bytes of stack a thread, bytes of shared memory a block."""

    operator: str
    kernel: str
    constants: str
    arch: int
    registers: int
    stack: int
    shared: int

    def problem(self) -> str | None:
        """Why this kernel may not ship, or None."""
        if self.registers < 8:
            return f"{self.registers} registers: the compiler made nothing of it"
        if self.shared > SHARED_LIMIT[self.arch]:
            return f"{self.shared} bytes of shared memory, sm_{self.arch} has {SHARED_LIMIT[self.arch]}"
        if self.stack > MOST_SPILLED[self.arch]:
            return f"{self.stack} bytes a thread are spilled, at most {MOST_SPILLED[self.arch]} are allowed"
        return None


def operators() -> list[str]:
    """Names of the operators that have a Triton version."""
    return sorted(path.parent.name for path in Path(__file__).parent.glob("*/gpu.py"))


def record(names: Iterable[str]) -> list[dict[str, Any]]:
    """The distinct launches of the operators' configurations; must run with TRITON_INTERPRET=1."""
    from kernels.launch import recording

    with recording() as launches:
        for name in names:
            for run in importlib.import_module(f"kernels.{name}.cases").configurations():
                run()
    return [launch._asdict() for launch in dict.fromkeys(launches)]


def record_apart(names: list[str]) -> list[dict[str, Any]]:
    """`record` in a process of its own, since the interpreter is chosen when Triton functions are defined."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "launches.json"
        program = "import json, sys; from kernels.compile import record; "
        program += "json.dump(record(sys.argv[2:]), open(sys.argv[1], 'w'))"
        environment = {**os.environ, "TRITON_INTERPRET": "1"}
        command = [sys.executable, "-c", program, str(target), *names]
        subprocess.run(command, check=True, env=environment, cwd=Path(__file__).parents[1])
        return json.loads(target.read_text())


def compile_one(launch: dict[str, Any], arch: int) -> Resources:
    """Compile one launch for one architecture."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kernel = getattr(importlib.import_module(launch["module"]), launch["kernel"])
    signature, constants = dict(launch["signature"]), dict(launch["constants"])
    names = list(kernel.arg_names)
    signature |= {name: "constexpr" for name in constants}
    source = ASTSource(
        fn=kernel,
        signature={name: signature[name] for name in names},
        constexprs={(names.index(name),): value for name, value in constants.items()},
        # torch allocates on such boundaries
        attrs={(names.index(n),): [["tt.divisibility", 16]] for n, t in launch["signature"] if t.startswith("*")},
    )
    options = {"num_warps": launch["num_warps"], "num_stages": launch["num_stages"]}
    compiled = triton.compile(source, target=GPUTarget("cuda", arch, 32), options=options)
    registers, stack = resource_usage(compiled.asm["cubin"])
    absent = [f"no {name}" for name, value in constants.items() if value is None]
    given = [f"{name}={value}" for name, value in constants.items() if value is not None]
    words = ", ".join([*given, *absent, f"warps={launch['num_warps']}"])
    operator = launch["module"].split(".")[1]
    return Resources(operator, launch["kernel"], words, arch, registers, stack, compiled.metadata.shared)


def resource_usage(cubin: bytes) -> tuple[int, int]:
    """Registers and stack bytes a thread, as Triton's own cuobjdump reads them from the binary."""
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [str(tool), "--dump-resource-usage", file.name]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+)", text)
    if found is None:
        raise RuntimeError(f"cuobjdump printed no registers:\n{text}")
    return int(found[1]), int(found[2])


def compile_all(names: list[str], archs: tuple[int, ...]) -> list[Resources]:
    """Compile all launches of the operators on all cores."""
    launches = record_apart(names)
    jobs = [(launch, arch) for launch in launches for arch in archs]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        return list(pool.map(compile_one, *zip(*jobs, strict=True), chunksize=4)) if jobs else []


def markdown(rows: list[Resources], archs: tuple[int, ...]) -> str:
    """One line a kernel and configuration; registers / stack bytes / shared bytes by architecture."""
    import triton

    lines = [
        f"Triton {triton.__version__}, compiled without a GPU. Each cell: registers a thread / "
        "bytes spilled a thread / bytes of shared memory a block.",
        "",
        "| operator | kernel | configuration | " + " | ".join(f"sm_{a}" for a in archs) + " |",
        "|---|---|---|" + "---|" * len(archs),
    ]
    by_kernel: dict[tuple[str, str, str], dict[int, Resources]] = {}
    for row in rows:
        by_kernel.setdefault((row.operator, row.kernel, row.constants), {})[row.arch] = row
    for key, found in by_kernel.items():
        cells = [f"{found[a].registers} / {found[a].stack} / {found[a].shared}" for a in archs]
        lines.append("| " + " | ".join([*key, *cells]) + " |")
    return "\n".join(lines) + "\n"


def main(options: Options) -> None:
    """Compile, print the table, and fail when something may not ship."""
    os.environ.pop("TRITON_INTERPRET", None)
    rows = compile_all(list(options.op) or operators(), options.arch)
    table = markdown(rows, options.arch)
    print(table)
    if options.write:
        options.write.mkdir(parents=True, exist_ok=True)
        (options.write / "kernels-resources.md").write_text(table)
    problems = [(row, problem) for row in rows if (problem := row.problem())]
    for row, problem in problems:
        print(f"{row.operator}.{row.kernel} ({row.constants}) on sm_{row.arch}: {problem}", file=sys.stderr)
    if problems:
        raise SystemExit(1)


if __name__ == "__main__":
    main(tyro.cli(Options))

"""python -m kernels.bench: check every operator against its reference, then time it beside the machine's limits.

Each operator says in its `work.py` what is timed and the least that any implementation must do (bytes, operations,
exponentials, random reads, scattered additions). The rates of all these are measured first, on the same machine in
the same run; the limit of a time is the slowest of them. Beside it stands the best formulation in torch that we could
write, which must give the same outputs. Written as JSON and Markdown; `--peer` adds other projects' kernels.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from torch import Tensor

from kernels.peak import Peak, measure, time_seconds
from kernels.provenance import processor_name, source_commit
from kernels.work import Floor, Work

DOCS = Path(__file__).parents[1] / "docs" / "benchmarks"
Peer = Literal["gsplat", "nerfacc"]


@dataclass(frozen=True)
class Options:
    """Check the kernels, then benchmark."""

    op: tuple[str, ...] = ()
    """Only these operators; all when left out."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where to measure."""
    check: bool = True
    """Run the correctness tests first; figures without them mean nothing."""
    peer: tuple[Peer, ...] = ()
    """Other projects' kernels to run on the same inputs; one that is not installed is left out, with a note."""
    garden: Path | None = None
    """gsplat's test_garden.npz, the scene of `--peer gsplat`."""
    repeats: int = 15
    """Timed calls; the median counts."""
    write: Path | None = DOCS
    """Folder for the JSON and the Markdown table."""


@dataclass(frozen=True)
class Timing:
    """Milliseconds (median), the limit in milliseconds and what sets it, and torch's milliseconds if it was timed."""

    ms: float
    limit_ms: float
    bound: str
    plain_ms: float | None

    def cells(self) -> list[str]:
        """Time, multiple of the limit, and how many times faster than torch."""
        ratio = "" if self.plain_ms is None else f"{self.plain_ms / self.ms:.1f}"
        return [f"{self.ms:.2f}", f"{self.ms / self.limit_ms:.1f} ({self.bound})", ratio]


@dataclass(frozen=True)
class Row:
    """One piece of work; throughput in millions of `unit` a second, forward."""

    operator: str
    name: str
    forward: Timing
    backward: Timing | None
    throughput: float
    unit: str


def operators() -> list[str]:
    """Names of the operators that state work to be timed."""
    return sorted(path.parent.name for path in Path(__file__).parent.glob("*/work.py"))


def flat(outputs: Any) -> list[Tensor]:
    """The floating tensors among outputs."""
    found = outputs if isinstance(outputs, tuple) else (outputs,)
    return [t for t in found if isinstance(t, Tensor) and t.is_floating_point()]


class Trial:
    """One way to do a piece of work (the operator, or torch), ready to be timed forward and backward."""

    def __init__(self, work: Work, function: Any) -> None:
        self.leaves = {k: v.detach().clone().requires_grad_(k in work.differentiable) for k, v in work.inputs.items()}
        self.function, self.wanted = function, [self.leaves[k] for k in work.differentiable]

    def forward(self) -> list[Tensor]:
        """Run; as in training, the graph is built where something is differentiable."""
        return flat(self.function(**self.leaves))

    def prepare_backward(self) -> None:
        """Keep one graph with random incoming gradients."""
        self.outputs = [o for o in self.forward() if o.requires_grad]
        generator = torch.Generator().manual_seed(1)
        self.incoming = [torch.randn(o.shape, generator=generator).to(o) for o in self.outputs]

    def backward(self) -> tuple[Tensor, ...]:
        """All gradients."""
        return torch.autograd.grad(self.outputs, self.wanted, self.incoming, retain_graph=True, allow_unused=True)


def assert_agree(work: Work, ours: Any, theirs: Any, what: str, most: float) -> None:
    """Both ways must give the same: the error's norm stays below the part `most` of the value's.

    This is not the check of the kernels, only that both do the same work. Gradients may differ by more: one ReLU of a
    million on the other side of 0 shows.
    """
    for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        if a is None or b is None:
            continue
        a, b = a.detach().double(), b.detach().double()
        error, size = float((a - b).norm()), float(b.norm())
        if not error <= most * size + 1e-12:
            raise SystemExit(f"{work.operator} {work.name}: {what} {i} differs from torch's by {error / size:.1e}")


def time_slow(function: Callable[[], object], device: torch.device) -> float:
    """Median seconds of five calls after one; of that one alone when it takes longer than a second."""
    once = time_seconds(function, device, 1, warm_up=0)
    return once if once > 1 else time_seconds(function, device, 5, warm_up=0)


def time_work(work: Work, peak: Peak, device: torch.device, repeats: int) -> Row:
    """Check one piece of work against torch's formulation and time both."""
    ours = Trial(work, work.run)
    theirs = None if work.plain is None else Trial(work, work.plain)
    if theirs is not None:
        assert_agree(work, ours.forward(), theirs.forward(), "output", 1e-3)

    def timing(name: str, floor: Floor) -> Timing:
        seconds, bound = peak.seconds(floor)
        ms = 1e3 * time_seconds(getattr(ours, name), device, repeats)
        plain = None if theirs is None else 1e3 * time_slow(getattr(theirs, name), device)
        return Timing(ms, 1e3 * seconds, bound, plain)

    forward = timing("forward", work.forward)
    backward = None
    if work.backward is not None:
        ours.prepare_backward()
        if theirs is not None:
            theirs.prepare_backward()
            assert_agree(work, ours.backward(), theirs.backward(), "gradient", 1e-2)
        backward = timing("backward", work.backward)
    return Row(work.operator, work.name, forward, backward, 1e-3 * work.items / forward.ms, work.unit)


def check(names: tuple[str, ...]) -> int:
    """Run the tests of the kernels, or of some operators by name, over all shared cases; the exit code is pytest's."""
    folder = Path(__file__).parents[1] / "tests" / "kernels"
    files = [str(folder / f"test_{name}.py") for name in names] or [str(folder)]
    return subprocess.run([sys.executable, "-m", "pytest", "-q", *files], check=False).returncode


def check_if_asked(asked: bool, names: tuple[str, ...] = ()) -> None:
    """Run the check unless told not to; SystemExit when it fails, since figures without it mean nothing."""
    if asked and check(names) != 0:
        raise SystemExit("the check failed: no figures")


def publish(folder: Path | None, name: str, table: str, found: Mapping[str, Any]) -> None:
    """Print a table, and keep it with its figures as NAME.md and NAME.json where that was asked for."""
    print(table)
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.md").write_text(table)
        (folder / f"{name}.json").write_text(json.dumps({"machine": machine(), **found}, indent=1))


def machine(device: str = "cpu") -> str:
    """Processor or GPU, threads, versions and commit, in words."""
    capability = torch.backends.cpu.get_cpu_capability()
    words = f"{processor_name()}, {capability}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    if device == "cuda":
        import triton

        words = f"{torch.cuda.get_device_name()}, triton {triton.__version__}, {words}"
    return words


def markdown(rows: list[Row], peak: Peak, device: str) -> str:
    """The table, with the machine and its measured limits above it."""
    limits = (
        f"{peak.bytes / 1e9:.0f} GB/s copied, {peak.flops / 1e9:.0f} Gflop/s in multiply-adds, "
        f"{peak.tensor_flops / 1e9:.0f} in matrix products, {peak.exps / 1e9:.1f} G exponentials/s, "
        f"{peak.gathers / 1e9:.2f} G random reads/s, {peak.atomics / 1e9:.2f} G scattered additions/s"
    )
    lines = [
        f"{machine(device)}; commit {source_commit()}. Limits measured in this run: {limits}.",
        "Medians in milliseconds; x limit: how many times the limit (and what sets it); x torch: how many times faster "
        "than the best formulation in torch, which gave the same outputs and gradients.",
        "",
        "| operator | work | forward | x limit | x torch | backward | x limit | x torch | throughput |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        backward = ["", "", ""] if row.backward is None else row.backward.cells()
        cells = [row.operator, row.name, *row.forward.cells(), *backward, f"{row.throughput:.1f} M {row.unit}/s"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main(options: Options) -> None:
    """Check, measure the limits, then time every operator and the peers."""
    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("--device cuda: torch finds no CUDA device here; use --device cpu")
    if "gsplat" in options.peer and options.device == "cpu":
        raise SystemExit("--peer gsplat runs on CUDA alone, on pictures that would take a CPU hours; use --device cuda")
    if "gsplat" in options.peer and options.garden is None:
        raise SystemExit("--peer gsplat needs --garden: the file assets/test_garden.npz of gsplat's repository")
    for name in options.op:
        if name not in operators():
            raise SystemExit(f"--op {name}: no such operator; there are {', '.join(operators())}")
    check_if_asked(options.check, options.op)
    device = torch.device(options.device)
    peak = measure(device)
    rows = []
    for name in options.op or operators():
        for work in importlib.import_module(f"kernels.{name}.work").works(device):
            rows.append(time_work(work, peak, device, options.repeats))
            print(" | ".join([name, work.name, *rows[-1].forward.cells()]), file=sys.stderr)
    table = markdown(rows, peak, options.device)
    found: dict[str, Any] = {"commit": source_commit(), "limits": peak._asdict(), "rows": [asdict(row) for row in rows]}
    if "gsplat" in options.peer:
        from kernels import peer_gsplat

        assert options.garden is not None
        compared = peer_gsplat.compare(options.garden, device, options.repeats)
        table += peer_gsplat.markdown(compared)
        found["gsplat"] = [row._asdict() for row in compared]
    if "nerfacc" in options.peer:
        from kernels import peer_nerfacc

        step = peer_nerfacc.compare(device, options.repeats)
        table += peer_nerfacc.markdown(step)
        found["nerfacc"] = step._asdict()
    publish(options.write, f"kernels-{options.device}", table, found)


if __name__ == "__main__":
    main(tyro.cli(Options))

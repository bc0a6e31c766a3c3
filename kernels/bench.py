"""python -m kernels.bench: check every operator against its reference, then time it beside the machine's limits.

One table: milliseconds forward and backward, the fraction of the measured limit that the floor (the bytes that must
move, the operations that must be done) implies, and for blending the Gaussian-pixel pairs a second. The floors are
stated beside the operators below. Written as JSON and Markdown to docs/benchmarks/ with `--write`.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from torch import Tensor

from kernels import peak
from kernels.blend import blend
from kernels.harmonics import harmonics
from kernels.project import Lens, project
from kernels.ssim import ssim
from kernels.tile import TILE, tile

FORWARD_OPERATIONS, BACKWARD_OPERATIONS = 29, 78
"""Floating-point operations of one Gaussian-pixel pair that is evaluated, D = 3, counted in cpu.cpp: forward 4 for the
exponent, 16 for the exponential, 3 for transmittance, 6 for colours; backward the replay's 23 and 55 for gradients."""


@dataclass(frozen=True)
class Options:
    """Check the kernels, then benchmark."""

    gaussians: int = 50_000
    """Gaussians in the scene."""
    width: int = 800
    """Picture width in pixels."""
    height: int = 600
    """Picture height in pixels."""
    repeats: int = 15
    """Timed calls; the median counts."""
    check_first: bool = True
    """Run the correctness tests before; figures without it mean nothing."""
    write: Path | None = None
    """Folder for the JSON and the Markdown table."""


@dataclass(frozen=True)
class Row:
    """One line of the table; times in milliseconds (median of repeats), limit: fraction of the measured limit."""

    operator: str
    forward_ms: float
    backward_ms: float | None
    floor: str
    forward_limit: float
    backward_limit: float | None
    note: str = ""


@dataclass(frozen=True)
class Scene:
    """The benchmark scene: Gaussians in a box before the camera, seeded; median splat about 5 pixels in radius."""

    parameters: tuple[Tensor, Tensor, Tensor, Tensor]
    dc: Tensor
    rest: Tensor
    lens: Lens
    pose: Tensor


def make_scene(gaussians: int, width: int, height: int) -> Scene:
    """`gaussians` random Gaussians seen at width x height, seed 0."""
    g = torch.Generator().manual_seed(0)
    means = (torch.rand(gaussians, 3, generator=g) - torch.tensor([0.5, 0.5, -1.0])) * torch.tensor([4.0, 3.0, 3.0])
    quaternions = torch.randn(gaussians, 4, generator=g)
    log_scales = 0.5 * torch.randn(gaussians, 3, generator=g) - 4.1
    logits = torch.randn(gaussians, generator=g)
    dc = torch.rand(gaussians, 3, generator=g)
    rest = 0.1 * torch.randn(gaussians, 15, 3, generator=g)
    lens = Lens(0.875 * width, 0.875 * width, width / 2, height / 2, width, height)
    return Scene((means, quaternions, log_scales, logits), dc, rest, lens, torch.eye(4))


def median_ms(run: Callable[[], object], repeats: int) -> float:
    """Median time of `repeats` calls after two for warming up."""
    times = []
    for i in range(repeats + 2):
        start = time.perf_counter()
        run()
        if i >= 2:
            times.append(1e3 * (time.perf_counter() - start))
    return sorted(times)[len(times) // 2]


def time_both(function: Callable[..., Tensor], inputs: list[Tensor], repeats: int) -> tuple[float, float]:
    """Milliseconds forward, and backward with a random incoming gradient."""
    leaves = [t.detach().clone().requires_grad_(t.is_floating_point()) for t in inputs]
    output = function(*leaves)
    incoming = torch.randn(output.shape, generator=torch.Generator().manual_seed(1))
    wanted = [t for t in leaves if t.requires_grad]
    forward = median_ms(lambda: function(*leaves), repeats)
    backward = median_ms(
        lambda: torch.autograd.grad(output, wanted, incoming, retain_graph=True, allow_unused=True), repeats
    )
    return forward, backward


def bench_blend(scene: Scene, limits: peak.Peak, repeats: int) -> Row:
    """Blending three channels; the floor is arithmetic."""
    lens = scene.lens
    with torch.no_grad():
        projected = project(*scene.parameters, scene.pose, lens)
        colours = harmonics(scene.dc, scene.rest, scene.parameters[0], 3)
    tiles = tile(projected, lens.width, lens.height)

    def run(centres: Tensor, factors: Tensor, opacities: Tensor, features: Tensor, background: Tensor) -> Tensor:
        splats = projected._replace(centres=centres, factors=factors, opacities=opacities)
        return blend(splats, features, tiles, lens.width, lens.height, background).image

    inputs = [projected.centres, projected.factors, projected.opacities, colours, torch.zeros(3)]
    forward, backward = time_both(run, inputs, repeats)
    pairs = len(tiles.gaussians) * TILE * TILE
    note = (
        f"{len(tiles.gaussians)} instances, {pairs / (lens.width * lens.height):.0f} pairs a pixel, "
        f"{pairs / forward / 1e6:.2f} G pairs/s forward, {pairs / backward / 1e6:.2f} G pairs/s backward"
    )
    return Row(
        "blend",
        forward,
        backward,
        f"{FORWARD_OPERATIONS} and {BACKWARD_OPERATIONS} operations a pair",
        pairs * FORWARD_OPERATIONS / (forward * 1e-3) / limits.flops,
        pairs * BACKWARD_OPERATIONS / (backward * 1e-3) / limits.flops,
        note,
    )


def bytes_row(
    name: str, times: tuple[float, float | None], bytes_moved: tuple[float, float], limits: peak.Peak, unit: str
) -> Row:
    """A row whose floor is memory traffic."""
    forward, backward = times
    return Row(
        name,
        forward,
        backward,
        f"{bytes_moved[0] / 1e6:.1f} and {bytes_moved[1] / 1e6:.1f} MB {unit}".strip(),
        bytes_moved[0] / (forward * 1e-3) / limits.bytes,
        None if backward is None else bytes_moved[1] / (backward * 1e-3) / limits.bytes,
    )


def bench(gaussians: int, width: int, height: int, repeats: int) -> tuple[list[Row], peak.Peak]:
    """All rows for one scene size."""
    limits = peak.measure()
    scene, n = make_scene(gaussians, width, height), gaussians
    projecting = time_both(
        lambda m, q, s, o: torch.cat(
            [t.reshape(n, -1) for t in project(m, q, s, o, scene.pose, scene.lens)[:4]], dim=1
        ),
        list(scene.parameters),
        repeats,
    )
    shading = time_both(
        lambda dc, rest, d: harmonics(dc, rest, d, 3), [scene.dc, scene.rest, scene.parameters[0]], repeats
    )
    with torch.no_grad():
        projected = project(*scene.parameters, scene.pose, scene.lens)
    instances = len(tile(projected, width, height).gaussians)
    tiling = median_ms(lambda: tile(projected, width, height), repeats)
    image, target = (torch.rand(height, width, 3, generator=torch.Generator().manual_seed(s)) for s in (0, 1))
    comparing = time_both(lambda a: ssim(a, target), [image], repeats)
    pixels = width * height * 12
    rows = [
        bytes_row("project", projecting, (n * 84, n * 132), limits, "(with concatenated outputs)"),
        bytes_row("harmonics", shading, (n * 216, n * 420), limits, ""),
        bytes_row("tile", (tiling, None), (n * 32 + instances * 8, 0), limits, ""),
        bench_blend(scene, limits, repeats),
        bytes_row("ssim", comparing, (pixels * 6, pixels * 6), limits, ""),
    ]
    return rows, limits


def check() -> int:
    """Run the operators' own tests over all shared cases; the exit code is pytest's."""
    tests = Path(__file__).parents[1] / "tests" / "kernels"
    return subprocess.run([sys.executable, "-m", "pytest", "-q", str(tests)], check=False).returncode


def check_if_asked(options: Options) -> None:
    """Run the check unless told not to; SystemExit when it fails, since figures without it mean nothing."""
    if options.check_first and check() != 0:
        raise SystemExit("the check failed: no figures")


def publish(folder: Path | None, name: str, table: str, found: Mapping[str, Any]) -> None:
    """Print a table, and keep it with its figures as NAME.md and NAME.json where that was asked for."""
    print(table)
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.md").write_text(table)
        (folder / f"{name}.json").write_text(json.dumps({"machine": machine(), **found}, indent=1))


def main(options: Options) -> None:
    """Check, then benchmark every operator."""
    check_if_asked(options)
    rows, limits = bench(options.gaussians, options.width, options.height, options.repeats)
    table = markdown(rows, limits, options.gaussians, options.width, options.height)
    publish(options.write, "kernels-cpu", table, {"limits": limits._asdict(), "rows": [asdict(row) for row in rows]})


def machine() -> str:
    """Processor, threads and torch version, in words."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{model}, {capability}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def markdown(rows: list[Row], limits: peak.Peak, gaussians: int, width: int, height: int) -> str:
    """The table with a line on the machine above it."""
    lines = [
        f"{machine()}. Limits measured in this run: {limits.flops / 1e9:.0f} Gflop/s, {limits.bytes / 1e9:.1f} GB/s.",
        f"{gaussians} Gaussians, {width}x{height}, medians.",
        "",
        "| operator | forward ms | of limit | backward ms | of limit | floor | |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        backward = "" if row.backward_ms is None else f"{row.backward_ms:.1f}"
        share = "" if row.backward_limit is None else f"{row.backward_limit:.0%}"
        lines.append(
            f"| {row.operator} | {row.forward_ms:.1f} | {row.forward_limit:.0%} | {backward} | {share} "
            f"| {row.floor} | {row.note} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main(tyro.cli(Options))

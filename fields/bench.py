"""python -m fields.bench: a whole training step of splats beside the blending in it, on the kernels' benchmark scene.

The step is everything that training does: projection, tiles, harmonics, blending, loss, all gradients, Adam over every
row, and the densifier's statistics. Blending, forward and backward, is the part that cannot be avoided; the ratio of
the two says what the rest costs. Written as JSON and Markdown, in docs/benchmarks/ where nothing else is said.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from torch import Tensor

from fields.config import SplatsConfig
from fields.optimise import begin
from fields.splats import Splats
from kernels.bench import DOCS, Trial, check_if_asked, machine, publish
from kernels.blend.work import dense
from kernels.peak import time_seconds
from kernels.project import Lens
from kernels.project.work import scene
from render.camera import Camera
from scenes.scene import Pixels, View, ViewBatch

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Options:
    """Check the kernels, then time a training step and the blending in it."""

    gaussians: int = 50_000
    """Gaussians in the scene."""
    width: int = 800
    """Picture width in pixels."""
    height: int = 600
    """Picture height in pixels."""
    repeats: int = 15
    """Timed calls; the median counts."""
    check: bool = True
    """Run the correctness tests of the kernels first; figures without them mean nothing."""
    write: Path | None = DOCS
    """Folder for the JSON and the Markdown table."""


def bench_step(parameters: dict[str, Tensor], dc: Tensor, lens: Lens, repeats: int) -> float:
    """Milliseconds of a training step at step 20,000 of 30,000: all harmonics, no row edits."""
    rest = 0.1 * torch.randn(len(dc), 15, 3, generator=torch.Generator().manual_seed(3))
    tensors = {**parameters, "dc": dc, "rest": rest}
    camera = Camera(torch.eye(4), lens.fx, lens.fy, lens.cx, lens.cy, lens.width, lens.height)
    target = torch.rand(lens.height, lens.width, 3, generator=torch.Generator().manual_seed(2))
    view = View("bench", camera, lambda: Pixels(torch.zeros(lens.height, lens.width, 3, dtype=torch.uint8)))
    batch = ViewBatch(view, 0, target, torch.zeros(3))
    config = SplatsConfig(densify_every=1_000_000, reset_every=1_000_000, densify_stop=30_000)
    model = Splats(config, tensors, steps=30_000)
    optimiser = begin(model).optimiser

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        torch.stack([*model.loss(batch, 20_000).values()]).sum().backward()
        optimiser.step()
        model.after_step(20_000)

    return 1e3 * time_seconds(step, CPU, repeats)


def main(options: Options) -> None:
    """Check the kernels, then benchmark the step and the blending in it."""
    check_if_asked(options.check)
    parameters, lens = scene(options.gaussians, options.width, options.height, CPU)
    dc = torch.rand(options.gaussians, 3, generator=torch.Generator().manual_seed(4))
    work = dense(options.gaussians, options.width, options.height, 3, CPU)
    blending = Trial(work, work.run)
    blending.prepare_backward()
    blend_ms = 1e3 * sum(time_seconds(way, CPU, options.repeats) for way in (blending.forward, blending.backward))
    step_ms = bench_step(parameters, dc, lens, options.repeats)
    table = (
        f"{machine()}. {options.gaussians} Gaussians, {options.width}x{options.height}, medians.\n\n"
        "| blend forward + backward ms | training step ms | ratio |\n|---|---|---|\n"
        f"| {blend_ms:.1f} | {step_ms:.1f} | {step_ms / blend_ms:.2f} |\n"
    )
    publish(options.write, "training-step-cpu", table, {"blend_ms": blend_ms, "step_ms": step_ms})


if __name__ == "__main__":
    main(tyro.cli(Options))

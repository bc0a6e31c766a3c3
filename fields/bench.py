"""python -m fields.bench: a whole training step of splats beside the blending in it, on the kernels' benchmark scene.

The step is everything that training does: projection, tiles, harmonics, blending, loss, all gradients, Adam over every
row, and the densifier's statistics. Blending, forward and backward, is the part that cannot be avoided; the ratio of
the two says what the rest costs. Written as JSON and Markdown to docs/benchmarks/ with `--write`.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
import tyro

from fields.config import SplatsConfig
from fields.optimise import begin
from fields.splats import Splats
from kernels import peak
from kernels.bench import bench_blend, check, machine, make_scene, median_ms
from render.camera import Camera
from scenes.scene import Pixels, View, ViewBatch


def bench_step(gaussians: int, width: int, height: int, repeats: int) -> float:
    """Median milliseconds of a training step at step 20,000 of 30,000: all harmonics, no row edits."""
    scene = make_scene(gaussians, width, height)
    means, quaternions, log_scales, opacity_logits = scene.parameters
    tensors = {
        "means": means,
        "quaternions": quaternions,
        "log_scales": log_scales,
        "opacity_logits": opacity_logits,
        "dc": scene.dc,
        "rest": scene.rest,
    }
    lens = scene.lens
    camera = Camera(torch.eye(4), lens.fx, lens.fy, lens.cx, lens.cy, width, height)
    target = torch.rand(height, width, 3, generator=torch.Generator().manual_seed(2))
    view = View("bench", camera, lambda: Pixels(torch.zeros(height, width, 3, dtype=torch.uint8)))
    batch = ViewBatch(view, 0, target, torch.zeros(3))
    config = SplatsConfig(densify_every=1_000_000, reset_every=1_000_000, densify_stop=30_000)
    model = Splats(config, tensors, steps=30_000)
    optimiser = begin(model).optimiser

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        torch.stack([*model.loss(batch, 20_000).values()]).sum().backward()
        optimiser.step()
        model.after_step(20_000)

    return median_ms(step, repeats)


def main(
    gaussians: int = 50_000,
    width: int = 800,
    height: int = 600,
    repeats: int = 15,
    check_first: bool = True,
    write: Path | None = None,
) -> None:
    """Check the kernels, then benchmark.

    Args:
        gaussians: Gaussians in the scene.
        width: Picture width in pixels.
        height: Picture height in pixels.
        repeats: Timed calls; the median counts.
        check_first: Run the kernels' tests before; figures without them mean nothing.
        write: Folder for the JSON and the Markdown table.
    """
    if check_first and check() != 0:
        raise SystemExit("the check failed: no figures")
    blending = bench_blend(make_scene(gaussians, width, height), peak.measure(), repeats)
    assert blending.backward_ms is not None
    blend_ms = blending.forward_ms + blending.backward_ms
    step_ms = bench_step(gaussians, width, height, repeats)
    table = (
        f"{machine()}. {gaussians} Gaussians, {width}x{height}, medians.\n\n"
        "| blend forward + backward ms | training step ms | ratio |\n|---|---|---|\n"
        f"| {blend_ms:.1f} | {step_ms:.1f} | {step_ms / blend_ms:.2f} |\n"
    )
    print(table)
    if write:
        write.mkdir(parents=True, exist_ok=True)
        (write / "training-step-cpu.md").write_text(table)
        found = {"machine": machine(), "blend_ms": blend_ms, "step_ms": step_ms}
        (write / "training-step-cpu.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    tyro.cli(main)

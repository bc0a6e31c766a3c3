"""python -m fields.bench: a whole training step of splats beside the blending in it, on the kernels' benchmark scene.

The step is everything that training does: projection, tiles, harmonics, blending, loss, all gradients, Adam over every
row, and the densifier's statistics. Blending, forward and backward, is the part that cannot be avoided; the ratio of
the two says what the rest costs. Written as JSON and Markdown to docs/benchmarks/ with `--write`.
"""

from __future__ import annotations

import torch
import tyro

from fields.config import SplatsConfig
from fields.optimise import begin
from fields.splats import Splats
from kernels import peak
from kernels.bench import Options, bench_blend, check_if_asked, machine, make_scene, median_ms, publish
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


def main(options: Options) -> None:
    """Check the kernels, then benchmark the step and the blending in it."""
    check_if_asked(options)
    size = options.gaussians, options.width, options.height
    blending = bench_blend(make_scene(*size), peak.measure(), options.repeats)
    assert blending.backward_ms is not None
    blend_ms = blending.forward_ms + blending.backward_ms
    step_ms = bench_step(*size, options.repeats)
    table = (
        f"{machine()}. {options.gaussians} Gaussians, {options.width}x{options.height}, medians.\n\n"
        "| blend forward + backward ms | training step ms | ratio |\n|---|---|---|\n"
        f"| {blend_ms:.1f} | {step_ms:.1f} | {step_ms / blend_ms:.2f} |\n"
    )
    publish(options.write, "training-step-cpu", table, {"blend_ms": blend_ms, "step_ms": step_ms})


if __name__ == "__main__":
    main(tyro.cli(Options))

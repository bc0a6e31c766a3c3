"""How much memory training a scene will take, from the sizes of the tensors that it will make."""

from __future__ import annotations

import torch

from fields.config import SplatsConfig
from fields.splats import ROWS, Splats
from scenes.doctor import Finding
from scenes.scene import Scene

MIB = 2**20
PROGRAM = 350 * MIB
"""torch and the rest, before the first picture: measured."""
COPIES = 4
"""Of a parameter: itself, its gradient, and Adam's two moments."""
SCREEN_BYTES = 500
"""A Gaussian's share of a step: its projection, tile lists and their gradients; measured at 300,000 (100 to 400)."""
PIXEL_BYTES = 150
"""A pixel's share of a step: picture, truth, SSIM and their gradients; measured 126."""
PICTURE_BUDGET = 1 << 30
"""Bytes of decoded pictures that a scene keeps (`open_scene`'s memory_budget)."""
MOST_OF_FREE = 0.8
"""Share of the free memory above which other programs, or the forecast's own error, bring a run down."""


def gaussian_bytes(degree: int) -> int:
    """Bytes that one Gaussian takes while it is trained, apart from what a step makes of it."""
    shapes = {"means": 3, "quaternions": 4, "log_scales": 3, "opacity_logits": 0, "dc": 3}
    tensors = {name: torch.zeros(1, size) if size else torch.zeros(1) for name, size in shapes.items()}
    model = Splats(SplatsConfig(sh_degree=degree), {**tensors, "rest": torch.zeros(1, (degree + 1) ** 2 - 1, 3)})
    parameters = sum(getattr(model, name).nbytes for name in ROWS)
    return COPIES * parameters + model.gradient_sum.nbytes + model.views_seen.nbytes


def picture_bytes(scene: Scene) -> int:
    """Bytes of all decoded pictures, alpha counted where the first view has it."""
    pixels = scene.views[0].load()
    planes = 3 + (pixels.alpha is not None) + (pixels.mask is not None)
    return planes * sum(view.camera.width * view.camera.height for view in scene.views)


def forecast(scene: Scene, config: SplatsConfig, free: int | None) -> list[Finding]:
    """What training `splats` will need against the `free` bytes (None: unknown)."""
    pictures = picture_bytes(scene)
    kept = min(pictures, PICTURE_BUDGET)
    rows = config.max_gaussians * (gaussian_bytes(config.sh_degree) + SCREEN_BYTES)
    step = PIXEL_BYTES * max(view.camera.width * view.camera.height for view in scene.views)
    total = PROGRAM + kept + rows + step
    text = (
        f"about {amount(total)} to train splats: {amount(kept)} pictures, {amount(rows)} for "
        f"{config.max_gaussians:,} Gaussians, {amount(step)} a step, {amount(PROGRAM)} program"
    )
    found = []
    if free is not None and total > MOST_OF_FREE * free:
        level = "problem" if total > free else "warning"
        advice = "train with a smaller --max-size or --max-gaussians, or close other programs"
        found.append(Finding(level, "memory", f"{text}; {amount(free)} are free", advice))
    if pictures > PICTURE_BUDGET:
        more = f"the decoded pictures take {amount(pictures)}, of which {amount(PICTURE_BUDGET)} are kept"
        advice = "the others are read again each time they are needed; a smaller --max-size avoids it"
        found.append(Finding("note", "memory", more, advice))
    return found or [Finding("ok", "memory", text)]


def amount(size: float) -> str:
    """Bytes in words."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / MIB:.0f} MiB"

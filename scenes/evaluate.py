"""Scoring a model on the held-out views of its split: PSNR, SSIM, LPIPS, over whole pictures and the object.

Both pictures lie on the scene's background (a "random" one counts as black). The masked forms are over the
pixels that count and that the object covers: mask above one half and alpha above one half, where a view has
either. PSNR averages over those pixels; SSIM and LPIPS are taken on their tight bounding box, as in the
sparse-view literature. The unmasked forms take every pixel, so that they compare with published figures. Means
are over views, each view weighing the same.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor

from render.frame import Renderable
from render.metrics import LpipsBackbone, bounding_box, open_lpips, psnr, ssim
from scenes.batches import composite
from scenes.scene import Background, Pixels, Scene, View
from scenes.whole_file import write_whole

BACKGROUND_SRGB: Mapping[Background, float] = {"white": 1.0, "black": 0.0, "random": 0.0}


@dataclass(frozen=True)
class ViewScore:
    """Scores of one view; the masked ones are None for a view without mask and alpha, or with empty ones."""

    name: str
    psnr: float
    ssim: float
    lpips: float | None = None
    psnr_masked: float | None = None
    ssim_masked: float | None = None
    lpips_masked: float | None = None


@dataclass(frozen=True)
class Scores:
    """Scores by view, in the split's order. lpips_reason says why there is no LPIPS, None when there is."""

    views: tuple[ViewScore, ...]
    lpips_backbone: LpipsBackbone
    lpips_reason: str | None

    def mean(self, metric: str) -> float | None:
        """Mean of a metric over the views that have it, None when none has."""
        values = [value for view in self.views if (value := getattr(view, metric)) is not None]
        return sum(values) / len(values) if values else None


LPIPS_SMALLEST = 32
"""Pixels a side below which the backbones have nothing left after pooling: no LPIPS then."""

METRICS = ("psnr", "ssim", "lpips", "psnr_masked", "ssim_masked", "lpips_masked")


def evaluate(
    model: Renderable,
    scene: Scene,
    views: Literal["train", "val", "test"] | Sequence[str] = "test",
    *,
    lpips_backbone: LpipsBackbone = "alex",
    pictures: Path | None = None,
    report: Callable[[ViewScore], None] | None = None,
) -> Scores:
    """Render the views of a split (or of the given names) and score them.

    pictures: folder for `NNN-render.png`, `-truth.png` and `-error.png` of each view (error: mean absolute
    difference, white at one quarter). report is called after each view. Raises ValueError when there is no
    view to score.
    """
    names = getattr(scene.split, views) if isinstance(views, str) else tuple(views)
    if not names:
        raise ValueError(f"scene {scene.name!r}: no {views} views to score; give a split that has some")
    lpips = open_lpips(lpips_backbone)
    distance = None if isinstance(lpips, str) else lpips
    scores = []
    for index, name in enumerate(names):
        view = scene.view(name)
        pixels = view.load()
        picture, truth = rendered(model, view), truth_of(pixels, scene.background)
        score = score_view(name, picture, truth, counted(pixels), distance)
        if pictures is not None:
            save_pictures(pictures, index, picture, truth)
        scores.append(score)
        if report is not None:
            report(score)
    return Scores(tuple(scores), lpips_backbone, lpips if isinstance(lpips, str) else None)


def held_out_psnr(model: Renderable, scene: Scene, names: Sequence[str]) -> float:
    """Mean PSNR in dB over a few views, for a look while training; leaves torch's random state as it was."""
    with torch.random.fork_rng():
        values = [
            psnr(rendered(model, view), truth_of(view.load(), scene.background))
            for view in (scene.view(name) for name in names)
        ]
    return sum(values) / len(values)


def rendered(model: Renderable, view: View) -> Tensor:
    """[H, W, 3] float32 on the CPU, in [0, 1]; ValueError when it is not finite or not of the view's size."""
    picture = model.render(view.camera, {"rgb"}, {}).rgb.detach().float().cpu()
    wanted = (view.camera.height, view.camera.width, 3)
    if tuple(picture.shape) != wanted:
        raise ValueError(f"view {view.name}: the model rendered {list(picture.shape)}, expected {list(wanted)}")
    if not bool(torch.isfinite(picture).all()):
        raise ValueError(f"view {view.name}: the rendering holds NaN or infinity; this model has diverged")
    return picture.clamp(0, 1)


def truth_of(pixels: Pixels, background: Background) -> Tensor:
    """[H, W, 3] float32: the photograph, transparent parts over the scene's background."""
    return composite(pixels, torch.full((3,), BACKGROUND_SRGB[background]))


def counted(pixels: Pixels) -> Tensor | None:
    """[H, W] bool: the pixels of the masked scores, or None for a view without mask and alpha."""
    layers = [layer > 127 for layer in (pixels.mask, pixels.alpha) if layer is not None]
    return torch.stack(layers).all(dim=0) if layers else None


def score_view(
    name: str,
    picture: Tensor,
    truth: Tensor,
    mask: Tensor | None,
    lpips: Callable[[Tensor, Tensor], float] | None = None,
) -> ViewScore:
    """All scores of one [H, W, 3] picture against the truth; an empty mask leaves the masked ones out."""

    def distance(a: Tensor, b: Tensor) -> float | None:
        return lpips(a, b) if lpips is not None and min(a.shape[:2]) >= LPIPS_SMALLEST else None

    whole = ViewScore(name, psnr(picture, truth), ssim(picture, truth), distance(picture, truth))
    if mask is None or not bool(mask.any()):
        return whole
    box = bounding_box(mask)
    return ViewScore(
        name,
        whole.psnr,
        whole.ssim,
        whole.lpips,
        psnr_masked=psnr(picture, truth, mask),
        ssim_masked=ssim(picture, truth, mask),
        lpips_masked=distance(picture[box], truth[box]),
    )


def error_picture(picture: Tensor, truth: Tensor) -> Tensor:
    """[H, W, 3] grey of the mean absolute difference of two [H, W, 3] pictures, white at one quarter."""
    return ((picture - truth).abs().mean(dim=-1, keepdim=True) * 4).clamp(0, 1).expand(-1, -1, 3)


def save_pictures(folder: Path, index: int, picture: Tensor, truth: Tensor) -> None:
    """Render, truth and error of one view as 8-bit PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind, image in (("render", picture), ("truth", truth), ("error", error_picture(picture, truth))):
        byte = (image.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
        buffer = io.BytesIO()
        Image.fromarray(byte).save(buffer, "PNG")
        write_whole(folder / f"{index:03d}-{kind}.png", buffer.getbuffer())


def write_scores(path: Path, scores: Scores, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Write scores and `facts` (method, scene, ...) as JSON, replacing the file at once; returns that."""
    document = {
        **facts,
        **{metric: scores.mean(metric) for metric in METRICS},
        "lpips_backbone": scores.lpips_backbone,
        "lpips_reason": scores.lpips_reason,
        "views": [asdict(view) for view in scores.views],
    }
    write_whole(path, json.dumps(document, indent=2, allow_nan=False).encode() + b"\n")
    return document


def by_error(scores: Scores) -> list[int]:
    """Indices of the views, worst PSNR first."""
    order = range(len(scores.views))
    return sorted(order, key=lambda i: (scores.views[i].psnr, scores.views[i].name))

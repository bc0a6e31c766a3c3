"""Mask polarity: do masks (or alpha) keep what was meant to be kept?

Programs disagree whether white means "keep" or "ignore". Two things give an inversion away: what cameras are aimed
at, the middle of the pictures, is hidden while the edges are kept; and outlines that are taken to cut out one object
agree on no place in space.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from render.camera import project_points
from scenes.doctor.finding import Finding, listed
from scenes.doctor.sample import Sample
from scenes.scene import Scene

MOST = 0.8
"""Share of the pictures in which a sign must show."""
MIDDLE_TO_EDGE = 0.5
"""Kept share of the middle over that of the edges below which the middle is what is hidden."""
LITTLE = 0.25
EMPTY = 1e-3
GRID = 40
"""Places along each axis at which outlines are compared; an object of a twentieth of the bounds' size is hit."""


def check_masks(scene: Scene, sample: Sample) -> list[Finding]:
    """What masks and alpha leave, and whether that makes sense."""
    found, good = [], []
    for what, advice in (
        ("masks", "invert them (here black is ignored, white counts)"),
        ("alpha", "invert it, or the masks it came from (here white is the object)"),
    ):
        planes = {
            view.name: plane.float() / 255
            for view, pixels in zip(sample.views, sample.pixels, strict=True)
            if (plane := pixels.mask if what == "masks" else pixels.alpha) is not None
        }
        if planes:
            found += check_planes(what, planes, advice, len(sample))
            share = np.mean([float(plane.mean()) for plane in planes.values()])
            good.append(f"{share:.0%} of the pixels {'count' if what == 'masks' else 'are the object'}")
    if not found and any(pixels.alpha is not None for pixels in sample.pixels):
        found += check_hull(scene, sample)
    return found or ([Finding("ok", "masks", ", ".join(good))] if good else [])


def check_planes(what: str, planes: dict[str, Tensor], advice: str, total: int) -> list[Finding]:
    """Findings about the masks or the alpha planes by view name."""
    kept = {name: float(plane.mean()) for name, plane in planes.items()}
    middles = {name: float(middle(plane).mean()) for name, plane in planes.items()}
    edges = {name: edge_share(plane) for name, plane in planes.items()}
    share, mid, edge = (float(np.mean(list(values.values()))) for values in (kept, middles, edges))
    inverted = [name for name in planes if middles[name] < min(0.5, MIDDLE_TO_EDGE * edges[name])]
    if len(inverted) >= MOST * len(planes) and len(planes) > 1:
        text = f"{what} hide the middle of {len(inverted)} of {total} pictures"
        text += f": they keep {mid:.0%} of it, {edge:.0%} of the edges"
        return [Finding("warning", "masks", text, f"if white meant 'ignore' to the program that wrote them, {advice}")]
    found = []
    if what == "masks":  # of alpha, pictures.py tells
        empty = [name for name in planes if kept[name] < EMPTY]
        if empty:
            text = f"{len(empty)} of {total} masks hide their whole picture ({listed(empty)})"
            found.append(Finding("warning", "masks", text, "make them again, or take the views out"))
        elif share < LITTLE and mid < 0.5:
            text = f"masks keep only {share:.0%} of the pixels"
            found.append(Finding("warning", "masks", text, f"if what they show was to be ignored, {advice}"))
    return found


def middle(plane: Tensor) -> Tensor:
    """The middle half of a picture in each direction."""
    height, width = plane.shape
    return plane[height // 4 : height - height // 4, width // 4 : width - width // 4]


def edge_share(plane: Tensor) -> float:
    """Mean over the outermost twentieth on all four sides, where hidden margins of undistortion are narrower."""
    height, width = plane.shape
    y, x = max(1, height // 20), max(1, width // 20)
    parts = [plane[:y], plane[-y:], plane[:, :x], plane[:, -x:]]
    return float(torch.cat([part.flatten() for part in parts]).mean())


def check_hull(scene: Scene, sample: Sample) -> list[Finding]:
    """A warning when outlines have no common inside: nowhere in the bounds is a place that nine tenths of the views
    which see it, half of all views at least, have within their outline.
    """
    low, high = scene.bounds[0], scene.bounds[1]
    steps = (torch.arange(GRID) + 0.5) / GRID
    xyz = low + torch.cartesian_prod(steps, steps, steps) * (high - low)
    sees, within = torch.zeros(len(xyz)), torch.zeros(len(xyz))
    for view, pixels in zip(sample.views, sample.pixels, strict=True):
        if pixels.alpha is None:
            continue
        pixel, depth = project_points(view.camera, xyz)
        size = torch.tensor([view.camera.width, view.camera.height])
        inside = (depth > 0) & ((pixel >= 0) & (pixel < size)).all(dim=1)
        column, row = pixel[inside].long().unbind(dim=1)
        sees += inside
        within[inside] += (pixels.alpha[row, column] > 127).float()
    known = sees >= max(2, len(sample) / 2)
    if not known.any():
        return []
    best = float((within[known] / sees[known]).max())
    if best >= 0.9:
        return []
    text = f"the outlines cut out no common object: the best place in space is within {best:.0%} of them"
    advice = "if they mark what is to be ignored, use --masks ignore or invert them; else check the poses"
    return [Finding("warning", "masks", text, advice)]

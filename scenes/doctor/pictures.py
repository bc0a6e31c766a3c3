"""Checks of the pictures' pixels: blur, clipping, brightness, alpha."""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import binary_erosion

from render.camera import project_points
from scenes.doctor.finding import Finding, listed
from scenes.doctor.poses import SEEN_BY_VIEW
from scenes.doctor.sample import Sample, counted
from scenes.scene import Pixels, PointCloud, Scene, View
from scenes.sharpness import sharpness

BLURRED = 0.1
"""Variance of the Laplacian, relative to the pictures' median, below which a picture seems blurred.

Sharp pictures of one scene go down to 0.26 (nerd_ethiopian_head_800); a Gaussian blur by one pixel leaves 0.03 to
0.10 of photographs (llff_fern, colmap_bust, fox), by two 0.002 to 0.014.
"""
BURNT, DARK = 0.25, 0.5
"""Shares of white (254 or 255 in all channels) and black (0 to 2) pixels from which a picture is badly exposed."""
STOPS_BY_POINTS, STOPS = 1.0, 2.5
"""Deviation of a view's brightness from the median view: measured at points, and over whole pictures, whose content
varies by up to 1.7 stops (colmap_bust)."""
LUMINANCE = torch.tensor([0.2126, 0.7152, 0.0722])


def check_pictures(scene: Scene, sample: Sample) -> list[Finding]:
    """What pixels show; an ok line says how many pictures were looked at."""
    if not len(sample):
        return []
    found = [*check_alpha(sample), *check_blur(sample), *check_clipping(sample), *check_brightness(scene, sample)]
    looked = "all" if len(sample) == len(scene.views) else f"{len(sample)} of {len(scene.views)}"
    return found or [Finding("ok", "pictures", f"{looked} pictures looked at: sharp, evenly exposed")]


def check_alpha(sample: Sample) -> list[Finding]:
    """Either all pictures have alpha or none, and it leaves something."""
    without = [view.name for view, pixels in zip(sample.views, sample.pixels, strict=True) if pixels.alpha is None]
    found = []
    if 0 < len(without) < len(sample):
        text = f"{len(without)} of {len(sample)} pictures have no transparency, the others have ({listed(without)})"
        advice = "cut all of them out, or none: an opaque background contradicts a transparent one"
        found.append(Finding("warning", "pictures", text, advice))
    empty = [
        view.name
        for view, pixels in zip(sample.views, sample.pixels, strict=True)
        if pixels.alpha is not None and float((pixels.alpha > 127).float().mean()) < 1e-3
    ]
    if empty:
        text = f"{len(empty)} of {len(sample)} pictures are transparent all over ({listed(empty)})"
        found.append(Finding("warning", "pictures", text, "export them again, or take them out"))
    return found


def counted_sharpness(pixels: Pixels) -> float | None:
    """`sharpness` where a picture and its pixels' neighbours count; None if that is next to nowhere."""
    inner = np.asarray(binary_erosion(counted(pixels).numpy()), dtype=bool)
    return sharpness((pixels.rgb_srgb.float() @ LUMINANCE).numpy(), inner) if inner.sum() > 100 else None


def check_blur(sample: Sample) -> list[Finding]:
    """Pictures much softer than the others."""
    values = {view.name: counted_sharpness(pixels) for view, pixels in zip(sample.views, sample.pixels, strict=True)}
    measured = {name: value for name, value in values.items() if value is not None}
    if len(measured) < 3:
        return []
    median = float(np.median(list(measured.values())))
    soft = sorted((name for name, value in measured.items() if value < BLURRED * median), key=measured.__getitem__)
    if not soft:
        return []
    text = f"{len(soft)} of {len(sample)} pictures have less than a tenth of the others' detail ({listed(soft)})"
    return [Finding("warning", "pictures", text, "look at them and take out those that are blurred")]


def check_clipping(sample: Sample) -> list[Finding]:
    """Pictures burnt out or black over much of what counts."""
    burnt, dark = [], []
    for view, pixels in zip(sample.views, sample.pixels, strict=True):
        shown = pixels.rgb_srgb[counted(pixels)]
        if not len(shown):
            continue
        if float((shown >= 254).all(dim=1).float().mean()) > BURNT:
            burnt.append(view.name)
        if float((shown <= 2).all(dim=1).float().mean()) > DARK:
            dark.append(view.name)
    found = []
    if burnt:
        text = f"{len(burnt)} of {len(sample)} pictures are pure white over more than {BURNT:.0%} ({listed(burnt)})"
        advice = "no harm for a white backdrop; else they are overexposed"
        found.append(Finding("note", "pictures", text, advice))
    if dark:
        text = f"{len(dark)} of {len(sample)} pictures are black over more than {DARK:.0%} ({listed(dark)})"
        found.append(Finding("note", "pictures", text, "no harm for a black backdrop; else they are underexposed"))
    return found


def check_brightness(scene: Scene, sample: Sample) -> list[Finding]:
    """Pictures exposed differently from the others."""
    levels, limit = {}, STOPS
    if scene.points is not None:
        levels = {
            view.name: level
            for view, pixels in zip(sample.views, sample.pixels, strict=True)
            if (level := gain_at_points(view, pixels, scene.points)) is not None
        }
    if len(levels) > len(sample) / 2:
        limit = STOPS_BY_POINTS
    else:
        levels = {v.name: mean_level(p) for v, p in zip(sample.views, sample.pixels, strict=True) if counted(p).any()}
    if len(levels) < 3:
        return []
    median = float(np.median(list(levels.values())))
    apart = sorted((name for name in levels if abs(levels[name] - median) > limit), key=levels.__getitem__)
    if not apart:
        return []
    shown = listed([f"{name} by {levels[name] - median:+.1f} stops" for name in apart])
    text = f"{len(apart)} of {len(sample)} pictures differ in brightness from the others: {shown}"
    advice = "photograph with fixed exposure and white balance, or even the pictures out before training"
    return [Finding("note", "pictures", text, advice)]


def linear(srgb: torch.Tensor) -> torch.Tensor:
    """Linear luminance of display values [..., 3] in [0, 1], by a gamma of 2.2, at least a thousandth."""
    return (srgb.clamp(min=0) ** 2.2 @ LUMINANCE).clamp(min=1e-3)


def mean_level(pixels: Pixels) -> float:
    """Stops of the mean luminance of what counts."""
    return float(linear(pixels.rgb_srgb[counted(pixels)].float() / 255).mean().log2())


def gain_at_points(view: View, pixels: Pixels, points: PointCloud) -> float | None:
    """Stops by which the picture is brighter than the points that it sees; None if it sees too few."""
    stride = max(1, len(points.xyz) // 5000)
    pixel, depth = project_points(view.camera, points.xyz[::stride])
    size = torch.tensor([view.camera.width, view.camera.height])
    inside = (depth > 0) & ((pixel >= 0) & (pixel < size)).all(dim=1)
    if int(inside.sum()) < SEEN_BY_VIEW:
        return None
    column, row = pixel[inside].long().unbind(dim=1)
    shown = linear(pixels.rgb_srgb[row, column].float() / 255)
    return float((shown / linear(points.rgb_srgb[::stride][inside])).log2().median())

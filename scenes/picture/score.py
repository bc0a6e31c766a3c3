"""PSNR and SSIM of a field over all pixels of a picture, block by block of rows, equal to those of the whole."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from kernels.ssim import ssim as ssim_map
from render.metrics import SMALLEST_MSE
from scenes.picture.picture import BLOCK_PIXELS, Picture, pixel_centres

PlaneField = Callable[[Tensor], Tensor]
"""[P, 2] float32 xy in [0, 1]^2 to [P, 3] colours in the picture's space; called on at most CHUNK points."""
CHUNK = 1 << 18
HALO = 5
"""Rows on each side that the window of SSIM reaches."""


@dataclass(frozen=True)
class PictureScores:
    """psnr in dB with a peak of 1, ssim in [-1, 1]: in the picture's own space, float32, not quantised."""

    psnr: float
    ssim: float


@torch.no_grad()
def field_rows(
    field: PlaneField, first: int, last: int, width: int, height: int, device: torch.device | str = "cpu"
) -> Tensor:
    """[last - first, width, 3] float32 on the CPU: the field at the pixel centres of rows of a picture of that size.

    ValueError when the field is not finite or of another shape.
    """
    points = pixel_centres(first, last, width, height).reshape(-1, 2)
    colours = torch.cat([field(chunk.to(device)).float().cpu() for chunk in points.split(CHUNK)])
    if colours.shape != (len(points), 3):
        raise ValueError(f"field: expected [{len(points)}, 3] colours, got {list(colours.shape)}")
    if not bool(colours.isfinite().all()):
        raise ValueError("field: some colours are NaN or infinite; this model has diverged")
    return colours.reshape(last - first, width, 3)


def score_picture(
    field: PlaneField, picture: Picture, *, device: torch.device | str = "cpu", block_pixels: int = BLOCK_PIXELS
) -> PictureScores:
    """Score a field on every pixel; memory is that of a few blocks of `block_pixels`, whatever the picture's size.

    Colours are clamped to [0, 1] where the picture's are integers. Raises ValueError as `field_rows` does.
    """
    error = similarity = 0.0
    kept: tuple[Tensor, Tensor] | None = None  # the rows that the next block's windows reach back to
    done = 0  # rows whose similarity is counted
    for first, last in picture.blocks(block_pixels):
        truth = picture.rows(first, last)
        guess = field_rows(field, first, last, picture.width, picture.height, device)
        if picture.quantised:
            guess = guess.clamp(0, 1)
        error += float((guess.double() - truth.double()).square().sum())
        if kept is not None:
            guess, truth = torch.cat([kept[0], guess]), torch.cat([kept[1], truth])
        top = last - len(truth)
        ready = last if last == picture.height else max(done, last - HALO)
        # zeros beyond the block stand for rows outside the picture, or spoil only rows that are not counted
        counted = ssim_map(guess, truth.contiguous())[done - top : ready - top]
        similarity += float(counted.double().sum())
        done = ready
        keep = max(top, done - HALO) - top
        kept = guess[keep:], truth[keep:]
    count = picture.height * picture.width * 3
    return PictureScores(-10 * math.log10(max(error / count, SMALLEST_MSE)), similarity / count)

"""Scoring a field of a picture as `scenes.evaluate` scores a model of a scene: one view, which is the picture."""

from __future__ import annotations

from pathlib import Path

import torch

from render.colour import to_space
from scenes.evaluate import Scores, ViewScore, save_pictures
from scenes.picture.picture import Picture
from scenes.picture.score import PlaneField, field_rows, score_picture

MOST_SHOWN = 1 << 24
"""Pixels of a picture that is written out beside its truth and error."""
NO_LPIPS = "pictures are scored in their own values, of which its backbones know nothing"


def evaluate_picture(
    field: PlaneField, picture: Picture, *, device: torch.device | str = "cpu", pictures: Path | None = None
) -> Scores:
    """PSNR and SSIM over all pixels, in the picture's own space and precision.

    pictures: folder for render, truth and error as display values, unless the picture has over 16 million pixels.
    """
    found = score_picture(field, picture, device=device)
    if pictures is not None and picture.width * picture.height <= MOST_SHOWN:
        render = field_rows(field, 0, picture.height, picture.width, picture.height, device)
        truth = picture.rows(0, picture.height)
        save_pictures(pictures, 0, *(to_space(rgb, picture.space, "srgb").clamp(0, 1) for rgb in (render, truth)))
    return Scores((ViewScore(picture.name, found.psnr, found.ssim),), "alex", NO_LPIPS)

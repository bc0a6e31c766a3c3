"""Undistortion: the picture that a pinhole with the same K would have taken.

For every pixel of the pinhole picture the lens model says where its light fell on the sensor; the photograph is
read there by bicubic interpolation. Nothing is iterated, since only the forward distortion is needed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from scenes.lens import Lens, distort, fold_radius


def undistort(planes: Tensor, lens: Lens) -> tuple[Tensor, Tensor]:
    """`planes` [C, H, W] float32 taken with `lens` (H x W is its size) to what a pinhole with the same K sees.

    Returns the planes [C, H, W] (bicubic, so values may overshoot slightly) and `seen` [H, W] bool: False where
    the pinhole looks past the edge of the photograph, or past the radius at which the lens polynomial folds
    back.
    """
    if tuple(planes.shape[1:]) != (lens.height, lens.width):
        raise ValueError(
            f"planes: expected [C, {lens.height}, {lens.width}] to fit the lens, got {tuple(planes.shape)}"
        )
    y, x = torch.meshgrid(
        (torch.arange(lens.height, dtype=torch.float64) + 0.5 - lens.cy) / lens.fy,
        (torch.arange(lens.width, dtype=torch.float64) + 0.5 - lens.cx) / lens.fx,
        indexing="ij",
    )
    r = torch.sqrt(x * x + y * y)
    unfolded = r < fold_radius(lens, 1.001 * float(r.max()))
    x, y = distort(lens, x, y)
    # grid_sample's [-1, 1] spans the picture from edge to edge when align_corners is False
    across = (lens.fx * x + lens.cx) * (2.0 / lens.width) - 1.0
    down = (lens.fy * y + lens.cy) * (2.0 / lens.height) - 1.0
    slack = 1e-9  # rounding: an undistorted corner may land a hair outside its own edge
    seen = unfolded & (across.abs() <= 1.0 + slack) & (down.abs() <= 1.0 + slack)
    grid = torch.stack([across, down], dim=-1).clamp(-2.0, 2.0).float()
    sampled = torch.nn.functional.grid_sample(
        planes[None], grid[None], mode="bicubic", padding_mode="border", align_corners=False
    )
    return sampled[0], seen

"""Points as Gaussians: small, round and opaque."""

from __future__ import annotations

import math

from torch import Tensor

from kernels.harmonics.reference import C0
from kernels.neighbours import nearest
from render.gaussians import GaussianCloud

OPACITY_LOGIT = 4.0
SAMPLE = 2_000
LEAST_SPACING = 1e-3
"""Metres; of a cloud whose points all lie at one place."""


def dots(points: Tensor, colours_srgb: Tensor, deviation: float) -> GaussianCloud:
    """Points [N, 3] with colours [N, 3] as Gaussians of a standard deviation in metres."""
    count = len(points)
    return GaussianCloud(
        means=points,
        quaternions=points.new_tensor([1.0, 0.0, 0.0, 0.0]).repeat(count, 1),
        log_scales=points.new_full((count, 3), math.log(deviation)),
        opacity_logits=points.new_full((count,), OPACITY_LOGIT),
        dc=(colours_srgb - 0.5) / C0,
        rest=points.new_zeros(count, 0, 3),
    )


def usual_spacing(cloud: Tensor) -> float:
    """Metres from a point of a cloud [N, 3] to its nearest neighbour: the median of a sample."""
    some = cloud[:: max(1, len(cloud) // SAMPLE)]
    squared = nearest(cloud, some, 2).squared_distances[:, -1]
    apart = squared[squared.isfinite() & (squared > LEAST_SPACING**2)]
    return float(apart.median().sqrt()) if len(apart) else LEAST_SPACING

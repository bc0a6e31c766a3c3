"""Scores of a learned shape: IoU of insides, Chamfer distance, normal consistency, F-score.

Insides are compared on a `Pool`. Surfaces are compared by points drawn uniformly by area on each and their exact
distance to the other's triangles, in world units (the ball's radius is 0.95), both directions weighing the same:
  chamfer             mean of the two mean distances, not squared
  normal_consistency  mean of the two mean |cosines| of the normals at a point and at the nearest triangle
  fscore              harmonic mean of the shares nearer than tau: of the prediction (precision), of the truth (recall)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from scenes.shape.distance import SignedDistance
from scenes.shape.extract import SignedField, field_values
from scenes.shape.pools import Pool, surface_points

TAU = 0.005
"""Distance in world units within which a point counts for the F-score, unless told otherwise."""


@dataclass(frozen=True)
class SurfaceScores:
    """Scores of two surfaces, as the head of this file defines them."""

    chamfer: float
    normal_consistency: float
    fscore: float
    tau: float


def inside_iou(field: SignedField, pool: Pool) -> float:
    """Intersection over union of the sets field < 0 and distance < 0, counted over the points of a pool.

    gIoU on `evaluation_pool`, volume IoU on `uniform_pool`. Two empty sets are equal: 1.
    """
    predicted = field_values(field, pool.points) < 0
    truth = pool.distances < 0
    union = int(torch.logical_or(predicted, truth).sum())
    return int(torch.logical_and(predicted, truth).sum()) / union if union else 1.0


def compare_surfaces(
    predicted: SignedDistance, truth: SignedDistance, *, tau: float = TAU, count: int = 200_000, seed: int = 0
) -> SurfaceScores:
    """Scores from `count` points on each of two surfaces; ValueError unless tau and count are positive."""
    if tau <= 0 or count <= 0:
        raise ValueError(f"compare_surfaces: tau and count must be positive, got {tau} and {count}")
    random = np.random.default_rng((seed, 3))
    means, cosines, shares = [], [], []
    for here, there in ((predicted, truth), (truth, predicted)):
        points, faces = surface_points(here.mesh, count, random)
        distances, nearest = there.nearest(points)
        means.append(float(distances.mean()))
        cosines.append(float(np.abs((here.mesh.normals[faces] * there.mesh.normals[nearest]).sum(axis=1)).mean()))
        shares.append(float((distances < tau).mean()))
    precision, recall = shares
    harmonic = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return SurfaceScores(sum(means) / 2, sum(cosines) / 2, harmonic, tau)

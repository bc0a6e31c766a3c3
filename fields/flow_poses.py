"""Poses of bodies over time: between whole times, where none is known, and of bodies that stay where they are."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from scenes.flow.bodies.paths import rotation, rotation_vector

LEAST_TIMES = 4
"""Clouds in which a body must be known before it may be said to stand."""
ROOM = 0.5
"""A body may stand if its centre never goes farther than this share of its own size."""


def posed(poses: Tensor, t: float) -> Tensor:
    """[B, 4, 4] of poses [B, T, 4, 4] at a time: turned at an even rate, the frame's origin on a straight line."""
    before = min(max(math.floor(t), 0), poses.shape[1] - 1)
    return poses[:, before] if t == before else on_the_way(poses[:, before], poses[:, before + 1], t - before)


def between(values: Tensor, t: float) -> Tensor:
    """[M, ...] of values [M, T, ...] at a time, linear between whole times."""
    before = min(max(math.floor(t), 0), values.shape[1] - 1)
    return values[:, before] if t == before else torch.lerp(values[:, before], values[:, before + 1], t - before)


def on_the_way(first: Tensor, second: Tensor, share: float) -> Tensor:
    """[B, 4, 4] a share of the way between poses, below 0 and above 1 beyond them."""
    a, b = first.double(), second.double()
    turn = rotation_vector(a[:, :3, :3].mT @ b[:, :3, :3])
    result = a.clone()
    result[:, :3, :3] = a[:, :3, :3] @ rotation(share * turn)
    result[:, :3, 3] = torch.lerp(a[:, :3, 3], b[:, :3, 3], share)
    return result.to(first)


def placed(points: Tensor, poses: Tensor) -> Tensor:
    """[N, 3] in the frames of poses [N, 4, 4], of points [N, 3] of the world."""
    return ((points - poses[:, :3, 3])[:, None] @ poses[:, :3, :3])[:, 0]


def filled(poses: Tensor, alive: Tensor) -> Tensor:
    """[B, T, 4, 4]: where a pose is not known, it is on the way between those that are, and beyond them the last step
    is repeated. alive: [B, T] bool, each row with at least one.
    """
    result = poses.clone()
    for b, known in enumerate(alive):
        times = known.nonzero()[:, 0].tolist()
        for t in range(poses.shape[1]):
            if known[t]:
                continue
            if len(times) == 1:
                result[b, t] = poses[b, times[0]]
                continue
            at = min(max(sum(k < t for k in times), 1), len(times) - 1)
            first, second = times[at - 1], times[at]
            share = (t - first) / (second - first)
            result[b, t] = on_the_way(poses[b, first][None], poses[b, second][None], share)[0]
    return result


def standing(poses: Tensor, alive: Tensor, points: Tensor, body: Tensor) -> tuple[Tensor, Tensor]:
    """[S], [S] int64: bodies that may be standing still, and a time in the middle of those at which they are known.

    points: [P, 3] in their body's frame, whose origin is the body's centre. body: [P] int64.
    """
    found, middles = [], []
    for b, known in enumerate(alive):
        times, own = known.nonzero()[:, 0], points[body == b]
        centres = poses[b, times, :3, 3]
        size, path = (float((p.amax(dim=0) - p.amin(dim=0)).norm()) for p in (own, centres))
        if len(times) >= LEAST_TIMES and path < ROOM * size:
            found.append(b)
            middles.append(int(times[len(times) // 2]))
    return body.new_tensor(found, dtype=torch.long), body.new_tensor(middles, dtype=torch.long)

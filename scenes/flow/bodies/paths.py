"""Paths: the rigid motion of bodies through time, and the terms that say what they should explain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Paths(NamedTuple):
    """Where B bodies are at T times. turn: [B, T, 3, 3] rotations. centre: [B, T, 3] the body's centre in the world.

    A point of body b that is at p at time i is at `turn[b, j] @ turn[b, i].T @ (p - centre[b, i]) + centre[b, j]` at j.
    """

    turn: Tensor
    centre: Tensor

    def carry(self, points: Tensor, body: Tensor | int, i: Tensor | int, j: Tensor | int) -> Tensor:
        """[M, 3] where points [M, 3] of the bodies, there at times i, are at times j."""
        local = self.turn[body, i].transpose(-1, -2) @ (points - self.centre[body, i])[..., None]
        return (self.turn[body, j] @ local)[..., 0] + self.centre[body, j]

    def bodies(self, chosen: Tensor | Sequence[int] | slice) -> Paths:
        """Only some of the bodies."""
        return Paths(self.turn[chosen], self.centre[chosen])


def at_rest(centres: Tensor, times: int) -> Paths:
    """Paths of bodies with centres [B, 3] that stay there."""
    turn = torch.eye(3).expand(len(centres), times, 3, 3)
    return Paths(turn.clone(), centres[:, None].expand(-1, times, -1).clone())


def stacked(paths: Sequence[Paths]) -> Paths:
    """The bodies of all of them, over the same times."""
    return Paths(torch.cat([path.turn for path in paths]), torch.cat([path.centre for path in paths]))


def skew(vectors: Tensor) -> Tensor:
    """[..., 3, 3] with skew(a) @ b = a x b."""
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).reshape(*vectors.shape[:-1], 3, 3)


def rotation(vectors: Tensor) -> Tensor:
    """[..., 3, 3] rotations by vectors [..., 3] along the axes, radians long (Rodrigues)."""
    angle = vectors.norm(dim=-1).clamp(min=1e-8)[..., None, None]
    cross = skew(vectors)
    unit = torch.eye(3, dtype=vectors.dtype, device=vectors.device)
    return unit + (angle.sin() / angle) * cross + ((1 - angle.cos()) / angle.square()) * cross @ cross


def upright(turn: Tensor) -> Tensor:
    """[..., 3, 3] the rotations next to nearly orthogonal matrices: rounding grows with each product otherwise."""
    return 1.5 * turn - 0.5 * turn @ turn.transpose(-1, -2) @ turn


def rotation_vector(turn: Tensor) -> Tensor:
    """[..., 3] radians along the axes of rotations [..., 3, 3]; the inverse of `rotation` below half a turn."""
    odd = torch.stack([turn[..., a, b] - turn[..., b, a] for a, b in ((2, 1), (0, 2), (1, 0))], dim=-1)
    sine, cosine = odd.norm(dim=-1) / 2, (turn.diagonal(dim1=-2, dim2=-1).sum(dim=-1) - 1) / 2
    per_sine = torch.where(sine > 1e-9, torch.atan2(sine, cosine) / (2 * sine.clamp(min=1e-9)), 0.5)
    return odd * per_sine[..., None]

"""Contraction: all of space put into a cube, so that a grid can hold what goes on without end."""

from __future__ import annotations

from torch import Tensor


def contract(z: Tensor) -> Tensor:
    """[P, 3] to the cube of half side 2: the cube of half side 1 stays, the rest of space becomes a shell around it.

    Barron et al. 2022 ("mip-NeRF 360"), with the largest coordinate as the norm, so that boxes stay boxes.
    """
    size = z.abs().amax(dim=1, keepdim=True).clamp(min=1)
    return z * (2 - 1 / size) / size

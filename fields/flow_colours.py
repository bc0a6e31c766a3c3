"""Colours of moving points: by direction, and by any number along a colour map."""

from __future__ import annotations

import torch
from torch import Tensor

from render.colour_maps import coloured

STILL_SRGB = (0.42, 0.42, 0.42)
"""Of what does not move."""
UNKNOWN_SRGB = (0.2, 0.2, 0.22)
"""Of what has no number."""


def direction_colours(velocity: Tensor, up: Tensor, full: float) -> Tensor:
    """[N, 3] sRGB of velocities [N, 3]: hue says where they go in the plane across `up` [3], grey that they do not.

    Red goes along the plane's first axis (`plane_axes`), green and blue a third of a turn further each, turning
    counter-clockwise seen from above. full: speed across `up` from which on colours are saturated, in the unit of the
    velocities.
    """
    first, second = plane_axes(up)
    ahead, aside = velocity @ first, velocity @ second
    hue = torch.atan2(aside, ahead) / (2 * torch.pi)
    sectors = hue[:, None] * 6 + hue.new_tensor([0.0, 4.0, 2.0])
    wheel = ((sectors % 6 - 3).abs() - 1).clamp(0, 1)
    weight = (torch.hypot(ahead, aside) / full).clamp(0, 1)[:, None]
    return velocity.new_tensor(STILL_SRGB) * (1 - weight) + wheel * weight


def plane_axes(up: Tensor) -> tuple[Tensor, Tensor]:
    """Two unit vectors [3] across `up` [3], right-handed with it; the first is the world's x where that lies across."""
    axis = torch.zeros_like(up)
    axis[0 if abs(float(up[0])) < 0.9 else 1] = 1
    first = torch.nn.functional.normalize(axis - (axis @ up) * up, dim=0)
    return first, torch.linalg.cross(up, first)


def scalar_colours(values: Tensor, low: float, high: float, name: str) -> Tensor:
    """[N, 3] sRGB of values [N] between low and high on a map of `render.colour_maps`; NaN, no value, is dark."""
    scaled = (values - low) / max(high - low, 1e-12)
    colours = torch.from_numpy(coloured(scaled.cpu().numpy(), name)).to(values.device).float() / 255
    return torch.where(values.isnan()[:, None], colours.new_tensor(UNKNOWN_SRGB), colours)

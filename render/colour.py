"""Colour spaces: display values of sRGB, and linear light."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Space = Literal["srgb", "linear"]


def to_space(rgb: Tensor, given: Space, wanted: Space) -> Tensor:
    """Colours [..., 3] from one space to the other by the transfer curve of IEC 61966-2-1, kept odd below 0."""
    if given == wanted:
        return rgb
    size = rgb.abs()
    if wanted == "linear":
        curve = torch.where(size <= 0.04045, size / 12.92, ((size + 0.055) / 1.055) ** 2.4)
    else:
        curve = torch.where(size <= 0.0031308, size * 12.92, 1.055 * size ** (1 / 2.4) - 0.055)
    return curve.copysign(rgb)

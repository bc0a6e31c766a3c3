"""Arrows and trajectories as line segments."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from render.layers import Lines

HEAD = 0.25
"""Of an arrow's length, that its two strokes at the tip have."""
ARROW_WIDTH, PATH_WIDTH = 2.0, 4.0
"""Pixels."""


def arrows(name: str, points: Tensor, flow: Tensor, up: Tensor, colours: Tensor) -> Lines:
    """Arrows from points [N, 3] to points + flow, their heads as flat across `up` as they can be.

    colours: [N, 3] sRGB where they begin; towards their tips they turn white, so that they stand out from the points.
    The N shafts come first, then the strokes of the heads.
    """
    tips = points + flow
    side = torch.linalg.cross(up.expand_as(flow), flow)
    upright = side.norm(dim=1, keepdim=True) < 1e-3 * flow.norm(dim=1, keepdim=True)
    side = torch.where(upright, torch.linalg.cross(up.roll(1).expand_as(flow), flow), side)
    side = torch.nn.functional.normalize(side, dim=1) * flow.norm(dim=1, keepdim=True)
    strokes = [tips + HEAD * (0.5 * sign * side - flow) for sign in (1, -1)]
    ends = [torch.stack([start, tips], dim=1) for start in (points, *strokes)]
    white = torch.ones_like(colours)
    shafts, heads = torch.stack([colours, white], dim=1), torch.stack([white, white], dim=1)
    return lines(name, torch.cat(ends), torch.cat([shafts, heads, heads]), ARROW_WIDTH)


def polylines(name: str, paths: Sequence[Tensor], colours: Sequence[Tensor]) -> Lines:
    """Paths [K, 3] of any number of places each, coloured [K, 3] sRGB at these."""
    joined = [torch.stack([path[:-1], path[1:]], dim=1) for path in paths]
    rgb = [torch.stack([colour[:-1], colour[1:]], dim=1) for colour in colours]
    return lines(name, torch.cat(joined), torch.cat(rgb), PATH_WIDTH)


def lines(name: str, segments: Tensor, colours: Tensor, width: float) -> Lines:
    """A layer of segments and colours [M, 2, 3], shown until it is switched off."""
    rgb = (colours.clamp(0, 1) * 255).round().to(torch.uint8)
    return Lines(name, segments.float().cpu().numpy(), rgb.cpu().numpy(), width, shown=True)

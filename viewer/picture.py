"""Frames as pictures for people: scalars coloured, comparisons laid out, messages written where a picture would be."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from render.colour_maps import coloured
from render.frame import Channel
from scenes.evaluate import error_picture

MOST_ASPECT = 8.0
MESSAGE_SIZE = (960, 540)
"""Of a message for a client that has not told a sensible size."""


def picture_of(values: Tensor, channel: Channel) -> tuple[np.ndarray, str]:
    """[H, W, 3] uint8 of a frame's channel [H, W, C], and what its colours mean ("" when they are colours).

    A channel without a range is fitted to the 1st to 99th percentile of its non-zero values; 0 means that nothing
    is there, and is black. NaN is magenta: it must not be taken for a dark pixel.
    """
    data = values.detach().float().cpu().numpy()
    low, high = channel.range or fitted_range(data)
    scaled = (data - low) / (high - low)
    if data.shape[-1] == 3:
        picture = (np.clip(np.nan_to_num(scaled), 0, 1) * 255 + 0.5).astype(np.uint8)
        legend = ""
    else:
        picture = coloured(scaled[..., 0], "grey" if channel.colour_map == "none" else channel.colour_map)
        if channel.range is None:
            picture[data[..., 0] == 0] = 0
        legend = f"{channel.name} {low:.3g} to {high:.3g} {channel.unit}".strip()
    bad = np.isnan(data).any(axis=-1)
    if bad.any():
        picture[bad] = (255, 0, 255)
        legend = f"{legend}  {bad.mean():.1%} NaN (magenta)".strip()
    return picture, legend


def fitted_range(data: np.ndarray) -> tuple[float, float]:
    """1st and 99th percentile of what is finite and not 0, never equal; of a sample, as it is for the eye."""
    some = data[:: max(1, data.shape[0] // 128), :: max(1, data.shape[1] // 128)]
    some = some[np.isfinite(some) & (some != 0)]
    if not some.size:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(some, (1, 99)))
    return low, high if high > low else low + max(1e-6, abs(low) * 1e-3)


def comparison(render: Tensor, truth: Tensor, bounds: Sequence[float], canvas: tuple[int, int]) -> np.ndarray:
    """Render | truth | error of one view, [H, W, 3] uint8, on black bars that give it the canvas's shape.

    render, truth: [h, w, 3] in [0, 1]. bounds: see `viewer.state.Comparison`. canvas: width and height.
    The view keeps its own pixels; whoever shows the picture enlarges it.
    """
    height, width = truth.shape[:2]
    first, second = sorted(round(min(max(float(b), 0.0), 1.0) * width) for b in bounds)
    parts = torch.cat([render[:, :first], truth[:, first:second], error_picture(render, truth)[:, second:]], dim=1)
    picture = (parts.clamp(0, 1) * 255).round().to(torch.uint8).numpy().copy()
    for edge in (first, second):
        if 0 < edge < width:
            picture[:, edge] = (255, 200, 0)
    # Of a canvas that is hardly more than a line, a board of its shape would be mostly bars, and huge.
    aspect = min(max(max(1, canvas[0]) / max(1, canvas[1]), 1 / MOST_ASPECT), MOST_ASPECT)
    full_width, full_height = max(width, round(height * aspect)), max(height, round(width / aspect))
    left, top = (full_width - width) // 2, (full_height - height) // 2
    board = np.zeros((full_height, full_width, 3), dtype=np.uint8)
    board[top : top + height, left : left + width] = picture
    return board


def message(text: str, canvas: tuple[int, int]) -> np.ndarray:
    """A picture [H, W, 3] uint8 that says `text`, of the canvas's shape and at most MESSAGE_SIZE."""
    width, height = (min(side, 100_000) for side in canvas) if min(canvas) > 0 else MESSAGE_SIZE
    shrink = min(1.0, MESSAGE_SIZE[0] / width, MESSAGE_SIZE[1] / height)
    width, height = max(160, round(width * shrink)), max(90, round(height * shrink))
    image = Image.new("RGB", (width, height), (38, 20, 22))
    size = max(11, min(18, width // 40))
    lines = textwrap.wrap(text, max(16, int(width * 0.9 / (size * 0.52)))) or [""]
    lines = lines[: max(1, int(height * 0.9 / (size * 1.4)))]
    drawing = ImageDraw.Draw(image)
    font = ImageFont.load_default(size)
    top = (height - len(lines) * size * 1.4) / 2
    for i, line in enumerate(lines):
        drawing.text((width * 0.05, top + i * size * 1.4), line, fill=(255, 205, 195), font=font)
    return np.asarray(image)

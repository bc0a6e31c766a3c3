"""Pairs of clouds as a person sees them, from above or as a camera does: before and after a flow, and its errors."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scenes.flow.sequence import Floats, Pair
from scenes.whole_file import write_whole

SIZE = 640
SOURCE, TARGET, NEUTRAL = (42, 111, 219), (240, 140, 40), (175, 178, 184)
WORST = 0.3
"""Metres of error that are drawn in the fullest red: what counts as an outlier."""
FEW = 20_000
"""Points up to which they are drawn as squares of three pixels."""
Bytes, Places = NDArray[np.uint8], NDArray[np.int64]
Up = tuple[float, float, float] | None


def save_pair_pictures(folder: Path, index: int, pair: Pair, flow: Floats, up: Up) -> None:
    """`NNN-before.png` (source and target), `NNN-after.png` (source moved by `flow`, target) and, where the flow is
    labelled, `NNN-error.png` (the source by its end-point error, grey to red).
    """
    plane = pixels_of(pair, up)
    source, target = plane(pair.source.points), plane(pair.target.points)
    warped = plane(pair.source.points + flow)
    save(folder / f"{index:03d}-before.png", [(target, TARGET), (source, SOURCE)])
    save(folder / f"{index:03d}-after.png", [(target, TARGET), (warped, SOURCE)])
    if pair.source.flow is not None:
        error = np.linalg.norm(flow - pair.source.flow, axis=1)
        order = np.argsort(error)  # the worst on top
        save(folder / f"{index:03d}-error.png", [(source[order], heat(error[order]))])


def pixels_of(pair: Pair, up: Up) -> Callable[[Floats], Places]:
    """A function from points [N, 3] to pixels [N, 2] (column, row); both clouds fit.

    One looks down along `up`, or where that is unknown along z, y being down, as from a camera.
    """
    axis = 2 if up is None else int(np.argmax(np.abs(up)))
    kept = [i for i in range(3) if i != axis]
    both = np.concatenate([pair.source.points, pair.target.points])[:, kept]
    low, high = both.min(axis=0), both.max(axis=0)
    scale = (SIZE - 8) / max(1e-6, float((high - low).max()))
    middle = (low + high) / 2

    def pixels(points: Floats) -> Places:
        place = (points[:, kept] - middle) * scale + SIZE / 2
        if up is not None:
            place[:, 1] = SIZE - place[:, 1]
        return np.floor(place).astype(np.int64)

    return pixels


def heat(error: NDArray[np.floating]) -> Bytes:
    """[N, 3] colours of errors in metres, from grey to red."""
    share = np.clip(error / WORST, 0, 1)[:, None]
    return ((1 - share) * np.array(NEUTRAL) + share * np.array((205, 20, 30))).astype(np.uint8)


def save(path: Path, layers: list[tuple[Places, Bytes | tuple[int, int, int]]]) -> None:
    """Draw points [N, 2] in their colours over white, later ones on top."""
    picture = np.full((SIZE, SIZE, 3), 255, np.uint8)
    for place, colours in layers:
        spread = (-1, 0, 1) if len(place) <= FEW else (0,)
        for down in spread:
            for right in spread:
                column, row = place[:, 0] + right, place[:, 1] + down
                inside = (column >= 0) & (column < SIZE) & (row >= 0) & (row < SIZE)
                shades = np.broadcast_to(np.asarray(colours, np.uint8), (len(place), 3))
                picture[row[inside], column[inside]] = shades[inside]
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    write_whole(path, buffer.getbuffer())

"""Procedural surface colours: each texture is a small record, `albedo` evaluates any of them at local points.

Colours are linear RGB in [0, 1]. A texture is a function of the position in its surface's own frame, in world
units, so nothing stretches and no seams appear. Textures with hard edges are `crisp`: the renderer filters
those over the pixel by supersampling; soft ones are sampled once a pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from scenes.synthetic.vectors import Vec, by_axis

RGB: TypeAlias = "tuple[float, float, float]"
Axis: TypeAlias = 'Literal["x", "y", "z", "angle", "radius"]'


@dataclass(frozen=True)
class Plain:
    """One colour everywhere."""

    colour: RGB


@dataclass(frozen=True)
class Stripes:
    """Bands of the given colours in turn along a coordinate; `period` is one whole round, in world units or
    radians.
    """

    colours: tuple[RGB, ...]
    period: float
    along: Axis = "z"
    offset: float = 0.0


@dataclass(frozen=True)
class Checks:
    """Two colours in turn on a grid of cells `size` = (first, second) along two coordinates."""

    first: RGB
    second: RGB
    size: tuple[float, float]
    along: tuple[Axis, Axis] = ("x", "y")


@dataclass(frozen=True)
class Grain:
    """Wood: soft growth rings round an axis that leaves the surface at a slant, with fibres along x and plank
    joints.
    """

    light: RGB
    dark: RGB
    ring: float = 0.05
    plank: float = 0.0


@dataclass(frozen=True)
class Flecks:
    """Stoneware: round specks of a second colour, at most one in each cell of a cubic grid, in a share of the
    cells.
    """

    ground: RGB
    fleck: RGB
    cell: float
    share: float = 0.3


@dataclass(frozen=True)
class Print:
    """Rows of word-like ink marks on paper, over the coordinates (across, up), with a blank margin and a bold
    title.
    """

    paper: RGB
    ink: RGB
    line: float
    half_width: float
    half_height: float
    along: tuple[Axis, Axis] = ("x", "y")
    rows: int = 6


@dataclass(frozen=True)
class Dial:
    """A clock face: 60 minute marks, 12 bold hour marks and a thin ring, within `radius`."""

    face: RGB
    ink: RGB
    radius: float


@dataclass(frozen=True)
class Pips:
    """The spots of a die with half side `half`: 1 opposite 6, 2 opposite 5, 3 opposite 4."""

    face: RGB
    spot: RGB
    half: float


@dataclass(frozen=True)
class Dots:
    """Round dots in a hexagonal grid wrapped round the z axis: `count` a ring, rings `step` apart."""

    ground: RGB
    dot: RGB
    count: int
    step: float
    size: float


Texture: TypeAlias = "Plain | Stripes | Checks | Grain | Flecks | Print | Dial | Pips | Dots"


@dataclass(frozen=True)
class Material:
    """texture: diffuse colour. gloss: strength of the clear coat in [0, 1]; sharpness: of its highlight.

    metal: the texture colours the reflection, and little is diffuse. glow: linear RGB that the surface sends
    out itself.
    """

    texture: Texture
    gloss: float = 0.0
    sharpness: float = 60.0
    metal: bool = False
    glow: RGB = (0.0, 0.0, 0.0)

    @property
    def crisp(self) -> bool:
        """Whether the colour may change within a pixel."""
        return not isinstance(self.texture, (Plain, Grain))


def linear(hex_srgb: str) -> RGB:
    """Linear RGB of a colour written like "c8442e"."""
    r, g, b = (_linear_channel(int(hex_srgb[i : i + 2], 16) / 255) for i in (0, 2, 4))
    return r, g, b


def _linear_channel(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


def albedo(texture: Texture, p: Vec) -> np.ndarray:
    """Linear RGB [3, N] of the texture at local points p (three arrays [N])."""
    dtype = p[0].dtype
    match texture:
        case Plain(colour):
            return np.asarray(colour, dtype)[:, None]
        case Stripes(colours, period, axis, offset):
            phase = (coordinate(p, axis) + offset) * (len(colours) / period)
            return np.asarray(colours, dtype)[np.floor(phase).astype(np.int32) % len(colours)].T
        case Checks(first, second, size, axes):
            cells = [
                np.floor(coordinate(p, axis) / step).astype(np.int32) for axis, step in zip(axes, size, strict=True)
            ]
            return _mix(first, second, ((cells[0] + cells[1]) & 1).astype(dtype))
        case Grain():
            return _grain(texture, p)
        case Flecks(ground, fleck, cell, share):
            return _mix(ground, fleck, _specks(p, cell, share).astype(dtype))
        case Print():
            return _mix(texture.paper, texture.ink, _printed(texture, p).astype(dtype))
        case Dial():
            return _mix(texture.face, texture.ink, _dial(texture, p).astype(dtype))
        case Pips():
            return _mix(texture.face, texture.spot, _pips(texture, p).astype(dtype))
        case Dots(ground, spot, count, step, size):
            radius = coordinate(p, "radius")
            row = np.floor(p[2] / step)
            turn = coordinate(p, "angle") * (count / (2 * math.pi)) + 0.5 * (row % 2)
            across = (turn - np.floor(turn) - 0.5) * (2 * math.pi / count) * radius
            up = p[2] - (row + 0.5) * step
            return _mix(ground, spot, (across * across + up * up < size * size).astype(dtype))


def coordinate(p: Vec, axis: Axis) -> np.ndarray:
    """One coordinate of local points: x, y, z, azimuth round z in radians, or distance from the z axis."""
    match axis:
        case "x":
            return p[0]
        case "y":
            return p[1]
        case "z":
            return p[2]
        case "angle":
            return np.arctan2(p[1], p[0])
        case "radius":
            return np.sqrt(p[0] * p[0] + p[1] * p[1])


def _mix(first: RGB, second: RGB, share: np.ndarray) -> np.ndarray:
    """[3, N]: `first` where share is 0, `second` where it is 1."""
    a, b = np.asarray(first, share.dtype)[:, None], np.asarray(second, share.dtype)[:, None]
    return a + (b - a) * share


def _hash(i: np.ndarray, j: np.ndarray | int, k: np.ndarray | int = 0) -> np.ndarray:
    """A fixed pseudo-random float32 in [0, 1) for each integer cell."""
    with np.errstate(over="ignore"):
        h = np.asarray(i, np.uint32) * np.uint32(0x8DA6B343) ^ np.asarray(j, np.uint32) * np.uint32(0xD8163841)
        h = (h ^ np.asarray(k, np.int64).astype(np.uint32) * np.uint32(0xCB1AB31F)) * np.uint32(0x9E3779B1)
        h = (h ^ (h >> np.uint32(15))) * np.uint32(0x85EBCA77)
        return ((h ^ (h >> np.uint32(13))) >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)


def _noise(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Smooth value noise in [0, 1] with unit cells."""
    i, j = np.floor(x), np.floor(y)
    u, v = x - i, y - j
    u, v = u * u * (3 - 2 * u), v * v * (3 - 2 * v)
    i, j = i.astype(np.int32), j.astype(np.int32)
    low = _hash(i, j) * (1 - u) + _hash(i + 1, j) * u
    high = _hash(i, j + 1) * (1 - u) + _hash(i + 1, j + 1) * u
    return low * (1 - v) + high * v


def _grain(texture: Grain, p: Vec) -> np.ndarray:
    x, y, z = p
    joint = np.zeros_like(x)
    if texture.plank > 0:
        row = np.floor(y / texture.plank + 0.5)
        inside = np.abs(y - row * texture.plank)
        # a joint about two pixels wide, soft-edged, so that one sample a pixel is enough
        joint = np.clip((inside - (texture.plank / 2 - 0.012)) / 0.009, 0, 1)
        x, y = x + 3.7 * row, y + 0.61 * row
    bend = _noise(1.3 * x, 5 * y)
    rings = np.sqrt(np.square(y + 0.25 * bend + 0.3 * z) + np.square(0.15 * x + z + 0.4)) / texture.ring
    wave = 0.5 + 0.5 * np.sin(2 * math.pi * rings)
    fibre = _noise(9 * x, 70 * y + 20 * z)
    share = np.clip(0.45 * wave * wave + 0.35 * fibre + 0.15 * bend, 0, 1)
    return _mix(texture.light, texture.dark, share) * (1 - 0.55 * joint)


def _specks(p: Vec, cell: float, share: float) -> np.ndarray:
    """Where a speck is: bool [N]. A speck's centre and radius vary, and it stays within its cell."""
    i, j, k = (np.floor(c / cell + 0.37).astype(np.int32) for c in p)
    radius = 0.2 + 0.3 * _hash(i, j, k)
    square = 0.0
    for axis, (c, index) in enumerate(zip(p, (i, j, k), strict=True)):
        centre = index + radius + (1 - 2 * radius) * _hash(i + 17 * axis, j, k + 5) - 0.37
        square = square + np.square(c / cell - centre)
    return (square < radius * radius) & (_hash(i, j, k + 9) < share)


def _printed(texture: Print, p: Vec) -> np.ndarray:
    """Where there is ink: bool [N]."""
    across = coordinate(p, texture.along[0]) / texture.half_width
    up = coordinate(p, texture.along[1]) / texture.half_height
    page = (np.abs(across) < 0.82) & (np.abs(up) < 0.86)
    title = page & (np.abs(up - 0.62) < 0.17) & (_hash(np.floor(across * 9).astype(np.int32), 7) < 0.85)
    row_at = (up + 0.86) / (1.2 / texture.rows)
    row = np.floor(row_at).astype(np.int32)
    in_row = (row_at - row > 0.35) & (up < 0.32)
    letter = np.floor(across * texture.half_width / (0.7 * texture.line)).astype(np.int32)
    words = (_hash(letter, row) < 0.78) & (np.abs(across) < 0.5 + 0.32 * _hash(row, row + 3))
    frame = (np.maximum(np.abs(across), np.abs(up)) > 0.9) & (np.maximum(np.abs(across), np.abs(up)) < 0.95)
    return title | (page & in_row & words) | frame


def _dial(texture: Dial, p: Vec) -> np.ndarray:
    """Where there is ink: bool [N]."""
    rho = coordinate(p, "radius") / texture.radius
    minute = coordinate(p, "angle") * (30 / math.pi)
    off = np.abs(minute - np.round(minute)) * (math.pi / 30) * rho
    hour = np.abs(minute / 5 - np.round(minute / 5)) * (math.pi / 6) * rho
    marks = (off < 0.014) & (rho > 0.86) & (rho < 0.94)
    hours = (hour < 0.035) & (rho > 0.68) & (rho < 0.94)
    return marks | hours | (np.abs(rho - 0.965) < 0.015)


def _pips(texture: Pips, p: Vec) -> np.ndarray:
    """Where a spot is: bool [N]."""
    q = np.stack([c / texture.half for c in p])
    face = np.abs(q).argmax(axis=0)
    a, b = by_axis(face, q[1], q[2], q[0]), by_axis(face, q[2], q[0], q[1])
    count = np.where(by_axis(face, q[0], q[1], q[2]) > 0, 1 + face, 6 - face)
    size, far = 0.2, 0.5

    def spot(u: float, v: float) -> np.ndarray:
        return np.square(a - u) + np.square(b - v) < size * size

    diagonal = spot(far, far) | spot(-far, -far)
    other = spot(far, -far) | spot(-far, far)
    sides = spot(far, 0) | spot(-far, 0)
    return (spot(0, 0) & (count % 2 == 1)) | (diagonal & (count > 1)) | (other & (count > 3)) | (sides & (count == 6))

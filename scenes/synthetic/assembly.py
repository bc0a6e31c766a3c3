"""What an object of the synthetic scenes is: captioned parts made of placed surfaces; and the helpers that
build them.

An item's own frame has z up and its foot on z = 0, in world units. Poses are 4x4 float64 rigid transforms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from scenes.synthetic.solids import Box, Cone, Disc, Ellipsoid, Shape
from scenes.synthetic.textures import RGB, Material, Plain, linear

PALETTE: dict[str, RGB] = {
    "red": linear("c23a2b"),
    "orange": linear("e8842c"),
    "yellow": linear("f0c23c"),
    "green": linear("4f8a4b"),
    "teal": linear("2f8f8b"),
    "blue": linear("3566a8"),
    "purple": linear("74508f"),
    "pink": linear("e08a9b"),
    "white": linear("f1ece2"),
    "cream": linear("ead9b5"),
    "grey": linear("8b8d90"),
    "brown": linear("7a4e2d"),
    "black": linear("26262a"),
}


@dataclass(frozen=True)
class Piece:
    """One surface: its shape, its pose in the frame of the item, and what it is made of."""

    shape: Shape
    pose: np.ndarray
    material: Material


@dataclass(frozen=True)
class Part:
    """A captioned part of an item."""

    caption: str
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class Item:
    """A captioned object. radius: of the circle round the z axis that holds it, height: of its top, in world
    units.

    lamps: [N, 4] rows (x, y, z, radius) of the light sources it carries, in its own frame.
    """

    caption: str
    parts: tuple[Part, ...]
    radius: float
    height: float
    lamps: tuple[tuple[float, float, float, float], ...] = ()


def a(noun: str) -> str:
    """The noun with its article: "a red mug", "an orange"."""
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def paint(colour: str, gloss: float = 0.0, sharpness: float = 60.0) -> Material:
    """A plain colour of the palette."""
    return Material(Plain(PALETTE[colour]), gloss, sharpness)


def pose(x: float = 0.0, y: float = 0.0, z: float = 0.0, rx: float = 0.0, ry: float = 0.0, rz: float = 0.0):
    """A 4x4 pose: turn about x, then y, then z (degrees), then move."""
    x_turn, y_turn, z_turn = (math.radians(angle) for angle in (rx, ry, rz))
    turn_x = np.array([[1, 0, 0], [0, math.cos(x_turn), -math.sin(x_turn)], [0, math.sin(x_turn), math.cos(x_turn)]])
    turn_y = np.array([[math.cos(y_turn), 0, math.sin(y_turn)], [0, 1, 0], [-math.sin(y_turn), 0, math.cos(y_turn)]])
    turn_z = np.array([[math.cos(z_turn), -math.sin(z_turn), 0], [math.sin(z_turn), math.cos(z_turn), 0], [0, 0, 1]])
    result = np.eye(4)
    result[:3, :3] = turn_z @ turn_y @ turn_x
    result[:3, 3] = x, y, z
    return result


def ball(radius: float, at: np.ndarray, material: Material) -> Piece:
    """A sphere."""
    return Piece(Ellipsoid(radius, radius, radius), at, material)


def box(x: float, y: float, z: float, at: np.ndarray, material: Material) -> Piece:
    """A box of the whole sizes x, y, z, standing on the origin of `at`."""
    return Piece(Box(x / 2, y / 2, z / 2), at @ pose(z=z / 2), material)


def cylinder(
    bottom: float,
    top: float,
    height: float,
    at: np.ndarray,
    material: Material,
    caps: tuple[bool, bool] = (True, True),
) -> tuple[Piece, ...]:
    """A cylinder or frustum of the two radii standing on the origin of `at`; caps: whether bottom and top are
    closed.
    """
    side = Piece(Cone(bottom, top, height), at @ pose(z=height / 2), material)
    lid = (Piece(Disc(top), at @ pose(z=height), material),) if caps[1] and top > 0 else ()
    foot = (Piece(Disc(bottom), at @ pose(rx=180), material),) if caps[0] and bottom > 0 else ()
    return (side, *lid, *foot)


def rod(start: tuple[float, float, float], end: tuple[float, float, float], radius: float, material: Material) -> Piece:
    """A round wire from `start` to `end`, its ends open: let them sink into something."""
    first, last = np.asarray(start, np.float64), np.asarray(end, np.float64)
    length = float(np.linalg.norm(last - first))
    up = (last - first) / length
    side = np.cross(up, [1.0, 0, 0] if abs(up[0]) < 0.9 else [0, 1.0, 0])
    side /= np.linalg.norm(side)
    at = np.eye(4)
    at[:3, :3] = np.stack([side, np.cross(up, side), up], axis=1)
    at[:3, 3] = (first + last) / 2
    return Piece(Cone(radius, radius, length), at, material)


def around(count: int, radius: float, z: float, start: float = 0.0) -> list[tuple[float, float, float]]:
    """`count` points evenly spaced on a level circle, from the azimuth `start` (radians)."""
    turns = [start + 2 * math.pi * i / count for i in range(count)]
    return [(radius * math.cos(turn), radius * math.sin(turn), z) for turn in turns]

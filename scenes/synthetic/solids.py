"""The analytic surfaces that the synthetic scenes are made of, and where a ray first meets them.

Every surface is centred on the origin of its own frame, in world units, and is opaque from both sides; `inward`
turns its normal to the inside (the hollow of a mug). A vector is a tuple (x, y, z) of arrays that broadcast
against each other, which keeps each coordinate contiguous. Rays are origin + t * direction with directions of
any length, so `t` can be a depth, a distance or a fraction of a segment, as the caller likes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from scenes.synthetic.torus import Torus, hit_torus, tube_centre
from scenes.synthetic.vectors import Vec, along, by_axis, dot, normalised


@dataclass(frozen=True)
class Ellipsoid:
    """x^2/rx^2 + y^2/ry^2 + z^2/rz^2 = 1, kept where low <= z/rz <= high (an open dome or bowl if cut)."""

    rx: float
    ry: float
    rz: float
    low: float = -1.0
    high: float = 1.0
    inward: bool = False


@dataclass(frozen=True)
class Cone:
    """The open side of a cone frustum (a cylinder if the radii are equal), z from -height/2 to height/2."""

    bottom: float
    top: float
    height: float
    inward: bool = False


@dataclass(frozen=True)
class Disc:
    """The ring inner <= sqrt(x^2 + y^2) <= outer in the plane z = 0, its normal +z."""

    outer: float
    inner: float = 0.0


@dataclass(frozen=True)
class Box:
    """A closed box of half sizes x, y, z; with `trim` > 0, its part inside a sphere of that radius."""

    x: float
    y: float
    z: float
    trim: float = 0.0


Shape: TypeAlias = "Ellipsoid | Cone | Disc | Box | Torus"


def half_extent(shape: Shape) -> tuple[float, float, float]:
    """Half sizes of a box around the origin that holds the shape."""
    match shape:
        case Ellipsoid(rx, ry, rz, low, high):
            return rx, ry, rz * max(abs(low), abs(high))
        case Cone(bottom, top, height):
            return max(bottom, top), max(bottom, top), height / 2
        case Disc(outer):
            return outer, outer, 0.0
        case Box(x, y, z, trim):
            return (min(x, trim), min(y, trim), min(z, trim)) if trim > 0 else (x, y, z)
        case Torus(major, minor):
            return major + minor, major + minor, minor


def shadows_itself(shape: Shape) -> bool:
    """Whether a ray that leaves the front of the surface can meet the surface again."""
    return isinstance(shape, Torus) or (isinstance(shape, (Ellipsoid, Cone)) and shape.inward)


def first_hit(shape: Shape, origin: Vec, direction: Vec, near: float) -> np.ndarray:
    """The smallest t > near at which the ray meets the surface, infinity where it never does.

    The origin first slides along the ray to the point nearest the shape's centre: without that the quadratics
    lose the digits that a wire of 2 mm seen from 3 m needs in float32 (Haines et al., Ray Tracing Gems, chapter
    7).
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        slide = -dot(origin, direction) / dot(direction, direction)
        o = along(origin, direction, slide)
        start = near - slide
        match shape:
            case Ellipsoid():
                t = _hit_ellipsoid(shape, o, direction, start)
            case Cone():
                t = _hit_cone(shape, o, direction, start)
            case Disc():
                t = _hit_disc(shape, o, direction, start)
            case Box():
                t = _hit_box(shape, o, direction, start)
            case Torus():
                t = hit_torus(shape, o, direction, start)
        return t + slide


def _first_kept(t0: np.ndarray, t1: np.ndarray, start: np.ndarray, o: Vec, d: Vec, low: float, high: float):
    """The first of two roots t0 <= t1 that lies beyond `start` at a height within [low, high]; NaN counts as a
    miss.
    """
    z0, z1 = o[2] + t0 * d[2], o[2] + t1 * d[2]
    t = np.where((t1 > start) & (z1 >= low) & (z1 <= high), t1, np.inf)
    return np.where((t0 > start) & (z0 >= low) & (z0 <= high), t0, t)


def _hit_ellipsoid(shape: Ellipsoid, o: Vec, d: Vec, start: np.ndarray) -> np.ndarray:
    so, sd = (
        (o[0] / shape.rx, o[1] / shape.ry, o[2] / shape.rz),
        (d[0] / shape.rx, d[1] / shape.ry, d[2] / shape.rz),
    )
    a, b, c = dot(sd, sd), dot(so, sd), dot(so, so) - 1.0
    root = np.sqrt(b * b - a * c)
    return _first_kept((-b - root) / a, (-b + root) / a, start, so, sd, shape.low, shape.high)


def _hit_cone(shape: Cone, o: Vec, d: Vec, start: np.ndarray) -> np.ndarray:
    slope = (shape.top - shape.bottom) / shape.height
    radius = (shape.top + shape.bottom) / 2 + slope * o[2]
    fall = slope * d[2]
    a = d[0] * d[0] + d[1] * d[1] - fall * fall
    b = o[0] * d[0] + o[1] * d[1] - radius * fall
    root = np.sqrt(b * b - a * (o[0] * o[0] + o[1] * o[1] - radius * radius))
    t0, t1 = (-b - root) / a, (-b + root) / a
    if slope:  # steeper than the flank, a is negative and the roots change places
        t0, t1 = np.minimum(t0, t1), np.maximum(t0, t1)
    return _first_kept(t0, t1, start, o, d, -shape.height / 2, shape.height / 2)


def _hit_disc(shape: Disc, o: Vec, d: Vec, start: np.ndarray) -> np.ndarray:
    t = -o[2] / d[2]
    x, y = o[0] + t * d[0], o[1] + t * d[1]
    square = x * x + y * y
    kept = (t > start) & (square <= shape.outer * shape.outer)
    if shape.inner:
        kept &= square >= shape.inner * shape.inner
    return np.where(kept, t, np.inf)


def _hit_box(shape: Box, o: Vec, d: Vec, start: np.ndarray) -> np.ndarray:
    enter, leave = np.float32(-np.inf), np.float32(np.inf)
    for axis, half in enumerate((shape.x, shape.y, shape.z)):
        inverse = 1.0 / np.where(np.abs(d[axis]) < 1e-12, d[axis].dtype.type(1e-12), d[axis])
        centre, span = -o[axis] * inverse, half * np.abs(inverse)
        enter, leave = np.maximum(enter, centre - span), np.minimum(leave, centre + span)
    if shape.trim > 0:
        a, b = dot(d, d), dot(o, d)
        root = np.sqrt(b * b - a * (dot(o, o) - shape.trim * shape.trim))
        enter, leave = np.maximum(enter, (-b - root) / a), np.minimum(leave, (-b + root) / a)
    t = np.where(enter > start, enter, leave)
    return np.where((enter <= leave) & (t > start), t, np.inf)


def normal_at(shape: Shape, p: Vec) -> Vec:
    """Unit normals at points p on the surface, pointing to its visible side."""
    match shape:
        case Ellipsoid(rx, ry, rz):
            n = normalised((p[0] / (rx * rx), p[1] / (ry * ry), p[2] / (rz * rz)))
        case Cone(bottom, top, height):
            slope = (top - bottom) / height
            scale = 1.0 / (np.maximum(np.sqrt(p[0] * p[0] + p[1] * p[1]), 1e-12) * math.sqrt(1 + slope * slope))
            n = (p[0] * scale, p[1] * scale, np.full_like(scale, -slope / math.sqrt(1 + slope * slope)))
        case Disc():
            zero = np.zeros_like(p[0])
            return zero, zero, zero + 1
        case Box():
            return _box_normal(shape, p)
        case Torus():
            c = tube_centre(shape, p)
            return normalised((p[0] - c[0], p[1] - c[1], p[2] - c[2]))
    return (-n[0], -n[1], -n[2]) if shape.inward else n


def box_face(shape: Box, p: Vec) -> tuple[np.ndarray, np.ndarray]:
    """Which face the ray from the centre through p leaves by (axis, +3 on the negative side), and max |p_i| /
    half_i.
    """
    scaled = np.stack([np.abs(p[0]) / shape.x, np.abs(p[1]) / shape.y, np.abs(p[2]) / shape.z])
    axis = scaled.argmax(axis=0)
    negative = by_axis(axis, p[0] < 0, p[1] < 0, p[2] < 0)
    return axis + 3 * negative, scaled.max(axis=0)


def _box_normal(shape: Box, p: Vec) -> Vec:
    face, reach = box_face(shape, p)
    sign = np.where(face >= 3, -1.0, 1.0).astype(p[0].dtype)
    n = tuple(np.where(face % 3 == axis, sign, 0) for axis in range(3))
    if shape.trim > 0:
        length = np.sqrt(dot(p, p))
        ball = np.abs(length / shape.trim - 1) < np.abs(reach - 1)
        n = tuple(np.where(ball, p[axis] / length, n[axis]) for axis in range(3))
    return n[0], n[1], n[2]

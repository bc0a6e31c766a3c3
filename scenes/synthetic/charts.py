"""A grid of nodes over each analytic surface, to bake what does not depend on the viewer: light.

A chart maps points of a surface to (face, u, v) with u, v in [0, 1]; its inverse places nodes. Nodes lie on the
edges of the square too (`u_i = i / (n - 1)`), so seams and poles meet without wrapping and lookups only clamp.
"""

from __future__ import annotations

import math

import numpy as np

from scenes.synthetic.solids import Box, Cone, Disc, Ellipsoid, Shape, box_face
from scenes.synthetic.torus import Torus
from scenes.synthetic.vectors import Vec, by_axis, dot

MAX_NODES = 384  # per side of a face


def grid_size(shape: Shape, spacing: float) -> tuple[int, int, int]:
    """(faces, nodes in v, nodes in u) so that neighbouring nodes are about `spacing` world units apart."""

    def nodes(length: float, least: int = 2) -> int:
        return min(max(math.ceil(length / spacing) + 1, least), MAX_NODES)

    match shape:
        case Ellipsoid(rx, ry, rz, low, high):
            arc = max(rx, rz) * (math.asin(high) - math.asin(low))
            return 1, nodes(arc, 5), nodes(2 * math.pi * max(rx, ry), 9)
        case Cone(bottom, top, height):
            return 1, nodes(math.hypot(height, top - bottom), 3), nodes(2 * math.pi * max(bottom, top), 9)
        case Disc(outer, inner):
            if inner > 0:
                return 1, nodes(outer - inner), nodes(2 * math.pi * outer, 9)
            return 1, nodes(2 * outer, 5), nodes(2 * outer, 5)
        case Box(x, y, z):
            side = max(2 * sorted((x, y, z))[1], max(x, y, z))
            return 6, nodes(side, 3), nodes(2 * max(x, y, z), 3)
        case Torus(major, minor, half_arc):
            return 1, nodes(2 * math.pi * minor, 7), nodes(2 * half_arc * (major + minor), 7)


def chart(shape: Shape, p: Vec) -> tuple[np.ndarray | int, np.ndarray, np.ndarray]:
    """(face, u, v) of points p on the surface (off it: of a point nearby)."""
    match shape:
        case Ellipsoid(rx, ry, rz, low, high):
            # v is uniform in the latitude: equal steps along the meridian, also near the poles
            latitude = np.arcsin(np.clip(p[2] / rz, -1, 1))
            first, last = math.asin(low), math.asin(high)
            return 0, _turn(p[1] / ry, p[0] / rx), (latitude - first) / (last - first)
        case Cone(_, _, height):
            return 0, _turn(p[1], p[0]), p[2] / height + 0.5
        case Disc(outer, inner):
            if inner > 0:
                rho = np.sqrt(p[0] * p[0] + p[1] * p[1])
                return 0, _turn(p[1], p[0]), (rho - inner) / (outer - inner)
            return 0, p[0] / (2 * outer) + 0.5, p[1] / (2 * outer) + 0.5
        case Box(x, y, z):
            face, reach = box_face(shape, p)
            axis = face % 3
            # the face's own two axes are the next ones in cyclic order
            u = by_axis(axis, p[1] / y, p[2] / z, p[0] / x) / reach
            v = by_axis(axis, p[2] / z, p[0] / x, p[1] / y) / reach
            return face, u / 2 + 0.5, v / 2 + 0.5
        case Torus(major, _, half_arc):
            rho = np.sqrt(p[0] * p[0] + p[1] * p[1])
            return 0, np.arctan2(p[1], p[0]) / (2 * half_arc) + 0.5, _turn(p[2], rho - major)


def node_points(shape: Shape, spacing: float) -> Vec:
    """All nodes of the grid in the order (face, v, u), each coordinate [faces * nv * nu] float64, on the
    surface.
    """
    faces, nv, nu = grid_size(shape, spacing)
    face, v, u = (
        a.ravel() for a in np.meshgrid(np.arange(faces), np.linspace(0, 1, nv), np.linspace(0, 1, nu), indexing="ij")
    )
    turn = (u - 0.5) * 2 * math.pi
    match shape:
        case Ellipsoid(rx, ry, rz, low, high):
            latitude = math.asin(low) + v * (math.asin(high) - math.asin(low))
            ring = np.cos(latitude)
            return rx * ring * np.cos(turn), ry * ring * np.sin(turn), rz * np.sin(latitude)
        case Cone(bottom, top, height):
            # a tip has no normal: its ring of nodes keeps a hair's breadth
            radius = np.maximum(bottom + (top - bottom) * v, 1e-6)
            return radius * np.cos(turn), radius * np.sin(turn), (v - 0.5) * height
        case Disc(outer, inner):
            zero = np.zeros_like(u)
            if inner > 0:
                rho = inner + (outer - inner) * v
                return rho * np.cos(turn), rho * np.sin(turn), zero
            return (2 * u - 1) * outer, (2 * v - 1) * outer, zero
        case Box(x, y, z, trim):
            one, two, sign = 2 * u - 1, 2 * v - 1, np.where(face >= 3, -1.0, 1.0)
            axis = face % 3
            p = (
                by_axis(axis, sign, two, one) * x,
                by_axis(axis, one, sign, two) * y,
                by_axis(axis, two, one, sign) * z,
            )
            if trim > 0:
                pull = np.minimum(1.0, trim / np.sqrt(dot(p, p)))
                return p[0] * pull, p[1] * pull, p[2] * pull
            return p
        case Torus(major, minor, half_arc):
            around, tube = (u - 0.5) * 2 * half_arc, turn_of(v)
            rho = major + minor * np.cos(tube)
            return rho * np.cos(around), rho * np.sin(around), minor * np.sin(tube)


def turn_of(v: np.ndarray) -> np.ndarray:
    """The angle whose chart coordinate is v."""
    return (v - 0.5) * 2 * math.pi


def _turn(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The azimuth of (x, y) as a number in [0, 1], 0.5 at +x."""
    return np.arctan2(y, x) * (0.5 / math.pi) + 0.5

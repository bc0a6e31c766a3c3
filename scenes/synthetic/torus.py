"""The torus, whole or cut to an arc, and where a ray first meets it, by sphere tracing."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from scenes.synthetic.vectors import Vec, along, dot, pick

STRIDE = 4  # steps of sphere tracing between looks at who has arrived
MAX_ROUNDS = 24  # of that many steps; rays along a torus's flank need most


@dataclass(frozen=True)
class Torus:
    """The tube of radius `minor` around a circle of radius `major` in the plane z = 0.

    Only azimuths within `half_arc` of +x are kept, closed by half spheres: a handle, a hook, a banana.
    """

    major: float
    minor: float
    half_arc: float = math.pi


def hit_torus(shape: Torus, o: Vec, d: Vec, start: np.ndarray) -> np.ndarray:
    """Sphere tracing on the exact distance, only for the few rays that come near the tube at all."""
    o0, o1, o2, d0, d1, d2, start = np.broadcast_arrays(*o, *d, start)
    inverse = 1.0 / np.where(np.abs(d2) < 1e-9, d2.dtype.type(1e-9), d2)
    a, b = d0 * d0 + d1 * d1, o0 * d0 + o1 * d1
    outer = shape.major + shape.minor
    root = np.sqrt(b * b - a * (o0 * o0 + o1 * o1 - outer * outer))
    enter = np.maximum(-o2 * inverse - shape.minor * np.abs(inverse), (-b - root) / a)
    leave = np.minimum(-o2 * inverse + shape.minor * np.abs(inverse), (-b + root) / a)
    enter = np.maximum(enter, start)
    nearest = np.clip(-b / a, enter, leave)
    inside = np.square(o0 + nearest * d0) + np.square(o1 + nearest * d1)
    far = np.maximum(
        np.square(o0 + enter * d0) + np.square(o1 + enter * d1),
        np.square(o0 + leave * d0) + np.square(o1 + leave * d1),
    )
    inner = max(shape.major - shape.minor, 0.0)
    near_tube = np.flatnonzero((enter <= leave) & (inside <= outer * outer) & (far >= inner * inner))
    result = np.full(enter.shape, np.inf, enter.dtype)
    if len(near_tube):
        few_o = (o0.ravel()[near_tube], o1.ravel()[near_tube], o2.ravel()[near_tube])
        few_d = (d0.ravel()[near_tube], d1.ravel()[near_tube], d2.ravel()[near_tube])
        result.ravel()[near_tube] = _march(shape, few_o, few_d, enter.ravel()[near_tube], leave.ravel()[near_tube])
    return result


def _march(shape: Torus, o: Vec, d: Vec, t: np.ndarray, leave: np.ndarray) -> np.ndarray:
    """The first root of the tube's distance in [t, leave] along each of the rays, all arrays [N]; infinity if
    none.

    Distances are taken without sign, so that a ray which starts within the tube finds its exit.
    """
    found = np.full(len(t), np.inf, t.dtype)
    tolerance = 1e-3 * shape.minor
    live, speed = np.arange(len(t)), 1.0 / np.sqrt(dot(d, d))
    for _ in range(MAX_ROUNDS):
        for _ in range(STRIDE):  # a step never crosses the surface, so rays that have arrived stay put
            distance = np.abs(tube_distance(shape, along(o, d, t)))
            t = t + distance * speed
        hit = (distance < tolerance) & (t <= leave + tolerance * speed)
        if hit.any():
            hits = (pick(o, hit), pick(d, hit), t[hit])
            found[live[hit]] = _polished(shape, *hits, tolerance * speed[hit])
        keep = ~hit & (t <= leave)
        if not keep.any():
            break
        live, t, leave, speed, o, d = (
            live[keep],
            t[keep],
            leave[keep],
            speed[keep],
            pick(o, keep),
            pick(d, keep),
        )
    return found


def _polished(shape: Torus, o: Vec, d: Vec, t: np.ndarray, tolerance: np.ndarray) -> np.ndarray:
    """Newton steps from within the tolerance onto the root; where the ray only grazes, the step is bounded."""
    for _ in range(2):
        p = along(o, d, t)
        c = tube_centre(shape, p)
        offset = (p[0] - c[0], p[1] - c[1], p[2] - c[2])
        length = np.sqrt(dot(offset, offset))
        fall = dot(offset, d) / length
        step = (shape.minor - length) / np.where(fall == 0, 1, fall)
        t = t + np.clip(step, -20 * tolerance, 20 * tolerance)
    return t


def tube_centre(shape: Torus, p: Vec) -> Vec:
    """The point of the torus's circle (or arc) that is nearest to p."""
    rho = np.maximum(np.sqrt(p[0] * p[0] + p[1] * p[1]), 1e-12)
    cos, sin = p[0] / rho, p[1] / rho
    if shape.half_arc < math.pi:
        end = math.cos(shape.half_arc)
        beyond = cos < end
        sin = np.where(beyond, np.copysign(math.sin(shape.half_arc), p[1]), sin)
        cos = np.where(beyond, end, cos)
    return shape.major * cos, shape.major * sin, np.zeros_like(rho)


def tube_distance(shape: Torus, p: Vec) -> np.ndarray:
    """Signed distance from p to the torus's surface, negative inside."""
    rho = np.sqrt(p[0] * p[0] + p[1] * p[1])
    square = np.square(rho - shape.major)
    if shape.half_arc < math.pi:
        cos, sin = math.cos(shape.half_arc), math.sin(shape.half_arc)
        to_end = np.square(p[0] - shape.major * cos) + np.square(np.abs(p[1]) - shape.major * sin)
        square = np.where(p[0] < cos * rho, to_end, square)
    return np.sqrt(square + p[2] * p[2]) - shape.minor

"""One similarity `world_from_input`: up becomes +z, what the cameras look at the origin, its distance about 1.

Letters: C = camera centres [N, 3], d = unit viewing directions, in input coordinates. Kinds of capture:
  inward    the viewing axes nearly meet before the cameras: the meeting point is the centre (orbits, objects)
  forward   the axes are nearly parallel: the centre is the median point, or a depth ahead of the cameras (LLFF)
  outward   anything else (rooms, walks): the centre is the median point, or the middle of the cameras
The unit of length is the median distance of the cameras from the centre; where axes do not meet, that of the
points if that is larger. All choices are medians or robust fits: a few bad cameras or points do not matter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

MEETING_SPREAD = 0.03
"""Mean squared sine of the axes' angle to their common direction from which they fix a point (10 degrees)."""
PARALLEL = 0.8
"""Length of the mean viewing direction above which cameras look one way."""
BASELINES_AHEAD = 5.0
"""Guess of a forward capture's depth without points and depth ranges, in units of the cameras' spread."""


@dataclass(frozen=True)
class Views:
    """What placing a scene needs to know of its cameras.

    poses: [N, 4, 4] world_from_camera, OpenCV axes, input coordinates. slopes: [N, 2] half width and half
    height of the picture at depth 1. depth_ranges: [N, 2] nearest and farthest depth in input units, or None.
    """

    poses: Matrix
    slopes: Matrix
    depth_ranges: Matrix | None = None

    @property
    def centres(self) -> Matrix:
        """C, [N, 3]."""
        return self.poses[:, :3, 3]

    @property
    def directions(self) -> Matrix:
        """d, [N, 3]."""
        return self.poses[:, :3, 2]


@dataclass(frozen=True)
class Placement:
    """world_from_input: [4, 4] similarity. bounds: [2, 3] box in world units of what is worth modelling."""

    world_from_input: Matrix
    bounds: Matrix


def place(views: Views, points: Matrix | None, *, has_object_masks: bool, keep_coordinates: bool) -> Placement:
    """The placement of a capture; `points` [P, 3] in input coordinates, or None.

    has_object_masks: an object is cut out by masks or alpha, so that nothing outside the views' common part
    matters. keep_coordinates: the similarity is the identity and only bounds are looked for.
    """
    meeting = meeting_point(views)
    centre = meeting if meeting is not None else centre_ahead(views, points)
    radius = unit_length(views, points, centre, meeting is not None)
    similarity = np.eye(4)
    if not keep_coordinates:
        rotation = level_rotation(views.poses)
        similarity[:3, :3] = rotation / radius
        similarity[:3, 3] = -rotation @ centre / radius
    scale = np.linalg.norm(similarity[0, :3])
    middle = similarity[:3, :3] @ centre + similarity[:3, 3]
    if points is not None:
        bounds = robust_box(points @ similarity[:3, :3].T + similarity[:3, 3])
    elif meeting is not None:
        reach = radius * scale * float(np.median(views.slopes.max(axis=1))) * (1.05 if has_object_masks else 2.0)
        bounds = np.stack([middle - reach, middle + reach])
    elif looks_one_way(views):
        bounds = robust_box(frustum_corners(views, centre) @ similarity[:3, :3].T + similarity[:3, 3])
    else:
        bounds = np.stack([middle - 3.0 * radius * scale, middle + 3.0 * radius * scale])
    return Placement(similarity, bounds)


@dataclass(frozen=True)
class Meeting:
    """The point nearest to all viewing axes; distances: [N] of the axes from it; depths: [N] of it along them."""

    point: Matrix
    distances: Matrix
    depths: Matrix


def nearest_to_axes(views: Views) -> Meeting | None:
    """The point nearest to all viewing axes by the sum of distances (reweighted least squares), wherever it lies.

    None when the axes are nearly parallel and fix no point.
    """
    centres, d = views.centres, views.directions
    across = np.eye(3) - d[:, :, None] * d[:, None, :]  # [N, 3, 3] projections onto the planes across the axes
    if np.linalg.eigvalsh(across.mean(axis=0))[0] < MEETING_SPREAD:
        return None
    weights = np.ones(len(centres))
    point, distances = centres.mean(axis=0), np.zeros(len(centres))
    for _ in range(10):
        weighted = across * weights[:, None, None]
        point = np.linalg.solve(weighted.sum(axis=0), np.einsum("nij,nj->i", weighted, centres))
        distances = np.linalg.norm(np.einsum("nij,nj->ni", across, point - centres), axis=1)
        weights = 1.0 / (distances + 1e-3 * np.median(distances) + 1e-12)
    return Meeting(point, distances, ((point - centres) * d).sum(axis=1))


def meeting_point(views: Views) -> Matrix | None:
    """[3] the point nearest to all viewing axes; None when it is ill-defined, behind cameras, or far from many axes."""
    met = nearest_to_axes(views)
    if met is None:
        return None
    if np.mean(met.depths > 0) < 0.8 or np.median(met.distances) > 0.5 * np.median(np.abs(met.depths)):
        return None
    return met.point


def looks_one_way(views: Views) -> bool:
    """Whether all cameras look roughly along one direction."""
    return bool(np.linalg.norm(views.directions.mean(axis=0)) > PARALLEL)


def centre_ahead(views: Views, points: Matrix | None) -> Matrix:
    """[3] the centre of a capture whose axes do not meet."""
    if points is not None:
        return np.median(points, axis=0)
    middle = np.median(views.centres, axis=0)
    if not looks_one_way(views):
        return middle
    if views.depth_ranges is not None:
        inverse = (1.0 / views.depth_ranges).mean()  # half-way in disparity, as the eye sees depth
        depth = 1.0 / inverse
    else:
        spread = float(np.linalg.norm(views.centres - middle, axis=1).max())
        depth = BASELINES_AHEAD * spread if spread > 0 else 1.0
    ahead = views.directions.mean(axis=0)
    return middle + depth * ahead / np.linalg.norm(ahead)


def unit_length(views: Views, points: Matrix | None, centre: Matrix, inward: bool) -> float:
    """The length in input units that becomes 1."""
    radius = float(np.median(np.linalg.norm(views.centres - centre, axis=1)))
    if points is not None and not inward:
        radius = max(radius, float(np.median(np.linalg.norm(points - centre, axis=1))))
    return radius if radius > 1e-12 else 1.0


def level_rotation(poses: Matrix) -> Matrix:
    """[3, 3] turning the capture's up to +z by the shortest way.

    Up is the direction across all the cameras' right axes, as long as cameras were turned enough to fix it and
    it agrees with the mean of the cameras' own up (people hold cameras level); else it is that mean.
    """
    up = -poses[:, :3, 1].mean(axis=0)
    length = np.linalg.norm(up)
    up = up / length if length > 1e-6 else np.array([0.0, 0.0, 1.0])
    right = poses[:, :3, 0]
    sizes, axes = np.linalg.eigh(right.T @ right / len(right))
    level = axes[:, 0] * np.sign(axes[:, 0] @ up)
    if sizes[1] > 0.1 and sizes[0] < 0.05 and level @ up > 0.5:
        up = level
    z = np.array([0.0, 0.0, 1.0])
    if up @ z < -1.0 + 1e-9:
        return np.diag([1.0, -1.0, -1.0])
    cross = np.cross(up, z)
    skew = np.array([[0, -cross[2], cross[1]], [cross[2], 0, -cross[0]], [-cross[1], cross[0], 0]])
    return np.eye(3) + skew + skew @ skew / (1.0 + up @ z)


def frustum_corners(views: Views, centre: Matrix) -> Matrix:
    """[M, 3] corners of the views' frusta at their nearest and farthest depth, input coordinates.

    Without depth ranges, half and twice the depth of `centre` stand in.
    """
    ranges = views.depth_ranges
    if ranges is None:
        depth = ((centre - views.centres) * views.directions).sum(axis=1).clip(min=1e-9)
        ranges = np.stack([0.5 * depth, 2.0 * depth], axis=1)
    signs = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]])
    xy = signs[None] * views.slopes[:, None]  # [N, 4, 2]
    rays = np.concatenate([xy, np.ones((*xy.shape[:2], 1))], axis=-1)
    local = rays[:, None] * ranges[:, :, None, None]  # [N, 2, 4, 3]
    world = np.einsum("nij,nrcj->nrci", views.poses[:, :3, :3], local) + views.centres[:, None, None]
    return world.reshape(-1, 3)


def robust_box(points: Matrix) -> Matrix:
    """[2, 3] from the 1st to the 99th percentile of each coordinate, a tenth of its size wider on all sides."""
    low, high = np.percentile(points, [1.0, 99.0], axis=0)
    margin = 0.1 * np.maximum(high - low, 1e-3 * (high - low).max() + 1e-9)
    return np.stack([low - margin, high + margin])

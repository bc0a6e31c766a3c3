"""Flow labels from tracked boxes: a point in a box moves as the box does (the Argoverse 2 scene-flow convention)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scenes.flow.sequence import Bools, Floats, Matrix, is_moving, without_ego

MARGIN = 0.2
"""Metres added to a box's length and width: annotated boxes are tight and miss points of their object."""


@dataclass(frozen=True)
class Box:
    """pose: [4, 4] sensor's frame from the box's. size: [3] along its axes, metres. category: class index."""

    pose: Matrix
    size: NDArray[np.float64]
    category: int


@dataclass(frozen=True)
class BoxLabels:
    """Labels as in `Cloud`. Points of boxes that are gone in the next cloud are not valid."""

    flow: Floats
    valid: Bools
    classes: NDArray[np.int32]
    dynamic: Bools


def label_by_boxes(
    points: Floats, boxes: Mapping[str, Box], next_boxes: Mapping[str, Box], ego: Matrix, dt: float
) -> BoxLabels:
    """Labels of [N, 3] sensor-frame points from the boxes, by track, now and one step later; later boxes win overlaps.

    ego: the next sensor's frame from this one's. Points in no box stand still.
    """
    exact = points.astype(np.float64)
    order = np.argsort(exact[:, 0], kind="stable")
    along = exact[order, 0]
    flow = np.zeros_like(points)
    valid = np.ones(len(points), bool)
    classes = np.zeros(len(points), np.int32)
    for track, box in boxes.items():
        half = (box.size + np.array((MARGIN, MARGIN, 0.0))) / 2
        reach = float(np.linalg.norm(half))
        first, last = np.searchsorted(along, box.pose[0, 3] + np.array((-reach, reach)))
        near = order[first:last]
        local = (exact[near] - box.pose[:3, 3]) @ box.pose[:3, :3]
        inside = near[(np.abs(local) <= half).all(axis=1)]
        classes[inside] = box.category
        if track in next_boxes:
            motion = next_boxes[track].pose @ np.linalg.inv(box.pose)
            here = exact[inside]
            flow[inside] = without_ego(points[inside], here @ motion[:3, :3].T + motion[:3, 3] - here, ego)
        else:
            valid[inside] = False
    return BoxLabels(flow, valid, classes, is_moving(flow, dt))

"""Which points take part: within range of the sensor, and not on the ground."""

from __future__ import annotations

from typing import Literal

import numpy as np

from scenes.flow.ground import find_ground
from scenes.flow.sequence import CloudSequence

GroundBy = Literal["labels", "own", "labels, else own"]

REACH = 35.0
"""Metres, as the scene-flow benchmarks of Argoverse 2 and Waymo score."""


def crop(sequence: CloudSequence, reach: float = REACH) -> CloudSequence:
    """Only points within a square of 2 x `reach` metres around each sensor, across its `up` axis, as av2-api crops.

    Where up is unknown there is no horizontal plane, and nothing is left out. ValueError when fewer than 3 points of a
    cloud are left.
    """
    if sequence.up is None:
        return sequence
    across = np.delete(np.arange(3), np.argmax(np.abs(sequence.up)))
    return sequence.keep([np.abs(cloud.points[:, across]).max(axis=1) <= reach for cloud in sequence.clouds])


def without_ground(sequence: CloudSequence, by: GroundBy = "labels, else own") -> CloudSequence:
    """Only points off the ground: by each cloud's label, by `find_ground`, or by the latter where there is no label.

    Where up is unknown `find_ground` is not asked; a scene without wide ground (an object) keeps all its points.
    """
    masks = []
    for cloud in sequence.clouds:
        if cloud.ground is not None and by != "own":
            masks.append(~cloud.ground)
        elif sequence.up is None or by == "labels":
            masks.append(slice(None))
        else:
            masks.append(~find_ground(cloud.points, sequence.up))
    return sequence.keep(masks)

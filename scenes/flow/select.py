"""Which points take part: within range of the sensor, and not on the ground."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from scenes.flow.ground import find_ground
from scenes.flow.sequence import LEAST_POINTS, Bools, CloudSequence

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
    masks = [np.abs(cloud.points[:, across]).max(axis=1) <= reach for cloud in sequence.clouds]
    where = f"within {reach:g} m of the sensor; check that they are in metres, in the sensor's frame"
    return enough(sequence, masks, where)


def without_ground(sequence: CloudSequence, by: GroundBy = "labels, else own") -> CloudSequence:
    """Only points off the ground: by each cloud's label, by `find_ground`, or by the latter where there is no label.

    Where up is unknown `find_ground` is not asked; a scene without wide ground (an object) keeps all its points.
    ValueError when fewer than 3 points of a cloud are left.
    """
    masks = []
    for cloud in sequence.clouds:
        if cloud.ground is not None and by != "own":
            masks.append(~cloud.ground)
        elif sequence.up is None or by == "labels":
            masks.append(np.ones(len(cloud.points), bool))
        else:
            masks.append(~find_ground(cloud.points, sequence.up))
    return enough(sequence, masks, "off the ground; check labels of ground, if it has any, and which way is up")


def enough(sequence: CloudSequence, masks: Sequence[Bools], where: str) -> CloudSequence:
    """The points that the masks select; ValueError saying `where` they lie when fewer than 3 of a cloud are left."""
    for t, mask in enumerate(masks):
        if mask.sum() < LEAST_POINTS:
            raise ValueError(f"{sequence.source}: cloud {t}: {mask.sum()} of {len(mask)} points are {where}")
    return sequence.keep(masks)

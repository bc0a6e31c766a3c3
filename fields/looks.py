"""Looks: how good a model is, told while it trains; cheap, and no choice depends on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from fields.subject import Subject
from render.metrics import psnr
from scenes.evaluate import held_out_psnr
from scenes.flow.evaluate import flow_look
from scenes.flow.sequence import CloudSequence
from scenes.measure import FLOW_EPE, HELD_OUT_PSNR, PICTURE_PSNR, SHAPE_IOU, Measure
from scenes.picture.picture import Picture
from scenes.scene import Scene
from scenes.shape.pools import evaluation_pool
from scenes.shape.scores import inside_iou
from scenes.shape.shape import Shape

HELD_OUT_VIEWS = 4
PIXELS = POINTS = 1 << 17


@dataclass(frozen=True)
class Look:
    """score: a model to a figure of `measure`."""

    measure: Measure
    score: Callable[[Any], float]


def measure_of(subject: Subject | None) -> Measure:
    """What the quality of a model of `subject` is told in."""
    match subject:
        case Picture():
            return PICTURE_PSNR
        case Shape():
            return SHAPE_IOU
        case CloudSequence():
            return FLOW_EPE
        case _:
            return HELD_OUT_PSNR


def look_at(subject: Subject) -> Look | None:
    """PSNR of up to four validation views (test views where there are no others), spread over the split; of random
    pixels of a picture; IoU near the surface of a shape; error at labelled points of clouds. None for a scene without
    such views and for clouds without labels of flow.
    """
    measure = measure_of(subject)
    match subject:
        case Scene():
            names = subject.split.val or subject.split.test
            stride = max(1, -(-len(names) // HELD_OUT_VIEWS))
            chosen = names[stride // 2 :: stride]
            return Look(measure, lambda model: held_out_psnr(model, subject, chosen)) if chosen else None
        case Picture():
            return Look(measure, picture_look(subject))
        case Shape():
            return Look(measure, shape_look(subject))
        case CloudSequence():
            score = flow_look(subject)
            return None if score is None else Look(measure, score)


def picture_look(picture: Picture) -> Callable[[Any], float]:
    """PSNR over the same random pixels each time."""
    pixels = picture.batch(0, 1 << 40, PIXELS)  # a step that no run reaches

    @torch.no_grad()
    def score(model: Any) -> float:
        device = next(model.parameters()).device
        guess = model(pixels.xy.to(device)).cpu()
        return psnr((guess.clamp(0, 1) if picture.quantised else guess)[None], pixels.rgb[None])

    return score


def shape_look(shape: Shape) -> Callable[[Any], float]:
    """IoU of the insides over the same points near the surface each time."""
    pool = evaluation_pool(shape.distance, POINTS, seed=1)
    return lambda model: inside_iou(model, pool.to(next(model.parameters()).device))

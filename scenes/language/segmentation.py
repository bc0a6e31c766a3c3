"""Masks out of maps of relevancy, and their overlap with the truth: the protocols of LERF and of 3D-OVS.

As LangSplatV2 (Li et al. 2025) evaluates on the scenes of LERF (Kerr et al. 2023) with the masks that LangSplat
(Qin et al. 2024) added, and on 3D-OVS (Liu et al. 2023).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from scenes.language.relevancy import WINDOW, box_mean, check_relevancy

THRESHOLD = 0.4
"""On the stretched map, so 0.7 of the way from a level's least relevancy to its largest."""
CLEAN_WINDOW = 7
TINY = 1e-9


@dataclass(frozen=True)
class Segmentation:
    """level: the map that was chosen. mask: [H, W] bool."""

    level: int
    mask: Tensor


def segment_lerf(relevancy: Tensor, *, half_sum: bool = True, threshold: float = THRESHOLD) -> Segmentation:
    """The mask of a phrase with `relevancy` [L, H, W]: thresholded at the level whose smoothed map is largest anywhere.

    half_sum: smoothed is the mean of the map and its `box_mean`, as the released code has it; False: the `box_mean`
    alone, as the paper's text says. Of equal levels the first. A constant map has an empty mask.
    """
    maps = smoothed(relevancy, half_sum=half_sum)
    level = int(maps.flatten(1).amax(dim=1).argmax())
    return Segmentation(level, masks(maps[level, None], threshold)[0])


def segment_3dovs(relevancy: Tensor, *, threshold: float = THRESHOLD) -> Segmentation:
    """The mask of a phrase with `relevancy` [2, H, W] of part and whole, at the level most relevant within its mask.

    Smoothed is the mean of the map and its `box_mean`; the level is that whose smoothed map has the largest mean
    inside the level's own mask (0 for an empty one). The paper does not say how this protocol makes masks, and its
    code is not public: they are made as `segment_lerf` does.
    """
    if relevancy.ndim != 3 or len(relevancy) != 2:
        raise ValueError(f"relevancy: expected [2, H, W] of part and whole, got {list(relevancy.shape)}")
    maps = smoothed(relevancy)
    chosen = masks(maps, threshold)
    inside = (maps.double() * chosen).sum(dim=(1, 2)) / chosen.sum(dim=(1, 2)).clamp(min=1)
    level = int(inside.argmax())
    return Segmentation(level, chosen[level])


def smoothed(relevancy: Tensor, *, half_sum: bool = True) -> Tensor:
    """[L, H, W]: the mean of the map and its `box_mean` over 29 pixels, or that alone."""
    check_relevancy(relevancy)
    pooled = box_mean(relevancy, WINDOW)
    return 0.5 * (relevancy + pooled) if half_sum else pooled


def masks(maps: Tensor, threshold: float = THRESHOLD) -> Tensor:
    """[L, H, W] bool where a smoothed map is high within its own range, single pixels cleaned away.

    With x the map less its minimum, x / (max x + 1e-9) is stretched as 2 x - 1 to [0, 1] and held against `threshold`;
    a pixel is then in the mask when more than half of the 7x7 pixels around it (within the picture) are.
    """
    shifted = maps - maps.amin(dim=(1, 2), keepdim=True)
    unit = shifted / (shifted.amax(dim=(1, 2), keepdim=True) + TINY)
    rough = (2 * unit - 1).clamp(0, 1) > threshold
    return box_mean(rough.double(), CLEAN_WINDOW) > 0.5


def intersection_over_union(predicted: Tensor, truth: Tensor) -> float:
    """Shared over united pixels of two masks [H, W] bool; 0 when the prediction is empty, or both are."""
    if predicted.shape != truth.shape or predicted.dtype != torch.bool or truth.dtype != torch.bool:
        raise ValueError(
            f"masks: expected bool of one shape, got {predicted.dtype} {list(predicted.shape)} and "
            f"{truth.dtype} {list(truth.shape)}; render at the size of the labels"
        )
    truth = truth.to(predicted.device)
    return int((predicted & truth).sum()) / max(int((predicted | truth).sum()), 1)

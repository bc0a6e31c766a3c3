"""Where the answer to a query is: LERF's localisation (Kerr et al. 2023), as in LangSplatV2 (Li et al. 2025)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from scenes.language.relevancy import WINDOW, box_mean, check_relevancy


@dataclass(frozen=True)
class Location:
    """level: the map that was chosen. candidates: [P, 2] int64 (x, y) of all pixels where it is largest, row by row."""

    level: int
    candidates: Tensor


def locate(relevancy: Tensor, window: int = WINDOW) -> Location:
    """Where `relevancy` [L, H, W] of one phrase, smoothed by `box_mean`, is largest; of equal levels the first.

    Every pixel that equals the maximum is a candidate, so of a constant map all are.
    """
    check_relevancy(relevancy)
    pooled = box_mean(relevancy, window)
    level = int(pooled.flatten(1).amax(dim=1).argmax())
    return Location(level, (pooled[level] == pooled[level].max()).nonzero().flip(-1))


def is_hit(location: Location, boxes: Tensor) -> bool:
    """Whether any candidate lies in any of `boxes` [B, 4] (x_low, y_low, x_high, y_high) in pixels, edges included.

    A candidate stands for its whole-number coordinates, the first pixel's being (0, 0), as in the labels.
    """
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"boxes: expected [B, 4] (x_low, y_low, x_high, y_high), got {list(boxes.shape)}")
    points, boxes = location.candidates[:, None].to(boxes.dtype), boxes.to(location.candidates.device)
    return bool(((points >= boxes[:, :2]) & (points <= boxes[:, 2:])).all(dim=-1).any())

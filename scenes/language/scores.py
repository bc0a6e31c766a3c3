"""Scores of answers to queries: localisation accuracy and mean IoU over pairs of labelled frame and category.

The protocols of LERF (Kerr et al. 2023) and 3D-OVS (Liu et al. 2023), as LangSplatV2 (Li et al. 2025) applies them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from scenes.language.lerf_labels import Label
from scenes.language.localisation import is_hit, locate
from scenes.language.segmentation import THRESHOLD, intersection_over_union, segment_3dovs, segment_lerf


@dataclass(frozen=True)
class QueryScore:
    """Of one category in one frame. hit: None where the protocol does not localise. iou: in [0, 1].

    levels: the maps that were chosen, for the location (if any) and for the mask.
    """

    category: str
    hit: bool | None
    iou: float
    levels: tuple[int | None, int]


@dataclass(frozen=True)
class LanguageScores:
    """Means over pairs of frame and category. loc_accuracy: hits over pairs, None where nothing was localised."""

    pairs: int
    hits: int | None
    loc_accuracy: float | None
    miou: float

    def as_json(self) -> dict[str, Any]:
        """Plain data, as for `eval/metrics.json`."""
        return {"pairs": self.pairs, "hits": self.hits, "loc_accuracy": self.loc_accuracy, "miou": self.miou}


def score_lerf(relevancy: Tensor, label: Label, *, half_sum: bool = True, threshold: float = THRESHOLD) -> QueryScore:
    """Score of `relevancy` [L, H, W] of the label's category in its frame, by the protocol of LERF.

    H and W are those of the label. half_sum: what is thresholded (`segment_lerf`). Location and mask choose their
    levels apart.
    """
    truth = torch.from_numpy(label.mask())
    check_size(relevancy, truth)
    location = locate(relevancy)
    segmentation = segment_lerf(relevancy, half_sum=half_sum, threshold=threshold)
    return QueryScore(
        label.category,
        is_hit(location, torch.from_numpy(label.boxes)),
        intersection_over_union(segmentation.mask, truth),
        (location.level, segmentation.level),
    )


def score_3dovs(relevancy: Tensor, category: str, truth: Tensor) -> QueryScore:
    """Score of `relevancy` [2, H, W] (part, whole) against the mask `truth` [H, W] bool: IoU by 3D-OVS's protocol."""
    check_size(relevancy, truth)
    segmentation = segment_3dovs(relevancy)
    iou = intersection_over_union(segmentation.mask, truth)
    return QueryScore(category, None, iou, (None, segmentation.level))


def language_scores(queries: Sequence[QueryScore]) -> LanguageScores:
    """Means over `queries`, each weighing the same; ValueError when there is none, or only some were localised."""
    if not queries:
        raise ValueError("no queries to score; expected at least one pair of frame and category")
    miou = sum(query.iou for query in queries) / len(queries)
    found = [query.hit for query in queries if query.hit is not None]
    if not found:
        return LanguageScores(len(queries), None, None, miou)
    if len(found) < len(queries):
        raise ValueError(f"{len(found)} of {len(queries)} queries were localised; expected queries of one protocol")
    return LanguageScores(len(queries), sum(found), sum(found) / len(found), miou)


def check_size(relevancy: Tensor, truth: Tensor) -> None:
    """ValueError unless the maps have the size of the label."""
    if relevancy.ndim != 3 or relevancy.shape[1:] != truth.shape:
        raise ValueError(
            f"relevancy {list(relevancy.shape)} for a label of [H, W] {list(truth.shape)}; expected [L, H, W] of that "
            "size: render at the size of the labels"
        )

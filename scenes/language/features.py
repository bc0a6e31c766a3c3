"""PhotoFeatures: which segment each pixel of a photograph lies in, at four levels, and the feature of each segment.

The layout is that of LangSplat (Qin et al. 2024), which LangSplatV2 (Li et al. 2025) shares: a vision-language
feature a segment of SAM's automatic masks, at three granularities and as the unsorted default set.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Level = Literal["default", "small", "medium", "large"]
LEVELS: tuple[Level, ...] = get_args(Level)
"""In the order of the maps on disk. A language field learns the last three: sub-part, part, whole."""
NO_SEGMENT = -1
MAX_HEIGHT = 1080
UNIT_TOLERANCE = 5e-3
"""How far a row's length may be from 1: rows were normalised in float16, whose rounding is 5e-4."""


@dataclass(frozen=True)
class PhotoFeatures:
    """The segments of one photograph and their features, checked when made.

    segments: [4, H, W] numbers, one map a level of `LEVELS`: a row of `features`, or -1 where there is no segment.
    It may be a read-only mapping of a file. The rows of a level come after those of the level before.
    features: [M, D] float32, rows of length 1. name: how errors call the photograph.
    """

    name: str
    segments: NDArray[Any]
    features: NDArray[np.float32]

    def __post_init__(self) -> None:
        """ValueError naming the photograph and the finding when the arrays do not fit."""
        check_features(self.name, self.features)
        check_shape(self.name, self.segments)
        check_segments(self.name, self.segments, len(self.features))

    @property
    def width(self) -> int:
        """Pixels of the maps, which are the photograph's or fewer (`feature_size`)."""
        return self.segments.shape[2]

    @property
    def height(self) -> int:
        """Pixels of the maps."""
        return self.segments.shape[1]

    @property
    def dimension(self) -> int:
        """D, numbers in a feature."""
        return self.features.shape[1]

    def rows(self, level: Level) -> NDArray[np.int32]:
        """[H, W] row of `features` that each pixel has at `level`; -1 = none."""
        if level not in LEVELS:
            raise ValueError(f"level {level!r}: expected one of {', '.join(LEVELS)}")
        return self.segments[LEVELS.index(level)].astype(np.int32)

    def features_of(self, rows: NDArray[np.integer]) -> NDArray[np.float32]:
        """Features [..., D] float32 of `rows` [...], all zero where the row is -1.

        Of a whole map this is H W D numbers, 1.5 GB at 986x728 and D = 512: take the pixels that are needed.
        IndexError when a row is neither -1 nor one of the features.
        """
        if rows.size and not NO_SEGMENT <= rows.min() <= rows.max() < len(self.features):
            raise IndexError(
                f"{self.name}: rows from {rows.min()} to {rows.max()}; "
                f"expected -1 (no segment) to {len(self.features) - 1}"
            )
        with_none = np.concatenate([self.features, np.zeros((1, self.dimension), np.float32)])
        return with_none[rows]  # -1 is the last one


def feature_size(width: int, height: int) -> tuple[int, int]:
    """Width and height of the maps of a photograph of this size: taller than 1080 px, it is scaled to that height.

    It rounds down as LangSplat does, so that files made elsewhere have the size that is expected here.
    """
    if width < 1 or height < 1:
        raise ValueError(f"a photograph of {width}x{height} px; expected at least 1x1")
    if height <= MAX_HEIGHT:
        return width, height
    scale = height / MAX_HEIGHT
    return int(width / scale), int(height / scale)


def check_features(name: str, features: NDArray[Any]) -> None:
    """ValueError unless `features` are [M, D] finite floating-point rows of length 1, within `UNIT_TOLERANCE`."""
    if features.ndim != 2 or features.dtype.kind != "f" or features.shape[1] == 0:
        raise ValueError(f"{name}: features are {described(features)}; expected floating-point rows [M, D]")
    lengths = np.linalg.norm(features.astype(np.float32, copy=False), axis=1)
    bad = np.flatnonzero(~np.isfinite(lengths))
    if len(bad):
        raise ValueError(
            f"{name}: {len(bad)} of {len(features)} features hold NaN or infinity, row {bad[0]} the first; "
            "extract the features of this photograph again"
        )
    bad = np.flatnonzero(np.abs(lengths - 1) > UNIT_TOLERANCE)
    if len(bad):
        raise ValueError(
            f"{name}: {len(bad)} of {len(features)} features are not of length 1, row {bad[0]} is of length "
            f"{lengths[bad[0]]:.4g}; divide each row by its length"
        )


def check_shape(name: str, segments: NDArray[Any]) -> None:
    """ValueError unless `segments` are numbers [4, H, W]."""
    if segments.ndim == 3 and 0 < len(segments) < len(LEVELS) and segments.dtype.kind in "fiu":
        raise ValueError(
            f"{name}: {len(segments)} maps of segments; expected {len(LEVELS)} ({', '.join(LEVELS)}). Which one is "
            "missing cannot be told: put a map of -1 in its place, or extract the features again"
        )
    if segments.ndim != 3 or len(segments) != len(LEVELS) or segments.dtype.kind not in "fiu" or not segments.size:
        raise ValueError(f"{name}: segments are {described(segments)}; expected numbers [4, H, W]")


def check_segments(name: str, segments: NDArray[Any], count: int) -> None:
    """ValueError unless every number is whole, from -1 to `count` - 1, and each level's rows follow the last one's."""
    highest, before = NO_SEGMENT, ""
    for level, numbers in zip(LEVELS, segments, strict=True):
        if segments.dtype.kind == "f":
            bad = int((~np.isfinite(numbers)).sum())
            if bad:
                raise ValueError(f"{name}: {bad} pixels of level {level} are NaN or infinite; expected a row, or -1")
            bad = int((numbers != np.trunc(numbers)).sum())
            if bad:
                raise ValueError(f"{name}: {bad} pixels of level {level} are no whole numbers; expected a row, or -1")
        if numbers.min() < NO_SEGMENT or numbers.max() >= count:
            raise ValueError(
                f"{name}: segments {numbers.min():.0f} to {numbers.max():.0f} at level {level}; expected -1 (none) to "
                f"{count - 1}, for there are {count} features: the two files may be of different photographs"
            )
        labelled = numbers[numbers != NO_SEGMENT]
        if not labelled.size:
            continue
        if labelled.min() <= highest:
            raise ValueError(
                f"{name}: level {level} begins at row {labelled.min():.0f}, level {before} ends at {highest:.0f}; "
                "expected rows counted through all levels: add the segments of the levels before"
            )
        highest, before = labelled.max(), level


def described(array: NDArray[Any]) -> str:
    """dtype and shape, for an error."""
    return f"{array.dtype} {list(array.shape)}"

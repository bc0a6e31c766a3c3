"""Labels of LERF-OVS: the masks and boxes that LangSplat (Qin et al. 2024) drew on LERF's scenes (Kerr et al. 2023).

A folder holds frame_XXXXX.json beside each labelled photograph, with `info` (name, width, height) and `objects`, each
with a category, a bbox (x_low, y_low, x_high, y_high) and a segmentation [[x, y], ...], all in pixels of that size.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw


@dataclass(frozen=True)
class Label:
    """All that one frame has of one category. width, height: pixels of the frame.

    boxes: [B, 4] float64 (x_low, y_low, x_high, y_high) in pixels, one an object. polygons: [N, 2] float64 (x, y) each.
    """

    category: str
    width: int
    height: int
    boxes: NDArray[np.float64]
    polygons: tuple[NDArray[np.float64], ...]

    def mask(self) -> NDArray[np.bool_]:
        """[H, W] bool: the union of the polygons, corners cut to whole pixels, outlines included."""
        picture = Image.new("1", (self.width, self.height))
        draw = ImageDraw.Draw(picture)
        for polygon in self.polygons:
            draw.polygon([(int(x), int(y)) for x, y in polygon], fill=1, outline=1)
        return np.array(picture, dtype=np.bool_)


@dataclass(frozen=True)
class LabelledFrame:
    """name: file name of the photograph, by which its view is found (never by number). labels: one a category."""

    name: str
    width: int
    height: int
    labels: tuple[Label, ...]


def read_lerf_labels(folder: Path) -> tuple[LabelledFrame, ...]:
    """The labelled frames in `folder`, by file name. FileNotFoundError when there is none; see `read_lerf_frame`."""
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise FileNotFoundError(f"{folder}: no labels; expected frame_XXXXX.json, one a labelled photograph")
    return tuple(read_lerf_frame(path) for path in paths)


def read_lerf_frame(path: Path) -> LabelledFrame:
    """The labels of one frame, objects of one category together; ValueError naming file, object and finding."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: no readable JSON ({error}); the file may be cut short, copy it again") from error
    info = data.get("info") if isinstance(data, dict) else None
    objects = data.get("objects") if isinstance(data, dict) else None
    if not isinstance(info, dict) or not isinstance(objects, list):
        raise ValueError(f"{path}: expected an object with info and objects, as LERF-OVS has them")
    name, width, height = (info.get(key) for key in ("name", "width", "height"))
    if not isinstance(name, str) or Path(name).stem != path.stem:
        raise ValueError(f"{path}: info.name is {name!r}; expected the photograph beside it, {path.stem}.jpg")
    if not is_size(width) or not is_size(height):
        raise ValueError(f"{path}: info has width {width!r}, height {height!r}; expected whole numbers of pixels")
    width, height = int(width), int(height)
    found: dict[str, list[tuple[NDArray[np.float64], NDArray[np.float64]]]] = {}
    for k, item in enumerate(objects):
        category, box, polygon = read_object(f"{path}: object {k}", item)
        found.setdefault(category, []).append((box, polygon))
    labels = tuple(
        Label(category, width, height, np.stack([box for box, _ in parts]), tuple(polygon for _, polygon in parts))
        for category, parts in found.items()
    )
    return LabelledFrame(name, width, height, labels)


def read_object(where: str, item: Any) -> tuple[str, NDArray[np.float64], NDArray[np.float64]]:
    """Category, box [4] and polygon [N, 2] of one object; ValueError begins with `where`."""
    if not isinstance(item, dict) or not isinstance(item.get("category"), str) or not item["category"].strip():
        raise ValueError(f"{where}: expected a category, a bbox and a segmentation")
    category = item["category"]
    box = numbers(item.get("bbox"))
    if box is None or box.size != 4 or (box.reshape(-1)[2:] < box.reshape(-1)[:2]).any():
        raise ValueError(
            f"{where} ({category}): bbox is {item.get('bbox')!r}; "
            "expected corners x_low, y_low, x_high, y_high in pixels"
        )
    polygon = numbers(item.get("segmentation"))
    if polygon is None or polygon.ndim != 2 or polygon.shape[1] != 2 or len(polygon) < 3:
        raise ValueError(f"{where} ({category}): expected a segmentation of 3 points [x, y] or more, in pixels")
    return category, box.reshape(-1), polygon


def numbers(value: Any) -> NDArray[np.float64] | None:
    """`value` as an array of finite numbers; None when it is anything else."""
    try:
        array = np.array(value)
    except ValueError:  # ragged
        return None
    if array.dtype.kind not in "iuf" or not np.isfinite(array).all():
        return None
    return array.astype(np.float64)


def is_size(value: Any) -> TypeGuard[float]:
    """Whether this is a whole number of pixels, at least one."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return math.isfinite(value) and value >= 1 and value == int(value)

"""Capture: what the reader of a format hands over, before pictures are reduced and the world is normalised.

Poses are `world_from_camera` with OpenCV camera axes in the coordinates of the input files, float64.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from scenes.develop import same_shape
from scenes.images import SUFFIXES, PictureHeader
from scenes.lens import Lens

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Photo:
    """One photograph of a capture.

    name: what splits call it. image, mask: existing files. upright: whether to apply the image's EXIF
    orientation. lens: at the picture's own size. depth_range: nearest and farthest depth (z, input units) of
    the content, if told.
    """

    name: str
    image: Path
    lens: Lens
    world_from_camera: Matrix
    mask: Path | None = None
    upright: bool = True
    has_alpha: bool = False
    depth_range: tuple[float, float] | None = None
    time: float = 0.0


@dataclass(frozen=True)
class SplitNames:
    """A scene's own split as its files state it; None for a part that they do not mention."""

    train: tuple[str, ...] | None = None
    val: tuple[str, ...] | None = None
    test: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Capture:
    """photos: those whose pictures exist. missing: names of the others. source: the file that names them.

    points: xyz [P, 3] float64 in input coordinates and rgb [P, 3] uint8, or None. keep_coordinates: the input's
    world is well placed already (synthetic scenes), so that `world_from_input` is the identity.
    """

    photos: tuple[Photo, ...]
    missing: tuple[str, ...]
    source: Path
    points: tuple[Matrix, NDArray[np.uint8]] | None = None
    split: SplitNames | None = None
    keep_coordinates: bool = False
    background: Literal["white", "black"] = "black"


def clean_pose(matrix: Matrix, where: str) -> Matrix:
    """A 3x4 or 4x4 camera pose as a proper rigid [4, 4] float64, small errors of the rotation removed.

    A uniform scale of the rotation is dropped, as every trainer does. ValueError naming `where` for NaN, a
    mirror, or axes that are not at right angles to one per cent.
    """
    if matrix.shape not in ((3, 4), (4, 4)):
        raise ValueError(f"{where}: the pose must be a 3x4 or 4x4 matrix, got shape {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise ValueError(f"{where}: the pose contains NaN or infinity; repair it or take this view out of the file")
    pose = np.eye(4)
    pose[:3, 3] = matrix[:3, 3]
    u, singular, vt = np.linalg.svd(matrix[:3, :3])
    if singular[2] <= 0.99 * singular[0] or singular[2] < 1e-12:
        raise ValueError(
            f"{where}: the pose is no rotation (its axes are stretched by {singular.round(4).tolist()}); "
            "repair it or take this view out of the file"
        )
    pose[:3, :3] = u @ vt
    if np.linalg.det(pose[:3, :3]) < 0:
        raise ValueError(f"{where}: the pose mirrors the picture (determinant -1); flip one camera axis in the file")
    return pose


def choose_upright(header: PictureHeader, stated: tuple[int, int] | None, undecided: bool) -> bool:
    """Whether intrinsics for the size `stated` (width, height) belong to the picture as its EXIF tag turns it.

    Sizes decide where they can; where they cannot (no size stated, square pictures, half turns), `undecided` is
    it.
    """
    if header.orientation == 1 or stated is None:
        return undecided
    fits = {upright: same_shape(*header.size(upright), *stated) for upright in (True, False)}
    return undecided if fits[True] == fits[False] else fits[True]


def fit_lens(lens: Lens, header: PictureHeader, upright: bool, image: Path) -> Lens:
    """`lens` at the picture's own size; ValueError when the picture has another shape than the lens."""
    width, height = header.size(upright)
    if not same_shape(width, height, lens.width, lens.height):
        raise ValueError(
            f"{image}: the picture is {width}x{height} but its intrinsics are for {lens.width}x{lens.height}; "
            "use the pictures that were calibrated, or copies of them reduced without cropping"
        )
    return lens.resized(width, height)


def find_mask(root: Path, name: str, image: Path) -> Path | None:
    """The mask of a picture in `root`/masks: of the same name, with a further .png, or with another suffix.

    `name` may begin with the picture's folder ("images/left/1.jpg" is looked for as that and as "left/1.jpg").
    """
    folder = root / "masks"
    if not folder.is_dir():
        return None
    tails = [Path(name), Path(*Path(name).parts[1:]), Path(image.name)]
    for tail in tails:
        if not tail.name:
            continue
        candidates = [folder / tail, folder / f"{tail.as_posix()}.png"]
        candidates += [folder / tail.with_suffix(suffix) for suffix in SUFFIXES]
        for candidate in candidates:
            if candidate.is_file():
                return candidate
    return None


def refuse_duplicates(names: Iterable[str], what: str, source: Path) -> None:
    """ValueError listing the names that occur twice."""
    seen: set[str] = set()
    twice = sorted({name for name in names if name in seen or seen.add(name)})
    if twice:
        raise ValueError(
            f"{source}: {len(twice)} {what} occur more than once: {', '.join(twice[:10])}; every view needs a "
            "picture and a name of its own, so rename or remove the copies"
        )

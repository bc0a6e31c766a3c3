"""Language features on disk as LangSplat (Qin et al. 2024) lays them out: NAME_s.npy and NAME_f.npy a photograph.

NAME is the photograph's file name without folder and ending. NAME_s.npy: float32 [4, H, W] segment numbers of the
levels default, small, medium, large. NAME_f.npy: float32 [M, D] features. Other dtypes that hold the same are read.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenes.flow.numpy_files import UNREADABLE, complaint, npy_array
from scenes.language.features import PhotoFeatures, check_shape, described, feature_size
from scenes.whole_file import write_whole

FOLDER = "language_features"
"""Where LangSplat keeps the files, beside the folder of images."""
SHOWN = 3


@dataclass(frozen=True)
class LanguageFeatures:
    """The features of a scene's photographs. Nothing is held in memory: `photo` opens the files of one.

    sizes: photograph's name -> (width, height) in pixels of the photograph itself. dimension: D, the same for all.
    """

    folder: Path
    sizes: Mapping[str, tuple[int, int]]
    dimension: int

    def photo(self, name: str) -> PhotoFeatures:
        """The features of the photograph called `name`, all of it checked; KeyError when there is none."""
        if name not in self.sizes:
            raise KeyError(f"{self.folder}: no photograph {name!r} among {len(self.sizes)}")
        return read_photo_features(self.folder, name, self.sizes[name])


def open_features(folder: Path, sizes: Mapping[str, tuple[int, int]]) -> LanguageFeatures:
    """The features in `folder` of the photographs `sizes`, name -> (width, height) in pixels of the file.

    Both files of every photograph must be there, with maps of the size `feature_size` gives and as many numbers in a
    feature as everywhere; numbers themselves are checked by `photo`. Features of other photographs are left alone,
    for not every photograph that was given to the extraction has a camera.
    Raises FileNotFoundError and ValueError that name file, finding and remedy.
    """
    if not sizes:
        raise ValueError(f"{folder}: no photographs given; expected at least one")
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; expected NAME_s.npy and NAME_f.npy of every photograph")
    check_stems(folder, sizes)
    pairs = {name: feature_paths(folder, name) for name in sizes}
    missing = [path.name for pair in pairs.values() for path in pair if not path.is_file()]
    if missing:
        more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
        raise FileNotFoundError(
            f"{folder}: {len(missing)} of {2 * len(sizes)} files of features missing: "
            f"{', '.join(missing[:SHOWN])}{more}; extract the features of those photographs"
        )
    dimensions: dict[int, Path] = {}
    for name, (segments, features) in pairs.items():
        mapped_segments(segments, sizes[name])
        rows = npy_mapping(features, allow_empty=True)
        if rows.ndim != 2:
            raise ValueError(f"{features}: features are {described(rows)}; expected floating-point rows [M, D]")
        dimensions.setdefault(rows.shape[1], features)
    if len(dimensions) > 1:
        (one, first), (other, second) = list(dimensions.items())[:2]
        raise ValueError(
            f"{second}: features of {other} numbers, those of {first.name} have {one}; "
            "extract all photographs with one model"
        )
    return LanguageFeatures(folder, dict(sizes), next(iter(dimensions)))


def read_photo_features(folder: Path, name: str, size: tuple[int, int]) -> PhotoFeatures:
    """The features of the photograph `name`, which is of `size` (width, height) pixels itself.

    The segments stay a read-only mapping of their file. Raises FileNotFoundError, or ValueError naming the file.
    """
    segments, features = feature_paths(folder, name)
    rows = npy_array(features)
    if rows.dtype.kind == "f":
        rows = rows.astype(np.float32, copy=False)
    return PhotoFeatures(str(folder / stem(name)), mapped_segments(segments, size), rows)


def write_photo_features(folder: Path, name: str, segments: NDArray[Any], features: NDArray[Any]) -> None:
    """Write NAME_s.npy and NAME_f.npy, both float32, into `folder`, which is made if need be.

    segments: [4, H, W], features: [M, D], as in `PhotoFeatures`, and checked likewise before anything is written.
    """
    photo = PhotoFeatures(name, segments, features)
    paths = feature_paths(folder, name)
    for path, array in zip(paths, (photo.segments, photo.features), strict=True):
        file = io.BytesIO()
        np.save(file, np.ascontiguousarray(array, np.float32), allow_pickle=False)
        write_whole(path, file.getbuffer())


def feature_paths(folder: Path, name: str) -> tuple[Path, Path]:
    """The files of segments and of features of the photograph `name`."""
    return folder / f"{stem(name)}_s.npy", folder / f"{stem(name)}_f.npy"


def stem(name: str) -> str:
    """A photograph's name without folder and ending."""
    return PurePosixPath(name).stem


def check_stems(folder: Path, sizes: Mapping[str, tuple[int, int]]) -> None:
    """ValueError when two photographs would share their files."""
    seen: dict[str, str] = {}
    for name in sizes:
        other = seen.setdefault(stem(name), name)
        if other != name:
            raise ValueError(f"{folder}: photographs {other} and {name} would share {stem(name)}_s.npy; rename one")


def mapped_segments(path: Path, size: tuple[int, int]) -> NDArray[Any]:
    """[4, H, W] mapping of a file of segments whose shape belongs to a photograph of `size`; ValueError otherwise."""
    segments = npy_mapping(path)
    check_shape(str(path), segments)
    width, height = feature_size(*size)
    if segments.shape[1:] != (height, width):
        raise ValueError(
            f"{path}: maps of {segments.shape[2]}x{segments.shape[1]} px for a photograph of {size[0]}x{size[1]} px; "
            f"expected {width}x{height}. The features must be extracted from these very photographs"
        )
    return segments


def npy_mapping(path: Path, *, allow_empty: bool = False) -> NDArray[Any]:
    """Read-only mapping of an npy file, never unpickled; what is empty cannot be mapped and is read."""
    try:
        return np.asarray(np.lib.format.open_memmap(path, mode="r"))
    except FileNotFoundError:
        raise
    except UNREADABLE as error:
        if allow_empty or "Python objects" in str(error):
            return npy_array(path)  # empty, or it says what is wrong
        raise ValueError(f"{path}: the array {complaint(error)}") from error

"""LLFF folders: poses_bounds.npy and the photographs whose sorted order its rows follow (Mildenhall 2019).

A row is 3x5 numbers, then near and far depth: camera axes down, right, back; the centre; and (height, width,
focal length) of the original picture. The principal point is the centre of the picture and there is no
distortion.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scenes.capture import Capture, Matrix, Photo, choose_upright, clean_pose, find_mask, fit_lens, refuse_duplicates
from scenes.colmap import find_partial_model, model_file, model_points
from scenes.images import inspect_pictures
from scenes.lens import Lens
from scenes.picture_folders import best_size, candidate_folders


def read_rows(path: Path) -> NDArray[np.float64]:
    """[N, 17] of poses_bounds.npy; ValueError when it is something else."""
    try:
        rows = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f"{path}: no readable NumPy array ({error}); copy the file again") from error
    if rows.ndim != 2 or rows.shape[1] != 17 or rows.dtype.kind not in "fiu":
        raise ValueError(f"{path}: expected an array of numbers [N, 17], got {rows.dtype} {list(rows.shape)}")
    return rows.astype(np.float64)


def opencv_pose(row: NDArray[np.float64], where: str) -> Matrix:
    """[4, 4] with OpenCV axes (right, down, forward) from a row with axes (down, right, back)."""
    block = row[:15].reshape(3, 5)
    down, right, back, centre = block[:, 0], block[:, 1], block[:, 2], block[:, 3]
    return clean_pose(np.stack([right, down, -back, centre], axis=1), where)


def read_llff(root: Path, working_size: int) -> Capture:
    """The capture in `root`; points come from a COLMAP model beside it, complete or not."""
    source = root / "poses_bounds.npy"
    rows = read_rows(source)
    pictures = matching_pictures(root, source, len(rows), working_size)
    headers = inspect_pictures(pictures)
    photos = []
    for index, (row, picture) in enumerate(zip(rows, pictures, strict=True)):
        where = f"{source}: row {index} ({picture.name})"
        pose = opencv_pose(row, where)
        height, width, focal = row[[4, 9, 14]]
        near, far = row[15:]
        if not (min(height, width) >= 1 and focal > 0):
            raise ValueError(f"{where}: height, width and focal length must be positive, got {row[[4, 9, 14]]}")
        size = (round(width), round(height))
        header = headers[picture]
        upright = choose_upright(header, size, undecided=True)
        lens = Lens("PINHOLE", focal, focal, width / 2, height / 2, *size)
        photos.append(
            Photo(
                name=picture.name,
                image=picture,
                lens=fit_lens(lens, header, upright, picture),
                world_from_camera=pose,
                mask=find_mask(root, picture.name, picture),
                upright=upright,
                has_alpha=header.has_alpha,
                depth_range=(near, far) if 0 < near < far else None,
            )
        )
    model = find_partial_model(root)
    points = model_points(model) if model is not None and model_file(model, "points3D") else None
    return Capture(tuple(photos), (), source, points)


def matching_pictures(root: Path, source: Path, count: int, working_size: int) -> list[Path]:
    """The sorted pictures of the folder that has `count` of them; ValueError with the counts if none has."""
    folders = candidate_folders(root)
    fitting = {folder: pictures for folder, pictures in folders.items() if len(pictures) == count}
    if not fitting:
        found = ", ".join(f"{len(pictures)} in {folder.name}" for folder, pictures in folders.items()) or "none"
        raise ValueError(
            f"{source}: it has {count} rows, one for each picture by sorted name, but the pictures found are: "
            f"{found}. Put exactly those {count} pictures in {root / 'images'}"
        )
    chosen = fitting[best_size({folder: pictures[0] for folder, pictures in fitting.items()}, working_size)]
    refuse_duplicates((picture.with_suffix("").as_posix() for picture in chosen), "pictures' names", source)
    return chosen

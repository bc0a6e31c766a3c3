"""COLMAP folders: a sparse model and the photographs beside it, to a `Capture`.

COLMAP's world has no fixed up or scale; its cameras are OpenCV's. Poses and lenses refer to the pixels as
stored: COLMAP does not apply EXIF orientation, so where picture sizes leave it open, neither is it applied
here.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scenes.capture import (
    Capture,
    Matrix,
    Photo,
    choose_upright,
    clean_pose,
    find_mask,
    fit_lens,
    refuse_duplicates,
)
from scenes.colmap_model import RegisteredImage, read_cameras, read_images, read_points
from scenes.images import inspect_pictures
from scenes.picture_folders import best_size, candidate_folders, pair_by_name, pictures_in

MODEL_FOLDERS = ("sparse/0", "sparse", "colmap/sparse/0", "dense/sparse", "dense/0/sparse", ".")
"""Where a model is looked for, in this order."""


def model_file(folder: Path, name: str) -> Path | None:
    """`name`.bin, else `name`.txt, else None."""
    for suffix in (".bin", ".txt"):
        if (folder / (name + suffix)).is_file():
            return folder / (name + suffix)
    return None


def find_model(root: Path) -> Path | None:
    """The first folder of `MODEL_FOLDERS` with a complete model (cameras and images)."""
    for place in MODEL_FOLDERS:
        if model_file(root / place, "cameras") and model_file(root / place, "images"):
            return root / place
    return None


def find_partial_model(root: Path) -> Path | None:
    """The first folder of `MODEL_FOLDERS` with cameras, images or points3D, complete or not."""
    for place in MODEL_FOLDERS:
        if any(model_file(root / place, name) for name in ("cameras", "images", "points3D")):
            return root / place
    return None


def model_points(folder: Path) -> tuple[Matrix, NDArray[np.uint8]] | None:
    """The finite points of the model in `folder`; None, with a warning, when there are none."""
    path = model_file(folder, "points3D")
    if path is None:
        warnings.warn(f"{folder}: the model has no points3D.bin or .txt; training starts at random", stacklevel=2)
        return None
    xyz, rgb = read_points(path)
    finite = np.isfinite(xyz).all(axis=1)
    if not finite.all():
        warnings.warn(f"{path}: {int((~finite).sum())} of {len(xyz)} points are NaN and left out", stacklevel=2)
    if not finite.any():
        warnings.warn(f"{path}: the model has no points; training starts at random", stacklevel=2)
        return None
    return xyz[finite], rgb[finite]


def read_colmap(root: Path, working_size: int) -> Capture:
    """The capture in `root`, whose model `find_model` finds; `working_size` as for `best_size`."""
    model = find_model(root)
    if model is None:
        raise ValueError(f"{root}: no COLMAP model (cameras and images) in {', '.join(MODEL_FOLDERS)}")
    cameras_path, images_path = model_file(model, "cameras"), model_file(model, "images")
    assert cameras_path is not None and images_path is not None  # find_model's condition
    lenses = read_cameras(cameras_path)
    images = read_images(images_path)
    refuse_duplicates((image.name for image in images), "image names", images_path)
    pictures = locate_pictures(root, model, [image.name for image in images], working_size)
    headers = inspect_pictures(path for path in pictures if path)
    photos, missing = [], []
    for image, picture in zip(images, pictures, strict=True):
        if picture is None:
            missing.append(image.name)
            continue
        if image.camera_id not in lenses:
            raise ValueError(
                f"{images_path}: image {image.name} refers to camera {image.camera_id}, which "
                f"{cameras_path.name} does not have; export the model again so that both files belong together"
            )
        header, lens = headers[picture], lenses[image.camera_id]
        upright = choose_upright(header, (lens.width, lens.height), undecided=False)
        photos.append(
            Photo(
                name=image.name,
                image=picture,
                lens=fit_lens(lens, header, upright, picture),
                world_from_camera=pose_of(image, images_path),
                mask=find_mask(root, image.name, picture),
                upright=upright,
                has_alpha=header.has_alpha,
            )
        )
    return Capture(tuple(photos), tuple(missing), images_path, model_points(model))


def pose_of(image: RegisteredImage, source: Path) -> Matrix:
    """The image's pose, checked."""
    where = f"{source}: image {image.name}"
    if not np.linalg.norm(image.quaternion) > 0.0:  # so that NaN fails too
        raise ValueError(f"{where}: the rotation is {image.quaternion.tolist()}, NaN or zero; remove this image")
    return clean_pose(image.world_from_camera(), where)


def locate_pictures(root: Path, model: Path, names: list[str], working_size: int) -> list[Path | None]:
    """For each name its picture; ValueError when none is found.

    The folder nearest to the model that has any is searched (an undistorted `dense/` has pictures of its own);
    of its picture folders those with most of the names, and of these the one of fitting size.
    """
    above = [folder for folder in (model, *model.parents) if folder == root or root in folder.parents]
    for place in above:
        folders = candidate_folders(place)
        if place == root and not any(any(pair_by_name(names, *item)) for item in folders.items()):
            folders[root] = pictures_in(root)  # names may carry their folder, or the pictures lie loose
        paired = {folder: pair_by_name(names, folder, pictures) for folder, pictures in folders.items()}
        counts = {folder: sum(path is not None for path in paths) for folder, paths in paired.items()}
        most = max(counts.values(), default=0)
        if most:
            full = {folder: next(filter(None, paired[folder])) for folder in counts if counts[folder] == most}
            return paired[best_size(full, working_size)]
    raise ValueError(
        f"{root}: none of the {len(names)} pictures that the COLMAP model names ({names[0]}, ...) was found; "
        f"put them in {root / 'images'}"
    )

"""The point cloud that belongs to a transforms.json: its `ply_file_path`, or the COLMAP model it was made from.

`applied_transform` [3, 4] and `applied_scale` lead from the original (COLMAP) coordinates to those of the file.
Writers of `ply_file_path` disagree on which of the two the cloud is in: nerfstudio's own tools transform it
with the cameras, others do not. Cameras tell: points of the right world lie in the pictures. Where both fit,
the cloud is taken as it is.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenes.capture import Matrix, Photo
from scenes.colmap import model_file, model_points
from scenes.point_cloud import read_point_cloud

CLEARLY_BETTER = 1.2
"""How many times more points must be seen after the transform than before it, for it to be applied."""


def read_transforms_points(
    root: Path, top: Mapping[str, Any], photos: Sequence[Photo]
) -> tuple[Matrix, NDArray[np.uint8]] | None:
    """xyz [P, 3] float64 in the file's coordinates and rgb [P, 3] uint8; None when there are none."""
    applied = applied_matrix(top, root / "transforms.json")
    named = top.get("ply_file_path")
    if named:
        path = root / str(named)
        if not path.is_file():
            warnings.warn(
                f"{path}: the point cloud of transforms.json is missing; training starts at random",
                stacklevel=2,
            )
            return None
        xyz, rgb = read_point_cloud(path)
        finite = np.isfinite(xyz).all(axis=1)
        if not finite.any():
            warnings.warn(f"{path}: it has no finite points; training starts at random", stacklevel=2)
            return None
        return place_cloud(xyz[finite], applied, photos), rgb[finite]
    model = next((root / place for place in ("colmap/sparse/0", "sparse/0") if (root / place).is_dir()), None)
    # without the transform nothing says how COLMAP's world and the file's are related
    if applied is None or model is None or model_file(model, "points3D") is None:
        return None
    points = model_points(model)
    return None if points is None else (transformed(points[0], applied), points[1])


def applied_matrix(top: Mapping[str, Any], source: Path) -> Matrix | None:
    """[3, 4] from original to stored coordinates, the scale included; None when the file states neither."""
    if "applied_transform" not in top and "applied_scale" not in top:
        return None
    try:
        matrix = np.array(top.get("applied_transform", np.eye(3, 4)), dtype=np.float64)[:3]
        scale = float(top.get("applied_scale", 1.0))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{source}: applied_transform and applied_scale must be numbers ({error})") from error
    if matrix.shape != (3, 4) or not np.isfinite(matrix).all() or not np.isfinite(scale):
        raise ValueError(f"{source}: applied_transform must be 3x4 finite numbers, got shape {matrix.shape}")
    return matrix * scale


def transformed(xyz: Matrix, matrix: Matrix) -> Matrix:
    """Points [P, 3] through a [3, 4] matrix."""
    return xyz @ matrix[:, :3].T + matrix[:, 3]


def place_cloud(xyz: Matrix, applied: Matrix | None, photos: Sequence[Photo]) -> Matrix:
    """The cloud in the coordinates of `photos`: as it is, or after `applied` if clearly more is seen then."""
    if applied is None:
        return xyz
    sample = xyz[:: max(1, len(xyz) // 2000)]
    moved = transformed(sample, applied)
    if share_seen(moved, photos) > CLEARLY_BETTER * share_seen(sample, photos):
        return transformed(xyz, applied)
    return xyz


def share_seen(xyz: Matrix, photos: Sequence[Photo]) -> float:
    """The mean share of points that lie in front of a camera and inside its picture (distortion left aside)."""
    shares = []
    for photo in photos:
        local = (xyz - photo.world_from_camera[:3, 3]) @ photo.world_from_camera[:3, :3]
        front = local[local[:, 2] > 0]
        x = photo.lens.fx * front[:, 0] / front[:, 2] + photo.lens.cx
        y = photo.lens.fy * front[:, 1] / front[:, 2] + photo.lens.cy
        inside = (x > 0) & (x < photo.lens.width) & (y > 0) & (y < photo.lens.height)
        shares.append(inside.sum() / len(xyz))
    return float(np.mean(shares)) if shares else 0.0

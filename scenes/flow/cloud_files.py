"""Plain point clouds: one file each, a pair of them, or a folder that holds them in order."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenes.flow.clean import clean_cloud
from scenes.flow.numpy_files import npy_array, npz_array, npz_names
from scenes.flow.pcd import read_pcd
from scenes.flow.sequence import SWEEP_SECONDS, Cloud, CloudSequence
from scenes.point_cloud import read_vertices

SUFFIXES = (".ply", ".pcd", ".npy", ".npz")
POINT_ARRAYS = ("points", "xyz", "pc", "pos", "arr_0")
"""Names under which an npz file of one cloud may keep its points."""
POSES, TIMES = "poses.txt", "times.txt"


def read_cloud(path: Path) -> Cloud:
    """The cloud of a PLY, PCD, npy or npz file. A PLY's flow_x, flow_y, flow_z become its flow.

    ValueError naming the file when it is none of these, is damaged or holds fewer than 3 points.
    """
    suffix = path.suffix.lower()
    if suffix == ".ply":
        return read_ply_cloud(path)
    if suffix == ".pcd":
        return clean_cloud(str(path), read_pcd(path))
    if suffix == ".npy":
        return clean_cloud(str(path), npy_array(path))
    if suffix == ".npz":
        names = npz_names(path)
        name = next((name for name in POINT_ARRAYS if name in names), None)
        if name is None:
            raise ValueError(
                f"{path}: arrays {', '.join(sorted(names)) or 'none'}; expected the points as {', '.join(POINT_ARRAYS)}"
            )
        return clean_cloud(f"{path}: {name}", npz_array(path, name))
    raise ValueError(f"{path}: no point cloud that can be read here; expected {', '.join(SUFFIXES)}")


def read_ply_cloud(path: Path) -> Cloud:
    """x, y, z and perhaps flow of a PLY file's vertices."""
    _, columns = read_vertices(path)
    lacking = [name for name in "xyz" if name not in columns]
    if lacking:
        raise ValueError(f"{path}: its vertices have no {', '.join(lacking)}; expected a point cloud with x, y, z")
    flow_names = ("flow_x", "flow_y", "flow_z")
    flow = stacked(columns, flow_names) if all(name in columns for name in flow_names) else None
    return clean_cloud(str(path), stacked(columns, ("x", "y", "z")), flow=flow)


def stacked(columns: dict[str, NDArray[Any]], names: Sequence[str]) -> NDArray[np.float32]:
    """[N, len(names)] float32."""
    with np.errstate(over="ignore"):
        return np.stack([columns[name].astype(np.float32) for name in names], axis=1)


def read_cloud_files(paths: Sequence[Path]) -> CloudSequence:
    """The clouds in the given order, without poses, 0.1 s apart."""
    names, folders = [path.stem for path in paths], {str(path.parent) for path in paths}
    clouds = tuple(read_cloud(path) for path in paths)
    poses = np.tile(np.eye(4), (len(paths), 1, 1))
    return CloudSequence(" ".join(names[:2]), ", ".join(folders), clouds, SWEEP_SECONDS * np.arange(len(paths)), poses)


def read_cloud_folder(root: Path, first: int = 0, count: int | None = None) -> CloudSequence:
    """`count` clouds (all that follow by default) from number `first` of a folder, in the order of `cloud_files`.

    Beside them there may be, with one line for each cloud of the folder, poses.txt (12 or 16 numbers, world_from_sensor
    row by row) and times.txt (seconds).
    """
    paths = cloud_files(root)
    poses, times = beside(root / POSES, len(paths)), beside(root / TIMES, len(paths))
    matrices = np.tile(np.eye(4), (len(paths), 1, 1))
    if poses is not None:
        if poses.shape[1] not in (12, 16):
            raise ValueError(f"{root / POSES}: expected 12 or 16 numbers a line, got {poses.shape[1]}")
        matrices[:, :3] = poses[:, :12].reshape(-1, 3, 4)
    seconds = SWEEP_SECONDS * np.arange(len(paths)) if times is None else times[:, 0]
    chosen = slice(first, None if count is None else first + count)
    clouds = tuple(read_cloud(path) for path in paths[chosen])
    return CloudSequence(root.resolve().name, str(root), clouds, seconds[chosen], matrices[chosen])


def beside(path: Path, count: int) -> NDArray[np.float64] | None:
    """[count, columns] of a text file, None without one; ValueError when it has another number of lines."""
    if not path.is_file():
        return None
    try:
        rows = np.loadtxt(path, ndmin=2)
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: expected lines of numbers ({error})") from error
    if len(rows) != count:
        raise ValueError(f"{path}: {len(rows)} lines for {count} clouds; expected one for each")
    return rows


def read_rowwise_pair(root: Path) -> CloudSequence:
    """KITTI "s" (HPLFlowNet): pc1.npy and pc2.npy, row by row the same points, so that flow is their difference.

    Camera axes (y down). Nothing is occluded in these pairs, which makes them easier than real ones.
    """
    first, second = npy_array(root / "pc1.npy"), npy_array(root / "pc2.npy")
    if first.shape != second.shape:
        raise ValueError(
            f"{root}: pc1.npy has shape {list(first.shape)} and pc2.npy {list(second.shape)}; in this format their "
            "rows are the same points. Rename them, as to 0.npy and 1.npy, if they are two plain clouds"
        )
    cloud = clean_cloud(str(root / "pc1.npy"), first, flow=second[:, :3] - first[:, :3] if first.ndim == 2 else second)
    return CloudSequence(
        root.resolve().name,
        str(root),
        (cloud, clean_cloud(str(root / "pc2.npy"), second)),
        np.array([0.0, SWEEP_SECONDS]),
        np.tile(np.eye(4), (2, 1, 1)),
        up=(0.0, -1.0, 0.0),
    )


def cloud_files(root: Path) -> list[Path]:
    """The point clouds directly in a folder, in the order of the numbers in their names."""
    found = [path for path in root.iterdir() if path.suffix.lower() in SUFFIXES]
    return sorted(found, key=lambda path: natural(path.name))


def natural(name: str) -> tuple[tuple[int, str], ...]:
    """A sort key by which sweep_2 comes before sweep_10."""
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name))

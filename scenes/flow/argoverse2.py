"""Argoverse 2 logs as feather files: sweeps, poses, and flow from labels or from the annotated boxes.

LOG/sensors/lidar/<timestamp_ns>.feather (or LOG/<timestamp_ns>.feather)   x, y, z in the vehicle's frame
LOG/city_SE3_egovehicle.feather                                            poses
LOG/flow_labels.feather     flow (with ego motion), classes, dynamic, ground of the first of two sweeps
LOG/annotations.feather     tracked boxes, from which flow follows where there are no flow labels
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from scenes.flow.boxes import Box, BoxLabels, label_by_boxes
from scenes.flow.classes import ARGOVERSE2
from scenes.flow.clean import clean_cloud
from scenes.flow.sequence import Cloud, CloudSequence, Matrix, without_ego

POSES, LABELS, BOXES = "city_SE3_egovehicle.feather", "flow_labels.feather", "annotations.feather"
QUATERNION, SHIFT = ("qx", "qy", "qz", "qw"), ("tx_m", "ty_m", "tz_m")
FLOW = ("flow_tx_m", "flow_ty_m", "flow_tz_m")

Table = dict[str, NDArray[Any]]


def find_sweeps(root: Path) -> list[Path]:
    """The sweeps of a log in the order of time, none if the folder is no log."""
    folder = root / "sensors" / "lidar"
    found = [path for path in (folder if folder.is_dir() else root).glob("*.feather") if path.stem.isdigit()]
    return sorted(found, key=lambda path: int(path.stem))


def read_argoverse2(root: Path, first: int = 0, count: int | None = None) -> CloudSequence:
    """`count` sweeps (all that follow by default) from number `first` of the log in `root`, with what labels there are.

    ImportError names the extra when pyarrow is missing. ValueError naming the file for one that is damaged or lacks
    columns, or a sweep without a pose.
    """
    every = find_sweeps(root)
    sweeps = every[first : None if count is None else first + count]
    if len(sweeps) < 2:
        raise ValueError(
            f"{root}: {len(sweeps)} sweeps from number {first}; a pair needs 2, and the log has {len(every)}"
        )
    poses = read_poses(root / POSES, [int(path.stem) for path in sweeps])
    tables = [read_table(path, ("x", "y", "z")) for path in sweeps]
    points = [np.stack([table[name] for name in "xyz"], axis=1).astype(np.float32) for table in tables]
    boxes = read_boxes(root / BOXES, sweeps) if (root / BOXES).is_file() else None
    clouds = []
    for t, path in enumerate(sweeps):
        ego = np.linalg.solve(poses[t + 1], poses[t]) if t + 1 < len(sweeps) else None
        if ego is not None and len(every) == 2 and (root / LABELS).is_file():
            clouds.append(labelled_cloud(root / LABELS, str(path), points[t], ego))
        elif ego is not None and boxes is not None:
            dt = (int(sweeps[t + 1].stem) - int(path.stem)) * 1e-9
            labels = label_by_boxes(points[t], boxes[t], boxes[t + 1], ego, dt)
            clouds.append(box_cloud(str(path), points[t], labels))
        else:
            clouds.append(clean_cloud(str(path), points[t]))
    seconds = np.array([int(path.stem) - int(sweeps[0].stem) for path in sweeps]) * 1e-9
    return CloudSequence(
        root.resolve().name, str(root), tuple(clouds), seconds, poses, class_names=ARGOVERSE2, up=(0.0, 0.0, 1.0)
    )


def labelled_cloud(path: Path, where: str, points: NDArray[np.float32], ego: Matrix) -> Cloud:
    """A sweep with the labels of flow_labels.feather, its ego motion taken out."""
    table = read_table(path, FLOW)
    total = np.stack([table[name] for name in FLOW], axis=1)
    if len(total) != len(points):
        raise ValueError(
            f"{path}: {len(total)} rows for the {len(points)} points of {where}; expected one for each, in their order"
        )
    return clean_cloud(
        where,
        points,
        flow=without_ego(points, total, ego),
        valid=table.get("is_valid"),
        ground=table.get("is_ground_0"),
        classes=table.get("classes"),
        dynamic=table.get("dynamic"),
    )


def box_cloud(where: str, points: NDArray[np.float32], labels: BoxLabels) -> Cloud:
    """A sweep with labels from boxes."""
    return clean_cloud(
        where, points, flow=labels.flow, valid=labels.valid, classes=labels.classes, dynamic=labels.dynamic
    )


def read_poses(path: Path, timestamps: list[int]) -> Matrix:
    """[T, 4, 4] city from vehicle at the given nanoseconds; ValueError naming those that have none."""
    table = read_table(path, ("timestamp_ns", *QUATERNION, *SHIFT))
    row_of = {int(stamp): row for row, stamp in enumerate(table["timestamp_ns"])}
    lacking = [stamp for stamp in timestamps if stamp not in row_of]
    if lacking:
        raise ValueError(f"{path}: no pose at the time of sweep {', '.join(map(str, lacking[:5]))}")
    return rigid(table, [row_of[stamp] for stamp in timestamps], path)


def rigid(table: Table, rows: list[int] | NDArray[np.int64], where: Path) -> Matrix:
    """[len(rows), 4, 4] from quaternions and shifts."""
    quaternions = np.stack([table[name][rows] for name in QUATERNION], axis=1).astype(np.float64)
    shifts = np.stack([table[name][rows] for name in SHIFT], axis=1)
    if not (np.isfinite(shifts).all() and (np.linalg.norm(quaternions, axis=1) > 0.5).all()):
        raise ValueError(f"{where}: a pose with NaN, or a quaternion that is not of unit length")
    matrices = np.tile(np.eye(4), (len(rows), 1, 1))
    if len(rows):
        matrices[:, :3, :3] = Rotation.from_quat(quaternions).as_matrix()
        matrices[:, :3, 3] = shifts
    return matrices


def read_boxes(path: Path, sweeps: list[Path]) -> list[dict[str, Box]]:
    """The boxes at the time of each sweep, by track, in the vehicle's frame at that time."""
    sizes = ("length_m", "width_m", "height_m")
    table = read_table(path, ("timestamp_ns", "track_uuid", "category", *sizes, *QUATERNION, *SHIFT))
    every = []
    for sweep in sweeps:
        rows = np.flatnonzero(table["timestamp_ns"] == int(sweep.stem))
        poses = rigid(table, rows, path)
        boxes = {}
        for pose, row in zip(poses, rows, strict=True):
            category = str(table["category"][row])
            if category not in ARGOVERSE2:
                raise ValueError(f"{path}: category {category!r} is none of Argoverse 2's")
            size = np.array([table[name][row] for name in sizes], dtype=np.float64)
            boxes[str(table["track_uuid"][row])] = Box(pose, size, ARGOVERSE2.index(category))
        every.append(boxes)
    return every


def read_table(path: Path, wanted: tuple[str, ...]) -> Table:
    """The columns of a feather file; ValueError when it is damaged or lacks one that is wanted."""
    try:
        from pyarrow import feather, lib  # pyright: ignore[reportMissingImports, reportAttributeAccessIssue]
    except ImportError:
        raise ImportError("Argoverse 2 files need an extra: in Fieldbench's folder, pip install -e '.[flow]'") from None
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; the log is not whole")
    try:
        table = feather.read_table(path, memory_map=False)
    except (lib.ArrowException, OSError, ValueError) as error:
        raise ValueError(f"{path}: no readable feather file ({error}); it may be cut short, copy it again") from error
    lacking = [name for name in wanted if name not in table.column_names]
    if lacking:
        raise ValueError(f"{path}: no column {', '.join(lacking)}; it has {', '.join(table.column_names)}")
    return {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}  # pyright: ignore[reportCallIssue]

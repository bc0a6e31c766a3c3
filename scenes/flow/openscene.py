"""OpenSceneFlow's h5 files (KTH-RPL): one log each, one group a time stamp.

In a group: lidar [N, 3 or more], pose [4, 4] (world from sensor); perhaps ground_mask [N], and on all but the last
flow [N, 3] (with ego motion), flow_is_valid [N], flow_category_indices [N] (Argoverse 2's order), flow_instance_id [N].
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenes.flow.classes import ARGOVERSE2
from scenes.flow.clean import clean_cloud, coordinates
from scenes.flow.sequence import SWEEP_SECONDS, Cloud, CloudSequence, Matrix, check_poses, is_moving, without_ego

NANOSECONDS = 1e12
"""Names of groups above this are times in nanoseconds; smaller ones are numbers of sweeps."""


def members(group: Any) -> list[tuple[str, Any]]:
    """Names and data sets of a group of an open h5 file."""
    return list(group.items())


def read_openscene(path: Path, first: int = 0, count: int | None = None) -> CloudSequence:
    """`count` clouds (all that follow by default) from number `first` of the log in an h5 file.

    ImportError names the extra when h5py is missing. ValueError naming the file when it is damaged, or a group lacks
    its cloud or pose. Dynamic is told from the flow, without ego motion.
    """
    try:
        import h5py  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ImportError("h5 files need an extra: in Fieldbench's folder, pip install -e '.[flow]'") from None
    try:
        with h5py.File(path, "r") as file:
            every = sorted((name for name in map(str, file) if name.isdigit()), key=int)
            names = every[first : None if count is None else first + count]
            if len(names) < 2:
                raise ValueError(
                    f"{path}: {len(names)} clouds from number {first}; a pair needs 2, and the file has {len(every)}"
                )
            groups = [{key: np.asarray(value) for key, value in members(file[name])} for name in names]
    except FileNotFoundError:
        raise
    except (OSError, KeyError, RuntimeError) as error:
        raise ValueError(f"{path}: no readable h5 file ({error}); it may be cut short, copy it again") from error
    for name, group in zip(names, groups, strict=True):
        if not {"lidar", "pose"} <= group.keys():
            raise ValueError(f"{path}: group {name} has {', '.join(group) or 'nothing'}; expected lidar and pose")
        if group["pose"].shape != (4, 4):
            raise ValueError(f"{path}: group {name}: pose has shape {list(group['pose'].shape)}, expected [4, 4]")
    stamps = np.array([int(name) for name in names])
    unit = 1e-9 if int(stamps[0]) > NANOSECONDS else SWEEP_SECONDS
    times = (stamps - stamps[0]) * unit
    poses = np.stack([group["pose"].astype(np.float64) for group in groups])
    check_poses(str(path), poses, len(names))
    clouds = []
    for t, (name, group) in enumerate(zip(names, groups, strict=True)):
        last = t + 1 == len(groups)
        ego = None if last else np.linalg.solve(poses[t + 1], poses[t])
        clouds.append(one_cloud(f"{path}: {name}", group, ego, 0.0 if last else float(times[t + 1] - times[t])))
    return CloudSequence(path.stem, str(path), tuple(clouds), times, poses, class_names=ARGOVERSE2, up=(0.0, 0.0, 1.0))


def one_cloud(where: str, group: dict[str, NDArray[Any]], ego: Matrix | None, dt: float) -> Cloud:
    """A group's cloud with its labels; ego: to the next sensor's frame, None for the last, whose flow leads nowhere."""
    points = coordinates(where, group["lidar"])
    flow = group.get("flow") if ego is not None else None
    dynamic = None
    if flow is not None and ego is not None and flow.shape == points.shape:
        flow = without_ego(points, flow, ego)
        dynamic = is_moving(flow, dt)
    return clean_cloud(
        where,
        points,
        flow=flow,
        valid=group.get("flow_is_valid") if flow is not None else None,
        ground=group.get("ground_mask"),
        classes=group.get("flow_category_indices"),
        dynamic=dynamic,
        instances=group.get("flow_instance_id"),
    )

"""Pairs and sequences in npz files, told apart by the names of their arrays (list: docs/systems/sceneflow.md)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenes.flow.classes import ARGOVERSE2
from scenes.flow.clean import clean_cloud, column, coordinates, finite, flags, mask_of_indices
from scenes.flow.numpy_files import npz_array, npz_names
from scenes.flow.sequence import LABELS, SWEEP_SECONDS, Cloud, CloudSequence, Trajectories, check_poses, without_ego

Z_UP, Y_DOWN = (0.0, 0.0, 1.0), (0.0, -1.0, 0.0)
TRACKED = ("BACKGROUND", "TRACKED_OBJECT")


def read_npz_scene(path: Path) -> CloudSequence:
    """The pair or sequence in an npz file of a known layout; ValueError lists the layouts when it has none of them."""
    names = npz_names(path)
    reader = npz_reader(names)
    if reader is None:
        raise ValueError(
            f"{path}: arrays {', '.join(sorted(names)) or 'none'}; expected points and counts (Fieldbench), points1, "
            "points2, flow (FlyingThings3D), pos1, pos2, gt (KITTI), pcs (MBNSF), or pc1, pc2 and perhaps flow"
        )
    return reader(path, names)


def npz_reader(names: frozenset[str]) -> Callable[[Path, frozenset[str]], CloudSequence] | None:
    """The reader for a file with arrays of these names, None when there is none."""
    if {"points", "counts"} <= names:
        return read_fieldbench
    if {"points1", "points2", "flow"} <= names:
        return read_flyingthings
    if {"pos1", "pos2", "gt"} <= names:
        return read_kitti
    if "pcs" in names:
        return read_trajectories
    if {"pc1", "pc2"} <= names:
        return read_pair
    return None


def optional(path: Path, names: frozenset[str], name: str) -> NDArray[Any] | None:
    """An array, or None when the file has none of that name."""
    return npz_array(path, name) if name in names else None


def of_pair(path: Path, first: Cloud, second: Cloud, **facts: Any) -> CloudSequence:
    """A pair without times; without poses unless `facts` has them."""
    poses = facts.pop("world_from_sensor", np.tile(np.eye(4), (2, 1, 1)))
    return CloudSequence(path.stem, str(path), (first, second), np.array([0.0, SWEEP_SECONDS]), poses, **facts)


def read_flyingthings(path: Path, names: frozenset[str]) -> CloudSequence:
    """FlyingThings3D as FlowNet3D prepared it: points without a match left out, both clouds centred on the first."""
    points, flow = npz_array(path, "points1"), npz_array(path, "flow")
    mask = optional(path, names, "valid_mask1")
    if mask is not None:
        kept = flags(f"{path}: valid_mask1", mask, len(points))
        if len(flow) != len(points):
            raise ValueError(f"{path}: flow has {len(flow)} rows for {len(points)} points")
        points, flow = points[kept], flow[kept]
    first = clean_cloud(f"{path}: points1", points, flow=flow)
    centre = first.points.mean(axis=0, dtype=np.float64)
    second = clean_cloud(f"{path}: points2", npz_array(path, "points2"))
    return of_pair(
        path,
        Cloud((first.points - centre).astype(np.float32), **first.labels()),
        Cloud((second.points - centre).astype(np.float32)),
    )


def read_kitti(path: Path, names: frozenset[str]) -> CloudSequence:
    """KITTI "o": lidar points in camera axes (y down), ground removed, ego motion in the flow."""
    del names
    first = clean_cloud(f"{path}: pos1", npz_array(path, "pos1"), flow=npz_array(path, "gt"))
    return of_pair(path, first, clean_cloud(f"{path}: pos2", npz_array(path, "pos2")), up=Y_DOWN)


def read_pair(path: Path, names: frozenset[str]) -> CloudSequence:
    """pc1, pc2 and flow, as NSFP (Argoverse, nuScenes) and FastNSF (Waymo) write them, z up; and what may lie beside.

    mask1_tracks_flow: indices of points on tracked objects, which become class 1. T_0to1 [4, 4]: ego motion, which is
    taken out of flow. is_ground1, is_ground2, dynamic1, valid1, class1 (Argoverse 2's order): labels.
    pc1_near, pc2_near: masks of the points that belong to the scene; the others are left out.
    """

    def found(name: str) -> NDArray[Any] | None:
        return optional(path, names, name)

    points, target = npz_array(path, "pc1"), npz_array(path, "pc2")
    flow, ego, classes, tracks = found("flow"), found("T_0to1"), found("class1"), found("mask1_tracks_flow")
    facts: dict[str, Any] = {"up": Z_UP, "class_names": () if classes is None else ARGOVERSE2}
    if classes is None and tracks is not None:
        classes = mask_of_indices(f"{path}: mask1_tracks_flow", tracks, len(points))
        facts["class_names"] = TRACKED
    if ego is not None:
        if ego.shape != (4, 4) or ego.dtype.kind != "f":
            raise ValueError(f"{path}: T_0to1: expected a transform [4, 4], got {ego.dtype} {list(ego.shape)}")
        ego = nearest_rigid(ego)
        check_poses(f"{path}: T_0to1", ego[None], 1)
        facts["world_from_sensor"] = np.stack([np.eye(4), np.linalg.inv(ego)])
        if flow is not None and flow.shape == points.shape:
            flow = without_ego(coordinates(f"{path}: pc1", points), flow, ego)
    first = clean_cloud(
        f"{path}: pc1",
        points,
        flow=flow,
        valid=found("valid1"),
        ground=found("is_ground1"),
        classes=classes,
        dynamic=found("dynamic1"),
    )
    second = clean_cloud(f"{path}: pc2", target, ground=found("is_ground2"))
    return near_only(path, names, of_pair(path, first, second, **facts), (len(points), len(target)))


def near_only(path: Path, names: frozenset[str], sequence: CloudSequence, counts: tuple[int, int]) -> CloudSequence:
    """The pair without the points that pc1_near and pc2_near leave out."""
    if not {"pc1_near", "pc2_near"} & names:
        return sequence
    masks = []
    for name, cloud, count in zip(("pc1_near", "pc2_near"), sequence.clouds, counts, strict=True):
        mask = flags(f"{path}: {name}", optional(path, names, name), count)
        if mask is not None and len(cloud.points) != count:
            raise ValueError(f"{path}: {name} cannot be used beside points with NaN; drop those from the file first")
        masks.append(slice(None) if mask is None else mask)
    return sequence.keep(masks)


def nearest_rigid(transform: NDArray[Any]) -> NDArray[np.float64]:
    """[4, 4] float64 with its rotation made exact, of one rounded to float32; anything else is left for the checks."""
    exact = transform.astype(np.float64)
    if np.isfinite(exact).all():
        u, sizes, v = np.linalg.svd(exact[:3, :3])
        if np.abs(sizes - 1).max() < 1e-3:
            exact[:3, :3] = u @ v
    return exact


def read_trajectories(path: Path, names: frozenset[str]) -> CloudSequence:
    """The trajectory benchmark of MBNSF (Argoverse, 25 frames): pcs [T, N, 3], flos or flows [T - 1, N, 3], and
    traj [N, T, 3], displacements of the first cloud's points since the first frame, with traj_val_mask [N, T].

    It has no poses, so ego motion stays in flows and trajectories.
    """
    try:
        clouds = npz_array(path, "pcs")
    except ValueError as error:
        raise ValueError(
            f"{error}. Where you trust it, convert it once: d = numpy.load(FILE, allow_pickle=True); numpy.savez(NEW, "
            "points=numpy.concatenate(d['pcs']), counts=[len(p) for p in d['pcs']])"
        ) from error
    if clouds.ndim != 3:
        raise ValueError(f"{path}: pcs: expected clouds [T, N, 3], got {clouds.dtype} {list(clouds.shape)}")
    flows = next((npz_array(path, name) for name in ("flos", "flows") if name in names), None)
    if flows is not None and len(flows) not in (len(clouds) - 1, len(clouds)):
        raise ValueError(f"{path}: {len(flows)} flows for {len(clouds)} clouds; expected one for each step")
    steps = 0 if flows is None else min(len(flows), len(clouds) - 1)
    cleaned = tuple(
        clean_cloud(f"{path}: pcs[{t}]", points, flow=flows[t] if flows is not None and t < steps else None)
        for t, points in enumerate(clouds)
    )
    known = optional(path, names, "traj")
    trajectories = None
    if known is not None:
        if known.shape != (clouds.shape[1], len(clouds), 3) or len(cleaned[0].points) != clouds.shape[1]:
            raise ValueError(
                f"{path}: traj: {list(known.shape)}, expected {[clouds.shape[1], len(clouds), 3]}, and no NaN in pcs"
            )
        valid = optional(path, names, "traj_val_mask")
        if valid is not None and valid.shape != known.shape[:2]:
            raise ValueError(f"{path}: traj_val_mask: expected {list(known.shape[:2])}, got {list(valid.shape)}")
        places = (cleaned[0].points[:, None] + known).astype(np.float32)
        known_at = finite(places)
        trajectories = Trajectories(places, known_at if valid is None else known_at & valid.astype(bool))
    times = SWEEP_SECONDS * np.arange(len(clouds))
    poses = np.tile(np.eye(4), (len(clouds), 1, 1))
    return CloudSequence(path.stem, str(path), cleaned, times, poses, up=Z_UP, trajectories=trajectories)


def read_fieldbench(path: Path, names: frozenset[str]) -> CloudSequence:
    """What `scenes.flow.export.write_npz` writes: clouds one after another, `counts` points each, labels likewise."""
    counts = npz_array(path, "counts")
    if counts.ndim != 1 or counts.dtype.kind not in "iu" or (counts < 0).any():
        raise ValueError(f"{path}: counts: expected the points of each cloud, got {counts.dtype} {list(counts.shape)}")
    ends = np.cumsum(counts, dtype=np.int64)
    rows = {name: optional(path, names, name) for name in ("points", *LABELS)}
    for name, array in rows.items():
        if array is not None and (array.ndim == 0 or len(array) != (ends[-1] if len(ends) else 0)):
            raise ValueError(f"{path}: {name} {list(array.shape)} does not have the {counts.sum()} rows of counts")
    clouds = []
    for t, end in enumerate(ends):
        own = {name: array[end - counts[t] : end] for name, array in rows.items() if array is not None}
        if t == len(ends) - 1 and "flow" in own and not np.isfinite(own["flow"]).any():
            del own["flow"]  # the last cloud has no next one
        clouds.append(clean_cloud(f"{path}: cloud {t}", **own))
    times, poses = optional(path, names, "times"), optional(path, names, "world_from_sensor")
    class_names, up = optional(path, names, "class_names"), optional(path, names, "up")
    known = optional(path, names, "trajectories")
    return CloudSequence(
        path.stem,
        str(path),
        tuple(clouds),
        SWEEP_SECONDS * np.arange(len(ends)) if times is None else column(f"{path}: times", times, len(ends)) * 1.0,
        np.tile(np.eye(4), (len(ends), 1, 1)) if poses is None else poses.astype(np.float64),
        class_names=() if class_names is None else tuple(str(name) for name in class_names),
        up=None if up is None or not up.any() else tuple(up.tolist()),
        trajectories=None if known is None else Trajectories(np.nan_to_num(known), finite(known)),
    )

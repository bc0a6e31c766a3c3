"""open_clouds: a pair or sequence of point clouds, whatever wrote it, to a `CloudSequence`.

The format is told from what the path holds; docs/systems/sceneflow.md has the list.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from scenes.flow.argoverse2 import find_sweeps, read_argoverse2
from scenes.flow.cloud_files import SUFFIXES, cloud_files, read_cloud_files, read_cloud_folder, read_rowwise_pair
from scenes.flow.npz_scenes import npz_reader, read_npz_scene
from scenes.flow.numpy_files import npz_names
from scenes.flow.openscene import read_openscene
from scenes.flow.sequence import CloudSequence

PAIR = "pair.npz"


def open_clouds(
    path: Path | Sequence[Path],
    *,
    first: int = 0,
    count: int | None = None,
    up: tuple[float, float, float] | None = None,
) -> CloudSequence:
    """The moving scene at `path`: a file, a folder, or the files of plain clouds in order.

    first, count: read only so many clouds from that one on, in long sequences. up: unit vector in the sensors' frame,
    where the format does not say (plain clouds) or is wrong; it is what cropping and the search for ground need.
    Raises FileNotFoundError when there is nothing, ImportError naming the extra that a format needs, and ValueError
    naming file and remedy for anything unknown, damaged or unfit. Points with NaN are dropped with a warning.
    """
    if first < 0 or (count is not None and count < 2):
        raise ValueError(f"first {first}, count {count}: expected 0 or more, and at least 2 clouds")
    if not isinstance(path, Path):
        sequence = read_cloud_files(list(path)[first : None if count is None else first + count])
    elif path.is_dir():
        sequence = open_folder(path, first, count)
    elif path.is_file():
        sequence = open_file(path, first, count)
    else:
        raise FileNotFoundError(f"{path}: no such file or folder")
    return sequence if up is None else replace(sequence, up=up)


def open_file(path: Path, first: int, count: int | None) -> CloudSequence:
    """The moving scene in one file; ValueError saying what to give instead when it cannot hold one."""
    suffix = path.suffix.lower()
    if suffix in (".h5", ".hdf5"):
        return read_openscene(path, first, count)
    if suffix == ".npz":
        return read_npz_scene(path).steps(first, count)
    if suffix == ".feather":
        raise ValueError(f"{path}: one file of an Argoverse 2 log; give its folder, {path.parent}")
    if suffix in SUFFIXES:
        raise ValueError(f"{path}: one cloud; give its folder, or two files, for motion is seen between clouds")
    raise ValueError(f"{path}: no moving scene that can be read here; expected npz, h5, or a folder of clouds")


def open_folder(root: Path, first: int, count: int | None) -> CloudSequence:
    """The moving scene in a folder; ValueError lists what was looked for if there is none."""
    if (root / PAIR).is_file():
        return read_npz_scene(root / PAIR).steps(first, count)
    if find_sweeps(root):
        return read_argoverse2(root, first, count)
    if (root / "pc1.npy").is_file() and (root / "pc2.npy").is_file():
        return read_rowwise_pair(root)
    logs = sorted(path for path in root.iterdir() if path.suffix.lower() in (".h5", ".hdf5"))
    if len(logs) == 1:
        return read_openscene(logs[0], first, count)
    if logs:
        raise ValueError(f"{root}: {len(logs)} logs; give one of them, as {logs[0]}")
    files = cloud_files(root)
    scenes = [path for path in files if path.suffix.lower() == ".npz" and npz_reader(npz_names(path)) is not None]
    if len(scenes) == 1:
        return read_npz_scene(scenes[0]).steps(first, count)
    if scenes:
        raise ValueError(f"{root}: {len(scenes)} pairs; give one of them, as {scenes[0]}")
    if files:
        return read_cloud_folder(root, first, count)
    raise ValueError(
        f"{root}: no moving scene found in this folder. Looked for {PAIR}, an Argoverse 2 log (sensors/lidar/*.feather)"
        f", pc1.npy and pc2.npy (KITTI), an h5 file (OpenSceneFlow), and clouds ({', '.join(SUFFIXES)})"
    )

"""One synthetic camera rig written by hand in every format that is read; poses, lens, pictures are known."""

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

GL_FROM_CV = np.diag([1.0, -1.0, -1.0, 1.0])
CLOUD = np.array([1.0, 2.0, 0.5]) + np.random.default_rng(3).normal(0, 0.3, (40, 3))
"""Points where the rig looks, input coordinates."""


@dataclass(frozen=True)
class Rig:
    """poses: [N, 4, 4] world_from_camera, OpenCV axes. One pinhole for all, centred."""

    names: tuple[str, ...]
    poses: np.ndarray
    focal: float = 60.0
    width: int = 64
    height: int = 48

    def pixel(self, index: int, point: np.ndarray) -> np.ndarray:
        """Where view `index` sees a point in input coordinates, by the textbook formula."""
        pose = self.poses[index]
        x, y, z = pose[:3, :3].T @ (point - pose[:3, 3])
        assert z > 0
        return np.array([self.focal * x / z + self.width / 2, self.focal * y / z + self.height / 2])


def look_from(eye: np.ndarray, target: np.ndarray, up: np.ndarray) -> np.ndarray:
    """[4, 4] world_from_camera with OpenCV axes."""
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
    pose[:3, 3] = eye
    return pose


def orbit_rig(count: int = 9, *, suffix: str = ".png", seed: int = 0) -> Rig:
    """Cameras on three quarters of a circle, looking at (1, 2, 0.5) from about 3 units; up is nearly +z."""
    rng = np.random.default_rng(seed)
    target = np.array([1.0, 2.0, 0.5])
    poses = []
    for angle in np.linspace(0.0, 1.5 * np.pi, count):
        eye = target + 3.0 * np.array([np.cos(angle), np.sin(angle), 0.4]) + rng.normal(0, 0.1, 3)
        poses.append(look_from(eye, target + rng.normal(0, 0.02, 3), np.array([0.0, 0.0, 1.0])))
    return Rig(tuple(f"view_{i:02d}{suffix}" for i in range(count)), np.stack(poses))


def write_pictures(folder: Path, names: Sequence[str], width: int, height: int, mode: str = "RGB") -> None:
    """A picture for each name, its top left pixel telling which: (10 * index, 0, 0)."""
    for index, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(index).integers(0, 256, (height, width, 3), dtype=np.uint8)
        pixels[0, 0] = (10 * index, 0, 0)
        Image.fromarray(pixels).convert(mode).save(path)


def frames(rig: Rig, folder: str, keep_suffix: bool = True) -> list[dict]:
    """transforms.json frames of the rig."""
    return [
        {
            "file_path": f"{folder}/{name if keep_suffix else Path(name).stem}",
            "transform_matrix": (pose @ GL_FROM_CV).tolist(),
        }
        for name, pose in zip(rig.names, rig.poses, strict=True)
    ]


def write_nerfstudio(root: Path, rig: Rig, **top: object) -> None:
    """transforms.json with fl_x ... and pictures in images/."""
    write_pictures(root / "images", rig.names, rig.width, rig.height)
    content = {
        "fl_x": rig.focal,
        "fl_y": rig.focal,
        "cx": rig.width / 2,
        "cy": rig.height / 2,
        "w": rig.width,
        "h": rig.height,
        "frames": frames(rig, "images"),
        **top,
    }
    (root / "transforms.json").write_text(json.dumps(content))


def write_blender(root: Path, rig: Rig, parts: Sequence[str] = ("train", "test"), mode: str = "RGBA") -> None:
    """transforms_<part>.json with camera_angle_x, each with all the rig's poses and pictures of its own."""
    angle = 2.0 * np.arctan(0.5 * rig.width / rig.focal)
    for part in parts:
        write_pictures(root / part, rig.names, rig.width, rig.height, mode)
        content = {"camera_angle_x": angle, "frames": frames(rig, f"./{part}", keep_suffix=False)}
        (root / f"transforms_{part}.json").write_text(json.dumps(content))


def quaternion(rotation: np.ndarray) -> np.ndarray:
    """(w, x, y, z) by way of the largest eigenvector of Bar-Itzhack's matrix."""
    (a, b, c), (d, e, f), (g, h, i) = rotation
    k = np.array(
        [
            [a + e + i, h - f, c - g, d - b],
            [h - f, a - e - i, b + d, c + g],
            [c - g, b + d, e - a - i, f + h],
            [d - b, c + g, f + h, i - a - e],
        ]
    )
    return np.linalg.eigh(k)[1][:, -1]


def write_colmap(
    root: Path,
    rig: Rig,
    *,
    text: bool = False,
    model_folder: str = "sparse/0",
    camera: tuple[int, str, Sequence[float]] | None = None,
    points: np.ndarray = CLOUD,
    pictures: bool = True,
) -> Path:
    """A COLMAP model with ids 7, 17, 27 ... in reverse order of name; camera: (number, name, parameters)."""
    if pictures:
        write_pictures(root / "images", rig.names, rig.width, rig.height)
    folder = root / model_folder
    folder.mkdir(parents=True)
    number, model, params = camera or (0, "SIMPLE_PINHOLE", (rig.focal, rig.width / 2, rig.height / 2))
    images = []
    for index in reversed(range(len(rig.names))):
        inverse = np.linalg.inv(rig.poses[index])
        images.append((7 + 10 * index, quaternion(inverse[:3, :3]), inverse[:3, 3], rig.names[index]))
    if text:
        (folder / "cameras.txt").write_text(
            f"# cameras\n5 {model} {rig.width} {rig.height} {' '.join(map(repr, map(float, params)))}\n"
        )
        lines = ["# images, two lines each"]
        for image_id, q, t, name in images:
            numbers = " ".join(repr(float(v)) for v in (*q, *t))
            lines += [f"{image_id} {numbers} 5 {name}", ""]
        (folder / "images.txt").write_text("\n".join(lines) + "\n")
        rows = [f"{9 + i} {x!r} {y!r} {z!r} 255 {i} 0 0.5 7 0" for i, (x, y, z) in enumerate(points.tolist())]
        (folder / "points3D.txt").write_text("# points\n" + "\n".join(rows) + "\n")
        return folder
    (folder / "cameras.bin").write_bytes(
        struct.pack("<QIiQQ", 1, 5, number, rig.width, rig.height) + struct.pack(f"<{len(params)}d", *params)
    )
    data = struct.pack("<Q", len(images))
    for image_id, q, t, name in images:
        data += struct.pack("<I7dI", image_id, *q, *t, 5) + name.encode() + b"\0"
        data += struct.pack("<QddQ", 1, 3.0, 4.0, 2**64 - 1)
    (folder / "images.bin").write_bytes(data)
    data = struct.pack("<Q", len(points))
    for i, (x, y, z) in enumerate(points):
        data += struct.pack("<Q3d3BdQII", 9 + i, x, y, z, 255, i % 256, 0, 0.5, 1, 7, 0)
    (folder / "points3D.bin").write_bytes(data)
    return folder


def write_llff(root: Path, rig: Rig, near: float = 1.5, far: float = 6.0) -> None:
    """poses_bounds.npy and pictures in images/."""
    write_pictures(root / "images", rig.names, rig.width, rig.height)
    rows = []
    for pose in rig.poses:
        right, down, forward, centre = pose[:3, 0], pose[:3, 1], pose[:3, 2], pose[:3, 3]
        hwf = np.array([rig.height, rig.width, rig.focal])
        block = np.stack([down, right, -forward, centre, hwf], axis=1)
        rows.append(np.concatenate([block.ravel(), [near, far]]))
    np.save(root / "poses_bounds.npy", np.stack(rows))

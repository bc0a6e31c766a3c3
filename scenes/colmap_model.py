"""COLMAP sparse models, binary and text: cameras, images, points3D.

Binary files are little-endian; every count is checked against the bytes that are left before anything is
allocated. Ids are not contiguous and files are in no useful order. `rigs` and `frames` of newer models are not
needed: images still carry their own pose. Observations (2D points, tracks) are skipped.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scenes.lens import MODEL_NAMES, UNREAD_MODEL, Lens, lens_from_colmap, parameter_count

POINT_BYTES = 51  # of a point in points3D.bin, before its track of 8 bytes an entry


@dataclass(frozen=True)
class RegisteredImage:
    """name: relative path of the picture. quaternion (w, x, y, z) and translation: camera_from_world."""

    name: str
    camera_id: int
    quaternion: NDArray[np.float64]
    translation: NDArray[np.float64]

    def world_from_camera(self) -> NDArray[np.float64]:
        """[4, 4]; NaN where the quaternion has no length."""
        w, x, y, z = self.quaternion / np.linalg.norm(self.quaternion)
        rotation = np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
                [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
                [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
            ]
        )
        pose = np.eye(4)
        pose[:3, :3] = rotation.T
        pose[:3, 3] = -rotation.T @ self.translation
        return pose


def damaged(path: Path, what: str) -> ValueError:
    """The error of a file that is not what its name says."""
    return ValueError(f"{path}: {what}; the file is damaged or cut short, copy or export the COLMAP model again")


class Reader:
    """Little-endian values from the bytes of `path`, one after another; ValueError where they run out."""

    def __init__(self, path: Path) -> None:
        self.path, self.data, self.offset = path, path.read_bytes(), 0

    def take(self, layout: str) -> tuple:
        """The next values in `struct` notation."""
        size = struct.calcsize("<" + layout)
        self.need(size)
        values = struct.unpack_from("<" + layout, self.data, self.offset)
        self.offset += size
        return values

    def need(self, size: int) -> None:
        """ValueError unless `size` more bytes are there."""
        if size < 0 or self.offset + size > len(self.data):
            raise damaged(self.path, f"{size} more bytes wanted at byte {self.offset} of {len(self.data)}")

    def count(self, smallest: int) -> int:
        """A u64 count of records of at least `smallest` bytes each, checked against what is left."""
        (number,) = self.take("Q")
        if number * smallest > len(self.data) - self.offset:
            raise damaged(self.path, f"it claims {number} entries, more than its {len(self.data)} bytes can hold")
        return number

    def skip(self, size: int) -> None:
        """Pass over `size` bytes."""
        self.need(size)
        self.offset += size

    def text(self) -> str:
        """A NUL-terminated UTF-8 string."""
        end = self.data.find(b"\0", self.offset)
        if end < 0:
            raise damaged(self.path, f"a name begins at byte {self.offset} and does not end")
        value = self.data[self.offset : end]
        self.offset = end + 1
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise damaged(self.path, f"the name at byte {end - len(value)} is not UTF-8") from error


def read_cameras(path: Path) -> dict[int, Lens]:
    """cameras.bin or cameras.txt to lenses by camera id; ValueError naming file and camera."""
    return dict(binary_cameras(path) if path.suffix == ".bin" else text_cameras(path))


def binary_cameras(path: Path) -> Iterator[tuple[int, Lens]]:
    """u64 count; each u32 id, i32 model, u64 width, u64 height, f64 parameters."""
    reader = Reader(path)
    for _ in range(reader.count(24)):
        camera_id, model_id, width, height = reader.take("IiQQ")
        if model_id not in MODEL_NAMES:
            raise ValueError(f"{path}: camera {camera_id} has model number {model_id}: {UNREAD_MODEL}")
        model = MODEL_NAMES[model_id]
        params = reader.take(f"{parameter_count(model)}d")
        yield camera_id, make_lens(path, camera_id, model, width, height, params)


def text_cameras(path: Path) -> Iterator[tuple[int, Lens]]:
    """A line each: id MODEL width height parameters."""
    for number, line in content_lines(path):
        fields = line.split()
        if not fields:
            continue
        try:
            camera_id, model, width, height = int(fields[0]), fields[1], int(fields[2]), int(fields[3])
            params = tuple(map(float, fields[4:]))
        except (ValueError, IndexError) as error:
            raise damaged(path, f"line {number} is no camera: {line[:80]!r}") from error
        yield camera_id, make_lens(path, camera_id, model, width, height, params)


def make_lens(path: Path, camera_id: int, model: str, width: int, height: int, params: tuple) -> Lens:
    """A lens, its errors naming the file."""
    try:
        return lens_from_colmap(model, width, height, params)
    except ValueError as error:
        raise ValueError(f"{path}: camera {camera_id}: {error}") from error


def read_images(path: Path) -> list[RegisteredImage]:
    """images.bin or images.txt, sorted by name; ValueError when there is none or the file is damaged."""
    images = list(binary_images(path) if path.suffix == ".bin" else text_images(path))
    if not images:
        raise ValueError(f"{path}: the model has no registered images; run COLMAP's mapper again with more overlap")
    return sorted(images, key=lambda image: image.name)


def binary_images(path: Path) -> Iterator[RegisteredImage]:
    """u64 count; each u32 id, f64 qw qx qy qz tx ty tz, u32 camera, name, u64 n, n 2D points of 24 bytes."""
    reader = Reader(path)
    for _ in range(reader.count(73)):
        _, *pose, camera_id = reader.take("I7dI")
        name = reader.text()
        yield RegisteredImage(name, camera_id, np.array(pose[:4]), np.array(pose[4:]))
        reader.skip(24 * reader.count(24))


def text_images(path: Path) -> Iterator[RegisteredImage]:
    """Two lines each: id qw qx qy qz tx ty tz camera name; then the 2D points, a line that may be empty."""
    lines = content_lines(path)
    for number, line in lines:
        fields = line.split(maxsplit=9)
        if not fields:
            continue
        try:
            pose, camera_id, name = np.array(fields[1:8], dtype=np.float64), int(fields[8]), fields[9]
        except (ValueError, IndexError) as error:
            raise damaged(path, f"line {number} is no image: {line[:80]!r}") from error
        yield RegisteredImage(name.strip(), camera_id, pose[:4], pose[4:])
        next(lines, None)


def content_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines that are no comments; empty ones count, since images.txt gives them a meaning."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise damaged(path, "it is not UTF-8 text") from error
    return ((n, line) for n, line in enumerate(text.splitlines(), 1) if not line.startswith("#"))


def read_points(path: Path) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """points3D.bin or points3D.txt to xyz [P, 3] float64 and rgb [P, 3] uint8, in order of point id."""
    ids, xyz, rgb = binary_points(path) if path.suffix == ".bin" else text_points(path)
    order = np.argsort(ids, kind="stable")
    return xyz[order], rgb[order]


def binary_points(path: Path) -> tuple[NDArray, NDArray[np.float64], NDArray[np.uint8]]:
    """u64 count; each u64 id, f64 xyz, u8 rgb, f64 error, u64 n, n times 8 bytes of track."""
    reader = Reader(path)
    number = reader.count(POINT_BYTES)
    starts = np.empty(number, dtype=np.int64)
    offset, data = reader.offset, reader.data
    track_length = struct.Struct("<Q").unpack_from
    for index in range(number):
        if offset + POINT_BYTES > len(data):
            raise damaged(path, f"it ends within point {index} of {number}")
        starts[index] = offset
        offset += POINT_BYTES + 8 * track_length(data, offset + 43)[0]
    if offset > len(data):
        raise damaged(path, f"it ends within point {number - 1} of {number}")
    rows = np.frombuffer(data, np.uint8)[starts[:, None] + np.arange(35)]
    ids = rows[:, :8].copy().view("<u8")[:, 0]
    return ids, rows[:, 8:32].copy().view("<f8").astype(np.float64), rows[:, 32:35].copy()


def text_points(path: Path) -> tuple[NDArray, NDArray[np.float64], NDArray[np.uint8]]:
    """A line each: id x y z r g b error track."""
    rows: list[list[float]] = []
    for number, line in content_lines(path):
        fields = line.split(maxsplit=8)
        if not fields:
            continue
        try:
            rows.append([float(value) for value in fields[:7]])
        except ValueError as error:
            raise damaged(path, f"line {number} is no point: {line[:80]!r}") from error
        if len(fields) < 7:
            raise damaged(path, f"line {number} is no point: {line[:80]!r}")
    table = np.array(rows, dtype=np.float64).reshape(-1, 7)
    return table[:, 0], table[:, 1:4], np.clip(table[:, 4:7], 0, 255).astype(np.uint8)

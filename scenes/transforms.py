"""transforms*.json of Blender (NeRF synthetic), nerfstudio and instant-ngp, to a `Capture`.

Poses are camera-to-world with OpenGL axes (x right, y up, looking along -z). Any key may stand at the top, for
all frames, or in a frame. Blender scenes are the trio transforms_train / _val / _test.json; their world is kept
as it is.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from scenes.capture import (
    Capture,
    Matrix,
    Photo,
    SplitNames,
    choose_upright,
    clean_pose,
    find_mask,
    fit_lens,
    refuse_duplicates,
)
from scenes.images import SUFFIXES, PictureHeader, inspect_pictures
from scenes.lens import UNREAD_MODEL, Lens
from scenes.transforms_points import read_transforms_points

OPENCV_FROM_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
TRIO = {part: f"transforms_{part}.json" for part in ("train", "val", "test")}

PERSPECTIVE_MODELS = (
    "",
    "PERSPECTIVE",
    "PINHOLE",
    "SIMPLE_PINHOLE",
    "SIMPLE_RADIAL",
    "RADIAL",
    "OPENCV",
    "FULL_OPENCV",
)
FISHEYE_MODELS = ("OPENCV_FISHEYE", "FISHEYE", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE")
OTHER_LENSES = ("orthographic", "equirectangular", "latlong", "ftheta_p0", "rolling_shutter")
"""Keys of instant-ngp that make a camera something else than a lens; refused unless false or zero."""

Frame = Mapping[str, Any]
"""One frame with the file's top-level keys under its own."""


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; ValueError naming file and place."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"{path}: not valid JSON ({error}); repair or export the file again") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a JSON object, got a {type(content).__name__}")
    return content


def read_frames(path: Path) -> tuple[dict[str, Any], list[Frame]]:
    """The top level of a transforms file and its frames, sorted by file path; errors name file and frame."""
    top = read_json(path)
    frames = top.get("frames")
    if not isinstance(frames, list) or not frames:
        raise ValueError(
            f"{path}: it has no 'frames'; expected a transforms file of Blender, nerfstudio or instant-ngp"
        )
    shared = {key: value for key, value in top.items() if key != "frames"}
    merged: list[Frame] = []
    for index, frame in enumerate(frames):
        if not isinstance(frame, dict) or not isinstance(frame.get("file_path"), str):
            raise ValueError(f"{path}: frame {index} has no file_path; every frame must name its picture")
        merged.append({**shared, **frame})
    merged.sort(key=view_name)
    refuse_duplicates(map(view_name, merged), "frames' pictures", path)
    return top, merged


def view_name(frame: Frame) -> str:
    """The frame's file_path with forward slashes and without a leading './'."""
    return str(PurePosixPath(frame["file_path"].replace("\\", "/")))


def locate(root: Path, name: str) -> Path | None:
    """The picture called `name`, None when there is none.

    A missing suffix is supplied; a path that was right elsewhere (absolute, or from another working folder) is
    tried without its first folders.
    """
    parts = PurePosixPath(name).parts
    tails = [name, *("/".join(parts[i:]) for i in range(1, len(parts)))]
    for tail in tails:
        if (root / tail).is_file():
            return root / tail
        found = [path for suffix in SUFFIXES for path in spellings(root / tail, suffix) if path.is_file()]
        if any(not path.samefile(found[0]) for path in found):
            raise ValueError(
                f"{root}: {tail!r} may mean {' or '.join(path.name for path in found)}; keep one of them, or name it "
                "with its suffix"
            )
        if found:
            return found[0]
    return None


def spellings(path: Path, suffix: str) -> tuple[Path, Path]:
    """`path` with the suffix in small and in capital letters."""
    return path.with_name(path.name + suffix), path.with_name(path.name + suffix.upper())


def number(frame: Frame, key: str, where: str, default: float | None = None) -> float:
    """A finite number of the frame; `default` when the key is absent; ValueError when it is neither."""
    value = frame.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{where}: {key} must be a finite number, got {value!r}")
    return float(value)


def stated_size(frame: Frame, where: str) -> tuple[int, int] | None:
    """(w, h) if the file tells."""
    if "w" not in frame or "h" not in frame:
        return None
    return round(number(frame, "w", where)), round(number(frame, "h", where))


def frame_lens(frame: Frame, size: tuple[int, int], where: str) -> Lens:
    """The lens of a frame at `size` (width, height), the file's w and h or, without them, the picture's."""
    width, height = size
    if "fl_x" in frame:
        fx = number(frame, "fl_x", where)
    elif "camera_angle_x" in frame:
        fx = 0.5 * width / math.tan(0.5 * number(frame, "camera_angle_x", where))
    else:
        raise ValueError(f"{where}: no focal length; expected fl_x (pixels) or camera_angle_x (radians)")
    if "fl_y" in frame:
        fy = number(frame, "fl_y", where)
    elif "camera_angle_y" in frame and "fl_x" not in frame:
        fy = 0.5 * height / math.tan(0.5 * number(frame, "camera_angle_y", where))
    else:
        fy = fx
    cx, cy = number(frame, "cx", where, width / 2), number(frame, "cy", where, height / 2)
    model, distortion = frame_distortion(frame, where)
    try:
        return Lens(model, fx, fy, cx, cy, width, height, distortion)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def frame_distortion(frame: Frame, where: str) -> tuple[str, tuple[float, ...]]:
    """The distortion model and its parameters in COLMAP's order."""
    for key in OTHER_LENSES:
        value = frame.get(key)
        if any(value) if isinstance(value, list) else value:
            raise ValueError(f"{where}: {key} = {value!r}: {UNREAD_MODEL}")
    model = str(frame.get("camera_model", "")).upper()
    fisheye = model in FISHEYE_MODELS or bool(frame.get("is_fisheye"))
    if not fisheye and model not in PERSPECTIVE_MODELS:
        raise ValueError(f"{where}: camera_model {model!r}: {UNREAD_MODEL}")
    names = ("k1", "k2", "k3", "k4", "p1", "p2")
    listed = frame.get("distortion_params")
    if listed is not None:
        if not isinstance(listed, list) or len(listed) > len(names):
            raise ValueError(
                f"{where}: distortion_params must list up to 6 numbers (k1 k2 k3 k4 p1 p2), got {listed!r}"
            )
        frame = {**frame, **dict(zip(names, listed, strict=False))}
    k1, k2, k3, k4, p1, p2 = (number(frame, name, where, 0.0) for name in names)
    if fisheye:
        return "OPENCV_FISHEYE", (k1, k2, k3, k4)
    if k4:
        raise ValueError(
            f"{where}: k4 = {k4} of a perspective camera means different things to different programs; "
            "undistort the photos before, or set it to 0 and calibrate again"
        )
    if k3:
        return "FULL_OPENCV", (k1, k2, p1, p2, k3, 0.0, 0.0, 0.0)
    return ("OPENCV", (k1, k2, p1, p2)) if any((k1, k2, p1, p2)) else ("PINHOLE", ())


def frame_pose(frame: Frame, where: str) -> Matrix:
    """[4, 4] world_from_camera with OpenCV axes."""
    try:
        matrix = np.array(frame.get("transform_matrix"), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: transform_matrix is no matrix of numbers") from error
    return clean_pose(matrix, where) @ OPENCV_FROM_OPENGL


def frame_mask(root: Path, frame: Frame, image: Path, where: str) -> Path | None:
    """The mask that the frame names, else one in `masks/`; ValueError when the named one is missing."""
    name = frame.get("mask_path")
    if name is None:
        return find_mask(root, view_name(frame), image)
    path = locate(root, str(PurePosixPath(str(name).replace("\\", "/"))))
    if path is None:
        raise ValueError(f"{where}: its mask_path {name!r} does not exist; restore the mask or remove the entry")
    return path


def make_photo(root: Path, frame: Frame, image: Path, header: PictureHeader, source: Path) -> Photo:
    """One frame whose picture exists."""
    name = view_name(frame)
    where = f"{source}: frame {name}"
    stated = stated_size(frame, where)
    upright = choose_upright(header, stated, undecided=True)
    lens = frame_lens(frame, stated or header.size(upright), where)
    return Photo(
        name=name,
        image=image,
        lens=fit_lens(lens, header, upright, image),
        world_from_camera=frame_pose(frame, where),
        mask=frame_mask(root, frame, image, where),
        upright=upright,
        has_alpha=header.has_alpha,
        time=number(frame, "time", where, 0.0),
    )


def read_photos(root: Path, frames: list[Frame], source: Path) -> tuple[list[Photo], list[str]]:
    """The photos of `frames` whose pictures exist, and the names of the others."""
    pictures = {view_name(frame): locate(root, view_name(frame)) for frame in frames}
    refuse_duplicates((str(path) for path in pictures.values() if path), "frames' pictures", source)
    headers = inspect_pictures(path for path in pictures.values() if path)
    photos, missing = [], []
    for frame in frames:
        picture = pictures[view_name(frame)]
        if picture is None:
            missing.append(view_name(frame))
        else:
            photos.append(make_photo(root, frame, picture, headers[picture], source))
    return photos, missing


def read_transforms(root: Path) -> Capture:
    """The capture of `root`/transforms.json (nerfstudio, instant-ngp)."""
    source = root / "transforms.json"
    top, frames = read_frames(source)
    photos, missing = read_photos(root, frames, source)
    return Capture(
        tuple(photos),
        tuple(missing),
        source,
        read_transforms_points(root, top, photos),
        stated_split(top, frames, source),
        background="white" if any(photo.has_alpha for photo in photos) else "black",
    )


def stated_split(top: Mapping[str, Any], frames: list[Frame], source: Path) -> SplitNames | None:
    """nerfstudio's train_filenames, val_filenames and test_filenames, as view names."""
    known = {view_name(frame) for frame in frames}
    parts: dict[str, tuple[str, ...]] = {}
    for part in TRIO:
        listed = top.get(f"{part}_filenames")
        if listed is None:
            continue
        parts[part] = tuple(sorted(view_name({"file_path": str(name)}) for name in listed))
        unknown = [name for name in parts[part] if name not in known]
        if unknown:
            raise ValueError(
                f"{source}: {part}_filenames lists {', '.join(unknown[:5])}, which no frame has as its file_path"
            )
    return SplitNames(**parts) if parts else None


def read_blender(root: Path) -> Capture:
    """The capture of the trio of files in `root`; only transforms_train.json must be there."""
    photos: dict[str, Photo] = {}
    missing: list[str] = []
    parts: dict[str, tuple[str, ...]] = {}
    for part, filename in TRIO.items():
        source = root / filename
        if not source.is_file():
            continue
        _, frames = read_frames(source)
        found, absent = read_photos(root, frames, source)
        for photo in found:
            other = photos.setdefault(photo.name, photo)
            if not np.allclose(other.world_from_camera, photo.world_from_camera, atol=1e-6):
                raise ValueError(f"{source}: {photo.name} has another pose here than in the other transforms files")
        missing += [name for name in absent if name not in missing]
        parts[part] = tuple(view_name(frame) for frame in frames)
    return Capture(
        tuple(sorted(photos.values(), key=lambda photo: photo.name)),
        tuple(missing),
        root / TRIO["train"],
        split=SplitNames(**parts) if len(parts) > 1 else None,
        keep_coordinates=True,
        background="white",
    )

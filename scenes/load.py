"""open_scene: a folder of photographs with cameras, whatever wrote it, to a `Scene`.

The format is told from the files in the folder; docs/scenes.md has the list. Only headers are read here:
pictures are decoded, undistorted and reduced when a view is loaded, and then kept as bytes within a budget.
"""

from __future__ import annotations

import difflib
import warnings
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from render.camera import Camera
from scenes.capture import Capture, Photo
from scenes.colmap import MODEL_FOLDERS, find_model, find_partial_model, read_colmap
from scenes.develop import Recipe
from scenes.images import decode, decode_mask
from scenes.llff import read_llff
from scenes.normalize import Placement, Views, place
from scenes.pixel_cache import PixelCache
from scenes.scene import PointCloud, Scene, Split, View
from scenes.splits import matched_split, own_split, spread
from scenes.transforms import TRIO, read_blender, read_transforms

MaskMeaning = Literal["auto", "ignore", "cut-out"]

WORKING_SIZE = 800
"""Longer side in pixels to which larger pictures are reduced unless told otherwise."""
SMALLEST_SIZE = 16
OBJECT_SHARE, OBJECT_EDGE_SHARE = 0.6, 0.25
"""Shares of a picture, and of its edges, below which what masks or alpha leave is an object, not a scene with holes."""


def open_scene(
    path: Path,
    *,
    max_size: int | None = None,
    masks: MaskMeaning = "auto",
    memory_budget: int = 1 << 30,
    split: Split | None = None,
    cache_dir: Path | None = None,
) -> Scene:
    """The scene in the folder `path`: nerfstudio, instant-ngp, Blender, COLMAP or LLFF.

    max_size: pixels of the longer side to which larger pictures are reduced, 800 by default. masks: what mask files
    mean: "ignore" what they hide, or "cut-out" an object, around which is nothing; "auto" decides by what they leave.
    memory_budget: bytes of decoded pictures kept in memory. split: used instead of the scene's own; names are
    checked. cache_dir: where reduced pictures are kept, by default `.fieldbench_cache` in the scene's folder, or the
    user's cache folder when that cannot be written.

    Raises FileNotFoundError or NotADirectoryError when there is no such folder, ValueError naming file and remedy for
    anything damaged or incomplete. Warns once for all pictures named but missing, as long as half of them are there.
    """
    root = Path(path)
    working_size = WORKING_SIZE if max_size is None else max_size
    if working_size < SMALLEST_SIZE:
        raise ValueError(f"max_size: expected at least {SMALLEST_SIZE} pixels, got {max_size}")
    if memory_budget < 0:
        raise ValueError(f"memory_budget: expected a number of bytes, got {memory_budget}")
    if root.is_file():
        raise NotADirectoryError(f"{root}: a file, expected the scene's folder; give {root.parent}")
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such scene folder{nearest_folders(root)}")
    capture = read_capture(root, working_size)
    check_completeness(capture)
    cache = PixelCache(root, memory_budget, cache_dir)
    all_masked = all(photo.mask for photo in capture.photos)
    # Else nobody asks, and a few pictures need not be decoded.
    has_object = (all_masked or capture.points is None) and shows_object(capture.photos)
    cut_out = masks == "cut-out" or (masks == "auto" and has_object and all_masked)
    recipes = [make_recipe(photo, working_size, cut_out) for photo in capture.photos]
    placement = place_capture(capture, has_object or cut_out)
    views = tuple(
        View(photo.name, make_camera(photo, recipe, placement), partial(cache.load, recipe))
        for photo, recipe in sorted(zip(capture.photos, recipes, strict=True), key=lambda pair: pair[0].name)
    )
    names = [view.name for view in views]
    return Scene(
        name=root.resolve().name,
        source=str(root),
        views=views,
        split=own_split(capture.split, names, capture.source)
        if split is None
        else matched_split(split, names, f"split of scene {root.resolve().name!r}"),
        world_from_input=torch.from_numpy(placement.world_from_input).float(),
        bounds=torch.from_numpy(placement.bounds).float(),
        points=world_points(capture, placement),
        background="white" if cut_out else capture.background,
    )


def read_capture(root: Path, working_size: int) -> Capture:
    """The capture in `root`, by its format's reader; ValueError lists what was looked for if there is none."""
    if (root / TRIO["train"]).is_file():
        return read_blender(root)
    if (root / "transforms.json").is_file():
        return read_transforms(root)
    if find_model(root) is not None:
        return read_colmap(root, working_size)
    if (root / "poses_bounds.npy").is_file():
        return read_llff(root, working_size)
    partial_model = find_partial_model(root)
    if partial_model is not None:
        raise ValueError(
            f"{partial_model}: an incomplete COLMAP model; both cameras and images (.bin or .txt) are needed, "
            "export the model again"
        )
    raise ValueError(
        f"{root}: no scene found in this folder. Looked for {TRIO['train']} (Blender), transforms.json "
        "(nerfstudio, instant-ngp), a COLMAP model (cameras and images, .bin or .txt) in "
        f"{', '.join(MODEL_FOLDERS)}, and poses_bounds.npy (LLFF). {scenes_below(root)}"
    )


def scenes_below(root: Path) -> str:
    """A sentence naming the subfolders that are scenes, or saying what to do without any."""
    marks = (TRIO["train"], "transforms.json", "poses_bounds.npy")
    below = [
        folder.name
        for folder in sorted(root.iterdir())
        if folder.is_dir() and (any((folder / mark).is_file() for mark in marks) or find_model(folder))
    ]
    if below:
        return f"There are scenes in its subfolders: {', '.join(below[:20])}"
    return f"Photos alone need camera poses first: fieldbench prepare {root} -o SCENE makes a scene of them"


def nearest_folders(path: Path) -> str:
    """The folders beside `path` with the nearest names, as the end of a sentence."""
    if not path.parent.is_dir():
        return f"; {path.parent} does not exist either"
    beside = [entry.name for entry in path.parent.iterdir() if entry.is_dir()]
    near = difflib.get_close_matches(path.name, beside, n=3, cutoff=0.4)
    return f"; nearest in {path.parent}: {', '.join(near)}" if near else ""


def check_completeness(capture: Capture) -> None:
    """Warn of missing pictures; ValueError when more than half are missing or fewer than two are left."""
    present, missing = len(capture.photos), len(capture.missing)
    total = present + missing
    if missing:
        message = f"{capture.source}: {missing} of its {total} pictures do not exist"
        if 2 * present < total:
            some = ", ".join(capture.missing[:20]) + (", ..." if missing > 20 else "")
            raise ValueError(f"{message}: {some}. Fewer than half are left; restore them or correct the names")
        warnings.warn(f"{message}: {', '.join(capture.missing)}. The other {present} are used", stacklevel=3)
    if present < 2:
        raise ValueError(
            f"{capture.source}: {present} view; a scene needs at least 2, one to train on and one held out to score"
        )


def make_recipe(photo: Photo, working_size: int, cut_out: bool) -> Recipe:
    """How to develop a photo so that its longer side is at most `working_size`."""
    width, height = photo.lens.width, photo.lens.height
    scale = min(1.0, working_size / max(width, height))
    wanted = max(1, round(width * scale)), max(1, round(height * scale))
    return Recipe(photo.image, photo.mask, photo.upright, photo.lens, *wanted, cut_out)


def make_camera(photo: Photo, recipe: Recipe, placement: Placement) -> Camera:
    """The photo's pinhole camera at its developed size, in the normalised world."""
    lens = recipe.lens.resized(recipe.width, recipe.height)
    similarity = placement.world_from_input
    pose = similarity @ photo.world_from_camera
    pose[:3, :3] /= np.linalg.norm(similarity[0, :3])  # the scale belongs to the centre alone
    return Camera(
        world_from_camera=torch.from_numpy(pose).float(),
        fx=lens.fx,
        fy=lens.fy,
        cx=lens.cx,
        cy=lens.cy,
        width=lens.width,
        height=lens.height,
        time=photo.time,
    )


def place_capture(capture: Capture, has_object: bool) -> Placement:
    """`world_from_input` and bounds of a capture; has_object: see `shows_object`."""
    photos = capture.photos
    ranges = [photo.depth_range for photo in photos if photo.depth_range is not None]
    views = Views(
        poses=np.stack([photo.world_from_camera for photo in photos]),
        slopes=np.array([[p.lens.width / p.lens.fx / 2, p.lens.height / p.lens.fy / 2] for p in photos]),
        depth_ranges=np.array(ranges) if len(ranges) == len(photos) else None,
    )
    points = None if capture.points is None else capture.points[0]
    return place(
        views,
        points,
        has_object_masks=has_object,
        keep_coordinates=capture.keep_coordinates,
    )


def shows_object(photos: tuple[Photo, ...]) -> bool:
    """Whether masks or alpha cut an object out, judged by what they leave of a few pictures and of their edges."""
    cut_out = [photo.name for photo in photos if photo.mask is not None or photo.has_alpha]
    if not cut_out:
        return False
    few = set(spread(cut_out, 4))
    shares, edge_shares = [], []
    for photo in photos:
        if photo.name in few:
            plane = decode(photo.image)[1] if photo.mask is None else decode_mask(photo.mask)
            kept = np.ones((1, 1)) if plane is None else plane / 255.0
            edges = [kept[0], kept[-1], kept[:, 0], kept[:, -1]]
            shares.append(float(kept.mean()))
            edge_shares.append(float(np.concatenate(edges).mean()))
    return float(np.mean(shares)) < OBJECT_SHARE and float(np.mean(edge_shares)) < OBJECT_EDGE_SHARE


def world_points(capture: Capture, placement: Placement) -> PointCloud | None:
    """The capture's points in the normalised world."""
    if capture.points is None:
        return None
    xyz, rgb = capture.points
    similarity = placement.world_from_input
    world = xyz @ similarity[:3, :3].T + similarity[:3, 3]
    return PointCloud(torch.from_numpy(world).float(), torch.from_numpy(rgb).float() / 255.0)

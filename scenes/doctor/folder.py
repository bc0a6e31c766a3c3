"""Checks of a scene's folder: pictures without poses, missing and damaged ones, copies, masks that fit no picture."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from pathlib import Path

from scenes.capture import Capture
from scenes.colmap import find_model, model_file
from scenes.colmap_model import read_images
from scenes.doctor.finding import Finding, listed
from scenes.images import header_or_reason
from scenes.picture_folders import OTHER_FOLDERS, pictures_in
from scenes.splits import Split

UNPOSED = 0.1
"""Share of pictures without pose from which a part of the scene may be missing, more than stray frames."""
COMPANION = re.compile(
    r"(^|[_\-. ])(depth|disparity|normals?|masks?|alpha|albedo|seg\w*|edges?|sky)([_\-. \d]|$)", re.I
)
"""Names of maps that lie beside pictures without being any (NeRF's synthetic test sets, say)."""


def check_unposed(root: Path, capture: Capture) -> list[Finding]:
    """Pictures on disk that no view uses, and views whose pictures are not on disk."""
    used = {photo.image.resolve() for photo in capture.photos} | {p.mask.resolve() for p in capture.photos if p.mask}
    names = sorted(
        path.relative_to(root).as_posix()
        for path in pictures_beside(root, [photo.image for photo in capture.photos])
        if path.resolve() not in used and not COMPANION.search(path.stem)
    )
    found, total = [], len(names) + len(capture.photos)
    if names:
        level = "warning" if len(names) >= UNPOSED * total else "note"
        text = f"{len(names)} of {total} pictures on disk have no pose and are not used ({listed(names)})"
        advice = "if they matter, match them again (COLMAP: exhaustive matching), or take more photos between"
        found.append(Finding(level, "unposed", text, advice))
    if capture.missing:
        count = len(capture.photos) + len(capture.missing)
        text = f"{len(capture.missing)} of {count} pictures named in {capture.source.name} do not exist"
        text += f" ({listed(capture.missing)})"
        found.append(Finding("warning", "missing", text, "restore them; the other views are used"))
    return found or [Finding("ok", "files", f"{len(capture.photos)} pictures, each with a pose")]


def pictures_beside(root: Path, images: list[Path]) -> list[Path]:
    """Pictures in the folders of `images`; folders below `images`, `images_4`, `input` or `rgb` count with it."""
    folders: dict[Path, bool] = {}
    for image in images:
        above = [p for p in image.parents if p.name in ("images", *OTHER_FOLDERS) or p.name.startswith("images_")]
        inner = [folder for folder in above if root in folder.parents]
        folders[inner[0] if inner else image.parent] = bool(inner)
    found: set[Path] = set()
    for folder, deep in folders.items():
        found |= {path for path in pictures_in(folder) if deep or path.parent == folder}
    return sorted(found)


def check_models(root: Path) -> list[Finding]:
    """COLMAP's other models beside the one that is read: a capture that fell apart."""
    read = find_model(root)
    if read is None or not read.name.isdigit():
        return []
    sizes = {}
    for folder in sorted(read.parent.iterdir()):
        file = model_file(folder, "images") if folder.is_dir() and folder.name.isdigit() else None
        if file is not None:
            sizes[folder.name] = len(read_images(file))
    if len(sizes) < 2:
        return []
    most = max(sizes, key=sizes.__getitem__)
    shown = ", ".join(f"{name}: {count}" for name, count in sizes.items())
    text = f"COLMAP made {len(sizes)} models of the pictures (views in {shown}); {read.name} is read"
    if sizes[most] > sizes[read.name]:
        advice = f"put model {most} in the place of {read.name}, or take more photos between the parts"
        return [Finding("warning", "model", text, advice)]
    return [Finding("note", "model", text, "take more photos between the parts, so that they join")]


def check_file_copies(capture: Capture, split: Split | None) -> list[Finding]:
    """Pictures of the same bytes under different names; those in train and test above all."""
    groups: dict[tuple[int, str], list[str]] = defaultdict(list)
    sizes: dict[int, list[tuple[str, Path]]] = defaultdict(list)
    for photo in capture.photos:
        sizes[photo.image.stat().st_size].append((photo.name, photo.image))
    for size, same in sizes.items():
        for name, path in same if len(same) > 1 else []:
            groups[size, hashlib.sha256(path.read_bytes()).hexdigest()].append(name)
    copies = [names for names in groups.values() if len(names) > 1]
    if not copies:
        return []
    shown = listed([" = ".join(names[:3]) for names in copies])
    text = f"{sum(map(len, copies))} pictures are copies of one another ({shown})"
    train, test = (set(split.train), set(split.test)) if split else (set(), set())
    if any(train & set(names) and test & set(names) for names in copies):
        return [Finding("warning", "copies", f"{text}, some in train and test at once", "remove the copies")]
    return [Finding("warning", "copies", text, "remove the copies; where their poses differ, one is wrong")]


def check_mask_files(root: Path, capture: Capture) -> list[Finding]:
    """Masks that belong to no picture, and pictures without mask where others have one."""
    masked = [photo for photo in capture.photos if photo.mask is not None]
    folder = root / "masks"
    present = pictures_in(folder) if folder.is_dir() else []
    if present and not masked:
        text = f"none of the {len(present)} files in masks is named like a picture ({listed(p.name for p in present)})"
        example = capture.photos[0].image.name
        return [Finding("warning", "masks", text, f"name them as their pictures: {example}, or {example}.png")]
    without = [photo.name for photo in capture.photos if photo.mask is None]
    if masked and without:
        text = f"{len(without)} of {len(capture.photos)} pictures have no mask ({listed(without)})"
        return [Finding("note", "masks", text, "they count whole; to cut an object out, every picture needs one")]
    beside = [name for name in ("mask", "Masks", "segmentation") if not masked and (root / name).is_dir()]
    if beside:
        text = f"the folder {beside[0]} is not looked at"
        return [Finding("note", "masks", text, "if it holds masks to be used, call it masks")]
    return []


def check_loose_pictures(root: Path) -> list[Finding]:
    """What can be said of a folder that no reader understands: its pictures."""
    pictures = [path for path in pictures_in(root) if "masks" not in path.relative_to(root).parts]
    if not pictures:
        return [Finding("note", "files", "there are no pictures in the folder")]
    reasons = [text for path in pictures if isinstance(text := header_or_reason(path), str)]
    if reasons:
        return [Finding("problem", "files", reason.replace(f"{root}/", "")) for reason in reasons[:10]]
    return [Finding("note", "files", f"{len(pictures)} pictures in the folder, none of them damaged")]

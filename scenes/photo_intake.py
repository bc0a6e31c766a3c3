"""Photos on their way into a scene: found, checked, turned upright and copied.

COLMAP ignores the EXIF orientation of a photo and so does the reader of COLMAP scenes; the copies are therefore
written upright, after which nobody has to agree on it. Photos that need no change are copied byte for byte.
"""

from __future__ import annotations

import errno
import os
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

from scenes import sharp_frames
from scenes.images import DECODE_ERRORS, SUFFIXES, decode, unreadable
from scenes.picture_folders import pictures_in
from scenes.sharp_frames import Tell
from scenes.sharpness import photo_sharpness

UNREAD_SUFFIXES = (".heic", ".heif", ".avif", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2")
"""Photos that are not read here: converted to JPEG first, they are."""
PLAIN_MODES = ("L", "RGB", "RGBA")
LENS_TAGS = (ExifTags.Base.Make, ExifTags.Base.Model)
LENS_DETAILS = (ExifTags.Base.FocalLength, ExifTags.Base.FocalLengthIn35mmFilm, ExifTags.Base.DigitalZoomRatio)
LEAST = 3
"""Photos that make a scene: two to triangulate from, and one to hold out."""


@dataclass(frozen=True)
class Shot:
    """A photo that made it into the scene.

    name: its path in the scene's `images`. width, height: pixels, upright. sharpness: see `scenes.sharpness`.
    lens: what EXIF says of camera and focal length, empty when nothing.
    """

    name: str
    width: int
    height: int
    sharpness: float
    lens: tuple[str, ...]


@dataclass(frozen=True)
class Intake:
    """shots: sorted by name. skipped: photos left out, by name, and why."""

    shots: tuple[Shot, ...]
    skipped: dict[str, str]


def find_photos(folder: Path) -> tuple[Path, list[Path]]:
    """The folder that names count from, and the photos below it sorted by name.

    A scene's folder, photos only in its `images`, means these. Other files that look like photos or videos are named in
    a warning; ValueError when no photo is left.
    """
    if (folder / "images").is_dir() and not any(path.suffix.lower() in SUFFIXES for path in folder.iterdir()):
        folder = folder / "images"
    photos = pictures_in(folder)
    others = [path.name for path in sorted(folder.rglob("*")) if path.suffix.lower() in UNREAD_SUFFIXES]
    videos = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in sharp_frames.SUFFIXES]
    if not photos:
        remedy = f"give the folder that holds them (endings read: {' '.join(SUFFIXES)}), or a video file"
        if others:
            remedy = f"its {len(others)} files like {others[0]} are not read; export them as JPEG first"
        elif videos:
            remedy = f"to use a video in it, name the file: {videos[0]}"
        raise ValueError(f"{folder}: no photos in this folder; {remedy}")
    if others:
        warnings.warn(
            f"{folder}: {len(others)} files like {others[0]} are not read; export them as JPEG to use them",
            stacklevel=2,
        )
    return folder, photos


def take_photos(root: Path, photos: Sequence[Path], images: Path, tell: Tell) -> Intake:
    """Copy `photos` (below `root`) to the folder `images` under the same names, upright.

    Damaged ones are skipped with one warning each. ValueError when fewer than `LEAST` are left; OSError when the
    disk is full.
    """
    shots: list[Shot] = []
    skipped: dict[str, str] = {}
    for index, photo in enumerate(photos):
        name = photo.relative_to(root).as_posix()
        tell("reading photos", index, len(photos))
        try:
            shots.append(take_photo(photo, images / name, name))
        except ValueError as error:
            skipped[name] = str(error)
            warnings.warn(f"skipped: {error}", stacklevel=2)
    tell("reading photos", len(photos), len(photos))
    if len(shots) < LEAST:
        damaged = f" that can be decoded, of {len(photos)}" if skipped else ""
        raise ValueError(
            f"{root}: {len(shots)} photo{'s' * (len(shots) != 1)}{damaged}; a scene needs at least {LEAST}, and 20 to "
            "200 that overlap by two thirds are usual"
        )
    return Intake(tuple(sorted(shots, key=lambda shot: shot.name)), skipped)


def take_photo(photo: Path, copy: Path, name: str) -> Shot:
    """Check one photo and copy it; ValueError naming it when it is damaged."""
    measured = photo_sharpness(photo)  # decodes all of it, so that a copy cut short shows here
    with Image.open(photo) as opened:
        exif = opened.getexif()
        turned = exif.get(ExifTags.Base.Orientation, 1) in range(2, 9)
        lens = lens_of(exif)
        plain = opened.mode in PLAIN_MODES
    copy.parent.mkdir(parents=True, exist_ok=True)
    try:
        if plain and not turned:
            shutil.copyfile(photo, copy)
        else:
            rewrite(photo, copy)
    except OSError as error:
        raise OSError(error.errno or errno.EIO, os.strerror(error.errno or errno.EIO), str(copy)) from error
    with Image.open(copy) as opened:
        width, height = opened.size
    return Shot(name, width, height, measured, lens)


def rewrite(photo: Path, copy: Path) -> None:
    """Write a photo upright as 8-bit grey or colour, keeping what EXIF says of the lens."""
    try:
        with Image.open(photo) as opened:
            picture = ImageOps.exif_transpose(opened)  # also takes the tag out
            exif = picture.getexif()
            if picture.mode not in PLAIN_MODES:
                rgb, alpha = decode(photo)
                picture = Image.fromarray(rgb if alpha is None else np.dstack([rgb, alpha]))
            picture.load()
    except DECODE_ERRORS as error:
        raise unreadable(photo, error) from error
    if copy.suffix.lower() in (".jpg", ".jpeg"):
        picture.convert("RGB").save(copy, exif=exif, quality=95, subsampling=0)
    else:
        picture.save(copy, exif=exif)


def lens_of(exif: Image.Exif) -> tuple[str, ...]:
    """Camera and focal length as EXIF words them; photos with equal ones can share intrinsics."""
    details = exif.get_ifd(ExifTags.IFD.Exif)
    found = [exif.get(tag) for tag in LENS_TAGS] + [details.get(tag) for tag in LENS_DETAILS]
    return tuple(str(value).strip() for value in found if value is not None)

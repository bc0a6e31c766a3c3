"""Two caches between a view and its file: developed pictures on disk, decoded bytes in memory.

On disk, `<scene>/.fieldbench_cache/` (or a folder of the user's where the scene may not be written) holds one
lossless PNG for each picture that took work: its planes (red, green, blue, then alpha and mask where they
exist) stacked from top to bottom, a checksum among its texts. The name hashes the source's size and time and
the recipe, so that a changed file or another size is another entry. In memory, the least recently used bytes
make room, within a budget.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import sys
import tempfile
import threading
import warnings
import zlib
from collections import OrderedDict
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from scenes.develop import Recipe, develop
from scenes.images import DECODE_ERRORS
from scenes.scene import Pixels

VERSION = 1
"""Raised whenever developing gives other bytes, so that older entries are not found."""

CHECKSUM, PLANES = "fieldbench-crc32", "fieldbench-planes"


class PixelCache:
    """Developed pictures by recipe, within `memory_budget` bytes; safe to call from several threads.

    root: the scene's folder, to which recipes' paths are relative in the keys. folder: where to keep files, or
    None for the scene's own `.fieldbench_cache`, then the user's cache folder.
    """

    def __init__(self, root: Path, memory_budget: int, folder: Path | None = None) -> None:
        self.root = root
        self.memory_budget = memory_budget
        self.folders = [folder] if folder else default_folders(root)
        self.kept: OrderedDict[Recipe, Pixels] = OrderedDict()
        self.bytes_kept = 0
        self.lock = threading.Lock()

    def load(self, recipe: Recipe) -> Pixels:
        """The pixels of `recipe`: from memory, else from disk, else developed (and then kept in both)."""
        with self.lock:
            if recipe in self.kept:
                self.kept.move_to_end(recipe)
                return self.kept[recipe]
        pixels = develop(recipe) if recipe.is_plain else self.from_disk(recipe)
        self.keep(recipe, pixels)
        return pixels

    def keep(self, recipe: Recipe, pixels: Pixels) -> None:
        """Remember `pixels`, forgetting the least recently used until the budget holds."""
        with self.lock:
            if recipe in self.kept or byte_count(pixels) > self.memory_budget:
                return
            self.kept[recipe] = pixels
            self.bytes_kept += byte_count(pixels)
            while self.bytes_kept > self.memory_budget:
                _, oldest = self.kept.popitem(last=False)
                self.bytes_kept -= byte_count(oldest)

    def from_disk(self, recipe: Recipe) -> Pixels:
        """The entry of `recipe`; developed and written when it is absent or damaged."""
        name = entry_name(recipe, self.root)
        for folder in self.folders:
            pixels = read_entry(folder / name, recipe)
            if pixels is not None:
                return pixels
        pixels = develop(recipe)
        with self.lock:
            folders = list(self.folders)
        any(self.write(folder / name, pixels) for folder in folders)  # the first that can be written will do
        return pixels

    def write(self, path: Path, pixels: Pixels) -> bool:
        """Write an entry; False, and no further attempts in its folder, when that is not possible."""
        try:
            write_entry(path, pixels)
        except OSError as error:
            self.give_up(path.parent, error)
            return False
        return True

    def give_up(self, folder: Path, error: OSError) -> None:
        """Stop writing to `folder`; if it was the last, say once that pictures are made anew each time."""
        with self.lock:
            if folder not in self.folders:
                return
            self.folders.remove(folder)
            last = not self.folders
        if last:
            warnings.warn(
                f"{folder}: reduced pictures cannot be kept there ({error}); they are made again whenever "
                "they have left memory. Free some space or pass another cache_dir.",
                stacklevel=2,
            )


def byte_count(pixels: Pixels) -> int:
    """Bytes that a picture holds in memory."""
    return sum(plane.numel() for plane in (pixels.rgb_srgb, pixels.alpha, pixels.mask) if plane is not None)


def default_folders(root: Path) -> list[Path]:
    """Where reduced pictures may go, best first; a folder marked read-only is left alone even by root."""
    marked_read_only = root.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH) == 0
    return [user_folder(root)] if marked_read_only else [root / ".fieldbench_cache", user_folder(root)]


def user_folder(root: Path) -> Path:
    """Where this user's reduced pictures of the scene at `root` go when its own folder is read-only."""
    home = Path.home()
    base = {"darwin": home / "Library" / "Caches", "win32": home / "AppData" / "Local"}.get(
        sys.platform, home / ".cache"
    )
    digest = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:12]
    return base / "fieldbench" / "scenes" / f"{root.resolve().name}-{digest}"


def entry_name(recipe: Recipe, root: Path) -> str:
    """The file name of an entry; OSError when a source file is gone."""
    sources = []
    for path in (recipe.image, recipe.mask):
        if path is not None:
            status = path.stat()
            sources.append([Path(os.path.relpath(path, root)).as_posix(), status.st_size, status.st_mtime_ns])
    key = [VERSION, sources, recipe.upright, asdict(recipe.lens), recipe.width, recipe.height, recipe.cut_out]
    return f"{recipe.image.stem}-{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:20]}.png"


def write_entry(path: Path, pixels: Pixels) -> None:
    """Write an entry so that it is either complete or absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    planes = [*pixels.rgb_srgb.permute(2, 0, 1)]
    names = ["rgb"]
    for name, plane in (("alpha", pixels.alpha), ("mask", pixels.mask)):
        if plane is not None:
            planes.append(plane)
            names.append(name)
    stack = torch.cat(planes).numpy()
    texts = PngInfo()
    texts.add_text(PLANES, " ".join(names))
    texts.add_text(CHECKSUM, str(zlib.crc32(stack.tobytes())))
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".partial-", suffix=".png")
    try:
        with os.fdopen(handle, "wb") as file:
            Image.fromarray(stack).save(file, "PNG", pnginfo=texts, compress_level=1)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def read_entry(path: Path, recipe: Recipe) -> Pixels | None:
    """An entry's pixels, or None when there is none or its bytes are not those that were written."""
    if not path.is_file():
        return None
    try:
        with Image.open(path) as picture:
            picture.load()
            texts = getattr(picture, "text", {})
            names = texts[PLANES].split()
            stack = np.array(picture)
            if zlib.crc32(stack.tobytes()) != int(texts[CHECKSUM]):
                return None
        planes = torch.from_numpy(stack).reshape(2 + len(names), recipe.height, recipe.width)
    except (*DECODE_ERRORS, KeyError, RuntimeError):
        return None
    rest = dict(zip(names[1:], planes[3:], strict=True))
    return Pixels(planes[:3].permute(1, 2, 0).contiguous(), rest.get("alpha"), rest.get("mask"))

"""open_picture: a picture file of any size to a `Picture`, decoded once, in bounded memory where formats allow.

PNG, JPEG, TIFF, WebP and the rest of Pillow's formats hold display values of sRGB, 8 or 16 bits (embedded colour
profiles are not applied); OpenEXR holds linear light, half or float. Alpha is composited over a grey that the caller
states, in the file's own values (so of display values where they are that): straight alpha, but for OpenEXR, whose
colours are already multiplied by it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, ImageOps

from scenes.images import DECODE_ERRORS, carries_alpha, ends_properly
from scenes.picture.picture import BLOCK_PIXELS, Picture

MAPPED_BYTES = 1 << 30
"""Decoded size from which a picture is mapped from disk and not kept in memory."""
MOST_PIXELS = 1 << 33
"""Largest number of pixels that a header may claim: 24 GB of bytes, far above any photograph and below a bomb."""

Values = NDArray[Any]
pillow_limit = threading.Lock()


def open_picture(
    path: Path, *, background: float = 1.0, scratch: Path | None = None, mapped_bytes: int = MAPPED_BYTES
) -> Picture:
    """Decode the picture in `path`.

    background: grey behind transparent pixels, in the file's values. scratch: folder for the pixels of large pictures
    (from `mapped_bytes` bytes), which vanish with the Picture; the system's temporary folder unless given. While it
    decodes, Pillow holds a whole picture: 4 bytes a pixel for colours, 1 or 2 for grey.
    EXIF orientation is applied. Palette and CMYK pictures become 8-bit RGB; grey stays one channel, 1 bit becomes 8.
    16-bit grey with alpha is read as 8 bits. Raises FileNotFoundError; ValueError naming the file when it is truncated
    or damaged, claims more than MOST_PIXELS, or holds NaN or infinity; OSError when the scratch folder is too small;
    ImportError naming the extra for OpenEXR.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such picture file")
    if not 0.0 <= background <= 1.0:
        raise ValueError(f"background: expected a grey in [0, 1], got {background}")

    def store(shape: tuple[int, int, int], kind: np.dtype) -> Values:
        """Memory for decoded pixels, or a mapped file that has no name any more."""
        size = int(np.prod(shape)) * kind.itemsize
        return np.empty(shape, kind) if size < mapped_bytes else mapped(path, shape, kind, size, scratch)

    if path.suffix.lower() == ".exr":
        return Picture(read_exr(path, background, store), "linear", path.stem)
    return Picture(read_pillow(path, background, store), "srgb", path.stem)


def mapped(path: Path, shape: tuple[int, int, int], kind: np.dtype, size: int, scratch: Path | None) -> Values:
    """An array in a temporary file; its blocks are reserved now, since a full disk later would kill the process."""
    folder = Path(scratch or tempfile.gettempdir())
    free = shutil.disk_usage(folder).free
    if free < size:
        raise OSError(
            errno.ENOSPC,
            f"{path}: its pixels need {size / 1e9:.1f} GB in {folder}, where {free / 1e9:.1f} are free; give another "
            "scratch folder",
        )
    with tempfile.TemporaryFile(dir=folder) as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        return np.memmap(file, kind, "w+", shape=shape)


def damaged(path: Path, reason: object) -> ValueError:
    """The error of a picture that cannot be decoded, with the remedy."""
    return ValueError(f"{path}: the picture cannot be decoded ({reason}); copy or export it again")


def read_pillow(path: Path, background: float, store: Callable[..., Values]) -> Values:
    """The values of any picture that Pillow decodes, in blocks of rows into the store."""
    try:
        with opened(path) as picture:
            if not ends_properly(path, picture.format):
                raise ValueError("its end is missing")
            low = low_bytes(path, picture)
            upright = turned(picture, picture)
            if low is not None:
                low = turned(low, picture)
            return copied(upright, low, background, store)
    except DECODE_ERRORS as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's trouble, not the picture's
        raise damaged(path, error) from error


@contextlib.contextmanager
def opened(path: Path) -> Iterator[ImageFile.ImageFile]:
    """A picture, its header read. Pillow's limit against bombs is lifted meanwhile; ours, of MOST_PIXELS, holds."""
    with pillow_limit:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            picture = Image.open(path)
        finally:
            Image.MAX_IMAGE_PIXELS = before
    with picture:
        if picture.width * picture.height > MOST_PIXELS:
            raise ValueError(f"its header claims {picture.width} x {picture.height} pixels")
        yield picture  # pyright: ignore[reportReturnType]


def turned(picture: Image.Image, original: Image.Image) -> Image.Image:
    """The picture upright by the EXIF orientation of the original."""
    orientation = original.getexif().get(ExifTags.Base.Orientation, 1)
    if orientation not in range(2, 9):
        return picture
    picture.getexif()[ExifTags.Base.Orientation] = orientation
    return ImageOps.exif_transpose(picture)


def low_bytes(path: Path, picture: ImageFile.ImageFile) -> Image.Image | None:
    """The lower halves of 16-bit RGB or RGBA, for which Pillow has no mode and keeps the upper halves; None otherwise.

    The file is decoded a second time as if it were of the other byte order.
    """
    swapped = {"16B": "16L", "16L": "16B", "16N": "16B" if sys.byteorder == "little" else "16L"}
    layouts = {name for tile in picture.tile for name in [layout(tile.args)] if name}
    if not layouts or any(name[:-3] not in ("RGB;", "RGBA;") or name[-3:] not in swapped for name in layouts):
        return None
    with opened(path) as again:
        again.tile = [
            tile._replace(args=with_layout(tile.args, name[:-3] + swapped[name[-3:]]))
            for tile in again.tile
            for name in [layout(tile.args)]
        ]
        again.load()
        return again.copy()


def layout(arguments: Any) -> str:
    """The raw mode among the arguments of a decoder: a text, or the first of a tuple; empty when there is none."""
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def with_layout(arguments: Any, name: str) -> Any:
    """The arguments of a decoder with another raw mode."""
    return (name, *arguments[1:]) if isinstance(arguments, tuple) else name


def copied(picture: Image.Image, low: Image.Image | None, background: float, store: Callable[..., Values]) -> Values:
    """[H, W, C] values of a decoded picture (and its lower bytes), block by block."""
    if picture.mode == "F" or picture.mode == "I":
        raise ValueError(f"its numbers are of mode {picture.mode}; expected 8 or 16 bits, or OpenEXR for floats")
    deep = low is not None or picture.mode.startswith("I;16")
    alpha = picture.mode == "RGBA" if deep else carries_alpha(picture)
    grey = picture.mode in ("1", "L", "LA", "La") or picture.mode.startswith("I;16")
    step = max(1, BLOCK_PIXELS // picture.width)
    values = store((picture.height, picture.width, 1 if grey else 3), np.dtype(np.uint16 if deep else np.uint8))
    mode = ("LA" if alpha else "L") if grey else "RGBA" if alpha else "RGB"
    for first in range(0, picture.height, step):
        box = (0, first, picture.width, min(first + step, picture.height))
        part = picture.crop(box)
        block = np.asarray(part if deep else part.convert(mode))
        if low is not None:
            block = block.astype(np.uint16) << 8 | np.asarray(low.crop(box))
        block = block.reshape(*block.shape[:2], -1)
        values[first : box[3]] = over(block, background) if alpha else block
    return values


def over(block: Values, background: float) -> Values:
    """[h, W, C] of straight colours and alpha [h, W, C + 1] over a grey, rounded to the type they have."""
    largest = float(np.iinfo(block.dtype).max)
    alpha = block[..., -1:].astype(np.float32) / np.float32(largest)
    mixed = block[..., :-1] * alpha + np.float32(background * largest) * (1 - alpha)
    return np.rint(mixed).astype(block.dtype)


def read_exr(path: Path, background: float, store: Callable[..., Values]) -> Values:
    """Channels R, G, B (or Y) of an OpenEXR file, float16 if all are half, else float32."""
    try:
        import OpenEXR  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError(
            f"{path}: OpenEXR needs the extra 'exr': in Fieldbench's folder, pip install -e '.[exr]'"
        ) from error
    try:
        with OpenEXR.File(str(path), separate_channels=True) as file:
            planes = {name: channel.pixels for name, channel in file.channels().items()}
    except (RuntimeError, ValueError, TypeError, OSError) as error:
        raise damaged(path, error) from error
    names = [name for name in "RGB" if name in planes] or [name for name in "Y" if name in planes]
    if names not in (["R", "G", "B"], ["Y"]):
        raise ValueError(f"{path}: its channels are {', '.join(planes)}; expected R, G, B, or Y")
    shapes = {planes[name].shape for name in [*names, *(["A"] if "A" in planes else [])]}
    if len(shapes) > 1:
        raise ValueError(f"{path}: its channels differ in size ({shapes}); export them without subsampling")
    half = all(planes[name].dtype == np.float16 for name in names)
    values = store((*planes[names[0]].shape, len(names)), np.dtype(np.float16 if half else np.float32))
    for i, name in enumerate(names):
        values[..., i] = planes[name]
        if "A" in planes and background:
            values[..., i] += (background * (1 - planes["A"])).astype(values.dtype)
        if not np.isfinite(values[..., i]).all():
            raise ValueError(f"{path}: channel {name} holds NaN or infinity; repair it in a picture editor")
    return values

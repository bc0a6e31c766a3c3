"""Picture files: what their headers say, and decoding to bytes.

Colours are display values (sRGB), 8 bits, straight (not multiplied by alpha); 16-bit grey is divided by 257.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

Bytes = NDArray[np.uint8]

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".ppm", ".pgm")
"""Endings of file names that count as pictures when a folder is listed, in the order they are tried."""

# Pillow's decoders report damage by whichever of these came first
DECODE_ERRORS = (
    *(OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, struct.error, zlib.error),
    Image.DecompressionBombError,
)


@dataclass(frozen=True)
class PictureHeader:
    """width, height: pixels as stored. orientation: EXIF's, 1 to 8 (1 = as stored). has_alpha: RGBA, say."""

    width: int
    height: int
    orientation: int = 1
    has_alpha: bool = False

    def size(self, upright: bool) -> tuple[int, int]:
        """(width, height), after EXIF orientation if `upright`; orientations 5 to 8 lie on their side."""
        swap = upright and self.orientation >= 5
        return (self.height, self.width) if swap else (self.width, self.height)


def unreadable(path: Path, reason: object) -> ValueError:
    """The error of a damaged or foreign picture, with the remedy."""
    return ValueError(
        f"{path}: the picture cannot be decoded ({reason}); copy or export it again as 8-bit JPEG or PNG, or "
        "take it out of the scene"
    )


def inspect_picture(path: Path) -> PictureHeader:
    """The header of a picture; ValueError naming the file when it is damaged.

    Cheap: pixels are decoded only if the file does not end as its format must, which is how copies cut short
    look.
    """
    try:
        with Image.open(path) as picture:
            width, height = picture.size
            orientation = picture.getexif().get(ExifTags.Base.Orientation, 1)
            header = PictureHeader(
                width, height, orientation if orientation in range(1, 9) else 1, carries_alpha(picture)
            )
            if not ends_properly(path, picture.format):
                picture.load()
    except DECODE_ERRORS as error:
        raise unreadable(path, error) from error
    return header


def inspect_pictures(paths: Iterable[Path]) -> dict[Path, PictureHeader]:
    """`inspect_picture` of every path; all the damaged ones are named in one ValueError."""
    headers: dict[Path, PictureHeader] = {}
    damaged: list[str] = []
    for path in dict.fromkeys(paths):
        header = header_or_reason(path)
        if isinstance(header, str):
            damaged.append(header)
        else:
            headers[path] = header
    if len(damaged) == 1:
        raise ValueError(damaged[0])
    if damaged:
        raise ValueError(f"{len(damaged)} pictures cannot be decoded:\n" + "\n".join(damaged))
    return headers


def header_or_reason(path: Path) -> PictureHeader | str:
    """The header, or in words why there is none."""
    try:
        return inspect_picture(path)
    except ValueError as error:
        return str(error)


def ends_properly(path: Path, format_name: str | None) -> bool:
    """Whether a JPEG, PNG or WebP file ends where its format says that it must; True for other formats."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if format_name in ("JPEG", "MPO"):
            file.seek(max(0, size - 32))
            return b"\xff\xd9" in file.read()
        if format_name == "WEBP":
            return struct.unpack("<4xI", file.read(8))[0] + 8 <= size
        if format_name == "PNG":
            position = 8
            while position + 12 <= size:
                file.seek(position)
                length, kind = struct.unpack(">I4s", file.read(8))
                position += 12 + length
                if kind == b"IEND":
                    return position <= size
            return False
    return True


def carries_alpha(picture: Image.Image) -> bool:
    """Whether the picture has an alpha channel or a transparent palette colour."""
    return picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info


def decode(path: Path, upright: bool = True) -> tuple[Bytes, Bytes | None]:
    """A picture file to rgb [H, W, 3] and alpha [H, W] or None (also when it is opaque everywhere).

    upright: apply the EXIF orientation. Palette, grey, 16-bit, CMYK pictures are converted; float ones refused.
    ValueError names the file when it is damaged.
    """
    try:
        with Image.open(path) as opened:
            opened.load()
            picture = ImageOps.exif_transpose(opened) if upright else opened
            if picture.mode.startswith("I"):
                return np.repeat(sixteen_bits(picture)[..., None], 3, axis=2), None
            if picture.mode == "F":
                raise ValueError("it holds floating-point values")
            if not carries_alpha(picture):
                return np.asarray(picture.convert("RGB")), None
            rgba = np.asarray(picture.convert("RGBA"))
    except DECODE_ERRORS as error:
        raise unreadable(path, error) from error
    alpha = rgba[..., 3]
    return rgba[..., :3], None if bool((alpha == 255).all()) else alpha


def decode_mask(path: Path, upright: bool = True) -> Bytes:
    """A mask file to [H, W] bytes, 255 = counts; files that hold only 0 and 1 are taken to mean 0 and 255."""
    rgb, alpha = decode(path, upright)
    grey = np.asarray(Image.fromarray(rgb).convert("L"))
    if alpha is not None and bool((grey == grey.flat[0]).all()):
        grey = alpha  # a cut-out: one colour, the shape in its alpha
    return grey * np.uint8(255) if int(grey.max()) == 1 else grey


def sixteen_bits(picture: Image.Image) -> Bytes:
    """A 16-bit grey picture to bytes (65535 becomes 255)."""
    values = np.asarray(picture).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError(f"its values run from {values.min()} to {values.max()}, outside 16 bits")
    return ((values + 128) // 257).astype(np.uint8)

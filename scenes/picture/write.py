"""Writing pictures: PNG of 8 or 16 bits row block by row block, OpenEXR of half or float."""

from __future__ import annotations

import struct
import tempfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from scenes.whole_file import write_whole

ROW_FILTER = 2
"""PNG's "up": each byte less the one above, which suits smooth pictures and needs no loop."""


def write_png(path: Path, blocks: Iterable[Tensor], width: int, height: int, *, bits: Literal[8, 16] = 8) -> None:
    """Write blocks [h, width, 3] of float32 sRGB in [0, 1], `height` rows in all, as a PNG of 8 or 16 bits.

    Values are clamped and rounded to nearest. Only compressed bytes and one block are in memory, so that pictures may
    be of any size; the file is replaced whole or not at all. Raises ValueError for NaN or rows that do not add up.
    """
    header = struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, 0)
    parts = [b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header), chunk(b"sRGB", b"\0")]
    above = np.zeros((1, width * 3 * bits // 8), np.uint8)
    deflate = zlib.compressobj(6)
    rows = 0
    for block in blocks:
        if block.ndim != 3 or block.shape[1:] != (width, 3):
            raise ValueError(f"{path}: expected blocks [h, {width}, 3], got {list(block.shape)}")
        raw = quantised(path, block, bits).reshape(len(block), -1).view(np.uint8)
        filtered = np.empty((len(raw), 1 + raw.shape[1]), np.uint8)
        filtered[:, 0] = ROW_FILTER
        filtered[:, 1:] = raw - np.concatenate([above, raw[:-1]])
        above = raw[-1:]
        rows += len(raw)
        if packed := deflate.compress(filtered.tobytes()):
            parts.append(chunk(b"IDAT", packed))
    if rows != height:
        raise ValueError(f"{path}: expected {height} rows, got {rows}")
    write_whole(path, *parts, chunk(b"IDAT", deflate.flush()), chunk(b"IEND", b""))


def quantised(path: Path, block: Tensor, bits: int) -> np.ndarray:
    """[h, W, 3] big-endian integers of so many bits, C-contiguous."""
    if bool(block.isnan().any()):
        raise ValueError(f"{path}: not written, some colours are NaN")
    largest = 2**bits - 1
    return (block.detach().cpu().float().clamp(0, 1) * largest).round().numpy().astype(f">u{bits // 8}", order="C")


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG file: length, kind, content, checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def write_exr(path: Path, rgb: Tensor, *, half: bool = True) -> None:
    """Write [H, W, 3] linear light as OpenEXR, half or float, ZIP compressed; the file is replaced whole or not at all.

    Raises ValueError for another shape, NaN, infinity, or values that half cannot hold; ImportError naming the extra.
    """
    try:
        import OpenEXR  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError(
            f"{path}: OpenEXR needs the extra 'exr': in Fieldbench's folder, pip install -e '.[exr]'"
        ) from error
    if rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape:
        raise ValueError(f"{path}: expected [H, W, 3], got {list(rgb.shape)}")
    values = rgb.detach().cpu().to(torch.float16 if half else torch.float32)
    if not bool(values.isfinite().all()):
        raise ValueError(
            f"{path}: not written, some values are NaN, infinite or beyond {'65504, use float' if half else 'float32'}"
        )
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "picture.exr"
        OpenEXR.File(header, {"RGB": np.ascontiguousarray(values.numpy())}).write(str(made))
        write_whole(path, made.read_bytes())

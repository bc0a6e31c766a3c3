"""Point clouds in PCD files, version 0.6 and 0.7 of the Point Cloud Library: ascii, binary, binary_compressed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenes.point_cloud import numbers_by_line

HEADER_LIMIT = 1 << 16
KINDS = {"F": "f", "I": "i", "U": "u"}


@dataclass(frozen=True)
class PcdHeader:
    """layout: NumPy's type of a point. points: how many. encoding: ascii, binary, binary_compressed. size: bytes."""

    layout: np.dtype
    points: int
    encoding: str
    size: int


def read_pcd(path: Path) -> NDArray[Any]:
    """x, y, z [N, 3] of a PCD file, as they are in it: NaN marks places of an organised cloud without a point.

    ValueError naming the file when it is no PCD, is cut short, or has no x, y, z. The viewpoint is not applied.
    """
    with path.open("rb") as file:
        header = read_header(path, file.read(HEADER_LIMIT))
        file.seek(header.size)
        body = file.read()
    lacking = [name for name in "xyz" if name not in (header.layout.names or ())]
    if lacking:
        raise ValueError(f"{path}: its points have no {', '.join(lacking)}; expected fields x y z")
    if header.encoding == "ascii":
        table = ascii_table(path, body, header)
        names = header.layout.names or ()
        return table[:, [columns_before(header.layout, names.index(name)) for name in "xyz"]]
    if header.encoding == "binary_compressed":
        columns = compressed_columns(path, body, header)
    else:
        check_length(path, len(body), header.points * header.layout.itemsize)
        table = np.frombuffer(body, header.layout, header.points)
        columns = {name: table[name] for name in "xyz"}
    return np.stack([columns[name].reshape(header.points, -1)[:, 0] for name in "xyz"], axis=1)


def read_header(path: Path, start: bytes) -> PcdHeader:
    """Parse the header at the `start` of a file; it ends with the line DATA."""
    words: dict[str, list[str]] = {}
    size = 0
    for line in start.splitlines(keepends=True):
        size += len(line)
        text = line.decode("ascii", "replace").split()
        if text and not text[0].startswith("#"):
            words[text[0]] = text[1:]
        if "DATA" in words:
            break
    try:
        fields, sizes, types = words["FIELDS"], [int(word) for word in words["SIZE"]], words["TYPE"]
        counts = [int(word) for word in words.get("COUNT", ["1"] * len(fields))]
        points = int(words["POINTS"][0]) if "POINTS" in words else int(words["WIDTH"][0]) * int(words["HEIGHT"][0])
        # Fillers may all be called "_".
        names = [name if name != "_" else f"_{i}" for i, name in enumerate(fields)]
        columns = [
            (name, f"<{KINDS[kind]}{width}", (count,) if count != 1 else ())
            for name, kind, width, count in zip(names, types, sizes, counts, strict=True)
        ]
        layout, encoding = np.dtype(columns), words["DATA"][0]
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise ValueError(
            f"{path}: no readable PCD header ({error}); expected FIELDS, SIZE, TYPE, POINTS (or WIDTH, HEIGHT), DATA"
        ) from error
    if encoding not in ("ascii", "binary", "binary_compressed") or points < 0:
        raise ValueError(f"{path}: PCD data {encoding!r}, {points} points; expected ascii, binary or binary_compressed")
    return PcdHeader(layout, points, encoding, size)


def columns_before(layout: np.dtype, field: int) -> int:
    """How many columns of an ascii table the fields before number `field` fill."""
    return sum(math.prod(layout[name].shape) for name in (layout.names or ())[:field])


def ascii_table(path: Path, body: bytes, header: PcdHeader) -> NDArray[np.float64]:
    """[points, columns] of an ascii body."""
    try:
        table = numbers_by_line(body, header.points, columns_before(header.layout, len(header.layout.names or ())))
    except ValueError as error:
        raise ValueError(f"{path}: a line of points is not numbers ({error}); export the file again") from error
    if len(table) < header.points:
        raise ValueError(f"{path}: {header.points} points promised, {len(table)} found; the file is cut short")
    return table


def compressed_columns(path: Path, body: bytes, header: PcdHeader) -> dict[str, NDArray[Any]]:
    """The fields of a compressed body: two sizes, then LZF data that holds one field after another."""
    check_length(path, len(body), 8)
    packed, size = np.frombuffer(body, "<u4", 2).tolist()
    check_length(path, len(body) - 8, packed)
    check_length(path, size, header.points * header.layout.itemsize)
    data = lzf_unpacked(path, body[8 : 8 + packed], size)
    columns, start = {}, 0
    for name in header.layout.names or ():
        kind = header.layout[name]
        columns[name] = np.frombuffer(data, kind, header.points, offset=start)
        start += kind.itemsize * header.points
    return columns


def lzf_unpacked(path: Path, packed: bytes, size: int) -> bytearray:
    """LibLZF's data: runs of literals (control < 32) and copies from up to 8 KiB back."""
    out = bytearray()
    i = 0
    try:
        while i < len(packed):
            control = packed[i]
            i += 1
            if control < 32:
                out += packed[i : i + control + 1]
                i += control + 1
                continue
            length = control >> 5
            if length == 7:
                length += packed[i]
                i += 1
            length += 2
            start = len(out) - ((control & 31) << 8) - packed[i] - 1
            i += 1
            if start < 0:
                raise IndexError("a copy from before the beginning")
            repeats = -(-length // (len(out) - start))  # a copy may overlap what it writes
            out += (out[start:] * repeats)[:length] if repeats > 1 else out[start : start + length]
    except IndexError as error:
        raise ValueError(f"{path}: damaged compressed data ({error}); copy or export the file again") from error
    check_length(path, len(out), size)
    return out


def check_length(path: Path, found: int, wanted: int) -> None:
    """ValueError when there are fewer bytes than the header promises."""
    if found < wanted:
        raise ValueError(
            f"{path}: its header promises {wanted} bytes of points, only {found} follow; the file is cut short, "
            "copy or export it again"
        )

"""Point clouds in PLY files: x y z red green blue of the vertices, ASCII or binary, whatever else they hold."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

PLY_TYPES = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
}
HEADER_LIMIT = 1 << 16


@dataclass(frozen=True)
class Header:
    """encoding: ascii, binary_little_endian or binary_big_endian. vertices: how many. size: of the header.

    fields: (name, NumPy type) of each vertex property in order. comments: without the word itself.
    """

    encoding: str
    vertices: int
    fields: tuple[tuple[str, str], ...]
    size: int
    comments: tuple[str, ...] = ()


def read_point_cloud(path: Path) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """xyz [P, 3] float64 and rgb [P, 3] uint8 (mid-grey where the file has no colours).

    ValueError naming the file when it is no PLY, is cut short, or has no x, y, z.
    """
    _, columns = read_vertices(path)
    lacking = [name for name in "xyz" if name not in columns]
    if lacking:
        raise ValueError(f"{path}: its vertices have no {', '.join(lacking)}; expected a point cloud with x, y, z")
    xyz = np.stack([columns[name].astype(np.float64) for name in "xyz"], axis=1)
    if not all(name in columns for name in ("red", "green", "blue")):
        return xyz, np.full(xyz.shape, 128, np.uint8)
    rgb = np.stack([columns[name] for name in ("red", "green", "blue")], axis=1)
    return xyz, (rgb * 255.0).round().clip(0, 255).astype(np.uint8) if rgb.dtype.kind == "f" else rgb.astype(np.uint8)


def read_vertices(path: Path) -> tuple[Header, dict[str, NDArray]]:
    """The header and the vertex columns by name, each [vertices] of its own type.

    ValueError naming the file when it is no PLY or is cut short; a false count is found before anything is allocated.
    """
    with path.open("rb") as file:
        header = read_header(path, file.read(HEADER_LIMIT))
        file.seek(header.size)
        body = file.read()
    order = ">" if header.encoding == "binary_big_endian" else "<"
    layout = np.dtype([(name, order + kind) for name, kind in header.fields])
    if header.encoding == "ascii":
        columns = ascii_columns(path, body, header)
    elif len(body) < header.vertices * layout.itemsize:
        raise ValueError(
            f"{path}: its header promises {header.vertices} vertices of {layout.itemsize} bytes, only "
            f"{len(body)} bytes follow; the file is cut short, copy or export it again"
        )
    else:
        table = np.frombuffer(body, layout, header.vertices)
        columns = {name: table[name] for name in layout.names or ()}
    return header, columns


def read_header(path: Path, start: bytes) -> Header:
    """Parse the header at the `start` of a file; the vertices must be its first element."""
    end = start.find(b"end_header")
    newline = start.find(b"\n", end)
    if not start.startswith(b"ply") or end < 0 or newline < 0:
        raise ValueError(f"{path}: no PLY header (it must begin with 'ply' and end with 'end_header')")
    encoding, element, vertices, fields = "", "", -1, []
    lines = start[:end].decode("ascii", "replace").splitlines()
    for line in lines:
        match line.split():
            case ["format", encoding, _]:
                pass
            case ["element", element, count] if element == "vertex":
                vertices = int(count) if count.isdigit() else -1
            case ["element", element, *_] if vertices < 0:
                raise ValueError(f"{path}: {misplaced(element)}")
            case ["property", kind, name] if element == "vertex" and kind in PLY_TYPES:
                fields.append((name, PLY_TYPES[kind]))
            case ["property", *rest] if element == "vertex":
                raise ValueError(f"{path}: vertex property {' '.join(rest)!r} is not read here (lists, unknown types)")
    if encoding not in ("ascii", "binary_little_endian", "binary_big_endian") or vertices < 0 or not fields:
        raise ValueError(f"{path}: PLY header without a known format or without vertices")
    if len({name for name, _ in fields}) != len(fields):
        raise ValueError(f"{path}: two vertex properties have the same name")
    return Header(encoding, vertices, tuple(fields), newline + 1, comments(lines))


def comments(lines: Sequence[str]) -> tuple[str, ...]:
    """The texts of a header's comment lines."""
    return tuple(line.partition(" ")[2].strip() for line in lines if line.startswith("comment "))


def misplaced(element: str) -> str:
    """Why a file is not read whose first element is this one."""
    if element == "chunk":
        return (
            "a compressed splat PLY (element 'chunk'), which is not read yet; decompress it first, as with "
            "`splat-transform in.compressed.ply out.ply`"
        )
    return f"element {element!r} comes before the vertices, which is not read here"


def ascii_columns(path: Path, body: bytes, header: Header) -> dict[str, NDArray]:
    """The vertex columns of an ASCII file; integer properties stay integers."""
    width = len(header.fields)
    try:
        table = numbers_by_line(body, header.vertices, width)
    except ValueError as error:
        raise ValueError(f"{path}: a vertex line is not {width} numbers ({error}); export the file again") from error
    if len(table) < header.vertices:
        raise ValueError(f"{path}: {header.vertices} vertices promised, {len(table)} found; the file is cut short")
    return {name: table[:, i].astype(kind) for i, (name, kind) in enumerate(header.fields)}


def numbers_by_line(body: bytes, most: int, width: int | None = None) -> NDArray[np.float64]:
    """[lines, width] the numbers of at most `most` lines, `width` of each (all by default); ValueError otherwise."""
    lines = min(most, body.count(b"\n") + 1)  # loadtxt allocates what is asked for, which a false count could make huge
    if lines == 0 or not body.strip():
        return np.zeros((0, width or 0))
    columns = None if width is None else range(width)
    return np.loadtxt(io.BytesIO(body), max_rows=lines, usecols=columns, comments=None, ndmin=2)

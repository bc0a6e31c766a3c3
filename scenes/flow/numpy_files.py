"""Arrays of npy and npz files, never unpickled, with errors that name file and remedy."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

UNREADABLE = (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError)
OBJECTS = "Object arrays cannot be loaded"


def npz_names(path: Path) -> frozenset[str]:
    """The names of the arrays in an npz file; ValueError when it is none or is cut short."""
    try:
        with zipfile.ZipFile(path) as archive:
            return frozenset(name.removesuffix(".npy") for name in archive.namelist())
    except FileNotFoundError:
        raise
    except UNREADABLE as error:
        raise ValueError(f"{path}: no readable npz file ({error}); it may be cut short, copy it again") from error


def npz_array(path: Path, name: str) -> NDArray[Any]:
    """One array of an npz file."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return archive[name]
    except UNREADABLE as error:
        raise ValueError(f"{path}: array {name!r} {complaint(error)}") from error


def npy_array(path: Path) -> NDArray[Any]:
    """The array of an npy file."""
    try:
        with path.open("rb") as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    except FileNotFoundError:
        raise
    except UNREADABLE as error:
        raise ValueError(f"{path}: the array {complaint(error)}") from error


def complaint(error: Exception) -> str:
    """What is wrong with an array that could not be read."""
    if str(error).startswith(OBJECTS):
        return "holds pickled Python objects, which are never read here; save it again as an array of numbers"
    return f"cannot be read ({error}); the file may be cut short, copy it again"

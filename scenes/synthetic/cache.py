"""Generated scenes kept in the user's cache folder, so that the second call is instant.

An entry is a folder: a PNG for each view, `scene.npz`, and `manifest.json` with the checksum of every file. Its
name is a hash of the configuration and of what decides the rest (this package's source, the cameras', numpy's
version), so a changed generator never finds an older entry. It is written under another name and renamed when
complete; an entry whose files do not match its manifest is made anew.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from kernels.native import cache_folder
from render import camera

MANIFEST = "manifest.json"


def entry_folder(root: Path | None, settings: Mapping[str, object]) -> Path:
    """Where the scene of these settings is kept: below `root`, or in the user's cache folder."""
    digest = hashlib.sha256(json.dumps([settings, np.__version__], sort_keys=True).encode())
    for source in (*sorted(Path(__file__).parent.glob("*.py")), Path(camera.__file__)):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    return (root or cache_folder().parent / "synthetic") / digest.hexdigest()[:20]


def read_entry(folder: Path) -> dict[str, bytes] | None:
    """The files of an entry by name, or None if it is absent; a damaged one is None too, with a warning."""
    files = _verified(folder)
    if files is None and os.path.exists(folder):
        warnings.warn(f"{folder}: damaged; the scene is made anew", stacklevel=2)
    return files


def _verified(folder: Path) -> dict[str, bytes] | None:
    """The files of an entry that match their checksums, None if one does not."""
    try:
        checksums = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files = {name: (folder / name).read_bytes() for name in checksums}
        sound = all(zlib.crc32(content) == checksums[name] for name, content in files.items())
    except (OSError, ValueError, TypeError):
        return None
    return files if sound else None


def write_entry(folder: Path, files: Mapping[str, bytes]) -> None:
    """Keep the files as an entry, whole or not at all; where that fails a warning says so."""
    if _verified(folder) is not None:  # another process was quicker; others may be reading its entry
        return
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{folder.name}-") as scratch:
            partial = Path(scratch) / "entry"
            partial.mkdir()
            for name, content in files.items():
                (partial / name).write_bytes(content)
            manifest = json.dumps({name: zlib.crc32(content) for name, content in files.items()})
            (partial / MANIFEST).write_text(manifest, encoding="utf-8")
            if folder.exists() and _verified(folder) is None:
                os.replace(folder, Path(scratch) / "damaged")
            os.replace(partial, folder)  # fails if an entry is there
    except OSError as error:
        if _verified(folder) is None:
            warnings.warn(f"{folder}: the generated scene could not be kept ({error})", stacklevel=2)


def pack(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Arrays as the bytes of an npz file."""
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, **arrays)
    return stream.getvalue()


def unpack(content: bytes) -> dict[str, np.ndarray]:
    """The arrays of an npz file's bytes."""
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}

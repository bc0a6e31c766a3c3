"""Writing a file so that a full disk or a killed process leaves the old one or the new one, never a part."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path


def write_whole(path: Path, *parts: bytes | memoryview) -> None:
    """Write `parts` one after another to `path`, whole or not at all; its folder is made if need be.

    Raises OSError that names the file and what to do; what was there before is then untouched.
    """
    temporary = path.with_name(f".{path.name}-{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        number = error.errno or errno.EIO
        full = number in (errno.ENOSPC, errno.EDQUOT)
        size = sum(memoryview(part).nbytes for part in parts)
        remedy = f"free at least {size / 2**20 + 1:.0f} MB there" if full else "check the folder and its permissions"
        raise OSError(
            number, f"{path}: not written: {os.strerror(number)}; {remedy}, or choose another path"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()

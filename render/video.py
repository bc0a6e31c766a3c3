"""Writing rendered frames: an MP4 (H.264, through imageio-ffmpeg's own ffmpeg) or a folder of PNG files."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

# Converted and tagged as BT.709, or players would guess the matrix from the size and shift the colours.
COLOUR = "scale=out_color_matrix=bt709:out_range=tv,setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709"
PARAMETERS = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "17", "-vf", COLOUR, "-movflags", "+faststart"]


def write_frames(path: Path, frames: Iterable[Tensor], fps: float = 30.0) -> int:
    """Write [H, W, 3] pictures of display values in [0, 1] to `path`; returns how many.

    `name.mp4` makes a video (an odd side is completed by repeating the last row or column, as the format wants
    even ones); a path without suffix a folder with frame-00000.png, ... An existing file is replaced only when
    the new one is complete; an existing folder must be empty.
    """
    if not 0 < fps < float("inf"):
        raise ValueError(f"fps: expected a positive number, got {fps}")
    if path.suffix.lower() == ".mp4":
        return _write_mp4(path, frames, fps)
    if path.suffix:
        raise ValueError(f"{path}: expected a name ending in .mp4, or a folder (no ending) for PNG frames")
    return _write_folder(path, frames)


def as_bytes(picture: Tensor) -> np.ndarray:
    """[H, W, 3] uint8 of display values in [0, 1], rounded."""
    if picture.ndim != 3 or picture.shape[-1] != 3:
        raise ValueError(f"frame: expected [H, W, 3], got {list(picture.shape)}")
    return (picture.detach().clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()


def _write_folder(path: Path, frames: Iterable[Tensor]) -> int:
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise FileExistsError(f"{path} exists already and is not empty; give another folder for the frames")
    path.mkdir(parents=True, exist_ok=True)
    count = 0
    for count, frame in enumerate(frames, start=1):
        file = path / f"frame-{count - 1:05d}.png"
        try:
            Image.fromarray(as_bytes(frame)).save(file)
        except OSError as error:  # of a full disk: PIL's does not name the file
            file.unlink(missing_ok=True)
            number = error.errno or errno.EIO
            raise OSError(
                number, f"{file}: not written: {os.strerror(number)}; the frames before it are kept"
            ) from error
    return count


def _write_mp4(path: Path, frames: Iterable[Tensor], fps: float) -> int:
    import imageio_ffmpeg

    source: Iterator[Tensor] = iter(frames)
    first = next(source, None)
    if first is None:
        raise ValueError(f"{path}: no frames to write")
    height, width = first.shape[:2]
    even = (width + width % 2, height + height % 2)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}-{os.getpid()}.mp4").absolute()
    source_format = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{even[0]}x{even[1]}", "-r", f"{fps:.6g}", "-i", "-"]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error", *source_format, *PARAMETERS, str(temporary)]
    count = 0
    try:
        with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as encoder:
            assert encoder.stdin is not None and encoder.stderr is not None
            with contextlib.suppress(BrokenPipeError):  # it gave up; why is asked below
                for count, frame in enumerate(chain([first], source), start=1):
                    if tuple(frame.shape[:2]) != (height, width):
                        raise ValueError(
                            f"{path}: frame {count - 1} is {list(frame.shape[:2])}, the first [{height}, {width}]"
                        )
                    padding = ((0, even[1] - height), (0, even[0] - width), (0, 0))
                    encoder.stdin.write(np.pad(as_bytes(frame), padding, mode="edge").tobytes())
                encoder.stdin.close()
            complaint = encoder.stderr.read().decode(errors="replace").strip()
        if encoder.returncode:
            reason = complaint.splitlines()[-1] if complaint else f"ffmpeg ended with status {encoder.returncode}"
            raise OSError(errno.EIO, f"{path}: not written: {reason}; check the folder and its free space")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return count

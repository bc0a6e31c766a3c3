"""The sharp frames of a video: the sharpest of each stretch of time, written as JPEG.

The video is read twice as a stream, first small and grey to measure every frame, then at full size to take the
chosen ones, so memory does not depend on its length. ffmpeg turns phone videos upright by their own metadata.
"""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scenes.sharpness import MEASURED_SIDE, sharpness

Tell = Callable[[str, int, int | None], None]
"""Called with what is being done, how much of it is done, and how much there is (None: not known)."""

SUFFIXES = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".mts", ".m2ts", ".3gp", ".wmv", ".gif")
"""Endings of file names that count as videos."""
LEAST_WINDOW = 3
"""Frames among which a sharp one is chosen, at least: neighbours are blurred together."""
THUMBNAIL = (64, 36)
STILL = 0.02
"""The camera stands still when thumbnails differ by less than this share of their own contrast."""
JPEG_QUALITY = 95


@dataclass(frozen=True)
class Scan:
    """Of every frame of a video: sharpness [N], and a grey thumbnail [N, 36, 64]."""

    sharpness: NDArray[np.float64]
    thumbnails: NDArray[np.uint8]


def take_sharp_frames(video: Path, folder: Path, wanted: int, tell: Tell) -> list[Path]:
    """Write about `wanted` sharp frames of `video` to `folder`, named by their number in it; returns the files.

    Fewer when the video is short (one of `LEAST_WINDOW` frames) or the camera stands still. ValueError when it
    cannot be decoded, OSError when the disk is full.
    """
    scan = scan_video(video, tell)
    return extract(video, choose(scan, wanted), folder, tell)


def scan_video(video: Path, tell: Tell) -> Scan:
    """Measure every frame. ValueError when there is none; a warning when the video is damaged after some."""
    side = f"scale='min({MEASURED_SIDE},iw)':'min({MEASURED_SIDE},ih)':force_original_aspect_ratio=decrease:flags=area"
    values: list[float] = []
    thumbnails: list[NDArray[np.uint8]] = []
    for grey in stream(video, side, "gray"):
        values.append(sharpness(grey))
        thumbnails.append(np.asarray(Image.fromarray(grey).resize(THUMBNAIL, Image.Resampling.BOX)))
        tell("looking for sharp frames", len(values), None)
    return Scan(np.array(values), np.stack(thumbnails))


def choose(scan: Scan, wanted: int) -> list[int]:
    """Numbers of the frames to take, ascending: the sharpest of each of `wanted` equal windows of time.

    Windows have at least `LEAST_WINDOW` frames. Left out are those that show what the one before them does.
    """
    total = len(scan.sharpness)
    windows = max(1, min(wanted, total // LEAST_WINDOW))
    edges = np.linspace(0, total, windows + 1).round().astype(int)
    sharpest = [int(a + np.argmax(scan.sharpness[a:b])) for a, b in pairwise(edges)]
    kept: list[int] = []
    for number in sharpest:
        if not kept or moved(scan.thumbnails[kept[-1]], scan.thumbnails[number]):
            kept.append(number)
    return kept


def moved(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> bool:
    """Whether two thumbnails differ by more than noise."""
    change = np.abs(after.astype(np.float64) - before).mean()
    return bool(change > STILL * max(float(before.std()), 1.0))


def extract(video: Path, numbers: Sequence[int], folder: Path, tell: Tell) -> list[Path]:
    """Write the frames `numbers` (ascending, from 0) to `folder` as frame-NNNNNN.jpg, upright, at full size."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = "+".join(rf"eq(n\,{number})" for number in numbers)
    files = []
    for number, picture in zip(numbers, stream(video, f"select={wanted}", "rgb24"), strict=False):
        files.append(folder / f"frame-{number:06d}.jpg")
        try:
            Image.fromarray(picture).save(files[-1], quality=JPEG_QUALITY, subsampling=0)
        except OSError as error:  # of a full disk: PIL's does not name the file
            raise OSError(error.errno or errno.EIO, os.strerror(error.errno or errno.EIO), str(files[-1])) from error
        tell("taking sharp frames", len(files), len(numbers))
    return files


def stream(video: Path, filters: str, pixels: str) -> Iterator[NDArray[np.uint8]]:
    """The frames that `filters` lets through, [H, W] (pixels "gray") or [H, W, 3] ("rgb24"), one at a time.

    ValueError when there is none; a warning when ffmpeg stopped early.
    """
    import imageio_ffmpeg

    # Portable pixmaps carry their own size, so that rotation and odd formats need not be known beforehand.
    codec = "pgm" if pixels == "gray" else "ppm"
    source = ["-nostdin", "-loglevel", "error", "-i", str(video.absolute()), "-map", "0:v:0"]
    target = ["-fps_mode", "passthrough", "-vf", filters, "-pix_fmt", pixels, "-c:v", codec, "-f", "image2pipe", "-"]
    count = 0
    with tempfile.TemporaryFile() as complaints:
        command = [imageio_ffmpeg.get_ffmpeg_exe(), *source, *target]
        decoder = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints)
        assert decoder.stdout is not None
        try:
            while (frame := read_pixmap(decoder.stdout)) is not None:
                count += 1
                yield frame
            decoder.wait()
        finally:
            with contextlib.suppress(OSError):
                decoder.kill()
            decoder.wait()
            decoder.stdout.close()
        complaints.seek(0)
        lines = [line for line in complaints.read().decode(errors="replace").splitlines() if line.strip()]
    reason = lines[0].strip().replace(str(video.absolute()), video.name) if lines else "no frame in it"
    if not count:
        raise ValueError(
            f"{video}: the video cannot be decoded ({reason}); play it to check that it is whole, copy it from the "
            "camera again or convert it to MP4, or give a folder of photos"
        )
    if decoder.returncode or (lines and pixels == "gray"):
        warnings.warn(f"{video}: damaged ({reason}); the {count} frames that could be decoded are used", stacklevel=2)


def read_pixmap(pipe) -> NDArray[np.uint8] | None:
    """The next binary PGM or PPM of a stream, None at its end."""
    kind = pipe.readline().strip()
    if kind not in (b"P5", b"P6"):
        return None
    size = pipe.readline().split()
    pipe.readline()  # the largest value, 255
    width, height = int(size[0]), int(size[1])
    channels = 1 if kind == b"P5" else 3
    data = pipe.read(width * height * channels)
    if len(data) < width * height * channels:
        return None
    shape = (height, width) if channels == 1 else (height, width, 3)
    return np.frombuffer(data, np.uint8).reshape(shape)

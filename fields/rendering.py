"""Rendering a run: a camera path to a video or frames, or a window of a picture at any zoom."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track

from fields.flow_look import film
from fields.run import open_run, subject_of
from fields.session import load_model
from fields.subject import Subject
from render.camera import Camera
from render.frame import Settings
from render.paths import around, orbit, read_path
from render.video import write_frames
from scenes.flow.sequence import CloudSequence
from scenes.picture.picture import Picture
from scenes.scene import Scene
from scenes.shape.shape import UP

Window = tuple[float, float, float, float]
BOX_SIZE = (800, 800)


def render_run(
    folder: Path,
    out: Path,
    *,
    path: str,
    size: str | None,
    frames: int,
    fps: float | None,
    window: str | None,
    baked: bool,
) -> str:
    """Render the newest checkpoint into `out`; returns a line that says what was written.

    Of a scene, a shape or clouds: NAME.mp4 or a folder of PNG frames along `path` ("orbit", or a file); meanwhile time
    passes once through clouds (`film`). Of a picture: NAME.png or NAME.exr of its `window`. Raises ValueError for
    options that do not belong to what the run is of.
    """
    run = open_run(folder)
    subject = subject_of(run)
    model, _ = load_model(run)
    settings = {"baked": True} if baked else {}
    if settings.keys() - {control.name for control in model.controls}:
        raise ValueError(f"--baked: {folder} is a run of {run.config.method}, of which nothing is baked")
    if isinstance(subject, Picture):
        if path != "orbit":
            raise ValueError(f"--path {path}: {folder} is of a picture, of which --window chooses a part")
        box = picture_window(window)
        return model.write(out, box, *window_size(subject, box, size))
    if window is not None:
        raise ValueError(f"--window {window}: {folder} is not of a picture; use --path")
    cameras, rate = _along(subject, model, path, size, frames)
    count = len(cameras)
    looks = film(len(subject), count) if isinstance(subject, CloudSequence) else [settings] * count
    return _written(model, cameras, out, fps if fps is not None else rate, looks)


def _along(subject: Subject, model: Any, path: str, size: str | None, frames: int) -> tuple[list[Camera], float]:
    """The cameras of a path, and how many a second."""
    if isinstance(subject, Scene):
        cameras = [subject.view(name).camera for name in subject.split.train]
    else:
        low, high = model.box()
        up = subject.upwards if isinstance(subject, CloudSequence) else UP
        cameras = around(low, high, torch.tensor(up), *BOX_SIZE)
    width, height = (cameras[0].width, cameras[0].height) if size is None else picture_size(size)
    if path == "orbit":
        return orbit(cameras, frames, width, height), 30.0
    found = read_path(Path(path), subject.world_from_input, frames=frames, width=width, height=height)
    return list(found.cameras), found.fps or 30.0


def _written(model: Any, cameras: list[Camera], out: Path, fps: float, looks: Sequence[Settings]) -> str:
    """Frame by frame, each with its own settings."""
    console = Console(stderr=True)
    shown = track(list(zip(cameras, looks, strict=True)), "rendering", console=console, disable=not console.is_terminal)
    pictures = (model.render(camera, {"rgb"}, look).rgb for camera, look in shown)
    count = write_frames(out, pictures, fps)
    return f"{out}: {count} frames of {cameras[0].width}x{cameras[0].height}"


def picture_size(text: str) -> tuple[int, int]:
    """Width and height of a text like 800x600."""
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise ValueError(f"--size {text}: expected WIDTHxHEIGHT in pixels, as 800x600")
    return int(parts[0]), int(parts[1])


def picture_window(text: str | None) -> Window:
    """Left, top, right and bottom in shares of a picture, of a text like 0.2,0.3,0.4,0.5; None is all of it."""
    if text is None:
        return (0.0, 0.0, 1.0, 1.0)
    try:
        left, top, right, bottom = (float(part) for part in text.split(","))
    except ValueError:
        left, top, right, bottom = 0.0, 0.0, 0.0, 0.0
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise ValueError(
            f"--window {text}: expected LEFT,TOP,RIGHT,BOTTOM in shares of the picture, as 0.2,0.3,0.4,0.5"
        )
    return left, top, right, bottom


def window_size(picture: Picture, window: Window, size: str | None) -> tuple[int, int]:
    """Pixels of a window: those asked for, or as many as the picture has there."""
    if size is not None:
        return picture_size(size)
    left, top, right, bottom = window
    return max(1, round((right - left) * picture.width)), max(1, round((bottom - top) * picture.height))

"""Batches of whole views: which view a training step sees, as a pure function of the step.

Every epoch visits each training view once, in an order drawn from (seed, epoch); so a run that resumes at any
step goes on exactly, and nothing about the position needs to be stored. Bytes become float32 one view at a
time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from scenes.scene import Pixels, Scene, View, ViewBatch


def unit_float(plane: Tensor) -> Tensor:
    """Bytes to float32 in [0, 1], any shape."""
    return plane.to(torch.float32).div_(255.0)


def composite(pixels: Pixels, background_srgb: Tensor) -> Tensor:
    """[H, W, 3] float32 display colour: the picture, its transparent parts over `background_srgb` [3].

    Blended in display values, as the published figures of the synthetic scenes are.
    """
    image = unit_float(pixels.rgb_srgb)
    if pixels.alpha is None:
        return image
    background = background_srgb.to(image)
    return torch.lerp(background.expand_as(image), image, unit_float(pixels.alpha)[..., None])


def background_of_step(scene: Scene, seed: int, step: int) -> Tensor:
    """[3] float32: the scene's background; a random one is uniform in the cube, drawn from (seed, step)."""
    if scene.background == "random":
        # the 1 keeps this stream apart from the epochs' orders
        return torch.from_numpy(np.random.default_rng((seed, 1, step)).random(3, dtype=np.float32))
    return torch.full((3,), 1.0 if scene.background == "white" else 0.0)


def epoch_order(seed: int, epoch: int, count: int) -> list[int]:
    """The permutation of 0 .. count - 1 in which `epoch` visits the training views."""
    return np.random.default_rng((seed, 0, epoch)).permutation(count).tolist()


def view_batches(
    scene: Scene, *, seed: int, device: torch.device | str = "cpu", prefetch: bool = True
) -> Callable[[int], ViewBatch]:
    """The function from step (0, 1, ...) to its batch on `device`.

    prefetch: while a step runs, a thread decodes the next step's view, so that training does not wait for
    files. ValueError for a scene without training views or a negative seed.
    """
    if seed < 0:
        raise ValueError(f"seed: expected 0 or more, got {seed}")
    views = [scene.view(name) for name in scene.split.train]
    if not views:
        raise ValueError(f"scene {scene.name!r}: its split has no training views")

    def index_of(step: int) -> int:
        epoch, place = divmod(step, len(views))
        return epoch_order(seed, epoch, len(views))[place]

    ahead = Prefetcher() if prefetch and len(views) > 1 else None

    def batch(step: int) -> ViewBatch:
        if step < 0:
            raise ValueError(f"step: expected 0 or more, got {step}")
        index = index_of(step)
        pixels = views[index].load() if ahead is None else ahead.take(views[index])
        if ahead is not None:
            ahead.start(views[index_of(step + 1)])
        background = background_of_step(scene, seed, step)
        return ViewBatch(
            view=views[index],
            index=index,
            image_srgb=composite(pixels, background).to(device),
            background_srgb=background.to(device),
            alpha=None if pixels.alpha is None else unit_float(pixels.alpha).to(device),
            mask=None if pixels.mask is None else unit_float(pixels.mask).to(device),
        )

    return batch


class Prefetcher:
    """Loads one view ahead in a thread of its own; what was not asked for in the end is dropped."""

    def __init__(self) -> None:
        self.pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="fieldbench-prefetch")
        self.lock = threading.Lock()
        self.ahead: tuple[str, Future[Pixels]] | None = None

    def start(self, view: View) -> None:
        """Begin loading `view`."""
        with self.lock:
            if self.ahead is None:
                self.ahead = (view.name, self.pool.submit(view.load))

    def take(self, view: View) -> Pixels:
        """The pixels of `view`: those begun before, or loaded now."""
        with self.lock:
            ahead, self.ahead = self.ahead, None
        return ahead[1].result() if ahead is not None and ahead[0] == view.name else view.load()
